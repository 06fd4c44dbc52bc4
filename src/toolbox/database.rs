//! Judges what the database's topology means for the processor: nodes that are down and what can't be done without them, a keyspace that
//! wants more replicas than there are nodes, data centres that are misnamed, and commit logs. It is pure, and puts conclusions in words.
//!
//! In an outage the way out is to bring nodes back. An `ALTER KEYSPACE` is advised only if the keyspace wants more replicas than there are
//! nodes at all, up or down; other changes of it are left to the runbook. Nobody is ever advised to drop the keyspace.

use super::assessment::Assessment;
use crate::config::{CommitConsistency, Cql, SerialConsistency};
use crate::store::topology::{CommitLog, Quorum, Reach, Replication, Topology};
use crate::telemetry::wording::counted;
use std::collections::BTreeMap;

/// The number of replicas with which acknowledged writes outlive the loss of one, and a quorum agrees while one is down.
const ENOUGH: usize = 3;

/// Where the steps for more replicas are. One statement is not enough, because new replicas have no data at first.
const CHANGE: &str = "docs/runbook.md, \"Changing the keyspace's replication\", has the steps";

/// Returns all assessments, each with the name of the thing that it is about.
pub fn judge(topology: &Topology, cql: &Cql) -> Vec<(&'static str, Assessment)> {
    let mut assessments = vec![("store", nodes(topology, cql))];
    assessments.extend(keyspace(topology, cql).into_iter().map(|assessment| ("keyspace", assessment)));
    assessments.extend(commit_logs(topology).into_iter().map(|assessment| ("commit log", assessment)));
    assessments
}

/// A replication that does not fit the database's nodes, whether they are up or down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// The reason, with the way out.
    pub text: String,
    /// True if some commands can't be decided even while all nodes are up.
    pub is_obstacle: bool,
}

/// Returns what is wrong with the keyspace's replication for the nodes that there are, up or down. Returns `None` if nothing is wrong, or
/// if there is no such keyspace.
pub fn unfit_keyspace(topology: &Topology, cql: &Cql) -> Option<Unfit> {
    let troubles = troubles(topology, cql, topology.keyspace.as_ref()?);
    if troubles.is_empty() {
        return None;
    }
    let is_obstacle = consequence(&topology.all_up(), cql).is_some();
    Some(Unfit { text: format!("keyspace {}", troubles.join("; keyspace ")), is_obstacle })
}

/// Returns why `CREATE KEYSPACE` with the configured replication would make a keyspace that can't work. Returns `None` if it would work.
pub fn unfit_replication(topology: &Topology, cql: &Cql) -> Option<String> {
    Some(format!("{}; keyspace {} was not made", unfit_configuration(topology, cql)?, cql.keyspace))
}

/// Returns what is wrong with the configured replication, and what would fit. Returns `None` if nothing is wrong.
fn unfit_configuration(topology: &Topology, cql: &Cql) -> Option<String> {
    let wanted = topology.would_be(&cql.replication);
    let trouble = misnamed(topology, &wanted).or_else(|| excess(topology, &wanted))?;
    Some(format!("store.replication {trouble}{}", fitting(topology, &wanted)))
}

/// Returns the advice to use a replication that the nodes can hold, if the one that is wanted asks for too many replicas.
fn fitting(topology: &Topology, wanted: &Replication) -> String {
    if topology.excesses(wanted).is_empty() {
        return String::new();
    }
    let factors: Vec<_> =
        topology.datacenters().iter().map(|(name, count)| format!("{name} = {}", count.all.min(ENOUGH))).collect();
    format!(
        "; if these are all the nodes that there will be: store.replication = {{ class = \"NetworkTopologyStrategy\", {} }}",
        factors.join(", ")
    )
}

fn nodes(topology: &Topology, cql: &Cql) -> Assessment {
    let count = topology.nodes.len();
    let down = topology.down();
    if down.is_empty() {
        return Assessment::Ok(format!("{}, all up: {}", counted(count, "node"), datacenters(topology)));
    }
    let which: Vec<_> = down.iter().map(|node| format!("{} ({})", node.address, node.datacenter)).collect();
    let (consequence, until_then) = match consequence(topology, cql) {
        None => ("all can be done without them".to_owned(), ""),
        Some(consequence) => (consequence, ": until then commands wait, and nothing is lost"),
    };
    Assessment::Finding(format!(
        "{} of {} down: {}; {consequence}; bring them back (`nodetool status` has the database's own view){until_then}",
        down.len(),
        counted(count, "node"),
        which.join(", "),
    ))
}

