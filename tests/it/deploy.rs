//! What `deploy/` holds agrees with the program.

use crm_processor::config::Config;
use std::path::Path;

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
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
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path);
        assert!(path.exists(), "there is no {}", path.display());
    }
}
