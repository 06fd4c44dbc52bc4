//! The description of the API as `OpenAPI` 3.1, made from the Avro schemas and the table of use cases, as the `AsyncAPI` document is. So a
//! new use case, or a new field of a record, is described without a line here.

mod parts;
mod records;
mod refer;
mod rules;
mod yaml;

use super::command::MAX_BODY;
use super::headers::JSON;
use crate::domain::entity::EntityType;
use crate::domain::use_case::UseCase;
use crate::wire::REPLY_SCHEMA;
use crate::wire::headers::CORRELATION_ID;
use parts::{headers, parameters, problem_schema, responses};
use records::{Side, add_record};
use refer::reference;
use serde_json::{Map, Value, json};
use yaml::write_yaml;

/// The property of a number's schema that says what the number counts. `OpenAPI` leaves names with this beginning to whoever needs them.
const UNIT: &str = "x-unit";
/// The unit of times in the answers to reads.
const MILLISECONDS: &str = "milliseconds since 1970";

/// Returns the document.
pub fn document() -> Value {
    let mut schemas = Map::new();
    let mut paths = Map::new();
    for use_case in UseCase::ALL {
        let record = avro(use_case.schema());
        add_record(&record, Side::Sent, &mut schemas);
        rules::narrow(*use_case, &mut schemas);
        paths.insert(format!("/v1/{}", use_case.name()), json!({ "post": command(*use_case, &record) }));
    }
    add_record(&avro(REPLY_SCHEMA), Side::Got, &mut schemas);
    schemas.insert("Problem".into(), problem_schema());
    for entity_type in EntityType::ALL {
        add_reads(entity_type, &mut paths, &mut schemas);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "crm-processor",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Commands about customers, accounts and subscribers, each applied exactly once.",
            "description": "A request that got no answer, or 503 or 504, is sent again with the same request id: it takes effect once, and gets its one answer.",
            "license": { "name": "Apache 2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{}, { "token": [] }, { "certificate": [] }],
        "tags": [
            { "name": "commands", "description": "What a CRM asks for." },
            { "name": "reads", "description": "Questions about entities, their histories, and the outcomes of requests." },
        ],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": parameters(),
            "headers": headers(),
            "responses": responses(),
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "With the scope crm.write for commands, crm.read for reads." },
                "certificate": { "type": "mutualTLS" },
            },
        },
    })
}

/// Returns the document as YAML.
pub fn yaml() -> String {
    let mut text = String::new();
    write_yaml(&mut text, &document(), 0);
    text
}

fn avro(schema: &str) -> Value {
    serde_json::from_str(schema).expect("our schemas are checked by the tests")
}

fn command(use_case: UseCase, record: &Value) -> Value {
    let mut parameters = vec!["idempotencyKey", "prefer", "correlationId", "traceparent"];
    let has_version = record["fields"].as_array().is_some_and(|fields| fields.iter().any(|f| f["name"] == "expectedVersion"));
    if has_version {
        parameters.push("ifMatch");
    }
    let parameters: Vec<_> = parameters.into_iter().map(|name| reference("parameters", name)).collect();
    let mut responses = Map::new();
    responses.insert(
        "200".into(),
        json!({
            "description": "The command took effect, or there was nothing to change.",
            "headers": {
                "ETag": reference("headers", "version"),
                "Idempotent-Replayed": reference("headers", "replayed"),
                CORRELATION_ID: reference("headers", "correlationId"),
            },
            "content": { JSON: { "schema": reference("schemas", "Reply") } },
        }),
    );
    responses.insert("202".into(), reference("responses", "accepted"));
    for (status, name) in COMMAND_PROBLEMS {
        responses.insert((*status).into(), reference("responses", name));
    }
    if !has_version {
        responses.remove("412");
    }
    json!({
        "operationId": use_case.name(),
        "summary": record["doc"],
        "tags": ["commands"],
        "parameters": parameters,
        "requestBody": {
            "required": true,
            "description": format!("At most {MAX_BODY} bytes."),
            "content": { JSON: { "schema": reference("schemas", use_case.record()) } },
        },
        "responses": responses,
    })
}

/// The problems that a command may meet, by status, with the names of their responses.
const COMMAND_PROBLEMS: &[(&str, &str)] = &[
    ("400", "refused"),
    ("401", "unauthorized"),
    ("403", "forbidden"),
    ("406", "notAcceptable"),
    ("408", "slow"),
    ("412", "otherVersion"),
    ("413", "tooLong"),
    ("415", "notJson"),
    ("421", "misdirected"),
    ("500", "internalError"),
    ("503", "unavailable"),
    ("504", "inProgress"),
];

/// The problems that a read may meet.
const READ_PROBLEMS: &[(&str, &str)] = &[
    ("304", "notModified"),
    ("400", "refused"),
    ("401", "unauthorized"),
    ("403", "forbidden"),
    ("404", "notFound"),
    ("406", "notAcceptable"),
    ("421", "misdirected"),
    ("503", "unavailable"),
];

