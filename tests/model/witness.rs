//! Checks that refusals and no-ops are true: each must have been true at some instant since its record came. One state of the store
//! can't tell what was true when an outcome was decided, so the states keep it for each record.

use super::protocol::{Protocol, decide};
use super::store::Write;
use super::system::{State, System};
use super::vocabulary::{Answer, Command, ENTITIES, FIRST_ROW, Record, Target};

/// The reasons for refusals and no-ops that held at some instant since a record came, and before it had an outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Witness {
    #[default]
    NotCome,
    Since(Seen),
    Done,
}

#[expect(clippy::struct_excessive_bools, reason = "independent of one another")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seen {
    /// Nobody was there under the reference.
    nobody: bool,
    /// Another entity held the wanted id.
    taken: bool,
    /// The entity had another version than was expected.
    conflict: bool,
    /// The entity had the wanted value already.
    unchanged: bool,
    /// The entity was deactivated.
    deactivated: bool,
    /// Nobody was there under the reference to the superior.
    no_superior: bool,
    /// The superior was deactivated.
    superior_deactivated: bool,
    /// These entities were there under the reference to the superior, and not deactivated.
    superiors: [bool; ENTITIES],
    /// Nobody was there who knew the request. (Noted only where request ids are shared.)
    unknown: bool,
}

impl Witness {
    /// Returns whether somebody was there at each instant who knew the request.
    pub fn is_known_to_the_holder(&self) -> bool {
        matches!(self, Self::Since(Seen { unknown: false, .. }))
    }
}

impl State {
    /// Notes that these records have come.
    pub fn call_witnesses(&mut self, run: &[Record]) {
        for record in run {
            let witness = &mut self.witnesses[usize::from(*record)];
            if *witness == Witness::NotCome {
                *witness = Witness::Since(Seen::default());
            }
        }
    }

    /// Compares the outcomes that were just stored with what was true.
    pub fn hear_witnesses(&mut self, protocol: &Protocol, write: &Write) {
        for (_, outcome) in write.rows().filter(|(request, _)| *request != FIRST_ROW) {
            let witness = std::mem::replace(&mut self.witnesses[usize::from(outcome.record)], Witness::Done);
            let Witness::Since(seen) = witness else { continue };
            self.unfounded |= match outcome.answer {
                Answer::NotFound => !seen.nobody,
                Answer::Taken => !seen.taken,
                Answer::VersionConflict => !seen.conflict,
                Answer::Unchanged => !seen.unchanged,
                Answer::Deactivated => !seen.deactivated,
                Answer::NoSuperior => !seen.no_superior,
                Answer::SuperiorDeactivated => !seen.superior_deactivated,
                _ => false,
            };
            let wants_superior = protocol.commands.get(usize::from(outcome.record)).and_then(Command::superior).is_some();
            if let (Write::Apply { after: Some(after), .. }, true) = (write, wants_superior) {
                self.misplaced |= !after.superior.is_some_and(|superior| seen.superiors[usize::from(superior)]);
            }
        }
    }
}

impl System {
    /// Notes for each record what is true at this instant.
    pub fn witness(&self, s: &mut State) {
        for (command, witness) in self.protocol.commands.iter().zip(&mut s.witnesses) {
            let Witness::Since(seen) = witness else { continue };
            let holder = s.store.holder(command.target);
            let knows = holder.is_some_and(|holder| s.store.entity(holder).log[usize::from(command.request)].is_some());
            seen.unknown |= !knows || !self.scenario.shares_request_ids;
            let rival = command.wanted().and_then(|id| s.store.holder(Target::Id(id)));
            if let Some(reference) = command.superior() {
                match s.store.holder(reference).and_then(|superior| s.store.entity(superior).statics) {
                    None => seen.no_superior = true,
                    Some(e) if e.deactivated => seen.superior_deactivated = true,
                    Some(e) => seen.superiors[usize::from(e.ref_id)] = true,
                }
            }
            let Some(holder) = holder else {
                seen.nobody = true;
                // The entity of a creation is not there yet.
                seen.taken |= command.is_creation() && rival.is_some();
                continue;
            };
            seen.taken |= rival.is_some_and(|rival| rival != holder);
            if let Some(entity) = s.store.entity(holder).statics.filter(|_| !command.is_import()) {
                let (answer, _) = decide(command, &entity);
                seen.taken |= answer == Answer::Taken;
                seen.conflict |= answer == Answer::VersionConflict;
                seen.unchanged |= answer == Answer::Unchanged;
                seen.deactivated |= answer == Answer::Deactivated;
            }
        }
    }
}
