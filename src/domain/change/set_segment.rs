//! An entity moves to a segment. The segment applies at once, and the entity says since when. Its former segments stand in the
//! log of its changes.

use crate::domain::Timestamp;
use crate::domain::attribute::{Attribute, RawValues};
use crate::domain::entity::Entity;
use crate::domain::rejection::Rejection;
use crate::domain::text;
use crate::domain::values::{Rules, SegmentCode};

/// The attribute, and the command's field.
pub const ATTRIBUTE: Attribute = Attribute::Segment;

/// Checks that the new code is configured.
pub fn check(values: &RawValues, rules: &Rules) -> Result<SegmentCode, Rejection> {
    let field = ATTRIBUTE.name();
    match values.get(ATTRIBUTE) {
        Some(code) if !text::is_blank(code) => {
            rules.segment(code).cloned().ok_or_else(|| Rejection::SegmentNotConfigured { field: field.into() })
        }
        _ => Err(Rejection::MandatoryAttribute { field: field.into() }),
    }
}

/// Returns `entity` in the new segment since `now`, or `None` if it is in this segment already.
pub fn apply(code: &SegmentCode, entity: &Entity, now: Timestamp) -> Option<Entity> {
    let is_so = entity.segment.as_ref() == Some(code);
    (!is_so).then(|| Entity { segment: Some(code.clone()), segment_valid_from: Some(now), ..entity.clone() })
}
