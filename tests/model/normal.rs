//! Makes states equal that differ in nothing that matters, so that there are fewer of them.

use super::attempt::{Attempt, Step};
use super::store::{Store, Write};
use super::system::{State, System};
use super::vocabulary::{Lifetime, Outcome};
use super::weakened::Weakening;

impl System {
    /// Returns whether the condition of a write does not hold, and never will: versions and generations only grow, and an outcome that does
    /// not expire stays.
    fn is_void(&self, store: &Store, write: &Write) -> bool {
        let kept = |log: &[Option<Outcome>]| {
            write.rows().any(|(r, _)| log[usize::from(r)].is_some_and(|o| o.lifetime == Lifetime::Kept))
        };
        !self.protocol.weakening.is_some_and(Weakening::bends_conditions)
            && match *write {
                Write::Claim { id, read, .. } | Write::Refuse { id, read, .. } => {
                    !self.protocol.same_claim(store.id(id).statics.claim, read)
                }
                Write::Apply { entity, read, .. } => {
                    let there = store.entity(entity);
                    there.statics.map(|e| e.version) != read || kept(&there.log)
                }
                Write::Hold { place, row: (request, outcome) } => {
                    store.row(place, request).is_none_or(|there| !there.same(&outcome))
                }
            }
    }

    /// Makes states equal that differ in nothing that matters.
    pub fn normalize(&self, s: &mut State) {
        for i in 0..self.attempts() {
            let attempt = s.attempts[i];
            let unread = attempt.step.is_unread() && attempt.decided[0].is_none();
            if self.answered(s, i) && (unread || attempt.step == Step::Publish) {
                s.attempts[i] = Attempt::OVER;
            }
            if matches!(attempt.step, Step::Try { write, .. } | Step::Hold { write, .. } if self.is_void(&s.store, &write)) {
                s.attempts[i].step = Attempt::AGAIN;
            }
        }
        let mut first = 0;
        for delivery in &self.scenario.deliveries {
            s.attempts[first..first + delivery.attempts].sort_unstable();
            first += delivery.attempts;
        }
        for write in &mut s.in_flight {
            *write = write.filter(|write| !self.is_void(&s.store, write));
        }
        s.in_flight.sort_unstable();
    }
}
