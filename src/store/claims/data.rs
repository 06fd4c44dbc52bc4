//! What the steps of the protocol hand on to one another.

use crate::domain::answer::Answer;
use crate::domain::command::Command;
use crate::domain::entity::EntityType;
use crate::domain::reference::Reference;
use crate::domain::rejection::Rejection;
use crate::domain::request::{Request, SourceRecord};
use crate::domain::values::Actor;
use crate::store::outcome::Outcome;
use crate::store::{EntityKey, IdKey};

/// A request to be decided, and the reference by which it names its entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// The entity, as the command refers to it.
    pub target: Reference,
    /// The request.
    pub request: Request,
}

impl Submission {
    /// Puts together a command, what the headers of its record say, and the record.
    pub fn new(command: Command, correlation_id: Option<String>, actor: Option<Actor>, record: SourceRecord) -> Self {
        let Command { request_id, target, contents } = command;
        Self { target, request: Request { id: request_id, contents, correlation_id, actor, record } }
    }

    /// Returns the type of the entity.
    pub fn entity_type(&self) -> EntityType {
        self.request.contents.use_case().entity_type()
    }

    /// Returns the entity as the command refers to it. Submissions for which this is equal are about the same entity.
    pub fn entity_named(&self) -> (EntityType, &Reference) {
        (self.entity_type(), &self.target)
    }
}

/// The answer to a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The stored answer, or [`Rejection::RequestIdReused`], which is not stored.
    pub answer: Answer,
    /// Whether the answer was stored for another record. (A redelivery of the very record is no replay.)
    pub replayed: bool,
}

impl Decided {
    /// Returns the answer to a request whose id has this outcome.
    pub(super) fn by(outcome: &Outcome, request: &Request) -> Self {
        if outcome.fingerprint != request.contents.fingerprint() {
            return Self { answer: Answer::Rejected(Rejection::RequestIdReused), replayed: false };
        }
        Self { answer: outcome.answer.clone(), replayed: outcome.record != request.record }
    }

    /// Returns whether this submission's record publishes the business transaction: the answer is a change that this very record
    /// caused, whoever applied the change and at whichever attempt.
    pub fn publishes(&self) -> bool {
        matches!(self.answer, Answer::Changed(_)) && !self.replayed
    }
}

/// The partition that a reference leads to first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Target {
    Id(IdKey),
    Entity(EntityKey),
}

impl Target {
    pub fn of(submission: &Submission) -> Self {
        Self::named(submission.entity_type(), &submission.target)
    }

    /// Returns the partition that a reference to an entity of this type leads to.
    pub fn named(entity_type: EntityType, reference: &Reference) -> Self {
        match reference {
            Reference::ExternalId(id) => Self::Id(IdKey { entity_type, external_id: id.clone() }),
            Reference::RefId(ref_id) => Self::Entity(EntityKey { entity_type, ref_id: *ref_id }),
        }
    }
}
