//! Writing values as Avro in the Confluent wire format, straight from borrowed values.

use super::frame::frame_prefix;
use apache_avro::Schema;
use apache_avro::writer::datum::GenericDatumWriter;
use serde::{Serialize, Serializer};
use uuid::Uuid;

/// Parses one of our own schemas.
pub(super) fn parse(schema: &str) -> Schema {
    Schema::parse_str(schema).expect("our schemas are checked by the tests")
}

/// Returns the writer for a schema.
pub(super) fn writer(schema: &'static Schema) -> GenericDatumWriter<'static> {
    GenericDatumWriter::builder(schema).human_readable(false).build().expect("our schemas name nothing but what they define")
}

/// Returns a record's value: the prefix with the schema's id, and the record.
pub(super) fn encode(writer: &GenericDatumWriter<'_>, schema_id: u32, record: &impl Serialize) -> Vec<u8> {
    /// About how many bytes an answer with its after-image takes.
    const USUAL_SIZE: usize = 768;
    let mut value = Vec::with_capacity(USUAL_SIZE);
    value.extend(frame_prefix(schema_id));
    writer.write_ser(&mut value, record).expect("the record has the schema's fields, and memory takes whatever is written");
    value
}

/// A UUID that is written as text. By itself a UUID would be written as 16 bytes.
pub(super) struct UuidText(pub Uuid);

impl Serialize for UuidText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
    }
}
