//! A small schema registry in this process, for the demo and the tests: the part of Confluent's REST API that serialisers
//! use, over HTTP, in memory. Ids are global; the same schema has the same id under each subject.
//!
//! The registry keeps all schemas for as long as it lives, and deletes nothing. It keeps the compatibility level that a subject was given,
//! and checks no compatibility all the same. A subject that was given none has `NONE`.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The size of the largest request, in bytes. Real schemas have a few KiB.
const MAX_REQUEST_BYTES: usize = 1024 * 1024;
/// The most versions that the registry takes, over all subjects. There are no more schemas either, and no more levels of compatibility.
const MAX_VERSIONS: usize = 10_000;

const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// A running registry. It stops when this is dropped, or by [`EmbeddedRegistry::stop`].
#[derive(Debug)]
pub struct EmbeddedRegistry {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<io::Result<()>>,
}

impl EmbeddedRegistry {
    /// Starts a registry that listens on `address`; port 0 stands for any free port.
    ///
    /// # Errors
    /// The registry can't listen there.
    pub async fn start(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        // An error means that the handle was dropped, which stops the registry, too.
        let task = tokio::spawn(serve(listener, async { drop(stopped.await) }));
        Ok(Self { address, stop: Some(stop), task })
    }

    /// Returns the registry's URL, such as `http://127.0.0.1:8081`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops the registry, and waits until the requests under way are answered.
    ///
    /// # Errors
    /// The registry had failed.
    pub async fn stop(mut self) -> io::Result<()> {
        drop(self.stop.take());
        self.task.await.map_err(io::Error::other)?
    }
}

/// Serves a new, empty registry until `shutdown` is ready.
///
/// # Errors
/// The listener fails.
pub async fn serve(listener: TcpListener, shutdown: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
    axum::serve(listener, router()).with_graceful_shutdown(shutdown).await
}

fn router() -> Router {
    Router::new()
        .route("/", get(|| async { answer(&json!({})) }))
        .route("/subjects", get(subjects))
        .route("/subjects/{subject}", post(look_up))
        .route("/subjects/{subject}/versions", get(versions).post(register))
        .route("/subjects/{subject}/versions/{version}", get(version))
        .route("/schemas/types", get(|| async { answer(&["AVRO"]) }))
        .route("/schemas/ids/{id}", get(schema))
        .route("/schemas/ids/{id}/versions", get(schema_versions))
        .route("/config", get(config).put(set_config))
        .route("/config/{subject}", get(level).put(set_level))
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state(Arc::default())
}

/// A schema as a producer offers it.
#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Offer {
    schema: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    schema_type: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    references: Vec<SubjectVersion>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
struct SubjectVersion {
    name: String,
    subject: String,
    version: usize,
}

struct Schema {
    offer: Offer,
    /// The schema as JSON, which is the same however the text is laid out.
    canonical: Value,
}

/// The schemas and subjects of a registry. Ids of schemas and numbers of versions count from 1: they are indexes plus 1.
#[derive(Default)]
struct Registered {
    schemas: Vec<Schema>,
    /// The ids of a subject's versions.
    subjects: BTreeMap<String, Vec<usize>>,
    /// The compatibility levels that subjects were given.
    levels: BTreeMap<String, String>,
}

type SharedContents = Arc<Mutex<Registered>>;

fn lock(contents: &SharedContents) -> MutexGuard<'_, Registered> {
    contents.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registered {
    fn id_of(&self, canonical: &Value, references: &[SubjectVersion]) -> Option<usize> {
        let same = |s: &Schema| s.canonical == *canonical && s.offer.references == references;
        self.schemas.iter().position(same).map(|index| index + 1)
    }

    fn schema(&self, id: usize) -> Option<&Schema> {
        self.schemas.get(id.checked_sub(1)?)
    }

    /// Returns the texts of the schemas that `references` name, and of those that these refer to.
    fn texts(&self, references: &[SubjectVersion]) -> Result<BTreeMap<usize, String>, Failure> {
        let mut texts = BTreeMap::new();
        let mut open: Vec<&SubjectVersion> = references.iter().collect();
        while let Some(reference) = open.pop() {
            let ids = self.subjects.get(&reference.subject);
            let id = ids.and_then(|ids| ids.get(reference.version.checked_sub(1)?));
            let (id, schema) = id.and_then(|id| Some((*id, self.schema(*id)?))).ok_or(Failure::INVALID_SCHEMA)?;
            if texts.insert(id, schema.offer.schema.clone()).is_none() {
                open.extend(&schema.offer.references);
            }
        }
        Ok(texts)
    }

    /// Checks an offer, and returns its canonical form.
    fn check(&self, offer: &Offer) -> Result<Value, Failure> {
        if offer.schema_type.as_deref().is_some_and(|kind| kind != "AVRO") {
            return Err(Failure::INVALID_SCHEMA);
        }
        let texts = self.texts(&offer.references)?;
        apache_avro::Schema::parse_str_with_list(&offer.schema, texts.values()).map_err(|_| Failure::INVALID_SCHEMA)?;
        // A bare `string` is a schema, too, and JSON wants it in quotes.
        serde_json::from_str(&offer.schema).map_err(|_| Failure::INVALID_SCHEMA)
    }
}

