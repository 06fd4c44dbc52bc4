//! The statements, which are prepared once for each session. Each binds the whole partition key, so that the driver can send it to a
//! replica. With a literal in the key the driver could not.

use super::CqlOptions;
use super::statement_fault::fault_of;
use super::statics::{CLAIM, ENTITY};
use crate::store::{Remedy, StoreFault};
use scylla::client::session::Session;
use scylla::errors::{DbError, PrepareError, RequestAttemptError};
use scylla::policies::retry::DefaultRetryPolicy;
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;
use std::sync::Arc;

/// The rows of a log, or the partitions of a scan, that are fetched at a time.
const PAGE_ROWS: i32 = 500;

/// A read, prepared for both consistencies.
pub(super) struct PreparedRead {
    pub(super) quorum: PreparedStatement,
    pub(super) serial: PreparedStatement,
}

/// All statements. Values are bound in the order of the question marks.
pub(super) struct Statements {
    pub(super) read_id: PreparedRead,
    pub(super) read_entity: PreparedRead,
    pub(super) log: PreparedStatement,
    pub(super) ping: PreparedStatement,
    pub(super) claim: PreparedStatement,
    pub(super) claim_unrefused: PreparedStatement,
    pub(super) refuse: PreparedStatement,
    /// Writes the outcome of a row once more, without TTL. The row has no other value to write: a row with a TTL has led to no version.
    pub(super) hold: PreparedStatement,
    /// Writes the outcome of a refusal once more, with a TTL that begins anew.
    pub(super) hold_refusal: PreparedStatement,
    /// Writes new statics and a row without TTL.
    pub(super) change: PreparedStatement,
    /// Writes new statics alone.
    pub(super) statics: PreparedStatement,
    /// Writes a row alone. With TTL 0 the row never expires.
    pub(super) row: PreparedStatement,
    /// Writes a further row of a batch, in which the first statement has the condition on the version.
    pub(super) more: PreparedStatement,
}

impl Statements {
    pub(super) async fn prepare(session: &Session, options: &CqlOptions) -> Result<Self, StoreFault> {
        let keyspace = &options.keyspace;
        let id = "entity_type = ? AND external_id = ?";
        let entity = "entity_type = ? AND ref_id = ?";
        let values = ENTITY.set();
        let row =
            format!("UPDATE {keyspace}.entity USING TTL ? SET changed_to = ?, outcome = ? WHERE {entity} AND request_id = ?");
        let serial = options.serial_consistency.of_reads();
        let prepare = async |text: String| prepare(session, keyspace, text).await;
        let mut log =
            read(prepare(format!("SELECT request_id, changed_to, outcome FROM {keyspace}.entity WHERE {entity}")).await?);
        log.set_page_size(PAGE_ROWS);
        // The empty outcome creates the row ''. Without that row later reads would miss the statics.
        let claim = format!(
            "UPDATE {keyspace}.external_id SET {}, outcome = 0x WHERE {id} AND request_id = '' IF generation = ?",
            CLAIM.set()
        );
        Ok(Self {
            read_id: PreparedRead::new(
                prepare(format!(
                    "SELECT {}, refused, request_id, outcome, TTL(outcome) AS time_left FROM {keyspace}.external_id \
                     WHERE {id} AND request_id IN ?",
                    CLAIM.names()
                ))
                .await?,
                serial,
            ),
            read_entity: PreparedRead::new(
                prepare(format!(
                    "SELECT {}, request_id, outcome, TTL(outcome) AS time_left FROM {keyspace}.entity \
                     WHERE {entity} AND request_id IN ?",
                    ENTITY.names()
                ))
                .await?,
                serial,
            ),
            log,
            ping: PreparedRead::new(
                prepare(format!("SELECT generation FROM {keyspace}.external_id WHERE {id} LIMIT 1")).await?,
                serial,
            )
            .serial,
            claim: prepare(claim.clone()).await?,
            claim_unrefused: prepare(claim + " AND refused = null").await?,
            refuse: prepare(format!(
                "UPDATE {keyspace}.external_id USING TTL ? SET refused = ?, outcome = ? WHERE {id} AND request_id = ? \
                 IF generation = ? AND outcome = null"
            ))
            .await?,
            hold: prepare(format!("UPDATE {keyspace}.entity SET outcome = ? WHERE {entity} AND request_id = ? IF outcome = ?"))
                .await?,
            hold_refusal: prepare(format!(
                "UPDATE {keyspace}.external_id USING TTL ? SET refused = ?, outcome = ? WHERE {id} AND request_id = ? \
                 IF outcome = ?"
            ))
            .await?,
            change: prepare(format!(
                "UPDATE {keyspace}.entity SET {values}, changed_to = ?, outcome = ? WHERE {entity} AND request_id = ? \
                 IF version = ? AND outcome = null"
            ))
            .await?,
            statics: prepare(format!("UPDATE {keyspace}.entity SET {values} WHERE {entity} IF version = ?")).await?,
            row: prepare(format!("{row} IF version = ? AND outcome = null")).await?,
            more: prepare(format!("{row} IF outcome = null")).await?,
        })
    }
}

