//! With which credentials the client gets in, and which of several registries it asks.

use super::*;
use crate::config::{self, OAuth, RegistryCredentials, RotatingSecret, Secret};
use axum::Router;
use axum::http::{HeaderMap, StatusCode as AxumStatus, Uri};
use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::ssl::{SslAcceptor, SslMethod, SslVerifyMode};
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509, X509NameBuilder};
use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::sync::Mutex;
use tokio::net::TcpListener;

/// A server that gives scripted answers, one after the other, then 404. It remembers what it was asked, and with which credentials.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    answers: VecDeque<(u16, String)>,
    asked: Vec<String>,
}

impl Server {
    async fn start(answers: &[(u16, &str)]) -> (Self, String) {
        let server = Self::default();
        server.0.lock().unwrap().answers = answers.iter().map(|(status, body)| (*status, (*body).to_owned())).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = server.clone();
        let answer = move |uri: Uri, headers: HeaderMap, body: String| async move {
            let mut state = shared.0.lock().unwrap();
            let authorization = headers.get("authorization").map_or("-", |value| value.to_str().unwrap());
            state.asked.push(format!("{} {authorization} {body}", uri.path()).trim().to_owned());
            let (status, body) = state.answers.pop_front().unwrap_or((404, r#"{"error_code":40403}"#.into()));
            (AxumStatus::from_u16(status).unwrap(), body)
        };
        let router = Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, router).await });
        (server, url)
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().asked)
    }
}

fn http(urls: &[&str], credentials: RegistryCredentials) -> Http {
    let urls = urls.iter().map(|url| (*url).to_owned()).collect();
    Http::new(&RegistryOptions { urls, credentials, ..RegistryOptions::default() }).unwrap()
}

async fn is_found(http: &Http) -> Result<bool, RegistryFault> {
    http.schema(7.into()).await.map(|answer| matches!(answer, HttpAnswer::Found(_)))
}

const FOUND: (u16, &str) = (200, r#"{"schema":"\"string\""}"#);

#[tokio::test]
async fn a_token_is_read_again_with_each_question() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "first").unwrap();
    let toml = format!("[registry]\ntoken = \"file:{}\"", file.display());
    let credentials = config::Config::parse(&toml, []).unwrap().registry.credentials;
    let (server, url) = Server::start(&[]).await;
    let http = http(&[&url], credentials);
    for token in ["first", "second"] {
        std::fs::write(&file, token).unwrap();
        is_found(&http).await.unwrap();
        assert_eq!(server.asked(), [format!("/schemas/ids/7 Bearer {token}")]);
    }
    std::fs::remove_file(&file).unwrap();
    let fault = is_found(&http).await.unwrap_err();
    assert_eq!(fault.remedy, RegistryRemedy::Named);
    let fault = fault.to_string();
    assert!(fault.contains("registry.token") && fault.contains("can't be read") && !fault.contains("second"), "{fault}");
    assert_eq!(server.asked(), [""; 0]);
}

fn oauth(token_url: &str, scope: Option<&str>) -> RegistryCredentials {
    RegistryCredentials::OAuth(OAuth {
        token_url: token_url.to_owned(),
        client_id: "crm:1".into(),
        client_secret: RotatingSecret::fixed(Secret::new("s")),
        scope: scope.map(ToOwned::to_owned),
    })
}

