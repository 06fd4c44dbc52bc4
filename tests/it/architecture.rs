//! Checks which module may use which. Dependencies point one way, cli → bench, demo → gateway → toolbox → processor → kafka, store,
//! wire → flow → domain; the business rules are pure; and no file uses a file that uses it. The test scans the sources and compares
//! every path in them with the tables below.

mod files;
mod paths;

use paths::{Written, paths};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A module of the crate, and the other modules that it may use.
struct Layer {
    name: &'static str,
    uses: &'static [&'static str],
}

/// The modules from the bottom up. All but the pure modules may use configuration and telemetry.
const LAYERS: &[Layer] = &[
    Layer { name: "domain", uses: &[] },
    Layer { name: "flow", uses: &["domain"] },
    Layer { name: "fail_points", uses: &[] },
    Layer { name: "pauses", uses: &[] },
    // For unit tests only.
    Layer { name: "allocated", uses: &[] },
    Layer { name: "config", uses: &["domain"] },
    Layer { name: "telemetry", uses: &["domain", "config"] },
    Layer { name: "wire", uses: &["domain", "flow", "config", "telemetry", "pauses", "allocated"] },
    Layer { name: "store", uses: &["domain", "config", "telemetry", "pauses", "fail_points", "allocated"] },
    Layer { name: "kafka", uses: &["domain", "flow", "wire", "config", "telemetry", "pauses", "fail_points"] },
    Layer { name: "processor", uses: &["domain", "flow", "wire", "store", "kafka", "config", "telemetry", "fail_points"] },
    Layer { name: "toolbox", uses: &["domain", "flow", "wire", "store", "kafka", "processor", "config", "telemetry", "pauses"] },
    Layer { name: "gateway", uses: &["domain", "wire", "store", "kafka", "config", "telemetry", "toolbox", "pauses"] },
    Layer { name: "demo", uses: &["domain", "wire", "store", "processor", "config", "telemetry", "toolbox", "gateway"] },
    Layer { name: "bench", uses: &["domain", "wire", "store", "kafka", "config", "telemetry", "toolbox"] },
    Layer {
        name: "cli",
        uses: &[
            "domain",
            "flow",
            "wire",
            "store",
            "kafka",
            "processor",
            "config",
            "telemetry",
            "toolbox",
            "gateway",
            "demo",
            "bench",
            "pauses",
            "fail_points",
        ],
    },
];

/// The modules that may use errors without a type, because people read these errors and no code matches them.
const FOR_PEOPLE: &[&str] = &["toolbox", "demo", "bench", "cli"];

/// The pure modules: without I/O, clocks, threads or async.
const PURE: &[&str] = &["domain", "flow"];
/// The packages that pure modules may use: those for texts, ids and serialisation.
const PURE_PACKAGES: &[&str] =
    &["base64", "serde", "serde_json", "thiserror", "unicode_general_category", "unicode_normalization", "uuid"];
/// The parts of the standard library that pure modules may not use.
const IMPURE_STD: &[&str] = &[
    "std::env",
    "std::fs",
    "std::future",
    "std::io",
    "std::net",
    "std::os",
    "std::process",
    "std::sync::mpsc",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::time::UNIX_EPOCH",
    "Instant::now",
    "SystemTime::now",
];

#[test]
fn each_module_of_the_crate_has_its_place() {
    let placed: BTreeSet<_> = LAYERS.iter().map(|l| l.name.to_owned()).collect();
    let there: BTreeSet<_> = sources().into_iter().filter_map(|s| s.module.into_iter().next()).collect();
    let why = "left: the modules in src/, right: those in LAYERS; a new module needs its place there";
    assert_eq!(there, placed, "{why}");
}

#[test]
fn dependencies_point_one_way() {
    let mut findings = Findings::default();
    for source in sources() {
        let Some(layer) = LAYERS.iter().find(|l| source.module.first().is_some_and(|m| m == l.name)) else { continue };
        for path in paths(&source.text) {
            let Some(used) = top_level_module(&path.segments, &source.module) else { continue };
            if used != layer.name && LAYERS.iter().any(|l| l.name == used) && !layer.uses.contains(&used.as_str()) {
                findings.add(&source, &path, &format!("{} may use only {:?} of this crate", layer.name, layer.uses));
            }
        }
    }
    findings.assert_none();
}

