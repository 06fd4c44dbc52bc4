//! The one thread that writes. It takes all waiting writes, decides them one after another, so that each sees those before it, and
//! commits them as one batch with one fsync (group commit). So no locks are needed, and what a reader sees is durable.
//!
//! Now and then the same batch also removes expired cells.

use super::encoding::{self, Cell, PartitionPrefix};
use super::folder::{EmbeddedFault, Files, Folder};
use crate::domain::Timestamp;
use crate::store::erasable::{AnyWrite, Redaction};
use crate::store::expiry::{millis, until};
use crate::store::{Applied, ApplyWrite, ClaimWrite, Held, HoldWrite, LogRow, RefuseWrite, StoreFault};
use fjall::PersistMode;
use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};

/// The most writes that may wait for the writer, and the most that it commits at once. Further writes wait in their callers. The number
/// is a few times that of the commands that a process has in flight.
pub(super) const MAX_GROUP: usize = 1024;
/// The number of rows written after which the writer looks for expired cells.
const ROWS_PER_SWEEP: usize = 1024;
/// The number of cells that a sweep may remove if few rows were written, which takes a few milliseconds.
const MIN_SWEEP: usize = 4096;

/// A write, and the channel to the caller that waits for its answer.
pub(super) struct QueuedWrite {
    pub(super) write: AnyWrite,
    pub(super) answer: oneshot::Sender<Result<Applied, StoreFault>>,
}

/// The schedule by which expired cells are removed. A sweep may remove more cells than rows were written since the sweep before, so that
/// sweeping keeps up, however many rows a write has.
struct Sweeping {
    /// How many rows were written since the last sweep.
    rows: usize,
}

impl Sweeping {
    /// The first group sweeps, so that even a process that is restarted often sweeps.
    const FIRST: Self = Self { rows: ROWS_PER_SWEEP };

    /// Takes note of a group of so many rows. Returns how many cells may be removed with it: none if no sweep is due.
    fn with_group(&mut self, rows: usize) -> usize {
        self.rows += rows;
        if self.rows < ROWS_PER_SWEEP { 0 } else { MIN_SWEEP.max(2 * std::mem::take(&mut self.rows)) }
    }
}

/// Returns the milliseconds since 1970 by the system's clock.
#[expect(clippy::disallowed_methods, reason = "a database is an edge: only its expiries look at this clock")]
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    millis(since)
}

/// The pause between two attempts to open the database again.
const REOPEN: Duration = Duration::from_secs(1);
/// How often writes that wait are refused while the database is closed.
const REFUSE: Duration = Duration::from_millis(20);

/// Writes until the store is dropped. After a commit that fails, the database is closed, and opened again when the disk takes something.
pub(super) fn run(folder: &Folder, mut queue: mpsc::Receiver<QueuedWrite>) {
    while let Ok(files) = folder.files() {
        let Err(failure) = write(&files, &mut queue) else { return };
        tracing::error!(cause = %failure, "the embedded store could not write; it is opened again when the disk takes something");
        folder.close(failure);
        drop(files);
        if !open_again(folder, &mut queue) {
            return;
        }
        tracing::info!("the embedded store takes writes again");
    }
}

/// Writes until the store is dropped, or until a commit fails.
fn write(files: &Files, queue: &mut mpsc::Receiver<QueuedWrite>) -> Result<(), EmbeddedFault> {
    let mut sweeping = Sweeping::FIRST;
    let mut waiting = Vec::with_capacity(MAX_GROUP);
    while queue.blocking_recv_many(&mut waiting, MAX_GROUP) > 0 {
        let sweep = sweeping.with_group(waiting.iter().map(|queued| queued.write.rows()).sum());
        commit_group(files, waiting.drain(..), now(), sweep)?;
    }
    Ok(())
}

/// Opens the database again, however long that takes, and refuses all writes meanwhile. Returns false if the store is dropped.
fn open_again(folder: &Folder, queue: &mut mpsc::Receiver<QueuedWrite>) -> bool {
    let mut attempt = Instant::now() + REOPEN;
    loop {
        match queue.try_recv() {
            Ok(QueuedWrite { write, answer }) => {
                let failure = folder.files().err().unwrap_or_else(|| EmbeddedFault("it is being opened again".into()));
                let _ = answer.send(Err(StoreFault::new(write.operation(), failure.0)));
                continue;
            }
            Err(mpsc::error::TryRecvError::Disconnected) => return false,
            Err(mpsc::error::TryRecvError::Empty) => pause(),
        }
        if Instant::now() < attempt {
            continue;
        }
        match folder.open_again() {
            Ok(()) => return true,
            // Writes are still refused with the first failure, which says more than this one: that a reader still holds the database, for
            // example.
            Err(failure) => tracing::debug!(cause = %failure, "the embedded store can't be opened again yet"),
        }
        attempt = Instant::now() + REOPEN;
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "for milliseconds, while there is nothing to write to; a write that comes is seen after it"
)]
fn pause() {
    std::thread::sleep(REFUSE);
}

