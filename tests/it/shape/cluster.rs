//! Makes the checks of `shape` on three brokers and three nodes in two data centres, while some of them are down. It is one test,
//! because these servers take long to start.

use super::lines;
use crate::servers::cluster::{Brokers, Layout, Nodes};
use crate::world::{Finished, World, run_cli_with};
use std::time::{Duration, Instant};
use toml::Value;

/// How long the brokers may take to notice that one of them is gone, or is back.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn check_names_what_is_down_and_what_can_t_be_done_without_it() {
    let Some((brokers, nodes)) = std::thread::scope(|scope| {
        let brokers = scope.spawn(Brokers::start);
        let nodes = Nodes::start(Layout::TwoDataCentres);
        Some((brokers.join().expect("they start or are skipped")?, nodes?))
    }) else {
        return;
    };
    Installation { world: set_up(&brokers, &nodes), brokers, nodes }.play();
}

/// Two replicas in `dc1`, one in `dc2`: any two of the three decide.
fn set_up(brokers: &Brokers, nodes: &Nodes) -> World {
    World::set_up_on(&brokers.addresses(), &nodes.addresses(), "shape", |config| {
        let replication = "class = \"NetworkTopologyStrategy\"\ndc1 = 2\ndc2 = 1".parse().expect("is TOML");
        config["store"].as_table_mut().expect("is a table").insert("replication".into(), Value::Table(replication));
    })
}

struct Installation {
    world: World,
    brokers: Brokers,
    nodes: Nodes,
}

const LOCAL: (&str, &str) = ("CRM__STORE__LOCAL_DATACENTER", "dc1");
const FAR: (&str, &str) = ("CRM__STORE__LOCAL_DATACENTER", "dc2");
const LOCAL_QUORUM: (&str, &str) = ("CRM__STORE__CONSISTENCY", "local_quorum");
const LOCAL_SERIAL: (&str, &str) = ("CRM__STORE__SERIAL_CONSISTENCY", "local_serial");
const FAILOVER: (&str, &str) = ("CRM__STORE__DATACENTER_FAILOVER", "true");

impl Installation {
    fn play(mut self) {
        self.a_topic_that_the_brokers_will_make_is_told_by_their_settings();
        self.all_is_well();
        self.a_topic_with_one_replica_is_found();
        self.a_frozen_node_is_named_as_down();
        self.the_loss_of_one_node_matters_to_local_quorums_alone();
        self.the_larger_data_centre_s_loss_matters_to_all_but_the_local_quorum_of_the_other();
        self.a_failed_data_centre_is_stepped_around_by_fail_over();
        self.two_nodes_that_are_down_are_named_and_no_advice_loses_data();
        self.a_broker_that_is_frozen_or_down_is_named();
    }

    fn cli(&self, subcommand: &[&str], environment: &[(&str, &str)]) -> Finished {
        let config = self.world.config.display().to_string();
        // The tests' configuration allows a reply topic that does not exist.
        let environment = [&[("CRM__KAFKA__REPLY_TOPIC_ALLOW_LIST", self.world.replies.as_str())], environment].concat();
        run_cli_with(&[subcommand, &["--config", &config]].concat(), &environment)
    }

    fn check(&self, environment: &[(&str, &str)]) -> Finished {
        self.cli(&["check"], environment)
    }

    /// Checks the installation before anybody has begun a transaction. The first `check` announces a producer.
    fn a_topic_that_the_brokers_will_make_is_told_by_their_settings(&self) {
        let checked = self.check(&[]).succeeded();
        let mut told = lines(&checked, "--", "topic");
        // The tests made the command topic without `setup`, which `check` notes, too.
        told.retain(|line| !line.contains("message.timestamp.type"));
        let parts = ["__transaction_state is not there yet", "min.isr 2", "replication.factor 3"];
        assert!(told.len() == 1 && parts.iter().all(|part| told[0].contains(part)), "{checked}");
    }

    fn all_is_well(&self) {
        let checked = self.check(&[LOCAL]).succeeded();
        assert_eq!(lines(&checked, "ok", "kafka"), ["3 brokers, all up"], "{checked}");
        assert_eq!(lines(&checked, "ok", "keyspace").len(), 1, "{checked}");
        assert!(lines(&checked, "ok", "commit log")[0].contains("batch"), "{checked}");
        for topic in [self.world.commands.as_str(), "__consumer_offsets", "__transaction_state"] {
            let told = lines(&checked, "ok", "topic").into_iter().find(|line| line.starts_with(topic));
            let told = told.unwrap_or_else(|| panic!("{topic}: {checked}"));
            assert!(told.contains("3 replicas (all in sync), min.insync.replicas 2"), "{told}");
        }
    }

    fn a_topic_with_one_replica_is_found(&self) {
        let topic = format!("{}.single", self.world.commands);
        let environment = [("CRM__KAFKA__TOPICS__COMMANDS", topic.as_str())];
        let made = self.cli(&["setup", "--replication-factor", "1"], &environment).succeeded();
        assert!(made.stdout.contains(&format!("{topic}: made, with 12 partitions, 1 replica (all in sync)")), "{made}");
        assert!(!made.stdout.contains("the brokers' default"), "{made}");
        let checked = self.check(&environment).exits(1);
        let findings = lines(&checked, "!!", "topic");
        assert!(findings.len() == 1 && findings[0].contains("1 replica on 3 brokers"), "{checked}");
    }

    fn a_frozen_node_is_named_as_down(&self) {
        self.nodes[1].signal("STOP");
        let checked = self.until_it_works(&[LOCAL]);
        says_alone(&checked, &[&[&self.second_is_down(), "all can be done without them"]]);
        self.nodes[1].signal("CONT");
        self.nodes.until_whole();
    }

