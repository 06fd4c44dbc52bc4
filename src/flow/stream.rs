//! The stream of one process as a state machine: what is taken in, what runs, what is published, and when it is given up. `processor`
//! drives it with threads and tasks, and the simulation of the tests drives the same machine step by step.
//!
//! Its methods are of three kinds:
//!
//! - `handle_…` say what has happened. They do little: what follows from it is asked for.
//! - [`Stream::poll`] says what is to be done next. Whoever drives the machine asks until there is nothing left, after each event, and
//!   again when [`Stream::poll_timeout`] says so.
//! - All others look at the machine and change nothing.
//!
//! The machine reads no clock: `now` is an argument.
//!
//! A process has one assignment of partitions at a time. What belongs to an earlier one is dropped wherever it turns up: its records are
//! delivered again, to whoever has their partitions then.

use super::attempt::{Pace, Refusal, Verdict};
use super::batch::{Finished, Publishable};
use super::intake::{Intake, Reader};
use super::lanes::{Run, RunId, Task, lane_of};
use super::offsets::{Committed, Delivery};
use super::{Flow, Limits, Partition, Publication, RecordId, Transaction, Uptime};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// Counts the assignments of this process.
pub type AssignmentId = u64;

/// How long what is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long a transaction waits for more than has finished, while more is being processed. What a transaction costs, for us and for the
    /// brokers, is spread over its records: a fifth of the CPU of a command where the store is the limit.
    pub linger: Duration,
    /// How long a revocation waits for what is being processed. Heartbeats go on meanwhile, but the others of the group wait.
    pub revocation_grace: Duration,
    /// How long a shutdown waits for what is being processed.
    pub shutdown_grace: Duration,
    /// How often a record whose outputs the broker refused is tried again, one at a time.
    pub held_retry: Duration,
}

impl Timing {
    /// Returns the usual times, with this one for a shutdown.
    pub fn new(shutdown_grace: Duration) -> Self {
        Self {
            linger: Duration::from_millis(20),
            revocation_grace: Duration::from_secs(5),
            shutdown_grace,
            held_retry: Duration::from_secs(5),
        }
    }
}

/// What is to be done.
pub enum Action<R: Reader, O, G> {
    /// Stop the runs of the assignment, and forget what was to be read ahead for it: the partitions are somebody else's. While the
    /// store is away these runs would go on for ever, and every assignment would add more.
    AbortRuns,
    /// Let the consumer go on with the revocation, if it waits: nothing more will be committed for its partitions.
    Drained {
        /// Whether all that was being processed is finished and committed. If not, its records are delivered again.
        in_time: bool,
    },
    /// Leave the group, and end.
    Leave,
    /// Fetch what a record lacks, however long that takes. [`Stream::handle_fetched`] must follow.
    Fetch(R::Need),
    /// Process this run: decide its commands and answer them, or answer its record. [`Stream::handle_run_finished`] must follow.
    Process(AssignmentId, Run<R::Command, R::Answerable>),
    /// Some of these belong to commands that wait for their turn: read them ahead.
    ReadAhead(Vec<R::Ahead>),
    /// Publish this. [`Stream::handle_published`] must follow.
    Publish(Publication<O, G>),
    /// Pause fetching from these partitions (true), or go on with it (false).
    Pause(Vec<(Partition, bool)>),
}

/// Partitions from their assignment to their revocation. `G` is the membership of the group.
#[derive(Debug)]
pub struct Assignment<C, A, O, G> {
    /// Its number.
    pub id: AssignmentId,
    /// The membership of the group that its offsets are committed with.
    pub membership: G,
    /// What happens to its records.
    pub flow: Flow<C, A, O>,
}

/// What is known after a transaction.
pub struct Published<O: Publishable> {
    /// The records of which it is known that they are committed.
    pub done: Vec<Finished<O>>,
    /// What is to be told of each output that was refused.
    pub refused: Vec<O::Refused>,
}

