//! The shell around `flow::stream`: threads and tasks, channels, metrics and logs. The processor tells the stream what happens, and does
//! what the stream asks for: records are decoded (`job`), decided in their lanes by the claim protocol (`lane`), turned into outputs
//! (`answer`), and published. The stream alone decides when any of that happens.
//!
//! One task owns all state, so there are no locks; lanes run as tasks of their own. No queue grows without a bound, and no record is
//! forgotten: it is answered, or it is delivered again to whoever has the partition then.

mod answer;
mod command_topic;
mod entity_keys;
mod fault;
mod job;
mod lag;
mod lane;
mod listed;
mod progress;
mod refused;
mod shapes;
mod stages;
mod step_over;
mod unfetched;
mod watch;

pub use fault::RunFault;

use crate::config::{Config, UndecodableBatches};
use crate::domain::Timestamp;
use crate::fail_points::FailPoint;
use crate::flow::AssignmentId;
use crate::flow::attempt::Verdict;
use crate::flow::lanes::RunId;
use crate::flow::stream::{Action, Conclusion, Current, Stopping, Stream, Timing};
use crate::flow::{Assignment, Fetching, Limits, Partition, RecordId, Uptime};
use crate::kafka::callbacks::{GroupMembership, Notice};
use crate::kafka::calls::SLACK;
use crate::kafka::consumer::{self, Consuming, Order};
use crate::kafka::login::{KafkaClient, Logins};
use crate::kafka::partition_counts::PartitionCounts;
use crate::kafka::publisher::Told;
use crate::kafka::publishing::{self, Published, Publishing};
use crate::kafka::{self, Outputs};
use crate::store::ConditionalStore;
use crate::store::claims::{Claims, MAX_RUN};
use crate::store::read_ahead::{Bounds, ReadAhead};
use crate::telemetry::concerns::Concern;
use crate::telemetry::gathered::Gathered;
use crate::telemetry::health::Health;
use crate::telemetry::labels::{Rebalance, TransactionResult};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::series::gauge;
use crate::wire::answer::Encoder;
use crate::wire::registry::RegistryClient;
use crate::wire::schema_id::SchemaId;
use answer::{Answering, Memo, TopicNames};
use command_topic::{CommandTopicState, Seen};
use entity_keys::EntityKeys;
use job::{AnswerJob, JobReader};
use lag::Lag;
use lane::{AFTER_BUG, RunEvent};
use refused::HeldRecords;
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, mpsc as std_mpsc};
use std::time::Duration;
use step_over::{Suspects, TakenIn};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch as watch_channel};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use unfetched::Unfetched;
use watch::Watch;

/// How often the processor looks after what may hang, and brings the metrics up to date.
const TICK: Duration = Duration::from_millis(250);

