//! What can be told without a store. The protocol itself is checked in `tests/it/protocol`, over every store.

use super::resolve::Standing;
use super::retention::can_be_renamed;
use super::*;
use crate::domain::command::{RawCommand, RawReference, Rules, UseCaseName};
use crate::domain::entity::{Entity, EntityType};
use crate::domain::external_id::ExternalId;
use crate::domain::update_customer_segment::SegmentCode;
use crate::store::simulated::{Faults, Simulated};
use crate::store::{Claim, EntityRead};
use uuid::Uuid;

#[test]
fn pauses_double_until_they_are_capped() {
    let pauses = [1, 2, 3, 6, 7, 40, u32::MAX].map(|attempts| pause_after(attempts).as_millis());
    assert_eq!(pauses, [50, 100, 200, 1600, 2000, 2000, 2000]);
}

/// What is kept for ever is decided by type: see `retention`.
#[test]
fn a_type_can_be_renamed_if_a_use_case_of_it_wants_an_external_id() {
    let rules = Rules { segments: vec![SegmentCode::parse("x").unwrap()] };
    for use_case in UseCaseName::ALL {
        let reference = RawReference { external_id: Some("x".into()), ref_id: None };
        let (request_id, value) = (Some("r".into()), Some("x".into()));
        let raw = RawCommand { use_case: *use_case, request_id, reference: Some(reference), value, expected_version: None };
        let command = raw.validate(&rules).unwrap();
        assert_eq!(command.use_case.wanted().is_some(), use_case.is_rename(), "{use_case:?}");
    }
    assert_eq!(EntityType::ALL.map(can_be_renamed), [false, true, true]);
}

#[test]
fn a_claim_stands_to_its_owner_by_generation_epoch_and_outcome() {
    let id = IdKey { entity_type: EntityType::Account, external_id: ExternalId::parse("x").unwrap() };
    let claim = Claim {
        generation: 5,
        owner: Uuid::nil(),
        epoch: 3,
        claimed_by: "r".into(),
        blob: Vec::new(),
        previous_owners: Vec::new(),
        refused: None,
    };
    let record = Coordinates { topic: "t".into(), partition: 0, offset: 0 };
    let answer = Answer::Rejected(Rejection::ExternalIdNotUnique);
    let taken = Outcome { fingerprint: Uuid::nil(), record, at: 0, epoch: Some(2), answer }.encode();
    let owner = |external_id: &str, epoch, generation, decided: bool| EntityRead {
        statics: Some(EntityStatics { entity: entity(external_id), epoch, generation }),
        outcomes: if decided { vec![("r".into(), taken.clone())] } else { Vec::new() },
    };
    let standing = |owner: &EntityRead| match Standing::of(&id, &claim, owner).unwrap() {
        Standing::Current(_) => "current",
        Standing::Pending(_) => "pending",
        Standing::Stale { .. } => "stale",
    };
    let table = [
        ("completed", owner("x", 3, 5, true), "current"),
        ("completed, and its outcome not asked for", owner("x", 3, 5, false), "current"),
        ("to be completed", owner("a", 2, 1, false), "pending"),
        ("rejected", owner("a", 2, 1, true), "stale"),
        ("overtaken by another rename", owner("y", 3, 9, false), "stale"),
        ("held by another claim", owner("x", 3, 4, true), "stale"),
        ("given up since", owner("y", 4, 1, true), "stale"),
        ("a rename of an entity that is not there", EntityRead::default(), "stale"),
    ];
    for (case, owner, expected) in table {
        assert_eq!(standing(&owner), expected, "{case}: {owner:?}");
    }
    let import = Claim { epoch: 1, claimed_by: crate::store::FIRST_ROW.into(), ..claim };
    assert_eq!(Standing::of(&id, &import, &EntityRead::default()).unwrap(), Standing::Pending(None));
}

/// Each answer may be lost, and each write may land late or not at all.
#[tokio::test]
async fn an_import_counts_what_it_made_however_many_attempts_that_took() {
    for seed in 0..300 {
        let faults = Faults { unread: 100, unacknowledged: 300, lost: 200, late: 100, ..Faults::default() };
        let store = Arc::new(Simulated::new(seed, faults));
        let clock = store.clock();
        let claims = Claims::new(store, &ClaimsOptions::default(), clock);
        let mut importing = Importing::default();
        let mut attempts = 0;
        let mut import = async |importing: &mut Importing| loop {
            attempts += 1;
            if let Ok(imported) = claims.import_again(entity("a"), importing).await {
                break imported;
            }
        };
        assert_eq!(import(&mut importing).await, Imported::Created, "seed {seed}");
        assert_eq!(import(&mut Importing::default()).await, Imported::Existed, "seed {seed}, another import");
        assert!(attempts >= 2, "seed {seed}");
    }
}

fn entity(external_id: &str) -> Entity {
    Entity::new(EntityType::Account, Uuid::nil(), ExternalId::parse(external_id).unwrap())
}
