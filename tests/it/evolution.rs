//! Tests that schemas only grow: whoever reads with the schema of one version can read what was written with that of any other.
//!
//! `tests/golden/schemas` has a folder for each version that was released before the present one, which is `schemas`. A folder is never
//! changed. When a version is released, its schemas get a folder there, and `VERSIONS` a line.

use crate::examples;
use crate::operation::{path, read};
use crate::registry::{self, datum};
use crate::servers;
use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use serde_json::{Map, Value as Json, json};
use std::collections::HashMap;
use std::process::Command;

/// The folders of all versions, the oldest first.
const VERSIONS: [&str; 2] = ["tests/golden/schemas/1", "schemas"];

/// The types that a schema defines, by name. Our schemas name a type without its namespace where they use it again.
type Types = HashMap<String, Json>;

/// A record that was written with the schema of one version, and what a reader with that of another must see.
struct Case {
    /// What is read by whom, for messages.
    what: String,
    writer: Json,
    reader: Json,
    body: Json,
    expected: Json,
}

#[test]
fn fields_are_appended_with_defaults_and_no_enum_gains_a_symbol() {
    for pair in VERSIONS.windows(2) {
        for (record, older) in schemas(pair[0]) {
            let newer = schema(pair[1], &record).unwrap_or_else(|| panic!("{} has no {record} any more", pair[1]));
            let (older, newer) = (types_of(&older), types_of(&newer));
            for (name, old) in &older {
                let new = newer.get(name).unwrap_or_else(|| panic!("{record} has no {name} any more"));
                assert_eq!(new["symbols"], old["symbols"], "{record}: the symbols of {name}");
                let fields = |of: &Json| of["fields"].as_array().cloned().unwrap_or_default();
                let (old, new) = (fields(old), fields(new));
                assert!(new.len() >= old.len(), "{record}: {name} lost a field");
                for (old, new) in old.iter().zip(&new) {
                    let same = ["name", "default"].map(|of| old[of] == new[of]);
                    assert_eq!(same, [true, true], "{record}: {name}.{} is no longer as it was: {new}", old["name"]);
                }
                for added in &new[old.len()..] {
                    assert_eq!((&added["type"][0], added.get("default")), (&json!("null"), Some(&Json::Null)), "{name}: {added}");
                }
            }
        }
    }
}

#[test]
fn a_reader_of_each_version_reads_what_a_writer_of_each_version_wrote() {
    let cases = cases();
    assert!(cases.len() >= 6 * 2 * 4, "only {} cases", cases.len());
    for Case { what, writer, reader, body, expected } in &cases {
        assert_eq!(decoded(writer, reader, &datum(writer, body)), *expected, "{what}");
    }
}

#[test]
fn a_symbol_that_a_reader_does_not_know_becomes_the_enums_default() {
    let reader = schema("schemas", "BusinessTransaction").expect("is there");
    for (name, first, default) in [("EntityType", "CUSTOMER", "CUSTOMER"), ("State", "INACTIVE", "INACTIVE")] {
        let writer: Json = serde_json::from_str(&reader.to_string().replacen(
            &format!("[\"{first}\","),
            &format!("[\"OF_THE_FUTURE\",\"{first}\","),
            1,
        ))
        .expect("is JSON");
        assert_eq!(types_of(&writer)[name]["symbols"][0], "OF_THE_FUTURE");
        let mut body = sample(&types_of(&writer), &writer, true);
        body["entityType"] = json!(if name == "EntityType" { "OF_THE_FUTURE" } else { "ACCOUNT" });
        for entity in ["customer", "account", "subscriber"] {
            body[entity]["state"] = json!(if name == "State" { "OF_THE_FUTURE" } else { "ACTIVE" });
        }
        let read = decoded(&writer, &reader, &datum(&writer, &body));
        let got = if name == "State" { &read["account"]["state"] } else { &read["entityType"] };
        assert_eq!(got, default, "{name}");
    }
}

/// Python writes them, too, with the serializer that its producers use.
#[test]
fn python_reads_them_too() {
    let Some(python) = examples::python::python() else { return };
    let mut command = Command::new(python);
    command.arg(path("tests/it/evolution/evolution.py")).arg(registry::url());
    all_are_read(command);
}

#[test]
fn java_reads_them_too() {
    let Some(libraries) = examples::java::libraries() else { return };
    let mut command = Command::new("java");
    command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"]).arg(libraries);
    command.arg(path("tests/it/evolution/Evolution.java"));
    all_are_read(command);
}

