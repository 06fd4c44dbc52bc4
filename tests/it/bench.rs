//! Tests `bench` with a few hundred commands: its lines have the promised shape, figures that must be exact are exact, and
//! nothing is left behind on the servers. The measured figures are printed, never asserted; `cargo test --test it -- --nocapture
//! bench` shows them.

use crate::crm::unique;
use crate::guarded::Guarded;
use crate::inbox::Inbox;
use crate::servers;
use crate::world::{Finished, PATIENT_STORE, World, run_cli, run_cli_with, shared};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use scylla::client::session_builder::SessionBuilder;
use serde_json::Value as Json;
use std::process::Command;
use std::time::Instant;

const KEYS: [&str; 12] = [
    "case",
    "commands",
    "seconds",
    "commands_per_second",
    "ceiling_per_second",
    "ratio",
    "lwts_per_command",
    "records_per_transaction",
    "cpu_us_per_command",
    "peak_memory_mib",
    "reply_ms",
    "steps_ms",
];

/// The steps of a reply, in their order.
const STEPS: [&str; 10] = ["fetch", "queue", "decide", "gather", "produce", "flush", "offsets", "commit", "hand_over", "markers"];

/// Returns the lines by the names of their cases, and checks that each has the keys on which tools rely.
fn lines(finished: &Finished) -> Vec<(String, Json)> {
    let read = |line: &str| {
        println!("{line}");
        let json: Json = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        // The keys' order counts, because people read the lines from left to right.
        let keys: Vec<_> = line.match_indices('"').map(|(at, _)| at).collect();
        let at = |key: &str| line.find(&format!("\"{key}\":")).unwrap_or_else(|| panic!("{key} is in {line}"));
        assert!(KEYS.windows(2).all(|pair| at(pair[0]) < at(pair[1])), "{line}");
        assert_eq!(json.as_object().expect("an object").len(), KEYS.len(), "{line}");
        // Three more names, and one more text; and the names of the steps, if they are told.
        let steps = json["steps_ms"].as_object().map_or(0, serde_json::Map::len);
        assert_eq!(keys.len(), 2 * (KEYS.len() + 3 + 1 + steps), "{line}");
        for number in [&json["reply_ms"]["p50"], &json["reply_ms"]["p99"], &json["reply_ms"]["max"], &json["peak_memory_mib"]] {
            assert!(number.as_f64().is_some_and(|n| n > 0.0), "{line}");
        }
        (json["case"].as_str().expect("a text").to_owned(), json)
    };
    finished.stdout.lines().map(read).collect()
}

fn of<'a>(lines: &'a [(String, Json)], case: &str) -> &'a Json {
    &lines.iter().find(|(name, _)| name == case).unwrap_or_else(|| panic!("{case} is among {lines:?}")).1
}

/// Runs `bench` on the servers of an installation.
fn on_servers(world: &World, args: &[&str]) -> Finished {
    let config = world.config.display().to_string();
    // `ceiling` must come before the flags.
    run_cli_with(&[&["bench"], args, &["--config", &config]].concat(), &[PATIENT_STORE]).succeeded()
}

#[test]
fn each_case_prints_a_line_beside_its_ceiling_and_leaves_nothing_behind() {
    let Some(shared) = shared() else { return };
    let prefix = prefix();
    let sizes = ["--commands", "300", "--entities", "300", "--partitions", "3", "--prefix", &prefix];
    let finished = on_servers(shared, &sizes);
    let lines = lines(&finished);
    let cases: Vec<_> = lines.iter().map(|(case, _)| case.as_str()).collect();
    let expected = ["name", "segment", "rename", "state", "create", "mixed", "hot", "skewed", "duplicates", "rejected", "copy"];
    assert_eq!(cases, expected);
    for case in &cases[..10] {
        assert_eq!(of(&lines, case)["commands"], 300);
        assert!(of(&lines, case)["ratio"].as_f64().is_some_and(|ratio| ratio > 0.0), "{case}: {lines:?}");
    }
    for (case, lwts) in [("name", 1.0), ("segment", 1.0), ("rename", 2.0), ("state", 1.0), ("create", 2.0), ("rejected", 1.0)] {
        assert_eq!(of(&lines, case)["lwts_per_command"], lwts, "{case}: one command for each entity");
    }
    assert_gone(&prefix);
}

#[test]
fn latency_at_a_rate_stands_beside_that_of_its_two_parts() {
    let Some(shared) = shared() else { return };
    let prefix = prefix();
    let how =
        ["name", "--warm", "--instances", "2", "--rate", "100", "--commands", "50", "--entities", "20", "--prefix", &prefix];
    let finished = on_servers(shared, &how);
    let lines = lines(&finished);
    let cases: Vec<_> = lines.iter().map(|(case, _)| case.as_str()).collect();
    assert_eq!(cases, ["name", "one-lwt", "one-transaction"]);
    assert!(of(&lines, "name")["seconds"].as_f64().is_some_and(|s| s >= 0.49), "the last of 50 is due after 0.49 s: {lines:?}");
    assert_eq!(of(&lines, "one-lwt")["lwts_per_command"], 1.0);
    assert_eq!(of(&lines, "one-transaction")["records_per_transaction"], 1.0);
    assert!(of(&lines, "one-lwt")["steps_ms"].is_null() && of(&lines, "one-transaction")["steps_ms"].is_null());
    assert_steps(of(&lines, "name"));
    assert_gone(&prefix);
}

