//! Measures how far the answers are behind the topic, by partition: in records, and in time. The age of a record that was not read yet is
//! not known. It came after the last record that was answered, and after the last moment at which nothing was unanswered, so it is at most
//! as old as the later of the two.
//!
//! This file also reports two things that a CRM may do to its own commands. A transaction that it leaves open holds back everything behind
//! the transaction's beginning on the partition, whoever wrote it: the last stable offset stays where it is. And a timestamp that can't be
//! true (seconds for milliseconds, a clock that was never set) says nothing of the record's age, so that the age counts from the record's
//! arrival.

use super::listed::listed;
use crate::domain::Timestamp;
use crate::flow::{Partition, RecordId};
use crate::kafka::callbacks::End;
use crate::telemetry::concerns::Concern;
use crate::telemetry::health::Health;
use crate::telemetry::labels::AbsurdTimestamp;
use crate::telemetry::metrics::Metrics;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The age from which on a timestamp can't be true, in milliseconds: retention is usually days, so that no record on a command topic is
/// so old.
const OLDEST: Timestamp = 366 * 24 * 60 * 60 * 1000;
/// The lead over our clock from which on a timestamp can't be true, in milliseconds. A record that is ahead by less counts
/// as new.
const NEWEST: Timestamp = 5 * 60 * 1000;
/// How long the last stable offset may stand still before `/readyz` warns, in milliseconds: longer than a producer's transaction usually
/// takes, and short enough to be known within ten seconds.
const STILL: Timestamp = 5_000;

/// The lag of each assigned partition, and where it is told.
pub struct Lag {
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    topic: Arc<str>,
    partitions: BTreeMap<Partition, Tail>,
}

/// The records of a partition that may lack their answer.
#[derive(Debug, Default)]
struct Tail {
    /// The offsets and timestamps of the records taken in, without those below the lowest one that is not answered: no more than may be
    /// open above that one ([`crate::flow::offsets::MAX_SPAN`]).
    taken: VecDeque<(i64, Timestamp)>,
    /// The offset after the last record taken in.
    next: i64,
    /// The timestamp of the last record that was answered.
    answered: Option<Timestamp>,
    /// The offset after the last record of the partition; `None` if it is not known yet.
    end: Option<i64>,
    /// The last moment at which every record had been answered.
    level: Option<Timestamp>,
    /// The records that an open transaction holds back.
    held_back: Option<HeldBack>,
    /// Whether the client does not fetch the partition, because it is paused.
    is_paused: bool,
}

/// Records that stand behind the beginning of an open transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HeldBack {
    /// The last stable offset: where the transaction begins.
    stable: i64,
    /// The high watermark of the partition: the offset after its last record or marker.
    high: i64,
    /// When the last stable offset was first seen there; `None` until [`Lag::tell`] is called.
    since: Option<Timestamp>,
}

impl HeldBack {
    fn still(&self, now: Timestamp) -> Timestamp {
        self.since.map_or(0, |since| (now - since).max(0))
    }
}

impl Lag {
    /// Creates a lag of which nothing is known yet. `topic` is the command topic.
    pub fn new(topic: &str, metrics: Arc<Metrics>, health: Arc<Health>) -> Self {
        Self { metrics, health, topic: topic.into(), partitions: BTreeMap::new() }
    }

    /// Takes note of a record that was taken in. The records of a partition come in order. Returns the time from which the record's age
    /// counts: its timestamp, or `now` if that can't be true. Returns `None` if the record has no timestamp.
    pub fn taken(&mut self, at: RecordId, timestamp: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
        let timestamp = timestamp.map(|timestamp| self.believed(timestamp, now));
        let tail = self.partitions.entry(at.partition).or_default();
        tail.next = at.offset + 1;
        tail.taken.extend(timestamp.map(|timestamp| (at.offset, timestamp)));
        timestamp
    }

    fn believed(&self, timestamp: Timestamp, now: Timestamp) -> Timestamp {
        let absurd = match now.saturating_sub(timestamp) {
            age if age >= OLDEST => AbsurdTimestamp::Past,
            age if age <= -NEWEST => AbsurdTimestamp::Future,
            _ => return timestamp,
        };
        self.metrics.absurd_timestamps.of(absurd).inc();
        now
    }

    /// Takes note of where some partitions end.
    pub fn ends(&mut self, ends: &[End]) {
        for End { partition, all_handed_on, stable, high, is_paused } in ends.iter().copied() {
            let tail = self.partitions.entry(partition).or_default();
            let end = if all_handed_on { tail.next } else { high };
            // The client learns nothing new of a paused partition.
            tail.end = Some(tail.end.filter(|_| is_paused).map_or(end, |known| known.max(end)));
            tail.is_paused = is_paused;
            let since = tail.held_back.filter(|before| before.stable == stable).and_then(|before| before.since);
            tail.held_back = (stable < high && !is_paused).then_some(HeldBack { stable, high, since });
        }
    }

