//! Tests a rolling upgrade as a running process of the older release sees it. Whatever only the newer release can read waits
//! until the process is upgraded, the rest goes on, and nothing is answered twice or given up.

use crate::crm::{Draft, Entity, Kind, custom_name, unique};
use crate::inbox::Record;
use crate::world::{Processor, World};
use crate::{runtime, servers, topics};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use scylla::client::session_builder::SessionBuilder;
use std::time::Duration;
use uuid::Uuid;

#[test]
fn a_command_whose_outcome_only_a_newer_release_can_read_waits_and_the_others_go_on() {
    let mut keyspace = String::new();
    let adjust = |config: &mut toml::Table| keyspace = config["store"]["keyspace"].as_str().expect("is a text").to_owned();
    let Some(world) = World::set_up("newer-outcome", adjust) else { return };
    let (customer, other) = (Entity::new(Kind::Customer, "ACTIVE"), Entity::new(Kind::Customer, "ACTIVE"));
    world.import(&[customer.clone(), other.clone()]);
    let processor = world.run();
    let request = custom_name(&unique("r"), &customer.by_ref_id(), "Ada");
    let first = world.ask(&request);
    assert_eq!(first.body["statusCode"], 200);

    let outcome = Outcome { keyspace, ref_id: customer.ref_id.parse().expect("a UUID"), request: request.request().into() };
    let blob = outcome.read();
    outcome.write(&[&[u8::MAX], &blob[1..]].concat());
    let correlation = unique("c");
    let duplicate = request.header("correlation-id", &correlation);
    world.send(&duplicate);
    let log = |text: &str| processor.log().contains(text);
    until(|| log("a newer build must read it"), &processor);
    let another = custom_name(&unique("r"), &other.by_ref_id(), "Eve").key(unique("k"));
    assert_eq!(world.ask(&another).body["statusCode"], 200, "the others go on");
    let answers = |r: &Record| r.topic == world.replies && r.header("correlation-id") == Some(correlation.as_bytes());
    let early = world.inbox.all(answers);
    assert!(early.is_empty(), "nothing is said of what is not known: {early:?}");

    // The outcome gets a form that the process knows, with the same effect as an upgrade.
    outcome.write(&blob);
    let reply = world.inbox.first("a reply to the duplicate", answers);
    let said = |r: &Record, field: &str| r.body[field].clone();
    assert_eq!((said(&reply, "statusCode"), said(&reply, "replayed")), (200.into(), true.into()));
    assert_eq!(said(&reply, "businessTransaction"), said(&first, "businessTransaction"));
}

#[test]
fn a_partition_whose_offset_only_a_newer_release_can_read_waits_and_the_others_go_on() {
    let Some(world) = World::set_up("newer-offset", |_| {}) else { return };
    let customer = Entity::new(Kind::Customer, "ACTIVE");
    world.import(std::slice::from_ref(&customer));
    let name = |key: &str| custom_name(&unique("r"), &customer.by_ref_id(), &unique("n")).key(key);
    let processor = world.run();
    let keys: Vec<_> = (0..30).map(|_| unique("k")).collect();
    let placed: Vec<_> = world.send_all(&keys.iter().map(|key| name(key)).collect::<Vec<_>>()).into_iter().zip(&keys).collect();
    for key in &keys {
        world.inbox.first("an answer to each", |r| r.topic == world.replies && r.key_text() == Some(key));
    }
    stop(&processor);
    let (waits, waiting) = (&placed[0].0.partition, placed[0].1);
    let going_on = placed.iter().find(|(sent, _)| sent.partition != *waits).expect("of 30 keys one goes elsewhere").1;

    // A newer release has answered commands above the offset, and says so in a form of its own.
    let offset = commit(&world, *waits, "3:what comes after base64");
    let processor = world.start(&unique("slot"));
    let said = processor.until_readyz(|body| body.contains("wait for this process to be upgraded"));
    assert!(said.contains(&format!("[{waits}]")), "{said}");
    processor.until_metric("crm_partitions_unread", 1);
    let correlation = unique("c");
    let later: Draft = name(waiting).header("correlation-id", &correlation);
    world.send(&later);
    assert_eq!(world.ask(&name(going_on)).body["statusCode"], 200, "the others go on");
    let answers = |r: &Record| r.topic == world.replies && r.header("correlation-id") == Some(correlation.as_bytes());
    let early = world.inbox.all(answers);
    assert!(early.is_empty(), "it is not known what was done behind the offset: {early:?}");
    stop(&processor);

    assert_eq!(commit(&world, *waits, ""), offset, "nothing was committed meanwhile");
    let _upgraded = world.run();
    world.inbox.first("a reply to what waited", answers);
}

fn stop(processor: &Processor) {
    processor.signal("TERM");
    assert_eq!(processor.wait(), 0, "{}", processor.log_tail());
}

fn until(it_is_so: impl Fn() -> bool, processor: &Processor) {
    let deadline = std::time::Instant::now() + crate::inbox::Inbox::PATIENCE;
    while !it_is_so() {
        assert!(std::time::Instant::now() < deadline, "{}", processor.log_tail());
        crate::pause();
    }
}

/// Writes other metadata to the committed offset of a partition, and returns the offset.
fn commit(world: &World, partition: i32, metadata: &str) -> Offset {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", world.kafka()).set("group.id", world.group()).create().expect("a consumer");
    let mut asked = TopicPartitionList::new();
    asked.add_partition(&world.commands, partition);
    let offset = consumer.committed_offsets(asked, Duration::from_secs(30)).expect("the broker answers").elements()[0].offset();
    topics::commit(world.kafka(), world.group(), (&world.commands, partition), offset, metadata);
    offset
}

/// The stored outcome of a request about a customer.
struct Outcome {
    keyspace: String,
    ref_id: Uuid,
    request: String,
}

impl Outcome {
    const ROW: &str = "entity_type = 'customer' AND ref_id = ? AND request_id = ?";

    fn read(&self) -> Vec<u8> {
        let select = format!("SELECT outcome FROM {}.entity WHERE {}", self.keyspace, Self::ROW);
        runtime().block_on(async {
            let session = SessionBuilder::new().known_node(servers::cassandra().expect("is up")).build().await.unwrap();
            let rows = session.query_unpaged(select, (self.ref_id, &self.request)).await.unwrap().into_rows_result().unwrap();
            rows.single_row::<(Vec<u8>,)>().unwrap().0
        })
    }

    /// Replaces the outcome by a conditional write, as every write must be.
    fn write(&self, blob: &[u8]) {
        let update = format!("UPDATE {}.entity SET outcome = ? WHERE {} IF outcome != null", self.keyspace, Self::ROW);
        runtime().block_on(async {
            let session = SessionBuilder::new().known_node(servers::cassandra().expect("is up")).build().await.unwrap();
            session.query_unpaged(update, (blob, self.ref_id, &self.request)).await.unwrap();
        });
    }
}
