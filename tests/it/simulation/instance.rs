//! One process: consumer, lanes and publisher around the real [`Stream`], driven as `processor` drives it, with the real claim
//! protocol in the lanes. It can be dropped at any moment, with all that it has under way.

use super::Defect;
use super::ahead::ReadAhead;
use super::broker::{Broker, TransactionalId};
use super::consumer::{BATCH, BATCHES, Consumer, Notice};
use super::group::Membership;
use super::happened::Happened;
use super::intake::Intake;
use super::lane::{Job, Progress, process};
use super::outputs::{Output, Outputs};
use super::publisher::{self, Publication, Published, Publishing, Trouble};
use super::weakened::Weakened;
use crm_processor::flow::attempt::Verdict;
use crm_processor::flow::batch::Finished;
use crm_processor::flow::lanes::RunId;
use crm_processor::flow::offsets::{Committed, MAX_SPAN};
use crm_processor::flow::stream::{Epoch, Stream};
use crm_processor::flow::{Flow, Limits, Partition};
use crm_processor::store::claims::Claims;
use crm_processor::store::read_ahead::Bounds;
use crm_processor::store::simulated::Random;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// How long a revocation or a shutdown waits for what is being processed.
const GRACE: u64 = 250;

type Results = Vec<Finished<Outputs>>;

/// A lane's run under way.
struct Run {
    epoch: Epoch,
    id: RunId,
    work: Pin<Box<dyn Future<Output = Results>>>,
    /// What it has told.
    progress: Progress,
    /// Nobody wants it any more; but a thread that is at it sees that only where it would wait next.
    aborted: bool,
}

struct Draining {
    until: u64,
    /// Else: a shutdown.
    revoked: bool,
}

/// What the processor's task is told of a run.
enum RunEvent {
    Decided(RunId),
    Finished(RunId, Results),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stopping {
    No,
    Draining,
    Left,
}

/// Until when it hears, sends or does nothing.
#[derive(Clone, Copy, Default)]
pub struct Outages {
    pub whole: u64,
    pub heartbeats: u64,
    pub publisher: u64,
    /// The threads of its lanes.
    pub lanes: u64,
}

pub struct Instance {
    pub id: TransactionalId,
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
    intake: Intake,
    stream: Stream<Job, Outputs, Membership>,
    draining: Option<Draining>,
    stopping: Stopping,
    runs: Vec<Run>,
    run_events: VecDeque<(Epoch, RunEvent)>,
    published: VecDeque<Published>,
    /// The last record of each partition that was admitted; for a defect.
    admitted: BTreeMap<Partition, i64>,
}

impl Instance {
    pub fn new(id: TransactionalId, limits: Limits, claims: Claims<Weakened>, bug: bool, defect: Option<Defect>) -> Self {
        let claims = Arc::new(claims);
        let ahead = ReadAhead::new(claims.clone(), Bounds::new(limits.max_in_flight, limits.max_queued));
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
            intake: Intake::new(defect),
            stream: Stream::new(limits),
            draining: None,
            stopping: Stopping::No,
            runs: Vec::new(),
            run_events: VecDeque::new(),
            published: VecDeque::new(),
            admitted: BTreeMap::new(),
        }
    }

    /// What has happened to it.
    pub fn happened(&self) -> Happened {
        let mut happened = self.happened.clone();
        happened.add(self.intake.happened());
        happened
    }

    /// True if no command is being decided.
    pub fn is_idle(&self) -> bool {
        self.runs.is_empty()
    }

    /// True if it has shut down in good order.
    pub fn has_left(&self) -> bool {
        self.stopping == Stopping::Left
    }

