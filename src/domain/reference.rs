//! References to entities, by either of their ids.

use super::entity::EntityType;
use super::rejection::FieldPath;
use super::values::ExternalId;
use uuid::Uuid;

/// A reference to an entity, whose type is known from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// The id that the CRM gave the entity, and may give to another one later.
    ExternalId(ExternalId),
    /// The id that the entity has for ever.
    RefId(Uuid),
}

impl Reference {
    /// Returns the path of the field in which the reference was given, such as `customer.externalId` or `customer.refId`.
    pub fn field(&self, entity_type: EntityType) -> FieldPath {
        match self {
            Self::ExternalId(_) => external_id_field(entity_type),
            Self::RefId(_) => ref_id_field(entity_type),
        }
    }
}

/// Returns the path of the field with the external id of a reference.
pub(super) fn external_id_field(entity_type: EntityType) -> FieldPath {
    format!("{entity_type}.externalId").into()
}

/// Returns the path of the field with the refId of a reference.
pub(super) fn ref_id_field(entity_type: EntityType) -> FieldPath {
    format!("{entity_type}.refId").into()
}
