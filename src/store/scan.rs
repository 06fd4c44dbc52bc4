//! Scans, which read all entities of a store for the command line. No command is decided by what a scan reads.
//!
//! A scan makes plain reads. These show only conditional writes that were decided, even if not all replicas have applied them yet. An
//! entity that changes during the scan is read as it was before or after the change. Each entity that existed at the beginning is read.

use super::StoreFault;
use crate::domain::entity::{Entity, EntityType};
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How far a scan has come. A scan that begins here reads the entity at this position once more, and then those behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Position {
    /// The position in a database, which keeps its partitions by token.
    Token(i64),
    /// The position in the embedded store, which keeps entities by type and refId.
    Entity(EntityType, Uuid),
}

/// An entity that was read, and its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// The entity as it was read.
    pub entity: Entity,
    /// The entity's position, which is never before that of the entity read before.
    pub position: Position,
}

/// A scan under way. It ends with the first fault. A new scan can begin at the last position.
pub type Scan = BoxStream<'static, Result<Scanned, StoreFault>>;

impl Position {
    /// Returns which part of the store lies before this position, between 0 and 1. This is an estimate, which takes ids and tokens as
    /// evenly spread.
    #[expect(clippy::cast_precision_loss, reason = "roughly")]
    pub fn fraction(self) -> f64 {
        match self {
            Self::Token(token) => (token as f64 - i64::MIN as f64) / 2_f64.powi(64),
            Self::Entity(entity_type, ref_id) => {
                let before = EntityType::ALL.iter().take_while(|t| **t != entity_type).count() as f64;
                (before + ref_id.as_u128() as f64 / 2_f64.powi(128)) / EntityType::ALL.len() as f64
            }
        }
    }

    /// Returns the fault of a scan that should begin at a position of the other kind of store.
    pub(super) fn misplaced() -> StoreFault {
        StoreFault::new("scan", "the position is that of another kind of store")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fraction_goes_from_0_to_1() {
        for (position, expected) in [
            (Position::Token(i64::MIN), 0.0),
            (Position::Token(0), 0.5),
            (Position::Token(i64::MAX), 1.0),
            (Position::Entity(EntityType::Customer, Uuid::nil()), 0.0),
            (Position::Entity(EntityType::Account, Uuid::from_u128(1 << 127)), 0.5),
            (Position::Entity(EntityType::Subscriber, Uuid::max()), 1.0),
        ] {
            assert!((position.fraction() - expected).abs() < 1e-9, "{position:?}: {}", position.fraction());
        }
    }
}
