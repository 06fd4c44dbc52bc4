//! What is published for a record: a reply, a Business Transaction for a change that the record caused, a dead letter for
//! what could not be read. And where: the reply topic that the CRM asked for, if it is allowed and exists.

use super::intake::{Job, Task};
use super::lane::Shared;
use crate::config;
use crate::domain::command::UseCaseName;
use crate::domain::rejection::{Rejection, Status};
use crate::domain::transaction::Transaction;
use crate::flow::batch::Finished;
use crate::kafka::publisher::Refusal;
use crate::kafka::{Output, OutputKind, Outputs};
use crate::store::ConditionalStore;
use crate::store::claims::Decided;
use crate::store::outcome::Answer;
use crate::telemetry::labels::{DeadLetter, OutputTopic};
use crate::telemetry::metrics::Metrics;
use crate::wire::answer::Reply;
use crate::wire::command::Unreadable;
use crate::wire::headers::{Asked, Origin, dead_letter};
use bytes::Bytes;
use rdkafka::error::RDKafkaErrorCode as Code;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The longest request id that a reply repeats though it breaks the rules: enough to recognise it, too short to make the
/// reply larger than a broker takes. In bytes.
const MAX_ECHOED_REQUEST_ID: usize = 1 << 10;

/// What the metrics need to know of a record when its outputs are committed.
#[derive(Clone, Debug, Default)]
pub struct Memo {
    /// None for what is no command.
    pub use_case: Option<UseCaseName>,
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

    /// After a refusal: replies to a topic of the CRM's choice go to the default one and are tried again at once; records
    /// with other refused outputs are taken out and answered, to be held.
    pub fn rework<M>(
        &self,
        records: &mut Vec<Finished<Outputs<M>>>,
        refusals: &[Refusal],
        metrics: &Metrics,
    ) -> Vec<Finished<Outputs<M>>> {
        let mut held = BTreeSet::new();
        for refusal in culprits(records, refusals) {
            let at = records[refusal.record].at;
            let output = &mut records[refusal.record].outputs.outputs[refusal.output];
            metrics.outputs_refused.of(self.label(output)).inc();
            let topic = output.topic.clone();
            let what_now = if output.kind == OutputKind::Reply && output.topic != self.replies {
                metrics.reply_topics_refused.inc();
                output.topic = self.replies.clone();
                output.partition = None;
                "the reply goes to the default topic"
            } else if output.kind == OutputKind::Reply && output.partition.take().is_some() {
                metrics.reply_partitions_ignored.inc();
                "the reply goes to another partition"
            } else {
                held.insert(refusal.record);
                "its record is held, with those that follow it in its lane, and tried again every few seconds; nothing is lost"
            };
            tracing::error!(
                %topic,
                error = %refusal.code,
                way_out = way_out(refusal.code),
                command_topic = %self.commands,
                command_partition = at.partition,
                command_offset = at.offset,
                "the broker refuses an output: {what_now}"
            );
        }
        let (mut kept, mut taken_out) = (Vec::new(), Vec::new());
        for (n, record) in std::mem::take(records).into_iter().enumerate() {
            if held.contains(&n) { taken_out.push(record) } else { kept.push(record) }
        }
        *records = kept;
        taken_out
    }
}

/// The refusals without those that only shared a batch with one that is too large: the broker refuses the whole batch. The
/// largest of a topic is the one; if others are too large, too, that shows when the rest is tried again.
fn culprits<'a, M>(records: &[Finished<Outputs<M>>], refusals: &'a [Refusal]) -> Vec<&'a Refusal> {
    let output = |r: &Refusal| &records[r.record].outputs.outputs[r.output];
    let size = |r: &Refusal| output(r).key.as_ref().map_or(0, Bytes::len) + output(r).value.as_ref().map_or(0, Bytes::len);
    let is_size = |r: &Refusal| matches!(r.code, Code::MessageSizeTooLarge | Code::InvalidMessageSize);
    let mut culprits: Vec<&Refusal> = refusals.iter().filter(|r| !is_size(r)).collect();
    let mut largest: BTreeMap<&str, &Refusal> = BTreeMap::new();
    for refusal in refusals.iter().filter(|r| is_size(r)) {
        let largest = largest.entry(&output(refusal).topic).or_insert(refusal);
        if size(refusal) > size(largest) {
            *largest = refusal;
        }
    }
    culprits.extend(largest.into_values());
    culprits
}

