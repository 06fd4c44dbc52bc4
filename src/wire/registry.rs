//! The client of the schema registry.
//!
//! Schemas never change, so what was fetched is kept; what the registry does not know is asked again after a while, as it may
//! be registered by then. Whoever needs a schema that is being fetched waits for the same request.
//!
//! Only the registry's own 404 with error code 40403 means that a schema id is unknown. All else that can go wrong is a
//! [`RegistryFault`]: nothing is concluded, the caller waits and tries again. `schema_registry_converter` registers our
//! own schemas; it can't be used for this: it calls most HTTP errors (401, 429, 500, 504) final and caches them, and gives
//! their status only as a text.

mod http;

use super::command::{Unreadable, WriterSchema};
use super::shape::quote;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use http::{Answer, Http, MAX_ANSWER_BYTES, SchemaAnswer, SchemaReference};
pub use http::{InvalidRegistryOptions, RegistryFault, RegistryOptions};
use quick_cache::sync::Cache;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many schemas are kept. A topic has a handful; beyond this they are fetched again.
const MAX_CACHED: usize = 1_000;
/// How long the registry's word that it does not know an id holds.
const UNKNOWN_FOR: Duration = Duration::from_secs(10);
/// The most schemas that one schema may refer to, directly or not.
const MAX_REFERENCES: usize = 64;

/// Whether a schema id is known, and if so whether its schema is usable.
type Known = Result<Arc<WriterSchema>, Unreadable>;
type Lookup = BoxFuture<'static, Result<Known, RegistryFault>>;

/// A client of the schema registry. Clones share connections and cache.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    http: Http,
    /// Until when what is known holds, unless that is for ever.
    cache: Cache<u32, (Known, Option<Instant>)>,
    /// The lookups that somebody waits for.
    lookups: Mutex<HashMap<u32, WeakShared<Lookup>>>,
    unknown_for: Duration,
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
            cache: Cache::new(MAX_CACHED),
            lookups: Mutex::new(HashMap::new()),
            unknown_for,
        })))
    }

    /// The schema with this id, or why there is none to use; None if the registry must be asked. Cheap.
    pub fn cached(&self, id: u32) -> Option<Result<Arc<WriterSchema>, Unreadable>> {
        let (known, until) = self.0.cache.get(&id)?;
        until.is_none_or(|until| Instant::now() < until).then_some(known)
    }

    /// The schema with this id, or why there is none to use.
    ///
    /// # Errors
    /// The registry can't say; try again.
    pub async fn writer_schema(&self, id: u32) -> Result<Result<Arc<WriterSchema>, Unreadable>, RegistryFault> {
        match self.cached(id) {
            Some(known) => Ok(known),
            None => self.join_lookup(id).await,
        }
    }

    /// The request for this id that is on its way, or a new one.
    fn join_lookup(&self, id: u32) -> Shared<Lookup> {
        let mut lookups = self.0.lookups.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// The text of the schema with this id; None if the registry does not know it. Not cached.
    ///
    /// # Errors
    /// The registry can't be asked.
    pub async fn schema_json(&self, id: u32) -> Result<Option<String>, RegistryFault> {
        Ok(self.0.schema(id).await?.ok().map(|answer| answer.schema))
    }

    /// Asks for any schema, to see whether the registry answers, and takes our credentials.
    ///
    /// # Errors
    /// It does not.
    pub async fn check(&self) -> Result<(), RegistryFault> {
        self.0.schema(1).await.map(drop)
    }
}

impl Inner {
    async fn look_up_and_keep(&self, id: u32) -> Result<Known, RegistryFault> {
        let known = self.look_up(id).await?;
        let until = matches!(known, Err(Unreadable::UnknownSchemaId { .. })).then(|| Instant::now() + self.unknown_for);
        self.cache.insert(id, (known.clone(), until));
        Ok(known)
    }

    async fn look_up(&self, id: u32) -> Result<Known, RegistryFault> {
        let answer = match self.schema(id).await? {
            Ok(answer) => answer,
            Err(error) => return Ok(Err(error)),
        };
        if let Some(kind) = answer.schema_type.filter(|kind| kind != "AVRO") {
            return Ok(Err(unusable(format!("it is not Avro but {}", quote(&kind)))));
        }
        let references = match self.references(answer.references).await? {
            Ok(references) => references,
            Err(error) => return Ok(Err(error)),
        };
        Ok(WriterSchema::parse_with_references(&answer.schema, &references).map(Arc::new))
    }

    async fn schema(&self, id: u32) -> Result<Result<SchemaAnswer, Unreadable>, RegistryFault> {
        // The registry's ids are Java ints: what is above was never given, and asked for it would answer with some other 404.
        if i32::try_from(id).is_err() {
            return Ok(Err(Unreadable::UnknownSchemaId { id }));
        }
        Ok(match self.http.schema(id).await? {
            Answer::Found(answer) => Ok(answer),
            Answer::NotFound => Err(Unreadable::UnknownSchemaId { id }),
            Answer::TooLong => Err(too_long()),
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
            let Answer::Found(SchemaAnswer { schema, references, .. }) = self.http.referenced(&reference).await? else {
                return Ok(Err(too_long()));
            };
            open.extend(references);
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
