//! Who held an external id before, and which of their outcomes answer requests that come under the id now.
//!
//! An entity that held the id up to its epoch n answers with what it decided until it gave the id up: its outcomes of epochs up to n.
//! **Invariant**: all these outcomes were stored before the claim that is there now, so every attempt under that claim finds the same
//! ones. What the entity decided later, under another reference, is another request, because request ids are scoped to an entity. If such
//! an outcome counted here, one attempt could find it while an overlapping attempt, which did not, decides the request for the present
//! holder.

use super::retention::Retention;
use crate::domain::Timestamp;
use crate::domain::answer::Answer;
use crate::store::outcome::{ImportOutcome, Outcome, StoredClaim};
use crate::store::{Claim, EntityRead, FIRST_ROW, IdKey, StoreFault};
use std::collections::BTreeMap;
use uuid::Uuid;

/// An entity that held an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PreviousOwner {
    pub owner: Uuid,
    /// When its claim was replaced.
    pub left: Timestamp,
    /// The last of its epochs during which it held the id.
    pub epoch: i64,
}

/// Returns the previous owners under a claim, without those that left too long ago to be asked.
pub(super) fn previous_owners(claim: &Claim, retention: &Retention, now: Timestamp) -> Result<Vec<PreviousOwner>, StoreFault> {
    let live = claim.previous_owners.iter().filter(|(_, left)| retention.is_live(*left, now));
    let mut live = live.peekable();
    if live.peek().is_none() {
        return Ok(Vec::new());
    }
    let epochs = StoredClaim::decode(&claim.blob)?.held;
    // An owner whose epoch is not stored is asked about all that it decided.
    let owner = |&(owner, left)| PreviousOwner { owner, left, epoch: epochs.get(&owner).copied().unwrap_or(i64::MAX) };
    Ok(live.map(owner).collect())
}

/// Returns the previous owners for the claim that replaces this stale one. `held` says whether the stale claim was current once. If its
/// owner is known already, the later epoch counts, because a zombie's late claim may be of an epoch long past.
pub(super) fn previous_owners_after(
    claim: &Claim,
    held: bool,
    retention: &Retention,
    now: Timestamp,
) -> Result<Vec<PreviousOwner>, StoreFault> {
    let mut owners = previous_owners(claim, retention, now)?;
    if held {
        let known = owners.iter().position(|previous| previous.owner == claim.owner).map(|at| owners.swap_remove(at));
        let epoch = known.map_or(claim.epoch, |previous| previous.epoch.max(claim.epoch));
        owners.push(PreviousOwner { owner: claim.owner, left: now, epoch });
    }
    Ok(owners)
}

/// Returns the epochs of owners, as a claim's blob holds them.
pub(super) fn epochs(owners: &[PreviousOwner]) -> BTreeMap<Uuid, i64> {
    owners.iter().map(|previous| (previous.owner, previous.epoch)).collect()
}

/// Returns whether a claim that is not current was current before. It was if the claimant's outcome is the change that gave the entity this
/// id in the claim's epoch. `owner` must show the row of the claimant.
pub(super) fn was_current(id: &IdKey, claim: &Claim, owner: &EntityRead) -> Result<bool, StoreFault> {
    let Some(row) = owner.outcomes.iter().find(|row| row.request_id == claim.claimed_by) else { return Ok(false) };
    if claim.claimed_by == FIRST_ROW {
        return Ok(ImportOutcome::decode(&row.outcome)?.external_id == id.external_id);
    }
    let outcome = Outcome::decode(&claim.claimed_by, &row.outcome)?;
    Ok(match outcome.answer {
        Answer::Changed(transaction) => {
            transaction.entity.external_id == id.external_id && outcome.epoch.is_none_or(|before| before + 1 == claim.epoch)
        }
        Answer::Unchanged(_) | Answer::Rejected(_) => false,
    })
}
