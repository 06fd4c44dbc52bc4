//! The command line's view of an entity: its current values and the log of its changes. Nothing here changes an entity. But whoever
//! resolves an external id may have to hold an outcome (see `claims::retention`), and so does this.

use crate::domain::Timestamp;
use crate::domain::answer::Answer;
use crate::domain::entity::EntityType;
use crate::domain::reference::Reference;
use crate::domain::transaction::Change;
use crate::domain::use_case::UseCase;
use crate::domain::values::{Actor, RequestId};
use crate::store::claims::Claims;
use crate::store::claims::standing::Standing;
use crate::store::outcome::{ImportOutcome, Outcome};
use crate::store::{ConditionalStore, Consistency, EntityKey, EntityStatics, FIRST_ROW, HistoryRow, IdKey, StoreFault};

/// One change of an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The version that the change led to.
    pub version: i64,
    /// When the change was decided.
    pub occurred_at: Timestamp,
    /// The use case of the change.
    pub use_case: UseCase,
    /// The request that asked for the change.
    pub request_id: RequestId,
    /// Who asked for the change; `None` if the record did not say so.
    pub actor: Option<Actor>,
    /// The values that changed.
    pub changes: Vec<Change>,
}

impl<S: ConditionalStore> Claims<S> {
    /// Returns the entity behind a reference and its changes, oldest first. Returns `None` if there is no such entity. An id that is
    /// claimed by an unfinished rename does not resolve yet.
    ///
    /// # Errors
    /// Returns a fault if the store can't be read.
    pub async fn show(
        &self,
        entity_type: EntityType,
        reference: &Reference,
    ) -> Result<Option<(EntityStatics, Vec<HistoryEntry>)>, StoreFault> {
        let Some(statics) = self.present(entity_type, reference).await? else { return Ok(None) };
        let history = self.changes(statics.key()).await?;
        Ok(Some((statics, history)))
    }

    /// Returns the changes of an entity, oldest first.
    ///
    /// # Errors
    /// Returns a fault if the store can't be read.
    pub async fn changes(&self, key: EntityKey) -> Result<Vec<HistoryEntry>, StoreFault> {
        self.base.store.history(key).await?.iter().map(entry).collect()
    }

    /// Returns the entity behind a reference, or `None` like [`Claims::show`].
    ///
    /// # Errors
    /// Returns a fault if the store can't be read.
    pub async fn present(&self, entity_type: EntityType, reference: &Reference) -> Result<Option<EntityStatics>, StoreFault> {
        match reference {
            Reference::RefId(ref_id) => {
                let key = EntityKey { entity_type, ref_id: *ref_id };
                Ok(self.base.store.read_entity(key, &[], Consistency::Serial).await?.statics)
            }
            Reference::ExternalId(external_id) => self.holder(&IdKey { entity_type, external_id: external_id.clone() }).await,
        }
    }

    /// Returns when the entity was imported or created, under which external id and by whom; `None` if there is no such entity.
    ///
    /// # Errors
    /// Returns a fault if the store can't be read.
    pub async fn imported(&self, key: EntityKey) -> Result<Option<ImportOutcome>, StoreFault> {
        let row = self.base.store.read_entity(key, &[FIRST_ROW], Consistency::Serial).await?.outcomes.pop();
        row.map(|row| ImportOutcome::decode(&row.outcome)).transpose()
    }

    async fn holder(&self, id: &IdKey) -> Result<Option<EntityStatics>, StoreFault> {
        let Some(claim) = self.base.store.read_id(id, &[], Consistency::Serial).await?.claim else { return Ok(None) };
        Ok(match self.resolver().standing(id, &claim, &[], Consistency::Serial).await?.0 {
            Standing::Current(holder) => Some(holder),
            Standing::Pending(_) | Standing::Stale { .. } => None,
        })
    }
}

fn entry(row: &HistoryRow) -> Result<HistoryEntry, StoreFault> {
    match Outcome::decode(&row.request_id, &row.outcome)?.answer {
        Answer::Changed(t) => Ok(HistoryEntry {
            version: row.changed_to,
            occurred_at: t.occurred_at,
            use_case: t.use_case,
            request_id: t.request_id.clone(),
            actor: t.actor.clone(),
            changes: t.changes.clone(),
        }),
        Answer::Unchanged(_) | Answer::Rejected(_) => {
            let cause = format!("the log row of version {} holds no change", row.changed_to);
            Err(StoreFault::new("decode outcome", cause))
        }
    }
}
