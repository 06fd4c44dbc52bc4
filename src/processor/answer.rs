//! What is published for a record: a reply, a Business Transaction for a change that the record caused, a dead letter for
//! what could not be read. And where: the reply topic that the CRM asked for, if it is allowed and exists.

use super::job::{Job, Task};
use super::lane::Shared;
use crate::config;
use crate::domain::rejection::{Rejection, Status};
use crate::domain::transaction::Transaction;
use crate::domain::use_case::UseCase;
use crate::flow::RecordId;
use crate::flow::attempt::{Refusal, Why};
use crate::flow::batch::Finished;
use crate::kafka::record::{Digest, Sizes};
use crate::kafka::{Output, OutputKind, Outputs};
use crate::store::ConditionalStore;
use crate::store::claims::Decided;
use crate::store::outcome::Answer;
use crate::telemetry::labels::{DeadLetter, OutputTopic};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::spans::CommandSpans;
use crate::wire::answer::Reply;
use crate::wire::command::Unreadable;
use crate::wire::headers::{Asked, Origin, dead_letter};
use crate::wire::stub::{Contents, stub, stub_header};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;

/// The longest request id that a reply repeats though it breaks the rules: enough to recognise it, too short to make the
/// reply larger than a broker takes. In bytes.
const MAX_ECHOED_REQUEST_ID: usize = 1 << 10;

/// The largest dead letter that any broker takes unless told otherwise (`message.max.bytes`), in bytes. One of this size that is not
/// taken in time is not too large; waiting helps.
const USUALLY_TAKEN: usize = 1 << 20;

/// What the metrics need to know of a record when its outputs are committed.
#[derive(Clone, Debug, Default)]
pub struct Memo {
    /// None for what is no command.
    pub use_case: Option<UseCase>,
    /// None where there is no reply.
    pub status: Option<Status>,
    /// What the reply reports.
    pub errors: Vec<Rejection>,
    /// A stored answer was given again.
    pub replayed: bool,
    /// Why the record could not be read.
    pub buried: Option<DeadLetter>,
    /// The record's, in milliseconds since the epoch.
    pub timestamp: Option<i64>,
    /// If the command is traced: its spans end when its answers are committed.
    pub spans: Option<Box<CommandSpans>>,
}

/// The names of the topics.
pub struct Topics {
    commands: Arc<str>,
    replies: Arc<str>,
    transactions: Arc<str>,
    dlq: Arc<str>,
    allowed: BTreeSet<Arc<str>>,
}

impl Topics {
    /// As configured.
    pub fn new(kafka: &config::Kafka) -> Self {
        let topics = &kafka.topics;
        let replies: Arc<str> = topics.replies.as_str().into();
        let mut allowed: BTreeSet<Arc<str>> = kafka.reply_topic_allow_list.iter().map(|t| t.as_str().into()).collect();
        allowed.insert(replies.clone());
        Self {
            commands: topics.commands.as_str().into(),
            replies,
            transactions: topics.transactions.as_str().into(),
            dlq: topics.dlq.as_str().into(),
            allowed,
        }
    }

