//! Group commit without a timer: a transaction carries whatever finished while the previous one was being committed. A
//! record whose outputs the broker refuses is held and tried alone, now and then, while the others go on.

use super::Position;
use std::collections::VecDeque;

/// A record that was processed: where it came from and what is to be published for it. All of it or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished<O> {
    /// The record.
    pub at: Position,
    /// Its outputs.
    pub outputs: O,
}

/// Has a size that a transaction's bound counts.
pub trait Weighed {
    /// In bytes, roughly.
    fn weight(&self) -> usize;
}

/// What waits for its transaction.
#[derive(Debug)]
pub struct Batches<O> {
    finished: VecDeque<Finished<O>>,
    /// Refused by the broker; the next in turn stands first.
    held: VecDeque<Finished<O>>,
    /// May the first of the held be tried now?
    held_due: bool,
    max_records: usize,
    max_bytes: usize,
}

impl<O: Weighed> Batches<O> {
    /// A transaction carries at most `max_records` records, and not much more than `max_bytes` of outputs.
    pub fn new(max_records: usize, max_bytes: usize) -> Self {
        Self { finished: VecDeque::new(), held: VecDeque::new(), held_due: false, max_records, max_bytes }
    }

    /// A record was processed.
    pub fn push(&mut self, finished: Finished<O>) {
        self.finished.push_back(finished);
    }

    /// The records of a transaction that did not come about, to be tried again before any other.
    pub fn put_back(&mut self, records: Vec<Finished<O>>) {
        for record in records.into_iter().rev() {
            self.finished.push_front(record);
        }
    }

    /// A record whose outputs were refused; tried alone when [`Batches::try_held`] says so.
    pub fn hold(&mut self, record: Finished<O>) {
        self.held.push_back(record);
    }

    /// Some time has passed: the first of the held may be tried again.
    pub fn try_held(&mut self) {
        self.held_due = !self.held.is_empty();
    }

    /// The records of the next transaction; empty if there is nothing.
    pub fn take(&mut self) -> Vec<Finished<O>> {
        if std::mem::take(&mut self.held_due)
            && let Some(record) = self.held.pop_front()
        {
            return vec![record];
        }
        let mut bytes = 0;
        let mut count = 0;
        for record in self.finished.iter().take(self.max_records) {
            bytes += record.outputs.weight();
            // One that is larger than the bound goes alone.
            if bytes > self.max_bytes && count > 0 {
                break;
            }
            count += 1;
        }
        self.finished.drain(..count).collect()
    }

    /// Records that wait for a transaction, those held left out.
    pub fn waiting(&self) -> usize {
        self.finished.len()
    }

    /// Records that the broker refused.
    pub fn held(&self) -> usize {
        self.held.len()
    }
}
