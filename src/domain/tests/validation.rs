//! Request validation, which finds the first three rows of the error table. It reports all findings in the order of the fields, at most
//! one for each field.
//!
//! The tables hold for every use case. In them `entity` stands for the reference's field (`customer`, …) and `value` for
//! the new value's (`customName`, …).

use super::super::attribute::{Attribute, RawValues};
use super::super::command::{Command, RawCommand, RawReference};
use super::super::entity::EntityType;
use super::super::reference::Reference;
use super::super::use_case::UseCase;
use super::{REF_ID, external_id, new_value, raw, rules, told, updates};

type Row = (&'static str, fn(&mut RawCommand), &'static [(&'static str, &'static str)]);

const MANDATORY: &str = "CASM-MANDATORY-ATTRIBUTE";
const INVALID: &str = "CASM-INVALID-ATTRIBUTE";
const NOT_CONFIGURED: &str = "CASM-SEGMENT-NOT-CONFIGURED";

fn by(command: &mut RawCommand, external_id: Option<&str>, ref_id: Option<&str>) {
    let reference = RawReference { external_id: external_id.map(Into::into), ref_id: ref_id.map(Into::into) };
    command.reference = Some(reference);
}

/// Sets the value that the use case can't do without, and no other.
fn set(command: &mut RawCommand, value: Option<String>) {
    command.values = command.use_case.first_value(value);
}

const SINGLE_FINDINGS: &[Row] = &[
    ("request id missing", |c| c.request_id = None, &[(MANDATORY, "requestId")]),
    ("request id empty", |c| c.request_id = Some(String::new()), &[(MANDATORY, "requestId")]),
    ("request id blank", |c| c.request_id = Some(" \u{2003}\t".into()), &[(MANDATORY, "requestId")]),
    ("request id too long", |c| c.request_id = Some("r".repeat(129)), &[(INVALID, "requestId")]),
    ("request id with a control character", |c| c.request_id = Some("r\u{0}1".into()), &[(INVALID, "requestId")]),
    ("request id with a space at its end", |c| c.request_id = Some("r-1 ".into()), &[(INVALID, "requestId")]),
    ("reference missing", |c| c.reference = None, &[(MANDATORY, "entity")]),
    ("reference with neither id", |c| by(c, None, None), &[(INVALID, "entity")]),
    ("reference with both ids", |c| by(c, Some("a"), Some(&REF_ID.to_string())), &[(INVALID, "entity")]),
    ("external id empty", |c| by(c, Some(""), None), &[(MANDATORY, "entity.externalId")]),
    ("external id blank", |c| by(c, Some("\u{A0}"), None), &[(MANDATORY, "entity.externalId")]),
    ("external id too long", |c| by(c, Some(&"x".repeat(257)), None), &[(INVALID, "entity.externalId")]),
    ("external id with a format character", |c| by(c, Some("a\u{200B}"), None), &[(INVALID, "entity.externalId")]),
    ("external id with a leading space", |c| by(c, Some(" a"), None), &[(INVALID, "entity.externalId")]),
    ("refId empty", |c| by(c, None, Some("")), &[(INVALID, "entity.refId")]),
    ("refId not a UUID", |c| by(c, None, Some("c-1")), &[(INVALID, "entity.refId")]),
    ("refId in braces", |c| by(c, None, Some(&format!("{{{REF_ID}}}"))), &[(INVALID, "entity.refId")]),
    ("refId as URN", |c| by(c, None, Some(&format!("urn:uuid:{REF_ID}"))), &[(INVALID, "entity.refId")]),
    ("refId without hyphens", |c| by(c, None, Some(&REF_ID.simple().to_string())), &[(INVALID, "entity.refId")]),
    ("value missing", |c| set(c, None), &[(MANDATORY, "value")]),
    ("value empty", |c| set(c, Some(String::new())), &[(MANDATORY, "value")]),
    ("value blank", |c| set(c, Some("\u{3000} ".into())), &[(MANDATORY, "value")]),
    ("expectedVersion -1", |c| c.expected_version = Some(-1), &[(INVALID, "expectedVersion")]),
    ("expectedVersion least", |c| c.expected_version = Some(i64::MIN), &[(INVALID, "expectedVersion")]),
];

