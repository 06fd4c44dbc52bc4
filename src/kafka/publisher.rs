//! The publishing thread: owns the transactional producer and commits one transaction at a time. No transaction is open
//! while it waits. rdkafka's transaction calls block, so they live on this thread.
//!
//! After an error that leaves the outcome open it abandons the producer, makes a new one (which makes the coordinator end
//! the old transaction one way or the other), and lets the committed offsets say which it was.

use super::consumer::{self, CommandConsumer, Generation};
use super::{Headers, Output, Outputs, StartFault};
use crate::fail_points::FailPoint;
use crate::flow::batch::Finished;
use crate::flow::offsets::Committed;
use crate::flow::stream::Epoch;
use crate::flow::{OffsetCommit, Partition};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};
use std::sync::{Arc, Mutex, PoisonError, mpsc as std_mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How long a transaction may take from its beginning to its commit.
const TRANSACTION: Duration = Duration::from_secs(9);
/// How long librdkafka may take to make the coordinator end an old transaction.
const INIT: Duration = Duration::from_secs(15);
/// Between attempts to get a producer or an answer.
const BACK_OFF: Duration = Duration::from_millis(500);
/// How long to wait in one go for the producer's queue to empty.
const FLUSH_STEP_MS: i32 = 20;

/// A transaction to be committed.
pub struct Publication<M> {
    /// The assignment that its records belong to.
    pub epoch: Epoch,
    /// Its membership of the group.
    pub generation: Generation,
    /// The records with their outputs.
    pub records: Vec<Finished<Outputs<M>>>,
    /// What they complete.
    pub offsets: Vec<OffsetCommit>,
}

/// What became of a transaction.
pub struct Published<M> {
    /// The assignment that it belonged to.
    pub epoch: Epoch,
    /// Its records.
    pub records: Vec<Finished<Outputs<M>>>,
    /// What became of them.
    pub verdict: Verdict,
    /// From its beginning to the verdict.
    pub took: Duration,
}

/// What became of a transaction.
#[derive(Debug)]
pub enum Verdict {
    /// It was committed.
    Committed,
    /// It was aborted, because the broker refuses outputs of these records.
    Refused(Vec<Refusal>),
    /// It was aborted; it may be tried again.
    Aborted,
    /// It was aborted: the partitions are not ours any more.
    Stale,
    /// It was committed if these offsets say so. The producer is a new one.
    Uncertain(Vec<(Partition, Committed)>),
}

/// An output that the broker does not take.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The record's place in the transaction.
    pub record: usize,
    /// The output's place in the record's.
    pub output: usize,
    /// What the broker says.
    pub code: Code,
}

/// The publishing thread. It ends when `publications` is dropped.
pub struct Publishing<M> {
    /// To the thread, one at a time.
    pub publications: std_mpsc::Sender<Publication<M>>,
    /// From the thread.
    pub published: mpsc::UnboundedReceiver<Published<M>>,
    /// Ends when `publications` is dropped.
    pub thread: JoinHandle<()>,
}

/// Starts the thread. It gets its producer by and by: a broker that is away is waited for.
///
/// # Errors
/// librdkafka does not take the configuration, or the thread can't be started.
pub fn start<M: Send + 'static>(
    config: ClientConfig,
    consumer: Arc<CommandConsumer>,
    topic: &str,
) -> Result<Publishing<M>, StartFault> {
    let (publications, inbox) = publication_channel();
    let (verdicts, published) = verdict_channel();
    let publisher = Publisher { producer: create(&config)?, config, consumer, topic: topic.into(), verdicts };
    let thread = std::thread::Builder::new().name("publisher".into()).spawn(move || publisher.run(&inbox))?;
    Ok(Publishing { publications, published, thread })
}

#[expect(clippy::disallowed_methods, reason = "the processor sends one transaction at a time, and must not wait for this thread")]
fn publication_channel<M>() -> (std_mpsc::Sender<Publication<M>>, std_mpsc::Receiver<Publication<M>>) {
    std_mpsc::channel()
}

#[expect(clippy::disallowed_methods, reason = "one verdict for each transaction, and these come one at a time")]
fn verdict_channel<M>() -> (mpsc::UnboundedSender<Published<M>>, mpsc::UnboundedReceiver<Published<M>>) {
    mpsc::unbounded_channel()
}

/// Collects what could not be delivered. Delivery is reported on failure only.
#[derive(Default)]
struct Context {
    failures: Mutex<Vec<(usize, Code)>>,
}

impl Context {
    fn take_failures(&self) -> Vec<(usize, Code)> {
        std::mem::take(&mut self.failures.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "Kafka producer");
    }
}

impl ProducerContext for Context {
    /// The output's place in the transaction, counted through all records.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, output: usize) {
        if let Err((error, _)) = result {
            let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
            self.failures.lock().unwrap_or_else(PoisonError::into_inner).push((output, code));
        }
    }
}

type TransactionalProducer = BaseProducer<Context>;

