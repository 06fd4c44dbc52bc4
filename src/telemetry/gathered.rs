//! Log lines that are gathered: in an outage hundreds of waiting commands have the same to say each second. Of each kind the first
//! line is written at once, and then one every few seconds, with the number of those that were left out in between.
//!
//! What makes a kind is up to the caller: the kind of trouble and the server that it is with, say. Only the caller writes lines;
//! here is decided when.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long lines of a kind are gathered, where the caller has no reason for another time: an outage of a minute leaves a dozen lines
/// of each kind, which shows how long it lasted and can still be read.
pub const USUALLY: Duration = Duration::from_secs(5);

/// How many kinds are remembered at most. Callers name kinds by servers, of which there are dozens at most. Beyond, the kind of which
/// nothing was written for the longest time is forgotten, and its next line is written at once.
const MOST_KINDS: usize = 64;

/// When the lines of each kind `K` were last written. One for all that log the same kinds.
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
    /// Nothing was written yet; of each kind, one line is written each time that `every` has passed.
    pub fn new(every: Duration) -> Self {
        Self { every, kinds: Mutex::new(HashMap::new()) }
    }
}

impl<K: Eq + Hash + Clone> Gathered<K> {
    /// Whether a line of this kind, which is due at `now`, is to be written: then the number of lines of its kind that were left out
    /// since the one before. Returns `None` if the line is left out.
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
