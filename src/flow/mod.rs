//! The stream, pure: state machines without I/O and without a clock. [`Flow`] is the life of one assignment of
//! partitions: records are delivered, admitted to [`lanes`], finished, committed in [`batch`]es together with the
//! [`offsets`] they complete. Nothing of it outlives the assignment. A process has a [`stream`] of assignments, one at a
//! time, an [`intake`] of records, and an [`attempt`] at a transaction. The processor drives the stream between Kafka
//! and the store.

pub mod attempt;
pub mod batch;
pub mod intake;
pub mod lanes;
pub mod offsets;
pub mod stream;
pub mod succession;
#[cfg(test)]
mod tests;

use attempt::Pace;
use batch::{Batches, Finished, Publishable};
use lanes::{Foldable, LaneId, Lanes, Run, RunId, Task, Turn};
use offsets::{BITS_PER_CHARACTER, Committed, Delivery, MAX_SPAN, Offsets};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use stream::AssignmentId;

/// Names a partition of the command topic.
pub type Partition = i32;

/// A moment, as the time since the process began. Nothing here reads a clock.
pub type Uptime = Duration;

/// Names a record of a topic that goes without saying, most often the command topic. Its text is `3/17`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId {
    /// Its partition.
    pub partition: Partition,
    /// Its offset there.
    pub offset: i64,
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.partition, self.offset)
    }
}

impl FromStr for RecordId {
    type Err = &'static str;

    /// Reads what [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let (partition, offset) = text.split_once('/')?;
            let id = Self { partition: partition.parse().ok()?, offset: offset.parse().ok()? };
            (id.partition >= 0 && id.offset >= 0).then_some(id)
        };
        read().ok_or("must be PARTITION/OFFSET, such as 3/17")
    }
}

/// The bounds of the stream. Each keeps one queue or one transaction from growing with what arrives.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Runs decided at once, most of them of one command: as many conditional writes as keep the store busy. (Counted in
    /// commands, the runs of a hot key would be the shorter the busier the others are.)
    pub max_in_flight: usize,
    /// Records between intake and commit; at the bound nothing more is taken in.
    pub max_queued: usize,
    /// Commands waiting in one lane; at the bound its partition is paused, so that one key can't take all the room. At half
    /// of it the partition goes on: what is left, a run, lasts until records come again, some ms later.
    pub max_lane: usize,
    /// Commands decided together, by as few conditional writes as they can be; see `store::claims::MAX_RUN`.
    pub max_run: usize,
    /// Records in one transaction: bounds what is repeated when it fails.
    pub max_transaction_records: usize,
    /// Bytes of outputs in one transaction, roughly.
    pub max_transaction_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_in_flight: 256,
            max_queued: 2_048,
            max_lane: 1_024,
            max_run: 512,
            max_transaction_records: 1_000,
            max_transaction_bytes: 8 << 20,
        }
    }
}

/// An offset to be committed in a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommit {
    /// Of the command topic.
    pub partition: Partition,
    /// The next offset to read.
    pub offset: i64,
    /// Which offsets above it are done.
    pub metadata: String,
}

/// What one Kafka transaction is to carry.
#[derive(Debug)]
pub struct Transaction<O> {
    /// Records with their outputs; none where offsets alone are behind.
    pub records: Vec<Finished<O>>,
    /// One for each partition of `records`.
    pub offsets: Vec<OffsetCommit>,
}

/// A transaction with all that its publisher needs to know. `G` is a membership of the group.
#[derive(Clone, Debug)]
pub struct Publication<O, G> {
    /// The assignment that the records belong to.
    pub assignment: AssignmentId,
    /// The membership of the group that the offsets are committed with.
    pub membership: G,
    /// The records with their outputs.
    pub records: Vec<Finished<O>>,
    /// What they complete.
    pub offsets: Vec<OffsetCommit>,
}

/// A partition of the assignment.
#[derive(Debug)]
struct Assigned {
    offsets: Offsets,
    /// Lanes of this partition that are too long.
    long_lanes: usize,
    /// Its next record can't be admitted yet.
    blocked: bool,
    /// What the consumer was told last.
    paused: bool,
}

/// One assignment of partitions, from its beginning to its revocation.
#[derive(Debug)]
pub struct Flow<C, A, O> {
    limits: Limits,
    partitions: BTreeMap<Partition, Assigned>,
    lanes: Lanes<C, A>,
    long_lanes: HashMap<LaneId, Partition>,
    batches: Batches<O>,
    /// Of runs that are over before the one before them in their lane.
    early: HashMap<LaneId, Vec<Finished<O>>>,
    /// Delivered and not committed.
    open: usize,
    /// How far above the lowest incomplete record others may be done: [`MAX_SPAN`], or less where the coordinator takes less.
    max_span: usize,
    publishing: bool,
    draining: bool,
}

