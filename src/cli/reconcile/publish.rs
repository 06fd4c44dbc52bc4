//! Publishes what differs as snapshots, batch by batch, and notes in a file how much has been published.

use super::compare::Difference;
use super::search::SearchResult;
use crate::config::{Config, Tool};
use crate::domain::entity::EntityType;
use crate::domain::reference::Reference;
use crate::store::EntityKey;
use crate::store::claims::Claims;
use crate::store::configured::ConfiguredStore;
use crate::toolbox::connect;
use crate::toolbox::pace::Throttle;
use crate::toolbox::publisher::NamedPublisher;
use crate::toolbox::snapshots::{Snapshots, batch_size};
use crate::toolbox::state_file;
use crate::toolbox::walk::until_it_answers;
use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// The differences to publish, and how many of them have been published. A difference counts as published when the Kafka transaction with
/// its snapshot is committed.
///
/// **Frozen**: a file that an earlier release wrote is in `tests/golden/reconcile`. A further field has a default that means what its
/// absence meant; a release that does not know it refuses the file, because it could pass over differences.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Reconciliation {
    warehouse: PathBuf,
    exported_at: i64,
    entities_in_store: u64,
    lines_in_file: u64,
    buckets_that_differ: usize,
    under_way: u64,
    differences: Vec<(EntityType, Uuid, Difference)>,
    /// How many of the differences are done with, from the first on.
    done: usize,
    published: u64,
    finished: bool,
}

impl Reconciliation {
    pub fn of(warehouse: &Path, result: SearchResult) -> Self {
        Self {
            warehouse: warehouse.to_owned(),
            exported_at: result.exported_at,
            entities_in_store: result.ours,
            lines_in_file: result.theirs,
            buckets_that_differ: result.buckets,
            under_way: result.under_way,
            differences: result.differences.into_iter().map(|(key, found)| (key.entity_type, key.ref_id, found)).collect(),
            done: 0,
            published: 0,
            finished: false,
        }
    }

    /// Returns the work that the file holds, or `None` if there is no file.
    ///
    /// # Errors
    /// The file can't be read, or is about another file of the warehouse, or says that all is done.
    pub fn noted(file: &Path, warehouse: &Path) -> anyhow::Result<Option<Self>> {
        let Some(noted) = state_file::read::<Self>(file, "a comparison")? else { return Ok(None) };
        let (state, other) = (file.display(), noted.warehouse.display());
        ensure!(noted.warehouse == warehouse, "{state} is about {other}: take another file for {}", warehouse.display());
        ensure!(!noted.finished, "{state} says that all was published: take another file to compare anew");
        Ok(Some(noted))
    }

    pub fn differs(&self) -> bool {
        !self.differences.is_empty()
    }

    /// Returns the entities that the warehouse has and the store does not.
    pub fn unknown(&self) -> impl Iterator<Item = (EntityKey, Difference)> {
        self.differences().filter(|(_, difference)| *difference == Difference::Unknown)
    }

    /// Returns the entities that are published as snapshots.
    pub fn to_publish(&self) -> impl Iterator<Item = (EntityKey, Difference)> {
        self.differences().filter(|(_, difference)| *difference != Difference::Unknown)
    }

    fn differences(&self) -> impl Iterator<Item = (EntityKey, Difference)> {
        self.differences
            .iter()
            .map(|(entity_type, ref_id, found)| (EntityKey { entity_type: *entity_type, ref_id: *ref_id }, *found))
    }

    /// Publishes what is left. Each entity is read anew, so that what is published is what it is now.
    pub async fn publish(
        &mut self,
        config: &Config,
        claims: &Claims<ConfiguredStore>,
        rate: u32,
        file: Option<&Path>,
    ) -> anyhow::Result<()> {
        let mut notes = Notes::begin(file);
        notes.write(self)?;
        if self.to_publish().next().is_some() {
            let published = self.publish_rest(config, claims, rate, &mut notes).await;
            let noted = notes.write(self);
            published.and(noted)?;
        }
        self.finished = true;
        notes.write(self)
    }

    async fn publish_rest(
        &mut self,
        config: &Config,
        claims: &Claims<ConfiguredStore>,
        rate: u32,
        notes: &mut Notes<'_>,
    ) -> anyhow::Result<()> {
        let snapshots = Snapshots::of(config).await?;
        let publisher = NamedPublisher::open(&config.kafka, &config.kafka.transactional_id_of(Tool::Reconcile)).await?;
        let (clock, throttle, before) = (connect::clock(), Throttle::start(rate), self.published);
        while self.done < self.differences.len() {
            let batch = &self.differences[self.done..self.differences.len().min(self.done + batch_size(rate))];
            let (mut records, mut published) = (Vec::new(), 0);
            for (entity_type, ref_id, found) in batch.iter().filter(|(.., found)| *found != Difference::Unknown) {
                let reference = Reference::RefId(*ref_id);
                let now = until_it_answers(async || claims.present(*entity_type, &reference).await).await?;
                let now = now.with_context(|| format!("{entity_type} {ref_id} ({}) is gone", found.in_words()))?;
                records.extend(snapshots.records(now.entity, clock()));
                published += 1;
            }
            if !records.is_empty() {
                publisher.publish(&records, |_| Vec::new()).await?;
            }
            self.done += batch.len();
            self.published += published;
            notes.keep_up(self)?;
            throttle.wait(self.published - before).await;
        }
        Ok(())
    }

