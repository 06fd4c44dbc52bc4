//! A store in memory that misbehaves by a seed, for tests and simulations: it yields between the steps of an operation,
//! loses acknowledgements, applies writes late, and lets plain reads miss what is under way.
//!
//! What it promises is what [`ConditionalStore`] promises and no more. It keeps its own time, which only moves when told to.
//! The same seed over the same single-threaded schedule does the same.

use super::{
    Applied, ApplyWrite, Claim, ClaimWrite, ConditionalStore, Consistency, EntityKey, EntityRead, EntityStatics, HistoryRow,
    IdKey, IdRead, LogRow, RefuseWrite, StoreFault,
};
use crate::domain::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The most writes that are under way after their sender was told of a fault; beyond, one of them is never applied.
const MOST_LATE: usize = 8;
/// When the simulated time begins: in 2025, so that it looks like a time.
const BEGINNING: Timestamp = 1_750_000_000_000;

/// How the store misbehaves. Chances are per mille of the operations; the default is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The most times that an operation yields before it is performed, and again before it answers.
    pub yields: u64,
    /// A read fails.
    pub unread: u64,
    /// A write is applied, its sender told of a fault.
    pub unacknowledged: u64,
    /// A write is lost, its sender told of a fault.
    pub lost: u64,
    /// A write's sender is told of a fault; it is applied at some later operation, or never.
    pub late: u64,
    /// A plain read shows its partition as it was before a write that nobody was told of yet.
    pub stale: u64,
}

/// A seeded stream of numbers (`SplitMix64`, Steele et al. 2014). Not for secrets.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number().checked_rem(bound).unwrap_or(0)
    }

    /// True `per_mille` times out of a thousand.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }
}

/// See the module.
pub struct Simulated {
    tables: Mutex<Tables>,
    time: Arc<AtomicI64>,
}

struct Tables {
    random: Random,
    faults: Faults,
    ids: HashMap<IdKey, Partition<IdStatics>>,
    entities: HashMap<EntityKey, Partition<Option<EntityStatics>>>,
    late: Vec<Write>,
}

/// Statics and rows, and what a plain read may still show instead.
#[derive(Default)]
struct Partition<T> {
    statics: T,
    rows: BTreeMap<String, Row>,
    under_way: Option<UnderWay<T>>,
    writes: u64,
}

/// The latest write, if nobody was told yet that it was applied: the statics before it, and the rows that it brought.
struct UnderWay<T> {
    before: T,
    rows: Vec<String>,
}

#[derive(Clone, Default)]
struct IdStatics {
    claim: Option<Claim>,
    refused: Option<Timestamp>,
    refused_until: Timestamp,
}

struct Row {
    changed_to: Option<i64>,
    outcome: Vec<u8>,
    until: Option<Timestamp>,
}

#[derive(Clone)]
enum Write {
    Claim(ClaimWrite),
    Apply(ApplyWrite),
    Refuse(RefuseWrite),
}

impl Simulated {
    /// An empty store.
    pub fn new(seed: u64, faults: Faults) -> Self {
        let tables =
            Tables { random: Random::new(seed), faults, ids: HashMap::new(), entities: HashMap::new(), late: Vec::new() };
        Self { tables: Mutex::new(tables), time: Arc::new(AtomicI64::new(BEGINNING)) }
    }

    /// Misbehaves otherwise from now on. Writes that are late stay so.
    pub fn set_faults(&self, faults: Faults) {
        self.tables().faults = faults;
    }

    /// The store's time, by which outcomes expire.
    pub fn clock(&self) -> Arc<dyn Fn() -> Timestamp + Send + Sync> {
        let time = Arc::clone(&self.time);
        Arc::new(move || time.load(Ordering::Relaxed))
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        let millis = Timestamp::try_from(by.as_millis()).unwrap_or(Timestamp::MAX);
        self.time.fetch_add(millis, Ordering::Relaxed);
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        self.time.load(Ordering::Relaxed)
    }

    async fn pause(&self) {
        let yields = {
            let Tables { random, faults, .. } = &mut *self.tables();
            random.below(faults.yields + 1)
        };
        for _ in 0..yields {
            tokio::task::yield_now().await;
        }
    }

