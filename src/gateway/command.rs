//! From a request over HTTP to the record that goes on the command topic, or to the reason why none does. Nothing here waits or writes.

use super::body::{self, Misfit};
use super::headers;
use super::json::Json;
use super::problem::Problem;
use super::route;
use crate::domain::command::Command;
use crate::domain::reference::Reference;
use crate::domain::rejection::Rejection;
use crate::domain::use_case::UseCase;
use crate::domain::values::{RequestId, Rules};
use crate::telemetry::trace_context::TraceContext;
use crate::toolbox::reply::ErrorEntry;
use crate::wire::headers::{Asked, CORRELATION_ID, CommandHeaders, TRACEPARENT, TRACESTATE};
use crate::wire::unreadable::MAX_CORRELATION_BYTES;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::http::header::HeaderMap;
use uuid::Uuid;

/// The longest body, in bytes. The longest values of a command in the most verbose JSON stay below.
pub const MAX_BODY: usize = 64 << 10;

/// A request's correlation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Correlation {
    /// The value of the header, or `None` if the client gave none.
    pub header: Option<Bytes>,
    /// The same as text, as replies have it.
    pub text: Option<String>,
}

/// What tells one request from another. Two requests for which this is equal get the same answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The use case, which says what type the entity is of.
    pub use_case: UseCase,
    /// The entity, as the command refers to it.
    pub target: Reference,
    /// The request id.
    pub request_id: RequestId,
    /// The fingerprint of what is asked for.
    pub contents: Uuid,
}

/// A command that is fit for the topic.
#[derive(Clone, Debug)]
pub struct PreparedCommand {
    /// What tells the request from others.
    pub identity: Identity,
    /// The record's key: the reference as given, or the external id of a creation.
    pub key: String,
    /// The Avro body of the command's record.
    pub body: Vec<u8>,
    /// Whether `If-Match` gave the expected version.
    pub is_conditional: bool,
    /// The request's correlation.
    pub correlation: Correlation,
    /// The trace that the request belongs to.
    pub trace: Option<TraceContext>,
}

impl PreparedCommand {
    /// Returns the place at which the outcome of the request is found.
    pub fn location(&self) -> String {
        let Identity { use_case, target, request_id, contents } = &self.identity;
        route::outcome_of(use_case.entity_type(), target, request_id, *contents)
    }

    /// Returns the correlation id as text, which is the request id if the client gave none.
    pub fn correlation_id(&self) -> &str {
        self.correlation.text.as_deref().unwrap_or(self.identity.request_id.as_str())
    }
}

/// Reads the correlation header of a request.
///
/// # Errors
/// The header is too long.
pub fn correlation(headers: &HeaderMap) -> Result<Correlation, Problem> {
    let all = headers.get_all(CORRELATION_ID).iter().map(|value| (CORRELATION_ID, Some(value.as_bytes())));
    let parsed = CommandHeaders::parse(all);
    if parsed.oversized_correlation {
        let reason = format!("must have at most {MAX_CORRELATION_BYTES} bytes");
        return Err(Problem::unreadable(Some(CORRELATION_ID.into()), &reason));
    }
    let header = parsed.echo.into_iter().find_map(|(_, value)| value).filter(|value| !value.is_empty());
    Ok(Correlation { header, text: parsed.correlation_id })
}

/// Reads the trace that a request belongs to. Returns `None` if it belongs to none.
pub fn trace(headers: &HeaderMap) -> Option<TraceContext> {
    let value = |name: &str| headers.get(name).map(axum::http::HeaderValue::as_bytes);
    TraceContext::parse(value(TRACEPARENT)?, value(TRACESTATE))
}

/// Checks the headers of a command that say what its body and its answer are to be.
///
/// # Errors
/// The body is no JSON, or the client takes none.
pub fn negotiate(headers: &HeaderMap) -> Result<(), Problem> {
    if !headers::takes_json(headers) {
        let detail = "the answer is application/json, which Accept excludes";
        return Err(Problem::new(StatusCode::NOT_ACCEPTABLE, "not-acceptable", detail));
    }
    if !headers::brings_json(headers) {
        let detail = "the body must be application/json in UTF-8, without Content-Encoding";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail));
    }
    Ok(())
}

