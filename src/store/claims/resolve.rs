//! Finds the entity behind a reference, and the outcomes that requests have there already.
//!
//! A plain quorum read may conclude two things only: that a request has an outcome, and that an id is held by a current
//! claim beside which nothing is to be asked, which the condition of the write will confirm. Everything else is concluded
//! from serial reads, and never beside a pending claim, which is completed first.

use super::fold::Request;
use super::past::{previous_owners, was_current};
use super::{Claims, Target};
use crate::store::outcome::Outcome;
use crate::store::{Claim, ConditionalStore, Consistency, EntityKey, EntityRead, EntityStatics, IdKey, MAX_REQUESTS, StoreFault};
use std::collections::HashMap;
use uuid::Uuid;

/// How many requests can be asked for at once: beside them the claimant's row is read.
const MAX_ASKED: usize = MAX_REQUESTS - 1;

/// What the next round may build on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// The cache, and plain reads.
    Cache,
    /// Plain reads.
    Plain,
    /// Serial reads only.
    Serial,
}

impl Trust {
    /// After a look that led to nothing: something came in between, or what was remembered is no longer true.
    pub fn shaken(self) -> Self {
        match self {
            Self::Cache => Self::Plain,
            Self::Plain | Self::Serial => Self::Serial,
        }
    }
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

impl Holder {
    /// The entity's epoch.
    pub fn epoch(&self) -> Option<i64> {
        match self {
            Self::Entity(entity) => Some(entity.epoch),
            Self::Nobody { .. } | Self::NotAsked => None,
        }
    }
}

/// The outcomes that requests are known to have, in the order in which they were found.
///
/// There may be several for one request id: it is scoped to an entity, and an external id can have had several owners.
#[derive(Default)]
pub(super) struct Known(HashMap<String, Vec<Outcome>>);

/// An external id, its claim and the claim's owner, as read.
struct Traced<'a> {
    known: Known,
    /// The requests that were not refused under the id.
    open: Vec<&'a str>,
    /// None: there is no claim, or all requests were refused.
    claimed: Option<(Claim, Standing)>,
}

/// How a claim stands to its owner.
#[derive(Debug, PartialEq)]
pub(super) enum Standing {
    /// The owner holds the id by this very claim.
    Current(EntityStatics),
    /// The owner's external id is still the one that the claim was made to replace, and the request is undecided; an
    /// import's owner is not there yet.
    Pending(Option<EntityStatics>),
    /// Neither, and so for ever: epochs only grow, and the outcome of a rename stays. `held`: the claim was current once.
    Stale { held: bool },
}

impl Standing {
    /// The standing of the claim on `id`; `owner` must show the row of its claimant.
    pub fn of(id: &IdKey, claim: &Claim, owner: &EntityRead) -> Result<Self, StoreFault> {
        let epoch = match &owner.statics {
            Some(e) if e.entity.external_id == id.external_id && e.generation == claim.generation => {
                return Ok(Self::Current(e.clone()));
            }
            Some(e) => e.epoch,
            None => 0,
        };
        let decided = owner.outcomes.iter().any(|(request, _)| *request == claim.claimed_by);
        if epoch + 1 == claim.epoch && !decided {
            return Ok(Self::Pending(owner.statics.clone()));
        }
        Ok(Self::Stale { held: was_current(id, claim, owner)? })
    }

    /// Of the epochs of the claim's owner, the last whose outcomes answer requests under the id; None: none do.
    fn last_epoch(&self, claim: &Claim) -> Option<i64> {
        match self {
            Self::Current(_) => Some(i64::MAX),
            Self::Stale { held: true } => Some(claim.epoch),
            Self::Stale { held: false } | Self::Pending(_) => None,
        }
    }
}

impl Known {
    /// The outcome that answers `request`. First of all the one that its own record caused, which nobody else will
    /// publish; then that of a request with the same contents.
    pub fn of(&self, request: &Request<'_>) -> Option<&Outcome> {
        let found = self.0.get(request.id.as_str())?;
        let own = found.iter().find(|o| o.record == *request.record);
        own.or_else(|| found.iter().find(|o| o.fingerprint == request.fingerprint)).or(found.first())
    }

