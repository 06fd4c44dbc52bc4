//! The database's nodes and data centres, compared with what a keyspace asks of them. This file is pure:
//! [`CqlStore::topology`](super::cql::CqlStore::topology) asks the database, and the command line words the findings.
//!
//! Three troubles look alike from outside, because in each of them there is no quorum, but each has another way out. Nodes that are down
//! must come back. A keyspace that asks for more replicas than there are nodes needs more nodes, or other options. A data centre that is
//! misnamed needs its right name.

use crate::telemetry::wording::counted;
use std::collections::BTreeMap;

/// The database as one session sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// All nodes that belong to the cluster, up or down, sorted by address.
    pub nodes: Vec<Node>,
    /// The keyspace's replication. `None` if there is no such keyspace.
    pub keyspace: Option<Replication>,
}

/// A node of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The node's address, as `host:port`.
    pub address: String,
    /// The node's data centre; empty if the database does not say.
    pub datacenter: String,
    /// Whether the node takes connections.
    pub is_up: bool,
    /// When the node writes its commit log to the disk.
    pub commit_log: CommitLog,
}

/// When a node writes its commit log to the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitLog {
    /// Before a conditional write is acknowledged, whatever the node's configuration says: ScyllaDB.
    ForConditionalWrites,
    /// As Cassandra's setting `commitlog_sync` says: `periodic`, `group` or `batch`.
    Mode(String),
    /// Nobody knows when, for this reason.
    Unknown(String),
}

/// How a keyspace is replicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replication {
    /// `NetworkTopologyStrategy`: the number of replicas in each of these data centres.
    ByDatacenter(BTreeMap<String, usize>),
    /// `SimpleStrategy`: the number of replicas anywhere.
    Anywhere(usize),
    /// A strategy that this program does not know, by its name.
    Other(String),
}

/// The replicas of which a quorum is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quorum<'a> {
    /// More than half of all replicas.
    OfAll,
    /// More than half of the replicas in this data centre.
    Of(&'a str),
}

/// The part of the keyspace for which there is a quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// No partition has a quorum.
    Nothing,
    /// Only partitions that have few replicas on nodes that are down have a quorum.
    Part,
    /// Each partition has a quorum.
    Everything,
}

/// A data centre for which a keyspace asks for more replicas than it has nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excess {
    /// The data centre; `None` if the replicas may be anywhere, so that the numbers are those of all data centres.
    pub datacenter: Option<String>,
    /// The number of replicas that the keyspace asks for.
    pub replicas: usize,
    /// The number of nodes, up or down.
    pub nodes: usize,
}

/// The numbers of nodes of a data centre.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeCount {
    /// All nodes, up or down.
    pub all: usize,
    /// The nodes that are up.
    pub up: usize,
}

impl Topology {
    /// Returns the data centres with their numbers of nodes.
    pub fn datacenters(&self) -> BTreeMap<&str, NodeCount> {
        let mut datacenters = BTreeMap::<_, NodeCount>::new();
        for node in &self.nodes {
            let count = datacenters.entry(node.datacenter.as_str()).or_default();
            count.all += 1;
            count.up += usize::from(node.is_up);
        }
        datacenters
    }

    /// Returns the topology as it would be if all nodes were up.
    #[must_use]
    pub fn all_up(&self) -> Self {
        let mut all_up = self.clone();
        all_up.nodes.iter_mut().for_each(|node| node.is_up = true);
        all_up
    }

    /// Returns the nodes that don't take connections.
    pub fn down(&self) -> Vec<&Node> {
        self.nodes.iter().filter(|node| !node.is_up).collect()
    }

