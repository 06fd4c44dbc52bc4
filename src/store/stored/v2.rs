//! Version 2 of the form of outcomes, claims and imports: what stands behind the version's byte, by `postcard`.
//!
//! **Frozen**: nothing here may change, except that a list of numbers may get a further number, or an enum a further variant at its end.
//! Builds that do not know these report them as unknown. The types are this file's own, so that those of the domain may change their
//! names, their order and their shape. An attribute that is added to an entity or a transaction is a compile error here: see the parent
//! module for the way on.
//!
//! Texts are not checked again when they are read (see [`ExternalId::checked_before`]): they obeyed the rules of their time.

use crate::domain::contents::Contents;
use crate::domain::entity::{EntityType, State};
use crate::domain::use_case::UseCase;
use crate::domain::values::{CustomName, ExternalId, RequestId, SegmentCode};
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
    record: Record<'a>,
    at: Timestamp,
    epoch: Option<i64>,
    answer: Answer<'a>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Record<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
}

#[derive(Serialize, Deserialize)]
enum Answer<'a> {
    #[serde(borrow)]
    Changed(Transaction<'a>),
    #[serde(borrow)]
    Unchanged(Transaction<'a>),
    #[serde(borrow)]
    Rejected(Rejection<'a>),
}

#[derive(Serialize, Deserialize)]
struct Transaction<'a> {
    /// See [`use_case_number`].
    use_case: u32,
    correlation_id: Option<&'a str>,
    previous_version: i64,
    /// The old values of what changed. The attribute is that of the use case, and its new value is the one that the entity has.
    #[serde(borrow)]
    changes: Vec<Option<&'a str>>,
    entity: Entity<'a>,
}

#[expect(clippy::struct_field_names, reason = "an entity of the domain calls it so")]
#[derive(Serialize, Deserialize)]
pub(super) struct Entity<'a> {
    /// See [`type_number`].
    entity_type: u32,
    ref_id: Uuid,
    external_id: &'a str,
    version: i64,
    /// See [`state_number`].
    state: u32,
    custom_name: Option<&'a str>,
    segment: Option<&'a str>,
    segment_valid_from: Option<Timestamp>,
    parent: Option<Uuid>,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Rejection<'a> {
    MandatoryAttribute { field: &'a str },
    InvalidAttribute { field: &'a str, reason: &'a str },
    SegmentNotConfigured { field: &'a str },
    RequestIdReused,
    EntityNotFound { field: &'a str },
    Deactivated { field: &'a str },
    VersionConflict { expected: i64, actual: i64 },
    ExternalIdNotUnique,
    RecordUnreadable { reason: &'a str },
    InternalError,
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
    #[serde(borrow)]
    Command(Command<'a>),
    #[serde(borrow)]
    Import(Entity<'a>),
}

#[derive(Serialize, Deserialize)]
pub(super) struct Command<'a> {
    request_id: &'a str,
    /// See [`use_case_number`].
    use_case: u32,
    /// See [`RequestedChange::text`](domain::change::RequestedChange::text).
    #[serde(borrow)]
    value: Cow<'a, str>,
    expected_version: Option<i64>,
    correlation_id: Option<&'a str>,
    #[serde(borrow)]
    record: Record<'a>,
}

/// The log row of an import.
#[derive(Serialize, Deserialize)]
pub(super) struct Import<'a> {
    at: Timestamp,
    external_id: &'a str,
}

/// Something that this build has no word for, so that a newer one must have written it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unknown(pub &'static str);

impl<'a> Outcome<'a> {
    pub fn of(outcome: &'a outcome::Outcome) -> Self {
        // Version 3 has a place for the actor.
        let outcome::Outcome { fingerprint, record, at, epoch, answer, actor: _ } = outcome;
        let answer = match answer {
            answer::Answer::Changed(transaction) => Answer::Changed(Transaction::of(transaction)),
            answer::Answer::Unchanged(transaction) => Answer::Unchanged(Transaction::of(transaction)),
            answer::Answer::Rejected(rejection) => Answer::Rejected(Rejection::of(rejection)),
        };
        Self { fingerprint: *fingerprint, record: Record::of(record), at: *at, epoch: *epoch, answer }
    }

    /// Returns the outcome of the request whose row it was read from.
    pub fn read(self, request_id: &str) -> Result<outcome::Outcome, Unknown> {
        let Self { fingerprint, record, at, epoch, answer } = self;
        let transaction = |stored: Transaction<'_>| stored.read(request_id, at).map(Arc::new);
        let answer = match answer {
            Answer::Changed(stored) => answer::Answer::Changed(transaction(stored)?),
            Answer::Unchanged(stored) => answer::Answer::Unchanged(transaction(stored)?),
            Answer::Rejected(rejection) => answer::Answer::Rejected(rejection.read()),
        };
        Ok(outcome::Outcome { fingerprint, record: record.read(), at, epoch, answer, actor: None })
    }
}

impl<'a> Record<'a> {
    pub fn of(record: &'a request::SourceRecord) -> Self {
        let request::SourceRecord { topic, partition, offset } = record;
        Self { topic, partition: *partition, offset: *offset }
    }

    pub fn read(self) -> request::SourceRecord {
        let Self { topic, partition, offset } = self;
        request::SourceRecord { topic: topic.into(), partition, offset }
    }
}

impl<'a> Transaction<'a> {
    fn of(transaction: &'a domain::transaction::Transaction) -> Self {
        // The row's key says which request it was, and the outcome says when and, in version 3, who asked.
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
            changes: changes.iter().map(|change| change.old.as_deref()).collect(),
            entity: Entity::of(entity),
        }
    }

    fn read(self, request_id: &str, occurred_at: Timestamp) -> Result<domain::transaction::Transaction, Unknown> {
        let Self { use_case, correlation_id, previous_version, changes, entity } = self;
        let (use_case, entity) = (use_case_of(use_case)?, entity.read()?);
        let attribute = use_case.first_attribute();
        let new = attribute.of(&entity).map(Cow::into_owned);
        let change = |old: Option<&str>| domain::transaction::Change { attribute, old: old.map(str::to_owned), new: new.clone() };
        let changes = changes.into_iter().map(change).collect();
        let (request_id, correlation_id) = (RequestId::checked_before(request_id), correlation_id.map(str::to_owned));
        Ok(domain::transaction::Transaction {
            use_case,
            request_id,
            correlation_id,
            occurred_at,
            previous_version,
            changes,
            entity,
            actor: None,
        })
    }
}

impl<'a> Entity<'a> {
    pub fn of(entity: &'a domain::entity::Entity) -> Self {
        let domain::entity::Entity {
            entity_type,
            ref_id,
            external_id,
            version,
            state,
            custom_name,
            segment,
            segment_valid_from,
            parent,
            // Version 3 has a place for them.
            state_reason: _,
            state_valid_from: _,
        } = entity;
        Self {
            entity_type: type_number(*entity_type),
            ref_id: *ref_id,
            external_id: external_id.as_str(),
            version: *version,
            state: state_number(*state),
            custom_name: custom_name.as_ref().map(CustomName::as_str),
            segment: segment.as_ref().map(SegmentCode::as_str),
            segment_valid_from: *segment_valid_from,
            parent: *parent,
        }
    }

    pub fn read(self) -> Result<domain::entity::Entity, Unknown> {
        let Self { entity_type, ref_id, external_id, version, state, custom_name, segment, segment_valid_from, parent } = self;
        Ok(domain::entity::Entity {
            entity_type: numbered(&EntityType::ALL, type_number, entity_type).ok_or(Unknown("type of entity"))?,
            ref_id,
            external_id: ExternalId::checked_before(external_id),
            version,
            state: numbered(&State::ALL, state_number, state).ok_or(Unknown("state"))?,
            custom_name: custom_name.map(CustomName::checked_before),
            segment: segment.map(SegmentCode::checked_before),
            segment_valid_from,
            parent,
            state_reason: None,
            state_valid_from: None,
        })
    }
}

impl<'a> Rejection<'a> {
    pub fn of(rejection: &'a domain::rejection::Rejection) -> Self {
        use domain::rejection::Rejection as R;
        match rejection {
            R::MandatoryAttribute { field } => Self::MandatoryAttribute { field },
            R::InvalidAttribute { field, reason } => Self::InvalidAttribute { field, reason },
            R::SegmentNotConfigured { field } => Self::SegmentNotConfigured { field },
            R::RequestIdReused => Self::RequestIdReused,
            R::EntityNotFound { field } => Self::EntityNotFound { field },
            R::Deactivated { field } => Self::Deactivated { field },
            R::VersionConflict { expected, actual } => Self::VersionConflict { expected: *expected, actual: *actual },
            R::ExternalIdNotUnique => Self::ExternalIdNotUnique,
            R::RecordUnreadable { reason } => Self::RecordUnreadable { reason },
            R::InternalError => Self::InternalError,
        }
    }

    pub fn read(self) -> domain::rejection::Rejection {
        use domain::rejection::Rejection as R;
        let text = |text: &str| text.to_owned().into();
        match self {
            Self::MandatoryAttribute { field } => R::MandatoryAttribute { field: text(field) },
            Self::InvalidAttribute { field, reason } => R::InvalidAttribute { field: text(field), reason: text(reason) },
            Self::SegmentNotConfigured { field } => R::SegmentNotConfigured { field: text(field) },
            Self::RequestIdReused => R::RequestIdReused,
            Self::EntityNotFound { field } => R::EntityNotFound { field: text(field) },
            Self::Deactivated { field } => R::Deactivated { field: text(field) },
            Self::VersionConflict { expected, actual } => R::VersionConflict { expected, actual },
            Self::ExternalIdNotUnique => R::ExternalIdNotUnique,
            Self::RecordUnreadable { reason } => R::RecordUnreadable { reason: text(reason) },
            Self::InternalError => R::InternalError,
        }
    }
}

impl<'a> Claim<'a> {
    pub fn of(claim: &'a outcome::StoredClaim) -> Self {
        let outcome::StoredClaim { cause, held } = claim;
        let cause = match cause {
            // Version 3 has a place for the superior.
            outcome::Cause::Request(request) | outcome::Cause::Creation { request, .. } => Cause::Command(Command::of(request)),
            outcome::Cause::Import(entity, _) => Cause::Import(Entity::of(entity)),
        };
        Self { cause, held: held.clone() }
    }

    pub fn read(self) -> Result<outcome::StoredClaim, Unknown> {
        let cause = match self.cause {
            Cause::Command(command) => outcome::Cause::Request(command.read()?),
            Cause::Import(entity) => outcome::Cause::Import(entity.read()?, None),
        };
        Ok(outcome::StoredClaim { cause, held: self.held })
    }
}

impl<'a> Command<'a> {
    pub fn of(request: &'a request::Request) -> Self {
        // Version 3 has a place for the actor.
        let request::Request { id, contents, correlation_id, actor: _, record } = request;
        Self {
            request_id: id.as_str(),
            use_case: use_case_number(contents.use_case()),
            value: contents.change().text(),
            expected_version: contents.expected_version(),
            correlation_id: correlation_id.as_deref(),
            record: Record::of(record),
        }
    }

    pub fn read(self) -> Result<request::Request, Unknown> {
        let Self { request_id, use_case, value, expected_version, correlation_id, record } = self;
        Ok(request::Request {
            id: RequestId::checked_before(request_id),
            contents: Contents::restore(use_case_of(use_case)?, &value, expected_version).ok_or(Unknown("value"))?,
            correlation_id: correlation_id.map(str::to_owned),
            actor: None,
            record: record.read(),
        })
    }
}

impl<'a> Import<'a> {
    pub fn of(import: &'a outcome::ImportOutcome) -> Self {
        // Version 3 has a place for the actor.
        let outcome::ImportOutcome { at, external_id, actor: _ } = import;
        Self { at: *at, external_id: external_id.as_str() }
    }

    pub fn read(self) -> outcome::ImportOutcome {
        outcome::ImportOutcome { at: self.at, external_id: ExternalId::checked_before(self.external_id), actor: None }
    }
}

/// Returns the number of a use case. Numbers are given once; a further use case gets the next one.
pub(super) fn use_case_number(use_case: UseCase) -> u32 {
    match use_case {
        UseCase::UpdateCustomerCustomName => 0,
        UseCase::UpdateCustomerSegment => 1,
        UseCase::UpdateAccountExternalId => 2,
        UseCase::UpdateSubscriberExternalId => 3,
        UseCase::UpdateCustomerExternalId => 4,
        UseCase::UpdateCustomerState => 5,
        UseCase::UpdateAccountCustomName => 6,
        UseCase::UpdateAccountState => 7,
        UseCase::UpdateSubscriberCustomName => 8,
        UseCase::UpdateSubscriberState => 9,
        UseCase::CreateCustomer => 10,
        UseCase::CreateAccount => 11,
        UseCase::CreateSubscriber => 12,
    }
}

pub(super) fn use_case_of(number: u32) -> Result<UseCase, Unknown> {
    numbered(UseCase::ALL, use_case_number, number).ok_or(Unknown("use case"))
}

fn type_number(entity_type: EntityType) -> u32 {
    match entity_type {
        EntityType::Customer => 0,
        EntityType::Account => 1,
        EntityType::Subscriber => 2,
    }
}

fn state_number(state: State) -> u32 {
    match state {
        State::Inactive => 0,
        State::Active => 1,
        State::Suspended => 2,
        State::Deactivated => 3,
    }
}

/// Returns which of `all` has a number.
pub(super) fn numbered<T: Copy>(all: &[T], number_of: impl Fn(T) -> u32, number: u32) -> Option<T> {
    all.iter().copied().find(|value| number_of(*value) == number)
}
