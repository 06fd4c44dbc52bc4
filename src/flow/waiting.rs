//! Records that can't be admitted yet: what they need must be fetched first, or they stand too far above the lowest
//! incomplete record of their partition. Their partition waits behind them, for its commands must stay in order; the
//! others go on.

use super::batch::Weighed;
use super::lanes::Foldable;
use super::{Flow, Partition};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How many things are fetched at once for records that are not the first of their partition. Records that name what does not exist would
/// else be waited for one after the other.
const MOST_EXPECTED: usize = 1_024;

/// A record that can't be admitted yet, and why.
#[derive(Debug, PartialEq, Eq)]
pub enum Unready<R, N> {
    /// This must be fetched first.
    Lacks(R, N),
    /// It is too far above the lowest incomplete record.
    TooFar(R),
}

/// See the module. `R` is a record, `N` what it may need.
#[derive(Debug)]
pub struct Waiting<R, N> {
    by_partition: BTreeMap<Partition, VecDeque<R>>,
    needs: Needs<N>,
    /// Something may have changed for those that wait.
    stirred: bool,
}

/// What is being fetched, each thing once.
#[derive(Debug)]
struct Needs<N> {
    fetching: BTreeSet<N>,
    /// Nobody was told yet.
    new: Vec<N>,
}

impl<R, N: Ord + Clone> Default for Waiting<R, N> {
    fn default() -> Self {
        let needs = Needs { fetching: BTreeSet::new(), new: Vec::new() };
        Self { by_partition: BTreeMap::new(), needs, stirred: false }
    }
}

impl<R, N: Ord + Clone> Waiting<R, N> {
    /// A record arrived. `admit` takes it in, or gives it back if that can't be done yet.
    pub fn take<C: Foldable, O: Weighed>(
        &mut self,
        partition: Partition,
        record: R,
        flow: &mut Flow<C, O>,
        mut admit: impl FnMut(R, &mut Flow<C, O>) -> Result<(), Unready<R, N>>,
    ) {
        if let Some(queue) = self.by_partition.get_mut(&partition) {
            queue.push_back(record);
        } else if let Err(unready) = admit(record, flow) {
            let record = self.needs.note(unready);
            self.by_partition.entry(partition).or_default().push_back(record);
            flow.block(partition, true);
        }
    }

    /// Admits what could not be admitted before, as far as it can be now.
    pub fn resume<C: Foldable, O: Weighed>(
        &mut self,
        flow: &mut Flow<C, O>,
        mut admit: impl FnMut(R, &mut Flow<C, O>) -> Result<(), Unready<R, N>>,
    ) {
        if !std::mem::take(&mut self.stirred) {
            return;
        }
        self.by_partition.retain(|partition, queue| {
            while let Some(record) = queue.pop_front() {
                if let Err(unready) = admit(record, flow) {
                    queue.push_front(self.needs.note(unready));
                    return true;
                }
            }
            flow.block(*partition, false);
            false
        });
    }

    /// A record that was taken will need this: it is fetched while others are waited for, unless that is too much at once. Does nothing
    /// where no record waits.
    pub fn expect(&mut self, partition: Partition, need: N) {
        if self.by_partition.contains_key(&partition) && self.needs.fetching.len() < MOST_EXPECTED {
            self.needs.want(need);
        }
    }

    /// True if records of this partition wait.
    pub fn holds(&self, partition: Partition) -> bool {
        self.by_partition.contains_key(&partition)
    }

    /// What is to be fetched now, each thing once until it is [`Waiting::fetched`].
    pub fn wanted(&mut self) -> Vec<N> {
        std::mem::take(&mut self.needs.new)
    }

    /// What was wanted is there.
    pub fn fetched(&mut self, need: &N) {
        self.needs.fetching.remove(need);
        self.stir();
    }

    /// Those that wait may find that something has changed: a transaction is over, for one thing.
    pub fn stir(&mut self) {
        self.stirred = !self.by_partition.is_empty();
    }

    /// The partitions are given up. What is being fetched goes on being fetched.
    pub fn clear(&mut self) {
        self.by_partition.clear();
    }

    /// How many records wait.
    pub fn len(&self) -> usize {
        self.by_partition.values().map(VecDeque::len).sum()
    }

    /// True if none waits.
    pub fn is_empty(&self) -> bool {
        self.by_partition.is_empty()
    }
}

impl<N: Ord + Clone> Needs<N> {
    fn note<R>(&mut self, unready: Unready<R, N>) -> R {
        match unready {
            Unready::Lacks(record, need) => {
                self.want(need);
                record
            }
            Unready::TooFar(record) => record,
        }
    }

    fn want(&mut self, need: N) {
        if self.fetching.insert(need.clone()) {
            self.new.push(need);
        }
    }
}
