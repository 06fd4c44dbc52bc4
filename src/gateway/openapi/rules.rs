//! Puts the rules of request validation into the JSON Schemas of commands. A body that fits its schema is refused only for reasons that no
//! schema can hold: which entities there are, and which segments are configured. The domain itself is asked which fields are mandatory and
//! which states a command may name, so a new use case needs no line here unless it brings a new attribute.
//!
//! Three rules have no words in JSON Schema. A request id must stand in the body or in `Idempotency-Key`. A version in the body and one in
//! `If-Match` must be the same. The length of an external id is that of its normal form (NFC).

use crate::domain::attribute::{Attribute, RawValues};
use crate::domain::command::RawCommand;
use crate::domain::entity::State;
use crate::domain::rejection::Rejection;
use crate::domain::use_case::UseCase;
use crate::domain::values::{CustomName, ExternalId, RequestId, Rules, SegmentCode, StateReason};
use serde_json::{Map, Value, json};

/// The record with which commands refer to entities.
const REFERENCE: &str = "EntityRef";
/// The characters of identifiers, as the inside of a class: those that may be anywhere, and those that may be at either end.
const INNER: &str = r"^\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}";
const OUTER: &str = r"^\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Z}";
/// A text that is not blank and has no control characters.
const NAME: &str = r"^[^\p{Cc}]*[^\p{Cc}\p{Z}][^\p{Cc}]*$";

/// Narrows the schema of a use case's record to what request validation takes.
pub fn narrow(use_case: UseCase, schemas: &mut Map<String, Value>) {
    let record = &mut schemas[use_case.record()];
    let mandatory = mandatory(use_case);
    // The request id may come as a header instead.
    record["required"] = mandatory.iter().filter(|field| **field != "requestId").cloned().collect();
    for (name, schema) in record["properties"].as_object_mut().into_iter().flatten() {
        if name != "requestId" && mandatory.contains(name) {
            *schema = without_null(schema.take());
        }
        let rules = match name.as_str() {
            "requestId" => request_id(),
            "expectedVersion" => json!({ "minimum": 0, "maximum": i64::MAX }),
            name => {
                let attribute = Attribute::ALL.into_iter().find(|attribute| attribute.name() == name);
                attribute.map_or(Value::Null, |attribute| rules_of(use_case, attribute, schema))
            }
        };
        merge(schema, &rules);
    }
    if let Some(reference) = schemas.get_mut(REFERENCE) {
        narrow_reference(reference);
    }
}

/// Returns the schema of a request id.
pub fn request_id() -> Value {
    identifier(RequestId::MAX_CHARS)
}

/// Returns the schema of an external id.
pub fn external_id() -> Value {
    identifier(ExternalId::MAX_CHARS)
}

