//! The brokers: the command topic, the transaction coordinator, and what readers of committed records see.
//!
//! A transaction that has ended gets its markers bit by bit: each partition of its outputs and the offsets at a moment of their own,
//! soon or late. Until then its offsets are pending, and a consumer that asks for the committed offsets of their partitions has to wait.
//! Readers of a partition see nothing from the first record on whose transaction has no marker there yet. A transaction of another
//! producer may begin meanwhile, and may even get its markers first. A request whose sender was told of a time-out may still arrive.

use super::crm::Incoming;
use super::group::{Group, Materialised, Membership};
use super::happened::Happened;
use super::outputs::{Output, OutputPartition};
use crm_processor::flow::offsets::Committed;
use crm_processor::flow::{OffsetCommit, Partition, RecordId};
use crm_processor::store::simulated::Random;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How long a transaction may be open before the coordinator aborts it.
const TRANSACTION: u64 = 1_500;
/// How likely a marker is written in a step, in a thousand, for most transactions and for some.
const SOON: u64 = 100;
const SLOWLY: u64 = 8;

/// The slot of an instance, which it has through all its lives.
pub type Slot = usize;
/// A transactional id: a slot, and which of the slot's two producers it names.
pub type TransactionalId = (Slot, usize);
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
    number: u64,
    since: u64,
    /// The partitions of its outputs that have no marker yet.
    partitions: BTreeSet<OutputPartition>,
    offsets: Vec<OffsetCommit>,
    /// The place of the offsets in the log of the group coordinator.
    written: u64,
    /// Whether it is being committed (or aborted).
    committing: Option<bool>,
    /// How likely each marker is written in a step, in a thousand. It is chosen when the transaction ends.
    pace: Option<u64>,
}

/// An output in the log of its partition.
struct Logged {
    output: Output,
    /// The number of its transaction.
    transaction: u64,
    /// Whether it was committed (or aborted), if its marker is there.
    committed: Option<bool>,
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
    /// How many transactions have begun.
    transactions: u64,
    /// How often offsets were written to the log of the group coordinator.
    written: u64,
    /// The outputs of each partition that readers of committed records do not see yet.
    logs: BTreeMap<OutputPartition, VecDeque<Logged>>,
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
            transactions: 0,
            written: 0,
            logs: BTreeMap::new(),
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
        self.open(id, epoch)?;
        if output.is_refused(self.refusing.contains(&output.of())) {
            return Err(Denied::Refused);
        }
        let registration = self.registrations.get_mut(&id).expect("it has a transaction open");
        if registration.repeats.take_if(|repeated| *repeated == epoch).is_some() {
            self.happened.note("an output was taken for a repetition");
            return Ok(());
        }
        let transaction = registration.transaction.as_mut().expect("it is open");
        transaction.partitions.insert(output.partition());
        let logged = Logged { transaction: transaction.number, committed: None, output };
        self.logs.entry(logged.output.partition()).or_default().push_back(logged);
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
        self.open(id, epoch)?;
        if !self.group.knows(membership) {
            return Err(Denied::Stale);
        }
        self.written += 1;
        let written = self.written;
        let transaction = self.open(id, epoch)?;
        (transaction.offsets, transaction.written) = (offsets.to_vec(), written);
        let others = self.registrations.iter().filter(|(other, _)| other.0 == id.0 && **other != id);
        if others.filter_map(|(_, r)| r.transaction.as_ref()).any(|t| t.committing == Some(true) && !t.offsets.is_empty()) {
            self.happened.note("offsets were written while those before them were pending");
        }
        Ok(())
    }

    pub fn end(&mut self, id: TransactionalId, epoch: ProducerEpoch, commit: bool) -> Result<(), Denied> {
        self.open(id, epoch)?.committing = Some(commit);
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
            let pace = *transaction.pace.get_or_insert_with(|| if random.chance(200) { SLOWLY } else { SOON });
            let number = transaction.number;
            transaction.partitions.retain(|partition| {
                let is_due = random.chance(pace);
                if is_due {
                    let log = self.logs.get_mut(partition).into_iter().flatten();
                    log.filter(|l| l.transaction == number).for_each(|l| l.committed = Some(commit));
                }
                !is_due
            });
            if random.chance(pace) {
                let offsets = std::mem::take(&mut transaction.offsets);
                match self.group.commit(if commit { offsets } else { Vec::new() }, transaction.written) {
                    Ok(Materialised::All) => {}
                    Ok(Materialised::NotThoseThatAreOlder) => self.happened.note("offsets came after newer ones"),
                    Err(broken) => _ = self.broken.get_or_insert(broken),
                }
            }
            if transaction.partitions.is_empty() && transaction.offsets.is_empty() {
                registration.transaction = None;
            }
        }
        self.show();
    }

    /// Shows readers of committed records what lies before the first output without a marker, partition by partition.
    fn show(&mut self) {
        for log in self.logs.values_mut() {
            while let Some(Logged { output, committed, .. }) = log.pop_front_if(|logged| logged.committed.is_some()) {
                self.view.extend((committed == Some(true)).then_some(output));
            }
        }
    }

    /// Returns the open transaction of a producer, and opens one if there is none.
    fn open(&mut self, id: TransactionalId, epoch: ProducerEpoch) -> Result<&mut Transaction, Denied> {
        let registration = self.registrations.get_mut(&id).filter(|r| r.epoch == epoch).ok_or(Denied::Fenced)?;
        let transaction = registration.transaction.get_or_insert_with(|| {
            self.transactions += 1;
            Transaction { number: self.transactions, since: self.now, ..Transaction::default() }
        });
        if transaction.committing.is_some() { Err(Denied::Busy) } else { Ok(transaction) }
    }
}
