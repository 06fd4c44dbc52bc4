//! Imports: a missing entity is created by a claim on its external id, which is completed like any other claim.

use crate::domain::entity::Entity;
use crate::domain::values::Actor;
use crate::store::claims::Claims;
use crate::store::claims::claim::{Claimant, Completed, FIRST_EPOCH, Replaced};
use crate::store::claims::standing::Standing;
use crate::store::outcome::Cause;
use crate::store::{ConditionalStore, Consistency, EntityKey, FIRST_ROW, IdKey, StoreFault};

/// The version of an entity that was never changed.
const FIRST_VERSION: i64 = 1;

/// The result of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Imported {
    /// The import created the entity.
    Created,
    /// The entity existed before, and was left as it is.
    Existed,
    /// The entity contradicts what is stored, in the way that the text says. Nothing was done.
    Contradicts(String),
}

/// A memory of the attempts at one import. An attempt that failed may have created the entity all the same, so that the next attempt finds
/// it. The generation in the entity's statics tells whether this import created it, because it is the generation of the claim that did.
#[derive(Clone, Debug, Default)]
pub struct Importing {
    /// Who imports; `None` if the operator does not say so.
    actor: Option<Actor>,
    /// The generation of the claim that an attempt has made or completed, or has tried to.
    claimed: Option<i64>,
}

impl Importing {
    /// Begins an import that this actor makes.
    pub fn by(actor: Option<Actor>) -> Self {
        Self { actor, claimed: None }
    }
}

impl<S: ConditionalStore> Claims<S> {
    /// Imports an entity as version 1. Safe to repeat.
    ///
    /// # Errors
    /// Returns a fault if the store does not answer. Then it is not known whether the entity was imported. It is always right to try again.
    pub async fn import(&self, entity: Entity) -> Result<Imported, StoreFault> {
        self.import_again(entity, &mut Importing::default()).await
    }

    /// Imports an entity like [`Claims::import`], as one of several attempts that share `importing`. If any of them created the entity,
    /// it counts as created. (If two processes import one entity at the same instant, both may count it.)
    ///
    /// # Errors
    /// Returns a fault as [`Claims::import`] does.
    pub async fn import_again(&self, entity: Entity, importing: &mut Importing) -> Result<Imported, StoreFault> {
        let entity = Entity { version: FIRST_VERSION, ..entity };
        loop {
            if let Some(imported) = self.try_import(&entity, importing).await? {
                return Ok(imported);
            }
            tokio::task::yield_now().await;
        }
    }

    /// Tries to import an entity. Returns `None` if something came in between, so that the caller must look again.
    async fn try_import(&self, entity: &Entity, importing: &mut Importing) -> Result<Option<Imported>, StoreFault> {
        let (entity_type, ref_id) = (entity.entity_type, entity.ref_id);
        let key = EntityKey { entity_type, ref_id };
        if let Some(there) = self.base.store.read_entity(key, &[], Consistency::Serial).await?.statics {
            return Ok(Some(if there.entity.external_id != entity.external_id {
                Imported::Contradicts(format!("the {entity_type} exists with another external id"))
            } else if importing.claimed == Some(there.generation) {
                Imported::Created
            } else {
                Imported::Existed
            }));
        }
        let id = IdKey { entity_type, external_id: entity.external_id.clone() };
        let there = self.base.store.read_id(&id, &[], Consistency::Serial).await?.claim;
        let mut replaced = None;
        if let Some(claim) = &there {
            match self.resolver().standing(&id, claim, &[], Consistency::Serial).await?.0 {
                // The claim may be that of an earlier attempt at this import. Then the entity in its blob is imported.
                Standing::Pending(owner) => {
                    let is_known = claim.owner != ref_id || importing.claimed == Some(claim.generation);
                    if !is_known {
                        importing.claimed = Some(claim.generation);
                    }
                    if self.claimer().complete(&id, claim, owner.as_ref()).await?.is_none() && !is_known {
                        // Somebody else has completed the claim.
                        importing.claimed = None;
                    }
                    return Ok(None);
                }
                Standing::Current(holder) if holder.entity.ref_id == ref_id => return Ok(None),
                Standing::Current(_) => {
                    return Ok(Some(Imported::Contradicts(format!("another {entity_type} holds the external id"))));
                }
                Standing::Stale { held } => replaced = Some(Replaced { claim, held }),
            }
        }
        let claimant = Claimant { owner: ref_id, epoch: FIRST_EPOCH, request_id: FIRST_ROW };
        importing.claimed = Some(there.as_ref().map_or(0, |claim| claim.generation) + 1);
        let cause = Cause::Import(entity.clone(), importing.actor.clone());
        let Some(claim) = self.claimer().claim(&id, replaced, claimant, cause).await? else {
            // The claim that stands there may be that of an earlier attempt. The next look tells by the claim's owner.
            importing.claimed = None;
            return Ok(None);
        };
        let completed = self.claimer().complete(&id, &claim, None).await?;
        Ok(matches!(completed, Some(Completed::Import)).then_some(Imported::Created))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::entity::EntityType;
    use crate::domain::values::ExternalId;
    use crate::store::claims::ClaimsOptions;
    use crate::store::simulated::{Faults, Simulated};
    use std::sync::Arc;
    use uuid::Uuid;

    /// In this test each answer may be lost, and each write may be applied late or not at all.
    #[tokio::test]
    async fn an_import_counts_what_it_made_however_many_attempts_that_took() {
        for seed in 0..300 {
            let faults = Faults { unread: 100, unacknowledged: 300, lost: 200, late: 100, ..Faults::default() };
            let store = Arc::new(Simulated::new(seed, faults));
            let clock = store.clock();
            let claims = Claims::new(store, &ClaimsOptions::default(), clock);
            let mut importing = Importing::default();
            let mut attempts = 0;
            let mut import = async |importing: &mut Importing| loop {
                attempts += 1;
                if let Ok(imported) = claims.import_again(entity("a"), importing).await {
                    break imported;
                }
            };
            assert_eq!(import(&mut importing).await, Imported::Created, "seed {seed}");
            assert_eq!(import(&mut Importing::default()).await, Imported::Existed, "seed {seed}, another import");
            assert!(attempts >= 2, "seed {seed}");
        }
    }

    fn entity(external_id: &str) -> Entity {
        Entity::new(EntityType::Account, Uuid::nil(), ExternalId::parse(external_id).unwrap())
    }
}