fn create(config: &ClientConfig) -> Result<TransactionalProducer, KafkaError> {
    config.create_with_context(Context::default())
}

/// Why a transaction did not come to its commit.
enum Failure {
    Refused(Vec<Refusal>),
    Transaction(KafkaError),
}

struct Publisher<M> {
    producer: TransactionalProducer,
    config: ClientConfig,
    consumer: Arc<CommandConsumer>,
    topic: String,
    verdicts: mpsc::UnboundedSender<Published<M>>,
}

impl<M> Publisher<M> {
    fn run(mut self, publications: &std_mpsc::Receiver<Publication<M>>) {
        self.initialise();
        while let Ok(publication) = publications.recv() {
            let start = Instant::now();
            let verdict = self.publish(&publication);
            let Publication { epoch, records, .. } = publication;
            if self.verdicts.send(Published { epoch, records, verdict, took: start.elapsed() }).is_err() {
                return;
            }
        }
    }

    fn publish(&mut self, publication: &Publication<M>) -> Verdict {
        let failure = match self.attempt(publication) {
            Ok(()) => return Verdict::Committed,
            Err(failure) => failure,
        };
        match failure {
            Failure::Refused(refusals) => {
                if self.abort() {
                    Verdict::Refused(refusals)
                } else {
                    self.start_over(publication)
                }
            }
            Failure::Transaction(error) => {
                tracing::warn!(%error, records = publication.records.len(), "a Kafka transaction failed");
                let stale = is_stale(&error);
                // Only an error that asks for an abort says that nothing was committed.
                if requires_abort(&error) && self.abort() {
                    if stale { Verdict::Stale } else { Verdict::Aborted }
                } else {
                    self.start_over(publication)
                }
            }
        }
    }

    fn attempt(&self, publication: &Publication<M>) -> Result<(), Failure> {
        let deadline = Instant::now() + TRANSACTION;
        self.producer.context().take_failures();
        self.producer.begin_transaction().map_err(Failure::Transaction)?;
        self.produce(publication, deadline)?;
        self.flush(publication, deadline)?;
        FailPoint::OutputsSent.reach();
        let offsets = offsets(&self.topic, &publication.offsets).map_err(Failure::Transaction)?;
        // After the flush: before it, the coordinator would still be busy with the outputs' partitions.
        retrying(deadline, || self.producer.send_offsets_to_transaction(&offsets, &publication.generation, TRANSACTION))
            .map_err(Failure::Transaction)?;
        FailPoint::OffsetsSent.reach();
        retrying(deadline, || self.producer.commit_transaction(TRANSACTION)).map_err(Failure::Transaction)?;
        FailPoint::Committed.reach();
        Ok(())
    }

    fn produce(&self, publication: &Publication<M>, deadline: Instant) -> Result<(), Failure> {
        let mut refusals = Vec::new();
        let mut place = 0;
        for (record, finished) in publication.records.iter().enumerate() {
            for (output, it) in finished.outputs.outputs.iter().enumerate() {
                match self.send(it, place, deadline) {
                    Ok(()) => (),
                    Err(error) => match error.rdkafka_error_code() {
                        Some(code) if is_refusal(code) => refusals.push(Refusal { record, output, code }),
                        _ => return Err(Failure::Transaction(error)),
                    },
                }
                place += 1;
            }
        }
        if refusals.is_empty() { Ok(()) } else { Err(Failure::Refused(refusals)) }
    }

