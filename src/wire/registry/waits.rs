//! The list of the records that wait for a schema, so that operators can find them.

use crate::wire::schema_id::SchemaId;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The first record of each partition that waits for a schema. Whoever takes records in keeps the list up to date.
#[derive(Debug, Default)]
pub struct Lacking {
    firsts: Mutex<BTreeMap<i32, First>>,
    /// Whether a record waits. If none does, [`Lacking::remove`] does without the lock.
    any: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
struct First {
    offset: i64,
    schema: SchemaId,
    since: Instant,
}

/// A record that waits for its schema. The records behind it in its partition wait, too.
#[derive(Clone, Debug)]
pub struct Wait {
    /// The record's partition.
    pub partition: i32,
    /// The record's offset.
    pub offset: i64,
    /// The schema that the record lacks.
    pub schema: SchemaId,
    /// How long the record has waited.
    pub lasts: Duration,
    /// What the registry says about this schema while it answers well about others, and for how long it has said so. `None` if its answers
    /// are not odd.
    pub odd: Option<(Arc<str>, Duration)>,
}

impl Lacking {
    /// Takes note that this record waits for this schema.
    pub fn add(&self, partition: i32, offset: i64, schema: SchemaId) {
        let mut all = self.firsts();
        self.any.store(true, Relaxed);
        if all.get(&partition).is_none_or(|first| first.offset != offset || first.schema != schema) {
            all.insert(partition, First { offset, schema, since: Instant::now() });
        }
    }

    /// Takes note that no record of this partition waits for a schema any more.
    pub fn remove(&self, partition: i32) {
        if self.any.load(Relaxed) {
            let mut all = self.firsts();
            all.remove(&partition);
            self.any.store(!all.is_empty(), Relaxed);
        }
    }

    /// Forgets all records, because the process gives up its partitions.
    pub fn clear(&self) {
        self.firsts().clear();
        self.any.store(false, Relaxed);
    }

    fn firsts(&self) -> MutexGuard<'_, BTreeMap<i32, First>> {
        self.firsts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn waits(&self, now: Instant, odd: impl Fn(SchemaId) -> Option<(Arc<str>, Duration)>) -> Vec<Wait> {
        let wait = |(partition, first): (&i32, &First)| Wait {
            partition: *partition,
            offset: first.offset,
            schema: first.schema,
            lasts: now.saturating_duration_since(first.since),
            odd: odd(first.schema),
        };
        self.firsts().iter().map(wait).collect()
    }
}
