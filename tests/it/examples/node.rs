//! Tests the client in Node, and has npm install what it and other programs of the tests need.

use super::{a_change_and_a_refusal_are_printed, example, run};
use crate::crm::unique;
use crate::registry;
use crate::servers;
use crate::world::shared;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes a folder for this run with copies of `programs`, which lie in `source`, and the packages of the lock file there, which
/// are kept in the cache under `name`. Returns `None` if that can't be done here; the reason has been printed, and the test
/// returns.
pub fn installed(name: &str, source: &Path, programs: &[&str]) -> Option<PathBuf> {
    for (tool, package) in [("node", "nodejs"), ("npm", "npm")] {
        if Command::new(tool).arg("--version").output().is_err() {
            servers::skip(&format!("{tool} is not installed (Debian: apt-get install {package})"));
            return None;
        }
    }
    let copy = |into: &Path, file: &str| {
        std::fs::copy(source.join(file), into.join(file)).unwrap_or_else(|e| panic!("{}/{file}: {e}", source.display()));
    };
    let cached = servers::cache(name);
    let made = servers::make_once(&cached, |partial| {
        for file in ["package.json", "package-lock.json", ".npmrc"] {
            copy(partial, file);
        }
        servers::finish(Command::new("npm").args(["ci", "--no-progress"]).current_dir(partial))
    });
    made.unwrap_or_else(|e| panic!("{e}"));
    // Programs import packages from the folder in which they lie.
    let folder = servers::log_dir().join(unique(name));
    std::fs::create_dir_all(&folder).unwrap_or_else(|e| panic!("cannot make {}: {e}", folder.display()));
    for program in programs {
        copy(&folder, program);
    }
    std::os::unix::fs::symlink(cached.join("node_modules"), folder.join("node_modules")).expect("the folder is new");
    Some(folder)
}

#[test]
fn the_node_client_prints_its_reply() {
    let Some(shared) = shared() else { return };
    let Some(folder) = installed("node-kafkajs-2.2.4-avsc-5.7.9", &example("node"), &["client.mjs"]) else { return };
    a_change_and_a_refusal_are_printed(shared, &shared.customer(), |request, external_id, name| {
        let mut client = Command::new("node");
        client.arg(folder.join("client.mjs")).args([shared.kafka(), registry::url(), &shared.commands, &shared.replies]);
        let fields = json!({"requestId": request, "customer": {"externalId": external_id}, "customName": name});
        run(client.args([external_id, "UpdateCustomerCustomName", &fields.to_string()]))
    });
}
