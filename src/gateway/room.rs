//! Room for the requests that may be open at once. A request that finds none is refused at once: waiting for room would take memory, too,
//! which nothing bounds.

use crate::telemetry::series::gauge;
use prometheus::IntGauge;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Room for a number of requests.
pub struct Room {
    places: Semaphore,
    taken: IntGauge,
}

/// A permit for one place, which is given back when this is dropped.
pub struct Permit<'a> {
    taken: &'a IntGauge,
    _permit: SemaphorePermit<'a>,
}

impl Room {
    /// Makes room for `most` at once. From now on the metric `taken` is how many there are, and `limit` is how many there may be.
    pub fn new(most: usize, taken: &IntGauge, limit: &IntGauge) -> Self {
        limit.set(gauge(most));
        Self { places: Semaphore::new(most), taken: taken.clone() }
    }

    /// Takes a place. Returns `None` if all are taken.
    pub fn take(&self) -> Option<Permit<'_>> {
        let permit = self.places.try_acquire().ok()?;
        self.taken.inc();
        Some(Permit { taken: &self.taken, _permit: permit })
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.taken.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Metrics;

    #[test]
    fn there_is_room_for_so_many_and_for_another_when_one_has_left() {
        let metrics = Metrics::new();
        let room = Room::new(2, &metrics.gateway_open_reads, &metrics.gateway_open_reads_limit);
        let counts = || [metrics.gateway_open_reads.get(), metrics.gateway_open_reads_limit.get()];
        let (first, second) = (room.take(), room.take());
        assert!(first.is_some() && second.is_some());
        assert!(room.take().is_none());
        assert_eq!(counts(), [2, 2], "who was refused does not count");
        drop(first);
        let third = room.take();
        assert!(third.is_some() && room.take().is_none());
        drop((second, third));
        assert_eq!(counts(), [0, 2]);
    }
}
