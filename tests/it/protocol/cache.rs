//! Tests processes whose caches are behind the store.

use super::world::{World, assert_replay, decide, not_found, published, refused};
use crm_processor::domain::entity::EntityType::Account;
use crm_processor::domain::rejection::Rejection;
use crm_processor::domain::use_case::UseCase::UpdateCustomerCustomName;
use crm_processor::store::ConditionalStore;

pub async fn a_cached_entity_that_another_process_changed_is_read_again<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let (warm, other) = (w.process(), w.process());
    published(&decide(&warm, &w.name("r1", w.by_id("c"), "Ada")).await);
    published(&decide(&other, &w.name("r2", w.by_id("c"), "Bea")).await);
    // To the cache this is no change, and a conflict.
    let third = decide(&warm, &w.submit(UpdateCustomerCustomName, "r3", w.by_id("c"), "Ada", Some(3))).await;
    assert_eq!(published(&third).entity.version, 4);
}

pub async fn a_cached_id_that_changed_hands_is_read_again<S: ConditionalStore>(w: &World<S>) {
    w.account("a").await;
    w.account("b").await;
    let (warm, other) = (w.process(), w.process());
    // Rejected, so that the entity stays as it is cached.
    refused(&decide(&warm, &w.rename("r0", w.by_id("a"), "b")).await);
    published(&decide(&other, &w.rename("r1", w.by_id("a"), "x")).await);
    let gone = decide(&warm, &w.rename("r2", w.by_id("a"), "y")).await;
    assert_eq!(refused(&gone), &Rejection::EntityNotFound { field: "account.externalId".into() });
    published(&decide(&other, &w.rename("r1", w.by_id("b"), "a")).await);
    let third = decide(&warm, &w.rename("r3", w.by_id("a"), "y")).await;
    assert_eq!(published(&third).entity.ref_id, w.ref_id("b"));
}

pub async fn who_was_refused_before_the_id_was_claimed_is_refused_again_though_the_holder_is_cached<S: ConditionalStore>(
    w: &World<S>,
) {
    w.account("a").await;
    let warm = w.process();
    let first = decide(&w.process(), &w.rename("r1", w.by_id("x"), "y")).await;
    assert!(matches!(refused(&first), Rejection::EntityNotFound { .. }));
    published(&decide(&warm, &w.rename("r2", w.by_id("a"), "x")).await);
    // Fill the cache by what may be read of the holder, with a rejection and with a change that is none.
    refused(
        &decide(
            &warm,
            &w.submit(w.rename("r3", w.by_id("x"), "z").request.contents.use_case(), "r3", w.by_id("x"), "z", Some(9)),
        )
        .await,
    );
    assert_replay(&decide(&warm, &w.rename("r1", w.by_id("x"), "y")).await, &first);
    assert_eq!(w.version(Account, "a").await, 2);

    let first = decide(&warm, &w.name("r1", w.by_id("c"), "Ada")).await;
    assert_eq!(refused(&first), &not_found());
    w.customer("c").await;
    published(&decide(&warm, &w.name("r2", w.by_id("c"), "Bea")).await);
    assert_replay(&decide(&warm, &w.name("r1", w.by_id("c"), "Ada")).await, &first);
}

pub async fn an_id_that_nobody_had_is_remembered_by_who_gives_it_to_an_entity<S: ConditionalStore>(w: &World<S>) {
    w.account("a").await;
    let process = w.process();
    published(&decide(&process, &w.rename("r1", w.by_id("a"), "x")).await);
    let (next, cost) = w.counted(decide(&process, &w.rename("r2", w.by_id("x"), "y"))).await;
    assert_eq!((published(&next).entity.version, cost), (3, [0, 2]), "[reads, writes]");
}

pub async fn who_was_served_by_a_previous_owner_is_answered_so_though_the_holder_is_cached<S: ConditionalStore>(w: &World<S>) {
    w.account("a").await;
    w.account("b").await;
    let warm = w.process();
    let first = decide(&w.process(), &w.rename("r1", w.by_id("a"), "x")).await;
    published(&decide(&warm, &w.rename("r2", w.by_id("b"), "a")).await);
    refused(&decide(&warm, &w.rename("r3", w.by_id("a"), "x")).await);
    assert_replay(&decide(&warm, &w.rename("r1", w.by_id("a"), "x")).await, &first);
    assert_eq!(w.version(Account, "b").await, 2);
}
