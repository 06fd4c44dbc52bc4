//! An attempt at a delivery: one statement to the store after another, and the conclusions in between. A crash ends the attempt, and
//! its records are delivered again; the successor of a zombie runs beside it.
//!
//! If a write is not applied, or something has changed meanwhile, the attempt reads and decides again from the start.

use super::owner::OwnerRead;
use super::protocol::{Known, Protocol, Standing};
use super::store::{Store, Write};
use super::vocabulary::{Claim, Entity, EntityStatics, IdStatics, Outcome, PreviousOwners, RUN, Record, Target, UseCase};
use super::weakened::Weakening;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attempt {
    pub step: Step,
    /// The outcomes that answer its records, as far as they are decided.
    pub decided: Known,
    /// Whether the attempt applied one of them itself. Only a weakened rule depends on this.
    pub applied: bool,
    /// Whether a bug was caught. Then every command that is not decided ends as an internal error.
    pub gave_up: bool,
    /// Whether the attempt takes the commands of its run one at a time.
    pub singly: bool,
    /// The superior of the entity that is to be created, once it was found.
    pub superior: Option<Entity>,
}

/// The next step of an attempt, mostly a statement, with what is known before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// The records were not delivered yet, or were delivered again, or the rest of the run is to be decided. The attempt may decide from
    /// memory.
    Waiting,
    /// Decides with the entity of an earlier look: its own, or that of a cache, which is the same. A plain read that misses writes under
    /// way is no more than that. (From its cache the code claims only an id on which there is no claim, by the condition of the write: that
    /// is `ReadWanted` and `Try` with nothing in between. The model goes on in whichever way.)
    Remembering {
        entity: EntityStatics,
        taken: bool,
    },
    /// Begins a creation without a look at the entity that is to be created. A cache may remember the claim on the superior's id. (The code
    /// claims then only an id on which there is no claim. The model goes on in whichever way.)
    Creating {
        remembered: Option<IdStatics>,
        /// What only weakened rules go by: the superior as it was found in the cache, and whether the wanted id is taken.
        cached: Option<Entity>,
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
    /// Reads the outcomes of one of the entities that held the target before. When none of them is left, decides about the holder.
    ReadPrevious {
        there: IdStatics,
        left: PreviousOwners,
        holder: Option<EntityStatics>,
        known: Known,
    },
    /// Reads the partition that the reference to a creation's superior leads to.
    ReadSuperior {
        taken: bool,
    },
    /// Reads the owner of the claim on the superior's id. The claim may be one that a cache remembered.
    ReadSuperiorsOwner {
        there: IdStatics,
        remembered: bool,
        taken: bool,
    },
    /// Reads the partition of the id that is wanted. `seen` is the entity, or `None` if it is to be imported or created.
    ReadWanted {
        seen: Option<EntityStatics>,
        taken: bool,
    },
    /// Reads the owner of the claim on that id.
    ReadRival {
        seen: Option<EntityStatics>,
        there: IdStatics,
        half: Option<OwnerRead>,
    },
    /// Writes. If the write is applied, `decides` is decided of the run.
    Try {
        write: Write,
        seen: Option<EntityStatics>,
        decides: Known,
    },
    /// Holds an outcome that was found, and then decides with what is known.
    Hold {
        write: Write,
        known: Known,
        holder: Option<EntityStatics>,
        claim: Option<Claim>,
    },
    /// Commits answers, business transactions and offsets.
    Publish,
    Over,
}

/// A read of an external id's partition: statics and rows of one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetRead {
    statics: IdStatics,
    known: Known,
}

/// An attempt at work: the rules, the store at this instant, and the run.
pub struct AtWork<'a> {
    pub protocol: &'a Protocol,
    pub store: &'a Store,
    pub run: &'a [Record],
    pub attempt: Attempt,
}

impl Attempt {
    pub const NEW: Self =
        Self { step: Step::Waiting, decided: [None; RUN], applied: false, gave_up: false, singly: false, superior: None };
    pub const OVER: Self = Self { step: Step::Over, ..Self::NEW };

    /// The step that begins again from the start, with serial reads.
    pub const AGAIN: Step = Step::ReadTarget { half: None };
}

impl Step {
    /// Returns whether nothing was read yet.
    pub fn is_unread(&self) -> bool {
        matches!(self, Self::Waiting | Self::Remembering { .. } | Self::Creating { .. })
    }
}

