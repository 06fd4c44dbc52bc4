//! Version 3 of the form of outcomes, claims and imports: version 2, with the reason of a state and the time since which it applies
//! behind the values of an entity, and behind everything else who asked for it. A change names the attributes that changed, because a
//! use case may change several.
//!
//! **Not frozen yet**: no release has written this form. When one has, this form is frozen as version 2 is. A value is written in it only
//! if version 2 can't hold the value: see [`Outcome::needed_for`], [`Claim::needed_for`] and [`Import::needed_for`].

use super::v2::{self, Unknown, numbered, use_case_number, use_case_of};
use crate::domain::attribute::Attribute;
use crate::domain::values::{Actor, RequestId, StateReason};
use crate::domain::{self, Timestamp, answer, request};
use crate::store::outcome;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// An outcome without the request's id, which is its row's key.
#[derive(Serialize, Deserialize)]
pub(super) struct Outcome<'a> {
    fingerprint: Uuid,
    #[serde(borrow)]
    record: v2::Record<'a>,
    at: Timestamp,
    epoch: Option<i64>,
    answer: Answer<'a>,
    actor: Option<&'a str>,
}

#[derive(Serialize, Deserialize)]
enum Answer<'a> {
    #[serde(borrow)]
    Changed(Transaction<'a>),
    #[serde(borrow)]
    Unchanged(Transaction<'a>),
    #[serde(borrow)]
    Rejected(v2::Rejection<'a>),
}

#[derive(Serialize, Deserialize)]
struct Transaction<'a> {
    use_case: u32,
    correlation_id: Option<&'a str>,
    previous_version: i64,
    #[serde(borrow)]
    changes: Vec<Change<'a>>,
    entity: Entity<'a>,
}

/// An attribute that changed, with its old value. Its new value is the one that the entity has.
#[derive(Serialize, Deserialize)]
struct Change<'a> {
    /// See [`attribute_number`].
    attribute: u32,
    old: Option<&'a str>,
}

#[derive(Serialize, Deserialize)]
struct Entity<'a> {
    #[serde(borrow)]
    before: v2::Entity<'a>,
    state_reason: Option<&'a str>,
    state_valid_from: Option<Timestamp>,
}

/// A claim's blob.
#[derive(Serialize, Deserialize)]
pub(super) struct Claim<'a> {
    #[serde(borrow)]
    cause: Cause<'a>,
    held: BTreeMap<Uuid, i64>,
}

