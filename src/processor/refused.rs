//! Outputs that the broker refuses: where they go instead, and what is told of them.

use super::answer::Memo;
use crate::domain::request::SourceRecord;
use crate::flow::RecordId;
use crate::flow::attempt::Why;
use crate::flow::batch::Publishable;
use crate::kafka::record::{Digest, Sizes};
use crate::kafka::{Fallback, Output, OutputKind, Outputs};
use crate::telemetry::labels::OutputTopic;
use crate::telemetry::metrics::Metrics;
use crate::wire::stub::{Contents, stub, stub_header};
use bytes::Bytes;
use std::sync::Arc;

/// The size of the largest dead letter that any broker takes unless told otherwise (`message.max.bytes`), in bytes. If one of this size is
/// not taken in time, its size is not the reason, and waiting helps.
const USUALLY_TAKEN: usize = 1 << 20;

/// An output that the broker refuses.
#[derive(Debug)]
pub struct RefusedOutput {
    /// The record of the command topic.
    at: RecordId,
    topic: Arc<str>,
    kind: OutputTopic,
    why: Why,
    now: Instead,
}

/// Where a refused output goes instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instead {
    DefaultTopic,
    AnyPartition,
    Stub,
    /// There is no other place, and its record is held.
    Held,
}

impl Publishable for Outputs<Memo> {
    type Refused = RefusedOutput;

    fn weight(&self) -> usize {
        self.outputs.iter().map(Output::weight).sum()
    }

    fn refused(&mut self, at: RecordId, output: usize, why: Why) -> (bool, RefusedOutput) {
        let output = &mut self.outputs[output];
        let (topic, kind) = (output.topic.clone(), topic_of(output));
        let now = match std::mem::replace(&mut output.fallback, Fallback::None) {
            Fallback::Topic(default) => {
                (output.topic, output.partition) = (default, None);
                Instead::DefaultTopic
            }
            Fallback::AnyPartition => {
                output.partition = None;
                Instead::AnyPartition
            }
            Fallback::Stub(commands) if why == Why::Silent && output.size() > USUALLY_TAKEN => {
                let sizes = Sizes::of(output.key.as_deref(), output.value.as_deref(), &output.headers);
                let digest = Digest::new(output.value.as_deref(), sizes);
                let record = SourceRecord { topic: commands, partition: at.partition, offset: at.offset };
                output.value = Some(stub_of(&record, Some(&digest)));
                output.headers.push(stub_header());
                Instead::Stub
            }
            fallback => {
                output.fallback = fallback;
                Instead::Held
            }
        };
        (now != Instead::Held, RefusedOutput { at, topic, kind, why, now })
    }
}

impl RefusedOutput {
    /// Logs and counts the refusal.
    pub fn tell(&self, commands: &str, metrics: &Metrics) {
        metrics.outputs_refused.of(self.kind).inc();
        let what_now = match self.now {
            Instead::DefaultTopic => {
                metrics.reply_topics_refused.inc();
                "the reply goes to the default topic"
            }
            Instead::AnyPartition => {
                metrics.reply_partitions_ignored.inc();
                "the reply goes to another partition"
            }
            Instead::Stub => "a stub goes to the dead letter topic in its place; the original stays on the command topic",
            Instead::Held => {
                "its record is held, with those that follow it in its lane, and tried again every few seconds; nothing is lost"
            }
        };
        tracing::error!(
            topic = %self.topic,
            error = what(self.why),
            way_out = way_out(self.why),
            command_topic = commands,
            command_partition = self.at.partition,
            command_offset = self.at.offset,
            "the broker refuses an output: {what_now}"
        );
    }
}

/// Returns the value that stands for a record that can't be a dead letter as it came.
pub fn stub_of(record: &SourceRecord, digest: Option<&Digest>) -> Bytes {
    let contents = digest.map(|digest| Contents {
        key_bytes: digest.sizes.key,
        value_bytes: digest.sizes.value,
        headers_bytes: digest.sizes.headers,
        sha256: digest.sha256,
        first: &digest.first,
    });
    stub(record, contents).into()
}

fn topic_of(output: &Output) -> OutputTopic {
    match (output.kind, &output.fallback) {
        (OutputKind::Reply, Fallback::Topic(_)) => OutputTopic::NamedReplies,
        (OutputKind::Reply, _) => OutputTopic::Replies,
        (OutputKind::Transaction, _) => OutputTopic::Transactions,
        (OutputKind::DeadLetter, _) => OutputTopic::Dlq,
    }
}

/// Returns what is wrong with an output, in words.
pub fn what(why: Why) -> &'static str {
    match why {
        Why::TooLarge => "it is too large",
        Why::Missing => "the topic or its partition is missing",
        Why::Denied => "writing to the topic is not allowed",
        Why::Invalid => "it breaks a rule of the topic",
        Why::Silent => "it is not taken in time, even alone, and the broker does not say why",
    }
}

/// Returns what an operator can do about it.
fn way_out(why: Why) -> &'static str {
    match why {
        Why::TooLarge => "raise the topic's max.message.bytes",
        Why::Missing => "make the topic, `setup` does it",
        Why::Denied => "grant the right to write to the topic",
        Why::Silent => {
            "see whether all replicas of the topic's partitions are in sync, what quota this client has, and whether the broker's \
             socket.request.max.bytes is larger than the output"
        }
        Why::Invalid => "see what the topic's configuration demands of records",
    }
}
