//! Checks that the files in `deploy/` agree with the program, and with the schemas and linters of the tools that read them.

mod kubernetes;

use crate::{python, servers};
use crm_processor::config::Config;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the path of a file or folder of `deploy/`.
fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

/// Returns the path of a file beside this one.
fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/deploy").join(name)
}

fn file(name: &str) -> String {
    let path = path(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Returns the folder with kubectl, Docker Compose, a linter, and a Python that has schemas; or `None` if it can't be had here;
/// the reason has been printed, and the test returns.
fn tools() -> Option<PathBuf> {
    python::with(&beside("requirements.txt"))
}

fn config(toml: &str, environment: Vec<(String, String)>) -> Config {
    Config::parse(toml, environment).unwrap_or_else(|findings| panic!("{findings}"))
}

#[test]
fn the_variables_of_the_compose_file_exist() {
    let compose = file("compose.yaml");
    let variables = compose.lines().filter_map(|line| line.trim().split_once(": ")).filter(|(name, _)| name.starts_with("CRM__"));
    let variables: Vec<(String, String)> = variables.map(|(name, value)| (name.into(), value.into())).collect();
    assert!(variables.len() >= 5, "{variables:?}");
    let config = config(&file("crm-processor.toml"), variables);
    assert_eq!(config.kafka.bootstrap_servers, "kafka:19092");
    assert_eq!(config.kafka.instance_id, "compose-0");
}

#[test]
fn the_files_that_the_compose_file_mounts_exist() {
    let compose = file("compose.yaml");
    let mounted: Vec<_> = compose.lines().filter_map(|line| line.trim().strip_prefix("- ./")?.split_once(':')).collect();
    assert!(mounted.len() >= 4, "{mounted:?}");
    for (path, _) in mounted {
        let path = self::path(path);
        assert!(path.exists(), "there is no {}", path.display());
    }
}

#[test]
fn docker_compose_takes_the_compose_file() {
    let Some(tools) = tools() else { return };
    let mut compose = Command::new(tools.join("docker-compose"));
    servers::finish(compose.arg("-f").arg(path("compose.yaml")).args(["config", "--quiet"])).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn the_linter_finds_nothing_to_blame_in_the_dockerfile() {
    let Some(tools) = tools() else { return };
    servers::finish(Command::new(tools.join("hadolint")).arg(path("Dockerfile"))).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn the_systemd_unit_starts_the_program_and_gives_it_time_to_stop() {
    let unit = file("systemd/crm-processor.service");
    let value = |key: &str| {
        let value = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        value.unwrap_or_else(|| panic!("the unit has no {key}"))
    };
    let (program, args) = value("ExecStart").split_once(' ').expect("a program and its arguments");
    assert_eq!(args, "run --config /etc/crm-processor/crm-processor.toml");
    let variables = unit.lines().filter_map(|line| line.strip_prefix("Environment=")?.split_once('='));
    let config = config("", variables.map(|(name, value)| (name.into(), value.into())).collect());
    assert_eq!(config.kafka.instance_id, "%H", "the host's name");
    let time: u64 = value("TimeoutStopSec").parse().expect("seconds");
    assert!(time > config.kafka.shutdown_grace.as_secs() + 10, "killed after {time} s");
    // The exit code of `run` if the configuration is wrong.
    assert_eq!(value("RestartPreventExitStatus"), "2");
    verify(&unit, program);
}

#[test]
fn the_gateways_unit_gives_open_requests_their_time() {
    let unit = file("systemd/crm-gateway.service");
    let value = |key: &str| {
        let value = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        value.unwrap_or_else(|| panic!("the unit has no {key}"))
    };
    let (program, args) = value("ExecStart").split_once(' ').expect("a program and its arguments");
    assert_eq!(args, "gateway --config /etc/crm-processor/crm-processor.toml");
    let variables = unit.lines().filter_map(|line| line.strip_prefix("Environment=")?.split_once('='));
    let config = config("", variables.map(|(name, value)| (name.into(), value.into())).collect());
    assert_ne!(config.admin.listen.port(), 9464, "a processor on the same machine has it");
    let time: u64 = value("TimeoutStopSec").parse().expect("seconds");
    assert!(time >= config.gateway.max_wait.as_secs() + 10, "killed after {time} s");
    verify(&unit, program);
}

/// Has systemd judge a unit, if it is there.
fn verify(unit: &str, program: &str) {
    if Command::new("systemd-analyze").arg("--version").output().is_ok() {
        let folder = tempfile::tempdir().expect("there is room");
        let there = folder.path().join("crm-processor.service");
        // systemd-analyze checks that the program exists.
        std::fs::write(&there, unit.replace(program, env!("CARGO_BIN_EXE_crm-processor"))).expect("there is room");
        servers::finish(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(there))
            .unwrap_or_else(|e| panic!("{e}"));
    }
}
