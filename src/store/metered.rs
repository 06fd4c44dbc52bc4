//! A store that is watched: each operation is counted and timed, and whether the store answers is told to whoever asks. What
//! it does is left to the store inside.

use super::{
    Applied, ApplyWrite, ClaimWrite, ConditionalStore, Consistency, EntityKey, EntityRead, HistoryRow, IdKey, IdRead,
    RefuseWrite, StoreFault,
};
use crate::fail_points::FailPoint;
use crate::telemetry::health::Health;
use crate::telemetry::labels::{ConditionalWrite, Operation};
use crate::telemetry::metrics::Metrics;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

/// See the module.
pub struct Metered<S> {
    inner: S,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
}

impl<S: ConditionalStore> Metered<S> {
    /// Watches `inner`, which has just been connected to.
    pub fn new(inner: S, metrics: Arc<Metrics>, health: Arc<Health>) -> Self {
        let metered = Self { inner, metrics, health };
        metered.set_up(true);
        metered
    }

    async fn watched<T>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T, StoreFault>> + Send,
    ) -> Result<T, StoreFault> {
        let start = Instant::now();
        let result = work.await;
        self.metrics.store_operation_duration.of(operation).observe(start.elapsed().as_secs_f64());
        if result.is_err() {
            self.metrics.store_faults.of(operation).inc();
        }
        self.set_up(result.is_ok());
        result
    }

    async fn watched_write(
        &self,
        write: ConditionalWrite,
        operation: Operation,
        work: impl Future<Output = Result<Applied, StoreFault>> + Send,
    ) -> Result<Applied, StoreFault> {
        self.metrics.store_conditional_writes.of(write).inc();
        let result = self.watched(operation, work).await;
        if let Ok(Applied::No) = result {
            self.metrics.store_conflicts.of(write).inc();
        }
        result
    }

    fn set_up(&self, up: bool) {
        // Written only when it changes: all lanes share it.
        if self.health.is_store_up() != up {
            self.health.set_store_up(up);
            self.metrics.store_up.set(up.into());
        }
    }
}

impl<S: ConditionalStore> ConditionalStore for Metered<S> {
    async fn read_id(&self, id: &IdKey, requests: &[&str], consistency: Consistency) -> Result<IdRead, StoreFault> {
        self.watched(Operation::ReadId, self.inner.read_id(id, requests, consistency)).await
    }

    async fn read_entity(&self, key: EntityKey, requests: &[&str], consistency: Consistency) -> Result<EntityRead, StoreFault> {
        self.watched(Operation::ReadEntity, self.inner.read_entity(key, requests, consistency)).await
    }

    async fn claim(&self, write: ClaimWrite) -> Result<Applied, StoreFault> {
        let claimed = self.watched_write(ConditionalWrite::Claim, Operation::Claim, self.inner.claim(write)).await;
        if let Ok(Applied::Yes) = claimed {
            FailPoint::Claimed.reach();
        }
        claimed
    }

    async fn apply(&self, write: ApplyWrite) -> Result<Applied, StoreFault> {
        let applied = self.watched_write(ConditionalWrite::Apply, Operation::Apply, self.inner.apply(write)).await;
        if let Ok(Applied::Yes) = applied {
            FailPoint::Applied.reach();
        }
        applied
    }

    async fn refuse(&self, write: RefuseWrite) -> Result<Applied, StoreFault> {
        self.watched_write(ConditionalWrite::Refuse, Operation::Refuse, self.inner.refuse(write)).await
    }

    async fn history(&self, key: EntityKey) -> Result<Vec<HistoryRow>, StoreFault> {
        self.watched(Operation::History, self.inner.history(key)).await
    }

    async fn ping(&self) -> Result<(), StoreFault> {
        self.watched(Operation::Ping, self.inner.ping()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::entity::EntityType;
    use crate::store::LogRow;
    use crate::store::embedded::EmbeddedStore;
    use uuid::Uuid;

    #[tokio::test]
    async fn conditional_writes_and_conflicts_are_counted_and_reads_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let (metrics, health) = (Arc::new(Metrics::new()), Arc::new(Health::new()));
        let store = Metered::new(EmbeddedStore::open(folder.path()).unwrap(), metrics.clone(), health.clone());
        let key = EntityKey { entity_type: EntityType::Account, ref_id: Uuid::nil() };
        let row = LogRow { request_id: "r-1".into(), changed_to: None, outcome: b"{}".to_vec(), ttl: None };
        let write = ApplyWrite { key, read: None, after: None, rows: vec![row] };
        assert_eq!(store.apply(write.clone()).await.unwrap(), Applied::Yes);
        assert_eq!(store.apply(write).await.unwrap(), Applied::No);
        store.read_entity(key, &["r-1"], Consistency::Serial).await.unwrap();
        assert_eq!(metrics.conditional_writes(), 2);
        assert_eq!(metrics.store_conflicts.of(ConditionalWrite::Apply).get(), 1);
        assert_eq!(metrics.store_operation_duration.of(Operation::ReadEntity).get_sample_count(), 1);
        assert!(health.is_store_up() && metrics.store_up.get() == 1);
    }
}
