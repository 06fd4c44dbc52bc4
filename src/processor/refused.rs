//! Outputs that the broker refuses: where they go instead, and what is told of them.

use super::answer::Memo;
use crate::domain::Timestamp;
use crate::flow::RecordId;
use crate::flow::attempt::Why;
use crate::flow::batch::{Finished, Publishable, Redirection};
use crate::kafka::record::{Digest, Sizes, borrowed, stub_of};
use crate::kafka::{Fallback, Output, OutputKind, Outputs};
use crate::telemetry::labels::OutputTopic;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::wording::counted;
use crate::wire::stub::stub_header;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The size of the largest dead letter that any broker takes unless told otherwise (`message.max.bytes`), in bytes. If one of this size is
/// not taken in time, its size is not the reason, and waiting helps.
const USUALLY_TAKEN: usize = 1 << 20;

/// An output that the broker refuses.
#[derive(Debug)]
pub struct RefusedOutput {
    /// The record of the command topic.
    at: RecordId,
    /// The record's timestamp.
    timestamp: Option<Timestamp>,
    topic: Arc<str>,
    kind: OutputKind,
    why: Why,
    handling: Handling,
}

/// The fate of a refused output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handling {
    ToDefaultTopic,
    ToAnyPartition,
    AsStub,
    /// There is no other place, and its record is held.
    Held,
}

impl Publishable for Outputs<Memo> {
    type Refused = RefusedOutput;

    fn weight(&self) -> usize {
        self.outputs.iter().map(Output::weight).sum()
    }

    fn redirect(&mut self, at: RecordId, output: usize, why: Why) -> Redirection<RefusedOutput> {
        let output = &mut self.outputs[output];
        let (topic, kind) = (output.topic.clone(), output.kind);
        let handling = match std::mem::replace(&mut output.fallback, Fallback::None) {
            Fallback::Topic(default) => {
                (output.topic, output.partition) = (default, None);
                Handling::ToDefaultTopic
            }
            Fallback::AnyPartition => {
                output.partition = None;
                Handling::ToAnyPartition
            }
            Fallback::Stub(commands) if why == Why::Silent && output.size() > USUALLY_TAKEN => {
                let sizes = Sizes::of(output.key.as_deref(), output.value.as_deref(), borrowed(&output.headers));
                let digest = Digest::new(output.value.as_deref(), sizes);
                output.value = Some(stub_of(&at.on(commands), Some(&digest)));
                output.headers.push(stub_header());
                Handling::AsStub
            }
            fallback => {
                output.fallback = fallback;
                Handling::Held
            }
        };
        let report = RefusedOutput { at, timestamp: self.memo.timestamp, topic, kind, why, handling };
        Redirection { has_other_place: handling != Handling::Held, report }
    }
}

impl RefusedOutput {
    /// Logs and counts the refusal.
    pub fn tell(&self, commands: &str, metrics: &Metrics) {
        metrics.outputs_refused.of(self.label()).inc();
        let what_now = match self.handling {
            Handling::ToDefaultTopic => {
                metrics.reply_topics_refused.inc();
                "the reply goes to the default topic"
            }
            Handling::ToAnyPartition => {
                metrics.reply_partitions_ignored.inc();
                "the reply goes to another partition"
            }
            Handling::AsStub => "a stub goes to the dead letter topic in its place; the original stays on the command topic",
            Handling::Held => {
                "its record is held, with those that follow it in its lane, and tried again every few seconds; nothing is lost"
            }
        };
        tracing::error!(
            topic = %self.topic,
            error = what(self.why),
            way_out = way_out(self.why),
            command_topic = %commands,
            command_partition = self.at.partition,
            command_offset = self.at.offset,
            "the broker refuses an output: {what_now}"
        );
    }

    /// Returns the metric's label for the topic that the output was to go to.
    fn label(&self) -> OutputTopic {
        match (self.kind, self.handling) {
            (OutputKind::Reply, Handling::ToDefaultTopic) => OutputTopic::NamedReplies,
            (OutputKind::Reply, _) => OutputTopic::Replies,
            (OutputKind::Transaction, _) => OutputTopic::Transactions,
            (OutputKind::Change, _) => OutputTopic::Changes,
            (OutputKind::DeadLetter, _) => OutputTopic::Dlq,
        }
    }
}

/// The records that are held because outputs of theirs are refused, as far as an operator is told of them.
#[derive(Debug, Default)]
pub struct HeldRecords {
    /// The records that had refused outputs and are not committed yet.
    records: BTreeMap<RecordId, HeldRecord>,
}

/// A record that had refused outputs.
#[derive(Debug)]
struct HeldRecord {
    timestamp: Option<Timestamp>,
    /// Why outputs were refused, by their topic.
    topics: BTreeMap<Arc<str>, Why>,
}

impl HeldRecords {
    /// Takes note of a refused output.
    pub fn add(&mut self, refused: &RefusedOutput) {
        if refused.handling == Handling::Held {
            let held = || HeldRecord { timestamp: refused.timestamp, topics: BTreeMap::new() };
            self.records.entry(refused.at).or_insert_with(held).topics.insert(refused.topic.clone(), refused.why);
        }
    }

    /// Takes note that records are committed.
    pub fn committed(&mut self, records: &[Finished<Outputs<Memo>>]) {
        if !self.records.is_empty() {
            for record in records {
                self.records.remove(&record.at);
            }
        }
    }

    /// Returns what is wrong while so many records are held, or `None` if none are.
    pub fn concern(&self, held: usize) -> Option<String> {
        if held == 0 {
            return None;
        }
        let topics: BTreeMap<_, _> = self.records.values().flat_map(|record| &record.topics).collect();
        let topics: Vec<_> = topics.into_iter().map(|(topic, why)| format!("{topic} ({})", what(*why))).collect();
        let (records, topics) = (counted(held, "record"), topics.join(", "));
        Some(format!("the processor holds {records}, because the broker refuses what is written to {topics}"))
    }

