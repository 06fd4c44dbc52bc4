//! The table of the use cases: which type of entity has which kind of change, under which name and Avro record.
//!
//! A use case is a [`ChangeKind`] of an [`EntityType`]. The table is `UseCase::row`, and only there does the program
//! say what a use case is called. The way to the rules of one leads from its row's `kind` to [`super::change`], where each
//! kind has a file of its own.

use super::attribute::{Attribute, RawValues};
use super::change::ChangeKind;
use super::entity::EntityType;

/// A kind of change of a type of entity. There are only so many, which makes it fit for a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(test, derive(serde::Deserialize))]
pub enum UseCase {
    /// Creates a customer.
    CreateCustomer,
    /// Creates an account of a customer.
    CreateAccount,
    /// Creates a subscriber of an account.
    CreateSubscriber,
    /// Gives a customer a custom name.
    UpdateCustomerCustomName,
    /// Moves a customer to a segment.
    UpdateCustomerSegment,
    /// Gives a customer another external id.
    UpdateCustomerExternalId,
    /// Gives a customer a state.
    UpdateCustomerState,
    /// Gives an account another external id.
    UpdateAccountExternalId,
    /// Gives an account a custom name.
    UpdateAccountCustomName,
    /// Gives an account a state.
    UpdateAccountState,
    /// Gives a subscriber another external id.
    UpdateSubscriberExternalId,
    /// Gives a subscriber a custom name.
    UpdateSubscriberCustomName,
    /// Gives a subscriber a state.
    UpdateSubscriberState,
}

/// A row of the table.
struct Row {
    /// The use case's name in replies, business transactions and metrics.
    name: &'static str,
    /// The name of the command's Avro record, without its namespace.
    record: &'static str,
    /// The record's Avro schema.
    schema: &'static str,
    /// The type of the entities that the use case changes or creates.
    entity_type: EntityType,
    /// The kind of the change.
    kind: ChangeKind,
}

impl UseCase {
    /// All use cases, in their order.
    pub const ALL: &[Self] = &[
        Self::CreateCustomer,
        Self::CreateAccount,
        Self::CreateSubscriber,
        Self::UpdateCustomerCustomName,
        Self::UpdateCustomerSegment,
        Self::UpdateCustomerExternalId,
        Self::UpdateCustomerState,
        Self::UpdateAccountExternalId,
        Self::UpdateAccountCustomName,
        Self::UpdateAccountState,
        Self::UpdateSubscriberExternalId,
        Self::UpdateSubscriberCustomName,
        Self::UpdateSubscriberState,
    ];

