//! Makes `schemas/types` and `schemas/crm.avpr` from the registered schemas, in which a record that several of them use is written out in
//! each. Generators of classes take one definition for each record. Tests that Java's and Go's generators take them.

use crate::examples::go::go;
use crate::operation::{path, read};
use crate::servers;
use crm_processor::wire;
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

const NAMESPACE: &str = "crm.v1";
const PROTOCOL: &str = "schemas/crm.avpr";
const TYPES: &str = "schemas/types";

/// Returns each named type once, with the others that it uses by name only. A type stands behind those that it uses.
fn types() -> Vec<(String, Json)> {
    let mut types = Vec::new();
    for (subject, schema) in wire::subjects("commands", "replies", "transactions", Some("changes")) {
        let schema: Json = serde_json::from_str(schema).unwrap_or_else(|e| panic!("{subject}: {e}"));
        by_name(schema, &mut types);
    }
    types
}

/// Takes the definitions out of a schema, and returns what stands for it: its name if it has one.
fn by_name(schema: Json, types: &mut Vec<(String, Json)>) -> Json {
    match schema {
        Json::Array(branches) => branches.into_iter().map(|branch| by_name(branch, types)).collect(),
        Json::Object(mut members) => {
            for of in ["type", "items"] {
                if let Some(inner) = members.remove(of) {
                    members.insert(of.into(), by_name(inner, types));
                }
            }
            if let Some(Json::Array(fields)) = members.remove("fields") {
                let fields = fields.into_iter().map(|field| by_name(field, types)).collect();
                members.insert("fields".into(), Json::Array(fields));
            }
            let is_named = matches!(members["type"].as_str(), Some("record" | "enum" | "fixed"));
            if !is_named {
                return Json::Object(members);
            }
            let name = members["name"].as_str().expect("a named type has a name").to_owned();
            members.remove("namespace");
            let definition = ordered(members);
            match types.iter().find(|(other, _)| *other == name) {
                Some((_, there)) => assert_eq!(*there, definition, "{name} is the same wherever it is written out"),
                None => types.push((name.clone(), definition)),
            }
            format!("{NAMESPACE}.{name}").into()
        }
        other => other,
    }
}

/// Returns the members with those first that a reader looks for first.
fn ordered(mut members: Map<String, Json>) -> Json {
    let mut ordered = Map::new();
    for first in ["type", "name"] {
        ordered.extend(members.remove(first).map(|value| (first.to_owned(), value)));
    }
    ordered.insert("namespace".into(), NAMESPACE.into());
    ordered.extend(members);
    Json::Object(ordered)
}

fn pretty(json: &Json) -> String {
    serde_json::to_string_pretty(json).expect("is JSON") + "\n"
}

/// Returns the files with their contents, by path.
fn files() -> BTreeMap<String, String> {
    let types = types();
    let mut files: BTreeMap<_, _> =
        types.iter().map(|(name, definition)| (format!("{TYPES}/{name}.avsc"), pretty(definition))).collect();
    let definitions: Vec<_> = types.iter().map(|(_, definition)| definition).collect();
    let doc = "All records of crm-processor, each once, for generators of classes. There are no calls.";
    let protocol = json!({"protocol": "CrmProcessor", "namespace": NAMESPACE, "doc": doc, "types": definitions, "messages": {}});
    files.insert(PROTOCOL.into(), pretty(&protocol));
    files
}

