//! Tests creations: what comes into being, what is refused for ever, and what becomes of a claim whose creator died.

use super::world::{World, assert_replay, changed, decide, published, refused, rejection};
use crm_processor::domain::attribute::Attribute;
use crm_processor::domain::change::Creation;
use crm_processor::domain::command::RawReference;
use crm_processor::domain::entity::EntityType::{Account, Customer};
use crm_processor::domain::entity::{Entity, State};
use crm_processor::domain::reference::Reference;
use crm_processor::domain::rejection::Rejection;
use crm_processor::domain::use_case::UseCase;
use crm_processor::domain::values::CustomName;
use crm_processor::store::ConditionalStore;
use crm_processor::store::claims::Submission;
use crm_processor::store::erasable::ErasableStore;
use crm_processor::store::upkeep::erase::Erasure;
use uuid::Uuid;

fn ref_id(creation: &Submission) -> Uuid {
    match creation.target {
        Reference::RefId(ref_id) => ref_id,
        Reference::ExternalId(_) => panic!("a creation names its entity by refId"),
    }
}

fn by(ref_id: Uuid) -> RawReference {
    RawReference { external_id: None, ref_id: Some(ref_id.to_string()) }
}

pub async fn a_creation_below_a_known_superior_takes_two_writes_and_one_read<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let process = w.process();
    published(&decide(&process, &w.name("r0", w.by_id("c"), "Ann")).await);
    for (request, name, superior) in [("r1", "a", w.by_id("c")), ("r2", "b", w.by_ref("c"))] {
        let creation = w.creation(request, name, superior);
        let (first, counts) = w.counted(decide(&process, &creation)).await;
        assert_eq!(counts, [1, 2], "[reads, writes]");
        let transaction = published(&first);
        assert_eq!((transaction.previous_version, transaction.entity.version), (0, 1));
        assert_eq!((transaction.entity.ref_id, transaction.entity.superior), (ref_id(&creation), Some(w.ref_id("c"))));
        assert_eq!(w.holder(name).await, Some(ref_id(&creation)));
    }
    let customer = w.submit(UseCase::CreateCustomer, "r3", w.by_id("unused"), w.id("d").as_str(), None);
    let (first, counts) = w.counted(decide(&process, &customer)).await;
    published(&first);
    assert_eq!(counts, [0, 2], "[reads, writes]");
    let renamed = w.submit(UseCase::UpdateCustomerCustomName, "r4", w.by_id("d"), "Dora", None);
    let (first, counts) = w.counted(decide(&process, &renamed)).await;
    assert_eq!((published(&first).entity.version, counts), (2, [0, 1]), "the creator has remembered it");
}

pub async fn a_creation_sets_what_was_given_and_is_shown<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let creation = w.creation("r1", "a", w.by_id("c"));
    let first = decide(&w.process(), &creation).await;
    let transaction = published(&first);
    assert_eq!(transaction.entity.state_valid_from, Some(transaction.occurred_at));
    let superior = w.ref_id("c").to_string();
    let changes = [(Attribute::ExternalId, w.id("a").to_string()), (Attribute::CustomerRefId, superior)];
    let got: Vec<_> = transaction.changes.iter().map(|c| (c.attribute, c.new.clone().unwrap_or_default())).collect();
    assert_eq!(got, changes);
    let shown = w.process().show(Account, &Reference::ExternalId(w.id("a"))).await.expect("no faults").expect("it is there");
    assert_eq!(shown.0.entity, transaction.entity);
    let history: Vec<_> = shown.1.iter().map(|entry| (entry.version, entry.use_case, entry.changes.len())).collect();
    assert_eq!(history, [(1, UseCase::CreateAccount, 2)]);
}

