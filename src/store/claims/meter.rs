//! The metrics of the cache.

use super::cache::CacheOccupancy;
use super::data::Target;
use crate::telemetry::labels::{CacheLookup, ReferenceKind, Remembered};
use crate::telemetry::metrics::Metrics;
use std::sync::Arc;

/// The metrics to count in, if there are any.
#[derive(Default)]
pub(super) struct Meter(pub Option<Arc<Metrics>>);

impl Meter {
    /// Counts that a command's turn came, and whether its target was remembered.
    pub fn looked_up(&self, target: &Target, found: bool) {
        let by = match target {
            Target::Id(_) => ReferenceKind::ExternalId,
            Target::Entity(_) => ReferenceKind::RefId,
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

    pub fn occupancy(&self, claims: CacheOccupancy, entities: CacheOccupancy) {
        let Some(metrics) = &self.0 else { return };
        for (what, occupancy) in [(Remembered::Claims, claims), (Remembered::Entities, entities)] {
            metrics.cache_entries.of(what).set(occupancy.entries.cast_signed());
            metrics.cache_bytes.of(what).set(occupancy.bytes.cast_signed());
            let evictions = metrics.cache_evictions.of(what);
            evictions.inc_by(occupancy.evicted.saturating_sub(evictions.get()));
        }
    }
}
