//! The writes of the ceiling: those that the claim protocol would make, with outcomes of the same size, but without deciding anything.

use super::cases::Kind;
use super::fleet::SEGMENTS;
use super::samples::{SOME_TIME, record, request};
use crate::domain::contents::Contents;
use crate::domain::request::Request;
use crate::domain::use_case::UseCase;
use crate::domain::values::{CustomName, ExternalId, SegmentCode};
use crate::store::outcome::{Cause, StoredClaim};
use crate::store::{ApplyWrite, Claim, ClaimWrite, EntityStatics, IdKey, LogRow};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a refusal is kept.
const TTL: Duration = Duration::from_secs(30 * 24 * 3600);

/// Returns the write that changes an entity's name or segment, with a row for each request, and the statics afterwards.
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
        Kind::Name => entity.custom_name = Some(CustomName::checked_before(&name(entity.version))),
        Kind::Rename | Kind::Rejected => (),
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
    (ClaimWrite { id, replaces: None, unrefused: true, claim }, write, after)
}

/// Returns the name that an entity gets with this version.
pub fn name(version: i64) -> String {
    format!("Ann's Flowers no. {version:08}")
}
