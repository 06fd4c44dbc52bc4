//! Reads one line of a file of commands, from JSON to a command, or to all that is wrong with it. Values are sent as they are: the
//! processor checks them.

use crate::domain::attribute::RawValues;
use crate::domain::command::{RawCommand, RawReference};
use crate::domain::use_case::UseCase;
use crate::domain::values::Actor;
use crate::toolbox::crm_client::key_of;
use serde_json::{Map, Value};
use uuid::Uuid;

/// A command, the key of its record, and who asks for it.
#[derive(Debug, PartialEq)]
pub(super) struct CommandToSend {
    pub command: RawCommand,
    pub key: Option<String>,
    pub actor: Option<Actor>,
}

/// Reads a line.
///
/// # Errors
/// All findings. Each begins with the field that it is about; one about the whole line begins with "is".
pub(super) fn parse(line: &str) -> Result<CommandToSend, Vec<String>> {
    let object: Map<String, Value> = match serde_json::from_str(line) {
        Ok(Value::Object(object)) => object,
        Ok(_) => return Err(vec!["is no JSON object".into()]),
        Err(error) => return Err(vec![format!("is no JSON: {error}")]),
    };
    let mut fields = Fields { object, findings: Vec::new() };
    let Some(use_case) = fields.text("useCase", || None).and_then(|name| UseCase::from_name(&name)) else {
        let names: Vec<_> = UseCase::ALL.iter().map(|u| u.name()).collect();
        return Err(vec![format!("useCase must be one of {}", names.join(", "))]);
    };
    let request_id = fields.text("requestId", || Some(new_request_id()));
    let reference = use_case.reference_type().and_then(|entity_type| fields.reference(entity_type.name()));
    let mut values = RawValues::default();
    for attribute in use_case.attributes() {
        values.set(*attribute, fields.text(attribute.name(), || None));
    }
    let expected_version = if use_case.is_creation() { None } else { fields.integer("expectedVersion") };
    let command = RawCommand { use_case, request_id, reference, values, expected_version };
    let key = fields.text("key", || key_of(&command));
    let actor = fields.actor();
    let findings = fields.finish(use_case.name());
    if findings.is_empty() { Ok(CommandToSend { command, key, actor }) } else { Err(findings) }
}

pub(super) fn new_request_id() -> String {
    Uuid::new_v4().to_string()
}

/// A JSON object from which one field after another is taken, and the findings so far.
struct Fields {
    object: Map<String, Value>,
    findings: Vec<String>,
}

impl Fields {
    fn text(&mut self, name: &str, left_out: impl FnOnce() -> Option<String>) -> Option<String> {
        match self.object.remove(name) {
            Some(Value::String(text)) => Some(text),
            Some(Value::Null) => None,
            None => left_out(),
            Some(_) => {
                self.findings.push(format!("{name} must be a text or null"));
                None
            }
        }
    }

    fn integer(&mut self, name: &str) -> Option<i64> {
        let value = self.object.remove(name).filter(|v| !v.is_null())?;
        if value.as_i64().is_none() {
            self.findings.push(format!("{name} must be a whole number or null"));
        }
        value.as_i64()
    }

    /// Takes the actor. The processor would ignore one that breaks the rules, so it is a finding here.
    fn actor(&mut self) -> Option<Actor> {
        let actor = Actor::parse(&self.text("actor", || None)?);
        actor.map_err(|error| self.findings.push(format!("actor {error}"))).ok()
    }

    fn reference(&mut self, name: &'static str) -> Option<RawReference> {
        match self.object.remove(name)? {
            Value::Null => None,
            Value::Object(object) => {
                let mut inner = Fields { object, findings: Vec::new() };
                let reference =
                    RawReference { external_id: inner.text("externalId", || None), ref_id: inner.text("refId", || None) };
                let findings = inner.finish(name);
                self.findings.extend(findings.into_iter().map(|finding| format!("{name}: {finding}")));
                Some(reference)
            }
            _ => {
                self.findings.push(format!("{name} must be an object with externalId or refId, or null"));
                None
            }
        }
    }

