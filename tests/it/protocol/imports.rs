//! Tests imports, and what is shown of an entity.

use super::world::{World, decide, published};
use crm_processor::domain::entity::Entity;
use crm_processor::domain::entity::EntityType::{Account, Customer};
use crm_processor::domain::reference::Reference;
use crm_processor::domain::use_case::UseCase;
use crm_processor::store::ConditionalStore;
use crm_processor::store::upkeep::import::Imported;

pub async fn an_import_creates_what_is_not_there_and_leaves_what_is<S: ConditionalStore>(w: &World<S>) {
    let (entity, process) = (w.entity(Customer, "c"), w.process());
    let (created, [_, writes]) = w.counted(process.import(entity.clone())).await;
    assert_eq!((created.expect("no faults"), writes), (Imported::Created, 2));
    published(&decide(&process, &w.name("r1", w.by_id("c"), "Ada")).await);
    let (existed, [_, writes]) = w.counted(process.import(entity)).await;
    assert_eq!((existed.expect("no faults"), writes), (Imported::Existed, 0));
    assert_eq!(w.version(Customer, "c").await, 2);
}

pub async fn an_import_that_contradicts_what_is_there_does_nothing<S: ConditionalStore>(w: &World<S>) {
    w.account("a").await;
    let process = w.process();
    let other_id = Entity { external_id: w.id("x"), ..w.entity(Account, "a") };
    let other_entity = Entity { external_id: w.id("a"), ..w.entity(Account, "b") };
    for (entity, reason) in [(other_id, "another external id"), (other_entity, "another account")] {
        let (imported, [_, writes]) = w.counted(process.import(entity)).await;
        let imported = imported.expect("no faults");
        assert!(matches!(&imported, Imported::Contradicts(why) if why.contains(reason)), "{imported:?}");
        assert_eq!(writes, 0);
    }
    w.create(Entity { external_id: w.id("a"), ..w.entity(Customer, "a") }).await;
}

pub async fn an_import_takes_an_id_that_was_given_up<S: ConditionalStore>(w: &World<S>) {
    w.account("a").await;
    published(&decide(&w.process(), &w.rename("r1", w.by_id("a"), "x")).await);
    w.create(Entity { external_id: w.id("a"), ..w.entity(Account, "b") }).await;
    assert_eq!(w.holder("a").await, Some(w.ref_id("b")));
    let duplicate = decide(&w.process(), &w.rename("r1", w.by_id("a"), "x")).await;
    assert!(duplicate.replayed, "{duplicate:?}");
}

/// Its entity has left the id, come back and left it again: what it decided at its return still answers under the id.
pub async fn a_late_claim_of_an_import_hides_nothing_that_its_entity_decided_since<S: ConditionalStore>(w: &World<S>) {
    w.account("b").await;
    let (process, zombie) = (w.process(), w.process());
    let record = w.rename("r3", w.by_id("a"), "y");
    let mut first = None;
    let meanwhile = async {
        w.account("a").await;
        published(&decide(&process, &w.rename("r1", w.by_ref("a"), "x")).await);
        published(&decide(&process, &w.rename("r2", w.by_ref("a"), "a")).await);
        first = Some(decide(&process, &record).await);
    };
    // The import has seen that there is no such entity.
    let (imported, [_, writes]) = w.counted(w.stalled(1, zombie.import(w.entity(Account, "a")), meanwhile)).await;
    assert!(matches!(imported, Ok(Imported::Contradicts(_))), "{imported:?}");
    // The rename back to the first id meets the claim of the import first.
    assert_eq!(writes, 4 * 2 + 1 + 2, "an import, three renames, and the zombie, which has claimed for nothing");

    published(&decide(&process, &w.rename("r4", w.by_id("b"), "a")).await);
    let first = first.expect("decided meanwhile");
    assert_eq!(published(&first).entity.ref_id, w.ref_id("a"));
    assert_eq!(decide(&w.process(), &record).await, first, "the record that changed one entity changes no other");
}

pub async fn an_interrupted_import_is_completed_by_the_next<S: ConditionalStore>(w: &World<S>) {
    let (entity, dead) = (w.entity(Customer, "c"), w.process());
    w.interrupt(1, dead.import(entity.clone())).await;
    let (imported, [_, writes]) = w.counted(w.process().import(entity)).await;
    assert_eq!((imported.expect("no faults"), writes), (Imported::Created, 1), "the one that died has created nothing");
    published(&decide(&w.process(), &w.name("r1", w.by_id("c"), "Ada")).await);
}

pub async fn an_interrupted_import_is_completed_by_a_command<S: ConditionalStore>(w: &World<S>) {
    w.account("b").await;
    let (entity, dead) = (w.entity(Account, "a"), w.process());
    w.interrupt(1, dead.import(entity.clone())).await;
    let rival = decide(&w.process(), &w.rename("r1", w.by_id("b"), "a")).await;
    assert!(!rival.publishes(), "the id is taken: {rival:?}");
    assert_eq!(w.process().import(entity).await.expect("no faults"), Imported::Existed);

    let (entity, dead) = (w.entity(Account, "c"), w.process());
    w.interrupt(1, dead.import(entity)).await;
    published(&decide(&w.process(), &w.rename("r1", w.by_id("c"), "x")).await);
}

pub async fn an_entity_is_shown_with_its_changes<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let process = w.process();
    let by_id = Reference::ExternalId(w.id("c"));
    for (request, value) in [("r1", "Ada"), ("r2", "Ada"), ("r3", "Bea")] {
        decide(&process, &w.name(request, w.by_id("c"), value)).await;
    }
    let (statics, history) = process.show(Customer, &by_id).await.expect("no faults").expect("it is there");
    assert_eq!((statics.entity.version, statics.entity.ref_id), (3, w.ref_id("c")));
    let shown: Vec<_> = history.iter().map(|h| (h.version, h.request_id.as_str(), h.changes[0].new.as_deref())).collect();
    assert_eq!(shown, [(2, "r1", Some("Ada")), (3, "r3", Some("Bea"))]);
    assert!(history.iter().all(|h| h.use_case == UseCase::UpdateCustomerCustomName));
    let same = process.show(Customer, &Reference::RefId(w.ref_id("c"))).await.expect("no faults");
    assert_eq!(same, Some((statics, history)));
    assert_eq!(process.show(Account, &by_id).await.expect("no faults"), None);
}
