//! When a record that the client can't decode may be stepped over: pure, with `now` as an argument.
//!
//! The client says that it can't decode something, but not where. So the partitions that have records to fetch and do not move on are
//! suspected. Some of them may be healthy: a partition stands still for a moment while its leader changes, too. A healthy record that is
//! stepped over is a stub in the dead letter topic and has no reply, so a suspicion must last.

use crate::flow::RecordId;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long the only partition that stands still is suspected before its record is stepped over: until it is reported again.
const ALONE: Duration = Duration::from_millis(500);
/// The same if there are several: longer than a change of leaders takes.
const AMONG_SEVERAL: Duration = Duration::from_secs(30);

/// The records before which partitions stand still, and since when that has been reported.
#[derive(Debug, Default)]
pub struct Suspects(BTreeMap<RecordId, Instant>);

impl Suspects {
    /// Takes the records before which partitions stand still now, and returns those that may be stepped over. Forgets all others.
    pub fn due(&mut self, stopped: &[RecordId], now: Instant) -> Vec<RecordId> {
        self.0 = stopped.iter().map(|at| (*at, self.0.get(at).copied().unwrap_or(now))).collect();
        let patience = if self.0.len() == 1 { ALONE } else { AMONG_SEVERAL };
        let due = self.0.iter().filter(|(_, since)| now.saturating_duration_since(**since) >= patience);
        due.map(|(at, _)| *at).collect()
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
        for (second, stopped, expected) in reports {
            assert_eq!(suspects.due(stopped, begin + Duration::from_secs(second)), expected, "after {second} s");
        }
    }
}
