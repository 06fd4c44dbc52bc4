//! A request as it is decided: what it asks for, and the record that it came in.

use super::contents::Contents;
use super::values::{Actor, RequestId};
use std::fmt;
use std::sync::Arc;

/// The record that a request came in, named for ever. A request that is sent twice comes in two records; a record that is delivered
/// twice is one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceRecord {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

impl fmt::Display for SourceRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

/// A request that passed request validation, without the reference by which it names its entity. Whoever finds it in a claim can
/// decide it, and answer as its record would have been answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The id that makes the request recognisable when it comes again; scoped to the entity.
    pub id: RequestId,
    /// The use case, the new values and the version that the request expects.
    pub contents: Contents,
    /// The correlation id of the record, which goes into the business transaction.
    pub correlation_id: Option<String>,
    /// Who asked, as a header of the record says; `None` if it does not say so. It does not tell requests apart.
    pub actor: Option<Actor>,
    /// The record, which alone publishes the business transaction.
    pub record: SourceRecord,
}
