//! Which records of a partition are done, and what is committed for them. Offsets are always "the next one to read".
//!
//! Records of different keys are done in any order, but Kafka keeps one offset for each partition. The committed offset is the lowest
//! that is not done yet, and a bitmap in its metadata says which records above it are done. So one slow command does not hold the others'
//! replies back, and after a restart these are not made twice.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use std::collections::VecDeque;
use std::ops::RangeInclusive;

/// A record is taken in only if it is less than so many offsets above the lowest incomplete one. The bitmap of the records in between must
/// fit the broker's `offset.metadata.max.bytes` (4,096 by default): 24,000 bits are 4,000 characters of base64.
pub const MAX_SPAN: usize = 24_000;

/// How many records a character of the bitmap's base64 stands for.
pub const BITS_PER_CHARACTER: usize = 6;

/// The beginning of a text that goes on with a bitmap. A text without a beginning that is known here was written by somebody else, and
/// counts as absent.
const BITMAP: &str = "1:";
/// The beginning of a text that goes on with the topic's id, a colon, and a bitmap that may be empty. It is written only with an empty
/// bitmap, because releases that do not know it take the text for absent.
const NAMED: &str = "2:";
/// The digits with which a text of a later form begins, before a colon. Later releases will use them, one after another.
const LATER: RangeInclusive<char> = '3'..='9';

/// Returns the metadata for an offset above which nothing is done. It says which topic the offset belongs to, because topics may be
/// deleted and made again under the same name.
pub fn naming(topic_id: &str) -> String {
    format!("{NAMED}{topic_id}:")
}

/// The committed offset of a partition with its metadata, as the group coordinator keeps them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// The next offset to read; `None` if nothing was committed yet.
    pub offset: Option<i64>,
    /// The metadata of the offset, which says which offsets above it are done.
    pub metadata: String,
}

impl Committed {
    /// Returns the id of the topic that the offset belongs to; `None` if the metadata does not say it.
    pub fn topic_id(&self) -> Option<&str> {
        self.metadata.strip_prefix(NAMED)?.split_once(':').map(|(id, _)| id)
    }

    /// Returns the same, or nothing if the offset belongs to another topic than the one with this id, as far as both are known.
    #[must_use]
    pub fn of_topic(self, id: Option<&str>) -> Self {
        let is_of_another = self.topic_id().is_some_and(|own| id.is_some_and(|id| own != id));
        if is_of_another { Self::default() } else { self }
    }

    /// Returns whether a newer release has committed the offset, in a form that this release can't read. Then it is not known which records
    /// above the offset are done, and no record of the partition may be taken in: its answers could be published twice. (Any other text
    /// that this release can't read comes from a tool that has set the offset, and counts as absent.)
    pub fn is_of_a_newer_release(&self) -> bool {
        self.metadata.split_once(':').is_some_and(|(form, _)| form.len() == 1 && form.starts_with(|c: char| LATER.contains(&c)))
    }

    /// Returns whether the record at `offset` is done, as far as the committed offset and its metadata say.
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
    /// Delivered, with its outputs in the transaction under way.
    Committing,
    /// Done.
    Done,
}

/// The offsets of one partition, from its assignment on.
#[derive(Debug)]
pub struct Offsets {
    /// The offset of the window's first slot. All offsets below it are done.
    low: i64,
    window: VecDeque<Slot>,
    /// The offset after the last one delivered.
    next: i64,
    /// Set while the coordinator has not been told of all records that were skipped. Then there may be something to commit although no
    /// record has outputs.
    skipped: bool,
    /// The commit under way, if the transaction under way carries an offset of this partition.
    under_way: Option<OffsetUnderWay>,
    /// The committed offset from which the partition was to go on, if it began below that: the offset is that of another log.
    void: Option<i64>,
    /// Whether no record was delivered yet.
    fresh: bool,
}

/// An offset in the transaction under way.
#[derive(Clone, Copy, Debug)]
struct OffsetUnderWay {
    offset: i64,
    /// Set if this offset tells the coordinator of records that were skipped.
    tells: bool,
}

/// The way in which a record that was delivered is to be handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It is to be processed.
    New,
    /// It is to be skipped: it was done before the partition was assigned to us, or it was delivered already.
    Known,
    /// It is too far above the lowest incomplete record, and must be delivered again when that one is done.
    TooFar,
    /// Every offset up to the record's own is done already, and the record is not the first of its partition in this assignment. So the
    /// partition begins anew: its topic was made again, or its log was cut off. Nothing of this assignment holds any more.
    Backwards,
}