/// Everything that the processor works with.
pub struct Setup<S> {
    /// The configuration.
    pub config: Arc<Config>,
    /// The claim protocol, which decides commands.
    pub claims: Arc<Claims<S>>,
    /// The schema registry, which knows the writers' schemas.
    pub registry: Arc<RegistryClient>,
    /// The encoder of replies and business transactions.
    pub encoder: Encoder,
    /// The process's metrics.
    pub metrics: Arc<Metrics>,
    /// The state of the process, which the probes report.
    pub health: Arc<Health>,
    /// The clock: it returns the time in milliseconds since 1970.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

/// Processes commands until `shutdown` completes. Then finishes what is being processed, within the configured grace period, commits it,
/// and leaves the group.
///
/// # Errors
/// Returns a fault if the Kafka clients can't be made, if their calls don't return and that can't be worked around, or if the command
/// topic was replaced. Whatever else goes wrong is waited for.
pub async fn run<S: ConditionalStore>(setup: Setup<S>, shutdown: impl Future<Output = ()>) -> Result<(), RunFault> {
    let kafka = &setup.config.kafka;
    let commands = kafka.topics.commands.clone();
    let logins = Arc::<Logins>::default();
    let consuming = consumer::start(kafka::consumer_config(kafka), &commands, Handle::current(), logins.clone())?;
    let configs = kafka::producer_configs(kafka);
    let (publishing, told) = publishing::start(configs, consuming.consumer.clone(), &commands, logins.clone())?;
    let shared = Arc::new(lane::SharedByLanes {
        answering: Answering {
            topics: TopicNames::new(kafka),
            partition_counts: Arc::new(PartitionCounts::new(consuming.consumer.clone())),
            encoder: setup.encoder,
            entity_keys: EntityKeys::new(),
            metrics: setup.metrics.clone(),
            clock: setup.clock,
        },
        claims: setup.claims,
        faults: Gathered::default(),
    });
    let mut looking = JoinSet::new();
    looking.spawn(shapes::keep_looking(
        kafka,
        shared.answering.partition_counts.clone(),
        setup.metrics.clone(),
        setup.health.clone(),
    ));
    let (seen, command_topic) = watch_channel::channel(CommandTopicState::default());
    looking.spawn(command_topic::keep_looking(consuming.consumer.clone(), commands.clone(), seen));
    let (run_event_sender, run_events) = run_channel();
    let (fetched, schemas) = schema_channel();
    let limits = Limits {
        max_in_flight: kafka.max_in_flight,
        max_queued: kafka.max_queued,
        // With less, a lane that is too long could never become short.
        max_lane: Limits::default().max_lane.min(kafka.max_queued / 2).max(2),
        max_run: MAX_RUN,
        max_transaction_records: kafka.transaction_cap,
        ..Limits::default()
    };
    setup.metrics.commands_in_flight_limit.set(gauge(limits.max_in_flight));
    setup.metrics.records_open_limit.set(gauge(limits.max_queued));
    let Consuming { notices, batches, orders, calls, thread: consumer_thread, .. } = consuming;
    let processor = Processor {
        limits,
        ahead: ReadAhead::new(shared.claims.clone(), Bounds::new(limits.max_in_flight, limits.max_queued)),
        shared,
        lag: Lag::new(&commands, setup.metrics.clone(), setup.health.clone()),
        command_topic,
        commands,
        step_over: kafka.undecodable_batches == UndecodableBatches::DeadLetter,
        watch: Watch::new(calls, setup.config.store.request_timeout, setup.metrics.clone(), setup.health.clone()),
        metrics: setup.metrics,
        health: setup.health,
        registry: setup.registry.clone(),
        fetched,
        logins,
        brokers: 0,
        began: Instant::now(),
        looked: Instant::now(),
        stream: Stream::new(limits, Timing::new(kafka.shutdown_grace), JobReader::new(&setup.config, setup.registry)),
        revoked: None,
        unfetched: Unfetched::default(),
        suspects: Suspects::default(),
        batches: 0,
        looking,
        held: HeldRecords::default(),
        orders,
        publishing,
        runs: HashMap::new(),
        run_events: run_event_sender,
    };
    processor.run(Channels { notices, batches, told, run_events, schemas }, shutdown, consumer_thread).await
}

#[expect(clippy::disallowed_methods, reason = "bounded by the commands in flight; a lane's last act must not wait")]
fn run_channel() -> (mpsc::UnboundedSender<RunEvent>, mpsc::UnboundedReceiver<RunEvent>) {
    mpsc::unbounded_channel()
}

#[expect(clippy::disallowed_methods, reason = "one message for each schema id that is being asked for")]
fn schema_channel() -> (mpsc::UnboundedSender<SchemaId>, mpsc::UnboundedReceiver<SchemaId>) {
    mpsc::unbounded_channel()
}

struct Channels {
    notices: mpsc::UnboundedReceiver<Notice>,
    batches: mpsc::Receiver<consumer::Batch>,
    told: mpsc::UnboundedReceiver<Told>,
    run_events: mpsc::UnboundedReceiver<RunEvent>,
    /// The schemas that the registry has answered about.
    schemas: mpsc::UnboundedReceiver<SchemaId>,
}

struct Processor<S> {
    limits: Limits,
    shared: Arc<lane::SharedByLanes<S>>,
    ahead: ReadAhead<S>,
    metrics: Arc<Metrics>,
    lag: Lag,
    health: Arc<Health>,
    registry: Arc<RegistryClient>,
    /// Tells the main loop, by [`Channels::schemas`], which schemas the registry has answered about.
    fetched: mpsc::UnboundedSender<SchemaId>,
    logins: Arc<Logins>,
    /// How many brokers the consumer is connected to.
    brokers: usize,
    /// The moment from which the stream's times count.
    began: Instant,
    /// When the processor last looked after what may hang.
    looked: Instant,
    stream: Stream<JobReader, Outputs<Memo>, GroupMembership>,
    /// Lets the consumer go on, if it waits in a revocation.
    revoked: Option<std_mpsc::SyncSender<()>>,
    unfetched: Unfetched,
    /// The records that may be undecodable.
    suspects: Suspects,
    /// How many batches were taken in.
    batches: usize,
    /// The tasks that look at topics. They never end by themselves.
    looking: JoinSet<()>,
    held: HeldRecords,
    orders: std_mpsc::Sender<Order>,
    publishing: Publishing<Memo>,
    /// The command topic's name.
    commands: String,
    command_topic: watch_channel::Receiver<CommandTopicState>,
    /// Whether a stub takes the place of a record that can't be decoded.
    step_over: bool,
    watch: Watch,
    /// The tasks of the runs under way.
    runs: HashMap<(AssignmentId, RunId), AbortHandle>,
    run_events: mpsc::UnboundedSender<RunEvent>,
}

impl<S: ConditionalStore> Processor<S> {
    async fn run(
        mut self,
        mut channels: Channels,
        shutdown: impl Future<Output = ()>,
        consumer_thread: std::thread::JoinHandle<()>,
    ) -> Result<(), RunFault> {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut left = std::pin::pin!(wait_for(consumer_thread));
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut events = Vec::new();
        loop {
            let room = self.stream.has_room();
            let timeout = self.stream.poll_timeout().map(|uptime| self.began + uptime);
            tokio::select! {
                biased;
                Some(notice) = channels.notices.recv() => {
                    let taken = TakenIn { batches: self.batches, all: room && channels.batches.is_empty() };
                    self.noticed(notice, taken);
                }
                Some(told) = channels.told.recv() => self.told(told),
                _ = channels.run_events.recv_many(&mut events, self.limits.max_in_flight) => {
                    events.drain(..).for_each(|event| self.run_reported(event));
                }
                Some(schema) = channels.schemas.recv() => self.stream.handle_fetched(&schema),
                Some(batch) = channels.batches.recv(), if room => self.arrived(batch),
                _ = ticks.tick() => self.ticked()?,
                () = sleep_until(timeout.unwrap_or(self.began)), if timeout.is_some() => (),
                () = &mut shutdown, if self.stream.stopping() == Stopping::No => self.shut_down(),
                () = &mut left => {
                    let has_left = self.stream.stopping() == Stopping::Leaving;
                    return if has_left { Ok(()) } else { Err(RunFault::PartEnded { part: "the consuming thread" }) };
                }
            }
            self.proceed();
        }
    }