impl<C: Foldable, A, O: Publishable> Flow<C, A, O> {
    /// Goes on from what was committed for the partitions.
    pub fn new(limits: Limits, assignment: &[(Partition, Committed)]) -> Self {
        let assigned = |c: &Committed| Assigned { offsets: Offsets::resume(c), long_lanes: 0, blocked: false, paused: false };
        Self {
            limits,
            partitions: assignment.iter().map(|(p, c)| (*p, assigned(c))).collect(),
            lanes: Lanes::new(limits.max_in_flight, limits.max_run),
            long_lanes: HashMap::new(),
            batches: Batches::new(limits.max_transaction_records, limits.max_transaction_bytes),
            early: HashMap::new(),
            open: 0,
            max_span: MAX_SPAN,
            publishing: false,
            draining: false,
        }
    }

    /// A record arrived. To be processed if [`Delivery::New`]; then [`Flow::admit`] must follow.
    pub fn deliver(&mut self, at: RecordId) -> Delivery {
        let Some(partition) = self.partitions.get_mut(&at.partition) else { return Delivery::Known };
        let delivery = partition.offsets.deliver(at.offset);
        if delivery == Delivery::New {
            self.open += 1;
        }
        delivery
    }

    /// Puts what is to be done about a record into its lane.
    pub fn admit(&mut self, at: RecordId, lane: LaneId, task: Task<C, A>) {
        let depth = self.lanes.push(lane, at, task);
        if depth >= self.limits.max_lane && self.long_lanes.insert(lane, at.partition).is_none() {
            self.partition(at.partition).long_lanes += 1;
        }
    }

    /// The next run to process, if the bounds allow one. [`Flow::finish_run`] must follow.
    pub fn next_run(&mut self, now: Uptime) -> Option<Run<C, A>> {
        let run = self.lanes.start(now)?;
        if self.lanes.depth(run.id.lane) < self.limits.max_lane / 2
            && let Some(partition) = self.long_lanes.remove(&run.id.lane)
        {
            self.partition(partition).long_lanes -= 1;
        }
        Some(run)
    }

    /// All of a run is decided, its answers are still to be written. The next run of its lane may start. Need not be told.
    pub fn run_decided(&mut self, run: RunId) {
        self.lanes.decided(run);
    }

    /// A run was processed. Its results wait for those of the run before it in its lane.
    pub fn finish_run(&mut self, run: RunId, results: Vec<Finished<O>>) {
        let next = match self.lanes.finish(run) {
            Turn::NotYet => {
                self.early.insert(run.lane, results);
                return;
            }
            Turn::Its => None,
            Turn::ItsAndTheNext => self.early.remove(&run.lane),
        };
        for result in results.into_iter().chain(next.into_iter().flatten()) {
            self.batches.push(run.lane, result);
        }
    }

    /// True while a transaction is better put off a little: it would carry less than what is being processed or waits for
    /// that, and may finish soon. A quarter of what may be open is enough: the rest must keep the lanes busy meanwhile.
    pub fn is_filling(&self) -> bool {
        let waiting = self.batches.waiting();
        let soon = self.lanes.running() + self.lanes.queued();
        let enough = self.batches.cap().min(self.limits.max_queued / 4);
        !self.publishing && !self.draining && waiting > 0 && waiting < soon.min(enough)
    }

    /// The next transaction, if none is under way and there is something to commit. [`Flow::committed`],
    /// [`Flow::aborted`] or [`Flow::uncertain`] must follow.
    pub fn next_transaction(&mut self) -> Option<Transaction<O>> {
        if self.publishing {
            return None;
        }
        let (partitions, span) = (&self.partitions, self.max_span);
        let records = self.batches.take(|at| span == MAX_SPAN || partitions[&at.partition].offsets.reaches(at.offset, span));
        let mut behind: Vec<Partition> = self.partitions.iter().filter(|(_, p)| p.offsets.is_behind()).map(|(p, _)| *p).collect();
        for record in &records {
            self.partition(record.at.partition).offsets.committing(record.at.offset);
            behind.push(record.at.partition);
        }
        behind.sort_unstable();
        behind.dedup();
        if behind.is_empty() {
            return None;
        }
        let commit = |partition: Partition| {
            let (offset, metadata) = self.partitions[&partition].offsets.to_commit();
            OffsetCommit { partition, offset, metadata }
        };
        let offsets = behind.into_iter().map(commit).collect();
        self.publishing = true;
        Some(Transaction { records, offsets })
    }

    /// The transaction took so much of its time. What became of it must be told next.
    pub fn paced(&mut self, pace: Pace) {
        match pace {
            Pace::Late(_) => self.batches.too_slow(),
            Pace::Swift => self.batches.swift(),
            Pace::Usual => {}
        }
    }

    /// The transaction was committed; it carried `records` records.
    pub fn committed(&mut self, records: usize) {
        self.uncertain(records, Vec::new(), Vec::new());
    }

    /// Nothing of the transaction took effect. `records` are tried again, `refused` alone and before what follows in their lanes.
    pub fn aborted(&mut self, records: Vec<Finished<O>>, refused: Vec<Finished<O>>) {
        self.publishing = false;
        self.partitions.values_mut().for_each(|p| p.offsets.abort());
        self.batches.ended(records, refused);
    }