impl PreparedRead {
    fn new(statement: PreparedStatement, serial_consistency: Consistency) -> Self {
        let quorum = read(statement);
        let mut serial = quorum.clone();
        serial.set_consistency(serial_consistency);
        Self { quorum, serial }
    }
}

/// Prepares the select of all partitions of `entity` from a token on, in the order of their tokens. It is prepared when it is needed,
/// because `run` never scans.
pub(super) async fn prepare_scan(session: &Session, keyspace: &str) -> Result<PreparedStatement, StoreFault> {
    let text = format!(
        "SELECT DISTINCT entity_type, ref_id, {} FROM {keyspace}.entity WHERE token(entity_type, ref_id) >= ?",
        ENTITY.names()
    );
    let mut scan = read(prepare(session, keyspace, text).await?);
    scan.set_page_size(PAGE_ROWS);
    Ok(scan)
}

/// Marks a statement as a read, so that the driver may try it again at another replica. It never does that with a write.
pub(super) fn read(mut statement: PreparedStatement) -> PreparedStatement {
    statement.set_is_idempotent(true);
    statement.set_retry_policy(Some(Arc::new(DefaultRetryPolicy::new())));
    statement
}

pub(super) async fn prepare(session: &Session, keyspace: &str, text: String) -> Result<PreparedStatement, StoreFault> {
    session.prepare(text).await.map_err(|error| {
        let missing = matches!(
            &error,
            PrepareError::AllAttemptsFailed { first_attempt: RequestAttemptError::DbError(DbError::Invalid, _) }
        );
        if !missing {
            return fault_of("prepare")(error.to_string());
        }
        let advice = format!(
            "to create keyspace {keyspace} and its tables, or after an upgrade to add the columns that they lack, run `crm-processor setup`"
        );
        fault_of("prepare")(format!("{error}; {advice}")).with(Remedy::Setup)
    })
}

/// The statements that [`redact`](super::redact) needs.
pub(super) struct Redacting {
    /// Selects the time that a row's outcome has left, in seconds; null means for ever.
    pub time_left: PreparedStatement,
    pub redact: PreparedStatement,
}

impl Redacting {
    /// Prepares the statements.
    pub async fn prepare(session: &Session, keyspace: &str) -> Result<Self, StoreFault> {
        let row = "entity_type = ? AND ref_id = ? AND request_id = ?";
        let time_left = format!("SELECT TTL(outcome) FROM {keyspace}.entity WHERE {row}");
        let redact = format!("UPDATE {keyspace}.entity USING TTL ? SET outcome = ? WHERE {row} IF outcome = ?");
        let time_left = read(prepare(session, keyspace, time_left).await?);
        Ok(Self { time_left, redact: prepare(session, keyspace, redact).await? })
    }
}
