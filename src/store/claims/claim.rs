//! Claims external ids, and completes claims: how an entity is renamed, and how it comes into being.
//!
//! A change of an external id takes two conditional writes. The first puts a claim into the partition of the new id, where there was none
//! or a stale one, so that one of several claimants is left. The second completes the claim: it changes the entity, on the condition that
//! the entity is as it was read, and stores the outcome of the request beside it. Between the two the process may die. So the claim holds
//! all that its completion takes. Its claimant, or whoever meets it, completes it with the same function and the same result. The record
//! that is named in the claim publishes the business transaction.

use super::base::Base;
use super::data::{Decided, Submission};
use super::past::{PreviousOwner, epochs, previous_owners_after};
use super::resolve::{PendingClaim, Resolver};
use super::standing::Standing;
use crate::domain::Timestamp;
use crate::domain::answer::Answer;
use crate::domain::decision::{create, decide};
use crate::domain::entity::Entity;
use crate::domain::rejection::Rejection;
use crate::domain::values::Actor;
use crate::store::outcome::{Cause, ImportOutcome, Outcome, StoredClaim};
use crate::store::{
    Applied, ApplyWrite, Claim, ClaimWrite, ConditionalStore, Consistency, EntityKey, EntityStatics, FIRST_ROW, IdKey, LogRow,
    NewStatics, StoreFault,
};
use uuid::Uuid;

/// The epoch of an entity that was never renamed.
pub(in crate::store) const FIRST_EPOCH: i64 = 1;

/// The entity and the request for which an id is claimed.
pub(in crate::store) struct Claimant<'a> {
    pub owner: Uuid,
    /// The epoch that the owner will have when the claim is completed.
    pub epoch: i64,
    /// The request that claims; [`FIRST_ROW`] for an import.
    pub request_id: &'a str,
}

/// A stale claim that is replaced by another.
pub(in crate::store) struct Replaced<'a> {
    pub claim: &'a Claim,
    /// Whether the claim was current once.
    pub held: bool,
}

/// The result of completing a claim.
pub(in crate::store) enum Completed {
    Command(Outcome),
    Import,
}

impl<'a> Claimant<'a> {
    fn of(submission: &'a Submission, seen: &EntityStatics) -> Self {
        Self { owner: seen.entity.ref_id, epoch: seen.epoch + 1, request_id: submission.request.id.as_str() }
    }
}

/// Claims external ids, and completes claims.
pub(in crate::store) struct Claimer<'a, S>(pub &'a Base<S>);