    async fn read<T>(&self, operation: &'static str, show: impl FnOnce(&mut Tables, Timestamp) -> T) -> Result<T, StoreFault> {
        self.pause().await;
        let read = {
            let mut tables = self.tables();
            tables.land(self.now());
            let unread = tables.faults.unread;
            if tables.random.chance(unread) { Err(fault(operation)) } else { Ok(show(&mut tables, self.now())) }
        };
        self.pause().await;
        read
    }

    async fn write(&self, operation: &'static str, write: Write) -> Result<Applied, StoreFault> {
        self.pause().await;
        let performed = self.tables().send(operation, &write, self.now());
        self.pause().await;
        let (applied, writes) = performed?;
        self.tables().settle(&write, writes);
        Ok(applied)
    }
}

impl Tables {
    /// Performs a write, or not, or later. With the number of writes to the partition, this one included.
    fn send(&mut self, operation: &'static str, write: &Write, now: Timestamp) -> Result<(Applied, u64), StoreFault> {
        self.land(now);
        let Faults { unacknowledged, lost, late, .. } = self.faults;
        if self.random.chance(unacknowledged) {
            let _ = self.perform(write, now);
            return Err(fault(operation));
        }
        if self.random.chance(late) {
            if self.late.len() == MOST_LATE {
                self.take_late();
            }
            self.late.push(write.clone());
            return Err(fault(operation));
        }
        if self.random.chance(lost) {
            return Err(fault(operation));
        }
        Ok(self.perform(write, now))
    }

    /// Now and then a write is applied whose sender has long been told of a fault.
    fn land(&mut self, now: Timestamp) {
        if !self.late.is_empty() && self.random.below(4) == 0 {
            let write = self.take_late();
            let _ = self.perform(&write, now);
        }
    }

    fn take_late(&mut self) -> Write {
        let which = self.random.below(self.late.len() as u64);
        self.late.swap_remove(usize::try_from(which).expect("an index"))
    }

    fn perform(&mut self, write: &Write, now: Timestamp) -> (Applied, u64) {
        match write {
            Write::Claim(w) => {
                let partition = self.ids.entry(w.id.clone()).or_default();
                let holds = partition.statics.generation() == w.replaces;
                partition.update(holds, &[], now, |s| s.claim = Some(w.claim.clone()))
            }
            Write::Apply(w) => {
                let partition = self.entities.entry(w.key).or_default();
                let holds = partition.statics.as_ref().map(|s| s.entity.version) == w.read;
                partition.update(holds, &w.rows, now, |s| {
                    if w.after.is_some() {
                        s.clone_from(&w.after);
                    }
                })
            }
            Write::Refuse(w) => {
                let partition = self.ids.entry(w.id.clone()).or_default();
                let holds = partition.statics.generation() == w.read;
                let until = w.rows.first().and_then(|row| row.until(now)).unwrap_or(Timestamp::MAX);
                partition.update(holds, &w.rows, now, |s| (s.refused, s.refused_until) = (Some(w.refused), until))
            }
        }
    }

    /// The sender of a write is told what became of it: whoever reads from now on sees it.
    fn settle(&mut self, write: &Write, writes: u64) {
        match write {
            Write::Claim(ClaimWrite { id, .. }) | Write::Refuse(RefuseWrite { id, .. }) => {
                self.ids.get_mut(id).expect("it was written to").settle(writes);
            }
            Write::Apply(w) => self.entities.get_mut(&w.key).expect("it was written to").settle(writes),
        }
    }

    /// Whether a read misses what is under way. A serial read brings that to its end.
    fn misses(&mut self, consistency: Consistency) -> bool {
        consistency == Consistency::Quorum && self.random.chance(self.faults.stale)
    }
}

impl IdStatics {
    fn generation(&self) -> Option<i64> {
        self.claim.as_ref().map(|c| c.generation)
    }
}

