//! Reads one line of an import, from JSON to an entity, or to all that is wrong with it.

use crate::domain::Timestamp;
use crate::domain::entity::{Entity, EntityType, State};
use crate::domain::values::{CustomName, ExternalId, Rules, StateReason, parse_ref_id};
use crate::wire::headers::RFC_3339_INSTANTS;
use serde_json::{Map, Value};
use std::fmt::Display;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

/// Reads a line. The entity gets version 1.
///
/// # Errors
/// All findings. Each begins with the field that it is about; one about the whole line begins with "is".
pub(super) fn parse(line: &str, rules: &Rules) -> Result<Entity, Vec<String>> {
    let object: Map<String, Value> = match serde_json::from_str(line) {
        Ok(Value::Object(object)) => object,
        Ok(_) => return Err(vec!["is no JSON object".into()]),
        Err(e) => return Err(vec![format!("is no JSON (column {}): {}", e.column(), kind_of(&e))]),
    };
    let mut fields = Fields { object, findings: Vec::new() };
    let entity_type =
        fields.mandatory("type", |text| EntityType::from_name(text).ok_or("must be customer, account or subscriber"));
    let ref_id = fields.mandatory("refId", uuid);
    let external_id = fields.mandatory("externalId", ExternalId::parse);
    let state = fields.mandatory("state", |text| State::from_name(text).ok_or_else(|| State::must_be_one_of(&State::ALL)));
    let state_reason = fields.optional("stateReason", StateReason::parse);
    let state_valid_from = fields.timestamp("stateValidFrom");
    let custom_name = fields.optional("customName", CustomName::parse);
    let mut segment = None;
    let mut superior = None;
    match entity_type {
        Some(EntityType::Customer) => {
            let configured = |text: &str| rules.segment(text).cloned().ok_or("is not one of the configured segments");
            segment = fields.optional("customerSegment", configured);
        }
        Some(EntityType::Account) => superior = fields.optional("customerRefId", uuid),
        Some(EntityType::Subscriber) => superior = fields.optional("accountRefId", uuid),
        // Which other fields there may be depends on the type, so no more can be said.
        None => fields.object.clear(),
    }
    let findings = fields.finish(entity_type);
    match (entity_type, ref_id, external_id, state) {
        (Some(entity_type), Some(ref_id), Some(external_id), Some(state)) if findings.is_empty() => Ok(Entity {
            entity_type,
            ref_id,
            external_id,
            version: 1,
            state,
            custom_name,
            segment,
            segment_valid_from: None,
            superior,
            state_reason,
            state_valid_from,
        }),
        _ => Err(findings),
    }
}

struct Fields {
    object: Map<String, Value>,
    findings: Vec<String>,
}

impl Fields {
    fn mandatory<T, E: Display>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        if matches!(self.object.get(name), None | Some(Value::Null)) {
            self.object.remove(name);
            self.findings.push(format!("{name} is missing"));
            return None;
        }
        self.optional(name, parse)
    }

    fn optional<T, E: Display>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        let finding = match self.object.remove(name)? {
            Value::Null => return None,
            Value::String(text) => match parse(&text) {
                Ok(value) => return Some(value),
                Err(reason) => format!("{name} {reason}"),
            },
            _ => format!("{name} must be a text"),
        };
        self.findings.push(finding);
        None
    }

    /// Takes a time: whole milliseconds since 1970, as `show --json` prints them, or a text as in RFC 3339. A number that RFC 3339 can't
    /// express as a time is a finding: most likely it has another unit.
    fn timestamp(&mut self, name: &str) -> Option<Timestamp> {
        let time = match self.object.remove(name)? {
            Value::Null => return None,
            Value::Number(number) => number.as_i64().filter(|time| RFC_3339_INSTANTS.contains(time)),
            Value::String(text) => milliseconds(&text),
            _ => None,
        };
        if time.is_none() {
            self.findings.push(format!("{name} must be milliseconds since 1970, or a time such as \"2026-01-31T12:00:00Z\""));
        }
        time
    }

    /// Returns all findings, among them the fields that nobody asked for.
    fn finish(mut self, entity_type: Option<EntityType>) -> Vec<String> {
        let of = entity_type.map_or("entity", EntityType::name);
        let article = if matches!(entity_type, Some(EntityType::Account)) { "an" } else { "a" };
        self.findings.extend(self.object.keys().map(|name| format!("{name:?} is no field of {article} {of}")));
        self.findings
    }
}

fn milliseconds(text: &str) -> Option<Timestamp> {
    let nanoseconds = OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos();
    Timestamp::try_from(nanoseconds.div_euclid(1_000_000)).ok()
}

fn uuid(text: &str) -> Result<Uuid, &'static str> {
    parse_ref_id(text).ok_or("must be a hyphenated UUID")
}

