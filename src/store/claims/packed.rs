//! An entity in few bytes, for the cache: some 50 for a customer with a name and a segment, where the struct and its texts take
//! almost 200.

use crate::domain::Timestamp;
use crate::domain::entity::{Entity, State};
use crate::domain::values::{CustomName, ExternalId, SegmentCode, StateReason};
use crate::store::{EntityKey, EntityStatics};
use uuid::Uuid;

/// An entity without its key. The bytes never leave the process.
#[derive(Clone)]
pub(super) struct Packed(Box<[u8]>);

type Values<'a> = (
    &'a str,
    i64,
    State,
    Option<&'a str>,
    Option<&'a str>,
    Option<Timestamp>,
    Option<Uuid>,
    Option<&'a str>,
    Option<Timestamp>,
    i64,
    i64,
);

impl Packed {
    pub fn new(statics: &EntityStatics) -> Self {
        let EntityStatics { entity, epoch, generation } = statics;
        // All fields are named, so that a new one is not forgotten here.
        let Entity {
            entity_type: _,
            ref_id: _,
            external_id,
            version,
            state,
            custom_name,
            segment,
            segment_valid_from,
            parent,
            state_reason,
            state_valid_from,
        } = entity;
        let (name, segment) = (custom_name.as_ref().map(CustomName::as_str), segment.as_ref().map(SegmentCode::as_str));
        let reason = state_reason.as_ref().map(StateReason::as_str);
        let values: Values<'_> = (
            external_id.as_str(),
            *version,
            *state,
            name,
            segment,
            *segment_valid_from,
            *parent,
            reason,
            *state_valid_from,
            *epoch,
            *generation,
        );
        Self(postcard::to_allocvec(&values).expect("numbers and texts can be written to memory").into())
    }

    /// Returns the entity, which has this key.
    pub fn unpack(&self, key: EntityKey) -> EntityStatics {
        let values: Values<'_> = postcard::from_bytes(&self.0).expect("it is as it was packed");
        let (external_id, version, state, name, segment, segment_valid_from, parent, reason, state_valid_from, epoch, generation) =
            values;
        let EntityKey { entity_type, ref_id } = key;
        let external_id = ExternalId::checked_before(external_id);
        let (custom_name, segment) = (name.map(CustomName::checked_before), segment.map(SegmentCode::checked_before));
        let state_reason = reason.map(StateReason::checked_before);
        let entity = Entity {
            entity_type,
            ref_id,
            external_id,
            version,
            state,
            custom_name,
            segment,
            segment_valid_from,
            parent,
            state_reason,
            state_valid_from,
        };
        EntityStatics { entity, epoch, generation }
    }

    /// Returns the size in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::entity::EntityType;

    #[test]
    fn an_entity_comes_out_as_it_was_packed() {
        let all = Entity {
            entity_type: EntityType::Account,
            ref_id: Uuid::from_u128(7),
            external_id: ExternalId::parse("A-1").unwrap(),
            version: i64::MAX,
            state: State::Suspended,
            custom_name: Some(CustomName::parse("Ada Łovelace").unwrap()),
            segment: Some(SegmentCode::parse("RESIDENTIAL").unwrap()),
            segment_valid_from: Some(-1),
            parent: Some(Uuid::from_u128(u128::MAX)),
            state_reason: Some(StateReason::parse("unpaid").unwrap()),
            state_valid_from: Some(-2),
        };
        let least = Entity::new(EntityType::Customer, Uuid::nil(), ExternalId::parse("C").unwrap());
        for state in State::ALL {
            for entity in [all.clone(), least.clone()] {
                let statics = EntityStatics { entity: Entity { state, ..entity }, epoch: 1_000, generation: 3 };
                assert_eq!(Packed::new(&statics).unpack(statics.key()), statics);
            }
        }
    }
}
