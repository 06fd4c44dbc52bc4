//! The steps of an attempt that creates an entity, before it claims the external id: it looks the superior up.
//!
//! The superior is read once, at some instant while the creation is decided, and goes into the claim. What a cache remembers says at
//! most where to look.

use super::attempt::{AtWork, Attempt, Step};
use super::protocol::Standing;
use super::vocabulary::{Answer, Entity, EntityStatics, IdStatics, Target};
use super::weakened::Weakening;

impl AtWork<'_> {
    /// Begins a creation with what a cache remembers.
    pub fn create(&mut self, remembered: Option<IdStatics>, cached: Option<Entity>, taken: bool) -> Step {
        match (cached, remembered) {
            (Some(superior), _) => self.below(Some(superior), taken),
            (None, Some(there)) => self.read_superiors_owner(there, true, taken),
            (None, None) => self.read_superior(taken),
        }
    }

    /// Returns the step with the claim on the superior's id that a cache may remember from this instant.
    pub fn remember_superior(&self) -> Step {
        let command = self.protocol.command(self.first());
        let there = self.superior().and_then(|reference| match reference {
            Target::Id(id) => Some(self.store.id(id).statics).filter(|there| {
                there.claim.is_some_and(|claim| {
                    let owner = self.store.entity(claim.owner);
                    let standing = self.protocol.standing(id, &claim, owner.statics.as_ref(), None);
                    standing == Standing::Current
                })
            }),
            Target::RefId(_) => None,
        });
        let cached = self.superior().and_then(|reference| self.store.holder(reference));
        let holder = command.wanted().and_then(|id| self.store.holder(Target::Id(id)));
        Step::Creating {
            remembered: there,
            cached: cached.filter(|_| self.protocol.is(Weakening::SuperiorFromCache)),
            taken: holder.is_some() && self.protocol.is(Weakening::TakenFromCache),
        }
    }

    fn superior(&self) -> Option<Target> {
        self.protocol.command(self.first()).superior()
    }

    pub fn read_superior(&mut self, taken: bool) -> Step {
        match self.superior() {
            None => self.below(None, taken),
            Some(Target::RefId(entity)) => self.judge(self.store.entity(entity).statics, taken),
            Some(Target::Id(id)) => match self.store.id(id).statics {
                there if there.claim.is_some() => Step::ReadSuperiorsOwner { there, remembered: false, taken },
                _ => self.judge(None, taken),
            },
        }
    }

    pub fn read_superiors_owner(&mut self, there: IdStatics, remembered: bool, taken: bool) -> Step {
        let Some(Target::Id(id)) = self.superior() else { unreachable!("a refId has no claim") };
        let claim = there.claim.expect("a claim was read");
        let owner = self.store.entity(claim.owner);
        let claimants = owner.log[usize::from(claim.claimed_by)];
        match self.protocol.standing(id, &claim, owner.statics.as_ref(), claimants) {
            Standing::Current => self.judge(owner.statics, taken),
            // That the remembered claim is over says nothing: there may be another one.
            _ if remembered && !self.protocol.is(Weakening::SuperiorRefusedFromMemory) => Attempt::AGAIN,
            Standing::Pending => self.help(id, &there, owner.statics),
            Standing::Stale { .. } => self.judge(None, taken),
        }
    }

    fn judge(&mut self, superior: Option<EntityStatics>, taken: bool) -> Step {
        match superior {
            None => self.refuse(Answer::NoSuperior, None),
            Some(e) if e.deactivated => self.refuse(Answer::SuperiorDeactivated, None),
            Some(e) => self.below(Some(e.ref_id), taken),
        }
    }

    fn below(&mut self, superior: Option<Entity>, taken: bool) -> Step {
        self.attempt.superior = superior;
        Step::ReadWanted { seen: None, taken }
    }
}
