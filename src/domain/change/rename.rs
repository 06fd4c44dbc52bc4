//! An entity gets another external id. From then on the old id does not resolve, and another entity may have it at once.
//! The domain does not know whether the new id is free: `store::claims` finds that out, by claiming the id before it applies
//! the change.

use crate::domain::entity::Entity;
use crate::domain::rejection::Rejection;
use crate::domain::values::ExternalId;

/// The attribute, and the command's field.
pub const FIELD: &str = "externalId";

/// Checks the new external id.
pub fn check(value: Option<&str>) -> Result<ExternalId, Rejection> {
    ExternalId::parse(value.unwrap_or_default()).map_err(|error| Rejection::of_text(FIELD, error))
}

/// Returns `entity` under the new external id, or `None` if it has this id already.
pub fn apply(external_id: &ExternalId, entity: &Entity) -> Option<Entity> {
    let is_so = entity.external_id == *external_id;
    (!is_so).then(|| Entity { external_id: external_id.clone(), ..entity.clone() })
}
