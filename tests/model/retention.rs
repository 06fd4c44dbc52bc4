//! What is forgotten, and when. The model assumes that the retention outlives every attempt, because the retention is days and an attempt
//! takes seconds.

use super::attempt::Attempt;
use super::system::{Action, Output, State, System};
use super::vocabulary::{Command, Record, Request, Target};
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

    /// Adds the expiries that may happen now. An outcome or a previous owner outlives every attempt at the records that it answers, and
    /// every write in flight for them.
    pub fn expiries(&self, s: &State, actions: &mut Vec<Action>) {
        let mut expiring: Vec<Request> = s.store.outcomes().filter(|(_, o)| o.expires).map(|(request, _)| request).collect();
        expiring.sort_unstable();
        expiring.dedup();
        for request in expiring {
            if self.all_past(s, |record| self.protocol.request(record) == request) {
                actions.push(Action::Expire(request));
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