    /// Returns the present moment, as the stream counts it.
    fn now(&self) -> Uptime {
        self.began.elapsed()
    }

    /// Takes what the consumer says. `taken` is what is taken in of what it has handed on.
    fn noticed(&mut self, notice: Notice, taken: TakenIn) {
        match notice {
            Notice::Assigned { assignment, partitions, unread, membership } => {
                let numbers: Vec<Partition> = partitions.iter().map(|(p, _)| *p).collect();
                tracing::info!(partitions = ?numbers, "partitions assigned");
                self.metrics.rebalances.of(Rebalance::Assigned).inc();
                self.metrics.partitions_assigned.set(gauge(partitions.len()));
                self.metrics.partitions_unread.set(gauge(unread.len()));
                self.health.set_group_joined(true);
                let text = format!(
                    "partitions {unread:?} of {} wait for this process to be upgraded: a newer release has committed their offsets",
                    self.commands
                );
                self.health.tell(Concern::NewerOffsets, Some(text).filter(|_| !unread.is_empty()));
                self.stream.handle_assigned(assignment, membership, &partitions);
            }
            Notice::Revoked { lost, done } => {
                tracing::info!(lost, "partitions revoked");
                self.metrics.rebalances.of(if lost { Rebalance::Lost } else { Rebalance::Revoked }).inc();
                self.health.set_group_joined(false);
                self.health.tell(Concern::NewerOffsets, None);
                self.metrics.partitions_unread.set(0);
                self.registry.lacking().clear();
                if lost {
                    self.publishing.renew();
                }
                self.stream.handle_revoked(lost, self.now());
                self.revoked = Some(done);
            }
            Notice::Undecodable(stopped) => self.undecodable(&stopped, taken),
            Notice::Statistics { ends, to_fetch, brokers, denied } => {
                self.lag.ends(&ends);
                self.unfetched.next(&to_fetch, Instant::now().into_std());
                self.connected(brokers, denied);
            }
        }
    }

