//! A lane's run: the claim protocol decides its commands, and each of them becomes outputs. Bugs are caught here: a command whose
//! decision panics gets its stored outcome, if there is one, or else a stored `CASM-INTERNAL-ERROR`.

use super::answer::{Answering, Memo, Settled};
use super::job::{AnswerJob, CommandJob, Incoming};
use super::stages::Moments;
use crate::domain::Timestamp;
use crate::domain::rejection::Status;
use crate::fail_points::FailPoint;
use crate::flow::AssignmentId;
use crate::flow::RecordId;
use crate::flow::batch::Finished;
use crate::flow::deciding::Try;
use crate::flow::lanes::{Run, RunId, Work};
use crate::kafka::{OutputKind, Outputs};
use crate::store::claims::{Claims, Decided, Submission};
use crate::store::{ConditionalStore, FaultKind, StoreFault};
use crate::telemetry::gathered::Gathered;
use crate::telemetry::spans;
use futures::FutureExt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tracing::{Instrument, Span};

/// How long whatever failed because of a bug rests before it is tried again.
pub const AFTER_BUG: Duration = Duration::from_secs(1);

/// An event in the life of a run.
pub enum RunEvent {
    /// It is decided, and its answers are still to be encoded. This event is sent only if other commands wait in the lane.
    Decided {
        /// The assignment that the run belongs to.
        assignment: AssignmentId,
        /// The run.
        run: RunId,
    },
    /// It is over.
    Finished {
        /// The assignment that the run belongs to.
        assignment: AssignmentId,
        /// The run.
        run: RunId,
        /// A result for each of its records.
        results: Vec<Finished<Outputs<Memo>>>,
    },
}

/// Everything that the lanes share.
pub struct SharedByLanes<S> {
    /// Makes the outputs of records.
    pub answering: Answering,
    /// The claim protocol, which decides commands.
    pub claims: Arc<Claims<S>>,
    /// When faults of the store were last logged, by kind and node.
    pub faults: Gathered<(FaultKind, Option<Arc<str>>)>,
}

/// Starts a run. `events` receives [`RunEvent::Finished`] when it is over. If other commands wait in the lane, it receives
/// [`RunEvent::Decided`] before that, so that the next run can be decided while this run's answers are encoded. The run can be aborted at
/// any moment: whoever has the partition then decides its commands again.
pub fn spawn<S: ConditionalStore>(
    shared: Arc<SharedByLanes<S>>,
    run: Run<CommandJob, AnswerJob>,
    assignment: AssignmentId,
    events: mpsc::UnboundedSender<RunEvent>,
) -> AbortHandle {
    let started = Instant::now();
    let run = tokio::spawn(async move {
        let Run { id, mut work, awaited } = run;
        let decided = match &work {
            Work::Decide(commands) => shared.decide(commands).await,
            Work::Answer(..) => Vec::new(),
        };
        let known = Instant::now();
        if awaited {
            let _ = events.send(RunEvent::Decided { assignment, run: id });
            // Lets the lane's next run start before this one's answers are encoded.
            tokio::task::yield_now().await;
        }
        // The jobs are borrowed, because each value that is moved into this future makes the task of every run larger.
        let results = match &mut work {
            Work::Decide(commands) => {
                let mut results = Vec::with_capacity(commands.len());
                for ((at, job), decided) in commands.iter_mut().zip(&decided) {
                    let outputs = shared.answer(Settled::Decided(job, decided)).await;
                    results.push(finished(*at, outputs, &mut job.incoming, (started, known)));
                }
                results
            }
            Work::Answer(at, job) => {
                let outputs = shared.answer(Settled::WithoutDecision(job)).await;
                vec![finished(*at, outputs, &mut job.incoming, (started, known))]
            }
        };
        let _ = events.send(RunEvent::Finished { assignment, run: id, results });
    });
    run.abort_handle()
}

/// Returns a record with its outputs. `started` is when its run began, `decided` when the run's outcomes were known.
fn finished(
    at: RecordId,
    mut outputs: Outputs<Memo>,
    incoming: &mut Incoming,
    (started, decided): (Instant, Instant),
) -> Finished<Outputs<Memo>> {
    let memo = &mut outputs.memo;
    memo.moments = Some(Moments { taken: incoming.record.taken, started, decided });
    memo.spans = incoming.spans.take().inspect(|spans| spans.answered(memo.status.map(Status::code)));
    Finished { at, outputs }
}

impl<S: ConditionalStore> SharedByLanes<S> {
    /// Decides commands that name the same entity, however long the store is away.
    async fn decide(&self, commands: &[(RecordId, CommandJob)]) -> Vec<Decided> {
        let submissions: Vec<&Submission> = commands.iter().map(|(_, job)| &*job.submission).collect();
        let spans = spans::decide(commands.iter().filter_map(|(_, job)| job.incoming.spans.as_deref()));
        let leading = spans.first().cloned().unwrap_or_else(Span::none);
        let mut decided = Vec::new();
        let mut next = Try::Together;
        loop {
            let tried = match next {
                Try::Together => self.try_to_decide(&submissions, Whose::of(commands), &leading).await,
                Try::Alone(n) => self.try_to_decide(&submissions[n..=n], Whose::of(&commands[n..=n]), &leading).await,
                Try::GiveUp(n) => {
                    let given_up = Box::pin(self.give_up(submissions[n], Whose::of(&commands[n..=n])));
                    Some(vec![given_up.instrument(leading.clone()).await])
                }
                Try::Over => return decided,
            };
            next = next.then(tried.is_some(), submissions.len());
            // The first try usually decides all commands. Then its list is taken as it is and not copied.
            match tried {
                Some(tried) if decided.is_empty() => decided = tried,
                tried => decided.extend(tried.into_iter().flatten()),
            }
        }
    }

