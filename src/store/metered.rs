//! A store that is watched: each operation is counted, timed and traced, and says whether the store is up.
//! [`crate::telemetry::store_health`] judges that. The store inside does the work.

use super::{
    Applied, ApplyWrite, ClaimWrite, ConditionalStore, Consistency, EntityKey, EntityRead, HistoryRow, HoldWrite, IdKey, IdRead,
    NodeState, RefuseWrite, StoreFault, StoreNode,
};
use crate::fail_points::FailPoint;
use crate::telemetry::health::Health;
use crate::telemetry::labels::{ConditionalWrite, Operation};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::series::gauge;
use crate::telemetry::spans::StoreStep;
use std::sync::Arc;
use std::time::Instant;

/// A store with those who watch it.
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
    /// Watches `inner`, to which a connection has just been made.
    pub fn new(inner: S, metrics: Arc<Metrics>, health: Arc<Health>) -> Self {
        let metered = Self { inner, metrics, health };
        metered.answered(Instant::now());
        metered
    }

    /// Returns the store that is watched.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// Takes note of the store's nodes, as they were seen just now.
    pub fn nodes_seen(&self, nodes: &[StoreNode]) {
        let answering = nodes.iter().filter(|node| node.state == NodeState::Answering).count();
        self.metrics.store_nodes.set(gauge(nodes.len()));
        self.metrics.store_nodes_connected.set(gauge(answering));
        for node in nodes {
            self.metrics.store_node_faults.know(&node.address);
        }
        let amiss = nodes.iter().filter_map(|node| match node.state {
            NodeState::Answering => None,
            NodeState::Silent => Some(format!("{} is silent", node.address)),
            NodeState::Unconnected => Some(format!("{} is not connected", node.address)),
        });
        if self.health.store().nodes_seen(nodes.len(), amiss.collect(), Instant::now()) {
            self.report_down();
        }
    }

    // `begin` and `end` are called around an operation and do not take its future. A future that is handed on by value takes its room
    // again in each function that hands it on.

    fn begin(&self, operation: Operation) -> Begun {
        if let Some(write) = conditional_write(operation) {
            self.metrics.store_conditional_writes.of(write).inc();
        }
        Begun { operation, at: Instant::now(), step: StoreStep::begin(operation) }
    }

    fn end<T>(&self, begun: &Begun, result: &Result<T, StoreFault>) {
        let now = Instant::now();
        self.metrics.store_operation_duration.of(begun.operation).observe((now - begun.at).as_secs_f64());
        let Err(fault) = result else { return self.answered(now) };
        self.metrics.store_faults.of((begun.operation, fault.kind)).inc();
        if let Some(node) = &fault.node {
            self.metrics.store_node_faults.inc(node);
        }
        begun.step.failed();
        self.health.store().failed_because(&fault.to_string());
        if self.health.store().failed(now) {
            self.report_down();
        }
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

    fn answered(&self, now: Instant) {
        if self.health.store().answered(now) {
            self.metrics.store_up.set(1);
            tracing::info!("the store answers");
        }
    }

    fn report_down(&self) {
        self.metrics.store_up.set(0);
        let obstacle = self.health.store().obstacle().unwrap_or_default();
        tracing::warn!(obstacle, "the store is down; nothing is answered until it is back");
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

    async fn hold(&self, write: HoldWrite) -> Result<Applied, StoreFault> {
        let begun = self.begin(Operation::Hold);
        let result = self.inner.hold(write).await;
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
        Operation::Hold => Some(ConditionalWrite::Hold),
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
        let write = ApplyWrite { key, expected_version: None, after: None, rows: vec![row] };
        assert_eq!(store.apply(write.clone()).await.unwrap(), Applied::Yes);
        assert_eq!(store.apply(write).await.unwrap(), Applied::No);
        store.read_entity(key, &["r-1"], Consistency::Serial).await.unwrap();
        assert_eq!(metrics.conditional_writes(), 2);
        assert_eq!(metrics.store_conflicts.of(ConditionalWrite::Apply).get(), 1);
        assert_eq!(metrics.store_operation_duration.of(Operation::ReadEntity).get_sample_count(), 1);
        assert!(health.store().is_up() && metrics.store_up.get() == 1);
    }
}
