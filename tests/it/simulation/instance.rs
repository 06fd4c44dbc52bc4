//! One process: consumer, lanes and publisher around the real [`Stream`], with the real claim protocol in the lanes. It only
//! carries out what the stream asks for, and can be dropped at any moment, with all that it has under way.

use super::Defect;
use super::ahead::ReadAhead;
use super::broker::{Broker, Slot};
use super::consumer::{BATCH, BATCHES, Batch, Consumer, Notice};
use super::crm::Incoming;
use super::group::Membership;
use super::happened::Happened;
use super::lane::{Progress, process};
use super::outputs::Outputs;
use super::publisher::{self, Published, Publishing, Trouble};
use super::reader::{JobReader, Known, NEVER};
use super::weakened::Weakened;
use crm_processor::flow::AssignmentId;
use crm_processor::flow::attempt::Verdict;
use crm_processor::flow::batch::Finished;
use crm_processor::flow::lanes::RunId;
use crm_processor::flow::offsets::{Committed, MAX_SPAN};
use crm_processor::flow::stream::{Action, Current, Stream, Timing};
use crm_processor::flow::{Limits, Partition, Uptime};
use crm_processor::store::claims::Claims;
use crm_processor::store::read_ahead::Bounds;
use crm_processor::store::simulated::Random;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

type Results = Vec<Finished<Outputs>>;

/// A lane's run under way.
struct Run {
    assignment: AssignmentId,
    id: RunId,
    work: Pin<Box<dyn Future<Output = Results>>>,
    /// The reports of the run so far.
    progress: Progress,
    /// Whether the run's result is no longer wanted. A thread that works at the run notices that only at its next await.
    aborted: bool,
}

/// A run's report to the stream.
enum RunEvent {
    Decided(RunId),
    Finished(RunId, Results),
}

/// The times until which the process hears, sends or does nothing.
#[derive(Clone, Copy, Default)]
pub struct Outages {
    pub whole: u64,
    pub heartbeats: u64,
    pub publisher: u64,
    /// The threads of its lanes.
    pub lanes: u64,
}

/// A step stands for a millisecond.
pub fn uptime(now: u64) -> Uptime {
    Uptime::from_millis(now)
}

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Instance {
    pub id: Slot,
    pub outages: Outages,
    happened: Happened,
    limits: Limits,
    /// Some commands panic.
    bug: bool,
    defect: Option<Defect>,
    claims: Arc<Claims<Weakened>>,
    ahead: ReadAhead,
    consumer: Consumer,
    publishing: Publishing,
    known: Rc<RefCell<Known>>,
    stream: Stream<JobReader, Outputs, Membership>,
    /// Whether the process was asked to stop, and has not heard that yet.
    asked_to_stop: bool,
    left: bool,
    /// Whether the consumer waits in a revocation.
    revoking: bool,
    runs: Vec<Run>,
    run_events: VecDeque<(AssignmentId, RunEvent)>,
    published: VecDeque<Published>,
    /// The schemas that the registry is being asked for, and those that it has answered about.
    asked_for: Vec<u32>,
    fetched: VecDeque<u32>,
    /// The last record of each partition that was delivered; for a defect.
    delivered: BTreeMap<Partition, i64>,
    /// The number of the stream's present assignment; for a defect.
    renamed: Option<(AssignmentId, Membership)>,
}

impl Instance {
    pub fn new(id: Slot, limits: Limits, timing: Timing, claims: Claims<Weakened>, bug: bool, defect: Option<Defect>) -> Self {
        let claims = Arc::new(claims);
        let ahead = ReadAhead::new(claims.clone(), Bounds::new(limits.max_in_flight, limits.max_queued));
        let known = Rc::<RefCell<Known>>::default();
        let linger = if defect == Some(Defect::LingersForEver) { Uptime::from_secs(1 << 30) } else { timing.linger };
        Self {
            id,
            outages: Outages::default(),
            happened: Happened::default(),
            limits,
            bug,
            defect,
            claims,
            ahead,
            consumer: Consumer::new(defect),
            publishing: Publishing::new(id, defect),
            stream: Stream::new(limits, Timing { linger, ..timing }, JobReader::new(known.clone(), defect)),
            known,
            asked_to_stop: false,
            left: false,
            revoking: false,
            runs: Vec::new(),
            run_events: VecDeque::new(),
            published: VecDeque::new(),
            asked_for: Vec::new(),
            fetched: VecDeque::new(),
            delivered: BTreeMap::new(),
            renamed: None,
        }
    }

    /// Returns what has happened to the process.
    pub fn happened(&self) -> Happened {
        let mut happened = self.happened.clone();
        happened.add(&self.known.borrow().happened);
        happened
    }

    /// Returns whether no command is being decided.
    pub fn is_idle(&self) -> bool {
        self.runs.is_empty()
    }

    /// Returns whether the process has shut down in good order.
    pub fn has_left(&self) -> bool {
        self.left
    }

    /// Asks the process to stop.
    pub fn shut_down(&mut self) {
        self.asked_to_stop = true;
    }