/// Returns what can't be done with the nodes that are up. Returns `None` if everything can.
fn consequence(topology: &Topology, cql: &Cql) -> Option<String> {
    let there = topology.datacenters();
    let up = |name: &str| there.get(name).is_some_and(|count| count.up > 0);
    let local = cql.local_datacenter.as_deref();
    if let Some(local) = local.filter(|local| !up(local) && !cql.datacenter_failover) {
        return Some(format!(
            "none of store.local_datacenter {local:?} is up, and store.datacenter_failover is false: nobody is asked, and nothing \
             can be decided"
        ));
    }
    let replication = topology.keyspace.as_ref()?;
    // Whichever node is asked takes its own data centre for the local one.
    let asked: Vec<&str> = match local.filter(|local| up(local)) {
        Some(local) => vec![local],
        None => there.keys().copied().filter(|name| up(name)).collect(),
    };
    let locally = || asked.iter().map(|name| Quorum::Of(name)).collect::<Vec<_>>();
    let (serial, commits) = match (cql.serial_consistency, cql.consistency) {
        (SerialConsistency::Serial, CommitConsistency::Quorum) => (vec![Quorum::OfAll], vec![Quorum::OfAll]),
        (SerialConsistency::Serial, CommitConsistency::LocalQuorum) => (vec![Quorum::OfAll], locally()),
        (SerialConsistency::LocalSerial, CommitConsistency::Quorum) => (locally(), vec![Quorum::OfAll]),
        (SerialConsistency::LocalSerial, CommitConsistency::LocalQuorum) => (locally(), locally()),
    };
    let agreeing = lack(topology, replication, "agreeing on a conditional write", &serial);
    agreeing.or_else(|| lack(topology, replication, "committing a conditional write (store.consistency)", &commits))
}

