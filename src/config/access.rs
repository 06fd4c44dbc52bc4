//! How registry and store let this process in: a user with a password, a certificate with its key. Both have these keys.

use super::given::{Given, text};
use super::reader::Section;
use super::secrets::{self, Secret};
use std::path::PathBuf;

/// What is right for a key that names one.
pub(super) const A_PEM_FILE: &str = "the path of a PEM file";

/// A user and its password.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The user's name.
    pub user: String,
    /// Its password.
    pub password: Secret,
}

/// Reads `user` and `password`: both or neither.
pub(super) fn credentials(section: &mut Section<'_>) -> Option<Credentials> {
    let user = section.optional("user", "the user's name", text);
    let password = section.secret("password");
    match (user, password) {
        (Some(user), Some(password)) => Some(Credentials { user, password }),
        (Some(_), None) => {
            // If it was given, its own finding says what is wrong with it.
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

/// `cert_file` and `key_file`: both or neither.
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

/// The path of a file that can be read.
pub(super) fn readable_file(given: &Given) -> Result<PathBuf, String> {
    let path = PathBuf::from(text(given)?);
    std::fs::File::open(&path).map(|_| path).map_err(|e| format!("can't be read: {e}"))
}
