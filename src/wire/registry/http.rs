//! The calls of the registry's REST API: one request each, with a bound on its time and on the size of its answer.

use super::rules::RuleSet;
use crate::config::OddAnswer;
use crate::wire::schema_id::SchemaId;
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, RequestBuilder, StatusCode, Url, header};
use schema_registry_converter::async_impl::schema_registry::{SrSettings, post_schema};
use schema_registry_converter::schema_registry_common::{SchemaType, SuppliedSchema};
use serde::Deserialize;
use serde_json::json;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The longest answer that is read. A schema of this size is no command's.
pub(super) const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

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
    /// What is done about a record whose schema the registry is odd about.
    pub odd_answer: OddAnswer,
}

impl fmt::Debug for RegistryOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url: _, user, password: _, ca_file, odd_answer: _ } = self;
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
    /// What was asked for, where, what became of it, and the HTTP status if there was an answer.
    pub(crate) fn new(call: &str, base: &str, failure: &str, status: Option<u16>) -> Self {
        Self { call: call.into(), base: base.into(), failure: failure.into(), status }
    }

    /// The HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        self.status
    }
}

/// `GET /schemas/ids/{id}` and `GET /subjects/{subject}/versions/{version}`.
#[derive(Deserialize)]
pub(super) struct SchemaAnswer {
    pub schema: String,
    #[serde(default, rename = "schemaType")]
    pub schema_type: Option<String>,
    /// Some registries say null where there are none.
    #[serde(default)]
    pub references: Option<Vec<SchemaReference>>,
    #[serde(default, rename = "ruleSet")]
    pub rule_set: Option<RuleSet>,
}

#[derive(Clone, Deserialize, PartialEq, Eq, Hash)]
pub(super) struct SchemaReference {
    pub subject: String,
    /// -1 is the latest.
    pub version: i64,
}

impl SchemaAnswer {
    /// Returns a number that another answer does not have, in all likelihood.
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

#[derive(Deserialize)]
struct ErrorAnswer {
    error_code: u32,
    #[serde(default)]
    message: String,
}

/// An answer with an HTTP status that means something.
pub(super) enum Answer<T> {
    Found(T),
    /// A 404 that says "there is no such thing": see [`is_not_found`].
    NotFound {
        /// False if it has no error code: that may be a proxy's, which says it of all that it is asked.
        has_code: bool,
    },
    /// More than [`MAX_ANSWER_BYTES`].
    TooLong,
}

/// Whether a 404 with this error code, if it has one, means that there is no such schema, subject or version. Registries differ: 40403,
/// 40401 and 40402 are Confluent's, 404 is said by others, and some say nothing.
fn is_not_found(code: Option<u32>) -> bool {
    code.is_none_or(|code| code == 404 || (40_400..40_500).contains(&code))
}

impl ErrorAnswer {
    /// Apicurio says 0 of a path that it does not know: that is none.
    fn code(&self) -> Option<u32> {
        Some(self.error_code).filter(|code| *code != 0)
    }
}

/// The registry's address, and how to talk to it.
pub(super) struct Http {
    client: Client,
    options: RegistryOptions,
    base: Url,
    /// The base without credentials, for messages.
    shown_base: Arc<str>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Http").field(&self.shown_base).finish()
    }
}

