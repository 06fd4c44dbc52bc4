//! The store for production: ScyllaDB (or Cassandra) over its lightweight transactions (LWT). Every write is one
//! conditional statement, or one conditional batch in one partition, decided by Paxos among the replicas.
//!
//! Several rows go as a batch of the protocol, made of the very statements that single rows use, so that nothing is
//! prepared per number of rows. Each partition has a row with request id '' (see `store::FIRST_ROW`), so that one select by
//! full key returns statics and rows of one instant. A request that fails is not repeated here: it may have happened, and
//! the claim protocol finds out. A node that answers nobody is not waited for: `nodes` judges, `watch` looks and probes, `attempt`
//! routes and gives up.

mod attempt;
mod cause;
mod fill;
mod nodes;
mod options;
mod redact;
mod rows;
mod schema;
mod statements;
mod topology;
mod watch;

pub use fill::CqlFill;
pub use options::{CommitConsistency, CqlOptions, SerialConsistency, TlsOptions, is_keyspace_name};

use super::scan::{Position, Scan, Scanned};
use super::topology::Topology;
use super::{
    Applied, ApplyWrite, ClaimWrite, ConditionalStore, Consistency, EntityKey, EntityRead, FIRST_ROW, HistoryRow, IdKey, IdRead,
    LogRow, NodeState, RefuseWrite, StoreFault, StoreNode, assert_requests, assert_rows,
};
use attempt::ask;
use cause::{Cause, described, fault_of};
use futures::{StreamExt, TryStreamExt};
use nodes::Nodes;
use rows::{EntityPartition, EntityRow, IdRow, LogEntry, Values};
use scylla::client::session::Session;
use scylla::deserialize::row::ColumnIterator;
use scylla::response::query_result::{QueryResult, QueryRowsResult};
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlValue;
use statements::{Read, Redacting, Statements};
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::OnceCell;
use watch::Watching;

/// A [`ConditionalStore`] in a keyspace of ScyllaDB 2025.4 or later, or of Cassandra 5.
pub struct CqlStore {
    session: Arc<Session>,
    nodes: Arc<Nodes>,
    /// Ends with the store.
    _watching: Watching,
    statements: Statements,
    /// Prepared when they are needed: `run` never redacts.
    redacting: OnceCell<Redacting>,
    keyspace: String,
}

impl CqlStore {
    /// Connects to the database and prepares all statements.
    ///
    /// # Errors
    /// No contact point can be reached, they don't let us in, or the keyspace or a table is missing.
    pub async fn connect(options: &CqlOptions) -> Result<Self, StoreFault> {
        let nodes = Arc::new(Nodes::new(Instant::now()));
        let session = Arc::new(options.open_session("connect", &nodes).await?);
        let statements = Statements::prepare(&session, options).await?;
        let watching = watch::watch(session.clone(), nodes.clone());
        let keyspace = options.keyspace.clone();
        Ok(Self { session, nodes, _watching: watching, statements, redacting: OnceCell::new(), keyspace })
    }

    /// Creates the keyspace and the tables, where they aren't there, and waits until the nodes agree on them.
    ///
    /// # Errors
    /// As for [`CqlStore::connect`], or we may not create them.
    pub async fn setup(options: &CqlOptions) -> Result<(), StoreFault> {
        schema::create(&options.open_unwatched("setup").await?, options).await
    }

    /// Drops the keyspace with all that is in it.
    ///
    /// # Errors
    /// As for [`CqlStore::connect`], or we may not drop it.
    pub async fn tear_down(options: &CqlOptions) -> Result<(), StoreFault> {
        schema::drop_keyspace(&options.open_unwatched("tear_down").await?, options).await
    }

    /// All entities from a token on.
    ///
    /// # Errors
    /// The scan can't begin.
    pub async fn scan(&self, from: i64) -> Result<Scan, StoreFault> {
        let statement = statements::prepare_scan(&self.session, &self.keyspace).await?;
        let fault = fault_of("scan");
        let pages = self.session.execute_iter(statement, (from,)).await.map_err(|e| fault(described(e)))?;
        let partitions = pages.rows_stream::<EntityPartition>().map_err(|e| fault(described(e)))?;
        // It binds a partition's key and nothing else, so it knows how to hash one.
        let hashed = self.statements.log.clone();
        let scanned = partitions.map(move |partition| {
            let scanned = || {
                let partition = partition.map_err(described)?;
                let token = hashed.calculate_token(&partition.key()).map_err(described)?.ok_or("a partition has no token")?;
                let entity = partition.into_entity()?;
                Ok(entity.map(|entity| Scanned { entity, position: Position::Token(token.value()) }))
            };
            scanned().map_err(&fault).transpose()
        });
        Ok(scanned.filter_map(std::future::ready).boxed())
    }