fn add_reads(entity_type: EntityType, paths: &mut Map<String, Value>, schemas: &mut Map<String, Value>) {
    let (name, plural) = (entity_type.name(), format!("{entity_type}s"));
    let image = name[..1].to_uppercase() + &name[1..];
    // In reads, times are what `show --json` has: milliseconds since 1970.
    let shown = format!("{image}Shown");
    let mut entity = schemas[&image].clone();
    for property in entity["properties"].as_object_mut().into_iter().flat_map(|properties| properties.values_mut()) {
        if property["format"] == "date-time" {
            property["type"] = json!(["integer", "null"]);
            property["format"] = "int64".into();
            property[UNIT] = MILLISECONDS.into();
        }
    }
    schemas.insert(shown.clone(), entity);
    let entity = json!({
        "type": "object",
        "properties": { "entity": reference("schemas", &shown), "version": { "type": "integer", "format": "int64" } },
        "required": ["entity", "version"],
    });
    let change = json!({
        "type": "object",
        "properties": {
            "version": { "type": "integer", "format": "int64" },
            "occurredAt": { "type": "integer", "format": "int64", UNIT: MILLISECONDS },
            "useCase": { "type": "string" },
            "requestId": { "type": "string" },
            "changes": { "type": "array", "items": reference("schemas", "Change") },
            "actor": { "type": "string" },
        },
        "required": ["version", "occurredAt", "useCase", "requestId", "changes"],
    });
    let history = json!({
        "type": "object",
        "properties": { "history": { "type": "array", "items": change } },
        "required": ["history"],
    });
    let reply = reference("schemas", "Reply");
    let reads = [
        (
            format!("/v1/{plural}"),
            format!("find{image}"),
            format!("The {name} with an external id."),
            vec!["externalId"],
            &entity,
        ),
        (format!("/v1/{plural}/{{refId}}"), format!("get{image}"), format!("The {name} with a refId."), vec!["refId"], &entity),
        (
            format!("/v1/{plural}/{{refId}}/history"),
            format!("get{image}History"),
            format!("The changes of a {name}, the newest first."),
            vec!["refId", "before", "limit"],
            &history,
        ),
        (
            format!("/v1/{plural}/{{refId}}/requests/{{requestId}}"),
            format!("get{image}Outcome"),
            format!("What a request about a {name} was answered."),
            vec!["refId", "requestId", "contents"],
            &reply,
        ),
        (
            format!("/v1/{plural}/requests/{{requestId}}"),
            format!("find{image}Outcome"),
            format!("What a request about a {name}, named by its external id, was answered."),
            vec!["externalId", "requestId", "contents"],
            &reply,
        ),
    ];
    for (path, operation, summary, own, schema) in reads {
        let (is_outcome, has_pages) = (own.contains(&"requestId"), own.contains(&"before"));
        let parameters: Vec<_> =
            own.into_iter().chain(["ifNoneMatch", "cacheControl"]).map(|p| reference("parameters", p)).collect();
        let mut responses = Map::new();
        let mut headers = Map::new();
        headers.insert("ETag".into(), reference("headers", if is_outcome { "versionIfAny" } else { "version" }));
        if has_pages {
            headers.insert("Link".into(), reference("headers", "next"));
        }
        responses.insert(
            "200".into(),
            json!({ "description": "The body has the requested resource.", "headers": headers, "content": { JSON: { "schema": schema } } }),
        );
        responses.extend(READ_PROBLEMS.iter().map(|(status, name)| ((*status).to_owned(), reference("responses", name))));
        if is_outcome {
            responses.insert("404".into(), reference("responses", "noOutcome"));
        }
        let read = json!({
            "operationId": operation, "summary": summary, "tags": ["reads"], "parameters": parameters, "responses": responses,
        });
        paths.insert(path, json!({ "get": read }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_use_case_is_described_with_its_fields_and_each_reference_leads_somewhere() {
        let document = document();
        for use_case in UseCase::ALL {
            let operation = &document["paths"][format!("/v1/{}", use_case.name())]["post"];
            let body = &operation["requestBody"]["content"][JSON]["schema"]["$ref"];
            assert_eq!(*body, format!("#/components/schemas/{}", use_case.record()));
            let properties = &document["components"]["schemas"][use_case.record()]["properties"];
            assert_eq!(properties["requestId"]["type"], json!(["string", "null"]), "{use_case:?}");
            assert_eq!(document["components"]["schemas"][use_case.record()]["additionalProperties"], false);
        }
        let mut references = BTreeSet::new();
        gather(&document, &mut references);
        assert!(references.len() > 20, "{references:?}");
        for reference in references {
            let pointer = reference.trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
    }

    fn gather(value: &Value, references: &mut BTreeSet<String>) {
        match value {
            Value::Object(entries) => {
                references.extend(entries.get("$ref").and_then(Value::as_str).map(str::to_owned));
                entries.values().for_each(|value| gather(value, references));
            }
            Value::Array(items) => items.iter().for_each(|item| gather(item, references)),
            _ => {}
        }
    }

    #[test]
    fn operations_have_names_of_their_own_and_paths_their_parameters() {
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        let operations: Vec<_> =
            paths.iter().flat_map(|(path, item)| item.as_object().unwrap().values().map(move |o| (path, o))).collect();
        let names: BTreeSet<_> = operations.iter().map(|(_, operation)| operation["operationId"].as_str().unwrap()).collect();
        assert_eq!(names.len(), operations.len());
        for (path, operation) in operations {
            let parameters = operation["parameters"].as_array().unwrap();
            for name in path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}')) {
                assert!(parameters.contains(&reference("parameters", name)), "{path} lacks {name}");
            }
        }
    }

    #[test]
    fn times_are_texts_in_replies_and_all_their_fields_are_there() {
        let document = document();
        let reply = &document["components"]["schemas"]["Reply"];
        assert_eq!(reply["properties"]["processedAt"]["format"], "date-time");
        assert!(reply["required"].as_array().unwrap().contains(&json!("businessTransaction")));
        assert_eq!(document["components"]["schemas"]["Customer"]["properties"]["segmentValidFrom"]["format"], "date-time");
        assert_eq!(document["components"]["schemas"]["CustomerShown"]["properties"]["segmentValidFrom"]["format"], "int64");
        assert_eq!(document["components"]["schemas"]["CustomerShown"]["properties"]["segmentValidFrom"][UNIT], MILLISECONDS);
    }
}
