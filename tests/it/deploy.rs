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
fn the_example_configuration_shows_the_defaults() {
    // The instance id is random.
    let same_slot = || vec![("CRM__KAFKA__INSTANCE_ID".to_owned(), "0".to_owned())];
    let example = config(&file("crm-processor.toml"), same_slot());
    assert_eq!(format!("{example:#?}"), format!("{:#?}", config("", same_slot())));
}

#[test]
fn the_commented_keys_of_the_example_configuration_exist() {
    let example = file("crm-processor.toml");
    let uncommented = example.lines().map(|line| match line.strip_prefix("# ") {
        // A file that is not there, and a random name, are findings of their own.
        Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase() || c == '"') && key.contains(" = ") => {
            if key.contains("_file = ") { String::new() } else { key.to_owned() }
        }
        _ => line.to_owned(),
    });
    let uncommented: Vec<String> = uncommented.collect();
    config(&uncommented.join("\n"), Vec::new());
    assert!(uncommented.iter().any(|line| line.starts_with("local_datacenter")), "nothing was uncommented");
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
