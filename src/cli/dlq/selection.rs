//! Chooses dead letters, and reads those that are chosen.

use super::letter::{Letter, is_mark};
use crate::config::Config;
use crate::domain::Timestamp;
use crate::flow::RecordId;
use crate::toolbox::moment::Moment;
use crate::toolbox::topic_scan::{PartitionRange, TopicScan};
use rdkafka::message::Message as _;

/// The flags that choose dead letters.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Filters {
    /// Only letters in these partitions of the dead letter topic
    #[arg(long, value_name = "N", value_delimiter = ',')]
    partition: Vec<i32>,
    /// Only letters at these offsets: 17, 17-20, 17- or -20; both ends count
    #[arg(long, value_name = "RANGE", value_parser = offsets, allow_hyphen_values = true)]
    offsets: Option<Offsets>,
    /// Only letters of this time or later: 2026-01-31T12:00:00Z, or 2h for "two hours ago"
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    since: Option<Moment>,
    /// Only letters from before this time
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    until: Option<Moment>,
    /// Only letters with one of these reasons
    #[arg(long, value_name = "REASON", value_delimiter = ',')]
    reason: Vec<String>,
    /// Only letters with this key
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    key: Option<String>,
    /// Only letters that came from this topic
    #[arg(long, value_name = "TOPIC")]
    origin: Option<String>,
}

/// Offsets, both ends included.
type Offsets = std::ops::RangeInclusive<i64>;

fn offsets(text: &str) -> Result<Offsets, &'static str> {
    let number = |text: &str, absent| if text.is_empty() { Some(absent) } else { text.parse().ok().filter(|n: &i64| *n >= 0) };
    let range = match text.split_once('-') {
        None => text.parse().ok().map(|n| (n, n)),
        Some((first, last)) => number(first, 0).zip(number(last, i64::MAX)),
    };
    let range = range.filter(|(first, last)| 0 <= *first && first <= last && text != "-");
    range.map(|(first, last)| first..=last).ok_or("must be an offset or a range of them: 17, 17-20, 17- or -20")
}

/// The choice of letters: the flags, with their times as timestamps.
#[derive(Debug, Default)]
pub(super) struct Selection {
    filters: Filters,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    /// The places of the letters; `None` if the filters alone choose.
    ids: Option<Vec<RecordId>>,
}

impl Filters {
    /// Sets the origin to `topic`, unless another origin is asked for.
    pub fn or_origin(self, topic: &str) -> Self {
        Self { origin: self.origin.or_else(|| Some(topic.to_owned())), ..self }
    }

    /// Returns whether no filter is given.
    pub fn are_empty(&self) -> bool {
        let Self { partition, offsets, since, until, reason, key, origin } = self;
        let times = [since, until].into_iter().flatten().count();
        let texts = [key, origin].into_iter().flatten().count();
        partition.is_empty() && offsets.is_none() && times == 0 && reason.is_empty() && texts == 0
    }
}

impl Selection {
    pub fn new(filters: Filters, now: Timestamp) -> Self {
        let [since, until] = [filters.since, filters.until].map(|moment| Some(moment?.timestamp(now)));
        Self { filters, since, until, ids: None }
    }

    /// Chooses the letters at these places, and no others.
    pub fn of(ids: Vec<RecordId>) -> Self {
        Self { ids: Some(ids), ..Self::default() }
    }

    /// Returns that part of `range` in which letters may be chosen. Returns `None` if there is none.
    pub fn within(&self, range: PartitionRange) -> Option<PartitionRange> {
        let PartitionRange { partition, mut from, mut to } = range;
        if let Some(ids) = &self.ids {
            let offsets = || ids.iter().filter(|id| id.partition == partition).map(|id| id.offset);
            (from, to) = (from.max(offsets().min()?), to.min(offsets().max()? + 1));
        }
        if !self.filters.partition.is_empty() && !self.filters.partition.contains(&partition) {
            return None;
        }
        if let Some(offsets) = &self.filters.offsets {
            (from, to) = (from.max(*offsets.start()), to.min(offsets.end().saturating_add(1)));
        }
        (from < to).then_some(PartitionRange { partition, from, to })
    }

    /// Returns whether a letter is chosen that was read from a stretch of [`Self::within`].
    pub fn selects(&self, letter: &Letter) -> bool {
        let Filters { reason, key, origin, .. } = &self.filters;
        let at = letter.timestamp().unwrap_or_default();
        self.ids.as_ref().is_none_or(|ids| ids.contains(&letter.id()))
            && self.since.is_none_or(|since| since <= at)
            && self.until.is_none_or(|until| at < until)
            && (reason.is_empty() || reason.iter().any(|r| *r == letter.reason()))
            && key.as_ref().is_none_or(|key| letter.record.key() == Some(key.as_bytes()))
            && origin.as_ref().is_none_or(|topic| letter.error("topic") == Some(topic))
    }
}

/// The chosen letters, read partition after partition.
pub(super) struct Letters<'a> {
    scan: TopicScan,
    selection: &'a Selection,
}

impl<'a> Letters<'a> {
    pub fn open(config: &Config, ranges: &[PartitionRange], selection: &'a Selection) -> anyhow::Result<Self> {
        let ranges = ranges.iter().filter_map(|range| selection.within(*range));
        Ok(Self { scan: TopicScan::open(&config.kafka, &config.kafka.topics.dlq, ranges)?, selection })
    }

    pub async fn next(&mut self) -> anyhow::Result<Option<Letter>> {
        while let Some(record) = self.scan.next().await? {
            let letter = Letter { record };
            if !is_mark(&letter.record) && self.selection.selects(&letter) {
                return Ok(Some(letter));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_offsets_has_one_end_or_two() {
        for (text, expected) in [
            ("17", Some(17..=17)),
            ("17-20", Some(17..=20)),
            ("17-", Some(17..=i64::MAX)),
            ("-20", Some(0..=20)),
            ("20-17", None),
            ("-", None),
            ("", None),
            ("x", None),
            ("1-x", None),
            ("1--2", None),
        ] {
            assert_eq!(offsets(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn only_what_can_be_meant_is_read() {
        let range = PartitionRange { partition: 1, from: 10, to: 20 };
        let with = |filters: Filters| Selection::new(filters, 0).within(range);
        assert_eq!(with(Filters::default()), Some(range));
        assert_eq!(with(Filters { partition: vec![0, 2], ..Filters::default() }), None);
        assert_eq!(
            with(Filters { offsets: Some(12..=14), ..Filters::default() }),
            Some(PartitionRange { from: 12, to: 15, ..range })
        );
        assert_eq!(with(Filters { offsets: Some(20..=i64::MAX), ..Filters::default() }), None);
        let ids = ["1/12", "0/11", "1/15"].map(|id| id.parse().unwrap());
        assert_eq!(Selection::of(ids.into()).within(range), Some(PartitionRange { from: 12, to: 16, ..range }));
        assert_eq!(Selection::of(vec!["0/11".parse().unwrap()]).within(range), None);
    }
}
