//! Proves that the checks find mistakes: instances with one deliberate defect each must fail within a number of seeds.

use super::life::live;
use crate::seeds::{defects, must_fail};

/// Lives in which a defect must show.
const BUDGET: u64 = 2_000;

/// What an instance, or the store for it, does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Offsets are committed of all that was delivered, answered or not.
    OffsetsOfWhatWasDelivered,
    /// What the offset's metadata says is done is done once more.
    BitmapIgnored,
    /// Outputs are visible whether their transaction commits or not.
    OutputsOutsideTheTransaction,
    /// Offsets are committed with the membership that the consumer has by then.
    GenerationAtCommit,
    /// What is under way goes on through revocations.
    RevocationIgnored,
    /// A new assignment goes on from the offsets without waiting for transactions under way.
    PendingOffsetsNotAwaited,
    /// A transaction whose end is unknown counts as committed.
    UncertainIsCommitted,
    /// A transaction whose end is unknown counts as aborted.
    UncertainIsAborted,
    /// A change is published by every record that is answered with it.
    SourceRecordIgnored,
    /// `IF version = ?` is left out.
    VersionConditionDropped,
    /// `IF outcome = null` is left out.
    OutcomeConditionDropped,
    /// A record whose outputs are refused counts as answered.
    RefusedIsDropped,
    /// Results of an earlier assignment are taken for the present one's.
    LateResultsTaken,
    /// Results of a run take the place of those of the run before it in its lane.
    LaterResultsFirst,
    /// Records fetched under an earlier assignment are taken in under the present one.
    StaleBatchTaken,
    /// Commands with the same key may overtake each other.
    LanesWithoutKeys,
    /// A transaction waits for more for as long as anything is being processed.
    LingersForEver,
    /// Records wait on after a transaction whose end was unknown at first.
    WaitingNotStirred,
    /// A publisher whose request does not return keeps its place.
    HangingPublisherKept,
    /// A producer goes on after a transaction of which it is not known whether all outputs arrived.
    UnsettledProducerKept,
    /// What an abandoned publisher tells is taken for what became of its successor's publication.
    AbandonedVerdictTaken,
    /// The next transaction begins when the commit of the last one is under way, not when it has returned.
    TransactionsOverlap,
    /// A publisher that takes over registers only the first of its producers, and uses that one alone.
    OneProducerRegistered,
    /// The group coordinator lets offsets whose marker comes late take the place of newer ones.
    OlderOffsetsTaken,
}

fn found(defect: Defect) {
    must_fail(defect, BUDGET, |seed| drop(live(seed, Some(defect))));
}

defects! {
    offsets_that_are_committed_too_early_are_found: OffsetsOfWhatWasDelivered,
    an_ignored_bitmap_is_found: BitmapIgnored,
    outputs_outside_of_the_transaction_are_found: OutputsOutsideTheTransaction,
    a_generation_that_is_asked_for_too_late_is_found: GenerationAtCommit,
    ignored_revocations_are_found: RevocationIgnored,
    pending_offsets_that_are_not_awaited_are_found: PendingOffsetsNotAwaited,
    uncertain_transactions_taken_for_committed_are_found: UncertainIsCommitted,
    uncertain_transactions_taken_for_aborted_are_found: UncertainIsAborted,
    ignored_source_records_are_found: SourceRecordIgnored,
    a_dropped_version_condition_is_found: VersionConditionDropped,
    a_dropped_outcome_condition_is_found: OutcomeConditionDropped,
    refused_outputs_that_are_dropped_are_found: RefusedIsDropped,
    late_results_of_an_earlier_assignment_are_found: LateResultsTaken,
    results_that_overtake_those_before_them_are_found: LaterResultsFirst,
    batches_of_an_earlier_assignment_are_found: StaleBatchTaken,
    commands_that_overtake_each_other_are_found: LanesWithoutKeys,
    records_that_wait_for_ever_are_found: WaitingNotStirred,
    a_publisher_that_hangs_for_ever_is_found: HangingPublisherKept,
    a_producer_that_goes_on_though_outputs_may_have_arrived_is_found: UnsettledProducerKept,
    a_verdict_of_an_abandoned_publisher_is_found: AbandonedVerdictTaken,
    transactions_that_overlap_are_found: TransactionsOverlap,
    a_second_producer_that_is_not_fenced_is_found: OneProducerRegistered,
    older_offsets_that_are_taken_for_newer_ones_are_found: OlderOffsetsTaken,
}
