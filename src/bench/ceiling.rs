//! Measures the ceiling, which is what the store alone can do: the conditional writes of a case, by the same driver, as many at once, and
//! nothing else. There is no Kafka, no decision and no encoding; outcomes have the same size and are made beforehand. For a cold cache, the
//! reads that find an entity come before its first write. For a warm one, each entity is written to once before the clock runs, as the
//! processor does it. The measurement runs in a process of its own, as the processor does.
//!
//! | case | writes |
//! |---|---|
//! | `name`, `segment`, `state`, `skewed` | one row and the statics |
//! | `rename` | a claim, then one row and the statics |
//! | `create` | the serial read of the superior, a claim, then two rows and the statics |
//! | `rejected` | one row |
//! | `mixed` | each of these in its share |
//! | `duplicates` | one row and the statics; then the same again, which is not applied, and the read that finds the outcome |
//! | `hot` | one row and the statics, one write at a time; `bench ceiling` tries several rows in a write, too |
//!
//! For `skewed`, `hot` and `duplicates` the processor may be faster: it folds queued commands for one entity into one write.

use super::cases::{Case, CaseStep, Kind};
use super::fleet;
use super::latency::Latency;
use super::measured::{Measured, Stopwatch};
use super::{samples, writes};
use crate::config::Config;
use crate::domain::entity::EntityType;
use crate::domain::values::{ExternalId, RequestId};
use crate::store::configured::ConfiguredStore;
use crate::store::{Applied, ConditionalStore, Consistency, EntityKey, EntityStatics, IdKey, StoreFault};
use anyhow::Context as _;
use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

/// How many writes of `hot` are made at most. They are made one at a time, and this many take seconds.
const HOT_WRITES: usize = 2_000;
/// How many entities are read at once, before the clock runs.
const READS: usize = 128;

/// The work to be measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CeilingLoad {
    /// The case whose writes are made.
    pub case: Case,
    /// A number that tells the requests of this load from all others.
    pub pass: u32,
    /// How many commands the case has.
    pub commands: u32,
    /// How many keys the commands are spread over.
    pub entities: u32,
    /// True if the reads of a cold cache are made, too.
    pub cold: bool,
    /// How many commands are under way at once.
    pub in_flight: usize,
    /// How many rows each write of `hot` has.
    pub rows: usize,
}

impl CeilingLoad {
    /// Returns the writes just before the measured ones. The processor makes the same for a warm cache, and the store flushes and
    /// compacts them while either is measured. The request ids differ from those of the measured writes.
    pub fn touch(&self) -> Vec<CaseStep> {
        let touch = if self.cold { Vec::new() } else { self.case.touch(self.commands, self.entities) };
        touch.into_iter().map(|step| CaseStep { request: self.commands + step.request, ..step }).collect()
    }
}

/// An entity. Its statics are `None` while a cold cache does not know them.
struct Slot {
    key: EntityKey,
    external_id: ExternalId,
    statics: Option<EntityStatics>,
}

/// The store, and the entities that are written to, each by one command at a time.
struct Ceiling {
    store: ConfiguredStore,
    load: CeilingLoad,
    outcome: Vec<u8>,
    customers: Vec<Mutex<Slot>>,
    accounts: Vec<Mutex<Slot>>,
    writes: AtomicUsize,
}

/// Makes the writes of `load`, and measures that.
pub async fn measure(config: &Config, load: CeilingLoad) -> anyhow::Result<Measured> {
    let store = ConfiguredStore::connect(&config.store).await?;
    let needs = load.case.needs(load.commands, load.entities);
    let customers = slots(&store, EntityType::Customer, needs.customers, load.cold).await?;
    let accounts = slots(&store, EntityType::Account, needs.accounts, load.cold).await?;
    let CeilingLoad { case, commands, entities, .. } = load;
    let touch = load.touch();
    let outcome = samples::outcome();
    let ceiling = Arc::new(Ceiling { store, load, outcome, customers, accounts, writes: AtomicUsize::new(0) });
    if !touch.is_empty() {
        ceiling.clone().many(touch).await?;
    }
    if case == Case::Hot { ceiling.hot().await } else { ceiling.many(case.steps(commands, entities)).await }
}

