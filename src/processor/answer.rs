//! Makes the outputs of a record. A command gets a reply. If the record caused a change, it also gets a business transaction and, where
//! that topic is configured, a change row. A record that can't be read gets a dead letter, and perhaps a reply. A reply goes to the topic
//! that the CRM asked for, if that topic is allowed and exists.

use super::entity_keys::EntityKeys;
use super::job::{AnswerJob, CommandJob, Incoming, NoCommand};
use super::stages::Moments;
use crate::config;
use crate::domain::Timestamp;
use crate::domain::answer::Answer;
use crate::domain::command::RawCommand;
use crate::domain::rejection::{Rejection, Status};
use crate::domain::request::Request;
use crate::domain::transaction::Transaction;
use crate::domain::use_case::UseCase;
use crate::domain::values::RequestId;
use crate::kafka::partition_counts::PartitionCounts;
use crate::kafka::record::{borrowed, stub_of};
use crate::kafka::{Fallback, Output, OutputKind, Outputs};
use crate::store::claims::Decided;
use crate::telemetry::labels::DeadLetter;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::spans::CommandSpans;
use crate::wire::answer::{Encoder, Reply};
use crate::wire::headers::{Asked, dead_letter};
use crate::wire::stub::stub_header;
use crate::wire::unreadable::Unreadable;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;

/// The longest request id that a reply repeats though the id breaks the rules, in bytes: long enough to recognise the request, and too
/// short to make the reply larger than a broker takes.
const MAX_ECHOED_REQUEST_ID: usize = 1 << 10;

/// What the metrics need to know of a record when its outputs are committed.
#[derive(Clone, Debug, Default)]
pub struct Memo {
    /// The use case, or `None` if the record holds no command.
    pub use_case: Option<UseCase>,
    /// The status of the reply, or `None` if there is no reply.
    pub status: Option<Status>,
    /// The errors that the reply reports.
    pub errors: Vec<Rejection>,
    /// Whether a stored answer was given again.
    pub replayed: bool,
    /// Why the record is a dead letter, or `None` if it could be read.
    pub dead_letter: Option<DeadLetter>,
    /// The record's timestamp, in milliseconds since 1970.
    pub timestamp: Option<i64>,
    /// When the record passed from one stage to the next.
    pub moments: Option<Moments>,
    /// The spans of a command that is traced. They end when its answers are committed.
    pub spans: Option<Box<CommandSpans>>,
}

impl Memo {
    /// Returns the memo of a record that has no reply so far.
    fn of(incoming: &Incoming) -> Self {
        Self { timestamp: incoming.record.timestamp, ..Self::default() }
    }

    /// Notes a reply that reports these errors.
    fn replied(self, errors: &[Rejection]) -> Self {
        Self { status: Some(status_of(errors)), errors: errors.to_vec(), ..self }
    }
}

/// The names of the topics.
pub struct TopicNames {
    /// The command topic.
    pub commands: Arc<str>,
    replies: Arc<str>,
    transactions: Arc<str>,
    dlq: Arc<str>,
    changes: Option<Arc<str>>,
    allowed: BTreeSet<Arc<str>>,
}

impl TopicNames {
    /// Takes the names from the configuration.
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
            changes: topics.changes.as_deref().map(Into::into),
            allowed,
        }
    }
}

/// Where a reply goes.
struct Address {
    topic: Arc<str>,
    partition: Option<i32>,
    fallback: Fallback,
}

/// Makes the outputs of records.
pub struct Answering {
    /// Where outputs go.
    pub topics: TopicNames,
    /// How many partitions the reply topics have.
    pub partition_counts: Arc<PartitionCounts>,
    /// The encoder of replies and business transactions.
    pub encoder: Encoder,
    /// The keys under which changes of entities came.
    pub(super) entity_keys: EntityKeys,
    /// The process's metrics.
    pub metrics: Arc<Metrics>,
    /// The clock: it returns the time in milliseconds since 1970.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

/// A record whose answer is settled.
#[derive(Clone, Copy)]
pub enum Settled<'a> {
    /// Its command was decided.
    Decided(&'a CommandJob, &'a Decided),
    /// There was nothing to decide.
    WithoutDecision(&'a AnswerJob),
}

impl<'a> Settled<'a> {
    /// Returns the record as it came.
    pub fn incoming(self) -> &'a Incoming {
        match self {
            Self::Decided(CommandJob { incoming, .. }, _) | Self::WithoutDecision(AnswerJob { incoming, .. }) => incoming,
        }
    }

