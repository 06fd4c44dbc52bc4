//! Tests what readers are told: who is behind a reference, and what a request was answered. A pending claim that a reader meets is
//! completed, as it would be for a command.

use super::world::{World, decide, published};
use crm_processor::domain::answer::Answer;
use crm_processor::domain::entity::Entity;
use crm_processor::domain::entity::EntityType::{Account, Customer};
use crm_processor::domain::reference::Reference;
use crm_processor::domain::rejection::Rejection;
use crm_processor::domain::use_case::UseCase::UpdateCustomerCustomName;
use crm_processor::domain::values::RequestId;
use crm_processor::store::claims::Freshness::{self, Latest, Quorum};
use crm_processor::store::simulated::{Faults, Simulated};
use crm_processor::store::{ConditionalStore, EntityStatics, StoreFault};
use std::sync::Arc;
use uuid::Uuid;

/// What a reader asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Asks {
    Entity,
    Answer,
}

/// All that a reader can ask by an external id, each with a name of its own.
const INQUIRIES: [(&str, Asks, Freshness); 4] =
    [("1", Asks::Entity, Quorum), ("2", Asks::Entity, Latest), ("3", Asks::Answer, Quorum), ("4", Asks::Answer, Latest)];

fn entity(found: Result<Option<EntityStatics>, StoreFault>) -> Option<Entity> {
    found.expect("no faults").map(|statics| statics.entity)
}

fn version(found: Result<Option<EntityStatics>, StoreFault>) -> Option<i64> {
    entity(found).map(|entity| entity.version)
}

fn request(id: &str) -> RequestId {
    RequestId::parse(id).expect("a request id")
}

pub async fn a_rename_of_a_dead_process_is_completed_by_a_reader_who_meets_it<S: ConditionalStore>(w: &World<S>) {
    for (n, asks, freshness) in INQUIRIES {
        let [old, new] = [format!("a{n}"), format!("x{n}")];
        w.account(&old).await;
        let dead = w.rename("r1", w.by_id(&old), &new);
        w.dies_after(1, &dead).await;
        let (reader, id) = (w.process(), &dead.request.id);
        let [by_old, by_new] = [&old, &new].map(|name| Reference::ExternalId(w.id(name)));
        let by_ref = Reference::RefId(w.ref_id(&old));

        // Neither under the old id nor under the refId is anything pending.
        for reference in [&by_old, &by_ref] {
            let (found, [_, writes]) = w.counted(reader.find(Account, reference, freshness)).await;
            assert_eq!((version(found), writes), (Some(1), 0), "{reference:?}");
            let (answer, [_, writes]) = w.counted(reader.answer_to(Account, reference, id, None, freshness)).await;
            assert_eq!((answer.expect("no faults"), writes), (None, 0), "{reference:?}");
        }

        let (answer, [_, writes]) = w
            .counted(async {
                if asks == Asks::Entity {
                    assert_eq!(version(reader.find(Account, &by_new, freshness).await), Some(2), "{freshness:?}");
                }
                reader.answer_to(Account, &by_new, id, None, freshness).await.expect("no faults")
            })
            .await;
        assert_eq!(writes, 1, "{asks:?}, {freshness:?}: who meets the claim completes it, and nobody else");
        let Some(Answer::Changed(transaction)) = &answer else { panic!("{asks:?}, {freshness:?}: {answer:?}") };
        assert_eq!((transaction.entity.version, &transaction.entity.external_id), (2, &w.id(&new)));

        for (reference, there) in [(&by_old, None), (&by_new, Some(&transaction.entity)), (&by_ref, Some(&transaction.entity))] {
            let found = entity(reader.find(Account, reference, freshness).await);
            assert_eq!(found.as_ref(), there, "{reference:?}, {freshness:?}");
            let again = reader.answer_to(Account, reference, id, None, freshness).await.expect("no faults");
            assert_eq!(again, answer, "{reference:?}, {freshness:?}: whoever named the account so finds the answer");
        }
        let redelivered = decide(&w.process(), &dead).await;
        assert_eq!(published(&redelivered), &**transaction, "its own record publishes what the reader completed");
    }
}

