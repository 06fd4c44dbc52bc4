//! Where entities and external ids are kept: the [`ConditionalStore`] trait over partitions (`rows`) and conditional writes (`writes`),
//! the claim protocol written once over the trait, and the trait's implementations.
//!
//! Every write is conditional, touches one partition, and either happens as a whole or not at all. A write that ends in a fault may have
//! happened, or may still happen later: callers read and decide again, and the conditions of their next write settle the matter.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;

pub use crate::telemetry::labels::FaultKind;
pub use columns::Columns;
pub use rows::{
    Claim, EntityKey, EntityRead, EntityStatics, FIRST_ROW, HistoryRow, IdKey, IdRead, LogRow, MAX_REQUESTS, OutcomeRow,
};
pub use writes::{ApplyWrite, ClaimWrite, Held, HoldWrite, MAX_ROWS, NewStatics, RefuseWrite};

pub mod claims;
mod columns;
pub mod configured;
pub mod cql;
pub mod embedded;
pub mod erasable;
mod expiry;
pub mod metered;
pub mod outcome;
pub mod read_ahead;
mod rows;
pub mod scan;
pub mod simulated;
mod stored;
pub mod topology;
pub mod upkeep;
mod values;
mod writes;

/// Which writes a read must see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// All writes that a quorum has, but perhaps not conditional writes under way. For values that a condition will confirm.
    Quorum,
    /// All conditional writes; those under way are completed first. For reads that decide an answer.
    Serial,
}

/// What became of a conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Applied {
    /// The conditions held, and everything was written.
    Yes,
    /// A condition did not hold, and nothing was written.
    No,
}

/// A read or write that did not come to an end. A write may have happened all the same, or may happen later.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{operation} failed{}: {cause}", at(self.node.as_deref()))]
pub struct StoreFault {
    /// The operation that was tried: `read_id`, `claim`, ….
    pub operation: &'static str,
    /// Why it came to no end.
    pub kind: FaultKind,
    /// The address of the node that was asked last. `None` if none was asked, or the store has no nodes.
    pub node: Option<Arc<str>>,
    /// The words of the database or its driver. They hold no values of entities.
    pub cause: String,
    /// The way out that the fault shows. `None` if it shows none.
    pub remedy: Option<Remedy>,
}

/// The way out of a fault of the store, for an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Run `crm-processor setup`, because the keyspace, a table or a column is missing.
    Setup,
    /// Configure a data centre that the database has.
    NameDatacenter,
    /// End the other process that has the embedded store's folder.
    FreeFolder,
    /// Configure the authority that signed the nodes' certificates.
    TrustAuthority,
    /// Configure a user and a password that the database knows.
    Login,
    /// Grant the user a right.
    Grant,
}

impl StoreFault {
    /// Returns a fault of no particular kind, at no particular node, which shows no remedy.
    pub fn new(operation: &'static str, cause: impl Into<String>) -> Self {
        Self { operation, kind: FaultKind::Other, node: None, cause: cause.into(), remedy: None }
    }

    /// Returns the fault with this remedy.
    #[must_use]
    pub fn with(self, remedy: Remedy) -> Self {
        Self { remedy: Some(remedy), ..self }
    }
}

fn at(node: Option<&str>) -> String {
    node.map(|node| format!(" at {node}")).unwrap_or_default()
}

/// A node of the database, as the driver sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreNode {
    /// The node's `host:port`.
    pub address: Arc<str>,
    /// Whether it answers.
    pub state: NodeState,
}

/// Whether a node of the database answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// There is a connection to the node, and nothing is held against it.
    Answering,
    /// There is a connection, but the node answers nobody while others do.
    Silent,
    /// There is no connection.
    Unconnected,
}

/// A store of partitions, each with rows and statics. Writes are conditional and go to one partition at a time; each partition is
/// linearizable.
///
/// # Errors
/// Each method returns a [`StoreFault`] if the store does not answer, or what it holds can't be read. A write may then have happened.
pub trait ConditionalStore: Send + Sync + 'static {
    /// Reads the statics of an external id's partition, and the rows of `requests`, [`MAX_REQUESTS`] at most.
    fn read_id(
        &self,
        id: &IdKey,
        requests: &[&str],
        consistency: Consistency,
    ) -> impl Future<Output = Result<IdRead, StoreFault>> + Send;

    /// Reads the statics of an entity's partition, and the rows of `requests`, [`MAX_REQUESTS`] at most.
    fn read_entity(
        &self,
        key: EntityKey,
        requests: &[&str],
        consistency: Consistency,
    ) -> impl Future<Output = Result<EntityRead, StoreFault>> + Send;

    /// Performs a [`ClaimWrite`].
    fn claim(&self, write: ClaimWrite) -> impl Future<Output = Result<Applied, StoreFault>> + Send;

    /// Performs an [`ApplyWrite`].
    fn apply(&self, write: ApplyWrite) -> impl Future<Output = Result<Applied, StoreFault>> + Send;

    /// Performs a [`RefuseWrite`].
    fn refuse(&self, write: RefuseWrite) -> impl Future<Output = Result<Applied, StoreFault>> + Send;

    /// Performs a [`HoldWrite`].
    fn hold(&self, write: HoldWrite) -> impl Future<Output = Result<Applied, StoreFault>> + Send;

    /// Reads the changes of an entity, oldest first. For people, not for decisions.
    fn history(&self, key: EntityKey) -> impl Future<Output = Result<Vec<HistoryRow>, StoreFault>> + Send;

    /// Reads something cheap, to find out whether the store is there.
    fn ping(&self) -> impl Future<Output = Result<(), StoreFault>> + Send;
}

/// Checks what every store relies on in a read.
///
/// # Panics
/// Panics if there are too many requests: the caller has a bug.
fn assert_requests(requests: &[&str]) {
    assert!(requests.len() <= MAX_REQUESTS, "a read asks for {MAX_REQUESTS} requests at most, not {}", requests.len());
}

/// Checks what every store relies on in the rows of a write.
///
/// # Panics
/// Panics if there are no rows, too many, or two of one request, which conditions can't tell apart: the caller has a bug.
fn assert_rows(rows: &[LogRow]) {
    let requests: HashSet<_> = rows.iter().map(|row| &row.request_id).collect();
    assert!((1..=MAX_ROWS).contains(&rows.len()), "a write has 1 to {MAX_ROWS} rows, not {}", rows.len());
    assert_eq!(requests.len(), rows.len(), "the rows of a write are of different requests");
}