    /// Returns the request id, if there is one that is fit for a log.
    pub fn request_id(self) -> Option<&'a str> {
        match self {
            Self::Decided(job, _) => Some(job.request_id()),
            Self::WithoutDecision(job) => job.cause.request_id(),
        }
    }
}

impl Answering {
    /// Returns what is published for a record.
    pub async fn answer(&self, settled: Settled<'_>) -> Outputs<Memo> {
        if settled.incoming().headers.actor == Asked::Malformed {
            self.metrics.actors_ignored.inc();
        }
        match settled {
            Settled::Decided(CommandJob { incoming, submission }, decided) => {
                self.decided(incoming, &submission.request, decided).await
            }
            Settled::WithoutDecision(AnswerJob { incoming, cause }) => match &**cause {
                NoCommand::Invalid(raw, findings) => self.invalid(incoming, raw, findings).await,
                NoCommand::Unreadable(unreadable) => self.unreadable(incoming, unreadable).await,
            },
        }
    }

    async fn decided(&self, incoming: &Incoming, request: &Request, decided: &Decided) -> Outputs<Memo> {
        let (errors, transaction) = match &decided.answer {
            Answer::Changed(transaction) | Answer::Unchanged(transaction) => (&[][..], Some(transaction)),
            Answer::Rejected(rejection) => (std::slice::from_ref(rejection), None),
        };
        let use_case = Some(request.contents.use_case());
        let memo = Memo { use_case, replayed: decided.replayed, ..Memo::of(incoming).replied(errors) };
        // The transaction's id is a hash, and is computed only once.
        let transaction = transaction.map(|transaction| (transaction.id(), &**transaction));
        let value = transaction.map(|(id, transaction)| Bytes::from(self.encoder.transaction(id, transaction)));
        let reply = self.reply(incoming, Some(request.id.as_str()), &memo, value.as_deref()).await;
        let mut outputs = Vec::with_capacity(3);
        if let Some(((id, transaction), value)) = transaction.zip(value).filter(|_| decided.publishes()) {
            outputs.push(self.transaction(incoming, id, transaction, value));
            outputs.extend(self.change(incoming, id, transaction));
            self.note_key(incoming, transaction);
        }
        outputs.push(reply);
        Outputs { outputs, memo }
    }

    async fn invalid(&self, incoming: &Incoming, raw: &RawCommand, findings: &[Rejection]) -> Outputs<Memo> {
        let memo = Memo { use_case: Some(raw.use_case), ..Memo::of(incoming).replied(findings) };
        let request_id = raw.request_id.as_deref().filter(|id| !id.trim().is_empty() && id.len() <= MAX_ECHOED_REQUEST_ID);
        let reply = self.reply(incoming, request_id, &memo, None).await;
        Outputs { outputs: vec![reply], memo }
    }

    async fn unreadable(&self, incoming: &Incoming, unreadable: &Unreadable) -> Outputs<Memo> {
        let mut memo = Memo { dead_letter: Some(unreadable.into()), ..Memo::of(incoming) };
        let mut outputs = vec![self.dead_letter(incoming, unreadable)];
        if unreadable.has_reply() && incoming.headers.has_correlation() {
            memo = memo.replied(&[unreadable.rejection()]);
            outputs.push(self.reply(incoming, None, &memo, None).await);
        }
        Outputs { outputs, memo }
    }

    /// Makes the reply that `memo` notes.
    async fn reply(&self, incoming: &Incoming, request_id: Option<&str>, memo: &Memo, transaction: Option<&[u8]>) -> Output {
        let status = status_of(&memo.errors);
        let reply = Reply {
            correlation_id: incoming.headers.correlation_id.as_deref().or(request_id),
            request_id,
            status,
            errors: &memo.errors,
            replayed: memo.replayed,
            transaction,
            processed_at: (self.clock)(),
        };
        let value = self.encoder.reply(&reply);
        let Address { topic, partition, fallback } = self.reply_address(incoming, request_id).await;
        Output {
            kind: OutputKind::Reply,
            topic,
            partition,
            key: incoming.record.key.clone().or_else(|| request_id.map(|id| Bytes::copy_from_slice(id.as_bytes()))),
            value: Some(value.into()),
            headers: incoming.headers.reply(request_id, status),
            fallback,
        }
    }

