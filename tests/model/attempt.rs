//! An attempt at a delivery: one statement to the store after another, and what is concluded in between. A crash forgets it, and
//! its records are delivered again; while it is a zombie its successor runs beside it.
//!
//! What was not applied, or has changed meanwhile, is read and decided again from the start.

use super::owner::OwnerRead;
use super::protocol::{Known, Protocol, Standing};
use super::store::{Store, Write};
use super::vocabulary::{Claim, EntityStatics, IdStatics, Outcome, PreviousOwners, RUN, Record, Target, UseCase};
use super::weakened::Weakening;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attempt {
    pub step: Step,
    /// The outcomes that answer its records, as far as they are decided.
    pub decided: Known,
    /// It applied one of them itself. No rule depends on it, but a weakened one.
    pub applied: bool,
    /// A bug was caught: what is not decided ends as an internal error.
    pub gave_up: bool,
    /// It takes the commands of its run one at a time.
    pub singly: bool,
}

/// What comes next: a statement, mostly, with what is known before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Not delivered yet, or delivered again; or goes on with the rest of its run. May decide from memory.
    Waiting,
    /// Has the entity from an earlier look: its own or, which is the same, of a cache. A plain read that misses writes under way
    /// is no more than that. (From its cache the code claims only an id on which there is no claim, by the condition of the write: that is
    /// `ReadWanted` and `Try` with nothing in between. The model goes on in whichever way.)
    Remembering {
        entity: EntityStatics,
        taken: bool,
    },
    /// Reads the partition that the reference leads to.
    ReadTarget {
        half: Option<TargetRead>,
    },
    /// Reads the owner of the claim on the target.
    ReadOwner {
        there: IdStatics,
        known: Known,
        half: Option<OwnerRead>,
    },
    /// Asks those who held the target before, until there are none left; then decides about the holder.
    ReadPrevious {
        there: IdStatics,
        left: PreviousOwners,
        holder: Option<EntityStatics>,
        known: Known,
    },
    /// Reads the partition of the id that a rename or import wants. `seen`: the entity; None: it is to be imported.
    ReadWanted {
        seen: Option<EntityStatics>,
        taken: bool,
    },
    /// Reads the owner of the claim on it.
    ReadRival {
        seen: Option<EntityStatics>,
        there: IdStatics,
        half: Option<OwnerRead>,
    },
    /// Writes; if that is applied, this much is decided of the run.
    Try {
        write: Write,
        seen: Option<EntityStatics>,
        decides: Known,
    },
    /// Commits answers, business transactions and offsets.
    Publish,
    Over,
}

/// What one read of an external id's partition shows: statics and rows of one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetRead {
    statics: IdStatics,
    known: Known,
}

/// An attempt at work: the rules, what it is at, and the store at this instant.
pub struct AtWork<'a> {
    pub protocol: &'a Protocol,
    pub store: &'a Store,
    pub run: &'a [Record],
    pub attempt: Attempt,
}

impl Attempt {
    pub const NEW: Self = Self { step: Step::Waiting, decided: [None; RUN], applied: false, gave_up: false, singly: false };
    pub const OVER: Self = Self { step: Step::Over, ..Self::NEW };

    /// From the start, with serial reads.
    pub const AGAIN: Step = Step::ReadTarget { half: None };
}