    /// Where an output goes that the broker refuses: a reply to a topic of the CRM's choice to the default one, one to a
    /// partition of the CRM's choice to any; in place of a large dead letter that no broker takes goes its stub. False: nowhere else.
    pub fn redirect<M>(&self, record: &mut Finished<Outputs<M>>, refusal: Refusal, metrics: &Metrics) -> bool {
        let (at, output) = (record.at, &mut record.outputs.outputs[refusal.output]);
        metrics.outputs_refused.of(self.label(output)).inc();
        let topic = output.topic.clone();
        let (redirected, what_now) = if output.kind == OutputKind::Reply && output.topic != self.replies {
            metrics.reply_topics_refused.inc();
            output.topic = self.replies.clone();
            output.partition = None;
            (true, "the reply goes to the default topic")
        } else if output.kind == OutputKind::Reply && output.partition.take().is_some() {
            metrics.reply_partitions_ignored.inc();
            (true, "the reply goes to another partition")
        } else if output.kind == OutputKind::DeadLetter && refusal.why == Why::Silent && output.size() > USUALLY_TAKEN {
            let sizes = Sizes::of(output.key.as_deref(), output.value.as_deref(), &output.headers);
            let digest = Digest::new(output.value.as_deref(), sizes);
            output.value = Some(self.stub(at, Some(&digest)));
            output.headers.push(stub_header());
            (true, "a stub goes to the dead letter topic in its place; the original stays on the command topic")
        } else {
            (
                false,
                "its record is held, with those that follow it in its lane, and tried again every few seconds; nothing is lost",
            )
        };
        tracing::error!(
            %topic,
            error = what(refusal.why),
            way_out = way_out(refusal.why),
            command_topic = %self.commands,
            command_partition = at.partition,
            command_offset = at.offset,
            "the broker refuses an output: {what_now}"
        );
        redirected
    }

    /// What stands for a record that can't be a dead letter as it came.
    fn stub(&self, at: RecordId, digest: Option<&Digest>) -> Bytes {
        let contents = digest.map(|digest| Contents {
            key_bytes: digest.sizes.key,
            value_bytes: digest.sizes.value,
            headers_bytes: digest.sizes.headers,
            sha256: digest.sha256,
            first: &digest.first,
        });
        stub(Origin { topic: &self.commands, partition: at.partition, offset: at.offset }, contents).into()
    }

    fn label(&self, output: &Output) -> OutputTopic {
        match output.kind {
            OutputKind::Reply if output.topic == self.replies => OutputTopic::Replies,
            OutputKind::Reply => OutputTopic::NamedReplies,
            OutputKind::Transaction => OutputTopic::Transactions,
            OutputKind::DeadLetter => OutputTopic::Dlq,
        }
    }
}

/// What is wrong with an output, in words.
pub fn what(why: Why) -> &'static str {
    match why {
        Why::TooLarge => "it is too large",
        Why::Missing => "the topic or its partition is missing",
        Why::Denied => "writing to the topic is not allowed",
        Why::Invalid => "it breaks a rule of the topic",
        Why::Silent => "it is not taken in time, even alone, and the broker does not say why",
    }
}

/// What an operator can do about it.
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

/// What is to be published for `job`. `decided` belongs to [`Task::Decide`].
pub async fn answer<S: ConditionalStore>(shared: &Shared<S>, job: &Job, decided: Option<&Decided>) -> Outputs<Memo> {
    let mut outputs = Vec::with_capacity(2);
    let mut memo = Memo { timestamp: job.record.timestamp, ..Memo::default() };
    match (&job.task, decided) {
        (Task::Decide(submission), Some(decided)) => {
            let (errors, transaction) = match &decided.answer {
                Answer::Changed(transaction) | Answer::Unchanged(transaction) => (&[][..], Some(transaction)),
                Answer::Rejected(rejection) => (std::slice::from_ref(rejection), None),
            };
            memo.use_case = Some(submission.command.contents.use_case());
            memo.replayed = decided.replayed;
            // Its id, which is a hash, is worked out once.
            let transaction = transaction.map(|transaction| (transaction.id(), &**transaction));
            let value = transaction.map(|(id, transaction)| Bytes::from(shared.encoder.transaction(id, transaction)));
            let request_id = Some(submission.command.request_id.as_str());
            let reply = shared.reply(job, request_id, errors, decided.replayed, value.as_deref(), &mut memo).await;
            if let Some(((id, transaction), value)) = transaction.zip(value).filter(|_| decided.publish) {
                outputs.push(shared.transaction(job, id, transaction, value));
            }
            outputs.push(reply);
        }
        (Task::Refuse(raw, findings), _) => {
            memo.use_case = Some(raw.use_case);
            let request_id = raw.request_id.as_deref().filter(|id| !id.trim().is_empty() && id.len() <= MAX_ECHOED_REQUEST_ID);
            outputs.push(shared.reply(job, request_id, findings, false, None, &mut memo).await);
        }
        (Task::Bury(unreadable), _) => {
            memo.buried = Some(unreadable.into());
            outputs.push(shared.dead_letter(job, unreadable));
            if unreadable.has_reply() && job.headers.has_correlation() {
                outputs.push(shared.reply(job, None, &[unreadable.rejection()], false, None, &mut memo).await);
            }
        }
        (Task::Decide(_), None) => unreachable!("each submission was decided"),
    }
    Outputs { outputs, memo }
}