    /// Nothing of the transaction took effect, because the coordinator takes less metadata with an offset than it carried. From now
    /// on records are committed only as far above the lowest incomplete one as half of that reaches.
    pub fn offsets_too_large(&mut self, records: Vec<Finished<O>>) {
        let spans = self.partitions.values().map(|p| p.offsets.to_commit().1.len() * BITS_PER_CHARACTER);
        self.max_span = (spans.max().unwrap_or_default().min(self.max_span) / 2).max(1);
        self.aborted(records, Vec::new());
    }

    /// Whether the transaction was committed is told by what the coordinator has `now`. Returns the records that were, and the
    /// others. [`Flow::uncertain`] must follow.
    pub fn told_apart(
        &mut self,
        records: Vec<Finished<O>>,
        now: &[(Partition, Committed)],
    ) -> (Vec<Finished<O>>, Vec<Finished<O>>) {
        let covered = |at: RecordId| now.iter().any(|(p, c)| *p == at.partition && c.covers(at.offset));
        let (done, not_done): (Vec<_>, Vec<_>) = records.into_iter().partition(|r| covered(r.at));
        // Some of them: then a partition has passed to another instance, which went on from before the transaction.
        for record in &not_done {
            self.partition(record.at.partition).offsets.reopen(record.at.offset);
        }
        (done, not_done)
    }

    /// So many records of the transaction were `committed`. The others are tried again, those that are `refused` alone.
    pub fn uncertain(&mut self, committed: usize, again: Vec<Finished<O>>, refused: Vec<Finished<O>>) {
        self.publishing = false;
        self.open -= committed;
        self.partitions.values_mut().for_each(|p| p.offsets.commit());
        self.batches.ended(again, refused);
    }

    /// Some time has passed: a record whose outputs were refused may be tried again.
    pub fn try_held(&mut self) {
        self.batches.try_held();
    }

    /// Nothing more is admitted. With `drop_queued`, commands that wait are forgotten (they will be delivered again, to
    /// whoever has the partition then); what runs is finished and committed.
    pub fn drain(&mut self, drop_queued: bool) {
        self.draining = true;
        if drop_queued {
            self.lanes.drop_queued();
        }
    }

    /// True if nothing runs and nothing waits for its transaction, those held left out.
    pub fn is_drained(&self) -> bool {
        self.lanes.queued() + self.lanes.running() + self.batches.waiting() == 0 && !self.publishing
    }

    /// True if more records may be taken in. Commands that could start soon are enough: more of them cost memory, unless they
    /// join lanes that wait already.
    pub fn has_room(&self) -> bool {
        !self.draining && self.open < self.limits.max_queued && self.lanes.ready() < 2 * self.limits.max_in_flight
    }

    /// The next record of the partition can't be admitted yet (true), or can now (false).
    pub fn block(&mut self, partition: Partition, blocked: bool) {
        if let Some(assigned) = self.partitions.get_mut(&partition) {
            assigned.blocked = blocked;
        }
    }

    /// The partitions that are to be paused (true) or resumed (false), since it was asked last.
    pub fn pauses(&mut self) -> Vec<(Partition, bool)> {
        let mut changes = Vec::new();
        // What has been fetched already still arrives after a pause: hence half the span as a reserve.
        for (partition, assigned) in &mut self.partitions {
            let limit = if assigned.paused { self.max_span / 4 } else { self.max_span / 2 };
            let pause = assigned.blocked || assigned.long_lanes > 0 || assigned.offsets.span() >= limit;
            if pause != assigned.paused {
                assigned.paused = pause;
                changes.push((*partition, pause));
            }
        }
        changes
    }

    /// The lowest offset of each partition that is not done.
    pub fn lows(&self) -> impl Iterator<Item = (Partition, i64)> {
        self.partitions.iter().map(|(p, a)| (*p, a.offsets.low()))
    }

    /// Records delivered and not committed.
    pub fn open(&self) -> usize {
        self.open
    }

    /// Commands that wait for their turn.
    pub fn queued(&self) -> usize {
        self.lanes.queued()
    }

    /// Lanes with commands.
    pub fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Partitions that the consumer was told to pause.
    pub fn paused(&self) -> usize {
        self.partitions.values().filter(|p| p.paused).count()
    }

    /// Commands being processed.
    pub fn running(&self) -> usize {
        self.lanes.running()
    }

    /// Records that the broker refused, and those behind them in their lanes.
    pub fn held(&self) -> usize {
        self.batches.held()
    }

    /// Returns whether the broker refused records that are not committed yet.
    pub fn is_holding(&self) -> bool {
        self.batches.is_holding()
    }

    /// Returns when the oldest of the runs under way began; `None` if there are none.
    pub fn oldest_run(&self) -> Option<Uptime> {
        self.lanes.oldest_run()
    }

    /// How far above the lowest incomplete record others may be done, if the coordinator takes less metadata than usual.
    pub fn short_span(&self) -> Option<usize> {
        (self.max_span < MAX_SPAN).then_some(self.max_span)
    }

    fn partition(&mut self, partition: Partition) -> &mut Assigned {
        self.partitions.get_mut(&partition).expect("records of other partitions are not admitted")
    }
}