    /// Takes note of where partitions end by the brokers' answer to us, which counts for those that are paused.
    pub fn asked(&mut self, ends: &BTreeMap<Partition, i64>) {
        for (partition, end) in ends {
            if let Some(tail) = self.partitions.get_mut(partition).filter(|tail| tail.is_paused) {
                tail.end = Some(tail.end.map_or(*end, |known| known.max(*end)));
            }
        }
    }

    /// Takes note of where a partition ends that the client does not fetch. The client's own measurements do not tell that.
    pub fn unfetched(&mut self, partition: Partition, end: i64) {
        self.partitions.entry(partition).or_default().end = Some(end);
    }

    /// Sets the gauges; `lows` are the lowest offsets that are not answered.
    pub fn tell(&mut self, lows: impl Iterator<Item = (Partition, i64)>, now: Timestamp) {
        let mut still = Vec::new();
        for (partition, low) in lows {
            let tail = self.partitions.entry(partition).or_default();
            self.metrics.consumer_lag_age.set(partition, seconds(tail.age(low, now)));
            if let Some(end) = tail.end {
                self.metrics.consumer_lag.set(partition, (end - low).max(0));
            }
            let (mut behind, mut stuck) = (0, 0);
            if let Some(held_back) = &mut tail.held_back {
                held_back.since.get_or_insert(now);
                (behind, stuck) = (held_back.high - held_back.stable, held_back.still(now));
                still.extend((stuck >= STILL).then_some((partition, *held_back)));
            }
            self.metrics.stable_offset_behind.set(partition, behind);
            self.metrics.stable_offset_stuck.set(partition, seconds(stuck));
        }
        self.health.tell(Concern::TransactionHoldsBack, self.warning(&still, now));
    }

    /// Returns what to say of partitions on which an open transaction holds back commands; `None` if there are none.
    fn warning(&self, still: &[(Partition, HeldBack)], now: Timestamp) -> Option<String> {
        let said = still.iter().map(|(partition, held_back)| {
            format!(
                "{} offsets of {}, partition {partition}, from offset {} on, for {} s",
                held_back.high - held_back.stable,
                self.topic,
                held_back.stable,
                held_back.still(now) / 1000
            )
        });
        (!still.is_empty()).then(|| {
            format!(
                "a producer has left a transaction open, which holds back {} (kafka-transactions.sh finds it and ends it: the runbook has \
                 the steps under CrmOpenTransaction)",
                listed(said, "; ")
            )
        })
    }

    /// Forgets all partitions: they are somebody else's.
    pub fn forget(&mut self) {
        self.partitions.clear();
        let metrics = &self.metrics;
        metrics.consumer_lag.forget_all();
        metrics.consumer_lag_age.forget_all();
        metrics.stable_offset_behind.forget_all();
        metrics.stable_offset_stuck.forget_all();
        self.health.tell(Concern::TransactionHoldsBack, None);
    }
}

/// Returns the time in seconds. A negative time comes from another clock than ours, and counts as 0.
#[expect(clippy::cast_precision_loss, reason = "milliseconds of less than a hundred thousand years")]
fn seconds(millis: Timestamp) -> f64 {
    millis.max(0) as f64 / 1000.0
}

impl Tail {
    /// Returns the age of the oldest record that is not answered, in milliseconds.
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
        // The oldest unanswered record was not read yet. It came after the last one that was answered, and after the last moment at which
        // nothing was unanswered.
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

    fn lag(metrics: &Arc<Metrics>) -> (Lag, Arc<Health>) {
        let health = Arc::new(Health::new());
        (Lag::new("commands", metrics.clone(), health.clone()), health)
    }

    /// Returns an end up to which all can be read, with no record beyond those handed on.
    fn level(partition: Partition, high: i64) -> End {
        End { partition, all_handed_on: true, stable: high, high, is_paused: false }
    }

    fn assert_told(metrics: &Metrics, lines: &[&str]) {
        let told = metrics.exposition();
        for line in lines {
            assert!(told.contains(&format!("crm_{line}\n")), "{line} is not in\n{told}");
        }
    }

    #[test]
    fn a_marker_behind_the_last_record_is_no_lag() {
        let metrics = Arc::new(Metrics::new());
        let (mut lag, _) = lag(&metrics);
        lag.taken(RecordId { partition: 2, offset: 7 }, Some(1_000), 1_000);
        lag.ends(&[level(2, 9), level(3, 41)]);
        lag.tell([(2, 8), (3, 40)].into_iter(), 3_500);
        assert_told(
            &metrics,
            &[
                "consumer_lag_records{partition=\"2\"} 0",
                "consumer_lag_seconds{partition=\"2\"} 0",
                "consumer_lag_records{partition=\"3\"} 0",
            ],
        );
    }

