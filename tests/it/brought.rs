//! Tests what happens if a CRM or its administrator does odd things to the command topic: leaves a transaction open, adds
//! partitions, writes times that can't be true.

use crate::crm::{Draft, Entity, Kind, custom_name, unique};
use crate::inbox::Nimble;
use crate::security::document::statements;
use crate::world::{PARTITIONS, Processor, World};
use crate::{servers, topics};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::process::Command;
use std::time::Duration;

const CALL: Duration = Duration::from_secs(30);

/// A producer of the test's own.
fn producer(world: &World, transactional_id: Option<&str>) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", world.kafka()).nimble();
    if let Some(id) = transactional_id {
        config.set("transactional.id", id);
    }
    config.create().expect("a producer")
}

/// Begins a transaction with one command in it, and does not end it.
pub fn open_transaction(world: &World, transactional_id: &str, partition: i32, inside: &Draft) -> BaseProducer {
    let hanging = producer(world, Some(transactional_id));
    hanging.init_transactions(CALL).expect("the coordinator answers");
    hanging.begin_transaction().expect("none is open");
    let value = inside.value().expect("has one");
    let mut record = BaseRecord::<[u8], [u8]>::to(&world.commands).partition(partition).payload(&value);
    record.key = inside.key.as_deref();
    hanging.send(record).map_err(|(e, _)| e).expect("there is room in the queue");
    hanging.flush(CALL).expect("the broker takes it");
    hanging
}

fn in_partition(processor: &Processor, metric: &str, partition: i32) -> u64 {
    processor.metric_so_far(&format!("{metric}{{partition=\"{partition}\"}}")).unwrap_or_default()
}

#[test]
fn an_open_transaction_of_a_crm_is_told_with_what_it_holds_back_and_all_is_answered_when_it_ends() {
    let Some(world) = World::set_up("open-transaction", |_| {}) else { return };
    let customer = Entity::new(Kind::Customer, "ACTIVE");
    world.import(std::slice::from_ref(&customer));
    let processor = world.run();
    let command = || custom_name(&unique("r"), &customer.by_ref_id(), &unique("name")).key(&customer.ref_id);
    let of_key = world.ask(&command());
    assert_eq!(of_key.body["statusCode"], 200, "{of_key:?}");
    // All commands about this customer have its key, so they are in one partition.
    let partition = world.send(&command()).partition;

    let inside = command().header("correlation-id", unique("inside"));
    let hanging = open_transaction(&world, &unique("crm"), partition, &inside);

    let behind: Vec<_> = (0..5).map(|_| (command(), unique("behind"))).collect();
    let drafts: Vec<_> = behind.iter().map(|(draft, correlation)| draft.clone().header("correlation-id", correlation)).collect();
    assert!(world.send_all(&drafts).iter().all(|sent| sent.partition == partition));
    // A measurement may have come when only the transaction itself was there.
    let said = processor.until_readyz(|body| body.contains("left a transaction open") && body.contains("6 offsets"));
    let named = format!("of {}, partition {partition}, from offset ", world.commands);
    assert!(said.contains(&named) && said.contains("\"ready\":true"), "{said}");
    assert_eq!(in_partition(&processor, "crm_stable_offset_behind_records", partition), 6);
    assert!(in_partition(&processor, "crm_stable_offset_stuck_seconds", partition) >= 5);
    assert!(in_partition(&processor, "crm_consumer_lag_records", partition) >= 6, "what is held back is lag");
    assert!(in_partition(&processor, "crm_consumer_lag_seconds", partition) >= 1, "and it ages");
    let is_reply = |r: &crate::inbox::Record| behind.iter().any(|(_, c)| r.text("correlation-id") == Some(c.as_str()));
    assert!(world.inbox.all(is_reply).is_empty(), "nothing behind it can be read");

    hanging.commit_transaction(CALL).expect("it can be committed");
    for (_, correlation) in &behind {
        world.inbox.first("a reply to a command behind the transaction", |r| r.text("correlation-id") == Some(correlation));
    }
    world.inbox.first("a reply to the command inside", |r| r.topic == world.replies && r.body["requestId"] == inside.request());
    processor.until_readyz(|body| !body.contains("left a transaction open"));
    processor.until_metric("crm_stable_offset_behind_records", 0);
    processor.until_metric("crm_consumer_lag_records", 0);
}

#[test]
fn the_runbooks_steps_find_a_transaction_that_nobody_ends_and_end_it() {
    let Some(world) = World::set_up("left-open", |_| {}) else { return };
    let customer = Entity::new(Kind::Customer, "ACTIVE");
    world.import(std::slice::from_ref(&customer));
    let processor = world.run();
    let command = || custom_name(&unique("r"), &customer.by_ref_id(), &unique("name")).key(&customer.ref_id);
    let partition = world.send(&command()).partition;
    let id = unique("crm");
    let _hanging = open_transaction(&world, &id, partition, &command());
    let behind = command().header("correlation-id", unique("behind"));
    world.send(&behind);
    processor.until_readyz(|body| body.contains("left a transaction open"));

    let step = |name: &str| tool(&world, name, partition, &id);
    let listed = step("list");
    let line = listed.lines().find(|line| line.starts_with(&id)).unwrap_or_else(|| panic!("{id} is not in {listed}"));
    assert!(line.contains("Ongoing"), "{line}");
    let producer_id = line.split_whitespace().nth(2).expect("the third column");
    let described = step("describe-producers");
    let has_it = |line: &str| line.split_whitespace().next() == Some(producer_id);
    assert!(described.lines().any(has_it), "producer {producer_id} is not in {described}");
    assert!(!step("find-hanging").lines().any(|line| line.contains(producer_id)), "its coordinator knows it");
    step("forceTerminateTransaction");
    world.inbox.first("a reply to the command behind", |r| r.header("correlation-id") == behind.headers[0].1.as_deref());
    processor.until_readyz(|body| !body.contains("left a transaction open"));
}

