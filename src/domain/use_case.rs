//! The table of the use cases: which type of entity has which kind of change, under which name and Avro record.
//!
//! A use case is a [`ChangeKind`] of an [`EntityType`]. The table is `UseCase::row`, and only there does the program
//! say what a use case is called. The way to the rules of one leads from its row's `kind` to [`super::change`], where each
//! kind has a file of its own.

use super::change::ChangeKind;
use super::entity::{Entity, EntityType};

/// A kind of change of a type of entity. There are only so many, which makes it fit for a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(test, derive(serde::Deserialize))]
pub enum UseCase {
    /// Gives a customer a custom name.
    UpdateCustomerCustomName,
    /// Moves a customer to a segment.
    UpdateCustomerSegment,
    /// Gives an account another external id.
    UpdateAccountExternalId,
    /// Gives a subscriber another external id.
    UpdateSubscriberExternalId,
}

/// A row of the table.
struct Row {
    /// The use case's name in replies, business transactions and metrics.
    name: &'static str,
    /// The name of the command's Avro record, without its namespace.
    record: &'static str,
    /// The record's Avro schema.
    schema: &'static str,
    /// The type of the entities that the use case changes. The record's reference has the type's name, too.
    entity_type: EntityType,
    /// The kind of the change.
    kind: ChangeKind,
}

impl UseCase {
    /// All use cases, in their order.
    pub const ALL: &[Self] = &[
        Self::UpdateCustomerCustomName,
        Self::UpdateCustomerSegment,
        Self::UpdateAccountExternalId,
        Self::UpdateSubscriberExternalId,
    ];

    /// Returns the use case's row of the table.
    fn row(self) -> Row {
        match self {
            Self::UpdateCustomerCustomName => Row {
                name: "updateCustomerCustomName",
                record: "UpdateCustomerCustomName",
                schema: include_str!("../../schemas/UpdateCustomerCustomName.avsc"),
                entity_type: EntityType::Customer,
                kind: ChangeKind::SetCustomName,
            },
            Self::UpdateCustomerSegment => Row {
                name: "updateCustomerSegment",
                record: "UpdateCustomerSegment",
                schema: include_str!("../../schemas/UpdateCustomerSegment.avsc"),
                entity_type: EntityType::Customer,
                kind: ChangeKind::SetSegment,
            },
            Self::UpdateAccountExternalId => Row {
                name: "updateAccountExternalId",
                record: "UpdateAccountExternalId",
                schema: include_str!("../../schemas/UpdateAccountExternalId.avsc"),
                entity_type: EntityType::Account,
                kind: ChangeKind::Rename,
            },
            Self::UpdateSubscriberExternalId => Row {
                name: "updateSubscriberExternalId",
                record: "UpdateSubscriberExternalId",
                schema: include_str!("../../schemas/UpdateSubscriberExternalId.avsc"),
                entity_type: EntityType::Subscriber,
                kind: ChangeKind::Rename,
            },
        }
    }

    /// Returns the name that replies, business transactions and metrics use, such as `updateCustomerCustomName`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Returns the use case called `name` (see [`Self::name`]), or `None` if there is none.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|use_case| use_case.name() == name)
    }

    /// Returns the name of the command's Avro record without its namespace, such as `UpdateCustomerCustomName`.
    pub fn record(self) -> &'static str {
        self.row().record
    }

    /// Returns the Avro schema of the command's record.
    pub fn schema(self) -> &'static str {
        self.row().schema
    }

    /// Returns the type of the entities that the use case changes.
    pub fn entity_type(self) -> EntityType {
        self.row().entity_type
    }

    /// Returns the kind of the change.
    pub fn kind(self) -> ChangeKind {
        self.row().kind
    }

    /// Returns the name of the record's field with the new value, such as `customName`. The attribute that changes has the
    /// same name in business transactions.
    pub fn value_field(self) -> &'static str {
        self.kind().field()
    }

    /// Returns, as text, the value that `entity` has in the attribute that the use case changes, or `None` if it has none.
    pub fn attribute(self, entity: &Entity) -> Option<&str> {
        self.kind().attribute(entity)
    }

    /// Returns whether commands of this use case claim an external id before they are applied.
    pub fn is_rename(self) -> bool {
        self.kind() == ChangeKind::Rename
    }
}
