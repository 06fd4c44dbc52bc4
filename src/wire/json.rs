//! Records as JSON, and commands made from their fields: for the command line.

use super::avro::{parse, writer};
use super::body::{Body, Malformed};
use super::frame::frame;
use super::registry::{RegistryClient, RegistryFault};
use super::schema_id::SchemaId;
use super::shape::Shape;
use super::unreadable::Unreadable;
use crate::domain::command::{RawCommand, RawReference};
use crate::domain::use_case::UseCase;
use apache_avro::Schema;
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use base64::Engine;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// The most values that one record may hold. An array may hold billions of values that take no bytes, but as JSON each takes memory.
pub const MAX_VALUES: usize = 1_000_000;

/// A schema of any kind, for decoding to JSON.
#[derive(Clone, Debug)]
pub struct GenericSchema(Arc<Shape>);

impl GenericSchema {
    /// Reads a schema that refers to no others.
    ///
    /// # Errors
    /// The text is no Avro schema, or the schema is recursive or nested too deep.
    pub fn parse(json: &str) -> Result<Self, Unreadable> {
        Self::parse_with_references(json, &[])
    }

    /// Reads a schema. `references` are the schemas to which it refers according to the registry, in any order.
    ///
    /// # Errors
    /// A text is no Avro schema, or the schema is recursive or nested too deep.
    pub fn parse_with_references(json: &str, references: &[String]) -> Result<Self, Unreadable> {
        Shape::parse(json, references).map(Self).map_err(Unreadable::unusable)
    }

    /// Decodes a body. A union becomes the value that it holds, an enum its symbol, bytes and fixed become base64. Numbers stay as they are
    /// in Avro, so a timestamp is in milliseconds since 1970.
    ///
    /// # Errors
    /// The bytes do not match the schema, or hold more than [`MAX_VALUES`] values.
    pub fn decode(&self, body: &[u8]) -> Result<Value, Unreadable> {
        let mut reader = Reader { body: Body::new(body), left: MAX_VALUES };
        let value = reader.value(&self.0)?;
        reader.body.finish()?;
        Ok(value)
    }
}

/// A decoder for records of any schema that the registry has. It keeps the schemas that it has fetched.
#[derive(Debug)]
pub struct JsonDecoder {
    registry: RegistryClient,
    schemas: HashMap<SchemaId, GenericSchema>,
}

impl JsonDecoder {
    /// The most schemas that are kept. When there are so many, all are forgotten.
    const MAX_SCHEMAS: usize = 100;

    /// Makes a decoder that has the schemas of `registry`.
    pub fn new(registry: RegistryClient) -> Self {
        Self { registry, schemas: HashMap::new() }
    }

    /// Decodes a value in the Confluent wire format.
    ///
    /// # Errors
    /// The registry can't be asked. The inner error says that the value can't be read.
    pub async fn decode(&mut self, value: Option<&[u8]>) -> Result<Result<Value, Unreadable>, RegistryFault> {
        self.decode_record(value, []).await
    }

    /// Decodes a record's value, whose schema may be named by a header.
    ///
    /// # Errors
    /// As for [`decode`](Self::decode).
    pub async fn decode_record<'h>(
        &mut self,
        value: Option<&[u8]>,
        headers: impl IntoIterator<Item = (&'h str, Option<&'h [u8]>)>,
    ) -> Result<Result<Value, Unreadable>, RegistryFault> {
        let (id, body) = match frame(value, headers) {
            Ok(framed) => framed,
            Err(error) => return Ok(Err(error)),
        };
        if !self.schemas.contains_key(&id) {
            let texts = self.registry.schema_texts(id).await?;
            let schema = texts.and_then(|(json, references)| GenericSchema::parse_with_references(&json, &references));
            let schema = match schema {
                Ok(schema) => schema,
                Err(error) => return Ok(Err(error)),
            };
            if self.schemas.len() >= Self::MAX_SCHEMAS {
                self.schemas.clear();
            }
            self.schemas.insert(id, schema);
        }
        Ok(self.schemas[&id].decode(body))
    }
}

