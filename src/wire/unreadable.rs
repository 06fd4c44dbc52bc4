//! The reasons why a record can't be read as a command. Operators find the reason in the dead letter, and the CRM in the reply.

pub use super::body::Malformed;
use super::schema_id::SchemaId;
use crate::domain::rejection::Rejection;
use crate::telemetry::labels::DeadLetter;
use std::sync::Arc;

/// The length of the longest correlation header, in bytes. Each answer carries the header, so its length can't be left to the CRM.
pub const MAX_CORRELATION_BYTES: usize = 1024;

/// The reason why a record can't be read as a command. Its message never holds any of the record's contents.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The value is null.
    #[error("the value is null")]
    NullValue,
    /// The value does not begin with byte 0 and a schema id.
    #[error("the value is not in the Confluent wire format (byte 0, schema id, Avro)")]
    NotWireFormat,
    /// A header names the schema in a way that can't be read.
    #[error("the header {header} names the schema of the value, {reason}")]
    SchemaHeader {
        /// The header's name.
        header: &'static str,
        /// What is wrong with the header, as the end of a sentence.
        reason: &'static str,
    },
    /// The registry says that it has no schema with this id.
    #[error("the registry has no schema with {id}")]
    UnknownSchemaId {
        /// The id that the record names.
        id: SchemaId,
    },
    /// The registry neither gives the schema with this id nor says that it has none, while it answers about others.
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
        /// The schema's name in quotes, or its kind if it has no name.
        name: Arc<str>,
    },
    /// The writer's schema is recursive, nested too deep, not Avro, beyond a bound, has rules that change values, or can't be resolved onto
    /// ours.
    #[error("the writer's schema can't be used: {reason}")]
    SchemaUnusable {
        /// Why the schema can't be used.
        reason: Arc<str>,
    },
    /// The bytes do not match the writer's schema.
    #[error("the value does not match its writer's schema: {0}")]
    Malformed(#[from] Malformed),
    /// The batch that the brokers send can't be decompressed, so that nothing is known of the record.
    #[error("its batch can't be decompressed: it is damaged, or larger inflated than the client takes")]
    Undecodable,
    /// Key, value and headers together are larger than `max_command_bytes`.
    #[error("the record has {size} bytes, more than the {max} allowed")]
    TooLarge {
        /// The size of key, value and headers, in bytes.
        size: usize,
        /// The value of `max_command_bytes`.
        max: usize,
    },
    /// A correlation header is longer than [`MAX_CORRELATION_BYTES`].
    #[error("a correlation header is longer than {} bytes", MAX_CORRELATION_BYTES)]
    CorrelationHeaderTooLong,
}

impl Unreadable {
    /// Returns the value of the dead letter's header `__connect.errors.exception.class.name`.
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

    /// Returns the value of the dead letter's header `__connect.errors.stage`: the stage as Kafka Connect calls it.
    pub fn stage(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } | Self::Undecodable => "KAFKA_CONSUME",
            Self::CorrelationHeaderTooLong | Self::SchemaHeader { .. } => "HEADER_CONVERTER",
            _ => "VALUE_CONVERTER",
        }
    }

    /// Returns whether a reply may be sent. Returns `false` if the header by which it would be correlated is the one that is wrong.
    pub fn has_reply(&self) -> bool {
        *self != Self::CorrelationHeaderTooLong
    }

    /// Returns the rejection that the CRM is told.
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