    /// Adds the outcomes of `requests` that were decided until an epoch.
    fn add_read(&mut self, rows: Vec<(String, Vec<u8>)>, requests: &[&str], until: i64) -> Result<(), StoreFault> {
        for (request, blob) in rows {
            if requests.contains(&request.as_str()) {
                let outcome = Outcome::decode(&request, &blob)?;
                if outcome.epoch.is_none_or(|epoch| epoch <= until) {
                    // There is rarely more than one.
                    self.0.entry(request).or_insert_with(|| Vec::with_capacity(1)).push(outcome);
                }
            }
        }
        Ok(())
    }

    fn open<'a>(&self, requests: &[&'a str]) -> Vec<&'a str> {
        requests.iter().copied().filter(|r| !self.0.contains_key(*r)).collect()
    }

    fn has_all(&self, requests: &[&str]) -> bool {
        requests.iter().all(|r| self.0.contains_key(*r))
    }
}

impl<S: ConditionalStore> Claims<S> {
    /// What is behind `target`, and for how many of `requests`, from the first on, that was found out: all if it is remembered,
    /// else as many as one read may ask for. None: a pending claim was met and completed, or somebody else did; look again.
    ///
    /// What reads is boxed: a command that is decided from the cache has no need of all that room.
    pub(super) async fn see(
        &self,
        target: &Target,
        requests: &[&str],
        trust: Trust,
    ) -> Result<Option<(Sight, usize)>, StoreFault> {
        let mut _reading = None;
        if trust == Trust::Cache {
            let mut remembered = self.cache.entity(target);
            self.meter.looked_up(target, remembered.is_some());
            if remembered.is_none() {
                _reading = self.reads.begin_or_wait(target).await;
                // Somebody may have come to the end of reading it just before.
                remembered = self.cache.entity(target);
            }
            if let Some(entity) = remembered {
                return Ok(Some((Sight { known: Known::default(), holder: Holder::Entity(entity) }, requests.len())));
            }
        }
        let requests = &requests[..requests.len().min(MAX_ASKED)];
        if trust != Trust::Serial
            && let Some(sight) = Box::pin(self.glance(target, requests)).await?
        {
            return Ok(Some((sight, requests.len())));
        }
        let sight = match target {
            Target::Id(id) => Box::pin(self.resolve(id, requests)).await?,
            Target::Entity(key) => Some(Box::pin(self.look_up(*key, requests, Consistency::Serial)).await?),
        };
        Ok(sight.map(|sight| (sight, requests.len())))
    }

    /// With plain reads; None if they don't suffice.
    pub(super) async fn glance(&self, target: &Target, requests: &[&str]) -> Result<Option<Sight>, StoreFault> {
        let id = match target {
            Target::Id(id) => id,
            Target::Entity(key) => {
                let sight = self.look_up(*key, requests, Consistency::Quorum).await?;
                let absent = matches!(sight.holder, Holder::Nobody { .. });
                return Ok((!absent).then_some(sight));
            }
        };
        let Traced { known, claimed, .. } = self.trace(id, requests, Consistency::Quorum).await?;
        let Some((claim, standing)) = claimed else {
            return Ok(known.has_all(requests).then_some(Sight { known, holder: Holder::NotAsked }));
        };
        match standing {
            Standing::Current(_) if self.has_previous_owners(&claim)? => Ok(None),
            Standing::Current(_) if known.has_all(requests) => Ok(Some(Sight { known, holder: Holder::NotAsked })),
            Standing::Current(entity) if !self.retention.is_refused(&claim, self.now()) => {
                self.remember(id, &claim, &entity)?;
                Ok(Some(Sight { known, holder: Holder::Entity(entity) }))
            }
            _ => Ok(None),
        }
    }

