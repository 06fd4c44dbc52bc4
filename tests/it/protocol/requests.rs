//! Tests commands that change one entity or none: their answers the first time and again.

use super::world::{World, assert_replay, decide, not_found, published, refused, rejection};
use crm_processor::domain::answer::Answer;
use crm_processor::domain::entity::EntityType::Customer;
use crm_processor::domain::entity::{Entity, State};
use crm_processor::domain::rejection::Rejection;
use crm_processor::domain::use_case::UseCase::{UpdateCustomerCustomName, UpdateCustomerSegment};
use crm_processor::store::ConditionalStore;

pub async fn a_change_takes_one_write_and_no_read_once_the_entity_is_known<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let process = w.process();
    let (first, cold) = w.counted(decide(&process, &w.name("r1", w.by_id("c"), "Ada"))).await;
    let (second, warm) = w.counted(decide(&process, &w.name("r2", w.by_id("c"), "Bea"))).await;
    assert_eq!((cold, warm), ([2, 1], [0, 1]), "[reads, writes]");
    let (first, second) = (published(&first), published(&second));
    assert_eq!((first.previous_version, first.entity.version), (1, 2));
    assert_eq!((second.previous_version, second.entity.version), (2, 3));
    assert_eq!((second.changes[0].old.as_deref(), second.changes[0].new.as_deref()), (Some("Ada"), Some("Bea")));
    assert_eq!(second.correlation_id.as_deref(), Some("c-r2"));
}

pub async fn a_command_by_ref_id_takes_one_read_and_one_write<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let process = w.process();
    let (first, cold) = w.counted(decide(&process, &w.name("r1", w.by_ref("c"), "Ada"))).await;
    let (second, warm) = w.counted(decide(&process, &w.name("r2", w.by_ref("c"), "Bea"))).await;
    assert_eq!((cold, warm), ([1, 1], [0, 1]), "[reads, writes]");
    assert_eq!([published(&first).entity.version, published(&second).entity.version], [2, 3]);
}

pub async fn a_value_that_is_there_already_is_answered_without_a_new_version<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let process = w.process();
    published(&decide(&process, &w.name("r1", w.by_id("c"), "Ada")).await);
    let again = decide(&process, &w.name("r2", w.by_id("c"), "Ada")).await;
    let Answer::Unchanged(transaction) = &again.answer else { panic!("expected no change, got {again:?}") };
    assert_eq!((transaction.previous_version, transaction.entity.version, transaction.changes.len()), (2, 2, 0));
    assert!(!again.publishes());
    assert_eq!(w.version(Customer, "c").await, 2);
}

pub async fn an_unknown_external_id_is_refused_with_one_write<S: ConditionalStore>(w: &World<S>) {
    let process = w.process();
    let (first, [_, writes]) = w.counted(decide(&process, &w.name("r1", w.by_id("c"), "Ada"))).await;
    assert_eq!((refused(&first), writes), (&not_found(), 1));
    let (again, [_, writes]) = w.counted(decide(&process, &w.name("r1", w.by_id("c"), "Ada"))).await;
    assert_replay(&again, &first);
    assert_eq!(writes, 0);
}

pub async fn an_unknown_ref_id_is_refused_with_one_write<S: ConditionalStore>(w: &World<S>) {
    let process = w.process();
    let (first, [_, writes]) = w.counted(decide(&process, &w.name("r1", w.by_ref("c"), "Ada"))).await;
    assert_eq!((refused(&first), writes), (&Rejection::EntityNotFound { field: "customer.refId".into() }, 1));
    w.customer("c").await;
    assert_replay(&decide(&process, &w.name("r1", w.by_ref("c"), "Ada")).await, &first);
    published(&decide(&process, &w.name("r2", w.by_ref("c"), "Ada")).await);
}

pub async fn a_duplicate_gets_the_stored_answer_without_a_write<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let warm = w.process();
    let first = decide(&warm, &w.name("r1", w.by_id("c"), "Ada")).await;
    published(&decide(&warm, &w.name("r2", w.by_id("c"), "Bea")).await);
    let (again, [_, writes]) = w.counted(decide(&w.process(), &w.name("r1", w.by_id("c"), "Ada"))).await;
    assert_replay(&again, &first);
    assert_eq!(writes, 0);
    assert_replay(&decide(&warm, &w.name("r1", w.by_id("c"), "Ada")).await, &first);
    assert_eq!(w.version(Customer, "c").await, 3);
}

