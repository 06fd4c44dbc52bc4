//! Use case: an account gets another external id. Not versioned; the old one no longer resolves, and is free at once.

use super::Timestamp;
use super::command::{Case, finding};
use super::entity::{Entity, EntityType};
use super::rejection::Rejection;
use super::transaction::Change;
use super::values::{ExternalId, Rules};
use serde::{Deserialize, Serialize};

/// Renames an account.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UpdateAccountExternalId(pub ExternalId);

impl Case for UpdateAccountExternalId {
    const NAME: &'static str = "updateAccountExternalId";
    const RECORD: &'static str = "UpdateAccountExternalId";
    const SCHEMA: &'static str = include_str!("../../schemas/UpdateAccountExternalId.avsc");
    const ENTITY_TYPE: EntityType = EntityType::Account;
    const VALUE_FIELD: &'static str = "externalId";

    fn validate(value: Option<&str>, _rules: &Rules) -> Result<Self, Rejection> {
        ExternalId::parse(value.unwrap_or_default()).map(Self).map_err(|e| finding(Self::VALUE_FIELD, e))
    }

    fn value(&self) -> &str {
        self.0.as_str()
    }

    fn attribute(entity: &Entity) -> Option<&str> {
        Some(entity.external_id.as_str())
    }

    fn change(&self, entity: &Entity, _now: Timestamp) -> Option<(Entity, Change)> {
        entity.renamed_to(&self.0)
    }

    fn wanted(&self) -> Option<&ExternalId> {
        Some(&self.0)
    }
}
