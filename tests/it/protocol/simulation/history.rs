//! Checks linearizability: some order in which the business rules alone make the decisions one after another, with unique
//! external ids, must explain the answer to each caller and the final store. Each decision stands at an instant between its
//! beginning and its answer.
//!
//! The order is found by a search (Wing and Gong, 1993): a decision that began before every other decision was answered may come
//! next.

use super::erasing::agree as same;
use crm_processor::domain::Timestamp;
use crm_processor::domain::answer::Answer;
use crm_processor::domain::change::Creation;
use crm_processor::domain::decision::{create, decide};
use crm_processor::domain::entity::{Entity, EntityType, State};
use crm_processor::domain::reference::Reference;
use crm_processor::domain::rejection::Rejection;
use crm_processor::domain::values::ExternalId;
use crm_processor::store::claims::Submission;
use std::collections::HashSet;
use uuid::Uuid;

/// An operation that took effect at one instant.
#[derive(Clone, Debug)]
pub struct Operation {
    pub begin: u64,
    /// When the operation was answered, or [`u64::MAX`] if it was not.
    pub end: u64,
    pub effect: Effect,
}

#[derive(Clone, Debug)]
pub enum Effect {
    /// The superior of an entity that is to be created was looked up. This comes before the creation is decided.
    LookedUp(Submission, Answer),
    /// A command was decided.
    Decided(Submission, Answer),
    /// An import created its entity.
    Created(Entity),
    /// An import found that its entity exists already.
    Existed(Entity),
    /// An import found that another entity has its id, or the entity another id.
    Contradicted(Entity),
    /// An operator set a state.
    Operated(EntityType, Uuid, State),
}

impl Operation {
    /// Returns the operations of a command that was decided: the decision and, if the command creates an entity below a superior that was
    /// not refused, the look at the superior. The entity comes into being, or is refused its id, at a later instant.
    pub fn all_of(begin: u64, end: u64, submission: &Submission, answer: &Answer) -> impl Iterator<Item = Self> {
        let superior = submission.request.contents.creation().and_then(|creation| creation.superior.as_ref());
        let goes_on = matches!(answer, Answer::Changed(_) | Answer::Rejected(Rejection::ExternalIdNotUnique));
        let looked_up = (superior.is_some() && goes_on).then(|| Effect::LookedUp(submission.clone(), answer.clone()));
        let decided = Effect::Decided(submission.clone(), answer.clone());
        looked_up.into_iter().chain([decided]).map(move |effect| Self { begin, end, effect })
    }
}

/// Panics unless `operations`, at most 64, lead from one state of all entities to another.
pub fn assert_linearizable(operations: &[Operation], from: &[Entity], to: &[Entity]) {
    assert!(operations.len() <= 64, "{} operations are too many", operations.len());
    // The search tries operations in the order of their answers.
    let mut operations = operations.to_vec();
    operations.sort_by_key(|o| (o.end, o.begin));
    let mut search = Search { operations: &operations, to, dead_ends: HashSet::new() };
    let open = (0..operations.len()).fold(0, |open, n| open | 1 << n);
    assert!(search.explains(open, &mut from.to_vec()), "no order explains how {from:#?} became {to:#?} by {operations:#?}");
}

struct Search<'a> {
    operations: &'a [Operation],
    to: &'a [Entity],
    /// The remaining operations and the state from which the search found no way on.
    dead_ends: HashSet<(u64, String)>,
}

impl Search<'_> {
    fn explains(&mut self, open: u64, entities: &mut Vec<Entity>) -> bool {
        let left = || (0..self.operations.len()).filter(|n| open >> n & 1 == 1);
        let Some(first_end) = left().map(|n| self.operations[n].end).min() else { return agree(entities, self.to) };
        let next: Vec<usize> =
            left().filter(|n| self.operations[*n].begin <= first_end && !self.awaits_a_look(open, *n)).collect();
        if self.dead_ends.contains(&(open, format!("{entities:?}"))) {
            return false;
        }
        for n in next {
            let mut after = entities.clone();
            if self.operations[n].effect.is_possible(&mut after) && self.explains(open & !(1 << n), &mut after) {
                return true;
            }
        }
        self.dead_ends.insert((open, format!("{entities:?}")));
        false
    }
}

impl Search<'_> {
    /// Returns whether operation `n` is a creation whose superior has not been looked up yet.
    fn awaits_a_look(&self, open: u64, n: usize) -> bool {
        let Effect::Decided(creation, _) = &self.operations[n].effect else { return false };
        let is_look = |effect: &Effect| matches!(effect, Effect::LookedUp(s, _) if s.request.record == creation.request.record);
        creation.request.contents.creation().is_some()
            && (0..self.operations.len()).any(|other| open >> other & 1 == 1 && is_look(&self.operations[other].effect))
    }
}

fn agree(these: &[Entity], those: &[Entity]) -> bool {
    these.len() == those.len() && these.iter().all(|e| those.contains(e))
}