    /// Takes note of how many brokers the consumer is connected to, and of whether they do not let it read.
    fn connected(&mut self, brokers: usize, denied: bool) {
        let before = std::mem::replace(&mut self.brokers, brokers);
        self.metrics.kafka_brokers_connected.set(gauge(brokers));
        if before == 0 && brokers > 0 {
            self.logins.let_in(KafkaClient::Consumer);
        }
        let trouble = self.logins.trouble(brokers > 0, Instant::now().into_std());
        let denied = denied.then(|| format!("kafka.consumer may not read {}: grant its user Read on that topic", self.commands));
        let (logged_out, trouble) = if brokers == 0 {
            (trouble, None)
        } else {
            let both: Vec<_> = denied.into_iter().chain(trouble).collect();
            (None, (!both.is_empty()).then(|| both.join("; ")))
        };
        self.health.tell(Concern::LoggedOut, logged_out);
        self.health.tell(Concern::LoginTrouble, trouble);
    }

    /// Takes note of the partitions that stand still because their next records can't be decoded.
    ///
    /// A record is stepped over only if all records before it are taken in, because none is taken in after a later one.
    fn undecodable(&mut self, stopped: &[RecordId], taken: TakenIn) {
        self.metrics.partitions_undecodable.set(gauge(stopped.len()));
        let records: Vec<_> =
            stopped.iter().map(|at| format!("{}/{} at offset {}", self.commands, at.partition, at.offset)).collect();
        let what_now = if self.step_over {
            "a stub goes to the dead letter topic for each"
        } else {
            "their partitions wait (kafka.undecodable_batches = \"dead_letter\" has them stepped over; see the runbook)"
        };
        let text =
            format!("the records at {} can't be read (their compression or checksum is broken): {what_now}", records.join(", "));
        self.health.tell(Concern::Undecodable, Some(text).filter(|_| !stopped.is_empty()));
        let suspected = if self.step_over { stopped } else { &[] };
        for at in self.suspects.due(suspected, taken, Instant::now().into_std()) {
            if self.stream.handle_undecodable(at, AnswerJob::undecodable(at)) {
                let _ = self.orders.send(Order::StepOver(at));
            }
        }
    }

    fn arrived(&mut self, batch: consumer::Batch) {
        self.batches += 1;
        let now = (self.shared.answering.clock)();
        let records = batch.records.into_iter().map(|mut record| {
            record.timestamp = self.lag.taken(record.at, record.timestamp, now);
            record
        });
        self.stream.handle_records(batch.assignment, records);
    }

    fn run_reported(&mut self, event: RunEvent) {
        match event {
            RunEvent::Decided { assignment, run } => self.stream.handle_run_decided(assignment, run),
            RunEvent::Finished { assignment, run, results } => {
                self.runs.remove(&(assignment, run));
                self.stream.handle_run_finished(assignment, run, results);
            }
        }
    }

