//! Use case: a customer's custom name is set. Not versioned; effective at once.

use super::Timestamp;
use super::command::{Case, Rules, finding};
use super::entity::{Entity, EntityType};
use super::rejection::Rejection;
use super::text::{self, InvalidText};
use super::transaction::Change;
use serde::{Deserialize, Serialize};

/// A custom name: 1 to 255 code points, kept exactly as sent, not blank, no control characters (Cc).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct CustomName(Box<str>);

impl CustomName {
    /// The longest custom name, in code points.
    pub const MAX_CHARS: usize = 255;

    /// # Errors
    /// The first rule that `text` breaks.
    pub fn parse(text: &str) -> Result<Self, InvalidText> {
        text::check_name(text, Self::MAX_CHARS)?;
        Ok(Self(text.into()))
    }

    /// The text as it came.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CustomName {
    type Error = InvalidText;
    fn try_from(text: String) -> Result<Self, InvalidText> {
        Self::parse(&text)
    }
}

/// Sets the custom name of a customer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UpdateCustomerCustomName(pub CustomName);

impl Case for UpdateCustomerCustomName {
    const NAME: &'static str = "updateCustomerCustomName";
    const RECORD: &'static str = "UpdateCustomerCustomName";
    const SCHEMA: &'static str = include_str!("../../schemas/UpdateCustomerCustomName.avsc");
    const ENTITY_TYPE: EntityType = EntityType::Customer;
    const VALUE_FIELD: &'static str = "customName";

    fn validate(value: Option<&str>, _rules: &Rules) -> Result<Self, Rejection> {
        CustomName::parse(value.unwrap_or_default()).map(Self).map_err(|e| finding(Self::VALUE_FIELD, e))
    }

    fn value(&self) -> &str {
        self.0.as_str()
    }

    fn attribute(entity: &Entity) -> Option<&str> {
        entity.custom_name.as_ref().map(CustomName::as_str)
    }

    fn change(&self, entity: &Entity, _now: Timestamp) -> Option<(Entity, Change)> {
        if entity.custom_name.as_ref() == Some(&self.0) {
            return None;
        }
        let change = Change {
            field: Self::VALUE_FIELD.into(),
            old: Self::attribute(entity).map(Into::into),
            new: Some(self.value().into()),
        };
        Some((Entity { custom_name: Some(self.0.clone()), ..entity.clone() }, change))
    }
}
