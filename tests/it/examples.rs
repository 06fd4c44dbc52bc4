//! The producer examples, run as their first lines say.

use crate::crm::{Entity, Kind, json_lines, unique};
use crate::world::{World, shared};
use crate::{python, registry, servers};
use serde_json::{Value as Json, json};
use std::path::{Path, PathBuf};
use std::process::Command;

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(path)
}

/// Sends commands, as lines that `producer.py` reads, with the Python example. False: it can't run here.
pub fn send_with_python(world: &World, lines: &str) -> bool {
    let Some(programs) = python::with(&example("python/requirements.txt")) else { return false };
    let file = world.dir().join(format!("{}.jsonl", unique("commands")));
    std::fs::write(&file, lines).unwrap_or_else(|e| panic!("cannot write {}: {e}", file.display()));
    let mut producer = Command::new(programs.join("python"));
    producer.arg(example("python/producer.py")).arg("--bootstrap-servers").arg(servers::kafka().expect("is up"));
    producer.args(["--registry", registry::url(), "--topic", &world.commands]).arg(&file);
    servers::finish(&mut producer).unwrap_or_else(|e| panic!("{e}"));
    true
}

#[test]
fn the_python_producer_sends_each_kind_of_command() {
    let Some(shared) = shared() else { return };
    let (customer, account, subscriber) = (shared.customer(), shared.account(), shared.subscriber());
    let line = |command: &str, entity: &Entity, field: &str, value: &str| {
        let (request, correlation) = (unique("r"), unique("c"));
        let fields = json!({"requestId": request, entity.kind.name(): entity.by_external_id(), field: value});
        json!({"command": command, "key": entity.ref_id, "correlationId": correlation, "fields": fields})
    };
    let commands = [
        line("UpdateCustomerCustomName", &customer, "customName", "Ada"),
        line("UpdateCustomerSegment", &customer, "customerSegment", "ENTERPRISE"),
        line("UpdateAccountExternalId", &account, "externalId", &unique("a")),
        line("UpdateSubscriberExternalId", &subscriber, "externalId", &unique("s")),
    ];
    if !send_with_python(shared, &json_lines(&commands)) {
        return;
    }
    for command in commands {
        let reply = reply_to(shared, &command["correlationId"]);
        assert_eq!(reply["statusCode"], 200, "{command}: {reply}");
        assert_eq!(reply["requestId"], command["fields"]["requestId"], "{command}: {reply}");
    }
}

#[test]
fn the_java_producer_sends_a_custom_name() {
    let Some(shared) = shared() else { return };
    let Some(lib) = servers::jars_or_skip("java-producer", &std::fs::read_to_string(example("java/pom.xml")).expect("is there"))
    else {
        return;
    };
    let customer = shared.entity(Kind::Customer, "ACTIVE");
    let request = unique("r");
    let mut producer = Command::new("java");
    producer.arg("-cp").arg(lib.join("*")).arg(example("java/Producer.java"));
    producer.args([servers::kafka().expect("is up"), registry::url(), &shared.commands]);
    producer.args([&request, &customer.external_id, "Ada Lovelace"]);
    servers::finish(&mut producer).unwrap_or_else(|e| panic!("{e}"));
    let transaction = shared.transaction(&customer, &request);
    assert_eq!(transaction.body["customer"]["customName"], "Ada Lovelace", "{transaction:?}");
    let reply = reply_to(shared, &transaction.body["correlationId"]);
    assert_eq!(reply["statusCode"], 200, "{reply}");
}

fn reply_to(world: &World, correlation: &Json) -> Json {
    let is_reply = |r: &crate::inbox::Record| world.holds_replies(&r.topic) && r.body["correlationId"] == *correlation;
    world.inbox.first(&format!("a reply to {correlation}"), is_reply).body.clone()
}
