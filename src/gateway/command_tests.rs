//! Tests which requests become commands, and what the others are told.

use super::*;
use crate::domain::values::SegmentCode;
use axum::http::{HeaderName, HeaderValue};
use serde_json::{Value, json};

fn prepared(use_case: UseCase, headers: &[(&str, &str)], body: &Value) -> Result<PreparedCommand, Problem> {
    let headers = headers
        .iter()
        .map(|(name, value)| (HeaderName::try_from(*name).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap()));
    let rules = Rules { segments: vec![SegmentCode::parse("A").unwrap()] };
    prepare(use_case, &headers.collect(), body.to_string().as_bytes(), &rules)
}

fn rename(headers: &[(&str, &str)], body: &Value) -> Result<PreparedCommand, Problem> {
    prepared(UseCase::UpdateAccountExternalId, headers, body)
}

fn found(problem: &Problem) -> Vec<(&str, Option<&str>)> {
    problem.errors.iter().map(|e| (e.code.as_str(), e.field.as_deref())).collect()
}

const MANDATORY: &str = "CASM-MANDATORY-ATTRIBUTE";
const INVALID: &str = "CASM-INVALID-ATTRIBUTE";

#[test]
fn a_request_becomes_a_command_with_the_key_and_the_place_of_its_reference() {
    let body = json!({"requestId": "r", "account": {"externalId": "a\u{301}"}, "externalId": "b"});
    let by_id = rename(&[], &body).unwrap();
    assert_eq!(by_id.key, "á", "the key is the id in NFC");
    assert!(by_id.location().starts_with("/v1/accounts/requests/r?externalId=%C3%A1&contents="), "{}", by_id.location());
    assert_eq!((by_id.correlation_id(), by_id.is_conditional), ("r", false));
    let ref_id = "0198C7A0-0000-7000-8000-00000000000A";
    let by_ref_id = rename(&[], &json!({"requestId": "r", "account": {"refId": ref_id}, "externalId": "b"})).unwrap();
    assert_eq!(by_ref_id.key, ref_id.to_lowercase());
    let creation = json!({"requestId": "r", "externalId": "a-9", "customer": {"externalId": "c-1"}});
    let creation = prepared(UseCase::CreateAccount, &[], &creation).unwrap();
    let created = Uuid::new_v5(&Uuid::NAMESPACE_URL, b"crm:create:account:a-9:r");
    assert_eq!(creation.key, "a-9", "a creation's key is the external id that it gives");
    assert!(creation.location().starts_with(&format!("/v1/accounts/{created}/requests/r?contents=")), "{}", creation.location());
}

#[test]
fn contents_tell_requests_apart_and_nothing_else_does() {
    let body = |value: &str| json!({"requestId": "r", "account": {"externalId": "a"}, "externalId": value});
    let identity = |headers, value| rename(headers, &body(value)).unwrap().identity;
    assert_eq!(identity(&[], "b"), identity(&[("correlation-id", "c")], "b"));
    assert_ne!(identity(&[], "b"), identity(&[], "c"));
    assert_ne!(identity(&[], "b"), identity(&[("if-match", "\"1\"")], "b"));
}

#[test]
fn all_findings_come_at_once_in_the_order_of_the_fields() {
    let body = json!({"account": {"externalId": ""}, "expectedVersion": -1});
    let problem = rename(&[], &body).unwrap_err();
    let expected = [
        (MANDATORY, Some("requestId")),
        (MANDATORY, Some("account.externalId")),
        (MANDATORY, Some("externalId")),
        (INVALID, Some("expectedVersion")),
    ];
    assert_eq!(found(&problem), expected);
    assert_eq!((problem.request_id, problem.correlation_id), (None, None));
    let segment = json!({"requestId": "r", "customer": {"externalId": "c"}, "customerSegment": "a"});
    let problem = prepared(UseCase::UpdateCustomerSegment, &[("correlation-id", "k")], &segment).unwrap_err();
    assert_eq!(found(&problem), [("CASM-SEGMENT-NOT-CONFIGURED", Some("customerSegment"))]);
    assert_eq!((problem.request_id.as_deref(), problem.correlation_id.as_deref()), (Some("r"), Some("k")));
}

#[test]
fn the_request_id_comes_from_the_body_or_from_the_key() {
    let body = |id: Value| json!({"requestId": id, "account": {"externalId": "a"}, "externalId": "b"});
    let key = |key: &'static str| ("idempotency-key", key);
    let request = |headers: &[(&str, &str)], id| rename(headers, &body(id)).map(|p| p.identity.request_id.as_str().to_owned());
    assert_eq!(request(&[key("\"r\"")], Value::Null).unwrap(), "r");
    assert_eq!(request(&[key("r")], json!("r")).unwrap(), "r");
    assert_eq!(request(&[key("")], json!("r")).unwrap(), "r");
    let conflicts = [
        (vec![key("r"), key("r")], Value::Null),
        (vec![key("r")], json!("R")),
        (vec![key("r")], json!("")),
        (vec![key("\"r")], json!("r")),
    ];
    for (headers, id) in conflicts {
        let problem = request(&headers, id.clone()).unwrap_err();
        assert_eq!(found(&problem), [(INVALID, Some("requestId"))], "{headers:?} {id}");
    }
    assert_eq!(found(&request(&[key("\"\"")], Value::Null).unwrap_err()), [(MANDATORY, Some("requestId"))]);
    assert_eq!(found(&request(&[], json!(" r")).unwrap_err()), [(INVALID, Some("requestId"))]);
}

#[test]
fn if_match_is_the_expected_version() {
    let body =
        |version: Value| json!({"requestId": "r", "account": {"externalId": "a"}, "externalId": "b", "expectedVersion": version});
    let tag = |tag: &'static str| ("if-match", tag);
    let given = rename(&[], &body(json!(7))).unwrap();
    for (headers, version) in [([tag("\"7\"")], Value::Null), ([tag("\"7\"")], json!(7))] {
        let prepared = rename(&headers, &body(version)).unwrap();
        assert_eq!((&prepared.identity, &prepared.body, prepared.is_conditional), (&given.identity, &given.body, true));
    }
    assert!(!given.is_conditional);
    for (headers, version) in
        [([tag("\"7\"")], json!(8)), ([tag("W/\"7\"")], json!(7)), ([tag("*")], Value::Null), ([tag("x")], json!(-1))]
    {
        let problem = rename(&headers, &body(version.clone())).unwrap_err();
        assert_eq!(found(&problem), [(INVALID, Some("expectedVersion"))], "{headers:?} {version}");
    }
}

#[test]
fn what_cannot_be_read_is_told_with_its_ids() {
    let problem = rename(&[("idempotency-key", "r"), ("correlation-id", "c")], &json!({"account": 7})).unwrap_err();
    assert_eq!(found(&problem), [("CASM-RECORD-UNREADABLE", Some("account"))]);
    assert_eq!((problem.request_id.as_deref(), problem.correlation_id.as_deref()), (Some("r"), Some("c")));
    let long = "x".repeat(1025);
    let problem = rename(&[("correlation-id", &long)], &json!({})).unwrap_err();
    assert_eq!(found(&problem), [("CASM-RECORD-UNREADABLE", Some("correlation-id"))]);
    assert_eq!(problem.correlation_id, None);
}
