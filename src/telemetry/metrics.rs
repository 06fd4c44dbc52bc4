//! The metrics. Each is defined once, and its doc comment is its help text. The prefix `crm_` is added to each name. No label's values
//! can grow with what arrives. The metrics of the operating system's process are in [`super::process`]. A test makes `docs/metrics.md`
//! from all of them, and says how.

use super::labels::{
    AbsurdTimestamp, CacheLookup, Code, CommandStage, ConditionalWrite, DeadLetter, FaultKind, HttpStatus, LookUp, Operation,
    OutputTopic, Rebalance, ReferenceKind, Remembered, Replayed, TransactionResult, TransactionStep, Waits,
};
use super::process::ProcessCollector;
use super::series::{BuildInfo, Family, PerNode, PerPartition, Series};
use crate::domain::rejection::{Rejection, Status};
use crate::domain::use_case::UseCase;
use prometheus::core::{AtomicF64, AtomicI64};
use prometheus::{Encoder, Gauge, Histogram, IntCounter, IntGauge, Registry, TextEncoder};
use std::time::Duration;

/// The buckets for a whole command. The least is for one in an idle process with its entity in the cache; the greatest is for one that
/// waited for a store that was away.
const COMMAND_SECONDS: &[f64] =
    &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0];
/// The buckets for a stage of a command. The least is for one that need not wait in its lane; the greatest as in [`COMMAND_SECONDS`].
const STAGE_SECONDS: &[f64] =
    &[0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0, 1800.0];
/// The buckets for a step of a transaction. The least is for handing the outputs of one record to the client; the greatest is the time-out
/// of a transaction.
const STEP_SECONDS: &[f64] =
    &[0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
/// The buckets for an operation of the store, from a write of the embedded store to twice the default of `store.request_timeout`.
const STORE_SECONDS: &[f64] = &[0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
/// The buckets for a transaction. Brokers end a transaction after ten seconds, and learning how it ended may take longer.
const TRANSACTION_SECONDS: &[f64] = &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];
/// The buckets for the number of records in a transaction, up to twice the default of `kafka.transaction_cap`.
const RECORDS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0];
const NONE: &[f64] = &[];

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $field:ident: $series:ty = $name:literal, $buckets:expr;)+) => {
        /// The metrics of a process.
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            $($(#[doc = $help])+ pub $field: $series,)+
        }

        impl Metrics {
            fn register(registry: Registry) -> prometheus::Result<Self> {
                Ok(Self {
                    $($field: Series::register(&registry, concat!("crm_", $name), concat!($($help),+).trim(), $buckets)?,)+
                    registry,
                })
            }
        }
    };
}