impl<S: ConditionalStore> Shared<S> {
    async fn reply(
        &self,
        job: &Job,
        request_id: Option<&str>,
        errors: &[Rejection],
        replayed: bool,
        transaction: Option<&[u8]>,
        memo: &mut Memo,
    ) -> Output {
        let status = errors.first().map_or(Status::Ok, Rejection::status);
        memo.status = Some(status);
        memo.errors = errors.to_vec();
        let correlation_id = job.headers.correlation_id.as_deref().or(request_id);
        let processed_at = (self.clock)();
        let value =
            self.encoder.reply(&Reply { correlation_id, request_id, status, errors, replayed, transaction, processed_at });
        let (topic, partition) = self.reply_address(job).await;
        Output {
            kind: OutputKind::Reply,
            topic,
            partition,
            key: job.record.key.clone().or_else(|| request_id.map(|id| Bytes::copy_from_slice(id.as_bytes()))),
            value: Some(value.into()),
            headers: job.headers.reply(request_id, status),
        }
    }

    /// The topic that the CRM asked for, if it may and can be had; else the default one. The partition likewise.
    async fn reply_address(&self, job: &Job) -> (Arc<str>, Option<i32>) {
        let mut topic = self.topics.replies.clone();
        match &job.headers.reply_topic {
            Asked::Absent => (),
            Asked::Valid(name) => match self.topics.allowed.get(name.as_str()) {
                Some(allowed) if *allowed == topic || self.reply_topics.partitions(allowed).await > 0 => topic = allowed.clone(),
                _ => self.refuse_reply_topic(job),
            },
            Asked::Malformed => self.refuse_reply_topic(job),
        }
        let partition = match job.headers.reply_partition {
            Asked::Absent => None,
            Asked::Valid(n) if n < self.reply_topics.partitions(&topic).await => Some(n),
            Asked::Valid(_) | Asked::Malformed => {
                self.metrics.reply_partitions_ignored.inc();
                None
            }
        };
        (topic, partition)
    }

    fn refuse_reply_topic(&self, job: &Job) {
        self.metrics.reply_topics_refused.inc();
        tracing::warn!(
            request_id = job.request_id(),
            trace_id = job.trace_id(),
            "a command asks for a reply topic that is not on the allow-list, or is missing; the reply goes to the default one"
        );
    }

    fn transaction(&self, job: &Job, id: Uuid, transaction: &Transaction, value: Bytes) -> Output {
        Output {
            kind: OutputKind::Transaction,
            topic: self.topics.transactions.clone(),
            partition: None,
            key: Some(transaction.entity.key().into()),
            headers: job.headers.transaction(id, transaction),
            value: Some(value),
        }
    }

    fn dead_letter(&self, job: &Job, unreadable: &Unreadable) -> Output {
        let record = &job.record;
        let original = record.headers.iter().map(|(name, value)| (name.as_ref(), value.as_deref()));
        let origin = Origin { topic: &self.topics.commands, partition: record.at.partition, offset: record.at.offset };
        let mut headers = dead_letter(original, origin, unreadable);
        let is_stub = record.digest.is_some() || *unreadable == Unreadable::Undecodable;
        let value = if is_stub {
            headers.push(stub_header());
            Some(self.topics.stub(record.at, record.digest.as_deref()))
        } else {
            record.value.clone()
        };
        let (topic, key) = (self.topics.dlq.clone(), record.key.clone());
        Output { kind: OutputKind::DeadLetter, topic, partition: None, key, value, headers }
    }
}