/// Checks that each step has its share of the mean latency, and that together they are no more and no less than that.
fn assert_steps(line: &Json) {
    let steps = line["steps_ms"].as_object().unwrap_or_else(|| panic!("no steps: {line}"));
    let of = |name: &str| steps.get(name).and_then(Json::as_f64).unwrap_or_else(|| panic!("{name} is in {line}"));
    assert_eq!(steps.len(), STEPS.len() + 1, "{line}");
    for step in ["decide", "produce", "flush", "offsets", "commit"] {
        assert!(of(step) > 0.0, "{step} takes some time: {line}");
    }
    // A process that stands still may learn of the commit only after the CRM has read the reply.
    let until_told: f64 = ["produce", "flush", "offsets", "commit", "hand_over"].into_iter().map(of).sum();
    for step in STEPS {
        let ahead = if step == "markers" { until_told } else { 0.0 };
        // Kafka's timestamps are whole milliseconds, and those at either end of the way to the commit are cut off.
        assert!(of(step) >= -1.0 - ahead, "the steps before are longer than the reply took: {line}");
    }
    let sum: f64 = STEPS.into_iter().map(of).sum();
    assert!((sum - of("reply")).abs() < 0.02, "{sum} is the sum of {line}");
    assert!(of("reply") <= line["reply_ms"]["max"].as_f64().expect("a number"), "{line}");
}

#[test]
fn the_ceiling_can_be_measured_by_itself() {
    let Some(shared) = shared() else { return };
    let prefix = prefix();
    let how = ["ceiling", "rename", "state", "create", "hot", "--commands", "128", "--entities", "50", "--prefix", &prefix];
    let finished = on_servers(shared, &how);
    let lines = lines(&finished);
    for (case, lwts) in [
        ("ceiling:rename", 2.0),
        ("ceiling:state", 1.0),
        ("ceiling:create", 2.0),
        ("ceiling:hot:1", 1.0),
        ("ceiling:hot:16", 0.063),
    ] {
        assert_eq!(of(&lines, case)["lwts_per_command"], lwts, "{case}");
    }
    assert_gone(&prefix);
}

#[test]
fn the_database_can_be_made_slower() {
    let Some(shared) = shared() else { return };
    let prefix = prefix();
    let how = ["name", "--store-delay", "40ms", "--rate", "100", "--commands", "20", "--entities", "20", "--prefix", &prefix];
    let finished = on_servers(shared, &how);
    let lines = lines(&finished);
    for (case, answers) in [("name", 2.0), ("one-lwt", 1.0)] {
        // A cold command has a read, or several, before its write.
        let p50 = &of(&lines, case)["reply_ms"]["p50"];
        assert!(p50.as_f64().is_some_and(|p50| p50 >= 40.0 * answers), "{case}: {p50}");
    }
    assert_steps(of(&lines, "name"));
    // The write of each command, at least, is part of its decision.
    let decide = &of(&lines, "name")["steps_ms"]["decide"];
    assert!(decide.as_f64().is_some_and(|decide| decide >= 40.0), "{decide}");
    assert_gone(&prefix);
}

#[test]
fn embedded_needs_no_servers() {
    let how = ["--changes", "--commands", "100", "--entities", "100", "--partitions", "2", "--runs", "2"];
    let finished = run_cli(&[&["bench", "--embedded", "name", "state", "create", "duplicates"], &how[..]].concat()).succeeded();
    let lines = lines(&finished);
    for (case, lwts) in [("name", 1.0), ("state", 1.0), ("create", 2.0)] {
        assert_eq!(of(&lines, case)["lwts_per_command"], lwts, "{case}");
    }
    assert!(of(&lines, "duplicates")["ratio"].is_number() && of(&lines, "copy")["ratio"].is_null());
    assert!(of(&lines, "name")["steps_ms"].is_null(), "commands of a backlog wait for each other");
    run_cli(&["bench", "--embedded", "--instances", "2", "name"]).exits(2);
}

#[test]
fn a_gateway_is_measured_beside_the_topic() {
    let how = ["--http", "--rate", "100", "--commands", "100", "--entities", "100", "--partitions", "2"];
    let finished = run_cli(&[&["bench", "--embedded"], &how[..]].concat()).succeeded();
    let lines = lines(&finished);
    let cases: Vec<_> = lines.iter().map(|(case, line)| (case.as_str(), line["commands"].as_u64().unwrap())).collect();
    let expected = [("topic-at-rate", 200), ("http-at-rate", 200), ("topic", 100), ("http", 100), ("http-open", 1000)];
    assert_eq!(cases, expected);
    // The system counts CPU time in hundredths of a second, which the first cases may not use up.
    let cpu = &of(&lines, "http-open")["cpu_us_per_command"];
    assert!(cpu.as_f64().is_some_and(|cpu| cpu > 0.0), "the gateway worked: {lines:?}");
    run_cli(&["bench", "--embedded", "--http", "name"]).exits(2);
}

