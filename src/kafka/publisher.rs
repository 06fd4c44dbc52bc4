//! A publisher: a thread that owns two transactional producers, uses them in turn, and commits one transaction at a time. No transaction
//! is open while the thread waits for work. rdkafka's transaction calls block, so they are made on this thread. [`super::publishing`]
//! watches them, and replaces a publisher whose call is past its deadline.
//!
//! `flow::attempt` decides which call follows which, and what an error leaves open. This file makes the calls, tells librdkafka's errors
//! apart, and keeps the second invariant of `flow::attempt`: after an abort that left outputs unsettled it replaces the producer.

use super::callbacks::{COMMITTED_TIMEOUT, CommandConsumer, GroupMembership, committed};
use super::calls::{Call, Calls};
use super::failures::failure;
use super::login::Logins;
use super::producers::{TransactionalProducer, create};
use super::refusals::{culprits, largest, refusal, why};
use super::{Output, Outputs};
use crate::fail_points::FailPoint;
use crate::flow;
use crate::flow::attempt::{Failure, Pace, Refusal, Step, Verdict, Why};
use crate::flow::in_turn::InTurn;
use crate::flow::offsets::naming;
use crate::flow::succession::PublisherId;
use crate::telemetry::labels::TransactionStep;
use crate::wire::headers::Headers;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::metadata::MetadataTopic;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, mpsc as std_mpsc};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How long a transaction may take from its beginning to its commit.
const TRANSACTION: Duration = Duration::from_secs(9);
/// The longest that a transaction may take to count as swift: twice as many records would still be well within [`TRANSACTION`].
const SWIFT: Duration = Duration::from_secs(2);
/// How long an abort may take. A coordinator that takes longer is away, and a new producer finds the next one sooner.
const ABORT: Duration = Duration::from_secs(3);
/// How long each of the first two attempts at a registration may take, in which the coordinator ends an old transaction; the third may take
/// twice this time, and so on. The first are short, because the coordinator may be a broker that has just begun to hang: another one takes
/// its place some ten seconds later, and only a new producer learns of that.
const INIT: Duration = Duration::from_secs(5);
/// How long any attempt at a registration may take.
const LONGEST_INIT: Duration = Duration::from_secs(15);
/// How long a producer may take to close. It waits for its own threads only.
const CLOSE: Duration = Duration::from_secs(5);
/// How long a producer is polled after its registration has failed, so that librdkafka tells the reason.
const HEAR: Duration = Duration::from_millis(50);
/// The pause between attempts to get a producer or an answer.
const BACK_OFF: Duration = Duration::from_millis(500);
/// How long outputs may stay undelivered before the publisher asks whether their topics still exist. The question may take as long.
const SLOW: Duration = Duration::from_secs(1);
/// How long one call to abort may take. The next call goes on where this one ended.
const ABORT_STEP: Duration = Duration::from_millis(50);
/// How long one call may wait for the producer's queue to empty, in milliseconds.
const FLUSH_STEP_MS: i32 = 20;

/// A transaction to be committed, with Kafka's outputs and group membership.
pub type Publication<M> = flow::Publication<Outputs<M>, GroupMembership>;

/// An instruction to a publisher.
pub(super) enum Instruction<M> {
    /// Commit this publication in a transaction, and tell the verdict.
    Publish(Arc<Publication<M>>),
    /// Put new producers in the places of those that are outdated. Nothing needs to be published yet.
    Renew,
}

/// A publisher's verdict on its publication.
#[derive(Debug)]
pub struct Told {
    /// The publisher that gives the verdict.
    pub publisher: PublisherId,
    /// What became of the publication.
    pub verdict: Verdict,
    /// How much of its time the last attempt at the publication took.
    pub pace: Pace,
    /// How long each step of that attempt took, in their order. Empty if another publisher made the attempt.
    pub steps: Vec<(TransactionStep, Duration)>,
}

