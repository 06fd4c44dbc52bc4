//! The state of the registry's client: its cache, its searches and its last look at the registry. This file also fetches one schema with
//! those that it refers to.

use super::client::{InvalidRegistryOptions, RegistryOptions};
use super::fault::RegistryFault;
use super::http::{Http, HttpAnswer, MAX_ANSWER_BYTES, SchemaAnswer, SchemaReference};
use super::rules::RuleSet;
use super::search::{Sameness, SchemaConclusion, SchemaSearch};
use super::waits::Lacking;
use crate::config::OddAnswer;
use crate::telemetry::gathered::Gathered;
use crate::wire::command::WriterSchema;
use crate::wire::schema_id::SchemaId;
use crate::wire::shape::{Shape, quote};
use crate::wire::unreadable::Unreadable;
use quick_cache::sync::Cache;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// How many schemas are kept. A topic has a handful; a schema that was pushed out is fetched again. The number is larger than that of
/// the schemas that are searched for at once, so that a conclusion about an id is still there when the id's record comes up.
const MAX_CACHED: usize = 4_096;
/// The most schemas that one schema may refer to, directly or not.
pub(super) const MAX_REFERENCES: usize = 64;
/// How many requests are under way at once. There may be any number of records with ids that no registry gave.
const MAX_REQUESTS: usize = 8;

/// The state that all clones of a [`RegistryClient`](super::RegistryClient) share.
pub(super) struct Inner {
    pub http: Http,
    pub odd_answer: OddAnswer,
    pub cache: Cache<SchemaId, Kept>,
    pub unknown_for: Duration,
    pub requests: Semaphore,
    /// Our own schemas, for which the registry is asked to see whether it is there.
    pub ours: Mutex<Vec<Ours>>,
    pub looking: tokio::sync::Mutex<()>,
    pub looked: Mutex<Option<Looked>>,
    /// A message if the registry has another schema now under the id of a writer's schema that is kept, otherwise `None`.
    pub replaced: Mutex<Option<Arc<str>>>,
    /// The number of the kept schema that is looked at next.
    pub turn: AtomicUsize,
    /// Whether the registry's ids mean other schemas than those that it gave us. Then no schema counts as known.
    pub suspended: AtomicBool,
    /// In which way the ids mean other schemas; `None` if they mean the same.
    pub differs: Mutex<Option<Arc<str>>>,
    pub searches: Mutex<BTreeMap<SchemaId, SchemaSearch>>,
    pub lacking: Lacking,
    pub failures: Gathered<()>,
}

/// What is known of a schema id.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub known: SchemaConclusion,
    /// Until when the conclusion holds; `None` if it holds for ever.
    pub until: Option<Instant>,
    /// The print of the answer from which it was concluded: see [`SchemaAnswer::print`].
    pub print: u64,
}

/// A schema of ours, under the id that the registry gave it.
#[derive(Clone, Debug)]
pub(super) struct Ours {
    pub id: SchemaId,
    pub subject: Arc<str>,
    shape: Arc<Shape>,
}

impl Ours {
    /// Takes a schema that refers to no others. Returns `None` if the text is no schema.
    pub(super) fn new(id: u32, subject: &str, schema: &str) -> Option<Self> {
        Some(Self { id: id.into(), subject: subject.into(), shape: Shape::parse(schema, &[]).ok()? })
    }

    pub fn is(&self, answer: &SchemaAnswer) -> bool {
        Shape::parse(&answer.schema, &[]).is_ok_and(|shape| shape == self.shape)
    }
}

/// The last look at the registry.
#[derive(Clone, Debug)]
pub(super) struct Looked {
    pub began: Instant,
    pub standing: Sameness,
}

impl Inner {
    /// Sets the client up, and sends nothing yet. A schema that the registry does not know is asked for again after `unknown_for`.
    pub fn new(options: &RegistryOptions, unknown_for: Duration) -> Result<Self, InvalidRegistryOptions> {
        Ok(Self {
            http: Http::new(options)?,
            odd_answer: options.odd_answer,
            cache: Cache::new(MAX_CACHED),
            unknown_for,
            requests: Semaphore::new(MAX_REQUESTS),
            ours: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
            looked: Mutex::default(),
            replaced: Mutex::default(),
            turn: AtomicUsize::new(0),
            suspended: AtomicBool::new(false),
            differs: Mutex::default(),
            searches: Mutex::default(),
            lacking: Lacking::default(),
            failures: Gathered::default(),
        })
    }

    pub fn ours(&self) -> Vec<Ours> {
        lock(&self.ours).clone()
    }

    pub fn looked(&self) -> Option<Looked> {
        lock(&self.looked).clone()
    }