/// Decides writes, removes up to `sweep` expired cells, and commits all this as one batch.
///
/// # Errors
/// Returns the failure of the commit. It is then not known whether the writes were committed, and the database takes no more writes.
fn commit_group(
    files: &Files,
    writes: impl Iterator<Item = QueuedWrite>,
    now: Timestamp,
    sweep: usize,
) -> Result<(), EmbeddedFault> {
    let mut group = Group { files, now, cells: HashMap::new(), swept: Vec::new() };
    let decided: Vec<_> = writes
        .map(|QueuedWrite { write, answer }| {
            let operation = write.operation();
            (group.decide(write), operation, answer)
        })
        .collect();
    if let Err(error) = group.sweep(sweep) {
        tracing::warn!(%error, "expired rows could not be removed; reads ignore them all the same, and the next sweep tries again");
    }
    let committed = group.commit();
    for (applied, operation, answer) in decided {
        // A failed commit also fails the writes that were not applied, because the writes with which they were compared may be lost.
        let result = committed.clone().and(applied).map_err(|EmbeddedFault(cause)| StoreFault::new(operation, cause));
        // An error means that nobody waits any more. The write happened all the same, as it may with any store.
        let _ = answer.send(result);
    }
    committed
}

/// Writes that are committed together. The cells that they change take precedence over those on disk.
struct Group<'a> {
    files: &'a Files,
    now: Timestamp,
    /// The changed cells; `None` if a cell is to be removed.
    cells: HashMap<Vec<u8>, Option<Cell>>,
    /// Entries of the expiry index that have been dealt with, and are to be removed.
    swept: Vec<fjall::Slice>,
}

