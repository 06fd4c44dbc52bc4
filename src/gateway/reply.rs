//! A reply as the client gets it: the record as JSON, or a problem if the command was refused.

use super::problem::{self, Problem, with};
use crate::domain::Timestamp;
use crate::domain::answer::Answer;
use crate::domain::rejection::{Rejection, Status};
use crate::domain::values::RequestId;
use crate::telemetry::labels::Code;
use crate::toolbox::reply::ErrorEntry;
use crate::wire::REPLY_SCHEMA;
use crate::wire::answer::{self, Encoder};
use crate::wire::frame::frame_prefix;
use crate::wire::headers::rfc3339;
use crate::wire::json::GenericSchema;
use axum::body::Bytes;
use axum::http::header::{self, HeaderName};
use axum::http::{Response, StatusCode};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// The header that marks a replay.
pub const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// A `crm.v1.Reply` as JSON, with timestamps in RFC 3339.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonReply(Value);

impl JsonReply {
    /// Takes a decoded record, in which timestamps are numbers. Returns `None` if it is no reply.
    pub fn read(mut json: Value) -> Option<Self> {
        json.get("statusCode")?.as_i64()?;
        write_times(&mut json);
        Some(Self(json))
    }

    /// Returns the reply that a duplicate of a request would get now.
    pub fn replay(request_id: &RequestId, answer: &Answer, now: Timestamp) -> Self {
        static SCHEMA: LazyLock<GenericSchema> =
            LazyLock::new(|| GenericSchema::parse(REPLY_SCHEMA).expect("our schemas are checked by the tests"));
        // The schema ids are of no importance, because nobody but this function reads the bytes.
        let encoder = Encoder::new(0, 0, None);
        let (status, transaction) = match answer {
            Answer::Changed(transaction) | Answer::Unchanged(transaction) => {
                (Status::Ok, Some(encoder.transaction(transaction.id(), transaction)))
            }
            Answer::Rejected(rejection) => (rejection.status(), None),
        };
        let errors = match answer {
            Answer::Rejected(rejection) => std::slice::from_ref(rejection),
            Answer::Changed(_) | Answer::Unchanged(_) => &[],
        };
        let value = encoder.reply(&answer::Reply {
            correlation_id: Some(request_id.as_str()),
            request_id: Some(request_id.as_str()),
            status,
            errors,
            // This refusal is never stored, so it is no replay of anything.
            replayed: !matches!(answer, Answer::Rejected(Rejection::RequestIdReused)),
            transaction: transaction.as_deref(),
            processed_at: now,
        });
        let json = SCHEMA.decode(&value[frame_prefix(0).len()..]).expect("what was written by a schema can be read by it");
        Self::read(json).expect("it is a reply")
    }

    /// Returns the same reply to a request with this correlation id.
    #[must_use]
    pub fn to(mut self, correlation_id: &str) -> Self {
        self.0["correlationId"] = correlation_id.into();
        self
    }

    /// Returns the reply's status: 200, 400 or 500.
    pub fn status(&self) -> StatusCode {
        let code = self.0["statusCode"].as_u64().and_then(|code| u16::try_from(code).ok());
        code.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Returns the entity's version afterwards, or `None` if the command was refused.
    pub fn version(&self) -> Option<i64> {
        self.0["businessTransaction"]["version"].as_i64()
    }

    /// Returns the response to the command. A refusal because of the version has a status of its own if `If-Match` named the version.
    pub fn response(&self, is_conditional: bool) -> Response<Bytes> {
        let response = match self.status() {
            StatusCode::OK => self.found(),
            status => self.problem(status, is_conditional).response(),
        };
        if self.0["replayed"] == true { with(response, IDEMPOTENT_REPLAYED, "true") } else { response }
    }

    /// Returns the response to a client that asks for the reply itself. A refusal is answered 200 here, too.
    pub fn found(&self) -> Response<Bytes> {
        let response = problem::json(StatusCode::OK, &self.0);
        match self.version() {
            Some(version) => with(response, header::ETAG, etag(version)),
            None => response,
        }
    }

    fn problem(&self, status: StatusCode, is_conditional: bool) -> Problem {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let entry = |error: &Value| ErrorEntry {
            code: text(&error["code"]).unwrap_or_default(),
            field: text(&error["field"]),
            message: text(&error["message"]).unwrap_or_default(),
        };
        let refused = Problem::refused(self.0["errors"].as_array().into_iter().flatten().map(entry).collect());
        let is_conflict =
            is_conditional && refused.errors.first().is_some_and(|error| error.code == Code::VersionConflict.text());
        Problem {
            title: text(&self.0["statusMessage"]).unwrap_or_default().into(),
            status: if is_conflict { StatusCode::PRECONDITION_FAILED } else { status },
            request_id: text(&self.0["requestId"]).map(Into::into),
            correlation_id: text(&self.0["correlationId"]).map(Into::into),
            replayed: self.0["replayed"] == true,
            ..refused
        }
    }
}

/// Returns the tag of a version.
pub fn etag(version: i64) -> String {
    format!("\"{version}\"")
}

/// Writes the timestamps of a record as RFC 3339. The schema says by their names which numbers are timestamps.
fn write_times(json: &mut Value) {
    static TIMES: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
        let mut names = BTreeSet::new();
        gather_times(&serde_json::from_str(REPLY_SCHEMA).expect("our schemas are checked by the tests"), &mut names);
        names
    });
    match json {
        Value::Array(items) => items.iter_mut().for_each(write_times),
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_i64() {
                    Some(at) if TIMES.contains(name) => *value = rfc3339(at).into(),
                    _ => write_times(value),
                }
            }
        }
        _ => {}
    }
}

