//! Remembers claims and entities, so that the happy path reads nothing: it decides from here, and the conditions of its
//! write confirm it or not.
//!
//! **Invariant**: a remembered claim was seen current while no refusal and no previous owner was remembered under its id.
//! As long as the entity holds the id by that generation nothing of the kind can have been added. That an id is taken,
//! stale or unknown is never concluded from here.

use super::Target;
use crate::store::{EntityKey, EntityStatics, IdKey};
use quick_cache::Weighter;
use quick_cache::sync::Cache as Bounded;
use uuid::Uuid;

/// Of the bytes, one part in so many is for claims, which are that much smaller than entities.
const CLAIMS_SHARE: u64 = 4;
/// About what an entry costs besides its texts.
const ENTRY: u64 = 160;

pub(super) struct Cache {
    claims: Bounded<IdKey, Held, Weight>,
    entities: Bounded<EntityKey, EntityStatics, Weight>,
}

/// By which claim an id is held.
#[derive(Clone, Copy)]
struct Held {
    owner: Uuid,
    generation: i64,
}

impl Cache {
    pub fn new(bytes: u64) -> Self {
        let claims = bytes / CLAIMS_SHARE;
        Self { claims: bounded(claims, ENTRY), entities: bounded(bytes - claims, 2 * ENTRY) }
    }

    /// The entity behind a reference, as far as it is remembered.
    pub fn entity(&self, target: &Target) -> Option<EntityStatics> {
        match target {
            Target::Entity(key) => self.entities.get(key),
            Target::Id(id) => {
                let held = self.claims.get(id)?;
                let entity = self.entities.get(&held.key(id))?;
                (entity.entity.external_id == id.external_id && entity.generation == held.generation).then_some(entity)
            }
        }
    }

    /// Remembers that an entity holds its external id, whose partition was just read: it showed the claim current, and
    /// neither a refusal nor a previous owner to be asked.
    ///
    /// Not to be called upon a claim of one's own: between the read that preceded it and the claim somebody may have been
    /// refused under the id, and whoever comes again must get that answer.
    pub fn put_claim(&self, id: IdKey, holder: &EntityStatics) {
        self.claims.insert(id, Held { owner: holder.entity.ref_id, generation: holder.generation });
    }

    /// Remembers what an entity is.
    pub fn put_entity(&self, entity: EntityStatics) {
        self.entities.insert(entity.key(), entity);
    }

    pub fn forget(&self, target: &Target) {
        match target {
            Target::Entity(key) => self.forget_entity(*key),
            Target::Id(id) => {
                if let Some((_, held)) = self.claims.remove(id) {
                    self.forget_entity(held.key(id));
                }
            }
        }
    }

    pub fn forget_entity(&self, key: EntityKey) {
        self.entities.remove(&key);
    }
}

impl Held {
    fn key(self, id: &IdKey) -> EntityKey {
        EntityKey { entity_type: id.entity_type, ref_id: self.owner }
    }
}

#[derive(Clone)]
struct Weight;

impl Weighter<IdKey, Held> for Weight {
    fn weight(&self, id: &IdKey, _: &Held) -> u64 {
        ENTRY + id.external_id.as_str().len() as u64
    }
}

impl Weighter<EntityKey, EntityStatics> for Weight {
    fn weight(&self, _: &EntityKey, held: &EntityStatics) -> u64 {
        let e = &held.entity;
        let name = e.custom_name.as_ref().map_or(0, |n| n.as_str().len());
        let segment = e.segment.as_ref().map_or(0, |s| s.as_str().len());
        2 * ENTRY + (e.external_id.as_str().len() + name + segment) as u64
    }
}

fn bounded<K: std::hash::Hash + Eq, V: Clone>(bytes: u64, each: u64) -> Bounded<K, V, Weight>
where
    Weight: Weighter<K, V>,
{
    let items = usize::try_from(bytes / each).unwrap_or(usize::MAX);
    Bounded::with_weighter(items, bytes, Weight)
}
