//! Secrets, which never stand in the configuration's file, because that file is copied, shown and checked in. Instead, that file has the
//! text `file:PATH`, which names another file that holds the secret: one that Kubernetes or systemd mounts, for example. A variable of the
//! environment holds the secret itself, or `file:PATH`.

use super::given::{Given, text, variable_of};
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The prefix of a value that names the secret's file.
const FILE: &str = "file:";
/// The largest file that is taken for a secret, in bytes. Keys and passwords have a few KiB, so a larger file is the wrong one.
const MAX_BYTES: u64 = 64 << 10;

/// librdkafka's properties whose values are secrets. A property that names a file is not one.
const PROPERTIES: [&str; 9] = [
    "sasl.password",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
    "sasl.oauthbearer.client.secret",
    // librdkafka's other name for the property before.
    "sasl.oauthbearer.client.credentials.client.secret",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.assertion.private.key.passphrase",
    "sasl.oauthbearer.assertion.private.key.pem",
];

/// A text that is never shown. Its `Debug` output is `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Makes a secret of `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text, for a caller that must present it to a server.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A secret that can be replaced while the process runs, if it is in a file.
#[derive(Clone, PartialEq, Eq)]
pub struct RotatingSecret {
    file: Option<PathBuf>,
    /// The secret as it was when the configuration was read.
    read: Secret,
}

impl RotatingSecret {
    /// Makes a secret that is never replaced.
    pub fn fixed(secret: Secret) -> Self {
        Self { file: None, read: secret }
    }

    pub(super) fn new(given: Option<&Given>, read: Secret) -> Self {
        let file = given.and_then(|given| given.value.as_str()?.strip_prefix(FILE)).map(PathBuf::from);
        Self { file, read }
    }

    /// Returns the present secret, from its file if it has one.
    ///
    /// # Errors
    /// The file can't be read any more. The text says why.
    pub fn current(&self) -> Result<Secret, String> {
        self.file.as_deref().map_or_else(|| Ok(self.read.clone()), from_file)
    }
}

impl fmt::Debug for RotatingSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read.fmt(f)
    }
}

/// Returns whether a property of librdkafka must be given as a secret.
pub(super) fn is_secret_property(name: &str) -> bool {
    PROPERTIES.contains(&name)
}

/// Returns the right values for the secret under `key`, a full path, as a finding says it.
pub(super) fn right(key: &str) -> String {
    format!("\"file:PATH\" with the path of a file that holds it, or the variable {}", variable_of(key))
}

/// Returns the secret that was given, or the reason why it can't be taken.
pub(super) fn secret(given: &Given) -> Result<Secret, String> {
    let text = text(given)?;
    match text.strip_prefix(FILE) {
        Some(path) => from_file(Path::new(path)),
        None if given.variable.is_some() => Ok(Secret::new(text)),
        None => Err("is a secret, which must not stand in this file".into()),
    }
}

/// Returns the form in which a secret is shown: `file:` with the path if it is in a file, else `***`.
pub(super) fn shown(given: &Given) -> String {
    given.value.as_str().filter(|text| text.starts_with(FILE)).unwrap_or("***").to_owned()
}

/// Reads a secret from a whole file, without the line end that editors leave.
fn from_file(path: &Path) -> Result<Secret, String> {
    let unreadable = |reason: &dyn fmt::Display| format!("{} can't be read: {reason}", path.display());
    let file = std::fs::File::open(path).map_err(|e| unreadable(&e))?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|e| unreadable(&e))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(unreadable(&format!("it has more than {MAX_BYTES} bytes")));
    }
    // The error of `from_utf8` is left out, because it shows bytes.
    let text = String::from_utf8(bytes).map_err(|_| unreadable(&"it is not UTF-8 text"))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(unreadable(&"it is empty")),
        text => Ok(Secret::new(text)),
    }
}