struct Reader<'a> {
    body: Body<'a>,
    /// How many more values the record may have.
    left: usize,
}

impl Reader<'_> {
    fn value(&mut self, shape: &Shape) -> Result<Value, Unreadable> {
        self.left = self.left.checked_sub(1).ok_or(Malformed::TooMany)?;
        Ok(match shape {
            Shape::Null => Value::Null,
            Shape::Boolean => self.body.boolean()?.into(),
            Shape::Int => self.body.int()?.into(),
            Shape::Long => self.body.long()?.into(),
            Shape::Float => f32::from_le_bytes(self.array()?).into(),
            Shape::Double => f64::from_le_bytes(self.array()?).into(),
            Shape::Bytes => base64(self.body.bytes()?),
            Shape::String => self.body.text()?.into(),
            Shape::Fixed(size) => base64(self.body.take(*size)?),
            Shape::Enum(symbols) => self.body.symbol(symbols)?.into(),
            Shape::Array(item) => {
                let mut items = Vec::new();
                self.blocks(|reader| {
                    items.push(reader.value(item)?);
                    Ok(())
                })?;
                items.into()
            }
            Shape::Map(value) => {
                let mut entries = Map::new();
                self.blocks(|reader| {
                    let key = reader.body.text()?.to_owned();
                    entries.insert(key, reader.value(value)?);
                    Ok(())
                })?;
                entries.into()
            }
            Shape::Union(branches) => {
                let branch = self.body.branch(branches)?;
                self.value(branch)?
            }
            Shape::Record(record) => {
                let field = |f: &super::shape::Field| Ok((f.name.to_string(), self.value(&f.shape)?));
                Value::Object(record.fields.iter().map(field).collect::<Result<_, Unreadable>>()?)
            }
        })
    }

    fn blocks(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), Unreadable>) -> Result<(), Unreadable> {
        while let Some(block) = self.body.block()? {
            (0..block.count).try_for_each(|_| item(self))?;
            self.body.end_block(&block)?;
        }
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.body.take(N).map(|bytes| bytes.try_into().expect("N bytes were taken"))
    }
}

fn base64(bytes: &[u8]) -> Value {
    base64::engine::general_purpose::STANDARD.encode(bytes).into()
}

/// Returns a command's body. Before it, the value of the record has [`frame_prefix`](super::frame::frame_prefix) of the schema's id.
pub fn encode_command(command: &RawCommand) -> Vec<u8> {
    static WRITERS: LazyLock<Vec<(UseCase, GenericDatumWriter<'static>)>> = LazyLock::new(|| {
        static SCHEMAS: LazyLock<Vec<Schema>> = LazyLock::new(|| UseCase::ALL.iter().map(|u| parse(u.schema())).collect());
        UseCase::ALL.iter().copied().zip(SCHEMAS.iter().map(writer)).collect()
    });
    let use_case = command.use_case;
    let reference = command.reference.as_ref().map(|RawReference { external_id, ref_id }| {
        Avro::Record(vec![("externalId".into(), text(external_id.as_deref())), ("refId".into(), text(ref_id.as_deref()))])
    });
    let mut fields = vec![("requestId".into(), text(command.request_id.as_deref()))];
    fields.extend(use_case.attributes().iter().map(|a| (a.name().into(), text(command.values.get(*a)))));
    if let Some(entity_type) = use_case.reference_type() {
        fields.push((entity_type.name().into(), nullable(reference)));
    }
    if !use_case.is_creation() {
        fields.push(("expectedVersion".into(), nullable(command.expected_version.map(Avro::Long))));
    }
    let record = Avro::Record(fields);
    let (_, writer) = WRITERS.iter().find(|(u, _)| *u == use_case).expect("each use case has a writer");
    writer.write_value_to_vec(record).expect("a test encodes each use case's record")
}

fn text(value: Option<&str>) -> Avro {
    nullable(value.map(|v| Avro::String(v.into())))
}

fn nullable(value: Option<Avro>) -> Avro {
    match value {
        None => Avro::Union(0, Box::new(Avro::Null)),
        Some(value) => Avro::Union(1, Box::new(value)),
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