    /// Forgets everything, because no record is held any more.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Returns the timestamp of the oldest record that had a refused output, or `None` if there is no such record.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.records.values().filter_map(|record| record.timestamp).min()
    }
}

/// Returns what is wrong with an output, in words.
fn what(why: Why) -> &'static str {
    match why {
        Why::TooLarge => "it is too large",
        Why::Missing => "the topic or its partition is missing",
        Why::Denied => "writing to the topic is not allowed",
        Why::Invalid => "it breaks a rule of the topic",
        Why::Silent => "it was not taken in time, twice and alone, and the broker does not say why",
    }
}

/// Returns what an operator can do about it.
fn way_out(why: Why) -> &'static str {
    match why {
        Why::TooLarge => "raise the topic's max.message.bytes",
        Why::Missing => "make the topic (`setup` does it)",
        Why::Denied => "grant the right to write to the topic",
        Why::Silent => {
            "see whether all replicas of the topic's partitions are in sync, what quota this client has, and whether the broker's \
             socket.request.max.bytes is larger than the output"
        }
        Why::Invalid => "see what the topic's configuration demands of records",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: RecordId = RecordId { partition: 3, offset: 17 };

    fn outputs(kind: OutputKind, value_bytes: usize, fallback: Fallback) -> Outputs<Memo> {
        let value = Some(vec![b'x'; value_bytes].into());
        let output =
            Output { kind, topic: "asked-for".into(), partition: Some(2), key: None, value, headers: Vec::new(), fallback };
        Outputs { outputs: vec![output], memo: Memo { timestamp: Some(5), ..Memo::default() } }
    }

    #[test]
    fn a_refused_output_goes_to_its_other_place_once() {
        let stub = || Fallback::Stub("crm.commands".into());
        let large = USUALLY_TAKEN + 1;
        let table = [
            (OutputKind::Reply, 9, Fallback::Topic("replies".into()), Why::Missing, Handling::ToDefaultTopic, "replies", None),
            (OutputKind::Reply, 9, Fallback::AnyPartition, Why::Missing, Handling::ToAnyPartition, "asked-for", None),
            (OutputKind::Reply, 9, Fallback::None, Why::Missing, Handling::Held, "asked-for", Some(2)),
            (OutputKind::Transaction, large, Fallback::None, Why::Silent, Handling::Held, "asked-for", Some(2)),
            (OutputKind::DeadLetter, large, stub(), Why::Silent, Handling::AsStub, "asked-for", Some(2)),
            (OutputKind::DeadLetter, large, stub(), Why::TooLarge, Handling::Held, "asked-for", Some(2)),
            (OutputKind::DeadLetter, 9, stub(), Why::Silent, Handling::Held, "asked-for", Some(2)),
        ];
        for (kind, bytes, fallback, why, handling, topic, partition) in table {
            let mut outputs = outputs(kind, bytes, fallback.clone());
            let case = format!("{kind:?} of {bytes} bytes, {fallback:?}, {why:?}");
            let Redirection { has_other_place, report } = outputs.redirect(AT, 0, why);
            assert_eq!((has_other_place, report.handling), (handling != Handling::Held, handling), "{case}");
            let output = &outputs.outputs[0];
            assert_eq!((&*output.topic, output.partition), (topic, partition), "{case}");
            assert_eq!(output.value.as_ref().is_some_and(|v| v.len() == bytes), handling != Handling::AsStub, "{case}");
            assert_eq!(outputs.redirect(AT, 0, why).report.handling, Handling::Held, "{case}: there is no third place");
        }
    }

    #[test]
    fn whatever_a_record_is_held_for_is_told_until_nothing_is_held() {
        let mut held = HeldRecords::default();
        assert_eq!((held.concern(0), held.oldest()), (None, None));
        // An output that is too slow alone twice has no verdict of its own: it is told like the others.
        held.add(&outputs(OutputKind::Reply, 9, Fallback::None).redirect(AT, 0, Why::Silent).report);
        held.add(&outputs(OutputKind::Reply, 9, Fallback::AnyPartition).redirect(AT, 0, Why::Missing).report);
        let concern = held.concern(2).expect("two are held");
        assert!(concern.contains("2 records") && concern.contains("asked-for (it was not taken in time"), "{concern}");
        assert_eq!(held.oldest(), Some(5));
        let done = Finished { at: AT, outputs: outputs(OutputKind::Reply, 9, Fallback::None) };
        held.committed(&[done]);
        assert_eq!((held.oldest(), held.concern(0)), (None, None));
        held.forget();
        assert_eq!(held.records.len(), 0);
    }

    #[test]
    fn a_topic_that_takes_records_again_is_not_told_any_more() {
        let mut held = HeldRecords::default();
        let other = RecordId { offset: 18, ..AT };
        held.add(&outputs(OutputKind::Reply, 9, Fallback::None).redirect(AT, 0, Why::TooLarge).report);
        let mut elsewhere = outputs(OutputKind::Reply, 9, Fallback::None);
        elsewhere.outputs[0].topic = "elsewhere".into();
        held.add(&elsewhere.redirect(other, 0, Why::Missing).report);
        assert!(held.concern(2).is_some_and(|told| told.contains("asked-for") && told.contains("elsewhere")));
        held.committed(&[Finished { at: AT, outputs: outputs(OutputKind::Reply, 9, Fallback::None) }]);
        assert!(held.concern(1).is_some_and(|told| !told.contains("asked-for") && told.contains("elsewhere")));
    }
}
