//! An entity gets a custom name. The name applies at once. The entity keeps no former names: these stand in the business
//! transactions of the changes.

use crate::domain::attribute::{Attribute, RawValues};
use crate::domain::entity::Entity;
use crate::domain::rejection::Rejection;
use crate::domain::values::CustomName;

/// The attribute, and the command's field.
pub const ATTRIBUTE: Attribute = Attribute::CustomName;

/// Checks the new name.
pub fn check(values: &RawValues) -> Result<CustomName, Rejection> {
    let text = values.get(ATTRIBUTE).unwrap_or_default();
    CustomName::parse(text).map_err(|error| Rejection::of_text(ATTRIBUTE.name(), error))
}

/// Returns `entity` with the new name, or `None` if it has this name already.
pub fn apply(name: &CustomName, entity: &Entity) -> Option<Entity> {
    let is_so = entity.custom_name.as_ref() == Some(name);
    (!is_so).then(|| Entity { custom_name: Some(name.clone()), ..entity.clone() })
}
