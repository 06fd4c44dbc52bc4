//! Finds the entity behind a reference, and the outcomes that requests have there already. It reads, and decides nothing. It makes one kind
//! of write: if a claim is stale because of an outcome that expires, the outcome is kept for ever. Otherwise the claim would count again as
//! soon as the outcome has expired (see `retention`).
//!
//! A plain quorum read allows two conclusions only:
//!
//! - A request has an outcome.
//! - An entity has the values that were read, if it is named by its refId, or holds the id by a current claim while neither a refusal nor a
//!   previous owner is to be considered. The condition of the write will confirm the values.
//!
//! Everything else is concluded from serial reads, and never beside a pending claim, which must be completed first.

use super::base::Base;
use super::data::Target;
use super::past::previous_owners;
use super::sight::{Holder, Known, Sight};
use super::standing::Standing;
use crate::store::{
    Applied, Claim, ConditionalStore, Consistency, EntityKey, EntityRead, EntityStatics, Held, HoldWrite, IdKey, MAX_REQUESTS,
    StoreFault,
};

/// The most requests that can be asked for at once. The claimant's row is read beside them.
const MAX_ASKED: usize = MAX_REQUESTS - 1;

/// How strict the reads of an attempt must be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Strictness {
    /// The cache will do, and plain reads.
    Cache,
    /// Plain reads will do.
    Plain,
    /// Only serial reads will do.
    Serial,
}

impl Strictness {
    /// Returns how strict to be after a look that led to nothing: something came in between, or what was remembered is no longer true.
    pub fn stricter(self) -> Self {
        match self {
            Self::Cache => Self::Plain,
            Self::Plain | Self::Serial => Self::Serial,
        }
    }
}

/// The result of a look behind a reference.
pub(super) enum Resolution {
    /// The first `asked` of the requests can be answered from this.
    Seen {
        /// What was seen.
        sight: Sight,
        /// How many requests were asked for.
        asked: usize,
    },
    /// A claim that nobody has completed: complete it, then look again.
    Pending(PendingClaim),
}

/// Who was found behind a reference.
pub(super) enum Behind {
    Entity(EntityStatics),
    Nobody,
    /// A claim that nobody has completed: complete it, then look again.
    Pending(PendingClaim),
}

/// A claim that may take effect at any moment.
pub(super) struct PendingClaim {
    /// The id that is claimed.
    pub id: IdKey,
    /// The claim.
    pub claim: Claim,
    /// The entity that claims, as it is before the claim is completed; `None` if the claim creates it.
    pub owner: Option<EntityStatics>,
}

/// An external id, its claim and the claim's owner, as read.
struct Traced {
    known: Known,
    /// The claim and how it stands; `None` if there is none.
    claimed: Option<(Claim, Standing)>,
}

/// Looks behind references.
pub(in crate::store) struct Resolver<'a, S>(pub &'a Base<S>);

