//! Group commit: a transaction carries whatever finished while the previous one was being committed. A
//! record whose outputs the broker refuses is held, and with it what follows in its lane, so that answers keep their order;
//! the other lanes go on. It is tried alone, now and then; as soon as it goes through, its lane goes on, and the next one
//! that is held is tried.
//!
//! A transaction that was too slow is tried again with half as many records, for a quota may not let more through in the time
//! that a transaction has. One that is swift lets the next one carry twice as many. A record that is too slow even alone is held; as
//! each try costs all the others that time, tries of it become rare.

use super::RecordId;
use super::attempt::Why;
use super::lanes::LaneId;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};

/// A record that was processed: where it came from and what is to be published for it. All of it or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished<O> {
    /// The record.
    pub at: RecordId,
    /// Its outputs.
    pub outputs: O,
}

/// The outputs of one record.
pub trait Publishable {
    /// What is told of an output that the broker refuses.
    type Refused;

    /// Returns roughly how many bytes the outputs take in a transaction.
    fn weight(&self) -> usize;

    /// Sends an output that the broker refuses elsewhere, if there is another place for it. Returns whether there was, and what is to be
    /// told. If there is no other place, the record is held.
    fn refused(&mut self, record: RecordId, output: usize, why: Why) -> (bool, Self::Refused);
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
    /// How often [`Batches::try_held`] was called.
    ticks: u64,
    /// The lanes held whose first record was too slow even alone.
    slow: HashMap<LaneId, Slow>,
    /// The records of the transaction under way, in their order.
    under_way: Vec<(LaneId, RecordId)>,
    /// How many records the next transaction may carry: what has been within the time lately.
    cap: usize,
    max_records: usize,
    max_bytes: usize,
}

/// A record whose outputs weigh more than this goes alone, in bytes: no broker need take so much in one record, unless it was told to. If it
/// is not taken, and the broker does not say so, no other record is kept waiting with it for longer than once.
const HEAVY: usize = 1 << 20;

/// The most ticks between two tries of a record that is too slow even alone.
const RAREST: u64 = 12;

/// How rarely a record is tried that is too slow even alone.
#[derive(Clone, Copy, Debug)]
struct Slow {
    /// The tick of the next try.
    due: u64,
    /// How many ticks the try after that is away from it.
    pause: u64,
}

impl<O: Publishable> Batches<O> {
    /// A transaction carries at most `max_records` records, and not much more than `max_bytes` of outputs.
    pub fn new(max_records: usize, max_bytes: usize) -> Self {
        Self {
            finished: VecDeque::new(),
            held: HashMap::new(),
            turns: VecDeque::new(),
            held_due: false,
            ticks: 0,
            slow: HashMap::new(),
            under_way: Vec::new(),
            cap: max_records,
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

    /// The transaction under way took all of its time and failed for that. How it ended must be told next.
    pub fn too_slow(&mut self) {
        self.cap = (self.under_way.len() / 2).max(1);
        if let [(lane, _)] = self.under_way[..] {
            let pause = self.slow.get(&lane).map_or(1, |slow| (2 * slow.pause).min(RAREST));
            self.slow.insert(lane, Slow { due: self.ticks + pause, pause });
        }
    }

    /// The transaction under way took little of its time. How it ended must be told next.
    pub fn swift(&mut self) {
        self.cap = (2 * self.cap).min(self.max_records);
    }

    /// The transaction under way is over. `again` are those of its records that did not come about and are tried again before
    /// any other; `refused` are those whose outputs the broker does not take; all others were committed.
    pub fn ended(&mut self, again: Vec<Finished<O>>, refused: Vec<Finished<O>>) {
        let under_way = std::mem::take(&mut self.under_way);
        if !refused.is_empty() {
            let refused: HashSet<RecordId> = refused.iter().map(|r| r.at).collect();
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
        let mut back: HashMap<RecordId, Finished<O>> = again.into_iter().chain(refused).map(|r| (r.at, r)).collect();
        for (lane, at) in under_way.into_iter().rev() {
            match (back.remove(&at), self.held.get_mut(&lane)) {
                (Some(record), Some(held)) => held.push_front(record),
                (Some(record), None) => self.finished.push_front((lane, record)),
                (None, Some(_)) => self.release(lane),
                (None, None) => (),
            }
        }
        self.slow.retain(|lane, _| self.held.contains_key(lane));
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
        self.slow.clear();
        for record in self.held.remove(&lane).unwrap_or_default().into_iter().rev() {
            self.finished.push_front((lane, record));
        }
        self.held_due = !self.turns.is_empty();
    }

    /// Some time has passed: the first of those held may be tried again.
    pub fn try_held(&mut self) {
        self.ticks += 1;
        self.held_due = !self.turns.is_empty();
    }

    /// The records of the next transaction; empty if there is nothing. Those that `may` not be committed yet are left out.
    pub fn take(&mut self, may: impl Fn(RecordId) -> bool) -> Vec<Finished<O>> {
        if std::mem::take(&mut self.held_due)
            && let Some((lane, record)) = self.take_held(&may)
        {
            self.under_way = vec![(lane, record.at)];
            return vec![record];
        }
        let mut bytes = 0;
        let mut records = Vec::with_capacity(self.cap.min(self.finished.len()));
        let mut left_out = Vec::new();
        self.under_way.clear();
        while records.len() < self.cap
            && let Some((lane, record)) = self.finished.pop_front()
        {
            if !may(record.at) {
                left_out.push((lane, record));
                continue;
            }
            let weight = record.outputs.weight();
            bytes += weight;
            // One that is larger than the bound goes alone.
            if (bytes > self.max_bytes || weight > HEAVY) && !records.is_empty() {
                self.finished.push_front((lane, record));
                break;
            }
            self.under_way.push((lane, record.at));
            records.push(record);
            if weight > HEAVY {
                break;
            }
        }
        left_out.into_iter().rev().for_each(|left_out| self.finished.push_front(left_out));
        records
    }

    /// The first record of those held whose turn it is.
    fn take_held(&mut self, may: impl Fn(RecordId) -> bool) -> Option<(LaneId, Finished<O>)> {
        let is_due = |lane: &LaneId| {
            let first = self.held.get(lane).and_then(VecDeque::front);
            first.is_some_and(|first| may(first.at)) && self.slow.get(lane).is_none_or(|slow| slow.due <= self.ticks)
        };
        let turn = self.turns.iter().position(is_due)?;
        let lane = self.turns.remove(turn)?;
        self.turns.push_back(lane);
        Some((lane, self.held.get_mut(&lane)?.pop_front()?))
    }

    /// How many records a transaction may carry now.
    pub fn cap(&self) -> usize {
        self.cap
    }

    /// Records that wait for a transaction, those held left out.
    pub fn waiting(&self) -> usize {
        self.finished.len()
    }

    /// Returns whether any lane is held.
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Records that the broker refused, and those behind them in their lanes.
    pub fn held(&self) -> usize {
        let tried = self.under_way.iter().filter(|(lane, _)| self.held.contains_key(lane)).count();
        self.held.values().map(VecDeque::len).sum::<usize>() + tried
    }
}
