//! Tests calls that do not return; a fail point takes the place of the defect. If it is the publisher's, the call is reported, its
//! producer is abandoned, another takes over, and each record has one answer. If such calls pile up, or the consuming thread hangs,
//! the process ends with an error. If nothing else tells why no command is answered, `/livez` fails.

use crate::crm::{Entity, Kind, custom_name, unique};
use crate::inbox::Inbox;
use crate::ledger::Ledger;
use crate::servers;
use crate::world::{Processor, World};
use crm_processor::kafka::publishing::ABANDONED_AT_MOST;
use crm_processor::telemetry::health::STUCK_AFTER;
use std::time::Instant;

#[test]
fn a_publisher_whose_call_does_not_return_is_replaced_and_nothing_is_lost_or_doubled() {
    let Some(_) = servers::kafka() else { return };
    let Some(world) = World::set_up("hanging", |_| ()) else { return };
    let customer = Entity::new(Kind::Customer, "ACTIVE");
    world.import(std::slice::from_ref(&customer));
    // The first registration and a call of the second transaction hang for longer than the test takes.
    let calls = "registering=1*sleep(600000)->off;sending-offsets=1*off->1*sleep(600000)->off";
    let processor = world.start_with(&unique("slot"), &[("FAILPOINTS", calls)]);
    processor.until_metric("crm_publishers_abandoned_total", 1);
    processor.until_ready();
    let correlations: Vec<_> = (0..60).map(|_| unique("c")).collect();
    let draft = |correlation: &String| {
        let draft = custom_name(&unique("r"), &customer.by_ref_id(), correlation).key(&customer.ref_id);
        draft.header("correlation-id", correlation)
    };
    world.send(&draft(&correlations[0]));
    // The others are in a later transaction, however slow the machine is.
    let is_first = |r: &crate::inbox::Record| r.header("correlation-id") == Some(correlations[0].as_bytes());
    world.inbox.first("the first reply", |r| r.topic == world.replies && is_first(r));
    world.send_all(&correlations[1..].iter().map(draft).collect::<Vec<_>>());
    std::thread::scope(|scope| {
        // It is said for the few seconds until the publisher is abandoned.
        let named = scope.spawn(|| until_readyz_names(&processor, "send_offsets_to_transaction"));
        for age in ["crm_kafka_transaction_age_seconds", "crm_oldest_call_age_seconds", "crm_stalled_seconds"] {
            processor.until_metric_at_least(age, 1);
        }
        assert_eq!(named.join().expect("it is named"), 503);
    });
    assert_eq!(processor.get("/livez").0, 200, "it helps itself");
    processor.until_metric("crm_publishers_abandoned_total", 2);
    let ledger = Ledger::close(&world, &correlations);
    assert_eq!(ledger.with_status(200), correlations.len(), "each is answered once");
    processor.until_ready_is(true);
    assert_eq!(processor.metric("crm_publishers_stuck"), 2, "the calls have still not returned");
    let log = processor.log();
    assert!(log.contains("a call into the Kafka client does not return"), "{log}");
}

#[test]
fn a_process_whose_calls_all_hang_ends_with_an_error_that_says_so() {
    let Some(_) = servers::kafka() else { return };
    let Some(world) = World::set_up("hanging-all", |_| ()) else { return };
    let customer = Entity::new(Kind::Customer, "ACTIVE");
    world.import(std::slice::from_ref(&customer));
    let processor = world.start_with(&unique("slot"), &[("FAILPOINTS", "sending-offsets=sleep(600000)")]);
    processor.until_ready();
    let draft = custom_name(&unique("r"), &customer.by_ref_id(), "late").header("correlation-id", unique("c"));
    world.send(&draft);
    // One publisher after another is given up, each after 11 s.
    assert_eq!(processor.wait_for(2 * Inbox::PATIENCE), 1, "{}", processor.log_tail());
    let (log, left) = (processor.log(), ABANDONED_AT_MOST + 1);
    let message = format!("{left} calls into the Kafka client have not returned");
    assert!(log.contains(&message) && log.contains("send_offsets_to_transaction"), "{log}");

    // Another process goes on where the first one stopped.
    let _another = world.run();
    let correlation = draft.headers[0].1.clone();
    let reply =
        world.inbox.first("the reply", |r| r.topic == world.replies && r.header("correlation-id") == correlation.as_deref());
    assert_eq!(reply.body["statusCode"], 200, "{reply:?}");
}

