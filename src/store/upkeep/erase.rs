//! Erasing of a person's data: replaces the former custom names of an entity in everything that is stored about it. Processors may run
//! meanwhile.
//!
//! **Invariant**: nothing that a decision depends on is changed. Of an outcome, that means the fingerprint, the record, the epoch, the kind
//! of answer, and the external id, which tells whether a claim was current once (`past`); so external ids stay. Of a claim, it means
//! everything that completing the claim takes. But the claim of an import or of a creation is never pending again once its entity exists,
//! so its blob may change. The claim is written back under its own generation, so that it does not undo a claim that has replaced it
//! meanwhile.
//!
//! The present name stays everywhere. The record that set it may be delivered again, and then publishes its stored outcome. If that outcome
//! had lost the name, readers would take the replacement for the present name.

use crate::domain::answer::Answer;
use crate::domain::attribute::Attribute;
use crate::domain::change::Creation;
use crate::domain::entity::{Entity, EntityType};
use crate::domain::reference::Reference;
use crate::domain::request::Request;
use crate::domain::transaction::Transaction;
use crate::domain::values::CustomName;
use crate::store::claims::Claims;
use crate::store::erasable::{ErasableStore, Redaction};
use crate::store::outcome::{Cause, ImportOutcome, Outcome, StoredClaim};
use crate::store::{Applied, Claim, ClaimWrite, Consistency, EntityKey, EntityStatics, FIRST_ROW, IdKey, StoreFault};
use std::collections::HashSet;
use std::sync::Arc;

/// The text that replaces an erased custom name.
pub const ERASED: &str = "erased";

/// Whether to replace former names or only to count them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erasure {
    /// Former names are only counted.
    Counted,
    /// Former names are replaced.
    Done,
}

/// The result of an erasure: what was found, and replaced or only counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erased {
    /// The entity as it was at the beginning. What was decided later was left alone.
    pub entity: Entity,
    /// The rows of the entity's log.
    pub rows: ErasureCount,
    /// The entity's own claims on the external ids that it has or had.
    pub claims: ErasureCount,
}

/// The numbers of rows or claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErasureCount {
    /// Those that were looked at.
    pub all: usize,
    /// Those that held a former custom name.
    pub former: usize,
}

impl<S: ErasableStore> Claims<S> {
    /// Replaces the former custom names of the entity behind a reference by [`ERASED`], or counts where they occur. Returns `None` if
    /// there is no such entity. Safe to repeat.
    ///
    /// # Errors
    /// Returns a fault if the store does not answer. Then it is not known how much was replaced. It is always right to try again.
    pub async fn erase(&self, of: EntityType, reference: &Reference, erasure: Erasure) -> Result<Option<Erased>, StoreFault> {
        // This read is serial, so that the log, which is read afterwards, shows everything that was decided before it.
        let Some(statics) = self.present(of, reference).await? else { return Ok(None) };
        let eraser = Eraser { store: &*self.base.store, present: &statics, erasure };
        eraser.erase().await.map(Some)
    }
}

/// Erases the names that an entity had before the state `present`.
struct Eraser<'a, S> {
    store: &'a S,
    present: &'a EntityStatics,
    erasure: Erasure,
}

impl<S: ErasableStore> Eraser<'_, S> {
    async fn erase(&self) -> Result<Erased, StoreFault> {
        let (mut rows, mut claims) = (ErasureCount::default(), ErasureCount::default());
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

    /// Replaces former names in a row. Returns whether the row held one.
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
            let redaction = Redaction { key, request_id: request_id.into(), expected_outcome: read, outcome: outcome.encode() };
            if self.store.redact(redaction).await? == Applied::Yes {
                return Ok(true);
            }
            // The row has expired, or somebody else has erased the names in it.
            let there = self.store.read_entity(key, &[request_id], Consistency::Serial).await?.outcomes.pop();
            let Some(row) = there else { return Ok(false) };
            outcome = decode(request_id, &row.outcome)?;
            read = row.outcome;
        }
    }

    /// Replaces a former name in the entity's claim on an id. Returns whether the claim held one, or `None` if there is no claim or it is
    /// not this entity's.
    async fn redact_claim(&self, id: &IdKey) -> Result<Option<bool>, StoreFault> {
        loop {
            let claim = self.store.read_id(id, &[], Consistency::Serial).await?.claim;
            let own = |claim: &Claim| claim.owner == self.present.entity.ref_id && claim.epoch <= self.present.epoch;
            let Some(claim) = claim.filter(own) else { return Ok(None) };
            let mut stored = StoredClaim::decode(&claim.blob)?;
            let former = match &mut stored.cause {
                Cause::Import(entity, _) => self.redact_entity(entity),
                Cause::Creation { request, .. } => self.redact_creation(request),
                // The claiming request changes an external id, and holds no custom name.
                Cause::Request(_) => false,
            };
            if !former || self.erasure == Erasure::Counted {
                return Ok(Some(former));
            }
            let (expected_generation, claim) = (Some(claim.generation), Claim { blob: stored.encode(), ..claim });
            let write = ClaimWrite { id: id.clone(), expected_generation, unrefused: false, claim };
            if self.store.claim(write).await? == Applied::Yes {
                return Ok(Some(true));
            }
        }
    }

    /// Replaces former names in a transaction. Returns whether there were any. A transaction that was decided since is left alone,
    /// because it is not known here which names are former by then.
    fn redact_transaction(&self, transaction: &mut Transaction) -> bool {
        if transaction.entity.version > self.present.entity.version {
            return false;
        }
        let mut former = self.redact_entity(&mut transaction.entity);
        for change in transaction.changes.iter_mut().filter(|change| change.attribute == Attribute::CustomName) {
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
            entity.custom_name = Some(erased());
        }
        former
    }

    fn redact_creation(&self, request: &mut Request) -> bool {
        let former = |name: &CustomName| self.is_former(name.as_str());
        let Some(creation) = request.contents.creation().filter(|c| c.custom_name.as_ref().is_some_and(former)) else {
            return false;
        };
        let erased = Creation { custom_name: Some(erased()), ..creation.clone() };
        request.contents = request.contents.with_creation(erased);
        true
    }

    fn is_former(&self, name: &str) -> bool {
        let present = self.present.entity.custom_name.as_ref().map(CustomName::as_str);
        name != ERASED && present != Some(name)
    }
}

impl ErasureCount {
    fn count(&mut self, former: bool) {
        self.all += 1;
        self.former += usize::from(former);
    }
}

fn erased() -> CustomName {
    CustomName::parse(ERASED).expect("obeys the rules of names")
}

fn decode(request_id: &str, blob: &[u8]) -> Result<Outcome, StoreFault> {
    let named = |fault: StoreFault| StoreFault { cause: format!("the row of request {request_id:?}: {}", fault.cause), ..fault };
    Outcome::decode(request_id, blob).map_err(named)
}
