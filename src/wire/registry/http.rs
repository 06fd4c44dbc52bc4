//! The calls of the registry's REST API. Each has a bound on its time and on the size of its answer.

use super::client::{InvalidRegistryOptions, RegistryOptions, client};
use super::credentials::Credentials;
use super::fault::{RegistryFault, RegistryRemedy, causes, is_distrusted};
use super::rules::RuleSet;
use crate::wire::bounded_body::bounded_body;
use crate::wire::schema_id::SchemaId;
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url, header};
use serde::Deserialize;
use serde_json::json;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The size of the longest answer that is read, in bytes. No command's schema is so large.
pub(super) const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// The answer to `GET /schemas/ids/{id}`, `GET /schemas/guids/{guid}` and `GET /subjects/{subject}/versions/{version}`.
#[derive(Deserialize)]
pub(super) struct SchemaAnswer {
    pub schema: String,
    #[serde(default, rename = "schemaType")]
    pub schema_type: Option<String>,
    /// The schemas that this one refers to. Some registries say null if there are none.
    #[serde(default)]
    pub references: Option<Vec<SchemaReference>>,
    #[serde(default, rename = "ruleSet")]
    pub rule_set: Option<RuleSet>,
}

#[derive(Clone, Deserialize, PartialEq, Eq, Hash)]
pub(super) struct SchemaReference {
    pub subject: String,
    /// The subject's version; -1 is the latest.
    pub version: i64,
}

impl SchemaAnswer {
    /// Returns a hash of the answer, which a different answer does not share in all likelihood.
    pub(super) fn print(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.schema, &self.schema_type, &self.references, &self.rule_set).hash(&mut hasher);
        hasher.finish()
    }
}

#[derive(Deserialize)]
struct IdAnswer {
    id: u32,
}

/// The answer to `GET /config/{subject}`.
#[derive(Deserialize)]
struct LevelAnswer {
    #[serde(rename = "compatibilityLevel")]
    level: String,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    error_code: u32,
    #[serde(default)]
    message: String,
}

/// An answer with an HTTP status that means something.
pub(super) enum HttpAnswer<T> {
    Found(T),
    /// A 404 that says "there is no such thing": see [`is_not_found`].
    NotFound {
        /// Whether the answer has an error code. If it has none, it may be that of a proxy, which answers everything so.
        has_code: bool,
    },
    /// The answer is longer than [`MAX_ANSWER_BYTES`].
    TooLong,
}

/// Returns whether a 404 with this error code, or `None` for a 404 without one, means that there is no such schema, subject or version.
/// Registries differ: 40403, 40401 and 40402 are Confluent's codes, others have 404, and some have none.
fn is_not_found(code: Option<u32>) -> bool {
    code.is_none_or(|code| code == 404 || (40_400..40_500).contains(&code))
}

impl ErrorAnswer {
    /// Returns the error code, or `None` if it is 0, as Apicurio has it for a path that it does not know.
    fn code(&self) -> Option<u32> {
        Some(self.error_code).filter(|code| *code != 0)
    }
}

/// The registry's addresses, and the client and the credentials with which it is asked.
pub(super) struct Http {
    client: Client,
    credentials: Credentials,
    bases: Vec<Base>,
    /// The index of the base that had a proper answer last. It is asked first.
    first: AtomicUsize,
}

struct Base {
    url: Url,
    /// The URL without credentials, for messages.
    shown: Arc<str>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Http").field(&self.shown()).finish()
    }
}

impl Http {
    /// Sets up the calls. A proxy in the environment is not used, because the registry stands beside the broker.
    pub(super) fn new(options: &RegistryOptions) -> Result<Self, InvalidRegistryOptions> {
        let bases: Vec<_> =
            options.urls.iter().map(|url| Base::new(url)).collect::<Option<_>>().ok_or(InvalidRegistryOptions::Url)?;
        if bases.is_empty() {
            return Err(InvalidRegistryOptions::Url);
        }
        Ok(Self {
            client: client(options)?,
            credentials: Credentials::new(options.credentials.clone()),
            bases,
            first: AtomicUsize::new(0),
        })
    }

    fn shown(&self) -> String {
        self.bases.iter().map(|base| &*base.shown).collect::<Vec<_>>().join(", ")
    }

    pub(super) async fn schema(&self, id: SchemaId) -> Result<HttpAnswer<SchemaAnswer>, RegistryFault> {
        let (kind, name) = match id {
            SchemaId::Number(id) => ("ids", id.to_string()),
            SchemaId::Guid(guid) => ("guids", guid.to_string()),
        };
        let call = format!("fetching the schema with {id}");
        self.send(&call, |base| self.client.get(base.url(&["schemas", kind, &name]))).await
    }