    /// Asks for nodes, data centres and the keyspace's replication. The keyspace may be missing.
    ///
    /// # Errors
    /// No contact point can be reached, they don't let us in, or the local data centre is none of those that there are.
    pub async fn topology(options: &CqlOptions) -> Result<Topology, StoreFault> {
        Ok(topology::ask(&options.open_unwatched("connect").await?, &options.keyspace).await)
    }

    /// Returns what this store's own session knows of nodes, data centres and the keyspace's replication at present, without asking anybody.
    /// Of commit logs nothing is known.
    pub fn seen(&self) -> Topology {
        topology::seen(&self.session, &self.keyspace)
    }

    /// The nodes that the driver knows of.
    pub fn nodes(&self) -> Vec<StoreNode> {
        let state = |id, connected: bool| match self.nodes.get(id) {
            Some(node) if node.is_silent() => NodeState::Silent,
            _ if !connected => NodeState::Unconnected,
            _ => NodeState::Answering,
        };
        let present = watch::present(&self.session).into_iter();
        present.map(|(id, address, connected)| StoreNode { address, state: state(id, connected) }).collect()
    }

    async fn select(&self, read: &Read, consistency: Consistency, values: Values) -> Result<QueryRowsResult, Cause> {
        let statement = match consistency {
            Consistency::Quorum => &read.quorum,
            Consistency::Serial => &read.serial,
        };
        let result = ask(&self.nodes, pin!(self.session.execute_unpaged(statement, values))).await?;
        Ok(result.into_rows_result().map_err(described)?)
    }

    async fn select_id(&self, id: &IdKey, requests: &[&str], consistency: Consistency) -> Result<IdRead, Cause> {
        let mut values = rows::id_values(id).to_vec();
        values.push(Some(rows_to_read(requests)));
        let result = self.select(&self.statements.read_id, consistency, values).await?;
        let mut read = IdRead::default();
        for row in result.rows::<IdRow>().map_err(described)? {
            let mut row = row.map_err(described)?;
            if read.claim.is_none() {
                read.claim = row.take_claim()?;
            }
            // Here the row '' is no request's: it only keeps the statics in sight.
            if let (Some(request_id), Some(outcome)) = (row.request_id, row.outcome)
                && request_id != FIRST_ROW
            {
                read.outcomes.push((request_id, outcome));
            }
        }
        Ok(read)
    }

    async fn select_entity(&self, key: EntityKey, requests: &[&str], consistency: Consistency) -> Result<EntityRead, Cause> {
        let mut values = rows::entity_key_values(key).to_vec();
        values.push(Some(rows_to_read(requests)));
        let result = self.select(&self.statements.read_entity, consistency, values).await?;
        let mut read = EntityRead::default();
        for row in result.rows::<EntityRow>().map_err(described)? {
            let mut row = row.map_err(described)?;
            if read.statics.is_none() {
                read.statics = row.take_statics(key)?;
            }
            if let (Some(request_id), Some(outcome)) = (row.request_id, row.outcome)
                && requests.contains(&request_id.as_str())
            {
                read.outcomes.push((request_id, outcome));
            }
        }
        Ok(read)
    }

    async fn select_log(&self, key: EntityKey) -> Result<Vec<LogEntry>, String> {
        let pages = self.session.execute_iter(self.statements.log.clone(), rows::entity_key_values(key).to_vec());
        pages.await.map_err(described)?.rows_stream::<LogEntry>().map_err(described)?.try_collect().await.map_err(described)
    }

    /// Runs conditional writes to one partition: all of them happen, or none.
    async fn decide(&self, mut writes: Vec<(&PreparedStatement, Values)>) -> Result<Applied, Cause> {
        let result = if writes.len() == 1 {
            let (statement, values) = writes.remove(0);
            ask(&self.nodes, pin!(self.session.execute_unpaged(statement, values))).await?
        } else {
            // Unlogged: one partition, one Paxos round, so there is nothing for a batch log to repair.
            let mut batch = Batch::new(BatchType::Unlogged);
            let mut values = Vec::with_capacity(writes.len());
            for (statement, bound) in writes {
                batch.append_statement(statement.clone());
                values.push(bound);
            }
            ask(&self.nodes, pin!(self.session.batch(&batch, values))).await?
        };
        Ok(applied(result)?)
    }

