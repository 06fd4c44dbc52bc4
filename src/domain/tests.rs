//! The domain's tests read as its specification: a table for each rule, a row for each case. What several of them need
//! to build a row is here.

mod creations;
mod decisions;
mod identity;
mod rejections;
mod texts;
mod validation;

use super::change::ChangeKind;
use super::command::{RawCommand, RawReference};
use super::contents::Contents;
use super::entity::{Entity, EntityType, State};
use super::rejection::Rejection;
use super::use_case::UseCase;
use super::values::{CustomName, ExternalId, Rules, SegmentCode};
use uuid::Uuid;

const REF_ID: Uuid = Uuid::from_u128(0x3f8e_4b1a_0000_4000_8000_0000_0000_0001);
const NOW: i64 = 1_760_000_000_123;

fn rules() -> Rules {
    Rules { segments: ["RESIDENTIAL", "ENTERPRISE", "Enterprise"].map(segment).to_vec() }
}

fn segment(code: &str) -> SegmentCode {
    SegmentCode::parse(code).expect("a segment code")
}

fn external_id(text: &str) -> ExternalId {
    ExternalId::parse(text).expect("an external id")
}

fn custom_name(text: &str) -> CustomName {
    CustomName::parse(text).expect("a custom name")
}

/// Returns an active entity at version 7 with the id `old-id` and the name `Old name`; a customer is in segment RESIDENTIAL.
fn entity(entity_type: EntityType) -> Entity {
    let is_customer = entity_type == EntityType::Customer;
    Entity {
        entity_type,
        ref_id: REF_ID,
        external_id: external_id("old-id"),
        version: 7,
        state: State::Active,
        custom_name: Some(custom_name("Old name")),
        segment: is_customer.then(|| segment("RESIDENTIAL")),
        segment_valid_from: is_customer.then_some(1_000),
        superior: (!is_customer).then(|| Uuid::from_u128(9)),
        state_reason: None,
        state_valid_from: None,
    }
}

/// Returns the use cases that change an entity which is there.
fn updates() -> impl Iterator<Item = &'static UseCase> {
    UseCase::ALL.iter().filter(|use_case| !use_case.is_creation())
}

/// Returns a value that the use case accepts, and that [`entity`] does not have yet.
fn new_value(use_case: UseCase) -> &'static str {
    match use_case.kind() {
        ChangeKind::SetCustomName => "New name",
        ChangeKind::SetSegment => "ENTERPRISE",
        ChangeKind::SetState => "SUSPENDED",
        ChangeKind::Rename | ChangeKind::CreateCustomer | ChangeKind::CreateBelow => "new-id",
    }
}

/// Returns the value that [`entity`] has.
fn old_value(use_case: UseCase) -> &'static str {
    match use_case.kind() {
        ChangeKind::SetCustomName => "Old name",
        ChangeKind::SetSegment => "RESIDENTIAL",
        ChangeKind::SetState => "ACTIVE",
        ChangeKind::Rename | ChangeKind::CreateCustomer | ChangeKind::CreateBelow => "old-id",
    }
}

/// Returns a command without a finding.
fn raw(use_case: UseCase) -> RawCommand {
    RawCommand {
        use_case,
        request_id: Some("r-1".into()),
        reference: Some(RawReference { external_id: Some("old-id".into()), ref_id: None }),
        values: use_case.first_value(Some(new_value(use_case).into())),
        expected_version: None,
    }
}

/// Returns the checked contents of a command with this use case, value and expected version.
fn checked(use_case: UseCase, value: &str, expected_version: Option<i64>) -> Contents {
    let raw = RawCommand { values: use_case.first_value(Some(value.into())), expected_version, ..raw(use_case) };
    raw.validate(&rules()).unwrap_or_else(|findings| panic!("{raw:?} has findings: {findings:?}")).contents
}

/// Returns the code and the field of each finding.
fn told(findings: &[Rejection]) -> Vec<(String, Option<String>)> {
    findings.iter().map(|f| (f.code().to_owned(), f.field().map(str::to_owned))).collect()
}
