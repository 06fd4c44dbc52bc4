//! Specifies what every `ConditionalStore` does, as checks that run over each implementation. Each check uses keys of its own, so
//! that all checks can share one database, at the same time and in later runs.

use crm_processor::domain::Timestamp;
use crm_processor::domain::entity::{Entity, EntityType, State};
use crm_processor::domain::values::{CustomName, ExternalId, SegmentCode, StateReason};
use crm_processor::store::Consistency::{Quorum, Serial};
use crm_processor::store::erasable::{ErasableStore, Redaction};
use crm_processor::store::{
    Applied, ApplyWrite, Claim, ClaimWrite, ConditionalStore, EntityKey, EntityRead, EntityStatics, FIRST_ROW, Held, HistoryRow,
    HoldWrite, IdKey, IdRead, LogRow, MAX_REQUESTS, MAX_ROWS, NewStatics, OutcomeRow, RefuseWrite,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use uuid::Uuid;

const NOW: Timestamp = 1_750_000_000_123;
/// The shortest TTL that CQL knows.
const SHORT: Option<Duration> = Some(Duration::from_secs(1));
/// A TTL that ends within a test, but not before the next write, even on a machine that stands still for some seconds.
const SOON: Option<Duration> = Some(Duration::from_secs(8));
const LONG: Option<Duration> = Some(Duration::from_secs(3600));

macro_rules! checks {
    ($($check:ident),+ $(,)?) => {
        mod embedded {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $check() {
                    let folder = tempfile::tempdir().unwrap();
                    super::$check(std::sync::Arc::new(crate::embedded::open(folder.path()))).await;
                }
            )+
        }
        mod cql {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $check() {
                    let Some(store) = crate::cql::connect().await else { return };
                    super::$check(std::sync::Arc::new(store)).await;
                }
            )+
        }
    };
}

checks! {
    absent_partitions_show_nothing,
    a_claim_replaces_the_one_that_was_read_only,
    a_claim_is_read_as_it_was_written,
    an_entity_comes_into_being_once,
    the_first_row_is_reported_only_to_who_asks_for_it,
    a_change_writes_statics_and_row,
    a_rejection_leaves_the_statics_alone,
    another_version_than_the_one_read_is_not_overwritten,
    a_decided_request_is_not_decided_again,
    a_request_about_no_entity_is_decided_in_its_absence_only,
    a_batch_applies_as_a_whole,
    a_read_may_ask_for_as_many_requests_as_the_bound,
    a_batch_with_a_decided_request_applies_nothing,
    a_batch_may_be_as_large_as_the_bound,
    a_refusal_is_kept_beside_the_claim,
    a_refusal_needs_the_generation_that_was_read,
    a_request_is_refused_once,
    refusals_of_a_batch_apply_as_a_whole,
    a_row_expires_and_the_statics_stay,
    statics_written_with_an_expiring_row_stay,
    a_refusal_expires_with_its_time,
    an_outcome_that_is_held_never_expires,
    a_refusal_that_is_held_is_kept_anew,
    only_the_outcome_that_was_read_is_held,
    every_value_survives,
    values_can_be_taken_away,
    values_that_do_not_change_stay,
    texts_may_be_long_and_of_any_script,
    the_history_lists_changes_oldest_first,
    the_log_lists_all_rows,
    an_outcome_that_was_read_can_be_replaced,
    a_redacted_row_expires_with_its_time,
    of_racing_changes_one_wins_each_version,
    of_racing_claims_one_wins,
    of_racing_decisions_of_one_request_one_wins,
    a_read_shows_one_instant,
    a_store_that_is_there_answers_a_ping,
}

async fn absent_partitions_show_nothing<S: ConditionalStore>(store: Arc<S>) {
    for consistency in [Quorum, Serial] {
        assert_eq!(store.read_id(&any_id(), &["r"], consistency).await.unwrap(), IdRead::default());
        assert_eq!(store.read_id(&any_id(), &[], consistency).await.unwrap(), IdRead::default());
        assert_eq!(store.read_entity(any_entity(), &["r", FIRST_ROW], consistency).await.unwrap(), EntityRead::default());
    }
    assert_eq!(store.history(any_entity()).await.unwrap(), []);
}

async fn a_claim_replaces_the_one_that_was_read_only<S: ConditionalStore>(store: Arc<S>) {
    let id = any_id();
    // The expected generation, the claim's generation, whether the write applies, and the generation afterwards.
    let table = [
        (Some(1), 2, Applied::No, None),
        (None, 1, Applied::Yes, Some(1)),
        (None, 1, Applied::No, Some(1)),
        (Some(2), 3, Applied::No, Some(1)),
        (Some(1), 2, Applied::Yes, Some(2)),
        (Some(1), 2, Applied::No, Some(2)),
    ];
    for (step, (expected_generation, generation, expected, afterwards)) in table.into_iter().enumerate() {
        // Nobody is refused here, so that this condition holds.
        let write = ClaimWrite { id: id.clone(), expected_generation, unrefused: step % 2 == 1, claim: claim(generation) };
        assert_eq!(store.claim(write).await.unwrap(), expected, "step {step}");
        let read = store.read_id(&id, &[], Serial).await.unwrap();
        assert_eq!(read.claim.map(|c| c.generation), afterwards, "step {step}");
    }
}