/// Gathers the names of all fields of a schema whose type, or a branch of whose type, is a timestamp.
fn gather_times(schema: &Value, names: &mut BTreeSet<String>) {
    let is_time = |schema: &Value| schema["logicalType"] == "timestamp-millis";
    match schema {
        Value::Array(parts) => parts.iter().for_each(|part| gather_times(part, names)),
        Value::Object(parts) => {
            let of_type =
                schema.get("type").into_iter().flat_map(|t| t.as_array().map_or(std::slice::from_ref(t), Vec::as_slice));
            if let (Some(name), true) = (schema["name"].as_str(), of_type.clone().any(is_time)) {
                names.insert(name.to_owned());
            }
            parts.values().for_each(|part| gather_times(part, names));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::attribute::Attribute;
    use crate::domain::entity::{Entity, EntityType};
    use crate::domain::transaction::{Change, Transaction};
    use crate::domain::use_case::UseCase;
    use crate::domain::values::ExternalId;
    use serde_json::json;
    use uuid::Uuid;

    fn changed() -> Answer {
        let entity = Entity::new(EntityType::Customer, Uuid::nil(), ExternalId::parse("c-1").unwrap());
        let transaction = Transaction {
            use_case: UseCase::UpdateCustomerSegment,
            request_id: RequestId::parse("r").unwrap(),
            correlation_id: None,
            actor: None,
            occurred_at: 1_700_000_000_123,
            previous_version: 1,
            changes: vec![Change { attribute: Attribute::Segment, old: None, new: Some("A".into()) }],
            entity: Entity { version: 2, segment_valid_from: Some(1_700_000_000_123), ..entity },
        };
        Answer::Changed(transaction.into())
    }

    fn reply(answer: &Answer) -> JsonReply {
        JsonReply::replay(&RequestId::parse("r").unwrap(), answer, 0)
    }

    fn body(response: &Response<Bytes>) -> Value {
        serde_json::from_slice(response.body()).unwrap()
    }

    #[test]
    fn a_change_is_told_with_its_version_its_times_and_its_nulls() {
        let response = reply(&changed()).response(false);
        assert_eq!((response.status(), &response.headers()[header::ETAG]), (StatusCode::OK, &"\"2\"".parse().unwrap()));
        assert_eq!(response.headers()[&IDEMPOTENT_REPLAYED], "true");
        let body = body(&response);
        assert_eq!(body["processedAt"], "1970-01-01T00:00:00.000Z");
        assert_eq!(body["businessTransaction"]["occurredAt"], "2023-11-14T22:13:20.123Z");
        assert_eq!(body["businessTransaction"]["customer"]["segmentValidFrom"], "2023-11-14T22:13:20.123Z");
        assert_eq!((&body["businessTransaction"]["version"], &body["replayed"]), (&json!(2), &json!(true)));
        assert!(body["businessTransaction"].as_object().unwrap()["account"].is_null());
    }

    #[test]
    fn a_refusal_is_a_problem_and_a_conflict_has_its_own_status_with_if_match() {
        let conflict = Answer::Rejected(Rejection::VersionConflict { expected: 1, actual: 2 });
        let internal = Answer::Rejected(Rejection::InternalError);
        for (answer, is_conditional, status, title) in [
            (&conflict, false, 400, "Request Validation failed"),
            (&conflict, true, 412, "Request Validation failed"),
            (&Answer::Rejected(Rejection::ExternalIdNotUnique), true, 400, "Request Validation failed"),
            (&internal, true, 500, "Internal error"),
        ] {
            let response = reply(answer).to("c").response(is_conditional);
            assert_eq!(response.status(), status, "{answer:?}");
            let body = body(&response);
            assert_eq!((&body["status"], &body["title"]), (&json!(status), &json!(title)), "{answer:?}");
            assert_eq!((&body["requestId"], &body["correlationId"]), (&json!("r"), &json!("c")));
            assert_eq!(response.headers().get(header::ETAG), None);
        }
        let found = reply(&conflict).found();
        assert_eq!((found.status(), &body(&found)["statusCode"]), (StatusCode::OK, &json!(400)));
    }
}
