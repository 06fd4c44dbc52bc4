//! The life of one assignment of partitions: its lanes, its batches and its offsets, put together.
//!
//! Records are delivered, admitted to their lanes, processed in runs, finished, and committed in transactions. Whoever drives the
//! machine says what has happened, and asks for the next run and the next transaction.

use super::attempt::{Pace, Refusal};
use super::batch::{Batches, Finished, Publishable};
use super::lanes::{Foldable, LaneId, Lanes, Run, RunId, Task, Turn};
use super::offsets::{BITS_PER_CHARACTER, Committed, Delivery, MAX_SPAN, Offsets};
use super::{AssignmentId, Partition, RecordId, Uptime};
use std::collections::{BTreeMap, HashMap};

/// The bounds of the stream. Each keeps one queue or one transaction from growing with what arrives.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most runs that are being decided at once: as many conditional writes as keep the store busy. The bound counts runs, most of
    /// which have one command. If it counted commands, the runs of a hot key would get shorter whenever other lanes are busy.
    pub max_in_flight: usize,
    /// The most records between intake and commit. At this bound nothing more is taken in.
    pub max_queued: usize,
    /// The number of records that wait in one lane, or are held in it behind a record that the broker refuses, at which the lane's
    /// partition is paused, so that one key can't take all the room. The partition resumes when fewer than half as many wait. Half as many
    /// are about one run, which keeps the lane busy until new records arrive some milliseconds later.
    pub max_lane: usize,
    /// The most commands that are decided together, by as few conditional writes as possible; see `store::claims::MAX_RUN`.
    pub max_run: usize,
    /// The most records in one transaction. Bounds what is repeated when the transaction fails.
    pub max_transaction_records: usize,
    /// The most bytes of outputs in one transaction, roughly. A single record may have more.
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
    /// The partition of the command topic.
    pub partition: Partition,
    /// The next offset to read.
    pub offset: i64,
    /// The metadata of the offset, which says which offsets above it are done.
    pub metadata: String,
}

/// The contents of one Kafka transaction.
#[derive(Debug)]
pub struct Commit<O> {
    /// The records with their outputs. Empty if only offsets are to be committed, because records were skipped.
    pub records: Vec<Finished<O>>,
    /// One offset for each partition that has a record in `records`, or of which records were skipped.
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
    /// The offsets that are committed with the records.
    pub offsets: Vec<OffsetCommit>,
}

/// A change in whether the consumer fetches records of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetching {
    /// The consumer stops fetching.
    Paused,
    /// The consumer fetches again.
    Resumed,
}

/// A partition of the assignment.
#[derive(Debug)]
struct Assigned {
    offsets: Offsets,
    /// How many lanes of this partition are too long.
    long_lanes: usize,
    /// Whether the partition's next record can't be admitted yet.
    blocked: bool,
    /// Whether the consumer was last told to pause the partition.
    paused: bool,
}

/// One assignment of partitions, from its beginning to its revocation.
#[derive(Debug)]
pub struct Assignment<C, A, O> {
    limits: Limits,
    partitions: BTreeMap<Partition, Assigned>,
    lanes: Lanes<C, A>,
    long_lanes: HashMap<LaneId, Partition>,
    batches: Batches<O>,
    /// The results of runs that were over before the run ahead of them in their lane.
    early: HashMap<LaneId, Vec<Finished<O>>>,
    /// How many records were delivered and are not committed yet.
    open: usize,
    /// A record is committed only if it is less than so many offsets above the lowest incomplete one: [`MAX_SPAN`], or fewer if the
    /// coordinator takes less metadata.
    max_span: usize,
    publishing: bool,
    draining: bool,
}

impl<C: Foldable, A, O: Publishable> Assignment<C, A, O> {
    /// Begins an assignment. Each partition goes on from what was committed for it.
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

    /// Takes note that a record was delivered, and returns what is to be done with it. [`Assignment::admit`] must follow if it is
    /// [`Delivery::New`]. A record of a partition that is not assigned counts as [`Delivery::Known`].
    pub fn deliver(&mut self, at: RecordId) -> Delivery {
        let Some(partition) = self.partitions.get_mut(&at.partition) else { return Delivery::Known };
        let delivery = partition.offsets.deliver(at.offset);
        if delivery == Delivery::New {
            self.open += 1;
        }
        delivery
    }

    /// Puts the task of a record that is new into its lane.
    pub fn admit(&mut self, at: RecordId, lane: LaneId, task: Task<C, A>) {
        let depth = self.lanes.push(lane, at, task);
        if depth + self.batches.held_in(lane) >= self.limits.max_lane && self.long_lanes.insert(lane, at.partition).is_none() {
            self.partition(at.partition).long_lanes += 1;
        }
    }

