//! Tests a rolling upgrade as the older process sees it. If a newer release has stored something in a form that the process does
//! not know, the process waits: it answers nothing and writes nothing, and goes on as soon as it knows the form.

use super::world::{World, assert_replay, decide, published};
use crm_processor::domain::entity::EntityType::{Account, Customer};
use crm_processor::store::erasable::{ErasableStore, Redaction};
use crm_processor::store::{Applied, Claim, ClaimWrite, ConditionalStore, Consistency, EntityKey, IdKey, StoreFault};
use scylla::client::session_builder::SessionBuilder;
use std::sync::Arc;
use tokio::sync::Notify;
use uuid::Uuid;

/// How many times the older process tries in vain before it is upgraded.
const IN_VAIN: u32 = 3;

pub async fn an_outcome_of_a_newer_release_is_waited_for<S: ErasableStore>(w: &World<S>) {
    w.customer("a").await;
    let request = w.name("r1", w.by_id("a"), "Ada");
    let first = decide(&w.process(), &request).await;
    let key = EntityKey { entity_type: Customer, ref_id: w.ref_id("a") };
    let blob = w.store.read_entity(key, &["r1"], Consistency::Serial).await.expect("no faults").outcomes.remove(0).outcome;
    let replace = async |read: &[u8], outcome: &[u8]| {
        let redaction = Redaction { key, request_id: "r1".into(), expected_outcome: read.into(), outcome: outcome.into() };
        assert_eq!(w.store.redact(redaction).await.expect("no faults"), Applied::Yes);
    };
    replace(&blob, &newer(&blob)).await;

    let older = w.process();
    // From here on the process has the entity in its cache, and would change it anew if it ignored the outcome.
    published(&decide(&older, &w.name("r2", w.by_id("a"), "Eve")).await);
    let run = [w.name("r3", w.by_id("a"), "Zoe"), w.again(&request), request.clone()];
    let upgraded = Notify::new();
    let upgrade = async {
        upgraded.notified().await;
        let statics = w.store.read_entity(key, &[], Consistency::Serial).await.expect("no faults").statics;
        assert_eq!(statics.map(|statics| statics.entity.version), Some(3), "nothing of the run is decided");
        replace(&newer(&blob), &blob).await;
    };
    let waiting = older.decide_until_done(&run, |fault, attempt| told(fault, attempt, &upgraded));
    let (decided, ()) = tokio::join!(waiting, upgrade);
    assert_eq!(published(&decided[0]).entity.version, 4);
    assert_replay(&decided[1], &first);
    assert_eq!(decided[2], first, "the record itself publishes its business transaction");
}

pub async fn a_claim_of_a_newer_release_is_waited_for<S: ErasableStore>(w: &World<S>) {
    w.account("a").await;
    w.account("b").await;
    // A newer process has died between its two writes.
    let dead = w.rename("r1", w.by_id("a"), "x");
    w.dies_after(1, &dead).await;
    let id = IdKey { entity_type: Account, external_id: w.id("x") };
    let claim = claim_on(w, &id).await;
    let put = async |blob: Vec<u8>| {
        let (expected_generation, claim) = (Some(claim.generation), Claim { blob, ..claim.clone() });
        let write = ClaimWrite { id: id.clone(), expected_generation, unrefused: false, claim };
        assert_eq!(w.store.claim(write).await.expect("no faults"), Applied::Yes);
    };
    put(newer(&claim.blob)).await;

    let older = w.process();
    let names_it = w.rename("r2", w.by_id("x"), "y");
    let wants_it = w.rename("r3", w.by_id("b"), "x");
    for submission in [&names_it, &wants_it, &dead] {
        let fault = older.decide(std::slice::from_ref(submission)).await.expect_err("it can't know");
        assert!(fault.cause.contains("a newer build must read it"), "{submission:?}: {fault}");
    }
    let fault = older.import(w.entity(Account, "x")).await.expect_err("it can't know");
    assert!(fault.cause.contains("a newer build must read it"), "{fault}");
    assert_eq!(claim_on(w, &id).await, Claim { blob: newer(&claim.blob), ..claim.clone() }, "it is as it was");

    let upgraded = Notify::new();
    let upgrade = async {
        upgraded.notified().await;
        put(claim.blob.clone()).await;
    };
    let run = [names_it];
    let waiting = older.decide_until_done(&run, |fault, attempt| told(fault, attempt, &upgraded));
    let (decided, ()) = tokio::join!(waiting, upgrade);
    assert_eq!(published(&decided[0]).entity.external_id, w.id("y"), "the claim was completed, and what named its id decided");
    assert_eq!(published(&decide(&older, &dead).await).entity.external_id, w.id("x"));
    assert_eq!(published(&decide(&older, &wants_it).await).entity.external_id, w.id("x"), "which is free by now");
}

/// A newer release has one more column. If it holds a value, the row says so in a column that this release reads, too.
#[tokio::test]
async fn an_entity_row_of_a_newer_release_is_waited_for() {
    let Some((address, store)) = crate::cql::connect_apart("upgraded").await else { return };
    let w = World::new(Arc::new(store), &Uuid::new_v4().to_string());
    let session = SessionBuilder::new().known_node(address).build().await.expect("it is up");
    let newer_release = async |statement: &str| {
        let statement = statement.replace("THE ROW", &format!("entity_type = 'customer' AND ref_id = {}", w.ref_id("a")));
        let answer = session.query_unpaged(statement.as_str(), ()).await.unwrap_or_else(|e| panic!("{statement}: {e}"));
        let Ok(rows) = answer.into_rows_result() else { return };
        let row = rows.single_row::<scylla::value::Row>().expect("a row");
        assert_eq!(row.columns[0].as_ref().and_then(scylla::value::CqlValue::as_boolean), Some(true), "{statement}");
    };
    newer_release("ALTER TABLE upgraded.entity ADD IF NOT EXISTS language text static").await;
    w.customer("a").await;
    let older = w.process();
    published(&decide(&older, &w.name("r1", w.by_id("a"), "Ada")).await);
    newer_release("UPDATE upgraded.entity SET version = 3, state = 'SUSPENDED/3', language = 'pl' WHERE THE ROW IF version = 2")
        .await;

    // The older release has the entity in its cache as it was before.
    let run = [w.name("r2", w.by_id("a"), "Eve")];
    let upgraded = Notify::new();
    let upgrade = async {
        upgraded.notified().await;
        newer_release(
            "UPDATE upgraded.entity SET version = 4, state = 'SUSPENDED', language = null WHERE THE ROW \
             IF version = 3 AND state = 'SUSPENDED/3' AND language = 'pl'",
        )
        .await;
    };
    let waiting = older.decide_until_done(&run, |fault, attempt| told(fault, attempt, &upgraded));
    let (decided, ()) = tokio::join!(waiting, upgrade);
    assert_eq!(published(&decided[0]).entity.version, 5);
}

/// Returns a newer release's blob, of a version that this release does not know.
fn newer(blob: &[u8]) -> Vec<u8> {
    [&[u8::MAX], &blob[1..]].concat()
}

/// Notes that the older process had to wait once more, and upgrades it after some attempts.
fn told(fault: &StoreFault, attempt: u32, upgraded: &Notify) {
    assert!(fault.cause.contains("a newer build must read it"), "{fault}");
    if attempt == IN_VAIN {
        upgraded.notify_one();
    }
}

async fn claim_on<S: ConditionalStore>(w: &World<S>, id: &IdKey) -> Claim {
    w.store.read_id(id, &[], Consistency::Serial).await.expect("no faults").claim.expect("there is one")
}
