//! The kinds of change that a command can ask for. Each has a file of its own, with its validation and its decision: `set_custom_name`,
//! `set_segment` and `rename`. This file only tells the kinds apart. The table in [`super::use_case`] says which type of entity has which
//! kind.

mod rename;
mod set_custom_name;
mod set_segment;

use super::Timestamp;
use super::entity::Entity;
use super::rejection::Rejection;
use super::values::{CustomName, ExternalId, Rules, SegmentCode};

/// A kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// The entity gets a custom name.
    SetCustomName,
    /// The entity gets a segment.
    SetSegment,
    /// The entity gets another external id.
    Rename,
}

/// A change that a command asks for, with its checked value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RequestedChange {
    /// The entity is to have this custom name.
    SetCustomName(CustomName),
    /// The entity is to have this segment.
    SetSegment(SegmentCode),
    /// The entity is to have this external id.
    Rename(ExternalId),
}

impl ChangeKind {
    /// Returns the name of the attribute that changes. The command's field with the new value has the same name.
    pub fn field(self) -> &'static str {
        match self {
            Self::SetCustomName => set_custom_name::FIELD,
            Self::SetSegment => set_segment::FIELD,
            Self::Rename => rename::FIELD,
        }
    }

    /// Returns, as text, the value that `entity` has in the attribute that changes, or `None` if it has none.
    pub fn attribute(self, entity: &Entity) -> Option<&str> {
        match self {
            Self::SetCustomName => entity.custom_name.as_ref().map(CustomName::as_str),
            Self::SetSegment => entity.segment.as_ref().map(SegmentCode::as_str),
            Self::Rename => Some(entity.external_id.as_str()),
        }
    }

    /// Checks the new value that a command brings, `None` if it brings none.
    ///
    /// # Errors
    /// Returns the first rule that the value breaks.
    pub fn check(self, value: Option<&str>, rules: &Rules) -> Result<RequestedChange, Rejection> {
        Ok(match self {
            Self::SetCustomName => RequestedChange::SetCustomName(set_custom_name::check(value)?),
            Self::SetSegment => RequestedChange::SetSegment(set_segment::check(value, rules)?),
            Self::Rename => RequestedChange::Rename(rename::check(value)?),
        })
    }

    /// Rebuilds a change that was checked before from its value (see [`RequestedChange::value`]). The value is not
    /// checked again, because the rules and the configuration may have changed in the meantime.
    pub fn restore(self, value: &str) -> RequestedChange {
        match self {
            Self::SetCustomName => RequestedChange::SetCustomName(CustomName::checked_before(value)),
            Self::SetSegment => RequestedChange::SetSegment(SegmentCode::checked_before(value)),
            Self::Rename => RequestedChange::Rename(ExternalId::checked_before(value)),
        }
    }
}

impl RequestedChange {
    /// Returns the new value as text.
    pub fn value(&self) -> &str {
        match self {
            Self::SetCustomName(name) => name.as_str(),
            Self::SetSegment(code) => code.as_str(),
            Self::Rename(external_id) => external_id.as_str(),
        }
    }

    /// Returns the external id that must be claimed before the change is applied, or `None` if the change needs none.
    pub fn wanted(&self) -> Option<&ExternalId> {
        match self {
            Self::SetCustomName(_) | Self::SetSegment(_) => None,
            Self::Rename(external_id) => Some(external_id),
        }
    }

    /// Returns `entity` as it is after the change, its version still the old one, or `None` if it is so already.
    pub fn apply(&self, entity: &Entity, now: Timestamp) -> Option<Entity> {
        match self {
            Self::SetCustomName(name) => set_custom_name::apply(name, entity),
            Self::SetSegment(code) => set_segment::apply(code, entity, now),
            Self::Rename(external_id) => rename::apply(external_id, entity),
        }
    }
}
