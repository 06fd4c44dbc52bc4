//! Compares the store's conditional write with the lightest one there is: `UPDATE … SET name, version IF version = ?` in a table of two
//! columns, by the same driver, in the same process, with the same number of writes under way. Slices of a second alternate in random
//! order, because the machine's speed changes, and the database flushes and compacts when it likes. The work that the database does in
//! one slice may belong to the writes of another.
//!
//! | write | what it is |
//! |---|---|
//! | `plain` | the lightest one |
//! | `store` | the store's change of a name |
//! | `all-columns` | the same with all static columns, null ones too, as if nothing were known of those before |
//! | `half-outcome` | the store's with half of the outcome's bytes |
//!
//! The store's three go to the same entities. Beforehand each entity has got so many outcomes, in a few portions with a flush after each,
//! and each kind of write has had a slice that does not count.

use super::cases::{Kind, Needs};
use super::database::{Cpu, Database};
use super::fleet;
use super::round::Round;
use super::table::{median, round};
use super::workbench::Bench;
use super::{samples, writes};
use crate::domain::entity::EntityType;
use crate::store::configured::ConfiguredStore;
use crate::store::cql::{CqlFill, CqlPlain};
use crate::store::{Applied, ApplyWrite, ConditionalStore, Consistency, EntityKey, EntityStatics, NewStatics};
use anyhow::{Context as _, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use uuid::Uuid;

/// How long one kind of write is made before another one's turn.
const SLICE: Duration = Duration::from_secs(1);
/// How many slices each kind of write gets in a run.
const SLICES: usize = 6;
/// How many outcomes are written beforehand at most, unless [`ENTITIES`] entities for each write in flight need more.
const OUTCOMES: u32 = 200_000;
/// How many entities there are for each write in flight, at least.
const ENTITIES: u32 = 4;
/// In how many portions the outcomes are written beforehand.
const PORTIONS: u32 = 4;
/// How many writes are under way at once beforehand.
const FILLS: usize = 128;
/// How long it takes at most until a table is in files, if it is flushed each second.
const FLUSHED: Duration = Duration::from_secs(4);

/// A kind of write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    Plain,
    Store,
    AllColumns,
    HalfOutcome,
}

/// The figures of one kind of write.
#[derive(Clone, Debug, Serialize)]
struct Line {
    /// `plain`, `store`, `all-columns` or `half-outcome`.
    write: &'static str,
    /// How many outcomes each entity had beforehand.
    outcomes: u32,
    /// The median of the slices.
    writes_per_second: f64,
    /// The writes per second, divided by those of `plain`.
    ratio: f64,
    /// The CPU time of the database for each write, in microseconds. Null without `--database`.
    database_us: Option<Cpu>,
    /// How much the table's files have grown for each write. Null without `--database`, and for all but the first two.
    bytes: Option<f64>,
}

/// An entity in the store, and in the plain table the version of the name.
struct Slot {
    statics: EntityStatics,
    plain: i64,
}

struct Comparison {
    store: ConfiguredStore,
    plain: CqlPlain,
    slots: Vec<Mutex<Slot>>,
    outcome: Vec<u8>,
    pass: u32,
    next: AtomicU64,
}

/// The sums and rates of all slices of one kind of write.
#[derive(Default)]
struct Done {
    per_second: Vec<f64>,
    writes: u64,
    cpu: Cpu,
}

impl Write {
    const ALL: [Self; 4] = [Self::Plain, Self::Store, Self::AllColumns, Self::HalfOutcome];

    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Store => "store",
            Self::AllColumns => "all-columns",
            Self::HalfOutcome => "half-outcome",
        }
    }
}

