//! The values of an entity as plain texts and numbers, between the domain's checked types and the forms in which stores keep them.
//!
//! Each form has its own list of fields: the blobs of `stored` and the embedded store's JSON are frozen, each at its own time, the columns
//! of `cql` have their own types, and the cache's form ends with the process. So the forms don't share their fields. They share this
//! conversion, which names each field, so that the compiler asks for a new attribute here and then in each form.

use super::EntityKey;
use crate::domain::Timestamp;
use crate::domain::entity::{Entity, State};
use crate::domain::values::{CustomName, ExternalId, SegmentCode, StateReason};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The values of an entity, without its key.
#[derive(Serialize, Deserialize)]
pub(super) struct EntityValues<'a> {
    pub external_id: &'a str,
    pub version: i64,
    pub state: State,
    pub custom_name: Option<&'a str>,
    pub segment: Option<&'a str>,
    pub segment_valid_from: Option<Timestamp>,
    pub superior: Option<Uuid>,
    pub state_reason: Option<&'a str>,
    pub state_valid_from: Option<Timestamp>,
}

impl<'a> EntityValues<'a> {
    pub fn of(entity: &'a Entity) -> Self {
        let Entity {
            entity_type: _,
            ref_id: _,
            external_id,
            version,
            state,
            custom_name,
            segment,
            segment_valid_from,
            superior,
            state_reason,
            state_valid_from,
        } = entity;
        Self {
            external_id: external_id.as_str(),
            version: *version,
            state: *state,
            custom_name: custom_name.as_ref().map(CustomName::as_str),
            segment: segment.as_ref().map(SegmentCode::as_str),
            segment_valid_from: *segment_valid_from,
            superior: *superior,
            state_reason: state_reason.as_ref().map(StateReason::as_str),
            state_valid_from: *state_valid_from,
        }
    }

    /// Returns the entity with these values. The texts are not checked again: see [`ExternalId::checked_before`].
    pub fn entity(self, key: EntityKey) -> Entity {
        Entity {
            entity_type: key.entity_type,
            ref_id: key.ref_id,
            external_id: ExternalId::checked_before(self.external_id),
            version: self.version,
            state: self.state,
            custom_name: self.custom_name.map(CustomName::checked_before),
            segment: self.segment.map(SegmentCode::checked_before),
            segment_valid_from: self.segment_valid_from,
            superior: self.superior,
            state_reason: self.state_reason.map(StateReason::checked_before),
            state_valid_from: self.state_valid_from,
        }
    }
}
