//! An entity in few bytes, for the cache: some 50 for a customer with a name and a segment, where the struct and its texts take
//! almost 200.

use crate::store::values::EntityValues;
use crate::store::{EntityKey, EntityStatics};

/// An entity without its key. The bytes never leave the process.
#[derive(Clone)]
pub(super) struct Packed(Box<[u8]>);

/// The values of the entity, its epoch, and its generation.
type Parts<'a> = (EntityValues<'a>, i64, i64);

impl Packed {
    pub fn new(statics: &EntityStatics) -> Self {
        let EntityStatics { entity, epoch, generation } = statics;
        let parts: Parts<'_> = (EntityValues::of(entity), *epoch, *generation);
        Self(postcard::to_allocvec(&parts).expect("numbers and texts can be written to memory").into())
    }

    /// Returns the entity, which has this key.
    pub fn unpack(&self, key: EntityKey) -> EntityStatics {
        let (values, epoch, generation): Parts<'_> = postcard::from_bytes(&self.0).expect("it is as it was packed");
        EntityStatics { entity: values.entity(key), epoch, generation }
    }

    /// Returns the size in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::entity::{Entity, EntityType, State};
    use crate::domain::values::{CustomName, ExternalId, SegmentCode, StateReason};
    use uuid::Uuid;

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
            superior: Some(Uuid::from_u128(u128::MAX)),
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
