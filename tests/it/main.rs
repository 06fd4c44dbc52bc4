//! The integration tests. They are one binary, so that all of them share one real Kafka and one real Cassandra.
//!
//! They treat the processor as other systems do: they start its binary, write to and read from its topics with a client and
//! schemas of their own, and know only the contract. Begin with these modules:
//!
//! - `servers` starts the servers that the tests run against.
//! - `world` is an installation of the processor; most tests share `world::shared()`.
//! - `crm` makes the commands, `inbox` reads what comes out, and `ledger` checks the promises on it.
//! - `use_cases`, `rejections` and `duplicates` specify the contract; `one_node_faults` and `simulation` test it while everything goes wrong.

#![allow(clippy::unwrap_used, reason = "in tests")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "tests say what they measured, and with which seed")]

mod acceptance;
mod architecture;
mod asyncapi;
mod bench;
mod brought;
mod bugs;
mod canary;
mod changes;
mod cluster_faults;
mod collector;
mod command_line;
mod configuration;
mod conformance;
mod cost;
mod cql;
mod creations;
mod crm;
mod deploy;
mod dlq;
mod docs;
mod drill;
mod duplicates;
mod embedded;
mod erase;
mod evolution;
mod examples;
mod fenced;
mod full_disk;
mod gate;
mod gateway;
mod generated;
mod golden;
mod guarded;
mod hanging_calls;
mod headers;
mod import_faults;
mod inbox;
mod ledger;
mod live_alerts;
mod log_level;
mod made_topics;
mod malformed;
mod nightly;
mod odd_registry;
mod one_node_faults;
mod operation;
mod ordering;
mod outages;
mod polls;
mod prometheus;
mod protocol;
mod proxy;
mod python;
mod quick_start;
mod read_ahead;
mod real_registry;
mod refused_outputs;
mod registry;
mod rejections;
mod restarts;
mod round;
mod security;
mod seeds;
mod servers;
mod shape;
mod simulation;
mod sizes;
mod slow_lane;
mod snapshot;
mod soak;
mod start_up;
mod states;
mod stoppages;
mod telemetry;
mod tools;
mod topics;
mod traces;
mod unreadable;
mod upgrades;
mod use_cases;
mod warehouse;
mod world;
mod writers;

/// Lets others work for a moment, between two looks at the state of another process, which can't wake the test.
#[expect(clippy::disallowed_methods, reason = "nothing could wake it")]
fn pause() {
    std::thread::sleep(std::time::Duration::from_millis(25));
}

/// Like [`pause`], but longer: for looks that take much of the machine, because they make a client or go through many metrics.
#[expect(clippy::disallowed_methods, reason = "nothing could wake it")]
fn long_pause() {
    std::thread::sleep(std::time::Duration::from_millis(200));
}

/// The tokio runtime of the tests' own clients.
fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: std::sync::OnceLock<tokio::runtime::Runtime> = std::sync::OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Runtime::new().expect("a runtime"))
}
