//! What erasing a person's data needs of a store beyond the protocol: to read a whole log, and to rewrite an outcome.
//!
//! A trait of its own, so that the protocol, which is written over [`ConditionalStore`], can't do it: for it an outcome that
//! is there stays as it is. Whatever a decision depends on in an outcome must be the same afterwards.

use super::{Applied, ConditionalStore, EntityKey, StoreFault};
use std::future::Future;

/// Puts another outcome in the place of the one that was read, `IF outcome = read`. The row lives on for as long as it would
/// have, and the version that it led to stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redaction {
    /// Whose log.
    pub key: EntityKey,
    /// Which row.
    pub request_id: String,
    /// What was read.
    pub read: Vec<u8>,
    /// What is to be there.
    pub outcome: Vec<u8>,
}

/// A store whose outcomes can be rewritten.
pub trait ErasableStore: ConditionalStore {
    /// The outcome blobs of all rows of an entity's log, that of its import included, by request id, in any order. Plain
    /// reads: what a serial read of the entity has seen before is among them.
    fn log(&self, key: EntityKey) -> impl Future<Output = Result<Vec<(String, Vec<u8>)>, StoreFault>> + Send;

    /// See [`Redaction`].
    fn redact(&self, redaction: Redaction) -> impl Future<Output = Result<Applied, StoreFault>> + Send;
}