impl<S: ConditionalStore> Claimer<'_, S> {
    /// Renames the entity that was `seen`, perhaps in the cache, to an id that nobody has claimed and under which nobody was refused.
    /// The conditional write checks both and claims at the same instant. Returns `None` if one of these conditions does not hold, or if the
    /// entity is no longer as it was seen; then the caller must look again, and not in the cache.
    ///
    /// Only an unclaimed id is claimed by what the cache says. Before a claim is replaced, it must be known that the rename has no outcome
    /// yet.
    pub(super) async fn rename_to_unclaimed(
        &self,
        submission: &Submission,
        seen: &EntityStatics,
    ) -> Result<Option<Decided>, StoreFault> {
        let cause = Cause::Request(submission.request.clone());
        self.claim_unclaimed(&wanted(submission), &Claimant::of(submission, seen), cause, Some(seen), submission).await
    }

    /// Claims an id for a submission and completes the claim, if nobody has claimed the id and nobody was refused under it; otherwise
    /// returns `None`. `owner` is the entity as it was seen, `None` if the submission creates it.
    pub(super) async fn claim_unclaimed(
        &self,
        id: &IdKey,
        claimant: &Claimant<'_>,
        cause: Cause,
        owner: Option<&EntityStatics>,
        submission: &Submission,
    ) -> Result<Option<Decided>, StoreFault> {
        let claim = new_claim(claimant, None, cause, &[]);
        let write = ClaimWrite { id: id.clone(), expected_generation: None, unrefused: true, claim: claim.clone() };
        if self.0.store.claim(write).await? == Applied::No {
            return Ok(None);
        }
        let decided = self.complete_own(id, &claim, owner, submission).await?;
        if decided.is_some() {
            self.0.cache.put_claim(id, claim.owner, claim.generation);
        }
        Ok(decided)
    }

    /// Renames the entity that was `seen` by claiming the id that it wants and completing the claim, or stores the rejection if another
    /// entity holds that id. Returns `None` if something came in between: look again.
    pub(super) async fn rename(&self, submission: &Submission, seen: &EntityStatics) -> Result<Option<Decided>, StoreFault> {
        let id = wanted(submission);
        // The claim is never taken from a cache, because only the present claim says whether the id is taken. Nor is the claim read at the
        // same time as the entity, though that would save a round trip: the model reads the claim after the entity, and proves nothing of
        // the other order. Besides, a duplicate or a rejection would then cost one more serial read.
        let there = self.0.store.read_id(&id, &[], Consistency::Serial).await?.claim;
        let mut replaced = None;
        if let Some(claim) = &there {
            let claimant = (claim.owner, claim.epoch, claim.claimed_by.as_str());
            if claimant == (seen.entity.ref_id, seen.epoch + 1, submission.request.id.as_str()) {
                return self.complete_own(&id, claim, Some(seen), submission).await;
            }
            match Resolver(self.0).standing(&id, claim, &[], Consistency::Serial).await?.0 {
                Standing::Pending(owner) => {
                    self.complete(&id, claim, owner.as_ref()).await?;
                    return Ok(None);
                }
                // The entity holds the id itself by now, so its version has changed since it was seen.
                Standing::Current(holder) if holder.entity.ref_id == seen.entity.ref_id => return Ok(None),
                Standing::Current(_) => {
                    return self.reject(submission, seen.key(), Some(seen), Rejection::ExternalIdNotUnique).await;
                }
                Standing::Stale { held } => replaced = Some(Replaced { claim, held }),
            }
        }
        match self.claim(&id, replaced, Claimant::of(submission, seen), Cause::Request(submission.request.clone())).await? {
            Some(claim) => self.complete_own(&id, &claim, Some(seen), submission).await,
            None => Ok(None),
        }
    }

    /// Claims an id: replaces the claim that was read, or makes the first one. Returns `None` if there is another claim by now.
    pub async fn claim(
        &self,
        id: &IdKey,
        replaced: Option<Replaced<'_>>,
        claimant: Claimant<'_>,
        cause: Cause,
    ) -> Result<Option<Claim>, StoreFault> {
        let expected_generation = replaced.as_ref().map(|r| r.claim.generation);
        let previous = match replaced {
            Some(Replaced { claim, held }) => previous_owners_after(claim, held, &self.0.retention, self.0.now())?,
            None => Vec::new(),
        };
        let claim = new_claim(&claimant, expected_generation, cause, &previous);
        let write = ClaimWrite { id: id.clone(), expected_generation, unrefused: false, claim: claim.clone() };
        let applied = self.0.store.claim(write).await?;
        Ok((applied == Applied::Yes).then_some(claim))
    }

    /// Completes a claim, for its claimant or for whoever meets it. The request is decided anew, because the entity may have changed
    /// since the claim was made. The outcome names the claimant's record, because that record will publish the business transaction.
    /// Returns `None` if the write was not applied.
    pub async fn complete(
        &self,
        id: &IdKey,
        claim: &Claim,
        owner: Option<&EntityStatics>,
    ) -> Result<Option<Completed>, StoreFault> {
        let now = self.0.now();
        let (write, completed) = match (StoredClaim::decode(&claim.blob)?.cause, owner) {
            (Cause::Import(entity, actor), _) => (first_write(id, claim, entity, actor, now, Vec::new()), Completed::Import),
            // The superior is the one that was found before the claim was made, whoever completes the claim.
            (Cause::Creation { request, superior }, _) => {
                let Some(creation) = request.contents.creation() else {
                    let cause =
                        format!("the claim of request {} is for a creation, but the request creates nothing", claim.claimed_by);
                    return Err(StoreFault::new("complete claim", cause));
                };
                let transaction = create(creation, &request, claim.owner, superior, now);
                let (entity, actor) = (transaction.entity.clone(), request.actor.clone());
                let outcome = Outcome::of(&request, Answer::Changed(transaction.into()), None, now);
                let row = self.0.retention.entity_row(&request, &outcome);
                (first_write(id, claim, entity, actor, now, vec![row]), Completed::Command(outcome))
            }
            (Cause::Request(request), Some(owner)) => {
                let answer = decide(&owner.entity, &request, now);
                let after = match &answer {
                    Answer::Changed(transaction) => {
                        let entity = transaction.entity.clone();
                        Some(EntityStatics { entity, epoch: claim.epoch, generation: claim.generation })
                    }
                    Answer::Unchanged(_) | Answer::Rejected(_) => None,
                };
                let outcome = Outcome::of(&request, answer, Some(owner.epoch), now);
                let rows = vec![self.0.retention.entity_row(&request, &outcome)];
                let write = ApplyWrite::about(owner, after, rows);
                (write, Completed::Command(outcome))
            }
            (Cause::Request(_), None) => {
                let cause = format!("the claim of request {} is for a rename, but its entity does not exist", claim.claimed_by);
                return Err(StoreFault::new("complete claim", cause));
            }
        };
        Ok((self.0.apply(write).await? == Applied::Yes).then_some(completed))
    }

    /// Completes a claim that was met on the way. Whether this completion was applied or somebody else's, the id must be looked at again.
    pub(super) async fn complete_met(&self, met: &PendingClaim) -> Result<(), StoreFault> {
        self.complete(&met.id, &met.claim, met.owner.as_ref()).await?;
        Ok(())
    }

    /// Completes the claim of a submission. `owner` is the entity as it was seen, `None` if the submission creates it. Returns `None` if the
    /// write was not applied.
    pub(super) async fn complete_own(
        &self,
        id: &IdKey,
        claim: &Claim,
        owner: Option<&EntityStatics>,
        submission: &Submission,
    ) -> Result<Option<Decided>, StoreFault> {
        Ok(match self.complete(id, claim, owner).await? {
            Some(Completed::Command(outcome)) => Some(Decided::by(&outcome, &submission.request)),
            Some(Completed::Import) | None => None,
        })
    }

    /// Stores a rejection in the partition of an entity. `owner` is the entity as it was seen, `None` if the submission was to create it.
    /// Returns `None` if the write was not applied.
    pub(super) async fn reject(
        &self,
        submission: &Submission,
        key: EntityKey,
        owner: Option<&EntityStatics>,
        rejection: Rejection,
    ) -> Result<Option<Decided>, StoreFault> {
        let request = &submission.request;
        let outcome = Outcome::of(request, Answer::Rejected(rejection), owner.map(|owner| owner.epoch), self.0.now());
        let rows = vec![self.0.retention.entity_row(request, &outcome)];
        let expected_version = owner.map(|owner| owner.entity.version);
        let applied = self.0.apply(ApplyWrite { key, expected_version, after: None, rows }).await?;
        Ok((applied == Applied::Yes).then(|| Decided::by(&outcome, request)))
    }
}

