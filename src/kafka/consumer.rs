//! The consuming thread polls the command topic, hands the records on to the processor in small batches, and tells it of assignments and
//! revocations. In the revoke callback the thread waits until the processor has committed or discarded everything that belongs to the
//! revoked partitions, because another process owns them after the callback.
//!
//! The thread never stops polling for long, or the group would expel it. While the processor takes nothing in, the thread pauses all
//! partitions and goes on polling for rebalances.

use super::calls::{Call, Calls};
use super::inquiry::topic_id;
use super::login::{Client, Logins};
use super::record::Record;
use crate::flow::AssignmentId;
use crate::flow::offsets::Committed;
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

/// This process's membership of the group and the id of the topic, with which a transaction commits its offsets. Both are captured at the
/// assignment. Captured later, they could make a transaction of an earlier assignment valid.
#[derive(Clone)]
pub struct GroupMembership {
    /// The member and its generation, as the group's coordinator knows them.
    pub metadata: Arc<ConsumerGroupMetadata>,
    /// The topic's id; `None` if the brokers did not give one.
    pub topic_id: Option<Arc<str>>,
}

/// A message to the processor, other than records.
pub enum Notice {
    /// An assignment has begun; it holds all partitions that this process has now.
    Assigned {
        /// The assignment's number.
        assignment: AssignmentId,
        /// The partitions to read, and the committed offset from which each goes on.
        partitions: Vec<(Partition, Committed)>,
        /// The partitions that this process does not read, because a newer release has committed their offsets in a form that this
        /// release does not understand.
        unread: Vec<Partition>,
        /// The membership that the assignment's transactions commit their offsets with.
        membership: GroupMembership,
    },
    /// The assignment ends: the process gives up all its partitions, or has lost them already.
    Revoked {
        /// Whether the partitions belong to another process already, so that nothing of them can be committed any more.
        lost: bool,
        /// The processor sends on this channel, or drops it, when it will commit nothing more for the partitions.
        done: std_mpsc::SyncSender<()>,
    },
    /// The next record of each partition whose data librdkafka can't decode. The notice comes once a second while there are such
    /// partitions, and once more, empty, when there are none any more.
    Undecodable(Vec<RecordId>),
    /// Measurements that librdkafka makes once a second.
    Statistics {
        /// The ends of the partitions that librdkafka knows.
        ends: Vec<End>,
        /// The number of brokers that the consumer is connected to.
        brokers: usize,
    },
}

/// The end of a partition, by the brokers' last answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The partition.
    pub partition: Partition,
    /// The offset after the last record, whether that record can be read yet or not. `None` if no record lies beyond those that were
    /// handed on.
    pub end: Option<i64>,
    /// The last stable offset. Records from here on can't be read until a producer has ended its transaction.
    pub stable: i64,
    /// The high watermark: the offset after the last record or marker.
    pub high: i64,
}

/// Records of one assignment. Those of one partition are in the order of their offsets.
pub struct Batch {
    /// The number of the assignment that the records were read in.
    pub assignment: AssignmentId,
    /// The records, at least one.
    pub records: Vec<Record>,
}

/// An order of the processor to the consuming thread.
pub enum Order {
    /// Fetch nothing from this partition until it is resumed.
    Pause(Partition),
    /// Go on fetching from this partition.
    Resume(Partition),
    /// Go on fetching with the record after this one.
    StepOver(RecordId),
    /// Leave the group and end.
    Stop,
}

/// The most records in a batch: few enough for the processor to deal with in a millisecond.
const BATCH_RECORDS: usize = 64;
/// The size at which a batch is full, in bytes. The last record may exceed it. With [`BATCHES`] it bounds what lies between the consumer
/// and the processor.
const BATCH_BYTES: usize = 256 << 10;
/// The most batches that wait between the consumer and the processor.
pub const BATCHES: usize = 4;
/// How long the processor may take nothing in before the thread pauses the partitions.
const PATIENCE: Duration = Duration::from_millis(500);
/// The longest poll while no partition is paused.
const POLL: Duration = Duration::from_millis(100);
/// The longest poll while some partition is paused, so that an order to resume it is soon seen, and while the consumer closes.
const POLL_PAUSED: Duration = Duration::from_millis(2);
/// How long one request for the committed offsets may take.
pub const COMMITTED_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause between two requests for the committed offsets. An earlier transaction may have to end before the coordinator gives them.
const COMMITTED_PAUSE: Duration = Duration::from_millis(50);
/// How long the revoke callback waits for the processor. The processor gives up sooner by itself, so only a bug makes the callback wait
/// this long.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the request for the topic's id may take.
const TOPIC_ID_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a report of undecodable data counts. librdkafka repeats the report with each fetch, several times a second.
const UNDECODABLE_FOR: Duration = Duration::from_secs(3);
/// How long a call may take that sends no request out of the process.
const LOCAL: Duration = Duration::from_secs(5);

