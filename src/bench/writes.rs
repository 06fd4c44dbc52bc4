//! The writes of the ceiling: those that the claim protocol would make, with outcomes of the same size, but without deciding anything.

use super::cases::Kind;
use super::fleet::{self, SEGMENTS};
use super::samples::{SOME_TIME, record, request};
use crate::domain::change::Creation;
use crate::domain::contents::Contents;
use crate::domain::entity::EntityType;
use crate::domain::reference::Reference;
use crate::domain::request::Request;
use crate::domain::use_case::UseCase;
use crate::domain::values::{CustomName, ExternalId, RequestId, SegmentCode, StateReason};
use crate::store::outcome::{Cause, ImportOutcome, StoredClaim};
use crate::store::{ApplyWrite, Claim, ClaimWrite, EntityKey, EntityStatics, FIRST_ROW, IdKey, LogRow, NewStatics};
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

/// How long a refusal is kept.
const TTL: Duration = Duration::from_secs(30 * 24 * 3600);

/// Returns the write that changes an entity's name, segment or state, with a row for each request, and the statics afterwards.
pub fn change(before: &EntityStatics, kind: Kind, requests: Vec<String>, outcome: &[u8]) -> (ApplyWrite, EntityStatics) {
    let mut after = before.clone();
    let entity = &mut after.entity;
    entity.version += 1;
    match kind {
        Kind::Segment => {
            let segment = usize::try_from(entity.version).unwrap_or_default() % SEGMENTS.len();
            entity.segment = Some(SegmentCode::checked_before(SEGMENTS[segment]));
            entity.segment_valid_from = Some(SOME_TIME + entity.version);
        }
        Kind::State => {
            entity.state = fleet::state(u32::try_from(entity.version).unwrap_or_default());
            entity.state_reason = Some(StateReason::checked_before(&format!("unpaid no. {:08}", entity.version)));
            entity.state_valid_from = Some(SOME_TIME + entity.version);
        }
        Kind::Name => entity.custom_name = Some(CustomName::checked_before(&name(entity.version))),
        Kind::Rename | Kind::Create | Kind::Rejected => (),
    }
    let row = |request_id| LogRow { request_id, changed_to: Some(after.entity.version), outcome: outcome.to_vec(), ttl: None };
    let rows = requests.into_iter().map(row).collect();
    let write = ApplyWrite::about(before, Some(after.clone()), rows);
    (write, after)
}

/// Returns the write of a rejected command's outcome: one row.
pub fn refusal(before: &EntityStatics, request_id: String, outcome: &[u8]) -> ApplyWrite {
    // A rejection has no after-image, so its outcome is about a third as large as a change's.
    let row = LogRow { request_id, changed_to: None, outcome: outcome[..outcome.len() / 3].to_vec(), ttl: Some(TTL) };
    ApplyWrite::about(before, None, vec![row])
}

/// Returns the two writes of a rename to an id that nobody ever had, and the statics afterwards.
pub fn rename(
    before: &EntityStatics,
    wanted: ExternalId,
    request_id: String,
    outcome: &[u8],
) -> (ClaimWrite, ApplyWrite, EntityStatics) {
    let id = IdKey { entity_type: before.entity.entity_type, external_id: wanted.clone() };
    let cause = Cause::Request(Request {
        id: request(),
        contents: Contents::restore(UseCase::UpdateAccountExternalId, wanted.as_str(), None).expect("it is an id"),
        correlation_id: Some(SOME_TIME.to_string()),
        actor: None,
        record: record(),
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
    let (write, mut after) = change(before, Kind::Rename, vec![request_id], outcome);
    after.entity.external_id = wanted;
    after.epoch += 1;
    after.generation = 1;
    let write = ApplyWrite::about(before, Some(after.clone()), write.rows);
    (ClaimWrite { id, expected_generation: None, unrefused: true, claim }, write, after)
}

/// Returns the two writes that create an account below `superior`, with an id that nobody ever had.
pub fn creation(superior: Uuid, external_id: ExternalId, request_id: RequestId, outcome: &[u8]) -> (ClaimWrite, ApplyWrite) {
    let entity_type = EntityType::Account;
    let creation = Creation {
        external_id: external_id.clone(),
        superior: Some(Reference::RefId(superior)),
        custom_name: Some(CustomName::checked_before(&name(1))),
        segment: None,
        state: None,
        state_reason: None,
    };
    let key = EntityKey { entity_type, ref_id: creation.ref_id(entity_type, &request_id) };
    let claimed_by = request_id.as_str().to_owned();
    let request = Request {
        id: request_id,
        contents: Contents::restore(UseCase::CreateAccount, &creation.text(), None).expect("it is a creation"),
        correlation_id: Some(SOME_TIME.to_string()),
        actor: None,
        record: record(),
    };
    let cause = Cause::Creation { request, superior: Some(superior) };
    let claim = Claim {
        generation: 1,
        owner: key.ref_id,
        epoch: 1,
        claimed_by: claimed_by.clone(),
        blob: StoredClaim { cause, held: BTreeMap::new() }.encode(),
        previous_owners: Vec::new(),
        refused: None,
    };
    let entity = creation.entity(entity_type, key.ref_id, Some(superior), SOME_TIME);
    let first = ImportOutcome { at: SOME_TIME, external_id: external_id.clone(), actor: None }.encode();
    let row = |request_id: &str, outcome| LogRow { request_id: request_id.into(), changed_to: None, outcome, ttl: None };
    let created = LogRow { changed_to: Some(entity.version), ..row(&claimed_by, outcome.to_vec()) };
    let after = NewStatics::after(None, EntityStatics { entity, epoch: 1, generation: 1 });
    let write = ApplyWrite { key, expected_version: None, after: Some(after), rows: vec![created, row(FIRST_ROW, first)] };
    (ClaimWrite { id: IdKey { entity_type, external_id }, expected_generation: None, unrefused: true, claim }, write)
}

/// Returns the name that an entity gets with this version.
pub fn name(version: i64) -> String {
    format!("Ann's Flowers no. {version:08}")
}