async fn a_claim_is_read_as_it_was_written<S: ConditionalStore>(store: Arc<S>) {
    let id = any_id();
    let first = Claim { claimed_by: FIRST_ROW.into(), blob: vec![0, 1, 255], previous_owners: vec![], ..claim(1) };
    let previous_owners = vec![(Uuid::from_u128(9), NOW - 5), (Uuid::from_u128(3), NOW)];
    let second = Claim { claimed_by: "request".into(), previous_owners, ..claim(2) };
    let third = Claim { previous_owners: vec![(Uuid::from_u128(4), NOW + 1)], ..claim(3) };
    let mut expected_generation = None;
    for written in [first, second, third] {
        let generation = written.generation;
        let write = ClaimWrite { id: id.clone(), expected_generation, unrefused: false, claim: written.clone() };
        assert_eq!(store.claim(write).await.unwrap(), Applied::Yes);
        for consistency in [Quorum, Serial] {
            let read = store.read_id(&id, &["r", "request"], consistency).await.unwrap();
            assert_eq!(read, IdRead { claim: Some(written.clone()), outcomes: vec![] });
        }
        expected_generation = Some(generation);
    }
}

async fn an_entity_comes_into_being_once<S: ConditionalStore>(store: Arc<S>) {
    let key = any_entity();
    let import = creation(key);
    assert_eq!(store.apply(import.clone()).await.unwrap(), Applied::Yes);
    assert_eq!(store.apply(import.clone()).await.unwrap(), Applied::No);
    let read = store.read_entity(key, &[FIRST_ROW, "r"], Serial).await.unwrap();
    assert_eq!(read, EntityRead { statics: values(&import), outcomes: vec![lasting(FIRST_ROW)] });
}

async fn the_first_row_is_reported_only_to_who_asks_for_it<S: ConditionalStore>(store: Arc<S>) {
    let (key, id) = (any_entity(), any_id());
    create(&*store, key).await;
    assert_eq!(
        store.claim(ClaimWrite { id: id.clone(), expected_generation: None, unrefused: false, claim: claim(1) }).await.unwrap(),
        Applied::Yes
    );
    for requests in [&[][..], &["r"], &["r", "s"]] {
        assert_eq!(store.read_entity(key, requests, Quorum).await.unwrap().outcomes, [], "asked for {requests:?}");
    }
    assert_eq!(store.read_entity(key, &[FIRST_ROW], Quorum).await.unwrap().outcomes.len(), 1);
    assert_eq!(store.read_id(&id, &[FIRST_ROW, "r"], Quorum).await.unwrap().outcomes, []);
}

async fn a_change_writes_statics_and_row<S: ConditionalStore>(store: Arc<S>) {
    let key = any_entity();
    create(&*store, key).await;
    let write = change(key, 1, "r");
    assert_eq!(store.apply(write.clone()).await.unwrap(), Applied::Yes);
    for consistency in [Quorum, Serial] {
        let read = store.read_entity(key, &["r", "s"], consistency).await.unwrap();
        assert_eq!(read, EntityRead { statics: values(&write), outcomes: vec![lasting("r")] });
    }
}

async fn a_rejection_leaves_the_statics_alone<S: ConditionalStore>(store: Arc<S>) {
    let key = any_entity();
    let created = create(&*store, key).await;
    for (request, ttl) in [("expiring", LONG), ("lasting", None)] {
        let write = ApplyWrite { key, expected_version: Some(1), after: None, rows: vec![row(request, None, ttl)] };
        assert_eq!(store.apply(write).await.unwrap(), Applied::Yes);
        let read = store.read_entity(key, &[request], Serial).await.unwrap();
        assert_eq!(read.statics.as_ref(), Some(&created));
        assert_eq!(with_ttl(ttl, read.outcomes), [lasting(request)]);
    }
}

async fn another_version_than_the_one_read_is_not_overwritten<S: ConditionalStore>(store: Arc<S>) {
    let key = any_entity();
    create(&*store, key).await;
    assert_eq!(store.apply(change(key, 1, "r")).await.unwrap(), Applied::Yes);
    let before = store.read_entity(key, &["s", "t"], Serial).await.unwrap();
    for expected_version in [None, Some(1), Some(3)] {
        for after in [None, Some(statics(key, 9).into())] {
            for rows in [vec![row("s", None, LONG)], vec![row("s", Some(9), None), row("t", None, LONG)]] {
                let write = ApplyWrite { key, expected_version, after: after.clone(), rows };
                assert_eq!(store.apply(write.clone()).await.unwrap(), Applied::No, "{write:?}");
            }
        }
    }
    assert_eq!(store.read_entity(key, &["s", "t"], Serial).await.unwrap(), before);
}

async fn a_decided_request_is_not_decided_again<S: ConditionalStore>(store: Arc<S>) {
    let key = any_entity();
    create(&*store, key).await;
    assert_eq!(store.apply(change(key, 1, "r")).await.unwrap(), Applied::Yes);
    let rejection = ApplyWrite { key, expected_version: Some(2), after: None, rows: vec![row("s", None, LONG)] };
    assert_eq!(store.apply(rejection.clone()).await.unwrap(), Applied::Yes);
    for again in [change(key, 2, "r"), change(key, 2, "s"), rejection] {
        assert_eq!(store.apply(again.clone()).await.unwrap(), Applied::No, "{again:?}");
    }
    assert_eq!(version(&*store, key).await, Some(2));
}

async fn a_request_about_no_entity_is_decided_in_its_absence_only<S: ConditionalStore>(store: Arc<S>) {
    let key = any_entity();
    let unknown = |request: &str| ApplyWrite { key, expected_version: None, after: None, rows: vec![row(request, None, LONG)] };
    assert_eq!(store.apply(unknown("r")).await.unwrap(), Applied::Yes);
    assert_eq!(store.apply(unknown("r")).await.unwrap(), Applied::No);
    let both = ApplyWrite { rows: vec![row("s", None, LONG), row("t", None, LONG)], ..unknown("s") };
    assert_eq!(store.apply(both).await.unwrap(), Applied::Yes);
    let read = store.read_entity(key, &["r"], Serial).await.unwrap();
    assert_eq!(read.statics, None);
    assert_eq!(with_ttl(LONG, read.outcomes), [lasting("r")]);

    let created = create(&*store, key).await;
    assert_eq!(store.apply(unknown("u")).await.unwrap(), Applied::No);
    let read = store.read_entity(key, &["r"], Serial).await.unwrap();
    assert_eq!(read.statics, Some(created));
    assert_eq!(with_ttl(LONG, read.outcomes), [lasting("r")]);
}

