//! The consuming thread polls the command topic, hands the records on to the processor in small batches, and obeys its orders.
//! Rebalances, measurements and complaints arrive in the callbacks ([`super::callbacks`]), which run inside the polls.
//!
//! The thread never stops polling for long, or the group would expel it. While the processor takes nothing in, the thread pauses all
//! partitions and goes on polling for rebalances.

use super::bootstrap::Bootstrap;
use super::callbacks::{CommandConsumer, Context, Notice, REVOKE_TIMEOUT};
use super::calls::{Call, Calls};
use super::login::Logins;
use super::record::Record;
use crate::fail_points::FailPoint;
use crate::flow::{AssignmentId, Partition, RecordId};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

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

/// The number of records at which a batch is full: few enough for the processor to deal with in a millisecond. `hand_on` may add those that
/// still arrive while the partitions are being paused.
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
/// How long a call may take that sends no request out of the process.
const LOCAL: Duration = Duration::from_secs(5);

/// The consuming thread and the channels to and from it.
pub struct Consuming {
    /// The consumer, through which the publisher and the tasks that look at topics ask the cluster.
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
/// Returns a fault if librdkafka does not take the configuration, or the thread can't be started.
pub fn start(
    mut config: ClientConfig,
    topic: &str,
    runtime: Handle,
    logins: Arc<Logins>,
) -> Result<Consuming, super::StartFault> {
    let (notice_sender, notices) = notice_channel();
    let (batch_sender, batches) = mpsc::channel(BATCHES);
    let (orders, order_receiver) = order_channel();
    let calls = Arc::<Calls>::default();
    let context = Context::new(topic.to_owned(), notice_sender, calls.clone(), logins, Bootstrap::of(&mut config));
    let consumer: CommandConsumer = config.create_with_context(context)?;
    consumer.subscribe(&[topic])?;
    let consumer = Arc::new(consumer);
    let consuming = ConsumerThread {
        consumer: consumer.clone(),
        topic: topic.to_owned(),
        calls: calls.clone(),
        batches: batch_sender,
        orders: order_receiver,
        runtime,
        to_be_paused: BTreeSet::new(),
        all_paused: Cell::new(false),
        assignment: 0,
        stopping: false,
    };
    let thread = std::thread::Builder::new().name("consumer".into()).spawn(move || consuming.run())?;
    Ok(Consuming { consumer, notices, batches, orders, calls, thread })
}

#[expect(
    clippy::disallowed_methods,
    reason = "one notice for each assignment and each revocation, and at most two a second besides; a callback must not wait"
)]
fn notice_channel() -> (mpsc::UnboundedSender<Notice>, mpsc::UnboundedReceiver<Notice>) {
    mpsc::unbounded_channel()
}

#[expect(
    clippy::disallowed_methods,
    reason = "an order comes when a partition's pause begins or ends, once a second for a record to be stepped over, and at the end"
)]
fn order_channel() -> (std_mpsc::Sender<Order>, std_mpsc::Receiver<Order>) {
    std_mpsc::channel()
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
    /// Whether all partitions are paused, because there is no room for a batch.
    all_paused: Cell<bool>,
    assignment: AssignmentId,
    stopping: bool,
}

impl ConsumerThread {
    fn run(mut self) {
        while !self.stopping {
            self.obey();
            self.consumer.context().remind(&self.consumer);
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
                    // While there is no room for a batch, all stay paused.
                    if !self.all_paused.get() {
                        self.set_paused(&[partition], false);
                    }
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
        calls.during(Call::Poll, Instant::now() + LOCAL, || {
            FailPoint::Polling.reach();
            self.poll_batch(wait)
        })
    }

    fn poll_batch(&mut self, wait: Duration) -> Option<Batch> {
        let consumer = self.consumer.clone();
        if FailPoint::Fetching.is_reached() {
            let _ = consumer.assignment().and_then(|assigned| consumer.pause(&assigned));
        }
        let mut records: Vec<Record> = Vec::new();
        let mut bytes = 0;
        let mut assignment = self.assignment;
        while records.len() < BATCH_RECORDS && bytes < BATCH_BYTES {
            let polled = consumer.poll(if records.is_empty() { wait } else { Duration::ZERO });
            let now = consumer.context().assignment();
            if now != assignment {
                // The records that were collected before the rebalance are not ours any more.
                records.clear();
                bytes = 0;
                assignment = now;
                self.reassigned(assignment);
            }
            match polled {
                Some(Ok(message)) => {
                    consumer.context().reading(false);
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
        self.consumer.context().reading(false);
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
            let assignment = self.consumer.context().assignment();
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
            self.consumer.context().remind(&self.consumer);
        }
        if !fetching {
            self.set_all_paused(false);
        }
    }

    /// Pauses all assigned partitions, or resumes all but those that the processor wants paused.
    fn set_all_paused(&self, paused: bool) {
        self.all_paused.set(paused);
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
        self.consumer.context().pausing(partitions, paused);
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
        use RDKafkaErrorCode as Code;
        let context = self.consumer.context();
        match error.rdkafka_error_code() {
            Some(Code::PartitionEOF) => return,
            // Connections come and go. The loss of one does not explain why nothing is fetched over the others.
            Some(Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve | Code::OperationTimedOut) => {}
            Some(Code::BadCompression | Code::BadMessage) => {
                context.met_undecodable();
                context.met_unfetchable();
            }
            Some(Code::TopicAuthorizationFailed) => {
                context.reading(true);
                context.met_unfetchable();
            }
            _ => context.met_unfetchable(),
        }
        context.trouble(error, "no record could be read");
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
