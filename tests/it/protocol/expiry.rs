//! Tests what is forgotten when the retention is over and what never is, and how a store that can't be reached, or plain reads that miss
//! what is under way, affect a command. It uses the simulated store, whose time and faults can be set.

use super::world::{World, assert_replay, decide, not_found, published, refused, rejection};
use crm_processor::domain::answer::Answer;
use crm_processor::domain::command::RawReference;
use crm_processor::domain::entity::EntityType::{Account, Customer};
use crm_processor::domain::entity::{Entity, State};
use crm_processor::domain::reference::Reference;
use crm_processor::domain::rejection::Rejection;
use crm_processor::domain::use_case::UseCase::{
    UpdateAccountCustomName, UpdateAccountExternalId, UpdateCustomerCustomName, UpdateCustomerState,
};
use crm_processor::store::claims::ClaimsOptions;
use crm_processor::store::outcome::Outcome;
use crm_processor::store::simulated::{Faults, Simulated};
use crm_processor::store::upkeep::erase::Erasure;
use crm_processor::store::{Applied, ApplyWrite, ConditionalStore, EntityKey, LogRow};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

const A_MOMENT: Duration = Duration::from_secs(1);

fn world() -> (Arc<Simulated>, World<Simulated>) {
    let store = Arc::new(Simulated::new(1, Faults::default()));
    (Arc::clone(&store), World::with_clock(Arc::clone(&store), "t", store.clock()))
}

fn retention() -> Duration {
    ClaimsOptions::default().outcome_retention
}

#[tokio::test]
async fn a_customers_rejection_is_forgotten_after_the_retention_and_a_change_is_not() {
    let (store, w) = world();
    w.customer("c").await;
    let process = w.process();
    let early = || w.submit(UpdateCustomerCustomName, "r1", w.by_id("c"), "Bea", Some(2));
    let rejected = decide(&process, &early()).await;
    assert_eq!(refused(&rejected), &Rejection::VersionConflict { expected: 2, actual: 1 });
    let changed = decide(&process, &w.name("r2", w.by_id("c"), "Ada")).await;
    store.advance(retention() / 2);
    assert_replay(&decide(&process, &early()).await, &rejected);
    store.advance(retention() / 2);
    assert_eq!(published(&decide(&process, &early()).await).entity.version, 3);
    assert_replay(&decide(&process, &w.name("r2", w.by_id("c"), "Ada")).await, &changed);
}

#[tokio::test]
async fn a_refusal_is_forgotten_after_the_retention_and_the_holder_is_cached_then() {
    let (store, w) = world();
    let process = w.process();
    let first = decide(&process, &w.name("r1", w.by_id("c"), "Ada")).await;
    assert_eq!(refused(&first), &not_found());
    w.customer("c").await;
    published(&decide(&process, &w.name("r2", w.by_id("c"), "Bea")).await);
    let (_, [reads, _]) = w.counted(decide(&process, &w.name("r3", w.by_id("c"), "Cleo"))).await;
    assert_ne!(reads, 0, "a refusal must be looked for");
    store.advance(retention() + A_MOMENT);
    published(&decide(&process, &w.name("r1", w.by_id("c"), "Ada")).await);
    let (_, counts) = w.counted(decide(&process, &w.name("r4", w.by_id("c"), "Dora"))).await;
    assert_eq!(counts, [0, 1], "[reads, writes]");
}

#[tokio::test]
async fn what_was_erased_is_forgotten_when_it_would_have_been() {
    let (store, w) = world();
    w.customer("c").await;
    let process = w.process();
    let (first, same) = (w.name("r1", w.by_id("c"), "Ada"), w.name("r2", w.by_id("c"), "Ada"));
    for record in [&first, &same, &w.name("r3", w.by_id("c"), "Bea")] {
        decide(&process, record).await;
    }
    store.advance(retention() / 2);
    let erased = process.erase(Customer, &Reference::RefId(w.ref_id("c")), Erasure::Done).await;
    assert_eq!(erased.expect("no faults").expect("it is there").rows.former, 3);
    assert!(decide(&process, &w.again(&same)).await.replayed);
    store.advance(retention() / 2);
    published(&decide(&process, &w.again(&same)).await);
    store.advance(retention() * 3);
    assert!(decide(&process, &w.again(&first)).await.replayed, "what is kept for ever stays so");
}