impl Offsets {
    /// Goes on where `committed` says, or at offset 0 if nothing was committed.
    pub fn resume(committed: &Committed) -> Self {
        let low = committed.offset.unwrap_or(0);
        let window = bits(&committed.metadata).take(MAX_SPAN).map(|done| if done { Slot::Done } else { Slot::Absent }).collect();
        Self { low, window, next: low, skipped: false, under_way: None, void: None, fresh: true }
    }

    /// Takes note of a record that was delivered, and returns what is to be done with it.
    pub fn deliver(&mut self, offset: i64) -> Delivery {
        let is_first = std::mem::take(&mut self.fresh);
        if offset < self.low {
            if !is_first {
                return Delivery::Backwards;
            }
            // The consumer began below the committed offset, so that offset is not on the topic any more.
            self.void = Some(self.low);
            (self.low, self.next, self.skipped) = (offset, offset, false);
            self.window.clear();
        } else if offset < self.next {
            return Delivery::Known;
        }
        // The broker delivers in order, so the offsets that it left out hold no records.
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

    /// Takes note that the record's outputs are in the transaction under way.
    pub fn committing(&mut self, offset: i64) {
        *self.slot(offset) = Slot::Committing;
    }

    /// Takes note that the record's outputs are not in the transaction under way after all.
    pub fn reopen(&mut self, offset: i64) {
        *self.slot(offset) = Slot::Open;
    }

    /// Returns the offset and the metadata for a transaction that carries the outputs of all records marked [`Offsets::committing`].
    pub fn to_commit(&self) -> (i64, String) {
        let delivered = usize::try_from(self.next - self.low).expect("next is never below low");
        let first_open = self.window.iter().take(delivered).position(|s| *s == Slot::Open);
        let lowest = first_open.unwrap_or(delivered);
        (self.low + i64::try_from(lowest).expect("a window is short"), encode(self.window.iter().skip(lowest)))
    }

    /// Takes note that a transaction with this offset begins.
    pub fn begin(&mut self, offset: i64) {
        self.under_way = Some(OffsetUnderWay { offset, tells: std::mem::take(&mut self.skipped) });
    }

    /// Takes note of what the coordinator has, because it is not known whether the transaction under way was committed. Returns whether
    /// that says anything about the records that are there.
    pub fn found(&mut self, committed: &Committed) -> bool {
        let is_void = self.void.is_some() && committed.offset == self.void;
        let behind = |offset| committed.offset.is_none_or(|found| found < offset);
        if let Some(OffsetUnderWay { offset, tells }) = self.under_way
            && (is_void || behind(offset))
        {
            self.skipped |= tells;
            self.under_way = None;
        }
        !is_void
    }

    /// Takes note that the transaction under way was committed.
    pub fn commit(&mut self) {
        if self.under_way.take().is_some() {
            self.void = None;
        }
        self.settle(Slot::Done);
        self.advance();
    }

    /// Takes note that the transaction under way was not committed.
    pub fn abort(&mut self) {
        self.skipped |= self.under_way.take().is_some_and(|under_way| under_way.tells);
        self.settle(Slot::Open);
    }

    /// Returns whether there may be something to commit although no record has outputs, because records were skipped.
    pub fn is_behind(&self) -> bool {
        self.skipped
    }

    /// Returns how many offsets the delivered records span, from the lowest incomplete one on. At [`MAX_SPAN`] nothing more can be taken
    /// in. (Records done before the assignment count only once they are delivered. Otherwise they could pause a partition whose lowest
    /// incomplete record was not fetched yet.)
    pub fn span(&self) -> usize {
        usize::try_from(self.next - self.low).expect("next is never below low")
    }

    /// Returns whether the record at `offset` is less than `span` above the lowest incomplete one.
    pub fn reaches(&self, offset: i64, span: usize) -> bool {
        usize::try_from(offset - self.low).is_ok_and(|above| above < span)
    }

    /// Returns the lowest offset that is not done.
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

    fn settle(&mut self, to: Slot) {
        for slot in self.window.iter_mut().filter(|s| **s == Slot::Committing) {
            *slot = to;
        }
    }

    /// Forgets the slots below the lowest incomplete record.
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

/// Returns the bitmap as text: bit n stands for the offset n above the committed one. The text is empty if no slot is done.
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