/// The consumer of the command topic. The publisher and the reply topics share it.
pub type CommandConsumer = BaseConsumer<Context>;

/// The callbacks of librdkafka. They run on the consuming thread, inside its polls.
pub struct Context {
    topic: String,
    assignment: AtomicU64,
    notices: mpsc::UnboundedSender<Notice>,
    /// The partitions that are paused, for whatever reason.
    paused: Mutex<BTreeSet<Partition>>,
    /// The call that the consuming thread has under way.
    calls: Arc<Calls>,
    /// When librdkafka's complaints were last logged, by error code.
    troubles: Gathered<Option<i32>>,
    undecodable: Mutex<Undecodable>,
    /// The complaints of clients that can't log in.
    logins: Arc<Logins>,
}

/// Finds the partitions whose next records librdkafka can't decode. librdkafka says that there are some, but not which. So these are
/// taken to be the partitions that have records to fetch and do not move on.
#[derive(Default)]
struct Undecodable {
    /// When librdkafka last reported data that it can't decode.
    told: Option<Instant>,
    /// The next offset of each partition that had records to fetch, a second ago.
    next: BTreeMap<Partition, i64>,
    /// The partitions that were last found to stand still.
    found: Vec<RecordId>,
}

impl Undecodable {
    /// Returns the partitions that stand still, which may be none. Returns `None` if there were none the last time either. `open` holds
    /// the next offset of each partition that has records to fetch.
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
        // A broker of the source "logical" is the group coordinator, listed a second time. In the state REAUTH the client shows its new
        // token over a connection that stays up.
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
    /// Logs that something failed. librdkafka tries again and repeats its complaint, so the lines are gathered by error code.
    fn trouble(&self, error: &KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().map(|code| code as i32);
        if let Some(left_out) = self.troubles.due(code, Instant::now()) {
            tracing::warn!(%error, reason, left_out, "the Kafka consumer has trouble, and goes on trying");
        }
    }

    /// Asks where each partition goes on, tells the processor, and returns the partitions to read. A partition whose offset was committed
    /// for an earlier topic of the same name begins anew. A partition whose offset only a newer release understands is not returned.
    ///
    /// If the assignment is lost before all this is known, the processor is not told of it, and all partitions are returned: their records
    /// have a number that no assignment of the processor has, so it drops them, and librdkafka revokes the partitions next.
    fn assigned(&self, consumer: &BaseConsumer<Self>, partitions: &mut TopicPartitionList) -> TopicPartitionList {
        let assignment = self.assignment.fetch_add(1, Ordering::SeqCst) + 1;
        let Some(metadata) = consumer.group_metadata() else { return partitions.clone() };
        let ask = || topic_id(consumer.client(), &self.topic, TOPIC_ID_TIMEOUT);
        let topic_id = self.calls.during(Call::Metadata, Instant::now() + TOPIC_ID_TIMEOUT, ask);
        let topic_id: Option<Arc<str>> = topic_id.ok().flatten().map(Into::into);
        // Nothing may be read before the committed offsets are known: a record that was answered already could be answered again.
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
                                "the command topic was deleted and made again: its partition is read from the beginning"
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

/// Returns `partitions` without those in `unread`.
fn without(unread: &[Partition], partitions: &TopicPartitionList) -> TopicPartitionList {
    let mut others = TopicPartitionList::with_capacity(partitions.count());
    for element in partitions.elements().iter().filter(|element| !unread.contains(&element.partition())) {
        let added = others.add_partition_offset(element.topic(), element.partition(), element.offset());
        added.expect("the offset is one that librdkafka has given out itself");
    }
    others
}

/// Returns where a partition ends. If all readable records were handed on and no transaction is open, no record lies beyond them, even
/// where the high watermark does: the last offset may be the marker that ends one of the CRM's transactions. For a paused partition this
/// can't be said, because librdkafka drops what it had fetched when a partition is paused, and fetches it again later.
fn end_of(partition: &statistics::Partition, paused: bool) -> End {
    let (stable, high) = (partition.ls_offset, partition.hi_offset.max(partition.ls_offset));
    let all_handed_on = partition.next_offset >= stable && partition.fetchq_cnt == 0 && !paused;
    End { partition: partition.partition, end: (!all_handed_on || stable < high).then_some(high), stable, high }
}

/// Returns what the group coordinator has committed for some partitions of `topic`. Waits for transactions that are being committed.
///
/// # Errors
/// The coordinator can't be reached, or answers with an error for one of the partitions.
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
        // rdkafka panics on metadata that is not UTF-8. Such metadata is not ours and counts as none.
        let metadata = catch_unwind(AssertUnwindSafe(|| p.metadata().to_owned())).unwrap_or_default();
        Ok((p.partition(), Committed { offset, metadata }))
    });
    each.collect()
}

