//! A lane's run: the real claim protocol decides its commands, and each record becomes outputs.

use super::Defect;
use super::outputs::{Output, Outputs, Reply};
use super::weakened::Weakened;
use crate::polls::cut_short;
use crm_processor::flow::RecordId;
use crm_processor::flow::batch::Finished;
use crm_processor::flow::lanes::{Foldable, Run};
use crm_processor::store::StoreFault;
use crm_processor::store::claims::{Claims, Decided, Submission};
use crm_processor::store::outcome::Answer;
use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

/// A record on its way through a lane.
pub struct Job {
    pub at: RecordId,
    pub named: bool,
    pub task: Task,
}

pub enum Task {
    Decide(Submission),
    Refuse,
    Bury { correlated: bool },
}

impl Foldable for Job {
    fn folds_with(&self, next: &Self) -> bool {
        match (&self.task, &next.task) {
            (Task::Decide(a), Task::Decide(b)) => a.command.entity_named() == b.command.entity_named(),
            _ => false,
        }
    }
}

/// Does a bug make a panic of the command in the record at `offset`, in lives that have it?
pub fn panics(offset: i64) -> bool {
    offset % 13 == 5
}

/// How far a run is, as it says itself.
#[derive(Clone, Default)]
pub struct Progress(Rc<Cell<Stage>>);

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Deciding,
    Decided,
    /// Decided, and the processor's task knows it.
    Told,
}

impl Progress {
    pub fn is_decided(&self) -> bool {
        self.0.get() != Stage::Deciding
    }

    /// True once, when it is decided.
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
    run: Run<Job>,
    progress: Progress,
    bug: bool,
    defect: Option<Defect>,
) -> Vec<Finished<Outputs>> {
    let Run { commands: jobs, awaited, id } = run;
    let submission = |job: &Job| if let Task::Decide(submission) = &job.task { Some(submission.clone()) } else { None };
    let submissions: Vec<_> = jobs.iter().filter_map(|(_, job)| submission(job)).collect();
    let mut decided = decide(&claims, &submissions, bug).await.into_iter();
    if awaited {
        progress.0.set(Stage::Decided);
        // Now and then the next run is over before this one.
        for _ in 0..=id.number % 5 * 4 {
            tokio::task::yield_now().await;
        }
    }
    let mut results = Vec::new();
    for (at, job) in jobs {
        let decided = submission(&job).and_then(|_| decided.next());
        results.push(Finished { at, outputs: outputs(&job, decided, defect) });
    }
    results
}

/// As `processor` does it: after a panic one at a time, and what panics again is given up.
async fn decide(claims: &Claims<Weakened>, submissions: &[Submission], bug: bool) -> Vec<Decided> {
    let panics = |submission: &Submission| bug && panics(submission.record.offset);
    if !submissions.iter().any(panics) {
        return persistently(|| claims.decide(submissions)).await;
    }
    cut_short(claims.decide(submissions), at_one_of_the_first(submissions[0].record.offset)).await;
    let mut decided = Vec::new();
    for submission in submissions {
        let one = std::slice::from_ref(submission);
        if !panics(submission) {
            decided.extend(persistently(|| claims.decide(one)).await);
        } else if let Some(Ok(one)) = cut_short(claims.decide(one), at_one_of_the_first(submission.record.offset / 13)).await {
            decided.extend(one);
        } else {
            decided.push(persistently(|| claims.give_up(submission)).await);
        }
    }
    decided
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

fn outputs(job: &Job, decided: Option<Decided>, defect: Option<Defect>) -> Outputs {
    let of = job.at;
    let reply = |reply| Output::Reply { of, reply, named: job.named };
    Outputs(match (&job.task, decided) {
        (Task::Decide(_), Some(decided)) => {
            let publish = decided.publish || defect == Some(Defect::CoordinatesIgnored);
            let transaction = match &decided.answer {
                Answer::Changed(transaction) if publish => Some(Output::Transaction { of, transaction: (**transaction).clone() }),
                _ => None,
            };
            transaction.into_iter().chain([reply(Reply::Decided(Box::new(decided)))]).collect()
        }
        (Task::Refuse, _) => vec![reply(Reply::Invalid)],
        (Task::Bury { correlated: true }, _) => vec![Output::DeadLetter { of }, reply(Reply::Unreadable)],
        (Task::Bury { correlated: false }, _) => vec![Output::DeadLetter { of }],
        (Task::Decide(_), None) => unreachable!("each submission was decided"),
    })
}