pub async fn a_creation_with_a_held_id_is_refused_for_ever<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    w.account("a").await;
    let creation = w.creation("r1", "a", w.by_id("c"));
    let first = decide(&w.process(), &creation).await;
    assert_eq!(refused(&first), &Rejection::ExternalIdNotUnique);
    published(&decide(&w.process(), &w.rename("r2", w.by_id("a"), "x")).await);
    let process = w.process();
    assert_replay(&decide(&process, &w.again(&creation)).await, &first);
    let other = decide(&process, &w.creation("r3", "a", w.by_id("c"))).await;
    assert_eq!(w.holder("a").await, Some(published(&other).entity.ref_id));
    assert_replay(&decide(&w.process(), &w.again(&creation)).await, &first);
}

pub async fn a_creation_below_nobody_is_refused_for_ever<S: ConditionalStore>(w: &World<S>) {
    for (request, superior, field) in [("r1", w.by_id("c"), "customer.externalId"), ("r2", w.by_ref("c"), "customer.refId")] {
        let creation = w.creation(request, "a", superior);
        let first = decide(&w.process(), &creation).await;
        assert_eq!(refused(&first), &Rejection::EntityNotFound { field: field.into() });
        assert_replay(&decide(&w.process(), &w.again(&creation)).await, &first);
    }
    w.customer("c").await;
    let creation = w.creation("r1", "a", w.by_id("c"));
    let again = decide(&w.process(), &creation).await;
    assert_eq!((rejection(&again), again.replayed), (&Rejection::EntityNotFound { field: "customer.externalId".into() }, true));
    published(&decide(&w.process(), &w.creation("r3", "a", w.by_id("c"))).await);
}

pub async fn a_creation_below_a_deactivated_superior_is_refused<S: ConditionalStore>(w: &World<S>) {
    w.create(Entity { state: State::Deactivated, ..w.entity(Customer, "c") }).await;
    // The account's id is taken, too; the superior comes first.
    w.account("a").await;
    let first = decide(&w.process(), &w.creation("r1", "a", w.by_id("c"))).await;
    assert_eq!(refused(&first), &Rejection::Deactivated { field: "customer".into() });
    w.create(Entity { state: State::Suspended, ..w.entity(Customer, "d") }).await;
    published(&decide(&w.process(), &w.creation("r2", "b", w.by_id("d"))).await);
}

/// The conditions of a creation's writes say nothing of the superior.
pub async fn a_superior_that_another_process_changed_is_not_taken_from_the_cache<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    w.customer("d").await;
    let (process, other) = (w.process(), w.process());
    for name in ["c", "d"] {
        published(&decide(&process, &w.name("r1", w.by_id(name), "Ann")).await);
    }
    let renamed = w.submit(UseCase::UpdateCustomerExternalId, "r2", w.by_id("c"), w.id("x").as_str(), None);
    published(&decide(&other, &renamed).await);
    published(&decide(&other, &w.submit(UseCase::UpdateCustomerState, "r2", w.by_id("d"), "DEACTIVATED", None)).await);
    let first = decide(&process, &w.creation("r3", "a", w.by_id("c"))).await;
    assert_eq!(refused(&first), &Rejection::EntityNotFound { field: "customer.externalId".into() });
    let second = decide(&process, &w.creation("r3", "b", w.by_id("d"))).await;
    assert_eq!(refused(&second), &Rejection::Deactivated { field: "customer".into() });
    let third = decide(&process, &w.creation("r4", "b", w.by_ref("d"))).await;
    assert_eq!(refused(&third), &Rejection::Deactivated { field: "customer".into() });
}

pub async fn of_two_creations_with_one_id_one_is_refused<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let (p, q) = (w.process(), w.process());
    let (one, other) = (w.creation("r1", "a", w.by_id("c")), w.creation("r2", "a", w.by_id("c")));
    let (one, other) = tokio::join!(decide(&p, &one), decide(&q, &other));
    let (winner, loser) = if one.publishes() { (one, other) } else { (other, one) };
    assert_eq!(rejection(&loser), &Rejection::ExternalIdNotUnique);
    assert_eq!(w.holder("a").await, Some(published(&winner).entity.ref_id));
}

