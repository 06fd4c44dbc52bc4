//! Tables of databases' topologies, each with what is concluded from it.

use super::*;
use crate::config::{Backend, Config};
use crate::store::topology::Node;

fn cql(toml: &str) -> Cql {
    let config = Config::parse(&format!("[store]\n{toml}"), []).unwrap_or_else(|findings| panic!("{findings}"));
    let Backend::Cql(cql) = config.store.backend else { panic!("cql") };
    cql
}

/// Reads a topology: `dc1+` is a node of dc1 that is up, `dc1-` one that is down. A keyspace is `dc1:2 dc2:1`; it is missing if the text
/// is empty.
fn topology(nodes: &str, keyspace: &str) -> Topology {
    let node = |(at, text): (usize, &str)| {
        let (datacenter, state) = text.split_at(text.len() - 1);
        Node {
            address: format!("10.0.0.{}:9042", at + 1),
            datacenter: datacenter.into(),
            is_up: state == "+",
            commit_log: CommitLog::Mode("batch".into()),
        }
    };
    let factor = |text: &str| {
        let (name, replicas) = text.split_once(':').expect("name:replicas");
        (name.to_owned(), replicas.parse().expect("a number"))
    };
    let keyspace = (!keyspace.is_empty()).then(|| Replication::ByDatacenter(keyspace.split(' ').map(factor).collect()));
    Topology { nodes: nodes.split(' ').enumerate().map(node).collect(), keyspace }
}

#[test]
fn each_trouble_is_told_from_the_others_and_none_is_answered_with_advice_that_loses_data() {
    let healthy: &[&str] = &[];
    for (nodes, keyspace, toml, expected) in [
        ("dc1+", "dc1:1", "", healthy),
        ("dc1+ dc1+ dc1+", "dc1:3", "", healthy),
        ("dc1+ dc1+ dc2+", "dc1:2 dc2:1", "local_datacenter = \"dc1\"", healthy),
        // Nodes are down.
        ("dc1+ dc1+ dc1-", "dc1:3", "", &["1 of 3 nodes down: 10.0.0.3:9042 (dc1); all can be done"]),
        ("dc1+ dc1- dc1-", "dc1:3", "", &["agreeing on a conditional write takes 2 of 3 replicas, which can't be had: nothing"]),
        ("dc1+ dc1+ dc1- dc1-", "dc1:3", "", &["too many replicas on these nodes"]),
        // Two data centres, one node of the larger is down.
        ("dc1+ dc1- dc2+", "dc1:2 dc2:1", "local_datacenter = \"dc1\"", &["all can be done without them"]),
        (
            "dc1+ dc1- dc2+",
            "dc1:2 dc2:1",
            "consistency = \"local_quorum\"\nlocal_datacenter = \"dc1\"",
            &["committing a conditional write (store.consistency) takes 2 of 2 replicas in dc1, which can't be had: nothing"],
        ),
        (
            "dc1+ dc1- dc2+",
            "dc1:2 dc2:1",
            "consistency = \"local_quorum\"",
            &["takes 2 of 2 replicas in dc1 if a node of dc1 is asked"],
        ),
        (
            "dc1+ dc1- dc2+",
            "dc1:2 dc2:1",
            "local_datacenter = \"dc2\"\nconsistency = \"local_quorum\"",
            &["all can be done without them"],
        ),
        ("dc1- dc1- dc2+", "dc1:2 dc2:1", "", &["2 of 3 replicas in all data centres"]),
        ("dc1+ dc1+ dc2-", "dc1:2 dc2:1", "local_datacenter = \"dc2\"", &["store.datacenter_failover is false: nobody is asked"]),
        (
            "dc1+ dc1+ dc2-",
            "dc1:2 dc2:1",
            "local_datacenter = \"dc2\"\ndatacenter_failover = true",
            &["all can be done without them"],
        ),
        (
            "dc1- dc1+ dc2-",
            "dc1:2 dc2:1",
            "local_datacenter = \"dc2\"\ndatacenter_failover = true\nconsistency = \"local_quorum\"",
            &["agreeing"],
        ),
        // More replicas than nodes, up or down.
        (
            "dc1+",
            "dc1:3",
            "",
            &[
                "asks for 3 replicas where data centre dc1 has 1 node, so that a quorum can't be had even if all nodes are up; add nodes, or, if these are all that there will be: ALTER KEYSPACE crm WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 1}",
            ],
        ),
        ("dc1+ dc1-", "dc1:3", "", &["1 of 2 nodes down", "asks for 3 replicas where data centre dc1 has 2 nodes; add nodes"]),
        // A data centre is misnamed.
        ("dc1+ dc1+ dc1+", "DC1:3", "", &["data centre DC1, which there is not; there are dc1 (3 nodes)"]),
        ("dc1+ dc2+ dc1+ dc1+", "dc1:3", "local_datacenter = \"dc2\"", &["has no replicas in store.local_datacenter \"dc2\""]),
        // Fewer replicas than there could be.
        ("dc1+ dc1+ dc1+", "dc1:1", "", &["has 1 replica of each partition, and the database 3 nodes"]),
        ("dc1+ dc1+ dc1+", "", "", &["crm is missing; `crm-processor setup` makes it"]),
        (
            "dc1+",
            "",
            "",
            &[
                "crm is missing, and `crm-processor setup` does not make it: store.replication asks for 3 replicas where data centre dc1 has 1",
            ],
        ),
    ] {
        let assessments = judge(&topology(nodes, keyspace), &cql(toml));
        let findings: Vec<_> = assessments.iter().filter_map(|(_, assessment)| assessment.finding()).collect();
        let case = format!("{nodes} with {keyspace} and {toml:?}: {findings:#?}");
        assert_eq!(findings.len(), expected.len(), "{case}");
        assert!(findings.iter().zip(expected).all(|(got, expected)| got.contains(expected)), "{case}\nexpected {expected:#?}");
        let has_excess = findings.iter().any(|finding| finding.contains("add nodes"));
        for finding in findings {
            assert!(!finding.to_lowercase().contains("drop"), "{case}");
            assert!(has_excess || !finding.contains("ALTER"), "{case}");
        }
    }
}