async fn a_batch_applies_as_a_whole<S: ConditionalStore>(store: Arc<S>) {
    let key = any_entity();
    create(&*store, key).await;
    // The outcomes are in no order of time-to-live or of request ids: rejections before, between and after the changes.
    let rows = vec![row("z", None, LONG), row("y", Some(2), None), row("x", None, None), row("a", Some(3), None)];
    let write = ApplyWrite { key, expected_version: Some(1), after: Some(statics(key, 3).into()), rows };
    assert_eq!(store.apply(write.clone()).await.unwrap(), Applied::Yes);
    let read = store.read_entity(key, &["a", "x", "y", "z"], Serial).await.unwrap();
    assert_eq!(read.statics, values(&write));
    assert_eq!(requests_of(&read.outcomes), ["a", "x", "y", "z"]);
    assert!(read.outcomes.iter().all(|row| row.outcome == blob(&row.request_id)), "{read:?}");
}

async fn a_batch_with_a_decided_request_applies_nothing<S: ConditionalStore>(store: Arc<S>) {
    let key = any_entity();
    create(&*store, key).await;
    assert_eq!(store.apply(change(key, 1, "decided")).await.unwrap(), Applied::Yes);
    let before = store.read_entity(key, &["a", "decided", "z"], Serial).await.unwrap();
    for place in 0..3 {
        for after in [None, Some(statics(key, 4).into())] {
            let mut rows = vec![row("a", Some(3), None), row("z", None, LONG)];
            rows.insert(place, row("decided", Some(4), None));
            let write = ApplyWrite { key, expected_version: Some(2), after, rows };
            assert_eq!(store.apply(write.clone()).await.unwrap(), Applied::No, "{write:?}");
            assert_eq!(store.read_entity(key, &["a", "decided", "z"], Serial).await.unwrap(), before, "{write:?}");
        }
    }
}

async fn a_batch_may_be_as_large_as_the_bound<S: ConditionalStore>(store: Arc<S>) {
    let key = any_entity();
    create(&*store, key).await;
    let last = 1 + i64::try_from(MAX_ROWS).unwrap();
    let rows: Vec<_> = (2..=last).map(|v| LogRow { outcome: vec![7; 4096], ..row(&format!("r{v}"), Some(v), None) }).collect();
    let write = ApplyWrite { key, expected_version: Some(1), after: Some(statics(key, last).into()), rows };
    assert_eq!(store.apply(write.clone()).await.unwrap(), Applied::Yes);
    assert_eq!(store.apply(write).await.unwrap(), Applied::No);
    assert_eq!(version(&*store, key).await, Some(last));
    assert_eq!(store.history(key).await.unwrap().len(), MAX_ROWS);
}

