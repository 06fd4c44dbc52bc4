//! What erasing a person's data needs of a store beyond the protocol: to read a whole log, and to rewrite an outcome.
//!
//! This is a trait of its own, so that the protocol, which is written over [`ConditionalStore`], can't rewrite an outcome: for the
//! protocol, an outcome that is there stays as it is. Whatever a decision looks at in an outcome must be the same afterwards.

use super::{Applied, ApplyWrite, ClaimWrite, ConditionalStore, EntityKey, HoldWrite, RefuseWrite, StoreFault};
use std::future::Future;

/// A write that puts another outcome in the place of the one that was read, `IF outcome = expected_outcome`. The row lives on for as long
/// as it would have, and the version that it led to stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redaction {
    /// The entity whose log it is.
    pub key: EntityKey,
    /// The request whose row it is.
    pub request_id: String,
    /// The outcome's blob as it was read.
    pub expected_outcome: Vec<u8>,
    /// The outcome's blob as it is to be.
    pub outcome: Vec<u8>,
}

/// A store whose outcomes can be rewritten.
///
/// # Errors
/// Each method returns a [`StoreFault`] as those of [`ConditionalStore`] do.
pub trait ErasableStore: ConditionalStore {
    /// Reads the outcome blobs of all rows of an entity's log, that of its import included, by request id, in any order. These are plain
    /// reads: what a serial read of the entity has seen before is among them.
    fn log(&self, key: EntityKey) -> impl Future<Output = Result<Vec<(String, Vec<u8>)>, StoreFault>> + Send;

    /// Performs a [`Redaction`].
    fn redact(&self, redaction: Redaction) -> impl Future<Output = Result<Applied, StoreFault>> + Send;
}

/// Any of the writes that such a store takes: the protocol's four, or a redaction. Stores that queue writes or put them off keep them in
/// this form.
#[derive(Clone)]
pub(super) enum AnyWrite {
    Claim(ClaimWrite),
    Apply(ApplyWrite),
    Refuse(RefuseWrite),
    Hold(HoldWrite),
    Redact(Redaction),
}

impl AnyWrite {
    /// Returns the name of the write's operation, as faults tell it.
    pub(super) fn operation(&self) -> &'static str {
        match self {
            Self::Claim(_) => "claim",
            Self::Apply(_) => "apply",
            Self::Refuse(_) => "refuse",
            Self::Hold(_) => "hold",
            Self::Redact(_) => "redact",
        }
    }

    /// Returns how many rows the write may add.
    pub(super) fn rows(&self) -> usize {
        match self {
            Self::Apply(write) => write.rows.len(),
            Self::Refuse(write) => write.rows.len(),
            Self::Claim(_) | Self::Hold(_) | Self::Redact(_) => 1,
        }
    }
}
