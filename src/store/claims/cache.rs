//! Remembers claims and entities, so that the happy path reads nothing: a command is decided from the cache, and the conditions of its
//! write confirm what the cache said, or do not hold.
//!
//! **Invariant**: a claim is remembered only if it was seen current while neither a refusal nor a previous owner was to be considered under
//! its id. As long as the entity holds the id by that generation, no refusal and no previous owner can have been added. Nothing concludes
//! from the cache that an id is taken, stale or unknown.

use super::data::Target;
use super::packed::Packed;
use crate::store::{EntityKey, EntityStatics, IdKey};
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter, sync};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use uuid::Uuid;

/// The share of the bytes that claims get, as a divisor: a third, because a claim is half as large as an entity.
const CLAIMS_SHARE: u64 = 3;
/// The size of a claim in bytes: 48 in the cache's slab, up to 10 in its table, and what growing tables leave unused.
const CLAIM: u64 = 72;
/// The size of an entity in bytes, besides its packed form: 56 in the slab, the table as for a claim, and what the allocator rounds up.
const ENTITY: u64 = 88;
/// The least size of a packed entity, in bytes.
const PACKED: u64 = 16;
/// How many evicted keys are remembered, as a share of the entries. Each takes the room of an entry.
const GHOSTS: f64 = 0.05;

pub(super) struct Cache {
    claims: Bounded<IdHash, IdOwner>,
    entities: Bounded<EntityKey, Packed>,
}

/// A cache of a limited size in bytes, with the number of its evictions.
struct Bounded<K, V> {
    entries: sync::Cache<K, V, Weight, DefaultHashBuilder, Evicted>,
    evicted: Evicted,
}

/// A short stand-in for an [`IdKey`]. Two ids with the same hash take each other's place. Neither is taken for the other, because the
/// entity to which the hash leads says which external id it has.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct IdHash(u64);

/// The owner of an external id, by its claim.
#[derive(Clone, Copy)]
struct IdOwner {
    owner: Uuid,
    generation: i64,
}

/// How many claims, or entities, are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheOccupancy {
    /// The number of entries.
    pub entries: u64,
    /// The size of the entries in bytes, approximately.
    pub bytes: u64,
    /// The number of entries that were dropped so far, because there was no room for them.
    pub evicted: u64,
}

impl Cache {
    pub fn new(bytes: u64) -> Self {
        let claims = bytes / CLAIMS_SHARE;
        Self { claims: Bounded::new(claims, CLAIM), entities: Bounded::new(bytes - claims, ENTITY + PACKED) }
    }

    /// Returns the entity behind a reference; `None` if it is not remembered.
    pub fn entity(&self, target: &Target) -> Option<EntityStatics> {
        match target {
            Target::Entity(key) => self.unpacked(*key),
            Target::Id(id) => {
                let held = self.claims.entries.get(&IdHash::of(id))?;
                let entity = self.unpacked(held.key(id))?;
                (entity.entity.external_id == id.external_id && entity.generation == held.generation).then_some(entity)
            }
        }
    }

    fn unpacked(&self, key: EntityKey) -> Option<EntityStatics> {
        Some(self.entities.entries.get(&key)?.unpack(key))
    }

    /// Returns whether [`Cache::entity`] would probably return an entity: this checks that the entries are there, but not that they belong
    /// together.
    pub fn has(&self, target: &Target) -> bool {
        match target {
            Target::Entity(key) => self.entities.entries.contains_key(key),
            Target::Id(id) => {
                let held = self.claims.entries.peek(&IdHash::of(id));
                held.is_some_and(|held| self.entities.entries.contains_key(&held.key(id)))
            }
        }
    }

    /// Remembers that an entity holds an external id by the claim of this generation. The id's partition must have shown the claim
    /// current, and neither a refusal nor a previous owner to be asked.
    ///
    /// The author of a claim knows this only if the claim was written on the condition that there is neither. Otherwise somebody may have
    /// been refused under the id between the read and the claim, and must get that answer again when the request comes again.
    pub fn put_claim(&self, id: &IdKey, owner: Uuid, generation: i64) {
        self.claims.entries.insert(IdHash::of(id), IdOwner { owner, generation });
    }

    /// Remembers an entity.
    pub fn put_entity(&self, entity: &EntityStatics) {
        self.put_packed(entity.key(), Packed::new(entity));
    }

    /// Remembers an entity that is packed already.
    pub fn put_packed(&self, key: EntityKey, entity: Packed) {
        self.entities.entries.insert(key, entity);
    }

    pub fn forget(&self, target: &Target) {
        match target {
            Target::Entity(key) => self.forget_entity(*key),
            Target::Id(id) => {
                if let Some((_, held)) = self.claims.entries.remove(&IdHash::of(id)) {
                    self.forget_entity(held.key(id));
                }
            }
        }
    }

