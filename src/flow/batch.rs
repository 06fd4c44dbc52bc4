//! Group commit: which of the finished records the next transaction carries. It carries whatever has finished while the previous one was
//! being committed, up to a bound.
//!
//! A record with an output that the broker refuses, and for which there is no other place, is *held*, and with it whatever finishes
//! behind it in its lane, so that answers keep their order. The other lanes go on. The held record is tried alone, now and then. As soon
//! as it goes through, its lane goes on, and the first record of the next lane that is held is tried.
//!
//! A transaction that was too slow is tried again with half as many records, because a quota may not let more through in the time that a
//! transaction has. A swift one lets the next carry twice as many. If a transaction that carries one record runs out of time twice, that
//! record is to blame: it is held, or an output of it goes elsewhere. Running out of time once proves nothing, because a broker that fails
//! takes all of a transaction's time, too, until another one leads its partitions. Such a record is tried more and more rarely, because all
//! other records wait while it is tried.

use super::RecordId;
use super::attempt::Why;
use super::lanes::LaneId;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};

/// A record that was processed, with its outputs, which are published all together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished<O> {
    /// The record.
    pub at: RecordId,
    /// Its outputs.
    pub outputs: O,
}

/// The outputs of one record.
pub trait Publishable {
    /// A report on an output that the broker refuses.
    type Refused;

    /// Returns roughly how many bytes the outputs take in a transaction.
    fn weight(&self) -> usize;

    /// Gives another place to an output that the broker refuses, if there is one. If there is none, the record is held.
    fn redirect(&mut self, record: RecordId, output: usize, why: Why) -> Redirection<Self::Refused>;
}

/// The answer of [`Publishable::redirect`]. `R` is the type of the report.
#[derive(Debug)]
pub struct Redirection<R> {
    /// Whether the output has another place to go to. If so, it goes there from now on.
    pub has_other_place: bool,
    /// The report on the refusal.
    pub report: R,
}

/// The records that wait for a transaction, and those of the transaction under way.
#[derive(Debug)]
pub struct Batches<O> {
    finished: VecDeque<(LaneId, Finished<O>)>,
    /// The lanes that are held, each with what waits there: the record that the broker refused, unless it is being tried, and those that
    /// have finished behind it.
    held: HashMap<LaneId, VecDeque<Finished<O>>>,
    /// The lanes that are held, in the order of their turns. The next one stands first.
    turns: VecDeque<LaneId>,
    /// Whether a record that is held may be tried now.
    held_due: bool,
    /// How often [`Batches::try_held`] was called. Times are counted in these ticks.
    ticks: u64,
    /// The lanes whose first record is too slow even alone.
    slow: HashMap<LaneId, Slow>,
    /// The record whose transaction carried nothing else and ran out of time once. If that happens again, the record is to blame.
    suspect: Option<RecordId>,
    /// The records of the transaction under way, in their order.
    under_way: Vec<(LaneId, RecordId)>,
    /// The most records that the next transaction may carry: as many as were committed in time lately.
    cap: usize,
    max_records: usize,
    max_bytes: usize,
}

/// The weight in bytes above which a record goes alone. Brokers take a record of this size only if they are configured to. If a broker
/// neither takes the record nor refuses it, two transactions run out of time, and the record is known to be to blame. Together with others,
/// it would be found only by halving the transaction again and again.
const HEAVY: usize = 1 << 20;

/// The most ticks between two tries of a record that is too slow even alone.
const RAREST: u64 = 12;

/// How rarely a record that is too slow even alone is tried.
#[derive(Clone, Copy, Debug)]
struct Slow {
    /// The tick of the next try.
    due: u64,
    /// The number of ticks between the last try and the next one.
    pause: u64,
}

impl<O: Publishable> Batches<O> {
    /// Creates batches without records. A transaction will carry at most `max_records` records and, unless it carries one record only, at
    /// most `max_bytes` of outputs.
    pub fn new(max_records: usize, max_bytes: usize) -> Self {
        Self {
            finished: VecDeque::new(),
            held: HashMap::new(),
            turns: VecDeque::new(),
            held_due: false,
            ticks: 0,
            slow: HashMap::new(),
            suspect: None,
            under_way: Vec::new(),
            cap: max_records,
            max_records,
            max_bytes,
        }
    }