    /// Returns the data centres in which a keyspace wants replicas, but which don't exist.
    pub fn misnamed<'r>(&self, replication: &'r Replication) -> Vec<&'r str> {
        let Replication::ByDatacenter(factors) = replication else { return Vec::new() };
        let there = self.datacenters();
        factors.keys().map(String::as_str).filter(|name| !there.contains_key(name)).collect()
    }

    /// Returns where a keyspace wants more replicas than there are nodes, up or down. Data centres that don't exist are left out.
    pub fn excesses(&self, replication: &Replication) -> Vec<Excess> {
        let excess = |(datacenter, replicas, nodes): (Option<&str>, usize, usize)| {
            (replicas > nodes).then(|| Excess { datacenter: datacenter.map(str::to_owned), replicas, nodes })
        };
        match replication {
            Replication::ByDatacenter(factors) => {
                let there = self.datacenters();
                let known = factors.iter().filter_map(|(name, replicas)| Some((name, *replicas, there.get(name.as_str())?.all)));
                known.filter_map(|(name, replicas, nodes)| excess((Some(name), replicas, nodes))).collect()
            }
            Replication::Anywhere(replicas) => excess((None, *replicas, self.nodes.len())).into_iter().collect(),
            Replication::Other(_) => Vec::new(),
        }
    }

    /// Returns for how much of a keyspace the nodes that are up make a quorum. How replicas are spread over racks is not considered, so
    /// what counts as `Part` may in truth be everything.
    pub fn reach(&self, replication: &Replication, quorum: Quorum<'_>) -> Reach {
        let there = self.datacenters();
        let (wanted, counted): (usize, Vec<(usize, NodeCount)>) = match (replication, quorum) {
            (Replication::ByDatacenter(factors), Quorum::OfAll) => {
                let counted = factors.iter().map(|(name, replicas)| (*replicas, there.get(name.as_str()).copied()));
                let counted: Vec<_> = counted.map(|(replicas, count)| (replicas, count.unwrap_or_default())).collect();
                (factors.values().sum(), counted)
            }
            (Replication::ByDatacenter(factors), Quorum::Of(name)) => {
                let replicas = factors.get(name).copied().unwrap_or_default();
                (replicas, vec![(replicas, there.get(name).copied().unwrap_or_default())])
            }
            (Replication::Anywhere(replicas), _) => {
                let up = self.nodes.iter().filter(|node| node.is_up).count();
                (*replicas, vec![(*replicas, NodeCount { all: self.nodes.len(), up })])
            }
            (Replication::Other(_), _) => return Reach::Everything,
        };
        let needed = wanted / 2 + 1;
        let at_best: usize = counted.iter().map(|(replicas, count)| count.up.min(*replicas)).sum();
        let at_worst: usize =
            counted.iter().map(|(replicas, count)| count.up.min(replicas.saturating_sub(count.all - count.up))).sum();
        match (at_worst >= needed, at_best >= needed) {
            (true, _) => Reach::Everything,
            (false, true) => Reach::Part,
            (false, false) => Reach::Nothing,
        }
    }

    /// Returns what `CREATE KEYSPACE` would make of replication options. With `NetworkTopologyStrategy`, a plain `replication_factor` is
    /// the number for each data centre that the options don't name.
    pub fn would_be(&self, options: &BTreeMap<String, String>) -> Replication {
        let number = |value: &String| value.parse().unwrap_or(0);
        let plain = options.get("replication_factor").map(number);
        if options.get("class").is_some_and(|class| class.ends_with("SimpleStrategy")) {
            return Replication::Anywhere(plain.unwrap_or(0));
        }
        let named = options.iter().filter(|(name, _)| !["class", "replication_factor"].contains(&name.as_str()));
        let mut factors: BTreeMap<_, _> = named.map(|(name, value)| (name.clone(), number(value))).collect();
        if let Some(plain) = plain {
            for name in self.datacenters().into_keys() {
                factors.entry(name.to_owned()).or_insert(plain);
            }
        }
        Replication::ByDatacenter(factors)
    }
}

impl Replication {
    /// Returns how many replicas each partition has, in all data centres together. Returns `None` if the strategy is not known.
    pub fn replicas(&self) -> Option<usize> {
        match self {
            Self::ByDatacenter(factors) => Some(factors.values().sum()),
            Self::Anywhere(replicas) => Some(*replicas),
            Self::Other(_) => None,
        }
    }
}

/// Returns why `local` can't be the local data centre, or `None` if it can. A local data centre must exist. With `is_local_serial` and
/// several data centres there must be a local one: otherwise each request would go to any data centre, and one data centre would not know
/// what another has decided.
pub fn unfit_datacenter(nodes: &[Node], local: Option<&str>, is_local_serial: bool) -> Option<String> {
    let topology = Topology { nodes: nodes.to_vec(), keyspace: None };
    let there = topology.datacenters();
    // A session that could not read the cluster's own tables knows no data centres.
    if there.is_empty() || there.contains_key("") {
        return None;
    }
    let names =
        there.iter().map(|(name, count)| format!("{name:?} ({})", counted(count.all, "node"))).collect::<Vec<_>>().join(", ");
    match local {
        Some(local) if !there.contains_key(local) => {
            Some(format!("store.local_datacenter = {local:?} is not a data centre of the database; there are {names}"))
        }
        None if is_local_serial && there.len() > 1 => Some(format!(
            "store.serial_consistency = \"local_serial\" needs store.local_datacenter where the database has several data \
             centres: {names}"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