    /// Starts the next run and returns it; [`Assignment::finish_run`] must follow. Returns `None` if no lane is ready, or if the most runs
    /// allowed ([`Limits::max_in_flight`]) are being decided.
    pub fn next_run(&mut self, now: Uptime) -> Option<Run<C, A>> {
        let run = self.lanes.start(now)?;
        if self.length(run.id.lane) < self.limits.max_lane / 2
            && let Some(partition) = self.long_lanes.remove(&run.id.lane)
        {
            self.partition(partition).long_lanes -= 1;
        }
        Some(run)
    }

    /// Takes note that all of a run is decided and only its answers are still to be encoded, so that the next run of its lane may start.
    /// This call may be left out.
    pub fn run_decided(&mut self, run: RunId) {
        self.lanes.decided(run);
    }

    /// Takes the results of a run that was processed. If the run before it in its lane is not over yet, the results wait for it.
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

    /// Returns whether the next transaction should be put off a little: fewer records have finished than are being processed or wait in
    /// their lanes, and these may finish soon. A transaction need not wait for more than it may carry, nor for more than a quarter of the
    /// records that may be open: the rest must keep the lanes busy meanwhile.
    pub fn is_filling(&self) -> bool {
        let waiting = self.batches.waiting();
        let soon = self.lanes.running() + self.lanes.queued();
        let enough = self.batches.cap().min(self.limits.max_queued / 4);
        !self.publishing && !self.draining && waiting > 0 && waiting < soon.min(enough)
    }