async fn a_read_may_ask_for_as_many_requests_as_the_bound<S: ConditionalStore>(store: Arc<S>) {
    let (key, id) = (any_entity(), any_id());
    create(&*store, key).await;
    let names: Vec<_> = (0..MAX_REQUESTS).map(|n| format!("r{n}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let rows: Vec<_> = names.iter().map(|name| row(name, None, LONG)).collect();
    assert_eq!(
        store.apply(ApplyWrite { key, expected_version: Some(1), after: None, rows: rows.clone() }).await.unwrap(),
        Applied::Yes
    );
    assert_eq!(
        store.refuse(RefuseWrite { id: id.clone(), expected_generation: None, refused: NOW, rows }).await.unwrap(),
        Applied::Yes
    );
    for consistency in [Quorum, Serial] {
        assert_eq!(store.read_entity(key, &names, consistency).await.unwrap().outcomes.len(), MAX_REQUESTS);
        assert_eq!(store.read_id(&id, &names, consistency).await.unwrap().outcomes.len(), MAX_REQUESTS);
    }
}

async fn a_refusal_is_kept_beside_the_claim<S: ConditionalStore>(store: Arc<S>) {
    let id = any_id();
    assert_eq!(store.refuse(refusal(&id, None, "r", NOW)).await.unwrap(), Applied::Yes);
    let read = store.read_id(&id, &["r", "s"], Serial).await.unwrap();
    assert_eq!(read.claim, None);
    assert_eq!(with_ttl(LONG, read.outcomes), [lasting("r")]);

    // The write leaves out the claim's own `refused`; a read shows the stored one.
    let write = ClaimWrite { id: id.clone(), expected_generation: None, unrefused: true, claim: claim(1) };
    assert_eq!(store.claim(write.clone()).await.unwrap(), Applied::No);
    assert_eq!(store.claim(ClaimWrite { unrefused: false, ..write }).await.unwrap(), Applied::Yes);
    let read = store.read_id(&id, &["r"], Quorum).await.unwrap();
    assert_eq!(read.claim, Some(Claim { refused: Some(NOW), ..claim(1) }));
    assert_eq!(with_ttl(LONG, read.outcomes), [lasting("r")]);

    assert_eq!(store.refuse(refusal(&id, Some(1), "s", NOW + 7)).await.unwrap(), Applied::Yes);
    let again = ClaimWrite {
        id: id.clone(),
        expected_generation: Some(1),
        unrefused: false,
        claim: Claim { refused: Some(1), ..claim(2) },
    };
    assert_eq!(store.claim(again).await.unwrap(), Applied::Yes);
    let read = store.read_id(&id, &["r", "s"], Serial).await.unwrap();
    assert_eq!(read.claim, Some(Claim { refused: Some(NOW + 7), ..claim(2) }));
    assert_eq!(requests_of(&read.outcomes), ["r", "s"]);
}

async fn a_refusal_needs_the_generation_that_was_read<S: ConditionalStore>(store: Arc<S>) {
    let id = any_id();
    assert_eq!(store.refuse(refusal(&id, Some(1), "r", NOW)).await.unwrap(), Applied::No);
    assert_eq!(
        store.claim(ClaimWrite { id: id.clone(), expected_generation: None, unrefused: false, claim: claim(1) }).await.unwrap(),
        Applied::Yes
    );
    for read in [None, Some(2)] {
        assert_eq!(store.refuse(refusal(&id, read, "r", NOW)).await.unwrap(), Applied::No, "{read:?}");
    }
    assert_eq!(store.read_id(&id, &["r"], Serial).await.unwrap(), IdRead { claim: Some(claim(1)), outcomes: vec![] });
}

async fn a_request_is_refused_once<S: ConditionalStore>(store: Arc<S>) {
    let id = any_id();
    assert_eq!(store.refuse(refusal(&id, None, "r", NOW)).await.unwrap(), Applied::Yes);
    assert_eq!(store.refuse(refusal(&id, None, "r", NOW + 1)).await.unwrap(), Applied::No);
    assert_eq!(
        store.claim(ClaimWrite { id: id.clone(), expected_generation: None, unrefused: false, claim: claim(1) }).await.unwrap(),
        Applied::Yes
    );
    assert_eq!(store.read_id(&id, &[], Serial).await.unwrap().claim.unwrap().refused, Some(NOW));
}

async fn refusals_of_a_batch_apply_as_a_whole<S: ConditionalStore>(store: Arc<S>) {
    let id = any_id();
    let both = |first: &str, second: &str| RefuseWrite {
        rows: vec![row(first, None, LONG), row(second, None, LONG)],
        ..refusal(&id, None, first, NOW)
    };
    assert_eq!(store.refuse(both("b", "a")).await.unwrap(), Applied::Yes);
    assert_eq!(store.refuse(both("c", "a")).await.unwrap(), Applied::No);
    let read = store.read_id(&id, &["a", "b", "c"], Serial).await.unwrap();
    assert_eq!(requests_of(&read.outcomes), ["a", "b"]);
}

async fn a_row_expires_and_the_statics_stay<S: ConditionalStore>(store: Arc<S>) {
    let key = any_entity();
    let created = create(&*store, key).await;
    let write =
        ApplyWrite { key, expected_version: Some(1), after: None, rows: vec![row("r", None, SHORT), row("s", None, LONG)] };
    assert_eq!(store.apply(write).await.unwrap(), Applied::Yes);
    eventually(|| async { store.read_entity(key, &["r"], Serial).await.unwrap().outcomes.is_empty() }).await;
    let read = store.read_entity(key, &["r", "s"], Serial).await.unwrap();
    assert_eq!(read.statics, Some(created));
    assert_eq!(with_ttl(LONG, read.outcomes), [lasting("s")]);
    assert_eq!(store.apply(change(key, 1, "r")).await.unwrap(), Applied::Yes, "an expired request can be decided again");
}

async fn statics_written_with_an_expiring_row_stay<S: ConditionalStore>(store: Arc<S>) {
    let key = any_entity();
    create(&*store, key).await;
    let write = ApplyWrite { rows: vec![row("r", Some(2), SHORT)], ..change(key, 1, "r") };
    assert_eq!(store.apply(write.clone()).await.unwrap(), Applied::Yes);
    eventually(|| async { store.read_entity(key, &["r"], Serial).await.unwrap().outcomes.is_empty() }).await;
    assert_eq!(store.read_entity(key, &["r"], Serial).await.unwrap().statics, values(&write));
    assert_eq!(store.history(key).await.unwrap(), []);
}

async fn a_refusal_expires_with_its_time<S: ConditionalStore>(store: Arc<S>) {
    let id = any_id();
    assert_eq!(
        store.claim(ClaimWrite { id: id.clone(), expected_generation: None, unrefused: false, claim: claim(1) }).await.unwrap(),
        Applied::Yes
    );
    let write = RefuseWrite { rows: vec![row("r", None, SHORT)], ..refusal(&id, Some(1), "r", NOW) };
    assert_eq!(store.refuse(write).await.unwrap(), Applied::Yes);
    eventually(|| async {
        store.read_id(&id, &["r"], Serial).await.unwrap() == IdRead { claim: Some(claim(1)), outcomes: vec![] }
    })
    .await;
}

async fn an_outcome_that_is_held_never_expires<S: ConditionalStore>(store: Arc<S>) {
    let key = any_entity();
    let created = create(&*store, key).await;
    let write =
        ApplyWrite { key, expected_version: Some(1), after: None, rows: vec![row("r", None, SOON), row("s", None, SOON)] };
    assert_eq!(store.apply(write).await.unwrap(), Applied::Yes);
    assert_eq!(store.hold(hold(Held::ForEver(key), "r")).await.unwrap(), Applied::Yes);
    assert_eq!(store.hold(hold(Held::ForEver(key), "r")).await.unwrap(), Applied::Yes, "it is safe to repeat");
    eventually(|| async { store.read_entity(key, &["s"], Serial).await.unwrap().outcomes.is_empty() }).await;
    let read = store.read_entity(key, &["r", "s"], Serial).await.unwrap();
    assert_eq!(read, EntityRead { statics: Some(created), outcomes: vec![lasting("r")] });
    assert_eq!(store.hold(hold(Held::ForEver(key), "s")).await.unwrap(), Applied::No, "it has expired");
    assert_eq!(store.apply(change(key, 1, "r")).await.unwrap(), Applied::No, "it stays decided");
    assert_eq!(store.history(key).await.unwrap(), []);
}

async fn a_refusal_that_is_held_is_kept_anew<S: ConditionalStore>(store: Arc<S>) {
    let id = any_id();
    let claimed = ClaimWrite { id: id.clone(), expected_generation: None, unrefused: false, claim: claim(1) };
    assert_eq!(store.claim(claimed).await.unwrap(), Applied::Yes);
    for request in ["r", "s", "t"] {
        let write = RefuseWrite { rows: vec![row(request, None, SOON)], ..refusal(&id, Some(1), request, NOW) };
        assert_eq!(store.refuse(write).await.unwrap(), Applied::Yes);
    }
    let anew = |refused, ttl| Held::Anew { id: id.clone(), refused, ttl };
    assert_eq!(store.hold(hold(anew(NOW + 1, Duration::from_secs(1)), "t")).await.unwrap(), Applied::Yes);
    assert_eq!(store.hold(hold(anew(NOW + 2, Duration::from_secs(3600)), "r")).await.unwrap(), Applied::Yes);
    let shown = async || store.read_id(&id, &["r", "s", "t"], Serial).await.unwrap();
    eventually(|| async { requests_of(&shown().await.outcomes) == ["r"] }).await;
    assert_eq!(shown().await.claim, Some(Claim { refused: Some(NOW + 2), ..claim(1) }));
}

async fn only_the_outcome_that_was_read_is_held<S: ConditionalStore>(store: Arc<S>) {
    let (key, id) = (any_entity(), any_id());
    create(&*store, key).await;
    let write = ApplyWrite { key, expected_version: Some(1), after: None, rows: vec![row("r", None, LONG)] };
    assert_eq!(store.apply(write).await.unwrap(), Applied::Yes);
    let anew = Held::Anew { id: id.clone(), refused: NOW, ttl: Duration::from_secs(3600) };
    let elsewhere = [
        HoldWrite { outcome: b"other".to_vec(), ..hold(Held::ForEver(key), "r") },
        HoldWrite { outcome: vec![], ..hold(Held::ForEver(key), "r") },
        hold(Held::ForEver(key), "s"),
        hold(Held::ForEver(any_entity()), "r"),
        hold(anew, "r"),
    ];
    for write in elsewhere {
        assert_eq!(store.hold(write.clone()).await.unwrap(), Applied::No, "{write:?}");
    }
    assert_eq!(store.read_id(&id, &["r"], Serial).await.unwrap(), IdRead::default());
}

async fn every_value_survives<S: ConditionalStore>(store: Arc<S>) {
    for entity_type in EntityType::ALL {
        for state in State::ALL {
            let key = EntityKey { entity_type, ref_id: Uuid::new_v4() };
            let mut import = creation(key);
            let after = EntityStatics { entity: Entity { state, ..full(key) }, epoch: i64::MAX, generation: 7 };
            import.after = Some(after.clone().into());
            assert_eq!(store.apply(import).await.unwrap(), Applied::Yes);
            assert_eq!(store.read_entity(key, &[], Quorum).await.unwrap().statics, Some(after));
        }
    }
}

async fn values_can_be_taken_away<S: ConditionalStore>(store: Arc<S>) {
    let key = any_entity();
    create(&*store, key).await;
    let with = EntityStatics { entity: Entity { version: 2, ..full(key) }, ..statics(key, 2) };
    for after in [with, statics(key, 3)] {
        let write = ApplyWrite {
            after: Some(after.clone().into()),
            ..change(key, after.entity.version - 1, &after.entity.version.to_string())
        };
        assert_eq!(store.apply(write).await.unwrap(), Applied::Yes);
        assert_eq!(store.read_entity(key, &[], Serial).await.unwrap().statics, Some(after));
    }
}

/// Makes each of some changes and takes it back, with a write that names only the columns whose values differ.
async fn values_that_do_not_change_stay<S: ConditionalStore>(store: Arc<S>) {
    type Change = fn(&mut EntityStatics);
    let changes: [Change; 6] = [
        |s| s.entity.custom_name = None,
        |s| (s.entity.segment, s.entity.segment_valid_from) = (None, Some(NOW + 1)),
        |s| s.entity.state = State::Suspended,
        |s| s.entity.superior = None,
        |s| (s.entity.external_id, s.epoch, s.generation) = (ExternalId::parse("another").unwrap(), 2, 3),
        |_| (),
    ];
    let key = any_entity();
    let mut before = EntityStatics { entity: full(key), ..statics(key, 1) };
    let first = NewStatics::after(None, before.clone());
    assert_eq!(store.apply(ApplyWrite { after: Some(first), ..creation(key) }).await.unwrap(), Applied::Yes);
    for change in changes {
        let mut changed = before.clone();
        change(&mut changed);
        for next in [changed, before.clone()] {
            let version = before.entity.version + 1;
            let after = EntityStatics { entity: Entity { version, ..next.entity }, ..next };
            let rows = vec![row(&version.to_string(), Some(version), None)];
            assert_eq!(store.apply(ApplyWrite::about(&before, Some(after.clone()), rows)).await.unwrap(), Applied::Yes);
            assert_eq!(store.read_entity(key, &[], Serial).await.unwrap().statics.as_ref(), Some(&after));
            before = after;
        }
    }
}

async fn texts_may_be_long_and_of_any_script<S: ConditionalStore>(store: Arc<S>) {
    let long_id = "𝔛".repeat(ExternalId::MAX_CHARS - 32) + &Uuid::new_v4().simple().to_string();
    let long_request = "🏳".repeat(128);
    for (text, request) in [(long_id, &*long_request), (format!("Ω'\"; -- % {}", Uuid::new_v4()), "рус 'quoted' \"r\"")] {
        let id = IdKey { entity_type: EntityType::Account, external_id: ExternalId::parse(&text).unwrap() };
        let claimed = Claim { claimed_by: request.into(), ..claim(1) };
        assert_eq!(store.refuse(refusal(&id, None, request, NOW)).await.unwrap(), Applied::Yes);
        assert_eq!(
            store
                .claim(ClaimWrite { id: id.clone(), expected_generation: None, unrefused: false, claim: claimed.clone() })
                .await
                .unwrap(),
            Applied::Yes
        );
        let read = store.read_id(&id, &[request], Serial).await.unwrap();
        assert_eq!(read.claim, Some(Claim { refused: Some(NOW), ..claimed }));
        assert_eq!(with_ttl(LONG, read.outcomes), [lasting(request)]);

        let key = any_entity();
        create(&*store, key).await;
        let mut write = change(key, 1, request);
        let after = &mut write.after.as_mut().unwrap().values;
        after.entity.external_id = id.external_id.clone();
        after.entity.custom_name = Some(CustomName::parse(&"名".repeat(CustomName::MAX_CHARS)).unwrap());
        write.rows[0].outcome = vec![0; 60_000];
        assert_eq!(store.apply(write.clone()).await.unwrap(), Applied::Yes);
        let read = store.read_entity(key, &[request], Serial).await.unwrap();
        assert_eq!(
            read,
            EntityRead { statics: values(&write), outcomes: vec![OutcomeRow { outcome: vec![0; 60_000], ..lasting(request) }] }
        );
        assert_eq!(store.history(key).await.unwrap()[0].request_id, request);
    }
}

async fn the_history_lists_changes_oldest_first<S: ConditionalStore>(store: Arc<S>) {
    let key = any_entity();
    create(&*store, key).await;
    // Request ids in the opposite order, and enough for two pages.
    let name = |version: i64| format!("r{:05}", 10_000 - version);
    for first in (1..=600).step_by(100) {
        let rows = (first..first + 100).map(|v| row(&name(v + 1), Some(v + 1), None)).collect();
        let write = ApplyWrite { key, expected_version: Some(first), after: Some(statics(key, first + 100).into()), rows };
        assert_eq!(store.apply(write).await.unwrap(), Applied::Yes);
    }
    let rejection = ApplyWrite { key, expected_version: Some(601), after: None, rows: vec![row("rejected", None, None)] };
    assert_eq!(store.apply(rejection).await.unwrap(), Applied::Yes);
    let history = store.history(key).await.unwrap();
    assert_eq!(history.iter().map(|h| h.changed_to).collect::<Vec<_>>(), (2..=601).collect::<Vec<_>>());
    assert!(history.iter().all(|h| h.request_id == name(h.changed_to) && h.outcome == blob(&h.request_id)));
}

async fn the_log_lists_all_rows<S: ErasableStore>(store: Arc<S>) {
    let key = any_entity();
    assert_eq!(store.log(key).await.unwrap(), []);
    create(&*store, key).await;
    let rows = vec![row("b", Some(2), None), row("a", None, LONG), row("c", None, None)];
    let write = ApplyWrite { key, expected_version: Some(1), after: Some(statics(key, 2).into()), rows };
    assert_eq!(store.apply(write).await.unwrap(), Applied::Yes);
    let log = BTreeMap::from_iter(store.log(key).await.unwrap());
    assert_eq!(log.keys().collect::<Vec<_>>(), [FIRST_ROW, "a", "b", "c"]);
    assert!(log.iter().all(|(request, outcome)| *outcome == blob(request)), "{log:?}");
}

async fn an_outcome_that_was_read_can_be_replaced<S: ErasableStore>(store: Arc<S>) {
    let key = any_entity();
    create(&*store, key).await;
    let rows = vec![row("r", Some(2), None), row("s", None, LONG)];
    let write = ApplyWrite { key, expected_version: Some(1), after: Some(statics(key, 2).into()), rows };
    assert_eq!(store.apply(write).await.unwrap(), Applied::Yes);
    for request in ["r", "s"] {
        let redaction = Redaction { key, request_id: request.into(), expected_outcome: blob(request), outcome: b"new".to_vec() };
        let elsewhere = [
            Redaction { expected_outcome: b"other".to_vec(), ..redaction.clone() },
            Redaction { expected_outcome: vec![], ..redaction.clone() },
            Redaction { request_id: "t".into(), ..redaction.clone() },
            Redaction { key: any_entity(), ..redaction.clone() },
        ];
        for redaction in elsewhere {
            assert_eq!(store.redact(redaction.clone()).await.unwrap(), Applied::No, "{redaction:?}");
        }
        assert_eq!(store.redact(redaction.clone()).await.unwrap(), Applied::Yes);
        assert_eq!(store.redact(redaction).await.unwrap(), Applied::No, "it was replaced");
        assert_eq!(store.apply(change(key, 2, request)).await.unwrap(), Applied::No, "it stays decided");
    }
    let read = store.read_entity(key, &["r", "s", "t", FIRST_ROW], Serial).await.unwrap();
    assert_eq!(read.statics, Some(statics(key, 2)));
    let mut outcomes: Vec<_> = read.outcomes.into_iter().map(|row| (row.request_id, row.outcome)).collect();
    outcomes.sort();
    let expected = [(FIRST_ROW, blob(FIRST_ROW)), ("r", b"new".to_vec()), ("s", b"new".to_vec())];
    assert_eq!(outcomes, expected.map(|(request, outcome)| (request.to_owned(), outcome)));
    let history = store.history(key).await.unwrap();
    assert_eq!(history, [HistoryRow { request_id: "r".into(), changed_to: 2, outcome: b"new".to_vec() }]);
}

async fn a_redacted_row_expires_with_its_time<S: ErasableStore>(store: Arc<S>) {
    let key = any_entity();
    create(&*store, key).await;
    let write =
        ApplyWrite { key, expected_version: Some(1), after: None, rows: vec![row("r", None, SOON), row("s", None, None)] };
    assert_eq!(store.apply(write).await.unwrap(), Applied::Yes);
    for request in ["r", "s"] {
        let redaction = Redaction { key, request_id: request.into(), expected_outcome: blob(request), outcome: b"new".to_vec() };
        assert_eq!(store.redact(redaction).await.unwrap(), Applied::Yes);
    }
    eventually(|| async { store.read_entity(key, &["r"], Serial).await.unwrap().outcomes.is_empty() }).await;
    assert_eq!(BTreeMap::from_iter(store.log(key).await.unwrap()).keys().collect::<Vec<_>>(), [FIRST_ROW, "s"]);
    let late = Redaction { key, request_id: "r".into(), expected_outcome: b"new".to_vec(), outcome: b"newer".to_vec() };
    assert_eq!(store.redact(late).await.unwrap(), Applied::No);
    assert_eq!(store.apply(change(key, 1, "r")).await.unwrap(), Applied::Yes, "it can be decided again");
}

async fn of_racing_changes_one_wins_each_version<S: ConditionalStore>(store: Arc<S>) {
    const TASKS: usize = 12;
    const WINS: usize = 4;
    let key = any_entity();
    create(&*store, key).await;
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let mut won = Vec::new();
            while won.len() < WINS {
                let read = version(&*store, key).await.unwrap();
                let request = format!("{task}-{}", won.len());
                match store.apply(change(key, read, &request)).await {
                    Ok(Applied::Yes) => won.push(read + 1),
                    Ok(Applied::No) => {}
                    // A contended write may time out although it happened; the log tells.
                    Err(_) => loop {
                        let Ok(seen) = store.read_entity(key, &[&request], Serial).await else { continue };
                        if !seen.outcomes.is_empty() {
                            won.push(read + 1);
                        }
                        break;
                    },
                }
            }
            won
        });
    }
    let mut won: Vec<_> = tasks.join_all().await.concat();
    won.sort_unstable();
    let last = 1 + i64::try_from(TASKS * WINS).unwrap();
    assert_eq!(won, (2..=last).collect::<Vec<_>>());
    assert_eq!(version(&*store, key).await, Some(last));
    assert_eq!(store.history(key).await.unwrap().iter().map(|h| h.changed_to).collect::<Vec<_>>(), won);
}