    /// Fetches a schema that another one refers to, also from a subject that was deleted softly. Never returns [`HttpAnswer::NotFound`]:
    /// the registry said that there is such a schema, so a 404 is a fault.
    pub(super) async fn referenced(&self, reference: &SchemaReference) -> Result<HttpAnswer<SchemaAnswer>, RegistryFault> {
        let SchemaReference { subject, version } = reference;
        let version = if *version < 0 { "latest".to_owned() } else { version.to_string() };
        let call = format!("fetching version {version} of {subject}");
        let request = |base: &Base| {
            let mut url = base.url(&["subjects", subject, "versions", &version]);
            url.set_query(Some("deleted=true"));
            self.client.get(url)
        };
        match self.send(&call, request).await? {
            HttpAnswer::NotFound { .. } => {
                Err(self.fault(&call, "it has none, though a schema refers to it", RegistryRemedy::Address))
            }
            other => Ok(other),
        }
    }

    pub(super) async fn register(&self, subject: &str, schema: &str) -> Result<u32, RegistryFault> {
        let call = format!("registering a schema as {subject}");
        let request =
            |base: &Base| self.client.post(base.url(&["subjects", subject, "versions"])).json(&json!({ "schema": schema }));
        match self.send::<IdAnswer>(&call, request).await? {
            HttpAnswer::Found(answer) => Ok(answer.id),
            HttpAnswer::NotFound { .. } => Err(self.not_a_registry(&call)),
            HttpAnswer::TooLong => Err(self.fault(&call, "its answer is too long", RegistryRemedy::Address)),
        }
    }

    pub(super) async fn look_up(&self, subject: &str, schema: &str) -> Result<Option<u32>, RegistryFault> {
        let call = format!("looking a schema up in {subject}");
        let request = |base: &Base| self.client.post(base.url(&["subjects", subject])).json(&json!({ "schema": schema }));
        match self.send::<IdAnswer>(&call, request).await? {
            HttpAnswer::Found(answer) => Ok(Some(answer.id)),
            HttpAnswer::NotFound { has_code: true } => Ok(None),
            HttpAnswer::NotFound { has_code: false } => Err(self.not_a_registry(&call)),
            HttpAnswer::TooLong => Err(self.fault(&call, "its answer is too long", RegistryRemedy::Address)),
        }
    }

    /// Asks for the compatibility level of a subject, be it the subject's own or that of the whole registry. Returns `None` if the
    /// registry has none to tell.
    pub(super) async fn compatibility(&self, subject: &str) -> Result<Option<String>, RegistryFault> {
        let call = format!("asking for the compatibility of {subject}");
        let request = |base: &Base| {
            let mut url = base.url(&["config", subject]);
            url.set_query(Some("defaultToGlobal=true"));
            self.client.get(url)
        };
        match self.send::<LevelAnswer>(&call, request).await? {
            HttpAnswer::Found(answer) => Ok(Some(answer.level)),
            HttpAnswer::NotFound { .. } => Ok(None),
            HttpAnswer::TooLong => Err(self.fault(&call, "its answer is too long", RegistryRemedy::Address)),
        }
    }

    pub(super) async fn set_compatibility(&self, subject: &str, level: &str) -> Result<(), RegistryFault> {
        let call = format!("setting the compatibility of {subject}");
        let request = |base: &Base| self.client.put(base.url(&["config", subject])).json(&json!({ "compatibility": level }));
        match self.send::<serde_json::Value>(&call, request).await? {
            HttpAnswer::Found(_) => Ok(()),
            HttpAnswer::NotFound { .. } => Err(self.not_a_registry(&call)),
            HttpAnswer::TooLong => Err(self.fault(&call, "its answer is too long", RegistryRemedy::Address)),
        }
    }

    /// Sends a request to one base after another until one has a proper answer. A 404 that [`is_not_found`] is an answer, too; any other
    /// error status is a fault.
    async fn send<T: for<'de> Deserialize<'de>>(
        &self,
        call: &str,
        request: impl Fn(&Base) -> RequestBuilder,
    ) -> Result<HttpAnswer<T>, RegistryFault> {
        let first = self.first.load(Relaxed);
        let mut faults: Vec<RegistryFault> = Vec::new();
        let mut not_found = false;
        for at in (0..self.bases.len()).map(|n| (first + n) % self.bases.len()) {
            match self.send_to(&self.bases[at], call, &request).await {
                // A proxy may answer so for a registry that is away.
                Ok(HttpAnswer::NotFound { has_code: false }) => not_found = true,
                Ok(answer) => {
                    self.first.store(at, Relaxed);
                    return Ok(answer);
                }
                Err(fault) => faults.push(fault),
            }
        }
        match faults.as_slice() {
            [] if not_found => Ok(HttpAnswer::NotFound { has_code: false }),
            [] => Err(self.fault(call, "there is nobody to ask", RegistryRemedy::Address)),
            [fault] => Err(fault.clone()),
            faults => {
                let failures: Vec<_> = faults.iter().map(|fault| format!("{}: {}", fault.base, fault.failure)).collect();
                Err(self.fault(call, &failures.join("; "), faults[0].remedy))
            }
        }
    }

