//! Decides a run of commands about one entity, one after another in memory. Pure.
//!
//! What comes out is as if each had been decided and stored by itself: each sees the entity as its predecessor left it, and
//! a request id that comes twice sees the first one's outcome.

use super::resolve::{Holder, Sight};
use super::retention::Retention;
use super::{Decided, Submission, Target};
use crate::domain::Timestamp;
use crate::domain::command::{Decision, RequestId, UseCase, decide, fingerprint};
use crate::domain::entity::Entity;
use crate::domain::rejection::Rejection;
use crate::domain::transaction::{Change, Transaction};
use crate::store::outcome::{Answer, ClaimingCommand, Coordinates, Outcome};
use crate::store::{EntityStatics, LogRow};

/// What was decided of the head of a run, and what must be applied before it is final.
#[derive(Default)]
pub(super) struct Fold {
    /// One for each submission of the head.
    pub decided: Vec<Decided>,
    /// The outcomes that are not stored yet; none if all were known.
    pub rows: Vec<LogRow>,
    /// The entity after them; None if it stays as it is.
    pub after: Option<EntityStatics>,
}

impl Fold {
    /// Goes through `open` up to the first rename that would change the entity: that one needs a claim first. Adds what it
    /// decides to what is known.
    pub fn of(open: &[Submission], target: &Target, sight: &mut Sight, now: Timestamp, retention: &Retention) -> Self {
        let mut fold = Self::default();
        for submission in open {
            let request = Request::of(submission);
            if sight.known.of(submission).is_none() {
                let Some(answer) = fold.answer(&request, submission, &sight.holder, now) else { break };
                let outcome = request.outcome(answer, sight.holder.epoch(), now);
                fold.rows.push(retention.row(target, &sight.holder, request.id, &outcome));
                sight.known.add(request.id, outcome);
            }
            let outcome = sight.known.of(submission).expect("it was known, or has just been decided");
            fold.decided.push(Decided::by(outcome, submission));
        }
        fold
    }

    /// None: it can't be told in memory.
    fn answer(&mut self, request: &Request<'_>, submission: &Submission, holder: &Holder, now: Timestamp) -> Option<Answer> {
        let seen = match holder {
            Holder::NotAsked => return None,
            Holder::Nobody { .. } => {
                let field = submission.command.target.field(submission.command.entity_type());
                return Some(Answer::Rejected(Rejection::EntityNotFound { field }));
            }
            Holder::Entity(seen) => self.after.as_ref().unwrap_or(seen),
        };
        let answer = request.decide(&seen.entity, now);
        if let Answer::Changed(transaction) = &answer {
            if request.use_case.wanted().is_some() {
                return None;
            }
            self.after = Some(EntityStatics { entity: transaction.entity.clone(), ..*seen });
        }
        Some(answer)
    }
}

/// What a decision depends on besides the entity: of a submission, or of a claim that is completed for another.
pub(super) struct Request<'a> {
    pub id: &'a RequestId,
    pub use_case: &'a UseCase,
    expected_version: Option<i64>,
    correlation_id: Option<&'a str>,
    record: &'a Coordinates,
}

impl<'a> Request<'a> {
    pub fn of(submission: &'a Submission) -> Self {
        let command = &submission.command;
        Self {
            id: &command.request_id,
            use_case: &command.use_case,
            expected_version: command.expected_version,
            correlation_id: submission.correlation_id.as_deref(),
            record: &submission.record,
        }
    }

    pub fn of_claimant(command: &'a ClaimingCommand) -> Self {
        Self {
            id: &command.request_id,
            use_case: &command.use_case,
            expected_version: command.expected_version,
            correlation_id: command.correlation_id.as_deref(),
            record: &command.record,
        }
    }

    /// What the request is to be answered, if `entity` stays as it is until that is applied.
    pub fn decide(&self, entity: &Entity, now: Timestamp) -> Answer {
        match decide(entity, self.use_case, self.expected_version, now) {
            Decision::Change { after, change } => Answer::Changed(self.transaction(entity.version, vec![change], after, now)),
            Decision::Unchanged => Answer::Unchanged(self.transaction(entity.version, Vec::new(), entity.clone(), now)),
            Decision::Rejected(rejection) => Answer::Rejected(rejection),
        }
    }

    /// `answer` as it is stored, decided in this epoch of the entity.
    pub fn outcome(&self, answer: Answer, epoch: Option<i64>, now: Timestamp) -> Outcome {
        let fingerprint = fingerprint(self.use_case, self.expected_version);
        Outcome { fingerprint, record: self.record.clone(), at: now, epoch, answer }
    }

    fn transaction(&self, previous_version: i64, changes: Vec<Change>, entity: Entity, now: Timestamp) -> Transaction {
        Transaction {
            use_case: self.use_case.name(),
            request_id: self.id.clone(),
            correlation_id: self.correlation_id.map(Into::into),
            occurred_at: now,
            previous_version,
            changes,
            entity,
        }
    }
}