async fn of_racing_claims_one_wins<S: ConditionalStore>(store: Arc<S>) {
    let id = any_id();
    let mut tasks = JoinSet::new();
    for owner in 1..=8 {
        let store = Arc::clone(&store);
        let claim = Claim { owner: Uuid::from_u128(owner), ..claim(1) };
        let write = ClaimWrite { id: id.clone(), expected_generation: None, unrefused: false, claim: claim.clone() };
        tasks.spawn(async move { (claim, store.claim(write).await) });
    }
    let results = tasks.join_all().await;
    let read = store.read_id(&id, &[], Serial).await.unwrap().claim.unwrap();
    let winners: Vec<_> =
        results.iter().filter(|(_, result)| matches!(result, Ok(Applied::Yes))).map(|(claim, _)| claim).collect();
    let unknown = results.iter().any(|(_, result)| result.is_err());
    assert!(winners == [&read] || (unknown && winners.is_empty()), "read {read:?}, got {results:?}");
}

async fn of_racing_decisions_of_one_request_one_wins<S: ConditionalStore>(store: Arc<S>) {
    let key = any_entity();
    create(&*store, key).await;
    let mut tasks = JoinSet::new();
    for task in 0..8_u8 {
        let store = Arc::clone(&store);
        let mine = LogRow { outcome: vec![task], ..row("contested", None, LONG) };
        let rows = vec![row(&format!("own-{task}"), None, LONG), mine];
        tasks.spawn(async move { (task, store.apply(ApplyWrite { key, expected_version: Some(1), after: None, rows }).await) });
    }
    let results = tasks.join_all().await;
    let own: Vec<_> = (0..8).map(|task| format!("own-{task}")).collect();
    let mut asked: Vec<&str> = own.iter().map(String::as_str).collect();
    asked.push("contested");
    let read = store.read_entity(key, &asked, Serial).await.unwrap();
    assert_eq!(read.outcomes.len(), 2, "one batch of two rows: {read:?}, got {results:?}");
    for (task, result) in &results {
        let won = read.outcomes.iter().any(|row| row.request_id == "contested" && row.outcome == [*task]);
        let own = read.outcomes.iter().any(|row| row.request_id == format!("own-{task}"));
        assert_eq!(won, own, "the batch of task {task} applied in part: {read:?}");
        assert!(result.as_ref().is_err() || matches!(result, Ok(Applied::Yes)) == won, "task {task}: {result:?}, {read:?}");
    }
}