    fn counts(&self) -> BTreeMap<Difference, u64> {
        let mut counts = BTreeMap::new();
        self.differences.iter().for_each(|(.., found)| *counts.entry(*found).or_default() += 1);
        counts
    }

    pub fn as_text(&self, is_dry_run: bool) -> String {
        let Self { entities_in_store, lines_in_file, buckets_that_differ, under_way, published, .. } = self;
        let counts: Vec<_> = self.counts().into_iter().map(|(found, n)| format!("{n} {}", found.in_words())).collect();
        let differences =
            if counts.is_empty() { "nothing differs".to_owned() } else { format!("differences: {}", counts.join(", ")) };
        let published =
            if is_dry_run { "nothing was published".to_owned() } else { format!("published as snapshots: {published}") };
        format!(
            "{entities_in_store} entities in the store, {lines_in_file} lines in the warehouse's file; {buckets_that_differ} of {} \
             buckets differ\n{differences}; {under_way} under way\n{published}",
            super::digest::BUCKETS
        )
    }

    pub fn as_json(&self) -> String {
        let count = |found| self.counts().get(&found).copied().unwrap_or_default();
        json!({
            "entitiesInStore": self.entities_in_store, "linesInFile": self.lines_in_file, "exportedAt": self.exported_at,
            "bucketsThatDiffer": self.buckets_that_differ, "missing": count(Difference::Missing), "stale": count(Difference::Stale),
            "ahead": count(Difference::Ahead), "edited": count(Difference::Edited), "repeated": count(Difference::Repeated),
            "unknown": count(Difference::Unknown), "underWay": self.under_way, "published": self.published,
        })
        .to_string()
    }
}

/// Writes a reconciliation to its file, if it has one. The file holds all differences, so writing it takes longer the more there are.
struct Notes<'a> {
    file: Option<&'a Path>,
    /// When it was written last, and how long that took.
    written: (Instant, Duration),
}

impl<'a> Notes<'a> {
    /// A file that takes longer to write is not written again before [`Notes::REST`] times the rest of that time has passed.
    const QUICK: Duration = Duration::from_millis(200);
    const REST: u32 = 9;
    /// But it is written after this time.
    const MOST: Duration = Duration::from_secs(30);

    fn begin(file: Option<&'a Path>) -> Self {
        Self { file, written: (Instant::now(), Duration::ZERO) }
    }

    fn write(&mut self, work: &Reconciliation) -> anyhow::Result<()> {
        let Some(file) = self.file else { return Ok(()) };
        let start = Instant::now();
        state_file::write(file, work)?;
        self.written = (Instant::now(), start.elapsed());
        Ok(())
    }

    /// Writes the file unless it was written just now.
    fn keep_up(&mut self, work: &Reconciliation) -> anyhow::Result<()> {
        let (at, cost) = self.written;
        let rest = (cost.saturating_sub(Self::QUICK) * Self::REST).min(Self::MOST);
        if at.elapsed() < rest { Ok(()) } else { self.write(work) }
    }
}

impl Difference {
    pub(super) fn in_words(self) -> &'static str {
        match self {
            Self::Missing => "missing in the warehouse",
            Self::Stale => "of an earlier version there",
            Self::Ahead => "of a later version there",
            Self::Edited => "with other values there",
            Self::Repeated => "there several times",
            Self::Unknown => "not in the store",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_an_earlier_release_is_read_and_one_of_a_newer_release_is_refused() {
        let golden = include_str!("../../../tests/golden/reconcile/1.json").trim_end();
        let expected = Reconciliation {
            warehouse: "/exports/warehouse.jsonl".into(),
            exported_at: 1_700_000_000_000,
            entities_in_store: 12,
            lines_in_file: 11,
            buckets_that_differ: 2,
            under_way: 1,
            differences: vec![
                (EntityType::Customer, Uuid::from_u128(7), Difference::Missing),
                (EntityType::Account, Uuid::from_u128(8), Difference::Edited),
            ],
            done: 1,
            published: 1,
            finished: false,
        };
        assert_eq!(serde_json::from_str::<Reconciliation>(golden).unwrap(), expected);
        assert_eq!(serde_json::to_string(&expected).unwrap(), golden, "what is written is what is read");
        let newer = golden.replace('}', ",\"further\":1}");
        assert!(serde_json::from_str::<Reconciliation>(&newer).is_err(), "{newer}");
    }
}
