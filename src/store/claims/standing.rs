//! How the claim on an external id stands to the entity that made it. Pure.
//!
//! A claim and its completion are two writes to two partitions, and whoever makes them may die in between. So the claim alone says nothing
//! of who holds the id: the entity's own partition does. If the entity has the id, by this very claim, the claim is current. If the entity
//! is still as it was before the claim, and the request that claims has no outcome there, the claim may take effect at any moment: it is
//! pending, and nothing may be concluded before somebody has completed it. Every other claim is stale. If a claim is stale because of an
//! outcome that expires, the resolver makes that outcome last, so that the claim stays stale.

use super::past::was_current;
use crate::store::{Claim, EntityRead, EntityStatics, IdKey, StoreFault};

/// How a claim stands to its owner.
#[derive(Debug, PartialEq)]
pub(in crate::store) enum Standing {
    /// The owner holds the id by this very claim.
    Current(EntityStatics),
    /// The owner's external id is still the one that the claim was made to replace, and the request is undecided. The owner of an import
    /// or a creation is not there yet.
    Pending(Option<EntityStatics>),
    /// The claim is neither current nor pending. It stays stale for ever if the owner's epoch has passed the claim's, because epochs only
    /// grow, or if the request's outcome never expires, which the resolver sees to. `held` says whether the claim was current once.
    Stale { held: bool },
}

impl Standing {
    /// Returns the standing of the claim on `id`; `owner` must show the row of its claimant.
    pub fn of(id: &IdKey, claim: &Claim, owner: &EntityRead) -> Result<Self, StoreFault> {
        let epoch = match &owner.statics {
            Some(e) if e.entity.external_id == id.external_id && e.generation == claim.generation => {
                return Ok(Self::Current(e.clone()));
            }
            Some(e) => e.epoch,
            None => 0,
        };
        let decided = owner.outcomes.iter().any(|row| row.request_id == claim.claimed_by);
        if epoch + 1 == claim.epoch && !decided {
            return Ok(Self::Pending(owner.statics.clone()));
        }
        Ok(Self::Stale { held: was_current(id, claim, owner)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::answer::Answer;
    use crate::domain::entity::{Entity, EntityType};
    use crate::domain::rejection::Rejection;
    use crate::domain::request::SourceRecord;
    use crate::domain::values::ExternalId;
    use crate::store::outcome::Outcome;
    use crate::store::{FIRST_ROW, OutcomeRow};
    use uuid::Uuid;

    #[test]
    fn a_claim_stands_to_its_owner_by_generation_epoch_and_outcome() {
        let id = IdKey { entity_type: EntityType::Account, external_id: ExternalId::parse("x").unwrap() };
        let claim = Claim {
            generation: 5,
            owner: Uuid::nil(),
            epoch: 3,
            claimed_by: "r".into(),
            blob: Vec::new(),
            previous_owners: Vec::new(),
            refused: None,
        };
        let record = SourceRecord { topic: "t".into(), partition: 0, offset: 0 };
        let answer = Answer::Rejected(Rejection::ExternalIdNotUnique);
        let outcome = Outcome { fingerprint: Uuid::nil(), record, at: 0, epoch: Some(2), answer, actor: None }.encode();
        let taken = OutcomeRow { request_id: "r".into(), outcome, time_left: None };
        let owner = |external_id: &str, epoch, generation, decided: bool| EntityRead {
            statics: Some(EntityStatics { entity: entity(external_id), epoch, generation }),
            outcomes: decided.then(|| taken.clone()).into_iter().collect(),
        };
        let standing = |owner: &EntityRead| match Standing::of(&id, &claim, owner).unwrap() {
            Standing::Current(_) => "current",
            Standing::Pending(_) => "pending",
            Standing::Stale { .. } => "stale",
        };
        let table = [
            ("completed", owner("x", 3, 5, true), "current"),
            ("completed, and its outcome not asked for", owner("x", 3, 5, false), "current"),
            ("to be completed", owner("a", 2, 1, false), "pending"),
            ("rejected", owner("a", 2, 1, true), "stale"),
            ("overtaken by another rename", owner("y", 3, 9, false), "stale"),
            ("held by another claim", owner("x", 3, 4, true), "stale"),
            ("given up since", owner("y", 4, 1, true), "stale"),
            ("a rename of an entity that is not there", EntityRead::default(), "stale"),
        ];
        for (case, owner, expected) in table {
            assert_eq!(standing(&owner), expected, "{case}: {owner:?}");
        }
        let import = Claim { epoch: 1, claimed_by: FIRST_ROW.into(), ..claim };
        assert_eq!(Standing::of(&id, &import, &EntityRead::default()).unwrap(), Standing::Pending(None));
    }

    fn entity(external_id: &str) -> Entity {
        Entity::new(EntityType::Account, Uuid::nil(), ExternalId::parse(external_id).unwrap())
    }
}