async fn a_read_shows_one_instant<S: ConditionalStore>(store: Arc<S>) {
    const CHANGES: i64 = 60;
    let key = any_entity();
    create(&*store, key).await;
    let writer = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            for read in 1..CHANGES {
                while store.apply(change(key, read, &(read + 1).to_string())).await.is_err() {}
            }
        }
    });
    let requests: Vec<_> = (2..=CHANGES).map(|v| v.to_string()).collect();
    let requests: Vec<&str> = requests.iter().map(String::as_str).collect();
    loop {
        let finished = writer.is_finished();
        let Ok(read) = store.read_entity(key, &requests, Serial).await else { continue };
        let version = read.statics.as_ref().unwrap().entity.version;
        let expected: BTreeSet<_> = (2..=version).map(|v| v.to_string()).collect();
        let got: BTreeSet<_> = read.outcomes.into_iter().map(|row| row.request_id).collect();
        assert_eq!(got, expected, "at version {version}");
        if finished {
            break;
        }
    }
    writer.await.unwrap();
    assert_eq!(version(&*store, key).await, Some(CHANGES));
}

async fn a_store_that_is_there_answers_a_ping<S: ConditionalStore>(store: Arc<S>) {
    store.ping().await.unwrap();
}

/// Asks until the answer is yes, which it becomes with time, within seconds.
async fn eventually<F: Future<Output = bool>>(mut condition: impl FnMut() -> F) {
    let asking = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asking).await.expect("nothing expired within 20 s");
}

