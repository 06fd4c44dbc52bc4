//! The client of the schema registry.
//!
//! Schemas never change, so what was fetched is kept; what the registry does not know is asked again after a while, as it may
//! be registered by then. Whoever needs a schema that is being fetched waits for the same request.
//!
//! Only the registry's own 404 with error code 40403 means that a schema id is unknown. All else that can go wrong is a
//! [`RegistryFault`]: nothing is concluded, the caller waits and tries again. `schema_registry_converter` can't be used for
//! this: it calls most HTTP errors (401, 429, 500, 504) final and caches them, and gives their status only as a text. The tests
//! hold its client against our embedded registry instead.

use super::command::{Unreadable, WriterSchema};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use quick_cache::sync::Cache;
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde::Deserialize;
use serde_json::json;
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many schemas are kept. A topic has a handful; beyond this they are fetched again.
const MAX_CACHED: usize = 1_000;
/// How long the registry's word that it does not know an id holds.
const UNKNOWN_FOR: Duration = Duration::from_secs(10);
/// The longest answer of the registry. A schema of this size is no command's.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// The most schemas that one schema may refer to, directly or not.
const MAX_REFERENCES: usize = 64;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";
const SUBJECT_NOT_FOUND: u32 = 40401;
const SCHEMA_NOT_FOUND: u32 = 40403;

/// Where the registry is.
#[derive(Clone, Default)]
pub struct RegistryOptions {
    /// Its base URL.
    pub url: String,
    /// For HTTP basic authentication.
    pub user: Option<String>,
    /// For HTTP basic authentication.
    pub password: Option<String>,
    /// A PEM file of certificate authorities to trust beside the system's.
    pub ca_file: Option<PathBuf>,
}

impl fmt::Debug for RegistryOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url: _, user, password: _, ca_file } = self;
        f.debug_struct("RegistryOptions").field("user", user).field("ca_file", ca_file).finish_non_exhaustive()
    }
}

/// What is wrong with [`RegistryOptions`].
#[derive(Debug, thiserror::Error)]
pub enum InvalidRegistryOptions {
    /// Not an HTTP URL.
    #[error("registry.url must be a URL with http:// or https://")]
    Url,
    /// The certificates can't be read.
    #[error("the registry's CA file {path} can't be read: {source}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// TLS does not work here.
    #[error("the HTTP client can't be built: {0}")]
    Client(#[from] reqwest::Error),
}

/// The registry could not be asked, or gave no answer that anything can be concluded from. Worth another try later.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{call} at the schema registry {base}: {failure}")]
pub struct RegistryFault {
    call: Arc<str>,
    base: Arc<str>,
    failure: Arc<str>,
    status: Option<u16>,
}

impl RegistryFault {
    /// The HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        self.status
    }
}

/// Whether a schema id is known, and if so whether its schema is usable.
type Known = Result<Arc<WriterSchema>, Unreadable>;
type Lookup = Shared<BoxFuture<'static, Result<Known, RegistryFault>>>;

/// A client of the schema registry. Clones share connections and cache.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    client: Client,
    base: Url,
    /// The base without credentials, for messages.
    shown_base: Arc<str>,
    credentials: Option<(String, Option<String>)>,
    cache: Cache<u32, (Known, Option<Instant>)>,
    lookups: Mutex<HashMap<u32, WeakShared<BoxFuture<'static, Result<Known, RegistryFault>>>>>,
    unknown_for: Duration,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registry").field(&self.0.shown_base).finish()
    }
}

/// `GET /schemas/ids/{id}` and `GET /subjects/{subject}/versions/{version}`.
#[derive(Deserialize)]
struct SchemaAnswer {
    schema: String,
    #[serde(default, rename = "schemaType")]
    schema_type: Option<String>,
    #[serde(default)]
    references: Vec<SchemaReference>,
}

#[derive(Deserialize)]
struct SchemaReference {
    subject: String,
    version: u32,
}

#[derive(Deserialize)]
struct IdAnswer {
    id: u32,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    error_code: u32,
    #[serde(default)]
    message: String,
}

/// An answer with an HTTP status that means something.
enum Answer {
    Ok(Vec<u8>),
    /// With one of the error codes that were allowed for.
    NotFound,
    TooLong,
}

impl Registry {
    /// Sets the client up; nothing is sent yet. A proxy in the environment is not used: the registry stands beside the broker.
    ///
    /// # Errors
    /// The options are wrong.
    pub fn new(options: &RegistryOptions) -> Result<Self, InvalidRegistryOptions> {
        Self::with_unknown_for(options, UNKNOWN_FOR)
    }