metrics! {
    /// Commands answered, by use case and status; counted when the answer is committed.
    commands: Family<(UseCase, Status), IntCounter> = "commands_total", NONE;
    /// Seconds from a command record's timestamp to the commit of its answer, by use case.
    command_duration: Family<UseCase, Histogram> = "command_duration_seconds", COMMAND_SECONDS;
    /// Seconds that an answered command spent in a stage, by stage; the stages of a command follow each other from its record's timestamp
    /// to the commit of its answer.
    command_stage_duration: Family<CommandStage, Histogram> = "command_stage_duration_seconds", STAGE_SECONDS;
    /// Findings in replies, by code.
    rejections: Family<Code, IntCounter> = "rejections_total", NONE;
    /// Replies committed, by whether they repeat a stored answer.
    replies: Family<Replayed, IntCounter> = "replies_total", NONE;
    /// Business Transactions committed.
    business_transactions: IntCounter = "business_transactions_total", NONE;
    /// Records that could not be read and were moved to the dead letter topic, by reason.
    dead_letters: Family<DeadLetter, IntCounter> = "dlq_records_total", NONE;
    /// 1 while the process takes commands (what `/readyz` says), 0 while something is in the way.
    ready: IntGauge = "ready", NONE;
    /// Commands being decided. A run counts with each of its commands, so that a hot key can bring this above the limit.
    commands_in_flight: IntGauge = "commands_in_flight", NONE;
    /// The most runs of commands that are decided at once (`kafka.max_in_flight`); most runs have one command.
    commands_in_flight_limit: IntGauge = "commands_in_flight_limit", NONE;
    /// Command records taken from Kafka that wait to be admitted, for their turn, or for their transaction.
    commands_queued: IntGauge = "commands_queued", NONE;
    /// Command records taken from Kafka whose answers are not committed yet, including those in flight.
    records_open: IntGauge = "records_open", NONE;
    /// The number of open records at which nothing more is taken in (`kafka.max_queued`).
    records_open_limit: IntGauge = "records_open_limit", NONE;
    /// Lanes (keys) with commands that are being decided or wait.
    lanes: IntGauge = "lanes", NONE;
    /// Command records whose answers the broker refuses, and the records behind them in their lanes; the refused ones are tried again now
    /// and then.
    records_held: IntGauge = "records_held", NONE;
    /// Age of the oldest record whose answers the broker refuses, by its timestamp; 0 while there is none.
    oldest_held: Gauge = "oldest_held_record_age_seconds", NONE;
    /// Command records on the topic that are not answered yet, by partition assigned to this process; including those that an open
    /// transaction of their producer holds back.
    consumer_lag: PerPartition<AtomicI64> = "consumer_lag_records", NONE;
    /// Age of the oldest command record not yet answered, by partition; 0 while there is none.
    consumer_lag_age: PerPartition<AtomicF64> = "consumer_lag_seconds", NONE;
    /// Records between the last stable offset of a partition and its end, which an open transaction of a producer holds back; 0 while
    /// there is none.
    stable_offset_behind: PerPartition<AtomicI64> = "stable_offset_behind_records", NONE;
    /// Seconds for which the last stable offset of a partition has been behind its end and has not moved; 0 while it is not behind.
    stable_offset_stuck: PerPartition<AtomicF64> = "stable_offset_stuck_seconds", NONE;
    /// Command records whose timestamp can't be true, by whether it lies in the past or in the future; their age is counted from their
    /// arrival.
    absurd_timestamps: Family<AbsurdTimestamp, IntCounter> = "absurd_timestamps_total", NONE;
    /// Topics for replies, Business Transactions or dead letters that have fewer partitions than before, or are gone.
    topics_changed: IntGauge = "topics_changed", NONE;
    /// Partitions of the command topic that are assigned to this process.
    partitions_assigned: IntGauge = "partitions_assigned", NONE;
    /// Assigned partitions from which nothing is fetched for now, because a lane is too long, a schema is missing, or one record holds up
    /// too many.
    partitions_paused: IntGauge = "partitions_paused", NONE;
    /// Assigned partitions that stand still, because their next records can't be decompressed.
    partitions_undecodable: IntGauge = "partitions_undecodable", NONE;
    /// Assigned partitions that are not read, because a newer release has committed their offsets. They have no lag.
    partitions_unread: IntGauge = "partitions_unread", NONE;
    /// 1 while the group's coordinator takes less metadata with an offset than a partition may need, so that the partition pauses
    /// earlier; 0 otherwise.
    offset_metadata_short: IntGauge = "offset_metadata_short", NONE;
    /// Changes of the assignment, by kind.
    rebalances: Family<Rebalance, IntCounter> = "rebalances_total", NONE;
    /// Kafka brokers that the consumer is connected to; in a gateway, those that there are, or 0 while none answers.
    kafka_brokers_connected: IntGauge = "kafka_brokers_connected", NONE;
    /// Kafka transactions, by how they ended.
    kafka_transactions: Family<TransactionResult, IntCounter> = "kafka_transactions_total", NONE;
    /// Seconds from the beginning of a Kafka transaction to its end; there is one at a time.
    kafka_transaction_duration: Histogram = "kafka_transaction_duration_seconds", TRANSACTION_SECONDS;
    /// Seconds that a step of a Kafka transaction took, by step; including steps that failed.
    kafka_transaction_step_duration: Family<TransactionStep, Histogram> = "kafka_transaction_step_duration_seconds", STEP_SECONDS;
    /// Command records that one Kafka transaction answered.
    kafka_transaction_records: Histogram = "kafka_transaction_records", RECORDS;
    /// Age of the Kafka transaction under way, in seconds; 0 while there is none.
    kafka_transaction_age: Gauge = "kafka_transaction_age_seconds", NONE;
    /// Seconds since the oldest call under way was made, by who waits for that call; 0 while there is none.
    oldest_call_age: Family<Waits, Gauge> = "oldest_call_age_seconds", NONE;
    /// Seconds for which no record was answered although there were records to answer; 0 while there are none.
    stalled: Gauge = "stalled_seconds", NONE;
    /// Publishers that were abandoned because a call into the Kafka client did not return in time; another took over each time.
    publishers_abandoned: IntCounter = "publishers_abandoned_total", NONE;
    /// Abandoned publishers whose call has not returned yet; if they become too many, the process ends.
    publishers_stuck: IntGauge = "publishers_stuck", NONE;
    /// Producers that were replaced after an error that left the end of a transaction unknown.
    producer_recreations: IntCounter = "producer_recreations_total", NONE;
    /// Records that the broker refused for good (too large, topic missing or denied), by topic.
    outputs_refused: Family<OutputTopic, IntCounter> = "outputs_refused_total", NONE;
    /// Replies that went to the default topic because the topic that the command named is not allowed, or because the broker refused them
    /// there.
    reply_topics_refused: IntCounter = "reply_topics_refused_total", NONE;
    /// Replies for which the command named a partition that is malformed or does not exist.
    reply_partitions_ignored: IntCounter = "reply_partitions_ignored_total", NONE;
    /// Changes that came under another record key than the change before of the same entity, as far as this process sees both.
    entity_key_changes: IntCounter = "entity_key_changes_total", NONE;
    /// Records whose header `crm-actor` was ignored because its value breaks the rules.
    actors_ignored: IntCounter = "actors_ignored_total", NONE;
    /// Conditional writes (LWT) sent to the store, by operation.
    store_conditional_writes: Family<ConditionalWrite, IntCounter> = "store_conditional_writes_total", NONE;
    /// Conditional writes that were not applied because a condition did not hold, by operation.
    store_conflicts: Family<ConditionalWrite, IntCounter> = "store_conflicts_total", NONE;
    /// Seconds that an operation of the store took, by operation; including those that failed.
    store_operation_duration: Family<Operation, Histogram> = "store_operation_duration_seconds", STORE_SECONDS;
    /// Operations of the store that failed, by operation and kind of fault; a write that failed may have happened.
    store_faults: Family<(Operation, FaultKind), IntCounter> = "store_faults_total", NONE;
    /// Operations of the store that failed, by the node of the database that was asked last; `other` stands for all nodes beyond the
    /// first 64.
    store_node_faults: PerNode = "store_node_faults_total", NONE;
    /// Look-ups in the cache when a command's turn came, by how the command names its entity, and by result.
    cache_lookups: Family<(ReferenceKind, CacheLookup), IntCounter> = "cache_lookups_total", NONE;
    /// Entities that were read into the cache before the turn of a command that waited for it.
    cache_read_aheads: IntCounter = "cache_read_aheads_total", NONE;
    /// Entries of the cache, by what they hold.
    cache_entries: Family<Remembered, IntGauge> = "cache_entries", NONE;
    /// Approximate memory that the cache takes, by what it holds.
    cache_bytes: Family<Remembered, IntGauge> = "cache_bytes", NONE;
    /// Entries that the cache dropped for lack of room, by what they held.
    cache_evictions: Family<Remembered, IntCounter> = "cache_evictions_total", NONE;
    /// Nodes of the database that the driver knows of; 0 with the embedded store.
    store_nodes: IntGauge = "store_nodes", NONE;
    /// Nodes of the database that are connected and not silent; 0 with the embedded store.
    store_nodes_connected: IntGauge = "store_nodes_connected", NONE;
    /// 1 while the store answers; 0 while it has no node left, or has answered nothing for some seconds although it was asked.
    store_up: IntGauge = "store_up", NONE;
    /// Look-ups of schemas in the registry, by whether it answered.
    registry_lookups: Family<LookUp, IntCounter> = "registry_lookups_total", NONE;
    /// 1 if the schema registry answered when it was last asked for our own schemas, 0 if it did not.
    registry_up: IntGauge = "registry_up", NONE;
    /// 1 while the schema registry has other schemas under the ids that it gave to ours (nothing is taken in then), 0 otherwise.
    registry_differs: IntGauge = "registry_differs", NONE;
    /// Partitions that wait because the schema registry has no proper answer about one schema while it answers about others.
    partitions_without_schema: IntGauge = "partitions_without_schema", NONE;
    /// Bugs that were caught while a command was decided.
    panics: IntCounter = "panics_total", NONE;
    /// Commands that came over HTTP and were answered, by use case and HTTP status.
    gateway_requests: Family<(UseCase, HttpStatus), IntCounter> = "gateway_requests_total", NONE;
    /// Seconds from a command's arrival over HTTP to its answer, by use case.
    gateway_request_duration: Family<UseCase, Histogram> = "gateway_request_duration_seconds", COMMAND_SECONDS;
    /// Requests over HTTP that were no commands, by HTTP status.
    gateway_reads: Family<HttpStatus, IntCounter> = "gateway_reads_total", NONE;
    /// Commands over HTTP that wait for their replies.
    gateway_open_requests: IntGauge = "gateway_open_requests", NONE;
    /// The number of open requests at which further ones are refused (`gateway.max_open_requests`); 0 in processes that are no gateway.
    gateway_open_requests_limit: IntGauge = "gateway_open_requests_limit", NONE;
    /// Reads of the store over HTTP that are under way.
    gateway_open_reads: IntGauge = "gateway_open_reads", NONE;
    /// The number of reads at which further ones are refused (`gateway.max_open_reads`); 0 in processes that are no gateway.
    gateway_open_reads_limit: IntGauge = "gateway_open_reads_limit", NONE;
    /// Commands over HTTP whose replies did not come in time.
    gateway_timeouts: IntCounter = "gateway_timeouts_total", NONE;
    /// Replies that were read and skipped, because they are another's or nobody waits for them any more.
    gateway_skipped_replies: IntCounter = "gateway_skipped_replies_total", NONE;
    /// Seconds from a reply's timestamp to its arrival at the gateway that waits for it; the last reply's.
    gateway_reply_lag: Gauge = "gateway_reply_lag_seconds", NONE;
    /// Connections of HTTP clients.
    gateway_connections: IntGauge = "gateway_connections", NONE;
    /// 1 while a log level other than the configured one is in force, 0 otherwise.
    log_level_changed: IntGauge = "log_level_changed", NONE;
    /// Always 1; the label is the program's version.
    build_info: BuildInfo = "build_info", NONE;
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Makes all metrics, at zero, in a registry of their own.
    pub fn new() -> Self {
        let registry = Registry::new();
        let registered = ProcessCollector::register(&registry).and_then(|()| Self::register(registry));
        registered.expect("names and labels are fixed, and a test registers them")
    }

    /// Counts a command whose answer was committed, `since_record` after the record's timestamp, and how long each of its stages took.
    pub fn command_answered(
        &self,
        use_case: UseCase,
        status: Status,
        since_record: Duration,
        stages: impl IntoIterator<Item = (CommandStage, Duration)>,
    ) {
        self.commands.of((use_case, status)).inc();
        self.command_duration.of(use_case).observe(since_record.as_secs_f64());
        for (stage, took) in stages {
            self.command_stage_duration.of(stage).observe(took.as_secs_f64());
        }
    }

    /// Counts a committed reply and the findings in it.
    pub fn replied(&self, errors: &[Rejection], replayed: bool) {
        self.replies.of(if replayed { Replayed::Yes } else { Replayed::No }).inc();
        for rejection in errors {
            self.rejections.of(rejection.into()).inc();
        }
    }

    /// Counts a Kafka transaction that has ended, and how long each of its steps took.
    pub fn kafka_transaction_ended(
        &self,
        result: TransactionResult,
        records: usize,
        duration: Duration,
        steps: impl IntoIterator<Item = (TransactionStep, Duration)>,
    ) {
        self.kafka_transactions.of(result).inc();
        self.kafka_transaction_duration.observe(duration.as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "a transaction has thousands of records at most")]
        self.kafka_transaction_records.observe(records as f64);
        for (step, took) in steps {
            self.kafka_transaction_step_duration.of(step).observe(took.as_secs_f64());
        }
    }

    /// Returns how many conditional writes were sent so far.
    pub fn conditional_writes(&self) -> u64 {
        self.store_conditional_writes.iter().map(|(_, counter)| counter.get()).sum()
    }

    /// Returns all metrics in Prometheus' text format.
    pub fn exposition(&self) -> String {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).expect("memory takes whatever is written");
        String::from_utf8(text).expect("the text format is UTF-8")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_series_is_there_from_the_start_with_its_doc_comment_as_help() {
        let text = Metrics::new().exposition();
        for line in [
            "# HELP crm_commands_total Commands answered, by use case and status; counted when the answer is committed.",
            "# TYPE crm_commands_total counter",
            "crm_commands_total{status=\"200\",use_case=\"updateAccountExternalId\"} 0",
            "crm_rejections_total{code=\"CASM-ENTITY-NOT-FOUND\"} 0",
            "crm_store_conditional_writes_total{operation=\"apply\"} 0",
            "crm_store_operation_duration_seconds_bucket{operation=\"apply\",le=\"0.001\"} 0",
            "crm_dlq_records_total{reason=\"malformed\"} 0",
            "crm_cache_lookups_total{by=\"external_id\",result=\"hit\"} 0",
            "crm_cache_bytes{what=\"entities\"} 0",
            concat!("crm_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
    }

    #[test]
    fn what_is_counted_shows_in_its_series() {
        let metrics = Metrics::new();
        let stages = [(CommandStage::Fetch, Duration::from_secs(1)), (CommandStage::Decide, Duration::from_secs(2))];
        metrics.command_answered(UseCase::UpdateCustomerSegment, Status::RequestValidationFailed, Duration::from_secs(3), stages);
        metrics.replied(&[Rejection::RequestIdReused, Rejection::ExternalIdNotUnique], true);
        let steps = [(TransactionStep::Flush, Duration::from_millis(500)), (TransactionStep::Commit, Duration::from_millis(250))];
        metrics.kafka_transaction_ended(TransactionResult::Committed, 40, Duration::from_secs(1), steps);
        metrics.store_conditional_writes.of(ConditionalWrite::Claim).inc();
        metrics.consumer_lag.set(3, 17);
        metrics.consumer_lag.set(4, 1);
        metrics.consumer_lag.forget(4);
        metrics.consumer_lag_age.set(3, 0.25);
        metrics.dead_letters.of(DeadLetter::TooLarge).inc();
        let text = metrics.exposition();
        for line in [
            "crm_commands_total{status=\"400\",use_case=\"updateCustomerSegment\"} 1",
            "crm_command_duration_seconds_count{use_case=\"updateCustomerSegment\"} 1",
            "crm_command_stage_duration_seconds_sum{stage=\"fetch\"} 1",
            "crm_command_stage_duration_seconds_sum{stage=\"decide\"} 2",
            "crm_command_stage_duration_seconds_count{stage=\"publish\"} 0",
            "crm_replies_total{replayed=\"true\"} 1",
            "crm_rejections_total{code=\"CASM-REQUEST-ID-REUSED\"} 1",
            "crm_kafka_transaction_records_sum 40",
            "crm_kafka_transaction_step_duration_seconds_sum{step=\"flush\"} 0.5",
            "crm_kafka_transaction_step_duration_seconds_sum{step=\"commit\"} 0.25",
            "crm_kafka_transaction_step_duration_seconds_count{step=\"abort\"} 0",
            "crm_consumer_lag_records{partition=\"3\"} 17",
            "crm_consumer_lag_seconds{partition=\"3\"} 0.25",
            "crm_dlq_records_total{reason=\"too_large\"} 1",
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
        assert!(!text.contains("partition=\"4\""));
        assert_eq!(metrics.conditional_writes(), 1);
    }
}