    fn told(&mut self, told: Told) {
        let Some(published) = self.publishing.ended(told) else { return };
        let Published { assignment, mut records, verdict, pace, since, took, steps } = published;
        let now = (self.shared.answering.clock)();
        for spans in records.iter_mut().filter_map(|r| r.outputs.memo.spans.as_mut()) {
            spans.published(result_of(&verdict).text(), verdict == Verdict::Committed);
        }
        self.metrics.kafka_transaction_ended(result_of(&verdict), records.len(), took, steps);
        if let Verdict::Uncertain(_) = verdict {
            self.metrics.producer_recreations.inc();
        }
        let Conclusion { done, refused } = self.stream.handle_published(assignment, records, verdict, pace);
        for output in &refused {
            output.tell(&self.commands, &self.metrics);
            self.held.add(output);
        }
        self.held.committed(&done);
        self.watch.published(!done.is_empty(), Instant::now());
        self.shared.count(&done, now, since, took);
    }

    /// Aborts all runs and clears the gauges, because the partitions were given up: their next owner processes the records again.
    fn abort_runs(&mut self) {
        self.registry.lacking().clear();
        self.ahead.clear();
        self.runs.drain().for_each(|(_, run)| run.abort());
        let metrics = &self.metrics;
        let (partitions, paused) = (&metrics.partitions_assigned, &metrics.partitions_paused);
        let (in_flight, queued) = (&metrics.commands_in_flight, &metrics.commands_queued);
        for gauge in [partitions, paused, in_flight, queued, &metrics.records_open, &metrics.lanes] {
            gauge.set(0);
        }
        self.tell_held(0);
        self.lag.forget();
        self.unfetched.forget();
    }

    fn ticked(&mut self) -> Result<(), RunFault> {
        FailPoint::ComingRound.reach();
        self.health.beat();
        self.shared.claims.measure_cache();
        if self.looking.try_join_next().is_some() {
            return Err(RunFault::PartEnded { part: "a task that looks at topics" });
        }
        self.look_after()?;
        self.look_at_topic()?;
        if let Some(Current { assignment, .. }) = self.stream.current() {
            self.metrics.commands_in_flight.set(gauge(assignment.running()));
            self.metrics.commands_queued.set(gauge(assignment.open() - assignment.running() + self.stream.waiting()));
            self.metrics.records_open.set(gauge(assignment.open() + self.stream.waiting()));
            self.metrics.lanes.set(gauge(assignment.lanes()));
            self.metrics.partitions_paused.set(gauge(assignment.paused()));
            for (partition, _, end) in self.unfetched.waiting().into_iter().flat_map(|w| w.partitions) {
                self.lag.unfetched(partition, end);
            }
            self.lag.tell(assignment.lows(), (self.shared.answering.clock)());
            let held = assignment.held();
            self.tell_held(held);
        }
        Ok(())
    }

    /// Looks whether the command topic is still the one that it was.
    fn look_at_topic(&mut self) -> Result<(), RunFault> {
        let replaced = |how: String| Err(RunFault::TopicReplaced { topic: self.commands.clone(), how });
        if let Some(RecordId { partition, offset }) = self.stream.backwards() {
            return replaced(format!("partition {partition} begins anew at offset {offset}"));
        }
        // An answer from before the assignment says nothing of the topic that the assignment is for, so only new answers count.
        if !self.command_topic.has_changed().unwrap_or_default() {
            return Ok(());
        }
        let CommandTopicState { topic: seen, ends } = self.command_topic.borrow_and_update().clone();
        self.lag.asked(&ends);
        self.unfetched.ends(&ends, Instant::now().into_std());
        let before = self.stream.current().and_then(|current| current.membership.topic_id.as_deref());
        match (&seen, before) {
            (Seen::There(now), Some(before)) if now != before => return replaced(format!("its id was {before} and is {now}")),
            _ => {}
        }
        let text = format!("the command topic {} does not exist; `crm-processor setup` makes it", self.commands);
        self.health.tell(Concern::TopicMissing, Some(text).filter(|_| seen == Seen::Missing));
        Ok(())
    }

