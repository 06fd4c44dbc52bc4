//! The consumer group: its members, which join, send heartbeats, leave or are expelled; its generations, each with its assignment
//! of the partitions (eager: a rebalance takes all partitions from all members); and the committed offsets.

use crm_processor::flow::offsets::Committed;
use crm_processor::flow::{OffsetCommit, Partition};
use std::collections::BTreeMap;

/// How long a member may be silent.
pub const SESSION: u64 = 400;
/// How long the members have to give their partitions up and join again.
const REBALANCE: u64 = 1_200;

pub type MemberId = u64;

/// The membership with which a transaction's offsets are committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    pub member: MemberId,
    pub generation: u64,
}

/// The answer to a member's heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heartbeat {
    Fine,
    /// The member must give its partitions up and join again.
    Rebalance,
    /// The member was expelled.
    Expelled,
}

/// The answer to a member that joins.
pub enum Joining {
    /// The others have not joined yet.
    Waits,
    Assigned(Membership, Vec<Partition>),
    Expelled,
}

/// Which of the offsets that a transaction committed count now.
pub enum Materialised {
    All,
    /// Newer ones of some partition were there already.
    NotThoseThatAreOlder,
}

struct Member {
    heard: u64,
    /// Whether the member has joined since the rebalance began.
    joined: bool,
    partitions: Vec<Partition>,
}

pub struct Group {
    partitions: Partition,
    generation: u64,
    members: BTreeMap<MemberId, Member>,
    /// The time since which the members have to join again.
    rebalancing: Option<u64>,
    next_member: MemberId,
    pub offsets: BTreeMap<Partition, Committed>,
    /// The place of each partition's committed offset in the coordinator's log.
    written: BTreeMap<Partition, u64>,
    /// Whether an offset whose marker comes late takes the place of a newer one; for a defect.
    pub takes_older: bool,
    now: u64,
}

impl Group {
    pub fn new(partitions: Partition) -> Self {
        Self {
            partitions,
            generation: 0,
            members: BTreeMap::new(),
            rebalancing: None,
            next_member: 0,
            offsets: BTreeMap::new(),
            written: BTreeMap::new(),
            takes_older: false,
            now: 0,
        }
    }

    /// Adds a new member.
    pub fn join(&mut self) -> MemberId {
        let id = self.next_member;
        self.next_member += 1;
        self.members.insert(id, Member { heard: self.now, joined: true, partitions: Vec::new() });
        self.rebalance();
        id
    }

    /// A member has given its partitions up.
    pub fn join_again(&mut self, id: MemberId) {
        if let Some(member) = self.members.get_mut(&id) {
            (member.joined, member.heard) = (true, self.now);
        }
        // If no rebalance is under way, the member asks for one.
        self.rebalance();
    }

    pub fn leave(&mut self, id: MemberId) {
        if self.members.remove(&id).is_some() {
            self.rebalance();
        }
    }

    pub fn hear(&mut self, id: MemberId) {
        if let Some(member) = self.members.get_mut(&id) {
            member.heard = self.now;
        }
    }

    pub fn heartbeat(&self, id: MemberId) -> Heartbeat {
        match (self.members.contains_key(&id), self.rebalancing) {
            (false, _) => Heartbeat::Expelled,
            (true, Some(_)) => Heartbeat::Rebalance,
            (true, None) => Heartbeat::Fine,
        }
    }

    pub fn joining(&mut self, id: MemberId) -> Joining {
        let Some(member) = self.members.get_mut(&id) else { return Joining::Expelled };
        if self.rebalancing.is_some() {
            member.joined = true;
            return Joining::Waits;
        }
        Joining::Assigned(Membership { member: id, generation: self.generation }, member.partitions.clone())
    }

    /// Returns whether offsets may be committed with this membership.
    pub fn knows(&self, membership: Membership) -> bool {
        self.members.contains_key(&membership.member) && self.generation == membership.generation
    }

    /// Notes the offsets that a transaction committed. `written` is their place in the coordinator's log: of two offsets of a
    /// partition the one that was written later counts, whichever of their markers comes first.
    pub fn commit(&mut self, offsets: Vec<OffsetCommit>, written: u64) -> Result<Materialised, String> {
        let mut materialised = Materialised::All;
        for OffsetCommit { partition, offset, metadata } in offsets {
            if self.written.get(&partition).is_some_and(|newest| *newest > written) && !self.takes_older {
                materialised = Materialised::NotThoseThatAreOlder;
                continue;
            }
            self.written.insert(partition, written);
            if metadata.len() > 4_096 {
                return Err(format!("{} bytes of metadata for partition {partition}", metadata.len()));
            }
            let before = self.offsets.insert(partition, Committed { offset: Some(offset), metadata });
            if let Some(before) = before.and_then(|b| b.offset).filter(|b| *b > offset) {
                return Err(format!("partition {partition} goes back from {before} to {offset}"));
            }
        }
        Ok(materialised)
    }

    /// Lets time pass.
    pub fn step(&mut self, now: u64) {
        self.now = now;
        let before = self.members.len();
        self.members.retain(|_, m| m.heard + SESSION >= now);
        if self.members.len() < before {
            self.rebalance();
        }
        let Some(since) = self.rebalancing else { return };
        if since + REBALANCE < now {
            self.members.retain(|_, m| m.joined);
        }
        if self.members.values().all(|m| m.joined) {
            self.rebalancing = None;
            self.generation += 1;
            self.assign();
        }
    }

    fn rebalance(&mut self) {
        self.rebalancing.get_or_insert(self.now);
    }

    /// The assignment rotates, so that partitions move whenever there is more than one member.
    fn assign(&mut self) {
        let count = self.members.len() as u64;
        for (n, member) in (0..).zip(self.members.values_mut()) {
            let turn = |p: &Partition| (u64::try_from(*p).expect("positive") + self.generation) % count == n;
            member.partitions = (0..self.partitions).filter(turn).collect();
            member.joined = false;
        }
    }
}
