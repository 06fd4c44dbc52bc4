//! Conversion between the tables' columns and the store's types.

use crate::domain::entity::{Entity, EntityType, State};
use crate::store::values::EntityValues;
use crate::store::{Claim, Columns, EntityKey, EntityStatics, FIRST_ROW, HistoryRow, IdKey, LogRow, NewStatics, OutcomeRow};
use scylla::DeserializeRow;
use scylla::value::{CqlTimestamp, CqlValue, MaybeUnset};
use std::collections::HashMap;
use std::time::Duration;
use uuid::Uuid;

/// The longest TTL that Cassandra takes: 20 years. Longer TTLs are shortened to it.
const MAX_TTL_SECONDS: i32 = 630_720_000;

/// A value that is bound to a statement. `None` is null, which deletes the column's cell. An unset value leaves the cell alone, and costs
/// the database nothing.
pub(super) type Value = MaybeUnset<Option<CqlValue>>;

/// The values that are bound to a statement, in the order of its question marks.
pub(super) type Values = Vec<Value>;

/// A row of a partition of `external_id`, with the statics.
#[derive(DeserializeRow)]
pub(super) struct IdRow {
    generation: Option<i64>,
    owner: Option<Uuid>,
    epoch: Option<i64>,
    claimed_by: Option<String>,
    claim: Option<Vec<u8>>,
    previous_owners: Option<HashMap<Uuid, CqlTimestamp>>,
    refused: Option<CqlTimestamp>,
    request_id: Option<String>,
    outcome: Option<Vec<u8>>,
    time_left: Option<i32>,
}

impl IdRow {
    /// Takes the claim out of the row. Returns `None` if the id was never claimed. The error names a column that is missing.
    pub(super) fn take_claim(&mut self) -> Result<Option<Claim>, String> {
        let Some(generation) = self.generation else { return Ok(None) };
        let mut previous_owners: Vec<_> =
            self.previous_owners.take().unwrap_or_default().into_iter().map(|(owner, left)| (owner, left.0)).collect();
        previous_owners.sort_by_key(|(owner, left)| (*left, *owner));
        Ok(Some(Claim {
            generation,
            owner: self.owner.ok_or_else(|| missing("owner"))?,
            epoch: self.epoch.ok_or_else(|| missing("epoch"))?,
            claimed_by: self.claimed_by.take().ok_or_else(|| missing("claimed_by"))?,
            blob: self.claim.take().ok_or_else(|| missing("claim"))?,
            previous_owners,
            refused: self.refused.map(|refused| refused.0),
        }))
    }

    /// Takes the outcome out of the row, or returns `None` if the row belongs to no request. In this table the row '' never does: it is
    /// there so that a read always returns the statics.
    pub(super) fn take_outcome(&mut self) -> Option<OutcomeRow> {
        let request_id = self.request_id.take().filter(|id| id != FIRST_ROW)?;
        Some(outcome_row(request_id, self.outcome.take()?, self.time_left))
    }
}

/// A row of a partition of `entity`, with the statics.
#[derive(DeserializeRow)]
pub(super) struct EntityRow {
    external_id: Option<String>,
    epoch: Option<i64>,
    generation: Option<i64>,
    version: Option<i64>,
    state: Option<String>,
    custom_name: Option<String>,
    segment: Option<String>,
    segment_valid_from: Option<CqlTimestamp>,
    parent: Option<Uuid>,
    state_reason: Option<String>,
    state_valid_from: Option<CqlTimestamp>,
    request_id: Option<String>,
    outcome: Option<Vec<u8>>,
    time_left: Option<i32>,
}