/// Everything that the publishers of a process share.
pub(super) struct SharedByPublishers {
    /// The properties of the two producers.
    pub configs: [ClientConfig; 2],
    /// The consumer, through which the publishers ask about committed offsets and topics.
    pub consumer: Arc<CommandConsumer>,
    /// The command topic.
    pub topic: String,
    /// The channel that takes the verdicts to the processor.
    pub told: mpsc::UnboundedSender<Told>,
    /// The complaints of clients that can't log in.
    pub logins: Arc<Logins>,
    /// How often all producers became outdated: what they know of the cluster, such as who leads a partition, may no longer be so.
    pub outdated: AtomicU64,
}

impl SharedByPublishers {
    /// Makes the producers of a publisher. They send nothing until they are registered.
    pub fn create(&self) -> Result<[TransactionalProducer; 2], KafkaError> {
        let [first, second] = &self.configs;
        Ok([create(first, self.logins.clone())?, create(second, self.logins.clone())?])
    }
}

/// A publisher and everything that its thread owns.
pub(super) struct Publisher<M> {
    id: PublisherId,
    shared: Arc<SharedByPublishers>,
    /// The call that the thread has under way. The processor watches it.
    calls: Arc<Calls>,
    producers: InTurn<TransactionalProducer>,
    /// How often producers had become outdated when each of the two was registered.
    as_of: [u64; 2],
    /// The outputs of the current transaction that the broker does not take.
    refusals: BTreeSet<Refusal>,
    /// Whether the broker has neither acknowledged nor refused some outputs of the current transaction. If so, this producer must not be
    /// used again.
    is_unsettled: bool,
    /// Whether committed offsets name the topic's id. Becomes false if the coordinator does not take that much metadata.
    names_topic: bool,
    instructions: std_mpsc::Receiver<Instruction<M>>,
}

/// The publisher was abandoned, or the processor has ended, so that nobody waits for a verdict any more.
struct Alone;

impl<M> Publisher<M> {
    /// Makes a publisher with producers that are not registered yet.
    pub fn new(
        id: PublisherId,
        shared: Arc<SharedByPublishers>,
        calls: Arc<Calls>,
        producers: [TransactionalProducer; 2],
        instructions: std_mpsc::Receiver<Instruction<M>>,
    ) -> Self {
        let producers = InTurn::new(producers);
        Self {
            id,
            shared,
            calls,
            producers,
            as_of: [0; 2],
            refusals: BTreeSet::new(),
            is_unsettled: false,
            names_topic: true,
            instructions,
        }
    }

    /// Publishes until `instructions` is closed. `left` is the publication that an abandoned publisher had under way; its verdict is
    /// found out first.
    pub fn run(mut self, left: Option<Arc<Publication<M>>>) {
        // An error means that nobody waits for a verdict, so there is nothing left to do.
        let _ = self.go(left);
        let Self { producers, calls, .. } = self;
        for producer in producers.into_inner() {
            calls.during(Call::CloseProducer, Instant::now() + CLOSE, || drop(producer));
        }
    }

    fn go(&mut self, left: Option<Arc<Publication<M>>>) -> Result<(), Alone> {
        // Either id may have a transaction of a predecessor: an abandoned publisher's, or that of the process before this one. Both
        // registrations come before anything else.
        for _ in 0..2 {
            self.initialise()?;
            self.producers.give_turn();
        }
        if let Some(publication) = left {
            let verdict = self.look_up(&publication)?;
            drop(publication);
            self.tell(Told { publisher: self.id, verdict, pace: Pace::Usual, steps: Vec::new() })?;
        }
        while let Ok(instruction) = self.instructions.recv() {
            match instruction {
                Instruction::Publish(publication) => {
                    let told = self.publish(&publication)?;
                    self.producers.give_turn();
                    // When the verdict is told, the processor must hold the only reference. Otherwise it would have to copy the records.
                    drop(publication);
                    self.tell(told)?;
                }
                Instruction::Renew => {
                    for _ in 0..2 {
                        self.renew_if_outdated()?;
                        self.producers.give_turn();
                    }
                }
            }
        }
        Ok(())
    }