    /// One of its threads or tasks does something.
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
            7 if random.chance(100) => self.with_flow(Flow::try_held),
            7 if random.chance(200) => self.intake.fetch_schemas(),
            _ => {
                if self.publishing.watch(now) {
                    self.happened.note("a publisher was abandoned");
                }
                self.turn(now);
                self.proceed(now);
                if self.stopping == Stopping::Left {
                    self.consumer.leave(broker);
                }
            }
        }
        self.check_bounds();
    }

    /// Whatever happens, no queue grows beyond its bound.
    fn check_bounds(&mut self) {
        let batches = self.consumer.batches.len();
        assert!(batches <= BATCHES && self.consumer.batches.iter().all(|b| b.records.len() <= BATCH), "{batches} batches wait");
        let runs = self.runs.iter().filter(|run| !run.aborted && !run.progress.is_decided()).count();
        assert!(runs <= self.limits.max_in_flight || self.defect.is_some(), "{runs} runs are being decided");
        let Some(assignment) = self.stream.current() else { return };
        let flow = &assignment.flow;
        if flow.held() > 0 {
            self.happened.note("records were held");
        }
        assert!(flow.running() <= flow.open(), "{} commands run", flow.running());
        // Both counts were below the bound before the last batch came.
        let (open, waiting) = (flow.open(), self.intake.waiting.len());
        assert!(open + waiting < 2 * self.limits.max_queued + BATCH, "{open} records are open, {waiting} wait");
        let span = self.intake.span(flow);
        assert!(usize::try_from(span).unwrap_or(0) <= MAX_SPAN, "a partition is open over {span} offsets");
    }

    /// It is asked to stop.
    pub fn shut_down(&mut self, now: u64) {
        if self.stopping == Stopping::No {
            self.stopping = Stopping::Draining;
            self.with_flow(|flow| flow.drain(false));
            self.draining.get_or_insert(Draining { until: now + GRACE, revoked: false });
        }
    }

    /// Some run, or a reader, goes on to where it waits next.
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
            self.run_events.push_back((run.epoch, RunEvent::Decided(run.id)));
        }
        if let Poll::Ready(results) = polled {
            let Run { epoch, id, .. } = self.runs.swap_remove(which);
            self.run_events.push_back((epoch, RunEvent::Finished(id, results)));
        } else if run.aborted {
            drop(self.runs.swap_remove(which));
        }
    }

    /// What the processor's task hears, the most urgent first.
    fn turn(&mut self, now: u64) {
        let room = self.stream.has_room() && self.intake.waiting.len() < self.limits.max_queued;
        if let Some(notice) = self.consumer.notices.pop_front() {
            self.noticed(notice, now);
        } else if let Some(published) = self.published.pop_front() {
            self.published(published);
        } else if let Some((epoch, event)) = self.run_events.pop_front() {
            self.run_went_on(epoch, event);
        } else if room && let Some(batch) = self.consumer.batches.pop_front() {
            let ours = self.stream.current().map_or(batch.epoch, |a| a.epoch);
            if batch.epoch != ours {
                self.happened.note("batches came after their assignment");
            }
            let epoch = if self.defect == Some(Defect::StaleBatchTaken) { ours } else { batch.epoch };
            let Some(flow) = self.stream.flow(epoch) else { return };
            for record in batch.records {
                self.admitted.insert(record.at.partition, record.at.offset);
                self.intake.take(record, flow);
            }
        }
    }

    fn run_went_on(&mut self, epoch: Epoch, event: RunEvent) {
        let ours = self.stream.current().map_or(epoch, |a| a.epoch);
        let epoch = if self.defect == Some(Defect::LateResultsTaken) { ours } else { epoch };
        match event {
            RunEvent::Decided(id) => self.stream.run_decided(epoch, id),
            RunEvent::Finished(mut id, results) => {
                if epoch != ours {
                    self.happened.note("results came after their assignment");
                }
                let is_before = |run: &&mut Run| run.epoch == epoch && run.id.lane == id.lane && run.id.number < id.number;
                if let Some(before) = self.runs.iter_mut().find(is_before) {
                    self.happened.note("results came before those of the run before");
                    if self.defect == Some(Defect::LaterResultsFirst) {
                        std::mem::swap(&mut before.id, &mut id);
                    }
                }
                self.stream.run_finished(epoch, id, results);
            }
        }
    }

    fn with_flow(&mut self, act: impl FnOnce(&mut Flow<Job, Outputs>)) {
        if let Some(assignment) = self.stream.current_mut() {
            act(&mut assignment.flow);
        }
    }

    fn noticed(&mut self, notice: Notice, now: u64) {
        match notice {
            Notice::Assigned { epoch, partitions, membership } => self.assigned(epoch, partitions, membership),
            Notice::Revoked { .. } if self.defect == Some(Defect::RevocationIgnored) => {}
            Notice::Revoked { lost } => {
                self.happened.note(if lost { "an assignment was lost" } else { "an assignment was revoked" });
                self.intake.clear();
                self.stream.revoked(lost);
                self.forget_unless_assigned();
                self.draining = Some(Draining { until: now + GRACE, revoked: true });
            }
        }
    }

    fn assigned(&mut self, epoch: Epoch, mut partitions: Vec<(Partition, Committed)>, membership: Membership) {
        if self.defect == Some(Defect::BitmapIgnored) {
            for (_, committed) in &mut partitions {
                committed.metadata.clear();
            }
        }
        let same = |a: &Flow<_, _>| a.lows().map(|(p, _)| p).eq(partitions.iter().map(|(p, _)| *p));
        match self.stream.current_mut() {
            Some(current) if self.defect == Some(Defect::RevocationIgnored) && same(&current.flow) => {
                (current.epoch, current.generation) = (epoch, membership);
            }
            _ => {
                self.intake.clear();
                self.stream.assigned(epoch, membership, &partitions);
            }
        }
    }

    fn published(&mut self, published: Published) {
        let Published { epoch, records, verdict, pace } = published;
        self.happened.note(publisher::name(&verdict));
        let uncertain = matches!(verdict, Verdict::Uncertain(_)).then_some(records.len());
        let verdict = match (verdict, self.defect) {
            (Verdict::Uncertain(_), Some(Defect::UncertainIsCommitted)) => Verdict::Committed,
            (Verdict::Uncertain(_), Some(Defect::UncertainIsAborted)) => Verdict::Aborted,
            (verdict, _) => verdict,
        };
        if verdict == Verdict::Committed || self.defect != Some(Defect::WaitingNotStirred) {
            self.intake.waiting.stir();
        }
        let defect = self.defect;
        let done = self
            .stream
            .published(epoch, records, verdict, pace, |record, refusal| redirect(&mut record.outputs, refusal.output, defect));
        if uncertain.is_some_and(|all| all > 0 && all == done.len()) {
            self.happened.note("a transaction that was uncertain turned out committed");
        }
        self.forget_unless_assigned();
    }

    /// As `processor` does it: what runs for an assignment that was given up is aborted, too.
    fn forget_unless_assigned(&mut self) {
        if self.stream.current().is_none() && self.defect != Some(Defect::RevocationIgnored) {
            self.intake.clear();
            self.ahead.clear();
            self.runs.iter_mut().for_each(|run| run.aborted = true);
        }
    }

    /// Does whatever has become possible.
    fn proceed(&mut self, now: u64) {
        if let Some(assignment) = self.stream.current_mut() {
            self.intake.resume(&mut assignment.flow);
            while let Some(run) = assignment.flow.next_run() {
                let progress = Progress::default();
                let (id, claims) = (run.id, Arc::clone(&self.claims));
                let work = Box::pin(process(claims, run, progress.clone(), self.bug, self.defect));
                self.runs.push(Run { epoch: assignment.epoch, id, work, progress, aborted: false });
            }
            let queued = self.intake.queued();
            if assignment.flow.queued() > 0 {
                self.ahead.take(queued);
            }
            if let Some(mut transaction) = assignment.flow.next_transaction() {
                assert!(transaction.records.len() <= self.limits.max_transaction_records, "a transaction is too large");
                for offset in &mut transaction.offsets {
                    if self.defect == Some(Defect::OffsetsOfWhatWasDelivered) {
                        offset.offset = self.admitted.get(&offset.partition).map_or(offset.offset, |o| o + 1);
                        offset.metadata.clear();
                    }
                }
                let (epoch, membership) = (assignment.epoch, assignment.generation);
                let (records, offsets) = (transaction.records, transaction.offsets);
                self.publishing.publish(Publication { epoch, membership, records, offsets });
            }
            self.consumer.orders.extend(assignment.flow.pauses());
        }
        self.end_draining(now);
    }

    fn end_draining(&mut self, now: u64) {
        let drained = self.stream.is_drained();
        let Some(draining) = self.draining.take_if(|d| drained || now >= d.until) else { return };
        if !drained {
            self.happened.note("not everything was drained in time");
        }
        self.stream.give_up();
        self.forget_unless_assigned();
        if draining.revoked {
            self.consumer.revoked = true;
        }
        if self.stopping == Stopping::Draining {
            self.stopping = Stopping::Left;
        }
    }
}

/// As `processor` has it, where topics have names: a reply that is refused at a topic or a partition of the CRM's choice goes
/// to the default topic.
fn redirect(outputs: &mut Outputs, output: usize, defect: Option<Defect>) -> bool {
    let Some(Output::Reply { named, .. }) = outputs.0.get_mut(output) else { return dropped(outputs, defect) };
    std::mem::take(named) || dropped(outputs, defect)
}

fn dropped(outputs: &mut Outputs, defect: Option<Defect>) -> bool {
    let dropped = defect == Some(Defect::RefusedIsDropped);
    if dropped {
        outputs.0.clear();
    }
    dropped
}
