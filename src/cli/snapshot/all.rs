//! Publishes all entities: scans the store, and publishes one batch after another.

use super::progress::{SnapshotMeter, SnapshotProgress};
use crate::config::{Config, Tool};
use crate::domain::entity::EntityType;
use crate::store::configured::ConfiguredStore;
use crate::store::scan::{Position, Scanned};
use crate::toolbox::interrupt::interrupted;
use crate::toolbox::output::{remark, say};
use crate::toolbox::publisher::{NamedPublisher, OutgoingRecord};
use crate::toolbox::snapshots::{Snapshots, batch_size};
use crate::toolbox::walk::Walk;
use crate::toolbox::{FAILED, connect};
use anyhow::Context as _;
use std::path::Path;
use std::process::ExitCode;

/// Returns the transactional id of a snapshot of all entities, which is also the beginning of the id of a snapshot of one entity. It begins
/// with the group's id, because the rights to write in transactions are granted for that prefix.
pub(super) fn publisher_name(config: &Config) -> String {
    config.kafka.transactional_id_of(Tool::Snapshot)
}

/// `crm-processor snapshot --all`
pub(super) async fn publish(config: &Config, types: &[EntityType], rate: u32, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    let progress = SnapshotProgress::new(config, types);
    let mut progress = file.map_or(Ok(progress.clone()), |file| progress.or_resumed(file))?;
    let store = ConfiguredStore::connect(&config.store).await.map_err(|fault| connect::store_trouble(&fault))?;
    let snapshots = Snapshots::of(config).await?;
    let publisher = NamedPublisher::open(&config.kafka, &publisher_name(config)).await?;
    let meter = SnapshotMeter::start(&progress, file, rate);
    let mut run = Run { publisher, snapshots, meter, batch: Vec::new(), entities: 0, size: batch_size(rate) };
    let gone_through = run.go_through(Walk::begin(&store, progress.position), &mut progress).await;
    say(run.meter.conclude(&progress, &run.snapshots.topics()));
    if gone_through.with_context(|| way_on(file))? {
        return Ok(ExitCode::SUCCESS);
    }
    remark(format_args!("interrupted; {}", way_on(file)));
    Ok(ExitCode::from(FAILED))
}

fn way_on(file: Option<&Path>) -> &'static str {
    if file.is_some() { "the same command goes on from here" } else { "without --state it has to begin anew" }
}

struct Run {
    publisher: NamedPublisher,
    snapshots: Snapshots,
    meter: SnapshotMeter,
    batch: Vec<OutgoingRecord>,
    /// How many entities the batch has.
    entities: usize,
    /// How many entities a batch may have.
    size: usize,
}

impl Run {
    /// Publishes all entities that the walk comes to. Returns true when all are published, and false after an interruption.
    async fn go_through(&mut self, mut walk: Walk<'_>, progress: &mut SnapshotProgress) -> anyhow::Result<bool> {
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
                self.batch.extend(self.snapshots.records(entity, clock()));
                self.entities += 1;
            }
            if finished || self.entities >= self.size {
                tokio::select! {
                    interrupted = &mut interrupted => return interrupted.map(|()| false),
                    () = self.meter.wait(progress) => {}
                }
                self.commit(progress, walk.position(), finished).await?;
            }
            if finished {
                return Ok(true);
            }
        }
    }

    /// Publishes the batch, and notes how far the walk has come.
    async fn commit(
        &mut self,
        progress: &mut SnapshotProgress,
        position: Option<Position>,
        finished: bool,
    ) -> anyhow::Result<()> {
        let batch = std::mem::take(&mut self.batch);
        if !batch.is_empty() {
            self.publisher.publish(&batch, |_| Vec::new()).await?;
        }
        progress.published += std::mem::take(&mut self.entities) as u64;
        (progress.position, progress.finished) = (position, finished);
        self.meter.advance(progress)
    }
}
