//! Group commit: a transaction carries whatever finished while the previous one was being committed. A
//! record whose outputs the broker refuses is held, and with it what follows in its lane, so that answers keep their order;
//! the other lanes go on. It is tried alone, now and then; as soon as it goes through, its lane goes on, and the next one
//! that is held is tried.

use super::Position;
use super::lanes::LaneId;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};

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
    finished: VecDeque<(LaneId, Finished<O>)>,
    /// Lanes with a record that the broker refused: that one, and what has finished behind it.
    held: HashMap<LaneId, VecDeque<Finished<O>>>,
    /// The lanes held; the next in turn stands first.
    turns: VecDeque<LaneId>,
    /// May a record that is held be tried now?
    held_due: bool,
    /// The records of the transaction under way, in their order.
    under_way: Vec<(LaneId, Position)>,
    max_records: usize,
    max_bytes: usize,
}

impl<O: Weighed> Batches<O> {
    /// A transaction carries at most `max_records` records, and not much more than `max_bytes` of outputs.
    pub fn new(max_records: usize, max_bytes: usize) -> Self {
        Self {
            finished: VecDeque::new(),
            held: HashMap::new(),
            turns: VecDeque::new(),
            held_due: false,
            under_way: Vec::new(),
            max_records,
            max_bytes,
        }
    }

    /// A record of a lane was processed.
    pub fn push(&mut self, lane: LaneId, finished: Finished<O>) {
        match self.held.get_mut(&lane) {
            Some(held) => held.push_back(finished),
            None => self.finished.push_back((lane, finished)),
        }
    }

    /// The transaction under way is over. `again` are those of its records that did not come about and are tried again before
    /// any other; `refused` are those whose outputs the broker does not take; all others were committed.
    pub fn ended(&mut self, again: Vec<Finished<O>>, refused: Vec<Finished<O>>) {
        let under_way = std::mem::take(&mut self.under_way);
        if !refused.is_empty() {
            let refused: HashSet<Position> = refused.iter().map(|r| r.at).collect();
            self.hold(under_way.iter().filter(|(_, at)| refused.contains(at)).map(|(lane, _)| *lane));
        }
        if let [(lane, _)] = under_way[..]
            && !again.is_empty()
            && self.held.contains_key(&lane)
        {
            // It was not refused: its turn is not over.
            self.turns.rotate_right(1);
            self.held_due = true;
        }
        let mut back: HashMap<Position, Finished<O>> = again.into_iter().chain(refused).map(|r| (r.at, r)).collect();
        for (lane, at) in under_way.into_iter().rev() {
            match (back.remove(&at), self.held.get_mut(&lane)) {
                (Some(record), Some(held)) => held.push_front(record),
                (Some(record), None) => self.finished.push_front((lane, record)),
                (None, Some(_)) => self.release(lane),
                (None, None) => (),
            }
        }
    }

    /// What has finished in these lanes waits for what is to be put before it. They take their turns in this order.
    fn hold(&mut self, lanes: impl Iterator<Item = LaneId>) {
        for lane in lanes {
            if let Entry::Vacant(held) = self.held.entry(lane) {
                held.insert(VecDeque::new());
                self.turns.push_back(lane);
            }
        }
        for (lane, record) in std::mem::take(&mut self.finished) {
            self.push(lane, record);
        }
    }

    /// The first of a lane that is held went through: perhaps the broker takes the others, too.
    fn release(&mut self, lane: LaneId) {
        self.turns.retain(|turn| *turn != lane);
        for record in self.held.remove(&lane).unwrap_or_default().into_iter().rev() {
            self.finished.push_front((lane, record));
        }
        self.held_due = !self.turns.is_empty();
    }

    /// Some time has passed: the first of those held may be tried again.
    pub fn try_held(&mut self) {
        self.held_due = !self.turns.is_empty();
    }

    /// The records of the next transaction; empty if there is nothing.
    pub fn take(&mut self) -> Vec<Finished<O>> {
        if std::mem::take(&mut self.held_due)
            && let Some(lane) = self.turns.front().copied()
            && let Some(record) = self.held.get_mut(&lane).and_then(VecDeque::pop_front)
        {
            self.turns.rotate_left(1);
            self.under_way = vec![(lane, record.at)];
            return vec![record];
        }
        let mut bytes = 0;
        let mut count = 0;
        for (_, record) in self.finished.iter().take(self.max_records) {
            bytes += record.outputs.weight();
            // One that is larger than the bound goes alone.
            if bytes > self.max_bytes && count > 0 {
                break;
            }
            count += 1;
        }
        self.under_way = self.finished.iter().take(count).map(|(lane, record)| (*lane, record.at)).collect();
        self.finished.drain(..count).map(|(_, record)| record).collect()
    }

    /// Records that wait for a transaction, those held left out.
    pub fn waiting(&self) -> usize {
        self.finished.len()
    }

    /// Records that the broker refused, and those behind them in their lanes.
    pub fn held(&self) -> usize {
        let tried = self.under_way.iter().filter(|(lane, _)| self.held.contains_key(lane)).count();
        self.held.values().map(VecDeque::len).sum::<usize>() + tried
    }
}
