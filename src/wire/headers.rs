//! Headers: what those of a command ask for, and which ones its answers carry.
//!
//! If a header occurs more than once, the last occurrence counts, as with Kafka's `lastHeader`. The last occurrence of a correlation header
//! is also the one that is echoed, so an answer carries each correlation header at most once.
//!
//! A header with a null value counts as absent. Readers of answers may fail on a null, so no header that is written here has a null value.
//! The exception is a dead letter, which keeps the record's own headers as they came.

use super::unreadable::{MAX_CORRELATION_BYTES, Unreadable};
use crate::config;
use crate::domain::Timestamp;
use crate::domain::entity::Entity;
use crate::domain::rejection::Status;
use crate::domain::request::SourceRecord;
use crate::domain::transaction::{Snapshot, Transaction};
use crate::domain::values::Actor;
use crate::telemetry::trace_context::TraceContext;
use bytes::Bytes;
use std::borrow::Cow;
use std::ops::RangeInclusive;
use time::OffsetDateTime;
use time::macros::format_description;
use uuid::Uuid;

/// A record's headers, in order. Values are shared, not copied, between the answers to one command.
pub type Headers = Vec<(Cow<'static, str>, Option<Bytes>)>;

/// The header with the id by which a client correlates a command with its answers.
pub const CORRELATION_ID: &str = "correlation-id";
/// The header with the correlation id that Spring's templates set. It counts if there is no [`CORRELATION_ID`].
pub const KAFKA_CORRELATION_ID: &str = "kafka_correlationId";
/// The header with the topic that the reply shall go to.
pub const KAFKA_REPLY_TOPIC: &str = "kafka_replyTopic";
const KAFKA_REPLY_PARTITION: &str = "kafka_replyPartition";
/// The header with the trace that a command or an answer belongs to (W3C).
pub const TRACEPARENT: &str = "traceparent";
/// The header with what the tracing systems add to [`TRACEPARENT`] (W3C).
pub const TRACESTATE: &str = "tracestate";
const REQUEST_ID: &str = "request-id";
/// The header of a command that says who asks.
pub const ACTOR: &str = "crm-actor";
/// The header of a reply with its status: 200, 400 or 500.
pub const STATUS_CODE: &str = "status-code";

/// The value of a header that may be missing or wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asked<T> {
    /// The header is missing, or has no value.
    #[default]
    Absent,
    /// The header is there and well-formed.
    Valid(T),
    /// The header is there, but its value is not of the form that it should have.
    Malformed,
}

impl<T> Asked<T> {
    /// Returns the value, if there is one and it is well-formed.
    pub fn valid(&self) -> Option<&T> {
        match self {
            Self::Valid(value) => Some(value),
            Self::Absent | Self::Malformed => None,
        }
    }
}

/// The headers of a command, as far as they matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandHeaders {
    /// The correlation headers, to be echoed with the same bytes. Headers that are too long are left out.
    pub echo: Headers,
    /// The correlation id that the headers give, as text.
    pub correlation_id: Option<String>,
    /// The topic that the reply shall go to: a legal name, which may be missing from the allow-list.
    pub reply_topic: Asked<String>,
    /// The partition that the reply shall go to, of whichever topic it goes to; not negative.
    pub reply_partition: Asked<i32>,
    /// Who asks: a text that obeys the rules of an [`Actor`].
    pub actor: Asked<Actor>,
    /// The trace that the command belongs to. Boxed: most commands have none.
    pub trace: Option<Box<TraceContext>>,
    /// Whether any correlation header is longer than [`MAX_CORRELATION_BYTES`], even one that a later header overrides. Then the record is
    /// unreadable.
    pub oversized_correlation: bool,
}

