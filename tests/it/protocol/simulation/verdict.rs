//! Checks what must hold between the store and the answers, whatever happened. `history` checks whether the answers were right.

use super::erasing::agree;
use super::scene::{IDS, OPERATIONS};
use super::{Answered, Simulation};
use crm_processor::domain::answer::Answer;
use crm_processor::domain::request::SourceRecord;
use crm_processor::domain::transaction::Transaction;
use crm_processor::store::claims::{Decided, Submission};
use crm_processor::store::outcome::Outcome;
use crm_processor::store::{ConditionalStore, Consistency, EntityKey, EntityStatics, HistoryRow, IdKey, OutcomeRow};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// An entity as the store has it in the end.
struct Found {
    statics: EntityStatics,
    changes: Vec<(HistoryRow, Outcome, Transaction)>,
}

/// Checks the store against the answers. Panics at the first disagreement.
pub async fn check(s: &Simulation) {
    let pair = |(record, answered): (&SourceRecord, &Answered)| {
        (record.clone(), (answered.submission.clone(), answered.decided.clone()))
    };
    let answers: BTreeMap<_, _> = s.answers.lock().unwrap().iter().map(pair).collect();
    let mut found = Vec::new();
    let mut outcomes: HashMap<String, Vec<Outcome>> = HashMap::new();
    let requests: Vec<&str> = answers.values().map(|(s, _)| s.request.id.as_str()).collect::<BTreeSet<_>>().into_iter().collect();
    let mut decoded = |rows: Vec<OutcomeRow>| {
        for row in rows {
            let outcome = Outcome::decode(&row.request_id, &row.outcome).expect("an outcome");
            outcomes.entry(row.request_id).or_default().push(outcome);
        }
    };
    for key in s.keys() {
        let read = s.store.read_entity(key, &requests, Consistency::Serial).await.expect("no faults");
        decoded(read.outcomes);
        let Some(statics) = read.statics else { continue };
        found.push(check_entity(s, key, statics).await);
    }
    for (entity_type, name) in IDS.iter().flat_map(|(entity_type, names)| names.iter().map(|name| (*entity_type, *name))) {
        let id = IdKey { entity_type, external_id: s.world.id(name) };
        decoded(s.store.read_id(&id, &requests, Consistency::Serial).await.expect("no faults").outcomes);
    }
    let held: BTreeSet<_> = found.iter().map(|f| (f.statics.entity.entity_type, &f.statics.entity.external_id)).collect();
    assert_eq!(held.len(), found.len(), "external ids are unique");
    check_publications(&answers, &found);
    check_replies(s, &answers, &outcomes);
}

async fn check_entity(s: &Simulation, key: EntityKey, statics: EntityStatics) -> Found {
    let entity = &statics.entity;
    let id = IdKey { entity_type: key.entity_type, external_id: entity.external_id.clone() };
    let claim =
        s.store.read_id(&id, &[], Consistency::Serial).await.expect("no faults").claim.expect("who holds an id has claimed it");
    assert_eq!((claim.owner, claim.generation), (entity.ref_id, statics.generation), "who holds an id has the current claim");

    let operations = s.store.read_entity(key, &OPERATIONS, Consistency::Serial).await.expect("no faults").outcomes.len();
    let mut changes = Vec::new();
    for row in s.store.history(key).await.expect("no faults") {
        let outcome = Outcome::decode(&row.request_id, &row.outcome).expect("an outcome");
        let Answer::Changed(transaction) = outcome.answer.clone() else { panic!("no change: {outcome:?}") };
        assert_eq!((transaction.previous_version + 1, transaction.entity.version), (row.changed_to, row.changed_to));
        changes.push((row, outcome, (*transaction).clone()));
    }
    let versions: BTreeSet<_> = changes.iter().map(|(row, ..)| row.changed_to).collect();
    assert_eq!(versions.len(), changes.len(), "each change has a version of its own");
    // A creation is a change, and an import is none.
    let imported = !changes.iter().any(|(.., t)| t.use_case.is_creation());
    let expected = usize::from(imported) + changes.len() + operations;
    assert_eq!(usize::try_from(entity.version).ok(), Some(expected), "each change raises the version once: {changes:?}");
    let renames = changes.iter().filter(|(.., t)| t.use_case.is_rename()).count();
    assert_eq!(usize::try_from(statics.epoch).ok(), Some(1 + renames), "the epoch counts the renames");
    Found { statics, changes }
}

/// Checks that each change is published by the record that caused it, and that nothing else is published.
fn check_publications(answers: &BTreeMap<SourceRecord, (Submission, Decided)>, found: &[Found]) {
    let changes: Vec<_> = found.iter().flat_map(|f| &f.changes).collect();
    for (_, outcome, transaction) in &changes {
        let (submission, decided) = &answers[&outcome.record];
        let published = decided.publishes() && !decided.replayed;
        assert!(published && agree(&decided.answer, &outcome.answer), "{submission:?}: {decided:?}, {outcome:?}");
        assert_eq!(transaction.request_id, submission.request.id);
        assert_eq!(transaction.correlation_id, submission.request.correlation_id);
    }
    let published = answers.values().filter(|(_, decided)| decided.publishes()).count();
    assert_eq!(published, changes.len(), "each change is published once");
}

/// Checks that a request has one outcome, and that its replies agree.
fn check_replies(
    s: &Simulation,
    answers: &BTreeMap<SourceRecord, (Submission, Decided)>,
    outcomes: &HashMap<String, Vec<Outcome>>,
) {
    let several = s.several.lock().unwrap();
    let mut replies: HashMap<&str, &Decided> = HashMap::new();
    for (submission, decided) in answers.values() {
        let request = submission.request.id.as_str();
        if several.contains(request) {
            continue;
        }
        let first = replies.entry(request).or_insert(decided);
        assert!(agree(&first.answer, &decided.answer), "replies to {request} agree: {first:?}, {decided:?}");
        let stored = outcomes.get(request).map_or(&[][..], Vec::as_slice);
        assert!(stored.len() <= 1, "{request} has one outcome: {stored:?}");
        if let [outcome] = stored {
            assert!(agree(&outcome.answer, &decided.answer), "{request} is answered what is stored: {outcome:?}, {decided:?}");
            assert_eq!(outcome.record != submission.request.record, decided.replayed, "{submission:?}");
        }
    }
}
