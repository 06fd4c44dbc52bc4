//! Tests producers with an older, a newer or another schema of a command: the processor reads their commands as long as Avro can
//! resolve the schema to ours.

use crate::crm::{custom_name, unique};
use crate::registry;
use crate::world::shared;
use crm_processor::domain::use_case::UseCase;
use serde_json::{Value as Json, json};

const RECORD: &str = "UpdateCustomerCustomName";

fn fields_of(schema: &mut Json) -> &mut Vec<Json> {
    schema["fields"].as_array_mut().expect("a record has fields")
}

#[test]
fn writers_with_more_fewer_reordered_or_narrower_fields_are_understood() {
    let Some(shared) = shared() else { return };
    let base = || registry::command_schema(RECORD);
    let mut schemas = vec![("the same", base())];

    let mut reordered = base();
    fields_of(&mut reordered).reverse();
    schemas.push(("other order", reordered));

    let mut newer = base();
    fields_of(&mut newer).insert(1, json!({"name": "salesChannel", "type": "string", "default": "web"}));
    fields_of(&mut newer).push(json!({"name": "tags", "type": {"type": "map", "values": "string"}, "default": {}}));
    schemas.push(("a field more", newer));

    let mut older = base();
    fields_of(&mut older).retain(|field| field["name"] != "expectedVersion");
    schemas.push(("without a defaulted field", older));

    let mut strict = base();
    for field in fields_of(&mut strict).iter_mut().filter(|f| f["name"] == "requestId" || f["name"] == "customName") {
        *field = json!({"name": field["name"], "type": "string"});
    }
    schemas.push(("plain strings", strict));

    let mut swapped = base();
    fields_of(&mut swapped)[0] = json!({"name": "requestId", "type": ["string", "null"]});
    schemas.push(("null second", swapped));

    let mut documented = base();
    documented["doc"] = "In other words.".into();
    schemas.push(("with documentation", documented));

    for (what, schema) in schemas {
        let customer = shared.customer();
        let draft = custom_name(&unique("r"), &customer.by_external_id(), "Ada").written_with(&schema);
        let reply = shared.ask(&draft);
        let got = (&reply.body["statusCode"], &reply.body["requestId"]);
        assert_eq!(got, (&json!(200), &json!(draft.request())), "{what}: {schema}\nreply: {reply:?}");
        assert_eq!(reply.body["businessTransaction"]["customer"]["customName"], "Ada", "{what}: {reply:?}");
    }
}

#[test]
fn an_int_is_read_as_a_long() {
    let Some(shared) = shared() else { return };
    let mut schema = registry::command_schema(RECORD);
    for field in fields_of(&mut schema).iter_mut().filter(|f| f["name"] == "expectedVersion") {
        *field = json!({"name": "expectedVersion", "type": "int"});
    }
    let customer = shared.customer();
    for (expected, status) in [(7, 400), (1, 200)] {
        let draft = custom_name(&unique("r"), &customer.by_external_id(), "Ada").expecting(expected).written_with(&schema);
        let reply = shared.ask(&draft);
        assert_eq!(reply.body["statusCode"], status, "expectedVersion {expected}: {reply:?}");
    }
}

#[test]
fn a_writer_that_lacks_a_mandatory_field_gets_a_readable_answer() {
    let Some(shared) = shared() else { return };
    let mut schema = registry::command_schema(RECORD);
    fields_of(&mut schema).retain(|field| field["name"] != "customName" && field["name"] != "customer");
    let reply = shared.ask(&custom_name(&unique("r"), &Json::Null, "Ada").written_with(&schema));
    let findings: Vec<_> = reply.body["errors"].as_array().expect("an array").iter().map(|e| &e["field"]).collect();
    assert_eq!(findings, ["customer", "customName"], "{reply:?}");
}

#[test]
fn setup_registers_the_projects_own_schemas_under_their_subjects() {
    let Some(shared) = shared() else { return };
    let of_type = |entity_type| {
        ["CustomName", "ExternalId", "State"]
            .map(|what| format!("Update{entity_type}{what}"))
            .into_iter()
            .chain([format!("Create{entity_type}")])
    };
    let commands = ["Customer", "Account", "Subscriber"].into_iter().flat_map(of_type);
    let commands = commands.chain(["UpdateCustomerSegment".to_owned()]);
    let mut expected: Vec<_> = commands.map(|record| format!("{}-crm.v1.{record}", shared.commands)).collect();
    expected.extend([format!("{}-value", shared.replies), format!("{}-value", shared.transactions)]);
    assert_eq!(expected.len(), UseCase::ALL.len() + 2, "of each command, of replies and of transactions");
    are_registered(&expected);
}

/// Checks that these subjects are registered, and take only such versions of their schemas as everybody can read.
pub fn are_registered(expected: &[String]) {
    let (status, subjects) = registry::get(&format!("{}/subjects", registry::url()));
    let subjects: Vec<String> = serde_json::from_str(&subjects).unwrap_or_else(|e| panic!("{status} {subjects}: {e}"));
    for subject in expected {
        assert!(subjects.contains(subject), "{subject} is none of {subjects:?}");
        let (status, level) = registry::get(&format!("{}/config/{subject}", registry::url()));
        let level: Json = serde_json::from_str(&level).unwrap_or_else(|e| panic!("{status} {level}: {e}"));
        assert_eq!((status, &level["compatibilityLevel"]), (200, &json!("FULL_TRANSITIVE")), "{subject}");
    }
}
