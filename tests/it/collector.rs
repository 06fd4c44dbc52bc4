//! A collector for the tests: it takes spans by OTLP over HTTP, as an OpenTelemetry collector does, and keeps them.

use crate::runtime;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span as OtlpSpan;
use prost::Message;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

/// A span that arrived. Its ids are hexadecimal.
#[derive(Clone, Debug)]
pub struct Span {
    pub trace: String,
    pub id: String,
    pub parent: String,
    pub name: String,
    /// The kind by OTLP's numbers: 1 internal, 3 client, 4 producer, 5 consumer.
    pub kind: i32,
    /// Beginning and end, in nanoseconds since the epoch.
    pub time: (u64, u64),
    pub is_error: bool,
    /// The ids of the spans to which this span is linked.
    pub links: Vec<String>,
    pub attributes: BTreeMap<String, String>,
    /// The attributes of the process that made the span.
    pub resource: BTreeMap<String, String>,
    /// The whole span as text, for searching.
    pub text: String,
}

impl Span {
    /// Returns an attribute's value, or an empty text if the span lacks the attribute.
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

/// See the module.
#[derive(Clone)]
pub struct Collector {
    pub url: String,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    /// Starts a collector on a port of its own. It listens until the end of the tests.
    pub fn start() -> Self {
        let spans = Arc::new(Mutex::new(Vec::new()));
        let router = Router::new().route("/v1/traces", post(take)).with_state(spans.clone());
        let address = runtime().block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("the loopback interface has a free port");
            let address = listener.local_addr().expect("it is bound");
            tokio::spawn(async { axum::serve(listener, router).await });
            address
        });
        Self { url: format!("http://{address}"), spans }
    }

    /// Returns all spans that have arrived.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns all spans of a trace that have arrived.
    pub fn of_trace(&self, trace: &str) -> Vec<Span> {
        self.spans().into_iter().filter(|span| span.trace == trace).collect()
    }
}

async fn take(State(spans): State<Arc<Mutex<Vec<Span>>>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if headers.get("content-type").is_none_or(|t| t != "application/x-protobuf") {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE;
    }
    let Ok(request) = ExportTraceServiceRequest::decode(body) else { return StatusCode::BAD_REQUEST };
    for of_process in request.resource_spans {
        let resource = texts(&of_process.resource.clone().unwrap_or_default().attributes);
        let taken = of_process.scope_spans.into_iter().flat_map(|scope| scope.spans).map(|span| read(&span, &resource));
        spans.lock().unwrap_or_else(PoisonError::into_inner).extend(taken);
    }
    StatusCode::OK
}

fn read(span: &OtlpSpan, resource: &BTreeMap<String, String>) -> Span {
    Span {
        trace: hexadecimal(&span.trace_id),
        id: hexadecimal(&span.span_id),
        parent: hexadecimal(&span.parent_span_id),
        name: span.name.clone(),
        kind: span.kind,
        time: (span.start_time_unix_nano, span.end_time_unix_nano),
        is_error: span.status.as_ref().is_some_and(|s| s.code == 2),
        links: span.links.iter().map(|link| hexadecimal(&link.span_id)).collect(),
        attributes: texts(&span.attributes),
        resource: resource.clone(),
        text: format!("{span:?} {resource:?}"),
    }
}

/// Writes bytes as hexadecimal digits, two for each byte.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|v| v.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(is_so)) => is_so.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|a| (a.key.clone(), text(&a.value))).collect()
}