/// The answer to a request that can't be served.
struct Failure {
    status: StatusCode,
    error_code: u32,
    message: &'static str,
}

impl Failure {
    const NO_SUBJECT: Self = Self::new(StatusCode::NOT_FOUND, 40401, "Subject not found");
    const NO_VERSION: Self = Self::new(StatusCode::NOT_FOUND, 40402, "Version not found");
    const NO_SCHEMA: Self = Self::new(StatusCode::NOT_FOUND, 40403, "Schema not found");
    const INVALID_SCHEMA: Self = Self::new(StatusCode::UNPROCESSABLE_ENTITY, 42201, "Invalid Avro schema");
    const INVALID_VERSION: Self = Self::new(StatusCode::UNPROCESSABLE_ENTITY, 42202, "Invalid version");
    const INVALID_LEVEL: Self = Self::new(StatusCode::UNPROCESSABLE_ENTITY, 42203, "Invalid compatibility level");
    const INVALID_REQUEST: Self = Self::new(StatusCode::BAD_REQUEST, 400, "The request is not the JSON that is expected");
    const FULL: Self = Self::new(StatusCode::INSUFFICIENT_STORAGE, 50001, "The registry is full");

    const fn new(status: StatusCode, error_code: u32, message: &'static str) -> Self {
        Self { status, error_code, message }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = json!({ "error_code": self.error_code, "message": self.message });
        (self.status, answer(&body)).into_response()
    }
}

fn answer(body: &impl Serialize) -> Response {
    let body = serde_json::to_vec(body).expect("texts, numbers and lists of them become JSON");
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response()
}

fn parse<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|_| Failure::INVALID_REQUEST)
}

async fn subjects(State(contents): State<SharedContents>) -> Response {
    answer(&lock(&contents).subjects.keys().collect::<Vec<_>>())
}

async fn register(State(contents): State<SharedContents>, Path(subject): Path<String>, body: Bytes) -> Result<Response, Failure> {
    let offer: Offer = parse(&body)?;
    let mut contents = lock(&contents);
    let canonical = contents.check(&offer)?;
    let known = contents.id_of(&canonical, &offer.references);
    let versions: usize = contents.subjects.values().map(Vec::len).sum();
    let id = known.unwrap_or(contents.schemas.len() + 1);
    if !contents.subjects.get(&subject).is_some_and(|ids| ids.contains(&id)) {
        if versions >= MAX_VERSIONS {
            return Err(Failure::FULL);
        }
        contents.subjects.entry(subject).or_default().push(id);
    }
    if known.is_none() {
        contents.schemas.push(Schema { offer, canonical });
    }
    Ok(answer(&json!({ "id": id })))
}

async fn look_up(State(contents): State<SharedContents>, Path(subject): Path<String>, body: Bytes) -> Result<Response, Failure> {
    let offer: Offer = parse(&body)?;
    let contents = lock(&contents);
    let ids = contents.subjects.get(&subject).ok_or(Failure::NO_SUBJECT)?;
    let id = contents.id_of(&contents.check(&offer)?, &offer.references);
    let index = ids.iter().position(|i| Some(*i) == id).ok_or(Failure::NO_SCHEMA)?;
    registered(&contents, &subject, index)
}

