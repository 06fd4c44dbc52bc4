//! What is forgotten, and when. The model assumes that half of the retention outlives every attempt, because the retention is days and an
//! attempt takes seconds.

use super::attempt::Attempt;
use super::system::{Action, Output, State, System};
use super::vocabulary::{Command, Lifetime, Record, Target};
use super::weakened::Weakening;
use super::witness::Witness;

impl System {
    /// Returns whether a record has not come yet, or everything that was ever begun for it is at its end.
    fn is_past(&self, s: &State, record: Record) -> bool {
        s.witnesses[usize::from(record)] == Witness::NotCome
            || s.outputs[usize::from(record)].is_some()
                && (0..self.attempts()).all(|i| s.attempts[i] == Attempt::OVER || !self.run(i).contains(&record))
                && !s.in_flight.iter().flatten().any(|write| write.concerns(self.protocol.request(record)))
    }

    fn all_past(&self, s: &State, which: impl Fn(Record) -> bool) -> bool {
        self.protocol.is(Weakening::ExpiryOutrunsAttempts)
            || (0..).zip(&self.protocol.commands).all(|(record, _)| !which(record) || self.is_past(s, record))
    }

    /// Adds the expiries that may happen now. Half of the retention outlives every attempt at a record and every write in flight for it. So
    /// an outcome turns old only when nothing is under way for its request. From then on it may expire beside whatever begins.
    pub fn expiries(&self, s: &State, actions: &mut Vec<Action>) {
        for (place, request, outcome) in s.store.expiring() {
            if outcome.lifetime == Lifetime::Old {
                actions.push(Action::Expire(place, request));
            } else if self.all_past(s, |record| self.protocol.request(record) == request) {
                actions.push(Action::Age(place, request));
            }
        }
        for (id, partition) in (0..).zip(&s.store.ids) {
            for (owner, _) in (0..).zip(partition.statics.previous_owners).filter(|(_, until)| *until > 0) {
                let answers = |record| {
                    let command = self.protocol.command(record);
                    command.target == Target::Id(id) && s.store.entity(owner).log[usize::from(command.request)].is_some()
                };
                if self.all_past(s, answers) {
                    actions.push(Action::Forget(id, owner));
                }
            }
        }
    }

    pub fn forget(&self, s: &mut State, which: impl Fn(&Command, &Output) -> bool) {
        for (command, output) in self.protocol.commands.iter().zip(&mut s.outputs) {
            if let Some(output) = output.as_mut().filter(|o| which(command, o)) {
                output.forgotten += 1;
            }
        }
    }
}
