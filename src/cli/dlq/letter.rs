//! The records on the dead letter topic: dead letters, and marks that tell which of them were sent again.
//!
//! A mark is written to the letter's own partition, in the Kafka transaction that sends the letter again. So the mark is there exactly if
//! the letter was sent again, and is kept at least as long as the letter. A mark has no key, no value, and none of Kafka Connect's
//! headers. Each dead letter has these headers, so no producer of commands can forge a mark.

use crate::config::Config;
use crate::domain::Timestamp;
use crate::domain::request::SourceRecord;
use crate::flow::RecordId;
use crate::toolbox::record::all_headers;
use crate::toolbox::topic_scan::{PartitionRange, TopicScan};
use crate::wire::stub::STUB;
use rdkafka::message::{Message as _, OwnedMessage};
use std::collections::{BTreeMap, HashMap};

/// The beginning of the names of Kafka Connect's headers, which the processor adds to a record that it can't read.
pub(super) const ERRORS: &str = "__connect.errors.";
/// The header of a mark that holds the id of the letter that was sent again.
pub(super) const RESENT: &str = "crm-dlq-resent";
/// The header of a mark that says where on the command topic the letter was sent.
pub(super) const RESENT_AS: &str = "crm-dlq-resent-as";
/// The header of a command that was sent again. It holds the id of the letter on the dead letter topic.
pub(super) const RESENT_FROM: &str = "crm-resent-from";

/// Returns the id of a record.
fn id_of(record: &OwnedMessage) -> RecordId {
    RecordId { partition: record.partition(), offset: record.offset() }
}

/// A dead letter.
pub(super) struct Letter {
    pub record: OwnedMessage,
}

impl Letter {
    /// Returns the letter's id on the dead letter topic.
    pub fn id(&self) -> RecordId {
        id_of(&self.record)
    }

    pub fn timestamp(&self) -> Option<Timestamp> {
        self.record.timestamp().to_millis()
    }

    /// Returns why the record is a dead letter, in the words of the label of `crm_dlq_records_total`. For a dead letter of another program,
    /// returns the name of the exception's class.
    pub fn reason(&self) -> String {
        reason(self.error("exception.class.name").unwrap_or("unknown"))
    }

    /// Returns the text of one of Kafka Connect's headers, by the end of its name. Returns `None` if
    /// there is no such header, or if the header holds no text.
    pub fn error(&self, name: &str) -> Option<&str> {
        error(&self.record, name)
    }

    /// Returns the record that the letter was made of, as the letter says.
    pub fn origin(&self) -> Option<SourceRecord> {
        let number = |name| self.error(name)?.parse().ok();
        let partition = i32::try_from(number("partition")?).ok()?;
        Some(SourceRecord { topic: self.error("topic")?.into(), partition, offset: number("offset")? })
    }

    /// Returns whether the letter is a stub, which stands for a record that no broker takes as it came, or that can't be decompressed. The
    /// processor writes the header of a stub after Kafka Connect's headers. Such a header before them came with the command.
    pub fn is_stub(&self) -> bool {
        let last =
            all_headers(&self.record).map(|(name, _)| name).filter(|name| *name == STUB || name.starts_with(ERRORS)).last();
        last == Some(STUB)
    }

    /// Returns all headers but Kafka Connect's: those that the command came with, and the processor's own header of a stub.
    pub fn own_headers(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        all_headers(&self.record).filter(|(name, _)| !name.starts_with(ERRORS))
    }
}

/// Returns the text of one of Kafka Connect's headers. If it repeats, the last one counts, as with Kafka's `lastHeader`: the processor adds
/// its own headers behind those that the record had.
fn error<'a>(record: &'a OwnedMessage, name: &str) -> Option<&'a str> {
    text(record, |header| header.strip_prefix(ERRORS) == Some(name))
}

fn text(record: &OwnedMessage, is_it: impl Fn(&str) -> bool) -> Option<&str> {
    let (_, value) = all_headers(record).filter(|(name, _)| is_it(name)).last()?;
    std::str::from_utf8(value?).ok()
}

/// Turns the class `crm.UnknownSchemaId` into the reason `unknown_schema_id`. Returns other programs' classes as they are.
pub(super) fn reason(class: &str) -> String {
    let Some(name) = class.strip_prefix("crm.") else { return class.to_owned() };
    name.chars().enumerate().fold(String::new(), |mut reason, (at, c)| {
        if c.is_ascii_uppercase() && at > 0 {
            reason.push('_');
        }
        reason.push(c.to_ascii_lowercase());
        reason
    })
}

/// The mark of a letter: when it was sent again, and as which command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub at: Option<Timestamp>,
    /// The topic, partition and offset of the command: `crm.commands/1/2`.
    pub sent_as: String,
}

/// The letters that were sent again, each with its last mark.
#[derive(Default)]
pub(super) struct Marks(HashMap<RecordId, Mark>);

