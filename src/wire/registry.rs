//! The client of the schema registry.
//!
//! Schemas never change, so a schema that was fetched is kept. If the registry does not know an id, it is asked again after a while,
//! because the schema may be registered by then.
//!
//! The answers of a registry that is away, or has lost its schemas, say nothing about a schema. `search` decides what is concluded from an
//! answer, and `look` whether the registry can be believed.

mod client;
mod credentials;
mod fault;
mod http;
mod inner;
mod look;
mod rules;
mod search;
mod waits;

pub use client::{InvalidRegistryOptions, RegistryOptions};
pub use fault::{RegistryFault, RegistryRemedy};
pub use search::Sameness;
pub use waits::{Lacking, Wait};

use super::command::WriterSchema;
use super::schema_id::SchemaId;
use super::unreadable::Unreadable;
use crate::config::OddAnswer;
use crate::telemetry::labels::LookUp;
use crate::telemetry::metrics::Metrics;
use inner::{Inner, Ours, is_impossible, lock};
use search::{RegistryAnswer, SchemaSearch, SearchStep};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How long the client relies on its conclusion that the registry does not know an id, or is odd about it.
const UNKNOWN_FOR: Duration = Duration::from_secs(10);
/// While more searches than these are under way, each asks less often. No producer has so many new schemas.
const CROWD: usize = 32;
/// The shortest pause between two questions about an id that the registry does not know, while there are more searches than [`CROWD`].
const PAUSE_IN_A_CROWD: Duration = Duration::from_millis(2_500);

/// A client of the schema registry. Clones share connections and cache.
#[derive(Clone)]
pub struct RegistryClient(Arc<Inner>);

impl fmt::Debug for RegistryClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RegistryClient").field(&self.0.http).finish()
    }
}

impl RegistryClient {
    /// Sets the client up, and sends nothing yet.
    ///
    /// # Errors
    /// The options are wrong.
    pub fn new(options: &RegistryOptions) -> Result<Self, InvalidRegistryOptions> {
        Self::with_unknown_for(options, UNKNOWN_FOR)
    }

    fn with_unknown_for(options: &RegistryOptions, unknown_for: Duration) -> Result<Self, InvalidRegistryOptions> {
        Ok(Self(Arc::new(Inner::new(options, unknown_for)?)))
    }

    /// Takes note of a schema of our own and the id that the registry gave it. [`RegistryClient::look`] asks for it.
    pub fn note_ours(&self, id: u32, subject: &str, schema: &str) {
        lock(&self.0.ours).extend(Ours::new(id, subject, schema));
    }

    /// Returns the schema with this id, or the reason why it can't be used. Returns `None` if the registry must be asked. Asks nobody.
    pub fn cached(&self, id: SchemaId) -> Option<Result<Arc<WriterSchema>, Unreadable>> {
        if self.0.suspended.load(Relaxed) {
            return None;
        }
        if is_impossible(id) {
            return Some(Err(Unreadable::UnknownSchemaId { id }));
        }
        let inner::Kept { known, until, .. } = self.0.cache.get(&id)?;
        until.is_none_or(|until| Instant::now() < until).then_some(known)
    }

    /// Asks for the schema with this id until it is known, or known to be of no use. From then on it is [`cached`](Self::cached).
    pub async fn search(&self, id: SchemaId, metrics: &Metrics) {
        let concluded_before = self.0.cache.get(&id).is_some_and(|kept| kept.until.is_some());
        lock(&self.0.searches).insert(id, SchemaSearch::new(concluded_before));
        let asking = Asking { inner: &self.0, id };
        while let Some(pause) = asking.once(metrics).await {
            tokio::time::sleep(pause).await;
        }
    }

    /// Returns what the last look found, or `None` before the first look.
    pub fn standing(&self) -> Option<Sameness> {
        self.0.looked().map(|looked| looked.standing)
    }

    /// Returns in which way the registry's ids mean other schemas than before, or `None` if they mean the same. While the registry is away,
    /// the answer stays what it was.
    pub fn differs(&self) -> Option<Arc<str>> {
        lock(&self.0.differs).clone()
    }

