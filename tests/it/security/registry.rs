//! A schema registry over TLS with basic authentication: a front before the registry of the tests, whose certificate and
//! passwords can be changed while it runs.

use super::certificates::Identity;
use crate::{registry, runtime};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openssl::ssl::{Ssl, SslAcceptor};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio_openssl::SslStream;

/// A running front.
pub struct SecuredRegistry {
    address: SocketAddr,
    acceptor: Arc<Mutex<SslAcceptor>>,
    users: Users,
}

/// The passwords by user.
type Users = Arc<Mutex<HashMap<String, String>>>;

impl SecuredRegistry {
    pub fn start(identity: &Identity) -> Self {
        // The tests' registry is started now, because later this code runs on the runtime that the start needs.
        let _ = registry::url();
        let listener = runtime().block_on(TcpListener::bind("127.0.0.1:0")).expect("the loopback interface has a free port");
        let address = listener.local_addr().expect("it is bound");
        let listener = TlsListener::new(listener, identity);
        let (acceptor, users) = (listener.acceptor.clone(), Users::default());
        let known = users.clone();
        let router = axum::Router::new().fallback(move |request| answer(known.clone(), request));
        runtime().spawn(async move { axum::serve(listener, router).await });
        Self { address, acceptor, users }
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Changes the certificate, from the next connection on.
    pub fn change_certificate(&self, identity: &Identity) {
        *self.acceptor.lock().expect("no holder panics") = identity.acceptor();
    }

    pub fn add_user(&self, user: &str, password: &str) {
        self.users.lock().expect("no holder panics").insert(user.into(), password.into());
    }

    pub fn remove_user(&self, user: &str) {
        self.users.lock().expect("no holder panics").remove(user);
    }
}

async fn answer(users: Users, request: Request) -> Response {
    let given = request.headers().get("authorization").and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
    let is_right = |(user, password): (&String, &String)| {
        given.as_deref() == Some(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
    };
    if users.lock().expect("no holder panics").iter().any(is_right) {
        return registry::forward(request).await.into_response();
    }
    (StatusCode::UNAUTHORIZED, r#"{"error_code":401,"message":"Unauthorized"}"#).into_response()
}

/// Accepts connections over TLS, with a certificate that can be changed.
pub struct TlsListener {
    listener: TcpListener,
    acceptor: Arc<Mutex<SslAcceptor>>,
}

impl TlsListener {
    pub fn new(listener: TcpListener, identity: &Identity) -> Self {
        Self { listener, acceptor: Arc::new(Mutex::new(identity.acceptor())) }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("it is bound")
    }
}

impl axum::serve::Listener for TlsListener {
    type Io = SslStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, address)) = self.listener.accept().await else { continue };
            let ssl = Ssl::new(self.acceptor.lock().expect("no holder panics").context()).expect("there is memory");
            let mut stream = SslStream::new(ssl, stream).expect("there is memory");
            // A client that does not trust our certificate has closed the connection.
            if Pin::new(&mut stream).accept().await.is_ok() {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