impl<O: Publishable> Published<O> {
    fn committed(done: Vec<Finished<O>>) -> Self {
        Self { done, refused: Vec::new() }
    }
}

impl<O: Publishable> Default for Published<O> {
    fn default() -> Self {
        Self::committed(Vec::new())
    }
}

/// Whether the process is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopping {
    /// It goes on.
    No,
    /// It finishes what is being processed.
    Draining,
    /// It leaves the group.
    Leaving,
}

/// See the module. `R` reads records, `O` are the outputs of one record, `G` is the membership of the group.
pub struct Stream<R: Reader, O, G> {
    limits: Limits,
    timing: Timing,
    intake: Intake<R>,
    assignment: Option<Assignment<R::Command, R::Answerable, O, G>>,
    /// Until when what is being processed may be finished, if the partitions are to be given up.
    draining: Option<Uptime>,
    stopping: Stopping,
    /// Until when a transaction is put off, if one is.
    put_off: Option<Uptime>,
    /// When the next of the records that are held is tried, if there are any.
    try_held: Option<Uptime>,
    /// Actions that go before all others.
    first: VecDeque<Action<R, O, G>>,
}

/// What has happened.
impl<R: Reader, O: Publishable, G: Clone> Stream<R, O, G> {
    /// Nothing is assigned yet.
    pub fn new(limits: Limits, timing: Timing, reader: R) -> Self {
        Self {
            limits,
            timing,
            intake: Intake::new(reader),
            assignment: None,
            draining: None,
            stopping: Stopping::No,
            put_off: None,
            try_held: None,
            first: VecDeque::new(),
        }
    }

    /// These are the partitions that this process has now, and where each is to go on.
    pub fn handle_assigned(&mut self, id: AssignmentId, membership: G, partitions: &[(Partition, Committed)]) {
        self.give_up();
        self.assignment = Some(Assignment { id, membership, flow: Flow::new(self.limits, partitions) });
    }

    /// The partitions are to be given up as soon as what runs is finished and committed, or are `lost` already.
    pub fn handle_revoked(&mut self, lost: bool, now: Uptime) {
        self.intake.clear();
        if lost {
            self.give_up();
        } else if let Some(assignment) = &mut self.assignment {
            assignment.flow.drain(true);
        }
        self.draining = Some(now + self.timing.revocation_grace);
    }

    /// The process is to end, as soon as what was taken in is finished and committed.
    pub fn handle_shutdown(&mut self, now: Uptime) {
        if self.stopping != Stopping::No {
            return;
        }
        self.stopping = Stopping::Draining;
        if let Some(assignment) = &mut self.assignment {
            assignment.flow.drain(false);
        }
        self.draining.get_or_insert(now + self.timing.shutdown_grace);
    }

    /// Records have arrived, in the order of each partition. Takes none of them if they belong to an earlier assignment.
    pub fn handle_records(&mut self, assignment: AssignmentId, records: impl IntoIterator<Item = R::Record>) {
        if let Some(assignment) = self.assignment.as_mut().filter(|current| current.id == assignment) {
            records.into_iter().for_each(|record| self.intake.take(record, &mut assignment.flow));
        }
    }

    /// The record can't be taken from what the brokers send, and this command stands for it. Returns whether the consumer may go on
    /// behind the record; if not, the record is too far above the lowest incomplete one, or nothing is assigned.
    pub fn handle_undecodable(&mut self, id: RecordId, answerable: R::Answerable) -> bool {
        let Some(Assignment { flow, .. }) = &mut self.assignment else { return false };
        match flow.deliver(id) {
            Delivery::New => {
                flow.admit(id, lane_of(id, None, None::<()>), Task::Answer(answerable));
                true
            }
            Delivery::Known => true,
            Delivery::TooFar | Delivery::Backwards => false,
        }
    }

    /// What was to be fetched is there.
    pub fn handle_fetched(&mut self, need: &R::Need) {
        self.intake.fetched(need);
    }

