//! The steps of a request that is traced: the writing of its command, and the wait for the reply.

use super::open::CommandProgress;
use crate::telemetry::spans::{RequestSpans, written};
use crate::telemetry::trace_context::TraceContext;
use tracing::Span;

/// A request with the spans of its steps, of which there are none if nobody wants to see them.
pub struct TracedRequest<'a> {
    request: Option<&'a RequestSpans>,
    produce: Option<Span>,
    /// The wait, which ends when this is dropped.
    reply: Option<Span>,
}

impl<'a> TracedRequest<'a> {
    /// Begins the writing of the command. Returns the request, and the trace as the record is to name it, if that differs from how it came.
    pub fn writing(request: Option<&'a RequestSpans>) -> (Self, Option<TraceContext>) {
        let (produce, trace) = request.map(RequestSpans::produce).unzip();
        (Self { request, produce, reply: None }, trace)
    }

    /// Begins the wait for the reply to a command that another request has written.
    pub fn joining(request: Option<&'a RequestSpans>) -> Self {
        Self { request, produce: None, reply: request.map(RequestSpans::await_reply) }
    }

    /// Notes how far the command has come. Whoever waits may not see each step.
    pub fn note(&mut self, progress: &CommandProgress) {
        let (result, is_written) = match progress {
            CommandProgress::Sent => return,
            CommandProgress::Written | CommandProgress::Answered(_) => ("written", true),
            CommandProgress::Unwritten(_) => ("unwritten", false),
            CommandProgress::Unknown => ("unknown", false),
        };
        if let Some(produce) = self.produce.take() {
            written(&produce, result, is_written);
            if is_written {
                self.reply = self.request.map(RequestSpans::await_reply);
            }
        }
    }
}
