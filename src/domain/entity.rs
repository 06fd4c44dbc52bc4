//! What the commands change: customers, accounts and subscribers, and their current values.

use super::Timestamp;
use super::values::{CustomName, ExternalId, SegmentCode};
use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// The three types of entity. External ids are unique within one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntityType {
    /// Who signs the contract.
    Customer,
    /// What is billed; belongs to a customer.
    Account,
    /// Who uses the service; belongs to an account.
    Subscriber,
}

impl EntityType {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Customer, Self::Account, Self::Subscriber];

    /// `customer`, `account`, `subscriber`: in record keys, field paths, import lines and the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Account => "account",
            Self::Subscriber => "subscriber",
        }
    }

    /// The type called `name` (see [`EntityType::name`]).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.name() == name)
    }
}

impl fmt::Display for EntityType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where an entity is in its life. Only `DEACTIVATED` refuses commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// Created, not in use yet.
    Inactive,
    /// In use.
    Active,
    /// Barred for a while.
    Suspended,
    /// Gone for good; its external id stays taken.
    Deactivated,
}

impl State {
    /// All of them, in the order of the Avro enum.
    pub const ALL: [Self; 4] = [Self::Inactive, Self::Active, Self::Suspended, Self::Deactivated];

    /// `INACTIVE`, `ACTIVE`, `SUSPENDED`, `DEACTIVATED`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inactive => "INACTIVE",
            Self::Active => "ACTIVE",
            Self::Suspended => "SUSPENDED",
            Self::Deactivated => "DEACTIVATED",
        }
    }

    /// The state called `name` (see [`State::name`]).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name)
    }
}

/// A customer, account or subscriber with its values at one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entity {
    /// Customer, account or subscriber.
    pub entity_type: EntityType,
    /// Names the entity for ever.
    pub ref_id: Uuid,
    /// Names the entity for the CRM, for now.
    pub external_id: ExternalId,
    /// 1 after creation or import; every change adds one.
    pub version: i64,
    /// Where it is in its life.
    pub state: State,
    /// The name that the customer chose.
    pub custom_name: Option<CustomName>,
    /// The segment of a customer; none for accounts and subscribers.
    pub segment: Option<SegmentCode>,
    /// Since when the segment applies. None where the import gave the segment.
    pub segment_valid_from: Option<Timestamp>,
    /// An account's customer, a subscriber's account.
    pub parent: Option<Uuid>,
}

impl Entity {
    /// Active, at version 1, and without all that may be absent.
    pub fn new(entity_type: EntityType, ref_id: Uuid, external_id: ExternalId) -> Self {
        Self {
            entity_type,
            ref_id,
            external_id,
            version: 1,
            state: State::Active,
            custom_name: None,
            segment: None,
            segment_valid_from: None,
            parent: None,
        }
    }

    /// `customer:<refId>`: the key of its business transactions.
    pub fn key(&self) -> String {
        [self.entity_type.name(), ":", self.ref_id.hyphenated().encode_lower(&mut Uuid::encode_buffer())].concat()
    }
}