    fn with_unknown_for(options: &RegistryOptions, unknown_for: Duration) -> Result<Self, InvalidRegistryOptions> {
        let base = Url::parse(&options.url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let base = base.ok_or(InvalidRegistryOptions::Url)?;
        let mut client = Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(REQUEST_TIMEOUT).no_proxy();
        if let Some(path) = &options.ca_file {
            let invalid = |source| InvalidRegistryOptions::CaFile { path: path.clone(), source };
            let pem = std::fs::read(path).map_err(|e| invalid(e.into()))?;
            client = client.tls_certs_merge(reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| invalid(e.into()))?);
        }
        let mut shown = base.clone();
        // Both fail only for URLs that can't have credentials.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        Ok(Self(Arc::new(Inner {
            client: client.build()?,
            base,
            shown_base: shown.as_str().trim_end_matches('/').into(),
            credentials: options.user.clone().map(|user| (user, options.password.clone())),
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
    fn join_lookup(&self, id: u32) -> Lookup {
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
        let url = self.0.url(&["subjects", subject, "versions"]);
        let request = self.0.client.post(url).json(&json!({ "schema": schema }));
        match self.0.send(request, &format!("registering a schema as {subject}"), &[]).await? {
            Answered { answer: Answer::Ok(body), call } => self.0.parse::<IdAnswer>(&body, &call).map(|a| a.id),
            Answered { call, .. } => Err(self.0.fault(&call, "the answer is too long", None)),
        }
    }

    /// The id of this schema under this subject, if it is registered.
    ///
    /// # Errors
    /// The registry can't be asked.
    pub async fn lookup(&self, subject: &str, schema: &str) -> Result<Option<u32>, RegistryFault> {
        let request = self.0.client.post(self.0.url(&["subjects", subject])).json(&json!({ "schema": schema }));
        let codes = [SUBJECT_NOT_FOUND, SCHEMA_NOT_FOUND];
        match self.0.send(request, &format!("looking a schema up in {subject}"), &codes).await? {
            Answered { answer: Answer::Ok(body), call } => self.0.parse::<IdAnswer>(&body, &call).map(|a| Some(a.id)),
            Answered { answer: Answer::NotFound, .. } => Ok(None),
            Answered { answer: Answer::TooLong, call } => Err(self.0.fault(&call, "the answer is too long", None)),
        }
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

/// An answer, and what was asked.
struct Answered {
    answer: Answer,
    call: String,
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
            return Ok(Err(unusable(format!("it is not Avro but {}", super::shape::quote(&kind)))));
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
        let request = self.client.get(self.url(&["schemas", "ids", &id.to_string()]));
        match self.send(request, &format!("fetching schema {id}"), &[SCHEMA_NOT_FOUND]).await? {
            Answered { answer: Answer::Ok(body), call } => self.parse(&body, &call).map(Ok),
            Answered { answer: Answer::NotFound, .. } => Ok(Err(Unreadable::UnknownSchemaId { id })),
            Answered { answer: Answer::TooLong, .. } => Ok(Err(too_long())),
        }
    }

    /// The texts of schemas that a schema refers to, and of those that these refer to.
    async fn references(&self, mut open: Vec<SchemaReference>) -> Result<Result<Vec<String>, Unreadable>, RegistryFault> {
        let mut texts: HashMap<(String, u32), String> = HashMap::new();
        while let Some(SchemaReference { subject, version }) = open.pop() {
            if texts.contains_key(&(subject.clone(), version)) {
                continue;
            }
            if texts.len() == MAX_REFERENCES {
                return Ok(Err(unusable(format!("it refers to more than {MAX_REFERENCES} schemas"))));
            }
            let url = self.url(&["subjects", &subject, "versions", &version.to_string()]);
            let call = format!("fetching version {version} of {subject}");
            match self.send(self.client.get(url), &call, &[]).await?.answer {
                Answer::Ok(body) => {
                    let SchemaAnswer { schema, references, .. } = self.parse(&body, &call)?;
                    open.extend(references);
                    texts.insert((subject, version), schema);
                }
                _ => return Ok(Err(too_long())),
            }
        }
        Ok(Ok(texts.into_values().collect()))
    }

    /// Sends a request. Of the errors, only a 404 with one of `not_found` comes back as an answer.
    async fn send(&self, request: RequestBuilder, call: &str, not_found: &[u32]) -> Result<Answered, RegistryFault> {
        let answered = |answer| Ok(Answered { answer, call: call.into() });
        let request = request.header(reqwest::header::ACCEPT, CONTENT_TYPE);
        let request = match &self.credentials {
            Some((user, password)) => request.basic_auth(user, password.as_ref()),
            None => request,
        };
        let broken = |e: reqwest::Error| self.fault(call, &causes(&e.without_url()), None);
        let mut response = request.send().await.map_err(broken)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER_BYTES {
                break;
            }
        }
        if status.is_success() {
            return answered(if body.len() > MAX_ANSWER_BYTES { Answer::TooLong } else { Answer::Ok(body) });
        }
        let error = serde_json::from_slice::<ErrorAnswer>(&body).ok();
        if status == StatusCode::NOT_FOUND && error.as_ref().is_some_and(|e| not_found.contains(&e.error_code)) {
            return answered(Answer::NotFound);
        }
        let failure = match error {
            Some(ErrorAnswer { error_code, message }) => format!("it answered {status} ({error_code}: {message})"),
            None => format!("it answered {status}"),
        };
        Err(self.fault(call, &failure, Some(status.as_u16())))
    }

    fn parse<T: for<'de> Deserialize<'de>>(&self, body: &[u8], call: &str) -> Result<T, RegistryFault> {
        serde_json::from_slice(body).map_err(|e| self.fault(call, &format!("its answer can't be read: {e}"), None))
    }

    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        url.path_segments_mut().expect("http and https URLs have a path").pop_if_empty().extend(segments);
        url
    }

    fn fault(&self, call: &str, failure: &str, status: Option<u16>) -> RegistryFault {
        RegistryFault { call: call.into(), base: self.shown_base.clone(), failure: failure.into(), status }
    }
}

fn unusable(reason: String) -> Unreadable {
    Unreadable::SchemaUnusable { reason: reason.into() }
}

fn too_long() -> Unreadable {
    unusable(format!("it has more than {MAX_ANSWER_BYTES} bytes"))
}

/// An error with what caused it: reqwest's own messages leave that out.
fn causes(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |e| e.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
