//! A lane's run: the claim protocol decides its commands, and each becomes outputs. The edge at which bugs are caught: a
//! panic while a command is decided ends in the stored outcome, if there is one, else in a stored `CASM-INTERNAL-ERROR`.

use super::RunEvent;
use super::answer::{self, Memo, Topics};
use super::job::{Job, Task};
use crate::domain::Timestamp;
use crate::domain::rejection::Status;
use crate::fail_points::FailPoint;
use crate::flow::RecordId;
use crate::flow::batch::Finished;
use crate::flow::lanes::Run;
use crate::flow::stream::AssignmentId;
use crate::kafka::reply_topics::ReplyTopics;
use crate::kafka::{OutputKind, Outputs};
use crate::store::claims::{Claims, Decided, Submission};
use crate::store::{ConditionalStore, FaultKind, StoreFault};
use crate::telemetry::gathered::Gathered;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::spans;
use crate::wire::answer::Encoder;
use futures::FutureExt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tracing::{Instrument, Span};

/// How long a record rests that a bug keeps from being answered, before it is tried again.
const AFTER_BUG: Duration = Duration::from_secs(1);

/// What all lanes use.
pub struct Shared<S> {
    /// Where outputs go.
    pub topics: Topics,
    /// Which of these exist.
    pub reply_topics: Arc<ReplyTopics>,
    /// Decides commands.
    pub claims: Arc<Claims<S>>,
    /// Writes replies and Business Transactions.
    pub encoder: Encoder,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// What time it is.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// When faults of the store were last logged, by kind and node.
    pub faults: Gathered<(FaultKind, Option<Arc<str>>)>,
}

/// Starts a run; `events` learns of its end, and before that, if others wait for it in its lane, that it is decided: then the
/// store works on theirs while the answers of this one are written. It can be aborted at any moment: whoever has the
/// partition then decides its commands again.
pub fn spawn<S: ConditionalStore>(
    shared: Arc<Shared<S>>,
    run: Run<Job>,
    assignment: AssignmentId,
    events: mpsc::UnboundedSender<RunEvent>,
) -> AbortHandle {
    let run = tokio::spawn(async move {
        let Run { id, mut commands, awaited } = run;
        let decided = shared.decide(&commands).await;
        if awaited {
            let _ = events.send(RunEvent::Decided { assignment, run: id });
            // They go first.
            tokio::task::yield_now().await;
        }
        let mut decided = decided.iter();
        let mut results = Vec::with_capacity(commands.len());
        // Borrowed: what is moved here has its room in every task.
        for (at, job) in &mut commands {
            let decided = submission(job).and_then(|_| decided.next());
            let mut outputs = shared.answer(job, decided).await;
            outputs.memo.spans = job.spans.take().inspect(|spans| spans.answered(outputs.memo.status.map(Status::code)));
            results.push(Finished { at: *at, outputs });
        }
        let _ = events.send(RunEvent::Finished { assignment, run: id, results });
    });
    run.abort_handle()
}

fn submission(job: &Job) -> Option<&Submission> {
    match &job.task {
        Task::Decide(submission) => Some(submission),
        Task::Refuse(..) | Task::Bury(_) => None,
    }
}

impl<S: ConditionalStore> Shared<S> {
    /// Decides the commands among jobs that name the same entity, however long the store is away.
    async fn decide(&self, jobs: &[(RecordId, Job)]) -> Vec<Decided> {
        let submissions: Vec<&Submission> = jobs.iter().filter_map(|(_, job)| submission(job)).collect();
        if submissions.is_empty() {
            return Vec::new();
        }
        let spans = spans::decide(jobs.iter().filter_map(|(_, job)| job.spans.as_deref()));
        let leading = spans.first().cloned().unwrap_or_else(Span::none);
        let deciding = Box::pin(self.try_to_decide(&submissions, Whose::of(jobs))).instrument(leading.clone());
        if let Some(decided) = self.guarded(deciding).await {
            return decided;
        }
        // Which of them it was is found by deciding them one at a time.
        let mut decided = Vec::with_capacity(submissions.len());
        let of_commands = jobs.iter().filter(|(_, job)| submission(job).is_some());
        for (submission, job) in submissions.iter().zip(of_commands) {
            let whose = Whose::of(std::slice::from_ref(job));
            decided.extend(Box::pin(self.decide_alone(submission, whose)).instrument(leading.clone()).await);
        }
        decided
    }

