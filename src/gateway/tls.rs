//! TLS towards clients, with their certificates where these are asked for. Certificates are read again while the process runs, because they
//! are renewed.

use crate::config::GatewayTls;
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::ssl::{Ssl, SslAcceptor, SslFiletype, SslMethod, SslVerifyMode};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_openssl::SslStream;

/// How often the files are checked for changes.
const LOOK: Duration = Duration::from_secs(5);
/// How long a client may take for the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// TLS with the present certificate.
pub struct TlsServer {
    config: GatewayTls,
    /// The stamps that the files had when the present certificate was read.
    files: Mutex<Vec<Option<Stamp>>>,
    acceptor: RwLock<Arc<SslAcceptor>>,
}

/// The reason why TLS can't be had.
#[derive(Debug, thiserror::Error)]
#[error("gateway.tls: cert_file, key_file and client_ca_file must be PEM files, and the key must be the certificate's: {0}")]
pub struct TlsFault(#[from] ErrorStack);

/// A client that has been let in.
pub struct TlsClient {
    /// The connection.
    pub stream: SslStream<TcpStream>,
    /// The common name of the client's certificate. `None` if it has none.
    pub common_name: Option<String>,
}

impl TlsServer {
    /// Reads the certificate and its key.
    ///
    /// # Errors
    /// A file can't be read, or the key is not the certificate's.
    pub fn new(config: &GatewayTls) -> Result<Self, TlsFault> {
        // A change between the two lines has the files read once more.
        let files = Mutex::new(stamps(config));
        Ok(Self { config: config.clone(), files, acceptor: RwLock::new(Arc::new(acceptor(config)?)) })
    }

    /// Keeps reading the files when they have changed. Connections that exist stay as they are.
    pub async fn keep(&self) {
        loop {
            sleep(LOOK).await;
            self.look();
        }
    }

    /// Reads the files if they have changed. If they don't fit each other, the former certificate stays: files are replaced one after
    /// another, and the next change has them read again.
    fn look(&self) {
        let present = stamps(&self.config);
        let known = std::mem::replace(&mut *self.files.lock().unwrap_or_else(PoisonError::into_inner), present.clone());
        if known == present {
            return;
        }
        match acceptor(&self.config) {
            Ok(acceptor) => {
                *self.acceptor.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(acceptor);
                tracing::info!("the gateway's certificate was read again");
            }
            Err(error) => tracing::warn!(%error, "the gateway's certificate has changed and can't be read; the former one stays"),
        }
    }

    /// Shakes hands with a client. Returns `None` if it does not know how, takes too long, or has no certificate that we ask for.
    pub async fn accept(&self, stream: TcpStream) -> Option<TlsClient> {
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
        Some(TlsClient { stream, common_name })
    }
}

/// The inode, the length and the time of the last change of a file, by which a replaced file is noticed.
type Stamp = (u64, u64, SystemTime);

/// Returns the stamps of all files. A file that can't be read has none.
fn stamps(config: &GatewayTls) -> Vec<Option<Stamp>> {
    let stamp = |file: &PathBuf| {
        let file = std::fs::metadata(file).ok()?;
        Some((file.ino(), file.len(), file.modified().ok()?))
    };
    [Some(&config.cert_file), Some(&config.key_file), config.client_ca_file.as_ref()].into_iter().flatten().map(stamp).collect()
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
