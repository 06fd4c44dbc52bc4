//! Rewriting of an outcome. The row's other column keeps its value and its TTL. The new outcome gets the TTL that the old one has left.
//! That is read just before the write, so the row may live longer by the time between the two. If a no-op with a former name is held (see
//! `HoldWrite`) between the two, it expires all the same, because no condition of a write tells how long a cell lives.

use super::CqlStore;
use super::attempt::ask;
use super::rows::{self, Values};
use super::statement_fault::{StatementFault, described, fault_of};
use super::statements::Redacting;
use crate::store::erasable::{ErasableStore, Redaction};
use crate::store::{Applied, EntityKey, StoreFault};
use scylla::value::CqlValue;
use std::pin::pin;
use std::time::Duration;

impl CqlStore {
    /// Returns the values to bind to the statement `redact`, or `None` if there is no such row.
    async fn redaction_values(&self, redacting: &Redacting, redaction: Redaction) -> Result<Option<Values>, StatementFault> {
        let Redaction { key, request_id, expected_outcome, outcome } = redaction;
        let mut row = rows::entity_key_values(key).to_vec();
        row.push(rows::set(CqlValue::Text(request_id)));
        let left = ask(&self.nodes, pin!(self.session.execute_unpaged(&redacting.time_left, &row))).await?;
        let left = left.into_rows_result().map_err(described)?.maybe_first_row::<(Option<i32>,)>().map_err(described)?;
        let Some((seconds,)) = left else { return Ok(None) };
        // An outcome with less than a second left gets one second, because 0 would mean for ever.
        let ttl = seconds.map(|seconds| Duration::from_secs(seconds.try_into().unwrap_or(0)));
        let mut values = vec![rows::set(rows::ttl_value(ttl)), rows::set(CqlValue::Blob(outcome))];
        values.append(&mut row);
        values.push(rows::set(CqlValue::Blob(expected_outcome)));
        Ok(Some(values))
    }
}

impl ErasableStore for CqlStore {
    async fn log(&self, key: EntityKey) -> Result<Vec<(String, Vec<u8>)>, StoreFault> {
        let entries = self.select_log(key).await.map_err(fault_of("log"))?;
        Ok(entries.into_iter().filter_map(|entry| entry.request_id.zip(entry.outcome)).collect())
    }

    async fn redact(&self, redaction: Redaction) -> Result<Applied, StoreFault> {
        let redacting = self.redacting.get_or_try_init(|| Redacting::prepare(&self.session, &self.keyspace)).await?;
        let fault = fault_of("redact");
        match self.redaction_values(redacting, redaction).await.map_err(&fault)? {
            Some(values) => self.decide(vec![(&redacting.redact, values)]).await.map_err(fault),
            None => Ok(Applied::No),
        }
    }
}
