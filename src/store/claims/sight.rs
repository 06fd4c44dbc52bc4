//! The result of a look behind a reference: who is there, and which outcomes requests have there already. Pure.

use super::data::Target;
use crate::domain::request::Request;
use crate::store::outcome::Outcome;
use crate::store::{EntityStatics, OutcomeRow, StoreFault};
use std::collections::HashMap;
use uuid::Uuid;

/// The holder behind a reference, and the outcomes that are known there.
pub(super) struct Sight {
    pub known: Known,
    /// The holder; `None` if it was not necessary to find out, because all requests have outcomes.
    pub holder: Option<Holder>,
}

/// Who is behind a reference.
pub(super) enum Holder {
    Entity(EntityStatics),
    /// Nobody holds the external id, or there is no entity with the refId. `generation` is that of the id's claim, which leads to nobody.
    /// It is `None` if there is no claim, and always for a refId.
    Nobody {
        generation: Option<i64>,
    },
}

impl Sight {
    /// Returns the holder, about which a request without an outcome is decided.
    pub fn holder(&self) -> &Holder {
        self.holder.as_ref().expect("it was found out, because a request has no outcome")
    }
}

impl Holder {
    /// Returns the entity's epoch; `None` if there is no entity.
    pub fn epoch(&self) -> Option<i64> {
        match self {
            Self::Entity(entity) => Some(entity.epoch),
            Self::Nobody { .. } => None,
        }
    }
}

/// An outcome that was found.
pub(super) struct Found {
    pub outcome: Outcome,
    /// The row as it was read.
    pub row: OutcomeRow,
    /// The partition that holds the outcome.
    pub target: Target,
}

/// The outcomes that requests are known to have, in the order in which they were found.
///
/// There may be several for one request id: it is scoped to an entity, and an external id can have had several owners.
#[derive(Default)]
pub(super) struct Known(HashMap<String, Vec<Found>>);

impl Known {
    /// Returns the outcome that answers `request`. The one that its own record caused comes first, because no other record will publish
    /// it; then one that is stored with an entity, rather than a refusal from before anybody held the id; then that of a request with the
    /// same contents.
    pub fn of(&self, request: &Request) -> Option<&Found> {
        let fingerprint = request.contents.fingerprint();
        self.0.get(request.id.as_str())?.iter().min_by_key(|found| {
            let Found { outcome, target, .. } = found;
            (outcome.record != request.record, matches!(target, Target::Id(_)), outcome.fingerprint != fingerprint)
        })
    }

    /// Returns the outcome that a request id has with these contents. If there is none, or `contents` is `None`, returns its first
    /// outcome.
    pub fn by(&self, request_id: &str, contents: Option<Uuid>) -> Option<&Found> {
        let found = self.0.get(request_id)?;
        found.iter().find(|found| Some(found.outcome.fingerprint) == contents).or(found.first())
    }

    /// Adds those outcomes of `requests` that were decided in an epoch up to `until_epoch`, or without an entity; with `None`, those of any
    /// epoch. They were read in the partition `target`.
    pub fn add_read(
        &mut self,
        rows: Vec<OutcomeRow>,
        requests: &[&str],
        until_epoch: Option<i64>,
        target: &Target,
    ) -> Result<(), StoreFault> {
        for row in rows {
            if requests.contains(&row.request_id.as_str()) {
                let outcome = Outcome::decode(&row.request_id, &row.outcome)?;
                if outcome.epoch.is_none_or(|epoch| until_epoch.is_none_or(|until| epoch <= until)) {
                    // There is rarely more than one.
                    let found = Found { outcome, row, target: target.clone() };
                    self.0.entry(found.row.request_id.clone()).or_insert_with(|| Vec::with_capacity(1)).push(found);
                }
            }
        }
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn has_all(&self, requests: &[&str]) -> bool {
        requests.iter().all(|r| self.0.contains_key(*r))
    }
}