    pub fn forget_entity(&self, key: EntityKey) {
        self.entities.entries.remove(&key);
    }

    /// Returns whether nothing can be remembered.
    pub fn is_off(&self) -> bool {
        self.entities.entries.capacity() == 0
    }

    /// Returns how many claims and how many entities are remembered.
    pub fn occupancy(&self) -> [CacheOccupancy; 2] {
        [self.claims.occupancy(), self.entities.occupancy()]
    }
}

impl IdHash {
    fn of(id: &IdKey) -> Self {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        Self(hasher.finish())
    }
}

impl IdOwner {
    fn key(self, id: &IdKey) -> EntityKey {
        EntityKey { entity_type: id.entity_type, ref_id: self.owner }
    }
}

/// The number of entries that were evicted.
#[derive(Clone, Default)]
struct Evicted(Arc<AtomicU64>);

impl<K, V> Lifecycle<K, V> for Evicted {
    type RequestState = ();

    fn before_evict(&self, (): &mut (), _: &K, _: &mut V) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[derive(Clone)]
struct Weight;

impl Weighter<IdHash, IdOwner> for Weight {
    fn weight(&self, _: &IdHash, _: &IdOwner) -> u64 {
        CLAIM
    }
}

impl Weighter<EntityKey, Packed> for Weight {
    fn weight(&self, _: &EntityKey, held: &Packed) -> u64 {
        ENTITY + held.len() as u64
    }
}

impl<K: Hash + Eq, V: Clone> Bounded<K, V>
where
    Weight: Weighter<K, V>,
{
    /// Creates a cache of so many bytes, whose entries take at least `each` bytes.
    fn new(bytes: u64, each: u64) -> Self {
        let items = usize::try_from(bytes / each).unwrap_or(usize::MAX);
        let options =
            OptionsBuilder::new().estimated_items_capacity(items).weight_capacity(bytes).ghost_allocation(GHOSTS).build();
        let options = options.expect("both capacities are given");
        let evicted = Evicted::default();
        let entries = sync::Cache::with_options(options, Weight, DefaultHashBuilder::default(), evicted.clone());
        Self { entries, evicted }
    }

    fn occupancy(&self) -> CacheOccupancy {
        CacheOccupancy { entries: self.entries.len() as u64, bytes: self.entries.weight(), evicted: self.evicted.0.load(Relaxed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocated::held;
    use crate::domain::entity::{Entity, EntityType, State};
    use crate::domain::values::{CustomName, ExternalId, SegmentCode};

    /// The size of the cache. The larger it is, the less chance has to say.
    const BYTES: u64 = 16 << 20;

    fn customer(number: u64) -> (IdKey, EntityStatics) {
        let entity = Entity {
            entity_type: EntityType::Customer,
            ref_id: Uuid::from_u128(u128::from(number) << 64 | 0x5eed),
            external_id: ExternalId::parse(&format!("C-{number:010}")).unwrap(),
            version: 1,
            state: State::Active,
            custom_name: Some(CustomName::parse(&format!("Ada Lovelace {number}")).unwrap()),
            segment: Some(SegmentCode::parse("RESIDENTIAL").unwrap()),
            segment_valid_from: None,
            superior: None,
            state_reason: None,
            state_valid_from: None,
        };
        let id = IdKey { entity_type: entity.entity_type, external_id: entity.external_id.clone() };
        (id, EntityStatics { entity, epoch: 1, generation: 1 })
    }

    #[test]
    fn what_is_remembered_costs_about_what_it_is_said_to_cost_however_many_come() {
        let (cache, empty) = held(|| Cache::new(BYTES));
        let mut costs = Vec::new();
        let (mut at, mut all) = (0, empty);
        for until in [10_000, 30_000, 300_000, 1_000_000] {
            let ((), more) = held(|| {
                for (id, entity) in (at..until).map(customer) {
                    cache.put_claim(&id, entity.entity.ref_id, entity.generation);
                    cache.put_entity(&entity);
                }
            });
            (at, all) = (until, all + more);
            let [claims, entities] = cache.occupancy();
            let said = claims.bytes + entities.bytes;
            println!(
                "{until} customers: {} claims and {} entities are remembered, said to be {said} bytes, are {all}",
                claims.entries, entities.entries
            );
            assert!(said <= BYTES, "{said} bytes");
            for occupancy in [claims, entities] {
                assert_eq!(occupancy.entries + occupancy.evicted, until, "whoever is not there was evicted");
            }
            costs.push((said, all));
        }
        for (said, all) in costs {
            let all = u64::try_from(all).unwrap();
            assert!(all <= said * 5 / 4 && all * 3 / 2 >= said, "said to be {said} bytes, are {all}");
        }
    }
}
