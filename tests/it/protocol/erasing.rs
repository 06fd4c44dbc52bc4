//! Tests what the erasure of a person's former names changes, and that it changes nothing else.

use super::world::{World, assert_replay, changed, decide, published, rejection};
use crm_processor::domain::answer::Answer;
use crm_processor::domain::entity::EntityType::{Account, Customer};
use crm_processor::domain::entity::{Entity, EntityType};
use crm_processor::domain::reference::Reference;
use crm_processor::domain::rejection::Rejection;
use crm_processor::domain::use_case::UseCase;
use crm_processor::domain::values::CustomName;
use crm_processor::store::erasable::ErasableStore;
use crm_processor::store::outcome::Outcome;
use crm_processor::store::upkeep::erase::{ERASED, Erased, Erasure, ErasureCount};
use crm_processor::store::{Applied, ApplyWrite, ConditionalStore, Consistency, EntityKey, EntityStatics, IdKey, LogRow};
use std::sync::Arc;

fn called(entity: Entity, name: &str) -> Entity {
    Entity { custom_name: Some(CustomName::parse(name).expect("a name")), ..entity }
}

async fn erase<S: ErasableStore>(w: &World<S>, of: EntityType, name: &str, erasure: Erasure) -> Erased {
    let erased = w.process().erase(of, &Reference::RefId(w.ref_id(name)), erasure).await;
    erased.expect("no faults").expect("it is there")
}

/// Returns all blobs about an entity and under an id, as one text.
async fn blobs<S: ErasableStore>(w: &World<S>, entity_type: EntityType, name: &str) -> String {
    let log = w.store.log(EntityKey { entity_type, ref_id: w.ref_id(name) }).await.expect("no faults");
    let id = IdKey { entity_type, external_id: w.id(name) };
    let claim = w.store.read_id(&id, &[], Consistency::Serial).await.expect("no faults").claim.expect("was claimed");
    log.into_iter().map(|(_, blob)| blob).chain([claim.blob]).map(|blob| String::from_utf8_lossy(&blob).into_owned()).collect()
}

/// Sets a name behind the processors' back, as an operator could, because no command names an account.
async fn call<S: ErasableStore>(w: &World<S>, account: &str, name: &str) {
    let key = EntityKey { entity_type: Account, ref_id: w.ref_id(account) };
    let statics = w.store.read_entity(key, &[], Consistency::Serial).await.expect("no faults").statics.expect("it is there");
    let entity = called(Entity { version: statics.entity.version + 1, ..statics.entity.clone() }, name);
    let record = w.rename("unused", w.by_ref(account), "unused").request.record;
    let answer = Answer::Rejected(Rejection::InternalError);
    let outcome = Outcome { fingerprint: w.ref_id("f"), record, at: 0, epoch: None, answer, actor: None }.encode();
    let rows = vec![LogRow { request_id: "operation".into(), changed_to: None, outcome, ttl: None }];
    let write = ApplyWrite::about(&statics, Some(EntityStatics { entity, ..statics }), rows);
    assert_eq!(w.store.apply(write).await.expect("no faults"), Applied::Yes);
}

pub async fn former_names_are_erased_and_the_present_one_stays<S: ErasableStore>(w: &World<S>) {
    w.create(called(w.entity(Customer, "c"), "Ada")).await;
    let process = w.process();
    for (request, name) in [("r1", "Bea"), ("r2", "Bea"), ("r4", "Cleo")] {
        decide(&process, &w.name(request, w.by_id("c"), name)).await;
    }
    let conflict = w.submit(UseCase::UpdateCustomerCustomName, "r3", w.by_id("c"), "Dora", Some(9));
    let refused = decide(&process, &conflict).await;
    let before = process.show(Customer, &Reference::RefId(w.ref_id("c"))).await.expect("no faults").expect("it is there").0;

    let found = |rows, claims| (ErasureCount { all: 5, former: rows }, ErasureCount { all: 1, former: claims });
    for (erasure, rows, claims, expected) in
        [(Erasure::Counted, 3, 1, 0), (Erasure::Done, 3, 1, 4), (Erasure::Done, 0, 0, 0), (Erasure::Counted, 0, 0, 0)]
    {
        let (erased, [_, writes]) = w.counted(erase(w, Customer, "c", erasure)).await;
        assert_eq!((erased.rows, erased.claims), found(rows, claims), "{erasure:?}");
        assert_eq!((writes, &erased.entity), (expected, &before.entity), "{erasure:?}");
    }
    let blobs = blobs(w, Customer, "c").await;
    assert!(!blobs.contains("Ada") && !blobs.contains("Bea") && blobs.contains("Cleo"), "{blobs:?}");
    let (after, history) = process.show(Customer, &Reference::ExternalId(w.id("c"))).await.expect("no faults").expect("stays");
    assert_eq!(after, before);
    let shown: Vec<_> = history.iter().flat_map(|h| &h.changes).map(|c| (c.old.as_deref(), c.new.as_deref())).collect();
    assert_eq!(shown, [(Some(ERASED), Some(ERASED)), (Some(ERASED), Some("Cleo"))]);
    assert_replay(&decide(&process, &w.again(&conflict)).await, &refused);
}

