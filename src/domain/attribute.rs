//! The attributes of entities that commands can set, and the values that a command brings for them. A command's field with a new value,
//! the attribute in the list of changes, and the attribute of the after-image have the same name.

use super::entity::{Entity, EntityType};
use super::values::{CustomName, SegmentCode, StateReason};
use std::borrow::Cow;

/// An attribute of an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attribute {
    /// The external id.
    ExternalId,
    /// The custom name.
    CustomName,
    /// The segment of a customer.
    Segment,
    /// The state.
    State,
    /// The reason of the state.
    StateReason,
    /// The refId of an account's customer, which a creation sets.
    CustomerRefId,
    /// The refId of a subscriber's account, which a creation sets.
    AccountRefId,
}

impl Attribute {
    /// All attributes, in the order in which the lists of changes have them.
    pub const ALL: [Self; 7] = [
        Self::ExternalId,
        Self::CustomName,
        Self::Segment,
        Self::State,
        Self::StateReason,
        Self::CustomerRefId,
        Self::AccountRefId,
    ];

    /// Returns the name that commands and business transactions use, such as `customName`.
    pub fn name(self) -> &'static str {
        match self {
            Self::ExternalId => "externalId",
            Self::CustomName => "customName",
            Self::Segment => "customerSegment",
            Self::State => "state",
            Self::StateReason => "stateReason",
            Self::CustomerRefId => "customerRefId",
            Self::AccountRefId => "accountRefId",
        }
    }

    /// Returns, as text, the value that `entity` has, or `None` if it has none.
    pub fn of(self, entity: &Entity) -> Option<Cow<'_, str>> {
        let text = match self {
            Self::ExternalId => Some(entity.external_id.as_str()),
            Self::CustomName => entity.custom_name.as_ref().map(CustomName::as_str),
            Self::Segment => entity.segment.as_ref().map(SegmentCode::as_str),
            Self::State => Some(entity.state.name()),
            Self::StateReason => entity.state_reason.as_ref().map(StateReason::as_str),
            Self::CustomerRefId => return Self::superior_of(EntityType::Account, entity),
            Self::AccountRefId => return Self::superior_of(EntityType::Subscriber, entity),
        };
        text.map(Cow::Borrowed)
    }

    fn superior_of(entity_type: EntityType, entity: &Entity) -> Option<Cow<'_, str>> {
        let superior = entity.superior.filter(|_| entity.entity_type == entity_type)?;
        Some(superior.to_string().into())
    }
}

/// The new values of a command as they came, by attribute. A value that the command lacks is null.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawValues([Option<String>; Attribute::ALL.len()]);

impl RawValues {
    /// Returns the values with `value` for `attribute`.
    #[must_use]
    pub fn with(mut self, attribute: Attribute, value: Option<String>) -> Self {
        self.set(attribute, value);
        self
    }

    /// Returns the value of `attribute`, or `None` for null.
    pub fn get(&self, attribute: Attribute) -> Option<&str> {
        self.0[attribute as usize].as_deref()
    }

    /// Sets the value of `attribute`, `None` for null.
    pub fn set(&mut self, attribute: Attribute, value: Option<String>) {
        self.0[attribute as usize] = value;
    }
}