    async fn try_to_decide(&self, submissions: &[&Submission], whose: Whose<'_>) -> Vec<Decided> {
        let reach = |point: FailPoint| submissions.iter().for_each(|s| point.reach_with(s.command.request_id.as_str()));
        reach(FailPoint::Deciding);
        let decided = self.claims.decide_until_done(submissions, |fault, attempt| self.report(whose, fault, attempt)).await;
        reach(FailPoint::Decided);
        decided
    }

    async fn decide_alone(&self, submission: &Submission, whose: Whose<'_>) -> Vec<Decided> {
        if let Some(decided) = self.guarded(Box::pin(self.try_to_decide(&[submission], whose))).await {
            return decided;
        }
        let Whose { request_id, trace_id, .. } = whose;
        tracing::error!(
            request_id,
            trace_id,
            "a command can't be decided because of a bug; it gets its stored outcome, or a 500"
        );
        loop {
            match self.guarded(Box::pin(self.claims.give_up(submission))).await {
                Some(Ok(decided)) => return vec![decided],
                Some(Err(fault)) => self.report(whose, &fault, 0),
                None => tracing::error!(
                    request_id,
                    trace_id,
                    "a command can't even be given up because of a bug; it is held and tried again"
                ),
            }
            tokio::time::sleep(AFTER_BUG).await;
        }
    }

    /// What is to be published for a job. A bug here must not lose it either.
    async fn answer(&self, job: &Job, decided: Option<&Decided>) -> Outputs<Memo> {
        loop {
            if let Some(outputs) = self.guarded(answer::answer(self, job, decided)).await {
                return outputs;
            }
            let at = job.record.at;
            tracing::error!(
                request_id = job.request_id(),
                trace_id = job.trace_id(),
                command_partition = at.partition,
                command_offset = at.offset,
                "a record can't be answered because of a bug; it is held and tried again"
            );
            tokio::time::sleep(AFTER_BUG).await;
        }
    }

    /// Logs that the store did not answer about a command. In an outage all lanes have the same to say: see [`Gathered`].
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

    /// None if `future` panics. Large ones come boxed, or they would be moved again and again on their way into the task.
    async fn guarded<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let result = AssertUnwindSafe(future).catch_unwind().await;
        if result.is_err() {
            self.metrics.panics.inc();
        }
        result.ok()
    }

    /// The records' outputs are committed at `now`.
    pub fn count(&self, records: &[Finished<Outputs<Memo>>], now: Timestamp) {
        for record in records {
            let memo = &record.outputs.memo;
            let since_record = memo.timestamp.map_or(0, |at| u64::try_from(now - at).unwrap_or(0));
            if let (Some(use_case), Some(status)) = (memo.use_case, memo.status) {
                self.metrics.command_answered(use_case, status, Duration::from_millis(since_record));
            }
            if memo.status.is_some() {
                self.metrics.replied(&memo.errors, memo.replayed);
            }
            if let Some(reason) = memo.buried {
                self.metrics.dead_letters.of(reason).inc();
            }
            let transactions = record.outputs.outputs.iter().filter(|o| o.kind == OutputKind::Transaction).count();
            self.metrics.business_transactions.inc_by(transactions as u64);
        }
    }
}

/// Whose turn it is, as log lines name it: the first of the commands that are decided together.
#[derive(Clone, Copy)]
struct Whose<'a> {
    request_id: Option<&'a str>,
    trace_id: Option<&'a str>,
    commands: usize,
}

impl<'a> Whose<'a> {
    fn of(jobs: &'a [(RecordId, Job)]) -> Self {
        let first = jobs.first().map(|(_, job)| job);
        Self { request_id: first.and_then(Job::request_id), trace_id: first.and_then(Job::trace_id), commands: jobs.len() }
    }
}
