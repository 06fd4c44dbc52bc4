//! Holds the running gateway against its own description. schemathesis makes requests of the description, well-formed ones and others, and
//! judges the answers by it: statuses, headers, media types, bodies, and whether what the description forbids is refused and what it allows
//! is not. Its settings and what the description can't say are in the folder `schemathesis`.

use super::client::Gateway;
use crate::crm::{Entity, unique};
use crate::operation::path;
use crate::{python, registry, world};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;

/// A place in which schemathesis runs, with its programs.
struct Bench {
    programs: PathBuf,
    folder: PathBuf,
    entities: Value,
}

/// Sends a request about an entity, and returns the ids of both.
fn known(gateway: &Gateway, entity: &Entity, request: &str) -> Value {
    let name = entity.kind.name();
    let use_case = format!("/v1/update{}{}CustomName", name[..1].to_uppercase(), &name[1..]);
    let command = json!({"requestId": request, name: entity.by_ref_id(), "customName": "Ann"});
    let got = gateway.ask(&use_case, &[], &command);
    assert_eq!(got.status, 200, "{got:?}");
    json!({"refId": entity.ref_id, "externalId": entity.external_id, "requestId": request})
}

impl Bench {
    /// Holds a gateway against a description, of which `only` may choose operations. Returns whether nothing was found, and what was said.
    fn hold(&self, gateway: &Gateway, description: &Value, only: &[&str]) -> (bool, String) {
        std::fs::write(self.folder.join("openapi.json"), description.to_string()).unwrap();
        let mut command = Command::new(self.programs.join("python"));
        // The folder of programs was moved since, so those that name their Python by its path don't start.
        command
            .args([
                "-m",
                "schemathesis.cli",
                "--config-file",
                "schemathesis.toml",
                "run",
                "openapi.json",
                "--no-color",
                "--url",
                gateway.base(),
            ])
            .args(only);
        command.current_dir(&self.folder).env("CRM_ENTITIES", self.entities.to_string());
        // Neither a proxy nor the folder of the user is anything to these requests.
        command.envs([("NO_PROXY", "127.0.0.1"), ("no_proxy", "127.0.0.1"), ("HYPOTHESIS_STORAGE_DIRECTORY", "hypothesis")]);
        let output = command.output().expect("it is installed");
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.success(), said)
    }
}

#[test]
fn the_gateway_does_what_its_description_says() {
    let Some(shared) = world::shared() else { return };
    let source = path("tests/it/gateway/schemathesis");
    let Some(programs) = python::with(&source.join("requirements.txt")) else { return };
    // A busy machine is no finding.
    let gateway = Gateway::start(shared, &[("CRM__GATEWAY__REPLY_TIMEOUT", "30s")]);
    let folder = shared.dir().join(unique("schemathesis"));
    std::fs::create_dir_all(&folder).unwrap();
    for file in ["hooks.py", "schemathesis.toml"] {
        std::fs::copy(source.join(file), folder.join(file)).unwrap();
    }
    let entities = [shared.customer(), shared.account(), shared.subscriber()];
    let request = unique("r");
    let entities = entities.iter().map(|entity| (entity.kind.name().to_owned(), known(&gateway, entity, &request))).collect();
    let bench = Bench { programs, folder, entities };
    let (status, description) = registry::get(&format!("{}/openapi.json", gateway.base()));
    assert_eq!(status, 200, "{description}");
    let description: Value = serde_json::from_str(&description).unwrap();

    for (what, wrong, found) in wrong(&description) {
        let (is_fine, said) = bench.hold(&gateway, &wrong, &["--include-operation-id", "updateCustomerCustomName"]);
        assert!(!is_fine && said.contains(found), "{what} is not found: {said}");
    }
    let (is_fine, said) = bench.hold(&gateway, &description, &[]);
    println!("{said}");
    assert!(is_fine, "{said}");
}

/// Returns descriptions that are wrong about one operation, each with what is wrong and how that is told.
fn wrong(description: &Value) -> [(&'static str, Value, &'static str); 3] {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut wrong = description.clone();
        change(&mut wrong);
        wrong
    };
    let name = "/components/schemas/UpdateCustomerCustomName/properties/customName";
    let lax = with(&|wrong| *wrong.pointer_mut(name).unwrap() = json!({ "type": "string" }));
    let strict = with(&|wrong| {
        let required = &mut wrong["components"]["schemas"]["UpdateCustomerCustomName"]["required"];
        required.as_array_mut().expect("a list").push("expectedVersion".into());
    });
    let reply = with(&|wrong| wrong["components"]["schemas"]["Reply"]["properties"]["statusCode"] = json!({ "type": "string" }));
    [
        ("a name that may be anything", lax, "Schema-valid request rejected"),
        ("a version that each command must expect", strict, "Schema-violating request accepted"),
        ("a reply whose status is a text", reply, "Response violates schema"),
    ]
}
