//! The rules of the protocol, without the order of its statements (see `attempt`): what a claim means, which entity's outcomes answer a
//! request, what is decided, and what is written then.

use super::store::{Rows, Write};
use super::vocabulary::{
    Answer, Claim, Command, Entity, EntityStatics, FIRST_ROW, Id, IdStatics, Lifetime, Outcome, PreviousOwners, RUN, Record,
    Request, Target, UseCase,
};
use super::weakened::Weakening;

/// The protocol over the commands of a scenario: as it is, or weakened in one place.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// The commands, by record.
    pub commands: Vec<Command>,
    pub weakening: Option<Weakening>,
}

/// How a claim stands to its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The owner holds the id by this very claim.
    Current,
    /// The owner's external id is still the one that the claim was made to replace, and the request is undecided: the claim may
    /// be completed at any moment.
    Pending,
    /// The claim is neither, and never will be: epochs only grow, and the claimant's outcome stays. `held` says whether it was current
    /// once.
    Stale { held: bool },
}

/// The outcomes that the requests of a run are known to have.
pub type Known = [Option<Outcome>; RUN];

/// The decisions about a run, and the write that makes them final.
pub struct Fold {
    /// The outcomes, from the front of the run; there are fewer than commands if the next one is a rename, which needs a claim.
    pub decided: Known,
    pub rows: Rows,
    pub after: Option<EntityStatics>,
}

impl Protocol {
    pub fn is(&self, weakening: Weakening) -> bool {
        self.weakening == Some(weakening)
    }

    pub fn command(&self, record: Record) -> &Command {
        &self.commands[usize::from(record)]
    }

    pub fn request(&self, record: Record) -> Request {
        self.command(record).request
    }

    /// Returns the standing of a claim on `id`. The owner was read with the outcome of the claimant, both of one instant.
    pub fn standing(&self, id: Id, claim: &Claim, owner: Option<&EntityStatics>, claimants: Option<Outcome>) -> Standing {
        // The generation decides, because owner, epoch and request come back in the same combination after a rejected rename.
        let by_this_claim = |e: &EntityStatics| match self.weakening {
            Some(Weakening::CurrentByEpoch) => e.epoch == claim.epoch,
            Some(Weakening::CurrentByClaimant) => (e.epoch, e.claimed_by) == (claim.epoch, claim.claimed_by),
            _ => e.generation == claim.generation,
        };
        if owner.is_some_and(|e| e.external_id == id && by_this_claim(e)) {
            return Standing::Current;
        }
        // An entity that is not there counts as in epoch 0.
        let epoch = owner.map_or(0, |e| e.epoch);
        let in_turn = epoch + 1 == claim.epoch || self.is(Weakening::EpochUnchecked) && claim.claimed_by != FIRST_ROW;
        if in_turn && (claimants.is_none() || self.is(Weakening::ClaimantsOutcomeIgnored)) {
            return Standing::Pending;
        }
        Standing::Stale { held: self.was_current(id, claim, claimants) }
    }

    /// Returns whether a claim is stale on account of an outcome that expires. When it has expired, the claim would be pending again. So
    /// the outcome must be held before anything is concluded from it.
    pub fn is_doubtful(&self, claim: &Claim, owner: Option<&EntityStatics>, claimants: Option<Outcome>) -> bool {
        let in_turn = owner.map_or(0, |e| e.epoch) + 1 == claim.epoch;
        let expires = claimants.is_some_and(|o| self.can_be_held(&o) && !self.lasts(claim.record, &o));
        in_turn && expires && !self.is(Weakening::StaleForATime)
    }

    /// Returns whether a claim that is not current was current once. The claimant's outcome says so if the request brought the entity to
    /// this id and into the claim's epoch. One of the two alone is no proof: an attempt that did not see that the request was decided may
    /// claim for it again, when the entity has left the id long since.
    fn was_current(&self, id: Id, claim: &Claim, claimants: Option<Outcome>) -> bool {
        let Some(outcome) = claimants else { return self.is(Weakening::StaleCountsAsHeld) };
        let came_to = match outcome.answer {
            Answer::Changed { external_id, .. } | Answer::Imported { external_id } => Some(external_id),
            _ => None,
        };
        let then = outcome.about.is_some_and(|(_, epoch)| epoch + 1 == claim.epoch) || self.is(Weakening::HeldInAnyEpoch);
        came_to == Some(id) && then || self.is(Weakening::StaleCountsAsHeld)
    }

