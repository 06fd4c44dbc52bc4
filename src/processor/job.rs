//! Turns a record into a job for a lane: frame, writer's schema, decoding, request validation. `flow::intake` decides when a record is
//! read, and which records wait for a writer's schema that is not known yet.

use crate::config::Config;
use crate::domain::command::RawCommand;
use crate::domain::rejection::Rejection;
use crate::domain::values::{RequestId, Rules};
use crate::flow::RecordId;
use crate::flow::intake::{ReadRecord, Reader};
use crate::flow::lanes::{Foldable, Task, lane_of};
use crate::kafka::record::{Record, borrowed};
use crate::store::claims::Submission;
use crate::telemetry::spans::{self, CommandSpans};
use crate::wire::command::WriterSchema;
use crate::wire::frame::frame;
use crate::wire::headers::CommandHeaders;
use crate::wire::registry::RegistryClient;
use crate::wire::schema_id::SchemaId;
use crate::wire::unreadable::Unreadable;
use std::sync::Arc;

/// A record as it came, with what its headers say.
pub struct Incoming {
    /// The record.
    pub record: Record,
    /// The record's headers, parsed.
    pub headers: CommandHeaders,
    /// The spans of a command that is traced.
    pub spans: Option<Box<CommandSpans>>,
}

/// A command that passed request validation and is to be decided.
pub struct CommandJob {
    /// The record that it came in.
    pub incoming: Incoming,
    /// The command.
    pub submission: Arc<Submission>,
}

/// A record that is answered without a decision.
pub struct AnswerJob {
    /// The record.
    pub incoming: Incoming,
    /// Why there is nothing to decide. In a box, because nearly all records are commands to be decided.
    pub cause: Box<NoCommand>,
}

/// Why there is nothing to decide about a record.
#[expect(clippy::large_enum_variant, reason = "it always stands in a box")]
pub enum NoCommand {
    /// Its command did not pass request validation.
    Invalid(RawCommand, Vec<Rejection>),
    /// It holds no command that can be read, and goes to the dead letter topic.
    Unreadable(Unreadable),
}

impl Incoming {
    /// Returns the id of the trace that the record belongs to.
    pub fn trace_id(&self) -> Option<&str> {
        self.headers.trace.as_ref().map(|trace| trace.trace_id())
    }
}

impl CommandJob {
    /// Returns the request id.
    pub fn request_id(&self) -> &str {
        self.submission.request.id.as_str()
    }
}

impl AnswerJob {
    /// Returns a job that stands for a record that can't be decoded. A stub of the record goes to the dead letter topic.
    pub fn undecodable(at: RecordId) -> Self {
        let incoming = Incoming { record: Record::unknown(at), headers: CommandHeaders::default(), spans: None };
        Self { incoming, cause: Box::new(NoCommand::Unreadable(Unreadable::Undecodable)) }
    }
}

impl NoCommand {
    /// Returns the request id, if there is one that is fit for a log.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Invalid(raw, _) => raw.request_id.as_deref().filter(|id| RequestId::parse(id).is_ok()),
            Self::Unreadable(_) => None,
        }
    }
}

impl Foldable for CommandJob {
    fn folds_with(&self, next: &Self) -> bool {
        self.submission.entity_named() == next.submission.entity_named()
    }
}

/// Makes jobs of records.
pub struct JobReader {
    topic: Arc<str>,
    max_command_bytes: usize,
    rules: Rules,
    registry: Arc<RegistryClient>,
}

/// The headers and the frame of a record that is not decoded yet.
pub struct PreparedRecord {
    headers: CommandHeaders,
    framed: Result<Framed, Unreadable>,
}

/// A record's body and its writer's schema.
struct Framed {
    schema: Arc<WriterSchema>,
    /// The size of the body, which stands at the end of the value.
    body_size: usize,
}

impl JobReader {
    /// Creates a reader of commands with the rules of the configuration.
    pub fn new(config: &Config, registry: Arc<RegistryClient>) -> Self {
        Self {
            topic: config.kafka.topics.commands.as_str().into(),
            max_command_bytes: config.kafka.max_command_bytes,
            rules: Rules { segments: config.segments.clone() },
            registry,
        }
    }

