//! The CRM of a measurement: writes commands, all at once or at a rate, and reads the replies, each with the time of its arrival. A reply
//! that is missing, comes twice or has another status than expected is an error.

use super::cases::{CaseStep, Kind};
use super::fleet::Fleet;
use super::round::Round;
use crate::domain::Timestamp;
use crate::domain::use_case::UseCase;
use crate::toolbox::connect;
use crate::toolbox::crm_client::{header, producer_config, schema_ids};
use crate::toolbox::topic_reader::{Start, TopicReader};
use crate::wire;
use crate::wire::headers::{CORRELATION_ID, STATUS_CODE};
use anyhow::{Context as _, bail, ensure};
use indicatif::ProgressBar;
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long a reply may take after the one before it.
const STALL: Duration = Duration::from_secs(60);
/// How long Kafka may take for the commands that were written.
const FLUSH: Duration = Duration::from_secs(60);
/// How much earlier the thread that writes at a rate is started than its first command is due.
const LEAD: Duration = Duration::from_millis(100);
const QUEUE_FULL: Duration = Duration::from_millis(5);
/// How many bytes of commands a partition of the mock cluster may get. It forgets what is older than its last 5 MiB.
const MOCKED_PARTITION_BYTES: usize = 4 << 20;

/// The CRM of a round.
pub struct Crm {
    schema_ids: HashMap<UseCase, u32>,
    replies: TopicReader,
    /// The writer of all commands. A new one would have to connect first, while commands at a rate are due.
    writer: Arc<Writer>,
    /// The number of the next command. Its reply is known by this number, which is the correlation id.
    next: u64,
}

/// Commands that are ready to be written.
pub struct CommandBatch {
    first: u64,
    records: Vec<Record>,
    /// True for each command that will be refused.
    refused: Vec<bool>,
}

struct Record {
    key: String,
    value: Vec<u8>,
}

/// Commands that are being written at a rate, until all are written or this is dropped.
pub struct Sending {
    /// When the first command is due; the others follow at equal distances.
    pub start: Instant,
    _stop: SyncSender<()>,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl Sending {
    /// Waits until all commands are written.
    pub async fn done(self) -> anyhow::Result<()> {
        self.thread.await?
    }
}

impl Crm {
    /// Creates a CRM that reads the replies of a round from here on. With `at_rate`, each command is sent at once; otherwise the client
    /// waits a little for more commands, and sends them together.
    pub async fn open(round: &Round, at_rate: bool) -> anyhow::Result<Self> {
        let kafka = &round.config.kafka;
        let schema_ids = schema_ids(&connect::registry(&round.config)?, &kafka.topics.commands).await?;
        let replies = TopicReader::open(kafka, &kafka.topics.replies, Start::End).await?;
        let mut config = producer_config(kafka);
        config.set("linger.ms", if at_rate { "0" } else { "5" }).set("queue.buffering.max.messages", "200000");
        let writer = Arc::new(Writer::new(&config, &kafka.topics.commands)?);
        Ok(Self { schema_ids, replies, writer, next: 0 })
    }

    /// Prepares the commands of these steps.
    pub fn prepare(&mut self, fleet: &mut Fleet, pass: u32, steps: &[CaseStep]) -> CommandBatch {
        let record = |step: &CaseStep| {
            let (command, key) = fleet.command(pass, *step);
            let mut value = wire::frame::frame_prefix(self.schema_ids[&command.use_case]).to_vec();
            value.extend(wire::json::encode_command(&command));
            Record { key, value }
        };
        let records: Vec<_> = steps.iter().map(record).collect();
        let first = self.next;
        self.next += records.len() as u64;
        CommandBatch { first, records, refused: steps.iter().map(|step| step.kind == Kind::Rejected).collect() }
    }

    /// Writes the commands of a batch, as fast as Kafka takes them. Returns when they are on the topic.
    pub async fn write(&self, batch: &mut CommandBatch) -> anyhow::Result<()> {
        let writer = self.writer.clone();
        let (first, records) = (batch.first, std::mem::take(&mut batch.records));
        tokio::task::spawn_blocking(move || {
            for (number, record) in (first..).zip(&records) {
                writer.send(number, record, None)?;
            }
            writer.finish()
        })
        .await?
    }

    /// Begins to write the commands of a batch at a rate: each has its time, whatever became of those before it. That time is also the
    /// timestamp of its record.
    pub fn write_at(&self, batch: &mut CommandBatch, per_second: f64) -> Sending {
        let writer = self.writer.clone();
        let (first, records) = (batch.first, std::mem::take(&mut batch.records));
        let (stop, stopped) = sync_channel(0);
        let (start, since_epoch) = beginning();
        let thread = tokio::task::spawn_blocking(move || {
            let mut due = start;
            for (number, record) in (first..).zip(&records) {
                if !wait_until(due, &stopped) {
                    break;
                }
                let timestamp = (since_epoch + (due - start)).as_millis();
                writer.send(number, record, Timestamp::try_from(timestamp).ok())?;
                due += Duration::from_secs_f64(1.0 / per_second);
            }
            writer.finish()
        });
        Sending { start, _stop: stop, thread }
    }