impl Bench {
    /// Compares the writes for entities with each of these numbers of outcomes, and prints a line for each kind of write.
    pub(super) async fn compare_with_plain(&mut self, base: &Round, ages: &[u32]) -> anyhow::Result<()> {
        let no_database = "--plain is for a database, and the store is embedded";
        let in_flight = base.config.kafka.max_in_flight;
        let database = self.options.database.map(Database);
        let mut first = 0;
        for age in ages {
            let entities = self.options.entities.min(OUTCOMES / (age + 1));
            let entities = entities.max(ENTITIES * u32::try_from(in_flight).unwrap_or(u32::MAX / ENTITIES));
            let spinner = super::bars::bar(&format!("entities with {age} outcomes"));
            self.fleet.complete(&base.config, Needs { customers: first + entities, accounts: 0 }, &spinner).await?;
            self.pass += 1;
            let store = ConfiguredStore::connect(&base.config.store).await?;
            let plain = ConfiguredStore::plain(&base.config.store).await?.context(no_database)?;
            let fill = ConfiguredStore::fill(&base.config.store).await?.context(no_database)?;
            let slots = stream::iter(first..first + entities).map(|n| slot(&store, &plain, n)).buffered(FILLS);
            let slots = slots.try_collect().await?;
            let outcome = samples::outcome();
            let mut comparison = Comparison { store, plain, slots, outcome, pass: self.pass, next: AtomicU64::new(0) };
            comparison.grow_old(&fill, *age).await?;
            spinner.finish_and_clear();
            let lines = comparison.compare(*age, in_flight, self.options.runs.into(), database.as_ref()).await?;
            for line in lines {
                self.report.other(&line, &line.row())?;
            }
            first += entities;
        }
        Ok(())
    }
}

/// Writes an entity into the plain table, and reads it from the store.
async fn slot(store: &ConfiguredStore, plain: &CqlPlain, number: u32) -> anyhow::Result<Mutex<Slot>> {
    let key = EntityKey { entity_type: EntityType::Customer, ref_id: fleet::ref_id(EntityType::Customer, number) };
    plain.insert(key, &writes::name(1)).await?;
    let statics = store.read_entity(key, &[], Consistency::Quorum).await?.statics.context("the entities were imported")?;
    Ok(Mutex::new(Slot { statics, plain: 1 }))
}

