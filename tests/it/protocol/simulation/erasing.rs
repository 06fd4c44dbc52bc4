//! An operator who erases former names while commands are decided. Answers that come later may lack the names, and are otherwise
//! the same.

use super::Simulation;
use crm_processor::domain::answer::Answer;
use crm_processor::domain::entity::EntityType;
use crm_processor::domain::reference::Reference;
use crm_processor::domain::transaction::Transaction;
use crm_processor::domain::values::CustomName;
use crm_processor::store::upkeep::erase::{ERASED, Erasure};
use std::sync::Arc;

impl Simulation {
    /// Returns references to the customers whose names are erased. There are commands for their names. The last one is a customer that was
    /// created, or that has taken the id.
    pub fn named(&self) -> [Reference; 3] {
        let Self { world, .. } = self;
        [Reference::RefId(world.ref_id("d")), Reference::RefId(world.ref_id("e")), Reference::ExternalId(world.id("z"))]
    }

    /// Erases a customer's names as often as that succeeds in a few attempts.
    pub async fn erase(&self, reference: Reference) {
        let claims = self.world.process_with(&self.options);
        for _ in 0..5 {
            let erased = claims.erase(EntityType::Customer, &reference, Erasure::Done).await;
            if matches!(erased, Ok(Some(erased)) if erased.rows.former > 0) {
                self.happened.lock().unwrap().note("a name was erased");
            }
        }
    }
}

/// Returns whether two answers are the same, but for names that were erased from one of them.
pub fn agree(one: &Answer, other: &Answer) -> bool {
    one == other || without(one, other) == without(other, one)
}

/// Returns an answer with those names erased that are erased in `other`.
fn without(answer: &Answer, other: &Answer) -> Answer {
    let mut answer = answer.clone();
    match (&mut answer, other) {
        (Answer::Changed(transaction), Answer::Changed(other)) | (Answer::Unchanged(transaction), Answer::Unchanged(other)) => {
            erase_as(Arc::make_mut(transaction), other);
        }
        _ => {}
    }
    answer
}

fn erase_as(transaction: &mut Transaction, other: &Transaction) {
    let erased = CustomName::parse(ERASED).unwrap();
    if transaction.entity.custom_name.is_some() && other.entity.custom_name.as_ref() == Some(&erased) {
        transaction.entity.custom_name = Some(erased);
    }
    for (change, other) in transaction.changes.iter_mut().zip(&other.changes) {
        for (name, other) in [(&mut change.old, &other.old), (&mut change.new, &other.new)] {
            if name.is_some() && other.as_deref() == Some(ERASED) {
                *name = Some(ERASED.into());
            }
        }
    }
}
