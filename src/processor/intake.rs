//! From a record to a job for a lane: frame, writer's schema, decoding, request validation. A record whose writer's schema
//! is not known yet makes its partition wait, for its commands must stay in order; the others go on.

#![expect(clippy::result_large_err, reason = "a record that can't be admitted goes back whole; a box would cost all that can")]

use crate::config::Config;
use crate::domain::command::{Command, RawCommand};
use crate::domain::rejection::Rejection;
use crate::domain::values::{RequestId, Rules};
use crate::flow::lanes::{Foldable, lane_of};
use crate::flow::offsets::Delivery;
use crate::flow::waiting::{Unready, Waiting};
use crate::flow::{Flow, Position};
use crate::kafka::Outputs;
use crate::kafka::record::Record;
use crate::processor::answer::Memo;
use crate::store::claims::Submission;
use crate::store::outcome::Coordinates;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::spans::{self, CommandSpans, Place};
use crate::wire::command::{Unreadable, WriterSchema};
use crate::wire::headers::CommandHeaders;
use crate::wire::registry::Registry;
use crate::wire::schema_id::{SchemaId, frame};
use std::sync::Arc;
use tokio::sync::mpsc;

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

/// The registry has answered about the schema with this id.
pub struct SchemaLoaded(SchemaId);

/// What happens to records before they have a lane.
pub struct Intake {
    reader: Reader,
    metrics: Arc<Metrics>,
    /// Records that can't be admitted yet; they may lack the schema with an id.
    waiting: Waiting<Record, SchemaId>,
    loaded: mpsc::UnboundedSender<SchemaLoaded>,
}

/// Makes jobs of records.
struct Reader {
    topic: Arc<str>,
    max_command_bytes: usize,
    rules: Rules,
    registry: Arc<Registry>,
    /// The commands that have joined their lanes, since it was asked last.
    admitted: Vec<Arc<Submission>>,
    backwards: Option<Position>,
}

type CommandFlow = Flow<Job, Outputs<Memo>>;

/// The writer's schema of this id is not known yet.
struct NoSchema(SchemaId);

/// A record's body and its writer's schema.
type Framed<'r> = (Arc<WriterSchema>, &'r [u8]);

impl Intake {
    /// With the channel by which it learns of schemas.
    pub fn new(config: &Config, registry: Arc<Registry>, metrics: Arc<Metrics>) -> (Self, mpsc::UnboundedReceiver<SchemaLoaded>) {
        let (loaded, receiver) = schema_channel();
        let reader = Reader {
            topic: config.kafka.topics.commands.as_str().into(),
            max_command_bytes: config.kafka.max_command_bytes,
            rules: Rules { segments: config.segments.clone() },
            registry,
            admitted: Vec::new(),
            backwards: None,
        };
        let intake = Self { reader, metrics, waiting: Waiting::default(), loaded };
        (intake, receiver)
    }

    /// A record arrived.
    pub fn take(&mut self, record: Record, flow: &mut CommandFlow) {
        if self.waiting.holds(record.at.partition)
            && let Some(NoSchema(id)) = self.reader.lacks(&record)
        {
            self.waiting.expect(record.at.partition, id);
        }
        self.waiting.take(record.at.partition, record, flow, |record, flow| self.reader.admit(record, flow));
        self.load_schemas();
    }

    /// Admits what could not be admitted before, as far as it can be now.
    pub fn resume(&mut self, flow: &mut CommandFlow) {
        self.waiting.resume(flow, |record, flow| self.reader.admit(record, flow));
        self.load_schemas();
    }

    /// Sends a stub to the dead letter topic for a record that can't be taken from what the brokers send. Returns false if that must
    /// wait: the record is too far above the lowest incomplete one.
    pub fn bury_unknown(at: Position, flow: &mut CommandFlow) -> bool {
        match flow.deliver(at) {
            Delivery::New => {}
            Delivery::Known => return true,
            Delivery::TooFar | Delivery::Backwards => return false,
        }
        let (record, headers) = (Record::unknown(at), CommandHeaders::default());
        let job = Job { record, headers, task: Task::Bury(Unreadable::Undecodable), spans: None };
        flow.admit(at, lane_of(at, None, None::<()>), job);
        true
    }

    /// Where the first record was found that lies below what is done already: the topic was made again, or its log was cut off.
    pub fn backwards(&self) -> Option<Position> {
        self.reader.backwards
    }

