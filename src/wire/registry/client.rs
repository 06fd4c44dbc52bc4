//! The options of the registry's client, and the HTTP client that they describe: certificates and time-outs.

use crate::config::{OddAnswer, RegistryCredentials};
use openssl::pkey::PKey;
use reqwest::redirect::Policy;
use reqwest::{Client, Identity};
use std::path::{Path, PathBuf};
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The registry's addresses, and how to get in.
#[derive(Clone, Debug, Default)]
pub struct RegistryOptions {
    /// The registry's base URLs. If one has no proper answer, the next one is asked.
    pub urls: Vec<String>,
    /// The credentials with which this process shows who it is.
    pub credentials: RegistryCredentials,
    /// A PEM file of certificate authorities to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Two PEM files: a certificate with those that signed it, and the certificate's private key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// What is done with a record whose schema the registry is odd about.
    pub odd_answer: OddAnswer,
}

/// The reason why [`RegistryOptions`] can't be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRegistryOptions {
    /// An address is not an HTTP URL.
    #[error("registry.url must be a URL with http:// or https://")]
    Url,
    /// The file of certificate authorities can't be read.
    #[error("the registry's CA file {path} can't be read: {source}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why the file can't be read.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The certificate that this process shows can't be used.
    #[error("registry.cert_file {cert} and registry.key_file {key} can't be used: {source}")]
    Identity {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why the files can't be used.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The HTTP client can't be built.
    #[error("the HTTP client can't be built: {0}")]
    Client(#[from] reqwest::Error),
}

/// Returns the client that the options describe.
pub(super) fn client(options: &RegistryOptions) -> Result<Client, InvalidRegistryOptions> {
    // Redirections are not followed: after a 301 or 302 a POST would become a GET, and the credentials are not for the server that is
    // named.
    let client = Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(REQUEST_TIMEOUT).no_proxy().redirect(Policy::none());
    let token_url = match &options.credentials {
        RegistryCredentials::OAuth(oauth) => Some(&oauth.token_url),
        _ => None,
    };
    let needs_authorities = options.urls.iter().chain(token_url).any(|url| url.starts_with("https"));
    let client = match &options.ca_file {
        // The system's authorities take 1 MiB in each client, so they are loaded only for a client that needs them.
        None if needs_authorities => client,
        None => client.tls_certs_only([]),
        Some(path) => {
            let invalid = |source| InvalidRegistryOptions::CaFile { path: path.clone(), source };
            let pem = std::fs::read(path).map_err(|e| invalid(e.into()))?;
            client.tls_certs_merge(reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| invalid(e.into()))?)
        }
    };
    let Some((cert, key)) = &options.identity else { return Ok(client.build()?) };
    let invalid = |source| InvalidRegistryOptions::Identity { cert: cert.clone(), key: key.clone(), source };
    let identity = identity(cert, key).map_err(invalid)?;
    Ok(client.identity(identity).build()?)
}

/// Reads a certificate and its private key. Private keys come in several forms, and the client takes PKCS #8 only.
fn identity(cert: &Path, key: &Path) -> Result<Identity, Box<dyn std::error::Error + Send + Sync>> {
    let key = PKey::private_key_from_pem(&std::fs::read(key)?)?.private_key_to_pem_pkcs8()?;
    Ok(Identity::from_pkcs8_pem(&std::fs::read(cert)?, &key)?)
}