impl AtWork<'_> {
    /// Executes the next statement, and takes the step to which its answer leads. Returns the write if one is applied.
    pub fn proceed(&mut self) -> Option<Write> {
        let mut written = None;
        self.attempt.step = match self.attempt.step {
            Step::Waiting => self.read_target(None),
            Step::Remembering { entity, taken } => self.decide([None; RUN], Some(entity), None, taken),
            Step::Creating { remembered, cached, taken } => self.create(remembered, cached, taken),
            Step::ReadTarget { half } => self.read_target(half),
            Step::ReadOwner { there, known, half } => self.read_owner(there, known, half),
            Step::ReadPrevious { there, left, holder, known } => self.read_previous(there, left, holder, known),
            Step::ReadSuperior { taken } => self.read_superior(taken),
            Step::ReadSuperiorsOwner { there, remembered, taken } => self.read_superiors_owner(there, remembered, taken),
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
            Step::Hold { write, known, holder, claim } => {
                if self.protocol.condition_holds(self.store, &write) {
                    written = Some(write);
                    self.decide(self.with_held(known, &write), holder, claim, false)
                } else {
                    Attempt::AGAIN
                }
            }
            Step::Publish | Step::Over => Step::Over,
        };
        written
    }

    /// Returns the step with the entity that a cache may remember from this instant. Returns `None` if the reference leads to no entity, or
    /// if requests under the reference must be looked for elsewhere, too.
    pub fn remember(&self) -> Option<Step> {
        let (command, p) = (self.protocol.command(self.first()), self.protocol);
        if command.is_creation() {
            return Some(self.remember_superior());
        }
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

    /// Returns the first record that is not decided.
    pub fn first(&self) -> Record {
        let open = self.run.iter().zip(&self.attempt.decided).find(|(_, decided)| decided.is_none());
        *open.expect("something is left to decide").0
    }

    /// Returns the known outcomes of the run, with those among `rows` that were decided in epochs up to `until`.
    fn and(&self, known: Known, rows: &Known, until: Option<u8>) -> Known {
        let mut all = known;
        for (n, row) in rows.iter().enumerate() {
            let Some((row, until)) = row.zip(until) else { continue };
            if row.about.is_none_or(|(_, epoch)| epoch <= until) {
                all[n] = Some(self.protocol.better(self.run[n], all[n], row));
            }
        }
        all
    }

    /// Returns the rows of the run's requests in a log.
    pub fn rows(&self, log: &[Option<Outcome>]) -> Known {
        let mut rows = self.attempt.decided.map(|_| None);
        for (row, record) in rows.iter_mut().zip(self.run) {
            *row = log[usize::from(self.protocol.request(*record))];
        }
        rows
    }

    /// Returns whether all records of the run have the outcomes that they caused.
    fn has_all(&self, known: &Known) -> bool {
        let own = |(record, known): (&Record, &Option<Outcome>)| {
            known.is_some_and(|known| known.record == *record || self.protocol.is(Weakening::RefusalsOutweighAll))
        };
        self.run.iter().zip(known).zip(self.attempt.decided).all(|(known, decided)| decided.is_some() || own(known))
    }

    /// Reads the partition of the target, external id or refId: one read shows its statics, and the outcomes that the run's requests have
    /// there.
    fn read_target(&mut self, half: Option<TargetRead>) -> Step {
        self.attempt.superior = None;
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
        // A record that was refused here has caused no other outcome; and without a claim there is no entity to ask. But an entity may have
        // been created with the same request id since, and its outcome outweighs another record's refusal.
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
        // The claim may take effect at any moment, so nothing can be concluded beside it.
        if standing == Standing::Pending && !self.protocol.is(Weakening::RefusedBesidePending) {
            return self.help(id, &there, read.statics);
        }
        if let Some(hold) = self.hold_claimants(&claim, &read) {
            return hold;
        }
        let until = self.protocol.answers_until(standing, &claim);
        let known = self.and(known, &read.rows, until);
        let mut left = there.previous_owners;
        let owner = usize::from(claim.owner);
        // The owner has just been asked about its outcomes up to `until`.
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

    /// Asks the entities that held the id before, even if the id is held now, and even if its holder knows the request: a record must find
    /// the change that it caused.
    fn ask_previous(&mut self, there: IdStatics, left: PreviousOwners, holder: Option<EntityStatics>, known: Known) -> Step {
        if left.iter().any(|until| *until > 0) {
            return Step::ReadPrevious { there, left, holder, known };
        }
        self.decide(known, holder, there.claim, false)
    }

    /// Decides the run, now that the holder and the outcomes are known. Without a `holder` nobody is there, under this `claim`.
    fn decide(&mut self, known: Known, holder: Option<EntityStatics>, claim: Option<Claim>, taken: bool) -> Step {
        let (attempt, target) = (self.attempt, self.protocol.command(self.first()).target);
        if let Some(write) = self.to_be_held(known, target) {
            return Step::Hold { write, known, holder, claim };
        }
        let mut all = known;
        for (known, decided) in all.iter_mut().zip(attempt.decided) {
            *known = decided.or(*known);
        }
        let fold = self.protocol.fold(self.run, target, all, holder.as_ref(), attempt.gave_up, attempt.singly);
        if let (true, Some(_)) = (fold.decided == attempt.decided, holder) {
            return Step::ReadWanted { seen: holder, taken };
        }
        let rows = fold.rows;
        if fold.decided == attempt.decided && self.protocol.command(self.first()).is_creation() {
            return Step::ReadSuperior { taken };
        }
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

    /// Returns the step that holds the outcome on account of which a claim is stale, and then looks again. Returns `None` if the outcome is
    /// kept anyway, or is not what makes the claim stale.
    pub fn hold_claimants(&self, claim: &Claim, read: &OwnerRead) -> Option<Step> {
        let row = (claim.claimed_by, read.claimants?);
        let write = Write::Hold { place: Target::RefId(claim.owner), row };
        let doubtful = self.protocol.is_doubtful(claim, read.statics.as_ref(), read.claimants);
        doubtful.then_some(Step::Try { write, seen: None, decides: self.attempt.decided })
    }

    /// Returns the write that holds the first outcome that was found and must be held before it answers.
    fn to_be_held(&self, known: Known, target: Target) -> Option<Write> {
        let found = self.run.iter().zip(known).zip(self.attempt.decided).filter(|(_, decided)| decided.is_none());
        let mut found = found.filter_map(|((record, known), _)| Some((*record, known?)));
        let (record, outcome) = found.find(|(record, outcome)| self.protocol.must_be_held(*record, outcome))?;
        Some(Write::Hold { place: outcome.place(target), row: (self.protocol.request(record), outcome) })
    }

    /// Returns what is known after an outcome was held.
    fn with_held(&self, mut known: Known, write: &Write) -> Known {
        let Write::Hold { place, row: (request, _) } = *write else { unreachable!("only a hold holds") };
        let of_request = |record: &Record| self.protocol.request(*record) == request;
        for (known, _) in known.iter_mut().zip(self.run).filter(|(_, record)| of_request(record)) {
            *known = known.map(|outcome| Outcome { lifetime: self.protocol.held(place), ..outcome });
        }
        known
    }

    /// Returns the step after a write was applied.
    fn wrote(&mut self, write: Write, seen: Option<EntityStatics>, decides: Known) -> Step {
        match write {
            Write::Claim { id, claim, .. } => self.complete_own(id, &claim, seen),
            Write::Apply { .. } | Write::Refuse { .. } | Write::Hold { .. } if decides == self.attempt.decided => Attempt::AGAIN,
            Write::Apply { .. } | Write::Refuse { .. } | Write::Hold { .. } => {
                self.attempt.applied |= self.protocol.is(Weakening::WhoAppliedPublishes);
                self.end(decides)
            }
        }
    }

    /// Returns the outcomes that are decided, with `outcome` for the first record that was not.
    pub fn with(&self, outcome: Outcome) -> Known {
        let mut decided = self.attempt.decided;
        let first = decided.iter().position(Option::is_none).expect("something is left to decide");
        decided[first] = Some(outcome);
        decided
    }

    /// Notes how much of the run is decided, and returns the step after that.
    pub fn end(&mut self, decided: Known) -> Step {
        self.attempt.decided = decided;
        self.attempt.superior = None;
        if decided[..self.run.len()].iter().all(Option::is_some) { Step::Publish } else { Step::Waiting }
    }
}
