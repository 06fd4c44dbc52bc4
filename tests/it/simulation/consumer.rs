//! An instance's consumer, step by step as in `kafka::consumer`: it takes part in rebalances, reports assignments and
//! revocations, waits in a revocation until the processor is done, and hands records on in small batches.

use super::Defect;
use super::broker::Broker;
use super::crm::Incoming;
use super::group::{Heartbeat, Joining, MemberId, Membership};
use crm_processor::flow::offsets::Committed;
use crm_processor::flow::{AssignmentId, Fetching, Partition};
use crm_processor::store::simulated::Random;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The largest number of records in a batch.
pub const BATCH: usize = 4;
/// The largest number of batches between consumer and processor.
pub const BATCHES: usize = 2;

pub enum Notice {
    Assigned { assignment: AssignmentId, partitions: Vec<(Partition, Committed)>, membership: Membership },
    Revoked { lost: bool },
}

pub struct Batch {
    pub assignment: AssignmentId,
    pub records: Vec<Incoming>,
}

enum State {
    Out,
    Joining(MemberId),
    /// The consumer is in the callback that learns the committed offsets.
    Assigning(Membership, Vec<Partition>),
    /// The consumer reads. It has the next offset to fetch of each partition, or `None` until the broker has answered.
    Fetching(Membership, BTreeMap<Partition, Option<i64>>),
    /// The consumer is in the callback that waits for the processor.
    Revoking(MemberId, bool),
}

/// A consumer, with its messages to the processor and those from the processor.
pub struct Consumer {
    state: State,
    assignment: AssignmentId,
    paused: BTreeSet<Partition>,
    pub notices: VecDeque<Notice>,
    pub batches: VecDeque<Batch>,
    /// The partitions to pause or resume.
    pub orders: VecDeque<(Partition, Fetching)>,
    /// Nothing more will be committed for what is being revoked.
    pub revoked: bool,
    defect: Option<Defect>,
}

impl Consumer {
    pub fn new(defect: Option<Defect>) -> Self {
        Self {
            state: State::Out,
            assignment: 0,
            paused: BTreeSet::new(),
            notices: VecDeque::new(),
            batches: VecDeque::new(),
            orders: VecDeque::new(),
            revoked: false,
            defect,
        }
    }

    pub fn member(&self) -> Option<MemberId> {
        match &self.state {
            State::Out => None,
            State::Joining(member) | State::Revoking(member, _) => Some(*member),
            State::Assigning(membership, _) | State::Fetching(membership, _) => Some(membership.member),
        }
    }

    /// Returns the membership with which a transaction would be committed now.
    pub fn membership(&self) -> Option<Membership> {
        match &self.state {
            State::Assigning(membership, _) | State::Fetching(membership, _) => Some(*membership),
            State::Out | State::Joining(_) | State::Revoking(..) => None,
        }
    }

    /// Takes a step. A `deaf` consumer hears nothing from the group coordinator.
    pub fn step(&mut self, broker: &mut Broker, deaf: bool, random: &mut Random) {
        while let Some((partition, fetching)) = self.orders.pop_front() {
            match fetching {
                Fetching::Paused => self.paused.insert(partition),
                Fetching::Resumed => self.paused.remove(&partition),
            };
        }
        let fetching = matches!(self.state, State::Fetching(..));
        match &mut self.state {
            _ if deaf && !fetching => {}
            State::Out => self.state = State::Joining(broker.group.join()),
            State::Joining(member) => match broker.group.joining(*member) {
                Joining::Waits => {}
                Joining::Expelled => self.state = State::Out,
                Joining::Assigned(membership, partitions) => {
                    self.assignment += 1;
                    self.paused.clear();
                    self.state = State::Assigning(membership, partitions);
                }
            },
            State::Assigning(membership, partitions) => {
                if broker.group.heartbeat(membership.member) == Heartbeat::Expelled {
                    return self.revoke(true);
                }
                let unstable = self.defect == Some(Defect::PendingOffsetsNotAwaited);
                let committed = if unstable { Some(broker.committed_so_far(partitions)) } else { broker.committed(partitions) };
                let Some(committed) = committed else { return };
                let (assignment, membership) = (self.assignment, *membership);
                let positions = partitions.iter().map(|p| (*p, None)).collect();
                self.notices.push_back(Notice::Assigned { assignment, partitions: committed, membership });
                self.state = State::Fetching(membership, positions);
            }
            State::Fetching(membership, positions) => {
                match broker.group.heartbeat(membership.member) {
                    _ if deaf => {}
                    Heartbeat::Fine => {}
                    Heartbeat::Rebalance => return self.revoke(false),
                    Heartbeat::Expelled => return self.revoke(true),
                }
                if self.batches.len() < BATCHES {
                    let records = fetch(broker, positions, &self.paused, random);
                    if !records.is_empty() {
                        self.batches.push_back(Batch { assignment: self.assignment, records });
                    }
                }
            }
            State::Revoking(member, lost) => {
                if self.revoked {
                    if *lost {
                        self.state = State::Out;
                    } else {
                        broker.group.join_again(*member);
                        self.state = State::Joining(*member);
                    }
                }
            }
        }
    }

    /// Leaves the group, so that the others need not wait for the session to time out.
    pub fn leave(&mut self, broker: &mut Broker) {
        if let Some(member) = self.member() {
            broker.group.leave(member);
        }
        self.state = State::Out;
    }

    fn revoke(&mut self, lost: bool) {
        let Some(member) = self.member() else { return };
        self.assignment += 1;
        self.revoked = self.defect == Some(Defect::RevocationIgnored);
        self.notices.push_back(Notice::Revoked { lost });
        self.state = State::Revoking(member, lost);
    }
}

/// Some records of some partitions, each partition's in order.
fn fetch(
    broker: &Broker,
    positions: &mut BTreeMap<Partition, Option<i64>>,
    paused: &BTreeSet<Partition>,
    random: &mut Random,
) -> Vec<Incoming> {
    let mut records = Vec::new();
    for (partition, position) in positions.iter_mut().filter(|(p, _)| !paused.contains(p)) {
        let Some(next) = position else {
            // The client repeats the request by itself.
            *position = broker.committed(&[*partition]).map(|committed| committed[0].1.offset.unwrap_or(0));
            continue;
        };
        let room = BATCH - records.len();
        let most = usize::try_from(random.below(room as u64 + 1)).expect("few");
        let topic = &broker.topic[usize::try_from(*partition).expect("positive")];
        let begin = topic.partition_point(|r| r.at.offset < *next);
        let fetched = topic[begin..].iter().take(most);
        records.extend(fetched.cloned());
        *next = records.last().filter(|r| r.at.partition == *partition).map_or(*next, |r| r.at.offset + 1);
    }
    records
}