/// Four processors hang at once, each in a consumer group of its own, because the bound is two minutes.
#[test]
fn a_process_that_only_a_restart_helps_is_not_alive_or_ends() {
    let Some(_) = servers::kafka() else { return };
    let worlds = ["hanging-lane", "hanging-poll", "hanging-loop", "hanging-fetch"].map(|name| World::set_up(name, |_| ()));
    let [Some(of_lane), Some(of_consumer), Some(of_loop), Some(of_client)] = worlds else { return };
    let begin = |world: &World, calls: &str| {
        let customer = Entity::new(Kind::Customer, "ACTIVE");
        world.import(std::slice::from_ref(&customer));
        let processor = world.start_with(&unique("slot"), &[("FAILPOINTS", calls)]);
        if calls.starts_with("fetching") {
            // What comes with the assignment may still be fetched.
            processor.until_ready();
            crate::long_pause();
        }
        let correlation = unique("c");
        world.send(&custom_name(&unique("r"), &customer.by_ref_id(), &correlation).header("correlation-id", &correlation));
        (processor, correlation)
    };
    let (lane, hung) = begin(&of_lane, "deciding=1*sleep(600000)->off");
    let (consumer, unread) = begin(&of_consumer, "polling=100*off->1*sleep(600000)->off");
    let (client, unfetched) = begin(&of_client, "fetching=return");
    let (looping, unseen) = begin(&of_loop, "coming-round=1*off->1*sleep(600000)->off");

    until_readyz_names(&lane, "commands wait for the store");
    assert_eq!(lane.get("/livez").0, 200, "it may still go on");
    assert_eq!(until_readyz_names(&client, "the Kafka client fetches nothing from partitions"), 200);
    assert_eq!(client.get("/livez").0, 200, "it may still go on");
    client.until_metric_at_least("crm_consumer_lag_records", 1);
    assert_eq!(until_readyz_names(&consumer, "the Kafka consumer has been in poll"), 503);
    for processor in [&lane, &client] {
        let deadline = Instant::now() + STUCK_AFTER + Inbox::PATIENCE;
        while processor.get("/livez").0 == 200 {
            assert!(Instant::now() < deadline, "/livez never failed; {}", processor.log_tail());
            crate::pause();
        }
    }
    assert_eq!(consumer.wait(), 1, "{}", consumer.log_tail());
    let log = consumer.log();
    assert!(log.contains("the Kafka consumer has been in poll") && log.contains("to be started anew"), "{log}");

    looping.wait();
    let log = looping.log();
    assert!(log.contains("main loop does not come round any more") && log.contains("consumer S "), "{log}");

    // The orchestrator kills the two, and starts all anew.
    lane.kill();
    client.kill();
    let left = [(&of_lane, hung), (&of_consumer, unread), (&of_loop, unseen), (&of_client, unfetched)];
    for (world, correlation) in left {
        let _another = world.run();
        assert_eq!(Ledger::close(world, &[correlation]).with_status(200), 1);
    }
}

/// Waits until `/readyz` has this text, and returns its status.
fn until_readyz_names(processor: &Processor, text: &str) -> u16 {
    let deadline = Instant::now() + Inbox::PATIENCE;
    loop {
        let (status, body) = processor.get("/readyz");
        if body.contains(text) {
            return status;
        }
        assert!(Instant::now() < deadline, "expected: {text}\ngot: {status} {body}; {}", processor.log_tail());
        crate::pause();
    }
}
