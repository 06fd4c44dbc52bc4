use super::*;
use crate::domain::answer::Answer;
use crate::domain::attribute::Attribute;
use crate::domain::contents::Contents;
use crate::domain::entity::{Entity, EntityType, State};
use crate::domain::rejection::Rejection;
use crate::domain::request::{Request, SourceRecord};
use crate::domain::transaction::{Change, Transaction};
use crate::domain::use_case::UseCase;
use crate::domain::values::{Actor, CustomName, ExternalId, RequestId, SegmentCode};
use crate::store::outcome::Cause;
use std::collections::BTreeMap;
use uuid::Uuid;

fn record() -> SourceRecord {
    SourceRecord { topic: "crm.commands".into(), partition: 3, offset: 1 << 40 }
}

fn entity() -> Entity {
    Entity {
        entity_type: EntityType::Account,
        ref_id: Uuid::from_u128(7),
        external_id: ExternalId::parse("a-2").unwrap(),
        version: 2,
        state: State::Active,
        custom_name: None,
        segment: None,
        segment_valid_from: None,
        superior: Some(Uuid::from_u128(8)),
        state_reason: None,
        state_valid_from: None,
    }
}

fn transaction() -> Transaction {
    Transaction {
        use_case: UseCase::UpdateAccountExternalId,
        request_id: RequestId::parse("r-1").unwrap(),
        correlation_id: Some("c-1".into()),
        occurred_at: 5,
        previous_version: 1,
        changes: vec![Change { attribute: Attribute::ExternalId, old: Some("a-1".into()), new: Some("a-2".into()) }],
        entity: entity(),
        actor: None,
    }
}

fn command() -> Request {
    Request {
        id: RequestId::parse("r-1").unwrap(),
        contents: Contents::restore(UseCase::UpdateAccountExternalId, "a-2", Some(1)).unwrap(),
        correlation_id: None,
        actor: None,
        record: record(),
    }
}

#[test]
fn every_answer_comes_back_as_it_was_stored() {
    let answers = [Answer::Changed(transaction().into()), Answer::Unchanged(transaction().into())];
    for answer in answers.into_iter().chain(Rejection::one_of_each().map(Answer::Rejected)) {
        let outcome = Outcome { fingerprint: Uuid::from_u128(1), record: record(), at: 5, epoch: Some(2), answer, actor: None };
        let blob = outcome.encode();
        assert_eq!(Outcome::decode("r-1", &blob).unwrap(), outcome);
    }
}

#[test]
fn changes_of_ids_names_and_segments_come_back_as_they_were_stored() {
    for (use_case, attribute, new) in [
        (UseCase::UpdateAccountExternalId, Attribute::ExternalId, "a-2"),
        (UseCase::UpdateSubscriberExternalId, Attribute::ExternalId, "a-2"),
        (UseCase::UpdateCustomerCustomName, Attribute::CustomName, "Ann"),
        (UseCase::UpdateCustomerSegment, Attribute::Segment, "GOLD"),
    ] {
        for old in [None, Some("before".to_owned())] {
            let custom_name = Some(CustomName::parse("Ann").unwrap());
            let segment = Some(SegmentCode::parse("GOLD").unwrap());
            let entity = Entity { entity_type: use_case.entity_type(), custom_name, segment, ..entity() };
            let changes = vec![Change { attribute, old, new: Some(new.into()) }];
            let answer = Answer::Changed(Transaction { use_case, changes, entity, ..transaction() }.into());
            let outcome = Outcome { fingerprint: Uuid::nil(), record: record(), at: 5, epoch: Some(2), answer, actor: None };
            assert_eq!(Outcome::decode("r-1", &outcome.encode()).unwrap(), outcome);
        }
    }
}

/// Version 2 takes a change for one of the use case's only attribute, so it can't hold any other.
#[test]
fn a_change_of_an_attribute_that_is_not_the_use_cases_comes_back_as_it_was_stored() {
    let superior = transaction().entity.superior.unwrap();
    for changes in [
        vec![Change { attribute: Attribute::CustomName, old: Some("Ann".into()), new: None }],
        vec![
            Change { attribute: Attribute::ExternalId, old: Some("a-1".into()), new: Some("a-2".into()) },
            Change { attribute: Attribute::CustomerRefId, old: None, new: Some(superior.to_string()) },
        ],
    ] {
        let answer = Answer::Changed(Transaction { changes, ..transaction() }.into());
        let outcome = Outcome { fingerprint: Uuid::nil(), record: record(), at: 5, epoch: Some(2), answer, actor: None };
        assert_eq!(Outcome::decode("r-1", &outcome.encode()).unwrap(), outcome);
    }
}