/// A claim may land after its request was rejected; the outcome alone keeps it from turning pending.
#[tokio::test]
async fn no_outcome_about_an_account_is_forgotten() {
    let (store, w) = world();
    w.account("a").await;
    w.account("b").await;
    let process = w.process();
    let claimed = w.rename("r1", w.by_id("a"), "x");
    w.dies_after(1, &claimed).await;
    let given_up = process.give_up(&claimed).await.expect("no faults");
    let taken = decide(&process, &w.rename("r2", w.by_id("a"), "b")).await;
    let same = decide(&process, &w.rename("r3", w.by_id("a"), "a")).await;
    let conflict = || w.submit(UpdateAccountExternalId, "r4", w.by_id("a"), "t-y", Some(7));
    let conflicting = decide(&process, &conflict()).await;
    let nobody = decide(&process, &w.rename("r5", w.by_ref("n"), "z")).await;
    w.account("n").await;
    store.advance(10 * retention());
    assert_replay(&decide(&process, &w.again(&claimed)).await, &given_up);
    assert_replay(&decide(&process, &w.rename("r2", w.by_id("a"), "b")).await, &taken);
    assert_replay(&decide(&process, &w.rename("r3", w.by_id("a"), "a")).await, &same);
    assert_replay(&decide(&process, &conflict()).await, &conflicting);
    assert_replay(&decide(&process, &w.rename("r5", w.by_ref("n"), "z")).await, &nobody);
    assert_eq!((w.holder("x").await, w.version(Account, "a").await), (None, 1));
}

/// Like a rename's, a creation's claim may land after it was refused, and the refusal alone keeps the claim from turning pending.
#[tokio::test]
async fn no_outcome_of_a_creation_is_forgotten() {
    let (store, w) = world();
    w.customer("c").await;
    w.account("a").await;
    w.create(Entity { state: State::Deactivated, ..w.entity(Customer, "d") }).await;
    let process = w.process();
    let claimed = w.creation("r1", "v", w.by_id("c"));
    w.dies_after(1, &claimed).await;
    let given_up = process.give_up(&claimed).await.expect("no faults");
    let refusals =
        [w.creation("r2", "a", w.by_id("c")), w.creation("r3", "y", w.by_id("n")), w.creation("r4", "z", w.by_id("d"))];
    let mut outcomes = vec![(claimed, given_up)];
    for creation in refusals {
        let refusal = decide(&process, &creation).await;
        refused(&refusal);
        outcomes.push((creation, refusal));
    }
    let creation = w.creation("r5", "x", w.by_id("c"));
    let created = decide(&process, &creation).await;
    published(&created);
    outcomes.push((creation, created));
    // All reasons for the refusals go.
    published(&decide(&process, &w.rename("r6", w.by_id("a"), "b")).await);
    w.customer("n").await;
    store.advance(10 * retention());
    for process in [process, w.process()] {
        for (creation, outcome) in &outcomes {
            assert_replay(&decide(&process, &w.again(creation)).await, outcome);
        }
    }
    for free in ["v", "a", "y", "z"] {
        assert_eq!(w.holder(free).await, None, "{free}");
        published(&decide(&w.process(), &w.creation(&format!("r-{free}"), free, w.by_id("c"))).await);
    }
}

#[tokio::test]
async fn an_update_before_a_creation_with_its_request_id_is_forgotten_unless_it_has_answered_the_creation() {
    for has_answered in [true, false] {
        let (store, w) = world();
        w.customer("c").await;
        let creation = w.creation("r1", "a", w.by_id("c"));
        let Reference::RefId(ref_id) = creation.target else { panic!("{creation:?}") };
        let by_ref_id = RawReference { external_id: None, ref_id: Some(ref_id.to_string()) };
        refused(&decide(&w.process(), &w.submit(UpdateAccountCustomName, "r1", by_ref_id, "Ann", None)).await);
        if has_answered {
            assert_eq!(refused(&decide(&w.process(), &creation).await), &Rejection::RequestIdReused);
        }
        store.advance(2 * retention());
        let decided = decide(&w.process(), &w.again(&creation)).await;
        if has_answered {
            assert_eq!(refused(&decided), &Rejection::RequestIdReused);
        } else {
            published(&decided);
        }
    }
}

