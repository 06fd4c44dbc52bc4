//! The writes of the ceiling: what the claim protocol would write, with outcomes of the same size, without deciding anything.

use crate::domain::command::{RequestId, UseCase, UseCaseName, fingerprint};
use crate::domain::entity::{Entity, EntityType, State};
use crate::domain::external_id::ExternalId;
use crate::domain::transaction::{Change, Transaction};
use crate::domain::update_account_external_id::UpdateAccountExternalId;
use crate::domain::update_customer_custom_name::CustomName;
use crate::store::outcome::{Answer, ClaimBlob, ClaimingCommand, Coordinates, Outcome, StoredClaim};
use crate::store::{ApplyWrite, Claim, ClaimWrite, EntityKey, EntityStatics, IdKey, LogRow};
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

/// How long a refusal is kept.
const TTL: Duration = Duration::from_secs(30 * 24 * 3600);
/// Some instant, with as many digits as any.
const SOME_TIME: i64 = 1_700_000_000_000;

/// A change of the entity: its statics, and a row for each request.
pub fn change(before: &EntityStatics, requests: Vec<String>, outcome: &[u8]) -> (ApplyWrite, EntityStatics) {
    let mut after = before.clone();
    after.entity.version += 1;
    let row = |request_id| LogRow { request_id, changed_to: Some(after.entity.version), outcome: outcome.to_vec(), ttl: None };
    let rows = requests.into_iter().map(row).collect();
    let write = ApplyWrite { key: key(before), read: Some(before.entity.version), after: Some(after.clone()), rows };
    (write, after)
}

/// The outcome of a rejected command: a row.
pub fn refusal(before: &EntityStatics, request_id: String, outcome: &[u8]) -> ApplyWrite {
    // A rejection has no after-image: about a third of a change's outcome.
    let row = LogRow { request_id, changed_to: None, outcome: outcome[..outcome.len() / 3].to_vec(), ttl: Some(TTL) };
    ApplyWrite { key: key(before), read: Some(before.entity.version), after: None, rows: vec![row] }
}

/// A rename onto an id that nobody ever had.
pub fn rename(
    before: &EntityStatics,
    wanted: ExternalId,
    request_id: String,
    outcome: &[u8],
) -> (ClaimWrite, ApplyWrite, EntityStatics) {
    let id = IdKey { entity_type: before.entity.entity_type, external_id: wanted.clone() };
    let cause = ClaimBlob::Command(ClaimingCommand {
        request_id: sample_request(),
        use_case: UseCase::UpdateAccountExternalId(UpdateAccountExternalId(wanted.clone())),
        expected_version: None,
        correlation_id: Some(SOME_TIME.to_string()),
        record: sample_record(),
    });
    let claim = Claim {
        generation: 1,
        owner: before.entity.ref_id,
        epoch: before.epoch + 1,
        claimed_by: request_id.clone(),
        blob: StoredClaim { cause, held: BTreeMap::new() }.encode(),
        previous_owners: Vec::new(),
        refused: None,
    };
    let (mut write, mut after) = change(before, vec![request_id], outcome);
    after.entity.external_id = wanted;
    after.epoch += 1;
    after.generation = 1;
    write.after = Some(after.clone());
    (ClaimWrite { id, replaces: None, claim }, write, after)
}

/// What is stored of a request that gave a customer a new name.
pub fn sample_outcome() -> Vec<u8> {
    const NEW: &str = "Ann's Flowers no. 12-12345";
    let name = |text| CustomName::parse(text).expect("it is a name");
    let entity = Entity {
        entity_type: EntityType::Customer,
        ref_id: Uuid::from_u128(u128::MAX),
        external_id: ExternalId::parse("c-12345").expect("it is an id"),
        version: 10,
        state: State::Active,
        custom_name: Some(name(NEW)),
        segment: None,
        segment_valid_from: None,
        parent: None,
    };
    let changes = vec![Change { field: "customName".into(), old: Some(NEW.into()), new: Some(NEW.into()) }];
    let answer = Answer::Changed(Transaction {
        use_case: UseCaseName::UpdateCustomerCustomName,
        request_id: sample_request(),
        correlation_id: Some("12345".into()),
        occurred_at: SOME_TIME,
        previous_version: 9,
        changes,
        entity,
    });
    let use_case =
        UseCase::UpdateCustomerCustomName(crate::domain::update_customer_custom_name::UpdateCustomerCustomName(name(NEW)));
    let outcome =
        Outcome { fingerprint: fingerprint(&use_case, None), record: sample_record(), at: SOME_TIME, epoch: Some(1), answer };
    outcome.encode()
}

fn sample_request() -> RequestId {
    RequestId::parse("r-12-12345").expect("it is a request id")
}

fn sample_record() -> Coordinates {
    Coordinates { topic: "crm-bench-01234567.12.commands".into(), partition: 10, offset: 12_345 }
}

fn key(statics: &EntityStatics) -> EntityKey {
    EntityKey { entity_type: statics.entity.entity_type, ref_id: statics.entity.ref_id }
}