    fn apply_writes(&self, ApplyWrite { key, read, after, mut rows }: ApplyWrite) -> Vec<(&PreparedStatement, Values)> {
        let Statements { change, statics, row, more, .. } = &self.statements;
        let mut writes = Vec::with_capacity(rows.len() + 1);
        if let Some(after) = after {
            let mut values = rows::statics_values(&after);
            // The statics travel with a row that stays: a TTL would take them with it.
            if let Some(carrier) = rows.iter().position(|row| row.ttl.is_none()) {
                rows::extend_by_row(&mut values, key, rows.remove(carrier));
                writes.push((change, values));
            } else {
                values.extend(rows::entity_key_values(key));
                writes.push((statics, values));
            }
        }
        for log_row in rows {
            let mut values = Vec::with_capacity(7);
            values.push(Some(rows::ttl_value(log_row.ttl)));
            rows::extend_by_row(&mut values, key, log_row);
            writes.push((if writes.is_empty() { row } else { more }, values));
        }
        // The first one's condition on the version stands for all: they happen together or not at all.
        if let Some((_, values)) = writes.first_mut() {
            values.push(read.map(CqlValue::BigInt));
        }
        writes
    }

    fn refuse_writes(&self, RefuseWrite { id, read, refused, rows }: RefuseWrite) -> Vec<(&PreparedStatement, Values)> {
        let row_write = |row: LogRow| {
            let mut values =
                vec![Some(rows::ttl_value(row.ttl)), Some(rows::timestamp(refused)), Some(CqlValue::Blob(row.outcome))];
            values.extend(rows::id_values(&id));
            values.push(Some(CqlValue::Text(row.request_id)));
            values.push(read.map(CqlValue::BigInt));
            (&self.statements.refuse, values)
        };
        rows.into_iter().map(row_write).collect()
    }
}

impl ConditionalStore for CqlStore {
    async fn read_id(&self, id: &IdKey, requests: &[&str], consistency: Consistency) -> Result<IdRead, StoreFault> {
        assert_requests(requests);
        self.select_id(id, requests, consistency).await.map_err(fault_of("read_id"))
    }

    async fn read_entity(&self, key: EntityKey, requests: &[&str], consistency: Consistency) -> Result<EntityRead, StoreFault> {
        assert_requests(requests);
        self.select_entity(key, requests, consistency).await.map_err(fault_of("read_entity"))
    }

    async fn claim(&self, write: ClaimWrite) -> Result<Applied, StoreFault> {
        let statements = &self.statements;
        let statement = if write.unrefused { &statements.claim_unrefused } else { &statements.claim };
        let values = rows::claim_values(&write.id, write.claim, write.replaces);
        self.decide(vec![(statement, values)]).await.map_err(fault_of("claim"))
    }

    async fn apply(&self, write: ApplyWrite) -> Result<Applied, StoreFault> {
        assert_rows(&write.rows);
        self.decide(self.apply_writes(write)).await.map_err(fault_of("apply"))
    }

    async fn refuse(&self, write: RefuseWrite) -> Result<Applied, StoreFault> {
        assert_rows(&write.rows);
        self.decide(self.refuse_writes(write)).await.map_err(fault_of("refuse"))
    }

    async fn history(&self, key: EntityKey) -> Result<Vec<HistoryRow>, StoreFault> {
        let entries = self.select_log(key).await.map_err(fault_of("history"))?;
        let mut history: Vec<_> = entries.into_iter().filter_map(LogEntry::into_change).collect();
        history.sort_by_key(|row| row.changed_to);
        Ok(history)
    }

    /// Reads a partition that isn't there, with all that it takes to decide a condition: a store that can be read, but not written to
    /// conditionally, does not answer.
    async fn ping(&self) -> Result<(), StoreFault> {
        let result = ask(&self.nodes, pin!(self.session.execute_unpaged(&self.statements.ping, ("ping", "")))).await;
        result.map(drop).map_err(fault_of("ping"))
    }
}

/// The rows to select: those of the requests, and the one that brings the statics.
fn rows_to_read(requests: &[&str]) -> CqlValue {
    let first = if requests.contains(&FIRST_ROW) { None } else { Some(FIRST_ROW) };
    CqlValue::List(first.into_iter().chain(requests.iter().copied()).map(rows::text).collect())
}

/// What became of a conditional write. `[applied]` comes alone or among the columns of the row or rows that the conditions
/// were checked on, and says the same in each row.
fn applied(result: QueryResult) -> Result<Applied, String> {
    let rows = result.into_rows_result().map_err(described)?;
    for column in rows.first_row::<ColumnIterator>().map_err(described)? {
        let column = column.map_err(described)?;
        if column.spec.name() == "[applied]" {
            return match column.slice.map(|slice| slice.as_slice()) {
                Some([0]) => Ok(Applied::No),
                Some([_]) => Ok(Applied::Yes),
                _ => Err("the column [applied] is no boolean".into()),
            };
        }
    }
    Err("the answer to a conditional write lacks the column [applied]".into())
}
