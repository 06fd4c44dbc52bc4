//! Tests that a slow lane harms nobody else: the store answers no write about one customer, the other keys of its partition go
//! on, and after kills none of them is answered twice.

use super::Defect;
use super::crm::{Incoming, pick, ref_id};
use super::life::Life;
use super::weakened::Held;
use crate::seeds::{self, must_fail};
use crm_processor::flow::Limits;
use std::panic::catch_unwind;

const SEEDS: u64 = 1_000;
/// The name of the customer, which is also the commands' key.
const HELD: &str = "c0";
/// The time by which all commands must be answered that do not wait in the lane.
const PATIENCE: u64 = 30_000;
/// How long the next instance works before it is killed, too.
const LIFE: u64 = 3_000;

#[test]
fn while_a_lane_is_held_the_others_go_on_and_after_a_kill_none_is_answered_twice() {
    let (mut lives, mut waited) = (0, 0);
    let take = |records: usize| {
        lives += 1;
        waited += usize::from(records > 0);
    };
    seeds::each(SEEDS, |seed| hold(seed, None), take);
    assert!(lives < 100 || waited * 2 > lives, "in {waited} of {lives} lives something waited");
}

#[test]
fn an_ignored_bitmap_is_found_when_a_lane_is_held() {
    let found = (0..20).filter(|seed| catch_unwind(|| hold(*seed, Some(Defect::BitmapIgnored))).is_err());
    assert_ne!(found.count(), 0);
}

#[test]
fn a_linger_that_never_ends_is_found_when_a_lane_is_held() {
    must_fail(Defect::LingersForEver, 20, |seed| {
        hold(seed, Some(Defect::LingersForEver));
    });
}

/// Returns how many records waited in the lane.
fn hold(seed: u64, defect: Option<Defect>) -> usize {
    let mut life = Life::new(seed, defect);
    // With these limits none of the bounds is reached.
    life.limits = Limits { max_in_flight: 16, max_queued: 200, max_lane: 100, ..life.limits };
    life.crm.wide_gaps = 0;
    life.trouble.abortable = pick(&mut life.random, &[0, 20]);
    life.trouble.unknown = pick(&mut life.random, &[0, 20]);
    life.hold.set(Some(Held { entity: ref_id(HELD), happens: life.random.chance(500) }));
    life.start_instance();

    while life.crm.left > 0 {
        life.crm.write(&mut life.broker.topic);
        (0..20).for_each(|_| life.step());
    }
    let begin = life.broker.now();
    while others(&life).next().is_some() {
        let waits: Vec<String> = others(&life).map(|r| format!("{r:?}")).collect();
        assert!(life.broker.now() < begin + PATIENCE, "{} wait behind a lane that is not theirs: {}", waits.len(), waits[0]);
        (0..100).for_each(|_| life.step());
    }
    for _ in 0..2 {
        // If a record is answered twice, `Seen` notices.
        life.end_instance(0);
        life.start_instance();
        (0..LIFE).for_each(|_| life.step());
    }
    let waiting = life.seen.missing(&life.broker.topic).count();
    life.hold.set(None);
    life.settle();
    life.end();
    waiting
}

/// Returns the records that are not answered yet, though they wait for nothing.
fn others(life: &Life) -> impl Iterator<Item = &Incoming> {
    let records = life.broker.topic.iter().flatten();
    records.filter(|r| r.key.as_deref() != Some(HELD) && life.seen.lacks(r).is_some())
}
