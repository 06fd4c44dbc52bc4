//! Replies and business transactions as Avro, in the Confluent wire format: written straight from borrowed values.

use super::frame::frame_prefix;
use super::{REPLY_SCHEMA, TRANSACTION_SCHEMA};
use crate::domain::Timestamp;
use crate::domain::entity::{Entity, EntityType};
use crate::domain::rejection::{Rejection, Status};
use crate::domain::transaction::{Change, Snapshot, Transaction};
use crate::domain::values::{CustomName, SegmentCode};
use apache_avro::Schema;
use apache_avro::writer::datum::GenericDatumWriter;
use serde::ser::SerializeTupleStruct;
use serde::{Serialize, Serializer};
use std::sync::LazyLock;
use uuid::Uuid;

/// The answer to one command record.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// From the command's headers, else the request id.
    pub correlation_id: Option<&'a str>,
    /// The command's request id.
    pub request_id: Option<&'a str>,
    /// 200, 400 or 500.
    pub status: Status,
    /// All findings; none with [`Status::Ok`].
    pub errors: &'a [Rejection],
    /// True if this answers a duplicate with the stored answer.
    pub replayed: bool,
    /// What was done, or found already so: a value that [`Encoder::transaction`] made.
    pub transaction: Option<&'a [u8]>,
    /// When the reply was made.
    pub processed_at: Timestamp,
}

/// Encodes answers under the schema ids that the registry gave.
#[derive(Clone, Copy, Debug)]
pub struct Encoder {
    reply_schema_id: u32,
    transaction_schema_id: u32,
}

impl Encoder {
    /// With the ids of [`REPLY_SCHEMA`] and [`TRANSACTION_SCHEMA`].
    pub fn new(reply_schema_id: u32, transaction_schema_id: u32) -> Self {
        Self { reply_schema_id, transaction_schema_id }
    }

    /// A reply's value.
    pub fn reply(&self, reply: &Reply<'_>) -> Vec<u8> {
        static WRITER: LazyLock<GenericDatumWriter<'static>> = LazyLock::new(|| {
            static SCHEMA: LazyLock<Schema> = LazyLock::new(|| parse(REPLY_SCHEMA));
            writer(&SCHEMA)
        });
        let mut value = encode(&WRITER, self.reply_schema_id, &ReplyRecord::from(reply));
        if let Some(transaction) = reply.transaction {
            let body = &transaction[frame_prefix(self.transaction_schema_id).len()..];
            insert_transaction(&mut value, body, reply.processed_at);
        }
        value
    }

    /// The value of a business transaction with this id.
    pub fn transaction(&self, id: Uuid, transaction: &Transaction) -> Vec<u8> {
        encode(&TRANSACTION_WRITER, self.transaction_schema_id, &TransactionRecord::new(id, transaction))
    }
}

/// Puts a business transaction into a reply that was encoded without: it is encoded once for both topics.
fn insert_transaction(reply: &mut Vec<u8>, transaction: &[u8], processed_at: Timestamp) {
    /// Of the union of null and business transaction, each branch's number as Avro has it.
    const NULL: u8 = 0;
    const TRANSACTION: u8 = 2;
    // The null stands before the last field, a long: zigzag, seven bits to a byte.
    let zigzag = (processed_at << 1) ^ (processed_at >> 63);
    let last = (zigzag.cast_unsigned().max(1).ilog2() / 7 + 1) as usize;
    let processed_at = reply.split_off(reply.len() - last);
    assert_eq!(reply.pop(), Some(NULL), "the reply was encoded without a transaction");
    reply.push(TRANSACTION);
    reply.extend_from_slice(transaction);
    reply.extend(processed_at);
}

static TRANSACTION_WRITER: LazyLock<GenericDatumWriter<'static>> = LazyLock::new(|| {
    static SCHEMA: LazyLock<Schema> = LazyLock::new(|| parse(TRANSACTION_SCHEMA));
    writer(&SCHEMA)
});

/// A snapshot's value: a business transaction without changes, under the id that the registry gave [`TRANSACTION_SCHEMA`].
pub fn snapshot(schema_id: u32, snapshot: &Snapshot) -> Vec<u8> {
    let (entity, request_id) = (&snapshot.entity, snapshot.request_id());
    let record = TransactionRecord {
        transaction_id: UuidText(snapshot.id()),
        use_case: Snapshot::USE_CASE,
        request_id: &request_id,
        correlation_id: None,
        occurred_at: snapshot.taken_at,
        previous_version: entity.version,
        changes: Changes(&[]),
        ..TransactionRecord::about(entity)
    };
    encode(&TRANSACTION_WRITER, schema_id, &record)
}

pub(super) fn parse(schema: &str) -> Schema {
    Schema::parse_str(schema).expect("our schemas are checked by the tests")
}

pub(super) fn writer(schema: &'static Schema) -> GenericDatumWriter<'static> {
    GenericDatumWriter::builder(schema).human_readable(false).build().expect("our schemas name nothing but what they define")
}

fn encode(writer: &GenericDatumWriter<'_>, schema_id: u32, record: &impl Serialize) -> Vec<u8> {
    /// What an answer with its after-image takes, give or take.
    const USUAL_SIZE: usize = 768;
    let mut value = Vec::with_capacity(USUAL_SIZE);
    value.extend(frame_prefix(schema_id));
    writer.write_ser(&mut value, record).expect("the record has the schema's fields, and memory takes whatever is written");
    value
}

/// Serialises a struct as the Avro record of that name: by the places of its fields, which stand here in the schema's order.
/// By their names, as derived, apache-avro would look each up, and then for others that came before their turn.
macro_rules! record {
    ($type:ty as $name:literal: $($field:ident),+) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut record = serializer.serialize_tuple_struct($name, [$(stringify!($field)),+].len())?;
                $(record.serialize_field(&self.$field)?;)+
                record.end()
            }
        }
    };
}

