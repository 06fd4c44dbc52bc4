//! The store for one process alone, with nothing to install: a fjall database in a folder. It is durable: every acknowledged write
//! survives kill -9 and power loss.
//!
//! Writes go to one thread (writer.rs), which decides them in the order of their arrival and makes one fsync for all that have gathered.
//! Reads are look-ups of single keys in a snapshot, from memory or a few blocks of a file. They take microseconds and wait for no fsync,
//! so they run in the task that calls. A history may be long and is read in the blocking pool. Fjall has no TTL: the expiry is stored
//! with each cell, reads honour it, and the writer sweeps expired cells.
//!
//! After a write that the disk does not take, because it is full for example, fjall's database takes no more writes. The database is then
//! closed, and opened again as soon as the disk takes something (`folder`). Until then all operations are faults that say why.

mod encoding;
mod folder;
#[cfg(test)]
mod golden_tests;
mod writer;

use super::erasable::{AnyWrite, ErasableStore, Redaction};
use super::scan::{Position, Scan, Scanned};
use super::{
    Applied, ApplyWrite, ClaimWrite, ConditionalStore, Consistency, EntityKey, EntityRead, HistoryRow, HoldWrite, IdKey, IdRead,
    OutcomeRow, RefuseWrite, Remedy, StoreFault, assert_requests, assert_rows,
};
use crate::domain::Timestamp;
use encoding::{Cell, PartitionPrefix};
use fjall::{Readable, Snapshot};
use folder::{EmbeddedFault, Files, Folder};
use futures::StreamExt;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};
use writer::{MAX_GROUP, QueuedWrite};

/// A [`ConditionalStore`] in a folder of this machine, for one process at a time.
pub struct EmbeddedStore {
    folder: Arc<Folder>,
    /// The channel to the writer; `None` only while the store is dropped.
    queue: Option<mpsc::Sender<QueuedWrite>>,
    writer: Option<JoinHandle<()>>,
}

impl EmbeddedStore {
    /// Opens the database in the folder `path`, and creates it if it is missing. Blocks while the last writes are read back from the
    /// journal.
    ///
    /// # Errors
    /// Returns a fault if the folder is in use by another process, can't be written to, or holds something else.
    pub fn open(path: &Path) -> Result<Self, StoreFault> {
        let fault = |cause: String| StoreFault::new("open", format!("{}: {cause}", path.display()));
        let folder = Arc::new(Folder::open(path).map_err(|error| match error {
            fjall::Error::Locked => {
                fault("in use by another process; the embedded store is for one at a time".into()).with(Remedy::FreeFolder)
            }
            error => fault(error.to_string()),
        })?);
        let (queue, waiting) = mpsc::channel(MAX_GROUP);
        let writer = std::thread::Builder::new()
            .name("embedded-store".into())
            .spawn({
                let folder = Arc::clone(&folder);
                move || writer::run(&folder, waiting)
            })
            .map_err(|error| fault(format!("no thread for the writer: {error}")))?;
        Ok(Self { folder, queue: Some(queue), writer: Some(writer) })
    }

    /// Returns a stream of all entities in the order of type and refId, beginning with `from` if it is given.
    pub fn scan(&self, from: Option<EntityKey>) -> Scan {
        /// The most entities that are read ahead.
        const READ_AHEAD: usize = 1024;
        let (files, (scanned, entities)) = (self.folder.files(), mpsc::channel(READ_AHEAD));
        tokio::task::spawn_blocking(move || {
            let files = match files {
                Ok(files) => files,
                Err(failure) => return drop(scanned.blocking_send(Err(fault_of("scan")(failure)))),
            };
            for entry in files.cells.range(encoding::entities_from(from)) {
                let read = scanned_from(entry.into_inner()).map_err(fault_of("scan")).transpose();
                // An error means that nobody wants further entities.
                if read.is_some_and(|read| scanned.blocking_send(read).is_err()) {
                    return;
                }
            }
        });
        futures::stream::unfold(entities, async |mut entities| entities.recv().await.map(|entity| (entity, entities))).boxed()
    }