impl<S: ConditionalStore> Resolver<'_, S> {
    /// Looks behind `target`, for `requests` from the first on: for all of them if the entity is remembered, else for as many as one
    /// read may ask for.
    ///
    /// The futures that read are boxed, because a command that is decided from the cache does not need all that room.
    pub(super) async fn look(
        &self,
        target: &Target,
        requests: &[&str],
        strictness: Strictness,
    ) -> Result<Resolution, StoreFault> {
        let Self(base) = self;
        let mut _reading = None;
        if strictness == Strictness::Cache {
            let mut remembered = base.cache.entity(target);
            base.meter.looked_up(target, remembered.is_some());
            if remembered.is_none() {
                _reading = base.reads.begin_or_wait(target).await;
                // Somebody may just have read it into the cache.
                remembered = base.cache.entity(target);
            }
            if let Some(entity) = remembered {
                let sight = Sight { known: Known::default(), holder: Some(Holder::Entity(entity)) };
                return Ok(Resolution::Seen { sight, asked: requests.len() });
            }
        }
        let requests = &requests[..requests.len().min(MAX_ASKED)];
        let asked = requests.len();
        if strictness != Strictness::Serial
            && let Some(sight) = Box::pin(self.glance(target, requests)).await?
        {
            return Ok(Resolution::Seen { sight, asked });
        }
        match target {
            Target::Id(id) => Box::pin(self.resolve(id, requests)).await,
            Target::Entity(key) => {
                let sight = Box::pin(self.look_up(*key, requests, Consistency::Serial)).await?;
                Ok(Resolution::Seen { sight, asked })
            }
        }
    }

    /// Finds the entity behind `target`, as it is at this instant, by serial reads, and without asking for the outcome of any request. What
    /// the cache holds says only where to look first.
    pub(super) async fn find(&self, target: &Target) -> Result<Behind, StoreFault> {
        const SERIAL: Consistency = Consistency::Serial;
        let read = async |key| self.0.store.read_entity(key, &[], SERIAL).await.map(|read| read.statics);
        let id = match target {
            Target::Entity(key) => return Ok(read(*key).await?.map_or(Behind::Nobody, Behind::Entity)),
            Target::Id(id) => id,
        };
        if let Some(remembered) = self.0.cache.entity(target) {
            let holds = |e: &EntityStatics| e.entity.external_id == id.external_id && e.generation == remembered.generation;
            if let Some(entity) = read(remembered.key()).await?.filter(holds) {
                return Ok(Behind::Entity(entity));
            }
        }
        let Some(claim) = self.0.store.read_id(id, &[], SERIAL).await?.claim else { return Ok(Behind::Nobody) };
        Ok(match self.standing(id, &claim, &[], SERIAL).await?.0 {
            Standing::Current(entity) => {
                self.remember(id, &claim, &entity)?;
                Behind::Entity(entity)
            }
            Standing::Pending(owner) => Behind::Pending(PendingClaim { id: id.clone(), claim, owner }),
            Standing::Stale { .. } => Behind::Nobody,
        })
    }

    /// Looks behind `target` with plain reads. Returns `None` if plain reads can't tell.
    pub(super) async fn glance(&self, target: &Target, requests: &[&str]) -> Result<Option<Sight>, StoreFault> {
        let id = match target {
            Target::Id(id) => id,
            Target::Entity(key) => {
                let sight = self.look_up(*key, requests, Consistency::Quorum).await?;
                let absent = matches!(sight.holder, Some(Holder::Nobody { .. }));
                return Ok((!absent).then_some(sight));
            }
        };
        let Traced { known, claimed } = self.trace(id, requests, Consistency::Quorum).await?;
        let Some((claim, standing)) = claimed else {
            return Ok(known.has_all(requests).then_some(Sight { known, holder: None }));
        };
        match standing {
            Standing::Current(_) if self.has_previous_owners(&claim)? => Ok(None),
            Standing::Current(_) if known.has_all(requests) => Ok(Some(Sight { known, holder: None })),
            Standing::Current(entity) if !self.0.retention.is_refused(&claim, self.0.now()) => {
                self.remember(id, &claim, &entity)?;
                Ok(Some(Sight { known, holder: Some(Holder::Entity(entity)) }))
            }
            _ => Ok(None),
        }
    }

    /// Resolves an external id with serial reads.
    async fn resolve(&self, id: &IdKey, requests: &[&str]) -> Result<Resolution, StoreFault> {
        let asked = requests.len();
        let Traced { mut known, claimed } = self.trace(id, requests, Consistency::Serial).await?;
        let Some((claim, standing)) = claimed else {
            let holder = (!known.has_all(requests)).then_some(Holder::Nobody { generation: None });
            return Ok(Resolution::Seen { sight: Sight { known, holder }, asked });
        };
        let present = match standing {
            Standing::Current(entity) => Some(entity),
            Standing::Stale { .. } => None,
            // The claim may be completed at any moment, so nothing can be concluded beside it.
            Standing::Pending(owner) => return Ok(Resolution::Pending(PendingClaim { id: id.clone(), claim, owner })),
        };
        self.ask_previous_owners(id, &claim, present.as_ref(), requests, &mut known).await?;
        let holder = if known.has_all(requests) {
            None
        } else if let Some(entity) = present {
            self.remember(id, &claim, &entity)?;
            Some(Holder::Entity(entity))
        } else {
            Some(Holder::Nobody { generation: Some(claim.generation) })
        };
        Ok(Resolution::Seen { sight: Sight { known, holder }, asked })
    }

    /// Reads the claim on an id, and the claim's owner. The owner is asked about requests that were refused under the id, too: it may have
    /// been created with the same request id since, and what an entity knows outweighs such a refusal.
    async fn trace(&self, id: &IdKey, requests: &[&str], consistency: Consistency) -> Result<Traced, StoreFault> {
        let mut known = Known::default();
        let read = self.0.store.read_id(id, requests, consistency).await?;
        known.add_read(read.outcomes, requests, None, &Target::Id(id.clone()))?;
        let Some(claim) = read.claim else { return Ok(Traced { known, claimed: None }) };
        let (standing, owner) = self.standing(id, &claim, requests, consistency).await?;
        let target = Target::Entity(id.entity(claim.owner));
        match standing {
            Standing::Current(_) => known.add_read(owner.outcomes, requests, None, &target)?,
            Standing::Stale { held: true } => known.add_read(owner.outcomes, requests, Some(claim.epoch), &target)?,
            Standing::Stale { held: false } | Standing::Pending(_) => {}
        }
        Ok(Traced { known, claimed: Some((claim, standing)) })
    }

    /// Reads a claim's owner, with the rows of the claimant and of `requests`, all of one instant. Returns how the claim stands to its
    /// owner, and what was read.
    pub async fn standing(
        &self,
        id: &IdKey,
        claim: &Claim,
        requests: &[&str],
        consistency: Consistency,
    ) -> Result<(Standing, EntityRead), StoreFault> {
        let mut rows = vec![claim.claimed_by.as_str()];
        rows.extend(requests.iter().filter(|r| **r != claim.claimed_by));
        loop {
            let owner = self.0.store.read_entity(id.entity(claim.owner), &rows, consistency).await?;
            let standing = Standing::of(id, claim, &owner)?;
            // Plain reads conclude nothing from a claim that is stale.
            if consistency == Consistency::Quorum || self.stays(id, claim, &owner, &standing).await? {
                return Ok((standing, owner));
            }
        }
    }

    /// Sees to it that a stale claim stays so. If it is stale on account of an outcome that expires, holds that outcome. Returns whether
    /// the outcome was still there. This is the one write that a resolver makes: it changes nothing but how long something stays true.
    async fn stays(&self, id: &IdKey, claim: &Claim, owner: &EntityRead, standing: &Standing) -> Result<bool, StoreFault> {
        let epoch = owner.statics.as_ref().map_or(0, |e| e.epoch);
        let decided = owner.outcomes.iter().find(|row| row.request_id == claim.claimed_by);
        let (Standing::Stale { .. }, Some(row)) = (standing, decided) else { return Ok(true) };
        if epoch + 1 != claim.epoch || row.time_left.is_none() {
            return Ok(true);
        }
        let held = Held::ForEver(id.entity(claim.owner));
        let write = HoldWrite { held, request_id: row.request_id.clone(), outcome: row.outcome.clone() };
        Ok(self.0.store.hold(write).await? == Applied::Yes)
    }

    /// Adds outcomes of requests that named an entity by this id, which the entity has given up since. They count even if another entity
    /// holds the id now, and even if that one has an outcome for the same request id: a record must find the change that it caused. This
    /// takes a read for each owner within the retention, because leaving one out could decide a request twice. The claim's owner was asked
    /// already if it holds the id: `present` is the entity that does.
    async fn ask_previous_owners(
        &self,
        id: &IdKey,
        claim: &Claim,
        present: Option<&EntityStatics>,
        requests: &[&str],
        known: &mut Known,
    ) -> Result<(), StoreFault> {
        for previous in previous_owners(claim, &self.0.retention, self.0.now())? {
            if previous.owner == claim.owner && present.is_some() {
                continue;
            }
            let key = id.entity(previous.owner);
            let read = self.0.store.read_entity(key, requests, Consistency::Serial).await?;
            known.add_read(read.outcomes, requests, Some(previous.epoch), &Target::Entity(key))?;
        }
        Ok(())
    }

    /// Reads an entity by its refId, with the outcomes of `requests`.
    async fn look_up(&self, key: EntityKey, requests: &[&str], consistency: Consistency) -> Result<Sight, StoreFault> {
        let mut known = Known::default();
        let read = self.0.store.read_entity(key, requests, consistency).await?;
        known.add_read(read.outcomes, requests, None, &Target::Entity(key))?;
        let holder = if known.has_all(requests) {
            None
        } else if let Some(entity) = read.statics {
            self.0.cache.put_entity(&entity);
            Some(Holder::Entity(entity))
        } else {
            Some(Holder::Nobody { generation: None })
        };
        Ok(Sight { known, holder })
    }

    /// Remembers the entity, and that it holds an id by this claim if nothing else must be asked about requests under the id.
    fn remember(&self, id: &IdKey, claim: &Claim, entity: &EntityStatics) -> Result<(), StoreFault> {
        if !self.0.retention.is_refused(claim, self.0.now()) && !self.has_previous_owners(claim)? {
            self.0.cache.put_claim(id, entity.entity.ref_id, entity.generation);
        }
        self.0.cache.put_entity(entity);
        Ok(())
    }

    /// Returns whether entities other than the owner, who holds the id, are to be asked about requests under it.
    fn has_previous_owners(&self, claim: &Claim) -> Result<bool, StoreFault> {
        let owners = previous_owners(claim, &self.0.retention, self.0.now())?;
        Ok(owners.iter().any(|previous| previous.owner != claim.owner))
    }
}