impl AtWork<'_> {
    /// One statement, and where its answer leads. A write that is applied is handed back.
    pub fn proceed(&mut self) -> Option<Write> {
        let mut written = None;
        self.attempt.step = match self.attempt.step {
            Step::Waiting => self.read_target(None),
            Step::Remembering { entity, taken } => self.decide([None; RUN], Some(entity), None, taken),
            Step::ReadTarget { half } => self.read_target(half),
            Step::ReadOwner { there, known, half } => self.read_owner(there, known, half),
            Step::ReadPrevious { there, left, holder, known } => self.read_previous(there, left, holder, known),
            Step::ReadWanted { seen, taken } => self.read_wanted(seen, taken),
            Step::ReadRival { seen, there, half } => self.read_rival(seen, there, half),
            Step::Try { write, seen, decides } => {
                if self.protocol.condition_holds(self.store, &write) {
                    written = Some(write);
                    self.wrote(write, seen, decides)
                } else {
                    Attempt::AGAIN
                }
            }
            Step::Publish | Step::Over => Step::Over,
        };
        written
    }

    /// What it may have remembered since any earlier instant: of a reference that leads to an entity, beside which there is
    /// nothing to ask.
    pub fn remember(&self) -> Option<Step> {
        let (command, p) = (self.protocol.command(self.first()), self.protocol);
        let entity = match command.target {
            Target::RefId(entity) => self.store.entity(entity).statics?,
            Target::Id(id) => {
                let there = &self.store.id(id).statics;
                let claim = there.claim?;
                let owner = self.store.entity(claim.owner).statics?;
                let others = (0..).zip(there.previous_owners).any(|(e, until)| until > 0 && e != claim.owner);
                let silent = !there.refused || p.is(Weakening::CacheIgnoresRefusals);
                let sole = !others || p.is(Weakening::CacheIgnoresPreviousOwners);
                let claimants = self.store.entity(claim.owner).log[usize::from(claim.claimed_by)];
                let usable = match p.standing(id, &claim, Some(&owner), claimants) {
                    Standing::Current => true,
                    Standing::Stale { held } => held && p.is(Weakening::CacheIgnoresGeneration),
                    Standing::Pending => false,
                };
                (usable && silent && sole).then_some(owner)?
            }
        };
        let holder = command.wanted().and_then(|id| self.store.holder(Target::Id(id)));
        let taken = p.is(Weakening::TakenFromCache) && holder.is_some_and(|h| h != entity.ref_id);
        (!command.is_import()).then_some(Step::Remembering { entity, taken })
    }

    /// The first that is not decided.
    pub fn first(&self) -> Record {
        let open = self.run.iter().zip(&self.attempt.decided).find(|(_, decided)| decided.is_none());
        *open.expect("something is left to decide").0
    }

    /// What is known of the run, with the rows that a read showed. What was refused under the id has no other outcome.
    fn and(&self, known: Known, rows: &Known, until: Option<u8>) -> Known {
        let mut all = known;
        for (n, row) in rows.iter().enumerate() {
            let Some((row, until)) = row.zip(until) else { continue };
            let refused = known[n].is_some_and(|outcome| outcome.about.is_none());
            if !refused && row.about.is_none_or(|(_, epoch)| epoch <= until) {
                all[n] = Some(self.protocol.better(self.run[n], all[n], row));
            }
        }
        all
    }

    /// The rows of the run in a log.
    pub fn rows(&self, log: &[Option<Outcome>]) -> Known {
        let mut rows = self.attempt.decided.map(|_| None);
        for (row, record) in rows.iter_mut().zip(self.run) {
            *row = log[usize::from(self.protocol.request(*record))];
        }
        rows
    }

    fn has_all(&self, known: &Known) -> bool {
        known[..self.run.len()].iter().zip(self.attempt.decided).all(|(known, decided)| known.or(decided).is_some())
    }

    /// The target, by external id or by refId: one read shows its statics, and which of the run were decided there.
    fn read_target(&mut self, half: Option<TargetRead>) -> Step {
        let command = self.protocol.command(self.first());
        let id = match command.target {
            Target::RefId(entity) => {
                let there = self.store.entity(entity);
                if let UseCase::Import(id) = command.use_case {
                    return self.import(id, there.statics.as_ref());
                }
                let known = self.and([None; RUN], &self.rows(&there.log), Some(u8::MAX));
                return self.decide(known, there.statics, None, false);
            }
            Target::Id(id) => id,
        };
        let there = self.store.id(id);
        let mut read = TargetRead { statics: there.statics, known: self.rows(&there.log) };
        match half {
            None if self.protocol.is(Weakening::RowsThenStaticsOfId) => return Step::ReadTarget { half: Some(read) },
            Some(half) => read.known = half.known,
            None => {}
        }
        let TargetRead { statics: there, known } = read;
        // Who was refused here can have no other outcome; and without a claim there is nobody to ask.
        if there.claim.is_none() || self.has_all(&known) {
            return self.decide(known, None, None, false);
        }
        Step::ReadOwner { there, known, half: None }
    }

    fn read_owner(&mut self, there: IdStatics, known: Known, half: Option<OwnerRead>) -> Step {
        let Target::Id(id) = self.protocol.command(self.first()).target else { unreachable!("a refId has no claim") };
        let read = match self.read_as_one(&there.claim.expect("a claim was read"), half) {
            Ok(read) => read,
            Err(half) => return Step::ReadOwner { there, known, half: Some(half) },
        };
        let Some((there, claim)) = self.claim_before(id, there) else { return Attempt::AGAIN };
        let standing = self.protocol.standing(id, &claim, read.statics.as_ref(), read.claimants);
        // It may be applied at any moment, so nothing can be concluded beside it.
        if standing == Standing::Pending && !self.protocol.is(Weakening::RefusedBesidePending) {
            return self.help(id, &there, read.statics);
        }
        let until = self.protocol.answers_until(standing, &claim);
        let known = self.and(known, &read.rows, until);
        let mut left = there.previous_owners;
        let owner = usize::from(claim.owner);
        // It has just been asked about this much.
        left[owner] = if until >= Some(left[owner]) { 0 } else { left[owner] };
        let holder = read.statics.filter(|_| standing == Standing::Current);
        if holder.is_some() && self.protocol.is(Weakening::PreviousOwnersOnlyOfStale) {
            left = PreviousOwners::default();
        }
        self.ask_previous(there, left, holder, known)
    }

    fn read_previous(&mut self, there: IdStatics, mut left: PreviousOwners, holder: Option<EntityStatics>, known: Known) -> Step {
        let next = left.iter().position(|until| *until > 0).expect("somebody is left to ask");
        let until = std::mem::take(&mut left[next]);
        let known = self.and(known, &self.rows(&self.store.entities[next].log), Some(until));
        self.ask_previous(there, left, holder, known)
    }

    /// Those who held the id before are asked, even if it is held now, and even if its holder knows the request: a record must
    /// find the change that it caused.
    fn ask_previous(&mut self, there: IdStatics, left: PreviousOwners, holder: Option<EntityStatics>, known: Known) -> Step {
        if left.iter().any(|until| *until > 0) {
            return Step::ReadPrevious { there, left, holder, known };
        }
        self.decide(known, holder, there.claim, false)
    }

    /// Decides the run, now that it is known who is there (None: nobody, under this claim) and which outcomes there are.
    fn decide(&mut self, known: Known, holder: Option<EntityStatics>, claim: Option<Claim>, taken: bool) -> Step {
        let (attempt, target) = (self.attempt, self.protocol.command(self.first()).target);
        let mut all = known;
        for (known, decided) in all.iter_mut().zip(attempt.decided) {
            *known = decided.or(*known);
        }
        let fold = self.protocol.fold(self.run, target, all, holder.as_ref(), attempt.gave_up, attempt.singly);
        if let (true, Some(_)) = (fold.decided == attempt.decided, holder) {
            return Step::ReadWanted { seen: holder, taken };
        }
        let rows = fold.rows;
        if rows[0].is_none() {
            return self.end(fold.decided);
        }
        let write = match (holder, target) {
            (Some(seen), _) => Write::Apply { entity: seen.ref_id, read: Some(seen.version), after: fold.after, rows },
            (None, Target::RefId(entity)) => Write::Apply { entity, read: None, after: None, rows },
            (None, Target::Id(id)) => Write::Refuse { id, read: claim, rows },
        };
        Step::Try { write, seen: None, decides: fold.decided }
    }

    /// A write was applied.
    fn wrote(&mut self, write: Write, seen: Option<EntityStatics>, decides: Known) -> Step {
        match write {
            Write::Claim { id, claim, .. } => self.complete_own(id, &claim, seen),
            Write::Apply { .. } | Write::Refuse { .. } if decides == self.attempt.decided => Attempt::AGAIN,
            Write::Apply { .. } | Write::Refuse { .. } => {
                self.attempt.applied |= self.protocol.is(Weakening::WhoAppliedPublishes);
                self.end(decides)
            }
        }
    }

    /// What is decided, with the outcome of the first that was not.
    pub fn with(&self, outcome: Outcome) -> Known {
        let mut decided = self.attempt.decided;
        let first = decided.iter().position(Option::is_none).expect("something is left to decide");
        decided[first] = Some(outcome);
        decided
    }

    /// So much of the run is decided now.
    pub fn end(&mut self, decided: Known) -> Step {
        self.attempt.decided = decided;
        if decided[..self.run.len()].iter().all(Option::is_some) { Step::Publish } else { Step::Waiting }
    }
}
