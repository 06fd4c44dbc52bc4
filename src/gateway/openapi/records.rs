//! The records of the Avro schemas as JSON Schema.

use super::refer::reference;
use serde_json::{Map, Value, json};

/// How a record's fields are described.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client sends the record: it may leave fields out, and add none.
    Sent,
    /// The client gets the record: all fields are there, and later versions may have more.
    Got,
}

/// Adds a record and those within it, each under its name.
pub fn add_record(record: &Value, side: Side, schemas: &mut Map<String, Value>) {
    let name = record["name"].as_str().expect("a record has a name");
    if schemas.contains_key(name) {
        return;
    }
    let mut properties = Map::new();
    for field in record["fields"].as_array().expect("a record has fields") {
        let mut schema = of_type(&field["type"], side, schemas);
        if let Some(doc) = field["doc"].as_str() {
            schema["description"] = doc.into();
        }
        properties.insert(field["name"].as_str().expect("a field has a name").to_owned(), schema);
    }
    let required: Vec<_> = if side == Side::Got { properties.keys().cloned().collect() } else { Vec::new() };
    let mut object = json!({ "type": "object", "properties": properties });
    if let Some(doc) = record["doc"].as_str() {
        object["description"] = doc.into();
    }
    match side {
        Side::Sent => object["additionalProperties"] = false.into(),
        Side::Got => object["required"] = required.into(),
    }
    schemas.insert(name.to_owned(), object);
}

/// Returns the JSON Schema of an Avro type.
fn of_type(avro: &Value, side: Side, schemas: &mut Map<String, Value>) -> Value {
    match avro {
        Value::Array(branches) => {
            let other = branches.iter().find(|branch| *branch != "null").expect("our unions are of null and one type");
            nullable(of_type(other, side, schemas))
        }
        Value::Object(parts) => match parts["type"].as_str() {
            Some("record") => {
                add_record(avro, side, schemas);
                reference("schemas", parts["name"].as_str().expect("a record has a name"))
            }
            Some("enum") => {
                let name = parts["name"].as_str().expect("an enum has a name");
                schemas.insert(name.to_owned(), json!({ "type": "string", "enum": parts["symbols"] }));
                reference("schemas", name)
            }
            Some("array") => json!({ "type": "array", "items": of_type(&parts["items"], side, schemas) }),
            _ if parts.get("logicalType").is_some_and(|logical| logical == "timestamp-millis") => {
                json!({ "type": "string", "format": "date-time" })
            }
            _ => of_type(&parts["type"], side, schemas),
        },
        Value::String(name) => match name.as_str() {
            "string" => json!({ "type": "string" }),
            "boolean" => json!({ "type": "boolean" }),
            "int" => json!({ "type": "integer", "format": "int32" }),
            "long" => json!({ "type": "integer", "format": "int64" }),
            // A name stands for a type that was defined before: an enum, or a record.
            named => reference("schemas", named.rsplit('.').next().unwrap_or(named)),
        },
        other => panic!("an Avro type that this program does not use: {other}"),
    }
}

fn nullable(schema: Value) -> Value {
    match (schema.get("$ref"), schema["type"].as_str()) {
        (None, Some(kind)) => {
            let kinds = json!([kind, "null"]);
            let mut schema = schema;
            schema["type"] = kinds;
            schema
        }
        _ => json!({ "oneOf": [schema, { "type": "null" }] }),
    }
}
