//! Tests the clients in Python, and makes the Python in which they run.

use super::{a_change_and_a_refusal_are_printed, example, reply_to, run};
use crate::crm::{Entity, Kind, json_lines, unique};
use crate::registry;
use crate::servers;
use crate::world::{Finished, World, shared};
use crm_processor::domain::use_case::UseCase;
use serde_json::{Value as Json, json};
use std::path::PathBuf;
use std::process::Command;

/// Returns a Python with the examples' requirements, or `None` if it can't be had here; the reason has been printed, and the test
/// returns.
pub fn python() -> Option<PathBuf> {
    Some(crate::python::with(&example("python/requirements.txt"))?.join("python"))
}

/// Sends commands, given as lines that `producer.py` reads, with the Python example. Returns `false` if it can't run here.
pub fn send_with_python(world: &World, lines: &str) -> bool {
    let Some(python) = python() else { return false };
    let file = world.dir().join(format!("{}.jsonl", unique("commands")));
    std::fs::write(&file, lines).unwrap_or_else(|e| panic!("cannot write {}: {e}", file.display()));
    let mut producer = Command::new(python);
    producer.arg(example("python/producer.py")).args(["--bootstrap-servers", world.kafka(), "--registry", registry::url()]);
    producer.args(["--topic", &world.commands]).arg(&file);
    servers::finish(&mut producer).unwrap_or_else(|e| panic!("{e}"));
    true
}

#[test]
fn the_python_producer_sends_each_kind_of_command() {
    let Some(shared) = shared() else { return };
    let (customer, account, subscriber) = (shared.customer(), shared.account(), shared.subscriber());
    let two_of = |kind| [0, 1].map(|_| shared.entity(kind, "ACTIVE"));
    let (customers, accounts, subscribers) = (two_of(Kind::Customer), two_of(Kind::Account), two_of(Kind::Subscriber));
    let line = |command: &str, entity: &Entity, field: &str, value: &str| {
        let (request, correlation) = (unique("r"), unique("c"));
        let fields = json!({"requestId": request, entity.kind.name(): entity.by_external_id(), field: value});
        json!({"command": command, "key": entity.ref_id, "correlationId": correlation, "fields": fields})
    };
    // What a creation has beside its external id: the reference to its superior, or anything else.
    let creation = |command: &str, field: &str, value: Json| {
        let (request, correlation, id) = (unique("r"), unique("c"), unique("e"));
        let fields = json!({"requestId": request, "externalId": id, field: value});
        json!({"command": command, "key": id, "correlationId": correlation, "fields": fields})
    };
    let commands = [
        line("UpdateCustomerCustomName", &customer, "customName", "Ada"),
        line("UpdateCustomerSegment", &customer, "customerSegment", "ENTERPRISE"),
        line("UpdateAccountExternalId", &account, "externalId", &unique("a")),
        line("UpdateSubscriberExternalId", &subscriber, "externalId", &unique("s")),
        line("UpdateCustomerExternalId", &customers[0], "externalId", &unique("c")),
        line("UpdateAccountCustomName", &accounts[0], "customName", "Ada"),
        line("UpdateSubscriberCustomName", &subscribers[0], "customName", "Ada"),
        line("UpdateCustomerState", &customers[1], "state", "SUSPENDED"),
        line("UpdateAccountState", &accounts[1], "state", "INACTIVE"),
        line("UpdateSubscriberState", &subscribers[1], "state", "DEACTIVATED"),
        creation("CreateCustomer", "customerSegment", json!("ENTERPRISE")),
        creation("CreateAccount", "customer", customer.by_external_id()),
        creation("CreateSubscriber", "account", accounts[0].by_ref_id()),
    ];
    assert_eq!(commands.len(), UseCase::ALL.len(), "each kind");
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
fn the_python_client_prints_its_reply() {
    let Some(shared) = shared() else { return };
    let Some(python) = python() else { return };
    a_change_and_a_refusal_are_printed(shared, &shared.customer(), |request, external_id, name| {
        let mut client = Command::new(&python);
        client.arg(example("python/request_reply.py"));
        client.args(["--bootstrap-servers", shared.kafka(), "--registry", registry::url()]);
        client.args([
            "--topic",
            &shared.commands,
            "--replies",
            &shared.replies,
            "--key",
            external_id,
            "UpdateCustomerCustomName",
        ]);
        let fields = json!({"requestId": request, "customer": {"externalId": external_id}, "customName": name});
        run(client.arg(fields.to_string()))
    });
}

#[test]
fn a_new_customer_is_taken_in_and_a_second_run_finds_it_done() {
    let Some(shared) = shared() else { return };
    let Some(python) = python() else { return };
    let ids = ["c", "a", "s"].map(unique);
    let run_it = |ids: &[String; 3]| {
        let mut program = Command::new(&python);
        program.arg(example("python/new_customer.py"));
        program.args(["--bootstrap-servers", shared.kafka(), "--registry", registry::url()]);
        run(program.args(["--topic", &shared.commands, "--replies", &shared.replies]).args(ids))
    };
    let steps = |finished: &Finished| -> Vec<Json> {
        finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {finished}"))).collect()
    };
    let first = steps(&run_it(&ids).exits(0));
    let versions: Vec<_> = first.iter().map(|step| (step["command"].as_str(), step["version"].as_i64())).collect();
    let expected = [
        ("CreateCustomer", 1),
        ("CreateAccount", 1),
        ("CreateSubscriber", 1),
        ("UpdateCustomerState", 2),
        ("UpdateSubscriberState", 2),
    ];
    assert_eq!(versions, expected.map(|(command, version)| (Some(command), Some(version))), "{first:?}");
    let again = steps(&run_it(&ids).exits(0));
    for (first, again) in first.iter().zip(&again) {
        let kept = |step: &Json| [&step["command"], &step["refId"], &step["version"]].map(Json::clone);
        assert_eq!((kept(again), &again["replayed"], &first["replayed"]), (kept(first), &json!(true), &json!(false)));
    }
    for (kind, id, state) in [("customer", &ids[0], "ACTIVE"), ("account", &ids[1], "ACTIVE"), ("subscriber", &ids[2], "ACTIVE")]
    {
        let shown = shared.cli("show", &[kind, id, "--json"]).succeeded();
        let shown: Json = serde_json::from_str(&shown.stdout).expect("show --json prints JSON");
        assert_eq!((&shown["entity"]["state"], &shown["entity"]["stateReason"]), (&json!(state), &Json::Null), "{shown}");
    }
    // Somebody else's customer has the id: the first step is refused, and nothing comes after it.
    let taken = shared.customer().external_id;
    let refused = steps(&run_it(&[taken, unique("a"), unique("s")]).exits(1));
    assert_eq!(refused.iter().map(|step| &step["errors"]).collect::<Vec<_>>(), [&json!(["CASM-EXTERNAL-ID-NOT-UNIQUE"])]);
}
