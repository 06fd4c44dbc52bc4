//! Creations: what is found in their fields, and what comes into being.

use super::super::attribute::{Attribute, RawValues};
use super::super::change::Creation;
use super::super::command::{RawCommand, RawReference};
use super::super::contents::Contents;
use super::super::decision::{create, decide};
use super::super::entity::{Entity, EntityType, State};
use super::super::reference::Reference;
use super::super::rejection::Rejection;
use super::super::request::{Request, SourceRecord};
use super::super::use_case::UseCase;
use super::super::values::{RequestId, StateReason};
use super::{NOW, REF_ID, custom_name, entity, external_id, rules, segment, told};
use crate::domain::answer::Answer;
use std::collections::HashSet;
use uuid::Uuid;

const MANDATORY: &str = "CASM-MANDATORY-ATTRIBUTE";
const INVALID: &str = "CASM-INVALID-ATTRIBUTE";
const NOT_CONFIGURED: &str = "CASM-SEGMENT-NOT-CONFIGURED";

/// Returns a creation that gives nothing but what is mandatory.
fn bare(use_case: UseCase) -> RawCommand {
    let superior = RawReference { external_id: Some("sup".into()), ref_id: None };
    RawCommand {
        use_case,
        request_id: Some("r-1".into()),
        reference: use_case.reference_type().map(|_| superior),
        values: use_case.first_value(Some("e\u{301}-1".into())),
        expected_version: None,
    }
}

/// Returns a creation that gives everything.
fn full(use_case: UseCase) -> RawCommand {
    let mut command = bare(use_case);
    for (attribute, value) in [
        (Attribute::CustomName, "Ann"),
        (Attribute::Segment, "ENTERPRISE"),
        (Attribute::State, "SUSPENDED"),
        (Attribute::StateReason, "not paid"),
    ] {
        if use_case.attributes().contains(&attribute) {
            command.values.set(attribute, Some(value.into()));
        }
    }
    command
}

const CREATIONS: [UseCase; 3] = [UseCase::CreateCustomer, UseCase::CreateAccount, UseCase::CreateSubscriber];

type Edit = fn(&mut RawCommand);
/// What is tried, the edit, and the findings: their codes and fields.
type Row = (&'static str, Edit, &'static [(&'static str, &'static str)]);

#[test]
fn each_finding_about_a_creation() {
    let table: &[Row] = &[
        ("nothing but what is mandatory", |_| (), &[]),
        ("no request id", |c| c.request_id = None, &[(MANDATORY, "requestId")]),
        ("no external id", |c| c.values.set(Attribute::ExternalId, None), &[(MANDATORY, "externalId")]),
        ("a blank external id", |c| c.values.set(Attribute::ExternalId, Some(" ".into())), &[(MANDATORY, "externalId")]),
        ("a malformed external id", |c| c.values.set(Attribute::ExternalId, Some(" x".into())), &[(INVALID, "externalId")]),
        ("a long external id", |c| c.values.set(Attribute::ExternalId, Some("x".repeat(257))), &[(INVALID, "externalId")]),
        ("an empty name", |c| c.values.set(Attribute::CustomName, Some(String::new())), &[(INVALID, "customName")]),
        ("a blank name", |c| c.values.set(Attribute::CustomName, Some(" ".into())), &[(INVALID, "customName")]),
        (
            "a name with a control character",
            |c| c.values.set(Attribute::CustomName, Some("a\u{7}".into())),
            &[(INVALID, "customName")],
        ),
        ("no such state", |c| c.values.set(Attribute::State, Some("active".into())), &[(INVALID, "state")]),
        ("a blank state", |c| c.values.set(Attribute::State, Some(String::new())), &[(INVALID, "state")]),
        ("deactivated from the beginning", |c| c.values.set(Attribute::State, Some("DEACTIVATED".into())), &[(INVALID, "state")]),
        ("a state", |c| c.values.set(Attribute::State, Some("INACTIVE".into())), &[]),
        ("a blank reason", |c| c.values.set(Attribute::StateReason, Some(" ".into())), &[(INVALID, "stateReason")]),
        ("a long reason", |c| c.values.set(Attribute::StateReason, Some("x".repeat(129))), &[(INVALID, "stateReason")]),
        ("a reason without a state", |c| c.values.set(Attribute::StateReason, Some("x".into())), &[]),
    ];
    for use_case in CREATIONS {
        for (case, edit, expected) in table {
            check(bare(use_case), case, *edit, expected);
        }
    }
}

