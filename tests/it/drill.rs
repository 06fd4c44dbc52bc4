//! A drill: what could stop a partition or a process is put in under a constant load, one cause after another. Everybody whom a cause does
//! not concern must be answered within ten seconds, and `/readyz` must name the cause within ten. It is not among the usual tests, because
//! it measures: `cargo test --test it -- --ignored --nocapture drill`. `CRM_DRILL_ROUNDS=n` repeats it; a round takes some five minutes.

use crate::crm::{Draft, Entity, unique};
use crate::servers::own::OwnServer;
use crate::stoppages::{correlation, customers, rename, send_zeros, set_quota};
use crate::world::{LARGEST_RECORD, Processor, World};
use crate::{servers, topics};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Within which the others must be answered, and the cause be named.
const BOUND: Duration = Duration::from_secs(10);
/// How long a cause lasts.
const LASTS: Duration = Duration::from_secs(40);
const SLOT: &str = "drilled";

/// A cause: what it is called, what `/readyz` must say of it, and the partition whose commands may wait.
struct Cause<'a> {
    name: &'static str,
    saying: Option<&'a str>,
    concerned: Option<i32>,
}

/// What a cause led to: how long the slowest of the others took, and when it was named.
struct Outcome {
    name: &'static str,
    others: usize,
    slowest: Duration,
    named: Option<Duration>,
    must_be_named: bool,
}

/// Puts a cause in under load, keeps it for a while, takes it away, and waits until all is answered.
fn go(
    (world, customers): (&World, &[Entity]),
    cause: &Cause<'_>,
    processor: &Processor,
    put_in: impl FnOnce(),
    take_away: impl FnOnce(),
) -> Outcome {
    let over = AtomicBool::new(false);
    let (asked, named, said) = thread::scope(|scope| {
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
        put_in();
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
        (load.join().expect("it sends until it is over"), named, said)
    });
    let answered = world.inbox.until(&format!("all to be answered after {}", cause.name), |records| {
        let replies = records.iter().filter(|r| r.topic == world.replies);
        let seen: HashMap<&[u8], Instant> = replies.filter_map(|r| Some((r.header("correlation-id")?, r.seen))).collect();
        let times = asked.iter().map(|(id, at, partition)| Some((*partition, *seen.get(id.as_slice())? - *at)));
        times.collect::<Option<Vec<_>>>()
    });
    let others: Vec<_> =
        answered.iter().filter(|(partition, _)| Some(*partition) != cause.concerned).map(|(_, took)| *took).collect();
    let slowest = others.iter().max().copied().unwrap_or_default();
    println!(
        "{:24} {:4} others, slowest {:5.2} s; named after {named:?}: {said}",
        cause.name,
        others.len(),
        slowest.as_secs_f64()
    );
    Outcome { name: cause.name, others: others.len(), slowest, named, must_be_named: cause.saying.is_some() }
}

fn open_transaction(world: &World, partition: i32) -> BaseProducer {
    const CALL: Duration = Duration::from_secs(30);
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", world.kafka()).set("transactional.id", unique("crm"));
    let producer: BaseProducer = config.create().expect("a producer");
    producer.init_transactions(CALL).expect("the coordinator answers");
    producer.begin_transaction().expect("none is open");
    let record = BaseRecord::<[u8], [u8]>::to(&world.commands).partition(partition).payload(b"inside");
    producer.send(record).map_err(|(e, _)| e).expect("there is room in the queue");
    producer.flush(CALL).expect("the broker takes it");
    producer
}

#[test]
#[ignore = "it measures; see the module"]
fn whatever_is_wrong_with_one_thing_the_others_are_answered() {
    let Some(kafka) = OwnServer::kafka() else { return };
    let Some(cassandra) = servers::cassandra() else { return };
    let world = World::set_up_on(kafka.address(), cassandra, "drill", |_| {});
    let customers = customers(&world, 200);
    let rounds = std::env::var("CRM_DRILL_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let outcomes: Vec<_> = (0..rounds).flat_map(|_| round(&world, &customers)).collect();
    for Outcome { name, others, slowest, named, must_be_named } in outcomes {
        assert!(others > 100 && slowest < BOUND, "{name}: the slowest of {others} others took {slowest:?}");
        assert!(!must_be_named || named.is_some_and(|named| named < BOUND), "{name} was named after {named:?}");
    }
}

fn round(world: &World, customers: &[Entity]) -> Vec<Outcome> {
    let all = (world, customers);
    let processor = world.run_as(SLOT);
    let cause = |name, saying, concerned| Cause { name, saying, concerned };
    let inflated = cause("a record huge inflated", None, None);
    let mut outcomes = vec![go(all, &inflated, &processor, || _ = send_zeros(world, 120_000_000, "gzip", &unique("c")), || {})];

    let gone = || {
        topics::delete_on(world.kafka(), &world.dlq);
        world.send(&Draft::raw(Some(b"not wire format".to_vec())).key(unique("dead")));
    };
    let back = || topics::create(world.kafka(), &[(&world.dlq, 3)], LARGEST_RECORD);
    outcomes.push(go(all, &cause("a topic that is gone", Some(&world.dlq), None), &processor, gone, back));

    let open = Cell::new(None);
    let saying = "left a transaction open";
    let put_in = || open.set(Some(open_transaction(world, 1)));
    outcomes.push(go(all, &cause("an open transaction", Some(saying), Some(1)), &processor, put_in, || {
        let producer = open.take().expect("it was opened");
        producer.abort_transaction(Duration::from_secs(30)).expect("it can be aborted");
    }));

    let quota = |rate| set_quota(world.kafka(), SLOT, rate);
    outcomes.push(go(all, &cause("a quota", None, None), &processor, || quota(Some(60_000)), || quota(None)));

    let saying = format!("{}/0 at offset", world.commands);
    let put_in = || _ = send_zeros(world, 110_000_000, "zstd", &unique("c"));
    let stepping = Cell::new(None);
    outcomes.push(go(all, &cause("a batch undecodable", Some(&saying), Some(0)), &processor, put_in, || {
        processor.signal("TERM");
        assert_eq!(processor.wait(), 0);
        stepping.set(Some(world.start_with(SLOT, &[("CRM__KAFKA__UNDECODABLE_BATCHES", "dead_letter")])));
    }));
    let stepping = stepping.take().expect("it was started");
    stepping.signal("TERM");
    assert_eq!(stepping.wait(), 0);
    outcomes
}
