//! The credentials with which the processor shows the registry who it is: a user and a password, a token that is given or read from a
//! file, or a token that an authorisation server gives out for the client's id and secret (OAuth 2.0, client credentials).

use super::fault::causes;
use crate::config::{OAuth, RegistryCredentials};
use crate::wire::bounded_body::bounded_body;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Url};
use serde::Deserialize;
use serde_json::Value;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How long a token holds if its server does not say.
const USUAL_LIFE: Duration = Duration::from_secs(300);
/// The longest time for which a token is used, whatever its server says.
const LONGEST_LIFE: Duration = Duration::from_secs(86_400);
/// The part of a token's life for which it is used, so that a request under way does not outlive its token.
const USED: f64 = 0.8;
/// The longest answer of an authorisation server that is read, in bytes. Tokens have a few KiB.
const MAX_TOKEN_BYTES: usize = 256 << 10;

/// The configured credentials, and the token that was obtained with them, if they are those of OAuth.
#[derive(Debug)]
pub(super) struct Credentials {
    given: RegistryCredentials,
    /// The token that the authorisation server gave out last, and until when it is used.
    token: Mutex<Option<(HeaderValue, Instant)>>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    /// The token's life in seconds: a number, or a text, as some servers write it.
    #[serde(default)]
    expires_in: Value,
}

#[derive(Deserialize)]
struct TokenError {
    error: String,
    #[serde(default)]
    error_description: String,
}

impl Credentials {
    pub(super) fn new(given: RegistryCredentials) -> Self {
        Self { given, token: Mutex::default() }
    }

    /// Returns whether another token can be had if one was refused.
    pub(super) fn can_be_renewed(&self) -> bool {
        matches!(self.given, RegistryCredentials::OAuth(_))
    }

    /// Returns the value of the header `Authorization`, or `None` if there are no credentials. With `renewed`, a new token is asked for
    /// even if one is kept.
    ///
    /// # Errors
    /// The token can't be read, or the authorisation server gives none. The text names the key of the configuration.
    pub(super) async fn header(&self, client: &Client, renewed: bool) -> Result<Option<HeaderValue>, String> {
        match &self.given {
            RegistryCredentials::None => Ok(None),
            RegistryCredentials::Basic(basic) => {
                let request = client.get("http://registry").basic_auth(&basic.user, Some(basic.password.expose())).build();
                Ok(request.ok().and_then(|mut request| request.headers_mut().remove(AUTHORIZATION)))
            }
            // The token is read each time: it may have been replaced, and requests are rare.
            RegistryCredentials::Token(token) => {
                let token = token.current().map_err(|reason| format!("registry.token: {reason}"))?;
                bearer(token.expose()).map(Some).ok_or_else(|| "registry.token is no text that a header can hold".to_owned())
            }
            RegistryCredentials::OAuth(oauth) => {
                let mut kept = self.token.lock().await;
                if let Some((token, until)) = kept.as_ref()
                    && !renewed
                    && Instant::now() < *until
                {
                    return Ok(Some(token.clone()));
                }
                let (token, life) = ask(client, oauth).await.map_err(|reason| format!("registry.oauth: {reason}"))?;
                *kept = Some((token.clone(), Instant::now() + life.mul_f64(USED)));
                Ok(Some(token))
            }
        }
    }
}

fn bearer(token: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// Asks the authorisation server for a token. Returns the header with the token, and how long the token holds.
async fn ask(client: &Client, oauth: &OAuth) -> Result<(HeaderValue, Duration), String> {
    let OAuth { token_url, client_id, client_secret, scope } = oauth;
    let secret = client_secret.current().map_err(|reason| format!("client_secret: {reason}"))?;
    let failed = |what: String| format!("the authorisation server {token_url} {what}");
    let request = client
        .post(token_url)
        .basic_auth(form_encoded(client_id), Some(form_encoded(secret.expose())))
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(form(scope.as_deref()));
    let mut response = request.send().await.map_err(|e| failed(format!("can't be asked: {}", causes(&e.without_url()))))?;
    let status = response.status();
    let unreadable = |e: reqwest::Error| failed(format!("answered {status}, but not to the end: {}", causes(&e.without_url())));
    let body = bounded_body(&mut response, MAX_TOKEN_BYTES).await.map_err(unreadable)?;
    if !status.is_success() {
        // The body may hold anything, so only the fields that the standard names are shown.
        let said = serde_json::from_slice::<TokenError>(&body).ok();
        let said = said.map(|e| format!(" ({} {})", e.error, e.error_description).replace(" )", ")")).unwrap_or_default();
        return Err(failed(format!("answered {status}{said}")));
    }
    let answer: TokenAnswer = serde_json::from_slice(&body).map_err(|_| failed("gave no access_token".into()))?;
    let token = bearer(&answer.access_token).ok_or_else(|| failed("gave a token that no header can hold".into()))?;
    Ok((token, life(&answer.expires_in)))
}

/// Returns how long a token holds, by what the authorisation server says in seconds.
fn life(expires_in: &Value) -> Duration {
    let seconds = expires_in.as_f64().or_else(|| expires_in.as_str()?.trim().parse().ok());
    let seconds = seconds.filter(|seconds| *seconds >= 0.0).map(|seconds| seconds.min(LONGEST_LIFE.as_secs_f64()));
    seconds.map_or(USUAL_LIFE, Duration::from_secs_f64)
}

fn form(scope: Option<&str>) -> String {
    let scope = scope.map(|scope| ("scope", scope));
    encode([("grant_type", "client_credentials")].into_iter().chain(scope))
}

/// Encodes a client id or a secret as OAuth wants it in the header of HTTP basic authentication.
fn form_encoded(text: &str) -> String {
    encode([("", text)]).trim_start_matches('=').to_owned()
}

fn encode<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut url = Url::parse("http://form").expect("it is one");
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_token_holds_as_long_as_its_server_says_in_any_form() {
        for (said, expected) in [
            (json!(3599), 3_599),
            (json!("3599"), 3_599),
            (json!(59.5), 59),
            (json!(0), 0),
            (json!(u64::MAX), 86_400),
            (Value::Null, 300),
            (json!(-1), 300),
            (json!("soon"), 300),
            (json!("NaN"), 300),
        ] {
            assert_eq!(life(&said).as_secs(), expected, "{said}");
        }
    }

    #[test]
    fn forms_are_encoded() {
        assert_eq!(form(None), "grant_type=client_credentials");
        assert_eq!(form(Some("a b&c")), "grant_type=client_credentials&scope=a+b%26c");
        assert_eq!(form_encoded("a:b=ä"), "a%3Ab%3D%C3%A4");
    }
}
