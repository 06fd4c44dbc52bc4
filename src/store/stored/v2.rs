//! Version 2 of the form of outcomes, claims and imports: what stands behind the version's byte, by `postcard`.
//!
//! **Frozen**: nothing here may change, except that an enum may get a further variant at its end. Builds that do not know the variant
//! report it as unknown. The types are those of the form alone, so that those of the domain may change their names, their order and their
//! shape. Where a later version stores the same in another way, the type has a parameter, whose default is what this version stores.

use crate::domain::Timestamp;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use uuid::Uuid;

/// An outcome without the request's id, which is its row's key.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Outcome<'a, T = Transaction<'a>> {
    pub fingerprint: Uuid,
    #[serde(borrow)]
    pub record: Record<'a>,
    pub at: Timestamp,
    pub epoch: Option<i64>,
    #[serde(borrow)]
    pub answer: Answer<'a, T>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct Record<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Answer<'a, T> {
    Changed(T),
    Unchanged(T),
    #[serde(borrow)]
    Rejected(Rejection<'a>),
}

/// A business transaction. It leaves out the request's id, and what the outcome says already.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Transaction<'a, C = Option<&'a str>, E = Entity<'a>> {
    /// The use case's number, as [`use_case_number`](super::numbers::use_case_number) gives it.
    pub use_case: u32,
    pub correlation_id: Option<&'a str>,
    pub previous_version: i64,
    /// The old values of what changed. The attribute is that of the use case, and its new value is the one that the entity has.
    pub changes: Vec<C>,
    pub entity: E,
}

#[expect(clippy::struct_field_names, reason = "an entity of the domain calls it so")]
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct Entity<'a> {
    /// See [`type_number`](super::numbers::type_number).
    pub entity_type: u32,
    pub ref_id: Uuid,
    pub external_id: &'a str,
    pub version: i64,
    /// See [`state_number`](super::numbers::state_number).
    pub state: u32,
    pub custom_name: Option<&'a str>,
    pub segment: Option<&'a str>,
    pub segment_valid_from: Option<Timestamp>,
    pub parent: Option<Uuid>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
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
pub(super) struct Claim<C> {
    pub cause: C,
    pub held: BTreeMap<Uuid, i64>,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Cause<'a> {
    #[serde(borrow)]
    Command(Command<'a>),
    #[serde(borrow)]
    Import(Entity<'a>),
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Command<'a> {
    pub request_id: &'a str,
    /// The use case's number, as [`use_case_number`](super::numbers::use_case_number) gives it.
    pub use_case: u32,
    /// See [`RequestedChange::text`](crate::domain::change::RequestedChange::text).
    #[serde(borrow)]
    pub value: Cow<'a, str>,
    pub expected_version: Option<i64>,
    pub correlation_id: Option<&'a str>,
    #[serde(borrow)]
    pub record: Record<'a>,
}

/// The log row of an import.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct Import<'a> {
    pub at: Timestamp,
    pub external_id: &'a str,
}

impl<'a, T> Outcome<'a, T> {
    /// Returns the outcome with its transaction, if it has one, in another form.
    pub fn with<U, E>(self, other: impl FnOnce(T) -> Result<U, E>) -> Result<Outcome<'a, U>, E> {
        let Self { fingerprint, record, at, epoch, answer } = self;
        let answer = match answer {
            Answer::Changed(transaction) => Answer::Changed(other(transaction)?),
            Answer::Unchanged(transaction) => Answer::Unchanged(other(transaction)?),
            Answer::Rejected(rejection) => Answer::Rejected(rejection),
        };
        Ok(Outcome { fingerprint, record, at, epoch, answer })
    }
}