    fn finish(mut self, owner: &str) -> Vec<String> {
        let left = self.object.keys().map(|name| format!("{name} is no field of {owner}"));
        self.findings.extend(left);
        self.findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::attribute::Attribute;

    #[test]
    fn a_line_becomes_a_command() {
        let line = r#"{"useCase":"updateCustomerCustomName","requestId":"r-1","customer":{"externalId":"c-1"},"customName":"Ann","expectedVersion":2,"key":"k","actor":"Zoe"}"#;
        let command = RawCommand {
            use_case: UseCase::UpdateCustomerCustomName,
            request_id: Some("r-1".into()),
            reference: Some(RawReference { external_id: Some("c-1".into()), ref_id: None }),
            values: RawValues::default().with(Attribute::CustomName, Some("Ann".into())),
            expected_version: Some(2),
        };
        assert_eq!(parse(line), Ok(CommandToSend { command, key: Some("k".into()), actor: Actor::parse("Zoe").ok() }));
    }

    #[test]
    fn a_creation_names_its_superior_and_has_its_own_id_as_the_key() {
        let line = r#"{"useCase":"createSubscriber","externalId":"s-1","account":{"refId":"x"},"customName":"Ann"}"#;
        let CommandToSend { command, key, actor } = parse(line).unwrap();
        let values = RawValues::default().with(Attribute::ExternalId, Some("s-1".into()));
        assert_eq!(command.values, values.with(Attribute::CustomName, Some("Ann".into())));
        let superior = RawReference { external_id: None, ref_id: Some("x".into()) };
        assert_eq!((command.reference, key.as_deref(), actor), (Some(superior), Some("s-1"), None));
    }

    #[test]
    fn a_state_comes_with_its_reason() {
        let line =
            r#"{"useCase":"updateAccountState","account":{"externalId":"a-1"},"state":"SUSPENDED","stateReason":"unpaid"}"#;
        let values = parse(line).unwrap().command.values;
        assert_eq!(values.get(Attribute::State), Some("SUSPENDED"));
        assert_eq!(values.get(Attribute::StateReason), Some("unpaid"));
    }

    #[test]
    fn what_is_left_out_is_made_up_or_null_and_null_is_null() {
        let left_out = parse(r#"{"useCase":"updateAccountExternalId","account":{"refId":"x"}}"#).unwrap();
        assert!(left_out.command.request_id.is_some() && left_out.command.values == RawValues::default(), "{left_out:?}");
        assert_eq!(left_out.key.as_deref(), Some("x"));
        let null = parse(r#"{"useCase":"updateAccountExternalId","requestId":null,"account":null,"externalId":null,"key":null}"#);
        let null = null.unwrap();
        assert_eq!(
            (null.command.request_id, null.command.reference, null.command.values, null.key),
            (None, None, RawValues::default(), None)
        );
    }

    #[test]
    fn all_that_is_wrong_with_a_line_is_said() {
        for (line, findings) in [
            ("[]", &["is no JSON object"][..]),
            (r#"{"useCase":"updateCustomer"}"#, &["useCase must be one of"]),
            (
                r#"{"useCase":"updateCustomerSegment","requestId":1,"customer":{"externalId":[],"id":2},"customName":"Ann","expectedVersion":"2"}"#,
                &[
                    "requestId must be a text or null",
                    "customer: externalId must be a text or null",
                    "customer: id is no field of customer",
                    "expectedVersion must be a whole number or null",
                    "customName is no field of updateCustomerSegment",
                ],
            ),
            (
                r#"{"useCase":"updateCustomerSegment","customer":"c-1","actor":" Zoe"}"#,
                &["customer must be an object", "actor must not"],
            ),
            (
                r#"{"useCase":"createCustomer","customer":{"externalId":"c-1"},"expectedVersion":1}"#,
                &["customer is no field of createCustomer", "expectedVersion is no field of createCustomer"],
            ),
        ] {
            let got = parse(line).unwrap_err();
            let as_expected = got.len() == findings.len() && got.iter().zip(findings).all(|(got, f)| got.starts_with(f));
            assert!(as_expected, "{line}: {got:?}, expected {findings:?}");
        }
        assert!(parse("{").unwrap_err()[0].starts_with("is no JSON:"));
    }
}
