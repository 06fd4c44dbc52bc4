//! Notices entities whose commands come under several record keys.
//!
//! Commands with one key take effect, and are published, in their order on the topic. Commands about one entity under several keys are in
//! several lanes, and perhaps in several partitions. Each change is still applied once, and versions have no gaps, but business
//! transactions may stand on their topic in another order than their versions. A CRM team wants to learn of this before the warehouse does.
//!
//! The table has a place for each of some 30,000 entities, chosen by a hash of the entity. If two entities share a place,
//! the table forgets the earlier one, so the count is a lower bound. Besides, a process sees only its own partitions: if two keys lead to
//! partitions of two processes, neither of them sees both.

use crate::telemetry::gathered::Gathered;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The number of places, a power of two. With 16 bytes each the table takes half a MiB when it is full.
const PLACES: usize = 1 << 15;
/// How often a line is logged at most.
const EVERY: Duration = Duration::from_secs(60);

/// The key under which the latest change of an entity came.
#[derive(Clone, Copy, Default)]
struct LastKey {
    /// A hash of the entity; 0 while the place is free.
    entity: u64,
    /// A hash of the record's key.
    key: u64,
}

/// The keys under which the latest changes of entities came.
pub(super) struct EntityKeys {
    places: Mutex<Vec<LastKey>>,
    hasher: RandomState,
    lines: Gathered<()>,
}

impl EntityKeys {
    pub fn new() -> Self {
        Self { places: Mutex::new(vec![LastKey::default(); PLACES]), hasher: RandomState::new(), lines: Gathered::new(EVERY) }
    }

    /// Notes the record key under which a change of an entity came. Returns whether the entity's last change came under another key.
    /// Returns `false` if the last change is not known. A null key counts as one more key.
    pub fn note(&self, entity: &str, key: Option<&[u8]>) -> bool {
        let seen = LastKey { entity: self.hasher.hash_one(entity).max(1), key: self.hasher.hash_one(key) };
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        // The lowest bits of the hash say which place; `PLACES` fits into any number.
        let at = usize::try_from(seen.entity % PLACES as u64).unwrap_or_default();
        let before = std::mem::replace(&mut places[at], seen);
        before.entity == seen.entity && before.key != seen.key
    }

    /// Decides whether a line is logged now. If so, returns how many were left out since the last one.
    pub fn line_is_due(&self) -> Option<u64> {
        self.lines.due((), Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_changes_when_an_entity_comes_under_another_than_before() {
        let keys = EntityKeys::new();
        for (entity, key, changes) in [
            ("customer:1", Some("a"), false),
            ("customer:1", Some("a"), false),
            ("customer:1", Some("b"), true),
            ("customer:1", Some("b"), false),
            ("customer:1", None, true),
            ("customer:1", Some(""), true),
            ("account:1", Some("c"), false),
            ("customer:1", Some("a"), true),
        ] {
            assert_eq!(keys.note(entity, key.map(str::as_bytes)), changes, "{entity} under {key:?}");
        }
    }

    #[test]
    fn many_entities_with_a_key_each_never_count() {
        let keys = EntityKeys::new();
        for round in 0..2 {
            for n in 0..2 * PLACES {
                let entity = format!("customer:{n}");
                assert!(!keys.note(&entity, Some(entity.as_bytes())), "round {round}: {entity}");
            }
        }
    }

    #[test]
    fn a_line_is_due_once_a_minute() {
        let keys = EntityKeys::new();
        assert_eq!([keys.line_is_due(), keys.line_is_due()], [Some(0), None]);
    }
}