async fn create<S: ConditionalStore>(store: &S, key: EntityKey) -> EntityStatics {
    assert_eq!(store.apply(creation(key)).await.unwrap(), Applied::Yes);
    statics(key, 1)
}

async fn version<S: ConditionalStore>(store: &S, key: EntityKey) -> Option<i64> {
    loop {
        // A serial read may lose to the writers that it meets. It can be repeated, because it is only a read.
        if let Ok(read) = store.read_entity(key, &[], Serial).await {
            return read.statics.map(|statics| statics.entity.version);
        }
    }
}

pub fn any_id() -> IdKey {
    let external_id = ExternalId::parse(&Uuid::new_v4().to_string()).unwrap();
    IdKey { entity_type: EntityType::Customer, external_id }
}

pub fn any_entity() -> EntityKey {
    EntityKey { entity_type: EntityType::Customer, ref_id: Uuid::new_v4() }
}

fn claim(generation: i64) -> Claim {
    Claim {
        generation,
        owner: Uuid::from_u128(1),
        epoch: 4,
        claimed_by: "claimant".into(),
        blob: b"blob".to_vec(),
        previous_owners: vec![],
        refused: None,
    }
}

/// Returns an entity without the attributes that may be absent.
pub fn statics(key: EntityKey, version: i64) -> EntityStatics {
    let entity = Entity::new(key.entity_type, key.ref_id, ExternalId::parse("external id").unwrap());
    let entity = Entity { version, ..entity };
    EntityStatics { entity, epoch: 1, generation: 1 }
}

