//! Tests outputs that the broker refuses, because a topic has vanished or takes smaller records than before. The other records of
//! their key wait, everybody else is answered, and an operator can see what is wrong. When the topic takes the outputs again, all
//! are published: each once, and in order under each key.

use crate::crm::{Draft, Entity, Kind, custom_name, rename, segment, unique};
use crate::inbox::{Inbox, Record};
use crate::world::{LARGEST_RECORD, PARTITIONS, Processor, World};
use crate::{servers, topics};
use std::sync::Arc;

/// A size that a topic of [`SMALL`] does not take.
const BALLAST: usize = 20_000;
const SMALL: usize = 8_000;

fn world_with_customers(name: &str, count: usize) -> Option<(World, Vec<Entity>)> {
    let world = World::set_up(name, |_| {})?;
    let customers: Vec<_> = (0..count).map(|_| Entity::new(Kind::Customer, "ACTIVE")).collect();
    world.import(&customers);
    Some((world, customers))
}

fn rename_customer(customer: &Entity, name: &str) -> Draft {
    custom_name(&unique("r"), &customer.by_ref_id(), name).key(&customer.ref_id)
}

fn unreadable(key: &str, correlation: &str) -> Draft {
    Draft::raw(Some(correlation.as_bytes().to_vec())).key(key).header("correlation-id", correlation)
}

/// Checks that commands under keys of their own are answered as ever.
fn assert_others_go_on(world: &World, customers: &[Entity]) {
    let commands: Vec<_> = customers.iter().map(|c| custom_name(&unique("r"), &c.by_ref_id(), "")).collect();
    for reply in world.ask_all(&commands) {
        assert_eq!(reply.body["statusCode"], 400, "an empty name is refused: {reply:?}");
    }
}

/// Checks what an operator sees while records are held.
fn assert_held(processor: &Processor, count: u64, topic: &str) {
    processor.until_metric("crm_records_held", count);
    processor.until_metric_at_least("crm_oldest_held_record_age_seconds", 1);
    assert!(processor.metric("crm_outputs_refused_total") > 0);
    // It takes commands, and names the topic.
    processor.until_readyz_is(|status, body| status == 200 && body.contains(topic));
    let log = processor.log();
    let line = log.lines().find(|line| line.contains("held") && line.contains(topic));
    let line = line.unwrap_or_else(|| panic!("no line names {topic}: {}", processor.log_tail()));
    assert!(line.contains("command_partition") && line.contains("command_offset"), "{line}");
}

/// Checks what an operator sees when all is well again.
fn assert_nothing_held(processor: &Processor) {
    for metric in ["crm_records_held", "crm_oldest_held_record_age_seconds", "crm_consumer_lag_records"] {
        processor.until_metric(metric, 0);
    }
    // The processor looks at its topics every ten seconds, so it may still call a topic gone that was made again.
    processor.until_readyz(|body| body.contains("\"ready\":true") && body.contains("\"warnings\":[]"));
}

/// Returns the correlation ids of the replies, in the order of their partitions.
fn correlations(replies: &[Arc<Record>]) -> Vec<&str> {
    replies.iter().map(|r| r.text("correlation-id").expect("each has one")).collect()
}

/// Waits for so many replies with a key, and returns them.
fn replies_under(world: &World, key: &str, count: usize) -> Vec<Arc<Record>> {
    let is_reply = |r: &Arc<Record>| r.topic == world.replies && r.key.as_deref() == Some(key.as_bytes());
    world.inbox.until(&format!("{count} replies under {key}"), |records| {
        let replies: Vec<_> = records.iter().filter(|r| is_reply(r)).cloned().collect();
        (replies.len() >= count).then_some(replies)
    })
}

