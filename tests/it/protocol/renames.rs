//! Tests renames that come to their end: which entity holds an id afterwards, and what is found under the old one.

use super::world::{World, assert_replay, changed, decide, published, refused, rejection};
use crm_processor::domain::entity::EntityType::Account;
use crm_processor::domain::entity::{Entity, State};
use crm_processor::domain::rejection::Rejection;
use crm_processor::store::ConditionalStore;

fn not_found() -> Rejection {
    Rejection::EntityNotFound { field: "account.externalId".into() }
}

pub async fn a_rename_takes_two_writes<S: ConditionalStore>(w: &World<S>) {
    w.account("a").await;
    let (first, [_, writes]) = w.counted(decide(&w.process(), &w.rename("r1", w.by_id("a"), "x"))).await;
    let transaction = published(&first);
    assert_eq!((writes, transaction.previous_version, transaction.entity.version), (2, 1, 2));
    assert_eq!((&transaction.entity.external_id, transaction.entity.ref_id), (&w.id("x"), w.ref_id("a")));
    assert_eq!((w.holder("x").await, w.holder("a").await), (Some(w.ref_id("a")), None));
}

pub async fn a_rename_onto_an_id_that_was_given_up_takes_three_writes<S: ConditionalStore>(w: &World<S>) {
    w.account("a").await;
    w.account("b").await;
    let process = w.process();
    published(&decide(&process, &w.rename("r1", w.by_id("a"), "x")).await);
    let (second, [_, writes]) = w.counted(decide(&process, &w.rename("r1", w.by_id("b"), "a"))).await;
    published(&second);
    assert_eq!(writes, 3);
    assert_eq!((w.holder("a").await, w.holder("b").await), (Some(w.ref_id("b")), None));
}

pub async fn a_rename_onto_a_held_id_is_refused_with_two_writes<S: ConditionalStore>(w: &World<S>) {
    w.account("a").await;
    w.create(Entity { state: State::Deactivated, ..w.entity(Account, "b") }).await;
    let process = w.process();
    let (first, [_, writes]) = w.counted(decide(&process, &w.rename("r1", w.by_id("a"), "b"))).await;
    assert_eq!((refused(&first), writes), (&Rejection::ExternalIdNotUnique, 2));
    assert_replay(&decide(&process, &w.rename("r1", w.by_id("a"), "b")).await, &first);
    assert_eq!((w.holder("a").await, w.holder("b").await), (Some(w.ref_id("a")), Some(w.ref_id("b"))));
}

pub async fn an_old_external_id_no_longer_resolves<S: ConditionalStore>(w: &World<S>) {
    w.account("a").await;
    let process = w.process();
    published(&decide(&process, &w.rename("r1", w.by_id("a"), "x")).await);
    let (second, [_, writes]) = w.counted(decide(&process, &w.rename("r2", w.by_id("a"), "y"))).await;
    assert_eq!((refused(&second), writes), (&not_found(), 1));
    published(&decide(&process, &w.rename("r3", w.by_id("x"), "y")).await);
}

pub async fn a_duplicate_by_the_id_that_was_given_up_gets_its_answer<S: ConditionalStore>(w: &World<S>) {
    w.account("a").await;
    let process = w.process();
    let first = decide(&process, &w.rename("r1", w.by_id("a"), "x")).await;
    for process in [process, w.process()] {
        let (again, [_, writes]) = w.counted(decide(&process, &w.rename("r1", w.by_id("a"), "x"))).await;
        assert_replay(&again, &first);
        assert_eq!(writes, 0);
        let reused = decide(&process, &w.rename("r1", w.by_id("a"), "y")).await;
        assert_eq!(refused(&reused), &Rejection::RequestIdReused);
    }
}

pub async fn a_duplicate_by_an_id_that_another_took_gets_its_answer<S: ConditionalStore>(w: &World<S>) {
    w.account("a").await;
    w.account("b").await;
    let process = w.process();
    let first = decide(&process, &w.rename("r1", w.by_id("a"), "x")).await;
    published(&decide(&process, &w.rename("r2", w.by_id("b"), "a")).await);
    for process in [process, w.process()] {
        assert_replay(&decide(&process, &w.rename("r1", w.by_id("a"), "x")).await, &first);
    }
    let other = decide(&w.process(), &w.rename("r3", w.by_id("a"), "y")).await;
    assert_eq!(published(&other).entity.ref_id, w.ref_id("b"));
}

pub async fn an_entity_can_go_back_to_its_old_id<S: ConditionalStore>(w: &World<S>) {
    w.account("a").await;
    let process = w.process();
    let first = decide(&process, &w.rename("r1", w.by_id("a"), "x")).await;
    let back = decide(&process, &w.rename("r2", w.by_id("x"), "a")).await;
    assert_eq!(published(&back).entity.version, 3);
    assert_replay(&decide(&process, &w.rename("r1", w.by_id("a"), "x")).await, &first);
    assert_replay(&decide(&w.process(), &w.rename("r2", w.by_id("x"), "a")).await, &back);
    // The same holds by the refId, and although x is free now and the entity is known.
    let (again, [_, writes]) = w.counted(decide(&process, &w.rename("r1", w.by_ref("a"), "x"))).await;
    assert_replay(&again, &first);
    assert_eq!(writes, 1, "which is not applied");
    assert_eq!((w.holder("a").await, w.holder("x").await), (Some(w.ref_id("a")), None));
}