    /// Puts a new producer in the place of the one that has its turn, if that is outdated. No transaction is open meanwhile. A new producer
    /// asks who leads and coordinates when it needs to know.
    fn renew_if_outdated(&mut self) -> Result<(), Alone> {
        if self.as_of[self.producers.turn()] == self.shared.outdated.load(Relaxed) {
            return Ok(());
        }
        tracing::info!(
            "the group has given this process up: a producer is made anew, so that it learns which brokers lead and coordinate now"
        );
        self.replace(self.create()?);
        self.initialise()
    }

    fn tell(&self, told: Told) -> Result<(), Alone> {
        self.shared.told.send(told).map_err(|_| Alone)
    }

    /// Makes one attempt at a publication. Returns its verdict, and how long the attempt took.
    fn publish(&mut self, publication: &Publication<M>) -> Result<Told, Alone> {
        let begun = Instant::now();
        let deadline = begun + TRANSACTION;
        let (mut pace, mut steps) = (Pace::Usual, Vec::new());
        let calls = self.calls.clone();
        let mut step = Step::FIRST;
        let verdict = loop {
            // An abandoned publisher makes no further call, even though the brokers would refuse it anyway.
            if calls.is_abandoned() {
                return Err(Alone);
            }
            let since = Instant::now();
            let result = match &step {
                Step::Produce => calls.during(Call::Produce, deadline, || self.produce(publication, deadline)),
                Step::Flush => calls.during(Call::Flush, deadline, || self.flush(publication, deadline)),
                Step::SendOffsets => calls.during(Call::SendOffsets, deadline, || self.send_offsets(publication, deadline)),
                Step::Commit => calls.during(Call::Commit, deadline, || self.commit(deadline)),
                Step::Abort(_) => {
                    let deadline = Instant::now() + ABORT;
                    calls.during(Call::Abort, deadline, || self.abort(deadline))
                }
                Step::StartOver => break self.start_over(publication)?,
                Step::Over(verdict) => break verdict.clone(),
            };
            steps.extend(label(&step).map(|label| (label, since.elapsed())));
            if matches!(step, Step::Abort(_)) && result.is_ok() && self.is_unsettled {
                self.replace(self.create()?);
                self.initialise()?;
            }
            match &result {
                Ok(()) => reach_after(&step),
                Err(_) if matches!(step, Step::Abort(_)) => {}
                Err(_) if Instant::now() >= deadline => {
                    let is_sending = matches!(step, Step::Produce | Step::Flush);
                    pace = Pace::Late(is_sending.then(|| largest(&publication.records)).flatten());
                }
                Err(_) => {}
            }
            if step == Step::Commit && result.is_ok() && begun.elapsed() < SWIFT {
                pace = Pace::Swift;
            }
            step = step.then(result);
        };
        Ok(Told { publisher: self.id, verdict, pace, steps })
    }

    /// Hands all outputs to librdkafka. If librdkafka refuses one at once, because it knows that its topic is missing for example, notes
    /// the refusal and goes on with the others.
    fn produce(&mut self, publication: &Publication<M>, deadline: Instant) -> Result<(), Failure> {
        self.producer().context().take_failures();
        self.refusals.clear();
        self.is_unsettled = false;
        self.producer().begin_transaction().map_err(failed)?;
        FailPoint::Producing.reach();
        let outputs = publication.records.iter().flat_map(|finished| &finished.outputs.outputs);
        for (index, output) in outputs.enumerate() {
            if let Err(error) = self.send(output, index, deadline) {
                let Some(why) = error.rdkafka_error_code().and_then(refused) else { return Err(failed(error)) };
                self.refusals.insert(refusal(&publication.records, index, why));
            }
        }
        Ok(())
    }

