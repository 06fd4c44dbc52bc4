//! The entities that the commands change: customers, accounts and subscribers, with their current values.

use super::Timestamp;
use super::values::{CustomName, ExternalId, SegmentCode, StateReason};
use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// A type of entity. External ids are unique within their type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntityType {
    /// The party that signs the contract.
    Customer,
    /// The unit that is billed. An account belongs to a customer.
    Account,
    /// The user of the service. A subscriber belongs to an account.
    Subscriber,
}

impl EntityType {
    /// The three types of entities.
    pub const ALL: [Self; 3] = [Self::Customer, Self::Account, Self::Subscriber];

    /// Returns `customer`, `account` or `subscriber`, as record keys, field paths, import lines and the database have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Account => "account",
            Self::Subscriber => "subscriber",
        }
    }

    /// Returns `CUSTOMER`, `ACCOUNT` or `SUBSCRIBER`, as the enum `crm.v1.EntityType` has it, and so the change rows and their digests.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Customer => "CUSTOMER",
            Self::Account => "ACCOUNT",
            Self::Subscriber => "SUBSCRIBER",
        }
    }

    /// Returns the type of the entities to which those of this type belong, or `None` for customers.
    pub fn superior(self) -> Option<Self> {
        match self {
            Self::Customer => None,
            Self::Account => Some(Self::Customer),
            Self::Subscriber => Some(Self::Account),
        }
    }

    /// Returns the type called `name` (see [`EntityType::name`]), or `None` if there is none.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.name() == name)
    }
}

impl fmt::Display for EntityType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A stage in the life of an entity. Only an entity that is `DEACTIVATED` refuses commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// The entity exists and is not in use yet.
    Inactive,
    /// The entity is in use.
    Active,
    /// The entity is barred for a while.
    Suspended,
    /// The entity is gone for good. Its external id stays taken.
    Deactivated,
}

impl State {
    /// All states, in the order of the Avro enum.
    pub const ALL: [Self; 4] = [Self::Inactive, Self::Active, Self::Suspended, Self::Deactivated];

    /// Returns `INACTIVE`, `ACTIVE`, `SUSPENDED` or `DEACTIVATED`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inactive => "INACTIVE",
            Self::Active => "ACTIVE",
            Self::Suspended => "SUSPENDED",
            Self::Deactivated => "DEACTIVATED",
        }
    }

    /// Returns the state called `name` (see [`State::name`]), or `None` if there is none.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name)
    }

    /// Returns the message about a name that is none of `states`, such as "must be INACTIVE or ACTIVE". `states` has two elements or more.
    pub fn must_be_one_of(states: &[Self]) -> String {
        let names: Vec<_> = states.iter().map(|state| state.name()).collect();
        let (last, others) = names.split_last().map_or(("", &[][..]), |(last, others)| (*last, others));
        format!("must be {} or {last}", others.join(", "))
    }
}

/// A customer, account or subscriber with its values at one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entity {
    /// The type: customer, account or subscriber.
    pub entity_type: EntityType,
    /// The id that names the entity for ever.
    pub ref_id: Uuid,
    /// The id by which the CRM names the entity at present.
    pub external_id: ExternalId,
    /// The version: 1 after the import or the creation; every change adds one.
    pub version: i64,
    /// The stage of its life.
    pub state: State,
    /// The name that the customer chose, or `None` if there is none.
    pub custom_name: Option<CustomName>,
    /// The segment of a customer. Accounts and subscribers have none.
    pub segment: Option<SegmentCode>,
    /// The time since which the segment applies, or `None` if an import gave the segment.
    pub segment_valid_from: Option<Timestamp>,
    /// The refId of an account's customer or of a subscriber's account.
    pub superior: Option<Uuid>,
    /// The reason why it has its state, or `None` if none was given.
    pub state_reason: Option<StateReason>,
    /// The time since which it has its state, or `None` if an import gave the state and no time.
    pub state_valid_from: Option<Timestamp>,
}

impl Entity {
    /// Returns an active entity at version 1, without all that may be absent.
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
            superior: None,
            state_reason: None,
            state_valid_from: None,
        }
    }

    /// Returns the key of its business transactions, such as `customer:<refId>`.
    pub fn key(&self) -> String {
        [self.entity_type.name(), ":", self.ref_id.hyphenated().encode_lower(&mut Uuid::encode_buffer())].concat()
    }
}
