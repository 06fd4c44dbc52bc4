//! Business transactions, by which the data warehouse learns of a change.

use super::Timestamp;
use super::attribute::Attribute;
use super::entity::Entity;
use super::use_case::UseCase;
use super::values::{Actor, RequestId};
use uuid::Uuid;

/// The value of one attribute before and after a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The attribute.
    pub attribute: Attribute,
    /// The old value, or `None` if there was none.
    pub old: Option<String>,
    /// The new value, or `None` if there is none any more.
    pub new: Option<String>,
}

/// A change that was applied, with the entity after it. A transaction without changes tells of a command that found its value
/// there already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// The use case that changed the entity.
    pub use_case: UseCase,
    /// The request that asked for it.
    pub request_id: RequestId,
    /// The correlation id of the record that caused it.
    pub correlation_id: Option<String>,
    /// The time of the decision.
    pub occurred_at: Timestamp,
    /// The version before: `entity.version - 1` for a change, which is 0 for a creation; `entity.version` if nothing changed.
    pub previous_version: i64,
    /// The attributes that changed. The list is empty if the entity had the requested value already.
    pub changes: Vec<Change>,
    /// The entity afterwards.
    pub entity: Entity,
    /// Who asked for it; `None` if the record does not say so.
    pub actor: Option<Actor>,
}

impl Transaction {
    /// Returns the UUIDv5 in the URL namespace of `crm:<entity type>:<refId>:<requestId>`, which is the same on every replay.
    pub fn id(&self) -> Uuid {
        let name = ["crm:", &self.entity.key(), ":", self.request_id.as_str()].concat();
        Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes())
    }
}

/// The present values of an entity, as an operator has them published to the data warehouse. No request caused a snapshot, and
/// nothing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The entity.
    pub entity: Entity,
    /// The time at which the entity was read.
    pub taken_at: Timestamp,
}

impl Snapshot {
    /// The text that a snapshot has in the place of a use case's name.
    pub const USE_CASE: &'static str = "snapshot";

    /// Returns the UUIDv5 in the URL namespace of `crm:snapshot:<entity type>:<refId>:<version>`. It is the same whenever this
    /// version is taken, and no request can have it.
    pub fn id(&self) -> Uuid {
        let Entity { entity_type, ref_id, version, .. } = &self.entity;
        Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("crm:snapshot:{entity_type}:{ref_id}:{version}").as_bytes())
    }

    /// Returns the text that a snapshot has in the place of a request id: `snapshot:<version>`.
    pub fn request_id(&self) -> String {
        format!("{}:{}", Self::USE_CASE, self.entity.version)
    }
}