    fn send(&self, output: &Output, place: usize, deadline: Instant) -> Result<(), KafkaError> {
        let mut record =
            BaseRecord::<[u8], [u8], usize>::with_opaque_to(&output.topic, place).headers(to_headers(&output.headers));
        record.key = output.key.as_deref();
        record.payload = output.value.as_deref();
        record.partition = output.partition;
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(Code::QueueFull), back)) if Instant::now() < deadline => {
                    record = back;
                    flush_step(&self.producer);
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    /// Waits until all outputs are delivered, or the broker has refused some.
    fn flush(&self, publication: &Publication<M>, deadline: Instant) -> Result<(), Failure> {
        while !flush_step(&self.producer) {
            self.producer.poll(Duration::ZERO);
            if Instant::now() >= deadline {
                return Err(Failure::Transaction(KafkaError::Flush(Code::OperationTimedOut)));
            }
        }
        let failures = self.producer.context().take_failures();
        let Some((_, code)) = failures.first() else { return Ok(()) };
        let refusals: Vec<_> = failures
            .iter()
            .filter(|(_, code)| is_refusal(*code))
            .map(|(place, code)| refusal(publication, *place, *code))
            .collect();
        Err(if refusals.is_empty() {
            Failure::Transaction(KafkaError::MessageProduction(*code))
        } else {
            Failure::Refused(refusals)
        })
    }

    /// True if it is certain that nothing of the transaction took effect.
    fn abort(&self) -> bool {
        self.producer.poll(Duration::ZERO);
        let aborted = retrying(Instant::now() + TRANSACTION, || self.producer.abort_transaction(TRANSACTION));
        if let Err(error) = &aborted {
            tracing::warn!(%error, "a Kafka transaction could not be aborted");
        }
        self.producer.poll(Duration::ZERO);
        aborted.is_ok()
    }

    /// A new producer. Its registration ends whatever transaction the old one has left.
    fn start_over(&mut self, publication: &Publication<M>) -> Verdict {
        self.recreate();
        let partitions = || publication.offsets.iter().map(|o| o.partition);
        while self.rest() {
            match consumer::committed(&self.consumer, &self.topic, partitions()) {
                Ok(committed) => return Verdict::Uncertain(committed),
                Err(error) => tracing::warn!(%error, "can't learn the committed offsets, trying again"),
            }
        }
        // Nobody is there to hear it.
        Verdict::Stale
    }

    fn recreate(&mut self) {
        tracing::warn!("the transactional producer is abandoned, making a new one");
        loop {
            match create(&self.config) {
                Ok(producer) => {
                    self.producer = producer;
                    return self.initialise();
                }
                Err(error) => tracing::error!(%error, "no transactional producer can be made, trying again"),
            }
            if !self.rest() {
                return;
            }
        }
    }

    /// Waits a little before the next attempt; false if the processor has gone.
    #[expect(clippy::disallowed_methods, reason = "short, and the processor's end is looked for after it")]
    fn rest(&self) -> bool {
        std::thread::sleep(BACK_OFF);
        !self.verdicts.is_closed()
    }

    /// Registers with the transaction coordinator, however long that takes.
    fn initialise(&mut self) {
        while let Err(error) = self.producer.init_transactions(INIT) {
            tracing::warn!(%error, "the transaction coordinator does not answer or refuses us, trying again");
            if !self.rest() {
                return;
            }
            // After a fatal error this producer is of no use any more.
            if matches!(&error, KafkaError::Transaction(e) if !e.is_retriable())
                && let Ok(producer) = create(&self.config)
            {
                self.producer = producer;
            }
        }
    }
}

fn refusal<M>(publication: &Publication<M>, place: usize, code: Code) -> Refusal {
    let mut output = place;
    for (record, finished) in publication.records.iter().enumerate() {
        let count = finished.outputs.outputs.len();
        if output < count {
            return Refusal { record, output, code };
        }
        output -= count;
    }
    unreachable!("the place was counted through the same records")
}

/// Tries again while librdkafka says that this may help.
fn retrying(deadline: Instant, operation: impl Fn() -> Result<(), KafkaError>) -> Result<(), KafkaError> {
    loop {
        match operation() {
            Err(KafkaError::Transaction(e)) if e.is_retriable() && Instant::now() < deadline => (),
            result => return result,
        }
    }
}

/// Waits a moment for a producer's queue to empty; true if it is.
///
/// rdkafka's own `flush` waits in steps of 100 ms of its event queue, which successful deliveries don't wake.
#[allow(unsafe_code, reason = "rdkafka offers no other way to wait for librdkafka's queue")]
pub fn flush_step<C: ProducerContext>(producer: &BaseProducer<C>) -> bool {
    use rdkafka::bindings::{rd_kafka_flush, rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR};
    // SAFETY: the pointer is the live producer's; rd_kafka_flush may be called from any thread.
    unsafe { rd_kafka_flush(producer.client().native_ptr(), FLUSH_STEP_MS) == RD_KAFKA_RESP_ERR_NO_ERROR }
}

/// Errors of the broker about one record or one topic, which stay however often the record is sent.
fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::MessageSizeTooLarge
            | Code::InvalidMessageSize
            | Code::InvalidMessage
            | Code::InvalidRecord
            | Code::PolicyViolation
            | Code::InvalidTopic
            | Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::TopicAuthorizationFailed
            | Code::InvalidTimestamp
    )
}

fn requires_abort(error: &KafkaError) -> bool {
    match error {
        KafkaError::Transaction(e) => e.txn_requires_abort(),
        // Nothing but outputs was sent so far.
        KafkaError::Flush(_) | KafkaError::MessageProduction(_) => true,
        _ => false,
    }
}

/// The membership of the group that the offsets were to be committed with is over.
fn is_stale(error: &KafkaError) -> bool {
    matches!(error.rdkafka_error_code(), Some(Code::IllegalGeneration | Code::UnknownMemberId | Code::FencedInstanceId))
}

fn offsets(topic: &str, commits: &[OffsetCommit]) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(commits.len());
    for commit in commits {
        let mut partition = list.add_partition(topic, commit.partition);
        partition.set_offset(Offset::Offset(commit.offset))?;
        partition.set_metadata(commit.metadata.as_str());
    }
    Ok(list)
}

/// Headers as rdkafka has them.
pub fn to_headers(headers: &Headers) -> OwnedHeaders {
    headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), |owned, (key, value)| {
        owned.insert(Header { key, value: value.as_deref() })
    })
}
