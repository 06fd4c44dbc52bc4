//! Measures how long the program takes from its start until `/readyz` is 200, with the servers up, and from SIGTERM to its end.
//! The figures are in docs/deployment.md. `CRM_TEST_BINARY=target/dist/crm-processor cargo test --test it -- --ignored
//! --nocapture start_up` repeats them.

use crate::crm::{Entity, Kind, custom_name, unique};
use crate::gate::Gate;
use crate::ledger::Ledger;
use crate::servers;
use crate::world::{Processor, World};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use toml::{Table, Value};

const STARTS: usize = 7;
/// The time between SIGTERM and SIGKILL that the files of `deploy/` set for Kubernetes, systemd and Compose.
const TERMINATION: Duration = Duration::from_secs(45);
const BACKLOG: usize = 5_000;

#[test]
#[ignore = "measures"]
fn a_process_is_ready_with_either_store() {
    let Some(world) = World::set_up("start-up", |_| {}) else { return };
    report("real servers", &world);
    let path = Value::String(world.dir().join("store").display().to_string());
    let embedded = |config: &mut Table| {
        let store = Table::from_iter([("kind".to_owned(), "embedded".into()), ("path".to_owned(), path)]);
        config.insert("store".into(), Value::Table(store));
    };
    let Some(world) = World::set_up("start-up-embedded", embedded) else { return };
    report("embedded store", &world);
}

#[test]
#[ignore = "measures"]
fn a_process_ends_within_the_termination_period_with_a_backlog_and_with_the_store_away() {
    let Some(cassandra) = servers::cassandra() else { return };
    let gate = Gate::before(cassandra);
    let through_gate = |config: &mut Table| {
        let store = config["store"].as_table_mut().expect("is a table");
        store.insert("contact_points".into(), vec![gate.address()].into());
    };
    let Some(world) = World::set_up("stopping", through_gate) else { return };
    let customers: Vec<_> = (0..100).map(|_| Entity::new(Kind::Customer, "ACTIVE")).collect();
    world.import(&customers);
    let correlations: Vec<_> = (0..BACKLOG).map(|_| unique("c")).collect();
    let commands = customers.iter().cycle().zip(&correlations).map(|(customer, correlation)| {
        let command = custom_name(&unique("r"), &customer.by_ref_id(), &unique("name")).key(&customer.ref_id);
        command.header("correlation-id", correlation)
    });
    let processor = world.run();
    println!("idle: ends {} ms after SIGTERM", stop(&processor).as_millis());
    let processor = world.run();
    world.send_all(&commands.collect::<Vec<_>>());
    world.inbox.first("a reply", |r| r.topic == world.replies);
    println!("with a backlog: ends {} ms after SIGTERM", stop(&processor).as_millis());
    let processor = world.run();
    gate.shut();
    processor.until_metric("crm_store_up", 0);
    println!("with a backlog and the store away: ends {} ms after SIGTERM", stop(&processor).as_millis());
    gate.open();
    let processor = world.run();
    Ledger::close(&world, &correlations);
    stop(&processor);
}

fn stop(processor: &Processor) -> Duration {
    let begun = Instant::now();
    processor.signal("TERM");
    assert_eq!(processor.wait(), 0, "{}", processor.log_tail());
    let took = begun.elapsed();
    assert!(took < TERMINATION, "it would have been killed: {took:?}");
    took
}

fn report(what: &str, world: &World) {
    let mut seen: Vec<_> = (0..STARTS).map(|_| start(world)).collect();
    seen.sort();
    let millis = |time: Duration| time.as_millis();
    let [(first, _), .., (last, _)] = &*seen else { panic!("two at least") };
    let (time, kib) = seen[STARTS / 2];
    println!("{what}: ready after {} ms ({} to {}), with {} MiB", millis(time), millis(*first), millis(*last), kib / 1024);
}

/// Measures the time from the start to the first 200, and the memory then.
fn start(world: &World) -> (Duration, u64) {
    let (port, begun) = (servers::free_port(), Instant::now());
    let processor: Processor = world.start_at(port, &unique("slot"), &[]);
    while !is_ready(port) {
        assert!(processor.ended().is_none(), "{}", processor.log_tail());
        assert!(begun.elapsed() < crate::inbox::Inbox::PATIENCE, "{}", processor.log_tail());
        look_again_soon();
    }
    let seen = (begun.elapsed(), processor.memory_kib("VmRSS"));
    processor.signal("TERM");
    assert_eq!(processor.wait(), 0, "{}", processor.log_tail());
    seen
}

#[expect(clippy::disallowed_methods, reason = "nothing could wake it, and to ask all the time would slow down who is asked")]
fn look_again_soon() {
    std::thread::sleep(Duration::from_millis(2));
}

/// Asks without an HTTP client, because making one takes longer than the answer.
fn is_ready(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200"))
}
