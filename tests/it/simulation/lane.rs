//! A lane's run: the real claim protocol decides its commands, and each record becomes outputs.

use super::Defect;
use super::outputs::{Output, Outputs, Reply};
use super::weakened::Weakened;
use crate::polls::cut_short;
use crm_processor::domain::answer::Answer;
use crm_processor::flow::RecordId;
use crm_processor::flow::batch::Finished;
use crm_processor::flow::deciding::Try;
use crm_processor::flow::lanes::{Foldable, Run, Work};
use crm_processor::store::StoreFault;
use crm_processor::store::claims::{Claims, Decided, Submission};
use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

/// A command to be decided. `named`: its reply goes to a topic of the CRM's choice.
pub struct CommandJob {
    pub named: bool,
    pub submission: Submission,
}

/// A record that needs no decision.
pub enum AnswerJob {
    Invalid { named: bool },
    Unreadable { named: bool, correlated: bool },
}

impl Foldable for CommandJob {
    fn folds_with(&self, next: &Self) -> bool {
        self.submission.entity_named() == next.submission.entity_named()
    }
}

/// Returns whether a bug makes the command in the record at `offset` panic, in lives that have the bug.
pub fn panics(offset: i64) -> bool {
    offset % 13 == 5
}

/// How far a run is, by its own report.
#[derive(Clone, Default)]
pub struct Progress(Rc<Cell<Stage>>);

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Deciding,
    Decided,
    /// The run is decided, and the processor's task knows it.
    Told,
}

impl Progress {
    pub fn is_decided(&self) -> bool {
        self.0.get() != Stage::Deciding
    }

    /// Returns `true` once, when the run is decided.
    pub fn has_news(&self) -> bool {
        let news = self.0.get() == Stage::Decided;
        if news {
            self.0.set(Stage::Told);
        }
        news
    }
}

/// Decides the commands, however often the store fails, and makes the outputs.
pub async fn process(
    claims: Arc<Claims<Weakened>>,
    run: Run<CommandJob, AnswerJob>,
    progress: Progress,
    bug: bool,
    defect: Option<Defect>,
) -> Vec<Finished<Outputs>> {
    let Run { work, awaited, id } = run;
    let decided = match &work {
        Work::Decide(commands) => {
            let submissions: Vec<_> = commands.iter().map(|(_, job)| job.submission.clone()).collect();
            decide(&claims, &submissions, bug).await
        }
        Work::Answer(..) => Vec::new(),
    };
    if awaited {
        progress.0.set(Stage::Decided);
        // Now and then the next run ends before this one.
        for _ in 0..=id.number % 5 * 4 {
            tokio::task::yield_now().await;
        }
    }
    let dropped_if_refused = defect == Some(Defect::RefusedIsDropped);
    let finished = |at, all| Finished { at, outputs: Outputs { all, dropped_if_refused } };
    match work {
        Work::Decide(commands) => {
            assert_eq!(commands.len(), decided.len());
            let both = commands.into_iter().zip(decided);
            both.map(|((at, job), decided)| finished(at, of_decided(at, job.named, decided, defect))).collect()
        }
        Work::Answer(at, job) => vec![finished(at, without_decision(at, &job))],
    }
}

/// Decides the commands of a run, by the tries of `flow::deciding`.
async fn decide(claims: &Claims<Weakened>, submissions: &[Submission], bug: bool) -> Vec<Decided> {
    let (mut decided, mut next) = (Vec::new(), Try::Together);
    loop {
        let tried = match next {
            Try::Together => try_to_decide(claims, submissions, bug, submissions[0].request.record.offset).await,
            Try::Alone(n) => try_to_decide(claims, &submissions[n..=n], bug, submissions[n].request.record.offset / 13).await,
            Try::GiveUp(n) => Some(vec![persistently(|| claims.give_up(&submissions[n])).await]),
            Try::Over => return decided,
        };
        next = next.then(tried.is_some(), submissions.len());
        decided.extend(tried.into_iter().flatten());
    }
}

/// Decides commands, or panics on the way if one of them has the bug. Where on the way `at` says.
async fn try_to_decide(claims: &Claims<Weakened>, submissions: &[Submission], bug: bool, at: i64) -> Option<Vec<Decided>> {
    if bug && submissions.iter().any(|submission| panics(submission.request.record.offset)) {
        return cut_short(claims.decide(submissions), at_one_of_the_first(at)).await?.ok();
    }
    Some(persistently(|| claims.decide(submissions)).await)
}

async fn persistently<T, F: Future<Output = Result<T, StoreFault>>>(attempt: impl Fn() -> F) -> T {
    loop {
        if let Ok(done) = attempt().await {
            return done;
        }
        tokio::task::yield_now().await;
    }
}

/// A panic comes at one of the first 20 awaits.
fn at_one_of_the_first(at: i64) -> u64 {
    (at % 20).unsigned_abs()
}

fn of_decided(of: RecordId, named: bool, mut decided: Decided, defect: Option<Defect>) -> Vec<Output> {
    if defect == Some(Defect::SourceRecordIgnored) {
        decided.replayed = false;
    }
    let transaction = match &decided.answer {
        Answer::Changed(transaction) if decided.publishes() => {
            Some(Output::Transaction { of, transaction: (**transaction).clone() })
        }
        _ => None,
    };
    transaction.into_iter().chain([Output::Reply { of, reply: Reply::Decided(Box::new(decided)), named }]).collect()
}

fn without_decision(of: RecordId, job: &AnswerJob) -> Vec<Output> {
    match *job {
        AnswerJob::Invalid { named } => vec![Output::Reply { of, reply: Reply::Invalid, named }],
        AnswerJob::Unreadable { named, correlated: true } => {
            vec![Output::DeadLetter { of }, Output::Reply { of, reply: Reply::Unreadable, named }]
        }
        AnswerJob::Unreadable { correlated: false, .. } => vec![Output::DeadLetter { of }],
    }
}
