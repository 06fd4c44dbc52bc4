//! A token endpoint like those of identity providers. It gives out signed tokens by the client credentials grant, in the clear
//! and over TLS, and can be taken away while it runs.

use super::certificates::Identity;
use super::registry::TlsListener;
use crate::runtime;
use crate::servers::free_port;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::sign::Signer;
use serde_json::{Value as Json, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

/// The issuer in the tokens, which the broker knows.
pub const ISSUER: &str = "https://idp.example";
/// The audience of the tokens.
pub const AUDIENCE: &str = "kafka";
/// The id of the only client.
pub const CLIENT_ID: &str = "crm-processor";
/// The scope for which the client asks.
pub const SCOPE: &str = "crm";
/// How long a token is valid.
pub const LIFETIME: Duration = Duration::from_secs(10);

/// A running token endpoint.
pub struct TokenEndpoint {
    address: SocketAddr,
    secure: SocketAddr,
    issuer: Arc<Issuer>,
    serving: AbortHandle,
}

struct Issuer {
    key: PKey<Private>,
    secret: String,
    issued: AtomicUsize,
}

impl TokenEndpoint {
    /// Starts an endpoint that knows [`CLIENT_ID`] by this secret. Over TLS it shows this identity.
    pub fn start(identity: &Identity, secret: &str) -> Self {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let issuer = Arc::new(Issuer { key, secret: secret.to_owned(), issued: AtomicUsize::new(0) });
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let serving = serve(bind(address), issuer.clone());
        let secure = TlsListener::new(bind("127.0.0.1:0".parse().unwrap()), identity);
        let secure_address = secure.address();
        let router = router(issuer.clone());
        runtime().spawn(async move { axum::serve(secure, router).await });
        Self { address, secure: secure_address, issuer, serving }
    }

    /// Returns the URL at which tokens are given out.
    pub fn url(&self) -> String {
        format!("http://{}/token", self.address)
    }

    /// Returns the URL at which tokens are given out over TLS.
    pub fn secure_url(&self) -> String {
        format!("https://{}/token", self.secure)
    }

    /// Returns a URL at which something else is given out: a page, a token that is no JWT, a token for somebody else.
    pub fn url_of(&self, what: &str) -> String {
        format!("http://{}/{what}", self.address)
    }

    /// Returns how many tokens were given out.
    pub fn issued(&self) -> usize {
        self.issuer.issued.load(Ordering::SeqCst)
    }

    /// Stops listening.
    pub fn go_away(&self) {
        self.serving.abort();
    }

    /// Listens at the same place again.
    pub fn come_back(&mut self) {
        self.serving = serve(bind(self.address), self.issuer.clone());
    }

    /// Returns the keys with which brokers verify the tokens.
    pub fn key_set(&self) -> Json {
        let rsa = self.issuer.key.rsa().unwrap();
        let number = |n: &openssl::bn::BigNumRef| URL_SAFE_NO_PAD.encode(n.to_vec());
        json!({"keys": [{"kty": "RSA", "kid": "1", "alg": "RS256", "use": "sig", "n": number(rsa.n()), "e": number(rsa.e())}]})
    }
}

fn bind(address: SocketAddr) -> TcpListener {
    runtime().block_on(TcpListener::bind(address)).unwrap_or_else(|e| panic!("{address}: {e}"))
}

fn serve(listener: TcpListener, issuer: Arc<Issuer>) -> AbortHandle {
    runtime().spawn(async move { axum::serve(listener, router(issuer)).await }).abort_handle()
}

fn router(issuer: Arc<Issuer>) -> axum::Router {
    axum::Router::new()
        .route("/token", post(|issuer, request| answer(issuer, request, AUDIENCE)))
        .route("/other-audience", post(|issuer, request| answer(issuer, request, "somebody else")))
        .route("/opaque", post(|| async { axum::Json(json!({"access_token": "f00", "expires_in": 10})) }))
        .route("/page", post(|| async { "<html>Please log in</html>" }))
        .with_state(issuer)
}

async fn answer(State(issuer): State<Arc<Issuer>>, request: Request, audience: &str) -> Response {
    let expected = format!("Basic {}", STANDARD.encode(format!("{CLIENT_ID}:{}", issuer.secret)));
    if request.headers().get("authorization").is_none_or(|given| given.as_bytes() != expected.as_bytes()) {
        return (StatusCode::UNAUTHORIZED, axum::Json(json!({"error": "invalid_client"}))).into_response();
    }
    let form = axum::body::to_bytes(request.into_body(), 1 << 16).await.expect("it is small");
    let form = String::from_utf8(form.to_vec()).expect("a form is ASCII");
    let has = |field: &str| form.split('&').any(|given| given == field);
    if !has("grant_type=client_credentials") || !has(&format!("scope={SCOPE}")) {
        return (StatusCode::BAD_REQUEST, axum::Json(json!({"error": "invalid_request"}))).into_response();
    }
    axum::Json(json!({"access_token": issuer.token(audience), "token_type": "Bearer", "expires_in": LIFETIME.as_secs()}))
        .into_response()
}

impl Issuer {
    #[expect(clippy::disallowed_methods, reason = "an edge: the tokens are for a real broker")]
    fn token(&self, audience: &str) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later than 1970").as_secs();
        let number = self.issued.fetch_add(1, Ordering::SeqCst);
        let part = |json: Json| URL_SAFE_NO_PAD.encode(json.to_string());
        let head = part(json!({"alg": "RS256", "typ": "JWT", "kid": "1"}));
        let claims = part(json!({
            "iss": ISSUER, "aud": audience, "sub": CLIENT_ID, "scope": SCOPE, "jti": number.to_string(),
            "iat": now, "exp": now + LIFETIME.as_secs(),
        }));
        let signed = format!("{head}.{claims}");
        let mut signer = Signer::new(MessageDigest::sha256(), &self.key).unwrap();
        let signature = signer.sign_oneshot_to_vec(signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