impl Group<'_> {
    fn decide(&mut self, write: AnyWrite) -> Result<Applied, EmbeddedFault> {
        match write {
            AnyWrite::Claim(write) => self.claim(&write),
            AnyWrite::Apply(write) => self.apply(&write),
            AnyWrite::Refuse(write) => self.refuse(&write),
            AnyWrite::Hold(write) => self.hold(&write),
            AnyWrite::Redact(write) => self.redact(&write),
        }
    }

    fn claim(&mut self, write: &ClaimWrite) -> Result<Applied, EmbeddedFault> {
        let partition = PartitionPrefix::of_id(&write.id);
        if self.generation(&partition)? != write.expected_generation
            || write.unrefused && self.get(&partition.refused())?.is_some()
        {
            return Ok(Applied::No);
        }
        self.put(partition.statics(), Cell::for_ever(encoding::encode_claim(&write.claim)));
        Ok(Applied::Yes)
    }

    fn apply(&mut self, write: &ApplyWrite) -> Result<Applied, EmbeddedFault> {
        let partition = PartitionPrefix::of_entity(write.key);
        let statics = self.get(&partition.statics())?.map(|cell| encoding::decode_entity(&cell.body)).transpose()?;
        if statics.map(|statics| statics.entity.version) != write.expected_version || self.any_decided(&partition, &write.rows)? {
            return Ok(Applied::No);
        }
        if let Some(after) = &write.after {
            self.put(partition.statics(), Cell::for_ever(encoding::encode_entity(&after.values)));
        }
        self.put_rows(&partition, &write.rows);
        Ok(Applied::Yes)
    }

    fn refuse(&mut self, write: &RefuseWrite) -> Result<Applied, EmbeddedFault> {
        let partition = PartitionPrefix::of_id(&write.id);
        if self.generation(&partition)? != write.expected_generation || self.any_decided(&partition, &write.rows)? {
            return Ok(Applied::No);
        }
        let expires = write.rows.first().and_then(|row| self.expiry(row.ttl));
        self.put(partition.refused(), Cell { expires, body: encoding::encode_refused(write.refused) });
        self.put_rows(&partition, &write.rows);
        Ok(Applied::Yes)
    }

    fn hold(&mut self, write: &HoldWrite) -> Result<Applied, EmbeddedFault> {
        let (partition, ttl) = match &write.held {
            Held::ForEver(key) => (PartitionPrefix::of_entity(*key), None),
            Held::Anew { id, ttl, .. } => (PartitionPrefix::of_id(id), Some(*ttl)),
        };
        let (key, expires) = (partition.row(&write.request_id), self.expiry(ttl));
        let Some(cell) = self.get(&key)? else { return Ok(Applied::No) };
        if encoding::decode_row(&cell.body)?.1 != write.outcome {
            return Ok(Applied::No);
        }
        self.put(key, Cell { expires, ..cell });
        if let Held::Anew { refused, .. } = &write.held {
            self.put(partition.refused(), Cell { expires, body: encoding::encode_refused(*refused) });
        }
        Ok(Applied::Yes)
    }

    fn redact(&mut self, write: &Redaction) -> Result<Applied, EmbeddedFault> {
        let key = PartitionPrefix::of_entity(write.key).row(&write.request_id);
        let Some(cell) = self.get(&key)? else { return Ok(Applied::No) };
        let (changed_to, outcome) = encoding::decode_row(&cell.body)?;
        if outcome != write.expected_outcome {
            return Ok(Applied::No);
        }
        self.put(key, Cell { body: encoding::encode_row(changed_to, &write.outcome), ..cell });
        Ok(Applied::Yes)
    }

    fn generation(&self, partition: &PartitionPrefix) -> Result<Option<i64>, EmbeddedFault> {
        let Some(cell) = self.get(&partition.statics())? else { return Ok(None) };
        Ok(Some(encoding::decode_claim(&cell.body, None)?.generation))
    }

    fn any_decided(&self, partition: &PartitionPrefix, rows: &[LogRow]) -> Result<bool, EmbeddedFault> {
        for row in rows {
            if self.get(&partition.row(&row.request_id))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn put_rows(&mut self, partition: &PartitionPrefix, rows: &[LogRow]) {
        for row in rows {
            let cell = Cell { expires: self.expiry(row.ttl), body: encoding::encode_row(row.changed_to, &row.outcome) };
            self.put(partition.row(&row.request_id), cell);
        }
    }

    fn expiry(&self, ttl: Option<Duration>) -> Option<Timestamp> {
        ttl.map(|ttl| until(self.now, ttl))
    }

    fn put(&mut self, key: Vec<u8>, cell: Cell) {
        self.cells.insert(key, Some(cell));
    }

    /// Returns the cell at `key`, or `None` if there is none or it has expired.
    fn get(&self, key: &[u8]) -> Result<Option<Cell>, EmbeddedFault> {
        Ok(self.get_even_if_expired(key)?.filter(|cell| cell.is_live(self.now)))
    }

    fn get_even_if_expired(&self, key: &[u8]) -> Result<Option<Cell>, EmbeddedFault> {
        if let Some(cell) = self.cells.get(key) {
            return Ok(cell.clone());
        }
        Ok(self.files.cells.get(key)?.map(|bytes| Cell::decode(&bytes)).transpose()?)
    }

    /// Removes the cells that expired first, up to `most` of them.
    fn sweep(&mut self, most: usize) -> Result<(), EmbeddedFault> {
        for entry in self.files.expiries.range(..self.now.to_be_bytes()).take(most) {
            let entry = entry.key()?;
            let (expires, key) = encoding::parse_expiry_key(&entry)?;
            // An expired row may have been written again since, with a later expiry.
            if self.get_even_if_expired(key)?.is_some_and(|cell| cell.expires == Some(expires)) {
                self.cells.insert(key.to_vec(), None);
            }
            self.swept.push(entry);
        }
        Ok(())
    }

    fn commit(self) -> Result<(), EmbeddedFault> {
        let Files { database, cells, expiries } = self.files;
        // fdatasync suffices, because it also makes the journal's length durable.
        let mut batch = database.batch().durability(Some(PersistMode::SyncData));
        for (key, cell) in self.cells {
            match cell {
                Some(cell) => {
                    if let Some(expires) = cell.expires {
                        batch.insert(expiries, encoding::expiry_key(expires, &key), []);
                    }
                    batch.insert(cells, key, cell.encode());
                }
                None => batch.remove(cells, key),
            }
        }
        for entry in self.swept {
            batch.remove(expiries, entry);
        }
        Ok(batch.commit()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::entity::EntityType;
    use crate::store::{Claim, EntityKey, IdKey};
    use uuid::Uuid;

    fn claim(expected_generation: Option<i64>, generation: i64) -> AnyWrite {
        let claim = Claim {
            generation,
            owner: Uuid::from_u128(1),
            epoch: 1,
            claimed_by: "r".into(),
            blob: vec![],
            previous_owners: vec![],
            refused: None,
        };
        AnyWrite::Claim(ClaimWrite { id: id(), expected_generation, unrefused: false, claim })
    }

    fn id() -> IdKey {
        IdKey { entity_type: EntityType::Customer, external_id: crate::domain::values::ExternalId::parse("x").unwrap() }
    }

    fn rejection(request: &str, ttl: Option<Duration>) -> AnyWrite {
        let key = EntityKey { entity_type: EntityType::Customer, ref_id: Uuid::from_u128(1) };
        let row = LogRow { request_id: request.into(), changed_to: None, outcome: vec![], ttl };
        AnyWrite::Apply(ApplyWrite { key, expected_version: None, after: None, rows: vec![row] })
    }

    /// Commits `writes` as one group, and returns for each whether it was applied.
    fn commit(files: &Files, writes: Vec<AnyWrite>, now: Timestamp, sweep: usize) -> Vec<Applied> {
        let (queued, answers): (Vec<_>, Vec<_>) = writes
            .into_iter()
            .map(|write| {
                let (answer, answered) = oneshot::channel();
                (QueuedWrite { write, answer }, answered)
            })
            .unzip();
        commit_group(files, queued.into_iter(), now, sweep).unwrap();
        answers.into_iter().map(|answered| answered.blocking_recv().unwrap().unwrap()).collect()
    }

    #[test]
    fn a_write_sees_those_before_it_in_its_group() {
        let folder = tempfile::tempdir().unwrap();
        let files = super::super::folder::open_files(folder.path()).unwrap();
        let writes = vec![claim(None, 1), claim(None, 1), claim(Some(1), 2), claim(Some(1), 2), claim(Some(2), 3)];
        assert_eq!(commit(&files, writes, 0, 0), [Applied::Yes, Applied::No, Applied::Yes, Applied::No, Applied::Yes]);
        assert_eq!(commit(&files, vec![claim(Some(2), 3), claim(Some(3), 4)], 0, 0), [Applied::No, Applied::Yes]);
    }

    #[test]
    fn a_sweep_removes_what_expired_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let files = super::super::folder::open_files(folder.path()).unwrap();
        let second = Some(Duration::from_secs(1));
        let writes = vec![rejection("again", second), rejection("once", second), rejection("kept", None), claim(None, 1)];
        assert_eq!(commit(&files, writes, 5_000, 0), [Applied::Yes; 4]);
        assert_eq!(commit(&files, vec![rejection("again", second)], 5_999, MIN_SWEEP), [Applied::No], "not expired yet");
        assert_eq!(files.cells.len().unwrap(), 4);
        // The row has expired, so it is decided again. The sweep of the first expiry must not remove the new row.
        assert_eq!(commit(&files, vec![rejection("again", second)], 6_000, 0), [Applied::Yes]);
        assert_eq!((files.cells.len().unwrap(), files.expiries.len().unwrap()), (4, 3));
        commit(&files, vec![], 6_500, MIN_SWEEP);
        assert_eq!((files.cells.len().unwrap(), files.expiries.len().unwrap()), (3, 1));
        commit(&files, vec![], 8_000, MIN_SWEEP);
        assert_eq!((files.cells.len().unwrap(), files.expiries.len().unwrap()), (2, 0));
    }

    #[test]
    fn sweeping_keeps_up_however_many_rows_a_write_has() {
        for rows in [1, 512, 300_000] {
            let (mut sweeping, mut removed) = (Sweeping::FIRST, 0);
            let groups = 4 * ROWS_PER_SWEEP;
            for _ in 0..groups {
                removed += sweeping.with_group(rows);
            }
            assert!(removed >= rows * groups, "{rows} rows a group: {removed} may be removed of {}", rows * groups);
        }
    }

    #[test]
    fn a_redacted_row_is_swept_when_it_would_have_been() {
        let folder = tempfile::tempdir().unwrap();
        let files = super::super::folder::open_files(folder.path()).unwrap();
        let redact = |request: &str, read: &[u8], outcome: &[u8]| {
            let key = EntityKey { entity_type: EntityType::Customer, ref_id: Uuid::from_u128(1) };
            AnyWrite::Redact(Redaction {
                key,
                request_id: request.into(),
                expected_outcome: read.into(),
                outcome: outcome.into(),
            })
        };
        let writes = vec![rejection("r", Some(Duration::from_secs(1))), rejection("kept", None), redact("r", b"", b"new")];
        assert_eq!(commit(&files, writes, 5_000, 0), [Applied::Yes; 3]);
        let writes = vec![redact("r", b"", b"newer"), redact("r", b"new", b"newer"), redact("kept", b"", b"new")];
        assert_eq!(commit(&files, writes, 5_900, MIN_SWEEP), [Applied::No, Applied::Yes, Applied::Yes]);
        assert_eq!(commit(&files, vec![redact("r", b"newer", b"late")], 6_000, 0), [Applied::No]);
        commit(&files, vec![], 6_001, MIN_SWEEP);
        assert_eq!((files.cells.len().unwrap(), files.expiries.len().unwrap()), (1, 0));
    }
}