#[test]
fn each_finding_about_the_superior() {
    let id = |external_id: &str, ref_id: Option<&str>| {
        Some(RawReference { external_id: Some(external_id.into()), ref_id: ref_id.map(Into::into) })
    };
    for (use_case, superior) in [(UseCase::CreateAccount, "customer"), (UseCase::CreateSubscriber, "account")] {
        let field = |name: &str| format!("{superior}.{name}");
        for (reference, expected) in [
            (None, vec![(MANDATORY, superior.to_owned())]),
            (Some(RawReference::default()), vec![(INVALID, superior.to_owned())]),
            (id("x", Some("3f8e4b1a-0000-4000-8000-000000000001")), vec![(INVALID, superior.to_owned())]),
            (id("", None), vec![(MANDATORY, field("externalId"))]),
            (id(" x", None), vec![(INVALID, field("externalId"))]),
            (Some(RawReference { external_id: None, ref_id: Some("x".into()) }), vec![(INVALID, field("refId"))]),
        ] {
            let command = RawCommand { reference, ..bare(use_case) };
            let got = told(&command.validate(&rules()).err().unwrap_or_default());
            let expected: Vec<_> = expected.into_iter().map(|(code, field)| (code.to_owned(), Some(field))).collect();
            assert_eq!(got, expected, "{command:?}");
        }
    }
}

#[test]
fn a_segment_need_not_be_given_and_must_be_configured() {
    for (code, expected) in [
        ("ENTERPRISE", &[][..]),
        ("", &[(INVALID, "customerSegment")]),
        (" ", &[(INVALID, "customerSegment")]),
        ("enterprise", &[(NOT_CONFIGURED, "customerSegment")]),
    ] {
        let mut command = bare(UseCase::CreateCustomer);
        command.values.set(Attribute::Segment, Some(code.into()));
        check(command, code, |_| (), expected);
    }
}

#[test]
fn findings_come_in_the_order_of_the_fields() {
    let of = UseCase::CreateAccount;
    let mut nothing = RawCommand { request_id: None, reference: None, values: RawValues::default(), ..bare(of) };
    for attribute in [Attribute::CustomName, Attribute::State, Attribute::StateReason] {
        nothing.values.set(attribute, Some(String::new()));
    }
    let expected = [
        (MANDATORY, "requestId"),
        (MANDATORY, "externalId"),
        (MANDATORY, "customer"),
        (INVALID, "customName"),
        (INVALID, "state"),
        (INVALID, "stateReason"),
    ];
    check(nothing, "all is wrong", |_| (), &expected);
}

fn check(mut command: RawCommand, case: &str, edit: Edit, expected: &[(&str, &str)]) {
    edit(&mut command);
    let got = told(&command.validate(&rules()).err().unwrap_or_default());
    let expected: Vec<_> = expected.iter().map(|(code, f)| ((*code).to_owned(), Some((*f).to_owned()))).collect();
    assert_eq!(got, expected, "{}: {case}\ninput: {command:?}", command.use_case.name());
}

/// The expected ids are Python's: `uuid.uuid5(uuid.NAMESPACE_URL, "crm:create:customer:é-1:r-1")`.
#[test]
fn the_ref_id_follows_from_type_external_id_and_request() {
    for (use_case, ref_id) in CREATIONS.into_iter().zip(REF_IDS) {
        let command = bare(use_case).validate(&rules()).expect("no findings");
        assert_eq!(command.target, Reference::RefId(Uuid::parse_str(ref_id).expect("a UUID")), "{}", use_case.name());
        let others = full(use_case).validate(&rules()).expect("no findings");
        assert_eq!(others.target, command.target, "nothing else matters");
        assert_ne!(others.contents.fingerprint(), command.contents.fingerprint());
    }
}

const REF_IDS: [&str; 3] =
    ["1126785e-535c-5731-b418-fc5461412629", "4b9687ed-27a7-5502-9c62-34b300b48b93", "c6def0b3-515b-55a1-a90e-84a656e8525f"];

#[test]
fn what_is_given_tells_contents_apart() {
    let mut all = HashSet::new();
    let by_ref_id = Some(RawReference { external_id: None, ref_id: Some(REF_ID.to_string().to_uppercase()) });
    let mut commands = vec![bare(UseCase::CreateAccount), RawCommand { reference: by_ref_id, ..bare(UseCase::CreateAccount) }];
    for (attribute, value) in
        [(Attribute::CustomName, "ACTIVE"), (Attribute::State, "ACTIVE"), (Attribute::StateReason, "ACTIVE")]
    {
        let mut command = bare(UseCase::CreateAccount);
        command.values.set(attribute, Some(value.into()));
        commands.push(command);
    }
    for command in &commands {
        all.insert(command.validate(&rules()).expect("no findings").contents.fingerprint());
    }
    assert_eq!(all.len(), commands.len(), "a state given outright is another request, too");
}

