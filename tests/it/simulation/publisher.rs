//! An instance's publishers, request by request: one transaction at a time, by the real [`Step`]s, and by one of two producers in turn (the
//! real [`InTurn`]). A publisher that starts over registers the producer anew, and then asks for the committed offsets. A request may never
//! return: the real [`Succession`] then puts another publisher in the place of the one that waits for it.

use super::Defect;
use super::broker::{Broker, Denied, ProducerEpoch, Slot, TransactionalId};
use super::group::Membership;
use super::outputs::Outputs;
use crm_processor::flow;
use crm_processor::flow::AssignmentId;
use crm_processor::flow::attempt::{Failure, Pace, Refusal, Step, Verdict, Why};
use crm_processor::flow::batch::Finished;
use crm_processor::flow::in_turn::InTurn;
use crm_processor::flow::succession::{Ended, PublisherId, Succession};
use crm_processor::store::simulated::Random;
use std::collections::VecDeque;
use std::sync::Arc;

/// How long a request may take. Some are answered later than that.
const DEADLINE: u64 = 300;
/// Of a thousand requests that take longer, the number that never return.
const NEVER: u64 = 700;

/// A transaction to be committed.
type Publication = flow::Publication<Outputs, Membership>;

/// How a transaction ended.
pub struct Published {
    pub assignment: AssignmentId,
    pub records: Vec<Finished<Outputs>>,
    pub verdict: Verdict,
    pub pace: Pace,
}

/// How many requests in a thousand go wrong in which way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trouble {
    /// Requests that fail with an error after which the transaction has to be aborted.
    pub abortable: u64,
    /// Requests that fail with an error that leaves open whether the request arrived, did not, or will arrive.
    pub unknown: u64,
    /// Requests that return long after their deadline, or never. They may have arrived.
    pub hanging: u64,
}

enum Stage {
    /// The publisher registers the present producer, or first that one and then the other.
    Registering {
        both: bool,
    },
    Idle,
    /// The publisher is in a transaction. It has the next output, by record and output in the record, and the refused outputs.
    Attempting {
        step: Step,
        next: (usize, usize),
        refused: Vec<Refusal>,
    },
    /// What was committed.
    Asking,
}

/// All publishers of an instance.
pub struct Publishing {
    slot: Slot,
    succession: Succession<Publication>,
    present: Publisher,
    /// The publishers that wait for requests that may return some day.
    abandoned: Vec<Publisher>,
    defect: Option<Defect>,
}

impl Publishing {
    pub fn new(slot: Slot, defect: Option<Defect>) -> Self {
        let succession = Succession::default();
        let present = Publisher::new(slot, &succession, None, defect);
        Self { slot, succession, present, abandoned: Vec::new(), defect }
    }

    pub fn publish(&mut self, publication: Publication) {
        if let Some(publication) = self.succession.publish(publication) {
            self.present.inbox.push_back(publication);
        }
    }

    /// Puts another publisher in the place of one whose request does not return. Returns `true` if it did.
    pub fn watch(&mut self, now: u64) -> bool {
        let overdue = self.present.hanging.as_ref().is_some_and(|hanging| now >= hanging.since + DEADLINE);
        if !overdue || self.defect == Some(Defect::HangingPublisherKept) {
            return false;
        }
        let left = self.succession.abandon();
        let successor = Publisher::new(self.slot, &self.succession, left, self.defect);
        self.abandoned.push(std::mem::replace(&mut self.present, successor));
        true
    }

    /// Makes one request of one of the publishers. `membership` is the consumer's present one.
    pub fn step(
        &mut self,
        broker: &mut Broker,
        membership: Option<Membership>,
        trouble: Trouble,
        random: &mut Random,
    ) -> Option<Published> {
        let which = usize::try_from(random.below(1 + self.abandoned.len() as u64)).expect("few");
        let told = match self.abandoned.get_mut(which) {
            Some(abandoned) => {
                let told = abandoned.last_steps(broker, membership, trouble, random);
                if abandoned.hanging.is_none() && !matches!(abandoned.stage, Stage::Attempting { .. }) {
                    self.abandoned.swap_remove(which);
                }
                told
            }
            None => self.present.step(broker, membership, trouble, random),
        };
        let (mut publisher, verdict) = told?;
        if publisher != self.succession.present() {
            broker.happened.note("an abandoned publisher had a verdict");
            if self.defect == Some(Defect::AbandonedVerdictTaken) {
                publisher = self.succession.present();
            }
        }
        let Ended { publication, next } = self.succession.ended(publisher)?;
        self.present.inbox.extend(next);
        let Publication { assignment, records, .. } = Arc::unwrap_or_clone(publication);
        let pace = pace(&verdict, random);
        Some(Published { assignment, records, verdict, pace })
    }
}