impl EntityRow {
    /// Returns the statics that are in the row. Returns `None` if there is no such entity. The error says what is wrong with a column.
    pub(super) fn statics(&self, key: EntityKey) -> Result<Option<EntityStatics>, String> {
        let Some(version) = self.version else { return Ok(None) };
        let values = EntityValues {
            external_id: self.external_id.as_deref().ok_or_else(|| missing("external_id"))?,
            version,
            state: state_in(self.state.as_deref())?,
            custom_name: self.custom_name.as_deref(),
            segment: self.segment.as_deref(),
            segment_valid_from: self.segment_valid_from.map(|from| from.0),
            superior: self.parent,
            state_reason: self.state_reason.as_deref(),
            state_valid_from: self.state_valid_from.map(|from| from.0),
        };
        let epoch = self.epoch.ok_or_else(|| missing("epoch"))?;
        Ok(Some(EntityStatics {
            entity: values.entity(key),
            epoch,
            generation: self.generation.ok_or_else(|| missing("generation"))?,
        }))
    }

    /// Takes the outcome out of the row, or returns `None` if the row belongs to none of `requests`. The row '' is always read.
    pub(super) fn take_outcome(&mut self, requests: &[&str]) -> Option<OutcomeRow> {
        let request_id = self.request_id.take().filter(|id| requests.contains(&id.as_str()))?;
        Some(outcome_row(request_id, self.outcome.take()?, self.time_left))
    }
}

fn outcome_row(request_id: String, outcome: Vec<u8>, seconds_left: Option<i32>) -> OutcomeRow {
    let time_left = seconds_left.map(|seconds| Duration::from_secs(seconds.try_into().unwrap_or(0)));
    OutcomeRow { request_id, outcome, time_left }
}

/// A partition of `entity` as a scan returns it: its key and its static columns. These are fields of [`EntityRow`], too; the driver can't
/// nest one struct in another, so they stand here once more.
#[derive(DeserializeRow)]
pub(super) struct EntityPartition {
    entity_type: String,
    ref_id: Uuid,
    external_id: Option<String>,
    epoch: Option<i64>,
    generation: Option<i64>,
    version: Option<i64>,
    state: Option<String>,
    custom_name: Option<String>,
    segment: Option<String>,
    segment_valid_from: Option<CqlTimestamp>,
    parent: Option<Uuid>,
    state_reason: Option<String>,
    state_valid_from: Option<CqlTimestamp>,
}

impl EntityPartition {
    /// Returns the columns of the partition's key.
    pub(super) fn key(&self) -> (&str, Uuid) {
        (&self.entity_type, self.ref_id)
    }

    /// Returns the entity, or `None` if the partition holds nothing but refusals.
    pub(super) fn into_entity(self) -> Result<Option<Entity>, String> {
        let entity_type = EntityType::from_name(&self.entity_type).ok_or_else(|| missing("entity_type"))?;
        let key = EntityKey { entity_type, ref_id: self.ref_id };
        let row = EntityRow {
            external_id: self.external_id,
            epoch: self.epoch,
            generation: self.generation,
            version: self.version,
            state: self.state,
            custom_name: self.custom_name,
            segment: self.segment,
            segment_valid_from: self.segment_valid_from,
            parent: self.parent,
            state_reason: self.state_reason,
            state_valid_from: self.state_valid_from,
            request_id: None,
            outcome: None,
            time_left: None,
        };
        Ok(row.statics(key)?.map(|statics| statics.entity))
    }
}

/// A row of an entity's log.
#[derive(DeserializeRow)]
pub(super) struct LogEntry {
    pub(super) request_id: Option<String>,
    changed_to: Option<i64>,
    pub(super) outcome: Option<Vec<u8>>,
}

impl LogEntry {
    pub(super) fn into_change(self) -> Option<HistoryRow> {
        let Self { request_id: Some(request_id), changed_to: Some(changed_to), outcome: Some(outcome) } = self else {
            return None;
        };
        (request_id != FIRST_ROW).then_some(HistoryRow { request_id, changed_to, outcome })
    }
}

