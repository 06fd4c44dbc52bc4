//! The brokers: the command topic, the transaction coordinator, and what readers of committed records see.
//!
//! A transaction that has ended becomes visible bit by bit: its outputs and its offsets each at a moment of their own. Until then
//! its offsets are pending, and a consumer that asks for the committed offsets of their partitions has to wait. A request whose
//! sender was told of a time-out may still arrive.

use super::crm::Incoming;
use super::group::{Group, Membership};
use super::happened::Happened;
use super::outputs::Output;
use crm_processor::flow::offsets::Committed;
use crm_processor::flow::{OffsetCommit, Partition, RecordId};
use crm_processor::store::simulated::Random;
use std::collections::{BTreeMap, BTreeSet};

/// How long a transaction may be open before the coordinator aborts it.
const TRANSACTION: u64 = 1_500;

/// A transactional id, which names a producer through all lives of its process.
pub type TransactionalId = usize;
/// A producer's epoch: it counts the registrations under one transactional id.
pub type ProducerEpoch = u64;

/// Why a request was not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Another producer has registered under the transactional id since, or the coordinator has ended the transaction.
    Fenced,
    /// The last transaction is still being ended.
    Busy,
    /// The broker does not take this output, however often it is sent.
    Refused,
    /// The offsets come from a member or generation that no longer exists.
    Stale,
}

#[derive(Default)]
struct Transaction {
    since: u64,
    outputs: Vec<Output>,
    offsets: Vec<OffsetCommit>,
    /// Whether it is being committed (or aborted).
    committing: Option<bool>,
}

#[derive(Default)]
struct Registration {
    epoch: ProducerEpoch,
    /// The epoch whose next output has the sequence number of one that has arrived already.
    repeats: Option<ProducerEpoch>,
    transaction: Option<Transaction>,
}

pub struct Broker {
    now: u64,
    /// The records of each partition, in order.
    pub topic: Vec<Vec<Incoming>>,
    pub group: Group,
    registrations: BTreeMap<TransactionalId, Registration>,
    /// The commits that are under way although their senders were told of a time-out.
    late: Vec<(TransactionalId, ProducerEpoch)>,
    /// The records whose outputs are refused for now, because a topic of theirs is missing.
    pub refusing: BTreeSet<RecordId>,
    /// The records that readers of committed records see, in order.
    pub view: Vec<Output>,
    pub happened: Happened,
    /// The events that must not happen, and did.
    pub broken: Option<String>,
}

impl Broker {
    pub fn new(partitions: Partition) -> Self {
        Self {
            now: 0,
            topic: (0..partitions).map(|_| Vec::new()).collect(),
            group: Group::new(partitions),
            registrations: BTreeMap::new(),
            late: Vec::new(),
            refusing: BTreeSet::new(),
            view: Vec::new(),
            happened: Happened::default(),
            broken: None,
        }
    }

    pub fn now(&self) -> u64 {
        self.now
    }

    /// Registers a producer. Returns `None` while an earlier transaction has to be ended first.
    pub fn register(&mut self, id: TransactionalId) -> Option<ProducerEpoch> {
        let registration = self.registrations.entry(id).or_default();
        if let Some(transaction) = &mut registration.transaction {
            if transaction.committing.is_none() {
                transaction.committing = Some(false);
                registration.epoch += 1;
                self.happened.note("a transaction was fenced");
            }
            return None;
        }
        registration.epoch += 1;
        Some(registration.epoch)
    }

    pub fn produce(&mut self, id: TransactionalId, epoch: ProducerEpoch, output: Output) -> Result<(), Denied> {
        open(&mut self.registrations, id, epoch, self.now)?;
        if output.is_refused(self.refusing.contains(&output.of())) {
            return Err(Denied::Refused);
        }
        let registration = self.registrations.get_mut(&id).expect("it has a transaction open");
        if registration.repeats.take_if(|repeated| *repeated == epoch).is_some() {
            self.happened.note("an output was taken for a repetition");
            return Ok(());
        }
        let transaction = registration.transaction.as_mut().expect("it is open");
        transaction.outputs.push(output);
        Ok(())
    }