#[test]
fn a_keyspace_that_could_not_work_is_not_made() {
    for (nodes, toml, expected) in [
        ("dc1+", "replication = { replication_factor = 1 }", None),
        ("dc1+ dc1- dc1-", "", None),
        ("dc1+ dc1+ dc2+", "replication = { dc1 = 2, dc2 = 1 }", None),
        ("dc1+", "", Some("store.replication asks for 3 replicas where data centre dc1 has 1 node")),
        ("dc1+ dc1+ dc2+", "replication = { replication_factor = 2 }", Some("2 replicas where data centre dc2 has 1 node")),
        ("dc1+", "replication = { class = \"SimpleStrategy\", replication_factor = 2 }", Some("where the database has 1 node")),
        (
            "dc1+ dc2+",
            "replication = { DC1 = 1 }",
            Some("data centre DC1, which there is not; there are dc1 (1 node), dc2 (1 node)"),
        ),
    ] {
        let got = unfit_replication(&topology(nodes, ""), &cql(toml));
        match (&got, expected) {
            (Some(got), Some(expected)) => {
                assert!(got.contains(expected) && got.contains("was not made"), "{nodes}, {toml}: {got}");
            }
            _ => assert_eq!(got.as_deref(), expected, "{nodes}, {toml}"),
        }
    }
}

#[test]
fn commit_logs_that_are_written_late_are_told_of_and_no_finding() {
    for (mode, keyspace, expected) in [
        (CommitLog::Mode("batch".into()), "dc1:3", Assessment::Ok("commitlog_sync is batch on 10.0.0.1:9042".into())),
        (CommitLog::Mode("periodic".into()), "dc1:3", Assessment::Note("don't fail together".into())),
        (CommitLog::Mode("periodic".into()), "dc1:1", Assessment::Note("loses what it acknowledged".into())),
        (CommitLog::ForConditionalWrites, "dc1:1", Assessment::Ok("ScyllaDB".into())),
        (CommitLog::Unknown("no right".into()), "dc1:1", Assessment::Note("no right".into())),
    ] {
        let mut topology = topology("dc1+ dc1-", keyspace);
        topology.nodes.iter_mut().for_each(|node| node.commit_log = mode.clone());
        let got = commit_logs(&topology);
        let fits = match (&*got, &expected) {
            ([Assessment::Ok(got)], Assessment::Ok(part)) | ([Assessment::Note(got)], Assessment::Note(part)) => {
                got.contains(part)
            }
            _ => false,
        };
        assert!(fits, "{mode:?} with {keyspace}: {got:?}, expected {expected:?}");
    }
}

#[test]
fn a_keyspace_that_the_nodes_cannot_hold_is_an_obstacle_if_no_quorum_can_be_had_even_with_all_of_them() {
    for (nodes, keyspace, toml, expected) in [
        ("dc1+", "dc1:1", "", None),
        ("dc1+ dc1- dc1-", "dc1:3", "", None),
        ("dc1+", "", "", None),
        ("dc1+", "dc1:3", "", Some(true)),
        ("dc1-", "dc1:3", "", Some(true)),
        ("dc1+ dc1+", "dc1:3", "", Some(false)),
        ("dc1+ dc1-", "dc1:3", "", Some(false)),
        ("dc1+", "elsewhere:1", "", Some(true)),
        ("dc1+ dc2+", "dc1:1", "local_datacenter = \"dc2\"", Some(false)),
        ("dc1+ dc2+", "dc1:1", "local_datacenter = \"dc2\"\nconsistency = \"local_quorum\"", Some(true)),
    ] {
        let unfit = unfit_keyspace(&topology(nodes, keyspace), &cql(toml));
        let got = unfit.as_ref().map(|unfit| unfit.is_obstacle);
        assert_eq!(got, expected, "{nodes}, {keyspace}, {toml}: {unfit:?}");
    }
}

#[test]
fn what_setup_would_not_make_is_said_with_a_replication_that_fits() {
    let cql = cql("");
    let unfit = unfit_replication(&topology("dc1+ dc2+ dc2+", ""), &cql).expect("3 replicas where 1 node is");
    assert!(unfit.contains("store.replication = { class = \"NetworkTopologyStrategy\", dc1 = 1, dc2 = 2 }"), "{unfit}");
    let assessments = keyspace(&topology("dc1+", ""), &cql);
    let said = assessments[0].finding().unwrap_or_default();
    assert!(said.contains("does not make it: store.replication asks") && said.ends_with("dc1 = 1 }"), "{assessments:?}");
    assert_eq!(unfit_replication(&topology("dc1+ dc1+ dc1+", ""), &cql), None);
}
