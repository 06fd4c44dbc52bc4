//! Finds the entity behind a reference, and the outcomes that requests have there already.
//!
//! A plain quorum read may conclude two things only: that a request has an outcome, and that an id is held by a current
//! claim beside which nothing is to be asked, which the condition of the write will confirm. Everything else is concluded
//! from serial reads, and never beside a pending claim, which is completed first.

use super::{Claims, Target};
use crate::domain::command::RequestId;
use crate::store::outcome::Outcome;
use crate::store::{Claim, ConditionalStore, Consistency, EntityKey, EntityRead, EntityStatics, IdKey, StoreFault};
use std::collections::HashMap;
use uuid::Uuid;

/// What the next round may build on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// The cache, and plain reads.
    Cache,
    /// Serial reads only: something came in between.
    Serial,
}

/// What is behind a reference.
pub(super) struct Sight {
    pub known: Known,
    pub holder: Holder,
}

/// Who is behind a reference.
pub(super) enum Holder {
    Entity(EntityStatics),
    /// Nobody, while the id's claim has this generation (None: no claim); of a refId, while there is no such entity.
    Nobody {
        generation: Option<i64>,
    },
    /// All requests had outcomes before that mattered.
    NotAsked,
}

/// The outcomes that requests are known to have.
#[derive(Default)]
pub(super) struct Known(HashMap<String, Outcome>);

/// How a claim stands to its owner.
#[derive(Debug, PartialEq)]
pub(super) enum Standing {
    /// The owner holds the id by this very claim.
    Current(EntityStatics),
    /// The owner's external id is still the one that the claim was made to replace, and the request is undecided; an
    /// import's owner is not there yet.
    Pending(Option<EntityStatics>),
    /// Neither, and so for ever: epochs only grow, and the outcome of a rename stays.
    Stale,
}

impl Standing {
    /// The standing of the claim on `id`; `owner` must show the row of its claimant.
    pub fn of(id: &IdKey, claim: &Claim, owner: &EntityRead) -> Self {
        let epoch = match &owner.statics {
            Some(e) if e.entity.external_id == id.external_id && e.generation == claim.generation => {
                return Self::Current(e.clone());
            }
            Some(e) => e.epoch,
            None => 0,
        };
        let decided = owner.outcomes.iter().any(|(request, _)| *request == claim.claimed_by);
        if epoch + 1 == claim.epoch && !decided { Self::Pending(owner.statics.clone()) } else { Self::Stale }
    }
}

impl Known {
    pub fn of(&self, request: &RequestId) -> Option<&Outcome> {
        self.0.get(request.as_str())
    }

    pub fn add(&mut self, request: &RequestId, outcome: Outcome) {
        self.0.insert(request.as_str().into(), outcome);
    }

    /// The first outcome found is the one that counts.
    fn add_read(&mut self, rows: Vec<(String, Vec<u8>)>, requests: &[&str]) -> Result<(), StoreFault> {
        for (request, blob) in rows {
            if requests.contains(&request.as_str()) && !self.0.contains_key(&request) {
                self.0.insert(request, Outcome::decode(&blob)?);
            }
        }
        Ok(())
    }

    fn open<'a>(&self, requests: &[&'a str]) -> Vec<&'a str> {
        requests.iter().copied().filter(|r| !self.0.contains_key(*r)).collect()
    }
}

impl<S: ConditionalStore> Claims<S> {
    /// What is behind `target`. None: a pending claim was met and completed, or somebody else did; look again.
    pub(super) async fn see(&self, target: &Target, requests: &[&str], trust: Trust) -> Result<Option<Sight>, StoreFault> {
        if trust == Trust::Cache {
            if let Some(entity) = self.cache.entity(target) {
                return Ok(Some(Sight { known: Known::default(), holder: Holder::Entity(entity) }));
            }
            if let Some(sight) = self.glance(target, requests).await? {
                return Ok(Some(sight));
            }
        }
        match target {
            Target::Id(id) => self.resolve(id, requests).await,
            Target::Entity(key) => self.look_up(*key, requests, Consistency::Serial).await.map(Some),
        }
    }

    /// With plain reads; None if they don't suffice.
    async fn glance(&self, target: &Target, requests: &[&str]) -> Result<Option<Sight>, StoreFault> {
        let id = match target {
            Target::Id(id) => id,
            Target::Entity(key) => {
                let sight = self.look_up(*key, requests, Consistency::Quorum).await?;
                let absent = matches!(sight.holder, Holder::Nobody { .. });
                return Ok((!absent).then_some(sight));
            }
        };
        let (known, claimed) = self.follow(id, requests, Consistency::Quorum).await?;
        if known.open(requests).is_empty() {
            return Ok(Some(Sight { known, holder: Holder::NotAsked }));
        }
        match claimed {
            Some((claim, Standing::Current(entity))) if self.nothing_beside(&claim) => {
                self.remember(id, &claim, &entity);
                Ok(Some(Sight { known, holder: Holder::Entity(entity) }))
            }
            _ => Ok(None),
        }
    }

