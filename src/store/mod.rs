//! Where entities and external ids are kept: the [`ConditionalStore`] trait with its row types, the claim protocol written once over the
//! trait, and the trait's implementations.
//!
//! Every write is conditional, touches one partition, and either happens as a whole or not at all. A write that ends in a fault may have
//! happened, or may still happen later: callers go round the protocol again and let the conditions decide.

use crate::domain::Timestamp;
use crate::domain::entity::{Entity, EntityType};
use crate::domain::values::ExternalId;
use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

pub use crate::telemetry::labels::FaultKind;
pub use columns::{Columns, NewStatics};

pub mod claims;
mod columns;
pub mod configured;
pub mod cql;
pub mod embedded;
pub mod erasable;
pub mod metered;
pub mod outcome;
pub mod read_ahead;
pub mod scan;
pub mod simulated;
mod stored;
pub mod topology;
pub mod upkeep;
mod values;

/// The request id of the row that each partition is given with its first statics. In an entity's partition it is the log row of the
/// entity's import. No command can have it, because request ids are not empty.
pub const FIRST_ROW: &str = "";

/// The most rows that one write may have. They are one Paxos proposal, which every replica holds in memory, and a batch of as many
/// statements, each with its conditions to check. Beyond a hundred, a row more saves the store hardly anything. But between the writes of
/// a hot key the store has nothing to do for that key, and fewer writes leave fewer gaps. (The servers' limit on batches,
/// `batch_size_fail_threshold`, and the warning below it are about batches over several partitions only.)
pub const MAX_ROWS: usize = 512;

/// The most requests that one read may ask for: with [`FIRST_ROW`] these are as many keys of rows as ScyllaDB takes in one list, unless
/// its `max_clustering_key_restrictions_per_query` was raised. (Cassandra takes any number.)
pub const MAX_REQUESTS: usize = 99;

/// The key of an external id's partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdKey {
    /// The type of the entity. External ids are unique per type.
    pub entity_type: EntityType,
    /// The external id.
    pub external_id: ExternalId,
}

/// The key of an entity's partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EntityKey {
    /// The type of the entity.
    pub entity_type: EntityType,
    /// The entity's refId, which never changes.
    pub ref_id: Uuid,
}

/// The claim on an external id: the statics of the id's partition. Replaced by the next claim, never deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Counts the claims on this id, from 1.
    pub generation: i64,
    /// The entity that claims.
    pub owner: Uuid,
    /// The epoch that the owner will have when the claim is completed.
    pub epoch: i64,
    /// The request that claims; [`FIRST_ROW`] for an import.
    pub claimed_by: String,
    /// All that anybody needs to complete the claim: see `outcome::StoredClaim`.
    pub blob: Vec<u8>,
    /// Who held the id before, and when their claims were replaced.
    pub previous_owners: Vec<(Uuid, Timestamp)>,
    /// When a request was last refused under this id; `None` if no refusal is remembered.
    pub refused: Option<Timestamp>,
}

/// The statics and rows of an external id's partition, as one read shows them at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdRead {
    /// The claim; `None` if the id was never claimed.
    pub claim: Option<Claim>,
    /// The outcomes of those of the asked requests that were refused under this id.
    pub outcomes: Vec<OutcomeRow>,
}

/// An entity with what the protocol keeps beside its values: the statics of the entity's partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityStatics {
    /// The current values.
    pub entity: Entity,
    /// Counts the entity's external id changes, from 1.
    pub epoch: i64,
    /// The generation of the claim by which the entity holds its external id.
    pub generation: i64,
}

/// The statics and rows of an entity's partition, as one read shows them at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntityRead {
    /// The statics; `None` if there is no such entity.
    pub statics: Option<EntityStatics>,
    /// The outcomes of those of the asked requests that were decided.
    pub outcomes: Vec<OutcomeRow>,
}

/// The outcome of one request, as a read shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeRow {
    /// The id of the request.
    pub request_id: String,
    /// The outcome's blob: see `outcome::Outcome`.
    pub outcome: Vec<u8>,
    /// How much longer the row is kept; `None` if it is kept for ever.
    pub time_left: Option<Duration>,
}

/// The outcome of one request, as it is to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRow {
    /// The id of the request.
    pub request_id: String,
    /// The version that the change led to; `None` for a rejection or a no-op.
    pub changed_to: Option<i64>,
    /// The outcome's blob: see `outcome::Outcome`.
    pub outcome: Vec<u8>,
    /// How long the row is kept; `None` if it is kept for ever.
    pub ttl: Option<Duration>,
}

/// A write that claims an external id, `IF generation = replaces`; with `unrefused`, also `AND refused = null`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimWrite {
    /// The id.
    pub id: IdKey,
    /// The generation of the claim that was read; `None` if there was none.
    pub replaces: Option<i64>,
    /// Whether the write is applied only if no refusal under the id is remembered.
    pub unrefused: bool,
    /// The new claim. Its `refused` is not written: a refusal stays as it is.
    pub claim: Claim,
}

/// A write that stores what was decided about an entity: new statics if the entity changes, and the log rows, `IF version =
/// expected_version AND` each row's `outcome = null`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyWrite {
    /// The entity.
    pub key: EntityKey,
    /// The version from which it was decided; `None` if there was no such entity.
    pub expected_version: Option<i64>,
    /// The statics afterwards; `None` if they stay as they are.
    pub after: Option<NewStatics>,
    /// The log rows: 1 to [`MAX_ROWS`], of different requests. If the entity comes into being (`expected_version` is `None`, `after` is
    /// not), one of them is that of [`FIRST_ROW`], on which reads rely.
    pub rows: Vec<LogRow>,
}

/// A write that stores under an external id that requests found no entity there, `IF generation = expected_generation AND` each row's
/// `outcome = null`. It also sets the static `refused`, with the rows' TTL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefuseWrite {
    /// The id.
    pub id: IdKey,
    /// The generation of the claim that was read; `None` if there was none.
    pub expected_generation: Option<i64>,
    /// When the requests were refused.
    pub refused: Timestamp,
    /// The log rows: 1 to [`MAX_ROWS`], of different requests, all with the same TTL.
    pub rows: Vec<LogRow>,
}

/// A write that lets an outcome live on that was read, `IF outcome =` its blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldWrite {
    /// The partition that has the outcome, and how long it is kept there from now on.
    pub held: Held,
    /// The request whose row it is.
    pub request_id: String,
    /// The outcome's blob as it was read. It stays as it is.
    pub outcome: Vec<u8>,
}

/// Where an outcome is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// In the partition of an entity, for ever.
    ForEver(EntityKey),
    /// In the partition of an external id, for as long as if the request had just been refused.
    Anew {
        /// The id.
        id: IdKey,
        /// The time that counts as that of the refusal.
        refused: Timestamp,
        /// How long the row, and the static `refused`, are kept from now on.
        ttl: Duration,
    },
}

/// A change from an entity's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRow {
    /// The id of the request.
    pub request_id: String,
    /// The version that the change led to.
    pub changed_to: i64,
    /// The outcome's blob: see `outcome::Outcome`.
    pub outcome: Vec<u8>,
}

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
}

impl StoreFault {
    /// Returns a fault of no particular kind, at no particular node.
    pub fn new(operation: &'static str, cause: impl Into<String>) -> Self {
        Self { operation, kind: FaultKind::Other, node: None, cause: cause.into() }
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

/// Partitions of rows with statics, and conditional writes to one partition at a time. Linearizable per partition.
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
