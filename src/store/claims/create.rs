//! Creates entities.
//!
//! A creation is a claim like a rename, but the entity that claims is not there yet. Its refId is a function of its type, its external id
//! and the request id, so that the partition in which the outcome belongs is known before anything is read. The claim holds the request
//! and what its superior was found to be, so whoever meets the claim completes it with the same result. The second write creates the
//! entity; if the creation is refused, it stores the refusal in the partition of the entity that does not come into being. Neither
//! outcome expires, so a claim of this creation that arrives late is stale for ever.
//!
//! The superior is read once, at some instant while the creation is decided, and nothing below it changes if it is deactivated or renamed
//! later. The conditions of the writes say nothing of the superior, so the cache must not decide about it: it tells only where to
//! look. Nor does a plain read do, for the same reason: it may miss a change of the superior that somebody was told of already, because he
//! found its outcome while the write was under way. So a serial read decides.

use super::claim::{Claimant, Claimer, Replaced};
use super::data::{Decided, Submission, Target};
use super::resolve::{Behind, Resolver, Strictness};
use super::standing::Standing;
use crate::domain::answer::Answer;
use crate::domain::change::Creation;
use crate::domain::entity::{EntityType, State};
use crate::domain::rejection::Rejection;
use crate::store::outcome::{Cause, Outcome};
use crate::store::{Applied, ApplyWrite, ConditionalStore, Consistency, EntityKey, IdKey, StoreFault};
use uuid::Uuid;

/// The epoch of an entity that was never renamed.
const FIRST_EPOCH: i64 = 1;

/// What a look at a creation's superior led to.
enum Superior {
    /// The entity has no superior, or this one.
    Found(Option<Uuid>),
    /// The creation is refused, because of its superior.
    Refused(Rejection),
    /// The superior's external id had a claim that nobody had completed. It is completed by now: look again.
    Unsettled,
}

impl<S: ConditionalStore> Claimer<'_, S> {
    /// Creates the entity of a submission that has no outcome as far as is known. Returns `None` if something came in between: look
    /// again, and read more strictly.
    ///
    /// With [`Strictness::Cache`] nothing was read yet of the entity and of its id. Then the conditions of the two writes stand for all
    /// that was not read: that the external id was never claimed, and that the entity is neither there nor refused.
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
            Superior::Refused(rejection) => return self.refuse_creation(submission, key, rejection).await,
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
                Standing::Current(_) => return self.refuse_creation(submission, key, Rejection::ExternalIdNotUnique).await,
                Standing::Stale { held } => replaced = Some(Replaced { claim, held }),
            }
        }
        match self.claim(&id, replaced, claimant, cause).await? {
            Some(claim) => self.complete_own(&id, &claim, None, submission).await,
            None => Ok(None),
        }
    }

    /// Stores a rejection in the partition that the entity would have had.
    async fn refuse_creation(
        &self,
        submission: &Submission,
        key: EntityKey,
        rejection: Rejection,
    ) -> Result<Option<Decided>, StoreFault> {
        let request = &submission.request;
        let outcome = Outcome::of(request, Answer::Rejected(rejection), None, self.0.now());
        let rows = vec![self.0.retention.entity_row(request, &outcome)];
        let applied = self.0.apply(ApplyWrite { key, expected_version: None, after: None, rows }).await?;
        Ok((applied == Applied::Yes).then(|| Decided::by(&outcome, request)))
    }

    /// Looks up the superior of an entity of this type that is to be created.
    async fn superior(&self, creation: &Creation, entity_type: EntityType) -> Result<Superior, StoreFault> {
        let (Some(entity_type), Some(reference)) = (entity_type.superior(), &creation.superior) else {
            return Ok(Superior::Found(None));
        };
        Ok(match Resolver(self.0).find(&Target::named(entity_type, reference)).await? {
            Behind::Entity(seen) if seen.entity.state == State::Deactivated => {
                Superior::Refused(Rejection::Deactivated { field: entity_type.name().into() })
            }
            Behind::Entity(seen) => Superior::Found(Some(seen.entity.ref_id)),
            Behind::Nobody => Superior::Refused(Rejection::EntityNotFound { field: reference.field(entity_type) }),
            Behind::Pending(claim) => {
                self.complete_met(&claim).await?;
                Superior::Unsettled
            }
        })
    }
}