    /// Returns the last epoch of a claim's owner whose outcomes answer requests that come under the id, or `None` if no outcomes of the
    /// owner do. Outcomes that the owner decided until it gave the id up are answers. Those that it decided since, under another reference,
    /// are of other requests.
    pub fn answers_until(&self, standing: Standing, claim: &Claim) -> Option<u8> {
        match standing {
            Standing::Current => Some(u8::MAX),
            Standing::Stale { held: true } => Some(if self.is(Weakening::PastAnswersForAll) { u8::MAX } else { claim.epoch }),
            Standing::Stale { held: false } | Standing::Pending => None,
        }
    }

    /// Returns the previous owners for the claim that replaces a stale one.
    fn previous_owners_after(&self, replaced: &IdStatics, standing: Standing) -> PreviousOwners {
        let mut owners = replaced.previous_owners;
        if let Some(claim) = replaced.claim
            && let Some(until) = self.answers_until(standing, &claim)
            && !self.is(Weakening::PreviousOwnersIgnored)
        {
            let known = &mut owners[usize::from(claim.owner)];
            // The stale claim may be a late one of an epoch long past. Then its owner has held the id by another claim since.
            *known = if self.is(Weakening::LastEpochOverwritten) { until } else { until.max(*known) };
        }
        owners
    }

    pub fn same_claim(&self, a: Option<Claim>, b: Option<Claim>) -> bool {
        if matches!(self.weakening, Some(Weakening::CurrentByEpoch | Weakening::CurrentByClaimant)) {
            let triple = |c: Claim| (c.owner, c.epoch, c.claimed_by);
            return a.map(triple) == b.map(triple);
        }
        a.map(|c| c.generation) == b.map(|c| c.generation)
    }

    /// Returns the one of two outcomes for a request id that answers `record`: first of all the one that this very record caused, because
    /// no other record publishes it, then one that is stored with an entity, then the one of the same contents. (A request id can have an
    /// outcome at each entity that held the reference, and beside them a refusal from before anybody held it.)
    pub fn better(&self, record: Record, known: Option<Outcome>, found: Outcome) -> Outcome {
        let rank = |o: &Outcome| {
            let own = o.record == record && !self.is(Weakening::OwnOutcomeNotPreferred);
            let of_entity = o.about.is_some() != self.is(Weakening::RefusalsOutweighAll);
            (own, of_entity, self.command(o.record).same_contents(self.command(record)))
        };
        match known {
            Some(known) if rank(&known) >= rank(&found) => known,
            _ => found,
        }
    }

    /// Returns the answer to `record`, whose request id has this outcome.
    pub fn reply(&self, record: Record, outcome: &Outcome) -> Answer {
        let same = self.command(record).same_contents(self.command(outcome.record));
        if same || self.is(Weakening::ContentsUnchecked) { outcome.answer } else { Answer::Reused }
    }

    /// Returns whether `record` publishes the business transaction. It does if it caused the change, whoever applied the change, at
    /// whichever attempt.
    pub fn publishes(&self, record: Record, outcome: &Outcome, applied_here: bool) -> bool {
        outcome.answer.is_change()
            && match self.weakening {
                Some(Weakening::EveryReplayPublishes) => true,
                Some(Weakening::WhoAppliedPublishes) => applied_here,
                _ => outcome.record == record,
            }
    }

    /// Returns an outcome as it is stored. Changes, and all outcomes of renames and creations that are stored with an entity, are kept for
    /// ever: a claim may land after its request was decided, and only the outcome keeps the claim from turning pending. Everything else
    /// expires.
    fn outcome(&self, record: Record, about: Option<(Entity, u8)>, answer: Answer) -> Outcome {
        let command = self.command(record);
        let of_claimer = command.is_claimer()
            && !(command.is_rename() && self.is(Weakening::RejectionsOfRenamesExpire))
            && !(command.is_creation() && self.is(Weakening::RejectionsOfCreationsExpire))
            && !(self.is(Weakening::AbsentExpire) && answer == Answer::NotFound);
        let change = answer.is_change() && !self.is(Weakening::ChangesExpire);
        let kept = about.is_some() && (of_claimer || change || matches!(answer, Answer::Imported { .. }));
        Outcome { answer, record, about, lifetime: if kept { Lifetime::Kept } else { Lifetime::Young } }
    }