    /// Takes an output of whose arrival its producer does not learn. If the producer goes on, it gives the same number to another
    /// output.
    pub fn arrived_unnoticed(&mut self, id: TransactionalId, epoch: ProducerEpoch) {
        if let Some(registration) = self.registrations.get_mut(&id).filter(|r| r.epoch == epoch) {
            registration.repeats = Some(epoch);
        }
    }

    /// Takes an output outside of any transaction. Only a defect sends one.
    pub fn produce_at_once(&mut self, output: Output) -> Result<(), Denied> {
        if output.is_refused(self.refusing.contains(&output.of())) {
            return Err(Denied::Refused);
        }
        self.view.push(output);
        Ok(())
    }

    pub fn send_offsets(
        &mut self,
        id: TransactionalId,
        epoch: ProducerEpoch,
        membership: Membership,
        offsets: &[OffsetCommit],
    ) -> Result<(), Denied> {
        let transaction = open(&mut self.registrations, id, epoch, self.now)?;
        if !self.group.knows(membership) {
            return Err(Denied::Stale);
        }
        transaction.offsets = offsets.to_vec();
        Ok(())
    }

    pub fn end(&mut self, id: TransactionalId, epoch: ProducerEpoch, commit: bool) -> Result<(), Denied> {
        open(&mut self.registrations, id, epoch, self.now)?.committing = Some(commit);
        Ok(())
    }

    /// Puts the commit under way: it arrives later, or never.
    pub fn commit_late(&mut self, id: TransactionalId, epoch: ProducerEpoch) {
        self.late.push((id, epoch));
    }

    /// Returns the committed offsets, or `None` while transactions are under way that may commit more.
    pub fn committed(&self, partitions: &[Partition]) -> Option<Vec<(Partition, Committed)>> {
        let pending = self.registrations.values().filter_map(|r| r.transaction.as_ref()).flat_map(|t| &t.offsets);
        if pending.into_iter().any(|o| partitions.contains(&o.partition)) {
            return None;
        }
        Some(self.committed_so_far(partitions))
    }

    /// Returns the committed offsets that a consumer sees if it does not wait for transactions.
    pub fn committed_so_far(&self, partitions: &[Partition]) -> Vec<(Partition, Committed)> {
        partitions.iter().map(|p| (*p, self.group.offsets.get(p).cloned().unwrap_or_default())).collect()
    }

    /// Lets time pass: some of the requests under way arrive.
    pub fn step(&mut self, random: &mut Random) {
        self.now += 1;
        self.group.step(self.now);
        if !self.late.is_empty() && random.chance(20) {
            let which = random.below(self.late.len() as u64);
            let (id, epoch) = self.late.swap_remove(usize::try_from(which).expect("an index"));
            if self.end(id, epoch, true).is_ok() {
                self.happened.note("a commit came late");
            }
        }
        for registration in self.registrations.values_mut() {
            let Some(transaction) = &mut registration.transaction else { continue };
            if transaction.committing.is_none() && transaction.since + TRANSACTION < self.now {
                transaction.committing = Some(false);
                registration.epoch += 1;
                self.happened.note("a transaction timed out");
            }
            let Some(commit) = transaction.committing else { continue };
            let mut settled = Transaction::default();
            if random.chance(100) {
                settled.outputs = std::mem::take(&mut transaction.outputs);
            }
            if random.chance(100) {
                settled.offsets = std::mem::take(&mut transaction.offsets);
            }
            if transaction.outputs.is_empty() && transaction.offsets.is_empty() {
                registration.transaction = None;
            }
            if commit {
                self.view.append(&mut settled.outputs);
                if let Err(broken) = self.group.commit(settled.offsets) {
                    self.broken.get_or_insert(broken);
                }
            }
        }
    }
}

/// Returns the open transaction of a producer, and opens one if there is none.
fn open(
    registrations: &mut BTreeMap<TransactionalId, Registration>,
    id: TransactionalId,
    epoch: ProducerEpoch,
    now: u64,
) -> Result<&mut Transaction, Denied> {
    let registration = registrations.get_mut(&id).filter(|r| r.epoch == epoch).ok_or(Denied::Fenced)?;
    let transaction = registration.transaction.get_or_insert_with(|| Transaction { since: now, ..Transaction::default() });
    if transaction.committing.is_some() { Err(Denied::Busy) } else { Ok(transaction) }
}
