//! Finds what differs: reads the file and the store once to add up buckets, and both once more for the buckets that differ.

use super::compare::{Difference, One, Sums, Theirs, difference};
use super::digest::{BUCKETS, EntityDigest, bucket, digest};
use super::export::Export;
use crate::config::Config;
use crate::domain::Timestamp;
use crate::domain::entity::{Entity, EntityType};
use crate::domain::reference::Reference;
use crate::store::EntityKey;
use crate::store::claims::Claims;
use crate::store::configured::ConfiguredStore;
use crate::toolbox::connect;
use crate::toolbox::pace::{Bar, Throttle};
use crate::toolbox::walk::{Walk, until_it_answers};
use anyhow::ensure;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// How many entities are compared at once, one by one: some 100 MiB.
const MOST_AT_ONCE: u64 = 500_000;
/// After how many entities it is looked whether the rate is kept.
const AT_A_TIME: u64 = 100;

/// The result of a search: how many entities there are on either side, and which of them differ.
pub(super) struct SearchResult {
    /// When the file was made, in milliseconds since 1970.
    pub exported_at: Timestamp,
    /// How many entities the store has.
    pub ours: u64,
    /// How many lines the file has.
    pub theirs: u64,
    /// How many buckets differ.
    pub buckets: usize,
    /// How many entities differ because they changed about when the file was made, or later.
    pub under_way: u64,
    /// The entities that differ.
    pub differences: Vec<(EntityKey, Difference)>,
}

/// The store, and how it is searched.
pub(super) struct Search {
    pub claims: Claims<ConfiguredStore>,
    store: Arc<ConfiguredStore>,
    rate: u32,
    lag: Duration,
}

impl Search {
    pub fn new(store: ConfiguredStore, config: &Config, rate: u32, lag: Duration) -> Self {
        let store = Arc::new(store);
        let claims = Claims::new(store.clone(), &connect::claims_options(config), connect::clock());
        Self { claims, store, rate, lag }
    }

    /// Compares the store with the file.
    pub async fn through(&mut self, export: &Export) -> anyhow::Result<SearchResult> {
        let (mut theirs, mut exported_at) = (Sums::new(), Timestamp::MAX);
        export.each(|line| {
            theirs.add(line.ref_id, line.digest);
            exported_at = exported_at.min(line.exported_at);
        })?;
        ensure!(theirs.entities() > 0, "the file has no entities; for a first load use `crm-processor snapshot --all`");
        let mut ours = Sums::new();
        self.each("adding up", |entity| ours.add(entity.ref_id, digest(entity))).await?;
        let groups = ours.differing(&theirs, MOST_AT_ONCE);
        let mut result = SearchResult {
            exported_at,
            ours: ours.entities(),
            theirs: theirs.entities(),
            buckets: groups.iter().map(Vec::len).sum(),
            under_way: 0,
            differences: Vec::new(),
        };
        for group in groups {
            let suspects = self.suspects(export, &group).await?;
            self.look_again(suspects, &mut result).await?;
        }
        result.differences.sort_unstable_by_key(|(key, _)| (key.entity_type, key.ref_id));
        Ok(result)
    }

    /// Returns the entities of some buckets that seem to differ, with what the warehouse has.
    async fn suspects(&self, export: &Export, buckets: &[usize]) -> anyhow::Result<Vec<(EntityKey, Option<One>)>> {
        let mut chosen = vec![false; BUCKETS];
        for at in buckets {
            chosen[*at] = true;
        }
        let mut theirs = Theirs::default();
        export.each(|line| {
            if chosen[bucket(line.ref_id)] {
                theirs.add(&line);
            }
        })?;
        let mut suspects = Vec::new();
        self.each("comparing", |entity| {
            if chosen[bucket(entity.ref_id)] {
                let one = theirs.take(entity.entity_type, entity.ref_id);
                if difference(Some((entity.version, digest(entity))), one).is_some() {
                    suspects.push((key(entity.entity_type, entity.ref_id), one));
                }
            }
        })
        .await?;
        suspects.extend(theirs.rest().map(|((entity_type, ref_id), one)| (key(entity_type, ref_id), Some(one))));
        Ok(suspects)
    }

    /// Reads each suspect as it is now, and adds it to what differs or to what is under way.
    async fn look_again(&self, suspects: Vec<(EntityKey, Option<One>)>, result: &mut SearchResult) -> anyhow::Result<()> {
        let lag = Timestamp::try_from(self.lag.as_millis()).unwrap_or(Timestamp::MAX);
        for (key, one) in suspects {
            let reference = Reference::RefId(key.ref_id);
            let shown = until_it_answers(async || self.claims.show(key.entity_type, &reference).await).await?;
            let ours: Option<(i64, EntityDigest)> = shown.as_ref().map(|(now, _)| (now.entity.version, digest(&now.entity)));
            let Some(difference) = difference(ours, one) else { continue };
            let changed_at = shown.and_then(|(_, history)| Some(history.last()?.occurred_at));
            let may_be_on_its_way = matches!(difference, Difference::Missing | Difference::Stale);
            if may_be_on_its_way && changed_at.is_some_and(|at| at.saturating_add(lag) > result.exported_at) {
                result.under_way += 1;
            } else {
                result.differences.push((key, difference));
            }
        }
        Ok(())
    }

    /// Goes through all entities of the store, at the rate.
    async fn each(&self, what: &'static str, mut with: impl FnMut(&Entity)) -> anyhow::Result<()> {
        let (bar, throttle) = (Bar::begin(None, String::new()), Throttle::start(self.rate));
        let (mut walk, mut read) = (Walk::begin(&self.store, None), 0_u64);
        while let Some(scanned) = walk.next().await? {
            with(&scanned.entity);
            read += 1;
            if read.is_multiple_of(AT_A_TIME) {
                bar.advance(Some(scanned.position), format!("{what}: {read} entities"));
                throttle.wait(read).await;
            }
        }
        bar.remove();
        Ok(())
    }
}

fn key(entity_type: EntityType, ref_id: Uuid) -> EntityKey {
    EntityKey { entity_type, ref_id }
}