pub async fn a_duplicate_gets_the_redacted_answer_and_is_not_applied_again<S: ErasableStore>(w: &World<S>) {
    w.customer("c").await;
    let process = w.process();
    let record = w.name("r1", w.by_id("c"), "Ada");
    let mut expected = decide(&process, &record).await;
    published(&decide(&process, &w.name("r2", w.by_id("c"), ERASED)).await);
    erase(w, Customer, "c", Erasure::Done).await;

    let Answer::Changed(transaction) = &mut expected.answer else { panic!("{expected:?}") };
    let transaction = Arc::make_mut(transaction);
    transaction.entity = called(transaction.entity.clone(), ERASED);
    transaction.changes[0].new = Some(ERASED.into());
    for process in [process, w.process()] {
        assert_replay(&decide(&process, &w.again(&record)).await, &expected);
        assert_eq!(decide(&process, &record).await, expected, "the record itself publishes it again");
        let other = decide(&process, &w.name("r1", w.by_id("c"), ERASED)).await;
        assert_eq!(rejection(&other), &Rejection::RequestIdReused, "the fingerprint stays");
    }
    assert_eq!(w.version(Customer, "c").await, 3);
}

pub async fn a_present_name_that_was_one_before_stays<S: ErasableStore>(w: &World<S>) {
    w.customer("c").await;
    let process = w.process();
    for (request, name) in [("r1", "Ada"), ("r2", "Bea"), ("r3", "Ada")] {
        published(&decide(&process, &w.name(request, w.by_id("c"), name)).await);
    }
    let erased = erase(w, Customer, "c", Erasure::Done).await;
    assert_eq!(erased.rows, ErasureCount { all: 4, former: 2 });
    let blobs = blobs(w, Customer, "c").await;
    assert!(blobs.contains("Ada") && !blobs.contains("Bea"), "{blobs:?}");
}

/// What it takes for the present name may be a former one by then, and the present one is not known to it.
pub async fn what_is_decided_meanwhile_is_left_to_the_next_run<S: ErasableStore>(w: &World<S>) {
    w.customer("c").await;
    let process = w.process();
    for (request, name) in [("r1", "Ada"), ("r2", "Bea")] {
        published(&decide(&process, &w.name(request, w.by_id("c"), name)).await);
    }
    let other = w.process();
    let meanwhile = async {
        published(&decide(&other, &w.name("r3", w.by_ref("c"), "Cleo")).await);
    };
    let by_ref = Reference::RefId(w.ref_id("c"));
    // `erase` has read the entity, and has not read the log yet.
    let erased = w.stalled(1, process.erase(Customer, &by_ref, Erasure::Done), meanwhile).await;
    let erased = erased.expect("no faults").expect("it is there");
    assert_eq!((erased.rows, erased.entity.version), (ErasureCount { all: 4, former: 2 }, 3));
    let text = blobs(w, Customer, "c").await;
    assert_eq!(["Ada", "Bea", "Cleo"].map(|name| text.contains(name)), [false, true, true], "{text:?}");
    assert_eq!(erase(w, Customer, "c", Erasure::Done).await.rows.former, 2);
    let text = blobs(w, Customer, "c").await;
    assert_eq!(["Ada", "Bea", "Cleo"].map(|name| text.contains(name)), [false, false, true], "{text:?}");
}

/// The outcome of an account's import tells that it held its first id; those of its renames tell that it held the others.
pub async fn who_held_an_id_is_known_after_erasing<S: ErasableStore>(w: &World<S>) {
    w.create(called(w.entity(Account, "a"), "Ada")).await;
    w.account("b").await;
    let (first, second) = (w.rename("r1", w.by_id("a"), "x"), w.rename("r2", w.by_id("x"), "y"));
    for record in [&first, &second] {
        published(&decide(&w.process(), record).await);
    }
    call(w, "a", "Bea").await;
    // Erasing does not stop a rename that is not completed.
    let pending = w.rename("r3", w.by_id("y"), "z");
    w.dies_after(1, &pending).await;
    let erased = erase(w, Account, "a", Erasure::Done).await;
    assert_eq!((erased.rows, erased.claims), (ErasureCount { all: 4, former: 2 }, ErasureCount { all: 3, former: 1 }));
    let blobs = blobs(w, Account, "a").await;
    assert!(!blobs.contains("Ada"), "{blobs:?}");
    assert_eq!(published(&decide(&w.process(), &pending).await).entity.version, 5);

    for (request, given_up) in [("r4", "a"), ("r5", "x")] {
        published(&decide(&w.process(), &w.rename(request, w.by_ref("b"), given_up)).await);
    }
    for (record, version) in [(&first, 2), (&second, 3)] {
        let again = decide(&w.process(), &w.again(record)).await;
        assert!(again.replayed, "{again:?}");
        let entity = &changed(&again).entity;
        assert_eq!((entity.version, entity.ref_id), (version, w.ref_id("a")));
        assert_eq!(entity.custom_name.as_ref().map(CustomName::as_str), Some(ERASED));
    }
    // The ids belong to b now.
    let erased = erase(w, Account, "a", Erasure::Done).await;
    assert_eq!((erased.rows.former, erased.claims), (0, ErasureCount { all: 2, former: 0 }));
}

pub async fn nobody_is_there_to_be_erased<S: ErasableStore>(w: &World<S>) {
    w.account("a").await;
    published(&decide(&w.process(), &w.rename("r1", w.by_id("a"), "x")).await);
    for reference in [Reference::RefId(w.ref_id("n")), Reference::ExternalId(w.id("a")), Reference::ExternalId(w.id("n"))] {
        assert_eq!(w.process().erase(Account, &reference, Erasure::Done).await.expect("no faults"), None, "{reference:?}");
    }
}
