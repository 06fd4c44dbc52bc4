//! Answers a request: finds what it is about, and has it written to the topic or read from the store. The pure files make the contents of
//! an answer. Which status a command has as long as there is no reply to it (202, 503 or 504) is decided here, in `Service::wait`, from what
//! `writer` knows of the record.

use super::access::{Access, Principal, Scope};
use super::command::{self, PreparedCommand};
use super::documents;
use super::headers::{Preferences, preferences};
use super::hosts::Hosts;
use super::open::{CommandProgress, OpenRequests, Waiter};
use super::problem::{self, Problem, RETRY_AFTER, with};
use super::reads::StoreReader;
use super::received::{Bodies, drop_body};
use super::room::Room;
use super::route::{Astray, Guarded, Question, Route};
use super::traced::TracedRequest;
use super::writer::{CommandWriter, NO_KAFKA};
use crate::config;
use crate::domain::use_case::UseCase;
use crate::domain::values::Rules;
use crate::store::claims::{Claims, Clock};
use crate::store::{ConditionalStore, StoreFault};
use crate::telemetry::gathered::Gathered;
use crate::telemetry::labels::HttpStatus;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::spans::RequestSpans;
use crate::wire::headers::{CORRELATION_ID, TRACEPARENT, TRACESTATE};
use crate::wire::registry::RegistryClient;
use crate::wire::unreadable::MAX_CORRELATION_BYTES;
use axum::body::{Body, Bytes};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Request, Response, StatusCode};
use serde_json::json;
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use tokio::time::timeout;
use tracing::{Instrument as _, Span};

/// The gateway's answers, over a store for reads.
pub struct Service<S> {
    /// The configuration.
    pub config: config::Gateway,
    /// The rules of request validation.
    pub rules: Rules,
    /// The check of who a client is and what it may do.
    pub access: Access,
    /// The hosts that requests may name.
    pub hosts: Hosts,
    /// The writer of commands.
    pub writer: CommandWriter,
    /// The registry that gave out the ids of the commands' schemas.
    pub registry: RegistryClient,
    /// The requests that wait for their replies.
    pub open: OpenRequests,
    /// Room for the bodies of commands.
    pub bodies: Bodies,
    /// Room for commands that wait for their replies.
    pub room: Room,
    /// Room for reads. They have room of their own, so that neither readers nor senders keep the others out.
    pub reads: Room,
    /// The store, as soon as it was reached once.
    pub claims: OnceLock<Arc<Claims<S>>>,
    /// The clock.
    pub clock: Clock,
    /// The process's metrics.
    pub metrics: Arc<Metrics>,
    /// When faults of the store were last logged.
    pub faults: Gathered<()>,
}

impl<S: ConditionalStore> Service<S> {
    /// Answers a request. `certificate` is the common name of the client's certificate.
    pub async fn answer(&self, request: Request<Body>, certificate: Option<&str>) -> Response<Bytes> {
        let begun = Instant::now();
        let (parts, body) = request.into_parts();
        let route = self.hosts.check(&parts.uri, &parts.headers).map_err(Astray::from);
        let route = route.and_then(|()| Route::of(&parts.method, parts.uri.path(), parts.uri.query()));
        let kind = route.as_ref().map_or("none", Route::kind);
        let spans = command::trace(&parts.headers).and_then(|trace| RequestSpans::begin(trace, kind));
        let guarded = match route {
            // Everybody may read the documents, and their responses echo nothing.
            Ok(Route::Document(document)) => {
                drop_body(&parts.headers, body).await;
                let response = documents::response(document, &parts.headers);
                self.metrics.gateway_reads.of(HttpStatus::of(response.status().as_u16())).inc();
                return response;
            }
            Ok(Route::Guarded(guarded)) => Ok(guarded),
            Err(astray) => Err(astray),
        };
        let (use_case, scope) = match &guarded {
            Ok(Guarded::Command(use_case)) => (Some(*use_case), Some(Scope::Write)),
            Ok(Guarded::Question(_)) => (None, Some(Scope::Read)),
            Err(_) => (None, None),
        };
        let response = match self.access.principal(&parts.headers, certificate, scope, (self.clock)()).await {
            // Whoever may not send commands takes no memory for a body either.
            Err(response) => {
                drop_body(&parts.headers, body).await;
                response
            }
            Ok(principal) => {
                let span = spans.as_ref().map_or_else(Span::none, |spans| spans.request().clone());
                self.answer_to(principal, guarded, &parts.headers, body, spans.as_ref()).instrument(span).await
            }
        };
        if let Some(spans) = spans {
            spans.answered(response.status().as_u16());
        }
        let status = HttpStatus::of(response.status().as_u16());
        match use_case {
            Some(use_case) => {
                self.metrics.gateway_requests.of((use_case, status)).inc();
                self.metrics.gateway_request_duration.of(use_case).observe(begun.elapsed().as_secs_f64());
            }
            None => self.metrics.gateway_reads.of(status).inc(),
        }
        echo(&parts.headers, response)
    }

