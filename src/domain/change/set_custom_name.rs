//! An entity gets a custom name. The name applies at once. The entity keeps no former names: these stand in the business
//! transactions of the changes.

use crate::domain::entity::Entity;
use crate::domain::rejection::Rejection;
use crate::domain::values::CustomName;

/// The attribute, and the command's field.
pub const FIELD: &str = "customName";

/// Checks the new name.
pub fn check(value: Option<&str>) -> Result<CustomName, Rejection> {
    CustomName::parse(value.unwrap_or_default()).map_err(|error| Rejection::of_text(FIELD, error))
}

/// Returns `entity` with the new name, or `None` if it has this name already.
pub fn apply(name: &CustomName, entity: &Entity) -> Option<Entity> {
    let is_so = entity.custom_name.as_ref() == Some(name);
    (!is_so).then(|| Entity { custom_name: Some(name.clone()), ..entity.clone() })
}