    /// Reads the replies to a batch. Returns when each came, in the order of the commands.
    pub async fn replies(&mut self, batch: &CommandBatch, bar: &ProgressBar) -> anyhow::Result<Vec<Instant>> {
        let expected = batch.refused.len();
        bar.set_length(expected as u64);
        let mut came: Vec<Option<Instant>> = vec![None; expected];
        let mut missing = expected;
        while missing > 0 {
            let Ok(record) = timeout(STALL, self.replies.next()).await else {
                bail!("{missing} of {expected} replies are missing, and none came for {} s", STALL.as_secs());
            };
            let (record, now) = (record?, Instant::now());
            let number = header(&record, CORRELATION_ID).and_then(|id| std::str::from_utf8(id).ok()?.parse::<u64>().ok());
            let number = number.context("a reply without a correlation id of ours")?;
            // A second reply to an earlier batch is as wrong as one to this batch.
            let at = number.checked_sub(batch.first).and_then(|at| usize::try_from(at).ok()).filter(|at| *at < expected);
            let at = at.with_context(|| format!("one more reply to command {number}"))?;
            ensure!(came[at].replace(now).is_none(), "two replies to command {number}");
            let (status, wanted) = (header(&record, STATUS_CODE), if batch.refused[at] { "400" } else { "200" });
            if status != Some(wanted.as_bytes()) {
                let status = String::from_utf8_lossy(status.unwrap_or_default()).into_owned();
                bail!("the reply to command {number} has status {status:?}, not {wanted}: what is measured is something else");
            }
            missing -= 1;
            bar.inc(1);
        }
        Ok(came.into_iter().flatten().collect())
    }
}

impl CommandBatch {
    /// Checks that the mock cluster can hold the commands.
    ///
    /// # Errors
    /// It can't; the text says why.
    pub fn fits_mocked(&self, partitions: i32) -> anyhow::Result<()> {
        let mut by_key: HashMap<&str, usize> = HashMap::new();
        for record in &self.records {
            // A header and the format add some 40 bytes.
            *by_key.entry(&record.key).or_default() += record.value.len() + record.key.len() + 40;
        }
        let largest = by_key.values().copied().max().unwrap_or_default();
        let spread = by_key.values().sum::<usize>() / usize::try_from(partitions).unwrap_or(1);
        ensure!(
            largest.max(spread) <= MOCKED_PARTITION_BYTES,
            "the mock of Kafka keeps 5 MiB a partition: take fewer --commands or more --partitions"
        );
        Ok(())
    }
}

/// A producer of commands.
struct Writer {
    producer: BaseProducer<Failures>,
    topic: String,
}

/// The first error with which a command did not get onto the topic.
#[derive(Default)]
struct Failures(Mutex<Option<KafkaError>>);

impl ClientContext for Failures {}

impl ProducerContext for Failures {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.clone());
        }
    }
}

impl Writer {
    fn new(config: &rdkafka::ClientConfig, topic: &str) -> anyhow::Result<Self> {
        let producer = config.create_with_context(Failures::default()).context("can't make a Kafka producer")?;
        Ok(Self { producer, topic: topic.to_owned() })
    }

    /// Writes a command. Without a `timestamp`, its record has that of the present.
    fn send(&self, number: u64, record: &Record, timestamp: Option<Timestamp>) -> anyhow::Result<()> {
        let number = number.to_string();
        let headers = OwnedHeaders::new_with_capacity(1).insert(Header { key: CORRELATION_ID, value: Some(&number) });
        let mut record = BaseRecord::to(&self.topic).key(&record.key).payload(&record.value).headers(headers);
        record.timestamp = timestamp;
        loop {
            match self.producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    self.producer.poll(QUEUE_FULL);
                }
                Err((error, _)) => return Err(error).context("a command can't be written"),
            }
        }
        self.producer.poll(Duration::ZERO);
        self.check()
    }

    fn finish(&self) -> anyhow::Result<()> {
        self.producer.flush(FLUSH).context("the commands can't be written")?;
        self.check()
    }

    fn check(&self) -> anyhow::Result<()> {
        match &*self.producer.context().0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error.clone()).context("a command did not get onto its topic"),
            None => Ok(()),
        }
    }
}

/// Returns when the first command of a rate is due: soon, and in the middle of a millisecond, because Kafka's times are whole milliseconds,
/// and so are half a millisecond too early on average. The second value is the same moment by the machine's clock, since 1970.
#[expect(clippy::disallowed_methods, reason = "an edge: the timestamps of the commands are by the machine's clock")]
fn beginning() -> (Instant, Duration) {
    let (now, since_epoch) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    let whole = u64::try_from((since_epoch + LEAD).as_millis()).unwrap_or_default();
    let begins = Duration::from_millis(whole) + Duration::from_micros(500);
    (now + begins.saturating_sub(since_epoch), begins)
}

/// Waits until `due`. Returns false if nobody wants to wait any more.
pub fn wait_until(due: Instant, stopped: &Receiver<()>) -> bool {
    let left = due.saturating_duration_since(Instant::now());
    left.is_zero() || matches!(stopped.recv_timeout(left), Err(RecvTimeoutError::Timeout))
}