/// Returns the pattern of the header `Idempotency-Key`: a request id in quotes or without, in the characters that all HTTP clients can send
/// in a header. Nothing at all is no request id.
pub fn idempotency_key() -> String {
    let more = RequestId::MAX_CHARS - 2;
    format!(r#"^([!#-~]([ -~]{{0,{more}}}[!-~])?|"([!#-\[\]-~]([ !#-\[\]-~]{{0,{more}}}[!#-\[\]-~])?)?")?$"#)
}

/// Returns the fields that a command must have.
fn mandatory(use_case: UseCase) -> Vec<String> {
    let findings = findings(use_case, RawValues::default()).into_iter();
    findings.filter(|f| matches!(f, Rejection::MandatoryAttribute { .. })).filter_map(|f| f.field().map(str::to_owned)).collect()
}

/// Returns the findings about a command that has these values and nothing else.
fn findings(use_case: UseCase, values: RawValues) -> Vec<Rejection> {
    let command = RawCommand { use_case, request_id: None, reference: None, values, expected_version: None };
    command.validate(&Rules::default()).err().unwrap_or_default()
}

/// Returns the rules of an attribute's value in a command, whose `schema` says whether it may be null.
fn rules_of(use_case: UseCase, attribute: Attribute, schema: &Value) -> Value {
    match attribute {
        Attribute::ExternalId => external_id(),
        Attribute::CustomName => json!({ "maxLength": CustomName::MAX_CHARS, "pattern": NAME }),
        Attribute::Segment => identifier(SegmentCode::MAX_CHARS),
        Attribute::StateReason => identifier(StateReason::MAX_CHARS),
        // In Avro it is a string, so that a command with any other text gets a readable answer.
        Attribute::State => {
            let takes = |state: &State| {
                let values = RawValues::default().with(attribute, Some(state.name().to_owned()));
                !findings(use_case, values).iter().any(|finding| finding.field() == Some(attribute.name()))
            };
            let names = State::ALL.iter().filter(|state| takes(state)).map(|state| json!(state.name()));
            let null = schema["type"].is_array().then_some(Value::Null);
            json!({ "enum": names.chain(null).collect::<Value>() })
        }
        Attribute::CustomerRefId | Attribute::AccountRefId => Value::Null,
    }
}

fn identifier(max: usize) -> Value {
    json!({ "type": "string", "maxLength": max, "pattern": format!("^[{OUTER}]([{INNER}]*[{OUTER}])?$") })
}

/// Requires that a reference names exactly one of the two ids.
fn narrow_reference(reference: &mut Value) {
    let ids = [("externalId", external_id()), ("refId", json!({ "type": "string", "format": "uuid" }))];
    for (name, rules) in &ids {
        merge(&mut reference["properties"][name], rules);
    }
    let by = |(name, other): (&str, &str)| json!({ "required": [name], "properties": { name: { "type": "string" }, other: { "type": "null" } } });
    reference["oneOf"] = [("externalId", "refId"), ("refId", "externalId")].into_iter().map(by).collect();
}

/// Returns the schema without the choice of null.
fn without_null(mut schema: Value) -> Value {
    if let Some(kinds) = schema["type"].as_array() {
        schema["type"] = kinds.iter().find(|kind| **kind != "null").cloned().unwrap_or_default();
    }
    let branch = schema["oneOf"].as_array().and_then(|branches| branches.iter().find(|branch| branch["type"] != "null")).cloned();
    if let (Some(Value::Object(branch)), Some(whole)) = (branch, schema.as_object_mut()) {
        whole.remove("oneOf");
        whole.extend(branch);
    }
    schema
}

/// Adds rules to a schema, which keeps its type.
fn merge(schema: &mut Value, rules: &Value) {
    for (keyword, rule) in rules.as_object().into_iter().flatten().filter(|(keyword, _)| *keyword != "type") {
        schema[keyword] = rule.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(use_case: UseCase) -> Value {
        crate::gateway::openapi::document()["components"]["schemas"][use_case.record()].take()
    }

    #[test]
    fn what_the_domain_demands_must_be_given_and_what_it_does_not_may_be_null() {
        let cases = [
            (UseCase::UpdateCustomerSegment, json!(["customer", "customerSegment"])),
            (UseCase::UpdateSubscriberState, json!(["subscriber", "state"])),
            (UseCase::UpdateAccountExternalId, json!(["account", "externalId"])),
            (UseCase::CreateCustomer, json!(["externalId"])),
            (UseCase::CreateAccount, json!(["externalId", "customer"])),
        ];
        for (use_case, required) in cases {
            assert_eq!(fields(use_case)["required"], required, "{use_case:?}");
        }
        let state = &fields(UseCase::UpdateAccountState)["properties"];
        assert_eq!((&state["state"]["type"], &state["stateReason"]["type"]), (&json!("string"), &json!(["string", "null"])));
        assert_eq!(state["account"]["$ref"], "#/components/schemas/EntityRef");
        assert!(state["account"]["description"].is_string(), "{state}");
        assert_eq!(state["requestId"]["type"], json!(["string", "null"]), "a header may have it");
    }

    #[test]
    fn a_command_names_one_of_the_states_that_it_may_set() {
        let states = |use_case| fields(use_case)["properties"]["state"]["enum"].take();
        assert_eq!(states(UseCase::UpdateAccountState), json!(["INACTIVE", "ACTIVE", "SUSPENDED", "DEACTIVATED"]));
        assert_eq!(states(UseCase::CreateAccount), json!(["INACTIVE", "ACTIVE", "SUSPENDED", null]));
    }

    #[test]
    fn texts_have_the_lengths_and_characters_of_the_domain() {
        let fields = fields(UseCase::CreateCustomer);
        let longest = |field: &str| fields["properties"][field]["maxLength"].clone();
        assert_eq!(
            ["requestId", "externalId", "customName", "customerSegment", "stateReason"].map(longest),
            [128, 256, 255, 64, 128]
        );
        for (name, field) in fields["properties"].as_object().unwrap() {
            assert_eq!(field["pattern"].is_string(), name != "state", "{name}: {field}");
        }
    }
}