/// Runs a step of the runbook, word for word, and returns what it printed.
fn tool(world: &World, step: &str, partition: i32, transactional_id: &str) -> String {
    let steps = statements("runbook.md", "CrmOpenTransaction").kafka;
    let line = steps.iter().find(|line| line.contains(step)).unwrap_or_else(|| panic!("{step} is not in {steps:?}"));
    let line = line.split('#').next().expect("the first part").replace("BROKER:9092", world.kafka());
    let line = line.replace("crm.commands", &world.commands).replace("--partition 3", &format!("--partition {partition}"));
    let line = line.replace("transactionalId ID", &format!("transactionalId {transactional_id}"));
    let args = line.strip_prefix("kafka-transactions.sh").unwrap_or_else(|| panic!("another tool: {line}"));
    let jars = servers::kafka_jars().expect("who has a Kafka has its jars");
    let mut java = Command::new("java");
    java.arg("-cp").arg(jars.join("*")).arg("org.apache.kafka.tools.TransactionsCommand").args(args.split_whitespace());
    let output = java.output().expect("Java is there");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn partitions_that_are_added_under_a_running_process_are_served() {
    let Some(world) = World::set_up("added-partitions", |_| {}) else { return };
    let customer = Entity::new(Kind::Customer, "ACTIVE");
    world.import(std::slice::from_ref(&customer));
    let processor = world.run();
    topics::add_partitions(world.kafka(), &world.commands, usize::try_from(PARTITIONS).expect("is small") + 2);
    let producer = producer(&world, None);
    for partition in PARTITIONS..PARTITIONS + 2 {
        let draft = custom_name(&unique("r"), &customer.by_ref_id(), &unique("name"));
        let value = draft.value().expect("has one");
        // The producer has to learn of the partition, too.
        let send = || {
            let record = BaseRecord::<[u8], [u8]>::to(&world.commands).partition(partition).key(b"k").payload(&value);
            producer.send(record).is_ok() && producer.flush(CALL).is_ok()
        };
        while !send() {
            crate::pause();
        }
        let of_request = |r: &crate::inbox::Record| r.topic == world.replies && r.body["requestId"] == draft.request();
        world.inbox.first("a reply to a command on a new partition", of_request);
    }
    processor.until_metric("crm_partitions_assigned", u64::try_from(PARTITIONS + 2).expect("is small"));
}

#[test]
fn times_that_cannot_be_true_are_counted_and_no_latency() {
    let Some(world) = World::set_up("absurd-times", |_| {}) else { return };
    let customer = Entity::new(Kind::Customer, "ACTIVE");
    world.import(std::slice::from_ref(&customer));
    let processor = world.run();
    let producer = producer(&world, None);
    let second = 1_790_000_000;
    // Present brokers refuse times in the future by themselves (`message.timestamp.after.max.ms`).
    for timestamp in [second, 1] {
        let draft = custom_name(&unique("r"), &customer.by_ref_id(), &unique("name"));
        let value = draft.value().expect("has one");
        let record = BaseRecord::<[u8], [u8]>::to(&world.commands).key(b"k").payload(&value).timestamp(timestamp);
        producer.send(record).map_err(|(e, _)| e).expect("there is room in the queue");
        let of_request = |r: &crate::inbox::Record| r.topic == world.replies && r.body["requestId"] == draft.request();
        world.inbox.first("a reply", of_request);
    }
    // A record that is read again after a rebalance is counted again.
    processor.until_metric_at_least("crm_absurd_timestamps_total{in=\"past\"}", 2);
    // The CRM may read a reply before the processor knows that it is committed.
    processor.until_metric("crm_command_duration_seconds_count", 2);
    let day = 24 * 60 * 60;
    assert!(processor.metric("crm_command_duration_seconds_sum") < day, "the histogram holds no such age");
    assert!(processor.metric("crm_consumer_lag_seconds") < day);
}

#[test]
fn setup_makes_a_command_topic_whose_times_are_the_brokers() {
    let Some(world) = World::set_up("times", |_| {}) else { return };
    let commands = unique("commands");
    let config = world.config.display().to_string();
    let environment = [("CRM__KAFKA__TOPICS__COMMANDS", commands.as_str())];
    crate::world::run_cli_with(&["setup", "--config", &config], &environment).succeeded();
    let of = |topic: &str| topics::setting(world.kafka(), topic, "message.timestamp.type");
    assert_eq!(of(&commands).as_deref(), Some("LogAppendTime"));
    assert_eq!(of(&world.replies).as_deref(), Some("CreateTime"), "those are ours");
    let checked = crate::world::run_cli_with(&["check", "--config", &config], &environment);
    assert!(!checked.stdout.contains("message.timestamp.type"), "{checked}");
    // The installation's own command topic was made by the test, not by `setup`.
    let checked = world.cli("check", &[]);
    let line = checked.stdout.lines().find(|line| line.contains("message.timestamp.type is CreateTime"));
    let line = line.unwrap_or_else(|| panic!("{checked}"));
    assert!(line.starts_with("  --  topic: ") && line.contains("--add-config message.timestamp.type=LogAppendTime"), "{line}");
}