/// `crm.v1.Reply`.
struct ReplyRecord<'a> {
    correlation_id: Option<&'a str>,
    request_id: Option<&'a str>,
    status_code: i32,
    status_message: &'static str,
    errors: Vec<ErrorRecord<'a>>,
    replayed: bool,
    /// Put in when the rest is encoded.
    business_transaction: Option<()>,
    processed_at: Timestamp,
}

record!(ReplyRecord<'_> as "Reply": correlation_id, request_id, status_code, status_message, errors, replayed, business_transaction,
    processed_at);

struct ErrorRecord<'a> {
    code: &'static str,
    field: Option<&'a str>,
    message: String,
}

record!(ErrorRecord<'_> as "Error": code, field, message);

/// `crm.v1.BusinessTransaction`.
struct TransactionRecord<'a> {
    transaction_id: UuidText,
    use_case: &'static str,
    request_id: &'a str,
    correlation_id: Option<&'a str>,
    occurred_at: Timestamp,
    entity_type: EntityTypeSymbol,
    ref_id: UuidText,
    version: i64,
    previous_version: i64,
    changes: Changes<'a>,
    customer: Option<AfterImage<'a>>,
    account: Option<AfterImage<'a>>,
    subscriber: Option<AfterImage<'a>>,
}

record!(TransactionRecord<'_> as "BusinessTransaction": transaction_id, use_case, request_id, correlation_id, occurred_at, entity_type,
    ref_id, version, previous_version, changes, customer, account, subscriber);

/// Records `Change`: apache-avro takes a tuple for a record with as many fields.
struct Changes<'a>(&'a [Change]);

impl Serialize for Changes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|Change { field, old, new }| (field, old, new)))
    }
}

/// An after-image: `crm.v1.Customer`, `Account` or `Subscriber`. They begin alike, and end as their type has it.
struct AfterImage<'a>(&'a Entity);

impl Serialize for AfterImage<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entity = self.0;
        let (name, fields) = match entity.entity_type {
            EntityType::Customer => ("Customer", 6),
            EntityType::Account => ("Account", 5),
            EntityType::Subscriber => ("Subscriber", 5),
        };
        let mut record = serializer.serialize_tuple_struct(name, fields)?;
        record.serialize_field(&UuidText(entity.ref_id))?;
        record.serialize_field(entity.external_id.as_str())?;
        record.serialize_field(&entity.state)?;
        record.serialize_field(&entity.custom_name.as_ref().map(CustomName::as_str))?;
        match entity.entity_type {
            EntityType::Customer => {
                record.serialize_field(&entity.segment.as_ref().map(SegmentCode::as_str))?;
                record.serialize_field(&entity.segment_valid_from)?;
            }
            EntityType::Account | EntityType::Subscriber => record.serialize_field(&entity.parent.map(UuidText))?,
        }
        record.end()
    }
}

/// The domain's entity types, by the symbols of the Avro enum. (The domain's own names are lower case.)
#[derive(Serialize)]
#[serde(rename = "EntityType", rename_all = "UPPERCASE")]
enum EntityTypeSymbol {
    Customer,
    Account,
    Subscriber,
}

/// A UUID as text; by itself it would be written as 16 bytes.
struct UuidText(Uuid);

impl Serialize for UuidText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
    }
}

impl<'a> From<&Reply<'a>> for ReplyRecord<'a> {
    fn from(reply: &Reply<'a>) -> Self {
        let error = |r: &'a Rejection| ErrorRecord { code: r.code(), field: r.field(), message: r.message() };
        Self {
            correlation_id: reply.correlation_id,
            request_id: reply.request_id,
            status_code: reply.status.code(),
            status_message: reply.status.message(),
            errors: reply.errors.iter().map(error).collect(),
            replayed: reply.replayed,
            business_transaction: None,
            processed_at: reply.processed_at,
        }
    }
}

impl<'a> TransactionRecord<'a> {
    fn new(id: Uuid, transaction: &'a Transaction) -> Self {
        Self {
            transaction_id: UuidText(id),
            use_case: transaction.use_case.name(),
            request_id: transaction.request_id.as_str(),
            correlation_id: transaction.correlation_id.as_deref(),
            occurred_at: transaction.occurred_at,
            previous_version: transaction.previous_version,
            changes: Changes(&transaction.changes),
            ..Self::about(&transaction.entity)
        }
    }

    /// What the record says of the entity as it is; the rest is to be filled in.
    fn about(entity: &'a Entity) -> Self {
        let of = |entity_type| (entity.entity_type == entity_type).then_some(AfterImage(entity));
        Self {
            transaction_id: UuidText(Uuid::nil()),
            use_case: "",
            request_id: "",
            correlation_id: None,
            occurred_at: 0,
            entity_type: entity.entity_type.into(),
            ref_id: UuidText(entity.ref_id),
            version: entity.version,
            previous_version: entity.version,
            changes: Changes(&[]),
            customer: of(EntityType::Customer),
            account: of(EntityType::Account),
            subscriber: of(EntityType::Subscriber),
        }
    }
}

impl From<EntityType> for EntityTypeSymbol {
    fn from(entity_type: EntityType) -> Self {
        match entity_type {
            EntityType::Customer => Self::Customer,
            EntityType::Account => Self::Account,
            EntityType::Subscriber => Self::Subscriber,
        }
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
