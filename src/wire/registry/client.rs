//! The HTTP client with which the registry is asked: by which addresses, with whose certificates, for how long.

use crate::config::{OddAnswer, RegistryCredentials};
use openssl::pkey::PKey;
use reqwest::redirect::Policy;
use reqwest::{Client, Identity};
use std::path::{Path, PathBuf};
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the registry is, and how to get in.
#[derive(Clone, Debug, Default)]
pub struct RegistryOptions {
    /// Its base URLs: the next one is asked where one has no proper answer.
    pub urls: Vec<String>,
    /// How this process shows who it is.
    pub credentials: RegistryCredentials,
    /// A PEM file of certificate authorities to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM files of a certificate, with those that it was signed by, and of its private key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// What is done about a record whose schema the registry is odd about.
    pub odd_answer: OddAnswer,
}

/// What is wrong with [`RegistryOptions`].
#[derive(Debug, thiserror::Error)]
pub enum InvalidRegistryOptions {
    /// Not an HTTP URL.
    #[error("registry.url must be a URL with http:// or https://")]
    Url,
    /// The certificates can't be read.
    #[error("the registry's CA file {path} can't be read: {source}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The certificate that this process shows can't be read.
    #[error("registry.cert_file {cert} and registry.key_file {key} can't be used: {source}")]
    Identity {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// TLS does not work here.
    #[error("the HTTP client can't be built: {0}")]
    Client(#[from] reqwest::Error),
}

/// Returns the client that the options describe.
pub(super) fn client(options: &RegistryOptions) -> Result<Client, InvalidRegistryOptions> {
    // A redirection is not followed: after a 301 or 302 a POST would become a GET, and the credentials are not for whoever is named there.
    let client = Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(REQUEST_TIMEOUT).no_proxy().redirect(Policy::none());
    let token_url = match &options.credentials {
        RegistryCredentials::OAuth(oauth) => Some(&oauth.token_url),
        _ => None,
    };
    let needs_authorities = options.urls.iter().chain(token_url).any(|url| url.starts_with("https"));
    let client = match &options.ca_file {
        // The system's authorities take 1 MiB in each client.
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

/// Private keys come in several forms; the client takes one of them.
fn identity(cert: &Path, key: &Path) -> Result<Identity, Box<dyn std::error::Error + Send + Sync>> {
    let key = PKey::private_key_from_pem(&std::fs::read(key)?)?.private_key_to_pem_pkcs8()?;
    Ok(Identity::from_pkcs8_pem(&std::fs::read(cert)?, &key)?)
}