    /// Returns the next transaction; `None` if one is under way already or there is nothing to commit. [`Assignment::committed`],
    /// [`Assignment::aborted`], [`Assignment::offsets_too_large`] or [`Assignment::settled`] must follow.
    pub fn next_transaction(&mut self) -> Option<Commit<O>> {
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
            let offsets = &mut self.partition(partition).offsets;
            let (offset, metadata) = offsets.to_commit();
            offsets.begin(offset);
            OffsetCommit { partition, offset, metadata }
        };
        let offsets = behind.into_iter().map(commit).collect();
        self.publishing = true;
        Some(Commit { records, offsets })
    }

    /// Takes note of how much of its time the transaction under way took. How it ended must be told next. Returns the output that is to
    /// blame, if the transaction was late and that output is known.
    pub fn paced(&mut self, pace: Pace) -> Option<Refusal> {
        match pace {
            Pace::Late(suspect) => {
                let is_to_blame = self.batches.too_slow(suspect.is_some());
                return suspect.filter(|_| is_to_blame);
            }
            Pace::Swift => self.batches.swift(),
            Pace::Usual => {}
        }
        None
    }

    /// Takes note that the transaction was committed. It carried `records` records.
    pub fn committed(&mut self, records: usize) {
        self.settled(records, Vec::new(), Vec::new());
    }

    /// Takes note that nothing of the transaction took effect. `records` are tried again together; `refused` are tried alone, and before
    /// what follows them in their lanes.
    pub fn aborted(&mut self, records: Vec<Finished<O>>, refused: Vec<Finished<O>>) {
        self.publishing = false;
        self.partitions.values_mut().for_each(|p| p.offsets.abort());
        self.batches.ended(records, refused);
        self.shorten_lanes();
    }

    /// Takes note that nothing of the transaction took effect, because the coordinator takes less metadata with an offset than the
    /// transaction carried. From now on records are committed only as far above the lowest incomplete one as half that metadata can say.
    pub fn offsets_too_large(&mut self, records: Vec<Finished<O>>) {
        let spans = self.partitions.values().map(|p| p.offsets.to_commit().1.len() * BITS_PER_CHARACTER);
        self.max_span = (spans.max().unwrap_or_default().min(self.max_span) / 2).max(1);
        self.aborted(records, Vec::new());
    }

    /// Finds out which records of the transaction are committed, from what the coordinator has `now`. Returns those that are, and the
    /// others. [`Assignment::settled`] must follow.
    pub fn told_apart(
        &mut self,
        records: Vec<Finished<O>>,
        now: &[(Partition, Committed)],
    ) -> (Vec<Finished<O>>, Vec<Finished<O>>) {
        let (nothing, mut told) = (Committed::default(), Vec::new());
        for (partition, assigned) in &mut self.partitions {
            let found = now.iter().find(|(p, _)| p == partition);
            if assigned.offsets.found(found.map_or(&nothing, |(_, committed)| committed)) {
                told.extend(found);
            }
        }
        let covered = |at: RecordId| told.iter().any(|(p, c)| *p == at.partition && c.covers(at.offset));
        let (done, not_done): (Vec<_>, Vec<_>) = records.into_iter().partition(|r| covered(r.at));
        // `settled` completes what is still marked as committing. If only some records are not done, their partition has passed to
        // another instance, which went on from before the transaction.
        for record in &not_done {
            self.partition(record.at.partition).offsets.reopen(record.at.offset);
        }
        (done, not_done)
    }

    /// Takes note that so many records of the transaction are `committed`. The records in `again` are tried again together, those in
    /// `refused` alone.
    pub fn settled(&mut self, committed: usize, again: Vec<Finished<O>>, refused: Vec<Finished<O>>) {
        self.publishing = false;
        self.open -= committed;
        self.partitions.values_mut().for_each(|p| p.offsets.commit());
        self.batches.ended(again, refused);
        self.shorten_lanes();
    }

    /// Returns how many records of a lane wait for their turn, or for a record ahead of them that the broker refuses.
    fn length(&self, lane: LaneId) -> usize {
        self.lanes.depth(lane) + self.batches.held_in(lane)
    }

    /// Lets partitions go on whose lanes have become short, because less is held in them.
    fn shorten_lanes(&mut self) {
        let short = |lane: &LaneId| self.length(*lane) < self.limits.max_lane / 2;
        let short: Vec<LaneId> = self.long_lanes.keys().copied().filter(short).collect();
        for lane in short {
            if let Some(partition) = self.long_lanes.remove(&lane) {
                self.partition(partition).long_lanes -= 1;
            }
        }
    }

    /// Takes note that some time has passed, so that a record whose outputs were refused may be tried again.
    pub fn try_held(&mut self) {
        self.batches.try_held();
    }

    /// Begins to drain: [`Assignment::has_room`] returns `false` from now on, and what runs is finished and committed. With `drop_queued`,
    /// tasks that wait are forgotten; their records will be delivered again, to whoever has the partition then.
    pub fn drain(&mut self, drop_queued: bool) {
        self.draining = true;
        if drop_queued {
            self.lanes.drop_queued();
        }
    }

    /// Returns whether no task waits or runs, no transaction is under way, and nothing waits for one. Records that are held do not
    /// count.
    pub fn is_drained(&self) -> bool {
        self.lanes.queued() + self.lanes.running() + self.batches.waiting() == 0 && !self.publishing
    }

    /// Returns whether more records may be taken in. Once twice as many lanes are ready as may run, further lanes would only cost memory.
    /// (Tasks that join a lane which has tasks already do not make one more lane ready.)
    pub fn has_room(&self) -> bool {
        !self.draining && self.open < self.limits.max_queued && self.lanes.ready() < 2 * self.limits.max_in_flight
    }

    /// Takes note that the next record of the partition can't be admitted yet.
    pub fn block(&mut self, partition: Partition) {
        if let Some(assigned) = self.partitions.get_mut(&partition) {
            assigned.blocked = true;
        }
    }

    /// Takes note that the next record of the partition can be admitted now.
    pub fn unblock(&mut self, partition: Partition) {
        if let Some(assigned) = self.partitions.get_mut(&partition) {
            assigned.blocked = false;
        }
    }

    /// Returns the partitions that are to be paused or resumed: those for which this has changed since the last call.
    pub fn pauses(&mut self) -> Vec<(Partition, Fetching)> {
        let mut changes = Vec::new();
        // Half of the span is a reserve for the records that are on their way when the pause is asked for.
        for (partition, assigned) in &mut self.partitions {
            let limit = if assigned.paused { self.max_span / 4 } else { self.max_span / 2 };
            let pause = assigned.blocked || assigned.long_lanes > 0 || assigned.offsets.span() >= limit;
            if pause != assigned.paused {
                assigned.paused = pause;
                changes.push((*partition, if pause { Fetching::Paused } else { Fetching::Resumed }));
            }
        }
        changes
    }

    /// Returns for each partition the lowest offset that is not done.
    pub fn lows(&self) -> impl Iterator<Item = (Partition, i64)> {
        self.partitions.iter().map(|(p, a)| (*p, a.offsets.low()))
    }

    /// Returns how many records were delivered and are not committed yet.
    pub fn open(&self) -> usize {
        self.open
    }

    /// Returns how many tasks wait for their turn.
    pub fn queued(&self) -> usize {
        self.lanes.queued()
    }

    /// Returns how many lanes have tasks.
    pub fn lanes(&self) -> usize {
        self.lanes.active()
    }

    /// Returns how many partitions the consumer was told to pause.
    pub fn paused(&self) -> usize {
        self.partitions.values().filter(|p| p.paused).count()
    }

    /// Returns how many tasks are being done.
    pub fn running(&self) -> usize {
        self.lanes.running()
    }

    /// Returns how many records are held: those that the broker refused, and what has finished behind them in their lanes.
    pub fn held(&self) -> usize {
        self.batches.held()
    }

    /// Returns whether any record is held.
    pub fn is_holding(&self) -> bool {
        self.batches.is_holding()
    }

    /// Returns when the oldest of the runs under way began; `None` if there are none.
    pub fn oldest_run(&self) -> Option<Uptime> {
        self.lanes.oldest_run()
    }

    /// Returns within how many offsets of the lowest incomplete record others may be committed, if the coordinator takes less metadata than
    /// usual. Returns `None` if it takes as much as usual.
    pub fn short_span(&self) -> Option<usize> {
        (self.max_span < MAX_SPAN).then_some(self.max_span)
    }

    fn partition(&mut self, partition: Partition) -> &mut Assigned {
        self.partitions.get_mut(&partition).expect("records of other partitions are not admitted")
    }
}