/// The consuming thread and the channels to and from it.
pub struct Consuming {
    /// The consumer, through which the publisher and the reply topics ask the cluster.
    pub consumer: Arc<CommandConsumer>,
    /// Messages from the thread, other than records.
    pub notices: mpsc::UnboundedReceiver<Notice>,
    /// Records from the thread.
    pub batches: mpsc::Receiver<Batch>,
    /// Orders to the thread.
    pub orders: std_mpsc::Sender<Order>,
    /// The call that the thread has under way.
    pub calls: Arc<Calls>,
    /// The thread, which ends after [`Order::Stop`] or when `orders` is dropped.
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
        to_be_paused: BTreeSet::new(),
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
    to_be_paused: BTreeSet<Partition>,
    assignment: AssignmentId,
    stopping: bool,
}

impl ConsumerThread {
    fn run(mut self) {
        while !self.stopping {
            self.obey();
            if let Some(batch) = self.collect(if self.to_be_paused.is_empty() { POLL } else { POLL_PAUSED }) {
                self.hand_on(batch);
            }
        }
        self.leave();
    }

    fn obey(&mut self) {
        loop {
            match self.orders.try_recv() {
                Ok(Order::Pause(partition)) => {
                    self.to_be_paused.insert(partition);
                    self.set_paused(&[partition], true);
                }
                Ok(Order::Resume(partition)) => {
                    self.to_be_paused.remove(&partition);
                    self.set_paused(&[partition], false);
                }
                Ok(Order::StepOver(at)) => self.step_over(at),
                Ok(Order::Stop) | Err(std_mpsc::TryRecvError::Disconnected) => return self.stopping = true,
                Err(std_mpsc::TryRecvError::Empty) => return,
            }
        }
    }

    /// Waits for a record, and returns it with those that have arrived besides. Returns `None` if there was none.
    fn collect(&mut self, wait: Duration) -> Option<Batch> {
        let calls = self.calls.clone();
        // The call is announced once for the batch rather than for each record, which would cost more.
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
                // The records that were collected before the rebalance are not ours any more.
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

    /// Begins a new assignment, with nothing paused.
    fn reassigned(&mut self, assignment: AssignmentId) {
        self.assignment = assignment;
        self.to_be_paused.clear();
        self.set_all_paused(false);
    }

    /// Hands a batch on as soon as there is room for it. If there is none for a while, pauses fetching until there is, and goes on
    /// serving rebalances.
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
            match polled {
                // A record may still come before all partitions are paused. It is the next one of its partition.
                Some(Ok(message)) => batch.records.push(Record::of(&message)),
                Some(Err(error)) => self.trouble(&error),
                None => {}
            }
            self.obey();
        }
        if !fetching {
            self.set_all_paused(false);
        }
    }

    /// Pauses all assigned partitions, or resumes all but those that the processor wants paused.
    fn set_all_paused(&self, paused: bool) {
        let ask = || self.consumer.assignment();
        let assigned = self.calls.during(Call::Local, Instant::now() + LOCAL, ask).unwrap_or_default();
        let numbers = assigned.elements();
        let numbers = numbers.iter().map(rdkafka::topic_partition_list::TopicPartitionListElem::partition);
        let partitions: Vec<Partition> = numbers.filter(|p| paused || !self.to_be_paused.contains(p)).collect();
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
        let result = self.calls.during(Call::Local, Instant::now() + LOCAL, order);
        if let Err(error) = result {
            tracing::debug!(%error, ?partitions, paused, "partitions can't be paused or resumed: they are not ours any more");
        }
    }

    fn step_over(&self, at: RecordId) {
        let seek = || self.consumer.seek(&self.topic, at.partition, Offset::Offset(at.offset + 1), LOCAL);
        if let Err(error) = self.calls.during(Call::Local, Instant::now() + LOCAL, seek) {
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

    /// Leaves the group, so that the other members need not wait for the session to time out. Runs the revoke callback.
    ///
    /// Closing waits for the coordinator's answer. Unsubscribing would not, and the process could end before the request was sent.
    fn leave(&self) {
        let deadline = Instant::now() + REVOKE_TIMEOUT;
        self.calls.during(Call::Leave, deadline, || {
            if let Err(error) = self.consumer.close_queue() {
                tracing::warn!(%error, "the consumer can't be closed: it leaves the group only when its session times out");
            }
            while Instant::now() < deadline && !self.consumer.closed() {
                let _ = self.consumer.poll(POLL_PAUSED);
            }
        });
    }
}
