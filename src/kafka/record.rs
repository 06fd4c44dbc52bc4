//! A record of the command topic, copied from librdkafka's message.
//!
//! A record that is tiny when it is compressed may be huge when it is inflated. No broker would take such a record in a request again,
//! and a process with little memory can't keep it. So only a [`Digest`] of it is kept.

use super::foreign;
use crate::domain::request::SourceRecord;
use crate::flow::RecordId;
use crate::wire::headers::Headers;
use crate::wire::stub::{StubContents, stub};
use bytes::Bytes;
use openssl::sha::sha256;
use rdkafka::message::{BorrowedMessage, Message};
use std::time::Instant;

/// The size up to which a record is kept as it came: key, value and headers, in bytes. Brokers drop a request of more than 100 MiB,
/// unless their `socket.request.max.bytes` was raised. The remaining 64 KiB are far more than the rest of the request takes.
pub const LARGEST: usize = (100 << 20) - (64 << 10);

/// The length of the beginning of a value that a digest keeps, in bytes.
const FIRST: usize = 1_024;
/// The longest key and the longest header value that are kept beside a digest, in bytes.
const KEPT: usize = 64 << 10;

/// A record of the command topic.
#[derive(Clone, Debug)]
pub struct Record {
    /// The record's partition and offset.
    pub at: RecordId,
    /// The key as it came; `None` is null, or a key that is left out beside a digest.
    pub key: Option<Bytes>,
    /// The value as it came; `None` is null, or a value of which there is a digest.
    pub value: Option<Bytes>,
    /// The headers as they came, without those whose names are not UTF-8.
    pub headers: Headers,
    /// Milliseconds since the Unix epoch, as the producer or the broker set them; `None` if the record has no timestamp.
    pub timestamp: Option<i64>,
    /// When the record was taken from the Kafka client.
    pub taken: Instant,
    /// The digest of a record that is larger than [`LARGEST`]. Such a record has no value, and long keys and headers are left out. `None`
    /// for all other records.
    pub digest: Option<Box<Digest>>,
}

/// The sizes of a record's parts, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// The key's size; 0 if it is null.
    pub key: usize,
    /// The value's size; 0 if it is null.
    pub value: usize,
    /// The size of all headers, names and values.
    pub headers: usize,
}

/// Facts by which a record that is too large to be kept can be recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The sizes of the record's parts.
    pub sizes: Sizes,
    /// The SHA-256 of the record's value.
    pub sha256: [u8; 32],
    /// The first 1,024 bytes of the record's value, or fewer if there were no more.
    pub first: Bytes,
}

impl Sizes {
    /// Measures the parts of a record.
    pub fn of<'h>(
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<Item = (&'h str, Option<&'h [u8]>)>,
    ) -> Self {
        let size = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        let headers = headers.into_iter().map(|(name, value)| name.len() + size(value)).sum();
        Self { key: size(key), value: size(value), headers }
    }

    /// Returns the sum of all sizes, in bytes.
    pub fn total(self) -> usize {
        self.key + self.value + self.headers
    }
}

impl Digest {
    /// Makes the digest of a record with this value and these sizes.
    pub fn new(value: Option<&[u8]>, sizes: Sizes) -> Self {
        let value = value.unwrap_or_default();
        let first = Bytes::copy_from_slice(&value[..value.len().min(FIRST)]);
        Self { sizes, sha256: sha256(value), first }
    }
}

impl Record {
    /// Copies a record from librdkafka's message.
    pub(super) fn of(message: &BorrowedMessage<'_>) -> Self {
        let at = RecordId { partition: message.partition(), offset: message.offset() };
        let (timestamp, taken) = (message.timestamp().to_millis(), Instant::now());
        let (key, value, headers) = (message.key(), message.payload(), foreign::headers(message));
        let sizes = Sizes::of(key, value, headers.iter().copied());
        if sizes.total() > LARGEST {
            let digest = Some(Box::new(Digest::new(value, sizes)));
            let key = key.filter(|key| key.len() <= KEPT).map(Bytes::copy_from_slice);
            let kept = headers.into_iter().filter(|(_, value)| value.is_none_or(|value| value.len() <= KEPT));
            return Self { at, key, value: None, headers: owned(kept), timestamp, taken, digest };
        }
        let (key, value) = (key.map(Bytes::copy_from_slice), value.map(Bytes::copy_from_slice));
        Self { at, key, value, headers: owned(headers), timestamp, taken, digest: None }
    }

    /// Returns the stand-in for a record that can't be read at all, and of which only partition and offset are known.
    pub fn unknown(at: RecordId) -> Self {
        Self { at, key: None, value: None, headers: Headers::new(), timestamp: None, taken: Instant::now(), digest: None }
    }

    /// Returns the size of key, value and headers, in bytes, as they came.
    pub fn size(&self) -> usize {
        match &self.digest {
            Some(digest) => digest.sizes.total(),
            None => Sizes::of(self.key.as_deref(), self.value.as_deref(), borrowed(&self.headers)).total(),
        }
    }
}

/// Returns the value of the stub that takes the place of a record which brokers would not take as it came.
pub fn stub_of(record: &SourceRecord, digest: Option<&Digest>) -> Bytes {
    let contents = digest.map(|digest| StubContents {
        key_bytes: digest.sizes.key,
        value_bytes: digest.sizes.value,
        headers_bytes: digest.sizes.headers,
        sha256: digest.sha256,
        first: &digest.first,
    });
    stub(record, contents).into()
}

/// Returns headers as their texts and bytes.
pub fn borrowed(headers: &Headers) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
    headers.iter().map(|(name, value)| (name.as_ref(), value.as_deref()))
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
        let sizes = Sizes::of(Some(b"key"), Some(&long), [("name", Some(&b"12"[..])), ("null", None)]);
        assert_eq!((sizes, sizes.total()), (Sizes { key: 3, value: 5_000, headers: 10 }, 5_013));
        let digest = Digest::new(Some(&long), sizes);
        assert_eq!((digest.first.len(), digest.sizes), (1_024, sizes));
        assert_ne!(digest.sha256, Digest::new(Some(&long[1..]), sizes).sha256);
        let short = Digest::new(None, Sizes::default());
        assert!(short.first.is_empty());
    }
}
