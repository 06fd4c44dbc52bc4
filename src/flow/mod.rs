//! The way of the records through a process, as state machines without I/O and without a clock.
//!
//! **The problem.** The commands of one key must be decided and answered in order, and each record must be answered exactly once,
//! whatever fails. But one slow key must not hold the others up, and Kafka keeps a single offset for each partition: "all below are
//! done".
//!
//! **The idea.** Order is kept within a key and nowhere else. What is committed for a partition is the lowest offset that is not done,
//! with a bitmap of the records above it that are. The answers commit in the same transaction as these offsets.
//!
//! **The steps** of a record:
//!
//! 1. [`intake`]: the record waits until it can be read and is near enough to the lowest incomplete one.
//! 2. [`lanes`]: it waits for the commands of its key that came before it, is processed, and has outputs. [`deciding`] says what follows if
//!    a bug panics meanwhile.
//! 3. [`batch`]: its outputs wait for the next transaction; [`attempt`] says which call of the transaction comes next.
//! 4. [`offsets`]: once the transaction is committed, the record is done.
//!
//! [`Assignment`] is the life of one assignment of partitions, and holds its lanes, batches and offsets; nothing of it outlives the
//! assignment. [`stream`] puts one assignment after another, [`succession`] one publisher after another, and [`in_turn`] one transaction of
//! a publisher after another. The processor drives the stream between Kafka and the store.

pub mod assignment;
pub mod attempt;
pub mod batch;
pub mod deciding;
pub mod in_turn;
pub mod intake;
pub mod lanes;
pub mod offsets;
pub mod stream;
pub mod succession;
#[cfg(test)]
mod tests;

pub use assignment::{Assignment, Commit, Fetching, Limits, OffsetCommit, Publication};

use crate::domain::request::SourceRecord;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// The number of an assignment of partitions, counted since the process began.
pub type AssignmentId = u64;

/// The number of a partition of the command topic.
pub type Partition = i32;

/// A moment, as the time since the process began. `flow` reads no clock.
pub type Uptime = Duration;

/// A record's partition and offset. The topic is known from the context; most often it is the command topic. The text form is `3/17`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId {
    /// The record's partition.
    pub partition: Partition,
    /// The record's offset in that partition.
    pub offset: i64,
}

impl RecordId {
    /// Returns the same record with the name of its topic.
    pub fn on(self, topic: Arc<str>) -> SourceRecord {
        SourceRecord { topic, partition: self.partition, offset: self.offset }
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.partition, self.offset)
    }
}

impl FromStr for RecordId {
    type Err = &'static str;

    /// Reads what [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let (partition, offset) = text.split_once('/')?;
            let id = Self { partition: partition.parse().ok()?, offset: offset.parse().ok()? };
            (id.partition >= 0 && id.offset >= 0).then_some(id)
        };
        read().ok_or("must be PARTITION/OFFSET, such as 3/17")
    }
}