    /// Hands an output to librdkafka. `index` is the output's index in the transaction, counted across all records.
    fn send(&self, output: &Output, index: usize, deadline: Instant) -> Result<(), KafkaError> {
        let mut record =
            BaseRecord::<[u8], [u8], usize>::with_opaque_to(&output.topic, index).headers(to_headers(&output.headers));
        record.key = output.key.as_deref();
        record.payload = output.value.as_deref();
        record.partition = output.partition;
        loop {
            match self.producer().send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(Code::QueueFull), back)) if Instant::now() < deadline => {
                    record = back;
                    flush_step(self.producer());
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    /// Waits until all outputs are delivered or refused, or until the topic of some was found to be missing.
    fn flush(&mut self, publication: &Publication<M>, deadline: Instant) -> Result<(), Failure> {
        let mut look = Instant::now() + SLOW;
        loop {
            let now = Instant::now();
            if now >= deadline {
                return Err(failed(KafkaError::Flush(Code::OperationTimedOut)));
            }
            if flush_step(self.producer()) {
                break;
            }
            self.producer().poll(Duration::ZERO);
            if now >= look {
                self.refusals.extend(self.missing(publication));
                if !self.refusals.is_empty() {
                    self.is_unsettled = true;
                    break;
                }
                look = Instant::now() + SLOW;
            }
        }
        let failures = self.producer().context().take_failures();
        self.is_unsettled |= failures.iter().any(|(_, code)| why(*code).is_none());
        let refusals = failures.iter().filter_map(|(index, code)| Some((*index, refused(*code)?)));
        self.refusals.extend(refusals.map(|(index, why)| refusal(&publication.records, index, why)));
        if !self.refusals.is_empty() {
            return Err(Failure::Refused(culprits(&publication.records, &self.refusals)));
        }
        match failures.first() {
            Some((_, code)) => Err(failed(KafkaError::MessageProduction(*code))),
            None => Ok(()),
        }
    }

    /// Returns the outputs to topics that no longer exist. librdkafka still remembers these topics, and would wait for them to come back.
    fn missing(&self, publication: &Publication<M>) -> Vec<Refusal> {
        let outputs = || {
            publication.records.iter().enumerate().flat_map(|(n, r)| r.outputs.outputs.iter().enumerate().map(move |o| (n, o)))
        };
        let topics: BTreeSet<&str> = outputs().map(|(_, (_, output))| &*output.topic).collect();
        let is_missing = |topic: &&str| {
            let ask = || self.shared.consumer.fetch_metadata(Some(topic), SLOW);
            let metadata = self.calls.during(Call::Metadata, Instant::now() + SLOW, ask);
            let is_it =
                |t: &MetadataTopic| t.name() == *topic && t.error().map(Code::from) == Some(Code::UnknownTopicOrPartition);
            metadata.is_ok_and(|m| m.topics().iter().any(is_it))
        };
        let missing: BTreeSet<&str> = topics.into_iter().filter(is_missing).collect();
        let to_missing = outputs().filter(|(_, (_, output))| missing.contains(&*output.topic));
        to_missing.map(|(record, (output, _))| Refusal { record, output, why: Why::Missing }).collect()
    }

    fn send_offsets(&mut self, publication: &Publication<M>, deadline: Instant) -> Result<(), Failure> {
        let offsets = offsets(&self.shared.topic, publication, self.names_topic).map_err(failed)?;
        FailPoint::SendingOffsets.reach();
        let send = |left| self.producer().send_offsets_to_transaction(&offsets, &publication.membership.metadata, left);
        let sent = retrying(deadline, send).map_err(failed);
        if sent == Err(Failure::OffsetsTooLarge) && self.names_topic && is_longest(publication) {
            tracing::warn!(
                "the coordinator takes too little metadata for the topic's id: from now on offsets are committed without the id"
            );
            self.names_topic = false;
            return Err(Failure::Abortable);
        }
        sent
    }

    fn commit(&self, deadline: Instant) -> Result<(), Failure> {
        retrying(deadline, |left| self.producer().commit_transaction(left)).map_err(failed)
    }

    fn abort(&self, deadline: Instant) -> Result<(), Failure> {
        // librdkafka drops the outputs that were not delivered yet, and then waits until their delivery reports are polled. This thread
        // has to poll them.
        let aborted = retrying(deadline, |_| {
            self.producer().poll(Duration::ZERO);
            self.producer().abort_transaction(ABORT_STEP)
        });
        self.producer().poll(Duration::ZERO);
        aborted.map_err(failed)
    }

    /// Makes a new producer, whose registration ends the transaction that the old producer left open, and looks up whether that
    /// transaction was committed.
    fn start_over(&mut self, publication: &Publication<M>) -> Result<Verdict, Alone> {
        tracing::warn!(
            "it is unknown whether a Kafka transaction was committed: a new producer takes over, and the committed offsets will tell"
        );
        self.replace(self.create()?);
        self.initialise()?;
        self.look_up(publication)
    }

    /// Asks for the committed offsets until there is an answer, however long that takes.
    fn look_up(&self, publication: &Publication<M>) -> Result<Verdict, Alone> {
        let SharedByPublishers { consumer, topic, .. } = &*self.shared;
        loop {
            let partitions = publication.offsets.iter().map(|o| o.partition);
            let ask = || committed(consumer, topic, partitions);
            match self.calls.during(Call::CommittedOffsets, Instant::now() + COMMITTED_TIMEOUT, ask) {
                Ok(committed) => {
                    // The offset of an earlier topic of the same name says nothing about these records.
                    let id = publication.membership.topic_id.as_deref();
                    let ours = committed.into_iter().map(|(partition, committed)| (partition, committed.of_topic(id)));
                    return Ok(Verdict::Uncertain(ours.collect()));
                }
                Err(error) => self.rest(&error, "can't learn the committed offsets, trying again")?,
            }
        }
    }

    fn producer(&self) -> &TransactionalProducer {
        self.producers.present()
    }

    /// Makes a producer with the present one's transactional id. Tries until that succeeds, however long it takes.
    fn create(&self) -> Result<TransactionalProducer, Alone> {
        loop {
            match create(&self.shared.configs[self.producers.turn()], self.shared.logins.clone()) {
                Ok(producer) => return Ok(producer),
                Err(error) => self.rest(&error, "no transactional producer can be made, trying again")?,
            }
        }
    }

    fn replace(&mut self, producer: TransactionalProducer) {
        let old = self.producers.replace(producer);
        self.calls.during(Call::CloseProducer, Instant::now() + CLOSE, || drop(old));
    }

    /// Registers the producer with the transaction coordinator. Tries until that succeeds, however long it takes.
    fn initialise(&mut self) -> Result<(), Alone> {
        let mut attempts = 0;
        loop {
            // An abandoned publisher must not fence its successor.
            if self.calls.is_abandoned() {
                return Err(Alone);
            }
            let patience = LONGEST_INIT.min(INIT * attempts.max(1));
            let register = || {
                FailPoint::Registering.reach();
                self.producer().init_transactions(patience)
            };
            let begun = Instant::now();
            let Err(error) = self.calls.during(Call::InitTransactions, begun + patience, register) else {
                self.as_of[self.producers.turn()] = self.shared.outdated.load(Relaxed);
                return Ok(());
            };
            let is_late = begun.elapsed() >= patience;
            attempts += 1;
            // Only a poll makes librdkafka report the reason, for example that it can't log in. The poll can bring no delivery reports,
            // because nothing was sent.
            self.calls.during(Call::InitTransactions, Instant::now() + HEAR, || self.producer().poll(HEAR));
            self.rest(&error, "the transaction coordinator does not answer or refuses us, trying again")?;
            // A producer can't be used any more after a fatal error. One that has had no answer for so long may have forgotten all brokers;
            // another one begins with `bootstrap.servers`.
            if is_late || matches!(&error, KafkaError::Transaction(e) if !e.is_retriable()) {
                self.replace(self.create()?);
            }
        }
    }

    /// Logs an error and pauses before the next attempt.
    #[expect(clippy::disallowed_methods, reason = "short, and the processor's end is looked for after it")]
    fn rest(&self, error: &KafkaError, what: &str) -> Result<(), Alone> {
        tracing::warn!(%error, "{what}");
        std::thread::sleep(BACK_OFF);
        if self.shared.told.is_closed() || self.calls.is_abandoned() { Err(Alone) } else { Ok(()) }
    }
}

/// Returns the label of a step's time. Returns `None` if the step is no call of a transaction.
fn label(step: &Step) -> Option<TransactionStep> {
    match step {
        Step::Produce => Some(TransactionStep::Produce),
        Step::Flush => Some(TransactionStep::Flush),
        Step::SendOffsets => Some(TransactionStep::SendOffsets),
        Step::Commit => Some(TransactionStep::Commit),
        Step::Abort(_) => Some(TransactionStep::Abort),
        Step::StartOver | Step::Over(_) => None,
    }
}

/// Reaches the fail point after a step, at which test builds can be told to die.
fn reach_after(step: &Step) {
    match step {
        Step::Flush => FailPoint::OutputsSent.reach(),
        Step::SendOffsets => FailPoint::OffsetsSent.reach(),
        Step::Commit => FailPoint::Committed.reach(),
        Step::Produce | Step::Abort(_) | Step::StartOver | Step::Over(_) => {}
    }
}

/// Logs an error of a transaction call, and returns what the error leaves open.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(error: KafkaError) -> Failure {
    tracing::warn!(%error, "a Kafka transaction failed");
    failure(&error)
}