/// Returns what can't be done because one of these quorums can't be had: which of them is needed depends on the node that is asked.
/// Returns `None` if all of them can be had.
fn lack(topology: &Topology, replication: &Replication, what: &str, quorums: &[Quorum<'_>]) -> Option<String> {
    let reached: Vec<_> = quorums.iter().map(|quorum| (topology.reach(replication, *quorum), *quorum)).collect();
    let (worst, quorum) = *reached.iter().min_by_key(|(reach, _)| *reach)?;
    let best = reached.iter().map(|(reach, _)| *reach).max()?;
    let takes = format!("{what} takes {}", describe(replication, quorum));
    match (worst, best, quorum) {
        (Reach::Everything, ..) => None,
        (_, Reach::Everything, Quorum::Of(name)) => Some(format!(
            "{takes} if a node of {name} is asked, which can't be had: such attempts fail, and others must be made \
             (store.local_datacenter is not set)"
        )),
        (Reach::Part, ..) => Some(format!(
            "{takes}, which can't be had for entities with too many replicas on these nodes: their commands can't be decided"
        )),
        (Reach::Nothing, ..) => Some(format!("{takes}, which can't be had: nothing can be decided")),
    }
}

/// Returns how many replicas a quorum takes: `2 of 3 replicas in all data centres`.
fn describe(replication: &Replication, quorum: Quorum<'_>) -> String {
    let of = |replicas: usize, place: &str| format!("{} of {}{place}", replicas / 2 + 1, counted(replicas, "replica"));
    match (replication, quorum) {
        (Replication::ByDatacenter(factors), Quorum::Of(name)) => {
            of(factors.get(name).copied().unwrap_or_default(), &format!(" in {name}"))
        }
        (Replication::ByDatacenter(factors), Quorum::OfAll) if factors.len() > 1 => {
            of(factors.values().sum(), " in all data centres")
        }
        (replication, _) => of(replication.replicas().unwrap_or_default(), ""),
    }
}

fn keyspace(topology: &Topology, cql: &Cql) -> Vec<Assessment> {
    let name = &cql.keyspace;
    let Some(replication) = &topology.keyspace else {
        return vec![Assessment::Finding(match unfit_configuration(topology, cql) {
            Some(unfit) => format!("{name} is missing, and `crm-processor setup` does not make it: {unfit}"),
            None => format!("{name} is missing; `crm-processor setup` makes it"),
        })];
    };
    let troubles = troubles(topology, cql, replication);
    let mut assessments: Vec<_> = troubles.into_iter().map(Assessment::Finding).collect();
    let mut finding = |text: String| assessments.push(Assessment::Finding(format!("{name} {text}")));
    let replicas = replication.replicas();
    if let Some(replicas) = replicas.filter(|replicas| *replicas < ENOUGH && topology.nodes.len() >= ENOUGH) {
        finding(format!(
            "has {} of each partition, and the database {} nodes: a node that is lost takes what it acknowledged with it, and while \
             a node is down the commands of some entities wait; {ENOUGH} replicas prevent both: {CHANGE}",
            counted(replicas, "replica"),
            topology.nodes.len()
        ));
    }
    if assessments.is_empty() {
        assessments.push(Assessment::Ok(format!("{name} has {}", shown(replication))));
    }
    if replicas.is_some_and(|replicas| replicas < ENOUGH) && topology.nodes.len() < ENOUGH {
        let count = counted(topology.nodes.len(), "node");
        assessments.push(Assessment::Note(format!(
            "{count} can't keep {ENOUGH} replicas: what is acknowledged may be lost with a node's disk, or commands wait while one is \
             down"
        )));
    }
    assessments
}

/// Returns what is wrong with a keyspace's replication for the nodes that there are, up or down, each with the way out.
fn troubles(topology: &Topology, cql: &Cql, replication: &Replication) -> Vec<String> {
    let name = &cql.keyspace;
    let mut troubles = Vec::new();
    if let Some(trouble) = misnamed(topology, replication) {
        troubles.push(format!("{name} {trouble}; {CHANGE}"));
    }
    if let Some(trouble) = excess(topology, replication) {
        let alter = alter(topology, name, replication);
        troubles.push(format!(
            "{name} {trouble}; add nodes, or, if these are all that there will be: {alter} (store.replication is for keyspaces that `setup` \
             has yet to make)"
        ));
    }
    if let (Replication::ByDatacenter(factors), Some(local)) = (replication, &cql.local_datacenter)
        && !factors.contains_key(local)
    {
        troubles.push(format!("{name} has no replicas in store.local_datacenter {local:?}: it has {}", shown(replication)));
    }
    troubles
}

/// Returns what to say of replicas in data centres that don't exist, if there are any.
fn misnamed(topology: &Topology, replication: &Replication) -> Option<String> {
    let misnamed = topology.misnamed(replication);
    let there = datacenters(topology);
    (!misnamed.is_empty())
        .then(|| format!("asks for replicas in data centre {}, which there is not; there are {there}", misnamed.join(", ")))
}

/// Returns what to say of a keyspace that wants more replicas than there are nodes, if it does.
fn excess(topology: &Topology, replication: &Replication) -> Option<String> {
    let excesses = topology.excesses(replication);
    if excesses.is_empty() {
        return None;
    }
    let asks: Vec<_> = excesses
        .iter()
        .map(|excess| {
            let place = excess.datacenter.as_ref().map_or("the database".to_owned(), |name| format!("data centre {name}"));
            format!("{} where {place} has {}", counted(excess.replicas, "replica"), counted(excess.nodes, "node"))
        })
        .collect();
    let consequence = match topology.all_up().reach(replication, Quorum::OfAll) {
        Reach::Everything => "",
        Reach::Part | Reach::Nothing => ", so that a quorum can't be had even if all nodes are up",
    };
    Some(format!("asks for {}{consequence}", asks.join(", and for ")))
}

/// Returns the statement that asks for as many replicas as there are nodes, and no more.
fn alter(topology: &Topology, name: &str, replication: &Replication) -> String {
    let there = topology.datacenters();
    let options = match replication {
        Replication::ByDatacenter(factors) => {
            let factor = |(name, replicas): (&String, &usize)| {
                let nodes = there.get(name.as_str())?.all;
                Some(format!(", '{name}': {}", nodes.min(*replicas)))
            };
            format!("'class': 'NetworkTopologyStrategy'{}", factors.iter().filter_map(factor).collect::<String>())
        }
        _ => format!("'class': 'SimpleStrategy', 'replication_factor': {}", topology.nodes.len()),
    };
    format!("ALTER KEYSPACE {name} WITH replication = {{{options}}}")
}

fn shown(replication: &Replication) -> String {
    match replication {
        Replication::ByDatacenter(factors) => {
            let factors = factors.iter().map(|(name, replicas)| format!("{} in {name}", counted(*replicas, "replica")));
            factors.collect::<Vec<_>>().join(", ")
        }
        Replication::Anywhere(replicas) => format!("{} on any nodes", counted(*replicas, "replica")),
        Replication::Other(strategy) => format!("the replication strategy {strategy}, which crm-processor does not know"),
    }
}

/// Returns the data centres in words: `dc1 (2 nodes), dc2 (1 node)`.
fn datacenters(topology: &Topology) -> String {
    let there = topology.datacenters().into_iter().map(|(name, count)| format!("{name} ({})", counted(count.all, "node")));
    there.collect::<Vec<_>>().join(", ")
}

fn commit_logs(topology: &Topology) -> Vec<Assessment> {
    let mut modes = BTreeMap::<&str, Vec<&str>>::new();
    let mut assessments = Vec::new();
    let mut scylla = 0;
    for node in topology.nodes.iter().filter(|node| node.is_up) {
        match &node.commit_log {
            CommitLog::ForConditionalWrites => scylla += 1,
            CommitLog::Mode(mode) => modes.entry(mode).or_default().push(&node.address),
            CommitLog::Unknown(reason) => {
                assessments.push(Assessment::Note(format!("that of {} is not known: {reason}", node.address)));
            }
        }
    }
    if scylla > 0 {
        assessments.push(Assessment::Ok("ScyllaDB has each conditional write on its disks before it acknowledges it".into()));
    }
    for (mode, nodes) in modes {
        let on = nodes.join(", ");
        if mode != "periodic" {
            assessments.push(Assessment::Ok(format!("commitlog_sync is {mode} on {on}: what is acknowledged is on the disk")));
            continue;
        }
        let replicas = topology.keyspace.as_ref().and_then(Replication::replicas);
        let risk = if replicas.is_some_and(|replicas| replicas >= ENOUGH) {
            "what is acknowledged outlives a power cut only if its replicas don't fail together"
        } else {
            "a node that is killed loses what it acknowledged in the last seconds"
        };
        assessments.push(Assessment::Note(format!(
            "commitlog_sync is periodic on {on}: {risk}; `group` or `batch` in cassandra.yaml lose nothing"
        )));
    }
    assessments
}

#[cfg(test)]
mod tests;
