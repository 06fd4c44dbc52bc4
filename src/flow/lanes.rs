//! Lanes: commands with the same key wait in one lane and are processed strictly in order; lanes run side by side, up to
//! a bound on the runs under way. A lane runs its head together with those behind it that name the same entity, so that
//! one conditional write decides them all and nothing is overtaken.

use super::Position;
use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Names a lane: a hash of partition and key. (Two keys with the same hash share a lane, which harms nobody.)
pub type LaneId = u64;

/// The lane of a record: that of its key, in its partition; without one that of the entity that it names; and what names
/// none stays out of everybody's way.
pub fn lane_of(at: Position, key: Option<&[u8]>, entity: Option<impl Hash>) -> LaneId {
    let mut hasher = DefaultHasher::new();
    at.partition.hash(&mut hasher);
    match (key, entity) {
        (Some(key), _) => key.hash(&mut hasher),
        (None, Some(entity)) => entity.hash(&mut hasher),
        (None, None) => at.offset.hash(&mut hasher),
    }
    hasher.finish()
}

/// Commands that may be decided together.
pub trait Foldable {
    /// Does `next` name the entity that `self` names, by the same reference?
    fn folds_with(&self, next: &Self) -> bool;
}

/// Commands of one lane that are to be processed now, in this order.
#[derive(Debug)]
pub struct Run<C> {
    /// To be named when the run is finished.
    pub lane: LaneId,
    /// At least one; all name the same entity.
    pub commands: Vec<(Position, C)>,
}

#[derive(Debug)]
struct Lane<C> {
    queue: VecDeque<(Position, C)>,
    /// Commands of the run under way, 0 where there is none.
    running: usize,
}

/// All lanes of an assignment.
#[derive(Debug)]
pub struct Lanes<C> {
    by_id: HashMap<LaneId, Lane<C>>,
    /// Lanes with commands and no run under way, in the order in which they became so.
    ready: VecDeque<LaneId>,
    queued: usize,
    /// Commands of all runs under way.
    running: usize,
    runs: usize,
    max_runs: usize,
    max_run: usize,
}

impl<C: Foldable> Lanes<C> {
    /// At most `max_runs` runs are under way at once, of at most `max_run` commands each.
    pub fn new(max_runs: usize, max_run: usize) -> Self {
        Self { by_id: HashMap::new(), ready: VecDeque::new(), queued: 0, running: 0, runs: 0, max_runs, max_run }
    }

    /// A command joins the end of its lane; answers how many wait there now.
    pub fn push(&mut self, id: LaneId, at: Position, command: C) -> usize {
        // Most lanes have one command.
        let lane = self.by_id.entry(id).or_insert_with(|| Lane { queue: VecDeque::with_capacity(1), running: 0 });
        if lane.queue.is_empty() && lane.running == 0 {
            self.ready.push_back(id);
        }
        lane.queue.push_back((at, command));
        self.queued += 1;
        lane.queue.len()
    }

    /// The next run to start, if there is one and the bound allows it.
    pub fn start(&mut self) -> Option<Run<C>> {
        if self.runs >= self.max_runs {
            return None;
        }
        let id = self.ready.pop_front()?;
        let lane = self.by_id.get_mut(&id).expect("ready lanes exist");
        let mut commands = vec![lane.queue.pop_front().expect("ready lanes have commands")];
        while commands.len() < self.max_run && lane.queue.front().is_some_and(|next| commands[0].1.folds_with(&next.1)) {
            commands.extend(lane.queue.pop_front());
        }
        lane.running = commands.len();
        self.queued -= commands.len();
        self.running += commands.len();
        self.runs += 1;
        Some(Run { lane: id, commands })
    }

    /// The lane's run is over; its next one may start.
    pub fn finish(&mut self, id: LaneId) {
        let lane = self.by_id.get_mut(&id).expect("a lane with a run exists");
        self.running -= std::mem::take(&mut lane.running);
        self.runs -= 1;
        if lane.queue.is_empty() {
            self.by_id.remove(&id);
        } else {
            self.ready.push_back(id);
        }
    }

    /// Forgets what waits; what runs goes on.
    pub fn drop_queued(&mut self) {
        self.by_id.retain(|_, lane| {
            lane.queue.clear();
            lane.running > 0
        });
        self.ready.clear();
        self.queued = 0;
    }

    /// How many commands wait in the lane.
    pub fn depth(&self, id: LaneId) -> usize {
        self.by_id.get(&id).map_or(0, |lane| lane.queue.len())
    }

    /// Lanes that could start a run, if the bound allowed one more.
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Lanes with commands.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// True if there are no commands.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Commands that wait.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Commands being processed.
    pub fn running(&self) -> usize {
        self.running
    }
}
