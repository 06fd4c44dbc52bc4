//! Secrets never stand in the configuration's file: it is copied, shown and checked in. There `file:PATH` names a file that
//! holds one, as Kubernetes and systemd mount them; a variable of the environment holds one itself, or says `file:PATH`, too.

use super::given::{Given, text, variable_of};
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// How a secret begins that is in a file.
const FILE: &str = "file:";
/// Keys and passwords have a few KiB; more is the wrong file.
const MAX_BYTES: u64 = 64 << 10;

/// librdkafka's properties that are secrets by themselves. (Those that name files aren't.)
const PROPERTIES: [&str; 9] = [
    "sasl.password",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
    "sasl.oauthbearer.client.secret",
    // librdkafka's other name for the same.
    "sasl.oauthbearer.client.credentials.client.secret",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.assertion.private.key.passphrase",
    "sasl.oauthbearer.assertion.private.key.pem",
];

/// A text that is never shown: its Debug is `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` from being shown.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one who must present it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A secret that may be replaced while the process runs, if it is in a file.
#[derive(Clone, PartialEq, Eq)]
pub struct RotatingSecret {
    file: Option<PathBuf>,
    /// As it was at the start.
    read: Secret,
}

impl RotatingSecret {
    /// A secret that stays as it is.
    pub fn fixed(secret: Secret) -> Self {
        Self { file: None, read: secret }
    }

    pub(super) fn new(given: Option<&Given>, read: Secret) -> Self {
        let file = given.and_then(|given| given.value.as_str()?.strip_prefix(FILE)).map(PathBuf::from);
        Self { file, read }
    }

    /// Returns the secret as it is now.
    ///
    /// # Errors
    /// Its file can't be read any more; the text says why.
    pub fn current(&self) -> Result<Secret, String> {
        self.file.as_deref().map_or_else(|| Ok(self.read.clone()), from_file)
    }
}

impl fmt::Debug for RotatingSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read.fmt(f)
    }
}

/// Whether a property of librdkafka must be given as a secret.
pub(super) fn is_secret_property(name: &str) -> bool {
    PROPERTIES.contains(&name)
}

/// What is right for the secret under a key with its full path.
pub(super) fn right(key: &str) -> String {
    format!("\"file:PATH\" with the path of a file that holds it, or the variable {}", variable_of(key))
}

/// The secret that was given, or why it can't be taken.
pub(super) fn secret(given: &Given) -> Result<Secret, String> {
    let text = text(given)?;
    match text.strip_prefix(FILE) {
        Some(path) => from_file(Path::new(path)),
        None if given.variable.is_some() => Ok(Secret::new(text)),
        None => Err("is a secret, which must not stand in this file".into()),
    }
}

/// What may be shown of a secret as it was given: the name of its file.
pub(super) fn shown(given: &Given) -> String {
    given.value.as_str().filter(|text| text.starts_with(FILE)).unwrap_or("***").to_owned()
}

/// The whole file, without the line end that editors leave.
fn from_file(path: &Path) -> Result<Secret, String> {
    let unreadable = |reason: &dyn fmt::Display| format!("{} can't be read: {reason}", path.display());
    let file = std::fs::File::open(path).map_err(|e| unreadable(&e))?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|e| unreadable(&e))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(unreadable(&format!("it has more than {MAX_BYTES} bytes")));
    }
    // Without the error: it shows bytes.
    let text = String::from_utf8(bytes).map_err(|_| unreadable(&"it is no UTF-8 text"))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(unreadable(&"it is empty")),
        text => Ok(Secret::new(text)),
    }
}
