//! The spans of a command: in a gateway its request, its writing and the wait for its reply; in the processor decoding, deciding with each
//! step of the store, and publishing. Spans are made only for commands whose trace is sampled, and only while somebody wants them: a
//! collector ([`super::otlp`]), or the log at level debug. For all other commands each of these calls costs one comparison.
//!
//! Spans tell what happened, when, and to which request. They never hold keys, names or external ids.

use super::labels::Operation;
use super::trace_context::TraceContext;
use crate::domain::request::SourceRecord;
use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt;
use tracing::field::Empty;
use tracing::level_filters::LevelFilter;
use tracing::{Span, debug_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The target by which filters recognise the spans.
pub const TARGET: &str = "crm_processor::spans";

/// Returns `false` if nobody takes spans at their level; the call costs one comparison. If it returns `true`, the span must be made to
/// learn whether it is wanted. (`span_enabled!` must not be used: if no span follows, the filter's answer stays with the thread, and the
/// thread's next line of the log is lost.)
fn may_be_wanted() -> bool {
    LevelFilter::current() >= LevelFilter::DEBUG
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
        if !trace.is_sampled() || !may_be_wanted() {
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
        if command.is_disabled() {
            return None;
        }
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
        if !trace.is_sampled() || !may_be_wanted() {
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
        if request.is_disabled() {
            return None;
        }
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
        if !may_be_wanted() || Span::current().is_none() {
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
        Self((!span.is_disabled()).then(|| Box::new(span)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::{EnvFilter, Layer};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// A directive about a field makes the filter be asked again each time; so does a call site that is reached for the first time by two
    /// threads at once.
    #[test]
    fn no_line_of_the_log_is_lost_after_a_span_that_nobody_wants() {
        for directives in ["info", "info,[decide{request_id=r-1}]=debug", "info,crm_processor::kafka=debug"] {
            let lines = Lines::default();
            let writer = lines.clone();
            let layer =
                tracing_subscriber::fmt::layer().with_writer(move || writer.clone()).with_filter(EnvFilter::new(directives));
            tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
                let mut trace = TraceContext::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None).unwrap();
                let record = SourceRecord { topic: "crm.commands".into(), partition: 3, offset: 17 };
                drop(CommandSpans::begin(&mut trace, &record));
                tracing::error!("after a command");
                drop(StoreStep::begin(Operation::ReadId));
                tracing::error!("after a step");
                drop(RequestSpans::begin(trace, "status"));
                tracing::error!("after a request");
            });
            let written = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
            for line in ["after a command", "after a step", "after a request"] {
                assert!(written.contains(line), "{directives}: {line}: {written}");
            }
        }
    }
}
