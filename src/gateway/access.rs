//! Decides who a client is, and what it may do: by its certificate or its bearer token, unless everybody may do everything.

use super::keys::PresentKeys;
use super::problem::{Problem, unavailable, with};
use super::tokens::TokenRefusal;
use crate::domain::Timestamp;
use crate::domain::values::Actor;
use axum::body::Bytes;
use axum::http::header::{self, HeaderMap};
use axum::http::{Response, StatusCode};
use std::sync::Arc;

/// What a client may be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// To send commands.
    Write,
    /// To read.
    Read,
}

impl Scope {
    fn name(self) -> &'static str {
        match self {
            Self::Write => "crm.write",
            Self::Read => "crm.read",
        }
    }
}

/// How clients show who they are.
pub enum Access {
    /// Clients don't show who they are, and everybody may do everything.
    Open,
    /// Clients show certificates, with which they may do everything.
    Certificate,
    /// Clients show bearer tokens, which say what they may do.
    Token(Arc<PresentKeys>),
}

/// The name of a client that may go on, or `None` if it needs none.
pub type Principal = Option<Actor>;

impl Access {
    /// Returns who the client is, if it may do what it wants. `certificate` is the common name of the client's certificate. `scope` is the
    /// scope that the request needs, or `None` if any client that is known may make it.
    ///
    /// # Errors
    /// The client did not show who it is (401), may not do that (403), or can't be known at present (503). The response says so.
    pub async fn principal(
        &self,
        headers: &HeaderMap,
        certificate: Option<&str>,
        scope: Option<Scope>,
        now: Timestamp,
    ) -> Result<Principal, Response<Bytes>> {
        let keys = match self {
            Self::Open => return Ok(None),
            Self::Certificate => {
                let name = certificate.and_then(|name| Actor::parse(name).ok());
                let nameless = || unauthorized("the client's certificate has no common name that can be an actor", None);
                return name.map(Some).ok_or_else(nameless);
            }
            Self::Token(keys) => keys,
        };
        let Some(token) = bearer_token(headers) else {
            return Err(unauthorized("a bearer token is needed", Some("Bearer")));
        };
        #[expect(clippy::cast_precision_loss, reason = "seconds have few digits")]
        let seconds = now as f64 / 1000.0;
        let bearer = keys.bearer(token, seconds).await.map_err(|refusal| {
            tracing::debug!(%refusal, "a token was refused");
            match refusal {
                TokenRefusal::NoKeys => unavailable("there are no keys at present that verify bearer tokens"),
                _ => unauthorized("the bearer token is not taken", Some("Bearer error=\"invalid_token\"")),
            }
        })?;
        match scope {
            Some(scope) if !bearer.scopes.iter().any(|has| has == scope.name()) => Err(forbidden(scope)),
            _ => Ok(Some(bearer.name)),
        }
    }
}

/// Returns the token of the one `Authorization` header that there may be.
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(one), None) = (all.next(), all.next()) else { return None };
    let (scheme, token) = one.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
}

fn unauthorized(detail: &str, challenge: Option<&'static str>) -> Response<Bytes> {
    let response = Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).response();
    match challenge {
        Some(challenge) => with(response, header::WWW_AUTHENTICATE, challenge),
        None => response,
    }
}

fn forbidden(scope: Scope) -> Response<Bytes> {
    let detail = format!("the bearer token lacks the scope {}", scope.name());
    let response = Problem::new(StatusCode::FORBIDDEN, "forbidden", detail).response();
    let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{}\"", scope.name());
    with(response, header::WWW_AUTHENTICATE, challenge)
}
