//! Tests claims that a process left behind when it died between the two writes of a rename.

use super::world::{World, assert_replay, decide, published, refused, rejection};
use crm_processor::domain::entity::EntityType::Account;
use crm_processor::domain::rejection::Rejection;
use crm_processor::store::ConditionalStore;

pub async fn a_claim_of_a_dead_process_is_completed_by_who_names_the_wanted_id<S: ConditionalStore>(w: &World<S>) {
    w.account("a").await;
    let dead = w.rename("r1", w.by_id("a"), "x");
    w.dies_after(1, &dead).await;
    assert_eq!((w.holder("a").await, w.holder("x").await), (Some(w.ref_id("a")), None));

    let next = decide(&w.process(), &w.rename("r2", w.by_id("x"), "y")).await;
    let transaction = published(&next);
    assert_eq!((transaction.entity.ref_id, transaction.entity.version), (w.ref_id("a"), 3));

    let redelivered = decide(&w.process(), &dead).await;
    assert_eq!((published(&redelivered).entity.version, &published(&redelivered).entity.external_id), (2, &w.id("x")));
    assert_eq!(published(&redelivered).correlation_id, dead.request.correlation_id);
}

pub async fn a_claim_of_a_dead_process_is_completed_by_who_wants_the_id<S: ConditionalStore>(w: &World<S>) {
    w.account("a").await;
    w.account("b").await;
    let dead = w.rename("r1", w.by_id("a"), "x");
    w.dies_after(1, &dead).await;
    let rival = decide(&w.process(), &w.rename("r2", w.by_id("b"), "x")).await;
    assert_eq!(refused(&rival), &Rejection::ExternalIdNotUnique);
    assert_eq!(published(&decide(&w.process(), &dead).await).entity.external_id, w.id("x"));
}

pub async fn a_claim_of_a_dead_process_is_completed_by_its_redelivery<S: ConditionalStore>(w: &World<S>) {
    w.account("a").await;
    let dead = w.rename("r1", w.by_id("a"), "x");
    w.dies_after(1, &dead).await;
    let (redelivered, [_, writes]) = w.counted(decide(&w.process(), &dead)).await;
    published(&redelivered);
    assert_eq!(writes, 2, "a claim where there is one, and what completes that");
    assert_eq!(w.holder("x").await, Some(w.ref_id("a")));
}

pub async fn a_claim_that_was_overtaken_by_another_rename_can_be_replaced<S: ConditionalStore>(w: &World<S>) {
    w.account("a").await;
    w.account("b").await;
    let dead = w.rename("r1", w.by_id("a"), "x");
    w.dies_after(1, &dead).await;
    published(&decide(&w.process(), &w.rename("r2", w.by_id("a"), "y")).await);
    let (next, [_, writes]) = w.counted(decide(&w.process(), &w.rename("r3", w.by_id("b"), "x"))).await;
    assert_eq!((published(&next).entity.ref_id, writes), (w.ref_id("b"), 3));
    let redelivered = decide(&w.process(), &dead).await;
    assert_eq!(refused(&redelivered), &Rejection::EntityNotFound { field: "account.externalId".into() });
    assert_eq!((w.holder("x").await, w.holder("y").await), (Some(w.ref_id("b")), Some(w.ref_id("a"))));
}

pub async fn a_claim_is_not_completed_twice<S: ConditionalStore>(w: &World<S>) {
    w.account("a").await;
    w.account("b").await;
    w.account("c").await;
    w.dies_after(1, &w.rename("r1", w.by_id("a"), "x")).await;
    let helpers = [w.process(), w.process(), w.process()];
    let rivals = [w.rename("r2", w.by_id("b"), "x"), w.rename("r2", w.by_id("c"), "x"), w.rename("r1", w.by_id("a"), "x")];
    let (one, other, duplicate) =
        tokio::join!(decide(&helpers[0], &rivals[0]), decide(&helpers[1], &rivals[1]), decide(&helpers[2], &rivals[2]));
    assert_eq!([rejection(&one), rejection(&other)], [&Rejection::ExternalIdNotUnique; 2]);
    assert!(duplicate.replayed && !duplicate.publishes(), "{duplicate:?}");
    assert_eq!(w.version(Account, "a").await, 2);
}

pub async fn a_claim_whose_request_was_given_up_can_be_replaced<S: ConditionalStore>(w: &World<S>) {
    w.account("a").await;
    w.account("b").await;
    let dead = w.rename("r1", w.by_id("a"), "x");
    w.dies_after(1, &dead).await;
    let given_up = w.process().give_up(&dead).await.expect("no faults");
    assert_eq!(refused(&given_up), &Rejection::InternalError);
    published(&decide(&w.process(), &w.rename("r2", w.by_id("b"), "x")).await);
    assert_replay(&decide(&w.process(), &w.again(&dead)).await, &given_up);
    assert_eq!((w.holder("x").await, w.version(Account, "a").await), (Some(w.ref_id("b")), 1));
}

pub async fn a_reused_request_id_does_not_change_what_a_claim_was_made_for<S: ConditionalStore>(w: &World<S>) {
    w.account("a").await;
    let dead = w.rename("r1", w.by_id("a"), "x");
    w.dies_after(1, &dead).await;
    // With the same contents but for expectedVersion: it wants the very id that the claim of its request id is on.
    let value = w.id("x").to_string();
    let case = dead.request.contents.use_case();
    let reused = decide(&w.process(), &w.submit(case, "r1", w.by_id("a"), &value, Some(1))).await;
    assert_eq!(refused(&reused), &Rejection::RequestIdReused);
    published(&decide(&w.process(), &dead).await);

    w.account("b").await;
    let dead = w.rename("r1", w.by_id("b"), "y");
    w.dies_after(1, &dead).await;
    // With another value the request is decided as if the dead one had never come; the claim is stale then.
    published(&decide(&w.process(), &w.rename("r1", w.by_id("b"), "z")).await);
    assert_eq!(refused(&decide(&w.process(), &dead).await), &Rejection::RequestIdReused);
    assert_eq!((w.holder("y").await, w.holder("z").await), (None, Some(w.ref_id("b"))));
}