pub async fn a_creation_of_a_dead_process_is_completed_by_a_reader_who_meets_it<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    for (n, asks, freshness) in INQUIRIES {
        let name = format!("a{n}");
        let dead = w.creation("r1", &name, w.by_id("c"));
        w.dies_after(1, &dead).await;
        let (reader, id) = (w.process(), &dead.request.id);
        let (by_id, by_ref) = (Reference::ExternalId(w.id(&name)), &dead.target);

        // The claim stands with the external id alone.
        let (found, [_, writes]) = w.counted(reader.find(Account, by_ref, freshness)).await;
        assert_eq!((entity(found), writes), (None, 0));
        let (answer, [_, writes]) = w.counted(reader.answer_to(Account, by_ref, id, None, freshness)).await;
        assert_eq!((answer.expect("no faults"), writes), (None, 0));

        let (answer, [_, writes]) = w
            .counted(async {
                if asks == Asks::Entity {
                    assert_eq!(version(reader.find(Account, &by_id, freshness).await), Some(1), "{freshness:?}");
                }
                reader.answer_to(Account, &by_id, id, None, freshness).await.expect("no faults")
            })
            .await;
        assert_eq!(writes, 1, "{asks:?}, {freshness:?}: who meets the claim completes it, and nobody else");
        let Some(Answer::Changed(transaction)) = &answer else { panic!("{asks:?}, {freshness:?}: {answer:?}") };
        assert_eq!((transaction.previous_version, transaction.entity.superior), (0, Some(w.ref_id("c"))));

        for reference in [&by_id, by_ref] {
            assert_eq!(entity(reader.find(Account, reference, freshness).await).as_ref(), Some(&transaction.entity));
            let again = reader.answer_to(Account, reference, id, None, freshness).await.expect("no faults");
            assert_eq!(again, answer, "{reference:?}, {freshness:?}");
        }
        let redelivered = decide(&w.process(), &dead).await;
        assert_eq!(published(&redelivered), &**transaction, "its own record publishes what the reader completed");
    }
}

pub async fn a_reader_who_asks_for_other_contents_learns_that_the_request_id_is_taken<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let process = w.process();
    let (named, refused) =
        (w.name("r1", w.by_id("c"), "Ada"), w.submit(UpdateCustomerCustomName, "r2", w.by_id("c"), "Ada", Some(7)));
    let other = w.name("r1", w.by_id("c"), "Bea").request.contents.fingerprint();
    for submission in [&named, &refused] {
        let answer = decide(&process, submission).await.answer;
        let request_id = &submission.request.id;
        let own = submission.request.contents.fingerprint();
        for reference in [Reference::ExternalId(w.id("c")), Reference::RefId(w.ref_id("c"))] {
            for freshness in [Quorum, Latest] {
                let reader = w.process();
                let asked = async |request_id: &RequestId, contents: Option<Uuid>| {
                    reader.answer_to(Customer, &reference, request_id, contents, freshness).await.expect("no faults")
                };
                assert_eq!(asked(request_id, None).await.as_ref(), Some(&answer), "{reference:?}, {freshness:?}");
                assert_eq!(asked(request_id, Some(own)).await.as_ref(), Some(&answer), "{reference:?}, {freshness:?}");
                let reused = Some(Answer::Rejected(Rejection::RequestIdReused));
                assert_eq!(asked(request_id, Some(other)).await, reused, "{reference:?}, {freshness:?}");
                assert_eq!(asked(&request("never"), Some(own)).await, None, "{reference:?}, {freshness:?}");
            }
        }
    }
}

/// One request id stands for two requests under one external id, if the id has changed hands. The contents tell them apart.
pub async fn a_reader_finds_the_answer_of_a_previous_owner_by_the_contents<S: ConditionalStore>(w: &World<S>) {
    w.account("a").await;
    w.account("b").await;
    let (one, other) = (w.rename("r1", w.by_id("a"), "x"), w.rename("r1", w.by_id("b"), "a"));
    for submission in [&one, &other] {
        published(&decide(&w.process(), submission).await);
    }
    let (reader, reference) = (w.process(), Reference::ExternalId(w.id("a")));
    for freshness in [Quorum, Latest] {
        for (submission, owner) in [(&one, "a"), (&other, "b")] {
            let contents = Some(submission.request.contents.fingerprint());
            let answer = reader.answer_to(Account, &reference, &request("r1"), contents, freshness).await.expect("no faults");
            let Some(Answer::Changed(transaction)) = answer else { panic!("{owner}, {freshness:?}: {answer:?}") };
            assert_eq!(transaction.entity.ref_id, w.ref_id(owner), "{freshness:?}");
        }
    }
}

#[tokio::test]
async fn the_latest_word_has_a_change_whose_sender_knows_nothing_of_it_and_a_plain_read_may_miss_it() {
    let store = Arc::new(Simulated::new(1, Faults::default()));
    let w = World::new(Arc::clone(&store), "t");
    let (reader, reference) = (w.process(), Reference::RefId(w.ref_id("c")));
    w.customer("c").await;
    let named = w.name("r1", w.by_ref("c"), "Ada");
    store.set_faults(Faults { unacknowledged: 1000, ..Faults::default() });
    w.process().decide(std::slice::from_ref(&named)).await.expect_err("nobody hears that it was written");
    store.set_faults(Faults { stale: 1000, ..Faults::default() });

    assert_eq!(version(reader.find(Customer, &reference, Quorum).await), Some(1));
    let plain = reader.answer_to(Customer, &reference, &named.request.id, None, Quorum).await.expect("no faults");
    assert_eq!(plain, None);
    let latest = reader.answer_to(Customer, &reference, &named.request.id, None, Latest).await.expect("no faults");
    assert!(matches!(latest, Some(Answer::Changed(_))), "{latest:?}");
    // A serial read completes what is under way, so that nobody misses it from then on.
    for freshness in [Quorum, Latest] {
        assert_eq!(version(reader.find(Customer, &reference, freshness).await), Some(2), "{freshness:?}");
    }
}