#[test]
fn a_processor_that_dies_ends_the_run_at_once() {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_crm-processor"));
    bench.args(["bench", "--embedded", "--commands", "5000", "--entities", "5000", "--no-ceiling", "name"]);
    // The first transaction answers the command before those of the case.
    bench.env("FAILPOINTS", "committed=2*off->return");
    let log = servers::log_dir().join("bench-whose-processor-dies.log");
    let mut bench = Guarded::spawn(&bench, &log, None);
    assert_eq!(bench.wait(Inbox::PATIENCE).code(), Some(1), "{}", bench.log());
    // Had it waited the minute for a reply, it would say that replies are missing.
    assert!(bench.log().contains("a processor ended with signal: 9"), "{}", bench.log());
}

#[test]
fn what_was_made_is_removed_after_ctrl_c_too() {
    let Some(shared) = shared() else { return };
    let prefix = prefix();
    let mut bench = Command::new(env!("CARGO_BIN_EXE_crm-processor"));
    bench.args(["bench", "--changes", "--rate", "10", "--commands", "100000", "--entities", "10", "name", "--prefix", &prefix]);
    bench.arg("--config").arg(&shared.config);
    let mut bench = Guarded::spawn(&bench, &shared.dir().join(format!("{prefix}.log")), None);
    // Rows of changes come, so `bench` is under way, and publishes what it is told to.
    until(&mut bench, || topics(&prefix).iter().filter(|topic| topic.ends_with(".changes")).any(|topic| has_records(topic)));
    bench.signal("INT");
    assert_eq!(bench.wait(Inbox::PATIENCE).code(), Some(1), "{}", bench.log());
    assert!(bench.log().contains("interrupted"), "{}", bench.log());
    assert_gone(&prefix);
}

/// The name must not be the beginning of another test's.
fn prefix() -> String {
    format!("{}-b", unique("bench"))
}

fn assert_gone(prefix: &str) {
    let deadline = Instant::now() + Inbox::PATIENCE;
    // A broker may list a deleted topic for a moment.
    while !topics(prefix).is_empty() {
        assert!(Instant::now() < deadline, "left: {:?}", topics(prefix));
        crate::pause();
    }
    assert_eq!(groups(prefix), Vec::<String>::new());
    let keyspace = prefix.replace('-', "_");
    let left: Vec<_> = keyspaces().into_iter().filter(|k| k.starts_with(&keyspace)).collect();
    assert_eq!(left, Vec::<String>::new());
}

fn until(bench: &mut Guarded, reached: impl Fn() -> bool) {
    let deadline = Instant::now() + Inbox::PATIENCE;
    while !reached() {
        assert!(bench.ended().is_none() && Instant::now() < deadline, "{}", bench.log());
        crate::pause();
    }
}

fn client() -> BaseConsumer {
    let kafka = servers::kafka().expect("it is there");
    ClientConfig::new().set("bootstrap.servers", kafka).create().expect("a client")
}

fn topics(prefix: &str) -> Vec<String> {
    let metadata = client().fetch_metadata(None, Inbox::PATIENCE).expect("the broker answers");
    metadata.topics().iter().map(|t| t.name().to_owned()).filter(|name| name.starts_with(prefix)).collect()
}

fn has_records(topic: &str) -> bool {
    let client = client();
    let metadata = client.fetch_metadata(Some(topic), Inbox::PATIENCE).expect("the broker answers");
    // A partition may have no leader yet.
    let has = |partition: i32| client.fetch_watermarks(topic, partition, Inbox::PATIENCE).is_ok_and(|(_, end)| end > 0);
    metadata.topics().iter().any(|topic| topic.partitions().iter().any(|partition| has(partition.id())))
}

fn groups(prefix: &str) -> Vec<String> {
    let groups = client().fetch_group_list(None, Inbox::PATIENCE).expect("the broker answers");
    groups.groups().iter().map(|g| g.name().to_owned()).filter(|name| name.starts_with(prefix)).collect()
}

fn keyspaces() -> Vec<String> {
    crate::runtime().block_on(async {
        let node = servers::cassandra().expect("it is there");
        let session = SessionBuilder::new().known_node(node).build().await.expect("a session");
        let rows = session.query_unpaged("SELECT keyspace_name FROM system_schema.keyspaces", ()).await.expect("rows");
        let rows = rows.into_rows_result().expect("rows");
        rows.rows::<(String,)>().expect("a text").map(|row| row.expect("a text").0).collect()
    })
}