#[test]
fn pure_modules_do_no_input_or_output_and_read_no_clock() {
    let packages = packages();
    let mut findings = Findings::default();
    for source in sources().into_iter().filter(|s| s.module.first().is_some_and(|m| PURE.contains(&m.as_str()))) {
        for path in paths(&source.text) {
            let written = path.segments.join("::");
            let package = &path.segments[0];
            if path.segments.len() > 1 && packages.contains(package) && !PURE_PACKAGES.contains(&package.as_str()) {
                findings.add(&source, &path, &format!("a pure module may use only {PURE_PACKAGES:?}"));
            }
            // Tests may use it: a seed comes from a variable.
            if !source.is_test() && IMPURE_STD.iter().any(|i| written == *i || written.starts_with(&format!("{i}::"))) {
                findings.add(&source, &path, "time comes in as an argument, and everything else is done by the callers");
            }
            if written == "async" || written == "await" {
                findings.add(&source, &path, "pure modules take events and return actions; they never wait");
            }
        }
    }
    findings.assert_none();
}

#[test]
fn errors_without_a_type_are_for_people() {
    let mut findings = Findings::default();
    for source in sources().into_iter().filter(|s| s.module.first().is_some_and(|m| !FOR_PEOPLE.contains(&m.as_str()))) {
        for path in paths(&source.text).into_iter().filter(|p| p.segments[0] == "anyhow" && p.segments.len() > 1) {
            findings.add(&source, &path, "each module has its own error type; anyhow is for those in FOR_PEOPLE");
        }
    }
    findings.assert_none();
}

#[test]
fn no_file_uses_one_that_uses_it() {
    let sources = sources();
    let mut findings = Findings::default();
    for used in files::in_cycles(files::uses(&sources)) {
        findings.add(used.by, &used.path, &format!("{} uses this file, too, by itself or by others", used.of.file.display()));
    }
    findings.assert_none();
}

/// Frozen forms have types of their own, called as those of the domain were when the form was made.
const FROZEN: &str = "store/stored/";

/// The names that types of several files have, each with the reason why that misleads nobody.
const REPEATED: &[(&str, &str)] = &[
    ("Args", "clap's word for the arguments of a subcommand. Each file of a subcommand has its own"),
    ("Context", "rdkafka's word for the callbacks of a client. Each client has its own, which no other module names"),
    ("Publication", "one and the same thing: that of `kafka` is that of `flow` with Kafka's outputs and membership"),
    ("Setup", "all that a process works with. A process is either a processor or a gateway, so no file uses both"),
];

#[test]
fn each_type_of_the_glossary_is_defined_once() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).expect("it is there");
    let glossary = page.split("\n## Glossary\n").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("it has a glossary");
    let is_type = |word: &&str| word.starts_with(char::is_uppercase) && word.chars().all(char::is_alphanumeric);
    let types: BTreeSet<_> = glossary.split('`').skip(1).step_by(2).filter(is_type).collect();
    assert!(types.contains("RecordId") && types.len() > 10, "{types:?}");
    let sources = sources();
    let defined = |name: &str| {
        let defines = |line: &str| defined_type(line).is_some_and(|(defined, _)| defined == name);
        let holds = |s: &&Source| !s.is_test() && !s.is_frozen() && s.text.lines().any(defines);
        sources.iter().filter(holds).map(|s| s.file.display().to_string()).collect::<Vec<_>>()
    };
    for name in types {
        assert_eq!(defined(name).len(), 1, "the glossary's {name} is defined in {:?}: one name for one thing", defined(name));
    }
}

#[test]
fn no_two_types_that_other_files_see_share_a_name() {
    let sources = sources();
    let mut by_name = BTreeMap::<&str, BTreeSet<&Path>>::new();
    for source in sources.iter().filter(|s| !s.is_test() && !s.is_frozen()) {
        for (name, is_visible) in source.text.lines().filter_map(defined_type) {
            if is_visible {
                by_name.entry(name).or_default().insert(&source.file);
            }
        }
    }
    assert!(by_name.len() > 300, "only {} types were found", by_name.len());
    by_name.retain(|_, files| files.len() > 1);
    let shared: BTreeSet<_> = by_name.keys().copied().collect();
    let allowed: BTreeSet<_> = REPEATED.iter().map(|(name, _)| *name).collect();
    assert_eq!(shared, allowed, "left: the names that several files define, right: those in REPEATED; {by_name:#?}");
}

