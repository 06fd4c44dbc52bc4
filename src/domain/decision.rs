//! The decision about one request, as far as the entity itself can tell: business validation, in the order of
//! [`Rejection`]'s variants, then the change.

use super::Timestamp;
use super::answer::Answer;
use super::entity::{Entity, State};
use super::rejection::Rejection;
use super::request::Request;
use super::transaction::{Change, Transaction};

/// Returns the answer to `request` if it is decided at the time `now`, and `entity` stays as it is until the answer is stored. A rename
/// may still be refused afterwards, because its external id is taken.
pub fn decide(entity: &Entity, request: &Request, now: Timestamp) -> Answer {
    let contents = &request.contents;
    if entity.state == State::Deactivated {
        return Answer::Rejected(Rejection::Deactivated { field: entity.entity_type.name().into() });
    }
    if let Some(expected) = contents.expected_version().filter(|expected| *expected != entity.version) {
        return Answer::Rejected(Rejection::VersionConflict { expected, actual: entity.version });
    }
    let transaction = |changes, after| {
        Transaction {
            use_case: contents.use_case(),
            request_id: request.id.clone(),
            correlation_id: request.correlation_id.clone(),
            occurred_at: now,
            previous_version: entity.version,
            changes,
            entity: after,
            actor: request.actor.clone(),
        }
        .into()
    };
    let Some(after) = contents.change().apply(entity, now) else {
        return Answer::Unchanged(transaction(Vec::new(), entity.clone()));
    };
    let changes = contents.use_case().attributes().iter().filter_map(|attribute| {
        let (old, new) = (attribute.of(entity), attribute.of(&after));
        (old != new).then(|| Change { attribute: *attribute, old: old.map(str::to_owned), new: new.map(str::to_owned) })
    });
    let changes = changes.collect();
    Answer::Changed(transaction(changes, Entity { version: entity.version + 1, ..after }))
}
