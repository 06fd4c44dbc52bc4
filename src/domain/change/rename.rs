//! An entity gets another external id. From then on the old id does not resolve, and another entity may have it at once.
//! The domain does not know whether the new id is free: `store::claims` finds that out, by claiming the id before it applies
//! the change.

use crate::domain::attribute::{Attribute, RawValues};
use crate::domain::entity::Entity;
use crate::domain::rejection::Rejection;
use crate::domain::values::ExternalId;

/// The attribute, and the command's field.
pub const ATTRIBUTE: Attribute = Attribute::ExternalId;

/// Checks the new external id.
pub fn check(values: &RawValues) -> Result<ExternalId, Rejection> {
    let text = values.get(ATTRIBUTE).unwrap_or_default();
    ExternalId::parse(text).map_err(|error| Rejection::of_text(ATTRIBUTE.name(), error))
}

/// Returns `entity` under the new external id, or `None` if it has this id already.
pub fn apply(external_id: &ExternalId, entity: &Entity) -> Option<Entity> {
    let is_so = entity.external_id == *external_id;
    (!is_so).then(|| Entity { external_id: external_id.clone(), ..entity.clone() })
}
