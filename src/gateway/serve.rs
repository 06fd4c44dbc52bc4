//! Listens, and serves HTTP/1.1 on each connection until it is told to stop. Then open requests are finished, and their connections closed.

use super::paced::Paced;
use super::service::Service;
use super::tls::TlsServer;
use crate::store::ConditionalStore;
use axum::body::Body;
use axum::http::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

/// How many connections there may be at once. Further ones wait to be accepted. Each takes some 20 KiB.
const MAX_CONNECTIONS: usize = 8192;
/// If no more connections than these are free, each is closed after its next answer, so that those that wait are accepted.
const SCARCE: usize = MAX_CONNECTIONS / 8;
/// How long a client may take to send its headers, and how long a connection may be without a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest headers of a request, in bytes: several times what our own headers take at their longest.
const MAX_HEADERS: usize = 32 << 10;
/// The pause after an error of the listener, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// The reason why the gateway's address is not served.
#[derive(Debug, thiserror::Error)]
#[error(
    "gateway.listen = \"{address}\" can't be listened on: {source}; is another process listening there? Port 0 takes any free port"
)]
pub struct BindFault {
    address: SocketAddr,
    source: io::Error,
}

/// An address that is listened on, but not served yet.
pub struct Listening {
    listener: TcpListener,
    /// The address, with the real port.
    pub address: SocketAddr,
}

impl Listening {
    /// Listens on `address`. Port 0 takes any free port.
    ///
    /// # Errors
    /// The address can't be listened on.
    pub async fn on(address: SocketAddr) -> Result<Self, BindFault> {
        let bind = async {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            Ok(Self { listener, address })
        };
        bind.await.map_err(|source| BindFault { address, source })
    }

    /// Serves until `stop` is ready, and then until open requests are finished, for `grace` at most.
    pub async fn serve<S: ConditionalStore>(
        self,
        service: Arc<Service<S>>,
        tls: Option<Arc<TlsServer>>,
        stop: impl Future<Output = ()>,
        grace: Duration,
    ) {
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let (stopping, _) = watch::channel(false);
        let mut stop = std::pin::pin!(stop);
        loop {
            let accepted = tokio::select! {
                accepted = self.accept(&room) => accepted,
                () = &mut stop => break,
            };
            match accepted {
                Ok((stream, permit)) => {
                    tokio::spawn(connection(stream, tls.clone(), service.clone(), stopping.subscribe(), permit));
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection was not accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        drop(self.listener);
        stopping.send_replace(true);
        // The permits of all connections are back when the last connection is closed.
        let all = u32::try_from(MAX_CONNECTIONS).unwrap_or(u32::MAX);
        if timeout(grace, room.acquire_many(all)).await.is_err() {
            tracing::warn!("requests were still open when the time to finish them was over");
        }
    }

    async fn accept(&self, room: &Arc<Semaphore>) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
        let permit = room.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (stream, _) = self.listener.accept().await?;
        // Answers are small, and each is written whole.
        stream.set_nodelay(true)?;
        Ok((stream, permit))
    }
}

async fn connection<S: ConditionalStore>(
    stream: TcpStream,
    tls: Option<Arc<TlsServer>>,
    service: Arc<Service<S>>,
    stopping: watch::Receiver<bool>,
    permit: OwnedSemaphorePermit,
) {
    let metrics = service.metrics.clone();
    metrics.gateway_connections.inc();
    match tls {
        None => speak(stream, None, service, stopping, permit.semaphore()).await,
        Some(tls) => {
            if let Some(client) = tls.accept(stream).await {
                speak(client.stream, client.common_name.map(Into::into), service, stopping, permit.semaphore()).await;
            }
        }
    }
    metrics.gateway_connections.dec();
}

/// Speaks HTTP with a client, whose certificate has this common name. `room` has a permit for each connection that may still come.
async fn speak<S: ConditionalStore>(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin,
    certificate: Option<Arc<str>>,
    service: Arc<Service<S>>,
    mut stopping: watch::Receiver<bool>,
    room: &Arc<Semaphore>,
) {
    let answer = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let (service, certificate) = (service.clone(), certificate.clone());
        async move {
            let mut response = service.answer(request.map(Body::new), certificate.as_deref()).await;
            if room.available_permits() <= SCARCE {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response.map(Body::from))
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_HEADERS);
    let mut serving = std::pin::pin!(http.serve_connection(TokioIo::new(Paced::new(stream)), answer));
    let stop = async {
        // An error means that nobody is left who could say more.
        let _ = stopping.wait_for(|stop| *stop).await;
    };
    let served = tokio::select! {
        served = &mut serving => served,
        () = stop => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended");
    }
}
