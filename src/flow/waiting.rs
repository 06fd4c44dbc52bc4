//! Records that can't be admitted yet: what they need must be fetched first, or they stand too far above the lowest
//! incomplete record of their partition. Their partition waits behind them, for its commands must stay in order; the
//! others go on.

use super::batch::Weighed;
use super::lanes::Foldable;
use super::{Flow, Partition};
use std::collections::{BTreeMap, VecDeque};

/// See the module.
#[derive(Debug)]
pub struct Waiting<R> {
    by_partition: BTreeMap<Partition, VecDeque<R>>,
    /// Something may have changed for those that wait.
    stirred: bool,
}

impl<R> Default for Waiting<R> {
    fn default() -> Self {
        Self { by_partition: BTreeMap::new(), stirred: false }
    }
}

impl<R> Waiting<R> {
    /// A record arrived. `admit` takes it in, or gives it back if that can't be done yet.
    pub fn take<C: Foldable, O: Weighed>(
        &mut self,
        partition: Partition,
        record: R,
        flow: &mut Flow<C, O>,
        mut admit: impl FnMut(R, &mut Flow<C, O>) -> Result<(), R>,
    ) {
        if let Some(queue) = self.by_partition.get_mut(&partition) {
            queue.push_back(record);
        } else if let Err(record) = admit(record, flow) {
            self.by_partition.entry(partition).or_default().push_back(record);
            flow.block(partition, true);
        }
    }

    /// Admits what could not be admitted before, as far as it can be now.
    pub fn resume<C: Foldable, O: Weighed>(
        &mut self,
        flow: &mut Flow<C, O>,
        mut admit: impl FnMut(R, &mut Flow<C, O>) -> Result<(), R>,
    ) {
        if !std::mem::take(&mut self.stirred) {
            return;
        }
        self.by_partition.retain(|partition, queue| {
            while let Some(record) = queue.pop_front() {
                if let Err(record) = admit(record, flow) {
                    queue.push_front(record);
                    return true;
                }
            }
            flow.block(*partition, false);
            false
        });
    }

    /// Those that wait may find that something has changed: it was fetched, or a transaction is over.
    pub fn stir(&mut self) {
        self.stirred = !self.by_partition.is_empty();
    }

    /// The partitions are given up.
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