    async fn write(&self, write: AnyWrite) -> Result<Applied, StoreFault> {
        let operation = write.operation();
        let gone = || StoreFault::new(operation, "the writer thread is gone");
        let (answer, answered) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(gone)?;
        queue.send(QueuedWrite { write, answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    fn read_id_now(&self, id: &IdKey, requests: &[&str]) -> Result<IdRead, EmbeddedFault> {
        let view = self.view()?;
        let partition = PartitionPrefix::of_id(id);
        let claim = match view.get(&partition.statics())? {
            Some(cell) => {
                let refused = view.get(&partition.refused())?.map(|cell| encoding::decode_refused(&cell.body)).transpose()?;
                Some(encoding::decode_claim(&cell.body, refused)?)
            }
            None => None,
        };
        Ok(IdRead { claim, outcomes: view.outcomes(&partition, requests)? })
    }

    fn read_entity_now(&self, key: EntityKey, requests: &[&str]) -> Result<EntityRead, EmbeddedFault> {
        let view = self.view()?;
        let partition = PartitionPrefix::of_entity(key);
        let statics = view.get(&partition.statics())?.map(|cell| encoding::decode_entity(&cell.body)).transpose()?;
        Ok(EntityRead { statics, outcomes: view.outcomes(&partition, requests)? })
    }

    async fn rows(&self, operation: &'static str, key: EntityKey) -> Result<Vec<Row>, StoreFault> {
        let files = self.folder.files().map_err(fault_of(operation))?;
        tokio::task::spawn_blocking(move || read_rows(&files, key))
            .await
            .map_err(|error| StoreFault::new(operation, error.to_string()))?
            .map_err(fault_of(operation))
    }

    fn view(&self) -> Result<View, EmbeddedFault> {
        let files = self.folder.files()?;
        Ok(View { snapshot: files.database.snapshot(), files, now: writer::now() })
    }
}

impl Drop for EmbeddedStore {
    /// Waits until all pending writes are done, so that the folder can be opened again at once.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl ConditionalStore for EmbeddedStore {
    async fn read_id(&self, id: &IdKey, requests: &[&str], _consistency: Consistency) -> Result<IdRead, StoreFault> {
        assert_requests(requests);
        self.read_id_now(id, requests).map_err(fault_of("read_id"))
    }

    async fn read_entity(&self, key: EntityKey, requests: &[&str], _consistency: Consistency) -> Result<EntityRead, StoreFault> {
        assert_requests(requests);
        self.read_entity_now(key, requests).map_err(fault_of("read_entity"))
    }

    async fn claim(&self, write: ClaimWrite) -> Result<Applied, StoreFault> {
        self.write(AnyWrite::Claim(write)).await
    }

    async fn apply(&self, write: ApplyWrite) -> Result<Applied, StoreFault> {
        assert_rows(&write.rows);
        self.write(AnyWrite::Apply(write)).await
    }

    async fn refuse(&self, write: RefuseWrite) -> Result<Applied, StoreFault> {
        assert_rows(&write.rows);
        self.write(AnyWrite::Refuse(write)).await
    }

    async fn hold(&self, write: HoldWrite) -> Result<Applied, StoreFault> {
        self.write(AnyWrite::Hold(write)).await
    }

    async fn history(&self, key: EntityKey) -> Result<Vec<HistoryRow>, StoreFault> {
        let mut history: Vec<_> = self.rows("history", key).await?.into_iter().filter_map(Row::into_change).collect();
        history.sort_by_key(|row| row.changed_to);
        Ok(history)
    }

    async fn ping(&self) -> Result<(), StoreFault> {
        if self.queue.as_ref().is_none_or(mpsc::Sender::is_closed) {
            return Err(StoreFault::new("ping", "the writer thread is gone"));
        }
        self.folder.files().map(drop).map_err(fault_of("ping"))
    }
}

impl ErasableStore for EmbeddedStore {
    async fn log(&self, key: EntityKey) -> Result<Vec<(String, Vec<u8>)>, StoreFault> {
        let rows = self.rows("log", key).await?;
        Ok(rows.into_iter().map(|row| (row.request_id, row.outcome)).collect())
    }

    async fn redact(&self, redaction: Redaction) -> Result<Applied, StoreFault> {
        self.write(AnyWrite::Redact(redaction)).await
    }
}

/// The database at one instant.
struct View {
    snapshot: Snapshot,
    files: Files,
    now: Timestamp,
}

impl View {
    fn get(&self, key: &[u8]) -> Result<Option<Cell>, EmbeddedFault> {
        let Some(bytes) = self.snapshot.get(&self.files.cells, key)? else { return Ok(None) };
        Ok(Some(Cell::decode(&bytes)?).filter(|cell| cell.is_live(self.now)))
    }

    fn outcomes(&self, partition: &PartitionPrefix, requests: &[&str]) -> Result<Vec<OutcomeRow>, EmbeddedFault> {
        let mut outcomes = Vec::new();
        for request in requests {
            if let Some(cell) = self.get(&partition.row(request))? {
                let (_, outcome) = encoding::decode_row(&cell.body)?;
                outcomes.push(OutcomeRow { request_id: (*request).into(), outcome, time_left: cell.time_left(self.now) });
            }
        }
        Ok(outcomes)
    }
}

/// A row of an entity's log.
struct Row {
    request_id: String,
    changed_to: Option<i64>,
    outcome: Vec<u8>,
}

impl Row {
    fn into_change(self) -> Option<HistoryRow> {
        let Self { request_id, changed_to, outcome } = self;
        let change = changed_to.filter(|_| request_id != super::FIRST_ROW)?;
        Some(HistoryRow { request_id, changed_to: change, outcome })
    }
}

/// Returns all rows of an entity's log that have not expired.
fn read_rows(files: &Files, key: EntityKey) -> Result<Vec<Row>, EmbeddedFault> {
    let first = PartitionPrefix::of_entity(key).row(super::FIRST_ROW);
    let now = writer::now();
    let mut rows = Vec::new();
    for entry in files.cells.prefix(&first) {
        let (row_key, bytes) = entry.into_inner()?;
        let cell = Cell::decode(&bytes)?;
        if cell.is_live(now) {
            let (changed_to, outcome) = encoding::decode_row(&cell.body)?;
            let request_id = String::from_utf8_lossy(&row_key[first.len()..]).into_owned();
            rows.push(Row { request_id, changed_to, outcome });
        }
    }
    Ok(rows)
}

/// Returns the entity, or `None` if the cell is not that of an entity's statics.
fn scanned_from(entry: fjall::Result<(fjall::Slice, fjall::Slice)>) -> Result<Option<Scanned>, EmbeddedFault> {
    let (key, bytes) = entry?;
    if !encoding::is_statics(&key) {
        return Ok(None);
    }
    let entity = encoding::decode_entity(&Cell::decode(&bytes)?.body)?.entity;
    let position = Position::Entity(entity.entity_type, entity.ref_id);
    Ok(Some(Scanned { entity, position }))
}

fn fault_of(operation: &'static str) -> impl Fn(EmbeddedFault) -> StoreFault {
    move |failure| StoreFault::new(operation, failure.to_string())
}
