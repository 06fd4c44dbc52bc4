//! The client of the schema registry.
//!
//! Schemas never change, so what was fetched is kept; what the registry does not know is asked again after a while, as it may
//! be registered by then. Whoever needs a schema that is being fetched waits for the same request.
//!
//! A registry that is away, or has lost what it had, says nothing about a schema: `search` holds what is concluded of its answers,
//! and `look` whether it can be believed.

mod credentials;
mod http;
mod look;
mod rules;
mod search;
mod waits;

use super::command::{Unreadable, WriterSchema};
use super::schema_id::SchemaId;
use super::shape::quote;
use crate::config::OddAnswer;
use crate::telemetry::gathered::Gathered;
use crate::telemetry::labels::LookUp;
use crate::telemetry::metrics::Metrics;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use http::{Answer, Http, MAX_ANSWER_BYTES, SchemaAnswer, SchemaReference};
pub use http::{InvalidRegistryOptions, RegistryFault, RegistryOptions};
use look::{Looked, Ours};
use quick_cache::sync::Cache;
use rules::RuleSet;
pub use search::Standing;
use search::{Found, Search, Step};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
pub use waits::{Lacking, Wait};

/// How many schemas are kept. A topic has a handful; beyond this they are fetched again. More than are asked for at once, so that what is
/// known of an id stays until its record comes up.
const MAX_CACHED: usize = 4_096;
/// How long it holds that the registry does not know an id, or is odd about it.
const UNKNOWN_FOR: Duration = Duration::from_secs(10);
/// The most schemas that one schema may refer to, directly or not.
const MAX_REFERENCES: usize = 64;
/// How many requests are under way at once. Records with ids that nobody gave come in any number.
const MAX_REQUESTS: usize = 8;
/// If more schemas than these are searched for, each is asked for less often: no producer has so many that are new.
const CROWD: usize = 32;
/// The pause between two questions about an id that the registry does not know, in a crowd.
const PAUSE_IN_A_CROWD: Duration = Duration::from_millis(2_500);

/// Whether a schema id is known, and if so whether its schema is usable.
pub(crate) type Known = Result<Arc<WriterSchema>, Unreadable>;
type Lookup = BoxFuture<'static, Result<Known, RegistryFault>>;

/// A client of the schema registry. Clones share connections and cache.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    http: Http,
    odd_answer: OddAnswer,
    cache: Cache<SchemaId, Kept>,
    /// The lookups that somebody waits for.
    lookups: Mutex<HashMap<SchemaId, WeakShared<Lookup>>>,
    unknown_for: Duration,
    requests: Semaphore,
    /// Our own schemas; the registry is asked for them to see whether it is there.
    ours: Mutex<Vec<Ours>>,
    looking: tokio::sync::Mutex<()>,
    looked: Mutex<Option<Looked>>,
    /// Which kept schema of a writer was found to be another one now, if any was.
    replaced: Mutex<Option<Arc<str>>>,
    /// Which of the kept schemas is looked at next.
    turn: AtomicUsize,
    /// True while the registry's ids mean other schemas than those that it gave us: nothing is known then.
    suspended: AtomicBool,
    /// In which way they do.
    differs: Mutex<Option<Arc<str>>>,
    searches: Mutex<BTreeMap<SchemaId, Search>>,
    lacking: Lacking,
    failures: Gathered<()>,
}

/// What is known of a schema id.
#[derive(Clone, Debug)]
struct Kept {
    known: Known,
    /// Until when it holds; `None`: for ever.
    until: Option<Instant>,
    /// Of the answer that it was made of: another answer has another one.
    print: u64,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registry").field(&self.0.http).finish()
    }
}

impl Registry {
    /// Sets the client up; nothing is sent yet.
    ///
    /// # Errors
    /// The options are wrong.
    pub fn new(options: &RegistryOptions) -> Result<Self, InvalidRegistryOptions> {
        Self::with_unknown_for(options, UNKNOWN_FOR)
    }

    fn with_unknown_for(options: &RegistryOptions, unknown_for: Duration) -> Result<Self, InvalidRegistryOptions> {
        Ok(Self(Arc::new(Inner {
            http: Http::new(options)?,
            odd_answer: options.odd_answer,
            cache: Cache::new(MAX_CACHED),
            lookups: Mutex::new(HashMap::new()),
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
        })))
    }

