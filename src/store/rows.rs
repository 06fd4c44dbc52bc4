//! The partitions of external ids and entities, as they are read and stored: keys, static columns and rows.

use crate::domain::Timestamp;
use crate::domain::entity::{Entity, EntityType};
use crate::domain::values::ExternalId;
use std::time::Duration;
use uuid::Uuid;

/// The request id of the row that each partition is given with its first statics. In an entity's partition, that row says when and by whom
/// the entity was imported or created. No command can have this request id, because request ids are not empty.
pub const FIRST_ROW: &str = "";

/// The most requests that one read may ask for: with [`FIRST_ROW`] these are as many keys of rows as ScyllaDB takes in one list, unless
/// its `max_clustering_key_restrictions_per_query` was raised. (Cassandra takes any number.)
pub const MAX_REQUESTS: usize = 99;

/// The key of an external id's partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdKey {
    /// The type of the entity. External ids are unique per type.
    pub entity_type: EntityType,
    /// The external id.
    pub external_id: ExternalId,
}

impl IdKey {
    /// Returns the key of the entity of this type with a refId.
    pub(super) fn entity(&self, ref_id: Uuid) -> EntityKey {
        EntityKey { entity_type: self.entity_type, ref_id }
    }
}

/// The key of an entity's partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EntityKey {
    /// The type of the entity.
    pub entity_type: EntityType,
    /// The entity's refId, which never changes.
    pub ref_id: Uuid,
}

/// The claim on an external id: the statics of the id's partition. Replaced by the next claim, never deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Counts the claims on this id, from 1.
    pub generation: i64,
    /// The entity that claims.
    pub owner: Uuid,
    /// The epoch that the owner will have when the claim is completed.
    pub epoch: i64,
    /// The request that claims; [`FIRST_ROW`] for an import.
    pub claimed_by: String,
    /// All that anybody needs to complete the claim: see `outcome::StoredClaim`.
    pub blob: Vec<u8>,
    /// Who held the id before, and when their claims were replaced.
    pub previous_owners: Vec<(Uuid, Timestamp)>,
    /// When a request was last refused under this id; `None` if no refusal is remembered.
    pub refused: Option<Timestamp>,
}

/// The statics and rows of an external id's partition, as one read shows them at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdRead {
    /// The claim; `None` if the id was never claimed.
    pub claim: Option<Claim>,
    /// The outcomes of those of the asked requests that were refused under this id.
    pub outcomes: Vec<OutcomeRow>,
}

/// An entity with what the protocol keeps beside its values: the statics of the entity's partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityStatics {
    /// The current values.
    pub entity: Entity,
    /// The number of external ids that the entity has had: 1 after its creation or import, one more with each rename.
    pub epoch: i64,
    /// The generation of the claim by which the entity holds its external id.
    pub generation: i64,
}

impl EntityStatics {
    /// Returns the key of the entity's partition.
    pub(super) fn key(&self) -> EntityKey {
        EntityKey { entity_type: self.entity.entity_type, ref_id: self.entity.ref_id }
    }
}

/// The statics and rows of an entity's partition, as one read shows them at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntityRead {
    /// The statics; `None` if there is no such entity.
    pub statics: Option<EntityStatics>,
    /// The outcomes of those of the asked requests that were decided.
    pub outcomes: Vec<OutcomeRow>,
}

/// The outcome of one request, as a read shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeRow {
    /// The id of the request.
    pub request_id: String,
    /// The outcome's blob: see `outcome::Outcome`.
    pub outcome: Vec<u8>,
    /// How much longer the row is kept; `None` if it is kept for ever.
    pub time_left: Option<Duration>,
}

/// The outcome of one request, as it is to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRow {
    /// The id of the request.
    pub request_id: String,
    /// The version that the change led to; `None` for a rejection or a no-op.
    pub changed_to: Option<i64>,
    /// The outcome's blob: see `outcome::Outcome`.
    pub outcome: Vec<u8>,
    /// How long the row is kept; `None` if it is kept for ever.
    pub ttl: Option<Duration>,
}

/// A change from an entity's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRow {
    /// The id of the request.
    pub request_id: String,
    /// The version that the change led to.
    pub changed_to: i64,
    /// The outcome's blob: see `outcome::Outcome`.
    pub outcome: Vec<u8>,
}
