//! Reading all entities of a store, each as it is when the scan comes by. For the command line: nothing is decided from it.
//!
//! What is read is applied, or is about to be: a plain read shows conditional writes that were decided, and no others. An
//! entity that changes meanwhile is read before or after its change, and each entity that was there at the beginning is read.

use super::StoreFault;
use crate::domain::entity::{Entity, EntityType};
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How far a scan has come. A scan from here reads the entity at this position once more, and then those behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Position {
    /// Of a database that keeps its partitions by token.
    Token(i64),
    /// Of the embedded store, which keeps them by type and refId.
    Entity(EntityType, Uuid),
}

/// An entity, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// As it was read.
    pub entity: Entity,
    /// Not before that of the entity read before.
    pub position: Position,
}

/// A scan under way. It ends with the first fault, and can be taken up again where it was.
pub type Scan = BoxStream<'static, Result<Scanned, StoreFault>>;

impl Position {
    /// Which part of the store lies before it, roughly: ids and tokens are evenly spread.
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

    /// The fault of a scan that is to begin at a position of the other kind of store.
    pub(super) fn misplaced() -> StoreFault {
        StoreFault::new("scan", "the position is one of another kind of store")
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
