//! The consuming thread: polls the command topic, hands records on in small batches, and tells of assignments and
//! revocations. In the revoke callback it waits until the processor has committed or discarded what belongs to the
//! partitions, for after the callback they are somebody else's.
//!
//! It never stops polling for long, or the group would expel it: while nothing more is taken in, it pauses all partitions
//! and goes on polling for rebalances.

use super::calls::{Call, Calls};
use super::inquiry::topic_id;
use super::login::{Client, Logins};
use super::record::Record;
use crate::flow::offsets::Committed;
use crate::flow::stream::AssignmentId;
use crate::flow::{Partition, RecordId};
use crate::telemetry::gathered::Gathered;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::statistics::{self, Statistics};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc as std_mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// What a transaction's offsets are committed with: this process's membership of the group, and which topic they belong to. Captured at
/// the assignment: taken later, it could make the output of an earlier one valid.
#[derive(Clone)]
pub struct GroupMembership {
    /// The member and its generation, as the group's coordinator knows them.
    pub metadata: Arc<ConsumerGroupMetadata>,
    /// The topic's id; `None` if the brokers don't tell.
    pub topic_id: Option<Arc<str>>,
}

/// What the processor is told, apart from records.
pub enum Notice {
    /// Partitions were assigned: all that this process has now.
    Assigned {
        /// Their assignment's number.
        assignment: AssignmentId,
        /// The partitions, and where each is to go on.
        partitions: Vec<(Partition, Committed)>,
        /// The partitions that are left unread, because a newer release has committed their offsets in a form that this one can't
        /// read.
        unread: Vec<Partition>,
        /// To be committed with.
        membership: GroupMembership,
    },
    /// All partitions are about to be given up, or are lost already.
    Revoked {
        /// They belong to somebody else already; nothing of them can be committed any more.
        lost: bool,
        /// To be sent (or dropped) when nothing more will be committed for them.
        done: std_mpsc::SyncSender<()>,
    },
    /// Partitions whose next records can't be taken from what the brokers send, and where each stands. Told once a second, and once
    /// more when there are none any more.
    Undecodable(Vec<RecordId>),
    /// What librdkafka measures once a second.
    Statistics {
        /// Where some partitions end.
        ends: Vec<End>,
        /// Brokers that the consumer is connected to.
        brokers: usize,
    },
}

/// Where a partition ends, by the brokers' last word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The partition.
    pub partition: Partition,
    /// The offset after the last record, whether it can be read yet or not. `None` where no record lies beyond those handed on.
    pub end: Option<i64>,
    /// The last stable offset: from here on records can't be read until a producer has ended its transaction.
    pub stable: i64,
    /// The high watermark: the offset after the last record or marker.
    pub high: i64,
}

/// Records of one assignment, in the order of each partition.
pub struct Batch {
    /// The assignment.
    pub assignment: AssignmentId,
    /// At least one.
    pub records: Vec<Record>,
}

/// What the processor asks of the consuming thread.
pub enum Order {
    /// Fetch nothing more of a partition, for now.
    Pause(Partition),
    /// Go on fetching.
    Resume(Partition),
    /// Fetch on behind this record.
    StepOver(RecordId),
    /// Leave the group and end.
    Stop,
}

/// Records in a batch, at most: few enough to be dealt with in a millisecond.
const BATCH_RECORDS: usize = 64;
/// Bytes in a batch, about: with [`BATCHES`] it bounds what lies between consumer and processor.
const BATCH_BYTES: usize = 256 << 10;
/// Batches between consumer and processor.
pub const BATCHES: usize = 4;
/// How long the processor may take in nothing before the partitions are paused.
const PATIENCE: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(100);
/// While some partition is paused, orders to resume it are looked for this often; and at the end, whether it is closed.
const POLL_PAUSED: Duration = Duration::from_millis(2);
/// How long one attempt to learn what was committed may take.
pub const COMMITTED_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two attempts: an earlier transaction may have to be ended first.
const COMMITTED_PAUSE: Duration = Duration::from_millis(50);
/// How long the revoke callback waits for the processor. It gives up sooner by itself; this bounds a bug.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long asking for the topic's id may take.
const TOPIC_ID_TIMEOUT: Duration = Duration::from_secs(2);
/// How long ago what can't be decoded may have been told of. It is told of with each fetch, several times a second.
const UNDECODABLE_FOR: Duration = Duration::from_secs(3);
/// How long a call may take that asks nobody outside of the process.
const LOCAL: Duration = Duration::from_secs(5);

/// The consumer as the publisher and the reply topics use it, too.
pub type CommandConsumer = BaseConsumer<Context>;

