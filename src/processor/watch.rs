//! Watches whatever may hang: the consuming thread, the publisher, the lanes. Tells operators of a stall and its reason, and tells the
//! orchestrator of a stall that only a restart ends. It decides nothing about records.

use super::answer::Memo;
use super::fault::RunFault;
use super::progress::Progress;
use super::unfetched::UnfetchedPartitions;
use crate::kafka::calls::{Call, Calls, UnderWay};
use crate::kafka::publishing::{Publishing, Watched};
use crate::telemetry::concerns::Concern;
use crate::telemetry::health::{Health, STUCK_AFTER};
use crate::telemetry::labels::Waits;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::series::gauge;
use crate::telemetry::wording::counted;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long nothing may be answered before operators are told: longer than a usual rebalance or restart of a broker takes, and short
/// enough to be known within ten seconds.
const TELL_AFTER: Duration = Duration::from_secs(8);

/// The state of everything that is watched.
pub struct Watch {
    consumer: Arc<Calls>,
    progress: Progress,
    /// How long a stall must go unexplained until it counts as one that only a restart ends: longer than an attempt at anything may take.
    stuck_after: Duration,
    /// How many faults of the store, and bugs, were counted when the watch looked last.
    faults: u64,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
}

/// The work that the processor has.
pub struct Activity {
    /// How many records are to be answered, without those whose answers brokers refuse.
    pub waiting: usize,
    /// Whether a schema is being fetched from the registry, without which a record can't be read.
    pub without_schema: bool,
    /// Within how many offsets of the lowest incomplete record others may be committed, if the coordinator takes less metadata than usual;
    /// `None` if it takes as much as usual.
    pub short_span: Option<usize>,
    /// When the oldest run under way began; `None` if there are none.
    pub oldest_run: Option<Instant>,
    /// The partitions with records that the client does not fetch; `None` if there are none.
    pub unfetched: Option<UnfetchedPartitions>,
}

impl Watch {
    /// Creates a watch. `consumer` are the calls of the consuming thread, `attempt_timeout` is how long an attempt at the store may take.
    pub fn new(consumer: Arc<Calls>, attempt_timeout: Duration, metrics: Arc<Metrics>, health: Arc<Health>) -> Self {
        let stuck_after = STUCK_AFTER + attempt_timeout;
        Self { consumer, progress: Progress::default(), stuck_after, faults: 0, metrics, health }
    }

    /// Takes note that a publisher has a verdict, and whether records were answered with it.
    pub fn published(&mut self, answered: bool, now: Instant) {
        let now = now.into_std();
        // Whatever became of the transaction, the publisher does not hang.
        self.progress.explained(now);
        if answered {
            self.progress.answered(now);
        }
    }

    /// Takes note that the process did not run for the time that it `lost`: nothing counts as late because of that.
    pub fn excuse(&mut self, lost: Duration, now: Instant) {
        tracing::warn!(
            seconds = lost.as_secs(),
            "the processor did not come round for some time, most likely because the process or its machine was frozen: the group may have \
             given its partitions to others, and nothing is lost"
        );
        self.consumer.excuse(lost, now.into_std());
        self.progress.explained(now.into_std());
    }

    /// Takes note of what a look at the publisher led to.
    pub fn publisher(&mut self, watched: Watched) {
        let Watched::Abandoned(overdue) = watched else { return };
        self.metrics.publishers_abandoned.inc();
        if let Some(UnderWay { call, since, .. }) = overdue {
            tracing::error!(
                call = call.text(),
                seconds = since.elapsed().as_secs(),
                "a call into the Kafka client does not return; its producer is abandoned, and another takes over: nothing is lost"
            );
        } else {
            self.metrics.panics.inc();
            tracing::error!("the publisher ended because of a bug; another takes over: nothing is lost");
        }
    }