async fn versions(State(contents): State<SharedContents>, Path(subject): Path<String>) -> Result<Response, Failure> {
    let contents = lock(&contents);
    let ids = contents.subjects.get(&subject).ok_or(Failure::NO_SUBJECT)?;
    Ok(answer(&(1..=ids.len()).collect::<Vec<_>>()))
}

async fn version(
    State(contents): State<SharedContents>,
    Path((subject, version)): Path<(String, String)>,
) -> Result<Response, Failure> {
    let contents = lock(&contents);
    let ids = contents.subjects.get(&subject).ok_or(Failure::NO_SUBJECT)?;
    let index = match version.as_str() {
        "latest" | "-1" => ids.len().checked_sub(1),
        number => number.parse::<usize>().map_err(|_| Failure::INVALID_VERSION)?.checked_sub(1),
    };
    registered(&contents, &subject, index.ok_or(Failure::INVALID_VERSION)?)
}

/// Returns the answer about a subject's version.
fn registered(contents: &Registered, subject: &str, index: usize) -> Result<Response, Failure> {
    let id = contents.subjects.get(subject).and_then(|ids| ids.get(index)).ok_or(Failure::NO_VERSION)?;
    let mut body = described(contents.schema(*id).ok_or(Failure::NO_SCHEMA)?);
    body["subject"] = subject.into();
    body["version"] = (index + 1).into();
    body["id"] = (*id).into();
    Ok(answer(&body))
}

fn described(schema: &Schema) -> Value {
    let offer = Offer { schema_type: None, ..schema.offer.clone() };
    serde_json::to_value(offer).expect("texts and numbers become JSON")
}

/// Returns the schema with this id. As with Confluent, an id that is no number is not found.
fn find<'a>(contents: &'a Registered, id: &str) -> Result<(usize, &'a Schema), Failure> {
    let id = id.parse().map_err(|_| Failure::NO_SCHEMA)?;
    contents.schema(id).map(|schema| (id, schema)).ok_or(Failure::NO_SCHEMA)
}

async fn schema(State(contents): State<SharedContents>, Path(id): Path<String>) -> Result<Response, Failure> {
    find(&lock(&contents), &id).map(|(_, schema)| answer(&described(schema)))
}

async fn schema_versions(State(contents): State<SharedContents>, Path(id): Path<String>) -> Result<Response, Failure> {
    let contents = lock(&contents);
    let (id, _) = find(&contents, &id)?;
    let uses = contents.subjects.iter().flat_map(|(subject, ids)| {
        let indexes = ids.iter().enumerate().filter(move |(_, i)| **i == id);
        indexes.map(move |(index, _)| json!({ "subject": subject, "version": index + 1 }))
    });
    Ok(answer(&uses.collect::<Vec<_>>()))
}

async fn config() -> Response {
    answer(&json!({ "compatibilityLevel": "NONE" }))
}

/// Accepts a level for the whole registry, because set-up scripts of serialisers set one. It has no effect.
async fn set_config(body: Bytes) -> Result<Response, Failure> {
    Ok(answer(&json!({ "compatibility": asked_level(&body)? })))
}

async fn level(State(contents): State<SharedContents>, Path(subject): Path<String>) -> Response {
    let level = lock(&contents).levels.get(&subject).cloned();
    answer(&json!({ "compatibilityLevel": level.as_deref().unwrap_or("NONE") }))
}

async fn set_level(
    State(contents): State<SharedContents>,
    Path(subject): Path<String>,
    body: Bytes,
) -> Result<Response, Failure> {
    let level = asked_level(&body)?;
    let mut contents = lock(&contents);
    if contents.levels.len() >= MAX_VERSIONS && !contents.levels.contains_key(&subject) {
        return Err(Failure::FULL);
    }
    contents.levels.insert(subject, level.clone());
    Ok(answer(&json!({ "compatibility": level })))
}

/// Returns the level in the body of a request to set one. A level that is none of Avro's is not kept.
fn asked_level(body: &[u8]) -> Result<String, Failure> {
    const LEVELS: [&str; 7] =
        ["NONE", "BACKWARD", "BACKWARD_TRANSITIVE", "FORWARD", "FORWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE"];
    let asked: Value = parse(body)?;
    let level = asked["compatibility"].as_str().filter(|level| LEVELS.contains(level));
    level.map(str::to_owned).ok_or(Failure::INVALID_LEVEL)
}

#[cfg(test)]
#[path = "embedded_registry_tests.rs"]
mod tests;