    /// Resolves an external id with serial reads.
    async fn resolve(&self, id: &IdKey, requests: &[&str]) -> Result<Option<Sight>, StoreFault> {
        let Traced { mut known, open, claimed } = self.trace(id, requests, Consistency::Serial).await?;
        let Some((claim, standing)) = claimed else {
            let holder = if open.is_empty() { Holder::NotAsked } else { Holder::Nobody { generation: None } };
            return Ok(Some(Sight { known, holder }));
        };
        if let Standing::Pending(owner) = &standing {
            // It may be applied at any moment, so nothing can be concluded beside it.
            self.complete(id, &claim, owner.as_ref()).await?;
            return Ok(None);
        }
        self.ask_previous_owners(id, &claim, &standing, &open, &mut known).await?;
        let holder = match standing {
            _ if known.has_all(requests) => Holder::NotAsked,
            Standing::Current(entity) => {
                self.remember(id, &claim, &entity)?;
                Holder::Entity(entity)
            }
            Standing::Pending(_) | Standing::Stale { .. } => Holder::Nobody { generation: Some(claim.generation) },
        };
        Ok(Some(Sight { known, holder }))
    }

    /// Reads the claim on an id and its owner, unless all requests turn out to be refused under the id: then they can have
    /// no other outcome.
    async fn trace<'a>(&self, id: &IdKey, requests: &[&'a str], consistency: Consistency) -> Result<Traced<'a>, StoreFault> {
        let mut known = Known::default();
        let read = self.store.read_id(id, requests, consistency).await?;
        known.add_read(read.outcomes, requests, i64::MAX)?;
        let open = known.open(requests);
        let Some(claim) = read.claim.filter(|_| !open.is_empty()) else { return Ok(Traced { known, open, claimed: None }) };
        let (standing, owner) = self.standing(id, &claim, &open, consistency).await?;
        if let Some(last) = standing.last_epoch(&claim) {
            known.add_read(owner.outcomes, &open, last)?;
        }
        Ok(Traced { known, open, claimed: Some((claim, standing)) })
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
        Ok((Standing::of(id, claim, &owner)?, owner))
    }

    /// Looks for outcomes of requests that named the entity by an id that it has given up since, even if another holds it
    /// now, and even if that one has an outcome for the same request id: a record must find the change that it caused.
    /// As many reads as owners within the retention, for leaving one out would decide a request twice.
    async fn ask_previous_owners(
        &self,
        id: &IdKey,
        claim: &Claim,
        standing: &Standing,
        requests: &[&str],
        known: &mut Known,
    ) -> Result<(), StoreFault> {
        for previous in previous_owners(claim, &self.retention, self.now())? {
            if previous.owner == claim.owner && matches!(standing, Standing::Current(_)) {
                continue;
            }
            let read = self.store.read_entity(key(id, previous.owner), requests, Consistency::Serial).await?;
            known.add_read(read.outcomes, requests, previous.epoch)?;
        }
        Ok(())
    }

    /// Looks an entity up by its refId.
    async fn look_up(&self, key: EntityKey, requests: &[&str], consistency: Consistency) -> Result<Sight, StoreFault> {
        let mut known = Known::default();
        let read = self.store.read_entity(key, requests, consistency).await?;
        known.add_read(read.outcomes, requests, i64::MAX)?;
        let holder = match read.statics {
            _ if known.has_all(requests) => Holder::NotAsked,
            Some(entity) => {
                self.cache.put_entity(&entity);
                Holder::Entity(entity)
            }
            None => Holder::Nobody { generation: None },
        };
        Ok(Sight { known, holder })
    }

    /// That an entity holds an id by this claim.
    fn remember(&self, id: &IdKey, claim: &Claim, entity: &EntityStatics) -> Result<(), StoreFault> {
        if !self.retention.is_refused(claim, self.now()) && !self.has_previous_owners(claim)? {
            self.cache.put_claim(id, entity.entity.ref_id, entity.generation);
        }
        self.cache.put_entity(entity);
        Ok(())
    }

    /// Others than the owner, who holds the id, are to be asked about requests under it.
    fn has_previous_owners(&self, claim: &Claim) -> Result<bool, StoreFault> {
        let owners = previous_owners(claim, &self.retention, self.now())?;
        Ok(owners.iter().any(|previous| previous.owner != claim.owner))
    }
}

pub(super) fn key(id: &IdKey, ref_id: Uuid) -> EntityKey {
    EntityKey { entity_type: id.entity_type, ref_id }
}