const SEVERAL_FINDINGS: &[Row] = &[
    (
        "all missing",
        |c| {
            c.request_id = None;
            c.reference = None;
            set(c, None);
        },
        &[(MANDATORY, "requestId"), (MANDATORY, "entity"), (MANDATORY, "value")],
    ),
    (
        "one for each field",
        |c| {
            c.request_id = Some("r".repeat(129));
            by(c, Some(""), None);
            set(c, None);
            c.expected_version = Some(-5);
        },
        &[(INVALID, "requestId"), (MANDATORY, "entity.externalId"), (MANDATORY, "value"), (INVALID, "expectedVersion")],
    ),
    (
        "both ids, both malformed",
        |c| by(c, Some(" a"), Some("b")),
        &[(INVALID, "entity"), (INVALID, "entity.externalId"), (INVALID, "entity.refId")],
    ),
    (
        "both ids, one of them empty",
        |c| by(c, Some(""), Some(&REF_ID.to_string())),
        &[(INVALID, "entity"), (MANDATORY, "entity.externalId")],
    ),
    (
        "one field that breaks several rules: too long, a control character, a space at its end",
        |c| c.request_id = Some(format!("{}\u{7} ", "r".repeat(200))),
        &[(INVALID, "requestId")],
    ),
    (
        "one field that is blank, too long and made of control characters",
        |c| c.request_id = Some("\n".repeat(129)),
        &[(MANDATORY, "requestId")],
    ),
];

#[test]
fn each_finding_of_request_validation() {
    for use_case in updates() {
        for row in SINGLE_FINDINGS.iter().chain(SEVERAL_FINDINGS) {
            check(*use_case, row);
        }
    }
}

#[test]
fn findings_about_a_custom_name() {
    for row in [
        ("at the bound", (|c| set(c, Some("é".repeat(255)))) as fn(&mut RawCommand), &[][..]),
        ("too long", |c| set(c, Some("é".repeat(256))), &[(INVALID, "value")]),
        ("longer than an external id may be", |c| set(c, Some("é".repeat(257))), &[(INVALID, "value")]),
        ("with a line feed", |c| set(c, Some("Ada\nLovelace".into())), &[(INVALID, "value")]),
        ("with outer white space", |c| set(c, Some(" Ada ".into())), &[]),
    ] {
        check(UseCase::UpdateCustomerCustomName, &row);
    }
}

#[test]
fn findings_about_a_new_external_id() {
    for use_case in [UseCase::UpdateCustomerExternalId, UseCase::UpdateAccountExternalId, UseCase::UpdateSubscriberExternalId] {
        for row in [
            ("at the bound", (|c| set(c, Some("😀".repeat(256)))) as fn(&mut RawCommand), &[][..]),
            ("too long", |c| set(c, Some("😀".repeat(257))), &[(INVALID, "value")]),
            ("at the bound after NFC", |c| set(c, Some("e\u{301}".repeat(256))), &[]),
            ("with a private-use character", |c| set(c, Some("a\u{E000}".into())), &[(INVALID, "value")]),
            ("with a line separator", |c| set(c, Some("a\u{2028}b".into())), &[(INVALID, "value")]),
            ("with a trailing space", |c| set(c, Some("a ".into())), &[(INVALID, "value")]),
        ] {
            check(use_case, &row);
        }
    }
}

#[test]
fn findings_about_a_state_and_its_reason() {
    let unfit = "r".repeat(129);
    for use_case in [UseCase::UpdateCustomerState, UseCase::UpdateAccountState, UseCase::UpdateSubscriberState] {
        for (state, reason, expected) in [
            (Some("INACTIVE"), None, &[][..]),
            (Some("ACTIVE"), Some("paid"), &[]),
            (Some("SUSPENDED"), Some(&unfit[1..]), &[]),
            (Some("DEACTIVATED"), Some("Kündigung (3)"), &[]),
            (None, None, &[(MANDATORY, "state")]),
            (Some(""), None, &[(MANDATORY, "state")]),
            (Some("\u{2003}"), None, &[(MANDATORY, "state")]),
            (Some("active"), None, &[(INVALID, "state")]),
            (Some(" ACTIVE"), None, &[(INVALID, "state")]),
            (Some("ACTIVE/2"), None, &[(INVALID, "state")]),
            (Some("GONE"), None, &[(INVALID, "state")]),
            (Some("ACTIVE"), Some(""), &[(INVALID, "stateReason")]),
            (Some("ACTIVE"), Some(" \t"), &[(INVALID, "stateReason")]),
            (Some("ACTIVE"), Some("paid "), &[(INVALID, "stateReason")]),
            (Some("ACTIVE"), Some("a\nb"), &[(INVALID, "stateReason")]),
            (Some("ACTIVE"), Some("a\u{E000}"), &[(INVALID, "stateReason")]),
            (Some("ACTIVE"), Some(&unfit), &[(INVALID, "stateReason")]),
            (None, Some(""), &[(MANDATORY, "state"), (INVALID, "stateReason")]),
        ] {
            let values = RawValues::default()
                .with(Attribute::State, state.map(Into::into))
                .with(Attribute::StateReason, reason.map(Into::into));
            let got = RawCommand { values, ..raw(use_case) }.validate(&rules());
            assert_eq!(told(&got.err().unwrap_or_default()), owned(expected), "{}: {state:?}, {reason:?}", use_case.name());
        }
    }
}