impl<T: Clone + Default> Partition<T> {
    /// The conditional write: `holds` is its condition on statics.
    fn update(&mut self, holds: bool, rows: &[LogRow], now: Timestamp, statics: impl FnOnce(&mut T)) -> (Applied, u64) {
        self.writes += 1;
        // Whether it is applied or not, what was under way has come to its end first.
        self.under_way = None;
        if !holds || rows.iter().any(|row| self.row(&row.request_id, now).is_some()) {
            return (Applied::No, self.writes);
        }
        let before = self.statics.clone();
        statics(&mut self.statics);
        for row in rows {
            let stored = Row { changed_to: row.changed_to, outcome: row.outcome.clone(), until: row.until(now) };
            self.rows.insert(row.request_id.clone(), stored);
        }
        self.under_way = Some(UnderWay { before, rows: rows.iter().map(|r| r.request_id.clone()).collect() });
        (Applied::Yes, self.writes)
    }

    fn settle(&mut self, writes: u64) {
        if self.writes == writes {
            self.under_way = None;
        }
    }

    fn show(
        &mut self,
        requests: &[&str],
        consistency: Consistency,
        missing: bool,
        now: Timestamp,
    ) -> (T, Vec<(String, Vec<u8>)>) {
        if consistency == Consistency::Serial {
            self.under_way = None;
        }
        let missed = self.under_way.as_ref().filter(|_| missing);
        let shown = |request: &&&str| missed.is_none_or(|m| !m.rows.iter().any(|r| r == **request));
        let row = |request: &&str| Some(((*request).into(), self.row(request, now)?.outcome.clone()));
        let statics = missed.map_or(&self.statics, |m| &m.before).clone();
        (statics, requests.iter().filter(shown).filter_map(row).collect())
    }

    fn row(&self, request: &str, now: Timestamp) -> Option<&Row> {
        self.rows.get(request).filter(|row| row.until.is_none_or(|until| now < until))
    }
}

impl LogRow {
    fn until(&self, now: Timestamp) -> Option<Timestamp> {
        self.ttl.map(|ttl| now.saturating_add(Timestamp::try_from(ttl.as_millis()).unwrap_or(Timestamp::MAX)))
    }
}

fn fault(operation: &'static str) -> StoreFault {
    StoreFault { operation, cause: "simulated".into() }
}

impl ConditionalStore for Simulated {
    async fn read_id(&self, id: &IdKey, requests: &[&str], consistency: Consistency) -> Result<IdRead, StoreFault> {
        self.read("read_id", |tables, now| {
            let missing = tables.misses(consistency);
            let Some(partition) = tables.ids.get_mut(id) else { return IdRead::default() };
            let (statics, outcomes) = partition.show(requests, consistency, missing, now);
            let refused = statics.refused.filter(|_| now < statics.refused_until);
            IdRead { claim: statics.claim.map(|claim| Claim { refused, ..claim }), outcomes }
        })
        .await
    }

    async fn read_entity(&self, key: EntityKey, requests: &[&str], consistency: Consistency) -> Result<EntityRead, StoreFault> {
        self.read("read_entity", |tables, now| {
            let missing = tables.misses(consistency);
            let Some(partition) = tables.entities.get_mut(&key) else { return EntityRead::default() };
            let (statics, outcomes) = partition.show(requests, consistency, missing, now);
            EntityRead { statics, outcomes }
        })
        .await
    }

    async fn claim(&self, write: ClaimWrite) -> Result<Applied, StoreFault> {
        self.write("claim", Write::Claim(write)).await
    }

    async fn apply(&self, write: ApplyWrite) -> Result<Applied, StoreFault> {
        self.write("apply", Write::Apply(write)).await
    }

    async fn refuse(&self, write: RefuseWrite) -> Result<Applied, StoreFault> {
        self.write("refuse", Write::Refuse(write)).await
    }

    async fn history(&self, key: EntityKey) -> Result<Vec<HistoryRow>, StoreFault> {
        self.read("history", |tables, _| {
            let rows = tables.entities.get(&key).into_iter().flat_map(|p| &p.rows);
            let change = |(request_id, row): (&String, &Row)| {
                Some(HistoryRow { request_id: request_id.clone(), changed_to: row.changed_to?, outcome: row.outcome.clone() })
            };
            let mut changes: Vec<_> = rows.filter_map(change).collect();
            changes.sort_by_key(|change| change.changed_to);
            changes
        })
        .await
    }

    async fn ping(&self) -> Result<(), StoreFault> {
        self.read("ping", |_, _| ()).await
    }
}
