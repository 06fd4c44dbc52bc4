//! The steps of an attempt that wants an external id, for a rename, a creation or an import: it claims the id, and completes the claim.

use super::attempt::{AtWork, Attempt, Step};
use super::owner::OwnerRead;
use super::protocol::Standing;
use super::vocabulary::{Answer, Claim, EntityStatics, Id, IdStatics, Lifetime, Outcome, Target};
use super::weakened::Weakening;

impl AtWork<'_> {
    /// Decides a line of an import. An entity that is there is left as it is, whatever the line says.
    pub fn import(&mut self, id: Id, there: Option<&EntityStatics>) -> Step {
        match there {
            Some(e) if e.external_id == id => self.imported(Answer::Existed),
            Some(_) => self.imported(Answer::Contradicts),
            None => Step::ReadWanted { seen: None, taken: false },
        }
    }

    fn imported(&mut self, answer: Answer) -> Step {
        let outcome = Outcome { answer, record: self.first(), about: None, lifetime: Lifetime::Kept };
        self.end(self.with(outcome))
    }

    fn wanted(&self) -> Id {
        self.protocol.command(self.first()).wanted().expect("only renames, creations and imports want an id")
    }

    /// Reads the claim on the wanted id. It never comes from a cache: that an id is taken or stale must be so now.
    pub fn read_wanted(&self, seen: Option<EntityStatics>, taken: bool) -> Step {
        let (id, record) = (self.wanted(), self.first());
        if taken {
            return self.take_no(seen.as_ref());
        }
        let there = self.store.id(id).statics;
        let Some(claim) = there.claim else { return self.claim(seen, &there, Standing::Stale { held: false }) };
        let mine = |e: EntityStatics| (e.ref_id, e.epoch + 1, self.protocol.request(record));
        if seen.map(mine) == Some((claim.owner, claim.epoch, claim.claimed_by)) {
            return self.complete_own(id, &claim, seen);
        }
        Step::ReadRival { seen, there, half: None }
    }

    pub fn read_rival(&mut self, seen: Option<EntityStatics>, there: IdStatics, half: Option<OwnerRead>) -> Step {
        let id = self.wanted();
        let read = match self.read_as_one(&there.claim.expect("a claim was read"), half) {
            Ok(read) => read,
            Err(half) => return Step::ReadRival { seen, there, half: Some(half) },
        };
        let Some((there, claim)) = self.claim_before(id, there) else { return Attempt::AGAIN };
        let standing = self.protocol.standing(id, &claim, read.statics.as_ref(), read.claimants);
        if let Some(hold) = self.hold_claimants(&claim, &read) {
            return hold;
        }
        match (standing, seen) {
            (Standing::Pending, _) if self.protocol.is(Weakening::PendingStolen) => self.claim(seen, &there, standing),
            (Standing::Pending, _) => self.help(id, &there, read.statics),
            // The entity that wants the id holds it already, so it has changed since it was seen.
            (Standing::Current, Some(seen)) if claim.owner == seen.ref_id => Attempt::AGAIN,
            (Standing::Current, Some(seen)) => self.take_no(Some(&seen)),
            (Standing::Current, None) if Target::RefId(claim.owner) == self.protocol.command(self.first()).target => {
                Attempt::AGAIN
            }
            (Standing::Current, None) if self.protocol.command(self.first()).is_creation() => self.take_no(None),
            (Standing::Current, None) => self.imported(Answer::Contradicts),
            (Standing::Stale { .. }, _) => self.claim(seen, &there, standing),
        }
    }

    pub fn claim(&self, seen: Option<EntityStatics>, there: &IdStatics, standing: Standing) -> Step {
        let write = self.protocol.claim(self.first(), self.wanted(), seen.as_ref(), there, standing);
        let write = write.below(self.attempt.superior);
        Step::Try { write, seen, decides: self.attempt.decided }
    }

    /// Completes a pending claim that was met on the way, and then looks again.
    pub fn help(&self, id: Id, there: &IdStatics, owner: Option<EntityStatics>) -> Step {
        let claim = there.claim.expect("a pending one");
        let (write, _) = self.protocol.complete(id, &claim, owner.as_ref(), self.first());
        Step::Try { write, seen: None, decides: self.attempt.decided }
    }

    pub fn complete_own(&self, id: Id, claim: &Claim, seen: Option<EntityStatics>) -> Step {
        let (write, outcome) = self.protocol.complete(id, claim, seen.as_ref(), self.first());
        Step::Try { write, seen: None, decides: self.with(outcome) }
    }

    /// Refuses the command because another entity holds the wanted id.
    pub fn take_no(&self, seen: Option<&EntityStatics>) -> Step {
        self.refuse(Answer::Taken, seen)
    }

    /// Refuses a rename or a creation. What is stored about an entity that is to be created stands where that entity would be.
    pub fn refuse(&self, answer: Answer, seen: Option<&EntityStatics>) -> Step {
        let (write, outcome) = self.protocol.refusal(self.first(), answer, seen);
        Step::Try { write, seen: None, decides: self.with(outcome) }
    }
}