impl Effect {
    /// Applies an operation to the state if it can happen now. Returns whether it can.
    fn is_possible(&self, entities: &mut Vec<Entity>) -> bool {
        match self {
            Self::LookedUp(submission, answer) => is_superior(submission, answer, entities),
            Self::Decided(submission, answer) => is_answer(submission, answer, entities),
            Self::Created(entity) => {
                let free = find(entities, entity.entity_type, entity.ref_id).is_none()
                    && holder(entities, entity.entity_type, &entity.external_id).is_none();
                entities.push(entity.clone());
                free
            }
            Self::Existed(entity) => {
                find(entities, entity.entity_type, entity.ref_id).is_some_and(|n| entities[n].external_id == entity.external_id)
            }
            Self::Contradicted(entity) => match find(entities, entity.entity_type, entity.ref_id) {
                Some(n) => entities[n].external_id != entity.external_id,
                None => holder(entities, entity.entity_type, &entity.external_id).is_some(),
            },
            Self::Operated(entity_type, ref_id, state) => {
                let Some(n) = find(entities, *entity_type, *ref_id) else { return false };
                entities[n].state = *state;
                entities[n].version += 1;
                true
            }
        }
    }
}

fn is_answer(submission: &Submission, answer: &Answer, entities: &mut Vec<Entity>) -> bool {
    if *answer == Answer::Rejected(Rejection::InternalError) {
        return true;
    }
    let target = behind(entities, submission.entity_type(), &submission.target);
    if let (None, Some(creation), Reference::RefId(ref_id)) = (target, submission.request.contents.creation(), &submission.target)
    {
        return is_answer_to_a_creation(submission, creation, *ref_id, answer, entities);
    }
    let Some(n) = target else { return matches!(answer, Answer::Rejected(Rejection::EntityNotFound { .. })) };
    let entity = &entities[n];
    match (decide(entity, &submission.request, decided_at(answer)), answer) {
        (Answer::Changed(expected), Answer::Rejected(Rejection::ExternalIdNotUnique)) => {
            let Entity { entity_type, external_id, .. } = &expected.entity;
            holder(entities, *entity_type, external_id).is_some_and(|other| other != n)
        }
        (expected @ (Answer::Rejected(_) | Answer::Unchanged(_)), _) => same(answer, &expected),
        (Answer::Changed(expected), _) => {
            let after = expected.entity.clone();
            let free = holder(entities, after.entity_type, &after.external_id).is_none_or(|other| other == n);
            entities[n] = after;
            free && same(answer, &Answer::Changed(expected))
        }
    }
}

/// Returns whether the superior that a creation refers to is there, may have entities below it, and is the one below which the entity was
/// created if it was.
fn is_superior(submission: &Submission, answer: &Answer, entities: &[Entity]) -> bool {
    superior(submission, entities).is_some_and(|superior| {
        let is_it = answer.changed().is_none_or(|created| created.superior == Some(superior.ref_id));
        is_it && superior.state != State::Deactivated
    })
}

/// Returns whether this is the answer to the creation of an entity that is not there.
fn is_answer_to_a_creation(
    submission: &Submission,
    creation: &Creation,
    ref_id: Uuid,
    answer: &Answer,
    entities: &mut Vec<Entity>,
) -> bool {
    let entity_type = submission.entity_type();
    match answer {
        Answer::Rejected(Rejection::EntityNotFound { .. }) => {
            creation.superior.is_some() && superior(submission, entities).is_none()
        }
        Answer::Rejected(Rejection::Deactivated { .. }) => {
            superior(submission, entities).is_some_and(|superior| superior.state == State::Deactivated)
        }
        Answer::Rejected(Rejection::ExternalIdNotUnique) => holder(entities, entity_type, &creation.external_id).is_some(),
        Answer::Changed(transaction) => {
            let free = holder(entities, entity_type, &creation.external_id).is_none();
            let superior = transaction.entity.superior.filter(|_| creation.superior.is_some());
            let expected = create(creation, &submission.request, ref_id, superior, decided_at(answer));
            entities.push(expected.entity.clone());
            free && same(answer, &Answer::Changed(expected.into()))
        }
        Answer::Unchanged(_) | Answer::Rejected(_) => false,
    }
}

/// Returns the entity that a creation names as the superior; `None` if there is none.
fn superior<'a>(submission: &Submission, entities: &'a [Entity]) -> Option<&'a Entity> {
    let reference = submission.request.contents.creation()?.superior.as_ref()?;
    behind(entities, submission.entity_type().superior()?, reference).map(|n| &entities[n])
}

fn behind(entities: &[Entity], entity_type: EntityType, reference: &Reference) -> Option<usize> {
    match reference {
        Reference::ExternalId(id) => holder(entities, entity_type, id),
        Reference::RefId(ref_id) => find(entities, entity_type, *ref_id),
    }
}

fn decided_at(answer: &Answer) -> Timestamp {
    match answer {
        Answer::Changed(transaction) | Answer::Unchanged(transaction) => transaction.occurred_at,
        Answer::Rejected(_) => 0,
    }
}

fn find(entities: &[Entity], entity_type: EntityType, ref_id: Uuid) -> Option<usize> {
    entities.iter().position(|e| (e.entity_type, e.ref_id) == (entity_type, ref_id))
}

