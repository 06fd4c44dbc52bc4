//! The values that the protocol stores about requests and claims: the outcome of a request, the cause of a claim, and the mark of an import
//! or a creation. Their form as blobs is left to `stored`.

use crate::domain::Timestamp;
use crate::domain::answer::Answer;
use crate::domain::entity::Entity;
use crate::domain::request::{Request, SourceRecord};
use crate::domain::values::{Actor, ExternalId};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The outcome of a request.
///
/// If the answer has a transaction, some of its values follow from the rest, so that a blob leaves them out: the request's id is the key of
/// the row, the time is `at`, the actor is `actor`, and the new value of each changed attribute is the one that the transaction's entity
/// has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The fingerprint of the request's contents: see [`Contents::fingerprint`](crate::domain::contents::Contents::fingerprint).
    pub fingerprint: Uuid,
    /// The record that the request came in. That record alone publishes the business transaction, at whichever delivery.
    pub record: SourceRecord,
    /// The time of the decision.
    pub at: Timestamp,
    /// The epoch that the entity had when the request was decided, or `None` if there was no entity.
    pub epoch: Option<i64>,
    /// The answer.
    pub answer: Answer,
    /// Who asked; `None` if the record did not say so.
    pub actor: Option<Actor>,
}

/// A claim's blob: what the claim was made for, and what the claims after it must know of those before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredClaim {
    /// What the claim was made for.
    pub cause: Cause,
    /// The last epoch during which each previous owner held the id.
    pub held: BTreeMap<Uuid, i64>,
}

/// What a claim was made for: all that anybody needs to complete the claim as the claimant would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A rename, which claims the id that it wants.
    Request(Request),
    /// A creation, which claims the id that the entity is to have.
    Creation {
        /// The request.
        request: Request,
        /// The customer of an account or the account of a subscriber, as it was found before the claim was made. Customers have none.
        superior: Option<Uuid>,
    },
    /// An import, which claims the id that the entity comes with, and who made it; `None` if the operator did not say so.
    Import(Entity, Option<Actor>),
}

/// The first row of an entity's log, which its import or its creation writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportOutcome {
    /// When the entity was imported or created.
    pub at: Timestamp,
    /// The external id that the entity came into being with.
    pub external_id: ExternalId,
    /// Who imported or created the entity; `None` if the operator, or the creating record, did not say so.
    pub actor: Option<Actor>,
}

impl Outcome {
    /// Returns the outcome of a request that was given this answer, at the time `at` and in this epoch of its entity.
    pub fn of(request: &Request, answer: Answer, epoch: Option<i64>, at: Timestamp) -> Self {
        Self {
            fingerprint: request.contents.fingerprint(),
            record: request.record.clone(),
            at,
            epoch,
            answer,
            actor: request.actor.clone(),
        }
    }
}