    /// Takes note of a schema of our own and the id that the registry gave it: [`Registry::look`] asks for it.
    pub fn note_ours(&self, id: u32, subject: &str, schema: &str) {
        lock(&self.0.ours).extend(Ours::new(id, subject, schema));
    }

    /// Returns the schema with this id, or why there is none to use. `None` if the registry must be asked. Cheap.
    pub fn cached(&self, id: SchemaId) -> Option<Result<Arc<WriterSchema>, Unreadable>> {
        if self.0.suspended.load(Relaxed) {
            return None;
        }
        if is_impossible(id) {
            return Some(Err(Unreadable::UnknownSchemaId { id }));
        }
        let Kept { known, until, .. } = self.0.cache.get(&id)?;
        until.is_none_or(|until| Instant::now() < until).then_some(known)
    }

    /// Asks for the schema with this id until it is known, or known to be of no use. Then it is [`cached`](Self::cached).
    pub async fn search(&self, id: SchemaId, metrics: &Metrics) {
        let concluded_before = self.0.cache.get(&id).is_some_and(|kept| kept.until.is_some());
        lock(&self.0.searches).insert(id, Search::new(concluded_before));
        let asking = Asking { inner: &self.0, id };
        while let Some(pause) = asking.once(metrics).await {
            tokio::time::sleep(pause).await;
        }
    }

    /// Returns what the last look found; `None` before the first.
    pub fn standing(&self) -> Option<Standing> {
        self.0.looked().map(|looked| looked.standing)
    }

    /// Returns in which way the registry's ids mean other schemas than before, as far as is known: while it is away, as it was before. `None`
    /// if they mean the same.
    pub fn differs(&self) -> Option<Arc<str>> {
        lock(&self.0.differs).clone()
    }

    /// Asks for our own schemas, and for those of writers that are kept, and takes note of what became of them. While the registry has
    /// others in their place, nothing is [`cached`](Self::cached).
    pub async fn look(&self) -> Standing {
        self.0.look().await
    }

    /// Returns which records wait for a schema.
    pub fn lacking(&self) -> &Lacking {
        &self.0.lacking
    }

    /// Returns the records that wait for a schema, each the first of its partition, with what is known of the wait.
    pub fn waits(&self, now: Instant) -> Vec<Wait> {
        let searches = lock(&self.0.searches);
        self.0.lacking.waits(now, |id| searches.get(&id).and_then(|search| search.odd(now)))
    }

    /// Returns what is done about records whose schema the registry is odd about.
    pub fn odd_answer(&self) -> OddAnswer {
        self.0.odd_answer
    }

    /// Asks once for the schema with this id, unless it is cached.
    ///
    /// # Errors
    /// The registry can't say; try again.
    pub async fn writer_schema(&self, id: SchemaId) -> Result<Result<Arc<WriterSchema>, Unreadable>, RegistryFault> {
        match self.cached(id) {
            Some(known) => Ok(known),
            None => self.join_lookup(id).await,
        }
    }

    /// The request for this id that is on its way, or a new one.
    fn join_lookup(&self, id: SchemaId) -> Shared<Lookup> {
        let mut lookups = lock(&self.0.lookups);
        if let Some(lookup) = lookups.get(&id).and_then(WeakShared::upgrade) {
            return lookup;
        }
        // Nobody waits for these any more.
        lookups.retain(|_, lookup| lookup.upgrade().is_some());
        let inner = self.0.clone();
        let lookup = async move { inner.look_up_and_keep(id).await }.boxed().shared();
        lookups.extend(lookup.downgrade().map(|weak| (id, weak)));
        lookup
    }

    /// Registers a schema under a subject. The same schema again is no change.
    ///
    /// # Errors
    /// The registry can't be asked, or refuses: say, because the schema is incompatible with the one before.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<u32, RegistryFault> {
        self.0.http.register(subject, schema).await
    }

    /// The id of this schema under this subject, if it is registered.
    ///
    /// # Errors
    /// The registry can't be asked.
    pub async fn lookup(&self, subject: &str, schema: &str) -> Result<Option<u32>, RegistryFault> {
        self.0.http.look_up(subject, schema).await
    }

    /// Returns the text of the schema with this id, and of those that it refers to; inside, why there is none. Not cached.
    ///
    /// # Errors
    /// The registry can't be asked.
    pub async fn schema_texts(&self, id: SchemaId) -> Result<Result<(String, Vec<String>), Unreadable>, RegistryFault> {
        let Some(answer) = self.0.schema(id).await? else { return Ok(Err(Unreadable::UnknownSchemaId { id })) };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Ok(Err(error)),
        };
        let references = self.0.references(answer.references.unwrap_or_default()).await?;
        Ok(references.map(|references| (answer.schema, references)))
    }
}

