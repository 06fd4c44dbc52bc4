//! Tests what an operator sees: metrics that count what happened, and probes.

use crate::crm::{Draft, Entity, Kind, custom_name, segment, unique};
use crate::world::{World, shared};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::time::Duration;

#[test]
fn metrics_count_commands_rejections_duplicates_and_dead_letters() {
    let Some(world) = World::set_up("metrics", |_| {}) else { return };
    let customer = Entity::new(Kind::Customer, "ACTIVE");
    world.import(std::slice::from_ref(&customer));
    let processor = world.run();
    let key = unique("k");
    let name = custom_name(&unique("r"), &customer.by_external_id(), "Ada").key(&key);
    world.ask_all(&[
        name.clone(),
        name,
        segment(&unique("r"), &customer.by_external_id(), "GOLD").key(&key),
        Draft::raw(None).key(&key).header("correlation-id", unique("c")),
        custom_name(&unique("r"), &customer.by_external_id(), "Eve").key(&key).header("kafka_replyPartition", "no number"),
    ]);
    for (series, expected) in [
        ("crm_commands_total{status=\"200\",use_case=\"updateCustomerCustomName\"}", 3),
        ("crm_commands_total{status=\"400\",use_case=\"updateCustomerSegment\"}", 1),
        ("crm_rejections_total{code=\"CASM-SEGMENT-NOT-CONFIGURED\"}", 1),
        ("crm_rejections_total{code=\"CASM-RECORD-UNREADABLE\"}", 1),
        ("crm_replies_total{replayed=\"true\"}", 1),
        ("crm_business_transactions_total", 2),
        ("crm_dlq_records_total", 1),
        ("crm_reply_partitions_ignored_total", 1),
        ("crm_command_duration_seconds_count", 4),
        ("crm_command_stage_duration_seconds_count{stage=\"fetch\"}", 4),
        ("crm_command_stage_duration_seconds_count{stage=\"publish\"}", 4),
    ] {
        // The metric counts answers when they are committed, and the reader may see them before.
        processor.until_metric(series, expected);
    }
    for quiet in ["crm_commands_in_flight", "crm_commands_queued", "crm_consumer_lag_records", "crm_panics_total"] {
        processor.until_metric(quiet, 0);
    }
    for (series, expected) in [
        ("crm_ready", 1),
        ("crm_store_up", 1),
        ("crm_registry_up", 1),
        ("crm_kafka_brokers_connected", 1),
        ("crm_partitions_assigned", 4),
        ("crm_commands_in_flight_limit", 256),
        ("crm_records_open_limit", 2048),
        ("crm_consumer_lag_seconds", 0),
    ] {
        processor.until_metric(series, expected);
    }
    let committed = processor.metric("crm_kafka_transactions_total{result=\"committed\"}");
    for step in ["produce", "flush", "send_offsets", "commit"] {
        let series = format!("crm_kafka_transaction_step_duration_seconds_count{{step=\"{step}\"}}");
        assert_eq!(processor.metric(&series), committed, "each transaction has each step once: {step}");
    }
    assert_eq!(processor.metric("crm_kafka_transaction_step_duration_seconds_count{step=\"abort\"}"), 0);
    // The process looked up each schema of a command once.
    assert_eq!(processor.metric("crm_registry_lookups_total{result=\"answered\"}"), 2);
}

/// The marker at the end of a transaction takes an offset, too, but is not a record.
#[test]
fn commands_that_were_written_in_a_transaction_leave_no_lag_behind() {
    const PATIENCE: Duration = Duration::from_secs(30);
    let Some(world) = World::set_up("marker", |_| {}) else { return };
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", world.kafka()).set("transactional.id", unique("crm"));
    let producer: BaseProducer = config.create().expect("a producer");
    let customer = Entity::new(Kind::Customer, "ACTIVE");
    let command = custom_name(&unique("r"), &customer.by_ref_id(), "Ada").value().expect("a value");
    producer.init_transactions(PATIENCE).expect("Kafka is there");
    producer.begin_transaction().expect("it is initialised");
    producer.send(BaseRecord::to(&world.commands).partition(0).key("k").payload(&command)).expect("there is room");
    producer.commit_transaction(PATIENCE).expect("it commits");

    let first = world.run();
    first.until_metric("crm_commands_total", 1);
    first.signal("TERM");
    assert_eq!(first.wait(), 0, "{}", first.log_tail());
    // The process exposes the lag only once it knows the partition's end.
    world.run().until_metric("crm_consumer_lag_records{partition=\"0\"}", 0);
}

#[test]
fn livez_and_readyz_answer_while_it_runs() {
    let Some(shared) = shared() else { return };
    shared.processor.until_ready();
    for path in ["/livez", "/metrics"] {
        let (status, body) = shared.processor.get(path);
        assert_eq!(status, 200, "{path}: {body}");
    }
    assert_eq!(shared.processor.get("/nothing").0, 404);
}
