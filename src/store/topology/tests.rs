//! Tables of what is concluded from nodes and replication.

use super::*;

/// Reads a topology: `dc1+` is a node of dc1 that is up, `dc1-` one that is down.
fn topology(nodes: &str) -> Topology {
    let node = |(at, text): (usize, &str)| {
        let (datacenter, state) = text.split_at(text.len() - 1);
        Node {
            address: format!("10.0.0.{}:9042", at + 1),
            datacenter: datacenter.into(),
            is_up: state == "+",
            commit_log: CommitLog::ForConditionalWrites,
        }
    };
    Topology { nodes: nodes.split_whitespace().enumerate().map(node).collect(), keyspace: None }
}

/// Reads a replication: `dc1:2 dc2:1` is by data centre, `3` is anywhere.
fn replication(text: &str) -> Replication {
    if let Ok(replicas) = text.parse() {
        return Replication::Anywhere(replicas);
    }
    let factor = |text: &str| {
        let (name, replicas) = text.split_once(':').expect("name:replicas");
        (name.to_owned(), replicas.parse().expect("a number"))
    };
    Replication::ByDatacenter(text.split_whitespace().map(factor).collect())
}

#[test]
fn a_quorum_can_be_had_where_enough_replicas_are_up_for_each_partition() {
    use Quorum::{Of, OfAll};
    use Reach::{Everything, Nothing, Part};
    for (nodes, keyspace, quorum, expected) in [
        ("dc1+", "dc1:1", OfAll, Everything),
        ("dc1+", "1", OfAll, Everything),
        ("dc1-", "dc1:1", OfAll, Nothing),
        // More replicas than nodes: two of three can't be had.
        ("dc1+", "dc1:3", OfAll, Nothing),
        ("dc1+ dc1+", "dc1:3", OfAll, Everything),
        ("dc1+ dc1-", "dc1:3", OfAll, Nothing),
        ("dc1+ dc1+ dc1+", "dc1:3", OfAll, Everything),
        ("dc1+ dc1+ dc1-", "dc1:3", OfAll, Everything),
        ("dc1+ dc1- dc1-", "dc1:3", OfAll, Nothing),
        ("dc1+ dc1+ dc1-", "3", Of("dc1"), Everything),
        // More nodes than replicas: two that are down may hold two replicas of one partition.
        ("dc1+ dc1+ dc1+ dc1+ dc1-", "dc1:3", OfAll, Everything),
        ("dc1+ dc1+ dc1+ dc1- dc1-", "dc1:3", OfAll, Part),
        ("dc1+ dc1+ dc1-", "dc1:1", OfAll, Part),
        // Two and one: each single node may die, if the quorum is that of all.
        ("dc1+ dc1- dc2+", "dc1:2 dc2:1", OfAll, Everything),
        ("dc1+ dc1- dc2+", "dc1:2 dc2:1", Of("dc1"), Nothing),
        ("dc1+ dc1- dc2+", "dc1:2 dc2:1", Of("dc2"), Everything),
        ("dc1+ dc1+ dc2-", "dc1:2 dc2:1", OfAll, Everything),
        ("dc1- dc1- dc2+", "dc1:2 dc2:1", OfAll, Nothing),
        // One of two data centres with three replicas each has no majority.
        ("dc1+ dc1+ dc1+ dc2- dc2- dc2-", "dc1:3 dc2:3", OfAll, Nothing),
        ("dc1+ dc1+ dc1+ dc2- dc2- dc2-", "dc1:3 dc2:3", Of("dc1"), Everything),
        // Replicas in a data centre that does not exist are never up.
        ("dc1+ dc1+", "dc1:2 dcX:3", OfAll, Nothing),
        ("dc1+ dc2+", "dc1:1", Of("dc2"), Nothing),
    ] {
        let got = topology(nodes).reach(&replication(keyspace), quorum);
        assert_eq!(got, expected, "{nodes} with {keyspace}, {quorum:?}");
    }
}

#[test]
fn nodes_that_are_down_are_told_from_nodes_that_are_not_there_and_from_misnamed_data_centres() {
    let excess = |datacenter: Option<&str>, replicas, nodes| Excess { datacenter: datacenter.map(Into::into), replicas, nodes };
    for (nodes, keyspace, excesses, misnamed) in [
        ("dc1+ dc1- dc1-", "dc1:3", vec![], vec![]),
        ("dc1+", "dc1:3", vec![excess(Some("dc1"), 3, 1)], vec![]),
        ("dc1- dc1+", "3", vec![excess(None, 3, 2)], vec![]),
        ("dc1+ dc1+ dc2+", "dc1:2 dc2:1", vec![], vec![]),
        ("dc1+ dc1+ dc2+", "dc1:2 dc2:2", vec![excess(Some("dc2"), 2, 1)], vec![]),
        ("dc1+", "dc1:1 DC1:1", vec![], vec!["DC1"]),
    ] {
        let (topology, replication) = (topology(nodes), replication(keyspace));
        assert_eq!(topology.excesses(&replication), excesses, "{nodes} with {keyspace}");
        assert_eq!(topology.misnamed(&replication), misnamed, "{nodes} with {keyspace}");
    }
}

#[test]
fn a_local_data_centre_is_one_of_those_that_there_are() {
    for (nodes, local, is_local_serial, expected) in [
        ("dc1+", None, false, None),
        ("dc1+ dc2+", None, false, None),
        ("dc1+ dc2-", Some("dc2"), false, None),
        (
            "dc1+ dc1+ dc2-",
            Some("DC2"),
            false,
            Some(r#""DC2" is not a data centre of the database; there are "dc1" (2 nodes), "dc2" (1 node)"#),
        ),
        ("dc1+", None, true, None),
        ("dc1+ dc2+", Some("dc1"), true, None),
        ("dc1+ dc2+", None, true, Some("needs store.local_datacenter")),
        // Nothing is known of the nodes.
        ("+ +", Some("dc1"), false, None),
    ] {
        let got = unfit_datacenter(&topology(nodes).nodes, local, is_local_serial);
        match (&got, expected) {
            (Some(got), Some(expected)) => assert!(got.contains(expected), "{nodes}, {local:?}: {got}"),
            _ => assert_eq!(got.as_deref(), expected, "{nodes}, {local:?}"),
        }
    }
}

#[test]
fn replication_options_mean_what_the_database_makes_of_them() {
    for (nodes, options, expected) in [
        ("dc1+ dc2+", &[("class", "NetworkTopologyStrategy"), ("replication_factor", "3")][..], "dc1:3 dc2:3"),
        ("dc1+ dc2+", &[("class", "NetworkTopologyStrategy"), ("replication_factor", "3"), ("dc2", "1")], "dc1:3 dc2:1"),
        ("dc1+ dc2+", &[("class", "NetworkTopologyStrategy"), ("dc1", "2")], "dc1:2"),
        ("dc1+ dc2+", &[("class", "SimpleStrategy"), ("replication_factor", "3")], "3"),
    ] {
        let options: BTreeMap<_, _> = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(topology(nodes).would_be(&options), replication(expected), "{nodes} with {options:?}");
    }
}
