//! Foretells the answers to commands about customers that are neither created nor renamed. Each such customer's commands are in one lane,
//! so deciding them one after another, in the order of the topic, gives the exact answers; only the time of each decision is taken from its
//! answer.

use super::crm::{Body, Incoming, entities, is_foretold};
use crm_processor::domain::Timestamp;
use crm_processor::domain::answer::Answer;
use crm_processor::domain::command::Command;
use crm_processor::domain::decision::decide;
use crm_processor::domain::entity::{Entity, EntityType};
use crm_processor::domain::reference::Reference;
use crm_processor::domain::rejection::Rejection;
use crm_processor::flow::RecordId;
use crm_processor::store::claims::Decided;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// What was decided first for a request: its contents, its answer.
type Outcomes = BTreeMap<(Option<Uuid>, String), (Uuid, Answer)>;

/// The answers to all commands in `topic` that can be foretold, if those at `given_up` came to nothing for a bug, and each was
/// decided at the time that `decided_at` says.
pub fn answers(
    topic: &[Vec<Incoming>],
    given_up: &BTreeSet<RecordId>,
    decided_at: impl Fn(RecordId) -> Timestamp,
) -> BTreeMap<RecordId, Decided> {
    let mut customers: Vec<Entity> = entities().filter(|e| e.entity_type == EntityType::Customer).collect();
    let mut outcomes = Outcomes::new();
    let mut answers = BTreeMap::new();
    let mut records: Vec<&Incoming> = topic.iter().flatten().collect();
    records.sort_by_key(|r| r.era);
    let mut era = 0;
    for record in records {
        if std::mem::replace(&mut era, record.era) < record.era {
            // Only changes are remembered for ever.
            outcomes.retain(|_, (_, answer)| matches!(answer, Answer::Changed(_)));
        }
        let Body::Command(command) = &record.body else { continue };
        if !is_foretold(command) {
            continue;
        }
        let customer = customers.iter_mut().find(|c| match &command.target {
            Reference::ExternalId(id) => c.external_id == *id,
            Reference::RefId(ref_id) => c.ref_id == *ref_id,
        });
        let request = (customer.as_ref().map(|c| c.ref_id), command.request_id.to_string());
        let decided = match outcomes.get(&request) {
            Some((contents, _)) if *contents != command.contents.fingerprint() => {
                Decided { answer: Answer::Rejected(Rejection::RequestIdReused), replayed: false }
            }
            Some((_, answer)) => Decided { answer: answer.clone(), replayed: true },
            None => {
                let answer = if given_up.contains(&record.at) {
                    Answer::Rejected(Rejection::InternalError)
                } else {
                    first_answer(customer, command, record, decided_at(record.at))
                };
                outcomes.insert(request, (command.contents.fingerprint(), answer.clone()));
                Decided { answer, replayed: false }
            }
        };
        answers.insert(record.at, decided);
    }
    answers
}

fn first_answer(customer: Option<&mut Entity>, command: &Command, record: &Incoming, now: Timestamp) -> Answer {
    let Some(customer) = customer else {
        let field = command.target.field(EntityType::Customer);
        return Answer::Rejected(Rejection::EntityNotFound { field });
    };
    let answer = decide(customer, &record.submission(command).request, now);
    if let Some(after) = answer.changed() {
        *customer = after.clone();
    }
    answer
}