/// Called back by librdkafka, on the consuming thread (statistics apart).
pub struct Context {
    topic: String,
    assignment: AtomicU64,
    notices: mpsc::UnboundedSender<Notice>,
    /// The partitions that nothing is fetched from.
    paused: Mutex<BTreeSet<Partition>>,
    /// The call that the consuming thread is in.
    calls: Arc<Calls>,
    /// When librdkafka's complaints were last logged, by error code.
    troubles: Gathered<Option<i32>>,
    undecodable: Mutex<Undecodable>,
    /// What keeps clients from logging in.
    logins: Arc<Logins>,
}

/// What is known of partitions whose next records can't be taken from what the brokers send. librdkafka says that there are some and
/// not which, so that they are told by standing still.
#[derive(Default)]
struct Undecodable {
    /// When librdkafka said so last.
    told: Option<Instant>,
    /// Where each partition stood a second ago.
    next: BTreeMap<Partition, i64>,
    /// Those that were found to stand still.
    found: Vec<RecordId>,
}

impl Undecodable {
    /// Returns the partitions that stand still, if there are or were any. `open` are those with records to be fetched, and the next one
    /// of each.
    fn look(&mut self, open: BTreeMap<Partition, i64>, now: Instant) -> Option<Vec<RecordId>> {
        let is_told = self.told.is_some_and(|told| now.duration_since(told) < UNDECODABLE_FOR);
        let stands = |(partition, next): (&Partition, &i64)| self.next.get(partition) == Some(next);
        let still = open.iter().filter(|at| is_told && stands(*at));
        let found: Vec<_> = still.map(|(partition, offset)| RecordId { partition: *partition, offset: *offset }).collect();
        self.next = open;
        let before = std::mem::replace(&mut self.found, found.clone());
        (!found.is_empty() || !before.is_empty()).then_some(found)
    }
}

impl ClientContext for Context {
    fn stats(&self, statistics: Statistics) {
        let partitions = statistics.topics.get(&self.topic).into_iter().flat_map(|topic| topic.partitions.values());
        let known = || partitions.clone().filter(|p| p.partition >= 0 && p.ls_offset >= 0);
        let paused = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        let to_fetch = known().filter(|p| p.fetchq_cnt == 0 && p.next_offset < p.ls_offset && !paused.contains(&p.partition));
        let to_fetch = to_fetch.map(|p| (p.partition, p.next_offset)).collect();
        let undecodable = self.undecodable.lock().unwrap_or_else(PoisonError::into_inner).look(to_fetch, Instant::now());
        if let Some(undecodable) = undecodable {
            let _ = self.notices.send(Notice::Undecodable(undecodable));
        }
        let ends = known().map(|p| end_of(p, paused.contains(&p.partition))).collect();
        // "logical" is the group coordinator once more. A connection that shows its new token stays up meanwhile.
        let is_up =
            |broker: &&statistics::Broker| ["UP", "REAUTH"].contains(&broker.state.as_str()) && broker.source != "logical";
        let brokers = statistics.brokers.values().filter(is_up).count();
        let _ = self.notices.send(Notice::Statistics { ends, brokers });
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.logins.log(Client::Consumer, level, facility, message, Instant::now());
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.logins.failed(Client::Consumer, &error, reason, Instant::now());
        self.trouble(&error, reason);
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let done = if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let readable = self.assigned(consumer, partitions);
            consumer.assign(&readable)
        } else {
            if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS {
                self.revoked(consumer.assignment_lost());
            } else {
                self.trouble(&KafkaError::Rebalance(what.into()), "a rebalance failed");
            }
            consumer.unassign()
        };
        if let Err(error) = done {
            self.trouble(&error, "partitions could not be taken over or given up");
        }
    }
}

impl Context {
    /// Logs that something failed. librdkafka goes on trying, and says so again and again.
    fn trouble(&self, error: &KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().map(|code| code as i32);
        if let Some(left_out) = self.troubles.due(code, Instant::now()) {
            tracing::warn!(%error, reason, left_out, "the Kafka consumer has trouble, and goes on trying");
        }
    }

