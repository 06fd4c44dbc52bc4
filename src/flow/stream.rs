//! The stream of one process as a state machine: what is taken in, what runs, what is published, and when partitions are given up.
//! `processor` drives it with threads and tasks, and the simulation of the tests drives the same machine step by step.
//!
//! Its methods are of three kinds:
//!
//! - `handle_…` tell the machine what has happened. They do little: the driver asks for what follows from it.
//! - [`Stream::poll`] says what is to be done next. Whoever drives the machine asks until there is nothing left, after each event, and
//!   again when [`Stream::poll_timeout`] says so.
//! - All others look at the machine and change nothing.
//!
//! The machine reads no clock: `now` is an argument.
//!
//! A process has one assignment of partitions at a time. Whatever belongs to an earlier one is dropped wherever it turns up: its records
//! are delivered again, to whoever has their partitions then.

use super::attempt::{Pace, Refusal, Verdict};
use super::batch::{Finished, Publishable, Redirection};
use super::intake::{Intake, Reader};
use super::lanes::{Run, RunId, Task, lane_of};
use super::offsets::{Committed, Delivery};
use super::{Assignment, AssignmentId, Commit, Fetching, Limits, Partition, Publication, RecordId, Uptime};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// How long the stream waits, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long a transaction waits for more records, while more are being processed than have finished. The cost of a transaction, for
    /// us and for the brokers, is spread over its records: where the store is the limit, waiting saves a fifth of the CPU for each
    /// command.
    pub linger: Duration,
    /// How long a revocation waits for what is being processed. Heartbeats go on meanwhile, but the others of the group wait.
    pub revocation_grace: Duration,
    /// How long a shutdown waits for what is being processed.
    pub shutdown_grace: Duration,
    /// How often a record whose outputs the broker refused is tried again, one at a time.
    pub held_retry: Duration,
}

impl Timing {
    /// Returns the usual times, with this grace for a shutdown.
    pub fn new(shutdown_grace: Duration) -> Self {
        Self {
            linger: Duration::from_millis(20),
            revocation_grace: Duration::from_secs(5),
            shutdown_grace,
            held_retry: Duration::from_secs(5),
        }
    }
}

/// Something that is to be done.
pub enum Action<R: Reader, O, G> {
    /// Stop the runs of the assignment, and forget what was to be read ahead for it: the partitions are somebody else's. While the store
    /// is away these runs would go on for ever, and every assignment would add more.
    AbortRuns,
    /// Let the consumer go on with the revocation, if it waits: no further transaction begins for its partitions.
    Drained {
        /// True if nothing is under way any more, because all was committed, or the partitions were lost before. False if the grace was
        /// over, or the next assignment came first. A transaction under way may then still commit, while all other records are
        /// delivered again.
        in_time: bool,
    },
    /// Leave the group, and end.
    Leave,
    /// Fetch what a record lacks, however long that takes. [`Stream::handle_fetched`] must follow.
    Fetch(R::Need),
    /// Process this run: decide its commands and answer them, or answer its record. [`Stream::handle_run_finished`] must follow.
    Process(AssignmentId, Run<R::Command, R::Answerable>),
    /// Read these ahead for commands that wait for their turn. Some may belong to commands that have begun meanwhile.
    ReadAhead(Vec<R::Ahead>),
    /// Publish this. [`Stream::handle_published`] must follow.
    Publish(Publication<O, G>),
    /// Pause fetching from these partitions, or go on with it.
    Pause(Vec<(Partition, Fetching)>),
}

/// The present assignment. `G` is the membership of the group.
#[derive(Debug)]
pub struct Current<C, A, O, G> {
    /// The number of the assignment.
    pub id: AssignmentId,
    /// The membership of the group that its offsets are committed with.
    pub membership: G,
    /// The life of its records.
    pub assignment: Assignment<C, A, O>,
}

/// The result of a transaction that is over: the records that it completed, and what is to be told of refused outputs.
pub struct Conclusion<O: Publishable> {
    /// The records that are known to be committed.
    pub done: Vec<Finished<O>>,
    /// A report on each output that the broker refused.
    pub refused: Vec<O::Refused>,
}

