//! The database's nodes and data centres against what a keyspace asks of them. Pure: who asks the database is
//! [`CqlStore::topology`](super::cql::CqlStore::topology), who says what it means is the command line.
//!
//! Three troubles look alike from outside, because in each of them no quorum can be had, and each has another way out: nodes
//! that are down come back; a keyspace that wants more replicas than there are nodes needs more nodes, or other options; a
//! data centre that is misnamed needs its name.

use std::collections::BTreeMap;

/// The database as one session sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// All nodes that belong to the cluster, up or down, by address.
    pub nodes: Vec<Node>,
    /// How the keyspace is replicated. `None` if there is no such keyspace.
    pub keyspace: Option<Replication>,
}

/// A node of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// `host:port`.
    pub address: String,
    /// Its data centre; empty if the database does not say.
    pub datacenter: String,
    /// Whether it takes connections.
    pub is_up: bool,
    /// When it writes its commit log to the disk.
    pub commit_log: CommitLog,
}

/// When a node writes its commit log to the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitLog {
    /// Before a conditional write is acknowledged, whatever the node's configuration says: ScyllaDB.
    ForConditionalWrites,
    /// As Cassandra's `commitlog_sync` says: `periodic`, `group`, `batch`.
    Mode(String),
    /// The node keeps it to itself, for this reason.
    Unknown(String),
}

/// How a keyspace is replicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replication {
    /// `NetworkTopologyStrategy`: so many replicas in each of these data centres.
    ByDatacenter(BTreeMap<String, usize>),
    /// `SimpleStrategy`: so many replicas anywhere.
    Anywhere(usize),
    /// A strategy that we don't know.
    Other(String),
}

/// Whose quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quorum<'a> {
    /// Most of all replicas.
    OfAll,
    /// Most of the replicas in a data centre.
    Of(&'a str),
}

/// For how much of the keyspace a quorum can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// For no partition.
    Nothing,
    /// For those partitions alone that have few replicas on nodes that are down.
    Part,
    /// For each partition.
    Everything,
}

/// More replicas than nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excess {
    /// `None`: all of them, where replicas stand anywhere.
    pub datacenter: Option<String>,
    /// How many replicas are asked for.
    pub replicas: usize,
    /// How many nodes there are, up or down.
    pub nodes: usize,
}

/// Nodes of a data centre.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// All, up or down.
    pub all: usize,
    /// Those that are up.
    pub up: usize,
}

impl Topology {
    /// The data centres with their nodes.
    pub fn datacenters(&self) -> BTreeMap<&str, Count> {
        let mut datacenters = BTreeMap::<_, Count>::new();
        for node in &self.nodes {
            let count = datacenters.entry(node.datacenter.as_str()).or_default();
            count.all += 1;
            count.up += usize::from(node.is_up);
        }
        datacenters
    }

    /// The same as if all nodes were up.
    #[must_use]
    pub fn all_up(&self) -> Self {
        let mut all_up = self.clone();
        all_up.nodes.iter_mut().for_each(|node| node.is_up = true);
        all_up
    }

    /// Those that don't take connections.
    pub fn down(&self) -> Vec<&Node> {
        self.nodes.iter().filter(|node| !node.is_up).collect()
    }

    /// Data centres in which a keyspace wants replicas and that there are not.
    pub fn misnamed<'r>(&self, replication: &'r Replication) -> Vec<&'r str> {
        let Replication::ByDatacenter(factors) = replication else { return Vec::new() };
        let there = self.datacenters();
        factors.keys().map(String::as_str).filter(|name| !there.contains_key(name)).collect()
    }

    /// Where a keyspace wants more replicas than there are nodes, up or down. Data centres that there are not don't count.
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

    /// For how much of a keyspace a quorum can be had with the nodes that are up. How a partition's replicas are spread over
    /// racks is not looked at, so `Part` may turn out to be everything.
    pub fn reach(&self, replication: &Replication, quorum: Quorum<'_>) -> Reach {
        let there = self.datacenters();
        let (wanted, counted): (usize, Vec<(usize, Count)>) = match (replication, quorum) {
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
                (*replicas, vec![(*replicas, Count { all: self.nodes.len(), up })])
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

    /// What `CREATE KEYSPACE` would make of replication options: a plain `replication_factor` of `NetworkTopologyStrategy`
    /// is that of each data centre that the options don't name.
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
    /// How many replicas each partition has, in all data centres together. `None` if the strategy is not known.
    pub fn replicas(&self) -> Option<usize> {
        match self {
            Self::ByDatacenter(factors) => Some(factors.values().sum()),
            Self::Anywhere(replicas) => Some(*replicas),
            Self::Other(_) => None,
        }
    }
}

/// Why a data centre can't be the local one, or `None` if it can: it must be one of those that there are. Without a local one
/// conditional writes can't be agreed on within "the local data centre" where there are several: each request would go to
/// whichever comes first, and what one decided another would not know.
pub fn unfit_datacenter(nodes: &[Node], local: Option<&str>, is_local_serial: bool) -> Option<String> {
    let topology = Topology { nodes: nodes.to_vec(), keyspace: None };
    let there = topology.datacenters();
    // A session that could not read the cluster's own tables knows no data centres.
    if there.is_empty() || there.contains_key("") {
        return None;
    }
    let names =
        there.iter().map(|(name, count)| format!("{name:?} ({})", plural(count.all, "node"))).collect::<Vec<_>>().join(", ");
    match local {
        Some(local) if !there.contains_key(local) => {
            Some(format!("store.local_datacenter = {local:?} is no data centre of the database; there are {names}"))
        }
        None if is_local_serial && there.len() > 1 => Some(format!(
            "store.serial_consistency = \"local_serial\" needs store.local_datacenter where the database has several data \
             centres: {names}"
        )),
        _ => None,
    }
}

/// `1 node`, `2 nodes`.
pub fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests;