    /// Returns whether an outcome that was found must be held before it answers `record`.
    ///
    /// - An old outcome may expire before another attempt at the record looks for it. That attempt would decide the record anew.
    /// - An outcome that expires may answer a rename or a creation, whose request id was used by another use case. The claimer leaves no
    ///   outcome of its own then. So the outcome that is there must keep the claimer's late claims from turning pending.
    pub fn must_be_held(&self, record: Record, outcome: &Outcome) -> bool {
        let old = outcome.lifetime == Lifetime::Old && !self.is(Weakening::OldOutcomesAnswer);
        let command = self.command(record);
        let claims = command.is_rename() && !self.is(Weakening::RenamesHoldNothing)
            || command.is_creation() && !self.is(Weakening::CreationsHoldNothing);
        let claims = claims && outcome.about.is_some();
        !self.lasts(record, outcome) && (old || claims && self.can_be_held(outcome))
    }

    /// Returns whether an outcome that was found for `record` is one of those that are kept for ever from the beginning, as far as the two
    /// of them tell. What else is kept was held, which is not told by what is stored.
    fn lasts(&self, record: Record, outcome: &Outcome) -> bool {
        let same = self.command(record).same_contents(self.command(outcome.record));
        outcome.about.is_some() && (outcome.answer.is_change() || self.command(record).is_claimer() && same)
    }

    /// Returns whether to hold an outcome makes a difference.
    fn can_be_held(&self, outcome: &Outcome) -> bool {
        match outcome.lifetime {
            Lifetime::Young => !self.is(Weakening::HeldForATime),
            Lifetime::Old => true,
            Lifetime::Kept => false,
        }
    }

    /// Returns how long an outcome is kept that was held.
    pub fn held(&self, place: Target) -> Lifetime {
        match place {
            Target::Id(_) => Lifetime::Young,
            Target::RefId(_) if self.is(Weakening::HeldForATime) => Lifetime::Young,
            Target::RefId(_) => Lifetime::Kept,
        }
    }

    /// Decides a run about one entity, or about none, one command after the other as if each were stored before the next.
    /// With `give_up`, every command without a known outcome ends as an internal error. With `singly`, at most one new command is decided.
    pub fn fold(
        &self,
        run: &[Record],
        target: Target,
        known: Known,
        holder: Option<&EntityStatics>,
        give_up: bool,
        singly: bool,
    ) -> Fold {
        let mut fold = Fold { decided: [None; RUN], rows: [None; RUN], after: None };
        let about = match (holder, target) {
            (Some(e), _) => Some((e.ref_id, e.epoch)),
            (None, Target::RefId(entity)) => Some((entity, 0)),
            (None, Target::Id(_)) => None,
        };
        for (n, record) in run.iter().enumerate() {
            let request = self.request(*record);
            let twin = fold.rows.iter().flatten().find(|row| row.0 == request).map(|row| row.1);
            fold.decided[n] = known[n].or(twin.filter(|_| !self.is(Weakening::TwinsDecidedTwice)));
            if fold.decided[n].is_some() {
                continue;
            }
            if singly && fold.rows[0].is_some() {
                break;
            }
            let there = if self.is(Weakening::RunSeesWhatWasRead) { None } else { fold.after };
            let there = there.or(holder.copied());
            let (answer, after) = match (there, give_up) {
                (_, true) => (Answer::InternalError, None),
                (None, _) if self.command(*record).is_creation() => break,
                (None, _) => (Answer::NotFound, None),
                (Some(e), _) => decide(self.command(*record), &e),
            };
            if let Some(after) = after {
                if self.command(*record).wanted().is_some() {
                    if self.is(Weakening::RunOvertakesRename) && n + 1 < run.len() {
                        continue;
                    }
                    break;
                }
                fold.after = Some(after);
            }
            let outcome = self.outcome(*record, about, answer);
            let free = fold.rows.iter().position(Option::is_none).expect("a row for each command");
            fold.rows[free] = Some((request, outcome));
            fold.decided[n] = Some(outcome);
        }
        fold
    }