    /// Looks at whatever may hang.
    fn look_after(&mut self) -> Result<(), RunFault> {
        let now = Instant::now();
        let lost = (now - std::mem::replace(&mut self.looked, now)).saturating_sub(TICK);
        // A look that is later than a call may be means that something kept the whole process from running.
        if lost >= SLACK {
            self.publishing.excuse(lost, now.into_std());
            self.watch.excuse(lost, now);
        }
        let assignment = self.stream.current().map(|current| &current.assignment);
        let at = watch::Activity {
            waiting: assignment.map_or(0, |assignment| assignment.open() - assignment.held()) + self.stream.waiting(),
            without_schema: self.stream.is_fetching(),
            short_span: assignment.and_then(Assignment::short_span),
            oldest_run: assignment.and_then(Assignment::oldest_run).map(|uptime| self.began + uptime),
            unfetched: self.unfetched.waiting(),
        };
        self.watch.publisher(self.publishing.watch(now.into_std())?);
        self.watch.look(&at, &self.publishing, now)
    }

    fn tell_held(&mut self, held: usize) {
        if held == 0 {
            self.held.forget();
        }
        self.health.tell(Concern::RecordsHeld, self.held.concern(held));
        self.metrics.records_held.set(gauge(held));
        let age = self.held.oldest().map_or(0, |at| u64::try_from((self.shared.answering.clock)() - at).unwrap_or(0));
        self.metrics.oldest_held.set(Duration::from_millis(age).as_secs_f64());
    }

    fn shut_down(&mut self) {
        tracing::info!("stopping: finishing what is being processed");
        self.health.set_draining();
        self.stream.handle_shutdown(self.now());
    }

    /// Does whatever has become possible.
    fn proceed(&mut self) {
        let now = self.now();
        while let Some(action) = self.stream.poll(now) {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action<JobReader, Outputs<Memo>, GroupMembership>) {
        match action {
            Action::Process(assignment, run) => {
                let id = run.id;
                let running = lane::spawn(self.shared.clone(), run, assignment, self.run_events.clone());
                self.runs.insert((assignment, id), running);
            }
            Action::ReadAhead(submissions) => self.ahead.take(submissions),
            Action::Publish(mut publication) => {
                for spans in publication.records.iter_mut().filter_map(|r| r.outputs.memo.spans.as_mut()) {
                    spans.publishing();
                }
                self.publishing.publish(publication);
            }
            Action::Pause(partitions) => {
                for (partition, fetching) in partitions {
                    let _ = self.orders.send(match fetching {
                        Fetching::Paused => Order::Pause(partition),
                        Fetching::Resumed => Order::Resume(partition),
                    });
                }
            }
            Action::Fetch(schema) => {
                let (registry, fetched, metrics) = (self.registry.clone(), self.fetched.clone(), self.metrics.clone());
                tokio::spawn(async move {
                    let searching = tokio::spawn(async move { registry.search(schema, &metrics).await });
                    if searching.await.is_err() {
                        // The search panicked. After this pause the record that waits asks for its schema again.
                        tokio::time::sleep(AFTER_BUG).await;
                    }
                    let _ = fetched.send(schema);
                });
            }
            Action::AbortRuns => self.abort_runs(),
            Action::Drained { in_time } => {
                if !in_time {
                    tracing::warn!("some records could not be finished in time; they will be delivered again");
                }
                if let Some(revoked) = self.revoked.take() {
                    let _ = revoked.send(());
                }
            }
            Action::Leave => drop(self.orders.send(Order::Stop)),
        }
    }
}

/// Waits until a thread has ended. A panic of it has been logged.
async fn wait_for(thread: std::thread::JoinHandle<()>) {
    let _ = tokio::task::spawn_blocking(move || thread.join()).await;
}

fn result_of(verdict: &Verdict) -> TransactionResult {
    match verdict {
        Verdict::Committed => TransactionResult::Committed,
        Verdict::Refused(_) | Verdict::Aborted | Verdict::Stale | Verdict::OffsetsTooLarge => TransactionResult::Aborted,
        Verdict::Uncertain(_) => TransactionResult::Unknown,
    }
}