/// Returns why the broker refuses an output; `None` if the error is no refusal. Logs the error's code if several codes mean the same
/// reason.
fn refused(code: Code) -> Option<Why> {
    let why = why(code);
    if why == Some(Why::Invalid) {
        tracing::warn!(%code, "the broker refuses an output");
    }
    why
}

/// Repeats `operation` until `deadline`, for as long as librdkafka says that its error is retriable. `operation` gets the time that is
/// left.
fn retrying(deadline: Instant, operation: impl Fn(Duration) -> Result<(), KafkaError>) -> Result<(), KafkaError> {
    loop {
        match operation(deadline.saturating_duration_since(Instant::now())) {
            Err(KafkaError::Transaction(e)) if e.is_retriable() && Instant::now() < deadline => (),
            result => return result,
        }
    }
}

/// Waits for a producer's queue to empty, for 20 ms at most. Returns whether it is empty.
///
/// rdkafka's own `flush` polls its event queue in steps of 100 ms, and successful deliveries don't wake that queue.
#[allow(unsafe_code, reason = "rdkafka offers no other way to wait for librdkafka's queue")]
pub fn flush_step<C: ProducerContext>(producer: &BaseProducer<C>) -> bool {
    use rdkafka::bindings::{rd_kafka_flush, rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR};
    // SAFETY: the pointer is the live producer's; rd_kafka_flush may be called from any thread.
    unsafe { rd_kafka_flush(producer.client().native_ptr(), FLUSH_STEP_MS) == RD_KAFKA_RESP_ERR_NO_ERROR }
}

