//! Tests what `check` and `setup` say about an installation's replicas, nodes and data centres. Here it has one broker and one
//! node; in `cluster`, three of each. The tables beside the code have more cases.

mod cluster;

use crate::crm::unique;
use crate::servers;
use crate::world::{Finished, PATIENT_STORE, World, run_cli_with, shared};
use scylla::client::session_builder::SessionBuilder;
use std::path::PathBuf;

/// Returns the output of a subcommand with these variables over the installation's configuration.
fn cli(world: &World, subcommand: &str, environment: &[(&str, &str)]) -> Finished {
    let config = world.config.display().to_string();
    // The tests' configuration allows a reply topic that does not exist.
    let environment = [&[PATIENT_STORE, ("CRM__KAFKA__REPLY_TOPIC_ALLOW_LIST", world.replies.as_str())], environment].concat();
    run_cli_with(&[subcommand, "--config", &config], &environment)
}

/// Returns the lines about a thing of one kind: `ok`, `--` or `!!`.
fn lines<'a>(checked: &'a Finished, kind: &str, what: &str) -> Vec<&'a str> {
    let start = format!("  {kind}  {what}: ");
    checked.stdout.lines().filter_map(|line| line.strip_prefix(start.as_str())).collect()
}

#[test]
fn check_tells_the_shape_of_one_broker_and_one_node_and_finds_nothing_wrong_with_it() {
    let Some(shared) = shared() else { return };
    let checked = cli(shared, "check", &[]).succeeded();
    let says = |kind: &str, what: &str, parts: &[&str]| {
        let lines = lines(&checked, kind, what);
        assert!(lines.iter().any(|line| parts.iter().all(|part| line.contains(part))), "{kind} {what} {parts:?}: {checked}");
    };
    says("ok", "kafka", &["1 broker"]);
    says("--", "kafka", &["one broker alone", "min.insync.replicas 2"]);
    for topic in [&*shared.commands, "__consumer_offsets", "__transaction_state"] {
        says("ok", "topic", &[topic, "1 replica (all in sync)", "min.insync.replicas 1", "unclean.leader.election.enable false"]);
    }
    says("ok", "store", &["1 node, all up"]);
    says("ok", "keyspace", &["has 1 replica in datacenter1"]);
    says("--", "keyspace", &["1 node can't keep 3 replicas"]);
    says("--", "commit log", &["periodic", "loses what it acknowledged"]);
    says("ok", "store", &["agreed on at SERIAL, committed at QUORUM"]);
    assert!(checked.stdout.ends_with("all is well\n"), "{checked}");
}

#[test]
fn checks_can_be_made_by_many_at_once() {
    let Some(shared) = shared() else { return };
    std::thread::scope(|scope| {
        let checks: Vec<_> = (0..3).map(|_| scope.spawn(|| cli(shared, "check", &[]))).collect();
        for checked in checks {
            checked.join().expect("it ends").succeeded();
        }
    });
}

#[test]
fn setup_says_how_many_replicas_each_topic_got_whoever_decided_that() {
    let Some(shared) = shared() else { return };
    let (commands, transactions) = (unique("commands"), unique("transactions"));
    let made =
        cli(shared, "setup", &[("CRM__KAFKA__TOPICS__COMMANDS", &commands), ("CRM__KAFKA__TOPICS__TRANSACTIONS", &transactions)])
            .succeeded();
    for (topic, how, is_default) in [(&commands, "made, with 12 partitions", true), (&shared.replies, "is there, with", false)] {
        let line = made.stdout.lines().find(|line| line.contains(topic.as_str())).unwrap_or_else(|| panic!("{topic}: {made}"));
        let parts = [how, "1 replica (all in sync)", "min.insync.replicas 1"];
        assert!(parts.iter().all(|part| line.contains(part)), "{parts:?} in {line}");
        assert_eq!(line.contains("the number of replicas is the brokers' default"), is_default, "{line}");
    }
}