pub async fn a_duplicate_is_known_however_it_names_the_entity<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let process = w.process();
    let first = decide(&process, &w.name("r1", w.by_id("c"), "Ada")).await;
    assert_replay(&decide(&process, &w.name("r1", w.by_ref("c"), "Ada")).await, &first);
    w.customer("d").await;
    published(&decide(&process, &w.name("r1", w.by_ref("d"), "Ada")).await);
}

pub async fn a_redelivery_of_the_very_record_is_no_duplicate_and_publishes_again<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let record = w.name("r1", w.by_id("c"), "Ada");
    let first = decide(&w.process(), &record).await;
    published(&first);
    let duplicate = w.again(&record);
    assert_replay(&decide(&w.process(), &duplicate).await, &first);
    assert_eq!(decide(&w.process(), &record).await, first);
    assert_replay(&decide(&w.process(), &duplicate).await, &first);
}

pub async fn a_request_id_with_other_contents_is_refused_and_not_stored<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let process = w.process();
    let first = decide(&process, &w.name("r1", w.by_id("c"), "Ada")).await;
    let others = [
        w.name("r1", w.by_id("c"), "Bea"),
        w.name("r1", w.by_ref("c"), "Bea"),
        w.submit(UpdateCustomerCustomName, "r1", w.by_id("c"), "Ada", Some(1)),
        w.submit(UpdateCustomerSegment, "r1", w.by_id("c"), "RESIDENTIAL", None),
    ];
    for other in &others {
        assert_eq!(refused(&decide(&process, other).await), &Rejection::RequestIdReused, "{other:?}");
    }
    assert_replay(&decide(&process, &w.name("r1", w.by_id("c"), "Ada")).await, &first);

    let nobody = decide(&process, &w.name("r2", w.by_id("d"), "Ada")).await;
    assert_eq!(refused(&nobody), &not_found());
    assert_eq!(refused(&decide(&process, &w.name("r2", w.by_id("d"), "Bea")).await), &Rejection::RequestIdReused);
    assert_replay(&decide(&process, &w.name("r2", w.by_id("d"), "Ada")).await, &nobody);
}

pub async fn a_rejection_stays_when_its_reason_is_gone<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    w.create(Entity { state: State::Deactivated, ..w.entity(Customer, "d") }).await;
    let process = w.process();
    let early = || w.submit(UpdateCustomerCustomName, "r1", w.by_id("c"), "Bea", Some(2));
    let (first, [_, writes]) = w.counted(decide(&process, &early())).await;
    assert_eq!((refused(&first), writes), (&Rejection::VersionConflict { expected: 2, actual: 1 }, 1));
    published(&decide(&process, &w.name("r2", w.by_id("c"), "Ada")).await);
    assert_replay(&decide(&process, &early()).await, &first);
    let gone = decide(&process, &w.name("r1", w.by_id("d"), "Ada")).await;
    assert_eq!(refused(&gone), &Rejection::Deactivated { field: "customer".into() });
}

pub async fn a_caught_panic_is_answered_and_nothing_of_it_can_take_effect_later<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let process = w.process();
    for (request, reference) in [("r1", w.by_id("c")), ("r2", w.by_ref("c")), ("r3", w.by_id("none")), ("r4", w.by_ref("none"))] {
        let record = w.name(request, reference, "Ada");
        let first = process.give_up(&record).await.expect("no faults");
        assert_eq!(refused(&first), &Rejection::InternalError, "{record:?}");
        assert_eq!(decide(&process, &record).await, first, "{record:?}");
        assert_replay(&decide(&process, &w.again(&record)).await, &first);
    }
    assert_eq!(w.version(Customer, "c").await, 1);
}

pub async fn a_caught_panic_after_the_outcome_was_stored_is_answered_with_that<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let process = w.process();
    let record = w.name("r1", w.by_id("c"), "Ada");
    let first = decide(&process, &record).await;
    assert_eq!(process.give_up(&record).await.expect("no faults"), first);
    let reused = process.give_up(&w.name("r1", w.by_id("c"), "Bea")).await.expect("no faults");
    assert_eq!(rejection(&reused), &Rejection::RequestIdReused);
}
