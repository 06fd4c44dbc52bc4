//! The order of the tasks. Tasks with the same key wait in one *lane* and are done strictly in order. Lanes run side by side, up to a bound
//! on the runs that are being decided.
//!
//! A lane processes one *run* after another. A run is either the lane's first command together with those right behind it that name
//! the same entity, which one conditional write can decide, or a single record that needs no decision. While the
//! answers of a run are being written, the next run of its lane may be decided; its results wait for those of the run before it.

use super::{RecordId, Uptime};
use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

/// The name of a lane: a hash of partition and key. (Two keys with the same hash share a lane, which harms neither.)
pub type LaneId = u64;

/// Returns the lane of a record: that of its key in its partition. Without a key it is that of `entity`, which the record's command names.
/// A record that has neither a key nor a command to decide has a lane of its own.
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
    /// Returns whether `next` names the entity that `self` names, by the same reference.
    fn folds_with(&self, next: &Self) -> bool;
}

/// The task of one record in its lane. `C` is a command; `A` is a record that can be answered without asking the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task<C, A> {
    /// To decide a command.
    Decide(C),
    /// To answer a record that has no command to decide.
    Answer(A),
}

/// The name of a run, within its assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RunId {
    /// The lane whose tasks are processed.
    pub lane: LaneId,
    /// The number of the run among the runs of all lanes.
    pub number: u64,
}

/// The tasks of one lane that are processed together.
#[derive(Debug)]
pub struct Run<C, A> {
    /// The run's name, which [`Lanes::decided`] and [`Lanes::finish`] are called with.
    pub id: RunId,
    /// The commands to decide, or the record to answer.
    pub work: Work<C, A>,
    /// Whether more tasks wait behind the run in its lane. They can begin when [`Lanes::decided`] says that this run is decided. If nobody
    /// calls that, they wait until the run is finished.
    pub awaited: bool,
}

/// The work of a run.
#[derive(Debug)]
pub enum Work<C, A> {
    /// To decide commands, in this order. There is at least one, and all name the same entity.
    Decide(Vec<(RecordId, C)>),
    /// To answer a record.
    Answer(RecordId, A),
}

/// The consequence of a run's end for its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The run before this one is not over yet, so the results of this one must wait.
    NotYet,
    /// The run is finished, and so is the one before it, if there was one.
    Its,
    /// The run is finished, and so is the one behind it, for which the answer was [`Turn::NotYet`].
    ItsAndTheNext,
}

/// A run under way.
#[derive(Clone, Copy, Debug)]
struct RunUnderWay {
    number: u64,
    records: usize,
    since: Uptime,
}

#[derive(Debug)]
struct Lane<C, A> {
    queue: VecDeque<(RecordId, Task<C, A>)>,
    deciding: Option<RunUnderWay>,
    /// The run before the one in `deciding`. Its answers are being written.
    answering: Option<RunUnderWay>,
    /// Whether the run in `deciding` is over and waits for the one in `answering`.
    early: bool,
}

/// All lanes of an assignment.
#[derive(Debug)]
pub struct Lanes<C, A> {
    by_id: HashMap<LaneId, Lane<C, A>>,
    /// The lanes in which tasks wait and no run is being decided, in the order in which they became so.
    ready: VecDeque<LaneId>,
    /// How many tasks wait in all lanes.
    queued: usize,
    /// How many tasks the runs under way have.
    running: usize,
    /// How many runs are being decided.
    deciding: usize,
    /// How many runs were started.
    started: u64,
    max_runs: usize,
    max_run: usize,
}

impl<C: Foldable, A> Lanes<C, A> {
    /// Creates lanes without tasks. At most `max_runs` runs will be decided at once, of at most `max_run` commands each.
    pub fn new(max_runs: usize, max_run: usize) -> Self {
        let (by_id, ready) = (HashMap::new(), VecDeque::new());
        Self { by_id, ready, queued: 0, running: 0, deciding: 0, started: 0, max_runs, max_run }
    }

