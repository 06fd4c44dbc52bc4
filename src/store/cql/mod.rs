//! The store for production: ScyllaDB or Cassandra, by lightweight transactions (LWT). Every write is one conditional statement, or one
//! conditional batch within a partition, which Paxos decides among the replicas.
//!
//! A write of several rows is a batch of the same prepared statements that write single rows, so that no statement depends on the number
//! of rows. Each partition has a row with request id '' (see `store::FIRST_ROW`), so that one select by full key returns statics and rows
//! of one instant. A write that fails is not repeated here: it may have happened, and the claim protocol finds out. No request waits for
//! a node that answers none: `nodes` judges the nodes, `watch` looks at them and probes them, `attempt` routes requests and gives them
//! up.

mod attempt;
mod fill;
mod nodes;
mod options;
mod plain;
mod redact;
mod rows;
mod schema;
mod statement_fault;
mod statements;
mod statics;
mod topology;
mod watch;

pub use fill::CqlFill;
pub use options::{CqlOptions, TlsOptions, is_keyspace_name};
pub use plain::CqlPlain;

use super::scan::{Position, Scan, Scanned};
use super::topology::Topology;
use super::{
    Applied, ApplyWrite, ClaimWrite, ConditionalStore, Consistency, EntityKey, EntityRead, FIRST_ROW, Held, HistoryRow,
    HoldWrite, IdKey, IdRead, LogRow, NodeState, RefuseWrite, StoreFault, StoreNode, assert_requests, assert_rows,
};
use attempt::ask;
use futures::{StreamExt, TryStreamExt};
use nodes::Nodes;
use rows::{EntityPartition, EntityRow, IdRow, LogEntry, Values};
use scylla::client::session::Session;
use scylla::deserialize::row::ColumnIterator;
use scylla::response::query_result::{QueryResult, QueryRowsResult};
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlValue;
use statement_fault::{StatementFault, described, fault_of};
use statements::{PreparedRead, Redacting, Statements};
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::OnceCell;
use watch::Watching;

/// A [`ConditionalStore`] in a keyspace of ScyllaDB 2025.4 or later, or of Cassandra 5.
pub struct CqlStore {
    session: Arc<Session>,
    nodes: Arc<Nodes>,
    /// The task that watches the nodes; it ends when the store is dropped.
    _watching: Watching,
    statements: Statements,
    /// The statements of `redact`, prepared when they are needed, because `run` never redacts.
    redacting: OnceCell<Redacting>,
    keyspace: String,
}

impl CqlStore {
    /// Connects to the database and prepares all statements.
    ///
    /// # Errors
    /// Returns a fault if no contact point can be reached, the database refuses the login, or the keyspace or a table is missing.
    pub async fn connect(options: &CqlOptions) -> Result<Self, StoreFault> {
        let nodes = Arc::new(Nodes::new(Instant::now()));
        let session = Arc::new(options.open_session("connect", &nodes).await?);
        let statements = Statements::prepare(&session, options).await?;
        let watching = watch::watch(session.clone(), nodes.clone());
        let keyspace = options.keyspace.clone();
        Ok(Self { session, nodes, _watching: watching, statements, redacting: OnceCell::new(), keyspace })
    }

    /// Creates the keyspace and the tables that are missing, and waits until the nodes agree on the schema.
    ///
    /// # Errors
    /// Returns a fault if the database can't be reached or refuses the login, or the user may not create them.
    pub async fn setup(options: &CqlOptions) -> Result<(), StoreFault> {
        schema::create(&options.open_unwatched("setup").await?, options).await
    }

    /// Drops the keyspace with everything in it.
    ///
    /// # Errors
    /// Returns a fault if the database can't be reached or refuses the login, or the user may not drop the keyspace.
    pub async fn tear_down(options: &CqlOptions) -> Result<(), StoreFault> {
        schema::drop_keyspace(&options.open_unwatched("tear_down").await?, options).await
    }