/// Gives all cases to a program, which reads each and compares; it says how many it has read, and fails at the first that differs.
fn all_are_read(mut program: Command) {
    let cases = cases();
    let lines = cases.iter().map(|Case { what, writer, reader, body, expected }| {
        let bytes = datum(writer, body).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        let line = json!({"what": what, "writer": writer, "reader": reader, "body": body, "bytes": bytes, "expected": expected});
        line.to_string() + "\n"
    });
    let file = servers::log_dir().join(crate::crm::unique("evolution"));
    std::fs::write(&file, lines.collect::<String>()).expect("there is room");
    let output = program.arg(&file).output().unwrap_or_else(|e| panic!("{program:?}: {e}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), format!("{} read", cases.len()), "{said}");
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (record, _) in schemas(VERSIONS[0]) {
        for [from, to] in VERSIONS.iter().flat_map(|from| VERSIONS.iter().map(move |to| [from, to])) {
            let (writer, reader) = (schema(from, &record).expect("is there"), schema(to, &record).expect("is there"));
            for full in [true, false] {
                let body = sample(&types_of(&writer), &writer, full);
                let expected = seen_by(&types_of(&reader), &reader, &body);
                let what = format!("{record} of {from}, read with that of {to}, full={full}");
                cases.push(Case { what, writer: writer.clone(), reader: reader.clone(), body, expected });
            }
        }
    }
    cases
}

/// Returns the records that a version has, with their schemas.
fn schemas(version: &str) -> Vec<(String, Json)> {
    let files = std::fs::read_dir(path(version)).unwrap_or_else(|e| panic!("{version}: {e}"));
    let files = files.map(|file| file.expect("an entry").path()).filter(|file| file.extension().is_some_and(|ext| ext == "avsc"));
    let mut names: Vec<_> = files.map(|file| file.file_stem().expect("has a name").to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names.into_iter().map(|name| (name.clone(), schema(version, &name).expect("is there"))).collect()
}

fn schema(version: &str, record: &str) -> Option<Json> {
    let file = format!("{version}/{record}.avsc");
    std::path::Path::new(&path(&file)).exists().then(|| serde_json::from_str(&read(&file)).expect("is JSON"))
}

/// Decodes with apache-avro, and shows the value as JSON.
fn decoded(writer: &Json, reader: &Json, mut bytes: &[u8]) -> Json {
    let [writer, reader] = [writer, reader].map(|schema| Schema::parse_str(&schema.to_string()).expect("is a schema"));
    let value = GenericDatumReader::builder(&writer).reader_schema(&reader).build().expect("schemas").read_value(&mut bytes);
    let value = value.unwrap_or_else(|e| panic!("can't be read: {e}"));
    assert!(bytes.is_empty(), "{} bytes are left over", bytes.len());
    value.try_into().expect("a record can be shown as JSON")
}

fn types_of(schema: &Json) -> Types {
    let mut types = Types::new();
    let mut open = vec![schema];
    while let Some(schema) = open.pop() {
        match schema {
            Json::Object(object) => {
                if let Some(name) = object.get("name").filter(|_| matches!(object["type"].as_str(), Some("record" | "enum"))) {
                    types.insert(name.as_str().expect("a text").into(), schema.clone());
                }
                open.extend(["type", "items"].iter().filter_map(|of| object.get(*of)));
                open.extend(object.get("fields").and_then(Json::as_array).into_iter().flatten());
            }
            Json::Array(branches) => open.extend(branches),
            _ => {}
        }
    }
    types
}

/// Returns the definition behind a schema: that of the type that it names, or itself.
fn defined<'a>(types: &'a Types, schema: &'a Json) -> &'a Json {
    schema.as_str().and_then(|name| types.get(name)).unwrap_or(schema)
}

/// Returns the type's name: `record`, `string` and so on.
fn kind(schema: &Json) -> &str {
    schema.as_str().or_else(|| schema["type"].as_str()).unwrap_or("union")
}

/// Returns a value of a schema, with everything filled in that may be null or empty, or with nothing of it.
fn sample(types: &Types, schema: &Json, full: bool) -> Json {
    let schema = defined(types, schema);
    match (schema, kind(schema)) {
        (Json::Array(branches), _) => {
            if full {
                sample(types, &branches[1], full)
            } else {
                Json::Null
            }
        }
        (_, "record") => {
            schema["fields"].as_array().expect("fields").iter().fold(Json::Object(Map::new()), |mut record, field| {
                record[field["name"].as_str().expect("a name")] = sample(types, &field["type"], full);
                record
            })
        }
        (_, "enum") => schema["symbols"].as_array().expect("symbols").last().expect("one at least").clone(),
        (_, "array") => {
            if full {
                json!([sample(types, &schema["items"], true), sample(types, &schema["items"], false)])
            } else {
                json!([])
            }
        }
        (_, "string") if schema["logicalType"] == "uuid" => json!("6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b"),
        (_, "string") => json!("é-1"),
        (_, "boolean") => json!(full),
        (_, "int") => json!(400),
        (_, "long") => json!(1_700_000_000_123_i64),
        (_, other) => panic!("our schemas have no {other}"),
    }
}

/// Returns what a reader sees of a value that was written with another version: its own fields, with defaults where there is nothing.
fn seen_by(types: &Types, reader: &Json, body: &Json) -> Json {
    let reader = defined(types, reader);
    match (reader, body) {
        (Json::Array(_), Json::Null) => Json::Null,
        (Json::Array(branches), _) => seen_by(types, &branches[1], body),
        (_, Json::Object(_)) => {
            reader["fields"].as_array().expect("fields").iter().fold(Json::Object(Map::new()), |mut seen, field| {
                let name = field["name"].as_str().expect("a name");
                seen[name] =
                    body.get(name).map_or_else(|| field["default"].clone(), |value| seen_by(types, &field["type"], value));
                seen
            })
        }
        (_, Json::Array(items)) => items.iter().map(|item| seen_by(types, &reader["items"], item)).collect(),
        _ => body.clone(),
    }
}
