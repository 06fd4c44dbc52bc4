//! The protocol weakened in one place at a time: a condition is dropped, or a rule is bent. Each variant must fail in its scenario. A
//! variant that did not would mean that the rule is not needed, or that the model can't see why it is.

use super::check::violated;
use super::protocol::Protocol;
use super::scenario::Scenario;
use super::scenarios as s;
use super::store::{self, Store};
use super::vocabulary::{Answer, EntityStatics, IdPartition, IdStatics, Lifetime, Outcome};
use Weakening as W;
use std::fmt::Write as _;

/// A weakening of the protocol: what is left out, or done in another way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weakening {
    // The conditions of the writes.
    /// A claim is written whatever claim is there.
    ClaimUnconditionally,
    /// A decision is applied to whatever version is there.
    ApplyToAnyVersion,
    /// A decision that changes nothing is stored whatever version is there.
    RejectAtAnyVersion,
    /// A decision is applied although its request is decided.
    ApplyToDecided,
    /// Of the rows of a write only the first is conditional.
    FirstRowOfBatchChecked,
    /// An import creates its entity, whatever is there.
    CreatedAnyway,
    /// A request is refused although the id was claimed meanwhile.
    RefuseUnderAnyClaim,
    /// A request is refused although it is decided under the id.
    RefuseDecided,

    // What a claim means.
    /// A claim is pending whatever the epoch of its owner.
    EpochUnchecked,
    /// A claim is pending although its request is decided.
    ClaimantsOutcomeIgnored,
    /// Claims are told apart by owner, epoch and request, and a claim is current by its epoch.
    CurrentByEpoch,
    /// Claims are told apart by owner, epoch and request, and a claim is current if the entity remembers its epoch and its request.
    CurrentByClaimant,
    /// A request is refused beside a pending claim.
    RefusedBesidePending,
    /// A pending claim is replaced like a stale one.
    PendingStolen,
    /// A claim is completed as it was decided when it was made.
    CompletedAsClaimed,
    /// A claim is deleted when its owner leaves.
    DeletedOnRelease,

    // Which entity's outcomes answer a request.
    /// Previous owners are not remembered.
    PreviousOwnersIgnored,
    /// Previous owners are asked only if nobody holds the id now.
    PreviousOwnersOnlyOfStale,
    /// A previous owner answers with all that it ever decided.
    PastAnswersForAll,
    /// Each stale claim counts as one that was current once.
    StaleCountsAsHeld,
    /// A stale claim counts as current once if its request ever brought the entity to the id, in whichever epoch.
    HeldInAnyEpoch,
    /// The last epoch of a previous owner is taken from the claim that is replaced, although the owner is known to have held the id since.
    LastEpochOverwritten,
    /// Of several outcomes for a request id the first that is found is the answer, and not the record's own.
    OwnOutcomeNotPreferred,
    /// The contents of a command are not compared with those of the outcome that its request id has.
    ContentsUnchecked,

    // A partition is read as one, and a claim before its owner.
    /// The rows of an external id are read first, then its statics.
    RowsThenStaticsOfId,
    /// The statics of a claim's owner are read first, then its rows.
    StaticsThenRowsOfOwner,
    /// The rows of a claim's owner are read first, then its statics.
    RowsThenStaticsOfOwner,
    /// The owner of a claim is read first, then the claim.
    OwnerReadBeforeClaim,

    // What is stored, and for how long.
    /// Rejections, no-ops and refusals are answered, not stored.
    RejectionsNotStored,
    /// Refusals under an unknown refId are answered, not stored.
    AbsentNotStored,
    /// Internal errors are answered, not stored.
    InternalErrorsNotStored,
    /// An internal error is answered when the store can't be read.
    AnsweredUnread,
    /// Changes expire, too.
    ChangesExpire,
    /// Refusals of renames under the refId of an absent entity expire.
    AbsentExpire,
    /// Outcomes of renames expire, except for changes.
    RejectionsOfRenamesExpire,
    /// Outcomes of renames expire, except for changes, unless the request has a claim at that instant.
    KnownClaimantsKept,
    /// A rename is answered with an outcome that expires.
    RenamesHoldNothing,
    /// An outcome that may expire at any instant is an answer.
    OldOutcomesAnswer,
    /// An outcome that is held is kept for the retention once more, and not for ever.
    HeldForATime,
    /// A claim is stale on account of an outcome that expires.
    StaleForATime,
    /// When a refusal under an external id is held, the time of its mark does not begin anew.
    HeldWithoutMark,
    /// An outcome is held although it has expired meanwhile.
    HeldUnconditionally,
    /// The retention is shorter than an attempt.
    ExpiryOutrunsAttempts,

    /// Outcomes of creations expire, except for changes.
    RejectionsOfCreationsExpire,
    /// A creation is answered with an outcome that expires.
    CreationsHoldNothing,

    // What comes into being.
    /// An entity is created although its request is decided.
    CreatedThoughDecided,
    /// Refusals of creations are answered, not stored.
    RefusedCreationsNotStored,
    /// Whoever completes the claim of a creation does not know the superior.
    SuperiorNotInClaim,
    /// The superior is what a cache remembers.
    SuperiorFromCache,
    /// That the superior is not there is concluded from a claim that a cache remembers.
    SuperiorRefusedFromMemory,
    /// A refusal under an external id answers whatever the holder of the id knows.
    RefusalsOutweighAll,

    // Which record publishes.
    /// Every record that gets the answer publishes.
    EveryReplayPublishes,
    /// The attempt that applied the change publishes.
    WhoAppliedPublishes,
    /// Whoever completes another's claim puts its own record into the outcome.
    CompletedAsMyRecord,

    // What is concluded from memory.
    /// A cached claim is used although a request was refused under the id.
    CacheIgnoresRefusals,
    /// A cached claim is used although there are previous owners to ask.
    CacheIgnoresPreviousOwners,
    /// A cached claim is used although its owner has left the id.
    CacheIgnoresGeneration,
    /// That an id is taken is concluded from a cache.
    TakenFromCache,

    // Several commands in one write.
    /// Each command of a run is decided about the entity as it was read.
    RunSeesWhatWasRead,
    /// A request that comes twice in a run is decided twice.
    TwinsDecidedTwice,
    /// A command behind a rename is decided before it.
    RunOvertakesRename,
}