/// Returns the id that a rename wants.
fn wanted(submission: &Submission) -> IdKey {
    let wanted = submission.request.contents.change().wanted().expect("callers pass renames only: all others were folded");
    IdKey { entity_type: submission.entity_type(), external_id: wanted.clone() }
}

/// Returns a claim in the place of the one of generation `expected_generation`, or the first one on its id.
pub(super) fn new_claim(
    claimant: &Claimant<'_>,
    expected_generation: Option<i64>,
    cause: Cause,
    previous: &[PreviousOwner],
) -> Claim {
    Claim {
        generation: expected_generation.unwrap_or(0) + 1,
        owner: claimant.owner,
        epoch: claimant.epoch,
        claimed_by: claimant.request_id.into(),
        blob: StoredClaim { cause, held: epochs(previous) }.encode(),
        previous_owners: previous.iter().map(|p| (p.owner, p.left)).collect(),
        refused: None,
    }
}

/// Returns the write by which an entity comes into being: the whole entity, and `rows` with the row that makes reads always return the
/// statics.
fn first_write(
    id: &IdKey,
    claim: &Claim,
    entity: Entity,
    actor: Option<Actor>,
    now: Timestamp,
    mut rows: Vec<LogRow>,
) -> ApplyWrite {
    let outcome = ImportOutcome { at: now, external_id: entity.external_id.clone(), actor }.encode();
    rows.push(LogRow { request_id: FIRST_ROW.into(), changed_to: None, outcome, ttl: None });
    let statics = EntityStatics { entity, epoch: claim.epoch, generation: claim.generation };
    let after = Some(NewStatics::after(None, statics));
    ApplyWrite { key: id.entity(claim.owner), expected_version: None, after, rows }
}
