//! Lanes: commands with the same key wait in one lane and are processed strictly in order; lanes run side by side, up to
//! a bound on the runs that are being decided. A lane runs its head together with those behind it that name the same
//! entity, so that one conditional write decides them all and nothing is overtaken. While the answers of a run are being
//! written, the next one of its lane may be decided; it is finished in its turn.

use super::{RecordId, Uptime};
use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Names a lane: a hash of partition and key. (Two keys with the same hash share a lane, which harms nobody.)
pub type LaneId = u64;

/// The lane of a record: that of its key, in its partition; without one that of the entity that it names; and what names
/// none stays out of everybody's way.
pub fn lane_of(at: RecordId, key: Option<&[u8]>, entity: Option<impl Hash>) -> LaneId {
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

/// Names a run, within its assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RunId {
    /// Whose commands.
    pub lane: LaneId,
    /// Counts the runs of all lanes.
    pub number: u64,
}

/// Commands of one lane that are to be processed now, in this order.
#[derive(Debug)]
pub struct Run<C> {
    /// To be named when the run is decided or finished.
    pub id: RunId,
    /// At least one; all name the same entity.
    pub commands: Vec<(RecordId, C)>,
    /// Others wait for it in its lane: it is worth saying when it is decided.
    pub awaited: bool,
}

/// What the end of a run means for its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The run before it is not finished yet.
    NotYet,
    /// It is finished.
    Its,
    /// It is finished, and so is the one behind it, for which it was [`Turn::NotYet`].
    ItsAndTheNext,
}

/// A run under way.
#[derive(Clone, Copy, Debug)]
struct UnderWay {
    number: u64,
    commands: usize,
    since: Uptime,
}

#[derive(Debug)]
struct Lane<C> {
    queue: VecDeque<(RecordId, C)>,
    deciding: Option<UnderWay>,
    /// The one before it, whose answers are being written.
    answering: Option<UnderWay>,
    /// The one that was being decided is over, and waits for the one before it.
    early: bool,
}

/// All lanes of an assignment.
#[derive(Debug)]
pub struct Lanes<C> {
    by_id: HashMap<LaneId, Lane<C>>,
    /// Lanes with commands of which none is being decided, in the order in which they became so.
    ready: VecDeque<LaneId>,
    queued: usize,
    /// Commands of all runs under way.
    running: usize,
    /// Runs that are being decided.
    deciding: usize,
    /// So many runs were started.
    started: u64,
    max_runs: usize,
    max_run: usize,
}

impl<C: Foldable> Lanes<C> {
    /// At most `max_runs` runs are being decided at once, of at most `max_run` commands each.
    pub fn new(max_runs: usize, max_run: usize) -> Self {
        let (by_id, ready) = (HashMap::new(), VecDeque::new());
        Self { by_id, ready, queued: 0, running: 0, deciding: 0, started: 0, max_runs, max_run }
    }

    /// A command joins the end of its lane; answers how many wait there now.
    pub fn push(&mut self, id: LaneId, at: RecordId, command: C) -> usize {
        // Most lanes have one command.
        let queue = || VecDeque::with_capacity(1);
        let lane = self.by_id.entry(id).or_insert_with(|| Lane { queue: queue(), deciding: None, answering: None, early: false });
        if lane.queue.is_empty() && lane.deciding.is_none() {
            self.ready.push_back(id);
        }
        lane.queue.push_back((at, command));
        self.queued += 1;
        lane.queue.len()
    }

    /// The next run to start, if there is one and the bound allows it.
    pub fn start(&mut self, now: Uptime) -> Option<Run<C>> {
        if self.deciding >= self.max_runs {
            return None;
        }
        let id = self.ready.pop_front()?;
        let lane = self.by_id.get_mut(&id).expect("ready lanes exist");
        let mut commands = vec![lane.queue.pop_front().expect("ready lanes have commands")];
        while commands.len() < self.max_run && lane.queue.front().is_some_and(|next| commands[0].1.folds_with(&next.1)) {
            commands.extend(lane.queue.pop_front());
        }
        self.started += 1;
        let number = self.started;
        lane.deciding = Some(UnderWay { number, commands: commands.len(), since: now });
        self.queued -= commands.len();
        self.running += commands.len();
        self.deciding += 1;
        Some(Run { id: RunId { lane: id, number }, commands, awaited: !lane.queue.is_empty() })
    }

    /// What the run's commands are answered is settled, and only the answers are to be written: its lane's next run may
    /// start, unless there are still two under way.
    pub fn decided(&mut self, run: RunId) {
        let lane = self.by_id.get_mut(&run.lane).expect("a lane with a run exists");
        if lane.answering.is_none() {
            lane.answering = lane.deciding.take();
            self.deciding -= 1;
            if !lane.queue.is_empty() {
                self.ready.push_back(run.lane);
            }
        }
    }

    /// The run is over; its lane's next one may start, unless it has.
    pub fn finish(&mut self, run: RunId) -> Turn {
        let lane = self.by_id.get_mut(&run.lane).expect("a lane with a run exists");
        let is = |under_way: Option<UnderWay>| under_way.is_some_and(|one| one.number == run.number);
        let is_next = is(lane.deciding);
        assert!(is_next || is(lane.answering), "only a run under way can be finished");
        if is_next && lane.answering.is_some() {
            lane.early = true;
            return Turn::NotYet;
        }
        let both = std::mem::take(&mut lane.early);
        let over = [lane.answering.take(), if is_next || both { lane.deciding.take() } else { None }];
        self.running -= over.iter().flatten().map(|run| run.commands).sum::<usize>();
        if is_next || both {
            self.deciding -= 1;
            if !lane.queue.is_empty() {
                self.ready.push_back(run.lane);
            }
        }
        if lane.queue.is_empty() && lane.deciding.is_none() {
            self.by_id.remove(&run.lane);
        }
        if both { Turn::ItsAndTheNext } else { Turn::Its }
    }

    /// Forgets what waits; what runs goes on.
    pub fn drop_queued(&mut self) {
        self.by_id.retain(|_, lane| {
            lane.queue.clear();
            lane.deciding.is_some() || lane.answering.is_some()
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

    /// Returns when the oldest of the runs under way began; `None` if there are none.
    pub fn oldest_run(&self) -> Option<Uptime> {
        let under_way = self.by_id.values().flat_map(|lane| [lane.deciding, lane.answering]);
        under_way.flatten().map(|run| run.since).min()
    }

    /// Commands being processed.
    pub fn running(&self) -> usize {
        self.running
    }
}
