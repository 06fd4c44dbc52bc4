//! Use case: a subscriber gets another external id. Not versioned; the old one no longer resolves, and is free at once.

use super::Timestamp;
use super::command::{Case, finding};
use super::entity::{Entity, EntityType};
use super::rejection::Rejection;
use super::transaction::Change;
use super::values::{ExternalId, Rules};
use serde::{Deserialize, Serialize};

/// Renames a subscriber.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UpdateSubscriberExternalId(pub ExternalId);

impl Case for UpdateSubscriberExternalId {
    const NAME: &'static str = "updateSubscriberExternalId";
    const RECORD: &'static str = "UpdateSubscriberExternalId";
    const SCHEMA: &'static str = include_str!("../../schemas/UpdateSubscriberExternalId.avsc");
    const ENTITY_TYPE: EntityType = EntityType::Subscriber;
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
