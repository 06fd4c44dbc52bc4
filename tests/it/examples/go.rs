//! Tests the client in Go, and finds or fetches the Go that builds it.

use super::{a_change_and_a_refusal_are_printed, example, run};
use crate::registry;
use crate::servers;
use crate::world::shared;
use std::path::{Path, PathBuf};
use std::process::Command;
use uuid::Uuid;

/// The oldest Go that the client can be built with: minor versions of Go 1, as go.mod says.
const OLDEST: u32 = 24;

/// The sources of the client.
const SOURCES: [&str; 3] = ["client.go", "go.mod", "go.sum"];

/// Returns the client, and builds it the first time. Returns `None` if that can't be done here; the reason has been printed, and
/// the test returns.
fn client() -> Option<PathBuf> {
    let go = go()?;
    let read = |name: &&str| std::fs::read(example("go").join(name)).unwrap_or_else(|e| panic!("examples/go/{name}: {e}"));
    let sources: Vec<_> = SOURCES.iter().flat_map(read).collect();
    let folder = servers::cache(&format!("go-client-{}", Uuid::new_v5(&Uuid::NAMESPACE_OID, &sources).simple()));
    let built = servers::make_once(&folder, |partial| {
        let mut build = Command::new(&go);
        // The client runs for seconds, and to optimise it with its packages would take minutes.
        build.args(["build", "-mod=readonly", "-buildvcs=false", "-gcflags=all=-N -l", "-o"]).env("CGO_ENABLED", "0");
        build.arg(partial.join("client")).arg(".");
        servers::finish(build.current_dir(example("go")))
    });
    built.unwrap_or_else(|e| panic!("{e}"));
    Some(folder.join("client"))
}

/// Returns a Go that is new enough: the one that is installed, or else one that comes as a Python package, because Debian's may
/// be too old.
pub fn go() -> Option<PathBuf> {
    // Without this variable, a Go that is too old would fetch a newer one by itself.
    let version =
        Command::new("go").args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local").current_dir(servers::log_dir()).output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    if minor(&version).is_some_and(|minor| minor >= OLDEST) {
        return Some("go".into());
    }
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/examples/go.txt");
    Some(crate::python::with(&requirements)?.join("go"))
}

/// Parses a version: `go1.26.8` is 26.
fn minor(version: &str) -> Option<u32> {
    version.trim().strip_prefix("go1.")?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[test]
fn versions_of_go_are_told_apart() {
    for (version, expected) in
        [("go1.26.8\n", Some(26)), ("go1.24", Some(24)), ("go1.25rc1", Some(25)), ("", None), ("gccgo", None)]
    {
        assert_eq!(minor(version), expected, "{version:?}");
    }
    let needed = std::fs::read_to_string(example("go/go.mod")).expect("is part of the repository");
    assert!(needed.contains(&format!("\ngo 1.{OLDEST}")), "{needed}");
}

#[test]
fn the_go_client_prints_its_reply() {
    let Some(shared) = shared() else { return };
    let Some(client) = client() else { return };
    a_change_and_a_refusal_are_printed(shared, &shared.customer(), |request, external_id, name| {
        let mut client = Command::new(&client);
        client.args([shared.kafka(), registry::url(), &shared.commands, &shared.replies]);
        run(client.args([request, external_id, name]))
    });
}
