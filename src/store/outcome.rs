//! What the protocol stores about requests and claims: the outcome of a request, what a claim was made for, and the mark of an
//! import. How these stand in blobs is left to `stored`.

use crate::domain::Timestamp;
use crate::domain::contents::Contents;
use crate::domain::entity::Entity;
use crate::domain::rejection::Rejection;
use crate::domain::transaction::Transaction;
use crate::domain::values::{ExternalId, RequestId};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// Where a record stands: names it for ever.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Coordinates {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// What a request is answered, now and whenever it comes again. Shared by the run that decides it and its outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The entity was changed.
    Changed(Arc<Transaction>),
    /// The value was the requested one already: no changes, and `previous_version == entity.version`.
    Unchanged(Arc<Transaction>),
    /// The command was refused, "not found" and internal errors included.
    Rejected(Rejection),
}

/// The outcome of a request. What its transaction says of the request's id and of when it was decided, its row's key and `at` say,
/// too; what it says changed is the attribute of its use case, to what its entity has there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Of the command's contents: see [`Contents::fingerprint`].
    pub fingerprint: Uuid,
    /// The record that caused it. That record alone publishes the business transaction, at whichever delivery.
    pub record: Coordinates,
    /// When it was decided.
    pub at: Timestamp,
    /// The epoch that the entity had when it was decided; None where there was no entity.
    pub epoch: Option<i64>,
    /// What was decided.
    pub answer: Answer,
}

/// A claim's blob: what it was made for, and what the next claims must know of those before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredClaim {
    /// What it was made for.
    pub cause: ClaimBlob,
    /// The last epoch during which each of the previous owners held the id.
    pub held: BTreeMap<Uuid, i64>,
}

/// What anybody needs to complete a claim as the claimant would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimBlob {
    /// A rename claims the id that it wants.
    Command(ClaimingCommand),
    /// An import claims the id that the entity comes with.
    Import(Entity),
}

/// The command that claims an external id, with the record that it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimingCommand {
    /// See [`crate::domain::command::Command::request_id`].
    pub request_id: RequestId,
    /// What is asked for.
    pub contents: Contents,
    /// The correlation id of the record.
    pub correlation_id: Option<String>,
    /// The record, which will publish the business transaction.
    pub record: Coordinates,
}

/// The log row of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportOutcome {
    /// When the entity was imported.
    pub at: Timestamp,
    /// The id that it came with.
    pub external_id: ExternalId,
}

impl Answer {
    /// The entity as it was changed; None if it was not.
    pub fn changed(&self) -> Option<&Entity> {
        match self {
            Self::Changed(transaction) => Some(&transaction.entity),
            Self::Unchanged(_) | Self::Rejected(_) => None,
        }
    }
}
