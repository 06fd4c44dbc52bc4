//! An entity and its log as JSON, for `show --json` and the gateway.

use crate::domain::entity::Entity;
use crate::domain::transaction::{Change, Snapshot};
use crate::store::upkeep::show::HistoryEntry;
use crate::wire::frame::frame_prefix;
use crate::wire::json::GenericSchema;
use crate::wire::{TRANSACTION_SCHEMA, answer};
use serde_json::{Value, json};
use std::sync::LazyLock;

/// Returns the entity as the records of `crm.v1` show it. It is taken from such a record, so that no attribute can be missing here.
pub fn entity(entity: Entity) -> Value {
    static SCHEMA: LazyLock<GenericSchema> =
        LazyLock::new(|| GenericSchema::parse(TRANSACTION_SCHEMA).expect("our schemas are checked by the tests"));
    let entity_type = entity.entity_type;
    let record = answer::snapshot(0, &Snapshot { entity, taken_at: 0 });
    let mut json = SCHEMA.decode(&record[frame_prefix(0).len()..]).expect("what was written by a schema can be read by it");
    json[entity_type.name()].take()
}

/// Returns one change as JSON: version, occurredAt (milliseconds since 1970), useCase, requestId, changes, and the actor if there was one.
pub fn change(entry: &HistoryEntry) -> Value {
    let attribute = |Change { attribute, old, new }: &Change| json!({ "field": attribute.name(), "old": old, "new": new });
    let mut json = json!({
        "version": entry.version,
        "occurredAt": entry.occurred_at,
        "useCase": entry.use_case.name(),
        "requestId": entry.request_id.as_str(),
        "changes": entry.changes.iter().map(attribute).collect::<Vec<_>>(),
    });
    if let Some(actor) = &entry.actor {
        json["actor"] = actor.as_str().into();
    }
    json
}