#[tokio::test]
async fn a_token_of_an_authorisation_server_is_used_until_it_is_old_or_refused() {
    let tokens = [
        (200, r#"{"access_token":"a","token_type":"Bearer","expires_in":3600}"#),
        (200, r#"{"access_token":"b","expires_in":0}"#),
        (200, r#"{"access_token":"c"}"#),
    ];
    let (login, token_url) = Server::start(&tokens).await;
    let (server, url) = Server::start(&[FOUND, FOUND, (401, ""), FOUND, FOUND, FOUND]).await;
    let http = http(&[&url], oauth(&format!("{token_url}/token"), Some("registry.read")));
    let asked_for_token = "/token Basic Y3JtJTNBMTpz grant_type=client_credentials&scope=registry.read";
    let with = |token: &str| format!("/schemas/ids/7 Bearer {token}");
    // The second question uses the token of the first. The third is refused with it and gets another token, which is old at once.
    for (tokens, expected) in [(1, vec!["a"]), (0, vec!["a"]), (1, vec!["a", "b"]), (1, vec!["c"]), (0, vec!["c"])] {
        assert!(is_found(&http).await.unwrap());
        assert_eq!(login.asked(), vec![asked_for_token; tokens]);
        assert_eq!(server.asked(), expected.into_iter().map(with).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn an_authorisation_server_that_gives_no_token_is_named_with_its_key() {
    for (status, body, expected) in [
        (
            401,
            r#"{"error":"invalid_client","error_description":"no such client"}"#,
            "401 Unauthorized (invalid_client no such client)",
        ),
        (500, "hunter2", "500 Internal Server Error"),
        (200, "hunter2", "gave no access_token"),
        (302, "", "302 Found"),
    ] {
        let (_, token_url) = Server::start(&[(status, body)]).await;
        let (server, url) = Server::start(&[FOUND]).await;
        let fault = is_found(&http(&[&url], oauth(&token_url, None))).await.unwrap_err().to_string();
        assert!(fault.contains("registry.oauth: the authorisation server") && fault.contains(expected), "{fault}");
        assert!(!fault.contains("hunter2"), "{fault}");
        assert_eq!(server.asked(), [""; 0]);
    }
}

#[tokio::test]
async fn the_next_registry_is_asked_where_one_has_no_proper_answer() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = format!("http://{gone}");
    for (status, body) in [(503, ""), (500, ""), (401, ""), (302, ""), (404, "<html>"), (200, "{}")] {
        let (first, first_url) = Server::start(&[(status, body)]).await;
        let (second, second_url) = Server::start(&[FOUND, FOUND]).await;
        let http = http(&[&gone, &first_url, &second_url], RegistryCredentials::None);
        for _ in 0..2 {
            assert!(is_found(&http).await.unwrap(), "{status} {body}");
        }
        assert_eq!((first.asked().len(), second.asked().len()), (1, 2), "{status}: it stays with the one that answers");
    }
    let (_, first_url) = Server::start(&[(503, "")]).await;
    let (_, second_url) = Server::start(&[(500, "")]).await;
    let fault = is_found(&http(&[&first_url, &second_url], RegistryCredentials::None)).await.unwrap_err();
    let text = fault.to_string();
    assert!(
        text.contains(&format!("{first_url}: it answered 503")) && text.contains(&format!("{second_url}: it answered 500")),
        "{text}"
    );

    let (_, first_url) = Server::start(&[]).await;
    let (second, second_url) = Server::start(&[FOUND]).await;
    assert!(!is_found(&http(&[&first_url, &second_url], RegistryCredentials::None)).await.unwrap());
    assert_eq!(second.asked(), [""; 0], "that was a proper answer");
}

/// Makes a self-signed certificate for 127.0.0.1, and its key.
fn certificate(name: &str) -> (X509, PKey<Private>) {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_text("CN", name).unwrap();
    let subject = subject.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_issuer_name(&subject).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    let names = SubjectAlternativeName::new().ip("127.0.0.1").build(&builder.x509v3_context(None, None)).unwrap();
    builder.append_extension(names).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    (builder.build(), key)
}

/// Starts a registry over TLS that lets in only clients that show this certificate, and returns its URL.
fn locked(server: &(X509, PKey<Private>), client: &X509) -> String {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    acceptor.set_certificate(&server.0).unwrap();
    acceptor.set_private_key(&server.1).unwrap();
    acceptor.cert_store_mut().add_cert(client.clone()).unwrap();
    acceptor.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    let acceptor = acceptor.build();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = acceptor.accept(stream.unwrap()) else { continue };
            let _ = stream.read(&mut [0; 4096]);
            let (_, body) = FOUND;
            let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            let _ = stream.shutdown();
        }
    });
    url
}

#[tokio::test]
async fn a_certificate_is_shown_whatever_form_its_key_has() {
    let (server, (client, key)) = (certificate("registry"), certificate("crm-processor"));
    let url = locked(&server, &client);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, contents: Vec<u8>| {
        let path = folder.path().join(name);
        std::fs::write(&path, contents).unwrap();
        path
    };
    let ca_file = Some(file("ca.pem", server.0.to_pem().unwrap()));
    let cert = file("cert.pem", client.to_pem().unwrap());
    let keys = [
        file("pkcs8.pem", key.private_key_to_pem_pkcs8().unwrap()),
        file("pkcs1.pem", key.rsa().unwrap().private_key_to_pem().unwrap()),
    ];
    let options = RegistryOptions { urls: vec![url], ca_file, ..RegistryOptions::default() };
    for key in keys {
        let options = RegistryOptions { identity: Some((cert.clone(), key)), ..options.clone() };
        assert!(is_found(&Http::new(&options).unwrap()).await.unwrap());
    }
    let fault = is_found(&Http::new(&options).unwrap()).await.expect_err("without a certificate nobody gets in");
    assert_eq!(fault.remedy, RegistryRemedy::Address, "{fault}");
    let distrusting = RegistryOptions { ca_file: Some(cert.clone()), ..options.clone() };
    let fault = is_found(&Http::new(&distrusting).unwrap()).await.unwrap_err();
    assert_eq!(fault.remedy, RegistryRemedy::TrustAuthority, "{fault}");
    let wrong = RegistryOptions { identity: Some((cert.clone(), cert)), ..options };
    let error = Http::new(&wrong).unwrap_err().to_string();
    assert!(error.contains("registry.cert_file") && error.contains("registry.key_file"), "{error}");
}
