//! A store in memory that misbehaves by a seed, for tests and simulations. It yields between the steps of an operation, loses
//! acknowledgements, applies writes late, has nodes that hang, and lets plain reads miss writes that are under way.
//!
//! It promises what [`ConditionalStore`] promises, and no more. It has its own time, which moves only when it is told to. With the same
//! seed and the same single-threaded schedule it does the same.

mod partition;
mod random;

use super::erasable::{AnyWrite, ErasableStore, Redaction};
use super::expiry::{millis, until};
use super::{
    Applied, ApplyWrite, Claim, ClaimWrite, ConditionalStore, Consistency, EntityKey, EntityRead, EntityStatics, FaultKind, Held,
    HistoryRow, HoldWrite, IdKey, IdRead, NewStatics, RefuseWrite, StoreFault, assert_requests,
};
use crate::domain::Timestamp;
use partition::{Row, SimulatedPartition, row_until};
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use random::Random;

/// The most writes that stay under way after their senders were told of a fault. If there is one more, one of them is never applied.
const MOST_LATE: usize = 8;
/// How often a request to a hanging node yields before it is given up. That is long enough for others to decide about the same partition
/// several times, and for the write itself to be applied without its sender's knowledge.
const HANG: u64 = 60;
/// When the simulated time begins: in 2025, so that it looks like a real time.
const BEGINNING: Timestamp = 1_750_000_000_000;

/// How the store misbehaves. All but `yields` are chances per mille of the operations. By default there are no faults.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The most times that an operation yields before it is performed, and again before it answers.
    pub yields: u64,
    /// The chance that a read fails.
    pub unread: u64,
    /// The chance that a write is applied, but its sender is told of a fault.
    pub unacknowledged: u64,
    /// The chance that a write is lost and its sender is told of a fault.
    pub lost: u64,
    /// The chance that a write's sender is told of a fault, and the write is applied at some later operation, or never.
    pub late: u64,
    /// The chance that a request goes to a node that hangs, and is given up after a while. If the request is a write, it is applied at
    /// some operation during that time, or later, or never.
    pub hung: u64,
    /// The chance that a plain read shows its partition as it was before a write whose sender has not been told of it yet.
    pub stale: u64,
}

/// The simulated store; see the module's documentation.
pub struct Simulated {
    tables: Mutex<Tables>,
    time: Arc<AtomicI64>,
}

struct Tables {
    random: Random,
    faults: Faults,
    ids: HashMap<IdKey, SimulatedPartition<IdStatics>>,
    entities: HashMap<EntityKey, SimulatedPartition<Option<EntityStatics>>>,
    late: Vec<AnyWrite>,
}

#[derive(Clone, Default)]
struct IdStatics {
    claim: Option<Claim>,
    refused: Option<Timestamp>,
    refused_until: Timestamp,
}

impl Simulated {
    /// Makes an empty store.
    pub fn new(seed: u64, faults: Faults) -> Self {
        let tables =
            Tables { random: Random::new(seed), faults, ids: HashMap::new(), entities: HashMap::new(), late: Vec::new() };
        Self { tables: Mutex::new(tables), time: Arc::new(AtomicI64::new(BEGINNING)) }
    }

    /// Changes how the store misbehaves from now on. Writes that are late stay late.
    pub fn set_faults(&self, faults: Faults) {
        self.tables().faults = faults;
    }

    /// Returns a clock that shows the store's time, by which outcomes expire.
    pub fn clock(&self) -> Arc<dyn Fn() -> Timestamp + Send + Sync> {
        let time = Arc::clone(&self.time);
        Arc::new(move || time.load(Ordering::Relaxed))
    }

