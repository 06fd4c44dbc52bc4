//! Outcomes, claims and imports as the blobs that stand in the store.
//!
//! A blob is the number of a version, followed by the value in that version's form: see `v2`, the only one so far. There is a blob for
//! each command, mostly for ever, and each write takes it several times through the database's Paxos. So an outcome leaves out what the
//! rest of it or its row's key tells. It takes 150 to 250 bytes, a quarter of what it takes as JSON. `crm-processor show` shows people
//! what is stored.
//!
//! # How the form grows
//!
//! **A build reads all versions, and writes a value in the oldest one that can hold it.** So nothing that is stored need be rewritten,
//! and while two releases run side by side, the older one understands all values but those that it has no words for. These it reports as
//! a [`StoreFault`]: the command waits until the process is upgraded. Nothing is guessed, and nothing is answered.
//!
//! - A further use case, rejection or cause of a claim takes the next number in the present version.
//! - A further attribute makes the next version: a struct that holds what the version before it holds and, behind it, the new attributes.
//!   `postcard` writes a struct within a struct as its fields, so this takes a line for each attribute. The next version is written only
//!   if one of the new attributes is there.
//! - A version is never changed and never removed. Its golden file in `tests/golden/outcome` holds what it wrote.

mod v2;

use super::StoreFault;
use super::outcome::{ImportOutcome, Outcome, StoredClaim};
use serde::{Deserialize, Serialize};

/// The version that this build writes, which is also the oldest that any release has written. It stands in the first byte.
const VERSION: u8 = 2;

impl Outcome {
    /// Returns the outcome as a log row's blob.
    pub fn encode(&self) -> Vec<u8> {
        encode(&v2::Outcome::of(self))
    }

    /// Returns the outcome that is stored as `blob` in the row of this request.
    ///
    /// # Errors
    /// A fault if `blob` is no outcome, or holds something that only a newer build knows.
    pub fn decode(request_id: &str, blob: &[u8]) -> Result<Self, StoreFault> {
        decode("decode outcome", blob, |stored: v2::Outcome<'_>| stored.read(request_id))
    }
}

impl StoredClaim {
    /// Returns the value as a claim's blob.
    pub fn encode(&self) -> Vec<u8> {
        encode(&v2::Claim::of(self))
    }

    /// Returns the value that is stored as `blob`.
    ///
    /// # Errors
    /// A fault if `blob` is no claim, or holds something that only a newer build knows.
    pub fn decode(blob: &[u8]) -> Result<Self, StoreFault> {
        decode("decode claim", blob, v2::Claim::read)
    }
}

impl ImportOutcome {
    /// Returns the value as a log row's blob.
    pub fn encode(&self) -> Vec<u8> {
        encode(&v2::Import::of(self))
    }

    /// Returns the value that is stored as `blob`.
    ///
    /// # Errors
    /// A fault if `blob` is no import's outcome, or holds something that only a newer build knows.
    pub fn decode(blob: &[u8]) -> Result<Self, StoreFault> {
        decode("decode import", blob, |stored: v2::Import<'_>| Ok(stored.read()))
    }
}

fn encode<T: Serialize>(body: &T) -> Vec<u8> {
    // Most outcomes fit into this.
    let mut blob = Vec::with_capacity(384);
    blob.push(VERSION);
    postcard::to_extend(body, blob).expect("strings, numbers and lists of them can be written to memory")
}

/// Reads a blob, and converts what is stored in it with `read`.
fn decode<'a, S: Deserialize<'a>, T>(
    operation: &'static str,
    blob: &'a [u8],
    read: impl FnOnce(S) -> Result<T, v2::Unknown>,
) -> Result<T, StoreFault> {
    let fault = |cause: String| StoreFault::new(operation, cause);
    let Some((version, body)) = blob.split_first() else { return Err(fault("it is empty".into())) };
    if *version < VERSION {
        return Err(fault(format!("written in version {version} of the format, before the first release")));
    }
    if *version > VERSION {
        let cause = format!("written in version {version} of the format, this build knows {VERSION}: a newer build must read it");
        return Err(fault(cause));
    }
    match postcard::take_from_bytes(body) {
        Ok((stored, [])) => read(stored).map_err(|v2::Unknown(what)| {
            fault(format!("it has a {what} that this build does not know: a newer build must read it"))
        }),
        Ok((_, rest)) => Err(fault(format!("it has {} bytes too many", rest.len()))),
        Err(error) => Err(fault(format!("damaged, or written by a newer build: {error}"))),
    }
}

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod tests;
