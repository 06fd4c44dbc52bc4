//! One attempt at a statement. The attempt notes which node it goes to, and is given up if that node falls [silent](super::nodes).
//!
//! The driver tells only its load balancing policy which node it asks, and does so while the attempt's future is polled. So [`SilentLast`]
//! passes the node on to the attempt in a variable of the task, which needs neither a lock nor room on the heap.
//!
//! An attempt that is given up may have written, or may still write when the node wakes up and reads its buffer. The same is true of an
//! attempt that times out. The claim protocol then reads and decides again; the conditions of its writes are made for that.

use super::nodes::{NodeRecord, Nodes, silent_last};
use super::statement_fault::StatementFault;
use crate::store::FaultKind;
use scylla::cluster::{ClusterState, NodeRef};
use scylla::errors::{ExecutionError, RequestAttemptError};
use scylla::policies::load_balancing::{FallbackPlan, LoadBalancingPolicy, RoutingInfo};
use scylla::routing::Shard;
use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

tokio::task_local! {
    /// The node that the attempt has asked last, and whose answer the attempt waits for.
    static ASKED: RefCell<Option<Debt>>;
}

/// An answer that a node owes us until this is dropped.
struct Debt(Arc<NodeRecord>);

impl Drop for Debt {
    fn drop(&mut self) {
        self.0.settled();
    }
}

/// Waits for the result of a statement, unless the node that was asked falls silent. Then the result is a fault.
pub(super) async fn ask<T>(
    nodes: &Nodes,
    request: Pin<&mut impl Future<Output = Result<T, ExecutionError>>>,
) -> Result<T, StatementFault> {
    ASKED.scope(RefCell::new(None), wait(nodes, request)).await
}

async fn wait<T>(
    nodes: &Nodes,
    mut request: Pin<&mut impl Future<Output = Result<T, ExecutionError>>>,
) -> Result<T, StatementFault> {
    loop {
        let ended = tokio::select! {
            biased;
            ended = request.as_mut() => Some(ended),
            () = nodes.reminded() => None,
        };
        let fault = match ended {
            Some(Ok(result)) => return Ok(result),
            Some(Err(error)) => StatementFault::from(error),
            None if asked_silent() => StatementFault {
                kind: FaultKind::SilentNode,
                node: None,
                text: "the node answers nobody while other nodes do, so its answer is not waited for any longer".into(),
            },
            None => continue,
        };
        let node = ASKED.with(|asked| asked.borrow().as_ref().map(|debt| debt.0.address.clone()));
        return Err(StatementFault { node, ..fault });
    }
}

fn asked_silent() -> bool {
    ASKED.with(|asked| asked.borrow().as_ref().is_some_and(|debt| debt.0.is_silent()))
}

/// The driver's load balancing policy, changed so that silent nodes come last. It also writes the records of the nodes, for attempts that
/// [`ask`] has begun.
#[derive(Debug)]
pub(super) struct SilentLast {
    inner: Arc<dyn LoadBalancingPolicy>,
    nodes: Arc<Nodes>,
}

impl SilentLast {
    pub(super) fn new(inner: Arc<dyn LoadBalancingPolicy>, nodes: Arc<Nodes>) -> Self {
        Self { inner, nodes }
    }

    fn is_silent(&self, id: Uuid) -> bool {
        self.nodes.get(id).is_some_and(|node| node.is_silent())
    }

    /// Notes that the present attempt goes to this node now. Does nothing outside of an attempt.
    fn write_down(&self, node: Arc<NodeRecord>) {
        // An error means that `ask` did not begin this request: it is a page of a long read, for example.
        let _ = ASKED.try_with(|asked| {
            self.nodes.asked(&node, Instant::now());
            *asked.borrow_mut() = Some(Debt(node));
        });
    }

    fn answered(&self) {
        let _ = ASKED.try_with(|asked| {
            if let Some(Debt(node)) = &*asked.borrow() {
                self.nodes.answered(node, Instant::now());
            }
        });
    }
}

impl LoadBalancingPolicy for SilentLast {
    fn pick<'a>(&'a self, request: &'a RoutingInfo, cluster: &'a ClusterState) -> Option<(NodeRef<'a>, Option<Shard>)> {
        let picked = self.inner.pick(request, cluster)?;
        if let Some(node) = self.nodes.get(picked.0.host_id) {
            if node.is_silent() {
                // After `None` the driver takes the first node of `fallback`.
                return None;
            }
            self.write_down(node);
        }
        Some(picked)
    }

    fn fallback<'a>(&'a self, request: &'a RoutingInfo, cluster: &'a ClusterState) -> FallbackPlan<'a> {
        let mut plan = self.inner.fallback(request, cluster);
        if self.nodes.any_silent() {
            plan = Box::new(silent_last(plan, |(node, _)| self.is_silent(node.host_id)).into_iter());
        }
        Box::new(plan.inspect(|(node, _)| {
            if let Some(node) = self.nodes.get(node.host_id) {
                self.write_down(node);
            }
        }))
    }

    fn on_request_success(&self, request: &RoutingInfo, latency: Duration, node: NodeRef<'_>) {
        self.answered();
        self.inner.on_request_success(request, latency, node);
    }

    fn on_request_failure(&self, request: &RoutingInfo, latency: Duration, node: NodeRef<'_>, error: &RequestAttemptError) {
        if matches!(error, RequestAttemptError::DbError(..)) {
            self.answered();
        }
        self.inner.on_request_failure(request, latency, node, error);
    }

    fn name(&self) -> String {
        format!("{} with silent nodes last", self.inner.name())
    }
}
