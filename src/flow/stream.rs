//! The stream as one process has it: the partitions that are assigned to it now, if any, and what becomes of whatever is
//! under way when they are revoked or lost. What belongs to an earlier assignment is dropped wherever it turns up: its
//! records are delivered again, to whoever has their partitions then.

use super::attempt::{Pace, Refusal, Verdict};
use super::batch::{Finished, Weighed};
use super::lanes::{Foldable, RunId};
use super::offsets::Committed;
use super::{Flow, Limits, Partition};
use std::collections::BTreeSet;

/// Counts the assignments of this process.
pub type Epoch = u64;

/// Partitions from their assignment to their revocation. `G` is what the group coordinator knows it by.
#[derive(Debug)]
pub struct Assignment<C, O, G> {
    /// Its number.
    pub epoch: Epoch,
    /// The membership of the group that its offsets are committed with.
    pub generation: G,
    /// What happens to its records.
    pub flow: Flow<C, O>,
}

/// See the module.
#[derive(Debug)]
pub struct Stream<C, O, G> {
    limits: Limits,
    assignment: Option<Assignment<C, O, G>>,
}

impl<C: Foldable, O: Weighed, G> Stream<C, O, G> {
    /// Nothing is assigned yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, assignment: None }
    }

    /// These are the partitions that we have now, and where each is to go on.
    pub fn assigned(&mut self, epoch: Epoch, generation: G, partitions: &[(Partition, Committed)]) {
        self.assignment = Some(Assignment { epoch, generation, flow: Flow::new(self.limits, partitions) });
    }

    /// The partitions are to be given up as soon as what runs is finished and committed, or are lost already.
    pub fn revoked(&mut self, lost: bool) {
        if lost {
            self.give_up();
        } else if let Some(assignment) = &mut self.assignment {
            assignment.flow.drain(true);
        }
    }

    /// The partitions are somebody else's from now on.
    pub fn give_up(&mut self) {
        self.assignment = None;
    }

    /// The partitions that we have now.
    pub fn current(&self) -> Option<&Assignment<C, O, G>> {
        self.assignment.as_ref()
    }

    /// The partitions that we have now.
    pub fn current_mut(&mut self) -> Option<&mut Assignment<C, O, G>> {
        self.assignment.as_mut()
    }

    /// The flow of the assignment of this number, if it is the one that we have now.
    pub fn flow(&mut self, epoch: Epoch) -> Option<&mut Flow<C, O>> {
        self.assignment.as_mut().filter(|a| a.epoch == epoch).map(|a| &mut a.flow)
    }

    /// A lane's run is decided, and is being answered.
    pub fn run_decided(&mut self, epoch: Epoch, run: RunId) {
        if let Some(flow) = self.flow(epoch) {
            flow.run_decided(run);
        }
    }

    /// A lane's run is over.
    pub fn run_finished(&mut self, epoch: Epoch, run: RunId, results: Vec<Finished<O>>) {
        if let Some(flow) = self.flow(epoch) {
            flow.finish_run(run, results);
        }
    }

    /// A transaction is over. Answers those of its records that are known to be committed. Of a record whose output is
    /// refused, `redirect` sends that output elsewhere, if it can (true): then the record is tried again with the others;
    /// else alone. A transaction that was too slow is tried again with fewer records; what is too slow even alone counts as refused.
    pub fn published(
        &mut self,
        epoch: Epoch,
        records: Vec<Finished<O>>,
        verdict: Verdict,
        pace: Pace,
        redirect: impl FnMut(&mut Finished<O>, Refusal) -> bool,
    ) -> Vec<Finished<O>> {
        let Some(flow) = self.flow(epoch) else {
            return if verdict == Verdict::Committed { records } else { Vec::new() };
        };
        flow.paced(pace);
        let silent = if let (Pace::Late(Some(refusal)), 1) = (pace, records.len()) { vec![refusal] } else { Vec::new() };
        match verdict {
            Verdict::Committed => {
                flow.committed(records.len());
                return records;
            }
            Verdict::Aborted => {
                let (again, alone) = sort(records, &silent, redirect);
                flow.aborted(again, alone);
            }
            Verdict::Refused(refusals) => {
                let (again, alone) = sort(records, &refusals, redirect);
                flow.aborted(again, alone);
            }
            Verdict::OffsetsTooLarge => flow.offsets_too_large(records),
            Verdict::Stale => self.give_up(),
            Verdict::Uncertain(now) => {
                let (done, not_done) = flow.told_apart(records, &now);
                // What a late transaction carried alone is the one record that is not done, if it is not.
                let silent = if not_done.is_empty() { Vec::new() } else { silent };
                let (again, alone) = sort(not_done, &silent, redirect);
                flow.uncertain(done.len(), again, alone);
                return done;
            }
        }
        Vec::new()
    }

    /// True if more records may be taken in. Without an assignment they are: they belong to an earlier one, and are dropped.
    pub fn has_room(&self) -> bool {
        self.assignment.as_ref().is_none_or(|a| a.flow.has_room())
    }

    /// True if nothing is under way.
    pub fn is_drained(&self) -> bool {
        self.assignment.as_ref().is_none_or(|a| a.flow.is_drained())
    }
}

/// Which records are tried again together, and which alone.
fn sort<O>(
    mut records: Vec<Finished<O>>,
    refusals: &[Refusal],
    mut redirect: impl FnMut(&mut Finished<O>, Refusal) -> bool,
) -> (Vec<Finished<O>>, Vec<Finished<O>>) {
    let mut alone = BTreeSet::new();
    for refusal in refusals {
        if !redirect(&mut records[refusal.record], *refusal) {
            alone.insert(refusal.record);
        }
    }
    let (alone, again): (Vec<_>, Vec<_>) = (0..).zip(records).partition(|(n, _)| alone.contains(n));
    let records = |numbered: Vec<(usize, _)>| numbered.into_iter().map(|(_, record)| record).collect();
    (records(again), records(alone))
}