    /// Takes a record of the lane that was processed.
    pub fn push(&mut self, lane: LaneId, finished: Finished<O>) {
        match self.held.get_mut(&lane) {
            Some(held) => held.push_back(finished),
            None => self.finished.push_back((lane, finished)),
        }
    }

    /// Takes note that the transaction under way ran out of time. `sending` says whether the time went into sending its outputs.
    /// [`Batches::ended`] must follow. Returns whether the transaction's only record is to blame, because sending it alone has taken too
    /// long before.
    pub fn too_slow(&mut self, sending: bool) -> bool {
        self.cap = (self.under_way.len() / 2).max(1);
        let ([(lane, at)], true) = (&self.under_way[..], sending) else { return false };
        let (lane, at) = (*lane, *at);
        if !self.held.contains_key(&lane) && self.suspect != Some(at) {
            self.suspect = Some(at);
            return false;
        }
        // An output of the record may go to another topic now, and there the record has two tries again.
        self.suspect = None;
        let pause = self.slow.get(&lane).map_or(1, |slow| (2 * slow.pause).min(RAREST));
        self.slow.insert(lane, Slow { due: self.ticks + pause, pause });
        true
    }

    /// Takes note that the transaction under way took little of its time. [`Batches::ended`] must follow.
    pub fn swift(&mut self) {
        self.cap = (2 * self.cap).min(self.max_records);
    }

    /// Takes note that the transaction under way is over. The records in `again` were not committed and are tried again before any other,
    /// those in `refused` have outputs that the broker does not take, and all others were committed.
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
            // The record that was tried was not refused, so its lane, which went to the end when it was tried, comes first again.
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

    /// Holds these lanes, which take their turns in this order. What has finished in them moves behind the records that are put back.
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

    /// Lets a lane go on whose first record went through. Perhaps the broker takes the records of the other lanes now, too.
    fn release(&mut self, lane: LaneId) {
        self.turns.retain(|turn| *turn != lane);
        self.slow.clear();
        for record in self.held.remove(&lane).unwrap_or_default().into_iter().rev() {
            self.finished.push_front((lane, record));
        }
        self.held_due = !self.turns.is_empty();
    }

    /// Takes note that some time has passed: the next of the lanes that are held may be tried.
    pub fn try_held(&mut self) {
        self.ticks += 1;
        self.held_due = !self.turns.is_empty();
    }

    /// Begins the next transaction and returns its records; empty if there are none. Records that `may_commit` denies are left out.
    pub fn take(&mut self, may_commit: impl Fn(RecordId) -> bool) -> Vec<Finished<O>> {
        if std::mem::take(&mut self.held_due)
            && let Some((lane, record)) = self.take_held(&may_commit)
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
            if !may_commit(record.at) {
                left_out.push((lane, record));
                continue;
            }
            let weight = record.outputs.weight();
            bytes += weight;
            // A record that is larger than the bound goes alone.
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

    /// Takes the first record of the next lane that may be tried, if there is one, and puts that lane behind the others.
    fn take_held(&mut self, may_commit: impl Fn(RecordId) -> bool) -> Option<(LaneId, Finished<O>)> {
        let is_due = |lane: &LaneId| {
            let first = self.held.get(lane).and_then(VecDeque::front);
            first.is_some_and(|first| may_commit(first.at)) && self.slow.get(lane).is_none_or(|slow| slow.due <= self.ticks)
        };
        let turn = self.turns.iter().position(is_due)?;
        let lane = self.turns.remove(turn)?;
        self.turns.push_back(lane);
        Some((lane, self.held.get_mut(&lane)?.pop_front()?))
    }

    /// Returns how many records a transaction may carry now.
    pub fn cap(&self) -> usize {
        self.cap
    }

    /// Returns how many records wait for a transaction, without those that are held.
    pub fn waiting(&self) -> usize {
        self.finished.len()
    }

    /// Returns whether any lane is held.
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Returns how many records are held in a lane, without one that is being tried.
    pub fn held_in(&self, lane: LaneId) -> usize {
        self.held.get(&lane).map_or(0, VecDeque::len)
    }

    /// Returns how many records are held: those that the broker refused, and what has finished behind them in their lanes.
    pub fn held(&self) -> usize {
        let tried = self.under_way.iter().filter(|(lane, _)| self.held.contains_key(lane)).count();
        self.held.values().map(VecDeque::len).sum::<usize>() + tried
    }
}
