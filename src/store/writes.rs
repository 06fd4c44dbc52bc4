//! The conditional writes: what each one stores, and under which conditions.

use super::columns::Columns;
use super::rows::{Claim, EntityKey, EntityStatics, IdKey, LogRow};
use crate::domain::Timestamp;
use std::time::Duration;

/// The most rows that one write may have. A write is one Paxos proposal, which every replica holds in memory, and a batch of as many
/// statements as there are rows, each with its conditions to check. Beyond a hundred rows, a larger write is hardly cheaper for each row.
/// But for a hot key the store is idle between one write and the next, and larger writes leave fewer gaps. (The servers' limit on batches,
/// `batch_size_fail_threshold`, and the warning below it are about batches over several partitions only.)
pub const MAX_ROWS: usize = 512;

/// A write that claims an external id, `IF generation = expected_generation`; with `unrefused`, also `AND refused = null`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimWrite {
    /// The id.
    pub id: IdKey,
    /// The generation of the claim that was read; `None` if there was none.
    pub expected_generation: Option<i64>,
    /// Whether the write is applied only if no refusal under the id is remembered.
    pub unrefused: bool,
    /// The new claim. Its `refused` is not written: a refusal stays as it is.
    pub claim: Claim,
}

/// New statics, and the columns that they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewStatics {
    /// All the values that the statics have afterwards.
    pub values: EntityStatics,
    /// The columns in which the statics differ from those that the write replaces. The others hold what `values` says already, so a store
    /// may leave them alone.
    pub changes: Columns,
}

impl NewStatics {
    /// Returns `after` as the successor of `before`, or as the first statics of an entity if that is `None`.
    pub fn after(before: Option<&EntityStatics>, after: EntityStatics) -> Self {
        Self { changes: Columns::between(before, &after), values: after }
    }
}

/// Makes a write of all columns, for a caller that does not know which statics it replaces.
impl From<EntityStatics> for NewStatics {
    fn from(values: EntityStatics) -> Self {
        Self { values, changes: Columns::ALL }
    }
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
    /// not), one of them is that of [`FIRST_ROW`](super::FIRST_ROW), on which reads rely.
    pub rows: Vec<LogRow>,
}

impl ApplyWrite {
    /// Returns the write that stores what was decided about an entity that was seen as `seen`.
    pub fn about(seen: &EntityStatics, after: Option<EntityStatics>, rows: Vec<LogRow>) -> Self {
        let after = after.map(|after| NewStatics::after(Some(seen), after));
        Self { key: seen.key(), expected_version: Some(seen.entity.version), after, rows }
    }
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

/// A write that lets an outcome live on, provided that its blob is still the one that was read (`IF outcome =`).
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::entity::{Entity, EntityType};
    use crate::domain::values::ExternalId;
    use uuid::Uuid;

    #[test]
    fn the_first_statics_have_the_columns_that_hold_something() {
        let entity = Entity::new(EntityType::Customer, Uuid::nil(), ExternalId::parse("c").unwrap());
        let statics = EntityStatics { entity, epoch: 1, generation: 1 };
        let first = NewStatics::after(None, statics).changes;
        let absent = [Columns::CUSTOM_NAME, Columns::SEGMENT, Columns::SEGMENT_VALID_FROM, Columns::PARENT];
        assert!(absent.into_iter().all(|column| !first.contains(column)));
        assert!(
            [Columns::EXTERNAL_ID, Columns::EPOCH, Columns::GENERATION, Columns::VERSION, Columns::STATE]
                .into_iter()
                .all(|column| first.contains(column))
        );
    }
}