    /// Advances the store's time.
    pub fn advance(&self, by: Duration) {
        self.time.fetch_add(millis(by), Ordering::Relaxed);
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

    /// Returns whether a request meets a node that hangs. A write is then kept as one that is late.
    fn meets_hanging_node(&self, write: Option<&AnyWrite>) -> bool {
        let mut tables = self.tables();
        let hung = tables.faults.hung;
        // Without hanging nodes no random number is drawn here, so that earlier seeds still mean the same.
        let hangs = hung > 0 && tables.random.chance(hung);
        if let (true, Some(write)) = (hangs, write) {
            tables.put_off(write);
        }
        hangs
    }

    async fn hang(&self, operation: &'static str) -> StoreFault {
        for _ in 0..HANG {
            tokio::task::yield_now().await;
        }
        StoreFault { kind: FaultKind::SilentNode, node: Some("simulated:9042".into()), ..fault(operation) }
    }

    async fn read<T>(&self, operation: &'static str, show: impl FnOnce(&mut Tables, Timestamp) -> T) -> Result<T, StoreFault> {
        self.pause().await;
        if self.meets_hanging_node(None) {
            return Err(self.hang(operation).await);
        }
        let read = {
            let mut tables = self.tables();
            tables.land(self.now());
            let unread = tables.faults.unread;
            if tables.random.chance(unread) { Err(fault(operation)) } else { Ok(show(&mut tables, self.now())) }
        };
        self.pause().await;
        read
    }

    async fn write(&self, write: AnyWrite) -> Result<Applied, StoreFault> {
        self.pause().await;
        if self.meets_hanging_node(Some(&write)) {
            return Err(self.hang(write.operation()).await);
        }
        let performed = self.tables().send(&write, self.now());
        self.pause().await;
        let (applied, writes) = performed?;
        self.tables().settle(&write, writes);
        Ok(applied)
    }
}

impl Tables {
    /// Performs a write, loses it, or puts it off, by chance. Returns whether it was applied, and the number of writes to the partition
    /// including this one.
    fn send(&mut self, write: &AnyWrite, now: Timestamp) -> Result<(Applied, u64), StoreFault> {
        self.land(now);
        let operation = write.operation();
        let Faults { unacknowledged, lost, late, .. } = self.faults;
        if self.random.chance(unacknowledged) {
            let _ = self.perform(write, now);
            return Err(fault(operation));
        }
        if self.random.chance(late) {
            self.put_off(write);
            return Err(fault(operation));
        }
        if self.random.chance(lost) {
            return Err(fault(operation));
        }
        Ok(self.perform(write, now))
    }

    /// Now and then applies a late write, whose sender was told of a fault long ago.
    fn land(&mut self, now: Timestamp) {
        if !self.late.is_empty() && self.random.below(4) == 0 {
            let write = self.take_late();
            let _ = self.perform(&write, now);
        }
    }

    fn put_off(&mut self, write: &AnyWrite) {
        if self.late.len() == MOST_LATE {
            self.take_late();
        }
        self.late.push(write.clone());
    }

    fn take_late(&mut self) -> AnyWrite {
        let which = self.random.below(self.late.len() as u64);
        self.late.swap_remove(usize::try_from(which).expect("an index"))
    }

    fn perform(&mut self, write: &AnyWrite, now: Timestamp) -> (Applied, u64) {
        match write {
            AnyWrite::Claim(w) => {
                let partition = self.ids.entry(w.id.clone()).or_default();
                let refused = partition.statics.refused(now).is_some();
                let holds = partition.statics.generation() == w.expected_generation && !(w.unrefused && refused);
                partition.update(holds, &[], now, |s| s.claim = Some(w.claim.clone()))
            }
            AnyWrite::Apply(w) => {
                let partition = self.entities.entry(w.key).or_default();
                let holds = partition.statics.as_ref().map(|s| s.entity.version) == w.expected_version;
                partition.update(holds, &w.rows, now, |s| {
                    if let Some(after) = &w.after {
                        // Another store leaves the columns alone that are said not to change.
                        let changes = NewStatics::after(s.as_ref(), after.values.clone()).changes;
                        assert!(after.changes.contains(changes), "of {changes:?} only {:?} are written", after.changes);
                        *s = Some(after.values.clone());
                    }
                })
            }
            AnyWrite::Refuse(w) => {
                let partition = self.ids.entry(w.id.clone()).or_default();
                let holds = partition.statics.generation() == w.expected_generation;
                let until = w.rows.first().and_then(|row| row_until(row, now)).unwrap_or(Timestamp::MAX);
                partition.update(holds, &w.rows, now, |s| (s.refused, s.refused_until) = (Some(w.refused), until))
            }
            AnyWrite::Hold(HoldWrite { held: Held::ForEver(key), request_id, outcome }) => {
                self.entities.entry(*key).or_default().hold(request_id, outcome, None, now, |_| ())
            }
            AnyWrite::Hold(HoldWrite { held: Held::Anew { id, refused, ttl }, request_id, outcome }) => {
                let until = until(now, *ttl);
                let mark = |s: &mut IdStatics| (s.refused, s.refused_until) = (Some(*refused), until);
                self.ids.entry(id.clone()).or_default().hold(request_id, outcome, Some(until), now, mark)
            }
            AnyWrite::Redact(w) => self.entities.entry(w.key).or_default().redact(w, now),
        }
    }