/// Makes one write after another, at a rate, and measures each.
pub async fn measure_one(config: &Config, load: CeilingLoad, per_second: f64) -> anyhow::Result<Measured> {
    let store = ConfiguredStore::connect(&config.store).await?;
    let customers = slots(&store, EntityType::Customer, load.entities, false).await?;
    let outcome = samples::outcome();
    let commands = load.commands;
    let load = CeilingLoad { case: Case::Name, cold: false, ..load };
    let ceiling = Ceiling { store, outcome, customers, accounts: Vec::new(), writes: AtomicUsize::new(0), load };
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / per_second));
    let watch = Stopwatch::start()?;
    let mut taken = Vec::new();
    for step in Case::Name.steps(commands, ceiling.load.entities) {
        ticks.tick().await;
        let begin = Instant::now();
        ceiling.step(step).await?;
        taken.push(begin.elapsed());
    }
    ceiling.measured(u64::from(commands), &watch, taken)
}

impl Ceiling {
    async fn many(self: Arc<Self>, steps: Vec<CaseStep>) -> anyhow::Result<Measured> {
        let (commands, steps, next) = (steps.len() as u64, Arc::new(steps), Arc::new(AtomicUsize::new(0)));
        let mut workers = JoinSet::new();
        let watch = Stopwatch::start()?;
        for _ in 0..self.load.in_flight {
            let (ceiling, steps, next) = (self.clone(), steps.clone(), next.clone());
            workers.spawn(async move {
                let mut taken = Vec::new();
                while let Some(step) = steps.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begin = Instant::now();
                    ceiling.step(*step).await?;
                    taken.push(begin.elapsed());
                }
                anyhow::Ok(taken)
            });
        }
        let mut taken = Vec::new();
        while let Some(worker) = workers.join_next().await {
            taken.extend(worker??);
        }
        self.measured(commands, &watch, taken)
    }

    /// Writes to one customer, one write at a time.
    async fn hot(&self) -> anyhow::Result<Measured> {
        let mut slot = self.customers[0].lock().await;
        let mut statics = match slot.statics.take() {
            Some(statics) => statics,
            None => self.find(&slot, &["-"], Consistency::Quorum).await?,
        };
        let rows = self.load.rows;
        let writes = (self.load.commands as usize / rows).clamp(1, HOT_WRITES);
        let mut taken = Vec::new();
        let watch = Stopwatch::start()?;
        for write in 0..writes {
            let begin = Instant::now();
            let requests = (0..rows).map(|row| format!("x-{}-{write}-{row}", self.load.pass)).collect();
            let (write, after) = writes::change(&statics, Kind::Name, requests, &self.outcome);
            self.applied(self.store.apply(write)).await?;
            statics = after;
            taken.push(begin.elapsed());
        }
        self.measured((rows * writes) as u64, &watch, taken)
    }

    async fn step(&self, step: CaseStep) -> anyhow::Result<()> {
        let request = format!("x-{}-{}", self.load.pass, step.request);
        let slots = if step.kind == Kind::Rename { &self.accounts } else { &self.customers };
        let mut slot = slots[step.entity as usize].lock().await;
        let before = match slot.statics.take() {
            // The processor reads the superior for each creation, and serially. What it remembers says only where to look.
            Some(_) if step.kind == Kind::Create => {
                self.store.read_entity(slot.key, &[], Consistency::Serial).await?.statics.context("the entity is there")?
            }
            None if step.kind == Kind::Create => self.find(&slot, &[], Consistency::Serial).await?,
            Some(statics) => statics,
            None => self.find(&slot, &[&request], Consistency::Quorum).await?,
        };
        let after = match step.kind {
            Kind::Rejected => {
                self.applied(self.store.apply(writes::refusal(&before, request, &self.outcome))).await?;
                before
            }
            Kind::Rename => self.rename(&before, request).await?,
            Kind::Create => {
                self.create(&before, fleet::created_id(self.load.pass, step.request), &request).await?;
                before
            }
            Kind::Name | Kind::Segment | Kind::State => {
                let (write, after) = writes::change(&before, step.kind, vec![request.clone()], &self.outcome);
                match self.write(self.store.apply(write)).await? {
                    Applied::Yes => after,
                    Applied::No => self.find_outcome(&slot, before, &request).await?,
                }
            }
        };
        slot.external_id = after.entity.external_id.clone();
        slot.statics = Some(after);
        Ok(())
    }

    /// Reads what a cold cache has to read: the id's partition, and the owner's.
    async fn find(&self, slot: &Slot, requests: &[&str], consistency: Consistency) -> anyhow::Result<EntityStatics> {
        let id = IdKey { entity_type: slot.key.entity_type, external_id: slot.external_id.clone() };
        let claim = self.store.read_id(&id, requests, consistency).await?.claim.context("the id is held")?;
        let key = EntityKey { ref_id: claim.owner, ..slot.key };
        let rows = [requests, &[claim.claimed_by.as_str()]].concat();
        self.store.read_entity(key, &rows, consistency).await?.statics.context("the entity is there")
    }

    async fn find_outcome(&self, slot: &Slot, before: EntityStatics, request: &str) -> anyhow::Result<EntityStatics> {
        let read = self.store.read_entity(slot.key, &[request], Consistency::Quorum).await?;
        if read.outcomes.is_empty() { Err(somebody_else()) } else { Ok(read.statics.unwrap_or(before)) }
    }

    async fn rename(&self, before: &EntityStatics, request: String) -> anyhow::Result<EntityStatics> {
        let number = fleet::renames(before.entity.external_id.as_str()).context("an id of ours")?;
        let stem = before.entity.external_id.as_str().rsplit_once('-').context("an id of ours")?.0;
        let wanted = ExternalId::parse(&format!("{stem}-{}", number + 1))?;
        let (claim, write, after) = writes::rename(before, wanted, request, &self.outcome);
        self.applied(self.store.claim(claim)).await?;
        self.applied(self.store.apply(write)).await?;
        Ok(after)
    }

    async fn create(&self, superior: &EntityStatics, external_id: String, request: &str) -> anyhow::Result<()> {
        let (external_id, request) = (ExternalId::parse(&external_id)?, RequestId::parse(request)?);
        let (claim, write) = writes::creation(superior.entity.ref_id, external_id, request, &self.outcome);
        self.applied(self.store.claim(claim)).await?;
        self.applied(self.store.apply(write)).await
    }

    async fn applied(&self, write: impl Future<Output = Result<Applied, StoreFault>>) -> anyhow::Result<()> {
        match self.write(write).await? {
            Applied::Yes => Ok(()),
            Applied::No => Err(somebody_else()),
        }
    }

    async fn write(&self, write: impl Future<Output = Result<Applied, StoreFault>>) -> Result<Applied, StoreFault> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        write.await
    }

    fn measured(&self, commands: u64, watch: &Stopwatch, taken: Vec<Duration>) -> anyhow::Result<Measured> {
        let measured = watch.read()?;
        let writes = self.writes.swap(0, Ordering::Relaxed) as u64;
        Ok(Measured { commands, writes, latency: Latency::of(taken), ..measured })
    }
}

fn somebody_else() -> anyhow::Error {
    anyhow::anyhow!("a write was not applied: somebody else writes to this keyspace")
}

/// Returns what the entities are now. For a cold cache, returns their ids only.
async fn slots(store: &ConfiguredStore, entity_type: EntityType, count: u32, cold: bool) -> anyhow::Result<Vec<Mutex<Slot>>> {
    let read = |number| async move {
        let key = EntityKey { entity_type, ref_id: fleet::ref_id(entity_type, number) };
        if cold && entity_type == EntityType::Customer {
            let external_id = ExternalId::parse(&fleet::customer_id(number))?;
            return anyhow::Ok(Mutex::new(Slot { key, external_id, statics: None }));
        }
        let read = store.read_entity(key, &[], Consistency::Quorum).await?;
        let statics = read.statics.context("the entities were imported")?;
        let external_id = statics.entity.external_id.clone();
        Ok(Mutex::new(Slot { key, external_id, statics: (!cold).then_some(statics) }))
    };
    stream::iter(0..count).map(read).buffered(READS).try_collect().await
}
