//! TLS towards clients, with their certificates where these are asked for. Certificates are read again while the process runs, because they
//! are renewed.

use crate::config::GatewayTls;
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::ssl::{Ssl, SslAcceptor, SslFiletype, SslMethod, SslVerifyMode};
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_openssl::SslStream;

/// How often the files are read again.
const REFRESH: Duration = Duration::from_secs(60);
/// How long a client may take for the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// TLS with the present certificate.
pub struct TlsServer {
    config: GatewayTls,
    acceptor: RwLock<Arc<SslAcceptor>>,
}

/// The reason why TLS can't be had.
#[derive(Debug, thiserror::Error)]
#[error("gateway.tls: cert_file, key_file and client_ca_file must be PEM files, and the key must be the certificate's: {0}")]
pub struct TlsFault(#[from] ErrorStack);

/// A client that has been let in.
pub struct Client {
    /// The connection.
    pub stream: SslStream<TcpStream>,
    /// The common name of the client's certificate. `None` if it has none.
    pub common_name: Option<String>,
}

impl TlsServer {
    /// Reads the certificate and its key.
    ///
    /// # Errors
    /// The files don't fit.
    pub fn new(config: &GatewayTls) -> Result<Self, TlsFault> {
        Ok(Self { config: config.clone(), acceptor: RwLock::new(Arc::new(acceptor(config)?)) })
    }

    /// Keeps reading the files. Files that don't fit are left alone, because they may be replaced one after another.
    pub async fn keep(&self) {
        loop {
            sleep(REFRESH).await;
            match acceptor(&self.config) {
                Ok(acceptor) => *self.acceptor.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(acceptor),
                Err(error) => tracing::warn!(%error, "the certificate of the gateway can't be read again; the former one stays"),
            }
        }
    }

    /// Shakes hands with a client. Returns `None` if it does not know how, takes too long, or has no certificate that we ask for.
    pub async fn accept(&self, stream: TcpStream) -> Option<Client> {
        let acceptor = self.acceptor.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut stream = SslStream::new(Ssl::new(acceptor.context()).ok()?, stream).ok()?;
        match timeout(HANDSHAKE, Pin::new(&mut stream).accept()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(%error, "a client did not get in");
                return None;
            }
            Err(_) => return None,
        }
        let certificate = stream.ssl().peer_certificate();
        let common_name = certificate.as_ref().and_then(|c| c.subject_name().entries_by_nid(Nid::COMMONNAME).next());
        let common_name = common_name.and_then(|name| name.data().to_string().ok());
        Some(Client { stream, common_name })
    }
}

fn acceptor(config: &GatewayTls) -> Result<SslAcceptor, ErrorStack> {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    builder.set_certificate_chain_file(&config.cert_file)?;
    builder.set_private_key_file(&config.key_file, SslFiletype::PEM)?;
    builder.check_private_key()?;
    // Sessions of clients with certificates are not resumed without a name for what they belong to.
    builder.set_session_id_context(b"crm-processor")?;
    builder.set_alpn_select_callback(|_, offered| {
        openssl::ssl::select_next_proto(b"\x08http/1.1", offered).ok_or(openssl::ssl::AlpnError::NOACK)
    });
    if let Some(authorities) = &config.client_ca_file {
        builder.set_ca_file(authorities)?;
        builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    }
    Ok(builder.build())
}