/// A request that has not returned.
struct Hanging {
    since: u64,
    /// When the request returns, if it does, and its result.
    until: Option<u64>,
    result: Result<(), Failure>,
}

/// A publisher's thread.
struct Publisher {
    number: PublisherId,
    slot: Slot,
    epochs: InTurn<ProducerEpoch>,
    stage: Stage,
    publication: Option<Arc<Publication>>,
    inbox: VecDeque<Arc<Publication>>,
    hanging: Option<Hanging>,
    defect: Option<Defect>,
}

impl Publisher {
    fn new(slot: Slot, succession: &Succession<Publication>, left: Option<Arc<Publication>>, defect: Option<Defect>) -> Self {
        let number = succession.present();
        let stage = Stage::Registering { both: number == 0 || defect != Some(Defect::OneProducerRegistered) };
        let epochs = InTurn::new([0, 0]);
        Self { number, slot, epochs, stage, publication: left, inbox: VecDeque::new(), hanging: None, defect }
    }

    /// Returns the transactional id of the present producer.
    fn id(&self) -> TransactionalId {
        (self.slot, self.epochs.turn())
    }

    /// Makes one request.
    fn step(
        &mut self,
        broker: &mut Broker,
        membership: Option<Membership>,
        trouble: Trouble,
        random: &mut Random,
    ) -> Option<(PublisherId, Verdict)> {
        if self.hanging.is_some() {
            let verdict = self.returned(broker.now())?;
            return self.over(verdict);
        }
        if self.publication.is_none() {
            self.publication = self.inbox.pop_front();
        }
        let verdict = match (&self.stage, &self.publication) {
            (Stage::Registering { both }, publication) => {
                let registered = broker.register(self.id());
                let (both, asks) = (*both, publication.is_some());
                // A publisher that registers or asks for offsets repeats the request, so such a request need not be remembered.
                if random.chance(trouble.hanging) {
                    self.hang(broker.now(), Err(Failure::Unknown), random);
                    return None;
                }
                self.epochs.replace(registered?);
                self.stage = match asks {
                    _ if both => Stage::Registering { both: false },
                    true => Stage::Asking,
                    false => Stage::Idle,
                };
                if both {
                    self.epochs.give_turn();
                }
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
        self.over(verdict)
    }

    fn over(&mut self, verdict: Verdict) -> Option<(PublisherId, Verdict)> {
        self.stage = Stage::Idle;
        if self.number == 0 || self.defect != Some(Defect::OneProducerRegistered) {
            self.epochs.give_turn();
        }
        self.publication.take().map(|_| (self.number, verdict))
    }

    fn hang(&mut self, now: u64, result: Result<(), Failure>, random: &mut Random) {
        let until = (!random.chance(NEVER)).then(|| now + random.below(4 * DEADLINE));
        self.hanging = Some(Hanging { since: now, until, result });
    }

    /// Goes on if the request has returned by now.
    fn returned(&mut self, now: u64) -> Option<Verdict> {
        let Hanging { result, .. } = self.hanging.take_if(|hanging| hanging.until.is_some_and(|until| until <= now))?;
        self.go_on(result)
    }

    /// Lets an abandoned publisher go on whose request returns. It goes on because there is a moment between its look whether it was
    /// abandoned and its next request. Nothing may rest on how soon it looks again: here it never does. It ends when it has a verdict or
    /// would register anew.
    fn last_steps(
        &mut self,
        broker: &mut Broker,
        membership: Option<Membership>,
        trouble: Trouble,
        random: &mut Random,
    ) -> Option<(PublisherId, Verdict)> {
        let verdict = if self.hanging.is_some() {
            self.returned(broker.now())?
        } else {
            broker.happened.note("an abandoned publisher went on");
            self.attempt(broker, membership, trouble, random)?
        };
        self.over(verdict)
    }

    /// Makes one request of the transaction. Returns `None` while more requests are to come.
    fn attempt(
        &mut self,
        broker: &mut Broker,
        membership: Option<Membership>,
        trouble: Trouble,
        random: &mut Random,
    ) -> Option<Verdict> {
        let result = self.call_with(broker, membership, trouble, random)?;
        if random.chance(trouble.hanging) {
            self.hang(broker.now(), result, random);
            return None;
        }
        self.go_on(result)
    }

    /// Takes the step that follows from the result of a request.
    fn go_on(&mut self, result: Result<(), Failure>) -> Option<Verdict> {
        let Stage::Attempting { step, .. } = &mut self.stage else { return None };
        let is_kept = self.defect == Some(Defect::UnsettledProducerKept)
            && matches!(step, Step::Produce | Step::Flush)
            && result == Err(Failure::Abortable);
        let next = std::mem::replace(step, Step::StartOver).then(result);
        *step = if is_kept { Step::Abort(Verdict::Aborted) } else { next };
        match step {
            Step::StartOver => self.stage = Stage::Registering { both: false },
            Step::Over(verdict) => return Some(verdict.clone()),
            _ => {}
        }
        None
    }

    /// Makes a request that may go wrong on its way.
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
            if matches!(step, Step::Produce | Step::Flush) {
                broker.arrived_unnoticed(self.id(), *self.epochs.present());
            }
            return Some(Err(Failure::Abortable));
        }
        if random.chance(trouble.unknown) {
            match random.below(4) {
                0 | 1 => drop(self.call(broker, membership)),
                2 if committing => broker.commit_late(self.id(), *self.epochs.present()),
                _ => {}
            }
            return Some(Err(Failure::Unknown));
        }
        self.call(broker, membership)
    }