#[test]
fn findings_about_a_segment() {
    for (code, expected) in [
        ("RESIDENTIAL", &[][..]),
        ("ENTERPRISE", &[]),
        ("Enterprise", &[]), // configured beside ENTERPRISE
        ("enterprise", &[(NOT_CONFIGURED, "customerSegment")]),
        ("Residential", &[(NOT_CONFIGURED, "customerSegment")]),
        (" RESIDENTIAL", &[(NOT_CONFIGURED, "customerSegment")]),
        ("RESIDENTIAL ", &[(NOT_CONFIGURED, "customerSegment")]),
        ("RESIDENTIA", &[(NOT_CONFIGURED, "customerSegment")]),
        ("RESIDENTIAL\0", &[(NOT_CONFIGURED, "customerSegment")]),
        ("SMALL_BUSINESS", &[(NOT_CONFIGURED, "customerSegment")]),
        ("", &[(MANDATORY, "customerSegment")]),
        (" ", &[(MANDATORY, "customerSegment")]),
    ] {
        let command = RawCommand {
            values: UseCase::UpdateCustomerSegment.first_value(Some(code.into())),
            ..raw(UseCase::UpdateCustomerSegment)
        };
        let got = command.validate(&rules());
        assert_eq!(told(&got.err().unwrap_or_default()), owned(expected), "segment {code:?}");
    }
}

#[test]
fn without_findings_a_command_has_its_checked_values() {
    for use_case in updates() {
        let by_id = raw(*use_case);
        let upper = RawReference { external_id: None, ref_id: Some(REF_ID.to_string().to_uppercase()) };
        let by_ref_id = RawCommand { reference: Some(upper), ..by_id.clone() };
        for (command, target) in [(by_id, Reference::ExternalId(external_id("old-id"))), (by_ref_id, Reference::RefId(REF_ID))] {
            for expected_version in [None, Some(0), Some(1), Some(i64::MAX)] {
                let command = RawCommand { expected_version, ..command.clone() };
                let got: Command = command.validate(&rules()).unwrap_or_else(|f| panic!("{command:?}: {f:?}"));
                assert_eq!(got.request_id.as_str(), "r-1");
                assert_eq!(got.target, target);
                assert_eq!(got.entity_type(), use_case.entity_type());
                let contents = got.contents;
                assert_eq!((contents.use_case(), &*contents.change().text()), (*use_case, new_value(*use_case)));
                assert_eq!(contents.expected_version(), expected_version);
            }
        }
    }
}

#[test]
fn references_and_new_external_ids_are_normalised() {
    let mut command = raw(UseCase::UpdateAccountExternalId);
    set(&mut command, Some("n\u{303}".into()));
    by(&mut command, Some("e\u{301}"), None);
    let got = command.validate(&rules()).expect("no findings");
    assert_eq!(got.target, Reference::ExternalId(external_id("é")));
    assert_eq!(got.contents.change().text(), "ñ");
}

#[test]
fn a_reference_is_named_as_it_was_given() {
    for (entity_type, by_id, by_ref_id) in [
        (EntityType::Customer, "customer.externalId", "customer.refId"),
        (EntityType::Account, "account.externalId", "account.refId"),
        (EntityType::Subscriber, "subscriber.externalId", "subscriber.refId"),
    ] {
        assert_eq!(Reference::ExternalId(external_id("x")).field(entity_type), by_id);
        assert_eq!(Reference::RefId(REF_ID).field(entity_type), by_ref_id);
    }
}

fn check(use_case: UseCase, (case, edit, expected): &Row) {
    let mut command = raw(use_case);
    edit(&mut command);
    let got = told(&command.validate(&rules()).err().unwrap_or_default());
    let entity = use_case.entity_type().name();
    let field = |f: &str| if f == "value" { use_case.first_attribute().name().to_owned() } else { f.replace("entity", entity) };
    let expected: Vec<_> = expected.iter().map(|(code, f)| ((*code).to_owned(), Some(field(f)))).collect();
    assert_eq!(got, expected, "{}: {case}\ninput: {command:?}", use_case.name());
}

fn owned(findings: &[(&str, &str)]) -> Vec<(String, Option<String>)> {
    findings.iter().map(|(code, field)| ((*code).to_owned(), Some((*field).to_owned()))).collect()
}
