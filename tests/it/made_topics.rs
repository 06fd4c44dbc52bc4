//! Tests brokers that make topics by themselves, and that have other settings for which nobody asked.

use crate::crm::{Entity, Kind, custom_name, unique};
use crate::servers;
use crate::servers::own::OwnServer;
use crate::topics;
use crate::world::World;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer};
use std::time::Duration;

/// The settings of a broker that was set up carelessly.
const SETTINGS: &str = "auto.create.topics.enable=true\noffset.metadata.max.bytes=1000";

#[test]
fn a_topic_that_is_deleted_and_made_by_the_brokers_is_noticed_and_check_says_what_it_lacks() {
    let Some(cassandra) = servers::cassandra() else { return };
    let Some(kafka) = OwnServer::kafka_with(SETTINGS) else { return };
    let world = World::set_up_on(kafka.address(), cassandra, "made-topics", |config| {
        let kafka = config["kafka"].as_table_mut().expect("is a table");
        let replies = kafka["topics"]["replies"].clone();
        kafka.insert("reply_topic_allow_list".into(), vec![replies].into());
    });
    let checked = world.cli("check", &[]).exits(1);
    let says = |checked: &crate::world::Finished, kind: &str, parts: &[&str]| {
        let mut lines = checked.stdout.lines().filter(|line| line.starts_with(kind));
        assert!(lines.any(|line| parts.iter().all(|part| line.contains(part))), "{kind} {parts:?}: {checked}");
    };
    let metadata = ["offset.metadata.max.bytes is 1000", "set offset.metadata.max.bytes=4096"];
    says(&checked, "  !!  broker", &metadata);
    says(&checked, "  --  broker", &["auto.create.topics.enable is true", "set auto.create.topics.enable=false"]);
    assert_eq!(checked.stdout.lines().filter(|line| line.starts_with("  !!")).count(), 1, "nothing else is wrong: {checked}");

    let customer = Entity::new(Kind::Customer, "ACTIVE");
    world.import(std::slice::from_ref(&customer));
    let processor = world.run();
    let ask = || world.ask(&custom_name(&unique("r"), &customer.by_ref_id(), &unique("name")));
    assert_eq!(ask().body["statusCode"], 200);
    processor.until_metric("crm_topics_changed", 0);
    // The process has seen the topics before they are deleted, because it looks at them when it begins.
    for topic in [&world.dlq, &world.transactions] {
        topics::delete_on(world.kafka(), topic);
    }
    let said = processor.until_readyz(|body| body.contains("is gone"));
    assert!(said.contains(&format!("{} is gone (it had 3 partitions)", world.dlq)), "{said}");
    // Our clients don't have topics made by asking for them, so another client does it here.
    let other: BaseProducer = ClientConfig::new().set("bootstrap.servers", world.kafka()).create().expect("a producer");
    for topic in [&world.dlq, &world.transactions] {
        let _ = other.client().fetch_metadata(Some(topic), Duration::from_secs(30)).expect("the broker answers");
    }
    let made_again = |topic: &str| format!("{topic} has 1 partition (it had 3)");
    processor.until_readyz(|body| [&world.dlq, &world.transactions].iter().all(|topic| body.contains(&made_again(topic))));
    processor.until_metric("crm_topics_changed", 2);
    let checked = world.cli("check", &[]).exits(1);
    for topic in [&world.dlq, &world.transactions] {
        says(&checked, "  !!  topic", &[topic, "it has 1 partition and no max.message.bytes or cleanup.policy of its own"]);
    }
    says(&checked, "  !!  topic", &[&world.dlq, "max.message.bytes is 1048588"]);
    says(&checked, "  !!  broker", &metadata);
    println!("{}", checked.stdout);
    assert_eq!(ask().body["statusCode"], 200, "and it goes on");
}