/// Returns the values of the statement `claim`: those of [`CLAIM`](super::statics::CLAIM), the key's, and the condition's.
pub(super) fn claim_values(id: &IdKey, claim: Claim, expected_generation: Option<i64>) -> Values {
    let previous_owners = claim.previous_owners.into_iter().map(|(owner, left)| (CqlValue::Uuid(owner), timestamp(left)));
    let mut values = vec![
        set(CqlValue::BigInt(claim.generation)),
        set(CqlValue::Uuid(claim.owner)),
        set(CqlValue::BigInt(claim.epoch)),
        set(CqlValue::Text(claim.claimed_by)),
        set(CqlValue::Blob(claim.blob)),
        set(CqlValue::Map(previous_owners.collect())),
    ];
    values.extend(id_values(id));
    values.push(number(expected_generation));
    values
}

/// Returns the key columns of a partition of `external_id`.
pub(super) fn id_values(id: &IdKey) -> [Value; 2] {
    [set(text(id.entity_type.name())), set(text(id.external_id.as_str()))]
}

/// Returns the key columns of a partition of `entity`.
pub(super) fn entity_key_values(key: EntityKey) -> [Value; 2] {
    [set(text(key.entity_type.name())), set(CqlValue::Uuid(key.ref_id))]
}

/// Adds the values of a row that the statements `change`, `row` and `more` have in common, in their order.
pub(super) fn extend_by_row(values: &mut Values, key: EntityKey, row: LogRow) {
    // The row is new, so nothing has to be deleted where nothing is set.
    let changed_to = row.changed_to.map_or(MaybeUnset::Unset, |version| set(CqlValue::BigInt(version)));
    values.extend([changed_to, set(CqlValue::Blob(row.outcome))]);
    values.extend(entity_key_values(key));
    values.push(set(CqlValue::Text(row.request_id)));
}

/// Returns the values of [`ENTITY`](super::statics::ENTITY). Those that do not change are unset.
pub(super) fn statics_values(NewStatics { values: statics, changes }: &NewStatics) -> Values {
    let entity = &statics.entity;
    // A value is made only if its column is written.
    let value = |column, value: &dyn Fn() -> Option<CqlValue>| {
        if changes.contains(column) { MaybeUnset::Set(value()) } else { MaybeUnset::Unset }
    };
    vec![
        value(Columns::EXTERNAL_ID, &|| Some(text(entity.external_id.as_str()))),
        value(Columns::EPOCH, &|| Some(CqlValue::BigInt(statics.epoch))),
        value(Columns::GENERATION, &|| Some(CqlValue::BigInt(statics.generation))),
        value(Columns::VERSION, &|| Some(CqlValue::BigInt(entity.version))),
        value(Columns::STATE, &|| Some(CqlValue::Text(state_column(entity)))),
        value(Columns::CUSTOM_NAME, &|| entity.custom_name.as_ref().map(|name| text(name.as_str()))),
        value(Columns::SEGMENT, &|| entity.segment.as_ref().map(|segment| text(segment.as_str()))),
        value(Columns::SEGMENT_VALID_FROM, &|| entity.segment_valid_from.map(timestamp)),
        value(Columns::PARENT, &|| entity.superior.map(CqlValue::Uuid)),
        value(Columns::STATE_REASON, &|| entity.state_reason.as_ref().map(|reason| text(reason.as_str()))),
        value(Columns::STATE_VALID_FROM, &|| entity.state_valid_from.map(timestamp)),
    ]
}

/// Returns a value that is not null.
pub(super) fn set(value: CqlValue) -> Value {
    MaybeUnset::Set(Some(value))
}

/// Returns a number, or null for `None`.
pub(super) fn number(number: Option<i64>) -> Value {
    MaybeUnset::Set(number.map(CqlValue::BigInt))
}

/// Returns a TTL in whole seconds, rounded up and at most [`MAX_TTL_SECONDS`]; 0 means for ever.
pub(super) fn ttl_value(ttl: Option<Duration>) -> CqlValue {
    let seconds = ttl.map_or(0, |ttl| {
        let rounded_up = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        i32::try_from(rounded_up).unwrap_or(MAX_TTL_SECONDS).clamp(1, MAX_TTL_SECONDS)
    });
    CqlValue::Int(seconds)
}