    pub fn keep_look(&self, looked: Looked) {
        *lock(&self.looked) = Some(looked);
    }

    /// Takes note of the way in which the registry's ids mean other schemas than before; `None` if they mean the same.
    pub fn suspend(&self, differs: Option<Arc<str>>) {
        self.suspended.store(differs.is_some(), Relaxed);
        *lock(&self.differs) = differs;
    }

    pub fn replaced(&self) -> Option<Arc<str>> {
        lock(&self.replaced).clone()
    }

    pub fn note_replaced(&self, message: Arc<str>) {
        *lock(&self.replaced) = Some(message);
    }

    pub fn keep(&self, id: SchemaId, known: SchemaConclusion, print: u64) {
        let for_now = matches!(known, Err(Unreadable::UnknownSchemaId { .. } | Unreadable::OddRegistryAnswer { .. }));
        let until = for_now.then(|| Instant::now() + self.unknown_for);
        self.cache.insert(id, Kept { known, until, print });
    }

    /// Fetches the schema with this id, and those that it refers to. Returns the conclusion and the answer's print, or `None` if the
    /// registry says that it has no such schema.
    pub async fn look_up(&self, id: SchemaId) -> Result<Option<(SchemaConclusion, u64)>, RegistryFault> {
        let answer = match self.schema(id).await? {
            None => return Ok(None),
            Some(Err(error)) => return Ok(Some((Err(error), 0))),
            Some(Ok(answer)) => answer,
        };
        let print = answer.print();
        if let Some(kind) = answer.schema_type.filter(|kind| kind != "AVRO") {
            return Ok(Some((Err(Unreadable::unusable(format!("it is not Avro but {}", quote(&kind)))), print)));
        }
        if let Some(obstacle) = answer.rule_set.as_ref().and_then(RuleSet::obstacle) {
            return Ok(Some((Err(Unreadable::unusable(obstacle)), print)));
        }
        let references = match self.references(answer.references.unwrap_or_default()).await? {
            Ok(references) => references,
            Err(error) => return Ok(Some((Err(error), print))),
        };
        let schema = WriterSchema::parse_with_references(&answer.schema, &references).map(Arc::new);
        Ok(Some((schema, print)))
    }

    /// Fetches the registry's answer about this id, or the reason why it can't be used. Returns `None` if the registry says that it has no
    /// such schema.
    pub async fn schema(&self, id: SchemaId) -> Result<Option<Result<SchemaAnswer, Unreadable>>, RegistryFault> {
        if is_impossible(id) {
            return Ok(Some(Err(Unreadable::UnknownSchemaId { id })));
        }
        Ok(match self.http.schema(id).await? {
            HttpAnswer::Found(answer) => Some(Ok(answer)),
            HttpAnswer::NotFound { .. } => None,
            HttpAnswer::TooLong => Some(Err(too_long())),
        })
    }

    /// Fetches the texts of the schemas in `open`, and of those that these refer to.
    pub async fn references(&self, mut open: Vec<SchemaReference>) -> Result<Result<Vec<String>, Unreadable>, RegistryFault> {
        let mut texts: HashMap<SchemaReference, String> = HashMap::new();
        while let Some(reference) = open.pop() {
            if texts.contains_key(&reference) {
                continue;
            }
            if texts.len() == MAX_REFERENCES {
                return Ok(Err(Unreadable::unusable(format!("it refers to more than {MAX_REFERENCES} schemas"))));
            }
            let HttpAnswer::Found(SchemaAnswer { schema, references, rule_set, .. }) = self.http.referenced(&reference).await?
            else {
                return Ok(Err(too_long()));
            };
            // Serializers run the rules only of the schema that they were given, so this may refuse a schema that could be read. But a
            // refusal is noticed, and cipher text that passes for a name is not.
            if let Some(obstacle) = rule_set.as_ref().and_then(RuleSet::obstacle) {
                return Ok(Err(Unreadable::unusable(format!(
                    "of the schema {} that it refers to, {obstacle}",
                    quote(&reference.subject)
                ))));
            }
            open.extend(references.unwrap_or_default());
            texts.insert(reference, schema);
        }
        Ok(Ok(texts.into_values().collect()))
    }
}

fn too_long() -> Unreadable {
    Unreadable::unusable(format!("it has more than {MAX_ANSWER_BYTES} bytes"))
}

/// Returns whether no registry can have given this id. Ids are Java ints: a larger number was never given, and a registry that is asked for
/// it answers with some other 404.
pub(super) fn is_impossible(id: SchemaId) -> bool {
    matches!(id, SchemaId::Number(number) if i32::try_from(number).is_err())
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
