//! Tests everything that could stop a partition or a process without a word: records that nobody can take in or write again, a
//! quota, a coordinator that takes little metadata, a topic that is made again. Each is answered or named, everybody else is
//! answered, and nothing is lost or doubled.

use crate::crm::{Draft, Entity, Kind, custom_name, unique};
use crate::inbox::{Inbox, Record};
use crate::servers::own::OwnServer;
use crate::world::{LARGEST_RECORD, PARTITIONS, Sent, World};
use crate::{runtime, servers, topics};
use openssl::sha::sha256;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use std::collections::{HashMap, HashSet};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

/// A size that a broker does not take in one request.
const HUGE: usize = 120_000_000;
/// A size of an inflated zstd frame that librdkafka does not take.
const TOO_HUGE_FOR_ZSTD: usize = 110_000_000;

pub fn customers(world: &World, count: usize) -> Vec<Entity> {
    let customers: Vec<_> = (0..count).map(|_| Entity::new(Kind::Customer, "ACTIVE")).collect();
    world.import(&customers);
    customers
}

pub fn rename(customer: &Entity, name: &str) -> Draft {
    custom_name(&unique("r"), &customer.by_ref_id(), name).key(&customer.ref_id).header("correlation-id", unique("c"))
}

/// Makes a command that request validation refuses, so that its answer needs no entity.
fn refused() -> Draft {
    let customer = Entity::new(Kind::Customer, "ACTIVE");
    custom_name(&unique("r"), &customer.by_ref_id(), "").key(&customer.ref_id).header("correlation-id", unique("c"))
}

/// Puts a record of `size` zeros onto partition 0 of the command topic, compressed, and returns its offset.
pub fn send_zeros(world: &World, size: usize, codec: &str, correlation: &str) -> i64 {
    send_compressed(world, None, &vec![0; size], codec, correlation)
}

/// Puts a record onto partition 0 of the command topic, compressed, and returns its offset.
fn send_compressed(world: &World, key: Option<&str>, value: &[u8], codec: &str, correlation: &str) -> i64 {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", world.kafka())
        .set("compression.codec", codec)
        .set("message.max.bytes", "500000000")
        .create()
        .expect("a producer");
    let headers = OwnedHeaders::new().insert(Header { key: "correlation-id", value: Some(correlation) });
    let mut record = FutureRecord::<str, _>::to(&world.commands).partition(0).payload(value).headers(headers);
    record.key = key;
    let sent = runtime().block_on(producer.send(record, Inbox::PATIENCE));
    sent.unwrap_or_else(|(e, _)| panic!("the broker does not take {} bytes by {codec}: {e}", value.len())).offset
}

/// Sets how many bytes a second the producer of a slot may write, or no bound with `None`.
pub fn set_quota(kafka: &str, slot: &str, rate: Option<u32>) {
    let jars = servers::kafka_jars().expect("who has a Kafka has its jars");
    let mut tool = Command::new("java");
    tool.arg("-cp").arg(jars.join("*")).args(["kafka.admin.ConfigCommand", "--bootstrap-server", kafka, "--alter"]);
    tool.args(["--entity-type", "clients", "--entity-name", &format!("crm-processor-{slot}")]);
    match rate {
        Some(rate) => tool.args(["--add-config", &format!("producer_byte_rate={rate}")]),
        None => tool.args(["--delete-config", "producer_byte_rate"]),
    };
    servers::finish(&mut tool).unwrap_or_else(|said| panic!("no quota: {said}"));
}

pub fn correlation(draft: &Draft) -> &[u8] {
    let header = draft.headers.iter().find(|(name, _)| name == "correlation-id").and_then(|(_, value)| value.as_deref());
    header.expect("it was given one")
}

/// Waits until each of these commands has its reply, and fails if one has two.
fn assert_answered_once(world: &World, drafts: &[&Draft]) {
    let count = |records: &[Arc<Record>]| {
        let replies = records.iter().filter(|r| world.holds_replies(&r.topic));
        replies.filter_map(|r| r.header("correlation-id").map(<[u8]>::to_vec)).fold(HashMap::new(), |mut all, id| {
            *all.entry(id).or_insert(0_usize) += 1;
            all
        })
    };
    let replies = world.inbox.until(&format!("{} replies", drafts.len()), |records| {
        let replies = count(records);
        drafts.iter().all(|draft| replies.contains_key(correlation(draft))).then_some(replies)
    });
    let twice: Vec<_> = drafts.iter().filter(|draft| replies[correlation(draft)] > 1).collect();
    assert!(twice.is_empty(), "answered more than once: {twice:?}");
}

