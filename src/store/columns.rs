//! Tells which static columns of an entity's partition a write changes. A store that keeps each column by itself writes only these, because
//! each cell goes through the database's Paxos several times, and a null leaves a tombstone that stays in the database's files for days.

use super::rows::EntityStatics;

/// A set of the static columns of an entity's partition.
///
/// A further column takes the next bit, and a line in `Columns::between`. If the text of one column depends on what another one holds, as
/// the form behind a state's name does (see `cql::rows`), a change of the other column is a change of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns(u16);

impl Columns {
    /// The external id that the entity has.
    pub const EXTERNAL_ID: Self = Self(1);
    /// How many external ids the entity has had.
    pub const EPOCH: Self = Self(1 << 1);
    /// The generation of the claim by which the entity holds its external id.
    pub const GENERATION: Self = Self(1 << 2);
    /// The entity's version.
    pub const VERSION: Self = Self(1 << 3);
    /// The entity's state, with the form in which the partition is written.
    pub const STATE: Self = Self(1 << 4);
    /// The custom name.
    pub const CUSTOM_NAME: Self = Self(1 << 5);
    /// The segment of a customer.
    pub const SEGMENT: Self = Self(1 << 6);
    /// The time since which the segment applies.
    pub const SEGMENT_VALID_FROM: Self = Self(1 << 7);
    /// The refId of an account's customer or of a subscriber's account.
    pub const PARENT: Self = Self(1 << 8);
    /// The column `state_reason`.
    pub const STATE_REASON: Self = Self(1 << 9);
    /// The column `state_valid_from`.
    pub const STATE_VALID_FROM: Self = Self(1 << 10);
    /// All columns.
    pub const ALL: Self = Self((1 << 11) - 1);

    /// Returns the columns whose values differ. If there is nothing before, these are the columns that hold something.
    pub(super) fn between(before: Option<&EntityStatics>, after: &EntityStatics) -> Self {
        let (old, new) = (before.map(|before| &before.entity), &after.entity);
        let reason = old.and_then(|old| old.state_reason.as_ref()) != new.state_reason.as_ref();
        let valid_from = old.and_then(|old| old.state_valid_from) != new.state_valid_from;
        let columns = [
            (Self::EXTERNAL_ID, old.is_none_or(|old| old.external_id != new.external_id)),
            (Self::EPOCH, before.is_none_or(|before| before.epoch != after.epoch)),
            (Self::GENERATION, before.is_none_or(|before| before.generation != after.generation)),
            (Self::VERSION, old.is_none_or(|old| old.version != new.version)),
            // The form that stands behind a state's name says whether the last two columns are in use.
            (Self::STATE, old.is_none_or(|old| old.state != new.state) || reason || valid_from),
            (Self::CUSTOM_NAME, old.and_then(|old| old.custom_name.as_ref()) != new.custom_name.as_ref()),
            (Self::SEGMENT, old.and_then(|old| old.segment.as_ref()) != new.segment.as_ref()),
            (Self::SEGMENT_VALID_FROM, old.and_then(|old| old.segment_valid_from) != new.segment_valid_from),
            (Self::PARENT, old.and_then(|old| old.superior) != new.superior),
            (Self::STATE_REASON, reason),
            (Self::STATE_VALID_FROM, valid_from),
        ];
        let differing = columns.into_iter().filter(|(_, differs)| *differs);
        differing.fold(Self(0), |all, (column, _)| Self(all.0 | column.0))
    }

    /// Returns whether all of `others` are in this set.
    pub fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::entity::{Entity, EntityType, State};
    use crate::domain::values::{CustomName, ExternalId, SegmentCode, StateReason};
    use uuid::Uuid;

    fn statics() -> EntityStatics {
        let entity = Entity::new(EntityType::Customer, Uuid::nil(), ExternalId::parse("c").unwrap());
        EntityStatics { entity, epoch: 1, generation: 1 }
    }

    #[test]
    fn a_change_has_the_columns_whose_values_differ() {
        type Changed = fn(&mut EntityStatics);
        let with_state = |column: Columns| Columns(Columns::STATE.0 | column.0);
        let changes: [(Columns, Changed); 11] = [
            (Columns::EXTERNAL_ID, |s| s.entity.external_id = ExternalId::parse("d").unwrap()),
            (Columns::EPOCH, |s| s.epoch = 2),
            (Columns::GENERATION, |s| s.generation = 2),
            (Columns::VERSION, |s| s.entity.version = 2),
            (Columns::STATE, |s| s.entity.state = State::Suspended),
            (Columns::CUSTOM_NAME, |s| s.entity.custom_name = Some(CustomName::parse("n").unwrap())),
            (Columns::SEGMENT, |s| s.entity.segment = Some(SegmentCode::parse("S").unwrap())),
            (Columns::SEGMENT_VALID_FROM, |s| s.entity.segment_valid_from = Some(1)),
            (Columns::PARENT, |s| s.entity.superior = Some(Uuid::nil())),
            (with_state(Columns::STATE_REASON), |s| s.entity.state_reason = Some(StateReason::parse("r").unwrap())),
            (with_state(Columns::STATE_VALID_FROM), |s| s.entity.state_valid_from = Some(1)),
        ];
        let mut all = Columns(0);
        for (column, change) in changes {
            let mut changed = statics();
            change(&mut changed);
            assert_eq!(Columns::between(Some(&statics()), &changed), column);
            // A value that becomes null is a change, too.
            assert_eq!(Columns::between(Some(&changed), &statics()), column);
            all = Columns(all.0 | column.0);
        }
        assert_eq!((all, Columns::between(Some(&statics()), &statics())), (Columns::ALL, Columns(0)));
    }
}