#[test]
fn the_contents_of_a_creation_are_rebuilt_from_their_text() {
    for use_case in CREATIONS {
        let by_ref_id = Some(RawReference { external_id: None, ref_id: Some(REF_ID.to_string()) });
        let by_ref_id = RawCommand { reference: use_case.reference_type().and(by_ref_id), ..full(use_case) };
        for raw in [bare(use_case), full(use_case), by_ref_id] {
            let contents = raw.validate(&rules()).expect("no findings").contents;
            assert_eq!(Contents::restore(use_case, &contents.change().text(), None), Some(contents));
        }
    }
    for text in ["", "x", "x\n\n\n\n\n\n", "x\ny\n\n\n\n", "x\n#y\n\n\n\n", "x\n\n\n\n=GONE\n"] {
        assert_eq!(Contents::restore(UseCase::CreateAccount, text, None), None, "{text:?}");
    }
}

fn request(raw: &RawCommand) -> Request {
    let contents = raw.validate(&rules()).expect("no findings").contents;
    let record = SourceRecord { topic: "t".into(), partition: 0, offset: 0 };
    Request { id: RequestId::parse("r-1").expect("a request id"), contents, correlation_id: None, actor: None, record }
}

fn creation(request: &Request) -> &Creation {
    request.contents.creation().expect("a creation")
}

#[test]
fn an_entity_comes_into_being_as_it_was_described() {
    let superior = Uuid::from_u128(9);
    for use_case in CREATIONS {
        let entity_type = use_case.entity_type();
        let is_customer = entity_type == EntityType::Customer;
        let below = (!is_customer).then_some(superior);
        let bare = request(&bare(use_case));
        let created =
            Entity { state_valid_from: Some(NOW), superior: below, ..Entity::new(entity_type, REF_ID, external_id("é-1")) };
        let transaction = create(creation(&bare), &bare, REF_ID, below, NOW);
        assert_eq!((&transaction.entity, transaction.previous_version), (&created, 0));
        let full = request(&full(use_case));
        let described = Entity {
            state: State::Suspended,
            custom_name: Some(custom_name("Ann")),
            segment: is_customer.then(|| segment("ENTERPRISE")),
            segment_valid_from: is_customer.then_some(NOW),
            state_reason: Some(StateReason::parse("not paid").expect("a reason")),
            ..created
        };
        assert_eq!(create(creation(&full), &full, REF_ID, below, NOW).entity, described);
    }
}

#[test]
fn the_changes_are_what_was_given_in_its_order() {
    let superior = Uuid::from_u128(9);
    let of = |raw: &RawCommand| {
        let request = request(raw);
        let below = raw.use_case.reference_type().map(|_| superior);
        let changes = create(creation(&request), &request, REF_ID, below, NOW).changes;
        assert!(changes.iter().all(|change| change.old.is_none()), "{changes:?}");
        changes.into_iter().map(|c| format!("{}={}", c.attribute.name(), c.new.unwrap_or_default())).collect::<Vec<_>>().join(" ")
    };
    let below = superior.to_string();
    for (raw, changes) in [
        (bare(UseCase::CreateCustomer), "externalId=é-1".to_owned()),
        (bare(UseCase::CreateAccount), format!("externalId=é-1 customerRefId={below}")),
        (
            full(UseCase::CreateCustomer),
            "externalId=é-1 customName=Ann customerSegment=ENTERPRISE state=SUSPENDED stateReason=not paid".to_owned(),
        ),
        (
            full(UseCase::CreateSubscriber),
            format!("externalId=é-1 customName=Ann state=SUSPENDED stateReason=not paid accountRefId={below}"),
        ),
    ] {
        assert_eq!(of(&raw), changes);
    }
}

#[test]
fn an_entity_that_is_there_is_not_created() {
    for state in State::ALL {
        let there = Entity { state, ..entity(EntityType::Customer) };
        let answer = decide(&there, &request(&bare(UseCase::CreateCustomer)), NOW);
        assert_eq!(answer, Answer::Rejected(Rejection::ExternalIdNotUnique), "{state:?}");
    }
}