#[test]
fn a_creation_comes_back_as_it_was_stored() {
    let superior = Some(Uuid::from_u128(8));
    let text = "a-2\n=c-1\n=Ann\n\n=SUSPENDED\n=unpaid";
    let contents = Contents::restore(UseCase::CreateAccount, text, None).unwrap();
    let request = Request { contents, ..command() };
    let creation = request.contents.creation().unwrap();
    let transaction = crate::domain::decision::create(creation, &request, Uuid::from_u128(7), superior, 5);
    let answer = Answer::Changed(transaction.into());
    let outcome = Outcome { fingerprint: Uuid::nil(), record: record(), at: 5, epoch: None, answer, actor: None };
    assert_eq!(Outcome::decode(request.id.as_str(), &outcome.encode()).unwrap(), outcome);
    for actor in [None, Some(Actor::parse("Zoë").unwrap())] {
        let request = Request { actor, ..request.clone() };
        let claim = StoredClaim { cause: Cause::Creation { request, superior }, held: BTreeMap::new() };
        assert_eq!(StoredClaim::decode(&claim.encode()).unwrap(), claim);
    }
}

#[test]
fn every_claim_comes_back_as_it_was_stored() {
    let held = BTreeMap::from([(Uuid::from_u128(9), 3)]);
    let rename = StoredClaim { cause: Cause::Request(command()), held };
    for claim in [rename, StoredClaim { cause: Cause::Import(entity(), None), held: BTreeMap::new() }] {
        let blob = claim.encode();
        assert_eq!(StoredClaim::decode(&blob).unwrap(), claim);
    }
}

#[test]
fn the_format_is_what_stores_hold_already() {
    let outcome =
        |answer| Outcome { fingerprint: Uuid::from_u128(1), record: record(), at: 5, epoch: Some(2), answer, actor: None };
    let hex = |blob: Vec<u8>| blob.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    assert_eq!(
        hex(outcome(Answer::Changed(transaction().into())).encode()),
        "0210000000000000000000000000000000010c63726d2e636f6d6d616e6473068080808080400a010400020103632d3102010103612d3101100000000000000000000000000000000703612d320401000000011000000000000000000000000000000008"
    );
    assert_eq!(
        hex(outcome(Answer::Rejected(Rejection::InternalError)).encode()),
        "0210000000000000000000000000000000010c63726d2e636f6d6d616e6473068080808080400a01040209"
    );
    let claim = StoredClaim { cause: Cause::Request(command()), held: BTreeMap::from([(Uuid::from_u128(9), 3)]) };
    assert_eq!(
        hex(claim.encode()),
        "020003722d310203612d320102000c63726d2e636f6d6d616e64730680808080804001100000000000000000000000000000000906"
    );
    assert_eq!(
        hex(StoredClaim { cause: Cause::Import(entity(), None), held: BTreeMap::new() }.encode()),
        "020101100000000000000000000000000000000703612d32040100000001100000000000000000000000000000000800"
    );
    assert_eq!(
        hex(ImportOutcome { at: 5, external_id: ExternalId::parse("a-2").unwrap(), actor: None }.encode()),
        "020a03612d32"
    );
}

#[test]
fn a_later_version_or_damage_is_a_fault() {
    let answer = Answer::Rejected(Rejection::InternalError);
    let blob = Outcome { fingerprint: Uuid::nil(), record: record(), at: 5, epoch: Some(2), answer, actor: None }.encode();
    let later = [&[NEWEST + 1], &blob[1..]].concat();
    let fault = Outcome::decode("r-1", &later).unwrap_err();
    assert!(fault.cause.contains("version 4"), "{fault}");
    for length in 0..blob.len() {
        assert!(Outcome::decode("r-1", &blob[..length]).is_err(), "{length} of {} bytes were taken for an outcome", blob.len());
    }
    let fault = Outcome::decode("r-1", &[&blob[..], b"x"].concat()).unwrap_err();
    assert!(fault.cause.contains("1 bytes too many"), "{fault}");
}

#[test]
fn a_fault_does_not_quote_what_it_could_not_read() {
    let mut blob = StoredClaim { cause: Cause::Import(entity(), None), held: BTreeMap::new() }.encode();
    let at = blob.windows(3).position(|window| window == b"a-2").unwrap();
    // No text ends like this.
    blob[at + 2] = 0xff;
    let fault = StoredClaim::decode(&blob).unwrap_err();
    assert!(!fault.to_string().contains("a-"), "{fault}");
}