    /// Tells what hangs, if anything does.
    ///
    /// # Errors
    /// Returns a fault if the consuming thread hangs for good.
    pub fn look(&mut self, work: &Activity, publishing: &Publishing<Memo>, now: Instant) -> Result<(), RunFault> {
        self.look_at_consumer(now)?;
        let publisher = publishing.call();
        let open = publishing.open_since().map(Instant::from_std);
        self.tell_ages(work, publisher, open, now);
        self.metrics.offset_metadata_short.set(work.short_span.is_some().into());
        let short = work.short_span.map(|span| {
            format!(
                "the group's coordinator takes little metadata with an offset (offset.metadata.max.bytes): records are committed only \
                 within {span} offsets of the lowest incomplete one, and a partition that gets too far ahead of it pauses"
            )
        });
        self.health.tell(Concern::OffsetMetadataShort, short);
        self.metrics.publishers_stuck.set(gauge(publishing.abandoned()));

        self.progress.working(work.waiting > 0, now.into_std());
        let faults = self.metrics.store_faults.iter().map(|(_, count)| count.get()).sum::<u64>() + self.metrics.panics.get();
        let tried = std::mem::replace(&mut self.faults, faults) != faults;
        // The brokers are asked again and again for as long as they are away.
        let kafka_away = publisher.is_some_and(|c| matches!(c.call, Call::InitTransactions | Call::CommittedOffsets));
        if tried || kafka_away || work.without_schema || work.short_span.is_some() || !self.health.store().is_up() {
            self.progress.explained(now.into_std());
        }
        let stalled = self.progress.stalled(now.into_std());
        self.metrics.stalled.set(stalled.as_secs_f64());
        let unfetched = work.unfetched.as_ref();
        let is_unfetched = unfetched.is_some_and(|waiting| waiting.longest >= self.stuck_after);
        self.health.set_stuck(is_unfetched || self.progress.unexplained(now.into_std()) >= self.stuck_after);
        self.health.tell(Concern::RecordsUnfetched, unfetched.map(UnfetchedPartitions::text));

        let is_stalled = stalled >= TELL_AFTER;
        let transaction = open.filter(|since| is_stalled && now - *since >= TELL_AFTER);
        let transaction = transaction.map(|since| {
            let age = (now - since).as_secs();
            let call = publisher
                .map_or(String::new(), |c| format!(", and {} has taken {} s", c.call.text(), c.since.elapsed().as_secs()));
            format!("nothing was answered for {} s: a Kafka transaction has been open for {age} s{call}", stalled.as_secs())
        });
        let waits = (is_stalled && transaction.is_none()).then(|| {
            let why = if let Some(oldest) = work.oldest_run.filter(|oldest| now - *oldest >= TELL_AFTER) {
                format!("commands wait for the store, the oldest for {} s", (now - oldest).as_secs())
            } else if work.without_schema {
                "records wait for the schema that they were written with".to_owned()
            } else if work.short_span.is_some() {
                "no more can be committed above the lowest incomplete record (offset.metadata.max.bytes)".to_owned()
            } else {
                "no reason is known".to_owned()
            };
            format!("nothing was answered for {} s while {} waited: {why}", stalled.as_secs(), counted(work.waiting, "record"))
        });
        self.health.tell(Concern::TransactionStalled, transaction);
        self.health.tell(Concern::CommandsWait, waits);
        Ok(())
    }

    fn look_at_consumer(&self, now: Instant) -> Result<(), RunFault> {
        let overdue = self.consumer.overdue(now.into_std());
        if let Some(UnderWay { call, since, .. }) = overdue.filter(|call| call.since.elapsed() >= STUCK_AFTER) {
            return Err(RunFault::ConsumerStuck { call: call.text(), seconds: since.elapsed().as_secs() });
        }
        let text = overdue.map(|c| {
            format!("the Kafka consumer has been in {} for {} s: no records come", c.call.text(), c.since.elapsed().as_secs())
        });
        self.health.tell(Concern::ConsumerStalled, text);
        Ok(())
    }

    fn tell_ages(&self, work: &Activity, publisher: Option<UnderWay>, open: Option<Instant>, now: Instant) {
        let age = |since: Option<Instant>| since.map_or(0.0, |since| now.saturating_duration_since(since).as_secs_f64());
        self.metrics.kafka_transaction_age.set(age(open));
        let made = |call: Option<UnderWay>| call.map(|call| Instant::from_std(call.since));
        for (by, since) in [
            (Waits::Consumer, made(self.consumer.under_way())),
            (Waits::Publisher, made(publisher)),
            (Waits::Lane, work.oldest_run),
        ] {
            self.metrics.oldest_call_age.of(by).set(age(since));
        }
    }
}
