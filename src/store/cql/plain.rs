//! The lightest conditional write that there is: one column and a version, in a table of its own, `IF version = ?`. A benchmark compares
//! the store's writes with it. No other part of the program makes this table.

use super::statement_fault::{described, fault_of};
use super::statements::prepare;
use super::{CqlOptions, applied, schema};
use crate::store::{Applied, EntityKey, StoreFault};
use scylla::client::session::Session;
use scylla::statement::prepared::PreparedStatement;
use std::time::Duration;

/// A table of names with their versions, and the update of one of them.
pub struct CqlPlain {
    session: Session,
    keyspace: String,
    insert: PreparedStatement,
    update: PreparedStatement,
}

impl CqlPlain {
    /// The name of the table.
    pub const TABLE: &str = "plain";

    /// Connects to the database, and creates the table if it is missing.
    ///
    /// # Errors
    /// Returns a fault as [`CqlStore::connect`](super::CqlStore::connect) does, or if the user may not create the table.
    pub async fn set_up(options: &CqlOptions) -> Result<Self, StoreFault> {
        let session = options.open_unwatched("connect").await?;
        let table = format!("{}.{}", options.keyspace, Self::TABLE);
        let columns = "(entity_type text, ref_id uuid, name text, version bigint, PRIMARY KEY ((entity_type, ref_id)))";
        schema::run(&session, format!("CREATE TABLE IF NOT EXISTS {table} {columns}")).await?;
        let prepare = async |text: String| prepare(&session, &options.keyspace, text).await;
        let key = "entity_type = ? AND ref_id = ?";
        let insert = prepare(format!("INSERT INTO {table} (name, version, entity_type, ref_id) VALUES (?, ?, ?, ?)")).await?;
        let update = prepare(format!("UPDATE {table} SET name = ?, version = ? WHERE {key} IF version = ?")).await?;
        Ok(Self { session, keyspace: options.keyspace.clone(), insert, update })
    }

    /// Returns the name of the keyspace.
    pub fn keyspace(&self) -> &str {
        &self.keyspace
    }

    /// Writes a name with version 1, without a condition.
    ///
    /// # Errors
    /// Returns a fault if the write did not come to an end.
    pub async fn insert(&self, key: EntityKey, name: &str) -> Result<(), StoreFault> {
        let values = (name, 1_i64, key.entity_type.name(), key.ref_id);
        self.session.execute_unpaged(&self.insert, values).await.map(drop).map_err(fault_of("fill"))
    }

    /// Writes a name if the version is still the one before `version`.
    ///
    /// # Errors
    /// Returns a fault if the write did not come to an end.
    pub async fn update(&self, key: EntityKey, name: &str, version: i64) -> Result<Applied, StoreFault> {
        let values = (name, version, key.entity_type.name(), key.ref_id, version - 1);
        let result = self.session.execute_unpaged(&self.update, values).await.map_err(fault_of("plain"))?;
        applied(result).map_err(described).map_err(fault_of("plain"))
    }

    /// Has the database write what it holds of a table in memory to its files this often, or, with `None`, when it likes.
    ///
    /// # Errors
    /// Returns a fault if the user may not change the table.
    pub async fn flush_each(&self, table: &str, period: Option<Duration>) -> Result<(), StoreFault> {
        let (keyspace, millis) = (&self.keyspace, period.map_or(0, |period| period.as_millis()));
        schema::run(&self.session, format!("ALTER TABLE {keyspace}.{table} WITH memtable_flush_period_in_ms = {millis}")).await
    }
}
