//! Use case: a customer's segment is set. Effective at once; the log of changes is its history.

use super::Timestamp;
use super::command::{Case, Rules};
use super::entity::{Entity, EntityType};
use super::rejection::Rejection;
use super::text::{self, InvalidText};
use super::transaction::Change;
use serde::{Deserialize, Serialize};

/// The code of a segment. Which codes a customer may be given is configuration: see [`Rules::segments`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SegmentCode(Box<str>);

impl SegmentCode {
    /// The longest segment code, in code points.
    pub const MAX_CHARS: usize = 64;

    /// Checks a code of the configuration: 1 to 64 code points, no control characters, no white space at either end.
    ///
    /// # Errors
    /// The first rule that `text` breaks.
    pub fn parse(text: &str) -> Result<Self, InvalidText> {
        text::check_identifier(text, Self::MAX_CHARS)?;
        Ok(Self(text.into()))
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Rules {
    /// The configured segment with the code `text`, compared case by case.
    pub fn segment(&self, text: &str) -> Option<&SegmentCode> {
        self.segments.iter().find(|s| s.as_str() == text)
    }
}

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