    /// Puts a task at the end of its lane, and returns how many wait there now.
    pub fn push(&mut self, id: LaneId, at: RecordId, task: Task<C, A>) -> usize {
        // Most lanes have one task.
        let queue = || VecDeque::with_capacity(1);
        let lane = self.by_id.entry(id).or_insert_with(|| Lane { queue: queue(), deciding: None, answering: None, early: false });
        if lane.queue.is_empty() && lane.deciding.is_none() {
            self.ready.push_back(id);
        }
        lane.queue.push_back((at, task));
        self.queued += 1;
        lane.queue.len()
    }

    /// Starts the next run and returns it; `None` if no lane is ready, or `max_runs` runs are being decided.
    pub fn start(&mut self, now: Uptime) -> Option<Run<C, A>> {
        if self.deciding >= self.max_runs {
            return None;
        }
        let id = self.ready.pop_front()?;
        let lane = self.by_id.get_mut(&id).expect("ready lanes exist");
        let (work, records) = match lane.queue.pop_front().expect("ready lanes have tasks") {
            (at, Task::Answer(answer)) => (Work::Answer(at, answer), 1),
            (at, Task::Decide(first)) => {
                let commands = with_those_that_fold((at, first), &mut lane.queue, self.max_run);
                let records = commands.len();
                (Work::Decide(commands), records)
            }
        };
        self.started += 1;
        let number = self.started;
        lane.deciding = Some(RunUnderWay { number, records, since: now });
        self.queued -= records;
        self.running += records;
        self.deciding += 1;
        Some(Run { id: RunId { lane: id, number }, work, awaited: !lane.queue.is_empty() })
    }

    /// Takes note that the run is decided and only its answers are still to be written. The next run of its lane may start, unless the
    /// run before this one is not over yet.
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

    /// Takes note that the run is over, so that the next one of its lane may start if it has not. Returns what that means for the lane.
    ///
    /// # Panics
    /// Panics if the run is not under way.
    pub fn finish(&mut self, run: RunId) -> Turn {
        let lane = self.by_id.get_mut(&run.lane).expect("a lane with a run exists");
        let is = |under_way: Option<RunUnderWay>| under_way.is_some_and(|one| one.number == run.number);
        let is_next = is(lane.deciding);
        assert!(is_next || is(lane.answering), "only a run under way can be finished");
        if is_next && lane.answering.is_some() {
            lane.early = true;
            return Turn::NotYet;
        }
        let both = std::mem::take(&mut lane.early);
        let over = [lane.answering.take(), if is_next || both { lane.deciding.take() } else { None }];
        self.running -= over.iter().flatten().map(|run| run.records).sum::<usize>();
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

    /// Forgets the tasks that wait. Runs under way go on.
    pub fn drop_queued(&mut self) {
        self.by_id.retain(|_, lane| {
            lane.queue.clear();
            lane.deciding.is_some() || lane.answering.is_some()
        });
        self.ready.clear();
        self.queued = 0;
    }

    /// Returns how many tasks wait in the lane.
    pub fn depth(&self, id: LaneId) -> usize {
        self.by_id.get(&id).map_or(0, |lane| lane.queue.len())
    }

    /// Returns how many lanes could start a run if the bound allowed it.
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Returns how many lanes have tasks, waiting or under way.
    pub fn active(&self) -> usize {
        self.by_id.len()
    }

    /// Returns how many tasks wait in all lanes.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Returns when the oldest of the runs under way began; `None` if there are none.
    pub fn oldest_run(&self) -> Option<Uptime> {
        let under_way = self.by_id.values().flat_map(|lane| [lane.deciding, lane.answering]);
        under_way.flatten().map(|run| run.since).min()
    }

    /// Returns how many tasks the runs under way have.
    pub fn running(&self) -> usize {
        self.running
    }
}

/// Takes from the head of the queue what may be decided together with `first`, up to `max_run` commands in all.
fn with_those_that_fold<C: Foldable, A>(
    first: (RecordId, C),
    queue: &mut VecDeque<(RecordId, Task<C, A>)>,
    max_run: usize,
) -> Vec<(RecordId, C)> {
    let mut commands = vec![first];
    while commands.len() < max_run {
        match queue.pop_front() {
            Some((at, Task::Decide(next))) if commands[0].1.folds_with(&next) => commands.push((at, next)),
            Some(other) => {
                queue.push_front(other);
                break;
            }
            None => break,
        }
    }
    commands
}
