//! Filling of new tables: entities are written directly, without Paxos and without a look at what is there. A benchmark, which makes its
//! own keyspace, fills it with many entities before it begins.

use super::CqlOptions;
use super::rows::{self, Values};
use super::statement_fault::fault_of;
use super::statements::prepare;
use super::statics::{CLAIM, ENTITY};
use crate::store::{
    Applied, ApplyWrite, ClaimWrite, ConditionalStore, Consistency, EntityKey, EntityRead, HistoryRow, HoldWrite, IdKey, IdRead,
    RefuseWrite, StoreFault,
};
use scylla::client::session::Session;
use scylla::statement::prepared::PreparedStatement;

/// A store for filling tables that are empty and that nobody else writes to. If each entity is imported once, an import into it stores
/// the same as an import into a [`CqlStore`](super::CqlStore).
pub struct CqlFill {
    session: Session,
    claim: PreparedStatement,
    create: PreparedStatement,
}

impl CqlFill {
    /// Connects to the database.
    ///
    /// # Errors
    /// Returns a fault as [`CqlStore::connect`](super::CqlStore::connect) does.
    pub async fn connect(options: &CqlOptions) -> Result<Self, StoreFault> {
        let session = options.open_unwatched("connect").await?;
        let keyspace = &options.keyspace;
        let prepare = async |text: String| prepare(&session, keyspace, text).await;
        let claim = prepare(format!(
            "INSERT INTO {keyspace}.external_id ({}, entity_type, external_id, request_id, outcome) VALUES ({}, ?, ?, '', 0x)",
            CLAIM.names(),
            CLAIM.marks()
        ))
        .await?;
        let create = prepare(format!(
            "INSERT INTO {keyspace}.entity ({}, changed_to, outcome, entity_type, ref_id, request_id) VALUES ({}, ?, ?, ?, ?, ?)",
            ENTITY.names(),
            ENTITY.marks()
        ))
        .await?;
        Ok(Self { session, claim, create })
    }

    async fn insert(&self, statement: &PreparedStatement, values: Values) -> Result<Applied, StoreFault> {
        let inserted = self.session.execute_unpaged(statement, values).await;
        inserted.map(|_| Applied::Yes).map_err(fault_of("fill"))
    }
}

impl ConditionalStore for CqlFill {
    async fn read_id(&self, _id: &IdKey, _requests: &[&str], _consistency: Consistency) -> Result<IdRead, StoreFault> {
        Ok(IdRead::default())
    }

    async fn read_entity(&self, _: EntityKey, _requests: &[&str], _: Consistency) -> Result<EntityRead, StoreFault> {
        Ok(EntityRead::default())
    }

    async fn claim(&self, write: ClaimWrite) -> Result<Applied, StoreFault> {
        let mut values = rows::claim_values(&write.id, write.claim, write.expected_generation);
        // The last value is that of the condition, which this statement does not have.
        values.pop();
        self.insert(&self.claim, values).await
    }

    async fn apply(&self, ApplyWrite { key, after, rows, .. }: ApplyWrite) -> Result<Applied, StoreFault> {
        let (Some(after), Ok([row])) = (after, <[_; 1]>::try_from(rows)) else { return Err(not_a_fill()) };
        let mut values = rows::statics_values(&after);
        rows::extend_by_row(&mut values, key, row);
        self.insert(&self.create, values).await
    }

    async fn refuse(&self, _write: RefuseWrite) -> Result<Applied, StoreFault> {
        Err(not_a_fill())
    }

    async fn hold(&self, _write: HoldWrite) -> Result<Applied, StoreFault> {
        Err(not_a_fill())
    }

    async fn history(&self, _key: EntityKey) -> Result<Vec<HistoryRow>, StoreFault> {
        Ok(Vec::new())
    }

    async fn ping(&self) -> Result<(), StoreFault> {
        Ok(())
    }
}

fn not_a_fill() -> StoreFault {
    StoreFault::new("fill", "only imports of entities can be written here")
}
