//! Answers readers, who ask which entity is behind a reference, and what a request was answered. It reads as the protocol does, so a
//! pending claim that is met is completed first, as it would be for a command.

use super::Claims;
use super::data::Target;
use super::resolve::{Resolution, Strictness};
use super::sight::{Holder, Sight};
use crate::domain::answer::Answer;
use crate::domain::entity::EntityType;
use crate::domain::reference::Reference;
use crate::domain::rejection::Rejection;
use crate::domain::values::RequestId;
use crate::store::{ConditionalStore, EntityStatics, StoreFault};
use uuid::Uuid;

/// A text that can't be a request id, because of its control character. A look for it finds no outcome, and so always finds the entity
/// behind the reference.
const NO_REQUEST: &str = "\u{1}";

/// How fresh an answer must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// The answer is one that a quorum of replicas gives. It may miss a change that is being decided.
    Quorum,
    /// The answer is linearizable: whatever is being decided is completed first.
    Latest,
}

impl<S: ConditionalStore> Claims<S> {
    /// Returns the entity behind a reference, or `None` if there is none.
    ///
    /// # Errors
    /// Returns a fault if the store can't be read, or a claim can't be completed.
    pub async fn find(
        &self,
        entity_type: EntityType,
        reference: &Reference,
        freshness: Freshness,
    ) -> Result<Option<EntityStatics>, StoreFault> {
        let sight = self.sight(entity_type, reference, NO_REQUEST, freshness).await?;
        Ok(match sight.holder {
            Some(Holder::Entity(entity)) => Some(entity),
            Some(Holder::Nobody { .. }) | None => None,
        })
    }

    /// Returns the answer that a duplicate of a request would get, or `None` if the request has none so far. `contents` is the fingerprint
    /// of what the request asks for: if the request id stands for something else, the answer says so. With `None` the contents are not
    /// compared.
    ///
    /// # Errors
    /// Returns a fault if the store can't be read, or a claim can't be completed.
    pub async fn answer_to(
        &self,
        entity_type: EntityType,
        reference: &Reference,
        request_id: &RequestId,
        contents: Option<Uuid>,
        freshness: Freshness,
    ) -> Result<Option<Answer>, StoreFault> {
        let sight = self.sight(entity_type, reference, request_id.as_str(), freshness).await?;
        let Some(found) = sight.known.by(request_id.as_str(), contents) else { return Ok(None) };
        let is_other = contents.is_some_and(|contents| contents != found.outcome.fingerprint);
        Ok(Some(if is_other { Answer::Rejected(Rejection::RequestIdReused) } else { found.outcome.answer.clone() }))
    }

    /// Looks behind a reference, for one request, until nothing is pending there.
    async fn sight(
        &self,
        entity_type: EntityType,
        reference: &Reference,
        request_id: &str,
        freshness: Freshness,
    ) -> Result<Sight, StoreFault> {
        let target = Target::named(entity_type, reference);
        let strictness = match freshness {
            Freshness::Quorum => Strictness::Plain,
            Freshness::Latest => Strictness::Serial,
        };
        loop {
            match self.resolver().look(&target, &[request_id], strictness).await? {
                Resolution::Seen { sight, .. } => return Ok(sight),
                Resolution::Pending(claim) => Box::pin(self.claimer().complete_met(&claim)).await?,
            }
            tokio::task::yield_now().await;
        }
    }
}
