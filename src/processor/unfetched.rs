//! Notices partitions from which the client fetches nothing although records are there: pure, with `now` as an argument.
//!
//! The consumer learns where a partition ends only from its own fetches. If a defect makes it stop fetching a partition, the partition
//! looks as if nobody wrote to it any more. So the brokers are asked for the ends in another way. A partition that has records to fetch, is
//! not paused, and does not move on, is *unfetched*.

use super::listed::listed;
use crate::flow::Partition;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long records may wait to be fetched before an operator is told: longer than a broker's quota or a new leader delays a fetch.
const TELL_AFTER: Duration = Duration::from_secs(15);

/// The assigned partitions that the client could fetch from.
#[derive(Debug, Default)]
pub struct Unfetched {
    partitions: BTreeMap<Partition, Next>,
    /// When the client last said which offsets it is to fetch next. A wait is measured up to this moment and not up to now: a process that
    /// was frozen has not waited.
    told: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Next {
    /// The offset that is to be fetched next.
    offset: i64,
    /// The offset after the last record that can be read, by the brokers' last answer; `None` if they did not answer.
    end: Option<i64>,
    /// Since when a record at `offset` has been known to be there.
    since: Option<Instant>,
}

/// Partitions with records that the client has not fetched for long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnfetchedPartitions {
    /// The partitions, each with the offset that is to be fetched next and the offset after its last record.
    pub partitions: Vec<(Partition, i64, i64)>,
    /// How long the first of them has waited.
    pub longest: Duration,
}

impl Unfetched {
    /// Takes note of the offset that is to be fetched next from each partition that nothing holds back, and forgets all others.
    pub fn next(&mut self, offsets: &[(Partition, i64)], now: Instant) {
        self.told = Some(now);
        let before = std::mem::take(&mut self.partitions);
        for (partition, offset) in offsets.iter().copied() {
            let known = before.get(&partition);
            let end = known.and_then(|known| known.end);
            let since = known.filter(|known| known.offset == offset).and_then(|known| known.since);
            self.partitions.insert(partition, Next { offset, end, since }.judged(now));
        }
    }

    /// Takes note of the partitions' ends. The end of a partition that is not among them counts as unknown from now on.
    pub fn ends(&mut self, ends: &BTreeMap<Partition, i64>, now: Instant) {
        for (partition, next) in &mut self.partitions {
            next.end = ends.get(partition).copied();
            *next = next.judged(now);
        }
    }

    /// Returns the partitions whose records have waited for long. Returns `None` if there are none.
    pub fn waiting(&self) -> Option<UnfetchedPartitions> {
        let told = self.told?;
        let waited = |next: &Next| Some(told.saturating_duration_since(next.since?)).filter(|waited| *waited >= TELL_AFTER);
        let longest = self.partitions.values().filter_map(waited).max()?;
        let late = self.partitions.iter().filter(|(_, next)| waited(next).is_some());
        let partitions = late.filter_map(|(partition, next)| Some((*partition, next.offset, next.end?))).collect();
        Some(UnfetchedPartitions { partitions, longest })
    }

    /// Forgets all partitions: they are somebody else's.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

impl UnfetchedPartitions {
    /// Returns what is wrong, in words.
    pub fn text(&self) -> String {
        let said = self.partitions.iter().map(|(partition, next, end)| format!("{partition} (offsets {next} to {})", end - 1));
        format!(
            "the Kafka client fetches nothing from partitions {}, although brokers have records there, for {} s",
            listed(said, ", "),
            self.longest.as_secs()
        )
    }
}

impl Next {
    fn judged(self, now: Instant) -> Self {
        let is_there = self.end.is_some_and(|end| end > self.offset);
        Self { since: if is_there { self.since.or(Some(now)) } else { None }, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_unfetched_if_records_are_there_and_its_next_offset_stands_still() {
        enum Event {
            Next(&'static [(Partition, i64)]),
            Ends(&'static [(Partition, i64)]),
        }
        use Event::{Ends, Next};
        type Case = (&'static str, &'static [(u64, Event)], &'static [(Partition, i64, i64)], u64);
        let begin = Instant::now();
        let at = |second| begin + Duration::from_secs(second);
        // Events, each with its second, and then the partitions that wait, and for how long.
        let cases: [Case; 10] = [
            ("nothing is known", &[], &[], 0),
            ("the end is unknown", &[(0, Next(&[(3, 7)]))], &[], 0),
            ("all was fetched", &[(0, Next(&[(3, 7)])), (1, Ends(&[(3, 7)]))], &[], 0),
            ("records wait", &[(0, Next(&[(3, 7)])), (10, Ends(&[(3, 9)])), (60, Next(&[(3, 7)]))], &[(3, 7, 9)], 50),
            ("not for long", &[(0, Next(&[(3, 7)])), (50, Ends(&[(3, 9)])), (60, Next(&[(3, 7)]))], &[], 0),
            ("the process was frozen", &[(0, Next(&[(3, 7)])), (10, Ends(&[(3, 9)]))], &[], 0),
            (
                "it moves on",
                &[(0, Next(&[(3, 7)])), (10, Ends(&[(3, 9)])), (40, Next(&[(3, 8)])), (60, Next(&[(3, 8)]))],
                &[(3, 8, 9)],
                20,
            ),
            ("it is paused", &[(0, Next(&[(3, 7)])), (10, Ends(&[(3, 9)])), (20, Next(&[])), (60, Next(&[(3, 7)]))], &[], 0),
            (
                "brokers say nothing",
                &[(0, Next(&[(3, 7)])), (10, Ends(&[(3, 9)])), (20, Ends(&[])), (60, Next(&[(3, 7)]))],
                &[],
                0,
            ),
            (
                "two of three",
                &[
                    (0, Next(&[(1, 5), (2, 5), (3, 5)])),
                    (10, Ends(&[(1, 6), (2, 5), (3, 9)])),
                    (60, Next(&[(1, 5), (2, 5), (3, 5)])),
                ],
                &[(1, 5, 6), (3, 5, 9)],
                50,
            ),
        ];
        for (case, events, partitions, longest) in cases {
            let mut unfetched = Unfetched::default();
            for (second, event) in events {
                match event {
                    Next(offsets) => unfetched.next(offsets, at(*second)),
                    Ends(ends) => unfetched.ends(&ends.iter().copied().collect(), at(*second)),
                }
            }
            let expected = (!partitions.is_empty())
                .then(|| UnfetchedPartitions { partitions: partitions.to_vec(), longest: Duration::from_secs(longest) });
            assert_eq!(unfetched.waiting(), expected, "{case}");
            unfetched.forget();
            assert_eq!(unfetched.waiting(), None, "{case}");
        }
    }
}
