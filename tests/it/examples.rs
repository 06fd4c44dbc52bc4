//! Runs the examples as their first lines say, against the real servers.

pub mod go;
pub mod java;
pub mod node;
pub mod python;
pub mod warehouse;

use crate::crm::Entity;
use crate::inbox::Record;
use crate::world::{Finished, World};
use serde_json::{Value as Json, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the path of a file or folder of `examples/`.
fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(path)
}

/// Runs an example to its end.
fn run(command: &mut Command) -> Finished {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let stderr = format!("{}({command:?})\n", text(&output.stderr));
    Finished { code: output.status.code().unwrap_or(-1), stdout: text(&output.stdout), stderr }
}

/// Returns the reply that an example printed.
fn printed(finished: &Finished) -> Json {
    let line = finished.stdout.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in the last line of {finished}"))
}

/// Checks a client that asks for a custom name: it must print the reply to a change, with exit code 0, and to a refusal, with
/// exit code 1. `ask` runs it with a request id, an external id and a name.
fn a_change_and_a_refusal_are_printed(world: &World, customer: &Entity, ask: impl Fn(&str, &str, &str) -> Finished) {
    let (request, refused) = (crate::crm::unique("r"), crate::crm::unique("r"));
    let done = printed(&ask(&request, &customer.external_id, "Ada Lovelace").exits(0));
    let got = (&done["statusCode"], &done["requestId"], &done["businessTransaction"]["customer"]["customName"]);
    assert_eq!(got, (&json!(200), &json!(request), &json!("Ada Lovelace")), "{done}");
    let transaction = world.transaction(customer, &request);
    assert_eq!(transaction.body["transactionId"], done["businessTransaction"]["transactionId"], "{transaction:?}");

    let no = printed(&ask(&refused, &crate::crm::unique("nobody"), "Ada Lovelace").exits(1));
    let got = (&no["statusCode"], &no["requestId"], &no["errors"][0]["code"]);
    assert_eq!(got, (&json!(400), &json!(refused), &json!("CASM-ENTITY-NOT-FOUND")), "{no}");
}

fn reply_to(world: &World, correlation: &Json) -> Json {
    let is_reply = |r: &Record| world.holds_replies(&r.topic) && r.body["correlationId"] == *correlation;
    world.inbox.first(&format!("a reply to {correlation}"), is_reply).body.clone()
}