    async fn send_to<T: for<'de> Deserialize<'de>>(
        &self,
        base: &Base,
        call: &str,
        request: &impl Fn(&Base) -> RequestBuilder,
    ) -> Result<HttpAnswer<T>, RegistryFault> {
        let mut response = self.response(base, call, request(base), false).await?;
        if response.status() == StatusCode::UNAUTHORIZED && self.credentials.can_be_renewed() {
            response = self.response(base, call, request(base), true).await?;
        }
        let fault = |failure: &str, remedy| RegistryFault::new(call, &base.shown, failure, remedy);
        let status = response.status();
        if status.is_redirection() {
            let location = response.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
            return Err(fault(&redirected(status, location), RegistryRemedy::Named));
        }
        let body = bounded_body(&mut response, MAX_ANSWER_BYTES)
            .await
            .map_err(|e| fault(&causes(&e.without_url()), RegistryRemedy::Address))?;
        if status.is_success() {
            if body.len() > MAX_ANSWER_BYTES {
                return Ok(HttpAnswer::TooLong);
            }
            let unreadable = |e| fault(&format!("its answer can't be read: {e}"), RegistryRemedy::Address);
            return serde_json::from_slice(&body).map(HttpAnswer::Found).map_err(unreadable);
        }
        let error = serde_json::from_slice::<ErrorAnswer>(&body).ok();
        if status == StatusCode::NOT_FOUND && is_not_found(error.as_ref().and_then(ErrorAnswer::code)) {
            return Ok(HttpAnswer::NotFound { has_code: error.is_some_and(|e| e.code().is_some()) });
        }
        let failure = match error {
            Some(ErrorAnswer { error_code, message }) => format!("it answered {status} ({error_code}: {message})"),
            None => format!("it answered {status}"),
        };
        Err(fault(&failure, RegistryRemedy::of(status)))
    }

    /// Sends one request with our credentials.
    async fn response(&self, base: &Base, call: &str, request: RequestBuilder, renewed: bool) -> Result<Response, RegistryFault> {
        let fault = |failure: &str, remedy| RegistryFault::new(call, &base.shown, failure, remedy);
        let mut request = request.header(header::ACCEPT, CONTENT_TYPE);
        if let Some(credentials) =
            self.credentials.header(&self.client, renewed).await.map_err(|reason| fault(&reason, RegistryRemedy::Named))?
        {
            request = request.header(header::AUTHORIZATION, credentials);
        }
        request.send().await.map_err(|e| {
            let e = e.without_url();
            fault(&causes(&e), if is_distrusted(&e) { RegistryRemedy::TrustAuthority } else { RegistryRemedy::Address })
        })
    }

    /// Returns the fault for a 404 to a call that a registry answers in another way.
    pub(super) fn not_a_registry(&self, call: &str) -> RegistryFault {
        let failure = "it answered 404 Not Found and not as a registry does: is the path of registry.url right?";
        self.fault(call, failure, RegistryRemedy::Named)
    }

    fn fault(&self, call: &str, failure: &str, remedy: RegistryRemedy) -> RegistryFault {
        RegistryFault::new(call, &self.shown(), failure, remedy)
    }
}

impl Base {
    /// Reads a URL. Returns `None` if the text is no URL of an HTTP server.
    fn new(url: &str) -> Option<Self> {
        let url = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())?;
        let mut shown = url.clone();
        // Both fail only for URLs that can't have credentials.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        Some(Self { shown: shown.as_str().trim_end_matches('/').into(), url })
    }

    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.url.clone();
        url.path_segments_mut().expect("http and https URLs have a path").pop_if_empty().extend(segments);
        url
    }
}

/// Returns the message about a redirection, without any credentials that the address may hold.
fn redirected(status: StatusCode, location: Option<&str>) -> String {
    let shown = location.map_or("nowhere".to_owned(), |location| match Url::parse(location) {
        Ok(mut url) => {
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.set_query(None);
            url.to_string()
        }
        Err(_) => location.split(['?', '#']).next().unwrap_or_default().to_owned(),
    });
    format!(
        "it answered {status} and points to {shown}; redirections are not followed, so registry.url must name what answers itself"
    )
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
