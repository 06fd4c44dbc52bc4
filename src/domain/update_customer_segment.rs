//! Use case: a customer's segment is set. Effective at once; the log of changes is its history.

use super::Timestamp;
use super::command::Case;
use super::entity::{Entity, EntityType};
use super::rejection::Rejection;
use super::text;
use super::transaction::Change;
use super::values::{Rules, SegmentCode};
use serde::{Deserialize, Serialize};

/// Sets the segment of a customer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UpdateCustomerSegment(pub SegmentCode);

impl Case for UpdateCustomerSegment {
    const NAME: &'static str = "updateCustomerSegment";
    const RECORD: &'static str = "UpdateCustomerSegment";
    const SCHEMA: &'static str = include_str!("../../schemas/UpdateCustomerSegment.avsc");
    const ENTITY_TYPE: EntityType = EntityType::Customer;
    const VALUE_FIELD: &'static str = "customerSegment";

    fn validate(value: Option<&str>, rules: &Rules) -> Result<Self, Rejection> {
        let text = value.unwrap_or_default();
        if text::is_blank(text) {
            return Err(Rejection::MandatoryAttribute { field: Self::VALUE_FIELD.into() });
        }
        let code = rules.segment(text).ok_or(Rejection::SegmentNotConfigured { field: Self::VALUE_FIELD.into() })?;
        Ok(Self(code.clone()))
    }

    fn value(&self) -> &str {
        self.0.as_str()
    }

    fn attribute(entity: &Entity) -> Option<&str> {
        entity.segment.as_ref().map(SegmentCode::as_str)
    }

    fn change(&self, entity: &Entity, now: Timestamp) -> Option<(Entity, Change)> {
        if entity.segment.as_ref() == Some(&self.0) {
            return None;
        }
        let change = Change {
            field: Self::VALUE_FIELD.into(),
            old: Self::attribute(entity).map(Into::into),
            new: Some(self.value().into()),
        };
        let after = Entity { segment: Some(self.0.clone()), segment_valid_from: Some(now), ..entity.clone() };
        Some((after, change))
    }
}