impl Weakening {
    /// Returns whether a write whose condition does not hold may take effect later.
    pub fn bends_conditions(self) -> bool {
        use Weakening::{
            ApplyToAnyVersion, ApplyToDecided, ClaimUnconditionally, CreatedAnyway, CreatedThoughDecided, CurrentByClaimant,
            CurrentByEpoch, DeletedOnRelease, FirstRowOfBatchChecked, HeldUnconditionally, RefuseDecided, RefuseUnderAnyClaim,
            RejectAtAnyVersion,
        };
        matches!(
            self,
            ApplyToAnyVersion
                | ApplyToDecided
                | ClaimUnconditionally
                | CreatedAnyway
                | CreatedThoughDecided
                | CurrentByClaimant
                | CurrentByEpoch
                | DeletedOnRelease
                | FirstRowOfBatchChecked
                | HeldUnconditionally
                | RefuseDecided
                | RefuseUnderAnyClaim
                | RejectAtAnyVersion
        )
    }
}

/// The weakened effects of writes. (Rules and conditions are weakened in their own places.)
impl Protocol {
    /// Returns a row as it is stored, or `None` if it is not stored.
    pub fn kept(&self, ids: &[IdPartition], (request, outcome): store::Row) -> Option<store::Row> {
        let lost = match outcome.answer {
            Answer::Changed { .. } | Answer::Imported { .. } => false,
            Answer::Taken | Answer::NoSuperior | Answer::SuperiorDeactivated
                if self.command(outcome.record).is_creation() && self.is(W::RefusedCreationsNotStored) =>
            {
                true
            }
            Answer::NotFound if outcome.about.is_some() => self.is(W::AbsentNotStored),
            Answer::InternalError => self.is(W::InternalErrorsNotStored),
            _ => self.is(W::RejectionsNotStored),
        };
        let claims = |p: &IdPartition| p.statics.claim.is_some_and(|c| c.claimed_by == request);
        let expires = self.is(W::KnownClaimantsKept) && !outcome.answer.is_change() && !ids.iter().any(claims);
        let lifetime = if expires { Lifetime::Young } else { outcome.lifetime };
        (!lost).then_some((request, Outcome { lifetime, ..outcome }))
    }

    /// Prepares the store for an entity that becomes what it is `after`: one variant deletes the claim on the id that the entity leaves.
    pub fn release(&self, store: &mut Store, after: &EntityStatics) {
        let left = store.entity(after.ref_id).statics.map(|s| s.external_id).filter(|left| *left != after.external_id);
        if let Some(left) = left.filter(|_| self.is(W::DeletedOnRelease)) {
            let statics = &mut store.ids[usize::from(left)].statics;
            if statics.claim.is_some_and(|c| c.owner == after.ref_id) {
                *statics = IdStatics::default();
            }
        }
    }
}