    #[test]
    fn of_a_paused_partition_the_lag_grows_by_what_the_brokers_say_and_no_transaction_is_told() {
        let metrics = Arc::new(Metrics::new());
        let (mut lag, health) = lag(&metrics);
        lag.taken(RecordId { partition: 2, offset: 7 }, Some(1_000), 1_000);
        for now in [1_000, 60_000] {
            lag.ends(&[End { partition: 2, all_handed_on: false, stable: 8, high: 9, is_paused: true }]);
            lag.asked(&BTreeMap::from([(2, 30), (3, 30)]));
            lag.ends(&[End { partition: 2, all_handed_on: false, stable: 8, high: 9, is_paused: true }]);
            lag.tell([(2, 7)].into_iter(), now);
        }
        assert_eq!(health.warnings().join(""), "");
        assert_told(&metrics, &["consumer_lag_records{partition=\"2\"} 23", "stable_offset_stuck_seconds{partition=\"2\"} 0"]);
        lag.ends(&[level(2, 8)]);
        lag.asked(&BTreeMap::from([(2, 30)]));
        lag.tell([(2, 8)].into_iter(), 61_000);
        assert_told(&metrics, &["consumer_lag_records{partition=\"2\"} 0"]);
    }

    #[test]
    fn what_is_given_up_is_not_told_any_more() {
        let metrics = Arc::new(Metrics::new());
        let (mut lag, _) = lag(&metrics);
        lag.taken(RecordId { partition: 2, offset: 7 }, Some(1_000), 1_000);
        lag.ends(&[End { partition: 2, all_handed_on: false, stable: 9, high: 9, is_paused: false }]);
        lag.tell([(2, 7)].into_iter(), 3_500);
        assert_told(&metrics, &["consumer_lag_records{partition=\"2\"} 2", "consumer_lag_seconds{partition=\"2\"} 2.5"]);
        lag.forget();
        assert!(!metrics.exposition().contains("partition=\"2\""));
    }

    #[test]
    fn what_an_open_transaction_holds_back_is_lag_and_is_told_when_it_lasts() {
        let metrics = Arc::new(Metrics::new());
        let (mut lag, health) = lag(&metrics);
        let look = |lag: &mut Lag, stable, high, now| {
            lag.ends(&[End { partition: 2, all_handed_on: false, stable, high, is_paused: false }]);
            lag.tell([(2, 8)].into_iter(), now);
            health.warnings().join("")
        };
        lag.taken(RecordId { partition: 2, offset: 7 }, Some(1_000), 1_000);
        lag.ends(&[level(2, 8)]);
        lag.tell([(2, 8)].into_iter(), 9_000);
        assert_eq!(look(&mut lag, 8, 12, 10_000), "");
        assert_told(
            &metrics,
            &["stable_offset_behind_records{partition=\"2\"} 4", "stable_offset_stuck_seconds{partition=\"2\"} 0"],
        );
        assert_eq!(look(&mut lag, 8, 14, 14_000), "");
        assert_told(
            &metrics,
            &[
                "stable_offset_behind_records{partition=\"2\"} 6",
                "stable_offset_stuck_seconds{partition=\"2\"} 4",
                "consumer_lag_records{partition=\"2\"} 6",
                "consumer_lag_seconds{partition=\"2\"} 5",
            ],
        );
        let warning = look(&mut lag, 8, 14, 16_000);
        assert!(warning.contains("6 offsets of commands, partition 2, from offset 8 on, for 6 s"), "{warning}");
        // The last stable offset moves: one transaction after another is no trouble.
        assert_eq!(look(&mut lag, 10, 14, 17_000), "");
        assert_told(&metrics, &["stable_offset_stuck_seconds{partition=\"2\"} 0"]);
        assert!(!look(&mut lag, 10, 14, 30_000).is_empty());
        assert_eq!(look(&mut lag, 14, 14, 31_000), "");
        assert_told(&metrics, &["stable_offset_behind_records{partition=\"2\"} 0"]);
        assert!(!look(&mut lag, 14, 15, 32_000).contains("commands") && !look(&mut lag, 14, 15, 40_000).is_empty());
        lag.forget();
        assert_eq!(health.warnings(), Vec::<String>::new());
    }

    #[test]
    fn a_timestamp_that_cannot_be_true_counts_as_the_arrival_and_is_counted() {
        const NOW: Timestamp = 1_790_000_000_000;
        let metrics = Arc::new(Metrics::new());
        let (mut lag, _) = lag(&metrics);
        let at = RecordId { partition: 0, offset: 1 };
        let day = 24 * 60 * 60 * 1000;
        for (timestamp, believed, past, future) in [
            (NOW, NOW, 0, 0),
            (NOW - 30 * day, NOW - 30 * day, 0, 0),
            (NOW + 60_000, NOW + 60_000, 0, 0),
            // Seconds, 1970, before 1970, and as far off as a number can say.
            (NOW / 1000, NOW, 1, 0),
            (0, NOW, 2, 0),
            (-1, NOW, 3, 0),
            (Timestamp::MIN, NOW, 4, 0),
            // Microseconds.
            (NOW * 1000, NOW, 4, 1),
            (Timestamp::MAX, NOW, 4, 2),
        ] {
            assert_eq!(lag.taken(at, Some(timestamp), NOW), Some(believed), "{timestamp}");
            let counted = [AbsurdTimestamp::Past, AbsurdTimestamp::Future].map(|kind| metrics.absurd_timestamps.of(kind).get());
            assert_eq!(counted, [past, future], "{timestamp}");
        }
        assert_eq!(lag.taken(at, None, NOW), None);
    }
}
