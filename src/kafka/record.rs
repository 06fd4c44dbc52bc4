//! A record of the command topic as it is taken over from librdkafka.
//!
//! A record that is tiny compressed may be huge inflated. No broker takes it again in a request, and a process with little memory can't
//! keep it. Of such a record only a [`Digest`] is kept.

use super::Headers;
use crate::flow::RecordId;
use bytes::Bytes;
use openssl::sha::sha256;
use rdkafka::message::{BorrowedMessage, Headers as _, Message};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The largest record that is kept as it came: key, value and headers, in bytes. A request of more than 100 MiB is dropped by brokers,
/// unless their `socket.request.max.bytes` was raised; what goes with a record in a request takes far less than the rest.
pub const LARGEST: usize = (100 << 20) - (64 << 10);

/// How much of a value a digest keeps, in bytes.
const FIRST: usize = 1_024;
/// The longest key, and the longest value of a header, that is kept beside a digest, in bytes.
const KEPT: usize = 64 << 10;

/// A record of the command topic.
#[derive(Clone, Debug)]
pub struct Record {
    /// Where it stands.
    pub at: RecordId,
    /// The bytes as they came.
    pub key: Option<Bytes>,
    /// The bytes as they came.
    pub value: Option<Bytes>,
    /// As they came, but for those whose name is not UTF-8.
    pub headers: Headers,
    /// Milliseconds since the epoch, by producer or broker.
    pub timestamp: Option<i64>,
    /// What is left of a record that is larger than [`LARGEST`]. It has no value then, and long keys and headers are left out.
    pub digest: Option<Box<Digest>>,
}

/// How large the parts of a record are, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// The key's size; 0 if it is null.
    pub key: usize,
    /// The value's size; 0 if it is null.
    pub value: usize,
    /// The size of all headers, names and values.
    pub headers: usize,
}

/// By what a record can be recognised that can't be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// How large it was.
    pub sizes: Sizes,
    /// The SHA-256 of its value.
    pub sha256: [u8; 32],
    /// The first bytes of its value: 1,024, or fewer if it had no more.
    pub first: Bytes,
}

impl Sizes {
    /// Measures the parts of a record.
    pub fn of(key: Option<&[u8]>, value: Option<&[u8]>, headers: &Headers) -> Self {
        let headers = headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Bytes::len)).sum();
        Self { key: key.map_or(0, <[u8]>::len), value: value.map_or(0, <[u8]>::len), headers }
    }

    /// Returns the sum.
    pub fn total(self) -> usize {
        self.key + self.value + self.headers
    }
}

impl Digest {
    /// Makes a digest of a value; `sizes` are those of its record.
    pub fn new(value: Option<&[u8]>, sizes: Sizes) -> Self {
        let value = value.unwrap_or_default();
        let first = Bytes::copy_from_slice(&value[..value.len().min(FIRST)]);
        Self { sizes, sha256: sha256(value), first }
    }
}

impl Record {
    /// Takes a record over from librdkafka.
    pub(super) fn of(message: &BorrowedMessage<'_>) -> Self {
        let at = RecordId { partition: message.partition(), offset: message.offset() };
        let timestamp = message.timestamp().to_millis();
        let (key, value, headers) = (message.key(), message.payload(), headers(message));
        let header_sizes = headers.iter().map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len));
        let sizes = Sizes { key: key.map_or(0, <[u8]>::len), value: value.map_or(0, <[u8]>::len), headers: header_sizes.sum() };
        if sizes.total() > LARGEST {
            let digest = Some(Box::new(Digest::new(value, sizes)));
            let key = key.filter(|key| key.len() <= KEPT).map(Bytes::copy_from_slice);
            let kept = headers.into_iter().filter(|(_, value)| value.is_none_or(|value| value.len() <= KEPT));
            return Self { at, key, value: None, headers: owned(kept), timestamp, digest };
        }
        let (key, value) = (key.map(Bytes::copy_from_slice), value.map(Bytes::copy_from_slice));
        Self { at, key, value, headers: owned(headers), timestamp, digest: None }
    }

    /// Stands for a record that can't be read at all, of which nothing is known but its place.
    pub fn unknown(at: RecordId) -> Self {
        Self { at, key: None, value: None, headers: Headers::new(), timestamp: None, digest: None }
    }

    /// Key, value and headers, in bytes.
    pub fn size(&self) -> usize {
        match &self.digest {
            Some(digest) => digest.sizes.total(),
            None => Sizes::of(self.key.as_deref(), self.value.as_deref(), &self.headers).total(),
        }
    }
}

/// Returns the headers, without those whose name is not UTF-8: rdkafka panics on these.
fn headers<'m>(message: &'m BorrowedMessage<'_>) -> Vec<(&'m str, Option<&'m [u8]>)> {
    let Some(headers) = message.headers() else { return Vec::new() };
    let read = |n| catch_unwind(AssertUnwindSafe(|| headers.try_get(n))).ok().flatten();
    (0..headers.count()).filter_map(read).map(|header| (header.key, header.value)).collect()
}

fn owned<'m>(headers: impl IntoIterator<Item = (&'m str, Option<&'m [u8]>)>) -> Headers {
    headers.into_iter().map(|(name, value)| (name.to_owned().into(), value.map(Bytes::copy_from_slice))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_keeps_the_beginning_and_tells_the_rest_apart() {
        let long = vec![7; 5_000];
        let sizes =
            Sizes::of(Some(b"key"), Some(&long), &vec![("name".into(), Some(Bytes::from_static(b"12"))), ("null".into(), None)]);
        assert_eq!((sizes, sizes.total()), (Sizes { key: 3, value: 5_000, headers: 10 }, 5_013));
        let digest = Digest::new(Some(&long), sizes);
        assert_eq!((digest.first.len(), digest.sizes), (1_024, sizes));
        assert_ne!(digest.sha256, Digest::new(Some(&long[1..]), sizes).sha256);
        let short = Digest::new(None, Sizes::default());
        assert!(short.first.is_empty());
    }
}