impl Comparison {
    /// Gives each entity so many outcomes.
    async fn grow_old(&mut self, fill: &CqlFill, age: u32) -> anyhow::Result<()> {
        let portion = age.div_ceil(PORTIONS).max(1);
        for n in 0..age {
            let outcome = &self.outcome;
            let written = stream::iter(&mut self.slots).map(|slot| async move {
                let statics = &mut slot.get_mut().statics;
                let (ApplyWrite { key, rows, .. }, after) =
                    writes::change(statics, Kind::Name, vec![format!("old-{n}")], outcome);
                *statics = after.clone();
                let write = ApplyWrite { key, expected_version: None, after: Some(after.into()), rows };
                fill.apply(write).await.map(drop)
            });
            written.buffer_unordered(FILLS).try_collect::<()>().await?;
            if n % portion == portion - 1 {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Waits until the database has written both tables to files.
    async fn flush(&self) -> anyhow::Result<()> {
        for table in ["entity", CqlPlain::TABLE] {
            self.plain.flush_each(table, Some(Duration::from_secs(1))).await?;
        }
        tokio::time::sleep(FLUSHED).await;
        for table in ["entity", CqlPlain::TABLE] {
            self.plain.flush_each(table, None).await?;
        }
        Ok(())
    }

    async fn compare(self, age: u32, in_flight: usize, runs: usize, database: Option<&Database>) -> anyhow::Result<Vec<Line>> {
        let comparison = Arc::new(self);
        let mut order = Write::ALL.repeat(SLICES * runs);
        order.sort_by_cached_key(|_| Uuid::new_v4());
        for write in Write::ALL {
            comparison.slice(write, in_flight).await?;
        }
        let mut done = Write::ALL.map(|_| Done::default());
        for write in order {
            let before = database.map(Database::cpu).transpose()?;
            let (writes, seconds) = comparison.slice(write, in_flight).await?;
            let done = &mut done[write as usize];
            if let (Some(before), Some(database)) = (before, database) {
                let used = database.cpu()?.with(before, |after, before| after - before);
                done.cpu = done.cpu.with(used, |all, used| all + used);
            }
            done.writes += writes;
            #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
            done.per_second.push(writes as f64 / seconds);
        }
        let mut bytes = [None; Write::ALL.len()];
        if let Some(database) = database {
            for (write, table) in [(Write::Plain, CqlPlain::TABLE), (Write::Store, "entity")] {
                bytes[write as usize] = Some(comparison.growth(write, in_flight, database, table).await?);
            }
        }
        let per_second = done.each_ref().map(|done| median(done.per_second.clone()));
        let lines = Write::ALL.iter().zip(&done).zip(per_second).zip(bytes).map(|(((write, done), rate), bytes)| Line {
            write: write.name(),
            outcomes: age,
            writes_per_second: round(rate, 1),
            ratio: round(rate / per_second[0].max(1e-9), 3),
            #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
            database_us: database.map(|_| done.cpu.with(done.cpu, |all, _| round(all / done.writes.max(1) as f64, 1))),
            bytes: bytes.map(|bytes| round(bytes, 0)),
        });
        Ok(lines.collect())
    }

    /// Makes writes of one kind for the time of a slice. Returns how many, and the seconds until the last of them ended.
    async fn slice(self: &Arc<Self>, write: Write, in_flight: usize) -> anyhow::Result<(u64, f64)> {
        let begin = Instant::now();
        let mut workers = JoinSet::new();
        for _ in 0..in_flight {
            let comparison = self.clone();
            workers.spawn(async move {
                let mut writes = 0;
                while begin.elapsed() < SLICE {
                    comparison.one(write).await?;
                    writes += 1;
                }
                anyhow::Ok(writes)
            });
        }
        let mut writes = 0;
        while let Some(worker) = workers.join_next().await {
            writes += worker??;
        }
        Ok((writes, begin.elapsed().as_secs_f64()))
    }

    async fn one(&self, write: Write) -> anyhow::Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let slot = usize::try_from(number).unwrap_or_default() % self.slots.len();
        let mut slot = self.slots[slot].lock().await;
        let request = vec![format!("x-{}-{number}", self.pass)];
        let outcome = if write == Write::HalfOutcome { &self.outcome[..self.outcome.len() / 2] } else { &self.outcome };
        let (mut change, after) = writes::change(&slot.statics, Kind::Name, request, outcome);
        let applied = match write {
            Write::Plain => {
                slot.plain += 1;
                self.plain.update(change.key, &writes::name(slot.plain), slot.plain).await?
            }
            Write::Store | Write::AllColumns | Write::HalfOutcome => {
                if write == Write::AllColumns {
                    change.after = Some(NewStatics::from(after.clone()));
                }
                slot.statics = after;
                self.store.apply(change).await?
            }
        };
        ensure!(applied == Applied::Yes, "a write was not applied: somebody else writes to this keyspace");
        Ok(())
    }

    /// Makes writes of one kind between two flushes. Returns by how many bytes the table's files have grown for each.
    async fn growth(self: &Arc<Self>, write: Write, in_flight: usize, database: &Database, table: &str) -> anyhow::Result<f64> {
        self.flush().await?;
        let before = database.bytes(self.plain.keyspace(), table)?;
        let (writes, _) = self.slice(write, in_flight).await?;
        self.flush().await?;
        let after = database.bytes(self.plain.keyspace(), table)?;
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        Ok((after as f64 - before as f64) / writes.max(1) as f64)
    }
}

impl Line {
    fn row(&self) -> String {
        let Self { write, outcomes, writes_per_second, ratio, .. } = self;
        let database = self.database_us.map_or(String::new(), |cpu| {
            let Cpu { requests, flush, compaction, collection, compiler, other } = cpu;
            format!(
                "  database µs: requests {requests:.0}, flush {flush:.0}, compaction {compaction:.0}, collection {collection:.0}, \
                 compiler {compiler:.0}, other {other:.0}"
            )
        });
        let bytes = self.bytes.map_or(String::new(), |bytes| format!("  {bytes:.0} bytes in files"));
        format!("{write:12} {outcomes:>5} outcomes {writes_per_second:>7.0}/s {ratio:>5.2}{database}{bytes}")
    }
}
