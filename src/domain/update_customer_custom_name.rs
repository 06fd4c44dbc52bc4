//! Use case: a customer's custom name is set. Not versioned; effective at once.

use super::Timestamp;
use super::command::{Case, finding};
use super::entity::{Entity, EntityType};
use super::rejection::Rejection;
use super::transaction::Change;
use super::values::{CustomName, Rules};
use serde::{Deserialize, Serialize};

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
