//! The stream as one process has it: the partitions that are assigned to it now, if any, and what becomes of whatever is
//! under way when they are revoked or lost. What belongs to an earlier assignment is dropped wherever it turns up: its
//! records are delivered again, to whoever has their partitions then.

use super::batch::{Finished, Weighed};
use super::lanes::{Foldable, LaneId};
use super::offsets::Committed;
use super::{Flow, Limits, Partition};

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

/// What became of a transaction.
#[derive(Debug)]
pub enum Ending<O> {
    /// It was committed.
    Committed,
    /// Nothing of it took effect, and its records are to be tried again; these alone, for the broker refuses their outputs.
    Aborted(Vec<Finished<O>>),
    /// Nothing of it took effect: the partitions are not ours any more.
    Stale,
    /// It was committed if these offsets say so.
    Uncertain(Vec<(Partition, Committed)>),
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

    /// A lane's run is over.
    pub fn run_finished(&mut self, epoch: Epoch, lane: LaneId, results: Vec<Finished<O>>) {
        if let Some(flow) = self.flow(epoch) {
            flow.finish_run(lane, results);
        }
    }

    /// A transaction is over. Answers those of its records that are known to be committed.
    pub fn published(&mut self, epoch: Epoch, records: Vec<Finished<O>>, ending: Ending<O>) -> Vec<Finished<O>> {
        let Some(flow) = self.flow(epoch) else {
            return if matches!(ending, Ending::Committed) { records } else { Vec::new() };
        };
        match ending {
            Ending::Committed => {
                flow.committed(records.len());
                return records;
            }
            Ending::Aborted(refused) => flow.aborted(records, refused),
            Ending::Stale => self.give_up(),
            Ending::Uncertain(now) => return flow.uncertain(records, &now),
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