/// What an operator can do about a refusal.
fn way_out(code: Code) -> &'static str {
    match code {
        Code::MessageSizeTooLarge | Code::InvalidMessageSize => "raise the topic's max.message.bytes",
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => "make the topic, `setup` does it",
        Code::TopicAuthorizationFailed => "grant the right to write to the topic",
        _ => "see what the topic's configuration demands of records",
    }
}

impl Topics {
    fn label(&self, output: &Output) -> OutputTopic {
        match output.kind {
            OutputKind::Reply if output.topic == self.replies => OutputTopic::Replies,
            OutputKind::Reply => OutputTopic::NamedReplies,
            OutputKind::Transaction => OutputTopic::Transactions,
            OutputKind::DeadLetter => OutputTopic::Dlq,
        }
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
            memo.use_case = Some(submission.command.use_case.name());
            memo.replayed = decided.replayed;
            if let Some(transaction) = transaction.filter(|_| decided.publish) {
                outputs.push(shared.transaction(job, transaction));
            }
            let request_id = Some(submission.command.request_id.as_str());
            outputs.push(shared.reply(job, request_id, errors, decided.replayed, transaction, &mut memo).await);
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
        transaction: Option<&Transaction>,
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
                _ => self.refuse_reply_topic(),
            },
            Asked::Malformed => self.refuse_reply_topic(),
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

    fn refuse_reply_topic(&self) {
        self.metrics.reply_topics_refused.inc();
        tracing::warn!(
            "a command asks for a reply topic that is not on the allow-list, or is missing; the reply goes to the default one"
        );
    }

    fn transaction(&self, job: &Job, transaction: &Transaction) -> Output {
        Output {
            kind: OutputKind::Transaction,
            topic: self.topics.transactions.clone(),
            partition: None,
            key: Some(transaction.entity.key().into()),
            headers: job.headers.transaction(transaction),
            value: Some(self.encoder.transaction(transaction).into()),
        }
    }

    fn dead_letter(&self, job: &Job, unreadable: &Unreadable) -> Output {
        let record = &job.record;
        let original = record.headers.iter().map(|(name, value)| (name.as_ref(), value.as_deref()));
        let origin = Origin { topic: &self.topics.commands, partition: record.at.partition, offset: record.at.offset };
        Output {
            kind: OutputKind::DeadLetter,
            topic: self.topics.dlq.clone(),
            partition: None,
            key: record.key.clone(),
            value: record.value.clone(),
            headers: dead_letter(original, origin, unreadable),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Position;

    #[test]
    fn of_outputs_refused_for_their_size_the_largest_of_each_topic_is_to_blame() {
        let outputs: &[&[(&str, usize)]] =
            &[&[("dlq", 10), ("replies", 30)], &[("replies", 900)], &[("replies", 40), ("dlq", 20)]];
        let output = |(topic, size): &(&str, usize)| Output {
            kind: OutputKind::Reply,
            topic: (*topic).into(),
            partition: None,
            key: None,
            value: Some(vec![0; *size].into()),
            headers: Vec::new(),
        };
        let records: Vec<_> = (0..)
            .zip(outputs)
            .map(|(offset, outputs)| Finished {
                at: Position { partition: 0, offset },
                outputs: Outputs { outputs: outputs.iter().map(output).collect(), memo: () },
            })
            .collect();
        let refusal = |record, output, code| Refusal { record, output, code };
        let size = Code::MessageSizeTooLarge;
        let check = |refused: &[Refusal], to_blame: &[(usize, usize)]| {
            let got: Vec<_> = culprits(&records, refused).iter().map(|r| (r.record, r.output)).collect();
            assert_eq!(got, to_blame, "{refused:?}");
        };
        check(&[refusal(0, 1, size), refusal(1, 0, size), refusal(2, 0, size)], &[(1, 0)]);
        check(&[refusal(0, 0, size), refusal(0, 1, size), refusal(2, 0, size), refusal(2, 1, size)], &[(2, 1), (2, 0)]);
        let missing = Code::UnknownTopic;
        check(&[refusal(0, 0, missing), refusal(2, 1, missing)], &[(0, 0), (2, 1)]);
    }
}