    /// Returns the id of the writer's schema, and the size of the record's body.
    fn frame(&self, record: &Record, headers: &CommandHeaders) -> Result<(SchemaId, usize), Unreadable> {
        if headers.oversized_correlation {
            return Err(Unreadable::CorrelationHeaderTooLong);
        }
        if record.size() > self.max_command_bytes {
            return Err(Unreadable::TooLarge { size: record.size(), max: self.max_command_bytes });
        }
        let (id, body) = frame(record.value.as_deref(), borrowed(&record.headers))?;
        Ok((id, body.len()))
    }
}

impl Reader for JobReader {
    type Record = Record;
    type Need = SchemaId;
    type Prepared = PreparedRecord;
    type Command = CommandJob;
    type Answerable = AnswerJob;
    type Ahead = Arc<Submission>;

    fn id(record: &Record) -> RecordId {
        record.at
    }

    fn lacks(&self, record: &Record) -> Option<SchemaId> {
        let (id, _) = frame(record.value.as_deref(), borrowed(&record.headers)).ok()?;
        self.registry.cached(id).is_none().then_some(id)
    }

    /// Also keeps the list of records that wait for a schema up to date.
    fn prepare(&mut self, record: &Record) -> Result<PreparedRecord, SchemaId> {
        let headers = CommandHeaders::parse(borrowed(&record.headers));
        let RecordId { partition, offset } = record.at;
        let framed = match self.frame(record, &headers) {
            Ok((id, body_size)) => {
                let Some(schema) = self.registry.cached(id) else {
                    self.registry.lacking().add(partition, offset, id);
                    return Err(id);
                };
                schema.map(|schema| Framed { schema, body_size })
            }
            Err(unreadable) => Err(unreadable),
        };
        self.registry.lacking().remove(partition);
        Ok(PreparedRecord { headers, framed })
    }

    fn read(&mut self, record: Record, prepared: PreparedRecord) -> ReadRecord<Self> {
        let PreparedRecord { mut headers, framed } = prepared;
        let at = record.at;
        let source = at.on(self.topic.clone());
        let spans = headers.trace.as_deref_mut().and_then(|trace| CommandSpans::begin(trace, &source));
        let value = record.value.as_deref().unwrap_or_default();
        let decode = |framed: Framed| framed.schema.decode(&value[value.len() - framed.body_size..]);
        let checked = spans::decode(spans.as_deref(), || match framed.and_then(decode) {
            Err(unreadable) => Err(Box::new(NoCommand::Unreadable(unreadable))),
            Ok(raw) => match raw.validate(&self.rules) {
                Err(findings) => Err(Box::new(NoCommand::Invalid(raw, findings))),
                Ok(command) => {
                    let correlation_id = headers.correlation_id.clone().unwrap_or_else(|| command.request_id.to_string());
                    let actor = headers.actor.valid().cloned();
                    Ok(Arc::new(Submission::new(command, Some(correlation_id), actor, source)))
                }
            },
        });
        if let Some(spans) = &spans {
            match &checked {
                Ok(submission) => {
                    spans.decoded(submission.request.contents.use_case().name(), Some(submission.request.id.as_str()));
                }
                Err(cause) => {
                    if let NoCommand::Invalid(raw, _) = &**cause {
                        spans.decoded(raw.use_case.name(), cause.request_id());
                    }
                }
            }
        }
        let lane = lane_of(at, record.key.as_deref(), checked.as_ref().ok().map(|submission| submission.entity_named()));
        let incoming = Incoming { record, headers, spans };
        match checked {
            Ok(submission) => {
                ReadRecord { lane, ahead: Some(submission.clone()), task: Task::Decide(CommandJob { incoming, submission }) }
            }
            Err(cause) => ReadRecord { lane, ahead: None, task: Task::Answer(AnswerJob { incoming, cause }) },
        }
    }
}
