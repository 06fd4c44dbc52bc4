//! Holds the description of the API against tools that others use: a linter, and the makers of a client, which compiles and sends commands.

use super::client::Gateway;
use crate::crm::unique;
use crate::examples::node::installed;
use crate::operation::path;
use crate::{registry, world};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};

const LINT: [&str; 5] = ["node_modules/@redocly/cli/bin/cli.js", "lint", "--config", "redocly.yaml", "--max-problems=1000"];

/// Fails unless `openapi.yaml` says the same as the document that is named.
const SAME: &str = "const [fs, yaml] = [require('fs'), require('js-yaml')];
const read = (file) => fs.readFileSync(file, 'utf8');
require('assert').deepStrictEqual(yaml.load(read('openapi.yaml')), JSON.parse(read(process.argv[1])));";

fn node(folder: &Path, arguments: &[&str]) -> Output {
    let mut node = Command::new("node");
    // The linter would tell its maker about each run, and ask for newer versions.
    node.args(arguments).current_dir(folder).envs([("REDOCLY_TELEMETRY", "off"), ("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true")]);
    node.output().expect("node is there")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_linter_finds_nothing_in_the_description_and_a_client_is_made_of_it() {
    let Some(shared) = world::shared() else { return };
    let name = "node-redocly-1.34.20-openapi-typescript-7.13.0";
    let Some(folder) = installed(name, &path("tests/it/gateway/openapi"), &["client.mts", "redocly.yaml"]) else { return };
    let gateway = Gateway::start(shared, &[]);
    let (status, description) = registry::get(&format!("{}/openapi.json", gateway.base()));
    assert_eq!(status, 200, "{description}");
    std::fs::write(folder.join("openapi.json"), &description).unwrap();
    std::fs::write(folder.join("wrong.json"), description.replacen("\"operationId\"", "\"operationID\"", 1)).unwrap();
    let linted = node(&folder, &[&LINT[..], &["openapi.json"]].concat());
    assert!(linted.status.success(), "{}", text(&linted));
    let blamed = node(&folder, &[&LINT[..], &["wrong.json"]].concat());
    assert!(!blamed.status.success(), "the linter finds nothing in a document that is wrong: {}", text(&blamed));
    let (status, yaml) = registry::get(&format!("{}/openapi.yaml", gateway.base()));
    assert_eq!(status, 200, "{yaml}");
    std::fs::write(folder.join("openapi.yaml"), yaml).unwrap();
    let [same, other] = ["openapi.json", "wrong.json"].map(|json| node(&folder, &["-e", SAME, json]));
    assert!(same.status.success(), "{}", text(&same));
    assert!(!other.status.success(), "a document that is wrong is the same, too");

    let made = node(&folder, &["node_modules/openapi-typescript/bin/cli.js", "openapi.json", "--output", "api.d.ts"]);
    assert!(made.status.success(), "{}", text(&made));
    let compiler = ["node_modules/typescript/bin/tsc", "--strict", "--noUncheckedIndexedAccess", "--target", "es2022"];
    let modules = ["--module", "nodenext", "--lib", "es2022,dom", "--skipLibCheck", "client.mts"];
    let compiled = node(&folder, &[&compiler[..], &modules].concat());
    assert!(compiled.status.success(), "{}", text(&compiled));
    let customer = shared.customer();
    let ran = node(&folder, &["client.mjs", gateway.base(), &unique("r"), &customer.ref_id]);
    let printed: Value = serde_json::from_slice(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&ran)));
    let expected = json!({
        "status": 200, "state": "SUSPENDED", "refused": 412, "code": "CASM-VERSION-CONFLICT", "since": printed["since"],
        "changes": ["state", "stateReason"],
    });
    assert_eq!(printed, expected);
    assert!(printed["since"].as_i64().is_some_and(|since| since > 1_700_000_000_000), "milliseconds: {printed}");
}