/// A weakened variant, the scenario that shows why the rule is there, and the promise that it breaks.
type Row = (Weakening, fn() -> Scenario, &'static str);

const CLAIM: &str = "who holds an id has the current claim on it";
const GAPLESS: &str = "each change raises the version by one, each rename the epoch";
const ONE_OUTCOME: &str = "a record causes one outcome at most";
const OWN_OUTCOME: &str = "a record is answered with the outcome that it caused";
const PUBLISHED_ONCE: &str = "each change is published once, by the record that caused it";
const AGREE: &str = "replies to a request agree, and other contents get none";
const NAMED: &str = "an answer is that of an entity that was named";
const FOUNDED: &str = "a refusal or no-op was true at some instant";
const BELOW: &str = "an entity is created below a superior that was there";
const ASKED: &str = "an entity comes into being as was asked";
const EXPECTED: &str = "a change was made of the version that was expected";
const ENDS: &str = "left alone, an attempt ends";
const ORDER: &str = "commands of a run take effect in their order";

/// Checks that each weakened variant breaks the promise that is named in its row.
fn fail(rows: &[Row]) {
    let mut wrong = String::new();
    for (weakening, scenario, promise) in rows {
        let violated = violated(*weakening, scenario());
        if !violated.contains(promise) {
            let _ = writeln!(wrong, "{weakening:?} in {}: expected {promise:?}, got {violated:?}", scenario().name);
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn without_a_condition_of_a_write() {
    fail(&[
        (W::ClaimUnconditionally, s::race, CLAIM),
        (W::ClaimUnconditionally, s::contradictory_imports, CLAIM),
        (W::ApplyToAnyVersion, s::handover, GAPLESS),
        (W::RejectAtAnyVersion, s::unchanged_and_back, FOUNDED),
        (W::ApplyToDecided, s::cache, GAPLESS),
        (W::ApplyToDecided, s::unknown_ref_id, OWN_OUTCOME),
        (W::FirstRowOfBatchChecked, s::run, AGREE),
        (W::CreatedAnyway, s::import_races_a_rename, GAPLESS),
        (W::RefuseUnderAnyClaim, s::new_id, ONE_OUTCOME),
        (W::RefuseDecided, s::reused_request_id_of_nobody, AGREE),
    ]);
}

#[test]
fn with_another_meaning_of_claims() {
    fail(&[
        (W::EpochUnchecked, s::rivals, GAPLESS),
        (W::ClaimantsOutcomeIgnored, s::expiry, ENDS),
        (W::CurrentByEpoch, s::rejected_claimant, ONE_OUTCOME),
        (W::CurrentByClaimant, s::claim_comes_back, ONE_OUTCOME),
        (W::RefusedBesidePending, s::new_id, ONE_OUTCOME),
        (W::PendingStolen, s::race, CLAIM),
        (W::PendingStolen, s::import_races_a_rename, CLAIM),
        (W::CompletedAsClaimed, s::rejected_claimant, EXPECTED),
        (W::DeletedOnRelease, s::handover, ONE_OUTCOME),
    ]);
}

#[test]
fn with_other_answers_from_the_past() {
    fail(&[
        (W::PreviousOwnersIgnored, s::handover, ONE_OUTCOME),
        (W::PreviousOwnersOnlyOfStale, s::handover, ONE_OUTCOME),
        (W::PastAnswersForAll, s::shared_request_id, NAMED),
        (W::StaleCountsAsHeld, s::claim_that_came_to_nothing, NAMED),
        (W::HeldInAnyEpoch, s::duplicate_of_a_rename_claims, NAMED),
        (W::LastEpochOverwritten, s::late_claim_of_an_import, ONE_OUTCOME),
        (W::OwnOutcomeNotPreferred, s::own_outcome, PUBLISHED_ONCE),
        (W::ContentsUnchecked, s::reused_request_id, AGREE),
    ]);
}

#[test]
fn with_reads_in_two_or_in_another_order() {
    fail(&[
        (W::RowsThenStaticsOfId, s::new_id, ONE_OUTCOME),
        (W::StaticsThenRowsOfOwner, s::rivals, CLAIM),
        (W::RowsThenStaticsOfOwner, s::rivals, ONE_OUTCOME),
        (W::OwnerReadBeforeClaim, s::there_and_back, CLAIM),
    ]);
}

#[test]
fn with_less_in_the_store() {
    fail(&[
        (W::RejectionsNotStored, s::handover, AGREE),
        (W::AbsentNotStored, s::unknown_ref_id, AGREE),
        (W::InternalErrorsNotStored, s::bug, OWN_OUTCOME),
        (W::AnsweredUnread, s::handover, PUBLISHED_ONCE),
        (W::ChangesExpire, s::expiry_without_renames, GAPLESS),
        (W::AbsentExpire, s::unknown_ref_id_of_a_rename, OWN_OUTCOME),
        (W::RejectionsOfRenamesExpire, s::expiry, PUBLISHED_ONCE),
        (W::RenamesHoldNothing, s::expiry_of_a_reused_request_id, PUBLISHED_ONCE),
        (W::OldOutcomesAnswer, s::expiry_beside_a_zombie, OWN_OUTCOME),
        (W::HeldForATime, s::expiry_of_a_reused_request_id, PUBLISHED_ONCE),
        (W::StaleForATime, s::expiry_beside_a_claim, CLAIM),
        (W::HeldWithoutMark, s::expiry_of_a_refusal_beside_a_zombie, PUBLISHED_ONCE),
        (W::HeldUnconditionally, s::expiry_beside_a_zombie, GAPLESS),
        (W::KnownClaimantsKept, s::expiry, PUBLISHED_ONCE),
        (W::ExpiryOutrunsAttempts, s::expiry_without_renames, OWN_OUTCOME),
    ]);
}

#[test]
fn with_other_creations() {
    fail(&[
        (W::ClaimUnconditionally, s::creations_race, CLAIM),
        (W::CreatedAnyway, s::creation_races_an_import_of_it, GAPLESS),
        (W::EpochUnchecked, s::creation_races_an_import_of_it, ENDS),
        (W::CreatedThoughDecided, s::creation_after_an_update_of_it, AGREE),
        (W::CreatedThoughDecided, s::duplicate_of_a_refused_creation, AGREE),
        (W::RefusedCreationsNotStored, s::duplicate_of_a_refused_creation, AGREE),
        (W::PendingStolen, s::creations_race, CLAIM),
        (W::RefusedBesidePending, s::creator_dies, ONE_OUTCOME),
        (W::CompletedAsMyRecord, s::creator_dies, ASKED),
        (W::SuperiorNotInClaim, s::superior_is_deactivated, BELOW),
        (W::SuperiorFromCache, s::superior_is_deactivated, BELOW),
        (W::SuperiorFromCache, s::superior_is_renamed, BELOW),
        (W::SuperiorRefusedFromMemory, s::superior_is_renamed, FOUNDED),
        (W::TakenFromCache, s::creation_races_a_rename_away, FOUNDED),
        (W::RejectionsOfCreationsExpire, s::expiry_of_a_creation, OWN_OUTCOME),
        (W::CreationsHoldNothing, s::expiry_of_an_update_before_a_creation, PUBLISHED_ONCE),
        (W::StaleForATime, s::expiry_of_an_update_before_a_creation, CLAIM),
        (W::RefusalsOutweighAll, s::creation_after_a_refusal, FOUNDED),
    ]);
}

#[test]
fn with_other_publishers() {
    fail(&[
        (W::EveryReplayPublishes, s::handover, PUBLISHED_ONCE),
        (W::WhoAppliedPublishes, s::handover, PUBLISHED_ONCE),
        (W::CompletedAsMyRecord, s::race, ONE_OUTCOME),
    ]);
}

#[test]
fn with_too_much_trust_in_memory() {
    fail(&[
        (W::CacheIgnoresRefusals, s::cache, ONE_OUTCOME),
        (W::CacheIgnoresPreviousOwners, s::cache_at_a_handover, ONE_OUTCOME),
        (W::CacheIgnoresGeneration, s::cache_at_a_handover, NAMED),
        (W::TakenFromCache, s::cache_by_ref_id, FOUNDED),
    ]);
}

#[test]
fn with_other_runs() {
    fail(&[
        (W::RunSeesWhatWasRead, s::run_of_nobody, GAPLESS),
        (W::TwinsDecidedTwice, s::run_with_a_duplicate, GAPLESS),
        (W::RunOvertakesRename, s::run_with_a_rename, ORDER),
    ]);
}
