//! Runs: the same outcomes as one at a time, with one write for what can be folded.

use super::simulation::pick;
use super::simulation::scene::{reference, submission};
use super::simulation::tasks::complete;
use super::world::{World, assert_replay, decide, published, refused};
use crate::seeds;
use crm_processor::domain::command::{Reference, RequestId};
use crm_processor::domain::entity::EntityType::{Account, Customer};
use crm_processor::domain::external_id::ExternalId;
use crm_processor::domain::rejection::Rejection;
use crm_processor::domain::update_customer_custom_name::CustomName;
use crm_processor::store::ConditionalStore;
use crm_processor::store::claims::{Decided, HistoryEntry, MAX_RUN, Submission};
use crm_processor::store::outcome::Answer;
use crm_processor::store::simulated::{Faults, Random, Simulated};
use std::sync::Arc;

pub async fn a_run_takes_one_write<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let run: Vec<_> = (0..64).map(|n| w.name(&format!("r{n}"), w.by_id("c"), &format!("name {n}"))).collect();
    let (decided, [_, writes]) = w.counted(w.process().decide(&run)).await;
    let versions: Vec<_> = decided.expect("no faults").iter().map(|d| published(d).entity.version).collect();
    assert_eq!((versions, writes), ((2..66).collect(), 1));
    assert_eq!(w.version(Customer, "c").await, 65);
}

/// All texts as long as they may be, in the characters that take most room.
pub async fn a_run_of_the_largest_commands_is_decided<S: ConditionalStore>(w: &World<S>) {
    let padding = "\u{1f600}".repeat(ExternalId::MAX_CHARS - w.id("c").as_str().len());
    let name = format!("c{padding}");
    w.customer(&name).await;
    for (prefix, reference) in [("i", w.by_id(&name)), ("r", w.by_ref(&name))] {
        let largest = |n: usize| {
            let letter = char::from_u32(0x1f600 + u32::try_from(n % 70).expect("few")).expect("a letter");
            let text = |length: usize| letter.to_string().repeat(length);
            let request = format!("{prefix}{n:03}{}", text(RequestId::MAX_CHARS - 4));
            let submission = w.name(&request, reference.clone(), &text(CustomName::MAX_CHARS));
            // A correlation header of 1 KiB, each byte of which is escaped in JSON.
            Submission { correlation_id: Some("\u{1}".repeat(1024)), ..submission }
        };
        let run: Vec<_> = (0..MAX_RUN).map(largest).collect();
        let before = w.version(Customer, &name).await;
        let decided = w.process().decide(&run).await.expect("no faults");
        let versions: Vec<_> = decided.iter().map(|d| published(d).entity.version).collect();
        assert_eq!(versions, (1..=i64::try_from(MAX_RUN).expect("few")).map(|n| before + n).collect::<Vec<_>>());
    }
}

pub async fn a_duplicate_in_a_run_sees_the_first_ones_outcome<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let before = w.name("r0", w.by_id("c"), "Ada");
    let before = w.process().decide(&[before]).await.expect("no faults");
    let run = [
        w.name("r1", w.by_id("c"), "Bea"),
        w.name("r1", w.by_id("c"), "Bea"),
        w.name("r1", w.by_id("c"), "Cleo"),
        w.name("r0", w.by_id("c"), "Ada"),
        w.name("r2", w.by_id("c"), "Bea"),
    ];
    let (decided, [_, writes]) = w.counted(w.process().decide(&run)).await;
    let decided = decided.expect("no faults");
    assert_eq!((published(&decided[0]).entity.version, writes), (3, 1));
    assert_replay(&decided[1], &decided[0]);
    assert_eq!(refused(&decided[2]), &Rejection::RequestIdReused);
    assert_replay(&decided[3], &before[0]);
    assert!(matches!(decided[4].answer, Answer::Unchanged(_)), "{:?}", decided[4]);
}

pub async fn a_run_of_renames_is_decided_one_after_another<S: ConditionalStore>(w: &World<S>) {
    w.account("a").await;
    let run = [w.rename("r1", w.by_ref("a"), "x"), w.rename("r2", w.by_ref("a"), "y"), w.rename("r1", w.by_ref("a"), "x")];
    let decided = w.process().decide(&run).await.expect("no faults");
    assert_eq!([&decided[0], &decided[1]].map(|d| published(d).entity.version), [2, 3]);
    assert_replay(&decided[2], &decided[0]);

    w.account("b").await;
    let run = [w.rename("r1", w.by_id("b"), "v"), w.rename("r2", w.by_id("b"), "w"), w.rename("r1", w.by_id("b"), "v")];
    let decided = w.process().decide(&run).await.expect("no faults");
    published(&decided[0]);
    assert_eq!(refused(&decided[1]), &Rejection::EntityNotFound { field: "account.externalId".into() });
    assert_replay(&decided[2], &decided[0]);
}

pub async fn a_run_for_nobody_takes_one_write<S: ConditionalStore>(w: &World<S>) {
    for reference in [w.by_id("c"), w.by_ref("c")] {
        let run = ["r1", "r2", "r1"].map(|request| w.name(request, reference.clone(), "Ada"));
        let (decided, [_, writes]) = w.counted(w.process().decide(&run)).await;
        let decided = decided.expect("no faults");
        assert!(matches!(refused(&decided[0]), Rejection::EntityNotFound { .. }));
        assert_eq!((&decided[1], writes), (&decided[0], 1));
        assert_replay(&decided[2], &decided[0]);
    }
}

#[test]
fn a_run_has_the_same_outcomes_as_its_commands_one_at_a_time() {
    let compare = |seed| {
        let outcomes = [true, false].map(|folded| complete(decide_all(seed, folded)));
        assert_eq!(outcomes[0], outcomes[1], "folded, one at a time");
    };
    seeds::each(500, compare, |()| ());
}

/// The answers to the commands of a seed, and the changes of all entities.
async fn decide_all(seed: u64, folded: bool) -> (Vec<Decided>, Vec<Vec<HistoryEntry>>) {
    let mut random = Random::new(seed);
    let world = World::new(Arc::new(Simulated::new(seed, Faults::default())), "f");
    for name in ["a", "b"] {
        world.account(name).await;
    }
    world.customer("d").await;
    let process = world.process();
    let mut answers = Vec::new();
    for _ in 0..6 {
        let run = run(&world, &mut random);
        if folded {
            answers.extend(process.decide(&run).await.expect("no faults"));
        } else {
            for submission in &run {
                answers.push(decide(&process, submission).await);
            }
        }
    }
    let mut histories = Vec::new();
    for (entity_type, name) in [(Account, "a"), (Account, "b"), (Customer, "d")] {
        let shown = process.show(entity_type, &Reference::RefId(world.ref_id(name))).await.expect("no faults");
        histories.push(shown.expect("it is there").1);
    }
    (answers, histories)
}

/// Commands about one entity under one reference; request ids from few, so that some come again.
fn run(world: &World<Simulated>, random: &mut Random) -> Vec<Submission> {
    let (entity_type, named) = reference(world, random);
    let mut run = Vec::new();
    while run.len() < 8 {
        let request = pick(random, &["r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7"]);
        run.push(submission(world, request, entity_type, named.clone(), random));
    }
    run
}