pub async fn two_processes_at_one_creation_create_once<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let (p, q) = (w.process(), w.process());
    let record = w.creation("r1", "a", w.by_id("c"));
    let duplicate = w.again(&record);
    let (one, other, third) = tokio::join!(decide(&p, &record), decide(&q, &record), decide(&q, &duplicate));
    assert_eq!([&one, &other].map(changed), [changed(&third); 2]);
    assert_eq!(one.publishes(), other.publishes(), "one record, one answer");
    assert_ne!(one.publishes(), third.publishes(), "the record that caused the creation publishes it, the other does not");
}

pub async fn a_creation_with_other_contents_reuses_its_request_id<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let process = w.process();
    published(&decide(&process, &w.creation("r1", "a", w.by_id("c"))).await);
    for process in [process, w.process()] {
        let reused = decide(&process, &w.creation("r1", "a", w.by_ref("c"))).await;
        assert_eq!(refused(&reused), &Rejection::RequestIdReused, "the superior as it was referred to belongs to the contents");
    }
}

pub async fn a_creation_with_an_id_that_was_given_up_takes_three_writes<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    w.account("a").await;
    let process = w.process();
    published(&decide(&process, &w.rename("r1", w.by_id("a"), "x")).await);
    let (first, [_, writes]) = w.counted(decide(&process, &w.creation("r2", "a", w.by_id("c")))).await;
    assert_eq!((w.holder("a").await, writes), (Some(published(&first).entity.ref_id), 3));
}

pub async fn a_claim_of_a_dead_creator_is_completed_by_who_names_the_id<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let dead = w.creation("r1", "a", w.by_id("c"));
    w.dies_after(1, &dead).await;
    assert_eq!(w.holder("a").await, None);
    let next = decide(&w.process(), &w.rename("r2", w.by_id("a"), "y")).await;
    assert_eq!((published(&next).entity.ref_id, published(&next).entity.version), (ref_id(&dead), 2));
    let redelivered = decide(&w.process(), &dead).await;
    assert_eq!((published(&redelivered).entity.version, &published(&redelivered).entity.external_id), (1, &w.id("a")));
    assert_eq!(published(&redelivered).correlation_id, dead.request.correlation_id);
}

pub async fn a_claim_of_a_dead_creator_is_completed_by_who_wants_the_id<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    w.account("b").await;
    let dead = w.creation("r1", "a", w.by_id("c"));
    w.dies_after(1, &dead).await;
    for rival in [w.rename("r2", w.by_id("b"), "a"), w.creation("r3", "a", w.by_id("c"))] {
        assert_eq!(refused(&decide(&w.process(), &rival).await), &Rejection::ExternalIdNotUnique);
    }
    assert_eq!(published(&decide(&w.process(), &dead).await).entity.external_id, w.id("a"));
}

pub async fn a_claim_of_a_dead_creator_is_completed_by_its_redelivery<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let dead = w.creation("r1", "a", w.by_id("c"));
    w.dies_after(1, &dead).await;
    let (redelivered, [_, writes]) = w.counted(decide(&w.process(), &dead)).await;
    published(&redelivered);
    assert_eq!(writes, 2, "a claim where there is one, and what completes that");
    assert_eq!(w.holder("a").await, Some(ref_id(&dead)));
}

pub async fn a_claim_of_a_dead_creator_keeps_its_superior<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let dead = w.creation("r1", "a", w.by_id("c"));
    w.dies_after(1, &dead).await;
    let renamed = w.submit(UseCase::UpdateCustomerExternalId, "r2", w.by_id("c"), w.id("x").as_str(), None);
    published(&decide(&w.process(), &renamed).await);
    published(&decide(&w.process(), &w.submit(UseCase::UpdateCustomerState, "r3", w.by_id("x"), "DEACTIVATED", None)).await);
    published(&decide(&w.process(), &w.rename("r4", w.by_id("a"), "y")).await);
    assert_eq!(published(&decide(&w.process(), &dead).await).entity.superior, Some(w.ref_id("c")));
}