    /// Learns where each partition is to go on. One whose offset was committed for an earlier topic of the same name begins anew.
    /// Returns the partitions that are to be read: not those whose offsets only a newer release understands.
    fn assigned(&self, consumer: &BaseConsumer<Self>, partitions: &mut TopicPartitionList) -> TopicPartitionList {
        let assignment = self.assignment.fetch_add(1, Ordering::SeqCst) + 1;
        let Some(metadata) = consumer.group_metadata() else { return partitions.clone() };
        let ask = || topic_id(consumer.client(), &self.topic, TOPIC_ID_TIMEOUT);
        let topic_id = self.calls.during(Call::Metadata, Instant::now() + TOPIC_ID_TIMEOUT, ask);
        let topic_id: Option<Arc<str>> = topic_id.ok().flatten().map(Into::into);
        // Without knowing what was done, nothing may be read: it could be answered twice.
        while !consumer.assignment_lost() {
            let elements = partitions.elements();
            let numbers = elements.iter().map(rdkafka::topic_partition_list::TopicPartitionListElem::partition);
            let until = Instant::now() + COMMITTED_TIMEOUT;
            match self.calls.during(Call::CommittedOffsets, until, || committed(consumer, &self.topic, numbers)) {
                Ok(committed) => {
                    let (unread, mut committed): (Vec<_>, Vec<_>) =
                        committed.into_iter().partition(|(_, committed)| committed.is_of_a_newer_release());
                    let unread: Vec<_> = unread.into_iter().map(|(partition, _)| partition).collect();
                    for (partition, committed) in &mut committed {
                        let of_another = committed.topic_id().is_some_and(|id| topic_id.as_deref().is_some_and(|now| id != now));
                        if of_another {
                            tracing::warn!(
                                partition,
                                "the command topic was made again since: its partition is read from the beginning"
                            );
                            *committed = Committed::default();
                            if let Err(error) = partitions.set_partition_offset(&self.topic, *partition, Offset::Beginning) {
                                self.trouble(&error, "a partition can't be read from its beginning");
                            }
                        }
                    }
                    let membership = GroupMembership { metadata: Arc::new(metadata), topic_id };
                    let readable = if unread.is_empty() { partitions.clone() } else { without(&unread, partitions) };
                    let _ = self.notices.send(Notice::Assigned { assignment, partitions: committed, unread, membership });
                    return readable;
                }
                Err(error) => tracing::warn!(%error, "can't learn the committed offsets, trying again"),
            }
            pause(COMMITTED_PAUSE);
        }
        partitions.clone()
    }

    fn revoked(&self, lost: bool) {
        self.assignment.fetch_add(1, Ordering::SeqCst);
        let (done, wait) = std_mpsc::sync_channel(1);
        if self.notices.send(Notice::Revoked { lost, done }).is_ok() {
            let until = Instant::now() + REVOKE_TIMEOUT;
            let _ = self.calls.during(Call::Drain, until, || wait.recv_timeout(REVOKE_TIMEOUT));
        }
    }
}

/// Returns the list without some partitions.
fn without(unread: &[Partition], partitions: &TopicPartitionList) -> TopicPartitionList {
    let mut others = TopicPartitionList::with_capacity(partitions.count());
    for element in partitions.elements().iter().filter(|element| !unread.contains(&element.partition())) {
        let added = others.add_partition_offset(element.topic(), element.partition(), element.offset());
        added.expect("the offset is one that librdkafka has given out itself");
    }
    others
}

/// Where a partition ends. If all that can be read was handed on and no transaction is open, no record lies beyond: the last
/// offset may be a marker, that of the end of a transaction in which the CRM wrote. (A pause drops what was fetched, and does not
/// tell.)
fn end_of(partition: &statistics::Partition, paused: bool) -> End {
    let (stable, high) = (partition.ls_offset, partition.hi_offset.max(partition.ls_offset));
    let all_handed_on = partition.next_offset >= stable && partition.fetchq_cnt == 0 && !paused;
    End { partition: partition.partition, end: (!all_handed_on || stable < high).then_some(high), stable, high }
}

/// What the group coordinator has for some partitions of `topic`. Waits for transactions that are being committed.
///
/// # Errors
/// The coordinator can't be reached.
pub fn committed(
    consumer: &CommandConsumer,
    topic: &str,
    partitions: impl Iterator<Item = Partition>,
) -> KafkaResult<Vec<(Partition, Committed)>> {
    let mut asked = TopicPartitionList::new();
    for partition in partitions {
        asked.add_partition(topic, partition);
    }
    let answer = consumer.committed_offsets(asked, COMMITTED_TIMEOUT)?;
    let each = answer.elements().into_iter().map(|p| {
        p.error()?;
        let offset = if let Offset::Offset(offset) = p.offset() { Some(offset) } else { None };
        // rdkafka panics on metadata that is not UTF-8: it is not ours then.
        let metadata = catch_unwind(AssertUnwindSafe(|| p.metadata().to_owned())).unwrap_or_default();
        Ok((p.partition(), Committed { offset, metadata }))
    });
    each.collect()
}

