//! The metrics of the cache.

use super::cache::Room;
use super::data::Target;
use crate::telemetry::labels::{CacheLookup, Reference, Remembered};
use crate::telemetry::metrics::Metrics;
use std::sync::Arc;

/// The metrics to count in, if there are any.
#[derive(Default)]
pub(super) struct Meter(pub Option<Arc<Metrics>>);

impl Meter {
    /// Counts that a command's turn came, and whether its target was remembered.
    pub fn looked_up(&self, target: &Target, found: bool) {
        let by = match target {
            Target::Id(_) => Reference::ExternalId,
            Target::Entity(_) => Reference::RefId,
        };
        let result = if found { CacheLookup::Hit } else { CacheLookup::Miss };
        if let Some(metrics) = &self.0 {
            metrics.cache_lookups.of((by, result)).inc();
        }
    }

    pub fn read_ahead(&self) {
        if let Some(metrics) = &self.0 {
            metrics.cache_read_aheads.inc();
        }
    }

    pub fn room(&self, claims: Room, entities: Room) {
        let Some(metrics) = &self.0 else { return };
        for (what, room) in [(Remembered::Claims, claims), (Remembered::Entities, entities)] {
            metrics.cache_entries.of(what).set(room.entries.cast_signed());
            metrics.cache_bytes.of(what).set(room.bytes.cast_signed());
            let evictions = metrics.cache_evictions.of(what);
            evictions.inc_by(room.evicted.saturating_sub(evictions.get()));
        }
    }
}
