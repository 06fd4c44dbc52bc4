//! The effective configuration: every key with its value and where the value came from.

use crate::domain::values::SegmentCode;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// One key of the effective configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key with its path: `kafka.group_id`.
    pub key: String,
    /// The value as TOML. A secret is shown as `***`, or as `file:` with the path of its file. `None` if the key is not set and has no
    /// default.
    pub value: Option<String>,
    /// Where the value came from.
    pub source: Source,
}

/// The source of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody gave a value.
    Default,
    /// The configuration's file.
    File,
    /// This variable of the environment.
    Variable(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File => f.write_str("file"),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

/// A value that can be written as TOML, to be shown.
pub(super) trait AsToml {
    fn as_toml(&self) -> toml::Value;
}

impl AsToml for String {
    fn as_toml(&self) -> toml::Value {
        self.as_str().into()
    }
}

impl AsToml for PathBuf {
    fn as_toml(&self) -> toml::Value {
        self.display().to_string().into()
    }
}

impl AsToml for SocketAddr {
    fn as_toml(&self) -> toml::Value {
        self.to_string().into()
    }
}

impl AsToml for SegmentCode {
    fn as_toml(&self) -> toml::Value {
        self.as_str().into()
    }
}

impl AsToml for Duration {
    fn as_toml(&self) -> toml::Value {
        humantime::format_duration(*self).to_string().into()
    }
}

impl AsToml for usize {
    fn as_toml(&self) -> toml::Value {
        i64::try_from(*self).unwrap_or(i64::MAX).into()
    }
}

impl AsToml for bool {
    fn as_toml(&self) -> toml::Value {
        (*self).into()
    }
}

impl<T: AsToml> AsToml for Vec<T> {
    fn as_toml(&self) -> toml::Value {
        self.iter().map(AsToml::as_toml).collect::<Vec<_>>().into()
    }
}