    /// A run is decided, and its answers are still to be written: the next run of its lane may start. Need not be told.
    pub fn handle_run_decided(&mut self, assignment: AssignmentId, run: RunId) {
        if let Some(flow) = self.flow(assignment) {
            flow.run_decided(run);
        }
    }

    /// A run is over.
    pub fn handle_run_finished(&mut self, assignment: AssignmentId, run: RunId, results: Vec<Finished<O>>) {
        if let Some(flow) = self.flow(assignment) {
            flow.finish_run(run, results);
        }
    }

    /// A transaction is over. Of its records, those whose outputs were sent elsewhere are tried again with the others, and those that are
    /// refused alone. A transaction that was too slow is tried again with fewer records; what is too slow even alone counts as refused.
    pub fn handle_published(
        &mut self,
        assignment: AssignmentId,
        records: Vec<Finished<O>>,
        verdict: Verdict,
        pace: Pace,
    ) -> Published<O> {
        // However it ended, the lowest incomplete record may be another one now.
        self.intake.stir();
        let Some(flow) = self.flow(assignment) else {
            return Published::committed(if verdict == Verdict::Committed { records } else { Vec::new() });
        };
        flow.paced(pace);
        let silent = if let (Pace::Late(Some(refusal)), 1) = (pace, records.len()) { vec![refusal] } else { Vec::new() };
        match verdict {
            Verdict::Committed => {
                flow.committed(records.len());
                Published::committed(records)
            }
            Verdict::Aborted => {
                let Sorted { again, alone, refused } = Sorted::of(records, &silent);
                flow.aborted(again, alone);
                Published { refused, ..Published::default() }
            }
            Verdict::Refused(refusals) => {
                let Sorted { again, alone, refused } = Sorted::of(records, &refusals);
                flow.aborted(again, alone);
                Published { refused, ..Published::default() }
            }
            Verdict::OffsetsTooLarge => {
                flow.offsets_too_large(records);
                Published::default()
            }
            Verdict::Stale => {
                self.give_up();
                Published::default()
            }
            Verdict::Uncertain(now) => {
                let (done, not_done) = flow.told_apart(records, &now);
                // What a late transaction carried alone is the one record that is not done, if it is not.
                let silent = if not_done.is_empty() { Vec::new() } else { silent };
                let Sorted { again, alone, refused } = Sorted::of(not_done, &silent);
                flow.uncertain(done.len(), again, alone);
                Published { done, refused }
            }
        }
    }

    /// The partitions are somebody else's from now on.
    fn give_up(&mut self) {
        self.intake.clear();
        (self.put_off, self.try_held) = (None, None);
        if self.assignment.take().is_some() {
            self.first.push_back(Action::AbortRuns);
        }
    }

    fn flow(&mut self, assignment: AssignmentId) -> Option<&mut Flow<R::Command, R::Answerable, O>> {
        self.assignment.as_mut().filter(|current| current.id == assignment).map(|current| &mut current.flow)
    }
}

/// What is to be done.
impl<R: Reader, O: Publishable, G: Clone> Stream<R, O, G> {
    /// Returns what is to be done next; `None` if there is nothing to be done before the next event, or the time of
    /// [`Stream::poll_timeout`].
    pub fn poll(&mut self, now: Uptime) -> Option<Action<R, O, G>> {
        if let Some(first) = self.first.pop_front() {
            return Some(first);
        }
        if let Some(Assignment { flow, .. }) = &mut self.assignment {
            self.intake.resume(flow);
        }
        if let Some(need) = self.intake.next_wanted() {
            return Some(Action::Fetch(need));
        }
        if let Some(action) = self.poll_assignment(now) {
            return Some(action);
        }
        self.end_draining(now);
        self.first.pop_front()
    }

    /// Returns when [`Stream::poll`] must be called though nothing has happened; `None` if there is no such time. To be asked when there
    /// is nothing left to be done.
    pub fn poll_timeout(&self) -> Option<Uptime> {
        [self.draining, self.put_off, self.try_held].into_iter().flatten().min()
    }

