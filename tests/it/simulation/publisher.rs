//! An instance's publisher, request by request: one transaction at a time, driven by the real [`Step`]s; to start over is to
//! register anew, and to ask for the committed offsets then.

use super::Defect;
use super::broker::{Broker, Denied, ProducerEpoch, TransactionalId};
use super::group::Membership;
use super::outputs::Outputs;
use crm_processor::flow::OffsetCommit;
use crm_processor::flow::attempt::{Failure, Refusal, Step, Verdict, Why};
use crm_processor::flow::batch::Finished;
use crm_processor::flow::stream::Epoch;
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
    /// In a transaction. With the next output: record and output in it; and those refused.
    Attempting {
        step: Step,
        next: (usize, usize),
        refused: Vec<Refusal>,
    },
    /// What was committed.
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
            (Stage::Idle, Some(_)) => {
                self.stage = Stage::Attempting { step: Step::FIRST, next: (0, 0), refused: Vec::new() };
                return None;
            }
            (Stage::Asking, Some(publication)) => {
                let partitions: Vec<_> = publication.offsets.iter().map(|o| o.partition).collect();
                Verdict::Uncertain(broker.committed(&partitions)?)
            }
            (Stage::Attempting { .. }, Some(_)) => self.attempt(broker, membership, trouble, random)?,
        };
        self.stage = Stage::Idle;
        let Publication { epoch, records, .. } = self.publication.take()?;
        Some(Published { epoch, records, verdict })
    }

    /// One request of the transaction. None while there is more to be done.
    fn attempt(
        &mut self,
        broker: &mut Broker,
        membership: Option<Membership>,
        trouble: Trouble,
        random: &mut Random,
    ) -> Option<Verdict> {
        let result = self.call_with(broker, membership, trouble, random)?;
        let Stage::Attempting { step, .. } = &mut self.stage else { return None };
        *step = std::mem::replace(step, Step::StartOver).then(result);
        match step {
            Step::StartOver => self.stage = Stage::Registering,
            Step::Over(verdict) => return Some(verdict.clone()),
            _ => {}
        }
        None
    }

    /// A request that may go wrong on its way.
    fn call_with(
        &mut self,
        broker: &mut Broker,
        membership: Option<Membership>,
        trouble: Trouble,
        random: &mut Random,
    ) -> Option<Result<(), Failure>> {
        let Stage::Attempting { step, .. } = &self.stage else { return None };
        let (committing, aborting) = (*step == Step::Commit, matches!(step, Step::Abort(_)));
        if random.chance(trouble.abortable) && !committing && !aborting {
            return Some(Err(Failure::Abortable));
        }
        if random.chance(trouble.unknown) {
            match random.below(4) {
                0 | 1 => drop(self.call(broker, membership)),
                2 if committing => broker.commit_late(self.id, self.epoch),
                _ => {}
            }
            return Some(Err(Failure::Unknown));
        }
        self.call(broker, membership)
    }

    /// A request that is answered. None if the step is not over with it.
    fn call(&mut self, broker: &mut Broker, membership: Option<Membership>) -> Option<Result<(), Failure>> {
        let (id, epoch) = (self.id, self.epoch);
        let publication = self.publication.as_ref()?;
        let Stage::Attempting { step, next, refused } = &mut self.stage else { return None };
        let answer = match step {
            Step::Produce => {
                while publication.records.get(next.0).is_some_and(|r| next.1 >= r.outputs.0.len()) {
                    *next = (next.0 + 1, 0);
                }
                let Some(record) = publication.records.get(next.0) else { return Some(Ok(())) };
                let output = record.outputs.0[next.1].clone();
                let answer = match self.defect {
                    Some(Defect::OutputsOutsideTheTransaction) => broker.produce_at_once(output),
                    _ => broker.produce(id, epoch, output),
                };
                match answer {
                    Ok(()) => {}
                    // Heard of when all are flushed.
                    Err(Denied::Refused) => refused.push(Refusal { record: next.0, output: next.1, why: Why::Missing }),
                    Err(denied) => return answered(Err(denied)),
                }
                next.1 += 1;
                return None;
            }
            Step::Flush if refused.is_empty() => Ok(()),
            Step::Flush => return Some(Err(Failure::Refused(std::mem::take(refused)))),
            Step::SendOffsets => {
                let captured = publication.membership;
                let late = self.defect == Some(Defect::GenerationAtCommit);
                let membership = membership.filter(|_| late).unwrap_or(captured);
                broker.send_offsets(id, epoch, membership, &publication.offsets)
            }
            Step::Commit => broker.end(id, epoch, true),
            Step::Abort(_) => broker.end(id, epoch, false),
            Step::StartOver | Step::Over(_) => unreachable!("dealt with by the caller"),
        };
        answered(answer)
    }
}

/// What the client makes of an answer. None: it asks again by itself.
fn answered(answer: Result<(), Denied>) -> Option<Result<(), Failure>> {
    match answer {
        Ok(()) => Some(Ok(())),
        Err(Denied::Busy) => None,
        Err(Denied::Stale) => Some(Err(Failure::Stale)),
        Err(Denied::Fenced) => Some(Err(Failure::Unknown)),
        Err(Denied::Refused) => unreachable!("only outputs are refused"),
    }
}

pub fn name(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Committed => "a transaction was committed",
        Verdict::Refused(_) => "a transaction had refused outputs",
        Verdict::Aborted => "a transaction was aborted",
        Verdict::Stale => "a transaction was stale",
        Verdict::Uncertain(_) => "a transaction was uncertain",
    }
}
