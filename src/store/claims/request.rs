//! One request, and how it is decided from an entity alone. Pure.

use super::data::{Decided, Submission};
use crate::domain::Timestamp;
use crate::domain::contents::Contents;
use crate::domain::decision::{Decision, decide};
use crate::domain::entity::Entity;
use crate::domain::rejection::Rejection;
use crate::domain::transaction::{Change, Transaction};
use crate::domain::values::RequestId;
use crate::store::outcome::{Answer, ClaimingCommand, Coordinates, Outcome};
use std::sync::Arc;
use uuid::Uuid;

/// What a decision depends on besides the entity: of a submission, or of a claim that is completed for another.
pub(super) struct Request<'a> {
    pub id: &'a RequestId,
    pub contents: &'a Contents,
    correlation_id: Option<&'a str>,
    pub record: &'a Coordinates,
    /// See [`Contents::fingerprint`].
    pub fingerprint: Uuid,
}

impl<'a> Request<'a> {
    pub fn of(submission: &'a Submission) -> Self {
        let command = &submission.command;
        Self {
            id: &command.request_id,
            contents: &command.contents,
            correlation_id: submission.correlation_id.as_deref(),
            record: &submission.record,
            fingerprint: command.contents.fingerprint(),
        }
    }

    pub fn of_claimant(command: &'a ClaimingCommand) -> Self {
        Self {
            id: &command.request_id,
            contents: &command.contents,
            correlation_id: command.correlation_id.as_deref(),
            record: &command.record,
            fingerprint: command.contents.fingerprint(),
        }
    }

    /// What the request is to be answered, if `entity` stays as it is until that is applied.
    pub fn decide(&self, entity: &Entity, now: Timestamp) -> Answer {
        match decide(entity, self.contents, now) {
            Decision::Change { after, change } => Answer::Changed(self.transaction(entity.version, vec![change], after, now)),
            Decision::Unchanged => Answer::Unchanged(self.transaction(entity.version, Vec::new(), entity.clone(), now)),
            Decision::Rejected(rejection) => Answer::Rejected(rejection),
        }
    }

    /// `answer` as it is stored, decided in this epoch of the entity.
    pub fn outcome(&self, answer: Answer, epoch: Option<i64>, now: Timestamp) -> Outcome {
        Outcome { fingerprint: self.fingerprint, record: self.record.clone(), at: now, epoch, answer }
    }

    /// What the request is answered, now that its id has an outcome.
    pub fn answered_by(&self, outcome: &Outcome) -> Decided {
        if outcome.fingerprint != self.fingerprint {
            return Decided { answer: Answer::Rejected(Rejection::RequestIdReused), replayed: false, publish: false };
        }
        let replayed = outcome.record != *self.record;
        let publish = matches!(outcome.answer, Answer::Changed(_)) && !replayed;
        Decided { answer: outcome.answer.clone(), replayed, publish }
    }

    fn transaction(&self, previous_version: i64, changes: Vec<Change>, entity: Entity, now: Timestamp) -> Arc<Transaction> {
        Arc::new(Transaction {
            use_case: self.contents.use_case(),
            request_id: self.id.clone(),
            correlation_id: self.correlation_id.map(Into::into),
            occurred_at: now,
            previous_version,
            changes,
            entity,
        })
    }
}
