//! The keyspace and its two tables. Creating them is safe to repeat: nothing that exists is changed, but tables of an earlier release get
//! the columns that they lack.

use super::CqlOptions;
use super::statement_fault::fault_of;
use super::statics::{CLAIM, ENTITY};
use crate::store::StoreFault;
use scylla::client::session::Session;
use scylla::serialize::row::SerializeRow;
use scylla::statement::unprepared::Statement;
use std::time::Duration;

/// Returns the table of the claims on external ids. A claim is replaced, never deleted. The row with request id '' comes with the first
/// claim. The other rows are requests that found no entity under the id; they expire.
fn external_id() -> String {
    format!(
        "external_id (
            entity_type text, external_id text,
            {}, refused timestamp static,
            request_id text, outcome blob,
            PRIMARY KEY ((entity_type, external_id), request_id))",
        CLAIM.definitions()
    )
}

/// Returns the table of the current values of entities, and of the log of the requests that were decided about each. The row with request
/// id '' says how the entity came into being.
fn entity() -> String {
    format!(
        "entity (
            entity_type text, ref_id uuid,
            {},
            request_id text, changed_to bigint, outcome blob,
            PRIMARY KEY ((entity_type, ref_id), request_id))",
        ENTITY.definitions()
    )
}

/// How many columns of [`ENTITY`] the table had in the first release.
const OF_THE_FIRST_RELEASE: usize = 9;

/// How long a change of the schema may take. It must reach all nodes, so it may take longer than `request_timeout`.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn create(session: &Session, options: &CqlOptions) -> Result<(), StoreFault> {
    let keyspace = &options.keyspace;
    // Even if the keyspace exists, CREATE KEYSPACE IF NOT EXISTS needs the right to create keyspaces.
    if !exists(session, keyspace).await? {
        run(session, format!("CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {}", replication(options))).await?;
    }
    for table in [external_id(), entity()] {
        run(session, format!("CREATE TABLE IF NOT EXISTS {keyspace}.{table}")).await?;
    }
    add_columns(session, keyspace).await?;
    session.await_schema_agreement().await.map_err(|cause| fault(format!("the nodes don't agree on the schema: {cause}")))?;
    Ok(())
}

/// Adds the columns that a table of an earlier release lacks.
async fn add_columns(session: &Session, keyspace: &str) -> Result<(), StoreFault> {
    for (column, kind) in ENTITY.0.into_iter().skip(OF_THE_FIRST_RELEASE) {
        if has_column(session, keyspace, column).await? {
            continue;
        }
        // ScyllaDB has no ADD IF NOT EXISTS.
        let added = run(session, format!("ALTER TABLE {keyspace}.entity ADD {column} {kind} static")).await;
        // Another `setup` may have added it meanwhile.
        if added.is_err() && !has_column(session, keyspace, column).await? {
            return added;
        }
    }
    Ok(())
}

async fn has_column(session: &Session, keyspace: &str, column: &str) -> Result<bool, StoreFault> {
    let select =
        "SELECT column_name FROM system_schema.columns WHERE keyspace_name = ? AND table_name = 'entity' AND column_name = ?";
    any(session, select, (keyspace, column)).await
}

pub(super) async fn drop_keyspace(session: &Session, options: &CqlOptions) -> Result<(), StoreFault> {
    run(session, format!("DROP KEYSPACE IF EXISTS {}", options.keyspace)).await
}

async fn exists(session: &Session, keyspace: &str) -> Result<bool, StoreFault> {
    any(session, "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?", (keyspace,)).await
}

/// Returns whether a select from one of the schema's tables finds a row.
async fn any(session: &Session, select: &str, values: impl SerializeRow) -> Result<bool, StoreFault> {
    let mut select = Statement::new(select);
    // Each node has its own copy of these tables, so a quorum would mean nothing.
    select.set_consistency(scylla::statement::Consistency::One);
    let rows = session.query_unpaged(select, values).await.map_err(|e| fault(e.to_string()))?;
    Ok(rows.into_rows_result().map_err(|e| fault(e.to_string()))?.rows_num() > 0)
}

/// Runs a statement that changes the schema.
pub(super) async fn run(session: &Session, statement: String) -> Result<(), StoreFault> {
    let first_words = statement.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    let mut statement = Statement::new(statement);
    statement.set_request_timeout(Some(PATIENCE));
    session.query_unpaged(statement, ()).await.map(drop).map_err(|cause| fault(format!("{first_words}: {cause}")))
}

/// Returns the replication options in CQL: `{'class': 'NetworkTopologyStrategy', 'replication_factor': '3'}`.
fn replication(options: &CqlOptions) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let entries: Vec<_> = options.replication.iter().map(|(key, value)| format!("{}: {}", quoted(key), quoted(value))).collect();
    format!("{{{}}}", entries.join(", "))
}

fn fault(cause: String) -> StoreFault {
    fault_of("setup")(cause)
}
