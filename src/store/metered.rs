//! A store that is watched: each operation is counted, timed and traced, and whether the store answers is told to whoever asks. What
//! it does is left to the store inside.

use super::{
    Applied, ApplyWrite, ClaimWrite, ConditionalStore, Consistency, EntityKey, EntityRead, HistoryRow, IdKey, IdRead,
    RefuseWrite, StoreFault,
};
use crate::fail_points::FailPoint;
use crate::telemetry::health::Health;
use crate::telemetry::labels::{ConditionalWrite, Operation};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::spans::StoreStep;
use std::sync::Arc;
use std::time::Instant;

/// See the module.
pub struct Metered<S> {
    inner: S,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
}

/// An operation under way.
struct Begun {
    operation: Operation,
    at: Instant,
    step: StoreStep,
}

impl<S: ConditionalStore> Metered<S> {
    /// Watches `inner`, which has just been connected to.
    pub fn new(inner: S, metrics: Arc<Metrics>, health: Arc<Health>) -> Self {
        let metered = Self { inner, metrics, health };
        metered.set_up(true);
        metered
    }

    /// What is watched.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    // These take no future to wait for: handed on by value it would take its room in each that hands it on.

    fn begin(&self, operation: Operation) -> Begun {
        if let Some(write) = conditional_write(operation) {
            self.metrics.store_conditional_writes.of(write).inc();
        }
        Begun { operation, at: Instant::now(), step: StoreStep::begin(operation) }
    }

    fn end<T>(&self, begun: &Begun, result: &Result<T, StoreFault>) {
        self.metrics.store_operation_duration.of(begun.operation).observe(begun.at.elapsed().as_secs_f64());
        if result.is_err() {
            self.metrics.store_faults.of(begun.operation).inc();
            begun.step.failed();
        }
        self.set_up(result.is_ok());
    }

    fn end_write(&self, begun: &Begun, result: &Result<Applied, StoreFault>, then: Option<FailPoint>) {
        self.end(begun, result);
        if let Ok(applied) = result {
            begun.step.applied(*applied == Applied::Yes);
        }
        match (result, conditional_write(begun.operation)) {
            (Ok(Applied::Yes), _) => then.into_iter().for_each(FailPoint::reach),
            (Ok(Applied::No), Some(write)) => self.metrics.store_conflicts.of(write).inc(),
            (Ok(Applied::No), None) | (Err(_), _) => {}
        }
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
        let begun = self.begin(Operation::ReadId);
        let result = self.inner.read_id(id, requests, consistency).await;
        self.end(&begun, &result);
        result
    }

    async fn read_entity(&self, key: EntityKey, requests: &[&str], consistency: Consistency) -> Result<EntityRead, StoreFault> {
        let begun = self.begin(Operation::ReadEntity);
        let result = self.inner.read_entity(key, requests, consistency).await;
        self.end(&begun, &result);
        result
    }

    async fn claim(&self, write: ClaimWrite) -> Result<Applied, StoreFault> {
        let begun = self.begin(Operation::Claim);
        let result = self.inner.claim(write).await;
        self.end_write(&begun, &result, Some(FailPoint::Claimed));
        result
    }

    async fn apply(&self, write: ApplyWrite) -> Result<Applied, StoreFault> {
        let begun = self.begin(Operation::Apply);
        let result = self.inner.apply(write).await;
        self.end_write(&begun, &result, Some(FailPoint::Applied));
        result
    }

    async fn refuse(&self, write: RefuseWrite) -> Result<Applied, StoreFault> {
        let begun = self.begin(Operation::Refuse);
        let result = self.inner.refuse(write).await;
        self.end_write(&begun, &result, None);
        result
    }

    async fn history(&self, key: EntityKey) -> Result<Vec<HistoryRow>, StoreFault> {
        let begun = self.begin(Operation::History);
        let result = self.inner.history(key).await;
        self.end(&begun, &result);
        result
    }

    async fn ping(&self) -> Result<(), StoreFault> {
        let begun = self.begin(Operation::Ping);
        let result = self.inner.ping().await;
        self.end(&begun, &result);
        result
    }
}

fn conditional_write(operation: Operation) -> Option<ConditionalWrite> {
    match operation {
        Operation::Claim => Some(ConditionalWrite::Claim),
        Operation::Apply => Some(ConditionalWrite::Apply),
        Operation::Refuse => Some(ConditionalWrite::Refuse),
        Operation::ReadId | Operation::ReadEntity | Operation::History | Operation::Ping => None,
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
