//! The log of an entity as JSON, for `show --json` and the gateway.

use crate::domain::transaction::Change;
use crate::store::upkeep::show::HistoryEntry;
use serde_json::{Value, json};

/// Returns one change as JSON: version, occurredAt (milliseconds since 1970), useCase, requestId, changes, and the actor if there was one.
pub fn entry(entry: &HistoryEntry) -> Value {
    let change = |Change { attribute, old, new }: &Change| json!({ "field": attribute.name(), "old": old, "new": new });
    let mut json = json!({
        "version": entry.version,
        "occurredAt": entry.occurred_at,
        "useCase": entry.use_case.name(),
        "requestId": entry.request_id.as_str(),
        "changes": entry.changes.iter().map(change).collect::<Vec<_>>(),
    });
    if let Some(actor) = &entry.actor {
        json["actor"] = actor.as_str().into();
    }
    json
}