    fn second_is_down(&self) -> String {
        format!("1 of 3 nodes down: {} (dc1)", self.nodes[1].address())
    }

    fn the_loss_of_one_node_matters_to_local_quorums_alone(&mut self) {
        self.nodes[1].stop_by("KILL");
        let node = self.second_is_down();
        let checked = self.until_it_works(&[LOCAL]);
        says_alone(&checked, &[&[&node, "all can be done without them"]]);
        assert!(lines(&checked, "ok", "store")[0].contains("committed at QUORUM"), "{checked}");
        let checked = self.check(&[LOCAL, LOCAL_QUORUM]).exits(1);
        says_alone(
            &checked,
            &[&[&node, "2 of 2 replicas in dc1", "nothing can be decided"], &["a read or write comes to no end"]],
        );
        self.says_whether_it_works(&[
            (&[FAR, FAILOVER, LOCAL_QUORUM], true),
            (&[LOCAL, LOCAL_SERIAL], false),
            (&[FAR, LOCAL_SERIAL], true),
            (&[FAR], true),
            (&[], true),
        ]);
    }

    /// Checks the installation when the second node is down already.
    fn the_larger_data_centre_s_loss_matters_to_all_but_the_local_quorum_of_the_other(&mut self) {
        self.nodes[0].stop_by("KILL");
        self.says_whether_it_works(&[(&[FAR, LOCAL_SERIAL], true), (&[FAR, FAILOVER], false), (&[LOCAL], false)]);
        self.nodes[0].start_again();
        self.nodes[1].start_again();
        self.nodes.until_whole();
    }

    /// Makes `check` with each of these settings, and compares what it says with whether a command can be decided: the lines of the page
    /// about deployment.
    fn says_whether_it_works(&self, settings: &[(&[(&str, &str)], bool)]) {
        for (environment, works) in settings {
            let checked = if *works { self.until_it_works(environment) } else { self.check(environment).exits(1) };
            let goes_on = checked.stdout.contains("all can be done without them");
            assert_eq!((goes_on, waits(&checked)), (*works, !works), "{environment:?}: {checked}");
        }
    }

    /// Makes `check` until nothing waits: on a busy machine the nodes that are left may not answer in time.
    fn until_it_works(&self, environment: &[(&str, &str)]) -> Finished {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let checked = self.check(environment).exits(1);
            if !waits(&checked) || Instant::now() > deadline {
                return checked;
            }
        }
    }

    fn a_failed_data_centre_is_stepped_around_by_fail_over(&mut self) {
        self.nodes[2].stop_by("KILL");
        let checked = self.check(&[FAR]).exits(1);
        says_alone(&checked, &[&["store.datacenter_failover is false: nobody is asked"], &["a read or write comes to no end"]]);
        let checked = self.until_it_works(&[FAR, FAILOVER]);
        says_alone(&checked, &[&["1 of 3 nodes down", "(dc2)", "all can be done without them"]]);
        self.says_whether_it_works(&[
            (&[LOCAL, LOCAL_QUORUM], true),
            (&[LOCAL, LOCAL_SERIAL], true),
            (&[FAR, LOCAL_SERIAL], false),
        ]);
    }

    /// Checks the installation when the data centre `dc2` is down already.
    fn two_nodes_that_are_down_are_named_and_no_advice_loses_data(&mut self) {
        self.nodes[1].stop_by("KILL");
        let checked = self.check(&[]).exits(1);
        let [second, third] = [1, 2].map(|n| self.nodes[n].address().to_owned());
        let expected = ["2 of 3 nodes down", &second, &third, "2 of 3 replicas in all data centres", "nothing can be decided"];
        says_alone(&checked, &[&expected, &["a read or write comes to no end"]]);
        let set_up = self.cli(&["setup"], &[]).exits(1);
        assert!(expected.iter().all(|part| set_up.stderr.contains(part)), "{set_up}");
        for text in [&checked.stdout, &set_up.stderr] {
            assert!(!text.contains("ALTER") && !text.contains("drop"), "{text}");
        }
    }

    fn a_broker_that_is_frozen_or_down_is_named(&mut self) {
        self.brokers[2].signal("STOP");
        self.until_the_third_broker_is_named();
        self.brokers[2].stop_by("KILL");
        self.until_the_third_broker_is_named();
    }

    fn until_the_third_broker_is_named(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let checked = self.check(&[]).exits(1);
            let brokers = lines(&checked, "!!", "kafka");
            let topic = lines(&checked, "!!", "topic").into_iter().find(|line| line.starts_with(&self.world.commands));
            if brokers.len() == 1 && topic.is_some_and(|topic| topic.contains("2 of 3 replicas in sync")) {
                assert!(brokers[0].contains("1 of 3 brokers down: 3;"), "{checked}");
                return;
            }
            assert!(Instant::now() < deadline, "the loss is not seen: {checked}");
        }
    }
}

/// Returns whether `check` found that reads or writes are not answered.
fn waits(checked: &Finished) -> bool {
    checked.stdout.contains("a read or write comes to no end")
}

/// Checks that the findings about the store are these, and no others: each has all parts.
fn says_alone(checked: &Finished, expected: &[&[&str]]) {
    let findings = lines(checked, "!!", "store");
    assert_eq!(findings.len(), expected.len(), "{checked}");
    for (finding, parts) in findings.iter().zip(expected) {
        assert!(parts.iter().all(|part| finding.contains(part)), "{parts:?} in {finding}");
    }
    assert!(lines(checked, "!!", "keyspace").is_empty(), "{checked}");
}
