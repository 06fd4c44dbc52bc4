//! Which records of a partition are done. Offsets are always "the next one to read": what is committed is the lowest
//! record that is not done yet, with a bitmap in the offset's metadata of the records done above it, so that one slow
//! command neither holds the others' replies back nor has them made twice after a restart.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use std::collections::VecDeque;
use std::ops::RangeInclusive;

/// How far above the lowest incomplete record others may be done. The bitmap must fit the broker's
/// `offset.metadata.max.bytes` (4,096 by default): 24,000 bits are 4,000 characters of base64.
pub const MAX_SPAN: usize = 24_000;

/// How many records a character of the bitmap's base64 stands for.
pub const BITS_PER_CHARACTER: usize = 6;

/// Says that the text after it is a bitmap. A text that begins otherwise is not ours, and counts as absent.
const BITMAP: &str = "1:";
/// Says that the text after it is the topic's id, a colon, and a bitmap that may be empty. Only written where the bitmap is empty: what
/// came before this version takes it for absent.
const NAMED: &str = "2:";
/// The digits with which a text of a later form begins, before a colon: later releases take these, one after another.
const LATER: RangeInclusive<char> = '3'..='9';

/// Returns the metadata of an offset above which nothing is done, and that says which topic it belongs to: topics may be deleted and
/// made again under the same name.
pub fn naming(topic_id: &str) -> String {
    format!("{NAMED}{topic_id}:")
}

/// What the group coordinator keeps for a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// The next offset to read; None where nothing was committed yet.
    pub offset: Option<i64>,
    /// The offsets above it that are done, as text.
    pub metadata: String,
}

impl Committed {
    /// Returns the id of the topic that the offset belongs to, if the metadata says it.
    pub fn topic_id(&self) -> Option<&str> {
        self.metadata.strip_prefix(NAMED)?.split_once(':').map(|(id, _)| id)
    }

    /// Returns whether a newer release has committed the offset, in a form that this one can't read. Then it is not known which
    /// records above the offset are done, and none of them may be taken in: their answers could be published twice. (A text that
    /// is none of ours counts as absent, for it comes from a tool that has set the offset.)
    pub fn is_of_a_newer_release(&self) -> bool {
        self.metadata.split_once(':').is_some_and(|(form, _)| form.len() == 1 && form.starts_with(|c: char| LATER.contains(&c)))
    }

    /// Is the record at `offset` done, as far as this says?
    pub fn covers(&self, offset: i64) -> bool {
        let Some(base) = self.offset else { return false };
        offset < base || usize::try_from(offset - base).is_ok_and(|above| bits(&self.metadata).nth(above) == Some(true))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    /// Not delivered yet, as far as we know; or no record at all (a transaction marker, a compacted record).
    Absent,
    /// Delivered, not done.
    Open,
    /// Its outputs are in the transaction under way.
    Committing,
    /// Done.
    Done,
}

/// The offsets of one partition, from its assignment on.
#[derive(Debug)]
pub struct Offsets {
    /// The offset of the window's first slot. All below are done.
    low: i64,
    window: VecDeque<Slot>,
    /// The offset after the last one delivered.
    next: i64,
    /// Records were skipped since the last commit, so that there may be something to commit though nothing has outputs.
    skipped: bool,
    /// No record was delivered yet.
    fresh: bool,
}

/// What to make of a record that was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// To be processed.
    New,
    /// It was done before the partition was assigned to us, or it was delivered already: to be skipped.
    Known,
    /// Too far above the lowest incomplete record: to be delivered again when that one is done.
    TooFar,
    /// Below what is done already: the partition begins anew, so its topic was made again, or its log was cut off. Nothing of this
    /// assignment holds any more.
    Backwards,
}

impl Offsets {
    /// Goes on where `committed` says.
    pub fn resume(committed: &Committed) -> Self {
        let low = committed.offset.unwrap_or(0);
        let window = bits(&committed.metadata).take(MAX_SPAN).map(|done| if done { Slot::Done } else { Slot::Absent }).collect();
        Self { low, window, next: low, skipped: false, fresh: true }
    }