#[test]
fn while_the_dlq_is_gone_dead_letters_are_held_and_the_others_go_on() {
    let Some((world, customers)) = world_with_customers("no-dlq", 3) else { return };
    let processor = world.run();
    let before = unreadable(&unique("k"), &unique("c"));
    world.ask(&before);

    topics::delete(&world.dlq);
    let key = customers[0].ref_id.clone();
    let ids: Vec<_> = (0..4).map(|_| unique("c")).collect();
    let good = rename_customer(&customers[0], "Ada").header("correlation-id", &ids[3]);
    let mut drafts: Vec<_> = ids[..3].iter().map(|id| unreadable(&key, id)).collect();
    drafts.push(good);
    let keyless: Vec<_> = (0..3).map(|_| unreadable("", &unique("c")).without_key()).collect();
    world.send_all(&[&drafts[..], &keyless[..]].concat());
    assert_others_go_on(&world, &customers);
    // The readable record waits, too, behind the others of its key.
    assert_held(&processor, 7, &world.dlq);
    assert_others_go_on(&world, &customers);

    topics::create(world.kafka(), &[(&world.dlq, 3)], LARGEST_RECORD);
    let replies = replies_under(&world, &key, 4);
    assert_eq!(correlations(&replies), ids, "in the order of the commands, each once");
    assert_nothing_held(&processor);
    let dlq = Inbox::open(servers::kafka().expect("is up"), &[&world.dlq], &[]);
    let dead = dlq.until("6 dead letters", |records| (records.len() >= 6).then(|| records.to_vec()));
    assert_eq!(dead.len(), 6, "{dead:?}");
    let under_key: Vec<_> = dead.into_iter().filter(|r| r.key.as_deref() == Some(key.as_bytes())).collect();
    assert_eq!(correlations(&under_key), ids[..3], "in the order of the commands, each once");
    for draft in &keyless {
        assert_eq!(dlq.all(|r| r.value == draft.value()).len(), 1, "{draft:?}");
    }
    assert_eq!(world.transactions(&customers[0]).len(), 1);
}

#[test]
fn while_the_transactions_topic_is_gone_changes_are_held_and_refusals_go_on() {
    const CHANGES: usize = 5;
    let Some((world, customers)) = world_with_customers("no-transactions", 4) else { return };
    let processor = world.run();
    world.ask_all(&customers.iter().map(|c| rename_customer(c, "before")).collect::<Vec<_>>());

    topics::delete(&world.transactions);
    let changes: Vec<_> = (0..CHANGES)
        .flat_map(|n| {
            customers[..2].iter().map(move |c| rename_customer(c, &n.to_string()).header("correlation-id", unique("c")))
        })
        .collect();
    world.send_all(&changes);
    assert_others_go_on(&world, &customers);
    assert_held(&processor, 2 * CHANGES as u64, &world.transactions);
    let dead = unreadable(&unique("k"), &unique("c"));
    world.ask(&dead);
    world.inbox.first("a dead letter meanwhile", |r| r.topic == world.dlq && r.key == dead.key);

    topics::create(world.kafka(), &[(&world.transactions, 3)], LARGEST_RECORD);
    for customer in &customers[..2] {
        let replies = replies_under(&world, &customer.ref_id, CHANGES + 1);
        let versions: Vec<_> = replies.iter().map(|r| r.body["businessTransaction"]["version"].as_u64()).collect();
        assert_eq!(versions, (2..).map(Some).take(CHANGES + 1).collect::<Vec<_>>(), "in order, each once");
    }
    assert_nothing_held(&processor);
    let published = Inbox::open(servers::kafka().expect("is up"), &[&world.transactions], &[&world.transactions]);
    published.until("all changes", |records| (records.len() >= 2 * CHANGES).then_some(()));
    for customer in &customers[..2] {
        let records = published.all(|r| r.body["refId"] == customer.ref_id.as_str());
        let versions: Vec<_> = records.iter().map(|r| r.body["version"].as_u64()).collect();
        assert_eq!(versions, (3..).map(Some).take(CHANGES).collect::<Vec<_>>(), "in order, each once");
    }
}

