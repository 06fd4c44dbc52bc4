//! Publishes all entities: scans the store, and publishes one batch after another. If the store does not answer, it is tried again for a
//! while.

use super::form::{Form, publisher_name};
use super::progress::{Meter, Progress};
use crate::config::Config;
use crate::domain::entity::EntityType;
use crate::pauses::Pauses;
use crate::store::configured::ConfiguredStore;
use crate::store::scan::{Position, Scan, Scanned};
use crate::store::{EntityKey, StoreFault};
use crate::toolbox::interrupt::interrupted;
use crate::toolbox::publisher::{Outgoing, Publisher};
use crate::toolbox::{FAILED, connect};
use anyhow::Context as _;
use futures::StreamExt as _;
use std::collections::HashSet;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// How many entities one Kafka transaction may hold: some 300 KiB.
const MAX_BATCH: usize = 500;
/// How many Kafka transactions there are in a second if the rate is low.
const BATCHES_A_SECOND: u32 = 4;
/// How often the next entity is tried before the snapshot is given up. With the pauses, that takes about half a minute.
const ATTEMPTS: u32 = 10;
const PAUSES: Pauses = Pauses::new(Duration::from_millis(200), Duration::from_secs(5));

/// `crm-processor snapshot --all`
pub(super) async fn publish(config: &Config, types: &[EntityType], rate: u32, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    let progress = Progress::new(config, types);
    let mut progress = file.map_or(Ok(progress.clone()), |file| progress.or_resumed(file))?;
    let store = ConfiguredStore::connect(&config.store).await.map_err(|fault| connect::store_trouble(&fault))?;
    let form = Form::of(config).await?;
    let publisher = Publisher::open(&config.kafka, &publisher_name(config)).await?;
    let meter = Meter::start(&progress, file, rate);
    let mut run = Run { publisher, form, meter, batch: Vec::new(), entities: 0, size: batch_size(rate) };
    let gone_through = run.go_through(Walk::begin(&store, progress.position), &mut progress).await;
    println!("{}", run.meter.conclude(&progress));
    if gone_through.with_context(|| way_on(file))? {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("interrupted; {}", way_on(file));
    Ok(ExitCode::from(FAILED))
}

fn way_on(file: Option<&Path>) -> &'static str {
    if file.is_some() { "the same command goes on from here" } else { "without --state it has to begin anew" }
}

fn batch_size(rate: u32) -> usize {
    usize::try_from(rate / BATCHES_A_SECOND).unwrap_or(MAX_BATCH).clamp(1, MAX_BATCH)
}

struct Run {
    publisher: Publisher,
    form: Form,
    meter: Meter,
    batch: Vec<Outgoing>,
    /// How many entities the batch has.
    entities: usize,
    /// How many entities a batch may have.
    size: usize,
}

impl Run {
    /// Publishes all entities that the walk comes to. Returns true when all are published, and false after an interruption.
    async fn go_through(&mut self, mut walk: Walk<'_>, progress: &mut Progress) -> anyhow::Result<bool> {
        let mut interrupted = std::pin::pin!(interrupted());
        let clock = connect::clock();
        loop {
            let next = tokio::select! {
                interrupted = &mut interrupted => return interrupted.map(|()| false),
                next = walk.next() => next?,
            };
            let finished = next.is_none();
            if let Some(Scanned { entity, .. }) = next
                && progress.types.contains(&entity.entity_type)
            {
                self.batch.extend(self.form.records(entity, clock()));
                self.entities += 1;
            }
            if finished || self.entities >= self.size {
                tokio::select! {
                    interrupted = &mut interrupted => return interrupted.map(|()| false),
                    () = tokio::time::sleep_until(self.meter.due(progress).into()) => {}
                }
                self.commit(progress, walk.position, finished).await?;
            }
            if finished {
                return Ok(true);
            }
        }
    }

    /// Publishes the batch, and notes how far the walk has come.
    async fn commit(&mut self, progress: &mut Progress, position: Option<Position>, finished: bool) -> anyhow::Result<()> {
        let batch = std::mem::take(&mut self.batch);
        if !batch.is_empty() {
            self.publisher.publish(&batch, |_| Vec::new()).await?;
        }
        progress.published += std::mem::take(&mut self.entities) as u64;
        (progress.position, progress.finished) = (position, finished);
        self.meter.advance(progress)
    }
}

/// A walk through the entities of a store. If a fault ends its scan, it begins another where that one ended.
struct Walk<'a> {
    store: &'a ConfiguredStore,
    scan: Option<Scan>,
    /// The position of the last entity, if there was one.
    position: Option<Position>,
    /// The entities that were seen at this position: a scan that begins there shows them once more.
    seen: HashSet<EntityKey>,
}

impl<'a> Walk<'a> {
    fn begin(store: &'a ConfiguredStore, position: Option<Position>) -> Self {
        Self { store, scan: None, position, seen: HashSet::new() }
    }

    async fn next(&mut self) -> anyhow::Result<Option<Scanned>> {
        let mut pauses = PAUSES;
        for _ in 1..ATTEMPTS {
            match self.try_next().await {
                Ok(next) => return Ok(next),
                Err(fault) => tracing::warn!(%fault, "the store does not answer, trying again"),
            }
            pauses.wait().await;
        }
        self.try_next().await.map_err(|fault| connect::store_trouble(&fault))
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