/// The consuming thread.
pub struct Consuming {
    /// For the publisher and the reply topics, which ask the cluster through it.
    pub consumer: Arc<CommandConsumer>,
    /// Assignments and revocations.
    pub notices: mpsc::UnboundedReceiver<Notice>,
    /// Records.
    pub batches: mpsc::Receiver<Batch>,
    /// To the thread.
    pub orders: std_mpsc::Sender<Order>,
    /// The call that the thread is in.
    pub calls: Arc<Calls>,
    /// Ends after [`Order::Stop`].
    pub thread: JoinHandle<()>,
}

/// Joins the group and starts the thread.
///
/// # Errors
/// librdkafka does not take the configuration, or the thread can't be started.
pub fn start(config: &ClientConfig, topic: &str, runtime: Handle, logins: Arc<Logins>) -> Result<Consuming, super::StartFault> {
    let (notice_sender, notices) = notice_channel();
    let (batch_sender, batches) = mpsc::channel(BATCHES);
    let (orders, order_receiver) = order_channel();
    let calls = Arc::<Calls>::default();
    let (topic, paused, troubles) = (topic.to_owned(), Mutex::default(), Gathered::default());
    let undecodable = Mutex::default();
    let context = Context {
        topic: topic.clone(),
        assignment: AtomicU64::new(0),
        notices: notice_sender,
        paused,
        calls: calls.clone(),
        troubles,
        undecodable,
        logins,
    };
    let consumer: CommandConsumer = config.create_with_context(context)?;
    consumer.subscribe(&[&topic])?;
    let consumer = Arc::new(consumer);
    let consuming = ConsumerThread {
        consumer: consumer.clone(),
        topic,
        calls: calls.clone(),
        batches: batch_sender,
        orders: order_receiver,
        runtime,
        paused: BTreeSet::new(),
        assignment: 0,
        stopping: false,
    };
    let thread = std::thread::Builder::new().name("consumer".into()).spawn(move || consuming.run())?;
    Ok(Consuming { consumer, notices, batches, orders, calls, thread })
}

#[expect(
    clippy::disallowed_methods,
    reason = "one notice an assignment, a revocation, and every few seconds; a callback must not wait"
)]
fn notice_channel() -> (mpsc::UnboundedSender<Notice>, mpsc::UnboundedReceiver<Notice>) {
    mpsc::unbounded_channel()
}

#[expect(
    clippy::disallowed_methods,
    reason = "an order comes only when a partition is to be paused that was not, or resumed that was"
)]
fn order_channel() -> (std_mpsc::Sender<Order>, std_mpsc::Receiver<Order>) {
    std_mpsc::channel()
}

#[expect(clippy::disallowed_methods, reason = "for milliseconds, in a callback of librdkafka that has nothing to wait on")]
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

struct ConsumerThread {
    consumer: Arc<CommandConsumer>,
    topic: String,
    calls: Arc<Calls>,
    batches: mpsc::Sender<Batch>,
    orders: std_mpsc::Receiver<Order>,
    runtime: Handle,
    /// The partitions that the processor asked to be paused.
    paused: BTreeSet<Partition>,
    assignment: AssignmentId,
    stopping: bool,
}

impl ConsumerThread {
    fn run(mut self) {
        while !self.stopping {
            self.obey();
            if let Some(batch) = self.collect(if self.paused.is_empty() { POLL } else { POLL_PAUSED }) {
                self.hand_on(batch);
            }
        }
        self.leave();
    }

    fn obey(&mut self) {
        loop {
            match self.orders.try_recv() {
                Ok(Order::Pause(partition)) => {
                    self.paused.insert(partition);
                    self.set_paused(&[partition], true);
                }
                Ok(Order::Resume(partition)) => {
                    self.paused.remove(&partition);
                    self.set_paused(&[partition], false);
                }
                Ok(Order::StepOver(at)) => self.step_over(at),
                Ok(Order::Stop) | Err(std_mpsc::TryRecvError::Disconnected) => return self.stopping = true,
                Err(std_mpsc::TryRecvError::Empty) => return,
            }
        }
    }

    /// Waits for a record and takes those along that have arrived with it.
    fn collect(&mut self, wait: Duration) -> Option<Batch> {
        let calls = self.calls.clone();
        // Told once for a batch, not for each of its records.
        calls.during(Call::Poll, Instant::now() + LOCAL, || self.poll_batch(wait))
    }