    /// Returns the topic that the CRM asked for, if it is allowed and exists, or else the default one; likewise the partition.
    async fn reply_address(&self, incoming: &Incoming, request_id: Option<&str>) -> Address {
        let mut topic = self.topics.replies.clone();
        match &incoming.headers.reply_topic {
            Asked::Absent => (),
            Asked::Valid(name) => match self.topics.allowed.get(name.as_str()) {
                Some(allowed) if *allowed == topic || self.partition_counts.of(allowed).await > 0 => topic = allowed.clone(),
                _ => self.refuse_reply_topic(incoming, request_id),
            },
            Asked::Malformed => self.refuse_reply_topic(incoming, request_id),
        }
        let partition = match incoming.headers.reply_partition {
            Asked::Absent => None,
            Asked::Valid(n) if n < self.partition_counts.of(&topic).await => Some(n),
            Asked::Valid(_) | Asked::Malformed => {
                self.metrics.reply_partitions_ignored.inc();
                None
            }
        };
        let fallback = if topic != self.topics.replies {
            Fallback::Topic(self.topics.replies.clone())
        } else if partition.is_some() {
            Fallback::AnyPartition
        } else {
            Fallback::None
        };
        Address { topic, partition, fallback }
    }

    fn refuse_reply_topic(&self, incoming: &Incoming, request_id: Option<&str>) {
        self.metrics.reply_topics_refused.inc();
        tracing::warn!(
            request_id = request_id.filter(|id| RequestId::parse(id).is_ok()),
            trace_id = incoming.trace_id(),
            "a command asks for a reply topic that is not on the allow-list, or is missing, or that kafka.consumer has no right to describe; \
             the reply goes to the default one"
        );
    }

    fn transaction(&self, incoming: &Incoming, id: Uuid, transaction: &Transaction, value: Bytes) -> Output {
        Output {
            kind: OutputKind::Transaction,
            topic: self.topics.transactions.clone(),
            partition: None,
            key: Some(transaction.entity.key().into()),
            headers: incoming.headers.transaction(id, transaction),
            value: Some(value),
            fallback: Fallback::None,
        }
    }

    /// Notes the key under which a change came, and tells of it if the change before came under another.
    fn note_key(&self, incoming: &Incoming, transaction: &Transaction) {
        let came_under_another = self.entity_keys.note(&transaction.entity.key(), incoming.record.key.as_deref());
        if !came_under_another {
            return;
        }
        self.metrics.entity_key_changes.inc();
        if let Some(left_out) = self.entity_keys.line_is_due() {
            tracing::warn!(
                request_id = transaction.request_id.as_str(),
                trace_id = incoming.trace_id(),
                left_out,
                "an entity's commands come under several keys, so its business transactions may stand in another order than their \
                 versions; the CRM should send all commands for an entity under one key"
            );
        }
    }

    /// Makes the row that accompanies a business transaction. Returns `None` if no rows are published.
    fn change(&self, incoming: &Incoming, id: Uuid, transaction: &Transaction) -> Option<Output> {
        let topic = self.topics.changes.clone()?;
        let value = self.encoder.change(id, transaction)?.into();
        let row = Output { kind: OutputKind::Change, topic, ..self.transaction(incoming, id, transaction, value) };
        Some(row)
    }

    fn dead_letter(&self, incoming: &Incoming, unreadable: &Unreadable) -> Output {
        let record = &incoming.record;
        let origin = record.at.on(self.topics.commands.clone());
        let mut headers = dead_letter(borrowed(&record.headers), &origin, unreadable);
        let is_stub = record.digest.is_some() || *unreadable == Unreadable::Undecodable;
        let (value, fallback) = if is_stub {
            headers.push(stub_header());
            (Some(stub_of(&origin, record.digest.as_deref())), Fallback::None)
        } else {
            (record.value.clone(), Fallback::Stub(origin.topic))
        };
        let (topic, key) = (self.topics.dlq.clone(), record.key.clone());
        Output { kind: OutputKind::DeadLetter, topic, partition: None, key, value, headers, fallback }
    }
}

/// Returns the status of a reply that reports these errors.
fn status_of(errors: &[Rejection]) -> Status {
    errors.first().map_or(Status::Ok, Rejection::status)
}