/// Returns the drafts on partition 0, and the others.
fn by_partition<'a>(drafts: &'a [Draft], sent: &[Sent], partition: i32) -> (Vec<&'a Draft>, Vec<&'a Draft>) {
    let (there, others): (Vec<_>, Vec<_>) = drafts.iter().zip(sent).partition(|(_, sent)| sent.partition == partition);
    let drafts = |pairs: Vec<(&'a Draft, &Sent)>| pairs.into_iter().map(|(draft, _)| draft).collect();
    (drafts(there), drafts(others))
}

#[test]
fn a_record_that_is_huge_inflated_becomes_a_stub_and_everybody_else_goes_on() {
    let Some(world) = World::set_up("inflated", |_| {}) else { return };
    let customers = customers(&world, 12);
    let processor = world.run();
    let id = unique("c");
    let offset = send_zeros(&world, HUGE, "gzip", &id);
    let drafts: Vec<_> = customers.iter().map(|c| rename(c, "after it")).collect();
    for reply in world.ask_all(&drafts) {
        assert_eq!(reply.body["statusCode"], 200, "{reply:?}");
    }
    let reply = world
        .inbox
        .first("the reply to the huge record", |r| world.holds_replies(&r.topic) && r.text("correlation-id") == Some(&id));
    assert_eq!((&reply.body["statusCode"], &reply.body["errors"][0]["code"]), (&400.into(), &"CASM-RECORD-UNREADABLE".into()));
    let stub = world.inbox.first("its stub", |r| r.topic == world.dlq && r.text("crm-stub") == Some("true"));
    let json: serde_json::Value = serde_json::from_slice(stub.value.as_deref().expect("a stub has a value")).expect("JSON");
    let hexadecimal = sha256(&vec![0; HUGE]).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    assert_eq!(
        (&json["topic"], &json["partition"], &json["offset"], &json["valueBytes"], &json["sha256"]),
        (&world.commands.as_str().into(), &0.into(), &offset.into(), &HUGE.into(), &hexadecimal.into()),
        "{json}"
    );
    assert_eq!(stub.text("__connect.errors.exception.class.name"), Some("crm.TooLarge"));
    let highest = processor.memory_kib("VmHWM") / 1024;
    assert!(highest < 512, "it took {highest} MiB");
    processor.until_metric("crm_consumer_lag_records", 0);
}

#[test]
fn what_can_t_be_decompressed_stops_its_partition_and_says_so_until_the_operator_has_it_stepped_over() {
    let Some(world) = World::set_up("undecodable", |_| {}) else { return };
    let processor = world.run();
    let offset = send_zeros(&world, TOO_HUGE_FOR_ZSTD, "zstd", &unique("c"));
    let drafts: Vec<_> = (0..40).map(|_| refused()).collect();
    let sent = world.send_all(&drafts);
    let (behind, others) = by_partition(&drafts, &sent, 0);
    assert!(!behind.is_empty() && !others.is_empty(), "{sent:?}");
    assert_answered_once(&world, &others);
    // The others' commands are taken.
    let stands = format!("{}/0 at offset {offset}", world.commands);
    processor.until_readyz_is(|status, body| status == 200 && body.contains(&stands));
    processor.until_metric("crm_partitions_undecodable", 1);
    processor.signal("TERM");
    assert_eq!(processor.wait(), 0);

    let stepping = world.start_with(&unique("slot"), &[("CRM__KAFKA__UNDECODABLE_BATCHES", "dead_letter")]);
    assert_answered_once(&world, &behind);
    let stub = world.inbox.first("a stub", |r| r.topic == world.dlq && r.has("crm-stub"));
    let json: serde_json::Value = serde_json::from_slice(stub.value.as_deref().expect("a stub has a value")).expect("JSON");
    assert_eq!((&json["partition"], &json["offset"], json["sha256"].is_null()), (&0.into(), &offset.into(), true), "{json}");
    assert_eq!(stub.text("__connect.errors.exception.class.name"), Some("crm.Undecodable"));
    stepping.until_metric("crm_partitions_undecodable", 0);
    stepping.until_metric("crm_consumer_lag_records", 0);
    assert_answered_once(&world, &drafts.iter().collect::<Vec<_>>());
}

#[test]
fn a_command_topic_that_is_made_again_is_noticed_and_read_from_its_beginning() {
    let Some(world) = World::set_up("made-again", |_| {}) else { return };
    let mut processor = world.run();
    world.ask_all(&(0..60).map(|_| refused()).collect::<Vec<_>>());
    topics::delete(&world.commands);
    topics::create(world.kafka(), &[(&world.commands, PARTITIONS)], LARGEST_RECORD);
    // First come fewer commands than were on the old topic, then more.
    for count in [20, 200] {
        let drafts: Vec<_> = (0..count).map(|_| refused()).collect();
        world.send_all(&drafts);
        let deadline = Instant::now() + Inbox::PATIENCE;
        let are_answered = || {
            let replies = world.inbox.all(|r| world.holds_replies(&r.topic));
            let ids: HashSet<_> = replies.iter().filter_map(|r| r.header("correlation-id")).collect();
            drafts.iter().all(|draft| ids.contains(correlation(draft)))
        };
        while !are_answered() {
            if let Some(status) = processor.ended() {
                let log = processor.log();
                assert!(!status.success() && log.contains("is not the one that it was"), "{status}: {log}");
                processor = world.start(&unique("slot"));
            }
            assert!(Instant::now() < deadline, "not all of {count} are answered; {}", processor.log_tail());
            crate::pause();
        }
    }
}

#[test]
fn a_coordinator_that_takes_little_metadata_and_a_broker_that_drops_large_requests_stop_nobody_else() {
    // 62 characters of base64 stand for 372 records.
    let settings = "offset.metadata.max.bytes=64\nsocket.request.max.bytes=2000000";
    let Some(kafka) = OwnServer::kafka_with(settings) else { return };
    let Some(cassandra) = servers::cassandra() else { return };
    let world = World::set_up_on(kafka.address(), cassandra, "short-metadata", |_| {});
    let processor = world.run();
    topics::delete_on(kafka.address(), &world.dlq);
    let held = Draft::raw(Some(unique("not wire format").into_bytes())).key("held").header("correlation-id", unique("c"));
    let Sent { partition, .. } = world.send(&held);
    let drafts: Vec<_> = (0..4_000).map(|_| refused()).collect();
    let sent = world.send_all(&drafts);
    let (beside, others) = by_partition(&drafts, &sent, partition);
    assert!(beside.len() > 600, "{} on partition {partition}", beside.len());
    assert_answered_once(&world, &others);
    processor.until_readyz_is(|status, body| status == 200 && body.contains("offset.metadata.max.bytes"));
    processor.until_metric("crm_offset_metadata_short", 1);
    processor.until_metric("crm_partitions_paused", 1);

    topics::create(kafka.address(), &[(&world.dlq, 3)], LARGEST_RECORD);
    assert_answered_once(&world, &beside);
    assert_answered_once(&world, &[&held]);
    processor.until_metric("crm_consumer_lag_records", 0);
    assert_answered_once(&world, &drafts.iter().collect::<Vec<_>>());

    // The topic would take the record. But the broker takes no request of this size, and drops the connection.
    let offset = send_zeros(&world, 3_000_000, "gzip", &unique("c"));
    let after: Vec<_> = (0..20).map(|_| refused()).collect();
    world.send_all(&after);
    assert_answered_once(&world, &after.iter().collect::<Vec<_>>());
    let stub = world.inbox.first("a stub", |r| r.topic == world.dlq && r.text("crm-stub") == Some("true"));
    let json: serde_json::Value = serde_json::from_slice(stub.value.as_deref().expect("a stub has a value")).expect("JSON");
    assert_eq!((&json["offset"], &json["valueBytes"]), (&offset.into(), &3_000_000.into()), "{json}");
    processor.until_metric("crm_consumer_lag_records", 0);
    assert_eq!(processor.metric("crm_records_held"), 0);

    // A reply has the key of its command, and no other place: so this record is held, and told like any other that is.
    send_compressed(&world, Some(&"k".repeat(3_000_000)), b"not wire format", "gzip", &unique("c"));
    let after: Vec<_> = (0..20).map(|_| refused()).collect();
    world.send_all(&after);
    assert_answered_once(&world, &after.iter().collect::<Vec<_>>());
    processor.until_metric("crm_records_held", 1);
    let says = ["the processor holds", &world.replies, "not taken in time"];
    processor.until_readyz_is(|status, body| status == 200 && says.iter().all(|part| body.contains(part)));
    processor.until_metric_at_least("crm_oldest_held_record_age_seconds", 1);
}

#[test]
fn a_coordinator_that_takes_no_metadata_at_all_stops_nobody() {
    let Some(kafka) = OwnServer::kafka_with("offset.metadata.max.bytes=1") else { return };
    let Some(cassandra) = servers::cassandra() else { return };
    let world = World::set_up_on(kafka.address(), cassandra, "no-metadata", |_| {});
    let processor = world.run();
    let drafts: Vec<_> = (0..200).map(|_| refused()).collect();
    world.send_all(&drafts);
    assert_answered_once(&world, &drafts.iter().collect::<Vec<_>>());
    processor.until_metric("crm_consumer_lag_records", 0);
    assert!(processor.log().contains("too little metadata for the topic's id"), "{}", processor.log_tail());
}

#[test]
fn under_a_quota_that_no_full_transaction_meets_the_backlog_is_answered_by_smaller_ones() {
    const SLOT: &str = "throttled";
    let Some(kafka) = OwnServer::kafka() else { return };
    let Some(cassandra) = servers::cassandra() else { return };
    let world = World::set_up_on(kafka.address(), cassandra, "quota", |_| {});
    let customers = customers(&world, 100);
    let drafts: Vec<_> = (0..10).flat_map(|n| customers.iter().map(move |c| rename(c, &format!("name {n}")))).collect();
    world.send_all(&drafts);
    set_quota(kafka.address(), SLOT, Some(30_000));
    let processor = world.start(SLOT);
    assert_answered_once(&world, &drafts.iter().collect::<Vec<_>>());
    let ended = |result: &str| processor.metric(&format!("crm_kafka_transactions_total{{result=\"{result}\"}}"));
    assert!(ended("aborted") + ended("unknown") > 0, "the quota was not felt");
    assert_eq!(processor.metric("crm_records_held"), 0);
}