impl<O: Publishable> Conclusion<O> {
    fn committed(done: Vec<Finished<O>>) -> Self {
        Self { done, refused: Vec::new() }
    }
}

impl<O: Publishable> Default for Conclusion<O> {
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

/// The state machine that the module describes. `R` reads records, `O` are the outputs of one record, `G` is the membership of the group.
pub struct Stream<R: Reader, O, G> {
    limits: Limits,
    timing: Timing,
    intake: Intake<R>,
    current: Option<Current<R::Command, R::Answerable, O, G>>,
    /// The time at which the partitions are given up even if something is unfinished; `None` if they are not being given up.
    draining: Option<Uptime>,
    stopping: Stopping,
    /// The time until which the next transaction is put off, or `None` if it is not.
    put_off: Option<Uptime>,
    /// The time at which the next held record is tried, or `None` if none is held.
    try_held: Option<Uptime>,
    /// Actions that go before all others.
    first: VecDeque<Action<R, O, G>>,
}

/// The events: what has happened.
impl<R: Reader, O: Publishable, G: Clone> Stream<R, O, G> {
    /// Creates a stream with nothing assigned.
    pub fn new(limits: Limits, timing: Timing, reader: R) -> Self {
        Self {
            limits,
            timing,
            intake: Intake::new(reader),
            current: None,
            draining: None,
            stopping: Stopping::No,
            put_off: None,
            try_held: None,
            first: VecDeque::new(),
        }
    }

    /// Takes note of the partitions that this process has from now on, and of where each is to go on. Whatever it had before is given up.
    pub fn handle_assigned(&mut self, id: AssignmentId, membership: G, partitions: &[(Partition, Committed)]) {
        self.give_up();
        // If a revocation was still draining, the consumer has stopped waiting for it.
        if self.stopping == Stopping::No && self.draining.take().is_some() {
            self.first.push_back(Action::Drained { in_time: false });
        }
        self.current = Some(Current { id, membership, assignment: Assignment::new(self.limits, partitions) });
    }

    /// Takes note that the partitions are revoked. They are given up as soon as what runs is finished and committed, or at once if they
    /// are `lost`.
    pub fn handle_revoked(&mut self, lost: bool, now: Uptime) {
        self.intake.clear();
        if lost {
            self.give_up();
        } else if let Some(Current { assignment, .. }) = &mut self.current {
            assignment.drain(true);
        }
        self.draining = Some(now + self.timing.revocation_grace);
    }

    /// Takes note that the process is to end as soon as what was taken in is finished and committed, or the grace for a shutdown is over.
    pub fn handle_shutdown(&mut self, now: Uptime) {
        if self.stopping != Stopping::No {
            return;
        }
        self.stopping = Stopping::Draining;
        if let Some(Current { assignment, .. }) = &mut self.current {
            assignment.drain(false);
        }
        self.draining.get_or_insert(now + self.timing.shutdown_grace);
    }

    /// Takes records that have arrived, in the order of each partition. Drops them if they belong to an earlier assignment.
    pub fn handle_records(&mut self, assignment: AssignmentId, records: impl IntoIterator<Item = R::Record>) {
        if let Some(current) = self.current.as_mut().filter(|current| current.id == assignment) {
            records.into_iter().for_each(|record| self.intake.take(record, &mut current.assignment));
        }
    }

    /// Takes note of a record that the client library can't decode; `answerable` stands for it. Returns whether the consumer may go on
    /// behind the record. Returns `false` if the record is too far above the lowest incomplete one or below what is done, if records before
    /// it still wait to be admitted, or if nothing is assigned.
    pub fn handle_undecodable(&mut self, id: RecordId, answerable: R::Answerable) -> bool {
        let Some(Current { assignment, .. }) = &mut self.current else { return false };
        // This record would move the partition's next offset past those that wait, and they would then be skipped as known.
        if self.intake.has_waiting(id.partition) {
            return false;
        }
        match assignment.deliver(id) {
            Delivery::New => {
                assignment.admit(id, lane_of(id, None, None::<()>), Task::Answer(answerable));
                true
            }
            Delivery::Known => true,
            Delivery::TooFar | Delivery::Backwards => false,
        }
    }

