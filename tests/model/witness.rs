//! Checks that refusals and no-ops are true: each must have been true at some instant since its record came. One state of the store
//! can't tell what was true when an outcome was decided, so the states keep it for each record.

use super::protocol::decide;
use super::store::Write;
use super::system::{State, System};
use super::vocabulary::{Answer, FIRST_ROW, Record, Target};

/// The reasons for refusals and no-ops that held at some instant since a record came, and before it had an outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Witness {
    #[default]
    NotCome,
    Since {
        /// Nobody was there under the reference.
        nobody: bool,
        /// Another entity held the wanted id.
        taken: bool,
        /// The entity had another version than was expected.
        conflict: bool,
        /// The entity had the wanted value already.
        unchanged: bool,
    },
    Done,
}

impl State {
    /// Notes that these records have come.
    pub fn call_witnesses(&mut self, run: &[Record]) {
        for record in run {
            let witness = &mut self.witnesses[usize::from(*record)];
            if *witness == Witness::NotCome {
                *witness = Witness::Since { nobody: false, taken: false, conflict: false, unchanged: false };
            }
        }
    }

    /// Compares the outcomes that were just stored with what was true.
    pub fn hear_witnesses(&mut self, write: &Write) {
        for (_, outcome) in write.rows().filter(|(request, _)| *request != FIRST_ROW) {
            let witness = std::mem::replace(&mut self.witnesses[usize::from(outcome.record)], Witness::Done);
            self.unfounded |= match (outcome.answer, witness) {
                (Answer::NotFound, Witness::Since { nobody, .. }) => !nobody,
                (Answer::Taken, Witness::Since { taken, .. }) => !taken,
                (Answer::VersionConflict, Witness::Since { conflict, .. }) => !conflict,
                (Answer::Unchanged, Witness::Since { unchanged, .. }) => !unchanged,
                _ => false,
            };
        }
    }
}

impl System {
    /// Notes for each record what is true at this instant.
    pub fn witness(&self, s: &mut State) {
        for (command, witness) in self.protocol.commands.iter().zip(&mut s.witnesses) {
            let Witness::Since { nobody, taken, conflict, unchanged } = witness else { continue };
            let Some(holder) = s.store.holder(command.target) else {
                *nobody = true;
                continue;
            };
            let rival = command.wanted().and_then(|id| s.store.holder(Target::Id(id)));
            *taken |= rival.is_some_and(|rival| rival != holder);
            if let Some(entity) = s.store.entity(holder).statics.filter(|_| !command.is_import()) {
                let (answer, _) = decide(command, &entity);
                *conflict |= answer == Answer::VersionConflict;
                *unchanged |= answer == Answer::Unchanged;
            }
        }
    }
}
