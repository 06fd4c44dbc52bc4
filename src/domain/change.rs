//! The kinds of change that a command can ask for. Each has a file of its own, with its validation and its decision: `set_custom_name`,
//! `set_segment`, `set_state`, `rename` and `create`. This file only tells the kinds apart. The table in [`super::use_case`] says which
//! type of entity has which kind.

mod create;
mod rename;
mod set_custom_name;
mod set_segment;
mod set_state;

use super::Timestamp;
use super::attribute::{Attribute, RawValues};
use super::entity::Entity;
use super::reference::Reference;
use super::rejection::Rejection;
use super::values::{CustomName, ExternalId, Rules, SegmentCode};
pub use create::Creation;
pub use set_state::StateChange;
use std::borrow::Cow;

/// A kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// The entity gets a custom name.
    SetCustomName,
    /// The entity gets a segment.
    SetSegment,
    /// The entity gets a state, with or without a reason.
    SetState,
    /// The entity gets another external id.
    Rename,
    /// A customer comes into being, with or without a segment.
    CreateCustomer,
    /// An account or a subscriber comes into being, below a customer or an account.
    CreateBelow,
}

/// A change that a command asks for, with its checked values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RequestedChange {
    /// The entity is to have this custom name.
    SetCustomName(CustomName),
    /// The entity is to have this segment.
    SetSegment(SegmentCode),
    /// The entity is to have this state for this reason.
    SetState(StateChange),
    /// The entity is to have this external id.
    Rename(ExternalId),
    /// The entity is to come into being.
    Create(Box<Creation>),
}

impl ChangeKind {
    /// Returns the attributes for which the commands have fields. Field and attribute have the same name and the same order. A command must
    /// give the first of them.
    pub fn attributes(self) -> &'static [Attribute] {
        match self {
            Self::SetCustomName => &[set_custom_name::ATTRIBUTE],
            Self::SetSegment => &[set_segment::ATTRIBUTE],
            Self::SetState => &set_state::ATTRIBUTES,
            Self::Rename => &[rename::ATTRIBUTE],
            Self::CreateCustomer => &create::OF_CUSTOMERS,
            Self::CreateBelow => &create::OF_OTHERS,
        }
    }

    /// Checks the new values that a command brings. `superior` is the result of checking the reference of a creation, `Ok(None)` for a
    /// customer; other changes ignore it.
    ///
    /// # Errors
    /// Returns all findings in the order of the fields, at most one for each field.
    pub fn check(
        self,
        values: &RawValues,
        superior: Result<Option<Reference>, Vec<Rejection>>,
        rules: &Rules,
    ) -> Result<RequestedChange, Vec<Rejection>> {
        let create = |with_segment| {
            let creation = Creation::check(values, superior, with_segment, rules)?;
            Ok(RequestedChange::Create(creation.into()))
        };
        let checked = match self {
            Self::SetCustomName => set_custom_name::check(values).map(RequestedChange::SetCustomName),
            Self::SetSegment => set_segment::check(values, rules).map(RequestedChange::SetSegment),
            Self::SetState => return set_state::check(values).map(RequestedChange::SetState),
            Self::Rename => rename::check(values).map(RequestedChange::Rename),
            Self::CreateCustomer => return create(true),
            Self::CreateBelow => return create(false),
        };
        checked.map_err(|finding| vec![finding])
    }

    /// Rebuilds a change that was checked before from its [text](RequestedChange::text). Returns `None` if `text` is no text of a change of
    /// this kind. The values are not checked again, because the rules and the configuration may have changed in the meantime.
    pub fn restore(self, text: &str) -> Option<RequestedChange> {
        Some(match self {
            Self::SetCustomName => RequestedChange::SetCustomName(CustomName::checked_before(text)),
            Self::SetSegment => RequestedChange::SetSegment(SegmentCode::checked_before(text)),
            Self::SetState => RequestedChange::SetState(StateChange::checked_before(text)?),
            Self::Rename => RequestedChange::Rename(ExternalId::checked_before(text)),
            Self::CreateCustomer | Self::CreateBelow => RequestedChange::Create(Creation::checked_before(text)?.into()),
        })
    }
}

impl RequestedChange {
    /// Returns all new values as one text. Different changes of the same kind have different texts.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::SetCustomName(name) => name.as_str().into(),
            Self::SetSegment(code) => code.as_str().into(),
            Self::SetState(change) => change.text(),
            Self::Rename(external_id) => external_id.as_str().into(),
            Self::Create(creation) => creation.text().into(),
        }
    }

    /// Returns the external id that must be claimed before the change is applied, or `None` if the change needs none.
    pub fn wanted(&self) -> Option<&ExternalId> {
        match self {
            Self::SetCustomName(_) | Self::SetSegment(_) | Self::SetState(_) => None,
            Self::Rename(external_id) => Some(external_id),
            Self::Create(creation) => Some(&creation.external_id),
        }
    }

    /// Returns `entity` as it is after the change, but still with the old version. Returns `None` if the change would alter nothing. A
    /// creation alters nothing, because `entity` exists already.
    pub fn apply(&self, entity: &Entity, now: Timestamp) -> Option<Entity> {
        match self {
            Self::SetCustomName(name) => set_custom_name::apply(name, entity),
            Self::SetSegment(code) => set_segment::apply(code, entity, now),
            Self::SetState(change) => set_state::apply(change, entity, now),
            Self::Rename(external_id) => rename::apply(external_id, entity),
            Self::Create(_) => None,
        }
    }
}