/// Returns an entity with all attributes that may be absent.
fn full(key: EntityKey) -> Entity {
    // All fields are named, so that the compiler asks here for a new one.
    let Entity { entity_type, ref_id, external_id, version, state, .. } = statics(key, 1).entity;
    Entity {
        entity_type,
        ref_id,
        external_id,
        version,
        state,
        custom_name: Some(CustomName::parse(" name ").unwrap()),
        segment: Some(SegmentCode::parse("RESIDENTIAL").unwrap()),
        segment_valid_from: Some(NOW),
        superior: Some(Uuid::from_u128(77)),
        state_reason: Some(StateReason::parse("unpaid").unwrap()),
        state_valid_from: Some(NOW - 1),
    }
}

pub fn creation(key: EntityKey) -> ApplyWrite {
    ApplyWrite { key, expected_version: None, after: Some(statics(key, 1).into()), rows: vec![row(FIRST_ROW, Some(1), None)] }
}

pub fn change(key: EntityKey, expected_version: i64, request: &str) -> ApplyWrite {
    ApplyWrite {
        key,
        expected_version: Some(expected_version),
        after: Some(statics(key, expected_version + 1).into()),
        rows: vec![row(request, Some(expected_version + 1), None)],
    }
}

/// Returns the statics that the write leaves behind.
pub fn values(write: &ApplyWrite) -> Option<EntityStatics> {
    write.after.as_ref().map(|after| after.values.clone())
}

fn refusal(id: &IdKey, expected_generation: Option<i64>, request: &str, refused: Timestamp) -> RefuseWrite {
    RefuseWrite { id: id.clone(), expected_generation, refused, rows: vec![row(request, None, LONG)] }
}

fn hold(held: Held, request: &str) -> HoldWrite {
    HoldWrite { held, request_id: request.into(), outcome: blob(request) }
}

pub fn row(request: &str, changed_to: Option<i64>, ttl: Option<Duration>) -> LogRow {
    LogRow { request_id: request.into(), changed_to, outcome: blob(request), ttl }
}

/// Returns the outcome that the checks store for a request.
pub fn blob(request: &str) -> Vec<u8> {
    format!("outcome of {request}").into_bytes()
}

/// Returns the row of [`row`] as a read shows it if it never expires.
fn lasting(request: &str) -> OutcomeRow {
    OutcomeRow { request_id: request.into(), outcome: blob(request), time_left: None }
}

/// Returns rows that were just written with this time to live, without the time that they have left, which must fit.
fn with_ttl(ttl: Option<Duration>, mut outcomes: Vec<OutcomeRow>) -> Vec<OutcomeRow> {
    for row in &mut outcomes {
        let left = row.time_left.take();
        let fits = ttl.map_or(left.is_none(), |ttl| left.is_some_and(|left| ttl / 2 < left && left <= ttl));
        assert!(fits, "{left:?} left of {ttl:?}: {row:?}");
    }
    outcomes
}

fn requests_of(outcomes: &[OutcomeRow]) -> Vec<&str> {
    let mut requests: Vec<_> = outcomes.iter().map(|row| row.request_id.as_str()).collect();
    requests.sort_unstable();
    requests
}
