//! From a record to a job for a lane: frame, writer's schema, decoding, request validation. When a record is read, and what waits
//! for a writer's schema that is not known yet, is decided by `flow::intake`.

use crate::config::Config;
use crate::domain::command::{Command, RawCommand};
use crate::domain::rejection::Rejection;
use crate::domain::values::{RequestId, Rules};
use crate::flow::RecordId;
use crate::flow::intake::{Read, Reader};
use crate::flow::lanes::{Foldable, lane_of};
use crate::kafka::record::Record;
use crate::store::claims::Submission;
use crate::store::outcome::Coordinates;
use crate::telemetry::spans::{self, CommandSpans, Place};
use crate::wire::command::{Unreadable, WriterSchema};
use crate::wire::frame::frame;
use crate::wire::headers::CommandHeaders;
use crate::wire::registry::Registry;
use crate::wire::schema_id::SchemaId;
use std::sync::Arc;

/// A record on its way through a lane.
pub struct Job {
    /// The record as it came.
    pub record: Record,
    /// What its headers say.
    pub headers: CommandHeaders,
    /// What is to be done.
    pub task: Task,
    /// If the command is traced.
    pub spans: Option<Box<CommandSpans>>,
}

/// What is to be done about a record.
pub enum Task {
    /// A command that passed request validation: to be decided.
    Decide(Arc<Submission>),
    /// A command that did not: to be answered.
    Refuse(RawCommand, Vec<Rejection>),
    /// No command: to the dead letter queue.
    Bury(Unreadable),
}

impl Job {
    /// Stands for a record that can't be taken from what the brokers send: a stub goes to the dead letter topic.
    pub fn undecodable(at: RecordId) -> Self {
        let task = Task::Bury(Unreadable::Undecodable);
        Self { record: Record::unknown(at), headers: CommandHeaders::default(), task, spans: None }
    }

    /// The request id, if the command has one that is fit for a log.
    pub fn request_id(&self) -> Option<&str> {
        self.task.request_id()
    }

    /// The trace that it belongs to.
    pub fn trace_id(&self) -> Option<&str> {
        self.headers.trace.as_ref().map(|trace| trace.trace_id())
    }
}

impl Task {
    fn request_id(&self) -> Option<&str> {
        match self {
            Self::Decide(submission) => Some(submission.command.request_id.as_str()),
            Self::Refuse(raw, _) => raw.request_id.as_deref().filter(|id| RequestId::parse(id).is_ok()),
            Self::Bury(_) => None,
        }
    }

    fn name(&self, spans: &CommandSpans) {
        let use_case = match self {
            Self::Decide(submission) => submission.command.contents.use_case(),
            Self::Refuse(raw, _) => raw.use_case,
            Self::Bury(_) => return,
        };
        spans.decoded(use_case.name(), self.request_id());
    }
}

impl Foldable for Job {
    fn folds_with(&self, next: &Self) -> bool {
        match (&self.task, &next.task) {
            (Task::Decide(a), Task::Decide(b)) => a.command.entity_named() == b.command.entity_named(),
            _ => false,
        }
    }
}

/// Makes jobs of records.
pub struct JobReader {
    topic: Arc<str>,
    max_command_bytes: usize,
    rules: Rules,
    registry: Arc<Registry>,
}

/// What is known of a record before it is decoded.
pub struct Prepared {
    headers: CommandHeaders,
    framed: Result<Framed, Unreadable>,
}

/// A record's body and its writer's schema.
struct Framed {
    schema: Arc<WriterSchema>,
    /// The body is what comes at the end of the value.
    body_size: usize,
}

impl JobReader {
    /// Reads commands as they are configured.
    pub fn new(config: &Config, registry: Arc<Registry>) -> Self {
        Self {
            topic: config.kafka.topics.commands.as_str().into(),
            max_command_bytes: config.kafka.max_command_bytes,
            rules: Rules { segments: config.segments.clone() },
            registry,
        }
    }

    /// Returns what there is to decode, and with which schema.
    ///
    /// # Errors
    /// Returns the id of a schema that is not known yet.
    fn framed(&self, record: &Record, headers: &CommandHeaders) -> Result<Result<Framed, Unreadable>, SchemaId> {
        if headers.oversized_correlation {
            return Ok(Err(Unreadable::CorrelationHeaderTooLong));
        }
        if record.size() > self.max_command_bytes {
            return Ok(Err(Unreadable::TooLarge { size: record.size(), max: self.max_command_bytes }));
        }
        let (id, body) = match frame(record.value.as_deref(), headers_of(record)) {
            Ok(framed) => framed,
            Err(unreadable) => return Ok(Err(unreadable)),
        };
        let schema = self.registry.cached(id).ok_or(id)?;
        Ok(schema.map(|schema| Framed { schema, body_size: body.len() }))
    }

    fn submission(&self, command: Command, record: &Record, headers: &CommandHeaders) -> Submission {
        let correlation_id = headers.correlation_id.clone().or_else(|| Some(command.request_id.to_string()));
        let record = Coordinates { topic: self.topic.clone(), partition: record.at.partition, offset: record.at.offset };
        Submission { command, correlation_id, record }
    }
}

impl Reader for JobReader {
    type Record = Record;
    type Need = SchemaId;
    type Prepared = Prepared;
    type Command = Job;
    type Ahead = Arc<Submission>;

    fn id(record: &Record) -> RecordId {
        record.at
    }

    fn lacks(&self, record: &Record) -> Option<SchemaId> {
        let (id, _) = frame(record.value.as_deref(), headers_of(record)).ok()?;
        self.registry.cached(id).is_none().then_some(id)
    }

    /// Keeps the list of records that wait for a schema up to date, too.
    fn prepare(&mut self, record: &Record) -> Result<Prepared, SchemaId> {
        let headers = CommandHeaders::parse(headers_of(record));
        let RecordId { partition, offset } = record.at;
        let framed = self.framed(record, &headers).inspect_err(|id| self.registry.lacking().add(partition, offset, *id))?;
        self.registry.lacking().remove(partition);
        Ok(Prepared { headers, framed })
    }

    fn read(&mut self, record: Record, prepared: Prepared) -> Read<Job, Arc<Submission>> {
        let Prepared { mut headers, framed } = prepared;
        let at = record.at;
        let place = Place { topic: &self.topic, partition: at.partition, offset: at.offset };
        let spans = headers.trace.as_deref_mut().and_then(|trace| CommandSpans::begin(trace, place));
        let value = record.value.as_deref().unwrap_or_default();
        let decode = |framed: Framed| framed.schema.decode(&value[value.len() - framed.body_size..]);
        let task = spans::decode(spans.as_deref(), || match framed.and_then(decode) {
            Err(unreadable) => Task::Bury(unreadable),
            Ok(raw) => match raw.validate(&self.rules) {
                Err(findings) => Task::Refuse(raw, findings),
                Ok(command) => Task::Decide(Arc::new(self.submission(command, &record, &headers))),
            },
        });
        if let Some(spans) = &spans {
            task.name(spans);
        }
        let submission = if let Task::Decide(submission) = &task { Some(submission) } else { None };
        let lane = lane_of(at, record.key.as_deref(), submission.map(|submission| submission.command.entity_named()));
        Read { lane, ahead: submission.cloned(), command: Job { record, headers, task, spans } }
    }
}

fn headers_of(record: &Record) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
    record.headers.iter().map(|(name, value)| (name.as_ref(), value.as_deref()))
}
