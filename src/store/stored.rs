//! Outcomes, claims and imports as the blobs that the store keeps.
//!
//! A blob is the number of a version, followed by the value in that version's form: see `v2` and `v3`. The store keeps a blob for each
//! command, mostly for ever, and each write sends its blobs several times through the database's Paxos. So a blob leaves out what can be
//! told from its row's key or from its other values. It takes 150 to 250 bytes, a quarter of what it takes as JSON. For people,
//! `crm-processor show` prints what is stored.
//!
//! # How the form grows
//!
//! **A build reads all versions, and writes a value in the oldest one that can hold it.** So nothing that is stored need be rewritten,
//! and while two releases run side by side, the older one understands all values but those that it has no words for. These it reports as
//! a [`StoreFault`]: the command waits until the process is upgraded. Nothing is guessed, and nothing is answered.
//!
//! - A further use case, rejection or cause of a claim takes the next number in the present version.
//! - A further attribute makes the next version: a struct that holds what the version before it holds and, behind it, the new attributes.
//!   `postcard` writes a struct within a struct as its fields, so this takes a line for each attribute.
//! - A version is never changed and never removed. Its golden file in `tests/golden/outcome` holds what it wrote.
//!
//! # How it is done
//!
//! `newest` converts between the store's values and the newest version, and names each field. [`Form`] leads from the newest version to
//! the one before it and back. A value is made in the newest version, and written in the one before if that has a place for all that
//! the value holds: the conversion matches the new fields against nothing, so that it can't drop them silently.

mod form;
mod newest;
mod numbers;
mod v2;
mod v3;

use super::StoreFault;
use super::outcome::{ImportOutcome, Outcome, StoredClaim};
use form::{Form, Unknown};
use serde::{Deserialize, Serialize};

/// The oldest version that any release has written. The version stands in the first byte.
const OLDEST: u8 = 2;

/// The newest version that this build knows.
const NEWEST: u8 = 3;

impl Outcome {
    /// Returns the outcome as a log row's blob.
    pub fn encode(&self) -> Vec<u8> {
        encode(&v3::Outcome::of(self))
    }

    /// Returns the outcome that is stored as `blob` in the row of this request.
    ///
    /// # Errors
    /// Returns a fault if `blob` is no outcome, or holds something that only a newer build knows.
    pub fn decode(request_id: &str, blob: &[u8]) -> Result<Self, StoreFault> {
        decode("decode outcome", blob, |stored: v3::Outcome<'_>| stored.read(request_id))
    }
}

impl StoredClaim {
    /// Returns the value as a claim's blob.
    pub fn encode(&self) -> Vec<u8> {
        encode(&v3::Claim::of(self))
    }

    /// Returns the value that is stored as `blob`.
    ///
    /// # Errors
    /// Returns a fault if `blob` is no claim, or holds something that only a newer build knows.
    pub fn decode(blob: &[u8]) -> Result<Self, StoreFault> {
        decode("decode claim", blob, v3::Claim::read)
    }
}

impl ImportOutcome {
    /// Returns the value as a log row's blob.
    pub fn encode(&self) -> Vec<u8> {
        encode(&v3::Import::of(self))
    }

    /// Returns the value that is stored as `blob`.
    ///
    /// # Errors
    /// Returns a fault if `blob` is no import's outcome, or holds something that only a newer build knows.
    pub fn decode(blob: &[u8]) -> Result<Self, StoreFault> {
        decode("decode import", blob, |stored: v3::Import<'_>| Ok(stored.read()))
    }
}

const _: () = assert!(NEWEST == OLDEST + 1, "`encode` knows the newest version and the one before it");

/// Returns a value as a blob, in the oldest version that can hold the value.
fn encode<'a>(newest: &impl Form<'a>) -> Vec<u8> {
    match newest.before() {
        Some(before) => in_version(OLDEST, &before),
        None => in_version(NEWEST, newest),
    }
}

fn in_version(version: u8, body: &impl Serialize) -> Vec<u8> {
    // Most outcomes fit into this.
    let mut blob = Vec::with_capacity(384);
    blob.push(version);
    postcard::to_extend(body, blob).expect("strings, numbers and lists of them can be written to memory")
}

/// Reads a blob, and converts what is stored in it with `convert`. Causes of faults begin with what is wrong.
fn decode<'a, F: Form<'a>, T>(
    operation: &'static str,
    blob: &'a [u8],
    convert: impl FnOnce(F) -> Result<T, Unknown>,
) -> Result<T, StoreFault> {
    let read = || match blob.split_first() {
        None => Err("it is empty".into()),
        Some((version, _)) if *version < OLDEST => {
            Err(format!("written in version {version} of the format, before the first release"))
        }
        Some((version, _)) if *version > NEWEST => Err(format!(
            "written in version {version} of the format, but this build knows only {NEWEST}: a newer build must read it"
        )),
        Some((&OLDEST, body)) => read(body, |before| convert(F::after(before)?)),
        Some((_, body)) => read(body, convert),
    };
    read().map_err(|cause| StoreFault::new(operation, cause))
}

/// Reads what stands behind a blob's version, and converts what is stored in it with `convert`.
fn read<'a, S: Deserialize<'a>, T>(body: &'a [u8], convert: impl FnOnce(S) -> Result<T, Unknown>) -> Result<T, String> {
    match postcard::take_from_bytes(body) {
        Ok((stored, [])) => convert(stored)
            .map_err(|Unknown(what)| format!("it has a {what} that this build does not know: a newer build must read it")),
        Ok((_, rest)) => Err(format!("it has {} bytes too many", rest.len())),
        Err(error) => Err(format!("damaged, or written by a newer build: {error}")),
    }
}

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod tests;
