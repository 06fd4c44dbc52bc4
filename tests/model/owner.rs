//! The read of a claim's owner. It follows that of the claim, and has the owner's statics, the claimant's outcome and those of the run in
//! one statement. The weakened variants that read in another way take two statements.

use super::attempt::AtWork;
use super::protocol::Known;
use super::vocabulary::{Claim, EntityStatics, Id, IdStatics, Outcome};
use super::weakened::Weakening;

/// A read of a claim's owner: its statics, the claimant's outcome and those of the run, of one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OwnerRead {
    pub statics: Option<EntityStatics>,
    pub claimants: Option<Outcome>,
    pub rows: Known,
}

impl AtWork<'_> {
    /// Reads the owner of a claim in one statement. With two, a claim that is completed in between looks stale.
    ///
    /// # Errors
    /// Returns the first half of the read if a weakened variant takes two statements.
    pub fn read_as_one(&self, claim: &Claim, half: Option<OwnerRead>) -> Result<OwnerRead, OwnerRead> {
        let there = self.store.entity(claim.owner);
        let claimants = there.log[usize::from(claim.claimed_by)];
        let now = OwnerRead { statics: there.statics, claimants, rows: self.rows(&there.log) };
        match (half, self.protocol.weakening) {
            (
                None,
                Some(Weakening::StaticsThenRowsOfOwner | Weakening::RowsThenStaticsOfOwner | Weakening::OwnerReadBeforeClaim),
            ) => Err(now),
            (Some(half), Some(Weakening::StaticsThenRowsOfOwner)) => Ok(OwnerRead { statics: half.statics, ..now }),
            (Some(half), Some(Weakening::OwnerReadBeforeClaim)) => Ok(half),
            (Some(half), _) => Ok(OwnerRead { statics: now.statics, ..half }),
            (None, _) => Ok(now),
        }
    }

    /// Returns the claim that was read before its owner. (One weakened variant reads the claim after its owner. It gets `None` if the claim
    /// has another owner by then.)
    pub fn claim_before(&self, id: Id, there: IdStatics) -> Option<(IdStatics, Claim)> {
        let owner = there.claim?.owner;
        let there = if self.protocol.is(Weakening::OwnerReadBeforeClaim) { self.store.id(id).statics } else { there };
        there.claim.filter(|claim| claim.owner == owner).map(|claim| (there, claim))
    }
}
