//! The form in which a snapshot is published: the records of an entity, and the transactional id under which they are written.

use crate::config::Config;
use crate::domain::Timestamp;
use crate::domain::entity::Entity;
use crate::domain::transaction::Snapshot;
use crate::toolbox::connect;
use crate::toolbox::publisher::Outgoing;
use crate::wire;
use crate::wire::registry::Registry;
use anyhow::anyhow;

/// Returns the transactional id of a snapshot of all entities, with which that of a snapshot of one begins, too. It begins with the
/// group's id, because the rights to write in transactions are granted for that prefix.
pub(super) fn publisher_name(config: &Config) -> String {
    format!("{}-snapshot", config.kafka.group_id)
}

/// The topics and the schemas of snapshots.
pub(super) struct Form {
    transactions: Place,
    /// Where the change rows go; `None` if there are none.
    changes: Option<Place>,
}

struct Place {
    topic: String,
    schema_id: u32,
}

impl Form {
    /// Asks the registry for the schemas' ids.
    pub async fn of(config: &Config) -> anyhow::Result<Self> {
        let (registry, topics) = (connect::registry(config)?, &config.kafka.topics);
        let transactions = wire::transaction_subject(&topics.transactions);
        let transactions = Place::of(&registry, &topics.transactions, &transactions, wire::TRANSACTION_SCHEMA).await?;
        let changes = match &topics.changes {
            Some(topic) => Some(Place::of(&registry, topic, &wire::change_subject(topic), wire::CHANGE_SCHEMA).await?),
            None => None,
        };
        Ok(Self { transactions, changes })
    }

    /// Returns the record of an entity, and its row if there are rows.
    pub fn records(&self, entity: Entity, taken_at: Timestamp) -> impl Iterator<Item = Outgoing> {
        let snapshot = Snapshot { entity, taken_at };
        let row = self.changes.as_ref().map(|place| place.record(&snapshot, wire::row::snapshot(place.schema_id, &snapshot)));
        let place = &self.transactions;
        std::iter::once(place.record(&snapshot, wire::answer::snapshot(place.schema_id, &snapshot))).chain(row)
    }
}

impl Place {
    async fn of(registry: &Registry, topic: &str, subject: &str, schema: &str) -> anyhow::Result<Self> {
        let schema_id = registry.lookup(subject, schema).await?;
        let missing = || anyhow!("the schema registry has no schema of ours under {subject}: run `crm-processor setup` first");
        Ok(Self { topic: topic.into(), schema_id: schema_id.ok_or_else(missing)? })
    }

    fn record(&self, snapshot: &Snapshot, value: Vec<u8>) -> Outgoing {
        Outgoing {
            topic: self.topic.clone(),
            partition: None,
            key: Some(snapshot.entity.key().into_bytes()),
            value: Some(value),
            headers: wire::headers::snapshot(snapshot),
        }
    }
}
