//! Checks that the annotated configuration, `deploy/crm-processor.toml`, and the program know the same keys with the same
//! defaults.

use crm_processor::config::{Config, Setting, Source};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The key whose default is random.
const RANDOM: &str = "kafka.instance_id";

fn annotated() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/crm-processor.toml");
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn settings(toml: &str) -> BTreeMap<String, Setting> {
    let (_, settings) = Config::parse_explained(toml, []).unwrap_or_else(|findings| panic!("{findings}"));
    settings.into_iter().map(|setting| (setting.key.clone(), setting)).collect()
}

/// Returns whether a line gives a key, commented out or not: `# key = value`.
fn is_key(line: &str) -> bool {
    let line = line.strip_prefix("# ").unwrap_or(line);
    line.starts_with(|c: char| c.is_ascii_lowercase() || c == '"')
        && line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '))
}

/// The keys for logging in to the registry, by the kind of credentials. Only one kind may be given at a time.
const CREDENTIALS: [&[&str]; 3] = [&["user", "password"], &["token"], &["oauth."]];

/// Returns the annotated configuration with all keys in force, but with one `kind` of credentials for the registry, and with
/// files that exist.
fn uncommented(folder: &Path, kind: usize) -> String {
    let file = folder.join("any").display().to_string();
    std::fs::write(&file, "anything").expect("there is room");
    let others = |line: &str| {
        let key = line.strip_prefix("# ").unwrap_or(line);
        let kinds = CREDENTIALS.iter().enumerate().filter(|(n, _)| *n != kind);
        is_key(line) && kinds.flat_map(|(_, keys)| *keys).any(|other| key.starts_with(other))
    };
    let mut section = String::new();
    let line = |line: &str| {
        let line = if is_key(line) { line.strip_prefix("# ").unwrap_or(line) } else { line };
        match line.split_once(" = ") {
            Some((key, value)) if value.starts_with("\"file:") => format!("{key} = \"file:{file}\""),
            Some((key, _)) if key.ends_with("_file") => format!("{key} = \"{file}\""),
            // Certificate and key files are accepted only with TLS.
            Some(("enabled", _)) => "enabled = true".to_owned(),
            _ => line.to_owned(),
        }
    };
    let text = annotated();
    let of_kind = text.lines().filter(|line| {
        if line.starts_with('[') {
            (*line).clone_into(&mut section);
        }
        section != "[registry]" || !others(line)
    });
    of_kind.map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_annotated_configuration_has_every_key_that_there_is_and_no_other() {
    let folder = tempfile::tempdir().expect("there is room");
    let given = (0..CREDENTIALS.len()).flat_map(|kind| settings(&uncommented(folder.path(), kind)));
    let there: BTreeSet<_> = given.filter(|(_, s)| s.source == Source::File).map(|(key, _)| key).collect();
    let known = settings("");
    let missing: Vec<_> = known.keys().filter(|key| !there.contains(*key)).collect();
    assert!(missing.is_empty(), "deploy/crm-processor.toml does not tell of {missing:?}");
    assert!(known.len() > 35 && known.contains_key("store.tls.ca_file"), "{known:#?}");
}

#[test]
fn the_annotated_configuration_shows_the_defaults() {
    let (given, defaults) = (settings(&annotated()), settings(""));
    for (key, default) in defaults.iter().filter(|(key, _)| *key != RANDOM) {
        let shown = &given[key];
        let expected = if default.value.is_some() { Source::File } else { Source::Default };
        assert_eq!((&shown.value, &shown.source), (&default.value, &expected), "{key}: what has a default is shown with it");
    }
    let more: Vec<_> = given.keys().filter(|key| !defaults.contains_key(*key)).collect();
    assert!(more.is_empty(), "{more:?} have no default, and must stand behind a #");
}

#[test]
fn each_key_of_the_annotated_configuration_is_explained() {
    let text = annotated();
    let mut explained = false;
    for line in text.lines() {
        if is_key(line) {
            assert!(explained || line.contains("  # "), "nothing is said about {line}");
        } else {
            // A comment holds for all keys up to the next empty line. A comment above a section's heading holds for the section's
            // first keys.
            explained = line.starts_with('#') || (explained && line.starts_with('['));
        }
    }
}
