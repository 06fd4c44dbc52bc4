//! Records as JSON, type by type, and commands by the names of their fields.
//! Bodies are written out by hand, because `json` encodes commands only.

use super::*;
use crate::domain::attribute::RawValues;
use serde_json::json;

#[test]
fn any_record_becomes_json() {
    let schema = json!({ "type": "record", "name": "R", "fields": [
        { "name": "nothing", "type": "null" },
        { "name": "yes", "type": "boolean" },
        { "name": "int", "type": "int" },
        { "name": "at", "type": { "type": "long", "logicalType": "timestamp-millis" } },
        { "name": "float", "type": "float" },
        { "name": "double", "type": "double" },
        { "name": "bytes", "type": "bytes" },
        { "name": "text", "type": ["null", "string"] },
        { "name": "fixed", "type": { "type": "fixed", "name": "F", "size": 2 } },
        { "name": "symbol", "type": { "type": "enum", "name": "E", "symbols": ["A", "B"] } },
        { "name": "list", "type": { "type": "array", "items": ["null", "int"] } },
        { "name": "map", "type": { "type": "map", "values": "E" } },
    ] });
    let scalars = [&[1, 1, 0xc8, 1][..], &0.5_f32.to_le_bytes(), &(-0.25_f64).to_le_bytes()].concat();
    let rest = [4, 0xff, 0xfe, 2, 2, b'a', 1, 2, 2, 4, 0, 2, 2, 0, 2, 2, b'k', 0, 0];
    let expected = json!({
        "nothing": null, "yes": true, "int": -1, "at": 100, "float": 0.5, "double": -0.25, "bytes": "//4=", "text": "a",
        "fixed": "AQI=", "symbol": "B", "list": [null, 1], "map": { "k": "A" },
    });
    let schema = GenericSchema::parse(&schema.to_string()).unwrap();
    assert_eq!(schema.decode(&[&scalars[..], &rest].concat()), Ok(expected));
}

#[test]
fn more_values_than_can_be_shown_are_refused_before_they_take_memory() {
    let schema = GenericSchema::parse(r#"{"type":"array","items":"null"}"#).unwrap();
    let body = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0];
    assert_eq!(schema.decode(&body), Err(Malformed::TooMany.into()));
}

#[test]
fn a_command_is_encoded_under_the_names_of_its_use_case() {
    for use_case in UseCase::ALL {
        let reference = RawReference { external_id: Some("c-1".into()), ref_id: None };
        let command = RawCommand {
            use_case: *use_case,
            request_id: Some("r-1".into()),
            reference: use_case.reference_type().map(|_| reference),
            values: use_case.attributes().iter().fold(RawValues::default(), |values, a| values.with(*a, Some("v".into()))),
            expected_version: (!use_case.is_creation()).then_some(-3),
        };
        let mut expected = json!({ "requestId": "r-1" });
        if let Some(version) = command.expected_version {
            expected["expectedVersion"] = version.into();
        }
        if let Some(entity_type) = use_case.reference_type() {
            expected[entity_type.name()] = json!({ "externalId": "c-1", "refId": null });
        }
        use_case.attributes().iter().for_each(|a| expected[a.name()] = "v".into());
        let decoded = GenericSchema::parse(use_case.schema()).unwrap().decode(&encode_command(&command));
        assert_eq!(decoded, Ok(expected), "{use_case:?}");
    }
}
