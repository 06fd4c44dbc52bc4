//! When a record that the client can't decode may be stepped over: pure, with `now` as an argument.
//!
//! The client says that it can't decode something, but not where. So the partitions that have records to fetch and do not move on are
//! suspected. Some of them may be healthy: a partition stands still for a moment while its leader changes, too. A healthy record that is
//! stepped over is a stub in the dead letter topic and has no reply, so a suspicion must last.

use crate::flow::RecordId;
use crate::kafka::consumer::BATCHES;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long the only partition that stands still is suspected before its record is stepped over: until it is reported again.
const ALONE: Duration = Duration::from_millis(500);
/// The same if there are several: longer than a change of leaders takes.
const AMONG_SEVERAL: Duration = Duration::from_secs(30);

/// The most batches that may wait, with the one that the consumer has in hand.
const MOST_WAITING: usize = BATCHES + 1;

/// The records before which partitions stand still.
#[derive(Debug, Default)]
pub struct Suspects(BTreeMap<RecordId, Suspect>);

#[derive(Clone, Copy, Debug)]
struct Suspect {
    /// When it was reported first.
    since: Instant,
    /// How many batches had been taken in then.
    batches: usize,
    /// Whether all records before it are taken in. That stays so, because no more records come from a partition that stands still.
    is_next: bool,
}

/// How much of what the consumer has polled is taken in.
#[derive(Clone, Copy, Debug)]
pub struct TakenIn {
    /// How many batches were taken in so far.
    pub batches: usize,
    /// Whether these are all batches that the consumer has handed on.
    pub all: bool,
}

impl Suspects {
    /// Takes the records before which partitions stand still now, and returns those that may be stepped over. Forgets all others.
    pub fn due(&mut self, stopped: &[RecordId], taken: TakenIn, now: Instant) -> Vec<RecordId> {
        let suspect = |at: &RecordId| {
            let new = Suspect { since: now, batches: taken.batches, is_next: false };
            let Suspect { since, batches, is_next } = self.0.get(at).copied().unwrap_or(new);
            let is_next = is_next || taken.all || taken.batches - batches >= MOST_WAITING;
            (*at, Suspect { since, batches, is_next })
        };
        self.0 = stopped.iter().map(suspect).collect();
        let patience = if self.0.len() == 1 { ALONE } else { AMONG_SEVERAL };
        let is_due = |suspect: &Suspect| suspect.is_next && now.saturating_duration_since(suspect.since) >= patience;
        self.0.iter().filter(|(_, suspect)| is_due(suspect)).map(|(at, _)| *at).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_stepped_over_when_it_is_reported_again_and_among_several_only_after_long() {
        let begin = Instant::now();
        let at = |partition, offset| RecordId { partition, offset };
        let (bad, next, other) = (at(0, 20), at(0, 21), at(1, 7));
        // The second of each report, what is reported, and what may be stepped over.
        let reports: [(u64, &[RecordId], &[RecordId]); 12] = [
            (0, &[bad], &[]),
            (1, &[bad], &[bad]),
            (2, &[next], &[]),
            (3, &[], &[]),
            (4, &[next], &[]),
            (5, &[next, other], &[]),
            (6, &[next], &[next]),
            (7, &[other], &[]),
            (8, &[bad, other], &[]),
            (37, &[bad, other], &[other]),
            (38, &[bad, other], &[bad, other]),
            (39, &[bad], &[bad]),
        ];
        let mut suspects = Suspects::default();
        let taken = TakenIn { batches: 9, all: true };
        for (second, stopped, expected) in reports {
            assert_eq!(suspects.due(stopped, taken, begin + Duration::from_secs(second)), expected, "after {second} s");
        }
    }

    #[test]
    fn no_record_is_stepped_over_while_one_before_it_may_not_be_taken_in() {
        let begin = Instant::now();
        let at = RecordId { partition: 0, offset: 20 };
        // Each case is a list of reports. A report has the number of batches taken in so far, whether no more wait, and whether the
        // record may be stepped over then.
        let cases: [&[(usize, bool, bool)]; 4] = [
            &[(9, true, false), (9, false, true)],
            &[(9, false, false), (9, false, false), (9, true, true), (9, false, true)],
            &[(9, false, false), (13, false, false), (14, false, true)],
            &[(9, false, false), (40, false, true)],
        ];
        for reports in cases {
            let mut suspects = Suspects::default();
            for ((batches, all, expected), second) in reports.iter().copied().zip(0..) {
                let taken = TakenIn { batches, all };
                let due = suspects.due(&[at], taken, begin + Duration::from_secs(second));
                assert_eq!(due, if expected { vec![at] } else { vec![] }, "report {second} of {reports:?}");
            }
        }
    }
}