    /// A record was delivered.
    pub fn deliver(&mut self, offset: i64) -> Delivery {
        let is_first = std::mem::take(&mut self.fresh);
        if offset < self.low {
            if !is_first {
                return Delivery::Backwards;
            }
            // What was committed is not on the topic any more.
            (self.low, self.next, self.skipped) = (offset, offset, false);
            self.window.clear();
        } else if offset < self.next {
            return Delivery::Known;
        }
        // The broker delivers in order: what it left out does not exist.
        self.next = offset;
        self.advance();
        if usize::try_from(offset - self.low).is_ok_and(|span| span >= MAX_SPAN) {
            return Delivery::TooFar;
        }
        self.next = offset + 1;
        let slot = self.slot(offset);
        if *slot == Slot::Done {
            self.skipped = true;
            self.advance();
            return Delivery::Known;
        }
        *slot = Slot::Open;
        Delivery::New
    }

    /// The record's outputs are in the transaction under way.
    pub fn committing(&mut self, offset: i64) {
        *self.slot(offset) = Slot::Committing;
    }

    /// The record's outputs are not in the transaction under way after all.
    pub fn reopen(&mut self, offset: i64) {
        *self.slot(offset) = Slot::Open;
    }

    /// What a transaction must commit that carries the outputs of all records marked [`Offsets::committing`].
    pub fn to_commit(&self) -> (i64, String) {
        let delivered = usize::try_from(self.next - self.low).expect("next is never below low");
        let first_open = self.window.iter().take(delivered).position(|s| *s == Slot::Open);
        let lowest = first_open.unwrap_or(delivered);
        (self.low + i64::try_from(lowest).expect("a window is short"), encode(self.window.iter().skip(lowest)))
    }

    /// The transaction under way was committed.
    pub fn commit(&mut self) {
        self.skipped = false;
        self.settle(Slot::Done);
        self.advance();
    }

    /// The transaction under way was not committed.
    pub fn abort(&mut self) {
        self.settle(Slot::Open);
    }

    /// True if there may be something to commit though no record has outputs: records were skipped.
    pub fn is_behind(&self) -> bool {
        self.skipped
    }

    /// How far the delivered records reach above the lowest incomplete one, which is among them; at [`MAX_SPAN`] nothing
    /// more can be taken in. (What was done before the assignment does not count: the lowest one must be fetched first.)
    pub fn span(&self) -> usize {
        usize::try_from(self.next - self.low).expect("next is never below low")
    }

    /// Is the record at `offset` less than `span` above the lowest incomplete one?
    pub fn reaches(&self, offset: i64, span: usize) -> bool {
        usize::try_from(offset - self.low).is_ok_and(|above| above < span)
    }

    /// The lowest offset that is not done.
    pub fn low(&self) -> i64 {
        self.low
    }

    fn slot(&mut self, offset: i64) -> &mut Slot {
        let index = usize::try_from(offset - self.low).expect("offsets below the window are not asked for");
        if index >= self.window.len() {
            self.window.resize(index + 1, Slot::Absent);
        }
        &mut self.window[index]
    }

    fn settle(&mut self, outcome: Slot) {
        for slot in self.window.iter_mut().filter(|s| **s == Slot::Committing) {
            *slot = outcome;
        }
    }

    /// Forgets what lies below the lowest incomplete record.
    fn advance(&mut self) {
        while self.low < self.next {
            match self.window.front() {
                Some(Slot::Done | Slot::Absent) => {
                    self.window.pop_front();
                    self.low += 1;
                }
                Some(Slot::Open | Slot::Committing) => break,
                None => self.low = self.next,
            }
        }
    }
}

/// Bit n of the text is the offset n above the committed one.
fn encode<'a>(slots: impl Iterator<Item = &'a Slot>) -> String {
    let mut bytes = Vec::new();
    for (n, _) in slots.enumerate().filter(|(_, s)| matches!(s, Slot::Done | Slot::Committing)) {
        if bytes.len() <= n / 8 {
            bytes.resize(n / 8 + 1, 0);
        }
        bytes[n / 8] |= 1 << (n % 8);
    }
    if bytes.is_empty() { String::new() } else { format!("{BITMAP}{}", STANDARD_NO_PAD.encode(bytes)) }
}

fn bits(metadata: &str) -> impl Iterator<Item = bool> {
    let named = || metadata.strip_prefix(NAMED)?.split_once(':').map(|(_, bitmap)| bitmap);
    let bitmap = metadata.strip_prefix(BITMAP).or_else(named);
    let bytes = bitmap.and_then(|text| STANDARD_NO_PAD.decode(text).ok()).unwrap_or_default();
    bytes.into_iter().flat_map(|byte| (0..8).map(move |n| byte >> n & 1 == 1))
}