    /// Decides commands, however long the store is away. Returns `None` if that panics.
    async fn try_to_decide(&self, submissions: &[&Submission], whose: Whose<'_>, span: &Span) -> Option<Vec<Decided>> {
        let deciding = async {
            let reach = |point: FailPoint| submissions.iter().for_each(|s| point.reach_with(s.request.id.as_str()));
            reach(FailPoint::Deciding);
            let decided = self.claims.decide_until_done(submissions, |fault, attempt| self.report(whose, fault, attempt)).await;
            reach(FailPoint::Decided);
            // Another number would be a bug, and would leave a record open for ever.
            assert_eq!(decided.len(), submissions.len(), "each submission is decided");
            decided
        };
        self.guarded(Box::pin(deciding).instrument(span.clone())).await
    }

    /// Gives a command up, however long the store is away.
    async fn give_up(&self, submission: &Submission, whose: Whose<'_>) -> Decided {
        let Whose { request_id, trace_id, .. } = whose;
        tracing::error!(
            request_id,
            trace_id,
            "a command can't be decided because of a bug; it gets its stored outcome, or a 500"
        );
        loop {
            match self.guarded(Box::pin(self.claims.give_up(submission))).await {
                Some(Ok(decided)) => return decided,
                Some(Err(fault)) => self.report(whose, &fault, 0),
                None => tracing::error!(
                    request_id,
                    trace_id,
                    "a command can't even be given up because of a bug; it waits and is tried again"
                ),
            }
            tokio::time::sleep(AFTER_BUG).await;
        }
    }

    /// Makes the outputs of a record. A bug in that must not lose the record.
    async fn answer(&self, settled: Settled<'_>) -> Outputs<Memo> {
        loop {
            if let Some(outputs) = self.guarded(self.answering.answer(settled)).await {
                return outputs;
            }
            let incoming = settled.incoming();
            let at = incoming.record.at;
            tracing::error!(
                request_id = settled.request_id(),
                trace_id = incoming.trace_id(),
                command_partition = at.partition,
                command_offset = at.offset,
                "a record can't be answered because of a bug; it waits and is tried again"
            );
            tokio::time::sleep(AFTER_BUG).await;
        }
    }

    /// Logs that the store did not answer about a command. In an outage all lanes have the same to say, so their lines are gathered: see
    /// [`Gathered`].
    fn report(&self, whose: Whose<'_>, fault: &StoreFault, attempt: u32) {
        let Some(left_out) = self.faults.due((fault.kind, fault.node.clone()), Instant::now()) else { return };
        let Whose { request_id, trace_id, commands } = whose;
        let kind = fault.kind.text();
        let what_now = match fault.kind {
            FaultKind::SilentNode => "a node of the database does not answer; what waits for it is tried at another node",
            FaultKind::Undecided => "the store does not answer about an entity in time; its commands wait and are tried again",
            FaultKind::TimedOut | FaultKind::ConnectionLost | FaultKind::Unavailable | FaultKind::Refused | FaultKind::Other => {
                "the store does not answer; the command waits and is tried again"
            }
        };
        tracing::warn!(%fault, kind, attempt, request_id, trace_id, commands, left_out, "{what_now}");
    }

    /// Returns the output of `future`. If it panics, counts that and returns `None`. Large futures come boxed, because they would
    /// otherwise be moved again and again on their way into the task.
    async fn guarded<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let result = AssertUnwindSafe(future).catch_unwind().await;
        if result.is_err() {
            self.answering.metrics.panics.inc();
        }
        result.ok()
    }

    /// Counts records whose outputs were committed at `now`, in a transaction that began at `began` and took `took`.
    pub fn count(&self, records: &[Finished<Outputs<Memo>>], now: Timestamp, began: Instant, took: Duration) {
        for record in records {
            let memo = &record.outputs.memo;
            let since_record = memo.timestamp.map_or(0, |at| u64::try_from(now - at).unwrap_or(0));
            let since_record = Duration::from_millis(since_record);
            if let (Some(use_case), Some(status)) = (memo.use_case, memo.status) {
                let stages = memo.moments.iter().flat_map(|moments| moments.stages(began, took, since_record));
                self.answering.metrics.command_answered(use_case, status, since_record, stages);
            }
            if memo.status.is_some() {
                self.answering.metrics.replied(&memo.errors, memo.replayed);
            }
            if let Some(reason) = memo.dead_letter {
                self.answering.metrics.dead_letters.of(reason).inc();
            }
            let transactions = record.outputs.outputs.iter().filter(|o| o.kind == OutputKind::Transaction).count();
            self.answering.metrics.business_transactions.inc_by(transactions as u64);
        }
    }
}

/// The commands whose turn it is, as log lines name them: by the first of those that are decided together.
#[derive(Clone, Copy)]
struct Whose<'a> {
    request_id: Option<&'a str>,
    trace_id: Option<&'a str>,
    commands: usize,
}

impl<'a> Whose<'a> {
    fn of(commands: &'a [(RecordId, CommandJob)]) -> Self {
        let first = commands.first().map(|(_, job)| job);
        let trace_id = first.and_then(|job| job.incoming.trace_id());
        Self { request_id: first.map(CommandJob::request_id), trace_id, commands: commands.len() }
    }
}
