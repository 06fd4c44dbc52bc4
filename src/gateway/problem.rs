//! What a client is told when its request is not answered 200: a problem in the form of RFC 9457.

use crate::domain::rejection::{Rejection, Status};
use crate::toolbox::reply::ErrorEntry;
use axum::body::Bytes;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{Response, StatusCode};
use serde::Serialize;
use serde_json::Value;

/// The media type of problems.
pub const PROBLEM_JSON: &str = "application/problem+json";
/// After how many seconds a client should ask again.
pub const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// A problem.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// A URN that names the kind of problem.
    #[serde(rename = "type")]
    pub kind: Box<str>,
    /// The kind of problem in words.
    pub title: Box<str>,
    /// The HTTP status.
    #[serde(serialize_with = "number")]
    pub status: StatusCode,
    /// What happened, and what to do.
    pub detail: Box<str>,
    /// The findings about the command.
    pub errors: Vec<ErrorEntry>,
    /// The request id, as far as it is known.
    pub request_id: Option<Box<str>>,
    /// The correlation id, as in a reply.
    pub correlation_id: Option<Box<str>>,
    /// Whether this answers a duplicate with the stored answer.
    pub replayed: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

/// Returns the answer 503 to a request that can't be answered at present.
pub fn unavailable(detail: &str) -> Response<Bytes> {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).response()
}

impl Problem {
    /// Returns a problem without findings. `kind` completes the URN `urn:crm:…`.
    pub fn new(status: StatusCode, kind: &str, detail: impl Into<Box<str>>) -> Self {
        Self {
            kind: format!("urn:crm:{kind}").into(),
            title: status.canonical_reason().unwrap_or("Error").into(),
            status,
            detail: detail.into(),
            errors: Vec::new(),
            request_id: None,
            correlation_id: None,
            replayed: false,
        }
    }

    /// Returns the problem of a request that was refused with these findings, of which there is at least one.
    pub fn refused(errors: Vec<ErrorEntry>) -> Self {
        let first = errors.first().map_or("", |error| error.code.as_str()).to_owned();
        let detail = errors.iter().map(|error| error.message.as_str()).collect::<Vec<_>>().join("; ");
        Self {
            title: Status::RequestValidationFailed.message().into(),
            errors,
            ..Self::new(StatusCode::BAD_REQUEST, &first, detail)
        }
    }

    /// Returns the problem of a request that can't be read, at this field if it is known.
    pub fn unreadable(field: Option<String>, reason: &str) -> Self {
        let subject = field.as_ref().map(|field| format!("{field} ")).unwrap_or_default();
        let code = Rejection::RecordUnreadable { reason: "".into() }.code().to_owned();
        Self::refused(vec![ErrorEntry { code, field, message: format!("{subject}{reason}") }])
    }

    /// Returns the same problem with the ids of its request.
    #[must_use]
    pub fn about(self, request_id: Option<&str>, correlation_id: Option<&str>) -> Self {
        let owned = |text: Option<&str>| text.map(Into::into);
        Self { request_id: owned(request_id), correlation_id: owned(correlation_id), ..self }
    }

    /// Returns the response that tells of the problem; with the status 503 also the time after which to ask again.
    pub fn response(&self) -> Response<Bytes> {
        let body = serde_json::to_vec(self).expect("a problem is texts and numbers");
        let response = response(self.status, PROBLEM_JSON, body);
        if self.status == StatusCode::SERVICE_UNAVAILABLE { with(response, header::RETRY_AFTER, RETRY_AFTER) } else { response }
    }
}

/// Returns a response with a body of this media type.
pub fn response(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    // What an entity is at present is for the client alone, and whoever keeps it must ask whether it is still so.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    response
}

/// Returns a response with a JSON body.
pub fn json(status: StatusCode, body: &Value) -> Response<Bytes> {
    response(status, super::headers::JSON, body.to_string())
}

/// Returns the response with one more header. A value that no header can have is left out.
pub fn with(mut response: Response<Bytes>, name: HeaderName, value: impl TryInto<HeaderValue>) -> Response<Bytes> {
    if let Ok(value) = value.try_into() {
        response.headers_mut().insert(name, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_refusal_shows_all_findings_under_the_first_code() {
        let findings = [Rejection::RequestIdReused, Rejection::ExternalIdNotUnique];
        let problem = Problem::refused(findings.iter().map(ErrorEntry::from).collect()).about(Some("r"), Some("c"));
        let response = problem.response();
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()[header::CONTENT_TYPE], PROBLEM_JSON);
        let body: Value = serde_json::from_slice(response.body()).unwrap();
        let message = |rejection: &Rejection| rejection.message();
        let expected = json!({
            "type": "urn:crm:CASM-REQUEST-ID-REUSED", "title": "Request Validation failed", "status": 400,
            "detail": format!("{}; {}", message(&findings[0]), message(&findings[1])),
            "errors": [
                {"code": "CASM-REQUEST-ID-REUSED", "field": "requestId", "message": message(&findings[0])},
                {"code": "CASM-EXTERNAL-ID-NOT-UNIQUE", "field": "externalId", "message": message(&findings[1])},
            ],
            "requestId": "r", "correlationId": "c", "replayed": false,
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn what_cannot_be_read_is_named_by_its_path() {
        let problem = Problem::unreadable(Some("customer.refId".into()), "must be a text or null, and is a number");
        assert_eq!(&*problem.kind, "urn:crm:CASM-RECORD-UNREADABLE");
        assert_eq!(problem.errors[0].field.as_deref(), Some("customer.refId"));
        assert_eq!(&*problem.detail, "customer.refId must be a text or null, and is a number");
    }
}
