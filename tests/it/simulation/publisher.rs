//! An instance's publisher, step by step as `kafka::publisher` has it: one transaction at a time; after an error that leaves
//! its outcome open, a new registration, and then the committed offsets say what became of it.

use super::Defect;
use super::broker::{Broker, Denied, ProducerEpoch, TransactionalId};
use super::group::Membership;
use super::outputs::Outputs;
use crm_processor::flow::batch::Finished;
use crm_processor::flow::offsets::Committed;
use crm_processor::flow::stream::Epoch;
use crm_processor::flow::{OffsetCommit, Partition};
use crm_processor::store::simulated::Random;
use std::collections::VecDeque;

/// A transaction to be committed.
pub struct Publication {
    pub epoch: Epoch,
    pub membership: Membership,
    pub records: Vec<Finished<Outputs>>,
    pub offsets: Vec<OffsetCommit>,
}

/// What became of a transaction.
pub struct Published {
    pub epoch: Epoch,
    pub records: Vec<Finished<Outputs>>,
    pub verdict: Verdict,
}

#[derive(Clone, Debug)]
pub enum Verdict {
    Committed,
    /// Which outputs of which records.
    Refused(Vec<(usize, usize)>),
    Aborted,
    Stale,
    Uncertain(Vec<(Partition, Committed)>),
}

impl Verdict {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Committed => "a transaction was committed",
            Self::Refused(_) => "a transaction had refused outputs",
            Self::Aborted => "a transaction was aborted",
            Self::Stale => "a transaction was stale",
            Self::Uncertain(_) => "a transaction was uncertain",
        }
    }
}

/// How its requests go wrong; per mille.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trouble {
    /// An error after which the transaction has to be aborted.
    pub abortable: u64,
    /// An error that leaves open what became of the request: it arrived, it did not, or it will.
    pub unknown: u64,
}

enum Stage {
    Registering,
    Idle,
    /// The next output: record and output in it; and those refused.
    Producing((usize, usize), Vec<(usize, usize)>),
    SendingOffsets,
    Committing,
    Aborting(Verdict),
    Asking,
}

pub struct Publisher {
    id: TransactionalId,
    epoch: ProducerEpoch,
    stage: Stage,
    publication: Option<Publication>,
    /// At most one for each assignment that there was meanwhile.
    next: VecDeque<Publication>,
    defect: Option<Defect>,
}

impl Publisher {
    pub fn new(id: TransactionalId, defect: Option<Defect>) -> Self {
        Self { id, epoch: 0, stage: Stage::Registering, publication: None, next: VecDeque::new(), defect }
    }

    pub fn publish(&mut self, publication: Publication) {
        self.next.push_back(publication);
    }

    /// One request. `membership` is what the consumer has by now.
    pub fn step(
        &mut self,
        broker: &mut Broker,
        membership: Option<Membership>,
        trouble: Trouble,
        random: &mut Random,
    ) -> Option<Published> {
        if self.publication.is_none() {
            self.publication = self.next.pop_front();
        }
        let verdict = match (&self.stage, &self.publication) {
            (Stage::Registering, publication) => {
                self.epoch = broker.register(self.id)?;
                self.stage = if publication.is_some() { Stage::Asking } else { Stage::Idle };
                return None;
            }
            (_, None) => return None,
            (Stage::Asking, Some(publication)) => {
                let partitions: Vec<_> = publication.offsets.iter().map(|o| o.partition).collect();
                Verdict::Uncertain(broker.committed(&partitions)?)
            }
            (_, Some(_)) => self.attempt(broker, membership, trouble, random)?,
        };
        self.stage = Stage::Idle;
        let Publication { epoch, records, .. } = self.publication.take()?;
        Some(Published { epoch, records, verdict })
    }

    fn attempt(
        &mut self,
        broker: &mut Broker,
        membership: Option<Membership>,
        trouble: Trouble,
        random: &mut Random,
    ) -> Option<Verdict> {
        let publication = self.publication.as_ref()?;
        if random.chance(trouble.abortable) && !matches!(self.stage, Stage::Committing | Stage::Aborting(_)) {
            self.stage = Stage::Aborting(Verdict::Aborted);
            return None;
        }
        let unknown = random.chance(trouble.unknown);
        let arrives = random.chance(500);
        if unknown && !arrives {
            if matches!(self.stage, Stage::Committing) && random.chance(500) {
                broker.commit_late(self.id, self.epoch);
            }
            self.stage = Stage::Registering;
            return None;
        }
        let (id, epoch) = (self.id, self.epoch);
        let result = match &mut self.stage {
            Stage::Producing(next, refused) => {
                while publication.records.get(next.0).is_some_and(|r| next.1 >= r.outputs.0.len()) {
                    *next = (next.0 + 1, 0);
                }
                let Some(record) = publication.records.get(next.0) else {
                    let refused = std::mem::take(refused);
                    self.stage =
                        if refused.is_empty() { Stage::SendingOffsets } else { Stage::Aborting(Verdict::Refused(refused)) };
                    return None;
                };
                let output = record.outputs.0[next.1].clone();
                let result = if self.defect == Some(Defect::OutputsOutsideTheTransaction) {
                    broker.produce_at_once(output)
                } else {
                    broker.produce(id, epoch, output)
                };
                if let Err(Denied::Refused) = result {
                    refused.push(*next);
                }
                if let Ok(()) | Err(Denied::Refused) = result {
                    next.1 += 1;
                    Ok(None)
                } else {
                    result.map(|()| None)
                }
            }
            Stage::SendingOffsets => {
                let captured = publication.membership;
                let late = self.defect == Some(Defect::GenerationAtCommit);
                let membership = membership.filter(|_| late).unwrap_or(captured);
                broker.send_offsets(id, epoch, membership, &publication.offsets).map(|()| Some(Stage::Committing))
            }
            Stage::Committing => match broker.end(id, epoch, true) {
                Ok(()) if !unknown => return Some(Verdict::Committed),
                result => result.map(|()| None),
            },
            Stage::Aborting(verdict) => match broker.end(id, epoch, false) {
                Ok(()) if !unknown => return Some(verdict.clone()),
                result => result.map(|()| None),
            },
            Stage::Idle => Ok(Some(Stage::Producing((0, 0), Vec::new()))),
            Stage::Registering | Stage::Asking => unreachable!("dealt with by the caller"),
        };
        match result {
            Ok(_) if unknown => self.stage = Stage::Registering,
            Ok(Some(next)) => self.stage = next,
            Ok(None) | Err(Denied::Busy) => {}
            Err(Denied::Stale) => self.stage = Stage::Aborting(Verdict::Stale),
            Err(Denied::Fenced) => self.stage = Stage::Registering,
            Err(Denied::Refused) => unreachable!("counted above"),
        }
        None
    }
}
