//! The keys that `[registry]` and `[store]` share: a user with a password, and a certificate with its key.

use super::given::{Given, text};
use super::reader::Section;
use super::secrets::{self, Secret};
use std::path::PathBuf;

/// The right value for a key that names a PEM file, as a finding says it.
pub(super) const A_PEM_FILE: &str = "the path of a PEM file";

/// A user and its password.
#[derive(Clone, Debug)]
pub struct UserAndPassword {
    /// The user's name.
    pub user: String,
    /// The user's password.
    pub password: Secret,
}

/// Reads `user` and `password`. Returns `None` unless there are both; one without the other is a finding.
pub(super) fn credentials(section: &mut Section<'_>) -> Option<UserAndPassword> {
    let user = section.optional("user", "the user's name", text);
    let password = section.secret("password");
    match (user, password) {
        (Some(user), Some(password)) => Some(UserAndPassword { user, password }),
        (Some(_), None) => {
            // A password that was given and is wrong has its own finding already.
            if section.is_sound("password") {
                let right = secrets::right(&section.key("password"));
                section.reject("password", None, "is missing, and there is a user", &right);
            }
            None
        }
        (None, Some(_)) => {
            section.reject("user", None, "is missing, and there is a password", "the user's name");
            None
        }
        (None, None) => None,
    }
}

/// Reads `cert_file` and `key_file`. Returns `None` unless there are both; one without the other is a finding.
pub(super) fn identity(s: &mut Section<'_>) -> Option<(PathBuf, PathBuf)> {
    let cert_file = s.optional("cert_file", A_PEM_FILE, readable_file);
    let key_file = s.optional("key_file", A_PEM_FILE, readable_file);
    match (cert_file, key_file) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (Some(_), None) => {
            s.reject("key_file", None, "is missing, and there is a cert_file", A_PEM_FILE);
            None
        }
        (None, Some(_)) => {
            s.reject("cert_file", None, "is missing, and there is a key_file", A_PEM_FILE);
            None
        }
        (None, None) => None,
    }
}

/// Checks that a path names a file that can be read.
pub(super) fn readable_file(given: &Given) -> Result<PathBuf, String> {
    let path = PathBuf::from(text(given)?);
    std::fs::File::open(&path).map(|_| path).map_err(|e| format!("can't be read: {e}"))
}
