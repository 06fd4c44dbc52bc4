//! How long outcomes are kept, and what is too old to matter.
//!
//! Changes, and all outcomes of renames and creations that are stored with an entity, are kept for ever. Everything else expires. Three
//! rules make that safe:
//!
//! - **A rename or a creation is answered only with an outcome that is kept for ever.** Its claim may land after it was answered, or be
//!   made from a cache by somebody who did not see the outcome. Only the stored outcome keeps such a claim from turning pending. If the
//!   request id was used by another use case, its outcome answers the rename or creation, and is made to last before that.
//! - **A claim is stale on account of an outcome only if that outcome is kept for ever.** Otherwise the claim could take effect after it
//!   was replaced.
//! - **An outcome that has less than half the retention left answers nobody before it is held.** It could expire before a zombie, at work
//!   at the very same record, looks for it; the zombie would decide the record anew. Half of the retention outlives every attempt.
//!
//! To hold an outcome is one conditional write, which fails if the outcome has expired: see [`HoldWrite`]. With an entity it makes the
//! outcome last for ever, so a second hold can't shorten what the first one has granted. Under an external id the retention begins anew.

use super::data::Target;
use super::sight::{Found, Holder};
use crate::domain::Timestamp;
use crate::domain::request::Request;
use crate::store::expiry::millis;
use crate::store::outcome::Outcome;
use crate::store::{Claim, Held, HoldWrite, LogRow};
use std::time::Duration;

/// How long outcomes are kept: see [`outcome_retention`](super::ClaimsOptions::outcome_retention).
pub(super) struct Retention {
    keep: Duration,
    millis: Timestamp,
}

impl Retention {
    pub fn new(retention: Duration) -> Self {
        Self { keep: retention, millis: millis(retention) }
    }

    /// Returns the log row of an outcome: for the partition of the external id if nobody was found under it, otherwise for an entity's.
    pub fn row(&self, target: &Target, holder: &Holder, request: &Request, outcome: &Outcome) -> LogRow {
        match (target, holder) {
            (Target::Id(_), Holder::Nobody { .. }) => self.refusal(request, outcome),
            (Target::Id(_) | Target::Entity(_), _) => self.entity_row(request, outcome),
        }
    }

    /// Returns the log row of an outcome in the partition of an entity.
    pub fn entity_row(&self, request: &Request, outcome: &Outcome) -> LogRow {
        let changed_to = outcome.answer.changed().map(|entity| entity.version);
        let kept = changed_to.is_some() || is_claimer(request);
        let ttl = (!kept).then_some(self.keep);
        LogRow { request_id: request.id.as_str().into(), changed_to, outcome: outcome.encode(), ttl }
    }

    /// Returns the log row of a request that found nobody under an external id. It expires for every use case. An
    /// entity that has the id later does not need it, because the static column `refused` records the refusal.
    fn refusal(&self, request: &Request, outcome: &Outcome) -> LogRow {
        LogRow { request_id: request.id.as_str().into(), changed_to: None, outcome: outcome.encode(), ttl: Some(self.keep) }
    }

    /// Returns the write that holds `found`, an outcome of `request`. Returns `None` if the outcome may answer as it is.
    pub fn hold(&self, request: &Request, found: &Found, now: Timestamp) -> Option<HoldWrite> {
        let Found { row, target, .. } = found;
        let is_late = row.time_left? < self.keep / 2;
        let held = match target {
            Target::Entity(key) if is_late || is_claimer(request) => Held::ForEver(*key),
            Target::Id(id) if is_late => Held::Anew { id: id.clone(), refused: now, ttl: self.keep },
            Target::Entity(_) | Target::Id(_) => return None,
        };
        Some(HoldWrite { held, request_id: row.request_id.clone(), outcome: row.outcome.clone() })
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

fn is_claimer(request: &Request) -> bool {
    request.contents.use_case().is_claimer()
}

#[cfg(test)]
mod tests {
    use crate::domain::change::ChangeKind;
    use crate::domain::command::{RawCommand, RawReference};
    use crate::domain::use_case::UseCase;
    use crate::domain::values::{Rules, SegmentCode};

    #[test]
    fn a_use_case_claims_if_it_wants_an_external_id() {
        let rules = Rules { segments: vec![SegmentCode::parse("x").unwrap()] };
        for use_case in UseCase::ALL {
            let reference = RawReference { external_id: Some("x".into()), ref_id: None };
            let value = if use_case.kind() == ChangeKind::SetState { "ACTIVE" } else { "x" };
            let (request_id, values) = (Some("r".into()), use_case.first_value(Some(value.into())));
            let raw = RawCommand { use_case: *use_case, request_id, reference: Some(reference), values, expected_version: None };
            let command = raw.validate(&rules).unwrap();
            assert_eq!(command.contents.change().wanted().is_some(), use_case.is_claimer(), "{use_case:?}");
        }
    }
}
