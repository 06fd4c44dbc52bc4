//! Goes through all entities of a store. If the store does not answer, it is tried again for a while.

use super::connect;
use crate::pauses::Pauses;
use crate::store::configured::ConfiguredStore;
use crate::store::scan::{Position, Scan, Scanned};
use crate::store::{EntityKey, StoreFault};
use futures::StreamExt as _;
use std::collections::HashSet;

/// How many times the store is asked before a tool gives up. With the pauses, that takes about half a minute.
const ATTEMPTS: u32 = 10;

/// Asks the store until it answers, and returns the answer.
///
/// # Errors
/// The store has not answered for half a minute.
pub async fn until_it_answers<T>(mut ask: impl AsyncFnMut() -> Result<T, StoreFault>) -> anyhow::Result<T> {
    let mut pauses = Pauses::WHILE_AWAY;
    for _ in 1..ATTEMPTS {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(fault) => tracing::warn!(%fault, "the store does not answer, trying again"),
        }
        pauses.wait().await;
    }
    ask().await.map_err(|fault| connect::store_trouble(&fault))
}

/// A walk through the entities of a store. After a fault, the walk begins another scan at the position where the broken scan ended.
pub struct Walk<'a> {
    store: &'a ConfiguredStore,
    scan: Option<Scan>,
    position: Option<Position>,
    /// The entities that were seen at this position: a scan that begins there shows them once more.
    seen: HashSet<EntityKey>,
}

impl<'a> Walk<'a> {
    /// Returns the position of the last entity, if there was one.
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// Begins a walk with the entity at `position`, which an earlier walk may have shown already, or with the first entity.
    pub fn begin(store: &'a ConfiguredStore, position: Option<Position>) -> Self {
        Self { store, scan: None, position, seen: HashSet::new() }
    }

    /// Returns the next entity; `None` behind the last one.
    ///
    /// # Errors
    /// The store has not answered for half a minute.
    pub async fn next(&mut self) -> anyhow::Result<Option<Scanned>> {
        until_it_answers(async || self.try_next().await).await
    }

    async fn try_next(&mut self) -> Result<Option<Scanned>, StoreFault> {
        loop {
            let scan = match &mut self.scan {
                Some(scan) => scan,
                None => self.scan.insert(self.store.scan(self.position).await?),
            };
            let scanned = match scan.next().await.transpose() {
                Ok(scanned) => scanned,
                Err(fault) => {
                    self.scan = None;
                    return Err(fault);
                }
            };
            let Some(Scanned { entity, position }) = &scanned else { return Ok(None) };
            if self.position != Some(*position) {
                self.position = Some(*position);
                self.seen.clear();
            }
            if self.seen.insert(EntityKey { entity_type: entity.entity_type, ref_id: entity.ref_id }) {
                return Ok(scanned);
            }
        }
    }
}
