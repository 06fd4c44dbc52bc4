//! Conversion between the store's values and the newest version of their form. Each struct of the store and of the domain is taken apart
//! here, and each of its fields is named. So a new attribute is a compile error here: see the parent module for the way on.
//!
//! Texts are not checked again when they are read (see [`ExternalId::checked_before`]): they obeyed the rules of their time.

use super::form::Unknown;
use super::numbers::{
    attribute_number, attribute_of, state_number, state_of, type_number, type_of, use_case_number, use_case_of,
};
use super::v2::{self, Answer, Command, Record};
use super::v3::{Cause, Change, Claim, Entity, Import, Outcome, Transaction};
use crate::domain::contents::Contents;
use crate::domain::values::{Actor, ExternalId, RequestId};
use crate::domain::{self, Timestamp, answer, request};
use crate::store::values::EntityValues;
use crate::store::{EntityKey, outcome};
use std::borrow::Cow;
use std::sync::Arc;

impl<'a> Outcome<'a> {
    pub fn of(outcome: &'a outcome::Outcome) -> Self {
        let outcome::Outcome { fingerprint, record, at, epoch, answer, actor } = outcome;
        let answer = match answer {
            answer::Answer::Changed(transaction) => Answer::Changed(Transaction::of(transaction)),
            answer::Answer::Unchanged(transaction) => Answer::Unchanged(Transaction::of(transaction)),
            answer::Answer::Rejected(rejection) => Answer::Rejected(v2::Rejection::of(rejection)),
        };
        let before = v2::Outcome { fingerprint: *fingerprint, record: Record::of(record), at: *at, epoch: *epoch, answer };
        Self { before, actor: actor.as_ref().map(Actor::as_str) }
    }

    /// Returns the outcome of the request whose row it was read from.
    pub fn read(self, request_id: &str) -> Result<outcome::Outcome, Unknown> {
        let v2::Outcome { fingerprint, record, at, epoch, answer } = self.before;
        let actor = self.actor.map(Actor::checked_before);
        let transaction = |stored: Transaction<'_>| stored.read(request_id, at, actor.clone()).map(Arc::new);
        let answer = match answer {
            Answer::Changed(stored) => answer::Answer::Changed(transaction(stored)?),
            Answer::Unchanged(stored) => answer::Answer::Unchanged(transaction(stored)?),
            Answer::Rejected(rejection) => answer::Answer::Rejected(rejection.read()),
        };
        Ok(outcome::Outcome { fingerprint, record: record.read(), at, epoch, answer, actor })
    }
}

impl<'a> Record<'a> {
    fn of(record: &'a request::SourceRecord) -> Self {
        let request::SourceRecord { topic, partition, offset } = record;
        Self { topic, partition: *partition, offset: *offset }
    }

    fn read(self) -> request::SourceRecord {
        let Self { topic, partition, offset } = self;
        request::SourceRecord { topic: topic.into(), partition, offset }
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
        // The entity has the new value.
        let domain::transaction::Change { attribute, old, new: _ } = change;
        Self { attribute: attribute_number(*attribute), old: old.as_deref() }
    }

    /// Returns the change, after which the entity was as `after`.
    fn read(self, after: &domain::entity::Entity) -> Result<domain::transaction::Change, Unknown> {
        let attribute = attribute_of(self.attribute)?;
        let (old, new) = (self.old.map(str::to_owned), attribute.of(after).map(Cow::into_owned));
        Ok(domain::transaction::Change { attribute, old, new })
    }
}

impl<'a> Entity<'a> {
    fn of(entity: &'a domain::entity::Entity) -> Self {
        let EntityValues {
            external_id,
            version,
            state,
            custom_name,
            segment,
            segment_valid_from,
            superior,
            state_reason,
            state_valid_from,
        } = EntityValues::of(entity);
        let (entity_type, ref_id, state) = (type_number(entity.entity_type), entity.ref_id, state_number(state));
        let before = v2::Entity {
            entity_type,
            ref_id,
            external_id,
            version,
            state,
            custom_name,
            segment,
            segment_valid_from,
            parent: superior,
        };
        Self { before, state_reason, state_valid_from }
    }

    fn read(self) -> Result<domain::entity::Entity, Unknown> {
        let Self { before, state_reason, state_valid_from } = self;
        let values = EntityValues {
            external_id: before.external_id,
            version: before.version,
            state: state_of(before.state)?,
            custom_name: before.custom_name,
            segment: before.segment,
            segment_valid_from: before.segment_valid_from,
            superior: before.parent,
            state_reason,
            state_valid_from,
        };
        Ok(values.entity(EntityKey { entity_type: type_of(before.entity_type)?, ref_id: before.ref_id }))
    }
}

impl<'a> v2::Rejection<'a> {
    fn of(rejection: &'a domain::rejection::Rejection) -> Self {
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

    fn read(self) -> domain::rejection::Rejection {
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
        let actor_of = |request: &'a request::Request| request.actor.as_ref().map(Actor::as_str);
        let cause = match cause {
            outcome::Cause::Request(request) => Cause::Command(Command::of(request), actor_of(request)),
            outcome::Cause::Creation { request, superior } => Cause::Creation(Command::of(request), actor_of(request), *superior),
            outcome::Cause::Import(entity, actor) => Cause::Import(Entity::of(entity), actor.as_ref().map(Actor::as_str)),
        };
        Self { cause, held: held.clone() }
    }

    pub fn read(self) -> Result<outcome::StoredClaim, Unknown> {
        let cause = match self.cause {
            Cause::Command(command, actor) => outcome::Cause::Request(command.read(actor)?),
            Cause::Creation(command, actor, superior) => outcome::Cause::Creation { request: command.read(actor)?, superior },
            Cause::Import(entity, actor) => outcome::Cause::Import(entity.read()?, actor.map(Actor::checked_before)),
        };
        Ok(outcome::StoredClaim { cause, held: self.held })
    }
}

impl<'a> Command<'a> {
    /// Returns the command of a request, without who asked.
    fn of(request: &'a request::Request) -> Self {
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

    fn read(self, actor: Option<&str>) -> Result<request::Request, Unknown> {
        let Self { request_id, use_case, value, expected_version, correlation_id, record } = self;
        Ok(request::Request {
            id: RequestId::checked_before(request_id),
            contents: Contents::restore(use_case_of(use_case)?, &value, expected_version).ok_or(Unknown("value"))?,
            correlation_id: correlation_id.map(str::to_owned),
            actor: actor.map(Actor::checked_before),
            record: record.read(),
        })
    }
}

impl<'a> Import<'a> {
    pub fn of(import: &'a outcome::ImportOutcome) -> Self {
        let outcome::ImportOutcome { at, external_id, actor } = import;
        let before = v2::Import { at: *at, external_id: external_id.as_str() };
        Self { before, actor: actor.as_ref().map(Actor::as_str) }
    }

    pub fn read(self) -> outcome::ImportOutcome {
        let v2::Import { at, external_id } = self.before;
        let external_id = ExternalId::checked_before(external_id);
        outcome::ImportOutcome { at, external_id, actor: self.actor.map(Actor::checked_before) }
    }
}
