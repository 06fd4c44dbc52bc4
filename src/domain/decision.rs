//! The decision about one command, as far as the entity itself can tell: business validation, in the order of
//! [`Rejection`]'s variants, then the change.

use super::Timestamp;
use super::contents::Contents;
use super::entity::{Entity, State};
use super::rejection::Rejection;
use super::transaction::Change;

/// The decision about an entity. A rename may still be refused afterwards, because its external id is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The entity is to be changed.
    Change {
        /// The entity afterwards, its version raised by one.
        after: Entity,
        /// The attribute that is different.
        change: Change,
    },
    /// The entity has the requested value already.
    Unchanged,
    /// The command is refused.
    Rejected(Rejection),
}

/// Decides what becomes of `entity` if a request with these contents comes at the time `now`.
pub fn decide(entity: &Entity, contents: &Contents, now: Timestamp) -> Decision {
    if entity.state == State::Deactivated {
        return Decision::Rejected(Rejection::Deactivated { field: entity.entity_type.name().into() });
    }
    if let Some(expected) = contents.expected_version().filter(|expected| *expected != entity.version) {
        return Decision::Rejected(Rejection::VersionConflict { expected, actual: entity.version });
    }
    let Some(after) = contents.change().apply(entity, now) else { return Decision::Unchanged };
    let kind = contents.use_case().kind();
    let value_of = |entity| kind.attribute(entity).map(str::to_owned);
    let change = Change { field: kind.field().into(), old: value_of(entity), new: value_of(&after) };
    Decision::Change { after: Entity { version: entity.version + 1, ..after }, change }
}
