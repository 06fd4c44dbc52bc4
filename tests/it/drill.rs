//! A drill: under a constant load, one cause after another is put in that could stop a partition or a process. Everybody whom a
//! cause does not concern must be answered within ten seconds, and `/readyz` must name the cause within ten seconds. The drill
//! measures, so it is not among the usual tests: `cargo test --test it -- --ignored --nocapture drill`. `CRM_DRILL_ROUNDS=n`
//! repeats it; a round takes some seven minutes.

use crate::brought::open_transaction;
use crate::crm::{Draft, Entity, unique};
use crate::odd_registry::{Fickle, ask_through, unread};
use crate::servers::own::OwnServer;
use crate::stoppages::{correlation, customers, rename, send_zeros, set_quota};
use crate::world::{LARGEST_RECORD, PARTITIONS, Processor, World};
use crate::{servers, topics};
use rdkafka::producer::Producer;
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The time within which the others must be answered, and the cause must be named.
const BOUND: Duration = Duration::from_secs(10);
/// How long a cause lasts.
const LASTS: Duration = Duration::from_secs(40);
const SLOT: &str = "drilled";

/// A cause: its name, and the text that `/readyz` must have about it.
struct Cause<'a> {
    name: &'static str,
    saying: Option<&'a str>,
}

fn cause<'a>(name: &'static str, saying: Option<&'a str>) -> Cause<'a> {
    Cause { name, saying }
}

/// The effect of a cause: how long the slowest of the others took, and when the cause was named.
struct Outcome {
    name: &'static str,
    others: usize,
    slowest: Duration,
    named: Option<Duration>,
    must_be_named: bool,
}

/// Puts a cause in under load, keeps it for a while, takes it away, and waits until all commands are answered. `put_in` returns
/// the partition whose commands may wait.
fn go(
    (world, customers): (&World, &[Entity]),
    cause: &Cause<'_>,
    processor: &Processor,
    put_in: impl FnOnce() -> Option<i32>,
    take_away: impl FnOnce(),
) -> Outcome {
    let over = AtomicBool::new(false);
    let (asked, concerned, named, said) = thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut asked = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let draft = rename(&customers[asked.len() % customers.len()], &unique("name"));
                let at = Instant::now();
                let sent = world.send(&draft);
                asked.push((correlation(&draft).to_vec(), at, sent.partition));
                crate::pause();
            }
            asked
        });
        let concerned = put_in();
        let since = Instant::now();
        let (mut named, mut said) = (None, String::new());
        while since.elapsed() < LASTS {
            let (_, body) = processor.get("/readyz");
            if named.is_none() && cause.saying.is_some_and(|saying| body.contains(saying)) {
                (named, said) = (Some(since.elapsed()), body);
            }
            crate::pause();
        }
        take_away();
        over.store(true, Ordering::Relaxed);
        (load.join().expect("it sends until it is over"), concerned, named, said)
    });
    let answered = world.inbox.until(&format!("all to be answered after {}", cause.name), |records| {
        let replies = records.iter().filter(|r| r.topic == world.replies);
        let seen: HashMap<&[u8], Instant> = replies.filter_map(|r| Some((r.header("correlation-id")?, r.seen))).collect();
        let times = asked.iter().map(|(id, at, partition)| Some((*partition, *seen.get(id.as_slice())? - *at)));
        times.collect::<Option<Vec<_>>>()
    });
    let others: Vec<_> = answered.iter().filter(|(partition, _)| Some(*partition) != concerned).map(|(_, took)| *took).collect();
    let slowest = others.iter().max().copied().unwrap_or_default();
    println!(
        "{:24} {:4} others, slowest {:5.2} s; named after {named:?}: {said}",
        cause.name,
        others.len(),
        slowest.as_secs_f64()
    );
    Outcome { name: cause.name, others: others.len(), slowest, named, must_be_named: cause.saying.is_some() }
}

/// The command topic is deleted and made again: the process begins anew on it, or ends so that a successor does. Until then
/// everybody is concerned, so only commands that come afterwards count.
fn made_again(all: (&World, &[Entity]), partitions: i32, mut processor: Processor) -> (Processor, Outcome) {
    let (world, customers) = all;
    topics::delete_on(world.kafka(), &world.commands);
    // The topic gets as many partitions as before, because producers that knew of more would go on sending to them.
    topics::create(world.kafka(), &[(&world.commands, partitions)], LARGEST_RECORD);
    world.until_commands_are_known(usize::try_from(partitions).expect("is small"));
    let since = Instant::now();
    let early: Vec<_> = customers.iter().map(|customer| rename(customer, &unique("name"))).collect();
    world.send_all(&early);
    while processor.ended().is_none() && since.elapsed() < BOUND {
        crate::pause();
    }
    if processor.ended().is_some() {
        let log = processor.log();
        assert!(log.contains("is not the one that it was"), "{log}");
        processor = world.run_as(SLOT);
    }
    let outcome = go(all, &cause("a topic made again", None), &processor, || None, || {});
    world.inbox.until("those who came at once to be answered", |records| {
        let replies = records.iter().filter(|r| r.topic == world.replies);
        let seen: HashMap<&[u8], Instant> = replies.filter_map(|r| Some((r.header("correlation-id")?, r.seen))).collect();
        let slowest = early.iter().map(|draft| seen.get(correlation(draft))).collect::<Option<Vec<_>>>()?.into_iter().max()?;
        println!("{:24} {:4} who came at once, slowest {:.2} s", outcome.name, early.len(), (*slowest - since).as_secs_f64());
        Some(())
    });
    (processor, outcome)
}