pub(super) fn timestamp(milliseconds: i64) -> CqlValue {
    CqlValue::Timestamp(CqlTimestamp(milliseconds))
}

pub(super) fn text(text: &str) -> CqlValue {
    CqlValue::Text(text.to_owned())
}

/// The form of rows that have a value in one of the columns that came after the first release: `state_reason` and `state_valid_from`. Not frozen yet:
/// as long as no release has written this form, a column that is added belongs to it.
const FORM_2: &str = "/2";

/// Returns the value of the column `state`: the state's name and, unless it is the first, the form of the row, such as `SUSPENDED/2`.
///
/// A release that does not know this form must not decide about such an entity, because it would publish an after-image that lacks
/// something. Its reads of the row are faults, so that the command waits until the process is upgraded.
fn state_column(entity: &Entity) -> String {
    // The pattern names all values, so that the compiler asks here in which form a new one is written.
    let form = match EntityValues::of(entity) {
        EntityValues {
            external_id: _,
            version: _,
            state: _,
            custom_name: _,
            segment: _,
            segment_valid_from: _,
            superior: _,
            state_reason: None,
            state_valid_from: None,
        } => "",
        _ => FORM_2,
    };
    [entity.state.name(), form].concat()
}

/// Returns the state that a row's column `state` names: see [`state_column`].
fn state_in(column: Option<&str>) -> Result<State, String> {
    let text = column.ok_or_else(|| missing("state"))?;
    State::from_name(text.strip_suffix(FORM_2).unwrap_or(text)).ok_or_else(|| match text.split_once('/') {
        Some((_, form)) => {
            format!("the row is written in form {form}, but this build knows only forms 1 and 2: a newer build must read it")
        }
        None => missing("state"),
    })
}

fn missing(column: &str) -> String {
    format!("column {column} is missing or unknown")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::values::{CustomName, ExternalId, SegmentCode, StateReason};

    /// If a change of another column brings the row into another form, `state` must be written, too. Otherwise an older release would not
    /// notice that the row has something that it does not know.
    #[test]
    fn a_change_of_the_form_writes_the_column_that_tells_it() {
        // All fields are named, so that the compiler asks here for a new one.
        let full = Entity {
            entity_type: EntityType::Customer,
            ref_id: Uuid::nil(),
            external_id: ExternalId::parse("c").unwrap(),
            version: 1,
            state: State::Active,
            custom_name: Some(CustomName::parse("Ann").unwrap()),
            segment: Some(SegmentCode::parse("RESIDENTIAL").unwrap()),
            segment_valid_from: Some(1),
            superior: Some(Uuid::max()),
            state_reason: Some(StateReason::parse("unpaid").unwrap()),
            state_valid_from: Some(1),
        };
        let plain = Entity::new(full.entity_type, full.ref_id, full.external_id.clone());
        let changes = [
            ("custom_name", Entity { custom_name: full.custom_name, ..plain.clone() }),
            ("segment", Entity { segment: full.segment, ..plain.clone() }),
            ("segment_valid_from", Entity { segment_valid_from: full.segment_valid_from, ..plain.clone() }),
            ("superior", Entity { superior: full.superior, ..plain.clone() }),
            ("state_reason", Entity { state_reason: full.state_reason, ..plain.clone() }),
            ("state_valid_from", Entity { state_valid_from: full.state_valid_from, ..plain.clone() }),
        ];
        let statics = |entity: &Entity| EntityStatics { entity: entity.clone(), epoch: 1, generation: 1 };
        let mut forms = 0;
        for (what, changed) in &changes {
            assert_eq!(changed.state, plain.state);
            for (before, after) in [(&plain, changed), (changed, &plain)] {
                if state_column(before) != state_column(after) {
                    forms += 1;
                    let written = Columns::between(Some(&statics(before)), &statics(after));
                    assert!(written.contains(Columns::STATE), "{what}");
                }
            }
        }
        assert_eq!(forms, 4, "two columns came after the first release, and each comes and goes");
    }
}