/// Returns what is wrong with the JSON. serde's own words are not used: they may quote the line.
fn kind_of(error: &serde_json::Error) -> &'static str {
    if error.is_eof() { "it ends too early" } else { "the syntax is wrong" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::values::SegmentCode;

    const ID: &str = "0198c7a0-0000-7000-8000-00000000000a";

    fn rules() -> Rules {
        Rules { segments: vec![SegmentCode::parse("RESIDENTIAL").unwrap()] }
    }

    #[test]
    fn the_lines_of_the_contract_become_entities() {
        let customer = format!(
            r#"{{"type":"customer","refId":"{}","externalId":"c-1","state":"ACTIVE","customName":"Ann","customerSegment":"RESIDENTIAL"}}"#,
            ID.to_uppercase()
        );
        let entity = parse(&customer, &rules()).unwrap();
        assert_eq!(entity.key(), format!("customer:{ID}"));
        assert_eq!(entity.segment.unwrap().as_str(), "RESIDENTIAL");
        assert_eq!((entity.version, entity.segment_valid_from), (1, None));
        for (kind, superior) in [("account", "customerRefId"), ("subscriber", "accountRefId")] {
            let line = format!(
                r#"{{"type":"{kind}","refId":"{ID}","externalId":"x","state":"INACTIVE","customName":null,"{superior}":"{ID}"}}"#
            );
            assert_eq!(parse(&line, &rules()).unwrap().superior.unwrap().to_string(), ID);
            let line = format!(r#"{{"type":"{kind}","refId":"{ID}","externalId":"x","state":"SUSPENDED"}}"#);
            assert_eq!(parse(&line, &rules()).unwrap().superior, None);
        }
    }

    #[test]
    fn each_rule_broken_is_a_finding_that_names_the_field() {
        let line = |rest: &str| format!(r#"{{"type":"customer","refId":"{ID}","externalId":"c","state":"ACTIVE"{rest}}}"#);
        let cases = [
            (String::from("{"), "is no JSON"),
            ("[]".into(), "is no JSON object"),
            (r#"{"type":"robot"}"#.into(), "type must be customer"),
            (line(r#","customName":" ""#), "customName must not be empty or blank"),
            (line(r#","customName":3"#), "customName must be a text"),
            (line(r#","customerSegment":"residential""#), "customerSegment is not one of the configured"),
            (line(r#","customerRefId":"x""#), "\"customerRefId\" is no field of a customer"),
            (line(r#","colour":"red""#), "\"colour\" is no field"),
            (line("").replace(ID, &ID.replace('-', "")), "refId must be a hyphenated UUID"),
            (line("").replace("\"c\"", "\" c\""), "externalId must not begin or end"),
            (line("").replace("ACTIVE", "active"), "state must be"),
            (r#"{"type":"account","customerSegment":"RESIDENTIAL"}"#.into(), "is no field of an account"),
            (line(r#","stateReason":" unpaid""#), "stateReason must not begin or end"),
            (line(r#","stateReason":true"#), "stateReason must be a text"),
            (line(r#","stateValidFrom":"2026-01-31""#), "stateValidFrom must be milliseconds"),
            (line(r#","stateValidFrom":1700000000123.5"#), "stateValidFrom must be milliseconds"),
            // Microseconds, of the year 55,841.
            (line(r#","stateValidFrom":1700000000123000"#), "stateValidFrom must be milliseconds"),
            (line(r#","stateValidFrom":true"#), "stateValidFrom must be milliseconds"),
            // An import can't express these.
            (line(r#","segmentValidFrom":1700000000123"#), "\"segmentValidFrom\" is no field of a customer"),
            (line(r#","version":7"#), "\"version\" is no field of a customer"),
        ];
        for (line, expected) in cases {
            let findings = parse(&line, &rules()).expect_err(&line);
            assert!(findings.iter().any(|f| f.contains(expected)), "{line}: {findings:?} should say {expected:?}");
        }
    }

    #[test]
    fn a_state_has_its_reason_and_its_date_if_they_are_given() {
        for (given, reason, valid_from) in [
            ("", None, None),
            (r#","stateReason":null,"stateValidFrom":null"#, None, None),
            (r#","stateReason":"unpaid","stateValidFrom":1700000000123"#, Some("unpaid"), Some(1_700_000_000_123)),
            (r#","stateValidFrom":-1"#, None, Some(-1)),
            (r#","stateValidFrom":"1969-12-31T23:59:59.9999Z""#, None, Some(-1)),
            (r#","stateValidFrom":"2026-01-31T12:00:00.5+01:00""#, None, Some(1_769_857_200_500)),
        ] {
            let line = format!(r#"{{"type":"account","refId":"{ID}","externalId":"a","state":"SUSPENDED"{given}}}"#);
            let entity = parse(&line, &rules()).expect(&line);
            assert_eq!(entity.state_reason.as_ref().map(StateReason::as_str), reason, "{line}");
            assert_eq!(entity.state_valid_from, valid_from, "{line}");
        }
    }

    #[test]
    fn all_findings_of_a_line_come_at_once() {
        let findings = parse(r#"{"type":"subscriber","refId":"x","externalId":"","colour":1}"#, &rules()).unwrap_err();
        assert_eq!(findings.len(), 4, "{findings:?}");
    }
}