    async fn answer_to(
        &self,
        principal: Principal,
        guarded: Result<Guarded, Astray>,
        headers: &HeaderMap,
        body: Body,
        spans: Option<&RequestSpans>,
    ) -> Response<Bytes> {
        let question = match guarded {
            Ok(Guarded::Command(use_case)) => {
                let body = self.bodies.received(headers, body).await;
                return self.command(use_case, principal, headers, body, spans).await;
            }
            Ok(Guarded::Question(question)) => Ok(question),
            Err(astray) => Err(astray),
        };
        drop_body(headers, body).await;
        match question {
            Ok(question) => self.read(question, headers).await,
            Err(Astray { problem, allow: None }) => problem.response(),
            Err(Astray { problem, allow: Some(methods) }) => with(problem.response(), header::ALLOW, methods),
        }
    }

    async fn command(
        &self,
        use_case: UseCase,
        actor: Principal,
        headers: &HeaderMap,
        body: Result<Bytes, Problem>,
        spans: Option<&RequestSpans>,
    ) -> Response<Bytes> {
        let mut prepared = match self.prepare(use_case, headers, body) {
            Ok(prepared) => prepared,
            Err(problem) => return problem.response(),
        };
        if let Some(spans) = spans {
            spans.prepared(prepared.identity.request_id.as_str());
        }
        let Some(_place) = self.room.take() else { return unwritten(&prepared, "too many requests are open") };
        let waiter = self.open.wait_for(&prepared.identity);
        let traced = if waiter.is_first {
            let (traced, trace) = TracedRequest::writing(spans);
            prepared.trace = trace.or(prepared.trace);
            traced
        } else {
            TracedRequest::joining(spans)
        };
        if waiter.is_first
            && let Err(reason) = self.write(&prepared, waiter.token, &actor)
        {
            // Whoever joined meanwhile is told, too.
            self.open.note(waiter.token, CommandProgress::Unwritten(reason));
        }
        self.wait(&prepared, waiter, traced, preferences(headers)).await
    }

    fn prepare(&self, use_case: UseCase, headers: &HeaderMap, body: Result<Bytes, Problem>) -> Result<PreparedCommand, Problem> {
        command::negotiate(headers)?;
        command::prepare(use_case, headers, &body?, &self.rules)
    }

