//! How long outcomes are kept, and what is too old to matter.
//!
//! **Invariant**: in the partition of an entity whose type can be renamed no outcome ever expires, whatever its use case, "not found"
//! under its refId included. A claim may land after its request was rejected, or be made from a cache by somebody who did not see the
//! outcome. Only the stored outcome keeps such a claim from turning pending. It need not be a rename's outcome, because a request id can
//! be reused with other contents.

use super::data::Target;
use super::sight::Holder;
use crate::domain::Timestamp;
use crate::domain::entity::EntityType;
use crate::domain::use_case::UseCase;
use crate::domain::values::RequestId;
use crate::store::outcome::Outcome;
use crate::store::{Claim, EntityKey, IdKey, LogRow};
use std::time::Duration;

/// How long outcomes are kept: see [`outcome_retention`](super::ClaimsOptions::outcome_retention).
pub(super) struct Retention {
    keep: Duration,
    millis: Timestamp,
}

impl Retention {
    pub fn new(retention: Duration) -> Self {
        Self { keep: retention, millis: Timestamp::try_from(retention.as_millis()).unwrap_or(Timestamp::MAX) }
    }

    /// Returns the log row of an outcome: for the partition of the external id if nobody was found under it, otherwise for an entity's.
    pub fn row(&self, target: &Target, holder: &Holder, request: &RequestId, outcome: &Outcome) -> LogRow {
        match (target, holder) {
            (Target::Id(_), Holder::Nobody { .. }) => self.refusal(request, outcome),
            (Target::Id(IdKey { entity_type, .. }) | Target::Entity(EntityKey { entity_type, .. }), _) => {
                self.entity_row(*entity_type, request, outcome)
            }
        }
    }

    /// Returns the log row of an outcome in the partition of an entity.
    pub fn entity_row(&self, entity_type: EntityType, request: &RequestId, outcome: &Outcome) -> LogRow {
        let changed_to = outcome.answer.changed().map(|entity| entity.version);
        let kept = changed_to.is_some() || can_be_renamed(entity_type);
        let ttl = (!kept).then_some(self.keep);
        LogRow { request_id: request.as_str().into(), changed_to, outcome: outcome.encode(), ttl }
    }

    /// Returns the log row of a request that found nobody under an external id. It expires for every type. Whoever finds an entity under
    /// the id later, and claims another id for it, knows of the refusal by the static `refused`.
    fn refusal(&self, request: &RequestId, outcome: &Outcome) -> LogRow {
        LogRow { request_id: request.as_str().into(), changed_to: None, outcome: outcome.encode(), ttl: Some(self.keep) }
    }

    /// Returns whether requests that were refused under this id may still be remembered there.
    pub fn is_refused(&self, claim: &Claim, now: Timestamp) -> bool {
        claim.refused.is_some_and(|at| self.is_live(at, now))
    }

    /// Returns whether what happened at this time is still to be remembered.
    pub fn is_live(&self, at: Timestamp, now: Timestamp) -> bool {
        now.saturating_sub(at) <= self.millis
    }
}

/// Returns whether some use case changes the external id of entities of this type.
pub(super) fn can_be_renamed(entity_type: EntityType) -> bool {
    UseCase::ALL.iter().any(|u| u.entity_type() == entity_type && u.is_rename())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::change::ChangeKind;
    use crate::domain::command::{RawCommand, RawReference, RawValues};
    use crate::domain::values::{Rules, SegmentCode};

    #[test]
    fn a_type_can_be_renamed_if_a_use_case_of_it_wants_an_external_id() {
        let rules = Rules { segments: vec![SegmentCode::parse("x").unwrap()] };
        for use_case in UseCase::ALL {
            let reference = RawReference { external_id: Some("x".into()), ref_id: None };
            let value = if use_case.kind() == ChangeKind::SetState { "ACTIVE" } else { "x" };
            let (request_id, values) = (Some("r".into()), RawValues::first(*use_case, Some(value.into())));
            let raw = RawCommand { use_case: *use_case, request_id, reference: Some(reference), values, expected_version: None };
            let command = raw.validate(&rules).unwrap();
            assert_eq!(command.contents.change().wanted().is_some(), use_case.is_rename(), "{use_case:?}");
        }
        assert_eq!(EntityType::ALL.map(can_be_renamed), [true, true, true]);
    }
}