#[test]
fn an_output_that_is_too_large_for_its_topic_is_held_until_the_limit_is_raised() {
    let Some((world, customers)) = world_with_customers("limits", 4) else { return };
    let processor = world.run();
    world.ask_all(&customers.iter().map(|c| rename_customer(c, "before")).collect::<Vec<_>>());
    topics::limit(&world.dlq, SMALL);
    topics::limit(&world.replies, SMALL);

    // A dead letter is too large, and a reply is too large because of its key.
    let large = Draft::raw(Some(vec![b'x'; BALLAST]));
    let long_key = format!("{}{}", unique("k"), "x".repeat(BALLAST));
    let answered = rename_customer(&customers[0], "Ada").key(&long_key);
    let behind = segment(&unique("r"), &customers[0].by_ref_id(), "ENTERPRISE").key(&long_key);
    world.send_all(&[large.clone(), answered, behind]);
    assert_others_go_on(&world, &customers);
    assert_held(&processor, 3, &world.dlq);
    assert_held(&processor, 3, &world.replies);
    let small = unreadable(&unique("k"), &unique("c"));
    world.ask(&small);
    world.inbox.first("a small dead letter meanwhile", |r| r.topic == world.dlq && r.key == small.key);

    topics::limit(&world.dlq, LARGEST_RECORD);
    topics::limit(&world.replies, LARGEST_RECORD);
    world.inbox.first("the dead letter", |r| r.topic == world.dlq && r.value == large.value());
    let replies = replies_under(&world, &long_key, 2);
    let versions: Vec<_> = replies.iter().map(|r| r.body["businessTransaction"]["version"].as_u64()).collect();
    assert_eq!(versions, [Some(3), Some(4)], "in order, each once");
    assert_nothing_held(&processor);
    assert_eq!(world.transactions(&customers[0]).len(), 3);
    assert_eq!(world.inbox.all(|r| r.topic == world.dlq).len(), 2, "each once");
}

#[test]
fn a_reply_that_its_named_topic_refuses_goes_to_the_default_topic() {
    let Some((world, customers)) = world_with_customers("named", 4) else { return };
    let processor = world.run();
    let named = |draft: Draft| draft.header("kafka_replyTopic", &world.other_replies);
    let reply = world.ask(&named(rename_customer(&customers[0], "before")));
    assert_eq!(reply.topic, world.other_replies);

    topics::limit(&world.other_replies, SMALL);
    let long_key = format!("{}{}", unique("k"), "x".repeat(BALLAST));
    let commands =
        [named(rename_customer(&customers[1], "large").key(&long_key)), named(rename_customer(&customers[2], "small"))];
    let replies = world.ask_all(&commands);
    assert_eq!([&replies[0].topic, &replies[1].topic], [&world.replies, &world.other_replies]);

    topics::delete(&world.other_replies);
    let account = Entity::new(Kind::Account, "ACTIVE");
    world.import(std::slice::from_ref(&account));
    let renamed = rename(Kind::Account, &unique("r"), &account.by_ref_id(), &unique("a")).key(&account.ref_id);
    let replies = world.ask_all(&[named(rename_customer(&customers[0], "gone")), named(renamed)]);
    for reply in &replies {
        assert_eq!((&reply.topic, &reply.body["statusCode"]), (&world.replies, &200.into()), "{reply:?}");
    }
    processor.until_metric_at_least("crm_reply_topics_refused_total", 3);
    processor.until_metric("crm_records_held", 0);
    processor.until_metric("crm_partitions_assigned", u64::from(PARTITIONS.unsigned_abs()));
    assert_eq!(world.transactions(&customers[1]).len(), 1);
}

#[test]
fn a_reply_goes_elsewhere_only_if_it_is_too_slow_alone_twice() {
    let Some((world, customers)) = world_with_customers("slow-broker", 1) else { return };
    // The first transaction takes too long, as while a broker fails; so do the third and the fourth.
    let late = "producing=1*sleep(9200)->1*off->2*sleep(9200)->off";
    let processor = world.start_with(&unique("slot"), &[("FAILPOINTS", late)]);
    for (expected, times_late) in [(&world.other_replies, 1), (&world.replies, 3)] {
        let command = rename_customer(&customers[0], &unique("n")).header("kafka_replyTopic", &world.other_replies);
        let reply = world.ask(&command);
        assert_eq!((&reply.topic, &reply.body["statusCode"]), (expected, &200.into()), "{reply:?}");
        processor.until_metric("crm_kafka_transactions_total{result=\"unknown\"}", times_late);
        assert_eq!(processor.metric("crm_reply_topics_refused_total"), u64::from(times_late > 1));
    }
    assert_eq!(processor.metric("crm_records_held"), 0, "nothing is held");
}
