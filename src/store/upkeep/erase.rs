//! Erasing a person's data: the custom names that an entity had before are replaced in what is stored about it, beside
//! processors that run.
//!
//! **Invariant**: nothing that a decision depends on is changed. Of an outcome that is the fingerprint, the record, the epoch,
//! the kind of answer, and the external id, which tells whether a claim was current once (`past`): so external ids stay. Of a
//! claim it is all that completing it takes; but an import's is never pending again once its entity is there. It is put back
//! under its own generation: whoever replaces it meanwhile has the last word.
//!
//! The present name stays everywhere: the record of the change to it may come again and publish its outcome, and readers must
//! not take the entity to be called otherwise than it is.

use crate::domain::answer::Answer;
use crate::domain::change::ChangeKind;
use crate::domain::command::Reference;
use crate::domain::entity::{Entity, EntityType};
use crate::domain::transaction::Transaction;
use crate::domain::values::CustomName;
use crate::store::claims::Claims;
use crate::store::erasable::{ErasableStore, Redaction};
use crate::store::outcome::{Cause, ImportOutcome, Outcome, StoredClaim};
use crate::store::{Applied, Claim, ClaimWrite, Consistency, EntityKey, EntityStatics, FIRST_ROW, IdKey, StoreFault};
use std::collections::HashSet;
use std::sync::Arc;

/// What stands in the place of a custom name that was erased.
pub const ERASED: &str = "erased";

/// Whether to do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erasure {
    /// Only count what would be replaced.
    Counted,
    /// Replace it.
    Done,
}

/// What was found, and replaced or only counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erased {
    /// The entity at the beginning. What was decided later was left alone.
    pub entity: Entity,
    /// Of its log.
    pub rows: Found,
    /// Of the claims on the external ids that it has or had, those that are its own.
    pub claims: Found,
}

/// How many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Were looked at.
    pub all: usize,
    /// Held a former custom name.
    pub former: usize,
}

impl<S: ErasableStore> Claims<S> {
    /// Replaces the custom names that the entity behind a reference had before by [`ERASED`], or counts where they stand. None
    /// where there is no such entity. Safe to repeat.
    ///
    /// # Errors
    /// A fault leaves open how much was replaced. Going round again is right at any time.
    pub async fn erase(&self, of: EntityType, reference: &Reference, erasure: Erasure) -> Result<Option<Erased>, StoreFault> {
        // Serial, so that the log, which is read afterwards, shows all that was decided until then.
        let Some(statics) = self.present(of, reference).await? else { return Ok(None) };
        let eraser = Eraser { store: &*self.base.store, present: &statics, erasure };
        eraser.erase().await.map(Some)
    }
}

/// Erases what was said of an entity before it was as it is at `present`.
struct Eraser<'a, S> {
    store: &'a S,
    present: &'a EntityStatics,
    erasure: Erasure,
}

impl<S: ErasableStore> Eraser<'_, S> {
    async fn erase(&self) -> Result<Erased, StoreFault> {
        let (mut rows, mut claims) = (Found::default(), Found::default());
        let present = &self.present.entity;
        let mut external_ids = HashSet::from([present.external_id.clone()]);
        for (request_id, blob) in self.store.log(self.present.key()).await? {
            if request_id == FIRST_ROW {
                external_ids.insert(ImportOutcome::decode(&blob)?.external_id);
                rows.count(false);
                continue;
            }
            let outcome = decode(&request_id, &blob)?;
            if let Answer::Changed(transaction) = &outcome.answer {
                external_ids.insert(transaction.entity.external_id.clone());
            }
            rows.count(self.redact_row(&request_id, blob, outcome).await?);
        }
        for external_id in external_ids {
            let id = IdKey { entity_type: present.entity_type, external_id };
            if let Some(former) = self.redact_claim(&id).await? {
                claims.count(former);
            }
        }
        Ok(Erased { entity: present.clone(), rows, claims })
    }

    /// Whether the row held a former name.
    async fn redact_row(&self, request_id: &str, mut read: Vec<u8>, mut outcome: Outcome) -> Result<bool, StoreFault> {
        let key: EntityKey = self.present.key();
        loop {
            let former = match &mut outcome.answer {
                Answer::Changed(transaction) | Answer::Unchanged(transaction) => {
                    self.redact_transaction(Arc::make_mut(transaction))
                }
                Answer::Rejected(_) => false,
            };
            if !former || self.erasure == Erasure::Counted {
                return Ok(former);
            }
            let redaction = Redaction { key, request_id: request_id.into(), read, outcome: outcome.encode() };
            if self.store.redact(redaction).await? == Applied::Yes {
                return Ok(true);
            }
            // It has expired, or somebody else has erased it.
            let there = self.store.read_entity(key, &[request_id], Consistency::Serial).await?.outcomes.pop();
            let Some((_, blob)) = there else { return Ok(false) };
            outcome = decode(request_id, &blob)?;
            read = blob;
        }
    }

    /// Whether the entity's claim on an id held a former name. None: the claim is another's.
    async fn redact_claim(&self, id: &IdKey) -> Result<Option<bool>, StoreFault> {
        loop {
            let claim = self.store.read_id(id, &[], Consistency::Serial).await?.claim;
            let own = |claim: &Claim| claim.owner == self.present.entity.ref_id && claim.epoch <= self.present.epoch;
            let Some(claim) = claim.filter(own) else { return Ok(None) };
            let mut stored = StoredClaim::decode(&claim.blob)?;
            let former = match &mut stored.cause {
                Cause::Import(entity) => self.redact_entity(entity),
                // What claims is a rename: its command has no name.
                Cause::Request(_) => false,
            };
            if !former || self.erasure == Erasure::Counted {
                return Ok(Some(former));
            }
            let (replaces, claim) = (Some(claim.generation), Claim { blob: stored.encode(), ..claim });
            let write = ClaimWrite { id: id.clone(), replaces, unrefused: false, claim };
            if self.store.claim(write).await? == Applied::Yes {
                return Ok(Some(true));
            }
        }
    }

    /// True if it held a former name. What was decided since is not looked into: what is former by then is not known here.
    fn redact_transaction(&self, transaction: &mut Transaction) -> bool {
        if transaction.entity.version > self.present.entity.version {
            return false;
        }
        let mut former = self.redact_entity(&mut transaction.entity);
        let of_names = |field: &str| field == ChangeKind::SetCustomName.field();
        for change in transaction.changes.iter_mut().filter(|change| of_names(&change.field)) {
            for name in [&mut change.old, &mut change.new].into_iter().flatten().filter(|name| self.is_former(name)) {
                *name = ERASED.into();
                former = true;
            }
        }
        former
    }

    fn redact_entity(&self, entity: &mut Entity) -> bool {
        let former = entity.custom_name.as_ref().is_some_and(|name| self.is_former(name.as_str()));
        if former {
            entity.custom_name = Some(CustomName::parse(ERASED).expect("obeys the rules of names"));
        }
        former
    }

    fn is_former(&self, name: &str) -> bool {
        let present = self.present.entity.custom_name.as_ref().map(CustomName::as_str);
        name != ERASED && present != Some(name)
    }
}

impl Found {
    fn count(&mut self, former: bool) {
        self.all += 1;
        self.former += usize::from(former);
    }
}

fn decode(request_id: &str, blob: &[u8]) -> Result<Outcome, StoreFault> {
    let named = |fault: StoreFault| StoreFault { cause: format!("the row of request {request_id:?}: {}", fault.cause), ..fault };
    Outcome::decode(request_id, blob).map_err(named)
}
