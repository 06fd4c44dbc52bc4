//! The decision about one request, as far as the entity itself can tell: business validation, in the order of
//! [`Rejection`]'s variants, then the change.

use super::Timestamp;
use super::answer::Answer;
use super::attribute::Attribute;
use super::change::Creation;
use super::entity::{Entity, State};
use super::rejection::Rejection;
use super::request::Request;
use super::transaction::{Change, Transaction};
use std::borrow::Cow;
use uuid::Uuid;

/// Decides `request` about `entity` at the time `now`. The answer holds only if `entity` is still the same when the answer is stored. Even
/// then a rename may be refused, because another entity holds the external id.
pub fn decide(entity: &Entity, request: &Request, now: Timestamp) -> Answer {
    let contents = &request.contents;
    if contents.creation().is_some() {
        // The entity came into being in another way, by an import with the refId that the creation would have given it.
        return Answer::Rejected(Rejection::ExternalIdNotUnique);
    }
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
        (old != new).then(|| Change { attribute: *attribute, old: old.map(Cow::into_owned), new: new.map(Cow::into_owned) })
    });
    let changes = changes.collect();
    Answer::Changed(transaction(changes, Entity { version: entity.version + 1, ..after }))
}

/// Returns the business transaction of a request that creates an entity, with this refId and below this `superior`, at the time `now`.
pub fn create(creation: &Creation, request: &Request, ref_id: Uuid, superior: Option<Uuid>, now: Timestamp) -> Transaction {
    let use_case = request.contents.use_case();
    let entity = creation.entity(use_case.entity_type(), ref_id, superior, now);
    let given = Attribute::ALL.iter().filter(|attribute| creation.gives(**attribute));
    let change = |attribute: &Attribute| {
        let new = attribute.of(&entity)?.into_owned();
        Some(Change { attribute: *attribute, old: None, new: Some(new) })
    };
    Transaction {
        use_case,
        request_id: request.id.clone(),
        correlation_id: request.correlation_id.clone(),
        occurred_at: now,
        previous_version: 0,
        changes: given.filter_map(change).collect(),
        actor: request.actor.clone(),
        entity,
    }
}