    fn poll_batch(&mut self, wait: Duration) -> Option<Batch> {
        let consumer = self.consumer.clone();
        let mut records: Vec<Record> = Vec::new();
        let mut bytes = 0;
        let mut assignment = self.assignment;
        while records.len() < BATCH_RECORDS && bytes < BATCH_BYTES {
            let polled = consumer.poll(if records.is_empty() { wait } else { Duration::ZERO });
            let now = consumer.context().assignment.load(Ordering::SeqCst);
            if now != assignment {
                // What was collected before the rebalance is not ours any more.
                records.clear();
                bytes = 0;
                assignment = now;
                self.reassigned(assignment);
            }
            match polled {
                Some(Ok(message)) => {
                    let record = Record::of(&message);
                    bytes += record.size();
                    records.push(record);
                }
                Some(Err(error)) => self.trouble(&error),
                None => break,
            }
        }
        (!records.is_empty()).then_some(Batch { assignment, records })
    }

    /// A new assignment begins with nothing paused.
    fn reassigned(&mut self, assignment: AssignmentId) {
        self.assignment = assignment;
        self.paused.clear();
        self.set_all_paused(false);
    }

    /// Waits for room. If there is none for a while, nothing more is fetched, but rebalances are still served.
    fn hand_on(&mut self, mut batch: Batch) {
        let mut fetching = true;
        while !self.stopping {
            match self.runtime.block_on(async { tokio::time::timeout(PATIENCE, self.batches.reserve()).await }) {
                Ok(Ok(permit)) => {
                    permit.send(batch);
                    break;
                }
                Ok(Err(_)) => return self.stopping = true,
                Err(_) if fetching => {
                    fetching = false;
                    self.set_all_paused(true);
                }
                Err(_) => (),
            }
            let polled = self.calls.during(Call::Poll, Instant::now() + LOCAL, || self.consumer.poll(Duration::ZERO));
            let assignment = self.consumer.context().assignment.load(Ordering::SeqCst);
            if assignment != batch.assignment {
                return self.reassigned(assignment);
            }
            // What had been fetched before the pause still arrives, in order.
            if let Some(Ok(message)) = polled {
                batch.records.push(Record::of(&message));
            }
            self.obey();
        }
        if !fetching {
            self.set_all_paused(false);
        }
    }

    /// Pauses whatever is assigned, or resumes all but what the processor asked to be paused.
    fn set_all_paused(&self, paused: bool) {
        let ask = || self.consumer.assignment();
        let assigned = self.calls.during(Call::Pause, Instant::now() + LOCAL, ask).unwrap_or_default();
        let numbers = assigned.elements();
        let numbers = numbers.iter().map(rdkafka::topic_partition_list::TopicPartitionListElem::partition);
        let partitions: Vec<Partition> = numbers.filter(|p| paused || !self.paused.contains(p)).collect();
        self.set_paused(&partitions, paused);
    }

    fn set_paused(&self, partitions: &[Partition], paused: bool) {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.topic, *partition);
        }
        let mut told = self.consumer.context().paused.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|partition| !partitions.contains(partition));
        told.extend(partitions.iter().filter(|_| paused));
        drop(told);
        let order = || if paused { self.consumer.pause(&list) } else { self.consumer.resume(&list) };
        let result = self.calls.during(Call::Pause, Instant::now() + LOCAL, order);
        if let Err(error) = result {
            tracing::debug!(%error, ?partitions, paused, "not ours any more");
        }
    }

    fn step_over(&self, at: RecordId) {
        let seek = || self.consumer.seek(&self.topic, at.partition, Offset::Offset(at.offset + 1), LOCAL);
        if let Err(error) = self.calls.during(Call::Pause, Instant::now() + LOCAL, seek) {
            self.consumer.context().trouble(&error, "a record could not be stepped over");
        }
    }

    fn trouble(&self, error: &KafkaError) {
        if let Some(RDKafkaErrorCode::BadCompression | RDKafkaErrorCode::BadMessage) = error.rdkafka_error_code() {
            let mut undecodable = self.consumer.context().undecodable.lock().unwrap_or_else(PoisonError::into_inner);
            undecodable.told = Some(Instant::now());
        }
        let quiet = matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::PartitionEOF));
        if !quiet {
            self.consumer.context().trouble(error, "no record could be read");
        }
    }

    /// Leaves the group, so that the others need not wait for the session to time out. Revokes, too.
    ///
    /// Closing waits for the coordinator's answer. Unsubscribing does not: the process may be gone before its request is sent.
    fn leave(&self) {
        let deadline = Instant::now() + REVOKE_TIMEOUT;
        self.calls.during(Call::Leave, deadline, || {
            if let Err(error) = self.consumer.close_queue() {
                tracing::warn!(%error, "the consumer group is left without a word");
            }
            while Instant::now() < deadline && !self.consumer.closed() {
                let _ = self.consumer.poll(POLL_PAUSED);
            }
        });
    }
}
