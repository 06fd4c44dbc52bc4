//! Files in which a subcommand notes how far it has come, so that the same command goes on from there.

use anyhow::Context as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{ErrorKind, Result, Write as _};
use std::path::Path;
use tempfile::NamedTempFile;

/// Reads the state; `None` if there is no file. `what` says whose state it should be, such as `a snapshot`.
///
/// # Errors
/// The file can't be read, or holds something else.
pub fn read<T: DeserializeOwned>(file: &Path, what: &str) -> anyhow::Result<Option<T>> {
    let text = match std::fs::read_to_string(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        read => read.with_context(|| format!("{} can't be read", file.display()))?,
    };
    let state = serde_json::from_str(&text).with_context(|| format!("{} is no state of {what}", file.display()))?;
    Ok(Some(state))
}

/// Replaces the state. After a crash, the file holds either the old one or the new one.
///
/// # Errors
/// The file can't be written.
pub fn write(file: &Path, state: &impl Serialize) -> anyhow::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || -> Result<()> {
        let mut beside = NamedTempFile::new_in(folder)?;
        beside.write_all(serde_json::to_string(state)?.as_bytes())?;
        beside.as_file().sync_all()?;
        beside.persist(file)?;
        File::open(folder)?.sync_all()
    };
    write().with_context(|| format!("{} can't be written", file.display()))
}