    /// Takes note that what was to be fetched is there.
    pub fn handle_fetched(&mut self, need: &R::Need) {
        self.intake.fetched(need);
    }

    /// Takes note that a run is decided and only its answers are still to be written, so that the next run of its lane may start. This
    /// call may be left out.
    pub fn handle_run_decided(&mut self, assignment: AssignmentId, run: RunId) {
        if let Some(assignment) = self.assignment(assignment) {
            assignment.run_decided(run);
        }
    }

    /// Takes the results of a run that is over.
    pub fn handle_run_finished(&mut self, assignment: AssignmentId, run: RunId, results: Vec<Finished<O>>) {
        if let Some(assignment) = self.assignment(assignment) {
            assignment.finish_run(run, results);
        }
    }

    /// Takes note that a transaction is over. If it was not committed, its records are tried again together, but those with a refused
    /// output that has no other place are tried alone. A transaction that was too slow is tried again with fewer records; a record that
    /// is too slow alone twice counts as refused.
    pub fn handle_published(
        &mut self,
        assignment: AssignmentId,
        records: Vec<Finished<O>>,
        verdict: Verdict,
        pace: Pace,
    ) -> Conclusion<O> {
        // However the transaction ended, the lowest incomplete record may be another one now.
        self.intake.stir();
        let Some(assignment) = self.assignment(assignment) else {
            return Conclusion::committed(if verdict == Verdict::Committed { records } else { Vec::new() });
        };
        let silent: Vec<Refusal> = assignment.paced(pace).into_iter().collect();
        match verdict {
            Verdict::Committed => {
                assignment.committed(records.len());
                Conclusion::committed(records)
            }
            Verdict::Aborted | Verdict::Refused(_) => {
                let refusals = if let Verdict::Refused(refusals) = verdict { refusals } else { silent };
                let Sorted { again, alone, refused } = Sorted::of(records, &refusals);
                assignment.aborted(again, alone);
                Conclusion { refused, ..Conclusion::default() }
            }
            Verdict::OffsetsTooLarge => {
                assignment.offsets_too_large(records);
                Conclusion::default()
            }
            Verdict::Stale => {
                self.give_up();
                Conclusion::default()
            }
            Verdict::Uncertain(now) => {
                let (done, not_done) = assignment.told_apart(records, &now);
                // A silent refusal concerns the transaction's only record, and is dropped if that record turns out to be committed.
                let silent = if not_done.is_empty() { Vec::new() } else { silent };
                let Sorted { again, alone, refused } = Sorted::of(not_done, &silent);
                assignment.settled(done.len(), again, alone);
                Conclusion { done, refused }
            }
        }
    }

    /// Drops the assignment and all that belongs to it: the partitions are somebody else's from now on. That is so when they were lost,
    /// when the group no longer knows this member ([`Verdict::Stale`]), when what was under way is drained or its grace is over, and when
    /// the next assignment comes.
    fn give_up(&mut self) {
        self.intake.clear();
        (self.put_off, self.try_held) = (None, None);
        if self.current.take().is_some() {
            self.first.push_back(Action::AbortRuns);
        }
    }