    /// Lets one of the threads or tasks take a step.
    pub fn step(&mut self, broker: &mut Broker, trouble: Trouble, random: &mut Random) {
        let now = broker.now();
        if now < self.outages.whole {
            return;
        }
        let deaf = now < self.outages.heartbeats;
        if let Some(member) = self.consumer.member().filter(|_| !deaf) {
            broker.group.hear(member);
        }
        match random.below(10) {
            0..2 => self.consumer.step(broker, deaf, random),
            2..4 if now >= self.outages.publisher => {
                self.published.extend(self.publishing.step(broker, self.consumer.membership(), trouble, random));
            }
            4..7 if now >= self.outages.lanes => self.work(random),
            7 if random.chance(200) => self.fetched.extend(self.asked_for.drain(..)),
            _ => {
                if self.publishing.watch(now) {
                    self.happened.note("a publisher was abandoned");
                }
                self.turn(uptime(now));
                if self.left {
                    self.consumer.leave(broker);
                }
            }
        }
        self.check_bounds();
    }

    /// Checks that no queue grows beyond its bound, whatever happens.
    fn check_bounds(&mut self) {
        let batches = self.consumer.batches.len();
        assert!(batches <= BATCHES && self.consumer.batches.iter().all(|b| b.records.len() <= BATCH), "{batches} batches wait");
        let runs = self.runs.iter().filter(|run| !run.aborted && !run.progress.is_decided()).count();
        assert!(runs <= self.limits.max_in_flight || self.defect.is_some(), "{runs} runs are being decided");
        let Some(Current { assignment, .. }) = self.stream.current() else { return };
        if assignment.held() > 0 {
            self.happened.note("records were held");
        }
        assert!(assignment.running() <= assignment.open(), "{} tasks are done", assignment.running());
        // Both counts were below the bound before the last batch came.
        let (open, waiting) = (assignment.open(), self.stream.waiting());
        assert!(open + waiting < 2 * self.limits.max_queued + BATCH, "{open} records are open, {waiting} wait");
        let span = self.known.borrow().span(assignment.lows());
        assert!(usize::try_from(span).unwrap_or(0) <= MAX_SPAN, "a partition is open over {span} offsets");
    }

    /// Lets some run, or a reader, go on to its next await.
    fn work(&mut self, random: &mut Random) {
        let all = self.runs.len() + self.ahead.readers();
        let which = usize::try_from(random.below(all as u64)).expect("an index");
        if let Some(reader) = which.checked_sub(self.runs.len()).filter(|_| all > 0) {
            if self.ahead.work(reader) {
                self.happened.note("a command was read ahead");
            }
            return;
        }
        let Some(run) = self.runs.get_mut(which) else { return };
        let polled = run.work.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if run.progress.has_news() {
            self.run_events.push_back((run.assignment, RunEvent::Decided(run.id)));
        }
        if let Poll::Ready(results) = polled {
            let Run { assignment, id, .. } = self.runs.swap_remove(which);
            self.run_events.push_back((assignment, RunEvent::Finished(id, results)));
        } else if run.aborted {
            drop(self.runs.swap_remove(which));
        }
    }

    /// Lets the processor's task take a step: it tells the stream of the most urgent event, if there is any, and does what the
    /// stream asks for.
    fn turn(&mut self, now: Uptime) {
        if let Some(notice) = self.consumer.notices.pop_front() {
            self.noticed(notice, now);
        } else if let Some(published) = self.published.pop_front() {
            self.published(published);
        } else if let Some((assignment, event)) = self.run_events.pop_front() {
            self.run_reported(assignment, event);
        } else if let Some(schema) = self.fetched.pop_front() {
            let mut known = self.known.borrow_mut();
            known.schemas.insert(schema);
            known.deaf = false;
            self.stream.handle_fetched(&schema);
        } else if self.stream.has_room()
            && let Some(batch) = self.consumer.batches.pop_front()
        {
            self.arrived(batch);
        } else if std::mem::take(&mut self.asked_to_stop) {
            self.stream.handle_shutdown(now);
        } else if self.stream.poll_timeout().is_none_or(|due| now < due) {
            return;
        }
        while let Some(action) = self.stream.poll(now) {
            self.act(action);
        }
        assert!(self.stream.poll_timeout().is_none_or(|due| due > now), "it would be asked again and again");
        if self.stream.current().is_some_and(|current| current.assignment.is_filling()) {
            self.happened.note("a transaction was put off");
        }
    }

    fn arrived(&mut self, batch: Batch) {
        let ours = self.stream.current().map_or(batch.assignment, |a| a.id);
        let assignment = match self.renamed {
            Some((renamed, _)) if batch.assignment == renamed => ours,
            _ => batch.assignment,
        };
        if assignment != ours {
            self.happened.note("batches came after their assignment");
        }
        let assignment = if self.defect == Some(Defect::StaleBatchTaken) { ours } else { assignment };
        let Self { stream, delivered, .. } = self;
        let note = |record: &Incoming| {
            delivered.insert(record.at.partition, record.at.offset);
        };
        stream.handle_records(assignment, batch.records.into_iter().inspect(note));
    }