    /// Those that wait may find that something has changed.
    pub fn stir(&mut self) {
        self.waiting.stir();
    }

    /// A schema that was asked for is there.
    pub fn schema_loaded(&mut self, SchemaLoaded(id): SchemaLoaded) {
        self.waiting.fetched(&id);
    }

    /// The commands that have joined their lanes, since it was asked last.
    pub fn admitted(&mut self) -> Vec<Arc<Submission>> {
        std::mem::take(&mut self.reader.admitted)
    }

    /// The partitions are given up.
    pub fn clear(&mut self) {
        self.reader.admitted.clear();
        self.reader.registry.lacking().clear();
        self.waiting.clear();
    }

    /// How many records can't be admitted yet.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn load_schemas(&mut self) {
        for id in self.waiting.wanted() {
            let (registry, loaded, metrics) = (self.reader.registry.clone(), self.loaded.clone(), self.metrics.clone());
            tokio::spawn(async move {
                registry.search(id, &metrics).await;
                let _ = loaded.send(SchemaLoaded(id));
            });
        }
    }
}

impl Reader {
    fn admit(&mut self, record: Record, flow: &mut CommandFlow) -> Result<(), Unready<Record, SchemaId>> {
        let mut headers = CommandHeaders::parse(headers_of(&record));
        let framed = match self.framed(&record, &headers) {
            Ok(framed) => framed,
            Err(NoSchema(id)) => {
                self.registry.lacking().add(record.at.partition, record.at.offset, id);
                return Err(Unready::Lacks(record, id));
            }
        };
        let at = record.at;
        self.registry.lacking().remove(at.partition);
        match flow.deliver(at) {
            Delivery::New => (),
            Delivery::Known => return Ok(()),
            Delivery::TooFar => return Err(Unready::TooFar(record)),
            Delivery::Backwards => {
                self.backwards.get_or_insert(at);
                return Ok(());
            }
        }
        let place = Place { topic: &self.topic, partition: at.partition, offset: at.offset };
        let spans = headers.trace.as_deref_mut().and_then(|trace| CommandSpans::begin(trace, place));
        let read = || framed.and_then(|(schema, body)| schema.decode(body));
        let task = spans::decode(spans.as_deref(), || match read() {
            Err(unreadable) => Task::Bury(unreadable),
            Ok(raw) => match raw.validate(&self.rules) {
                Err(findings) => Task::Refuse(raw, findings),
                Ok(command) => Task::Decide(Arc::new(self.submission(command, &record, &headers))),
            },
        });
        if let Some(spans) = &spans {
            task.name(spans);
        }
        let entity = if let Task::Decide(submission) = &task { Some(submission.command.entity_named()) } else { None };
        let lane = lane_of(at, record.key.as_deref(), entity);
        if let Task::Decide(submission) = &task {
            self.admitted.push(submission.clone());
        }
        flow.admit(at, lane, Job { record, headers, task, spans });
        Ok(())
    }

    /// The schema that a record will need, and that is not known yet.
    fn lacks(&self, record: &Record) -> Option<NoSchema> {
        let (id, _) = frame(record.value.as_deref(), headers_of(record)).ok()?;
        self.registry.cached(id).is_none().then_some(NoSchema(id))
    }

    /// What there is to decode, and with which schema.
    fn framed<'r>(&self, record: &'r Record, headers: &CommandHeaders) -> Result<Result<Framed<'r>, Unreadable>, NoSchema> {
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
        match self.registry.cached(id) {
            None => Err(NoSchema(id)),
            Some(schema) => Ok(schema.map(|schema| (schema, body))),
        }
    }

    fn submission(&self, command: Command, record: &Record, headers: &CommandHeaders) -> Submission {
        let correlation_id = headers.correlation_id.clone().or_else(|| Some(command.request_id.to_string()));
        let record = Coordinates { topic: self.topic.clone(), partition: record.at.partition, offset: record.at.offset };
        Submission { command, correlation_id, record }
    }
}

fn headers_of(record: &Record) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
    record.headers.iter().map(|(name, value)| (name.as_ref(), value.as_deref()))
}

#[expect(clippy::disallowed_methods, reason = "one message for each schema id that is being asked for")]
fn schema_channel() -> (mpsc::UnboundedSender<SchemaLoaded>, mpsc::UnboundedReceiver<SchemaLoaded>) {
    mpsc::unbounded_channel()
}