    /// Asks for our own schemas and for writers' schemas that are kept, and takes note of what became of them. While the registry has
    /// other schemas in their place, nothing is [`cached`](Self::cached).
    pub async fn look(&self) -> Sameness {
        self.0.look().await
    }

    /// Returns the list of the records that wait for a schema.
    pub fn lacking(&self) -> &Lacking {
        &self.0.lacking
    }

    /// Returns the records that wait for a schema, each the first of its partition, with what is known of the wait.
    pub fn waits(&self, now: Instant) -> Vec<Wait> {
        let searches = lock(&self.0.searches);
        self.0.lacking.waits(now, |id| searches.get(&id).and_then(|search| search.odd(now)))
    }

    /// Returns what is done with a record whose schema the registry is odd about.
    pub fn odd_answer(&self) -> OddAnswer {
        self.0.odd_answer
    }

    /// Registers a schema under a subject, and returns its id. To register the same schema again changes nothing.
    ///
    /// # Errors
    /// The registry can't be asked, or it refuses, for instance because the schema is incompatible with the one before.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<u32, RegistryFault> {
        self.0.http.register(subject, schema).await
    }

    /// Returns the id of this schema under this subject, or `None` if it is not registered there.
    ///
    /// # Errors
    /// The registry can't be asked.
    pub async fn lookup(&self, subject: &str, schema: &str) -> Result<Option<u32>, RegistryFault> {
        self.0.http.look_up(subject, schema).await
    }

    /// Returns the compatibility level of a subject, be it the subject's own or that of the whole registry; `None` if the registry has
    /// none to tell.
    ///
    /// # Errors
    /// The registry can't be asked.
    pub async fn compatibility(&self, subject: &str) -> Result<Option<String>, RegistryFault> {
        self.0.http.compatibility(subject).await
    }

    /// Sets the compatibility level of a subject.
    ///
    /// # Errors
    /// The registry can't be asked, or it refuses.
    pub async fn set_compatibility(&self, subject: &str, level: &str) -> Result<(), RegistryFault> {
        self.0.http.set_compatibility(subject, level).await
    }

    /// Returns the text of the schema with this id, and the texts of those that it refers to. They are not cached.
    ///
    /// # Errors
    /// The registry can't be asked. The inner error says why there is no text.
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

/// A search under way. It leaves the list of searches when this is dropped.
struct Asking<'a> {
    inner: &'a Arc<Inner>,
    id: SchemaId,
}

impl Asking<'_> {
    /// Asks once. Returns how long to wait before the next time, or `None` if the search is over.
    async fn once(&self, metrics: &Metrics) -> Option<Duration> {
        let Self { inner, id } = *self;
        let answer = {
            let _permit = inner.requests.acquire().await.ok()?;
            inner.look_up(id).await
        };
        metrics.registry_lookups.of(if answer.is_ok() { LookUp::Answered } else { LookUp::Failed }).inc();
        let (found, print) = match answer {
            Ok(Some((known, print))) => (RegistryAnswer::Known(known), print),
            Ok(None) => (RegistryAnswer::Unknown, 0),
            Err(fault) => (RegistryAnswer::Fault(fault), 0),
        };
        if let RegistryAnswer::Fault(fault) = &found
            && let Some(left_out) = inner.failures.due((), Instant::now())
        {
            tracing::warn!(schema = %id, error = %fault, left_out, "the schema registry has no answer about a schema; its partition waits");
        }
        let standing = inner.standing_since(Instant::now()).await;
        let is_unknown = matches!(found, RegistryAnswer::Unknown);
        let (step, searches) = {
            let mut all = lock(&inner.searches);
            let search = all.entry(id).or_insert_with(|| SchemaSearch::new(false));
            let step = search.judge(id, found, &standing, inner.odd_answer, Instant::now());
            (step, all.len())
        };
        match step {
            SearchStep::AskAgain(pause) if is_unknown && searches > CROWD => Some(pause.max(PAUSE_IN_A_CROWD)),
            SearchStep::AskAgain(pause) => Some(pause),
            SearchStep::Conclude(known) => {
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

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