#[test]
#[ignore = "it measures; see the module"]
fn whatever_is_wrong_with_one_thing_the_others_are_answered() {
    let Some(kafka) = OwnServer::kafka() else { return };
    let Some(short) = OwnServer::kafka_with("offset.metadata.max.bytes=24") else { return };
    let Some(cassandra) = servers::cassandra() else { return };
    let fickle = Fickle::start();
    let world = World::set_up_on(kafka.address(), cassandra, "drill", |config| ask_through(&fickle, "wait", config));
    let short = World::set_up_on(short.address(), cassandra, "drill-short", |_| {});
    let (all, all_short) = (customers(&world, 200), customers(&short, 200));
    let rounds = std::env::var("CRM_DRILL_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let outcomes: Vec<_> = (0..rounds)
        .flat_map(|n| {
            let mut outcomes = round((&world, &all), &fickle, PARTITIONS + 1 + n);
            outcomes.push(little_metadata((&short, &all_short)));
            outcomes
        })
        .collect();
    for Outcome { name, others, slowest, named, must_be_named } in outcomes {
        assert!(others > 100 && slowest < BOUND, "{name}: the slowest of {others} others took {slowest:?}");
        assert!(!must_be_named || named.is_some_and(|named| named < BOUND), "{name} was named after {named:?}");
    }
}

/// Makes a round: puts in one cause after another. `partitions` is the number that the command topic gets, one more than it has.
fn round(all: (&World, &[Entity]), fickle: &Fickle, partitions: i32) -> Vec<Outcome> {
    let (world, customers) = all;
    let processor = world.run_as(SLOT);
    let mut outcomes = Vec::new();

    let put_in = || {
        send_zeros(world, 120_000_000, "gzip", &unique("c"));
        None
    };
    outcomes.push(go(all, &cause("a record huge inflated", None), &processor, put_in, || {}));

    let put_in = || {
        lose_dead_letters(world);
        None
    };
    let take_away = || make_dead_letters(world);
    outcomes.push(go(all, &cause("a topic that is gone", Some(&world.dlq)), &processor, put_in, take_away));

    let open = Cell::new(None);
    let put_in = || {
        open.set(Some(open_transaction(world, &unique("crm"), 1, &Draft::raw(Some(b"inside".to_vec())))));
        Some(1)
    };
    outcomes.push(go(all, &cause("an open transaction", Some("left a transaction open")), &processor, put_in, || {
        let producer = open.take().expect("it was opened");
        producer.abort_transaction(Duration::from_secs(30)).expect("it can be aborted");
    }));

    let quota = |rate| {
        set_quota(world.kafka(), SLOT, rate);
        None
    };
    let put_in = || quota(Some(60_000));
    outcomes.push(go(all, &cause("a quota", None), &processor, put_in, || _ = quota(None)));

    for (name, status, body) in
        [("a schema id answered 403", 403, ""), ("a schema id answered 500", 500, "{}"), ("a schema id answered {}", 200, "{}")]
    {
        let (draft, id) = unread(&customers[0]);
        let put_in = || {
            fickle.says(id, status, body, None);
            Some(world.send(&draft).partition)
        };
        let saying = format!("the schema with id {id},");
        outcomes.push(go(all, &cause(name, Some(&saying)), &processor, put_in, || fickle.forgets_what_it_says()));
    }

    let put_in = || {
        topics::add_partitions(world.kafka(), &world.commands, usize::try_from(partitions).expect("is small"));
        None
    };
    outcomes.push(go(all, &cause("partitions added", None), &processor, put_in, || {}));
    let (processor, outcome) = made_again(all, partitions, processor);
    outcomes.push(outcome);

    let saying = format!("{}/0 at offset", world.commands);
    let put_in = || {
        send_zeros(world, 110_000_000, "zstd", &unique("c"));
        Some(0)
    };
    let stepping = Cell::new(None);
    outcomes.push(go(all, &cause("a batch undecodable", Some(&saying)), &processor, put_in, || {
        stop(&processor);
        stepping.set(Some(world.start_with(SLOT, &[("CRM__KAFKA__UNDECODABLE_BATCHES", "dead_letter")])));
    }));
    stop(&stepping.take().expect("it was started"));
    outcomes
}

/// One record is held, while the coordinator takes little metadata, so its partition pauses soon.
fn little_metadata(all: (&World, &[Entity])) -> Outcome {
    let (world, customers) = all;
    let processor = world.run_as(SLOT);
    let cause = Cause { name: "little offset metadata", saying: Some("offset.metadata.max.bytes") };
    let put_in = || {
        let concerned = lose_dead_letters(world);
        // These records make the partition reach the bound at once.
        let drafts: Vec<_> = customers.iter().cycle().take(1_000).map(|c| rename(c, &unique("name"))).collect();
        world.send_all(&drafts);
        Some(concerned)
    };
    let outcome = go(all, &cause, &processor, put_in, || make_dead_letters(world));
    stop(&processor);
    outcome
}

/// Deletes the dead letter topic, and sends a record that must go there. Returns the record's partition.
fn lose_dead_letters(world: &World) -> i32 {
    topics::delete_on(world.kafka(), &world.dlq);
    world.send(&Draft::raw(Some(b"not wire format".to_vec())).key(unique("dead"))).partition
}

fn make_dead_letters(world: &World) {
    topics::create(world.kafka(), &[(&world.dlq, 3)], LARGEST_RECORD);
}

fn stop(processor: &Processor) {
    processor.signal("TERM");
    assert_eq!(processor.wait(), 0);
}
