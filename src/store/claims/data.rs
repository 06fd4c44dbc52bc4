//! What the steps of the protocol hand on to one another. Nothing is decided here.

use crate::domain::command::{Command, Reference};
use crate::store::outcome::{Answer, Coordinates};
use crate::store::{EntityKey, EntityStatics, IdKey};
use uuid::Uuid;

/// A command, with what its outcome remembers of the record that it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// The command.
    pub command: Command,
    /// The correlation id of the record, which goes into the business transaction.
    pub correlation_id: Option<String>,
    /// The record that the command came in.
    pub record: Coordinates,
}

/// What a submission is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The stored answer, or [`RequestIdReused`](crate::domain::rejection::Rejection::RequestIdReused), which is not stored.
    pub answer: Answer,
    /// The answer was stored for another record. (A redelivery of the very record is no replay.)
    pub replayed: bool,
    /// This record publishes the business transaction: the answer is a change that this very record caused, whoever
    /// applied it and at whichever attempt.
    pub publish: bool,
}

/// The partition that a reference leads to first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Target {
    Id(IdKey),
    Entity(EntityKey),
}

impl Target {
    pub fn of(command: &Command) -> Self {
        let entity_type = command.entity_type();
        match &command.target {
            Reference::ExternalId(id) => Self::Id(IdKey { entity_type, external_id: id.clone() }),
            Reference::RefId(ref_id) => Self::Entity(EntityKey { entity_type, ref_id: *ref_id }),
        }
    }
}

impl EntityStatics {
    pub(in crate::store) fn key(&self) -> EntityKey {
        EntityKey { entity_type: self.entity.entity_type, ref_id: self.entity.ref_id }
    }
}

impl IdKey {
    /// The entity of this type with a refId.
    pub(in crate::store) fn entity(&self, ref_id: Uuid) -> EntityKey {
        EntityKey { entity_type: self.entity_type, ref_id }
    }
}
