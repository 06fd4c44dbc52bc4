//! Why a record can't be read as a command: what operators find in its dead letter, and what the CRM is told.

pub use super::body::Malformed;
use super::schema_id::SchemaId;
use crate::domain::rejection::Rejection;
use crate::telemetry::labels::DeadLetter;
use std::sync::Arc;

/// The longest correlation header. Each answer carries it, and each duplicate's answer, so it can't be left to the CRM.
pub const MAX_CORRELATION_BYTES: usize = 1024;

/// Why a record can't be read as a command. Messages never hold any of its contents.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The value is null.
    #[error("the value is null")]
    NullValue,
    /// The value does not begin with byte 0 and a schema id.
    #[error("the value is not in the Confluent wire format (byte 0, schema id, Avro)")]
    NotWireFormat,
    /// A header names the schema, in a way that can't be read.
    #[error("the header {header} names the schema of the value, {reason}")]
    SchemaHeader {
        /// The header's name.
        header: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The registry says that it has no such schema.
    #[error("the registry has no schema with {id}")]
    UnknownSchemaId {
        /// The id that the record names.
        id: SchemaId,
    },
    /// The registry gives no schema for this id, nor says that it has none, while it answers about others.
    #[error("the registry does not give the schema with {id} out: {reason}")]
    OddRegistryAnswer {
        /// The id that the record names.
        id: SchemaId,
        /// What the registry answered.
        reason: Arc<str>,
    },
    /// The writer's schema is not one of our commands.
    #[error("no command is called {name}")]
    UnknownRecordName {
        /// What it is, quoted.
        name: Arc<str>,
    },
    /// The writer's schema is recursive, nested too deep, no Avro schema at all, or can't be resolved onto ours.
    #[error("the writer's schema can't be used: {reason}")]
    SchemaUnusable {
        /// In which way.
        reason: Arc<str>,
    },
    /// The bytes are not what the writer's schema says.
    #[error("the value does not match its writer's schema: {0}")]
    Malformed(#[from] Malformed),
    /// What the brokers send can't be decompressed, so that nothing is known of the record.
    #[error("its batch can't be decompressed: it is damaged, or larger inflated than the client takes")]
    Undecodable,
    /// Key, value and headers together are over `max_command_bytes`.
    #[error("the record has {size} bytes, more than the {max} allowed")]
    TooLarge {
        /// Key, value and headers, in bytes.
        size: usize,
        /// `max_command_bytes`.
        max: usize,
    },
    /// A correlation header is over [`MAX_CORRELATION_BYTES`].
    #[error("a correlation header is longer than {} bytes", MAX_CORRELATION_BYTES)]
    CorrelationHeaderTooLong,
}

impl Unreadable {
    /// For the dead letter's header `__connect.errors.exception.class.name`, and as a metric's label.
    pub fn class_name(&self) -> &'static str {
        match self {
            Self::NullValue => "crm.NullValue",
            Self::NotWireFormat => "crm.NotWireFormat",
            Self::SchemaHeader { .. } => "crm.SchemaHeader",
            Self::UnknownSchemaId { .. } => "crm.UnknownSchemaId",
            Self::OddRegistryAnswer { .. } => "crm.OddRegistryAnswer",
            Self::UnknownRecordName { .. } => "crm.UnknownRecordName",
            Self::SchemaUnusable { .. } => "crm.SchemaUnusable",
            Self::Malformed(_) => "crm.Malformed",
            Self::Undecodable => "crm.Undecodable",
            Self::TooLarge { .. } => "crm.TooLarge",
            Self::CorrelationHeaderTooLong => "crm.CorrelationHeaderTooLong",
        }
    }

    /// For the dead letter's header `__connect.errors.stage`: the stage as Kafka Connect calls it.
    pub fn stage(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } | Self::Undecodable => "KAFKA_CONSUME",
            Self::CorrelationHeaderTooLong | Self::SchemaHeader { .. } => "HEADER_CONVERTER",
            _ => "VALUE_CONVERTER",
        }
    }

    /// False if not even a reply may be sent: what it would be correlated by is what is wrong.
    pub fn has_reply(&self) -> bool {
        *self != Self::CorrelationHeaderTooLong
    }

    /// What the CRM is told.
    pub fn rejection(&self) -> Rejection {
        Rejection::RecordUnreadable { reason: self.to_string().into() }
    }

    pub(super) fn unusable(reason: impl Into<Arc<str>>) -> Self {
        Self::SchemaUnusable { reason: reason.into() }
    }
}

impl From<&Unreadable> for DeadLetter {
    fn from(unreadable: &Unreadable) -> Self {
        match unreadable {
            Unreadable::NullValue => Self::NullValue,
            Unreadable::NotWireFormat => Self::NotWireFormat,
            Unreadable::SchemaHeader { .. } => Self::SchemaHeader,
            Unreadable::UnknownSchemaId { .. } => Self::UnknownSchemaId,
            Unreadable::OddRegistryAnswer { .. } => Self::OddRegistryAnswer,
            Unreadable::UnknownRecordName { .. } => Self::UnknownRecordName,
            Unreadable::SchemaUnusable { .. } => Self::SchemaUnusable,
            Unreadable::Malformed(_) => Self::Malformed,
            Unreadable::Undecodable => Self::Undecodable,
            Unreadable::TooLarge { .. } => Self::TooLarge,
            Unreadable::CorrelationHeaderTooLong => Self::CorrelationHeaderTooLong,
        }
    }
}
