//! Runs: the same outcomes as one at a time, with one write for what can be folded.

use super::world::{World, assert_replay, published, refused};
use crm_processor::domain::entity::EntityType::Customer;
use crm_processor::domain::rejection::Rejection;
use crm_processor::store::ConditionalStore;
use crm_processor::store::outcome::Answer;

pub async fn a_run_takes_one_write<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let run: Vec<_> = (0..64).map(|n| w.name(&format!("r{n}"), w.by_id("c"), &format!("name {n}"))).collect();
    let (decided, [_, writes]) = w.counted(w.process().decide(&run)).await;
    let versions: Vec<_> = decided.expect("no faults").iter().map(|d| published(d).entity.version).collect();
    assert_eq!((versions, writes), ((2..66).collect(), 1));
    assert_eq!(w.version(Customer, "c").await, 65);
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
