//! How far the answers are behind the topic, by partition: in records, and in time. What lies on the topic unread has no age that
//! could be looked up; there the age is bounded by what is known of the time before.

use crate::domain::Timestamp;
use crate::flow::{Partition, Position};
use crate::telemetry::metrics::Metrics;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// See the module.
pub struct Lag {
    metrics: Arc<Metrics>,
    partitions: BTreeMap<Partition, Tail>,
}

/// The records of a partition that may lack their answer.
#[derive(Debug, Default)]
struct Tail {
    /// Offsets and timestamps of the records taken in, but for those below the lowest one that is not answered: no more than may be
    /// open above that one ([`crate::flow::offsets::MAX_SPAN`]).
    taken: VecDeque<(i64, Timestamp)>,
    /// The offset after the last record taken in.
    next: i64,
    /// The timestamp of the last one that was answered.
    answered: Option<Timestamp>,
    /// The offset after the last record on the topic.
    end: Option<i64>,
    /// When there was nothing unanswered last.
    level: Option<Timestamp>,
}

impl Lag {
    /// Nothing is known yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, partitions: BTreeMap::new() }
    }

    /// A record was taken in, in the order of its partition.
    pub fn taken(&mut self, at: Position, timestamp: Option<Timestamp>) {
        let tail = self.partitions.entry(at.partition).or_default();
        tail.next = at.offset + 1;
        tail.taken.extend(timestamp.map(|timestamp| (at.offset, timestamp)));
    }

    /// The offset after the last record of some partitions; None where there is none beyond those that were taken in.
    pub fn ends(&mut self, ends: &[(Partition, Option<i64>)]) {
        for (partition, end) in ends {
            let tail = self.partitions.entry(*partition).or_default();
            tail.end = Some(end.unwrap_or(tail.next));
        }
    }

    /// Sets the gauges; `lows` are the lowest offsets that are not answered.
    pub fn tell(&mut self, lows: impl Iterator<Item = (Partition, i64)>, now: Timestamp) {
        for (partition, low) in lows {
            let tail = self.partitions.entry(partition).or_default();
            let age = tail.age(low, now);
            // Below 0 by another clock than ours.
            #[expect(clippy::cast_precision_loss, reason = "milliseconds of less than a hundred thousand years")]
            self.metrics.consumer_lag_age.set(partition, age.max(0) as f64 / 1000.0);
            if let Some(end) = tail.end {
                self.metrics.consumer_lag.set(partition, (end - low).max(0));
            }
        }
    }

    /// The partitions are somebody else's.
    pub fn forget(&mut self) {
        self.partitions.clear();
        self.metrics.consumer_lag.forget_all();
        self.metrics.consumer_lag_age.forget_all();
    }
}

impl Tail {
    /// The age of the oldest record that is not answered, in milliseconds.
    fn age(&mut self, low: i64, now: Timestamp) -> i64 {
        while let Some((offset, timestamp)) = self.taken.front()
            && *offset < low
        {
            self.answered = Some(*timestamp);
            self.taken.pop_front();
        }
        if let Some((_, timestamp)) = self.taken.front() {
            return now - timestamp;
        }
        if self.end.is_none_or(|end| end <= low) {
            self.level = Some(now);
            return 0;
        }
        // It came after the last one that was answered, and after the time when nothing was there to answer.
        let bounds = [self.answered, self.level].into_iter().flatten().map(|since| now - since);
        bounds.min().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(taken: &[(i64, Timestamp)], end: i64) -> Tail {
        Tail { taken: taken.iter().copied().collect(), end: Some(end), ..Tail::default() }
    }

    #[test]
    fn the_age_is_that_of_the_lowest_record_without_an_answer() {
        let mut tail = tail(&[(5, 1_000), (6, 2_000), (8, 3_000)], 9);
        let ages: Vec<_> = [5, 6, 7, 8, 9].iter().map(|low| tail.age(*low, 10_000)).collect();
        assert_eq!(ages, [9_000, 8_000, 7_000, 7_000, 0]);
    }

    #[test]
    fn what_was_not_read_yet_is_no_older_than_the_last_answer() {
        let mut tail = tail(&[(5, 1_000)], 6);
        assert_eq!(tail.age(6, 2_000), 0);
        tail.end = Some(8);
        tail.level = None;
        assert_eq!(tail.age(6, 4_000), 3_000);
    }

    #[test]
    fn after_a_calm_hour_a_new_record_is_not_an_hour_old() {
        let mut tail = tail(&[(5, 1_000)], 6);
        assert_eq!(tail.age(6, 3_600_000), 0);
        tail.end = Some(8);
        assert_eq!(tail.age(6, 3_600_250), 250);
    }

    #[test]
    fn a_marker_behind_the_last_record_is_no_lag() {
        let metrics = Arc::new(Metrics::new());
        let mut lag = Lag::new(metrics.clone());
        lag.taken(Position { partition: 2, offset: 7 }, Some(1_000));
        lag.ends(&[(2, None), (3, None)]);
        lag.tell([(2, 8), (3, 40)].into_iter(), 3_500);
        let told = metrics.exposition();
        for line in ["records{partition=\"2\"} 0", "seconds{partition=\"2\"} 0", "records{partition=\"3\"} 0"] {
            assert!(told.contains(&format!("crm_consumer_lag_{line}\n")), "{line} is not in\n{told}");
        }
    }

    #[test]
    fn what_is_given_up_is_not_told_any_more() {
        let metrics = Arc::new(Metrics::new());
        let mut lag = Lag::new(metrics.clone());
        lag.taken(Position { partition: 2, offset: 7 }, Some(1_000));
        lag.ends(&[(2, Some(9))]);
        lag.tell([(2, 7)].into_iter(), 3_500);
        let told = metrics.exposition();
        for line in ["crm_consumer_lag_records{partition=\"2\"} 2", "crm_consumer_lag_seconds{partition=\"2\"} 2.5"] {
            assert!(told.contains(line), "{line} is not in\n{told}");
        }
        lag.forget();
        assert!(!metrics.exposition().contains("partition=\"2\""));
    }
}
