//! Creates entities.
//!
//! A creation is a claim like a rename, but the entity that claims is not there yet. Its refId is a function of its type, its external id
//! and the request id, so that the partition in which the outcome belongs is known before anything is read. The claim holds the request
//! and the superior that was found, so whoever meets the claim completes it with the same result. The second write creates the entity. A
//! creation that is rejected makes no claim: its only write stores the rejection in the partition that the entity would have had. Neither
//! outcome expires, so a claim of this creation that arrives late is stale for ever.
//!
//! The superior is read once, at some instant while the creation is decided. If it is deactivated or renamed later, the entities below it
//! stay as they are. The conditions of the writes say nothing of the superior, so only a serial read may decide about it. The cache tells
//! where to look, and no more. A plain read does not suffice either: it may miss a change that is still being written, although somebody
//! has seen the outcome of that change already.

use super::claim::{Claimant, Claimer, FIRST_EPOCH, Replaced};
use super::data::{Decided, Submission, Target};
use super::resolve::{Behind, Resolver, Strictness};
use super::standing::Standing;
use crate::domain::change::Creation;
use crate::domain::entity::{EntityType, State};
use crate::domain::rejection::Rejection;
use crate::store::outcome::Cause;
use crate::store::{ConditionalStore, Consistency, EntityKey, IdKey, StoreFault};
use uuid::Uuid;

/// What a look at a creation's superior led to.
enum Superior {
    /// The entity has no superior, or this one.
    Found(Option<Uuid>),
    /// The creation is rejected, because of its superior.
    Rejected(Rejection),
    /// The superior's external id had a claim that nobody had completed. It is completed by now: look again.
    Unsettled,
}

impl<S: ConditionalStore> Claimer<'_, S> {
    /// Creates the entity of a submission that has no outcome as far as is known. Returns `None` if something came in between: look
    /// again, and read more strictly.
    ///
    /// With [`Strictness::Cache`] nothing was read yet of the entity and of its id. Then the conditions of the two writes stand for all
    /// that was not read: that the external id was never claimed, that the entity is not there, and that its creation was not rejected.
    pub(super) async fn create(
        &self,
        submission: &Submission,
        creation: &Creation,
        strictness: Strictness,
    ) -> Result<Option<Decided>, StoreFault> {
        let (entity_type, request) = (submission.entity_type(), &submission.request);
        let key = EntityKey { entity_type, ref_id: creation.ref_id(entity_type, &request.id) };
        let superior = match self.superior(creation, entity_type).await? {
            Superior::Found(superior) => superior,
            Superior::Rejected(rejection) => return self.reject(submission, key, None, rejection).await,
            Superior::Unsettled => return Ok(None),
        };
        let id = IdKey { entity_type, external_id: creation.external_id.clone() };
        let cause = Cause::Creation { request: request.clone(), superior };
        let claimant = Claimant { owner: key.ref_id, epoch: FIRST_EPOCH, request_id: request.id.as_str() };
        if strictness == Strictness::Cache {
            return self.claim_unclaimed(&id, &claimant, cause, None, submission).await;
        }
        let there = self.0.store.read_id(&id, &[], Consistency::Serial).await?.claim;
        let mut replaced = None;
        if let Some(claim) = &there {
            match Resolver(self.0).standing(&id, claim, &[], Consistency::Serial).await?.0 {
                // It may be this creation's own claim. Then its superior was found when the claim was made.
                Standing::Pending(None) if (claim.owner, &*claim.claimed_by) == (key.ref_id, claimant.request_id) => {
                    return self.complete_own(&id, claim, None, submission).await;
                }
                Standing::Pending(owner) => {
                    self.complete(&id, claim, owner.as_ref()).await?;
                    return Ok(None);
                }
                // The entity has come into being since it was looked for.
                Standing::Current(holder) if holder.entity.ref_id == key.ref_id => return Ok(None),
                Standing::Current(_) => return self.reject(submission, key, None, Rejection::ExternalIdNotUnique).await,
                Standing::Stale { held } => replaced = Some(Replaced { claim, held }),
            }
        }
        match self.claim(&id, replaced, claimant, cause).await? {
            Some(claim) => self.complete_own(&id, &claim, None, submission).await,
            None => Ok(None),
        }
    }

    /// Looks up the superior of an entity of this type that is to be created.
    async fn superior(&self, creation: &Creation, entity_type: EntityType) -> Result<Superior, StoreFault> {
        let (Some(entity_type), Some(reference)) = (entity_type.superior(), &creation.superior) else {
            return Ok(Superior::Found(None));
        };
        Ok(match Resolver(self.0).find(&Target::named(entity_type, reference)).await? {
            Behind::Entity(seen) if seen.entity.state == State::Deactivated => {
                Superior::Rejected(Rejection::Deactivated { field: entity_type.name().into() })
            }
            Behind::Entity(seen) => Superior::Found(Some(seen.entity.ref_id)),
            Behind::Nobody => Superior::Rejected(Rejection::EntityNotFound { field: reference.field(entity_type) }),
            Behind::Pending(claim) => {
                self.complete_met(&claim).await?;
                Superior::Unsettled
            }
        })
    }
}