    fn poll_assignment(&mut self, now: Uptime) -> Option<Action<R, O, G>> {
        let Assignment { id, membership, flow } = self.assignment.as_mut()?;
        if !flow.is_holding() {
            self.try_held = None;
        } else if now >= *self.try_held.get_or_insert(now + self.timing.held_retry) {
            self.try_held = Some(now + self.timing.held_retry);
            flow.try_held();
        }
        if let Some(run) = flow.next_run(now) {
            return Some(Action::Process(*id, run));
        }
        let ahead = self.intake.ahead();
        // What runs already reads for itself.
        if !ahead.is_empty() && flow.queued() > 0 {
            return Some(Action::ReadAhead(ahead));
        }
        // It stays only while there is something to put off.
        let until = self.put_off.take().unwrap_or(now + self.timing.linger);
        if flow.is_filling() && now < until {
            self.put_off = Some(until);
        } else if let Some(Transaction { records, offsets }) = flow.next_transaction() {
            return Some(Action::Publish(Publication { assignment: *id, membership: membership.clone(), records, offsets }));
        }
        let pauses = flow.pauses();
        if pauses.is_empty() { None } else { Some(Action::Pause(pauses)) }
    }

    /// Gives the partitions up if nothing of them is under way any more, or the time for that is over.
    fn end_draining(&mut self, now: Uptime) {
        let Some(until) = self.draining else { return };
        let in_time = self.assignment.as_ref().is_none_or(|assignment| assignment.flow.is_drained());
        if !in_time && now < until {
            return;
        }
        self.draining = None;
        self.give_up();
        self.first.push_back(Action::Drained { in_time });
        if self.stopping == Stopping::Draining {
            self.stopping = Stopping::Leaving;
            self.first.push_back(Action::Leave);
        }
    }
}

/// What can be seen of it.
impl<R: Reader, O: Publishable, G> Stream<R, O, G> {
    /// Returns whether more records may be taken in. Without an assignment they are: they belong to an earlier one, and are dropped.
    pub fn has_room(&self) -> bool {
        let has_room = self.assignment.as_ref().is_none_or(|assignment| assignment.flow.has_room());
        has_room && self.intake.waiting() < self.limits.max_queued
    }

    /// Returns the partitions that the process has now, if it has any.
    pub fn current(&self) -> Option<&Assignment<R::Command, R::Answerable, O, G>> {
        self.assignment.as_ref()
    }

    /// Returns how many records wait to be admitted.
    pub fn waiting(&self) -> usize {
        self.intake.waiting()
    }

    /// Returns the first record that was found below what is done already, if there was one: the topic was made again, or its log was
    /// cut off.
    pub fn backwards(&self) -> Option<RecordId> {
        self.intake.backwards()
    }

    /// Returns whether the process is to end.
    pub fn stopping(&self) -> Stopping {
        self.stopping
    }
}

/// The records of a transaction that was not committed.
struct Sorted<O: Publishable> {
    /// Those that are tried again together.
    again: Vec<Finished<O>>,
    /// Those that are tried alone, because an output of theirs is refused and has no other place.
    alone: Vec<Finished<O>>,
    refused: Vec<O::Refused>,
}

impl<O: Publishable> Sorted<O> {
    fn of(mut records: Vec<Finished<O>>, refusals: &[Refusal]) -> Self {
        let (mut held, mut refused) = (BTreeSet::new(), Vec::new());
        for Refusal { record, output, why } in refusals.iter().copied() {
            let Finished { at, outputs } = &mut records[record];
            let (goes_elsewhere, told) = outputs.refused(*at, output, why);
            refused.push(told);
            if !goes_elsewhere {
                held.insert(record);
            }
        }
        let (alone, again): (Vec<_>, Vec<_>) = (0..).zip(records).partition(|(n, _)| held.contains(n));
        let records = |numbered: Vec<(usize, _)>| numbered.into_iter().map(|(_, record)| record).collect();
        Self { again: records(again), alone: records(alone), refused }
    }
}