impl CommandHeaders {
    /// Reads a command's headers. Never fails: a malformed header is noted as such.
    pub fn parse<'a>(headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>) -> Self {
        let mut parsed = Self::default();
        let (mut correlation, mut kafka_correlation) = (None, None);
        let (mut traceparent, mut tracestate) = (None, None);
        for (name, value) in headers.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            match name {
                CORRELATION_ID | KAFKA_CORRELATION_ID if value.len() > MAX_CORRELATION_BYTES => {
                    parsed.oversized_correlation = true;
                }
                CORRELATION_ID => correlation = Some(value),
                KAFKA_CORRELATION_ID => kafka_correlation = Some(value),
                KAFKA_REPLY_TOPIC => parsed.reply_topic = asked(value, topic_name),
                KAFKA_REPLY_PARTITION => parsed.reply_partition = asked(value, partition),
                ACTOR => parsed.actor = asked(value, actor),
                TRACEPARENT => traceparent = Some(value),
                TRACESTATE => tracestate = Some(value),
                _ => {}
            }
        }
        parsed.trace = traceparent.and_then(|t| TraceContext::parse(t, tracestate)).map(Box::new);
        let given = |header: Option<&'a [u8]>| header.filter(|v| !v.is_empty());
        parsed.correlation_id =
            given(correlation).map(correlation_text).or_else(|| given(kafka_correlation).map(kafka_correlation_text));
        let found = [(CORRELATION_ID, correlation), (KAFKA_CORRELATION_ID, kafka_correlation)];
        parsed.echo =
            found.into_iter().filter_map(|(name, value)| Some((name.into(), Some(Bytes::copy_from_slice(value?))))).collect();
        parsed
    }

    /// Returns whether there is anything by which a reply could be correlated. A reply to an unreadable record is sent only then.
    pub fn has_correlation(&self) -> bool {
        self.correlation_id.is_some()
    }

    /// Returns the headers of the reply.
    pub fn reply(&self, request_id: Option<&str>, status: Status) -> Headers {
        let mut headers = Vec::with_capacity(self.echo.len() + 3);
        headers.extend(request_id.map(|id| text(REQUEST_ID, id)));
        headers.push(fixed(STATUS_CODE, status.code_text()));
        self.pass_on(&mut headers);
        headers
    }

    /// Returns the headers of the business transaction with this id: ours, and those of `CloudEvents` 1.0 in binary mode.
    pub fn transaction(&self, id: Uuid, transaction: &Transaction) -> Headers {
        let Transaction { use_case, request_id, occurred_at, entity, .. } = transaction;
        let mut headers = Vec::with_capacity(self.echo.len() + 9);
        headers.extend(event(request_id.as_str(), id, use_case.name(), entity, *occurred_at));
        self.pass_on(&mut headers);
        headers
    }

    fn pass_on(&self, headers: &mut Headers) {
        headers.extend(self.echo.iter().cloned());
        if let Some(trace) = &self.trace {
            headers.push((TRACEPARENT.into(), Some(trace.traceparent().clone())));
            headers.extend(trace.tracestate().map(|s| (TRACESTATE.into(), Some(s.clone()))));
        }
    }
}

/// Returns the headers of a snapshot: those of a business transaction, and one that tells a snapshot from a business transaction.
pub fn snapshot(snapshot: &Snapshot) -> Headers {
    let Snapshot { entity, taken_at } = snapshot;
    let event = event(&snapshot.request_id(), snapshot.id(), Snapshot::USE_CASE, entity, *taken_at);
    event.into_iter().chain([fixed("crm-snapshot", "true")]).collect()
}