#[tokio::test]
async fn a_previous_owner_is_asked_until_the_retention_is_over() {
    let (store, w) = world();
    w.account("a").await;
    w.account("b").await;
    let process = w.process();
    let first = decide(&process, &w.rename("r1", w.by_id("a"), "x")).await;
    published(&decide(&process, &w.rename("r2", w.by_id("b"), "a")).await);
    store.advance(retention());
    assert_replay(&decide(&process, &w.rename("r1", w.by_id("a"), "x")).await, &first);
    store.advance(A_MOMENT);
    assert_eq!(rejection(&decide(&process, &w.rename("r1", w.by_id("a"), "x")).await), &Rejection::ExternalIdNotUnique);
}

#[tokio::test]
async fn a_command_waits_while_the_store_cannot_be_reached_and_is_decided_once_it_can() {
    let (store, w) = world();
    w.customer("c").await;
    let process = w.process();
    store.set_faults(Faults { unread: 1000, lost: 1000, ..Faults::default() });
    let attempts = AtomicU32::new(0);
    let run = [w.name("r1", w.by_id("c"), "Ada")];
    let decided = process.decide_until_done(&run, |_, attempt| {
        assert_eq!(attempts.fetch_add(1, SeqCst) + 1, attempt);
        if attempt == 2 {
            store.set_faults(Faults::default());
        }
    });
    assert_eq!(published(&decided.await[0]).entity.version, 2);
    assert_eq!(attempts.load(SeqCst), 2);
}

#[tokio::test]
async fn a_write_that_was_applied_though_it_failed_is_found_by_the_next_attempt() {
    let (store, w) = world();
    w.account("a").await;
    w.customer("c").await;
    let process = w.process();
    let (renamed, named) = (w.rename("r1", w.by_id("a"), "x"), w.name("r2", w.by_id("c"), "Ada"));
    store.set_faults(Faults { unacknowledged: 1000, ..Faults::default() });
    for record in [&renamed, &named] {
        process.decide(std::slice::from_ref(record)).await.expect_err("the acknowledgement was lost");
    }
    store.set_faults(Faults::default());
    for (record, expected, what) in [(&renamed, 2, "its claim, which is there, and what completes it"), (&named, 0, "nothing")] {
        let (decided, [_, writes]) = w.counted(decide(&process, record)).await;
        assert_eq!((published(&decided).entity.version, writes), (2, expected), "{what}");
    }
}

/// A duplicate may be worked at by a process and its zombie, while the outcome that answers it expires between their reads.
#[tokio::test]
async fn an_outcome_that_answers_a_late_duplicate_does_not_expire_beside_it() {
    let (store, w) = world();
    w.customer("c").await;
    let process = w.process();
    let nobody = decide(&process, &w.name("r0", w.by_id("n"), "Ada")).await;
    w.customer("n").await;
    published(&decide(&process, &w.name("r1", w.by_id("c"), "Ada")).await);
    let same = w.name("r2", w.by_id("c"), "Ada");
    let unchanged = decide(&process, &same).await;
    published(&decide(&process, &w.name("r3", w.by_id("c"), "Bea")).await);

    store.advance(retention().saturating_sub(A_MOMENT));
    let (duplicate, of_nobody) = (w.again(&same), w.name("r0", w.by_id("n"), "Ada"));
    assert_replay(&decide(&process, &duplicate).await, &unchanged);
    assert_replay(&decide(&process, &of_nobody).await, &nobody);
    store.advance(A_MOMENT * 2);
    assert_replay(&decide(&w.process(), &duplicate).await, &unchanged);
    assert_replay(&decide(&w.process(), &of_nobody).await, &nobody);
    store.advance(retention());
    assert_replay(&decide(&w.process(), &duplicate).await, &unchanged);
    published(&decide(&w.process(), &of_nobody).await);
}