#[test]
fn the_type_that_a_line_defines_is_seen() {
    for (line, expected) in [
        ("pub struct Reply<'a> {", Some(("Reply", true))),
        ("pub(super) enum Found {", Some(("Found", true))),
        ("pub(in crate::store) struct Base<S> {", Some(("Base", true))),
        ("pub(crate) type Digest = [u8; 16];", Some(("Digest", true))),
        ("trait Label: Copy {", Some(("Label", false))),
        ("    FaultKind(\"kind\") {", Some(("FaultKind", true))),
        ("    pub struct Inner;", None),
        ("pub use reply::Reply;", None),
        ("pub(super) fn publish() {", None),
    ] {
        assert_eq!(defined_type(line), expected, "{line}");
    }
}

#[test]
fn each_dependency_has_its_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| std::fs::read_to_string(root.join(file)).expect("it is there");
    let manifest: toml::Table = read("Cargo.toml").parse().expect("is TOML");
    let sections = ["dependencies", "dev-dependencies"].map(|name| manifest[name].as_table().expect("is a table"));
    let used: BTreeSet<_> = sections.iter().flat_map(|section| section.keys()).map(String::as_str).collect();
    let page = read("ARCHITECTURE.md");
    let table =
        page.split("\n## Dependencies\n").nth(1).and_then(|rest| rest.split("\nWeighed,").next()).expect("it has a table");
    let names = table.lines().filter_map(|line| line.split('|').nth(1));
    let named: BTreeSet<_> = names.flat_map(|cell| cell.split('`').skip(1).step_by(2)).chain([env!("CARGO_PKG_NAME")]).collect();
    assert_eq!(named, used, "ARCHITECTURE.md has a table of the dependencies (left), Cargo.toml has the dependencies (right)");
}

#[test]
fn uses_are_followed_to_the_file_that_is_meant() {
    let source = |file: &str, module: &[&str], text: &str| Source { file: file.into(), module: owned(module), text: text.into() };
    let sources = [
        source("a/mod.rs", &["a"], "mod b; mod c; pub use b::B; use c::C; pub(super) const N: C = c::new();"),
        source("a/b.rs", &["a", "b"], "use super::{C, c}; use crate::d as other; fn f() -> C { other::f() } pub struct B;"),
        source("a/c.rs", &["a", "c"], "pub struct C; #[cfg(test)] mod tests { use super::super::B; }"),
        source("d.rs", &["d"], "use crate::a::*; use crate::a::B; use std::c::C;"),
        source("a/tests.rs", &["a", "tests"], "use super::b;"),
    ];
    let got: BTreeSet<_> =
        files::uses(&sources).iter().map(|u| format!("{} of {}", u.by.file.display(), u.of.file.display())).collect();
    let expected = ["a/mod.rs of a/c.rs", "a/b.rs of a/c.rs", "a/b.rs of d.rs", "d.rs of a/mod.rs", "d.rs of a/b.rs"];
    assert_eq!(got, expected.map(str::to_owned).into());
    let cycle: BTreeSet<_> = files::in_cycles(files::uses(&sources)).iter().map(|u| u.by.file.clone()).collect();
    assert_eq!(cycle, ["a/b.rs".into(), "d.rs".into()].into());
}

#[test]
fn the_scan_sees_what_it_should() {
    let source = r##"
        //! crate::comment::one
        use crate::store::{self, claims::{Claims, Other as Renamed}, cql};
        /* crate::comment::two /* nested */ crate::comment::three */
        pub(crate) fn f<'a>(x: &'a super::super::wire::Command) -> Vec<crate::flow::Lane> {
            let text = "crate::text::one"; let raw = r#"crate::text::two " "#; let c = '"'; let e = '\'';
            tokio::spawn(async { x.await }); ::std::thread::sleep(Instant::now().elapsed());
        }
    "##;
    let got: Vec<_> =
        paths(source).into_iter().map(|p| p.segments.join("::")).filter(|p| p.contains("::") || p == "async").collect();
    let expected = [
        "crate::store",
        "crate::store::claims::Claims",
        "crate::store::claims::Other",
        "crate::store::cql",
        "super::super::wire::Command",
        "crate::flow::Lane",
        "tokio::spawn",
        "async",
        "std::thread::sleep",
        "Instant::now",
    ];
    assert_eq!(got, expected);
    for (path, module, expected) in [
        (&["crate", "wire", "Reply"][..], &["store", "cql"][..], Some("wire")),
        (&["super", "Claims"], &["store", "cql"], Some("store")),
        (&["super", "super", "wire", "Reply"], &["store", "cql"], Some("wire")),
        (&["super", "super", "entity"], &["domain", "tests", "texts"], Some("domain")),
        (&["self", "cql", "Cql"], &["store"], Some("store")),
        (&["tokio", "spawn"], &["store"], None),
    ] {
        assert_eq!(top_level_module(&owned(path), &owned(module)).as_deref(), expected, "{path:?} in {module:?}");
    }
}

