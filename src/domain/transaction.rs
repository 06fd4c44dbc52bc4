//! Business Transactions: what the data warehouse learns of a change.

use super::Timestamp;
use super::entity::Entity;
use super::use_case::UseCaseName;
use super::values::RequestId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One attribute's value before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The attribute: `customName`, `customerSegment` or `externalId`.
    pub field: String,
    /// None where there was no value.
    pub old: Option<String>,
    /// None where there is no value any more.
    pub new: Option<String>,
}

/// A change that was applied, with the entity after it; or, with no changes, what a command found already so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// The use case that changed the entity.
    pub use_case: UseCaseName,
    /// The request that asked for it.
    pub request_id: RequestId,
    /// The correlation id of the record that caused it.
    pub correlation_id: Option<String>,
    /// When it was decided.
    pub occurred_at: Timestamp,
    /// `entity.version - 1` for a change, `entity.version` where there was none.
    pub previous_version: i64,
    /// What changed; empty where the value was already the requested one.
    pub changes: Vec<Change>,
    /// The entity afterwards.
    pub entity: Entity,
}

impl Transaction {
    /// The UUIDv5 in the URL namespace of `crm:<entity type>:<refId>:<requestId>`: the same on every replay.
    pub fn id(&self) -> Uuid {
        let name = ["crm:", &self.entity.key(), ":", self.request_id.as_str()].concat();
        Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes())
    }
}

/// What an entity is at present, as the data warehouse is told it when an operator asks for that. No request caused it, and
/// nothing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The entity.
    pub entity: Entity,
    /// When it was read.
    pub taken_at: Timestamp,
}

impl Snapshot {
    /// In the place of a use case's name.
    pub const USE_CASE: &'static str = "snapshot";

    /// The UUIDv5 in the URL namespace of `crm:snapshot:<entity type>:<refId>:<version>`: the same whenever this version is
    /// taken, and none that a request can have.
    pub fn id(&self) -> Uuid {
        let Entity { entity_type, ref_id, version, .. } = &self.entity;
        Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("crm:snapshot:{entity_type}:{ref_id}:{version}").as_bytes())
    }

    /// In the place of a request id: `snapshot:<version>`.
    pub fn request_id(&self) -> String {
        format!("{}:{}", Self::USE_CASE, self.entity.version)
    }
}