    fn run_reported(&mut self, assignment: AssignmentId, event: RunEvent) {
        let ours = self.stream.current().map_or(assignment, |a| a.id);
        let given = if self.defect == Some(Defect::LateResultsTaken) { ours } else { assignment };
        match event {
            RunEvent::Decided(id) => self.stream.handle_run_decided(given, id),
            RunEvent::Finished(mut id, results) => {
                if given != ours {
                    self.happened.note("results came after their assignment");
                }
                let is_before = |run: &&mut Run| run.assignment == given && run.id.lane == id.lane && run.id.number < id.number;
                if let Some(before) = self.runs.iter_mut().find(is_before) {
                    self.happened.note("results came before those of the run before");
                    if self.defect == Some(Defect::LaterResultsFirst) {
                        std::mem::swap(&mut before.id, &mut id);
                    }
                }
                self.stream.handle_run_finished(given, id, results);
            }
        }
    }

    fn noticed(&mut self, notice: Notice, now: Uptime) {
        match notice {
            Notice::Assigned { assignment, partitions, membership } => self.assigned(assignment, partitions, membership),
            Notice::Revoked { .. } if self.defect == Some(Defect::RevocationIgnored) => {}
            Notice::Revoked { lost } => {
                self.happened.note(if lost { "an assignment was lost" } else { "an assignment was revoked" });
                self.stream.handle_revoked(lost, now);
                self.revoking = true;
            }
        }
    }

    fn assigned(&mut self, id: AssignmentId, mut partitions: Vec<(Partition, Committed)>, membership: Membership) {
        if self.defect == Some(Defect::BitmapIgnored) {
            for (_, committed) in &mut partitions {
                committed.metadata.clear();
            }
        }
        if self.defect == Some(Defect::RevocationIgnored)
            && let Some(current) = self.stream.current()
            && current.assignment.lows().map(|(p, _)| p).eq(partitions.iter().map(|(p, _)| *p))
        {
            self.renamed = Some((id, membership));
            return;
        }
        self.renamed = None;
        self.known.borrow_mut().begin();
        self.stream.handle_assigned(id, membership, &partitions);
    }

    fn published(&mut self, published: Published) {
        let Published { assignment, records, verdict, pace } = published;
        self.happened.note(publisher::name(&verdict));
        let uncertain = matches!(verdict, Verdict::Uncertain(_)).then_some(records.len());
        let verdict = match (verdict, self.defect) {
            (Verdict::Uncertain(_), Some(Defect::UncertainIsCommitted)) => Verdict::Committed,
            (Verdict::Uncertain(_), Some(Defect::UncertainIsAborted)) => Verdict::Aborted,
            (verdict, _) => verdict,
        };
        self.known.borrow_mut().deaf = self.defect == Some(Defect::WaitingNotStirred) && verdict != Verdict::Committed;
        let done = self.stream.handle_published(assignment, records, verdict, pace).done;
        if uncertain.is_some_and(|all| all > 0 && all == done.len()) {
            self.happened.note("a transaction that was uncertain turned out committed");
        }
    }

    /// Does what the stream asks for.
    fn act(&mut self, action: Action<JobReader, Outputs, Membership>) {
        match action {
            Action::AbortRuns if self.defect == Some(Defect::RevocationIgnored) => {}
            Action::AbortRuns => {
                self.ahead.clear();
                self.runs.iter_mut().for_each(|run| run.aborted = true);
            }
            Action::Drained { in_time } => {
                if !in_time {
                    self.happened.note("not everything was drained in time");
                }
                if std::mem::take(&mut self.revoking) {
                    self.consumer.revoked = true;
                }
            }
            Action::Leave => self.left = true,
            Action::Fetch(NEVER) => {}
            Action::Fetch(schema) => self.asked_for.push(schema),
            Action::Process(assignment, run) => {
                let progress = Progress::default();
                let (id, claims) = (run.id, Arc::clone(&self.claims));
                let work = Box::pin(process(claims, run, progress.clone(), self.bug, self.defect));
                self.runs.push(Run { assignment, id, work, progress, aborted: false });
            }
            Action::ReadAhead(submissions) => self.ahead.take(submissions),
            Action::Publish(mut publication) => {
                assert!(publication.records.len() <= self.limits.max_transaction_records, "a transaction is too large");
                for offset in &mut publication.offsets {
                    if self.defect == Some(Defect::OffsetsOfWhatWasDelivered) {
                        offset.offset = self.delivered.get(&offset.partition).map_or(offset.offset, |o| o + 1);
                        offset.metadata.clear();
                    }
                }
                if let Some((_, membership)) = self.renamed {
                    publication.membership = membership;
                }
                self.publishing.publish(publication);
            }
            Action::Pause(partitions) => self.consumer.orders.extend(partitions),
        }
    }
}