pub async fn of_two_renames_to_one_id_one_is_refused<S: ConditionalStore>(w: &World<S>) {
    w.account("a").await;
    w.account("b").await;
    let (p, q) = (w.process(), w.process());
    let (one, other) = (w.rename("r1", w.by_id("a"), "x"), w.rename("r1", w.by_id("b"), "x"));
    let (one, other) = tokio::join!(decide(&p, &one), decide(&q, &other));
    let (winner, loser) = if one.publishes() { (one, other) } else { (other, one) };
    assert_eq!(rejection(&loser), &Rejection::ExternalIdNotUnique);
    assert_eq!(w.holder("x").await, Some(published(&winner).entity.ref_id));
}

pub async fn two_processes_at_one_record_apply_it_once<S: ConditionalStore>(w: &World<S>) {
    w.account("a").await;
    let (p, q) = (w.process(), w.process());
    let record = w.rename("r1", w.by_id("a"), "x");
    let duplicate = w.again(&record);
    let (one, other, third) = tokio::join!(decide(&p, &record), decide(&q, &record), decide(&q, &duplicate));
    assert_eq!([&one, &other].map(changed), [changed(&third); 2]);
    assert_eq!((one.publishes(), other.publishes()), (one.publishes(), one.publishes()), "one record, one answer");
    assert_ne!(one.publishes(), third.publishes(), "the record that caused the change publishes it, the other does not");
    assert_eq!(w.version(Account, "a").await, 2);
}

/// Request ids are scoped to an entity, so two entities may see the same one.
pub async fn a_record_finds_its_own_change_though_the_next_holder_used_the_same_request_id<S: ConditionalStore>(w: &World<S>) {
    w.account("a").await;
    w.account("b").await;
    let record = w.rename("r1", w.by_id("a"), "x");
    let first = decide(&w.process(), &record).await;
    let other = decide(&w.process(), &w.rename("r1", w.by_id("b"), "a")).await;
    assert_eq!([&first, &other].map(|d| published(d).entity.version), [2, 2]);
    assert_eq!(decide(&w.process(), &record).await, first);
    assert_replay(&decide(&w.process(), &w.again(&record)).await, &first);
    assert_replay(&decide(&w.process(), &w.rename("r1", w.by_ref("b"), "a")).await, &other);
}

pub async fn a_duplicate_is_known_under_each_id_that_was_given_up_since<S: ConditionalStore>(w: &World<S>) {
    w.account("a").await;
    w.account("b").await;
    let process = w.process();
    let first = decide(&process, &w.rename("r1", w.by_id("a"), "x")).await;
    published(&decide(&process, &w.rename("r2", w.by_id("x"), "y")).await);
    published(&decide(&process, &w.rename("r3", w.by_id("y"), "z")).await);
    published(&decide(&process, &w.rename("r2", w.by_id("b"), "y")).await);
    for given_up in ["a", "x", "y", "z"] {
        assert_replay(&decide(&process, &w.rename("r1", w.by_id(given_up), "x")).await, &first);
    }
}

/// The id was not given up since, but before. So it names the present holder, and request ids are scoped to an entity.
pub async fn what_an_entity_decides_after_it_gave_an_id_up_is_no_answer_under_that_id<S: ConditionalStore>(w: &World<S>) {
    w.account("a").await;
    w.account("b").await;
    let process = w.process();
    published(&decide(&process, &w.rename("r1", w.by_id("a"), "x")).await);
    let late = decide(&process, &w.rename("r2", w.by_ref("a"), "y")).await;
    assert_eq!(published(&late).entity.ref_id, w.ref_id("a"));
    let nobody = decide(&process, &w.rename("r2", w.by_id("a"), "y")).await;
    assert_eq!(refused(&nobody), &not_found());
    published(&decide(&process, &w.rename("r3", w.by_id("b"), "a")).await);
    published(&decide(&process, &w.rename("r4", w.by_ref("a"), "z")).await);
    let other = decide(&process, &w.rename("r4", w.by_id("a"), "y")).await;
    assert_eq!(published(&other).entity.ref_id, w.ref_id("b"));
}

/// A claim that comes to nothing tells nothing about the id. (That of a duplicate of a rename is one, if it is made at all.)
pub async fn a_duplicate_of_a_rename_makes_nobody_a_previous_owner<S: ConditionalStore>(w: &World<S>) {
    w.account("a").await;
    w.account("b").await;
    let process = w.process();
    let first = decide(&process, &w.rename("r1", w.by_ref("a"), "x")).await;
    published(&decide(&process, &w.rename("r2", w.by_ref("a"), "y")).await);
    assert_replay(&decide(&process, &w.rename("r1", w.by_ref("a"), "x")).await, &first);
    published(&decide(&process, &w.rename("r3", w.by_id("b"), "x")).await);
    published(&decide(&process, &w.rename("r4", w.by_ref("a"), "z")).await);
    let other = decide(&w.process(), &w.rename("r4", w.by_id("x"), "v")).await;
    assert_eq!(published(&other).entity.ref_id, w.ref_id("b"));
}
