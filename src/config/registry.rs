//! `[registry]`: where the schema registry is, and how this process logs in.

use super::access::{A_PEM_FILE, UserAndPassword, credentials, identity, readable_file};
use super::given::{DAY, Given, duration, list, of_text, text};
use super::reader::Section;
use super::secrets::{self, RotatingSecret};
use super::settings::AsToml;
use super::text::http_url;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// The shortest and the longest `odd_answer`. The shortest leaves time for several questions, because one may get lost. More than the
/// longest is as good as `wait`.
const ODD_ANSWER: RangeInclusive<Duration> = Duration::from_secs(5)..=DAY;

/// The schema registry, and how to reach it.
#[derive(Clone, Debug)]
pub struct Registry {
    /// `url`: the registry's base URLs, without a slash at the end. If one gives no proper answer, the next one is asked.
    pub urls: Vec<String>,
    /// `user` and `password`, or `token`, or `oauth`: only one of these may be given.
    pub credentials: RegistryCredentials,
    /// `ca_file`: a PEM file of authorities to trust in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// `cert_file` and `key_file`: PEM files of the certificate and the key with which this process shows who it is.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// `odd_answer`: what becomes of a record if the registry answers about other schemas, but neither gives out the record's schema nor
    /// says that there is none.
    pub odd_answer: OddAnswer,
}

/// The credentials that this process shows to the registry, other than a certificate.
#[derive(Clone, Debug, Default)]
pub enum RegistryCredentials {
    /// No credentials.
    #[default]
    None,
    /// `user` and `password`: HTTP basic authentication.
    Basic(UserAndPassword),
    /// `token`: a bearer token.
    Token(RotatingSecret),
    /// `oauth`: a bearer token that an authorisation server issues.
    OAuth(OAuth),
}

/// The client credentials for OAuth 2.0.
#[derive(Clone, Debug)]
pub struct OAuth {
    /// `token_url`: the URL at which the authorisation server issues tokens.
    pub token_url: String,
    /// `client_id`
    pub client_id: String,
    /// `client_secret`
    pub client_secret: RotatingSecret,
    /// `scope`: the scope that the token is asked for. `None` if the authorisation server decides.
    pub scope: Option<String>,
}

/// What becomes of a record if the registry answers oddly about its schema alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OddAnswer {
    /// A duration: after this time the record goes to the dead letter topic.
    DeadLetterAfter(Duration),
    /// `wait`: the record's partition waits until the registry gives the schema out.
    Wait,
}

impl OddAnswer {
    /// Returns whether a record that has waited for the time `waited` goes to the dead letter topic.
    pub fn is_over(self, waited: Duration) -> bool {
        match self {
            Self::DeadLetterAfter(bound) => waited >= bound,
            Self::Wait => false,
        }
    }
}

impl Default for OddAnswer {
    /// Returns 60 s. That is longer than a node of the registry, or a proxy before it, takes to restart, and short enough for the
    /// commands that wait behind the record.
    fn default() -> Self {
        Self::DeadLetterAfter(Duration::from_secs(60))
    }
}

impl AsToml for OddAnswer {
    fn as_toml(&self) -> toml::Value {
        match self {
            Self::DeadLetterAfter(bound) => bound.as_toml(),
            Self::Wait => "wait".into(),
        }
    }
}

/// Reads the section.
pub(super) fn registry(mut section: Section<'_>) -> Registry {
    let s = &mut section;
    let right =
        "a URL such as \"http://registry:8081\", or several with commas; registry.user and registry.password are for credentials";
    let Urls(urls) = s.value("url", Urls(vec!["http://127.0.0.1:8081".into()]), right, registry_urls);
    let credentials = registry_credentials(s);
    let ca_file = s.optional("ca_file", A_PEM_FILE, readable_file);
    let identity = identity(s);
    let right = "a duration such as \"60s\", or \"wait\"";
    let odd_answer = s.value("odd_answer", OddAnswer::default(), right, |given| {
        if text(given).is_ok_and(|text| text == "wait") {
            return Ok(OddAnswer::Wait);
        }
        duration(ODD_ANSWER)(given).map(OddAnswer::DeadLetterAfter)
    });
    Registry { urls, credentials, ca_file, identity, odd_answer }
}

/// Base URLs. As TOML they are one text with commas between them.
struct Urls(Vec<String>);

impl AsToml for Urls {
    fn as_toml(&self) -> toml::Value {
        self.0.join(",").into()
    }
}

fn registry_urls(given: &Given) -> Result<Urls, String> {
    let urls = match &given.value {
        toml::Value::String(text) if !text.starts_with('[') => {
            text.split(',').map(|url| http_url(url.trim())).collect::<Result<Vec<_>, _>>()?
        }
        _ => list(http_url)(given)?,
    };
    if urls.is_empty() { Err("must have at least one URL".into()) } else { Ok(Urls(urls)) }
}

/// Reads the credentials. If several kinds were given, adds a finding for each that is one too many.
fn registry_credentials(s: &mut Section<'_>) -> RegistryCredentials {
    let basic = credentials(s);
    let token = s.rotating_secret("token");
    let oauth = oauth(s.section("oauth"));
    for (key, is_one_too_many) in
        [("token", token.is_some() && basic.is_some()), ("oauth", oauth.is_some() && (basic.is_some() || token.is_some()))]
    {
        if is_one_too_many {
            let right = "one of user with password, token, and oauth";
            s.reject(key, None, "is given, and so are other credentials for the registry", right);
        }
    }
    match (basic, token, oauth) {
        (Some(basic), ..) => RegistryCredentials::Basic(basic),
        (None, Some(token), _) => RegistryCredentials::Token(token),
        (None, None, Some(oauth)) => RegistryCredentials::OAuth(oauth),
        (None, None, None) => RegistryCredentials::None,
    }
}

fn oauth(mut section: Section<'_>) -> Option<OAuth> {
    const ID: &str = "the id that the authorisation server knows this client by";
    const URL: &str =
        "the URL where the authorisation server gives tokens out, such as \"https://login.example.com/oauth2/token\"";
    let s = &mut section;
    let token_url = s.optional("token_url", URL, of_text(http_url));
    let client_id = s.optional("client_id", ID, text);
    let client_secret = s.rotating_secret("client_secret");
    let scope = s.optional("scope", "a scope, or several with blanks", text);
    if token_url.is_none() && client_id.is_none() && client_secret.is_none() && scope.is_none() {
        return None;
    }
    // A key that was given and is wrong has its own finding already.
    let missing = "is missing, and registry.oauth has other keys";
    let given = [("token_url", token_url.is_some(), URL.to_owned()), ("client_id", client_id.is_some(), ID.to_owned())];
    let secret = ("client_secret", client_secret.is_some(), secrets::right(&s.key("client_secret")));
    for (key, is_given, right) in given.into_iter().chain([secret]) {
        if !is_given && s.is_sound(key) {
            s.reject(key, None, missing, &right);
        }
    }
    Some(OAuth { token_url: token_url?, client_id: client_id?, client_secret: client_secret?, scope })
}
