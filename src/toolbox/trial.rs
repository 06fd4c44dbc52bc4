//! Tries a store out: really reads and writes each table, as decisions do. That takes the rights, the replicas that agree, and those that a
//! commit needs. The conditions of the writes hold, so that the writes are committed.
//!
//! A trial writes refusals, in the partitions of an entity and of an external id that it makes up, so that nobody knows them. The refusals
//! expire after a minute.

use super::connect;
use crate::config::Store;
use crate::domain::entity::EntityType;
use crate::domain::values::ExternalId;
use crate::store::configured::ConfiguredStore;
use crate::store::{Applied, ApplyWrite, ConditionalStore, Consistency, EntityKey, IdKey, LogRow, RefuseWrite, StoreFault};
use std::time::Duration;
use uuid::Uuid;

/// How long the refusals are kept. On a store of any use, the trial has read them before they expire.
const KEPT: Duration = Duration::from_secs(60);

/// How a trial failed.
#[derive(Debug, thiserror::Error)]
pub enum TrialFault {
    /// A read or write failed.
    #[error(transparent)]
    Store(#[from] StoreFault),
    /// The reads and writes ended, but what they say can't be true.
    #[error("{0}: the store can't be relied on")]
    Wrong(&'static str),
}

impl TrialFault {
    /// Returns what went wrong and the way out. `because` ends a sentence that begins with "a read or write comes to no end, because". It is
    /// `None` if nothing is known to be wrong with the database.
    pub fn explained(&self, because: Option<&str>) -> String {
        match self {
            Self::Wrong(_) => self.to_string(),
            Self::Store(fault) if fault.remedy.is_some() => format!("{:#}", connect::store_trouble(fault)),
            Self::Store(fault) => match because {
                Some(because) => format!("a read or write comes to no end, because {because} ({fault})"),
                None => format!(
                    "a read or write comes to no end, though all nodes take connections: one may hang or be overloaded, which \
                     `nodetool status` and its log tell ({fault})"
                ),
            },
        }
    }
}

/// Connects to the configured store, and tries it out.
pub async fn try_configured(config: &Store) -> Result<(), TrialFault> {
    try_out(&ConfiguredStore::connect(config).await?).await
}

/// Reads and writes both tables. This is safe to repeat, and to do by many at once.
async fn try_out(store: &impl ConditionalStore) -> Result<(), TrialFault> {
    let ref_id = Uuid::new_v4();
    let key = EntityKey { entity_type: EntityType::Customer, ref_id };
    let external_id = ExternalId::parse(&format!("trial {ref_id}")).expect("obeys the rules");
    let id = IdKey { entity_type: EntityType::Customer, external_id };
    let rows = || vec![LogRow { request_id: "trial".into(), changed_to: None, outcome: Vec::new(), ttl: Some(KEPT) }];
    let apply = async || store.apply(ApplyWrite { key, expected_version: None, after: None, rows: rows() }).await;
    let refuse = async || store.refuse(RefuseWrite { id: id.clone(), expected_generation: None, refused: 0, rows: rows() }).await;

    if store.read_entity(key, &[], Consistency::Serial).await?.statics.is_some() {
        return Err(TrialFault::Wrong("it knows an entity whose id was just made up"));
    }
    store.read_id(&id, &[], Consistency::Serial).await?;
    if [apply().await?, refuse().await?] != [Applied::Yes; 2] {
        return Err(TrialFault::Wrong("it did not apply a write whose conditions hold"));
    }
    // A plain read, like those that fill the cache.
    store.read_entity(key, &["trial"], Consistency::Quorum).await?;
    let outcomes = store.read_id(&id, &["trial"], Consistency::Serial).await?.outcomes;
    if outcomes.len() != 1 {
        return Err(TrialFault::Wrong("it does not show a write that it applied"));
    }
    if [apply().await?, refuse().await?] != [Applied::No; 2] {
        return Err(TrialFault::Wrong("it applied a write whose conditions do not hold"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::EmbeddedStore;

    #[tokio::test]
    async fn a_trial_is_safe_to_repeat_and_by_many_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(folder.path()).unwrap();
        let trials = futures::future::join_all((0..8).map(|_| try_out(&store))).await;
        assert!(trials.iter().all(Result::is_ok), "{trials:?}");
        try_out(&store).await.unwrap();
    }
}