    /// Notes that the sender of a write is told what became of it. From now on every read sees the write.
    fn settle(&mut self, write: &AnyWrite, writes: u64) {
        match write {
            AnyWrite::Claim(ClaimWrite { id, .. })
            | AnyWrite::Refuse(RefuseWrite { id, .. })
            | AnyWrite::Hold(HoldWrite { held: Held::Anew { id, .. }, .. }) => {
                self.ids.get_mut(id).expect("it was written to").settle(writes);
            }
            AnyWrite::Apply(ApplyWrite { key, .. })
            | AnyWrite::Hold(HoldWrite { held: Held::ForEver(key), .. })
            | AnyWrite::Redact(Redaction { key, .. }) => {
                self.entities.get_mut(key).expect("it was written to").settle(writes);
            }
        }
    }

    /// Decides whether a read misses writes that are under way. A serial read never does, because it completes them first.
    fn misses(&mut self, consistency: Consistency) -> bool {
        consistency == Consistency::Quorum && self.random.chance(self.faults.stale)
    }
}

impl IdStatics {
    fn generation(&self) -> Option<i64> {
        self.claim.as_ref().map(|c| c.generation)
    }

    fn refused(&self, now: Timestamp) -> Option<Timestamp> {
        self.refused.filter(|_| now < self.refused_until)
    }
}

fn fault(operation: &'static str) -> StoreFault {
    StoreFault::new(operation, "simulated")
}

impl ConditionalStore for Simulated {
    async fn read_id(&self, id: &IdKey, requests: &[&str], consistency: Consistency) -> Result<IdRead, StoreFault> {
        assert_requests(requests);
        self.read("read_id", |tables, now| {
            let missing = tables.misses(consistency);
            let Some(partition) = tables.ids.get_mut(id) else { return IdRead::default() };
            let (statics, outcomes) = partition.show(requests, consistency, missing, now);
            let refused = statics.refused(now);
            IdRead { claim: statics.claim.map(|claim| Claim { refused, ..claim }), outcomes }
        })
        .await
    }

    async fn read_entity(&self, key: EntityKey, requests: &[&str], consistency: Consistency) -> Result<EntityRead, StoreFault> {
        assert_requests(requests);
        self.read("read_entity", |tables, now| {
            let missing = tables.misses(consistency);
            let Some(partition) = tables.entities.get_mut(&key) else { return EntityRead::default() };
            let (statics, outcomes) = partition.show(requests, consistency, missing, now);
            EntityRead { statics, outcomes }
        })
        .await
    }

    async fn claim(&self, write: ClaimWrite) -> Result<Applied, StoreFault> {
        self.write(AnyWrite::Claim(write)).await
    }

    async fn apply(&self, write: ApplyWrite) -> Result<Applied, StoreFault> {
        self.write(AnyWrite::Apply(write)).await
    }

    async fn refuse(&self, write: RefuseWrite) -> Result<Applied, StoreFault> {
        self.write(AnyWrite::Refuse(write)).await
    }

    async fn hold(&self, write: HoldWrite) -> Result<Applied, StoreFault> {
        self.write(AnyWrite::Hold(write)).await
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

impl ErasableStore for Simulated {
    async fn log(&self, key: EntityKey) -> Result<Vec<(String, Vec<u8>)>, StoreFault> {
        self.read("log", |tables, now| tables.entities.get(&key).map(|partition| partition.live(now)).unwrap_or_default()).await
    }

    async fn redact(&self, redaction: Redaction) -> Result<Applied, StoreFault> {
        self.write(AnyWrite::Redact(redaction)).await
    }
}