    /// Returns the assignment with this number, or `None` if it is over.
    fn assignment(&mut self, id: AssignmentId) -> Option<&mut Assignment<R::Command, R::Answerable, O>> {
        self.current.as_mut().filter(|current| current.id == id).map(|current| &mut current.assignment)
    }
}

/// The actions: what follows from the events.
impl<R: Reader, O: Publishable, G: Clone> Stream<R, O, G> {
    /// Returns what is to be done next. Returns `None` if there is nothing to be done before the next event or the time of
    /// [`Stream::poll_timeout`].
    pub fn poll(&mut self, now: Uptime) -> Option<Action<R, O, G>> {
        if let Some(first) = self.first.pop_front() {
            return Some(first);
        }
        if let Some(Current { assignment, .. }) = &mut self.current {
            self.intake.resume(assignment);
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

    /// Returns when [`Stream::poll`] must be called even if nothing happens; `None` if there is no such time. The answer holds only once
    /// [`Stream::poll`] has returned `None`.
    pub fn poll_timeout(&self) -> Option<Uptime> {
        [self.draining, self.put_off, self.try_held].into_iter().flatten().min()
    }

    fn poll_assignment(&mut self, now: Uptime) -> Option<Action<R, O, G>> {
        let Current { id, membership, assignment } = self.current.as_mut()?;
        if !assignment.is_holding() {
            self.try_held = None;
        } else if now >= *self.try_held.get_or_insert(now + self.timing.held_retry) {
            self.try_held = Some(now + self.timing.held_retry);
            assignment.try_held();
        }
        if let Some(run) = assignment.next_run(now) {
            return Some(Action::Process(*id, run));
        }
        let ahead = self.intake.take_ahead();
        // A command that runs already reads for itself.
        if !ahead.is_empty() && assignment.queued() > 0 {
            return Some(Action::ReadAhead(ahead));
        }
        // The deadline stays set only while a transaction is put off.
        let until = self.put_off.take().unwrap_or(now + self.timing.linger);
        if assignment.is_filling() && now < until {
            self.put_off = Some(until);
        } else if let Some(Commit { records, offsets }) = assignment.next_transaction() {
            return Some(Action::Publish(Publication { assignment: *id, membership: membership.clone(), records, offsets }));
        }
        let pauses = assignment.pauses();
        if pauses.is_empty() { None } else { Some(Action::Pause(pauses)) }
    }

    /// Gives the partitions up if nothing of them is under way any more, or the time for it is over.
    fn end_draining(&mut self, now: Uptime) {
        let Some(until) = self.draining else { return };
        let in_time = self.current.as_ref().is_none_or(|current| current.assignment.is_drained());
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

/// The getters, which change nothing.
impl<R: Reader, O: Publishable, G> Stream<R, O, G> {
    /// Returns whether more records may be taken in. Records that arrive while nothing is assigned are taken and dropped, because they
    /// belong to an earlier assignment.
    pub fn has_room(&self) -> bool {
        let has_room = self.current.as_ref().is_none_or(|current| current.assignment.has_room());
        has_room && self.intake.waiting() < self.limits.max_queued
    }

    /// Returns the present assignment; `None` if the process has no partitions.
    pub fn current(&self) -> Option<&Current<R::Command, R::Answerable, O, G>> {
        self.current.as_ref()
    }

    /// Returns how many records wait to be admitted.
    pub fn waiting(&self) -> usize {
        self.intake.waiting()
    }

    /// Returns whether anything is being fetched without which a record can't be admitted.
    pub fn is_fetching(&self) -> bool {
        self.intake.is_fetching()
    }

    /// Returns the first record that showed that its partition begins anew, because its topic was made again or the topic's log was cut
    /// off. Returns `None` if there was no such record.
    pub fn backwards(&self) -> Option<RecordId> {
        self.intake.backwards()
    }

    /// Returns whether the process is to end, and how far that has come.
    pub fn stopping(&self) -> Stopping {
        self.stopping
    }
}

/// The records of a transaction that was not committed.
struct Sorted<O: Publishable> {
    /// The records that are tried again together.
    again: Vec<Finished<O>>,
    /// The records that are tried alone, because an output of theirs is refused and has no other place.
    alone: Vec<Finished<O>>,
    refused: Vec<O::Refused>,
}

impl<O: Publishable> Sorted<O> {
    fn of(mut records: Vec<Finished<O>>, refusals: &[Refusal]) -> Self {
        let (mut held, mut refused) = (BTreeSet::new(), Vec::new());
        for Refusal { record, output, why } in refusals.iter().copied() {
            let Finished { at, outputs } = &mut records[record];
            let Redirection { has_other_place, report } = outputs.redirect(*at, output, why);
            refused.push(report);
            if !has_other_place {
                held.insert(record);
            }
        }
        let (alone, again): (Vec<_>, Vec<_>) = (0..).zip(records).partition(|(n, _)| held.contains(n));
        let records = |numbered: Vec<(usize, _)>| numbered.into_iter().map(|(_, record)| record).collect();
        Self { again: records(again), alone: records(alone), refused }
    }
}
