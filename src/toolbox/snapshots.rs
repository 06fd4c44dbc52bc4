//! Snapshots as they are published: the record of an entity, and its row if there are rows.

use super::connect;
use super::publisher::OutgoingRecord;
use crate::config::Config;
use crate::domain::Timestamp;
use crate::domain::entity::Entity;
use crate::domain::transaction::Snapshot;
use crate::wire;
use crate::wire::registry::RegistryClient;
use anyhow::anyhow;

/// How many entities one Kafka transaction may hold: some 300 KiB.
const MAX_BATCH: usize = 500;
/// How many Kafka transactions there are in a second if the rate is low.
const BATCHES_A_SECOND: u32 = 4;

/// Returns how many entities a Kafka transaction has if so many are published in a second.
pub fn batch_size(rate: u32) -> usize {
    usize::try_from(rate / BATCHES_A_SECOND).unwrap_or(MAX_BATCH).clamp(1, MAX_BATCH)
}

/// The topics and the schemas of snapshots.
pub struct Snapshots {
    transactions: Destination,
    /// Where the change rows go; `None` if there are none.
    changes: Option<Destination>,
}

struct Destination {
    topic: String,
    schema_id: u32,
}

impl Snapshots {
    /// Asks the registry for the schemas' ids.
    ///
    /// # Errors
    /// The registry does not answer, or does not have a schema.
    pub async fn of(config: &Config) -> anyhow::Result<Self> {
        let (registry, topics) = (connect::registry(config)?, &config.kafka.topics);
        let transactions = wire::transaction_subject(&topics.transactions);
        let transactions = Destination::of(&registry, &topics.transactions, &transactions, wire::TRANSACTION_SCHEMA).await?;
        let changes = match &topics.changes {
            Some(topic) => Some(Destination::of(&registry, topic, &wire::change_subject(topic), wire::CHANGE_SCHEMA).await?),
            None => None,
        };
        Ok(Self { transactions, changes })
    }

    /// Returns the names of the topics to which snapshots go, as a sentence has them.
    pub fn topics(&self) -> String {
        let rows = self.changes.as_ref().map(|place| format!(" and {}", place.topic));
        self.transactions.topic.clone() + &rows.unwrap_or_default()
    }

    /// Returns the record of an entity, and its row if there are rows.
    pub fn records(&self, entity: Entity, taken_at: Timestamp) -> impl Iterator<Item = OutgoingRecord> {
        let snapshot = Snapshot { entity, taken_at };
        let row = self.changes.as_ref().map(|place| place.record(&snapshot, wire::row::snapshot(place.schema_id, &snapshot)));
        let place = &self.transactions;
        std::iter::once(place.record(&snapshot, wire::answer::snapshot(place.schema_id, &snapshot))).chain(row)
    }
}

impl Destination {
    async fn of(registry: &RegistryClient, topic: &str, subject: &str, schema: &str) -> anyhow::Result<Self> {
        let schema_id = registry.lookup(subject, schema).await?;
        let missing = || anyhow!("the schema registry has no schema of ours under {subject}: run `crm-processor setup` first");
        Ok(Self { topic: topic.into(), schema_id: schema_id.ok_or_else(missing)? })
    }

    fn record(&self, snapshot: &Snapshot, value: Vec<u8>) -> OutgoingRecord {
        OutgoingRecord {
            topic: self.topic.clone(),
            partition: None,
            key: Some(snapshot.entity.key().into_bytes()),
            value: Some(value),
            headers: wire::headers::snapshot(snapshot),
        }
    }
}