    /// Gives a command to the Kafka client, or returns the reason why it will not be written.
    fn write(&self, prepared: &PreparedCommand, token: u64, actor: &Principal) -> Result<(), &'static str> {
        // Processors could read the command as another one.
        if self.registry.differs().is_some() {
            return Err("the schema registry has other schemas than before, and nothing was written");
        }
        self.writer.send(prepared, token, actor.as_ref()).map_err(|error| {
            tracing::debug!(%error, "a command was not taken");
            NO_KAFKA
        })
    }

    /// Waits for the reply, or until the client is to be told that it has not come.
    async fn wait(
        &self,
        prepared: &PreparedCommand,
        mut waiter: Waiter,
        mut traced: TracedRequest<'_>,
        preferences: Preferences,
    ) -> Response<Bytes> {
        let Preferences { wait, respond_async } = preferences;
        let applied = wait.map(|wait| wait.min(self.config.max_wait));
        let decisive = waiter.progress.wait_for(|progress| {
            traced.note(progress);
            match progress {
                CommandProgress::Sent => false,
                CommandProgress::Written => respond_async,
                CommandProgress::Unwritten(_) | CommandProgress::Unknown | CommandProgress::Answered(_) => true,
            }
        });
        let progress = match timeout(applied.unwrap_or(self.config.reply_timeout), decisive).await {
            Ok(Ok(progress)) => progress.clone(),
            Ok(Err(_)) | Err(_) => CommandProgress::Unknown,
        };
        let response = match progress {
            // A client that wants no reply gets none even if it is there, so that the answer is always the same.
            CommandProgress::Written => accepted(prepared),
            CommandProgress::Answered(_) if respond_async => accepted(prepared),
            CommandProgress::Answered(reply) => {
                let reply = Arc::unwrap_or_clone(reply).to(prepared.correlation_id());
                reply.response(prepared.is_conditional)
            }
            CommandProgress::Unwritten(reason) => unwritten(prepared, reason),
            CommandProgress::Sent | CommandProgress::Unknown => {
                self.metrics.gateway_timeouts.inc();
                in_progress(prepared)
            }
        };
        match (applied, respond_async) {
            (_, true) => with(response, PREFERENCE_APPLIED, "respond-async"),
            (Some(wait), false) => with(response, PREFERENCE_APPLIED, format!("wait={}", wait.as_secs())),
            (None, false) => response,
        }
    }

    async fn read(&self, question: Question, headers: &HeaderMap) -> Response<Bytes> {
        if !super::headers::takes_json(headers) {
            let detail = "the answer is application/json, which Accept excludes";
            return Problem::new(StatusCode::NOT_ACCEPTABLE, "not-acceptable", detail).response();
        }
        let Some(claims) = self.claims.get() else { return problem::unavailable("the store can't be read at present") };
        let Some(_place) = self.reads.take() else { return problem::unavailable("too many reads are open") };
        let reader = StoreReader { claims, headers };
        let read = match question {
            Question::Entity(entity_type, reference) => reader.entity(entity_type, &reference).await,
            Question::History(entity_type, ref_id, page) => reader.history(entity_type, ref_id, page).await,
            Question::Outcome(entity_type, reference, request_id, contents) => {
                reader.outcome(entity_type, &reference, &request_id, contents, (self.clock)()).await
            }
        };
        read.unwrap_or_else(|fault| self.fault(&fault))
    }

    fn fault(&self, fault: &StoreFault) -> Response<Bytes> {
        if let Some(left_out) = self.faults.due((), Instant::now()) {
            tracing::warn!(%fault, left_out, "the store can't be read for a client");
        }
        problem::unavailable("the store can't be read at present")
    }
}

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

fn accepted(prepared: &PreparedCommand) -> Response<Bytes> {
    let body = json!({ "requestId": prepared.identity.request_id.as_str() });
    with(problem::json(StatusCode::ACCEPTED, &body), header::LOCATION, prepared.location())
}

fn in_progress(prepared: &PreparedCommand) -> Response<Bytes> {
    let detail = "there is no reply yet that can be read; the command may still take effect: ask again with the same request id";
    let problem = Problem::new(StatusCode::GATEWAY_TIMEOUT, "in-progress", detail);
    let response = of(problem, prepared);
    with(response, header::LOCATION, prepared.location())
}

fn unwritten(prepared: &PreparedCommand, detail: &str) -> Response<Bytes> {
    of(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail), prepared)
}

fn of(problem: Problem, prepared: &PreparedCommand) -> Response<Bytes> {
    let problem = problem.about(Some(prepared.identity.request_id.as_str()), Some(prepared.correlation_id()));
    with(problem.response(), header::RETRY_AFTER, RETRY_AFTER)
}

/// Gives a response the headers by which the client and its tracing know the request. Headers that are too long are left out.
fn echo(request: &HeaderMap, mut response: Response<Bytes>) -> Response<Bytes> {
    for name in [CORRELATION_ID, TRACEPARENT, TRACESTATE] {
        let value: Option<&HeaderValue> = request.get_all(name).iter().next_back();
        if let Some(value) = value.filter(|value| value.len() <= MAX_CORRELATION_BYTES) {
            response.headers_mut().insert(HeaderName::from_static(name), value.clone());
        }
    }
    response
}