impl Marks {
    /// Reads all marks in these ranges.
    pub async fn read(config: &Config, ranges: &[PartitionRange]) -> anyhow::Result<Self> {
        let mut scan = TopicScan::open(&config.kafka, &config.kafka.topics.dlq, ranges.iter().copied())?;
        let mut marks = Self::default();
        while let Some(record) = scan.next().await? {
            marks.0.extend(mark(&record));
        }
        Ok(marks)
    }

    pub fn of(&self, id: RecordId) -> Option<&Mark> {
        self.0.get(&id)
    }
}

/// Reads a mark, and the id of its letter. Returns `None` if the record is no mark.
pub(super) fn mark(record: &OwnedMessage) -> Option<(RecordId, Mark)> {
    let id: RecordId = text(record, |name| name == RESENT)?.parse().ok()?;
    let sent_as = text(record, |name| name == RESENT_AS)?.to_owned();
    let is_mark = is_mark(record) && id.partition == record.partition();
    is_mark.then(|| (id, Mark { at: record.timestamp().to_millis(), sent_as }))
}

pub(super) fn is_mark(record: &OwnedMessage) -> bool {
    let names = || all_headers(record).map(|(name, _)| name);
    names().any(|name| name == RESENT) && !names().any(|name| name.starts_with(ERRORS))
}

/// How many letters there are for a reason.
#[derive(Default)]
pub(super) struct LetterCount {
    pub letters: usize,
    pub resent: usize,
    pub first: Option<Timestamp>,
    pub last: Option<Timestamp>,
}

/// The counts of letters, by reason.
#[derive(Default)]
pub(super) struct LetterCounts(pub BTreeMap<String, LetterCount>);

impl LetterCounts {
    pub fn add(&mut self, letter: &Letter, resent: bool) {
        let count = self.0.entry(letter.reason()).or_default();
        count.letters += 1;
        count.resent += usize::from(resent);
        let at = letter.timestamp();
        count.first = [count.first, at].into_iter().flatten().min();
        count.last = count.last.max(at);
    }

    pub fn letters(&self) -> usize {
        self.0.values().map(|count| count.letters).sum()
    }

    pub fn resent(&self) -> usize {
        self.0.values().map(|count| count.resent).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::message::{Header, OwnedHeaders};

    fn record(headers: &[(&str, &str)]) -> OwnedMessage {
        let headers =
            headers.iter().fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(*value) }));
        OwnedMessage::new(None, None, "dlq".into(), rdkafka::Timestamp::CreateTime(7), 3, 20, Some(headers))
    }

    #[test]
    fn reasons_are_those_of_the_metric() {
        use crate::telemetry::labels::DeadLetter;
        use crate::wire::command::Unreadable;
        for unreadable in
            [Unreadable::NullValue, Unreadable::UnknownSchemaId { id: 1.into() }, Unreadable::CorrelationHeaderTooLong]
        {
            assert_eq!(reason(unreadable.class_name()), DeadLetter::from(&unreadable).text(), "{unreadable}");
        }
        assert_eq!(reason("java.lang.Exception"), "java.lang.Exception");
    }

    #[test]
    fn a_mark_is_of_its_partition_and_has_no_errors() {
        let sent = ("crm-dlq-resent-as", "c/1/2");
        let expected = (RecordId { partition: 3, offset: 17 }, Mark { at: Some(7), sent_as: "c/1/2".into() });
        assert_eq!(mark(&record(&[("crm-dlq-resent", "3/17"), sent])), Some(expected));
        // What a producer of commands can get onto the topic.
        let forged = record(&[("crm-dlq-resent", "3/17"), sent, ("__connect.errors.topic", "c")]);
        assert!(mark(&forged).is_none() && !is_mark(&forged));
        assert_eq!(mark(&record(&[("crm-dlq-resent", "4/17"), sent])), None);
    }

    #[test]
    fn a_stub_is_told_by_the_processors_own_header() {
        let errors = ("__connect.errors.topic", "crm.commands");
        for (headers, is_stub) in [
            (&[errors, ("crm-stub", "true")][..], true),
            (&[("crm-stub", "true"), errors], false),
            (&[("crm-stub", "true"), errors, ("crm-stub", "true")], true),
            (&[errors], false),
        ] {
            assert_eq!(Letter { record: record(headers) }.is_stub(), is_stub, "{headers:?}");
        }
    }

    #[test]
    fn of_headers_that_repeat_the_processors_counts() {
        let letter = Letter {
            record: record(&[
                ("__connect.errors.topic", "forged"),
                ("__connect.errors.topic", "crm.commands"),
                ("__connect.errors.partition", "1"),
                ("__connect.errors.offset", "42"),
                ("kept", "x"),
            ]),
        };
        assert_eq!(letter.origin(), Some(SourceRecord { topic: "crm.commands".into(), partition: 1, offset: 42 }));
        assert_eq!(letter.own_headers().map(|(name, _)| name).collect::<Vec<_>>(), ["kept"]);
    }
}