/// A source file, and the path of its module: `["store", "cql"]`, or an empty one for `lib.rs`.
struct Source {
    file: PathBuf,
    module: Vec<String>,
    text: String,
}

impl Source {
    /// Returns whether the file holds only tests, by its name. To the rules about layers, tests within other files are part of the
    /// program; to the one about circles they are not.
    fn is_test(&self) -> bool {
        self.module.iter().any(|part| part == "tests" || part.ends_with("_tests"))
    }

    /// Returns whether the file holds a frozen form.
    fn is_frozen(&self) -> bool {
        self.file.to_string_lossy().contains(FROZEN)
    }
}

#[derive(Default)]
struct Findings(String);

impl Findings {
    fn add(&mut self, source: &Source, path: &Written, why: &str) {
        let _ = writeln!(self.0, "{}:{}: {}: {why}", source.file.display(), path.line, path.segments.join("::"));
    }

    fn assert_none(self) {
        assert!(self.0.is_empty(), "\n{}", self.0);
    }
}

/// Returns all files of the library. The binary's `main.rs` uses the library from outside.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut pending = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            pending.extend(entries.map(|entry| entry.expect("a directory entry").path()));
        } else if path.extension().is_some_and(|e| e == "rs") && path != root.join("main.rs") {
            let file = path.strip_prefix(&root).expect("it is in src").to_owned();
            let stem = file.with_extension("");
            let parts = stem.iter().map(|part| part.to_string_lossy().into_owned());
            let module = parts.filter(|part| part != "mod" && part != "lib").collect();
            let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            sources.push(Source { file: Path::new("src").join(file), module, text });
        }
    }
    sources.sort_by(|a, b| a.file.cmp(&b.file));
    assert!(!sources.is_empty(), "no sources in {}", root.display());
    sources
}

/// Returns the name of the type that a line defines outside of all blocks, and whether other files can see the type. Returns `None` if the
/// line defines no type.
fn defined_type(line: &str) -> Option<(&str, bool)> {
    fn name(item: &str) -> &str {
        &item[..item.find(|c: char| !c.is_alphanumeric()).unwrap_or(item.len())]
    }
    // The labels of metrics are defined by a macro: `    FaultKind("kind") {`.
    let label = line.strip_prefix("    ").and_then(|line| line.strip_suffix("\") {")?.split_once("(\""));
    if let Some((label, _)) = label.filter(|(label, _)| label.starts_with(char::is_uppercase) && name(label) == *label) {
        return Some((label, true));
    }
    let after_pub = line.strip_prefix("pub");
    let item = match after_pub {
        Some(rest) if rest.starts_with('(') => rest.split_once(") ")?.1,
        Some(rest) => rest.strip_prefix(' ')?,
        None => line,
    };
    let item = ["struct ", "enum ", "trait ", "type "].iter().find_map(|kind| item.strip_prefix(kind))?;
    Some((name(item), after_pub.is_some()))
}

/// Returns the names of the packages in Cargo.toml, as paths spell them.
fn packages() -> BTreeSet<String> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let manifest = std::fs::read_to_string(&manifest).unwrap_or_else(|e| panic!("{}: {e}", manifest.display()));
    let manifest: toml::Table = manifest.parse().expect("cargo has read it, too");
    let tables = ["dependencies", "dev-dependencies"].into_iter().filter_map(|name| manifest.get(name)?.as_table());
    tables.flat_map(toml::Table::keys).map(|name| name.replace('-', "_")).collect()
}

/// Returns the first module below the crate's root into which `path`, written in `module`, leads; or `None` for a path that
/// begins with anything but `crate`, `self` or `super`.
fn top_level_module(path: &[String], module: &[String]) -> Option<String> {
    absolute(path, module)?.into_iter().next()
}

/// Returns `path`, written in `module`, as a path from the crate's root; or `None` for a path that begins with anything but
/// `crate`, `self` or `super`.
fn absolute(path: &[String], module: &[String]) -> Option<Vec<String>> {
    let supers = path.iter().take_while(|s| *s == "super").count();
    Some(match path[0].as_str() {
        "crate" => path[1..].to_vec(),
        "self" => module.iter().chain(&path[1..]).cloned().collect(),
        "super" => module.iter().take(module.len().saturating_sub(supers)).chain(&path[supers..]).cloned().collect(),
        _ => return None,
    })
}

fn owned(segments: &[&str]) -> Vec<String> {
    segments.iter().map(|s| (*s).to_owned()).collect()
}
