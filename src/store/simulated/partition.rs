//! One partition in memory. A conditional write happens as a whole or not at all. Reads see statics and rows of one instant: the latest,
//! or, if they are plain, perhaps the one before.

use crate::domain::Timestamp;
use crate::store::erasable::Redaction;
use crate::store::expiry::{time_left, until};
use crate::store::{Applied, Consistency, LogRow, OutcomeRow};
use std::collections::BTreeMap;
use std::time::Duration;

/// The statics and rows of a partition, and what a plain read may still show instead.
#[derive(Default)]
pub(super) struct SimulatedPartition<T> {
    pub statics: T,
    pub rows: BTreeMap<String, Row>,
    unacknowledged: Option<UnacknowledgedWrite<T>>,
    writes: u64,
}

/// The latest write, if nobody was told yet that it was applied: the statics before the write, and the rows that it brought.
struct UnacknowledgedWrite<T> {
    before: T,
    rows: Vec<String>,
}

pub(super) struct Row {
    pub changed_to: Option<i64>,
    pub outcome: Vec<u8>,
    until: Option<Timestamp>,
}

impl<T: Clone + Default> SimulatedPartition<T> {
    /// Performs a conditional write; `holds` is its condition on the statics. Returns what became of it, and how many writes there were.
    pub fn update(&mut self, holds: bool, rows: &[LogRow], now: Timestamp, statics: impl FnOnce(&mut T)) -> (Applied, u64) {
        self.writes += 1;
        // Whether this write is applied or not, the one that was under way is completed first.
        self.unacknowledged = None;
        if !holds || rows.iter().any(|row| self.row(&row.request_id, now).is_some()) {
            return (Applied::No, self.writes);
        }
        let before = self.statics.clone();
        statics(&mut self.statics);
        for row in rows {
            let stored = Row { changed_to: row.changed_to, outcome: row.outcome.clone(), until: row_until(row, now) };
            self.rows.insert(row.request_id.clone(), stored);
        }
        self.unacknowledged = Some(UnacknowledgedWrite { before, rows: rows.iter().map(|r| r.request_id.clone()).collect() });
        (Applied::Yes, self.writes)
    }

    /// Performs a redaction. Plain reads see it at once: which of the two outcomes they show makes no difference.
    pub fn redact(&mut self, redaction: &Redaction, now: Timestamp) -> (Applied, u64) {
        self.writes += 1;
        self.unacknowledged = None;
        let live = self.rows.get_mut(&redaction.request_id).filter(|row| row.is_live(now));
        let Some(row) = live.filter(|row| row.outcome == redaction.expected_outcome) else { return (Applied::No, self.writes) };
        row.outcome.clone_from(&redaction.outcome);
        (Applied::Yes, self.writes)
    }

    /// Performs a write that lets a row live on `until` then, or for ever. Plain reads see it at once: the row shows the same outcome.
    pub fn hold(
        &mut self,
        request: &str,
        outcome: &[u8],
        until: Option<Timestamp>,
        now: Timestamp,
        statics: impl FnOnce(&mut T),
    ) -> (Applied, u64) {
        self.writes += 1;
        self.unacknowledged = None;
        let live = self.rows.get_mut(request).filter(|row| row.is_live(now));
        let Some(row) = live.filter(|row| row.outcome == outcome) else { return (Applied::No, self.writes) };
        row.until = until;
        statics(&mut self.statics);
        (Applied::Yes, self.writes)
    }

    /// Returns the outcomes of all rows that have not expired.
    pub fn live(&self, now: Timestamp) -> Vec<(String, Vec<u8>)> {
        let live = self.rows.iter().filter(|(_, row)| row.is_live(now));
        live.map(|(request, row)| (request.clone(), row.outcome.clone())).collect()
    }

    pub fn settle(&mut self, writes: u64) {
        if self.writes == writes {
            self.unacknowledged = None;
        }
    }

    pub fn show(&mut self, requests: &[&str], consistency: Consistency, missing: bool, now: Timestamp) -> (T, Vec<OutcomeRow>) {
        if consistency == Consistency::Serial {
            self.unacknowledged = None;
        }
        let missed = self.unacknowledged.as_ref().filter(|_| missing);
        let shown = |request: &&&str| missed.is_none_or(|m| !m.rows.iter().any(|r| r == **request));
        let row = |request: &&str| {
            let row = self.row(request, now)?;
            Some(OutcomeRow { request_id: (*request).into(), outcome: row.outcome.clone(), time_left: row.time_left(now) })
        };
        let statics = missed.map_or(&self.statics, |m| &m.before).clone();
        (statics, requests.iter().filter(shown).filter_map(row).collect())
    }

    fn row(&self, request: &str, now: Timestamp) -> Option<&Row> {
        self.rows.get(request).filter(|row| row.is_live(now))
    }
}

impl Row {
    fn is_live(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    fn time_left(&self, now: Timestamp) -> Option<Duration> {
        self.until.map(|until| time_left(until, now))
    }
}

/// Returns the time at which a row expires that is written now; `None` if it never does.
pub(super) fn row_until(row: &LogRow, now: Timestamp) -> Option<Timestamp> {
    row.ttl.map(|ttl| until(now, ttl))
}
