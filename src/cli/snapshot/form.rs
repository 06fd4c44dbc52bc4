//! The form in which a snapshot is published: the record of an entity, and the transactional id under which it is written.

use crate::config::Config;
use crate::domain::Timestamp;
use crate::domain::entity::Entity;
use crate::domain::transaction::Snapshot;
use crate::toolbox::connect;
use crate::toolbox::publisher::Outgoing;
use crate::wire;
use anyhow::anyhow;

/// Returns the transactional id of a snapshot of all entities, with which that of a snapshot of one begins, too. It begins with the
/// group's id, because the rights to write in transactions are granted for that prefix.
pub(super) fn publisher_name(config: &Config) -> String {
    format!("{}-snapshot", config.kafka.group_id)
}

/// The topic and the schema of snapshots.
pub(super) struct Form {
    topic: String,
    schema_id: u32,
}

impl Form {
    /// Asks the registry for the schema's id.
    pub async fn of(config: &Config) -> anyhow::Result<Self> {
        let topic = config.kafka.topics.transactions.clone();
        let subject = wire::transaction_subject(&topic);
        let schema_id = connect::registry(config)?.lookup(&subject, wire::TRANSACTION_SCHEMA).await?;
        let missing = || anyhow!("the schema registry has no schema of ours under {subject}: run `crm-processor setup` first");
        Ok(Self { topic, schema_id: schema_id.ok_or_else(missing)? })
    }

    /// Returns the record of an entity.
    pub fn record(&self, entity: Entity, taken_at: Timestamp) -> Outgoing {
        let snapshot = Snapshot { entity, taken_at };
        Outgoing {
            topic: self.topic.clone(),
            partition: None,
            key: Some(snapshot.entity.key().into_bytes()),
            value: Some(wire::answer::snapshot(self.schema_id, &snapshot)),
            headers: wire::headers::snapshot(&snapshot),
        }
    }
}