pub async fn a_creation_that_was_given_up_creates_nothing<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let dead = w.creation("r1", "a", w.by_id("c"));
    w.dies_after(1, &dead).await;
    let given_up = w.process().give_up(&dead).await.expect("no faults");
    assert_eq!(refused(&given_up), &Rejection::InternalError);
    assert_replay(&decide(&w.process(), &w.again(&dead)).await, &given_up);
    published(&decide(&w.process(), &w.creation("r2", "a", w.by_id("c"))).await);
    assert_replay(&decide(&w.process(), &w.again(&dead)).await, &given_up);
}

pub async fn an_imported_entity_is_not_created<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let creation = w.creation("r1", "a", w.by_id("c"));
    w.create(Entity { ref_id: ref_id(&creation), ..w.entity(Account, "b") }).await;
    let first = decide(&w.process(), &creation).await;
    assert_eq!(refused(&first), &Rejection::ExternalIdNotUnique);
    assert_replay(&decide(&w.process(), &w.again(&creation)).await, &first);
    // The claim that the creation left is stale.
    published(&decide(&w.process(), &w.creation("r2", "a", w.by_id("c"))).await);
}

pub async fn an_update_before_the_creation_under_its_request_id_counts<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let creation = w.creation("r1", "a", w.by_id("c"));
    let update = w.submit(UseCase::UpdateAccountCustomName, "r1", by(ref_id(&creation)), "Ann", None);
    let not_found = Rejection::EntityNotFound { field: "account.refId".into() };
    assert_eq!(refused(&decide(&w.process(), &update).await), &not_found);
    assert_eq!(refused(&decide(&w.process(), &creation).await), &Rejection::RequestIdReused);
    assert_eq!(w.holder("a").await, None);
    published(&decide(&w.process(), &w.creation("r2", "a", w.by_id("c"))).await);
}

pub async fn what_the_created_entity_knows_outweighs_an_earlier_refusal<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let update = w.submit(UseCase::UpdateAccountCustomName, "r1", w.by_id("a"), "Ann", None);
    let first = decide(&w.process(), &update).await;
    assert_eq!(refused(&first), &Rejection::EntityNotFound { field: "account.externalId".into() });
    published(&decide(&w.process(), &w.creation("r1", "a", w.by_id("c"))).await);
    for process in [w.process(), w.process()] {
        assert_eq!(refused(&decide(&process, &w.again(&update)).await), &Rejection::RequestIdReused);
        assert_eq!(decide(&process, &update).await, first, "a record finds its own outcome all the same");
    }
}

pub async fn a_created_entity_that_was_renamed_is_still_the_answer<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let creation = w.creation("r1", "a", w.by_id("c"));
    let process = w.process();
    let first = decide(&process, &creation).await;
    published(&decide(&process, &w.rename("r2", w.by_id("a"), "x")).await);
    published(&decide(&process, &w.creation("r3", "a", w.by_id("c"))).await);
    for process in [process, w.process()] {
        assert_eq!(decide(&process, &creation).await, first);
        assert_replay(&decide(&process, &w.again(&creation)).await, &first);
    }
    assert_eq!(w.holder("x").await, Some(ref_id(&creation)));
}

pub async fn the_first_name_of_a_created_entity_can_be_erased<S: ErasableStore>(w: &World<S>) {
    let raw = w.submit(UseCase::CreateCustomer, "r1", w.by_id("unused"), w.id("c").as_str(), None);
    let creation = raw.request.contents.creation().expect("a creation").clone();
    let creation = Creation { custom_name: Some(CustomName::parse("Ann").expect("a name")), ..creation };
    let mut created = raw;
    created.request.contents = created.request.contents.with_creation(creation);
    let process = w.process();
    let first = decide(&process, &created).await;
    published(&decide(&process, &w.name("r2", w.by_id("c"), "Bea")).await);
    let reference = Reference::ExternalId(w.id("c"));
    let erased = process.erase(Customer, &reference, Erasure::Done).await.expect("no faults").expect("it is there");
    assert_eq!((erased.rows.former, erased.claims.former), (2, 1));
    let again = decide(&w.process(), &w.again(&created)).await;
    assert!(again.replayed && changed(&again).entity.external_id == published(&first).entity.external_id, "{again:?}");
    assert!(!format!("{again:?}").contains("Ann"), "{again:?}");
}