/// Makes a command of a request's headers and body.
///
/// # Errors
/// The request can't be read, or request validation finds something. All findings are in the problem.
pub fn prepare(use_case: UseCase, headers: &HeaderMap, body: &[u8], rules: &Rules) -> Result<PreparedCommand, Problem> {
    let correlation = correlation(headers)?;
    let mut fields = body::fields(body).map_err(|misfit| unreadable(misfit, None, &correlation))?;
    let (request_id, request_id_conflicts) = request_id(&mut fields, headers);
    let version_conflicts = expected_version(use_case, &mut fields, headers);
    let read = body::command(use_case, &fields);
    let (body, raw) = read.map_err(|misfit| unreadable(misfit, request_id.as_deref(), &correlation))?;
    let mut findings = Vec::new();
    let mut checked = raw.validate(rules).map_err(|found| findings = found).ok();
    if request_id_conflicts {
        findings.retain(|finding| finding.field() != Some("requestId"));
        let reason = "must be given once: by the body, by one Idempotency-Key, or by both in the same words".into();
        findings.insert(0, Rejection::InvalidAttribute { field: "requestId".into(), reason });
        checked = None;
    }
    if let Some(reason) = version_conflicts {
        findings.retain(|finding| finding.field() != Some("expectedVersion"));
        findings.push(Rejection::InvalidAttribute { field: "expectedVersion".into(), reason: reason.into() });
        checked = None;
    }
    let Some(Command { request_id, target, contents }) = checked else {
        let request_id = raw.request_id.as_deref().filter(|_| !request_id_conflicts);
        let correlation_id = correlation.text.as_deref().or(request_id);
        return Err(Problem::refused(findings.iter().map(ErrorEntry::from).collect()).about(request_id, correlation_id));
    };
    let key = match (contents.creation(), &target) {
        (Some(creation), _) => creation.external_id.as_str().to_owned(),
        (None, Reference::ExternalId(id)) => id.as_str().to_owned(),
        (None, Reference::RefId(ref_id)) => ref_id.to_string(),
    };
    Ok(PreparedCommand {
        identity: Identity { use_case, target, request_id, contents: contents.fingerprint() },
        key,
        body,
        is_conditional: matches!(headers::if_match(headers), Asked::Valid(_)),
        correlation,
        trace: trace(headers),
    })
}

fn unreadable(misfit: Misfit, request_id: Option<&str>, correlation: &Correlation) -> Problem {
    let Misfit { path, reason } = misfit;
    Problem::unreadable(path, &reason).about(request_id, correlation.text.as_deref().or(request_id))
}

/// Puts the request id of `Idempotency-Key` into the body's fields, unless the body has one. Returns the request id, and whether the header
/// is malformed or names another request id than the body; the request id is `None` then.
fn request_id(fields: &mut Vec<(String, Json)>, headers: &HeaderMap) -> (Option<String>, bool) {
    let in_body = match fields.iter().find(|(name, _)| name == "requestId") {
        Some((_, Json::Text(text))) => Some(text.clone()),
        _ => None,
    };
    match headers::idempotency_key(headers) {
        Asked::Absent => (in_body, false),
        Asked::Malformed => (None, true),
        Asked::Valid(key) => {
            if let Some(differs) = in_body.map(|text| text != key) {
                return (Some(key).filter(|_| !differs), differs);
            }
            put(fields, "requestId", Json::Text(key.clone()));
            (Some(key), false)
        }
    }
}

/// Puts the version of `If-Match` into the body's fields. Returns what is wrong with the version, or `None` if nothing is.
fn expected_version(use_case: UseCase, fields: &mut Vec<(String, Json)>, headers: &HeaderMap) -> Option<&'static str> {
    let version = match headers::if_match(headers) {
        Asked::Absent => return None,
        Asked::Malformed => return Some("can be given by If-Match only as one strong tag with a number, such as \"7\""),
        Asked::Valid(version) => version,
    };
    if !body::has_field(use_case, "expectedVersion") {
        return Some("can't be given by If-Match, because the entity does not exist yet");
    }
    match fields.iter().find(|(name, _)| name == "expectedVersion") {
        None | Some((_, Json::Null)) => put(fields, "expectedVersion", Json::Whole(version)),
        Some((_, Json::Whole(given))) if *given != version => return Some("is another one in the body than in If-Match"),
        // A value of another type is a misfit, of which more is said elsewhere.
        Some(_) => {}
    }
    None
}

/// Gives a field a value, unless it occurs with a value already.
fn put(fields: &mut Vec<(String, Json)>, name: &str, value: Json) {
    match fields.iter_mut().find(|(given, _)| given == name) {
        Some((_, given @ Json::Null)) => *given = value,
        Some(_) => {}
        None => fields.push((name.to_owned(), value)),
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