fn holder(entities: &[Entity], entity_type: EntityType, id: &ExternalId) -> Option<usize> {
    entities.iter().position(|e| e.entity_type == entity_type && e.external_id == *id)
}

#[cfg(test)]
mod tests {
    use super::{Effect, Entity, Operation, assert_linearizable};
    use crate::protocol::world::{World, decide};
    use crm_processor::domain::answer::Answer;
    use crm_processor::domain::entity::EntityType::{Account, Customer};
    use crm_processor::domain::rejection::Rejection;
    use crm_processor::domain::use_case::UseCase;
    use crm_processor::store::simulated::{Faults, Simulated};
    use std::panic::catch_unwind;
    use std::sync::Arc;

    /// The real order: a becomes x; b can't become x; nobody is a.
    async fn happened() -> (Vec<Effect>, [Vec<Entity>; 2]) {
        let w = World::new(Arc::new(Simulated::new(1, Faults::default())), "t");
        w.account("a").await;
        w.account("b").await;
        let (a, b) = (w.entity(Account, "a"), w.entity(Account, "b"));
        let process = w.process();
        let mut effects = Vec::new();
        for s in [w.rename("r1", w.by_id("a"), "x"), w.rename("r2", w.by_id("b"), "x"), w.rename("r3", w.by_id("a"), "y")] {
            let answer = decide(&process, &s).await.answer;
            effects.push(Effect::Decided(s, answer));
        }
        let Effect::Decided(_, Answer::Changed(change)) = &effects[0] else { panic!("{effects:?}") };
        let after = vec![change.entity.clone(), b.clone()];
        (effects, [vec![a, b], after])
    }

    #[tokio::test]
    async fn an_order_must_respect_when_each_began_and_was_answered() {
        let (effects, [before, after]) = happened().await;
        // When each of the three began and was answered, and whether an order exists.
        let table: [([(u64, u64); 3], bool); 5] = [
            ([(0, 1), (2, 3), (4, 5)], true),
            ([(0, 9), (0, 9), (0, 9)], true),
            ([(4, 9), (2, 5), (0, 5)], true),
            // b was refused x before a wanted it.
            ([(4, 5), (2, 3), (6, 7)], false),
            // Nobody was a before a became x.
            ([(4, 5), (4, 9), (0, 3)], false),
        ];
        for (times, expected) in table {
            let timed = |(effect, (begin, end)): (&Effect, (u64, u64))| Operation { begin, end, effect: effect.clone() };
            let operations: Vec<_> = effects.iter().zip(times).map(timed).collect();
            let explained = catch_unwind(|| assert_linearizable(&operations, &before, &after)).is_ok();
            assert_eq!(explained, expected, "{times:?}");
        }
    }

    #[tokio::test]
    async fn a_superior_was_there_at_an_instant_before_the_creation() {
        let w = World::new(Arc::new(Simulated::new(1, Faults::default())), "t");
        w.customer("c").await;
        let before = vec![w.entity(Customer, "c")];
        let process = w.process();
        let creation = w.creation("r1", "a", w.by_id("c"));
        let created = decide(&process, &creation).await.answer;
        let rename = w.submit(UseCase::UpdateCustomerExternalId, "r2", w.by_id("c"), w.id("z").as_str(), None);
        let renamed = decide(&process, &rename).await.answer;
        let after = [&renamed, &created].map(|answer| answer.changed().expect("a change").clone());
        // When the customer gave its id up, and when an account was created below it.
        let table = [((0, 1), (0, 1), true), ((0, 3), (2, 9), true), ((4, 5), (2, 9), true), ((0, 1), (2, 3), false)];
        for (of_rename, of_creation, expected) in table {
            let renamed = Operation::all_of(of_rename.0, of_rename.1, &rename, &renamed);
            let operations: Vec<_> =
                renamed.chain(Operation::all_of(of_creation.0, of_creation.1, &creation, &created)).collect();
            let explained = catch_unwind(|| assert_linearizable(&operations, &before, &after)).is_ok();
            assert_eq!(explained, expected, "renamed {of_rename:?}, created {of_creation:?}");
        }
    }

    #[tokio::test]
    async fn what_nobody_could_have_been_told_or_become_is_found() {
        let (effects, [before, after]) = happened().await;
        let all = |effects: &[Effect]| -> Vec<Operation> {
            effects.iter().map(|effect| Operation { begin: 0, end: 9, effect: effect.clone() }).collect()
        };
        let fails = |effects: &[Effect], to| catch_unwind(|| assert_linearizable(&all(effects), &before, to)).is_err();
        assert!(fails(&effects, &before), "the change is not there");
        assert!(fails(&effects[1..], &before), "nobody has taken x");
        let mut other = effects.clone();
        if let Effect::Decided(_, answer) = &mut other[1] {
            *answer = Answer::Rejected(Rejection::VersionConflict { expected: 1, actual: 2 });
        }
        assert!(fails(&other, &after), "another reason");
        let twice = [&effects[..], &effects[..1]].concat();
        assert!(fails(&twice, &after), "changed twice");
    }
}
