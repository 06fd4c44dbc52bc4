//! The id of a schema in the registry.

use std::fmt;
use uuid::Uuid;

/// The id of a writer's schema in the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SchemaId {
    /// The number that stands before the body, in the Confluent wire format.
    Number(u32),
    /// The GUID that newer serializers write into a header.
    Guid(Uuid),
}

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(id) => write!(f, "id {id}"),
            Self::Guid(guid) => write!(f, "GUID {guid}"),
        }
    }
}

impl From<u32> for SchemaId {
    fn from(id: u32) -> Self {
        Self::Number(id)
    }
}
