//! Questions to the database about its nodes, its data centres and the keyspace's replication.

use super::statement_fault::described;
use crate::store::topology::{CommitLog, Node, Replication, Topology};
use futures::future::join_all;
use scylla::client::session::Session;
use scylla::cluster::metadata::Strategy;
use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
use scylla::policies::load_balancing::{NodeIdentifier, SingleTargetLoadBalancingPolicy};
use scylla::statement::unprepared::Statement;
use scylla::statement::{self, Consistency};
use std::sync::Arc;

/// Selects a node's setting from the table that each node of Cassandra has of its own settings. ScyllaDB has no such table.
const COMMIT_LOG: &str = "SELECT value FROM system_views.settings WHERE name = 'commitlog_sync'";

/// Asks for nodes, data centres and the keyspace's replication, and asks each node about its commit log. The keyspace may be missing.
pub(super) async fn ask(session: &Session, keyspace: &str) -> Topology {
    let mut topology = seen(session, keyspace);
    let state = session.get_cluster_state();
    let asked = join_all(state.get_nodes_info().iter().map(|node| commit_log(session, node))).await;
    for (node, found) in state.get_nodes_info().iter().zip(asked) {
        let address = node.address.to_string();
        topology.nodes.iter_mut().filter(|node| node.address == address).for_each(|node| node.commit_log = found.clone());
    }
    topology
}

/// Returns what a session knows of nodes, data centres and the keyspace's replication, without asking the database. The session knows
/// nothing of commit logs.
pub(super) fn seen(session: &Session, keyspace: &str) -> Topology {
    let keyspace = session.get_cluster_state().get_keyspace(keyspace).map(|found| replication(&found.strategy));
    Topology { nodes: nodes(session), keyspace }
}

/// Returns the nodes that a session knows, sorted by address. The session knows nothing of their commit logs.
pub(super) fn nodes(session: &Session) -> Vec<Node> {
    let state = session.get_cluster_state();
    let node = |node: &Arc<scylla::cluster::Node>| Node {
        address: node.address.to_string(),
        datacenter: node.datacenter.clone().unwrap_or_default(),
        is_up: node.is_connected(),
        commit_log: CommitLog::Unknown("it was not asked".into()),
    };
    let mut nodes: Vec<_> = state.get_nodes_info().iter().map(node).collect();
    nodes.sort_by(|a, b| a.address.cmp(&b.address));
    nodes
}

async fn commit_log(session: &Session, node: &Arc<scylla::cluster::Node>) -> CommitLog {
    // Only ScyllaDB divides its nodes into shards.
    if node.sharder().is_some() {
        return CommitLog::ForConditionalWrites;
    }
    if !node.is_connected() {
        return CommitLog::Unknown("it is down".into());
    }
    let mut select = Statement::new(COMMIT_LOG);
    select.set_consistency(Consistency::One);
    select.set_serial_consistency(None::<statement::SerialConsistency>);
    select.set_load_balancing_policy(Some(SingleTargetLoadBalancingPolicy::new(NodeIdentifier::Node(node.clone()), None)));
    let asked = async {
        let rows = session.query_unpaged(select, ()).await?.into_rows_result().ok();
        Ok::<_, ExecutionError>(rows.and_then(|rows| rows.first_row::<(Option<String>,)>().ok()).and_then(|(mode,)| mode))
    };
    match asked.await {
        Ok(Some(mode)) => CommitLog::Mode(mode.to_lowercase()),
        Ok(None) => CommitLog::Unknown("it has no such setting".into()),
        Err(ExecutionError::LastAttemptError(RequestAttemptError::DbError(DbError::Unauthorized, _))) => {
            CommitLog::Unknown("that takes the right to SELECT on table system_views.settings".into())
        }
        Err(error) => CommitLog::Unknown(described(error)),
    }
}

fn replication(strategy: &Strategy) -> Replication {
    match strategy {
        Strategy::NetworkTopologyStrategy { datacenter_repfactors } => {
            Replication::ByDatacenter(datacenter_repfactors.iter().map(|(name, replicas)| (name.clone(), *replicas)).collect())
        }
        Strategy::SimpleStrategy { replication_factor } => Replication::Anywhere(*replication_factor),
        Strategy::Other { name, .. } => Replication::Other(name.clone()),
        _ => Replication::Other("LocalStrategy".into()),
    }
}