/// Returns the request id's header, and those of `CloudEvents`.
fn event(request_id: &str, id: Uuid, use_case: &str, entity: &Entity, at: Timestamp) -> [(Cow<'static, str>, Option<Bytes>); 8] {
    [
        text(REQUEST_ID, request_id),
        fixed("content-type", "application/avro"),
        fixed("ce_specversion", "1.0"),
        text("ce_id", id.hyphenated().encode_lower(&mut Uuid::encode_buffer())),
        owned("ce_type", ["crm.v1.", use_case].concat()),
        fixed("ce_source", "/crm-processor"),
        owned("ce_subject", entity.key()),
        owned("ce_time", rfc3339(at)),
    ]
}

/// Returns the headers of a dead letter: the record's own, as they came, then those that Kafka Connect would add.
pub fn dead_letter<'a>(
    original: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    origin: &SourceRecord,
    error: &Unreadable,
) -> Headers {
    let original = original.into_iter().map(|(name, value)| (name.to_owned().into(), value.map(Bytes::copy_from_slice)));
    let added = [
        text("__connect.errors.topic", &origin.topic),
        owned("__connect.errors.partition", origin.partition.to_string()),
        owned("__connect.errors.offset", origin.offset.to_string()),
        fixed("__connect.errors.stage", error.stage()),
        fixed("__connect.errors.exception.class.name", error.class_name()),
        owned("__connect.errors.exception.message", error.to_string()),
    ];
    original.chain(added).collect()
}

/// The instants that RFC 3339 can express, which has four digits for the year: those of the years 0 to 9999.
pub const RFC_3339_INSTANTS: RangeInclusive<Timestamp> = -62_167_219_200_000..=253_402_300_799_999;

/// Returns an instant in the form `2026-01-31T23:59:59.123Z`. An instant that RFC 3339 can't express becomes the first or the last one that
/// it can.
pub fn rfc3339(at: Timestamp) -> String {
    let nanos = i128::from(at.clamp(*RFC_3339_INSTANTS.start(), *RFC_3339_INSTANTS.end())) * 1_000_000;
    let instant = OffsetDateTime::from_unix_timestamp_nanos(nanos).expect("the years 0 to 9999 are in range");
    let format = format_description!(version = 2, "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    instant.format(format).expect("it has all parts")
}

fn text(name: &'static str, value: &str) -> (Cow<'static, str>, Option<Bytes>) {
    (name.into(), Some(Bytes::copy_from_slice(value.as_bytes())))
}

fn owned(name: &'static str, value: String) -> (Cow<'static, str>, Option<Bytes>) {
    (name.into(), Some(value.into()))
}

fn fixed(name: &'static str, value: &'static str) -> (Cow<'static, str>, Option<Bytes>) {
    (name.into(), Some(Bytes::from_static(value.as_bytes())))
}

/// Returns the value of `correlation-id` as text: UTF-8 as it is, or else 16 bytes as a UUID, or else hexadecimal.
fn correlation_text(bytes: &[u8]) -> String {
    match (std::str::from_utf8(bytes), uuid_text(bytes)) {
        (Ok(text), _) => text.into(),
        (Err(_), Some(uuid)) => uuid,
        (Err(_), None) => hexadecimal(bytes),
    }
}

/// Returns the value of `kafka_correlationId` as text. Spring sends 16 random bytes, which may by chance be UTF-8. So 16 bytes are a UUID
/// unless all of them are printable.
fn kafka_correlation_text(bytes: &[u8]) -> String {
    match uuid_text(bytes) {
        Some(uuid) if !bytes.iter().all(|b| matches!(b, b' '..=b'~')) => uuid,
        _ => correlation_text(bytes),
    }
}

fn uuid_text(bytes: &[u8]) -> Option<String> {
    Some(Uuid::from_bytes(bytes.try_into().ok()?).to_string())
}

/// Returns the bytes in hexadecimal, in lower case.
pub fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes whatever is written");
        text
    })
}

fn asked<T>(value: &[u8], parse: impl FnOnce(&[u8]) -> Option<T>) -> Asked<T> {
    parse(value).map_or(Asked::Malformed, Asked::Valid)
}

fn topic_name(bytes: &[u8]) -> Option<String> {
    config::topic_name(std::str::from_utf8(bytes).ok()?).ok()
}

fn actor(bytes: &[u8]) -> Option<Actor> {
    Actor::parse(std::str::from_utf8(bytes).ok()?).ok()
}

fn partition(bytes: &[u8]) -> Option<i32> {
    Some(i32::from_be_bytes(bytes.try_into().ok()?)).filter(|p| *p >= 0)
}

#[cfg(test)]
#[path = "headers_tests.rs"]
mod tests;