/// Returns whether the topic's id is the longest metadata of the publication's offsets. Returns `false` if no offset carries the id.
fn is_longest<M>(publication: &Publication<M>) -> bool {
    let longest = publication.offsets.iter().map(|commit| commit.metadata.len()).max();
    let names = publication.membership.topic_id.as_deref().filter(|_| publication.offsets.iter().any(|c| c.metadata.is_empty()));
    names.is_some_and(|id| longest.is_some_and(|longest| longest <= naming(id).len()))
}

/// Returns the offsets to commit. With `names_topic`, the offsets that have no bitmap carry the topic's id.
fn offsets<M>(topic: &str, publication: &Publication<M>, names_topic: bool) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(publication.offsets.len());
    // A bitmap is not combined with the topic's id, because earlier releases could not read the combination.
    let naming = publication.membership.topic_id.as_deref().filter(|_| names_topic).map(naming).unwrap_or_default();
    for commit in &publication.offsets {
        let mut partition = list.add_partition(topic, commit.partition);
        partition.set_offset(Offset::Offset(commit.offset))?;
        partition.set_metadata(if commit.metadata.is_empty() { naming.as_str() } else { commit.metadata.as_str() });
    }
    Ok(list)
}

/// Converts headers to those of rdkafka.
pub fn to_headers(headers: &Headers) -> OwnedHeaders {
    headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), |owned, (key, value)| {
        owned.insert(Header { key, value: value.as_deref() })
    })
}
