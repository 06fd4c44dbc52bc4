//! The task that looks at the nodes of a session again and again, and probes those that are suspected. It is the shell around
//! [`super::nodes`].

use super::nodes::{Judgement, NodeJudge, NodeRecord, Nodes};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use scylla::client::session::Session;
use scylla::errors::{ExecutionError, RequestAttemptError};
use scylla::policies::load_balancing::{NodeIdentifier, SingleTargetLoadBalancingPolicy};
use scylla::policies::retry::FallthroughRetryPolicy;
use scylla::statement::Consistency;
use scylla::statement::unprepared::Statement;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

/// How often the nodes are looked at. This is a small part of the second after which a node is silent.
const LOOK: Duration = Duration::from_millis(100);

/// A question that each node can answer by itself, and that every user may ask.
const PROBE: &str = "SELECT key FROM system.local";

/// The watching task, which ends when this is dropped.
pub(super) struct Watching(AbortHandle);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts the task that keeps `nodes` up to date.
pub(super) fn watch(session: Arc<Session>, nodes: Arc<Nodes>) -> Watching {
    let mut judge = NodeJudge::new(nodes.clone(), Instant::now());
    judge.set(&present(&session));
    Watching(tokio::spawn(keep_looking(session, nodes, judge)).abort_handle())
}

async fn keep_looking(session: Arc<Session>, nodes: Arc<Nodes>, mut judge: NodeJudge) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // There is at most one probe for each node.
    let mut probes = FuturesUnordered::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                judge.set(&present(&session));
                let Judgement { probe, silent, back } = judge.look(Instant::now());
                nodes.remind();
                probes.extend(probe.into_iter().map(|node| ask(&session, node)));
                for node in silent {
                    tracing::warn!(node = %node.address, "a database node is silent while others answer; it is asked last from now on");
                }
                for node in back {
                    say_back(&node.address);
                }
            }
            Some((node, answered)) = probes.next() => {
                if judge.probed(node.id, answered, Instant::now()) {
                    say_back(&node.address);
                }
            }
        }
    }
}

fn say_back(node: &str) {
    tracing::info!(node, "a database node that was silent is asked like the others again");
}

/// Returns the nodes that the driver knows of, and whether it has a connection to each.
pub(super) fn present(session: &Session) -> Vec<(Uuid, Arc<str>, bool)> {
    let cluster = session.get_cluster_state();
    cluster.get_nodes_info().iter().map(|node| (node.host_id, node.address.to_string().into(), node.is_connected())).collect()
}

async fn ask(session: &Session, node: Arc<NodeRecord>) -> (Arc<NodeRecord>, bool) {
    let mut probe = Statement::new(PROBE);
    probe.set_consistency(Consistency::One);
    probe.set_retry_policy(Some(Arc::new(FallthroughRetryPolicy::new())));
    let only_there = SingleTargetLoadBalancingPolicy::new(NodeIdentifier::HostId(node.id), None);
    probe.set_load_balancing_policy(Some(only_there));
    let answered = match session.query_unpaged(probe, ()).await {
        Ok(_) | Err(ExecutionError::LastAttemptError(RequestAttemptError::DbError(..))) => true,
        Err(_) => false,
    };
    (node, answered)
}