/// Stores an outcome that expires with the entity `name`, as that of another use case with this request id.
async fn refuse_something_else(store: &Simulated, w: &World<Simulated>, request_id: &str, name: &str) {
    let request = w.name(request_id, w.by_ref(name), "Ada").request;
    let answer = Answer::Rejected(Rejection::VersionConflict { expected: 7, actual: 1 });
    let outcome = Outcome::of(&request, answer, Some(1), store.clock()()).encode();
    let row = LogRow { request_id: request_id.into(), changed_to: None, outcome, ttl: Some(retention()) };
    let key = EntityKey { entity_type: Account, ref_id: w.ref_id(name) };
    let write = ApplyWrite { key, expected_version: Some(1), after: None, rows: vec![row] };
    assert_eq!(store.apply(write).await.expect("no faults"), Applied::Yes);
}

/// The rename leaves no outcome of its own, and its claim is there. Only the outcome of the other use case keeps the claim from turning
/// pending.
#[tokio::test]
async fn an_outcome_that_answers_a_rename_is_never_forgotten() {
    let (store, w) = world();
    w.account("a").await;
    let rename = w.rename("r1", w.by_id("a"), "x");
    w.dies_after(1, &rename).await;
    refuse_something_else(&store, &w, "r1", "a").await;
    assert_eq!(rejection(&decide(&w.process(), &rename).await), &Rejection::RequestIdReused);
    store.advance(10 * retention());
    published(&decide(&w.process(), &w.rename("r2", w.by_id("a"), "y")).await);
    assert_eq!(rejection(&decide(&w.process(), &w.again(&rename)).await), &Rejection::RequestIdReused);
    assert_eq!((w.holder("x").await, w.version(Account, "a").await), (None, 2));
}

/// The rename has claimed before its request id was used for something else, and somebody takes the id. If the outcome of the something
/// else were forgotten, the rename could still be applied, and two entities would have one id.
#[tokio::test]
async fn a_claim_that_was_replaced_on_account_of_an_outcome_never_takes_effect() {
    let (store, w) = world();
    w.account("a").await;
    w.account("b").await;
    let rename = w.rename("r1", w.by_id("a"), "x");
    w.dies_after(1, &rename).await;
    refuse_something_else(&store, &w, "r1", "a").await;
    published(&decide(&w.process(), &w.rename("r2", w.by_id("b"), "x")).await);
    store.advance(10 * retention());
    assert_eq!(rejection(&decide(&w.process(), &rename).await), &Rejection::RequestIdReused);
    assert_eq!((w.holder("x").await, w.version(Account, "a").await), (Some(w.ref_id("b")), 1));
}

/// The deactivation is under way: its sender was told of a fault. A duplicate has found its outcome, so the CRM knows of it.
#[tokio::test]
async fn a_creation_sees_a_change_of_its_superior_that_plain_reads_may_miss() {
    let (store, w) = world();
    w.customer("c").await;
    let process = w.process();
    published(&decide(&process, &w.name("r1", w.by_id("c"), "Ann")).await);
    let deactivation = w.submit(UpdateCustomerState, "r2", w.by_ref("c"), "DEACTIVATED", None);
    store.set_faults(Faults { unacknowledged: 1_000, ..Faults::default() });
    w.process().decide(std::slice::from_ref(&deactivation)).await.expect_err("nobody is told that it was applied");
    store.set_faults(Faults::default());
    published(&decide(&w.process(), &deactivation).await);
    store.set_faults(Faults { stale: 1_000, ..Faults::default() });
    for (request, superior) in [("r3", w.by_ref("c")), ("r4", w.by_id("c"))] {
        let creation = decide(&process, &w.creation(request, "a", superior)).await;
        assert_eq!(refused(&creation), &Rejection::Deactivated { field: "customer".into() });
    }
}
