//! Tests that blobs written by earlier builds are read as the values that they were made of, for ever.
//!
//! `tests/golden/outcome` has a file for each version of the form: one line for each value, its name and the blob as hexadecimal
//! digits, as the build that introduced the version wrote it. A file is never changed once a release has written the version. A new
//! version gets a new file, and its values a line there each; the test prints what it misses.

use super::*;
use crate::domain::Timestamp;
use crate::domain::answer::Answer;
use crate::domain::attribute::Attribute;
use crate::domain::contents::Contents;
use crate::domain::decision::create;
use crate::domain::entity::{Entity, EntityType, State};
use crate::domain::rejection::Rejection;
use crate::domain::request::{Request, SourceRecord};
use crate::domain::transaction::{Change, Transaction};
use crate::domain::use_case::UseCase;
use crate::domain::values::{Actor, CustomName, ExternalId, RequestId, SegmentCode, StateReason};
use crate::store::outcome::Cause;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fmt::Write as _;
use uuid::Uuid;

const REQUEST: &str = "r-ü";
/// Some instant in 2025, in milliseconds.
const AT: Timestamp = 1_750_000_000_000;

/// The golden file of a version, and the values in it.
struct Version {
    file: &'static str,
    outcomes: Vec<(&'static str, Outcome)>,
    claims: Vec<(&'static str, StoredClaim)>,
    imports: Vec<(&'static str, ImportOutcome)>,
}

fn versions() -> [Version; 2] {
    let second = include_str!("../../../tests/golden/outcome/2.txt");
    let third = include_str!("../../../tests/golden/outcome/3.txt");
    [
        Version { file: second, outcomes: outcomes(), claims: claims(), imports: imports() },
        Version { file: third, outcomes: newer_outcomes(), claims: newer_claims(), imports: newer_imports() },
    ]
}

#[test]
fn outcomes_that_an_earlier_build_wrote_are_read_as_they_were_made() {
    for Version { file, outcomes, .. } in versions() {
        holds(file, &outcomes, |blob| Outcome::decode(REQUEST, blob), Outcome::encode);
    }
}

#[test]
fn claims_that_an_earlier_build_wrote_are_read_as_they_were_made() {
    for Version { file, claims, .. } in versions() {
        holds(file, &claims, StoredClaim::decode, StoredClaim::encode);
    }
}

#[test]
fn imports_that_an_earlier_build_wrote_are_read_as_they_were_made() {
    for Version { file, imports, .. } in versions() {
        holds(file, &imports, ImportOutcome::decode, ImportOutcome::encode);
    }
}

#[test]
fn each_golden_blob_is_held_against_a_value() {
    for Version { file, outcomes, claims, imports } in versions() {
        let names: Vec<_> = lines(file).map(|(name, _)| name).collect();
        let mut expected: Vec<_> = outcomes.iter().map(|(name, _)| *name).collect();
        expected.extend(claims.iter().map(|(name, _)| *name));
        expected.extend(imports.iter().map(|(name, _)| *name));
        assert_eq!(names, expected, "left: the lines of the file, right: the values of this test");
    }
}

/// Holds each golden blob against the value that it was made of, and what this build makes of the value against the blob: builds
/// of two releases run side by side, so the form that is written changes only where the older one can't hold a value.
fn holds<T: Debug + PartialEq>(
    file: &str,
    cases: &[(&str, T)],
    decode: impl Fn(&[u8]) -> Result<T, StoreFault>,
    encode: impl Fn(&T) -> Vec<u8>,
) {
    let mut missing = String::new();
    for (name, value) in cases {
        match lines(file).find(|(golden, _)| golden == name) {
            Some((_, blob)) => {
                let read = decode(&bytes(blob)).unwrap_or_else(|fault| panic!("{name}: {fault}"));
                assert_eq!(read, *value, "{name} is read as something else");
                assert_eq!(hex(&encode(value)), blob, "{name} is written in another form");
            }
            None => writeln!(missing, "{name} {}", hex(&encode(value))).unwrap(),
        }
    }
    assert!(missing.is_empty(), "tests/golden/outcome lacks these lines:\n{missing}");
}

/// Returns the name and the digits of each golden blob.
fn lines(file: &str) -> impl Iterator<Item = (&str, &str)> {
    file.lines().map(|line| line.split_once(' ').expect("a line is a name, a blank and digits"))
}

fn hex(blob: &[u8]) -> String {
    blob.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("two hexadecimal digits")).collect()
}

fn record() -> SourceRecord {
    SourceRecord { topic: "crm.commands".into(), partition: 11, offset: 1 << 40 }
}

fn entity(entity_type: EntityType) -> Entity {
    Entity::new(entity_type, Uuid::from_u128(0x0197_7420_DC00_7000_8000_0000_0000_0007), ExternalId::parse("é-2").unwrap())
}

/// A customer that has every value that a customer may have.
fn customer() -> Entity {
    Entity {
        version: 3,
        custom_name: Some(CustomName::parse("Ada Łovelace").unwrap()),
        segment: Some(SegmentCode::parse("RESIDENTIAL").unwrap()),
        segment_valid_from: Some(AT - 1),
        ..entity(EntityType::Customer)
    }
}

/// An account that has every value that an account may have.
fn account() -> Entity {
    Entity {
        version: i64::MAX,
        state: State::Suspended,
        // So long that its length takes more than one byte.
        custom_name: Some(CustomName::parse(&"ń".repeat(255)).unwrap()),
        superior: Some(Uuid::max()),
        ..entity(EntityType::Account)
    }
}

fn changed(use_case: UseCase, old: Option<&str>, new: &str, entity: Entity) -> Transaction {
    Transaction {
        use_case,
        request_id: RequestId::parse(REQUEST).unwrap(),
        correlation_id: Some("c-1".into()),
        occurred_at: AT,
        previous_version: entity.version - 1,
        changes: vec![Change { attribute: use_case.first_attribute(), old: old.map(Into::into), new: Some(new.into()) }],
        entity,
        actor: None,
    }
}

/// Each use case with and without an old value, each rejection, each state, and the edges of each number.
fn outcomes() -> Vec<(&'static str, Outcome)> {
    use UseCase as U;
    let outcome = |answer| Outcome {
        fingerprint: Uuid::from_u128(1 << 127 | 7),
        record: record(),
        at: AT,
        epoch: Some(2),
        answer,
        actor: None,
    };
    let change = |transaction: Transaction| outcome(Answer::Changed(transaction.into()));
    let rejected = |rejection| outcome(Answer::Rejected(rejection));
    let field = || "account.externalId".into();
    let name = || changed(U::UpdateCustomerCustomName, Some("Ada"), "Ada Łovelace", customer());
    let in_state = |state| change(Transaction { entity: Entity { state, ..customer() }, ..name() });
    let first_name = Entity { custom_name: customer().custom_name, version: 2, ..entity(EntityType::Customer) };
    let first_segment = Entity { segment: customer().segment, version: 2, segment_valid_from: Some(0), ..first_name.clone() };
    vec![
        ("name", change(name())),
        ("first-name", change(changed(U::UpdateCustomerCustomName, None, "Ada Łovelace", first_name))),
        ("segment", change(changed(U::UpdateCustomerSegment, Some("ENTERPRISE"), "RESIDENTIAL", customer()))),
        ("first-segment", change(changed(U::UpdateCustomerSegment, None, "RESIDENTIAL", first_segment))),
        ("account-renamed", change(changed(U::UpdateAccountExternalId, Some("a-1"), "é-2", account()))),
        (
            "subscriber-renamed",
            change(changed(U::UpdateSubscriberExternalId, Some("s-1"), "é-2", entity(EntityType::Subscriber))),
        ),
        ("without-correlation-id", change(Transaction { correlation_id: None, ..name() })),
        ("inactive", in_state(State::Inactive)),
        ("active", in_state(State::Active)),
        ("suspended", in_state(State::Suspended)),
        ("deactivated", in_state(State::Deactivated)),
        ("unchanged", outcome(Answer::Unchanged(Transaction { changes: Vec::new(), previous_version: 3, ..name() }.into()))),
        ("mandatory-attribute", rejected(Rejection::MandatoryAttribute { field: field() })),
        ("invalid-attribute", rejected(Rejection::InvalidAttribute { field: field(), reason: "is too long".into() })),
        ("segment-not-configured", rejected(Rejection::SegmentNotConfigured { field: field() })),
        ("request-id-reused", rejected(Rejection::RequestIdReused)),
        ("entity-not-found", rejected(Rejection::EntityNotFound { field: field() })),
        ("state-deactivated", rejected(Rejection::Deactivated { field: field() })),
        ("version-conflict", rejected(Rejection::VersionConflict { expected: 0, actual: i64::MAX })),
        ("external-id-not-unique", rejected(Rejection::ExternalIdNotUnique)),
        ("record-unreadable", rejected(Rejection::RecordUnreadable { reason: "is cut short".into() })),
        ("internal-error", rejected(Rejection::InternalError)),
        (
            "about-nobody",
            Outcome { epoch: None, at: -1, ..rejected(Rejection::EntityNotFound { field: "customer.refId".into() }) },
        ),
    ]
}

fn claims() -> Vec<(&'static str, StoredClaim)> {
    let command = |use_case, expected_version, correlation_id: Option<&str>| {
        Cause::Request(Request {
            id: RequestId::parse(REQUEST).unwrap(),
            contents: Contents::restore(use_case, "é-2", expected_version).unwrap(),
            correlation_id: correlation_id.map(Into::into),
            actor: None,
            record: record(),
        })
    };
    let (account, subscriber) = (UseCase::UpdateAccountExternalId, UseCase::UpdateSubscriberExternalId);
    let held = BTreeMap::from([(Uuid::nil(), 1), (Uuid::from_u128(9), i64::MAX)]);
    vec![
        ("claim-of-an-account", StoredClaim { cause: command(account, Some(7), Some("c-1")), held }),
        ("claim-of-a-subscriber", StoredClaim { cause: command(subscriber, None, None), held: BTreeMap::new() }),
        ("claim-of-an-imported-customer", StoredClaim { cause: Cause::Import(customer(), None), held: BTreeMap::new() }),
        ("claim-of-an-imported-account", StoredClaim { cause: Cause::Import(self::account(), None), held: BTreeMap::new() }),
    ]
}

fn imports() -> Vec<(&'static str, ImportOutcome)> {
    vec![("import", ImportOutcome { at: AT, external_id: ExternalId::parse("é-2").unwrap(), actor: None })]
}

fn actor() -> Actor {
    Actor::parse("Zoë").unwrap()
}

/// Returns a request that creates an entity. Its values are a text, as it is stored: see
/// [`Creation::text`](crate::domain::change::Creation::text).
fn creation(use_case: UseCase, values: &str, actor: Option<Actor>) -> Request {
    Request {
        id: RequestId::parse(REQUEST).unwrap(),
        contents: Contents::restore(use_case, values, None).unwrap(),
        correlation_id: Some("c-1".into()),
        actor,
        record: record(),
    }
}

const CREATED_CUSTOMER: &str = "é-2\n\n=Ada Łovelace\n=RESIDENTIAL\n=INACTIVE\n=nicht bezahlt (ü)";
const CREATED_ACCOUNT: &str = "é-2\n=c-ü\n\n\n\n";
const CREATED_SUBSCRIBER: &str = "é-2\n#01977420-dc00-7000-8000-000000000009\n=Ada\n\n=SUSPENDED\n";

/// What version 2 can't hold: each use case that sets a state or creates an entity, each attribute that came with version 3, and who asked.
fn newer_outcomes() -> Vec<(&'static str, Outcome)> {
    use UseCase as U;
    let outcome =
        |answer| Outcome { fingerprint: Uuid::from_u128(7), record: record(), at: AT, epoch: Some(2), answer, actor: None };
    let reason = || Some(StateReason::parse("nicht bezahlt (ü)").unwrap());
    let suspended = |entity: Entity| Entity {
        version: 2,
        state: State::Suspended,
        state_reason: reason(),
        state_valid_from: Some(AT),
        ..entity
    };
    let to = |use_case: UseCase, entity: Entity| {
        let change =
            |attribute, old: Option<&str>, new: &str| Change { attribute, old: old.map(Into::into), new: Some(new.into()) };
        let changes = vec![
            change(Attribute::State, Some("ACTIVE"), "SUSPENDED"),
            change(Attribute::StateReason, None, "nicht bezahlt (ü)"),
        ];
        Transaction { changes, ..changed(use_case, None, "SUSPENDED", suspended(entity)) }
    };
    let customer_state = || to(U::UpdateCustomerState, customer());
    let change = |transaction: Transaction| outcome(Answer::Changed(transaction.into()));
    let by_actor = |outcome: Outcome| {
        let answer = match outcome.answer {
            Answer::Changed(t) => Answer::Changed(Transaction { actor: Some(actor()), ..(*t).clone() }.into()),
            Answer::Unchanged(t) => Answer::Unchanged(Transaction { actor: Some(actor()), ..(*t).clone() }.into()),
            Answer::Rejected(rejection) => Answer::Rejected(rejection),
        };
        Outcome { answer, actor: Some(actor()), ..outcome }
    };
    // The reason goes, and the state stays as it was since some time before 1970.
    let reason_gone = Transaction {
        changes: vec![Change { attribute: Attribute::StateReason, old: Some("x".into()), new: None }],
        entity: Entity { state_reason: None, state_valid_from: Some(-1), ..suspended(customer()) },
        ..customer_state()
    };
    // Entities that got a state once keep its date in all that comes later.
    let renamed = Entity { state_reason: None, ..suspended(account()) };
    let unchanged = Transaction { changes: Vec::new(), previous_version: 2, ..customer_state() };
    // Nothing but the use case needs version 3 here: the entity was imported without a date, and stays as it is.
    let never_dated = Transaction { changes: Vec::new(), entity: account(), ..to(U::UpdateAccountState, account()) };
    let named = changed(U::UpdateCustomerCustomName, Some("Ada"), "Ada Łovelace", customer());
    let created = |request: Request, superior| {
        let ref_id = entity(EntityType::Customer).ref_id;
        let creation = request.contents.creation().unwrap();
        let transaction = create(creation, &request, ref_id, superior, AT);
        Outcome::of(&request, Answer::Changed(transaction.into()), None, AT)
    };
    vec![
        ("customer-suspended", change(customer_state())),
        ("account-suspended", change(to(U::UpdateAccountState, account()))),
        ("subscriber-suspended", change(to(U::UpdateSubscriberState, entity(EntityType::Subscriber)))),
        ("reason-gone", change(reason_gone)),
        ("renamed-since", change(changed(U::UpdateAccountExternalId, Some("a-1"), "é-2", renamed))),
        ("state-unchanged", outcome(Answer::Unchanged(unchanged.into()))),
        ("state-unchanged-and-never-dated", outcome(Answer::Unchanged(never_dated.into()))),
        ("name-by-an-actor", by_actor(change(named.clone()))),
        ("state-by-an-actor", by_actor(change(customer_state()))),
        ("unchanged-for-an-actor", by_actor(outcome(Answer::Unchanged(named.into())))),
        ("rejected-for-an-actor", by_actor(outcome(Answer::Rejected(Rejection::ExternalIdNotUnique)))),
        ("customer-created", created(creation(U::CreateCustomer, CREATED_CUSTOMER, None), None)),
        ("customer-created-with-nothing-but-its-id", created(creation(U::CreateCustomer, "é-2\n\n\n\n\n", None), None)),
        ("account-created", created(creation(U::CreateAccount, CREATED_ACCOUNT, None), Some(Uuid::max()))),
        ("subscriber-created", created(creation(U::CreateSubscriber, CREATED_SUBSCRIBER, None), Some(Uuid::from_u128(9)))),
        ("account-created-by-an-actor", created(creation(U::CreateAccount, CREATED_ACCOUNT, Some(actor())), Some(Uuid::max()))),
    ]
}

fn newer_claims() -> Vec<(&'static str, StoredClaim)> {
    let dated = Entity { state_valid_from: Some(AT), ..customer() };
    let reasoned = Entity { state_reason: Some(StateReason::parse("x").unwrap()), ..customer() };
    let held = BTreeMap::from([(Uuid::from_u128(9), 3)]);
    let claims = claims();
    let [(_, StoredClaim { cause: Cause::Request(request), .. }), ..] = &claims[..] else { panic!("the first is a request's") };
    let request = Request { actor: Some(actor()), ..request.clone() };
    let created = |request, superior| StoredClaim {
        cause: Cause::Creation { request, superior },
        held: BTreeMap::from([(Uuid::nil(), 1)]),
    };
    vec![
        ("claim-by-an-actor", StoredClaim { cause: Cause::Request(request), held }),
        ("claim-of-an-import-with-a-date", StoredClaim { cause: Cause::Import(dated, None), held: BTreeMap::new() }),
        ("claim-of-an-import-with-a-reason", StoredClaim { cause: Cause::Import(reasoned, None), held: BTreeMap::new() }),
        ("claim-of-an-import-by-an-actor", StoredClaim { cause: Cause::Import(account(), Some(actor())), held: BTreeMap::new() }),
        ("claim-of-a-created-customer", created(creation(UseCase::CreateCustomer, CREATED_CUSTOMER, None), None)),
        ("claim-of-a-created-account", created(creation(UseCase::CreateAccount, CREATED_ACCOUNT, None), Some(Uuid::max()))),
        (
            "claim-of-a-created-subscriber",
            created(creation(UseCase::CreateSubscriber, CREATED_SUBSCRIBER, Some(actor())), Some(Uuid::from_u128(9))),
        ),
    ]
}

fn newer_imports() -> Vec<(&'static str, ImportOutcome)> {
    vec![("import-by-an-actor", ImportOutcome { at: AT, external_id: ExternalId::parse("é-2").unwrap(), actor: Some(actor()) })]
}
