//! Changes as flat rows, `crm.v1.ChangeRow`: the same as a business transaction or a snapshot says, in columns that every sink takes.

use super::CHANGE_SCHEMA;
use super::avro::{UuidText, encode, parse, writer};
use crate::domain::Timestamp;
use crate::domain::entity::{Entity, EntityType};
use crate::domain::transaction::{Change, Snapshot, Transaction};
use crate::domain::values::{Actor, CustomName, SegmentCode, StateReason};
use apache_avro::Schema;
use apache_avro::writer::datum::GenericDatumWriter;
use serde::ser::SerializeTupleStruct;
use serde::{Serialize, Serializer};
use std::sync::LazyLock;
use uuid::Uuid;

/// The number of columns.
const COLUMNS: usize = 20;

static WRITER: LazyLock<GenericDatumWriter<'static>> = LazyLock::new(|| {
    static SCHEMA: LazyLock<Schema> = LazyLock::new(|| parse(CHANGE_SCHEMA));
    writer(&SCHEMA)
});

/// Returns the value of the row that accompanies a business transaction with this id. `schema_id` is the id that the registry gave to
/// [`CHANGE_SCHEMA`].
pub fn change(schema_id: u32, id: Uuid, transaction: &Transaction) -> Vec<u8> {
    let row = Row {
        id,
        use_case: transaction.use_case.name(),
        request_id: transaction.request_id.as_str(),
        correlation_id: transaction.correlation_id.as_deref(),
        actor: transaction.actor.as_ref().map(Actor::as_str),
        occurred_at: transaction.occurred_at,
        previous_version: transaction.previous_version,
        entity: &transaction.entity,
        changes: &transaction.changes,
    };
    encode(&WRITER, schema_id, &row)
}

/// Returns the value of the row that accompanies a snapshot. `schema_id` is the id that the registry gave to [`CHANGE_SCHEMA`].
pub fn snapshot(schema_id: u32, snapshot: &Snapshot) -> Vec<u8> {
    let Snapshot { entity, taken_at } = snapshot;
    let row = Row {
        id: snapshot.id(),
        use_case: Snapshot::USE_CASE,
        request_id: &snapshot.request_id(),
        correlation_id: None,
        actor: None,
        occurred_at: *taken_at,
        previous_version: entity.version,
        entity,
        changes: &[],
    };
    encode(&WRITER, schema_id, &row)
}

/// The record `crm.v1.ChangeRow`.
struct Row<'a> {
    id: Uuid,
    use_case: &'static str,
    request_id: &'a str,
    correlation_id: Option<&'a str>,
    actor: Option<&'a str>,
    occurred_at: Timestamp,
    previous_version: i64,
    entity: &'a Entity,
    changes: &'a [Change],
}

impl Serialize for Row<'_> {
    /// Serialises the columns by their places, in the schema's order.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entity = self.entity;
        let superior_if = |entity_type| entity.superior.filter(|_| entity.entity_type == entity_type).map(UuidText);
        let changed: Vec<&str> = self.changes.iter().map(|change| change.attribute.name()).collect();
        let mut row = serializer.serialize_tuple_struct("ChangeRow", COLUMNS)?;
        row.serialize_field(&UuidText(self.id))?;
        row.serialize_field(self.use_case)?;
        row.serialize_field(self.request_id)?;
        row.serialize_field(&self.correlation_id)?;
        row.serialize_field(&self.actor)?;
        row.serialize_field(&self.occurred_at)?;
        row.serialize_field(entity.entity_type.symbol())?;
        row.serialize_field(&UuidText(entity.ref_id))?;
        row.serialize_field(&entity.version)?;
        row.serialize_field(&self.previous_version)?;
        row.serialize_field(entity.external_id.as_str())?;
        row.serialize_field(entity.state.name())?;
        row.serialize_field(&entity.state_reason.as_ref().map(StateReason::as_str))?;
        row.serialize_field(&entity.state_valid_from)?;
        row.serialize_field(&entity.custom_name.as_ref().map(CustomName::as_str))?;
        row.serialize_field(&entity.segment.as_ref().map(SegmentCode::as_str))?;
        row.serialize_field(&entity.segment_valid_from)?;
        row.serialize_field(&superior_if(EntityType::Account))?;
        row.serialize_field(&superior_if(EntityType::Subscriber))?;
        row.serialize_field(&changed.join(","))?;
        row.end()
    }
}
