//! Tests when keys are read from a URL: at the start, when a token names one that is not known, at a bounded rate, and after failures.

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use serde_json::json;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A rhythm in which a reading follows another only when a token asks for it, or after a failure at once.
const WHEN_ASKED: Rhythm =
    Rhythm { refresh: Duration::from_secs(3600), rest: Duration::ZERO, first_pause: Duration::from_millis(1) };
/// A rhythm in which nothing that was read is read again during a test.
const RESTING: Rhythm =
    Rhythm { refresh: Duration::from_secs(3600), rest: Duration::from_secs(3600), first_pause: Duration::from_millis(1) };

/// An issuer that publishes a set of keys.
struct Issuer {
    url: String,
    /// The answer to the next requests, as HTTP.
    answer: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Issuer {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let (answer, asked) = (Arc::new(Mutex::new(String::new())), Arc::new(AtomicUsize::new(0)));
        let (text, count) = (answer.clone(), asked.clone());
        let serving = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                count.fetch_add(1, SeqCst);
                let answer = text.lock().unwrap().clone();
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { url, answer, asked, serving }
    }

    fn says(&self, status: &str, body: &str) {
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n", body.len());
        *self.answer.lock().unwrap() = format!("{head}\r\n{body}");
    }

    fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }

    fn jwt(&self) -> Jwt {
        Jwt { keys: JwksSource::Url(self.url.clone()), issuer: "i".into(), audience: "a".into() }
    }
}

/// Returns a set with one key of this id, and a token that it signed.
fn key(id: &str) -> (String, String) {
    let private = PKey::generate_ed25519().unwrap();
    let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let x = encoded(&private.raw_public_key().unwrap());
    let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": id, "x": x}]}).to_string();
    let part = |value: serde_json::Value| encoded(value.to_string().as_bytes());
    let claims = json!({"iss": "i", "aud": "a", "sub": "bob", "exp": 1000, "scope": "crm.read"});
    let signed = format!("{}.{}", part(json!({"alg": "EdDSA", "kid": id})), part(claims));
    let signature = Signer::new_without_digest(&private).unwrap().sign_oneshot_to_vec(signed.as_bytes()).unwrap();
    (set, format!("{signed}.{}", encoded(&signature)))
}

fn keep(keys: &Arc<PresentKeys>) -> JoinHandle<()> {
    let keys = keys.clone();
    tokio::spawn(async move { keys.keep().await })
}

#[tokio::test]
async fn a_key_that_is_new_is_read_when_a_token_names_it_and_a_key_that_is_gone_is_not_taken() {
    let (issuer, (set, token), (next_set, next_token)) = (Issuer::start().await, key("first"), key("next"));
    issuer.says("200 OK", &set);
    let keys = Arc::new(PresentKeys::new(&issuer.jwt(), WHEN_ASKED).unwrap());
    let keeping = keep(&keys);
    assert_eq!(keys.bearer(&token, 0.0).await.unwrap().name.as_str(), "bob", "the first token waits for the first reading");
    issuer.says("200 OK", &next_set);
    assert_eq!(keys.bearer(&next_token, 0.0).await.unwrap().name.as_str(), "bob");
    assert_eq!(keys.bearer(&token, 0.0).await, Err(TokenRefusal::UnknownKey));
    keeping.abort();
    issuer.serving.abort();
}

#[tokio::test]
async fn tokens_with_unknown_keys_have_the_url_asked_once_in_a_rest() {
    let (issuer, (set, token), (_, foreign)) = (Issuer::start().await, key("first"), key("foreign"));
    issuer.says("200 OK", &set);
    let keys = Arc::new(PresentKeys::new(&issuer.jwt(), RESTING).unwrap());
    let keeping = keep(&keys);
    assert!(keys.bearer(&token, 0.0).await.is_ok());
    for _ in 0..1000 {
        assert_eq!(keys.bearer(&foreign, 0.0).await, Err(TokenRefusal::UnknownKey));
    }
    assert_eq!(issuer.asked(), 1);
    keeping.abort();
    issuer.serving.abort();
}

#[tokio::test]
async fn a_token_ends_the_pause_after_a_failure_and_is_not_refused_for_good_before() {
    let (issuer, (set, token)) = (Issuer::start().await, key("first"));
    issuer.says("500 Oops", "");
    let rhythm = Rhythm { first_pause: Duration::from_secs(3600), ..WHEN_ASKED };
    let keys = Arc::new(PresentKeys::new(&issuer.jwt(), rhythm).unwrap());
    let keeping = keep(&keys);
    for _ in 0..2 {
        assert_eq!(keys.bearer(&token, 0.0).await, Err(TokenRefusal::NoKeys));
    }
    issuer.says("200 OK", &set);
    while keys.bearer(&token, 0.0).await.is_err() {}
    keeping.abort();
    issuer.serving.abort();
}

#[tokio::test]
async fn while_the_url_is_away_the_former_keys_count_and_it_is_asked_again() {
    let (issuer, (set, token), (_, foreign)) = (Issuer::start().await, key("first"), key("foreign"));
    issuer.says("200 OK", &set);
    let keys = Arc::new(PresentKeys::new(&issuer.jwt(), WHEN_ASKED).unwrap());
    let keeping = keep(&keys);
    assert!(keys.bearer(&token, 0.0).await.is_ok());
    let long = "x".repeat(LONGEST + 1);
    for (status, body) in [("500 Oops", ""), ("302 Found", ""), ("200 OK", "no JSON"), ("200 OK", "{}"), ("200 OK", &long)] {
        issuer.says(status, body);
        let before = issuer.asked();
        // This has the keys read, which fails, and then again and again. A reading that began before may still succeed.
        while keys.bearer(&foreign, 0.0).await != Err(TokenRefusal::NoKeys) {}
        let mut readings = keys.readings.subscribe();
        while issuer.asked() < before + 3 {
            readings.changed().await.unwrap();
        }
        assert!(keys.bearer(&token, 0.0).await.is_ok(), "after {status} {body:.20}");
        issuer.says("200 OK", &set);
        while keys.read().await.is_err() {}
    }
    keeping.abort();
    issuer.serving.abort();
}

#[tokio::test]
async fn an_issuer_withdraws_its_last_key_by_a_set_that_has_none_for_us() {
    let (issuer, (set, token), (_, foreign)) = (Issuer::start().await, key("first"), key("foreign"));
    let of_another_kind = json!({"keys": [{"kty": "oct", "kid": "next", "k": "AA"}]}).to_string();
    let keys = Arc::new(PresentKeys::new(&issuer.jwt(), WHEN_ASKED).unwrap());
    let keeping = keep(&keys);
    for without in ["{\"keys\":[]}", &of_another_kind] {
        issuer.says("200 OK", &set);
        while keys.bearer(&token, 0.0).await.is_err() {}
        issuer.says("200 OK", without);
        // This has the set read.
        while keys.bearer(&foreign, 0.0).await != Err(TokenRefusal::NoKeys) {}
        assert_eq!(keys.bearer(&token, 0.0).await, Err(TokenRefusal::NoKeys), "{without}");
    }
    keeping.abort();
    issuer.serving.abort();
}
