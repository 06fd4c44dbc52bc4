//! The clients in Java.

use super::{a_change_and_a_refusal_are_printed, example, printed, run};
use crate::crm::unique;
use crate::inbox::Record;
use crate::registry;
use crate::servers;
use crate::world::{World, shared};
use serde_json::json;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// `java` with the compiled clients and their libraries on its class path. None: the caller is to return, the reason has been
/// printed.
fn java() -> Option<Command> {
    static CLASSES: OnceLock<PathBuf> = OnceLock::new();
    let pom = std::fs::read_to_string(example("java/pom.xml")).expect("is part of the repository");
    let lib = servers::jars_or_skip("java-clients-spring-kafka-4.0.0", &pom)?.join("*");
    let classes = CLASSES.get_or_init(|| {
        let classes = servers::log_dir().join("java-clients");
        let mut compiler = Command::new("javac");
        compiler.arg("-cp").arg(&lib).arg("-d").arg(&classes).args(["-Xlint:all", "-Werror"]);
        compiler
            .args(["WireFormat", "Commands", "PlainClient", "SpringClient"].map(|name| example(&format!("java/{name}.java"))));
        servers::finish(&mut compiler).unwrap_or_else(|e| panic!("{e}"));
        classes
    });
    let mut java = Command::new("java");
    java.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"]).arg(format!("{}:{}", classes.display(), lib.display()));
    Some(java)
}

/// What each client takes first.
fn places(world: &World) -> [&str; 3] {
    [world.kafka(), registry::url(), &world.commands]
}

#[test]
fn the_plain_java_client_prints_its_reply() {
    let Some(shared) = shared() else { return };
    if java().is_none() {
        return;
    }
    a_change_and_a_refusal_are_printed(shared, &shared.customer(), |request, external_id, name| {
        let mut java = java().expect("it was there");
        java.arg("PlainClient").args(places(shared)).args([&shared.replies, request, external_id, name]);
        run(&mut java)
    });
}

#[test]
fn springs_replying_template_gets_its_reply_on_a_topic_and_partition_of_its_own() {
    const PARTITION: i32 = 1;
    let Some(shared) = shared() else { return };
    let Some(mut java) = java() else { return };
    let (customer, request) = (shared.customer(), unique("r"));
    java.arg("SpringClient").args(places(shared)).args([&shared.other_replies, &PARTITION.to_string()]);
    java.args([&request, &customer.external_id, "Ada Lovelace"]);
    let reply = printed(&run(&mut java).exits(0));
    assert_eq!((&reply["statusCode"], &reply["requestId"]), (&json!(200), &json!(request)), "{reply}");
    assert_eq!(shared.transaction(&customer, &request).body["customer"]["customName"], "Ada Lovelace");

    let is_reply = |r: &Record| shared.holds_replies(&r.topic) && r.body["requestId"] == request.as_str();
    let record = shared.inbox.first("the reply", is_reply);
    assert_eq!((record.topic.as_str(), record.partition), (shared.other_replies.as_str(), PARTITION), "{record:?}");
    let correlation = record.header("kafka_correlationId").expect("Spring sends one, and it comes back");
    assert_eq!(correlation.len(), 16, "Spring's are UUIDs: {record:?}");
}
