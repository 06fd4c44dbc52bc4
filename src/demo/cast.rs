//! The cast of the demo: a few customers, accounts and subscribers, with refIds that are the same in each show.

use crate::domain::entity::{Entity, EntityType, State};
use crate::domain::values::{ExternalId, SegmentCode};
use crate::telemetry::wording::counted;
use anyhow::anyhow;
use std::fmt::Display;
use uuid::Uuid;

/// The entities that are imported before the show.
pub struct Cast(Vec<Entity>);

impl Cast {
    /// Returns all who play.
    pub fn assemble() -> anyhow::Result<Self> {
        use EntityType::{Account, Customer, Subscriber};
        let mut cast = Self(Vec::new());
        cast.add(Customer, "c-ann", State::Active, None)?;
        cast.add(Customer, "c-bob", State::Suspended, None)?;
        cast.add(Customer, "c-gone", State::Deactivated, None)?;
        for account in ["a-100", "a-200", "a-300", "a-400", "a-500", "a-600"] {
            cast.add(Account, account, State::Active, Some((Customer, "c-ann")))?;
        }
        cast.add(Subscriber, "s-1", State::Active, Some((Account, "a-100")))?;
        Ok(cast)
    }

    /// Returns the entities to import.
    pub fn entities(&self) -> &[Entity] {
        &self.0
    }

    /// Returns the cast in words: `4 customers, 7 accounts, 1 subscriber`.
    pub fn in_words(&self) -> String {
        let count = |t: EntityType| counted(self.0.iter().filter(|e| e.entity_type == t).count(), t.name());
        EntityType::ALL.map(count).join(", ")
    }

    fn add(
        &mut self,
        entity_type: EntityType,
        external_id: &str,
        state: State,
        superior: Option<(EntityType, &str)>,
    ) -> anyhow::Result<()> {
        let segment = (entity_type == EntityType::Customer).then(|| SegmentCode::parse("RESIDENTIAL"));
        self.0.push(Entity {
            entity_type,
            ref_id: ref_id(entity_type, external_id),
            external_id: ExternalId::parse(external_id).map_err(|e| wrong(external_id, &e))?,
            version: 1,
            state,
            custom_name: None,
            segment: segment.transpose().map_err(|e| wrong("the segment", &e))?,
            segment_valid_from: None,
            superior: superior.map(|(superior_type, superior)| ref_id(superior_type, superior)),
            state_reason: None,
            state_valid_from: None,
        });
        Ok(())
    }
}

/// Returns the refId of an entity of the cast, by the external id that it has at first.
pub fn ref_id(entity_type: EntityType, external_id: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("demo:{entity_type}:{external_id}").as_bytes())
}

fn wrong(what: &str, error: &impl Display) -> anyhow::Error {
    anyhow!("{what} is wrong: {error}")
}