    /// Makes a request that is answered. Returns `None` if the step does not end with it.
    fn call(&mut self, broker: &mut Broker, membership: Option<Membership>) -> Option<Result<(), Failure>> {
        let (id, epoch) = (self.id(), *self.epochs.present());
        let publication = self.publication.as_ref()?;
        let Stage::Attempting { step, next, refused } = &mut self.stage else { return None };
        let answer = match step {
            Step::Produce => {
                while publication.records.get(next.0).is_some_and(|r| next.1 >= r.outputs.all.len()) {
                    *next = (next.0 + 1, 0);
                }
                let Some(record) = publication.records.get(next.0) else { return Some(Ok(())) };
                let output = record.outputs.all[next.1].clone();
                let answer = match self.defect {
                    Some(Defect::OutputsOutsideTheTransaction) => broker.produce_at_once(output),
                    _ => broker.produce(id, epoch, output),
                };
                match answer {
                    Ok(()) => {}
                    // The publisher learns of it when all outputs are flushed.
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
            Step::Commit if self.defect == Some(Defect::TransactionsOverlap) => {
                broker.commit_late(id, epoch);
                Ok(())
            }
            Step::Commit => broker.end(id, epoch, true),
            Step::Abort(_) => broker.end(id, epoch, false),
            Step::StartOver | Step::Over(_) => unreachable!("dealt with by the caller"),
        };
        answered(answer)
    }
}

/// Chooses by chance how long a transaction took, because a transaction that was not committed may have failed for being late.
fn pace(verdict: &Verdict, random: &mut Random) -> Pace {
    match verdict {
        Verdict::Committed if random.chance(500) => Pace::Swift,
        Verdict::Aborted | Verdict::Uncertain(_) if random.chance(300) => {
            Pace::Late(Some(Refusal { record: 0, output: 0, why: Why::Silent }))
        }
        _ => Pace::Usual,
    }
}

/// Returns the client's result for an answer, or `None` if the client repeats the request by itself.
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
        Verdict::OffsetsTooLarge => "a transaction had offsets that were too large",
        Verdict::Uncertain(_) => "a transaction was uncertain",
    }
}
