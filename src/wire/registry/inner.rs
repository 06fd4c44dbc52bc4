//! What the client knows of the registry and its schemas, and asking for one of them.

use super::client::{InvalidRegistryOptions, RegistryOptions};
use super::fault::RegistryFault;
use super::http::{Answer, Http, MAX_ANSWER_BYTES, SchemaAnswer, SchemaReference};
use super::rules::RuleSet;
use super::search::{Known, Search, Standing};
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

/// How many schemas are kept. A topic has a handful; beyond this they are fetched again. More than are asked for at once, so that what is
/// known of an id stays until its record comes up.
const MAX_CACHED: usize = 4_096;
/// The most schemas that one schema may refer to, directly or not.
pub(super) const MAX_REFERENCES: usize = 64;
/// How many requests are under way at once. Records with ids that nobody gave come in any number.
const MAX_REQUESTS: usize = 8;

/// See the module.
pub(super) struct Inner {
    pub http: Http,
    pub odd_answer: OddAnswer,
    pub cache: Cache<SchemaId, Kept>,
    pub unknown_for: Duration,
    pub requests: Semaphore,
    /// Our own schemas; the registry is asked for them to see whether it is there.
    pub ours: Mutex<Vec<Ours>>,
    pub looking: tokio::sync::Mutex<()>,
    pub looked: Mutex<Option<Looked>>,
    /// Which kept schema of a writer was found to be another one now, if any was.
    pub replaced: Mutex<Option<Arc<str>>>,
    /// Which of the kept schemas is looked at next.
    pub turn: AtomicUsize,
    /// True while the registry's ids mean other schemas than those that it gave us: nothing is known then.
    pub suspended: AtomicBool,
    /// In which way they do.
    pub differs: Mutex<Option<Arc<str>>>,
    pub searches: Mutex<BTreeMap<SchemaId, Search>>,
    pub lacking: Lacking,
    pub failures: Gathered<()>,
}

/// What is known of a schema id.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub known: Known,
    /// Until when it holds; `None`: for ever.
    pub until: Option<Instant>,
    /// Of the answer that it was made of: another answer has another one.
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
    /// A schema that refers to no others. `None` if it is no schema.
    pub(super) fn new(id: u32, subject: &str, schema: &str) -> Option<Self> {
        Some(Self { id: id.into(), subject: subject.into(), shape: Shape::parse(schema, &[]).ok()? })
    }

    pub fn is(&self, answer: &SchemaAnswer) -> bool {
        Shape::parse(&answer.schema, &[]).is_ok_and(|shape| shape == self.shape)
    }
}

/// The last look.
#[derive(Clone, Debug)]
pub(super) struct Looked {
    pub began: Instant,
    pub standing: Standing,
}

impl Inner {
    /// Sets the client up; nothing is sent yet. What the registry does not know is asked for again after `unknown_for`.
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

    /// Takes note of the way in which the registry's ids mean other schemas than before, if they do.
    pub fn suspend(&self, differs: Option<Arc<str>>) {
        self.suspended.store(differs.is_some(), Relaxed);
        *lock(&self.differs) = differs;
    }

    pub fn replaced(&self) -> Option<Arc<str>> {
        lock(&self.replaced).clone()
    }

    pub fn note_replaced(&self, what: Arc<str>) {
        *lock(&self.replaced) = Some(what);
    }

    pub fn keep(&self, id: SchemaId, known: Known, print: u64) {
        let for_now = matches!(known, Err(Unreadable::UnknownSchemaId { .. } | Unreadable::OddRegistryAnswer { .. }));
        let until = for_now.then(|| Instant::now() + self.unknown_for);
        self.cache.insert(id, Kept { known, until, print });
    }

    /// Returns what the registry has under this id, with the answer's print; `None` if it says that it has nothing.
    pub async fn look_up(&self, id: SchemaId) -> Result<Option<(Known, u64)>, RegistryFault> {
        let answer = match self.schema(id).await? {
            None => return Ok(None),
            Some(Err(error)) => return Ok(Some((Err(error), 0))),
            Some(Ok(answer)) => answer,
        };
        let print = answer.print();
        if let Some(kind) = answer.schema_type.filter(|kind| kind != "AVRO") {
            return Ok(Some((Err(unusable(format!("it is not Avro but {}", quote(&kind)))), print)));
        }
        if let Some(obstacle) = answer.rule_set.as_ref().and_then(RuleSet::obstacle) {
            return Ok(Some((Err(unusable(obstacle)), print)));
        }
        let references = match self.references(answer.references.unwrap_or_default()).await? {
            Ok(references) => references,
            Err(error) => return Ok(Some((Err(error), print))),
        };
        let schema = WriterSchema::parse_with_references(&answer.schema, &references).map(Arc::new);
        Ok(Some((schema, print)))
    }

    /// Returns the registry's answer, or why it is of no use; `None` if it knows no such schema.
    pub async fn schema(&self, id: SchemaId) -> Result<Option<Result<SchemaAnswer, Unreadable>>, RegistryFault> {
        if is_impossible(id) {
            return Ok(Some(Err(Unreadable::UnknownSchemaId { id })));
        }
        Ok(match self.http.schema(id).await? {
            Answer::Found(answer) => Some(Ok(answer)),
            Answer::NotFound { .. } => None,
            Answer::TooLong => Some(Err(too_long())),
        })
    }

    /// The texts of schemas that a schema refers to, and of those that these refer to.
    pub async fn references(&self, mut open: Vec<SchemaReference>) -> Result<Result<Vec<String>, Unreadable>, RegistryFault> {
        let mut texts: HashMap<SchemaReference, String> = HashMap::new();
        while let Some(reference) = open.pop() {
            if texts.contains_key(&reference) {
                continue;
            }
            if texts.len() == MAX_REFERENCES {
                return Ok(Err(unusable(format!("it refers to more than {MAX_REFERENCES} schemas"))));
            }
            let Answer::Found(SchemaAnswer { schema, references, rule_set, .. }) = self.http.referenced(&reference).await? else {
                return Ok(Err(too_long()));
            };
            // Serializers run the rules of the schema alone that they were given. But what is refused is seen, and cipher text is not.
            if let Some(obstacle) = rule_set.as_ref().and_then(RuleSet::obstacle) {
                return Ok(Err(unusable(format!("of the schema {} that it refers to, {obstacle}", quote(&reference.subject)))));
            }
            open.extend(references.unwrap_or_default());
            texts.insert(reference, schema);
        }
        Ok(Ok(texts.into_values().collect()))
    }
}

fn unusable(reason: String) -> Unreadable {
    Unreadable::SchemaUnusable { reason: reason.into() }
}

fn too_long() -> Unreadable {
    unusable(format!("it has more than {MAX_ANSWER_BYTES} bytes"))
}

/// Whether no registry gave this id. Ids are Java ints: what is above was never given, and asked for it would answer with some other 404.
pub(super) fn is_impossible(id: SchemaId) -> bool {
    matches!(id, SchemaId::Number(number) if i32::try_from(number).is_err())
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