impl Http {
    /// A proxy in the environment is not used: the registry stands beside the broker.
    pub(super) fn new(options: &RegistryOptions) -> Result<Self, InvalidRegistryOptions> {
        let base = Url::parse(&options.url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let base = base.ok_or(InvalidRegistryOptions::Url)?;
        let mut shown = base.clone();
        // Both fail only for URLs that can't have credentials.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        Ok(Self {
            client: client(options, &base)?.build()?,
            options: options.clone(),
            base,
            shown_base: shown.as_str().trim_end_matches('/').into(),
        })
    }

    pub(super) async fn schema(&self, id: SchemaId) -> Result<Answer<SchemaAnswer>, RegistryFault> {
        let (kind, name) = match id {
            SchemaId::Number(id) => ("ids", id.to_string()),
            SchemaId::Guid(guid) => ("guids", guid.to_string()),
        };
        self.send(self.client.get(self.url(&["schemas", kind, &name])), &format!("fetching the schema with {id}")).await
    }

    /// Never [`Answer::NotFound`]: the registry said that there is one. Its subject may have been deleted softly since.
    pub(super) async fn referenced(&self, reference: &SchemaReference) -> Result<Answer<SchemaAnswer>, RegistryFault> {
        let SchemaReference { subject, version } = reference;
        let version = if *version < 0 { "latest".to_owned() } else { version.to_string() };
        let mut url = self.url(&["subjects", subject, "versions", &version]);
        url.set_query(Some("deleted=true"));
        let call = format!("fetching version {version} of {subject}");
        match self.send(self.client.get(url), &call).await? {
            Answer::NotFound { .. } => Err(self.fault(&call, "it has none, though a schema refers to it", Some(404))),
            other => Ok(other),
        }
    }

    /// By `schema_registry_converter`: no errors are to be told apart here. Rare, so that its client is made for it.
    pub(super) async fn register(&self, subject: &str, schema: &str) -> Result<u32, RegistryFault> {
        let fault = |e: &dyn fmt::Display| self.fault(&format!("registering a schema as {subject}"), &e.to_string(), None);
        let settings = self.converter().map_err(|e| fault(&e))?;
        let schema = SuppliedSchema::new(None, SchemaType::Avro, schema.into());
        let registered = post_schema(&settings, subject.into(), schema).await.map_err(|e| fault(&e))?;
        Ok(registered.id)
    }

    /// How `schema_registry_converter` reaches the registry.
    fn converter(&self) -> Result<SrSettings, Box<dyn std::error::Error + Send + Sync>> {
        let mut settings = SrSettings::new_builder(self.options.url.trim_end_matches('/').into());
        settings.no_proxy().set_timeout(REQUEST_TIMEOUT);
        if let Some(user) = &self.options.user {
            settings.set_basic_authorization(user, self.options.password.as_deref());
        }
        Ok(settings.build_with(client(&self.options, &self.base)?)?)
    }

    pub(super) async fn look_up(&self, subject: &str, schema: &str) -> Result<Option<u32>, RegistryFault> {
        let call = format!("looking a schema up in {subject}");
        let request = self.client.post(self.url(&["subjects", subject])).json(&json!({ "schema": schema }));
        match self.send::<IdAnswer>(request, &call).await? {
            Answer::Found(answer) => Ok(Some(answer.id)),
            Answer::NotFound { has_code: true } => Ok(None),
            Answer::NotFound { has_code: false } => Err(self.not_a_registry(&call)),
            Answer::TooLong => Err(self.fault(&call, "its answer is too long", None)),
        }
    }

    /// Sends a request. Of the errors, only a 404 that [`is_not_found`] comes back as an answer.
    async fn send<T: for<'de> Deserialize<'de>>(&self, request: RequestBuilder, call: &str) -> Result<Answer<T>, RegistryFault> {
        let request = request.header(header::ACCEPT, CONTENT_TYPE);
        let request = match &self.options.user {
            Some(user) => request.basic_auth(user, self.options.password.as_ref()),
            None => request,
        };
        let broken = |e: reqwest::Error| self.fault(call, &causes(&e.without_url()), None);
        let mut response = request.send().await.map_err(broken)?;
        let status = response.status();
        if status.is_redirection() {
            let location = response.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
            let fault = self.fault(call, &redirected(status, location), Some(status.as_u16()));
            return Err(fault);
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER_BYTES {
                break;
            }
        }
        if status.is_success() {
            if body.len() > MAX_ANSWER_BYTES {
                return Ok(Answer::TooLong);
            }
            let unreadable = |e| self.fault(call, &format!("its answer can't be read: {e}"), None);
            return serde_json::from_slice(&body).map(Answer::Found).map_err(unreadable);
        }
        let error = serde_json::from_slice::<ErrorAnswer>(&body).ok();
        if status == StatusCode::NOT_FOUND && is_not_found(error.as_ref().and_then(ErrorAnswer::code)) {
            return Ok(Answer::NotFound { has_code: error.is_some_and(|e| e.code().is_some()) });
        }
        let failure = match error {
            Some(ErrorAnswer { error_code, message }) => format!("it answered {status} ({error_code}: {message})"),
            None => format!("it answered {status}"),
        };
        Err(self.fault(call, &failure, Some(status.as_u16())))
    }

    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        url.path_segments_mut().expect("http and https URLs have a path").pop_if_empty().extend(segments);
        url
    }

    /// A 404 to a question that a registry would answer in another way.
    pub(super) fn not_a_registry(&self, call: &str) -> RegistryFault {
        self.fault(call, "it answered 404 Not Found and not as a registry does: is the path of registry.url right?", Some(404))
    }

    fn fault(&self, call: &str, failure: &str, status: Option<u16>) -> RegistryFault {
        RegistryFault::new(call, &self.shown_base, failure, status)
    }
}

fn client(options: &RegistryOptions, base: &Url) -> Result<ClientBuilder, InvalidRegistryOptions> {
    // A redirection is not followed: after a 301 or 302 a POST would become a GET, and the credentials are not for whoever is named there.
    let client = Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(REQUEST_TIMEOUT).no_proxy().redirect(Policy::none());
    let Some(path) = &options.ca_file else {
        // The system's authorities take 1 MiB in each client.
        return Ok(if base.scheme() == "https" { client } else { client.tls_certs_only([]) });
    };
    let invalid = |source| InvalidRegistryOptions::CaFile { path: path.clone(), source };
    let pem = std::fs::read(path).map_err(|e| invalid(e.into()))?;
    Ok(client.tls_certs_merge(reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| invalid(e.into()))?))
}

/// What is said of a redirection. Whatever credentials the address may hold are not shown.
fn redirected(status: StatusCode, location: Option<&str>) -> String {
    let Some(location) = location else { return format!("it answered {status}, and does not say where to") };
    let shown = match Url::parse(location) {
        Ok(mut url) => {
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.set_query(None);
            url.to_string()
        }
        Err(_) => location.split(['?', '#']).next().unwrap_or_default().to_owned(),
    };
    format!(
        "it answered {status} and points to {shown}; redirections are not followed, so registry.url must name what answers itself"
    )
}

/// An error with what caused it: reqwest's own messages leave that out.
fn causes(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |e| e.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
