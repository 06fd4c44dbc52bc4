//! What the operations share: parameters, headers, responses, and the problem.

use super::refer::reference;
use super::rules::{external_id, idempotency_key, request_id};
use crate::gateway::headers::JSON;
use crate::gateway::problem::PROBLEM_JSON;
use crate::gateway::route::{LARGEST_PAGE, PAGE};
use crate::wire::headers::{CORRELATION_ID, TRACEPARENT};
use crate::wire::unreadable::MAX_CORRELATION_BYTES;
use serde_json::{Value, json};

/// Returns the parameters of operations, by name.
pub fn parameters() -> Value {
    let header_of = |name: &str, schema: Value, description: &str| json!({ "name": name, "in": "header", "description": description, "schema": schema });
    let header = |name: &str, description: &str| header_of(name, json!({ "type": "string" }), description);
    let path = |name: &str, schema: Value| json!({ "name": name, "in": "path", "required": true, "schema": schema });
    let query = |name: &str, required: bool, schema: Value, description: &str| json!({ "name": name, "in": "query", "required": required, "schema": schema, "description": description });
    let uuid = || json!({ "type": "string", "format": "uuid" });
    json!({
        "idempotencyKey": header_of("Idempotency-Key", json!({ "type": "string", "pattern": idempotency_key() }), "The request id, unless the body has it."),
        "prefer": header("Prefer", "wait=N: how many seconds to wait for the reply. respond-async: do not wait."),
        "correlationId": header_of(CORRELATION_ID, json!({ "type": "string", "maxLength": MAX_CORRELATION_BYTES }), "Comes back in the answer and in the records."),
        "traceparent": header(TRACEPARENT, "The trace that the request belongs to (W3C)."),
        "ifMatch": header_of("If-Match", json!({ "type": "string", "pattern": "^\"[0-9]{1,18}\"$" }), "The version that the entity must have, as one strong tag."),
        "ifNoneMatch": header("If-None-Match", "The version that the client has already."),
        "cacheControl": header("Cache-Control", "no-cache: a decision that is under way is completed before the read."),
        "refId": path("refId", uuid()),
        "requestId": path("requestId", request_id()),
        "externalId": query("externalId", true, external_id(), "The id that the CRM gave the entity."),
        "before": query("before", false, json!({ "type": "integer", "format": "int64", "minimum": 0, "maximum": i64::MAX }), "Only changes before this version."),
        "limit": query("limit", false, json!({ "type": "integer", "minimum": 1, "maximum": LARGEST_PAGE, "default": PAGE }), "How many changes."),
        "contents": query("contents", false, uuid(), "Tells the request from another one with the same id; from Location."),
    })
}

/// Returns the headers of responses, by name.
pub fn headers() -> Value {
    let text = |description: &str| json!({ "description": description, "schema": { "type": "string" } });
    let always =
        |description: &str, kind: &str| json!({ "description": description, "required": true, "schema": { "type": kind } });
    json!({
        "version": always("The entity's version, as a tag.", "string"),
        "versionIfAny": text("The entity's version, as a tag. A refusal has none."),
        "replayed": text("true if the request was answered before."),
        "correlationId": text("The correlation id of the request."),
        "next": text("The next page, rel=\"next\"."),
        "location": always("Where the outcome of the request will be.", "string"),
        "retryAfter": always("After how many seconds to ask again.", "integer"),
    })
}

/// Returns the responses that operations share, by name.
pub fn responses() -> Value {
    let problem = |description: &str, headers: Value| json!({ "description": description, "headers": headers, "content": { PROBLEM_JSON: { "schema": reference("schemas", "Problem") } } });
    let again = || json!({ "Retry-After": reference("headers", "retryAfter") });
    json!({
        "accepted": {
            "description": "The command is on the topic, and the client did not want to wait.",
            "headers": { "Location": reference("headers", "location") },
            "content": { JSON: { "schema": { "type": "object", "properties": { "requestId": { "type": "string" } }, "required": ["requestId"] } } },
        },
        "notModified": { "description": "The client has it already." },
        "refused": problem("The request was refused, or can't be read: errors say why.", json!({})),
        "unauthorized": problem("No credential, or a wrong one.", json!({})),
        "forbidden": problem("The credential does not allow it.", json!({})),
        "notFound": problem("There is no such thing.", json!({})),
        "noOutcome": problem("The request has no outcome so far.", again()),
        "notAcceptable": problem("Accept excludes JSON.", json!({})),
        "slow": problem("The body did not arrive in time.", json!({})),
        "otherVersion": problem("The entity does not have the version that If-Match names.", json!({})),
        "tooLong": problem("The body is too long.", json!({})),
        "notJson": problem("The body is no JSON.", json!({})),
        "misdirected": problem("The request is for another host: this gateway is not called by that name.", json!({})),
        "internalError": problem("A bug was caught. A new try needs a new request id.", json!({})),
        "unavailable": problem("Nothing was written. Ask again.", again()),
        "inProgress": problem(
            "The reply did not come in time. Ask again with the same request id.",
            json!({ "Retry-After": reference("headers", "retryAfter"), "Location": reference("headers", "location") }),
        ),
    })
}

/// Returns the schema of a problem.
pub fn problem_schema() -> Value {
    json!({
        "type": "object",
        "description": "A problem as in RFC 9457.",
        "properties": {
            "type": { "type": "string", "description": "urn:crm: and the first code, such as urn:crm:CASM-ENTITY-NOT-FOUND." },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string" },
            "errors": { "type": "array", "items": reference("schemas", "Error") },
            "requestId": { "type": ["string", "null"] },
            "correlationId": { "type": ["string", "null"] },
            "replayed": { "type": "boolean" },
        },
        "required": ["type", "title", "status", "detail", "errors", "requestId", "correlationId", "replayed"],
    })
}