    /// Returns a stream of all entities whose partitions have the token `from` or a later one, in the order of tokens.
    ///
    /// # Errors
    /// Returns a fault if the scan can't begin.
    pub async fn scan(&self, from: i64) -> Result<Scan, StoreFault> {
        let statement = statements::prepare_scan(&self.session, &self.keyspace).await?;
        let fault = fault_of("scan");
        let pages = self.session.execute_iter(statement, (from,)).await.map_err(|e| fault(described(e)))?;
        let partitions = pages.rows_stream::<EntityPartition>().map_err(|e| fault(described(e)))?;
        // This statement binds exactly a partition's key, so it can calculate the token of one.
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

    /// Asks the database for its nodes, its data centres and the keyspace's replication. The keyspace may be missing.
    ///
    /// # Errors
    /// Returns a fault if no contact point can be reached, the database refuses the login, or has no data centre of the configured name.
    pub async fn topology(options: &CqlOptions) -> Result<Topology, StoreFault> {
        Ok(topology::ask(&options.open_unwatched("connect").await?, &options.keyspace).await)
    }

    /// Returns what this store's own session knows of nodes, data centres and the keyspace's replication, without asking the database.
    /// The session knows nothing of commit logs.
    pub fn seen(&self) -> Topology {
        topology::seen(&self.session, &self.keyspace)
    }

    /// Returns the nodes that the driver knows of, with the state of each.
    pub fn nodes(&self) -> Vec<StoreNode> {
        let state = |id, connected: bool| match self.nodes.get(id) {
            Some(node) if node.is_silent() => NodeState::Silent,
            _ if !connected => NodeState::Unconnected,
            _ => NodeState::Answering,
        };
        let present = watch::present(&self.session).into_iter();
        present.map(|(id, address, connected)| StoreNode { address, state: state(id, connected) }).collect()
    }

    async fn select(
        &self,
        read: &PreparedRead,
        consistency: Consistency,
        values: Values,
    ) -> Result<QueryRowsResult, StatementFault> {
        let statement = match consistency {
            Consistency::Quorum => &read.quorum,
            Consistency::Serial => &read.serial,
        };
        let result = ask(&self.nodes, pin!(self.session.execute_unpaged(statement, values))).await?;
        Ok(result.into_rows_result().map_err(described)?)
    }

    async fn select_id(&self, id: &IdKey, requests: &[&str], consistency: Consistency) -> Result<IdRead, StatementFault> {
        let mut values = rows::id_values(id).to_vec();
        values.push(rows::set(rows_to_read(requests)));
        let result = self.select(&self.statements.read_id, consistency, values).await?;
        let mut read = IdRead::default();
        for row in result.rows::<IdRow>().map_err(described)? {
            let mut row = row.map_err(described)?;
            if read.claim.is_none() {
                read.claim = row.take_claim()?;
            }
            read.outcomes.extend(row.take_outcome());
        }
        Ok(read)
    }

    async fn select_entity(
        &self,
        key: EntityKey,
        requests: &[&str],
        consistency: Consistency,
    ) -> Result<EntityRead, StatementFault> {
        let mut values = rows::entity_key_values(key).to_vec();
        values.push(rows::set(rows_to_read(requests)));
        let result = self.select(&self.statements.read_entity, consistency, values).await?;
        let mut read = EntityRead::default();
        for row in result.rows::<EntityRow>().map_err(described)? {
            let mut row = row.map_err(described)?;
            if read.statics.is_none() {
                read.statics = row.statics(key)?;
            }
            read.outcomes.extend(row.take_outcome(requests));
        }
        Ok(read)
    }

    async fn select_log(&self, key: EntityKey) -> Result<Vec<LogEntry>, String> {
        let pages = self.session.execute_iter(self.statements.log.clone(), rows::entity_key_values(key).to_vec());
        pages.await.map_err(described)?.rows_stream::<LogEntry>().map_err(described)?.try_collect().await.map_err(described)
    }

    /// Runs conditional writes to one partition. Either all of them happen, or none.
    async fn decide(&self, mut writes: Vec<(&PreparedStatement, Values)>) -> Result<Applied, StatementFault> {
        let result = if writes.len() == 1 {
            let (statement, values) = writes.remove(0);
            ask(&self.nodes, pin!(self.session.execute_unpaged(statement, values))).await?
        } else {
            // The batch is unlogged: it is one Paxos round in one partition, so a batch log would have nothing to repair.
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

    fn apply_writes(
        &self,
        ApplyWrite { key, expected_version, after, mut rows }: ApplyWrite,
    ) -> Vec<(&PreparedStatement, Values)> {
        let Statements { change, statics, row, more, .. } = &self.statements;
        let mut writes = Vec::with_capacity(rows.len() + 1);
        if let Some(after) = after {
            let mut values = rows::statics_values(&after);
            // The statics are written together with a row without TTL: the TTL of a statement would apply to them, too.
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
            values.push(rows::set(rows::ttl_value(log_row.ttl)));
            rows::extend_by_row(&mut values, key, log_row);
            writes.push((if writes.is_empty() { row } else { more }, values));
        }
        // The first statement's condition on the version stands for all, because they happen together or not at all.
        if let Some((_, values)) = writes.first_mut() {
            values.push(rows::number(expected_version));
        }
        writes
    }

    fn refuse_writes(
        &self,
        RefuseWrite { id, expected_generation, refused, rows }: RefuseWrite,
    ) -> Vec<(&PreparedStatement, Values)> {
        let row_write = |row: LogRow| {
            let mut values = vec![
                rows::set(rows::ttl_value(row.ttl)),
                rows::set(rows::timestamp(refused)),
                rows::set(CqlValue::Blob(row.outcome)),
            ];
            values.extend(rows::id_values(&id));
            values.push(rows::set(CqlValue::Text(row.request_id)));
            values.push(rows::number(expected_generation));
            (&self.statements.refuse, values)
        };
        rows.into_iter().map(row_write).collect()
    }

    fn hold_write(&self, HoldWrite { held, request_id, outcome }: HoldWrite) -> (&PreparedStatement, Values) {
        let (statement, mut values) = match &held {
            Held::ForEver(_) => (&self.statements.hold, Vec::with_capacity(5)),
            Held::Anew { refused, ttl, .. } => (
                &self.statements.hold_refusal,
                vec![rows::set(rows::ttl_value(Some(*ttl))), rows::set(rows::timestamp(*refused))],
            ),
        };
        values.push(rows::set(CqlValue::Blob(outcome.clone())));
        values.extend(match &held {
            Held::ForEver(key) => rows::entity_key_values(*key),
            Held::Anew { id, .. } => rows::id_values(id),
        });
        values.push(rows::set(CqlValue::Text(request_id)));
        values.push(rows::set(CqlValue::Blob(outcome)));
        (statement, values)
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
        let values = rows::claim_values(&write.id, write.claim, write.expected_generation);
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

    async fn hold(&self, write: HoldWrite) -> Result<Applied, StoreFault> {
        self.decide(vec![self.hold_write(write)]).await.map_err(fault_of("hold"))
    }

    async fn history(&self, key: EntityKey) -> Result<Vec<HistoryRow>, StoreFault> {
        let entries = self.select_log(key).await.map_err(fault_of("history"))?;
        let mut history: Vec<_> = entries.into_iter().filter_map(LogEntry::into_change).collect();
        history.sort_by_key(|row| row.changed_to);
        Ok(history)
    }

    /// Reads a partition that isn't there by a serial read, which needs the same replicas as the decision about a condition. A store that
    /// can be read, but can't decide conditions, does not answer it.
    async fn ping(&self) -> Result<(), StoreFault> {
        let result = ask(&self.nodes, pin!(self.session.execute_unpaged(&self.statements.ping, ("ping", "")))).await;
        result.map(drop).map_err(fault_of("ping"))
    }
}

/// Returns the rows to select: those of the requests, and the first row, which always exists, so that the statics come with it.
fn rows_to_read(requests: &[&str]) -> CqlValue {
    let first = if requests.contains(&FIRST_ROW) { None } else { Some(FIRST_ROW) };
    CqlValue::List(first.into_iter().chain(requests.iter().copied()).map(rows::text).collect())
}

/// Reads whether a conditional write was applied. The column `[applied]` comes alone, or among the columns of the row or rows on which
/// the conditions were checked, and has the same value in each row.
fn applied(result: QueryResult) -> Result<Applied, String> {
    let rows = result.into_rows_result().map_err(described)?;
    for column in rows.first_row::<ColumnIterator>().map_err(described)? {
        let column = column.map_err(described)?;
        if column.spec.name() == "[applied]" {
            return match column.slice.map(|slice| slice.as_slice()) {
                Some([0]) => Ok(Applied::No),
                Some([_]) => Ok(Applied::Yes),
                _ => Err("the column [applied] is not a boolean".into()),
            };
        }
    }
    Err("the answer to a conditional write lacks the column [applied]".into())
}
