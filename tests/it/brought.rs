//! What a CRM may do to its own command topic: leave a transaction open, add partitions, write times that can't be true.

use crate::crm::{Entity, Kind, custom_name, unique};
use crate::inbox::Nimble;
use crate::topics;
use crate::world::{PARTITIONS, Processor, World};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
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

    let hanging = producer(&world, Some(&unique("crm")));
    hanging.init_transactions(CALL).expect("the coordinator answers");
    hanging.begin_transaction().expect("none is open");
    let inside = command().header("correlation-id", unique("inside"));
    let (key, value) = (inside.key.clone().expect("has one"), inside.value().expect("has one"));
    let record = BaseRecord::<[u8], [u8]>::to(&world.commands).partition(partition).key(&key).payload(&value);
    hanging.send(record).map_err(|(e, _)| e).expect("there is room in the queue");
    hanging.flush(CALL).expect("the broker takes it");

    let behind: Vec<_> = (0..5).map(|_| (command(), unique("behind"))).collect();
    let drafts: Vec<_> = behind.iter().map(|(draft, correlation)| draft.clone().header("correlation-id", correlation)).collect();
    assert!(world.send_all(&drafts).iter().all(|sent| sent.partition == partition));
    let said = processor.until_readyz(|body| body.contains("left a transaction open"));
    let named = format!("of {}, partition {partition}, from offset ", world.commands);
    assert!(said.contains("6 offsets") && said.contains(&named) && said.contains("\"ready\":true"), "{said}");
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
        // The producer, too, has to learn of the partition.
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
    // What lies in the future brokers of today refuse by themselves (`message.timestamp.after.max.ms`).
    for timestamp in [second, 1] {
        let draft = custom_name(&unique("r"), &customer.by_ref_id(), &unique("name"));
        let value = draft.value().expect("has one");
        let record = BaseRecord::<[u8], [u8]>::to(&world.commands).key(b"k").payload(&value).timestamp(timestamp);
        producer.send(record).map_err(|(e, _)| e).expect("there is room in the queue");
        let of_request = |r: &crate::inbox::Record| r.topic == world.replies && r.body["requestId"] == draft.request();
        world.inbox.first("a reply", of_request);
    }
    processor.until_metric("crm_absurd_timestamps_total{in=\"past\"}", 2);
    assert_eq!(processor.metric("crm_command_duration_seconds_count"), 2);
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
    // That of the installation was made by somebody else.
    let checked = world.cli("check", &[]);
    let line = checked.stdout.lines().find(|line| line.contains("message.timestamp.type is CreateTime"));
    let line = line.unwrap_or_else(|| panic!("{checked}"));
    assert!(line.starts_with("  --  topic: ") && line.contains("--add-config message.timestamp.type=LogAppendTime"), "{line}");
}
