//! Simulates whole lives of several instances: the state machine of the stream that `processor` drives in production, and the
//! real claim protocol, between a simulated Kafka and the simulated store. Instances crash, stall past their session, lose their
//! partitions in the middle of the work, and are replaced under the same transactional ids; transactions abort, time out, or
//! commit without telling; outputs are refused; the CRM sends its requests twice.
//!
//! Readers of committed records must see exactly one reply to each record and one Business Transaction for each change, in order,
//! and nothing may be lost. [`Defect`]s prove that the checks find mistakes.
//!
//! Everything follows from the seed: see `seeds`.

mod ahead;
mod broker;
mod check;
mod consumer;
mod crm;
mod defects;
mod expected;
mod group;
mod happened;
mod held;
mod instance;
mod lane;
mod life;
mod outputs;
mod publisher;
mod reader;
mod weakened;

use crate::seeds;
use defects::Defect;
use happened::EVENTS;
use life::{Summary, live};

/// The number of lives. One takes some 2 ms.
const SEEDS: u64 = 10_000;

#[test]
fn whatever_happens_each_record_is_answered_once_and_each_change_published_once() {
    let (mut lives, mut total) = (0_u64, Summary::default());
    let take = |summary: Summary| {
        lives += 1;
        total.records += summary.records;
        total.steps += summary.steps;
        total.happened.add(&summary.happened);
    };
    seeds::each(SEEDS, |seed| live(seed, None), take);
    println!("{lives} lives, {} records, {} steps, {:#?}", total.records, total.steps, total.happened.0);
    if lives >= SEEDS {
        let missing: Vec<_> = EVENTS.iter().filter(|event| !total.happened.0.contains_key(*event)).collect();
        assert!(missing.is_empty(), "never happened: {missing:?}");
    }
}

#[test]
fn a_seed_says_everything() {
    for seed in seeds::range(300).take(300) {
        assert_eq!(live(seed, None), live(seed, None), "seed {seed}");
    }
}