#[test]
fn the_files_for_generators_are_made_from_the_schemas() {
    let expected = files();
    if std::env::var_os("CRM_BLESS").is_some() {
        std::fs::create_dir_all(path(TYPES)).unwrap_or_else(|e| panic!("{TYPES}: {e}"));
        for (name, text) in &expected {
            std::fs::write(path(name), text).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }
    for (name, text) in &expected {
        let there = std::fs::read_to_string(path(name)).unwrap_or_default();
        assert!(
            there == *text,
            "{name} is not what the schemas say; `CRM_BLESS=1 cargo test --test it -- generated` writes it anew"
        );
    }
    let there = std::fs::read_dir(path(TYPES)).unwrap_or_else(|e| panic!("{TYPES}: {e}"));
    let there: Vec<_> = there.map(|entry| format!("{TYPES}/{}", entry.expect("a file").file_name().display())).collect();
    let superfluous: Vec<_> = there.iter().filter(|name| !expected.contains_key(*name)).collect();
    assert!(superfluous.is_empty(), "no schema has these types: {superfluous:?}");
}

const JAVA: &str = r#"
    import crm.v1.BusinessTransaction;
    import crm.v1.ChangeRow;
    import crm.v1.EntityRef;
    import crm.v1.Reply;
    import crm.v1.UpdateCustomerCustomName;

    public final class All {
        public static void main(String[] arguments) {
            var customer = EntityRef.newBuilder().setExternalId("c-1").setRefId(null).build();
            var command = UpdateCustomerCustomName.newBuilder().setRequestId("r-1").setCustomer(customer).setCustomName("Ada")
                .setExpectedVersion(null).build();
            System.out.println(command.getCustomer().getExternalId() + " " + Reply.getClassSchema().getFullName() + " "
                + BusinessTransaction.getClassSchema().getFullName() + " " + ChangeRow.getClassSchema().getFields().size());
        }
    }
"#;

#[test]
fn javas_generator_takes_the_types_and_the_protocol() {
    let Some(lib) = crate::examples::java::libraries() else { return };
    for goal in ["schema", "protocol"] {
        let folder = servers::log_dir().join(crate::crm::unique("types"));
        let (sources, classes) = (folder.join("sources"), folder.join("classes"));
        let pom = folder.join("pom.xml");
        std::fs::create_dir_all(&folder).expect("there is room");
        std::fs::write(&pom, java_project(goal, &sources)).expect("there is room");
        servers::finish(Command::new("mvn").args(["-q", "-B", &format!("avro:{goal}"), "-f"]).arg(&pom))
            .unwrap_or_else(|e| panic!("{goal}: {e}"));
        std::fs::write(sources.join("All.java"), JAVA).expect("there is room");
        let mut compiler = Command::new("javac");
        compiler.arg("-cp").arg(&lib).arg("-d").arg(&classes).arg("--source-path").arg(&sources).arg(sources.join("All.java"));
        servers::finish(&mut compiler).unwrap_or_else(|e| panic!("{goal}: {e}"));
        let mut java = Command::new("java");
        let printed =
            java.arg("-cp").arg(format!("{}:{}", classes.display(), lib.display())).arg("All").output().expect("java is there");
        assert_eq!(
            String::from_utf8_lossy(&printed.stdout).trim(),
            "c-1 crm.v1.Reply crm.v1.BusinessTransaction 20",
            "{goal}: {}",
            String::from_utf8_lossy(&printed.stderr)
        );
    }
}

/// Returns a Maven project that generates classes as `docs/integration.md` says.
fn java_project(goal: &str, sources: &Path) -> String {
    let folder = path(if goal == "schema" { TYPES } else { "schemas" });
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion><groupId>t</groupId>\
         <artifactId>t</artifactId><version>1</version><build><plugins><plugin><groupId>org.apache.avro</groupId>\
         <artifactId>avro-maven-plugin</artifactId><version>1.12.1</version><configuration><sourceDirectory>{}</sourceDirectory>\
         <outputDirectory>{}</outputDirectory><stringType>String</stringType></configuration></plugin></plugins></build></project>",
        folder.display(),
        sources.display()
    )
}

/// A program that uses what hamba/avro's generator makes.
const GO: &str = r#"package main

import "fmt"

func main() {
	id := "c-1"
	command := UpdateCustomerCustomName{Customer: &EntityRef{ExternalID: &id}}
	fmt.Println(*command.Customer.ExternalID, BusinessTransaction{}.Version, Reply{}.StatusCode, ChangeRow{}.ChangedFields == "")
}
"#;

#[test]
fn gos_generator_takes_the_types() {
    let Some(go) = go() else { return };
    let folder = servers::log_dir().join(crate::crm::unique("go-types"));
    std::fs::create_dir_all(&folder).expect("there is room");
    // The client's modules have the generator's.
    let module = read("examples/go/go.mod").replace("module ", "module generated // ");
    for (name, text) in [("go.mod", module), ("go.sum", read("examples/go/go.sum")), ("main.go", GO.to_owned())] {
        std::fs::write(folder.join(name), text).expect("there is room");
    }
    let mut generator = Command::new(&go);
    generator.current_dir(&folder).args([
        "run",
        "-mod=mod",
        "github.com/hamba/avro/v2/cmd/avrogen",
        "-pkg",
        "main",
        "-o",
        "types.go",
    ]);
    generator.args(types().iter().map(|(name, _)| path(&format!("{TYPES}/{name}.avsc"))));
    servers::finish(&mut generator).unwrap_or_else(|e| panic!("{e}"));
    let output = Command::new(&go).current_dir(&folder).args(["run", "-mod=mod", "."]).output().expect("Go is there");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "c-1 0 0 true", "{}", String::from_utf8_lossy(&output.stderr));
}