    /// Resolves an external id with serial reads.
    async fn resolve(&self, id: &IdKey, requests: &[&str]) -> Result<Option<Sight>, StoreFault> {
        let (mut known, claimed) = self.follow(id, requests, Consistency::Serial).await?;
        let done = known.open(requests).is_empty();
        let (claim, standing) = match claimed {
            _ if done => return Ok(Some(Sight { known, holder: Holder::NotAsked })),
            None => return Ok(Some(Sight { known, holder: Holder::Nobody { generation: None } })),
            Some(claimed) => claimed,
        };
        if let Standing::Pending(owner) = standing {
            // It may be applied at any moment, so nothing can be concluded beside it.
            self.complete(id, &claim, owner.as_ref()).await?;
            return Ok(None);
        }
        self.ask_previous_owners(id, &claim, requests, &mut known).await?;
        let holder = match standing {
            Standing::Current(entity) => {
                self.remember(id, &claim, &entity);
                Holder::Entity(entity)
            }
            _ => Holder::Nobody { generation: Some(claim.generation) },
        };
        Ok(Some(Sight { known, holder }))
    }

    /// Reads the claim on an id and its owner, unless all requests turn out to have outcomes before.
    async fn follow(
        &self,
        id: &IdKey,
        requests: &[&str],
        consistency: Consistency,
    ) -> Result<(Known, Option<(Claim, Standing)>), StoreFault> {
        let mut known = Known::default();
        let read = self.store.read_id(id, requests, consistency).await?;
        known.add_read(read.outcomes, requests)?;
        let open = known.open(requests);
        let Some(claim) = read.claim.filter(|_| !open.is_empty()) else { return Ok((known, None)) };
        let (standing, owner) = self.standing(id, &claim, &open, consistency).await?;
        known.add_read(owner.outcomes, &open)?;
        Ok((known, Some((claim, standing))))
    }

    /// Reads a claim's owner, with the rows of the claimant and of `requests`, all of one instant.
    pub(super) async fn standing(
        &self,
        id: &IdKey,
        claim: &Claim,
        requests: &[&str],
        consistency: Consistency,
    ) -> Result<(Standing, EntityRead), StoreFault> {
        let mut rows = vec![claim.claimed_by.as_str()];
        rows.extend(requests.iter().filter(|r| **r != claim.claimed_by));
        let owner = self.store.read_entity(key(id, claim.owner), &rows, consistency).await?;
        Ok((Standing::of(id, claim, &owner), owner))
    }

    /// Looks for outcomes of requests that named the entity by an id that it has given up since, even if another holds it
    /// now. As many reads as owners within the retention: leaving one out would decide a request twice.
    async fn ask_previous_owners(
        &self,
        id: &IdKey,
        claim: &Claim,
        requests: &[&str],
        known: &mut Known,
    ) -> Result<(), StoreFault> {
        let owners: Vec<Uuid> = self.retention.previous_owners(claim, self.now()).map(|(owner, _)| owner).collect();
        for owner in owners {
            let open = known.open(requests);
            if open.is_empty() {
                return Ok(());
            }
            let read = self.store.read_entity(key(id, owner), &open, Consistency::Serial).await?;
            known.add_read(read.outcomes, &open)?;
        }
        Ok(())
    }

    /// Looks an entity up by its refId.
    async fn look_up(&self, key: EntityKey, requests: &[&str], consistency: Consistency) -> Result<Sight, StoreFault> {
        let mut known = Known::default();
        let read = self.store.read_entity(key, requests, consistency).await?;
        known.add_read(read.outcomes, requests)?;
        let holder = match read.statics {
            _ if known.open(requests).is_empty() => Holder::NotAsked,
            Some(entity) => {
                self.cache.put_entity(entity.clone());
                Holder::Entity(entity)
            }
            None => Holder::Nobody { generation: None },
        };
        Ok(Sight { known, holder })
    }

    fn remember(&self, id: &IdKey, claim: &Claim, entity: &EntityStatics) {
        if self.nothing_beside(claim) {
            self.cache.put_claim(id.clone(), entity);
        }
        self.cache.put_entity(entity.clone());
    }

    /// Neither a refusal nor a previous owner is to be asked about requests that come under this id.
    fn nothing_beside(&self, claim: &Claim) -> bool {
        let now = self.now();
        !self.retention.is_refused(claim, now) && self.retention.previous_owners(claim, now).next().is_none()
    }
}

pub(super) fn key(id: &IdKey, ref_id: Uuid) -> EntityKey {
    EntityKey { entity_type: id.entity_type, ref_id }
}