#[derive(Serialize, Deserialize)]
enum Cause<'a> {
    Command(#[serde(borrow)] v2::Command<'a>, Option<&'a str>),
    Import(#[serde(borrow)] Entity<'a>, Option<&'a str>),
    Creation(#[serde(borrow)] v2::Command<'a>, Option<&'a str>, Option<Uuid>),
}

/// The log row of an import.
#[derive(Serialize, Deserialize)]
pub(super) struct Import<'a> {
    #[serde(borrow)]
    before: v2::Import<'a>,
    actor: Option<&'a str>,
}

impl<'a> Outcome<'a> {
    /// Returns whether version 2 can't hold `outcome`.
    pub fn needed_for(outcome: &outcome::Outcome) -> bool {
        let answer_needs_it = match &outcome.answer {
            answer::Answer::Changed(transaction) | answer::Answer::Unchanged(transaction) => {
                has_new_attribute(&transaction.entity) || transaction.use_case.attributes().len() > 1
            }
            answer::Answer::Rejected(_) => false,
        };
        answer_needs_it || outcome.actor.is_some()
    }

    pub fn of(outcome: &'a outcome::Outcome) -> Self {
        let outcome::Outcome { fingerprint, record, at, epoch, answer, actor } = outcome;
        let answer = match answer {
            answer::Answer::Changed(transaction) => Answer::Changed(Transaction::of(transaction)),
            answer::Answer::Unchanged(transaction) => Answer::Unchanged(Transaction::of(transaction)),
            answer::Answer::Rejected(rejection) => Answer::Rejected(v2::Rejection::of(rejection)),
        };
        let (record, actor) = (v2::Record::of(record), actor.as_ref().map(Actor::as_str));
        Self { fingerprint: *fingerprint, record, at: *at, epoch: *epoch, answer, actor }
    }

    /// Returns the outcome of the request whose row it was read from.
    pub fn read(self, request_id: &str) -> Result<outcome::Outcome, Unknown> {
        let Self { fingerprint, record, at, epoch, answer, actor } = self;
        let actor = actor.map(Actor::checked_before);
        let transaction = |stored: Transaction<'_>| stored.read(request_id, at, actor.clone()).map(Arc::new);
        let answer = match answer {
            Answer::Changed(stored) => answer::Answer::Changed(transaction(stored)?),
            Answer::Unchanged(stored) => answer::Answer::Unchanged(transaction(stored)?),
            Answer::Rejected(rejection) => answer::Answer::Rejected(rejection.read()),
        };
        Ok(outcome::Outcome { fingerprint, record: record.read(), at, epoch, answer, actor })
    }
}

impl<'a> Transaction<'a> {
    fn of(transaction: &'a domain::transaction::Transaction) -> Self {
        // The row's key says which request it was, and the outcome says when, and who asked.
        let domain::transaction::Transaction {
            use_case,
            request_id: _,
            correlation_id,
            occurred_at: _,
            previous_version,
            changes,
            entity,
            actor: _,
        } = transaction;
        Self {
            use_case: use_case_number(*use_case),
            correlation_id: correlation_id.as_deref(),
            previous_version: *previous_version,
            changes: changes.iter().map(Change::of).collect(),
            entity: Entity::of(entity),
        }
    }

    fn read(
        self,
        request_id: &str,
        occurred_at: Timestamp,
        actor: Option<Actor>,
    ) -> Result<domain::transaction::Transaction, Unknown> {
        let Self { use_case, correlation_id, previous_version, changes, entity } = self;
        let (use_case, entity) = (use_case_of(use_case)?, entity.read()?);
        let changes = changes.into_iter().map(|change| change.read(&entity)).collect::<Result<_, _>>()?;
        Ok(domain::transaction::Transaction {
            use_case,
            request_id: RequestId::checked_before(request_id),
            correlation_id: correlation_id.map(str::to_owned),
            occurred_at,
            previous_version,
            changes,
            entity,
            actor,
        })
    }
}

impl<'a> Change<'a> {
    fn of(change: &'a domain::transaction::Change) -> Self {
        Self { attribute: attribute_number(change.attribute), old: change.old.as_deref() }
    }

    /// Returns the change, after which the entity was as `after`.
    fn read(self, after: &domain::entity::Entity) -> Result<domain::transaction::Change, Unknown> {
        let attribute = numbered(&Attribute::ALL, attribute_number, self.attribute).ok_or(Unknown("attribute"))?;
        let (old, new) = (self.old.map(str::to_owned), attribute.of(after).map(Cow::into_owned));
        Ok(domain::transaction::Change { attribute, old, new })
    }
}

impl<'a> Entity<'a> {
    fn of(entity: &'a domain::entity::Entity) -> Self {
        Self {
            before: v2::Entity::of(entity),
            state_reason: entity.state_reason.as_ref().map(StateReason::as_str),
            state_valid_from: entity.state_valid_from,
        }
    }

    fn read(self) -> Result<domain::entity::Entity, Unknown> {
        let Self { before, state_reason, state_valid_from } = self;
        let state_reason = state_reason.map(StateReason::checked_before);
        Ok(domain::entity::Entity { state_reason, state_valid_from, ..before.read()? })
    }
}

impl<'a> Claim<'a> {
    /// Returns whether version 2 can't hold `claim`.
    pub fn needed_for(claim: &outcome::StoredClaim) -> bool {
        match &claim.cause {
            outcome::Cause::Request(request) => request.actor.is_some(),
            outcome::Cause::Creation { .. } => true,
            outcome::Cause::Import(entity, actor) => has_new_attribute(entity) || actor.is_some(),
        }
    }

    pub fn of(claim: &'a outcome::StoredClaim) -> Self {
        let outcome::StoredClaim { cause, held } = claim;
        let cause = match cause {
            outcome::Cause::Request(request) => {
                Cause::Command(v2::Command::of(request), request.actor.as_ref().map(Actor::as_str))
            }
            outcome::Cause::Creation { request, superior } => {
                Cause::Creation(v2::Command::of(request), request.actor.as_ref().map(Actor::as_str), *superior)
            }
            outcome::Cause::Import(entity, actor) => Cause::Import(Entity::of(entity), actor.as_ref().map(Actor::as_str)),
        };
        Self { cause, held: held.clone() }
    }

    pub fn read(self) -> Result<outcome::StoredClaim, Unknown> {
        let cause = match self.cause {
            Cause::Command(command, actor) => {
                outcome::Cause::Request(request::Request { actor: actor.map(Actor::checked_before), ..command.read()? })
            }
            Cause::Creation(command, actor, superior) => {
                let request = request::Request { actor: actor.map(Actor::checked_before), ..command.read()? };
                outcome::Cause::Creation { request, superior }
            }
            Cause::Import(entity, actor) => outcome::Cause::Import(entity.read()?, actor.map(Actor::checked_before)),
        };
        Ok(outcome::StoredClaim { cause, held: self.held })
    }
}

impl<'a> Import<'a> {
    /// Returns whether version 2 can't hold `import`.
    pub fn needed_for(import: &outcome::ImportOutcome) -> bool {
        import.actor.is_some()
    }

    pub fn of(import: &'a outcome::ImportOutcome) -> Self {
        Self { before: v2::Import::of(import), actor: import.actor.as_ref().map(Actor::as_str) }
    }

    pub fn read(self) -> outcome::ImportOutcome {
        outcome::ImportOutcome { actor: self.actor.map(Actor::checked_before), ..self.before.read() }
    }
}

/// Returns whether `entity` has a value that version 2 has no place for.
fn has_new_attribute(entity: &domain::entity::Entity) -> bool {
    entity.state_reason.is_some() || entity.state_valid_from.is_some()
}

/// Returns the number of an attribute. Numbers are given once; a further attribute gets the next one.
fn attribute_number(attribute: Attribute) -> u32 {
    match attribute {
        Attribute::ExternalId => 0,
        Attribute::CustomName => 1,
        Attribute::Segment => 2,
        Attribute::State => 3,
        Attribute::StateReason => 4,
        Attribute::CustomerRefId => 5,
        Attribute::AccountRefId => 6,
    }
}
