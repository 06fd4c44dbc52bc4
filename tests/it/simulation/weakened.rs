//! The store as instances have it: it may leave writes about one entity without an answer, and drops a condition if a defect asks
//! for that.

use super::Defect;
use crm_processor::store::simulated::Simulated;
use crm_processor::store::{
    Applied, ApplyWrite, ClaimWrite, ConditionalStore, Consistency, EntityKey, EntityRead, HistoryRow, HoldWrite, IdKey, IdRead,
    RefuseWrite, StoreFault,
};
use std::sync::{Arc, Mutex};
use uuid::Uuid;

pub struct Weakened {
    pub store: Arc<Simulated>,
    pub hold: Arc<Hold>,
    pub defect: Option<Defect>,
}

/// The entity about which no write is answered for now.
#[derive(Default)]
pub struct Hold(Mutex<Option<Held>>);

#[derive(Clone, Copy)]
pub struct Held {
    pub entity: Uuid,
    /// Whether writes happen at once, though their senders are not told, or only afterwards.
    pub happens: bool,
}

impl Hold {
    pub fn set(&self, held: Option<Held>) {
        *self.0.lock().unwrap() = held;
    }

    fn holds(&self, entity: Uuid) -> Option<Held> {
        self.0.lock().unwrap().filter(|held| held.entity == entity)
    }

    /// Returns the result of a write about `entity`, when its sender may be told.
    async fn answer<T>(&self, entity: Uuid, write: impl Future<Output = T>) -> T {
        while self.holds(entity).is_some_and(|held| !held.happens) {
            tokio::task::yield_now().await;
        }
        let answer = write.await;
        while self.holds(entity).is_some() {
            tokio::task::yield_now().await;
        }
        answer
    }
}

impl Weakened {
    /// Writes whatever the version is by now.
    async fn apply_to_any_version(&self, mut write: ApplyWrite) -> Result<Applied, StoreFault> {
        let read = self.store.read_entity(write.key, &[], Consistency::Serial).await?;
        write.expected_version = read.statics.map(|statics| statics.entity.version);
        self.store.apply(write).await
    }

    /// Writes everything but outcomes that exist already.
    async fn apply_beside_outcomes(&self, mut write: ApplyWrite) -> Result<Applied, StoreFault> {
        let requests: Vec<&str> = write.rows.iter().map(|row| row.request_id.as_str()).collect();
        let there = self.store.read_entity(write.key, &requests, Consistency::Serial).await?.outcomes;
        for row in write.rows.iter_mut().filter(|row| there.iter().any(|there| there.request_id == row.request_id)) {
            row.request_id.push_str(", again");
        }
        self.store.apply(write).await
    }
}

impl ConditionalStore for Weakened {
    async fn read_id(&self, id: &IdKey, requests: &[&str], consistency: Consistency) -> Result<IdRead, StoreFault> {
        self.store.read_id(id, requests, consistency).await
    }

    async fn read_entity(&self, key: EntityKey, requests: &[&str], consistency: Consistency) -> Result<EntityRead, StoreFault> {
        self.store.read_entity(key, requests, consistency).await
    }

    async fn claim(&self, write: ClaimWrite) -> Result<Applied, StoreFault> {
        self.hold.answer(write.claim.owner, self.store.claim(write)).await
    }

    async fn apply(&self, write: ApplyWrite) -> Result<Applied, StoreFault> {
        let ref_id = write.key.ref_id;
        let apply = async {
            match self.defect {
                Some(Defect::VersionConditionDropped) => self.apply_to_any_version(write).await,
                Some(Defect::OutcomeConditionDropped) => self.apply_beside_outcomes(write).await,
                _ => self.store.apply(write).await,
            }
        };
        self.hold.answer(ref_id, apply).await
    }

    async fn refuse(&self, write: RefuseWrite) -> Result<Applied, StoreFault> {
        self.store.refuse(write).await
    }

    async fn hold(&self, write: HoldWrite) -> Result<Applied, StoreFault> {
        self.store.hold(write).await
    }

    async fn history(&self, key: EntityKey) -> Result<Vec<HistoryRow>, StoreFault> {
        self.store.history(key).await
    }

    async fn ping(&self) -> Result<(), StoreFault> {
        self.store.ping().await
    }
}