/// Whether no registry gave this id. Ids are Java ints: what is above was never given, and asked for it would answer with some other 404.
fn is_impossible(id: SchemaId) -> bool {
    matches!(id, SchemaId::Number(number) if i32::try_from(number).is_err())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A search under way. It is forgotten with this.
struct Asking<'a> {
    inner: &'a Arc<Inner>,
    id: SchemaId,
}

impl Asking<'_> {
    /// Asks once. Returns how long to wait before the next time; `None` if the schema is known.
    async fn once(&self, metrics: &Metrics) -> Option<Duration> {
        let Self { inner, id } = *self;
        let answer = {
            let _permit = inner.requests.acquire().await.ok()?;
            inner.look_up(id).await
        };
        metrics.registry_lookups.of(if answer.is_ok() { LookUp::Answered } else { LookUp::Failed }).inc();
        let (found, print) = match answer {
            Ok(Some((known, print))) => (Found::Known(known), print),
            Ok(None) => (Found::Unknown, 0),
            Err(fault) => (Found::Fault(fault), 0),
        };
        if let Found::Fault(fault) = &found
            && let Some(left_out) = inner.failures.due((), Instant::now())
        {
            tracing::warn!(schema = %id, error = %fault, left_out, "the schema registry has no answer about a schema; its partition waits");
        }
        let standing = inner.standing_since(Instant::now()).await;
        let is_unknown = matches!(found, Found::Unknown);
        let (step, searches) = {
            let mut all = lock(&inner.searches);
            let search = all.entry(id).or_insert_with(|| Search::new(false));
            let step = search.judge(id, found, &standing, inner.odd_answer, Instant::now());
            (step, all.len())
        };
        match step {
            Step::AskAgain(pause) if is_unknown && searches > CROWD => Some(pause.max(PAUSE_IN_A_CROWD)),
            Step::AskAgain(pause) => Some(pause),
            Step::Conclude(known) => {
                if let Err(reason @ Unreadable::OddRegistryAnswer { .. }) = &known {
                    tracing::error!(schema = %id, %reason, "records with this schema go to the dead letter topic");
                }
                inner.keep(id, known, print);
                None
            }
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        lock(&self.inner.searches).remove(&self.id);
    }
}

impl Inner {
    fn ours(&self) -> Vec<Ours> {
        lock(&self.ours).clone()
    }

    fn looked(&self) -> Option<Looked> {
        lock(&self.looked).clone()
    }

    fn keep_look(&self, looked: Looked) {
        *lock(&self.looked) = Some(looked);
    }

    /// Takes note of the way in which the registry's ids mean other schemas than before, if they do.
    fn suspend(&self, differs: Option<Arc<str>>) {
        self.suspended.store(differs.is_some(), Relaxed);
        *lock(&self.differs) = differs;
    }

    fn replaced(&self) -> Option<Arc<str>> {
        lock(&self.replaced).clone()
    }

    fn note_replaced(&self, what: Arc<str>) {
        *lock(&self.replaced) = Some(what);
    }

    fn keep(&self, id: SchemaId, known: Known, print: u64) {
        let for_now = matches!(known, Err(Unreadable::UnknownSchemaId { .. } | Unreadable::OddRegistryAnswer { .. }));
        let until = for_now.then(|| Instant::now() + self.unknown_for);
        self.cache.insert(id, Kept { known, until, print });
    }

    async fn look_up_and_keep(&self, id: SchemaId) -> Result<Known, RegistryFault> {
        let (known, print) = self.look_up(id).await?.unwrap_or((Err(Unreadable::UnknownSchemaId { id }), 0));
        self.keep(id, known.clone(), print);
        Ok(known)
    }

    /// Returns what the registry has under this id, with the answer's print; `None` if it says that it has nothing.
    async fn look_up(&self, id: SchemaId) -> Result<Option<(Known, u64)>, RegistryFault> {
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
    async fn schema(&self, id: SchemaId) -> Result<Option<Result<SchemaAnswer, Unreadable>>, RegistryFault> {
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
    async fn references(&self, mut open: Vec<SchemaReference>) -> Result<Result<Vec<String>, Unreadable>, RegistryFault> {
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

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