#[test]
fn a_local_data_centre_that_there_is_not_is_an_error_that_names_those_that_there_are() {
    let Some(shared) = shared() else { return };
    for subcommand in ["check", "setup", "run", "import"] {
        let config = shared.config.display().to_string();
        let mut words = vec![subcommand, "--config", &config];
        let none = PathBuf::from("/dev/null").display().to_string();
        if subcommand == "import" {
            words.push(&none);
        }
        let said = run_cli_with(&words, &[("CRM__STORE__LOCAL_DATACENTER", "elsewhere"), ("CRM__ADMIN__LISTEN", "127.0.0.1:0")]);
        let said = said.exits(1);
        let text = format!("{}{}", said.stdout, said.stderr);
        let expected =
            r#"store.local_datacenter = "elsewhere" is not a data centre of the database; there are "datacenter1" (1 node)"#;
        assert!(text.contains(expected), "{subcommand}: {said}");
        assert!(!text.contains("empty plan") && !text.contains("ALTER"), "{subcommand}: {said}");
    }
}

#[test]
fn a_keyspace_with_more_replicas_than_nodes_is_not_made_and_one_that_is_there_is_told_of_without_advice_that_loses_data() {
    let Some(world) = World::set_up("greedy", |_| {}) else { return };
    let keyspace = unique("greedy").replace('-', "_");
    let environment = [("CRM__STORE__KEYSPACE", keyspace.as_str()), ("CRM__STORE__REPLICATION", "{ replication_factor = 3 }")];
    let refused = cli(&world, "setup", &environment).exits(1);
    for part in ["asks for 3 replicas where data centre datacenter1 has 1 node", "was not made"] {
        assert!(refused.stderr.contains(part), "{part:?}: {refused}");
    }
    let checked = cli(&world, "check", &environment).exits(1);
    let said = lines(&checked, "!!", "keyspace");
    let parts = ["is missing", "store.replication asks for 3 replicas", "datacenter1 = 1 }"];
    assert!(said.len() == 1 && parts.iter().all(|part| said[0].contains(part)), "{checked}");

    make_keyspace(&keyspace);
    let setup = cli(&world, "setup", &environment).exits(1);
    let checked = cli(&world, "check", &environment).exits(1);
    let alter = format!("ALTER KEYSPACE {keyspace} WITH replication = {{'class': 'NetworkTopologyStrategy', 'datacenter1': 1}}");
    for text in [&setup.stderr, &checked.stdout] {
        assert!(text.contains("asks for 3 replicas") && text.contains(&alter) && !text.contains("drop"), "{text}");
    }
    assert!(checked.stdout.ends_with(" checks failed\n"), "{checked}");

    // Subcommands that use the store report the trouble at once, and don't wait in vain.
    let config = world.config.display().to_string();
    for words in [&["import", "--config", &config, "/dev/null"][..], &["show", "--config", &config, "customer", "c-1"]] {
        let refused = run_cli_with(words, &environment).exits(1);
        assert!(refused.stderr.contains("asks for 3 replicas") && refused.stderr.contains(&alter), "{refused}");
    }
    let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, &**value)).collect();
    let processor = world.start_with(&unique("slot"), &environment);
    let said = processor.until_readyz(|body| body.contains("asks for 3 replicas"));
    assert!(said.contains(&format!("keyspace {keyspace} asks for 3 replicas")) && said.contains("\"ready\":false"), "{said}");
    assert!(processor.log().contains("asks for 3 replicas"), "{}", processor.log_tail());
    // As soon as the keyspace is changed, the process goes on by itself.
    let session = |statement: String| async move {
        let node = servers::cassandra().expect("the installation has one");
        SessionBuilder::new().known_node(node).build().await.unwrap().query_unpaged(statement, ()).await.unwrap();
    };
    crate::runtime().block_on(session(alter));
    processor.until_ready();
}

/// Makes a keyspace with more replicas than nodes, which `setup` refuses to make.
fn make_keyspace(name: &str) {
    crate::runtime().block_on(async {
        let node = servers::cassandra().expect("the installation has one");
        let session = SessionBuilder::new().known_node(node).build().await.unwrap();
        let replication = "{'class': 'NetworkTopologyStrategy', 'replication_factor': 3}";
        session.query_unpaged(format!("CREATE KEYSPACE {name} WITH replication = {replication}"), ()).await.unwrap();
    });
}
