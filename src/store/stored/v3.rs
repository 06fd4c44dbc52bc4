//! Version 3 of the form of outcomes, claims and imports. It adds to version 2: the reason of an entity's state and the time since which
//! the state applies, which come after the entity's other values; and the actor, who comes after everything else. A change names its
//! attribute, because a use case may change several. A claim can be that of a creation.
//!
//! **Not frozen yet**: no release has written this form. When one has, this form is frozen as version 2 is.

use super::form::{Form, Unknown};
use super::numbers::{attribute_number, use_case_of};
use super::v2;
use crate::domain::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(super) type Transaction<'a> = v2::Transaction<'a, Change<'a>, Entity<'a>>;

pub(super) type Claim<'a> = v2::Claim<Cause<'a>>;

/// An outcome without the request's id, which is its row's key.
#[derive(Serialize, Deserialize)]
pub(super) struct Outcome<'a> {
    #[serde(borrow)]
    pub before: v2::Outcome<'a, Transaction<'a>>,
    pub actor: Option<&'a str>,
}

/// An attribute that changed, with its old value. Its new value is the one that the entity has.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct Change<'a> {
    /// See [`attribute_number`].
    pub attribute: u32,
    pub old: Option<&'a str>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct Entity<'a> {
    #[serde(borrow)]
    pub before: v2::Entity<'a>,
    pub state_reason: Option<&'a str>,
    pub state_valid_from: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Cause<'a> {
    Command(#[serde(borrow)] v2::Command<'a>, Option<&'a str>),
    Import(#[serde(borrow)] Entity<'a>, Option<&'a str>),
    Creation(#[serde(borrow)] v2::Command<'a>, Option<&'a str>, Option<Uuid>),
}

/// The log row of an import.
#[derive(Serialize, Deserialize)]
pub(super) struct Import<'a> {
    #[serde(borrow)]
    pub before: v2::Import<'a>,
    pub actor: Option<&'a str>,
}

impl<'a> Form<'a> for Outcome<'a> {
    type Before = v2::Outcome<'a>;

    fn before(&self) -> Option<Self::Before> {
        let Self { before, actor: None } = self else { return None };
        before.clone().with(|transaction| transaction_before(&transaction).ok_or(())).ok()
    }

    fn after(before: Self::Before) -> Result<Self, Unknown> {
        Ok(Self { before: before.with(transaction_after)?, actor: None })
    }
}

impl<'a> Form<'a> for Claim<'a> {
    type Before = v2::Claim<v2::Cause<'a>>;

    fn before(&self) -> Option<Self::Before> {
        let cause = match &self.cause {
            Cause::Command(command, None) => v2::Cause::Command(command.clone()),
            Cause::Import(entity, None) => v2::Cause::Import(entity.before()?),
            Cause::Command(_, Some(_)) | Cause::Import(_, Some(_)) | Cause::Creation(..) => return None,
        };
        Some(v2::Claim { cause, held: self.held.clone() })
    }

    fn after(before: Self::Before) -> Result<Self, Unknown> {
        let cause = match before.cause {
            v2::Cause::Command(command) => Cause::Command(command, None),
            v2::Cause::Import(entity) => Cause::Import(Entity::after(entity), None),
        };
        Ok(Self { cause, held: before.held })
    }
}

impl<'a> Form<'a> for Import<'a> {
    type Before = v2::Import<'a>;

    fn before(&self) -> Option<Self::Before> {
        let Self { before, actor: None } = self else { return None };
        Some(*before)
    }

    fn after(before: Self::Before) -> Result<Self, Unknown> {
        Ok(Self { before, actor: None })
    }
}

/// Returns the transaction in version 2. Returns `None` if version 2 has no place for all of it, such as several attributes.
fn transaction_before<'a>(transaction: &Transaction<'a>) -> Option<v2::Transaction<'a>> {
    let v2::Transaction { use_case, correlation_id, previous_version, changes, entity } = transaction;
    let [only] = use_case_of(*use_case).ok()?.attributes() else { return None };
    let old = |change: &Change<'a>| (change.attribute == attribute_number(*only)).then_some(change.old);
    let (use_case, correlation_id, previous_version) = (*use_case, *correlation_id, *previous_version);
    let changes = changes.iter().map(old).collect::<Option<_>>()?;
    Some(v2::Transaction { use_case, correlation_id, previous_version, changes, entity: entity.before()? })
}

fn transaction_after(before: v2::Transaction<'_>) -> Result<Transaction<'_>, Unknown> {
    let v2::Transaction { use_case, correlation_id, previous_version, changes, entity } = before;
    let attribute = attribute_number(use_case_of(use_case)?.first_attribute());
    let changes = changes.into_iter().map(|old| Change { attribute, old }).collect();
    Ok(Transaction { use_case, correlation_id, previous_version, changes, entity: Entity::after(entity) })
}

impl<'a> Entity<'a> {
    fn before(&self) -> Option<v2::Entity<'a>> {
        let Self { before, state_reason: None, state_valid_from: None } = self else { return None };
        Some(*before)
    }

    fn after(before: v2::Entity<'a>) -> Self {
        Self { before, state_reason: None, state_valid_from: None }
    }
}
