//! Gathering of log lines. In an outage hundreds of waiting commands have the same to say every second. Of each kind of line, the first
//! is written at once, and then one every few seconds, with the number of lines that were left out in between.
//!
//! The caller decides what makes a kind, for example the kind of trouble and the server that has it. The caller also writes the lines;
//! this file only decides when.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long lines of a kind are gathered by default. An outage of a minute leaves a dozen lines of each kind, which is few enough to read
/// and shows how long the outage lasted.
pub const USUALLY: Duration = Duration::from_secs(5);

/// The most kinds that are remembered. Callers name kinds by servers, of which there are dozens at most. Beyond this number, the kind
/// whose last line is the oldest is forgotten, and its next line is written at once.
const MOST_KINDS: usize = 64;

/// When a line of each kind `K` was last written. All callers that log the same kinds share one.
#[derive(Debug)]
pub struct Gathered<K> {
    every: Duration,
    kinds: Mutex<HashMap<K, Kind>>,
}

#[derive(Debug)]
struct Kind {
    written: Instant,
    left_out: u64,
}

impl<K> Default for Gathered<K> {
    fn default() -> Self {
        Self::new(USUALLY)
    }
}

impl<K> Gathered<K> {
    /// Makes a table of kinds in which nothing was written yet. Of each kind, one line is written each time that `every` has passed.
    pub fn new(every: Duration) -> Self {
        Self { every, kinds: Mutex::new(HashMap::new()) }
    }
}

impl<K: Eq + Hash + Clone> Gathered<K> {
    /// Decides whether a line of this kind is written at `now`. If so, returns the number of lines of the kind that were left out since
    /// the last one was written. Returns `None` if this line is left out.
    pub fn due(&self, kind: K, now: Instant) -> Option<u64> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kinds.get_mut(&kind) {
            if now.saturating_duration_since(known.written) < self.every {
                known.left_out += 1;
                return None;
            }
            known.written = now;
            return Some(std::mem::take(&mut known.left_out));
        }
        if kinds.len() >= MOST_KINDS
            && let Some(oldest) = kinds.iter().min_by_key(|(_, kind)| kind.written).map(|(key, _)| key.clone())
        {
            kinds.remove(&oldest);
        }
        kinds.insert(kind, Kind { written: now, left_out: 0 });
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_kind_is_written_and_the_next_when_the_time_has_passed() {
        let gathered = Gathered::new(Duration::from_secs(5));
        let start = Instant::now();
        let steps = [
            (0, "silent", Some(0)),
            (100, "silent", None),
            (200, "refused", Some(0)),
            (4_999, "silent", None),
            (5_000, "silent", Some(2)),
            (5_001, "silent", None),
            (60_000, "silent", Some(1)),
            (60_000, "refused", Some(0)),
        ];
        for (millis, kind, expected) in steps {
            assert_eq!(gathered.due(kind, start + Duration::from_millis(millis)), expected, "{kind} after {millis} ms");
        }
    }

    #[test]
    fn only_so_many_kinds_are_remembered_and_the_one_that_is_forgotten_is_the_oldest() {
        let gathered = Gathered::new(Duration::from_secs(5));
        let start = Instant::now();
        for kind in 0..=MOST_KINDS {
            assert_eq!(gathered.due(kind, start + Duration::from_millis(kind as u64)), Some(0));
        }
        assert_eq!(gathered.kinds.lock().unwrap().len(), MOST_KINDS);
        let now = start + Duration::from_secs(1);
        assert_eq!(gathered.due(1, now), None, "it is remembered");
        assert_eq!(gathered.due(0, now), Some(0), "it was forgotten");
    }
}
