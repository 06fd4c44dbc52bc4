//! The spans of a command: in a gateway its request, its writing and the wait for its reply; in the processor decoding, deciding with each
//! step of the store, and publishing. They are made only for commands whose trace is
//! sampled, and only while somebody wants them: a collector ([`super::otlp`]), or the log at level debug. For all other commands each of
//! these calls costs one comparison.
//!
//! Spans tell what happened, when, and to which request. They never hold keys, names or external ids.

use super::labels::Operation;
use super::trace_context::TraceContext;
use crate::domain::request::SourceRecord;
use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt;
use tracing::field::Empty;
use tracing::{Level, Span, debug_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The target by which filters recognise the spans.
pub const TARGET: &str = "crm_processor::spans";

/// Returns whether anybody wants to see the spans of a trace.
fn is_wanted(trace: &TraceContext) -> bool {
    trace.is_sampled() && tracing::span_enabled!(target: TARGET, Level::DEBUG)
}

/// The spans of a command that is under way.
#[derive(Clone, Debug)]
pub struct CommandSpans {
    command: Span,
    /// The span of the Kafka transaction under way; none between transactions.
    publish: Span,
}

impl CommandSpans {
    /// Begins the spans of a command that was taken in. Returns `None` if nobody wants to see them. If a collector does, the command's
    /// answers will name our span as their parent.
    ///
    /// The spans are boxed, because each record under way has room for them, and few records have any.
    pub fn begin(trace: &mut TraceContext, record: &SourceRecord) -> Option<Box<Self>> {
        if !is_wanted(trace) {
            return None;
        }
        let command = debug_span!(
            target: TARGET,
            parent: None,
            "command",
            otel.kind = "consumer",
            otel.status_code = Empty,
            messaging.system = "kafka",
            messaging.destination.name = &*record.topic,
            messaging.destination.partition.id = record.partition,
            messaging.kafka.offset = record.offset,
            trace_id = trace.trace_id(),
            request_id = Empty,
            use_case = Empty,
            status = Empty,
        );
        // An error means that there is no collector, and the spans are for the log alone.
        if command.set_parent(Context::new().with_remote_span_context(trace.sender())).is_ok() {
            let context = command.context();
            let span = context.span();
            if span.span_context().is_valid() {
                trace.go_on_from(span.span_context());
            }
        }
        Some(Box::new(Self { command, publish: Span::none() }))
    }

    /// Records which command it is.
    pub fn decoded(&self, use_case: &'static str, request_id: Option<&str>) {
        self.command.record("use_case", use_case);
        self.command.record("request_id", request_id);
    }

    /// Records the status of the reply, if there is a reply.
    pub fn answered(&self, status: Option<i32>) {
        self.command.record("status", status);
        if status.is_some_and(|s| s >= 500) {
            self.command.record("otel.status_code", "ERROR");
        }
    }

    /// Begins the span of a Kafka transaction that holds the command's answers.
    pub fn publishing(&mut self) {
        self.publish = debug_span!(target: TARGET, parent: &self.command, "publish", otel.kind = "producer", otel.status_code = Empty, result = Empty);
    }

    /// Ends the span of that transaction.
    pub fn published(&mut self, result: &'static str, committed: bool) {
        let publish = std::mem::replace(&mut self.publish, Span::none());
        publish.record("result", result);
        if !committed {
            publish.record("otel.status_code", "ERROR");
        }
    }
}

/// The spans of a request over HTTP.
#[derive(Debug)]
pub struct RequestSpans {
    request: Span,
    trace: TraceContext,
}

impl RequestSpans {
    /// Begins the span of a request of this kind. Returns `None` if nobody wants to see the spans.
    pub fn begin(trace: TraceContext, kind: &'static str) -> Option<Self> {
        if !is_wanted(&trace) {
            return None;
        }
        let request = debug_span!(
            target: TARGET,
            parent: None,
            "request",
            otel.kind = "server",
            otel.status_code = Empty,
            kind,
            trace_id = trace.trace_id(),
            request_id = Empty,
            http.response.status_code = Empty,
        );
        // An error means that there is no collector, and the spans are for the log alone.
        let _ = request.set_parent(Context::new().with_remote_span_context(trace.sender()));
        Some(Self { request, trace })
    }

    /// Returns the span of the whole request, in which the steps of the store have theirs.
    pub fn request(&self) -> &Span {
        &self.request
    }

    /// Records which request it is.
    pub fn prepared(&self, request_id: &str) {
        self.request.record("request_id", request_id);
    }

    /// Begins the span of writing the command. Returns the trace as the command's record is to name it: if there is a collector, what
    /// follows goes on from our span.
    pub fn produce(&self) -> (Span, TraceContext) {
        let produce = debug_span!(
            target: TARGET,
            parent: &self.request,
            "produce",
            otel.kind = "producer",
            otel.status_code = Empty,
            result = Empty,
        );
        let (context, mut trace) = (produce.context(), self.trace.clone());
        let span = context.span();
        if span.span_context().is_valid() {
            trace.go_on_from(span.span_context());
        }
        (produce, trace)
    }

    /// Begins the span of the wait for the reply.
    pub fn await_reply(&self) -> Span {
        debug_span!(target: TARGET, parent: &self.request, "reply", otel.kind = "consumer")
    }

    /// Records the answer's status.
    pub fn answered(&self, status: u16) {
        self.request.record("http.response.status_code", status);
        if status >= 500 {
            self.request.record("otel.status_code", "ERROR");
        }
    }
}

/// Records in the span of writing a command what became of it.
pub fn written(produce: &Span, result: &'static str, is_written: bool) {
    produce.record("result", result);
    if !is_written {
        produce.record("otel.status_code", "ERROR");
    }
}

/// Decodes a command in a span of its own.
pub fn decode<T>(spans: Option<&CommandSpans>, decode: impl FnOnce() -> T) -> T {
    match spans {
        Some(spans) => debug_span!(target: TARGET, parent: &spans.command, "decode").in_scope(decode),
        None => decode(),
    }
}

/// Begins a span for each of the commands that are decided together. The store is asked for all of them at once, so its steps belong to
/// the first span, and the others have a link to the first.
pub fn decide<'a>(commands: impl Iterator<Item = &'a CommandSpans>) -> Vec<Span> {
    let spans: Vec<_> = commands.map(|c| debug_span!(target: TARGET, parent: &c.command, "decide")).collect();
    if let [first, others @ ..] = &spans[..] {
        for other in others {
            other.follows_from(first);
        }
    }
    spans
}

/// The span of one operation of the store, within the span of the decision that needs it. The span ends when it is dropped. It is boxed,
/// because few operations have one.
#[derive(Debug)]
pub struct StoreStep(Option<Box<Span>>);

impl StoreStep {
    /// Begins the span of an operation.
    pub fn begin(operation: Operation) -> Self {
        if !tracing::span_enabled!(target: TARGET, Level::DEBUG) || Span::current().is_none() {
            return Self(None);
        }
        let span = debug_span!(
            target: TARGET,
            "store",
            otel.name = operation.text(),
            otel.kind = "client",
            otel.status_code = Empty,
            operation = operation.text(),
            applied = Empty,
        );
        Self(Some(Box::new(span)))
    }

    /// Records whether a conditional write was applied.
    pub fn applied(&self, applied: bool) {
        if let Some(span) = &self.0 {
            span.record("applied", applied);
        }
    }

    /// Records that the operation failed.
    pub fn failed(&self) {
        if let Some(span) = &self.0 {
            span.record("otel.status_code", "ERROR");
        }
    }
}