    /// Returns the use case's row of the table.
    fn row(self) -> Row {
        match self {
            Self::CreateCustomer => Row {
                name: "createCustomer",
                record: "CreateCustomer",
                schema: include_str!("../../schemas/CreateCustomer.avsc"),
                entity_type: EntityType::Customer,
                kind: ChangeKind::CreateCustomer,
            },
            Self::CreateAccount => Row {
                name: "createAccount",
                record: "CreateAccount",
                schema: include_str!("../../schemas/CreateAccount.avsc"),
                entity_type: EntityType::Account,
                kind: ChangeKind::CreateBelow,
            },
            Self::CreateSubscriber => Row {
                name: "createSubscriber",
                record: "CreateSubscriber",
                schema: include_str!("../../schemas/CreateSubscriber.avsc"),
                entity_type: EntityType::Subscriber,
                kind: ChangeKind::CreateBelow,
            },
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
            Self::UpdateCustomerExternalId => Row {
                name: "updateCustomerExternalId",
                record: "UpdateCustomerExternalId",
                schema: include_str!("../../schemas/UpdateCustomerExternalId.avsc"),
                entity_type: EntityType::Customer,
                kind: ChangeKind::Rename,
            },
            Self::UpdateCustomerState => Row {
                name: "updateCustomerState",
                record: "UpdateCustomerState",
                schema: include_str!("../../schemas/UpdateCustomerState.avsc"),
                entity_type: EntityType::Customer,
                kind: ChangeKind::SetState,
            },
            Self::UpdateAccountExternalId => Row {
                name: "updateAccountExternalId",
                record: "UpdateAccountExternalId",
                schema: include_str!("../../schemas/UpdateAccountExternalId.avsc"),
                entity_type: EntityType::Account,
                kind: ChangeKind::Rename,
            },
            Self::UpdateAccountCustomName => Row {
                name: "updateAccountCustomName",
                record: "UpdateAccountCustomName",
                schema: include_str!("../../schemas/UpdateAccountCustomName.avsc"),
                entity_type: EntityType::Account,
                kind: ChangeKind::SetCustomName,
            },
            Self::UpdateAccountState => Row {
                name: "updateAccountState",
                record: "UpdateAccountState",
                schema: include_str!("../../schemas/UpdateAccountState.avsc"),
                entity_type: EntityType::Account,
                kind: ChangeKind::SetState,
            },
            Self::UpdateSubscriberExternalId => Row {
                name: "updateSubscriberExternalId",
                record: "UpdateSubscriberExternalId",
                schema: include_str!("../../schemas/UpdateSubscriberExternalId.avsc"),
                entity_type: EntityType::Subscriber,
                kind: ChangeKind::Rename,
            },
            Self::UpdateSubscriberCustomName => Row {
                name: "updateSubscriberCustomName",
                record: "UpdateSubscriberCustomName",
                schema: include_str!("../../schemas/UpdateSubscriberCustomName.avsc"),
                entity_type: EntityType::Subscriber,
                kind: ChangeKind::SetCustomName,
            },
            Self::UpdateSubscriberState => Row {
                name: "updateSubscriberState",
                record: "UpdateSubscriberState",
                schema: include_str!("../../schemas/UpdateSubscriberState.avsc"),
                entity_type: EntityType::Subscriber,
                kind: ChangeKind::SetState,
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

    /// Returns the type of the entities that the use case changes or creates.
    pub fn entity_type(self) -> EntityType {
        self.row().entity_type
    }

    /// Returns the kind of the change.
    pub fn kind(self) -> ChangeKind {
        self.row().kind
    }

    /// Returns the attributes for which the record has fields. Field and attribute have the same name and the same order. A command must
    /// give the first of them.
    pub fn attributes(self) -> &'static [Attribute] {
        self.kind().attributes()
    }

    /// Returns the first of [`Self::attributes`]. A command must bring a value for it.
    pub fn first_attribute(self) -> Attribute {
        self.attributes()[0]
    }

    /// Returns the values of a command that brings `value` for the first of [`Self::attributes`], and nulls for the others.
    pub fn first_value(self, value: Option<String>) -> RawValues {
        RawValues::default().with(self.first_attribute(), value)
    }

    /// Returns the type of the entity to which the record refers: the one that is to be changed, or the superior of one that is to be
    /// created. Returns `None` for the creation of a customer. The field with the reference has the type's name.
    pub fn reference_type(self) -> Option<EntityType> {
        if self.is_creation() { self.entity_type().superior() } else { Some(self.entity_type()) }
    }

    /// Returns the names of the record's fields, in their order.
    pub fn fields(self) -> Vec<&'static str> {
        let mut fields = vec!["requestId"];
        fields.extend(self.attributes().iter().map(|attribute| attribute.name()));
        let behind = if self.is_creation() { 2 } else { 1 };
        if let Some(entity_type) = self.reference_type() {
            fields.insert(behind, entity_type.name());
        }
        if !self.is_creation() {
            fields.push("expectedVersion");
        }
        fields
    }

    /// Returns whether commands of this use case give an entity that is there another external id.
    pub fn is_rename(self) -> bool {
        self.kind() == ChangeKind::Rename
    }

    /// Returns whether commands of this use case create an entity.
    pub fn is_creation(self) -> bool {
        matches!(self.kind(), ChangeKind::CreateCustomer | ChangeKind::CreateBelow)
    }

    /// Returns whether commands of this use case claim an external id before they are applied.
    pub fn is_claimer(self) -> bool {
        self.is_rename() || self.is_creation()
    }
}