    /// Returns the write that completes the claim on `id`, and the outcome. It is the same for the claimant and for whoever meets the
    /// claim. The request is decided anew, because the entity may have changed since, and as that of the claimant's record, because that
    /// record publishes.
    pub fn complete(&self, id: Id, claim: &Claim, owner: Option<&EntityStatics>, me: Record) -> (Write, Outcome) {
        let record = if self.is(Weakening::CompletedAsMyRecord) { me } else { claim.record };
        let about = Some((claim.owner, owner.map_or(0, |e| e.epoch)));
        let holding = |e: EntityStatics| EntityStatics {
            external_id: id,
            generation: claim.generation,
            epoch: claim.epoch,
            claimed_by: claim.claimed_by,
            ..e
        };
        let mut rows = [None; RUN];
        let (answer, after) = match (self.command(claim.record), owner) {
            // The superior is that of the claim, whoever completes it.
            (command, _) if command.is_creation() => {
                let superior = claim.superior.filter(|_| !self.is(Weakening::SuperiorNotInClaim));
                rows[1] = Some((FIRST_ROW, self.outcome(record, about, Answer::Imported { external_id: id })));
                let after = EntityStatics { superior, ..holding(created(claim.owner)) };
                (Answer::Changed { version: after.version, external_id: id }, Some(after))
            }
            (command, Some(owner)) if !command.is_import() => {
                let anew = command.expected_version.filter(|_| !self.is(Weakening::CompletedAsClaimed));
                let (answer, after) = decide(&Command { expected_version: anew, ..*command }, owner);
                (answer, after.map(holding))
            }
            _ => (Answer::Imported { external_id: id }, Some(holding(created(claim.owner)))),
        };
        let outcome = self.outcome(record, about, answer);
        rows[0] = Some((claim.claimed_by, outcome));
        (Write::Apply { entity: claim.owner, read: owner.map(|e| e.version), after, rows }, outcome)
    }

    /// Returns the rejection of a rename of the entity that was `seen`, or of a creation, and the write that stores it.
    pub fn refusal(&self, record: Record, answer: Answer, seen: Option<&EntityStatics>) -> (Write, Outcome) {
        let entity = seen.map_or_else(|| self.entity_to_be(record), |e| e.ref_id);
        let outcome = self.outcome(record, Some((entity, seen.map_or(0, |e| e.epoch))), answer);
        let mut rows = [None; RUN];
        rows[0] = Some((self.request(record), outcome));
        (Write::Apply { entity, read: seen.map(|e| e.version), after: None, rows }, outcome)
    }

    /// Returns the entity that a creation or an import brings into being.
    fn entity_to_be(&self, record: Record) -> Entity {
        match self.command(record).target {
            Target::RefId(entity) => entity,
            Target::Id(_) => unreachable!("an import or a creation names its entity by refId"),
        }
    }

    /// Returns the write that claims `id` for the entity that was `seen`, or for the one that `record` imports or creates if there is none.
    /// The epoch says which external id of the entity is to be replaced; the generation tells the claim from every other claim on the id.
    pub fn claim(&self, record: Record, id: Id, seen: Option<&EntityStatics>, there: &IdStatics, standing: Standing) -> Write {
        let command = self.command(record);
        let owner = seen.map_or_else(|| self.entity_to_be(record), |seen| seen.ref_id);
        let generation = there.claim.map_or(0, |c| c.generation) + 1;
        let epoch = seen.map_or(0, |e| e.epoch) + 1;
        let claim = Claim { generation, owner, epoch, claimed_by: command.request, record, superior: None };
        Write::Claim { id, read: there.claim, claim, previous_owners: self.previous_owners_after(there, standing) }
    }
}

impl Write {
    /// Returns the write with the superior below which its claim is to create the entity, if it claims.
    #[must_use]
    pub fn below(self, superior: Option<Entity>) -> Self {
        match self {
            Self::Claim { id, read, claim, previous_owners } => {
                Self::Claim { id, read, claim: Claim { superior, ..claim }, previous_owners }
            }
            other => other,
        }
    }
}

/// Returns the answer to a command as far as its entity can tell, and the entity after a change. Whether an id is taken the entity can't
/// tell.
pub fn decide(command: &Command, e: &EntityStatics) -> (Answer, Option<EntityStatics>) {
    if command.is_creation() {
        return (Answer::Taken, None);
    }
    if e.deactivated {
        return (Answer::Deactivated, None);
    }
    if command.expected_version.is_some_and(|v| v != e.version) {
        return (Answer::VersionConflict, None);
    }
    let after = match command.use_case {
        UseCase::Rename(id) => EntityStatics { external_id: id, ..*e },
        UseCase::Name(name) => EntityStatics { name, ..*e },
        UseCase::Deactivate => EntityStatics { deactivated: true, ..*e },
        UseCase::Create { .. } | UseCase::Import(_) => unreachable!("the entity is there already"),
    };
    if after == *e {
        return (Answer::Unchanged, None);
    }
    let after = EntityStatics { version: e.version + 1, ..after };
    (Answer::Changed { version: after.version, external_id: after.external_id }, Some(after))
}

/// Returns an entity as it comes into being, without its external id, epoch and generation.
pub fn created(ref_id: Entity) -> EntityStatics {
    EntityStatics {
        ref_id,
        external_id: 0,
        generation: 0,
        claimed_by: FIRST_ROW,
        epoch: 0,
        version: 1,
        name: 0,
        deactivated: false,
        superior: None,
    }
}
