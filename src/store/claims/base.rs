//! The things that every step works with: the store and what is remembered of it, the retention of outcomes, the clock.

use super::cache::Cache;
use super::meter::Meter;
use super::packed::Packed;
use super::reads::Reads;
use super::retention::Retention;
use crate::domain::Timestamp;
use crate::store::{Applied, ApplyWrite, ConditionalStore, StoreFault};
use std::sync::Arc;
use std::time::Duration;

/// A clock: it returns the time in milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The settings of the protocol that an operator may choose.
#[derive(Clone, Debug)]
pub struct ClaimsOptions {
    /// How long the store remembers refusals under external ids, rejections and no-ops other than those of renames, and the previous owners
    /// of ids. Half of it must outlive every attempt at a record and every write under way. Default: 30 days.
    pub outcome_retention: Duration,
    /// How many bytes the cache of claims and entities may hold, approximately; 0 turns it off. Default: 32 MiB, some 150,000 entities.
    pub cache_bytes: u64,
}

impl Default for ClaimsOptions {
    fn default() -> Self {
        Self { outcome_retention: Duration::from_secs(30 * 24 * 60 * 60), cache_bytes: 32 << 20 }
    }
}

/// The store, and what belongs to it.
pub(in crate::store) struct Base<S> {
    pub store: Arc<S>,
    pub(super) retention: Retention,
    pub(super) cache: Cache,
    pub(super) reads: Reads,
    pub(super) meter: Meter,
    clock: Clock,
}

impl<S: ConditionalStore> Base<S> {
    pub(super) fn new(store: Arc<S>, options: &ClaimsOptions, clock: Clock) -> Self {
        let (retention, cache) = (Retention::new(options.outcome_retention), Cache::new(options.cache_bytes));
        Self { store, retention, cache, reads: Reads::default(), meter: Meter::default(), clock }
    }

    /// Applies a write, and keeps the cache in step: it remembers the entity as the write leaves it, or forgets the entity if the write
    /// was not applied.
    pub(super) async fn apply(&self, write: ApplyWrite) -> Result<Applied, StoreFault> {
        let (key, after) = (write.key, write.after.as_ref().map(|after| Packed::new(&after.values)));
        let applied = self.store.apply(write).await;
        match (&applied, after) {
            (Ok(Applied::Yes), Some(after)) => self.cache.put_packed(key, after),
            (Ok(Applied::Yes), None) => {}
            (Ok(Applied::No) | Err(_), _) => self.cache.forget_entity(key),
        }
        applied
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }
}
