//! One attempt at a Kafka transaction: which call follows which, and what an error leaves open. The publisher makes the
//! calls and says what came of them.
//!
//! **Invariant**: nothing is tried again unless it is known that nothing took effect. After an error that leaves this open, the publisher
//! starts over with a new producer, whose registration makes the coordinator end the old transaction. Then the committed offsets say
//! whether the old transaction was committed or aborted.
//!
//! **Invariant**: a producer is not used again after a transaction whose outputs were not all acknowledged or refused. librdkafka drops
//! those that wait to be sent *again* and gives their sequence numbers to outputs of the next transaction. If the first sending had
//! arrived after all, the broker takes the later outputs for repetitions, acknowledges them and drops them. This was seen on brokers that
//! freeze: a business transaction vanished, while its reply was committed.

use super::Partition;
use super::offsets::Committed;

/// The next step of the publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Begin a transaction and send the outputs of all records.
    Produce,
    /// Wait until the brokers have acknowledged the outputs.
    Flush,
    /// Add the offsets to the transaction. This comes after the flush, because before it the coordinator would still be busy with the
    /// outputs' partitions.
    SendOffsets,
    /// Commit the transaction.
    Commit,
    /// Abort the transaction. If that succeeds, this verdict is what became of it.
    Abort(Verdict),
    /// Make a new producer, and ask which offsets are committed. The attempt ends with [`Verdict::Uncertain`].
    StartOver,
    /// Make no further call. The verdict is what became of the transaction.
    Over(Verdict),
}

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was committed.
    Committed,
    /// It was aborted, because the broker refuses these outputs.
    Refused(Vec<Refusal>),
    /// It was aborted, and may be tried again.
    Aborted,
    /// It was aborted, because its membership of the group is over: the partitions are not ours any more.
    Stale,
    /// It was aborted, because the coordinator takes less metadata with an offset than it carried.
    OffsetsTooLarge,
    /// It was committed if these offsets, which the coordinator has now, say so. The producer is a new one.
    Uncertain(Vec<(Partition, Committed)>),
}

/// How much of its time an attempt took. It says whether the next transaction may carry more, or must carry less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// It took little of its time.
    Swift,
    /// It took more, but not all of it; or it failed for another reason than time.
    Usual,
    /// It ran out of time. If the time went into sending its outputs, the refusal names the largest of them, which is suspected.
    Late(Option<Refusal>),
}

/// An output that the broker does not take, however often it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// The index of the record in the transaction.
    pub record: usize,
    /// The index of the output among those of the record.
    pub output: usize,
    /// Why the broker does not take it.
    pub why: Why,
}

/// Why the broker does not take an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It is larger than its topic allows.
    TooLarge,
    /// Its topic does not exist, or has no such partition.
    Missing,
    /// We may not write to its topic.
    Denied,
    /// It breaks another rule of its topic.
    Invalid,
    /// The broker did not say. Two transactions that carried this record alone ran out of time while their outputs were sent.
    Silent,
}

/// Why a call did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The broker refuses outputs.
    Refused(Vec<Refusal>),
    /// The error asks for an abort: nothing was committed.
    Abortable,
    /// The error asks for an abort: the membership of the group that the offsets were to be committed with is over.
    Stale,
    /// The error asks for an abort: the metadata of an offset is longer than the coordinator allows.
    OffsetsTooLarge,
    /// Anything else: the call may have taken effect, or may yet.
    Unknown,
}

impl Step {
    /// The first step of an attempt.
    pub const FIRST: Self = Self::Produce;

    /// Returns the step that follows this one, given what came of it.
    #[must_use]
    pub fn then(self, result: Result<(), Failure>) -> Self {
        match (self, result) {
            (Self::Produce, Ok(())) => Self::Flush,
            (Self::Flush, Ok(())) => Self::SendOffsets,
            (Self::SendOffsets, Ok(())) => Self::Commit,
            (Self::Commit, Ok(())) => Self::Over(Verdict::Committed),
            (Self::Abort(verdict), Ok(())) => Self::Over(verdict),
            (Self::Produce | Self::Flush, Err(Failure::Refused(refusals))) => Self::Abort(Verdict::Refused(refusals)),
            // After the flush all outputs are acknowledged, so that the producer may go on.
            (Self::SendOffsets | Self::Commit, Err(Failure::Abortable)) => Self::Abort(Verdict::Aborted),
            (Self::SendOffsets | Self::Commit, Err(Failure::Stale)) => Self::Abort(Verdict::Stale),
            (Self::SendOffsets, Err(Failure::OffsetsTooLarge)) => Self::Abort(Verdict::OffsetsTooLarge),
            // All other errors leave it open whether something arrived, or whether the transaction is still open.
            (_, Err(_)) | (Self::StartOver, Ok(())) => Self::StartOver,
            (over @ Self::Over(_), Ok(())) => over,
        }
    }
}
