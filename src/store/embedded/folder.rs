//! The folder of the store, and the database in it while that can be used.
//!
//! After a write that failed, fjall takes no more writes, because it is not known what the journal holds of that write. After it is
//! opened again, the database has each batch as a whole or not at all, which is all that the claim protocol asks of a write that ended in
//! a fault. A full disk still takes a small write now and then. So a database that was opened again is tried with a larger write before
//! it is used: a store that comes and goes every second would be worse than one that is away.

use super::encoding::Undecodable;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

/// How much the disk must take before the store is used again, in bytes. The writes of one group usually have less.
const PROBE_BYTES: usize = 256 << 10;
/// A key of the expiry index that no cell has. The other keys begin with a time, and this one is later than any time.
const PROBE_KEY: [u8; 9] = [0xff; 9];

/// The database with its two keyspaces.
#[derive(Clone)]
pub(super) struct Files {
    pub(super) database: Database,
    /// All cells.
    pub(super) cells: Keyspace,
    /// The expiry index: the keys of the cells that expire, by expiry.
    pub(super) expiries: Keyspace,
}

/// The reason why an operation on the database failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct EmbeddedFault(pub String);

impl From<fjall::Error> for EmbeddedFault {
    fn from(error: fjall::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<Undecodable> for EmbeddedFault {
    fn from(error: Undecodable) -> Self {
        Self(error.to_string())
    }
}

/// The folder of the database, and the database in it; see the module's documentation.
pub(super) struct Folder {
    path: PathBuf,
    /// The open database, or why there is none.
    files: RwLock<Result<Files, EmbeddedFault>>,
}

impl Folder {
    /// Opens the database in a folder, and creates it if it is missing.
    pub fn open(path: &Path) -> fjall::Result<Self> {
        let files = open_files(path)?;
        Ok(Self { path: path.to_owned(), files: RwLock::new(Ok(files)) })
    }

    /// Returns the open database.
    ///
    /// # Errors
    /// Returns the failure of the write after which the database was closed, if it is closed.
    pub fn files(&self) -> Result<Files, EmbeddedFault> {
        self.files.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Closes the database because a write failed. It stays open for as long as a reader still holds it.
    pub fn close(&self, why: EmbeddedFault) {
        *self.files.write().unwrap_or_else(PoisonError::into_inner) = Err(why);
    }

    /// Opens the database again, if the disk takes a trial write.
    ///
    /// # Errors
    /// Returns a failure if the disk does not take the trial write, or a reader still holds the old database.
    pub fn open_again(&self) -> Result<(), EmbeddedFault> {
        let files = open_files(&self.path)?;
        for value in [vec![0; PROBE_BYTES], Vec::new()] {
            let mut batch = files.database.batch().durability(Some(PersistMode::SyncData));
            if value.is_empty() {
                batch.remove(&files.expiries, PROBE_KEY);
            } else {
                batch.insert(&files.expiries, PROBE_KEY, value);
            }
            batch.commit()?;
        }
        *self.files.write().unwrap_or_else(PoisonError::into_inner) = Ok(files);
        Ok(())
    }
}

pub(super) fn open_files(path: &Path) -> fjall::Result<Files> {
    let path = std::path::absolute(path)?;
    // Fjall syncs the folder, but not the folders above it, in which the entries that lead to it may be new.
    let made_in: Vec<_> = path.ancestors().take_while(|folder| !folder.exists()).filter_map(Path::parent).collect();
    let database = fjall::Database::builder(&path).open()?;
    for folder in made_in {
        File::open(folder)?.sync_all()?;
    }
    let cells = database.keyspace("cells", KeyspaceCreateOptions::default)?;
    let expiries = database.keyspace("expiries", KeyspaceCreateOptions::default)?;
    Ok(Files { database, cells, expiries })
}
