//! Compares our reader with apache-avro on random writers' schemas and bodies. apache-avro encodes bodies that we must read; and if we can
//! read a body that was damaged at random, apache-avro must read the same. Set `CRM_SEED` to the number that a failure prints to see it
//! again.

use super::*;
use crate::domain::attribute::RawValues;
use crate::domain::command::RawReference;
use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use serde_json::{Value, json};
use std::io::{self, Read};

/// How many schemas are made.
const SCHEMAS: usize = 300;
/// How many bodies are made for each schema. Each is cut at every byte.
const BODIES: usize = 4;
/// How often each body is damaged.
const DAMAGES: usize = 60;

/// Random numbers by `SplitMix64`: good enough, and the same everywhere.
pub(super) struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    pub fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    fn text(&mut self) -> String {
        (0..self.below(5)).map(|_| self.pick(&['a', '0', ' ', 'ä', '€', '\u{0}', '𝄞'])).collect()
    }

    pub fn long(&mut self) -> i64 {
        let shift = self.below(64);
        self.next().cast_signed() >> shift
    }
}

/// Makes a schema, and values for it.
pub(super) struct Writer<'a> {
    pub random: &'a mut Random,
    /// Makes the names of types unique.
    pub types: usize,
}

impl Writer<'_> {
    fn name(&mut self) -> String {
        self.types += 1;
        format!("T{}", self.types)
    }

    /// Returns `one`, bare or in a union with null on either side, or null alone.
    fn nullable(&mut self, one: Value) -> Value {
        match self.random.below(8) {
            0 => one,
            1 => json!("null"),
            2 => json!([one, "null"]),
            3 => json!([one]),
            _ => json!(["null", one]),
        }
    }

    fn any_schema(&mut self, depth: usize) -> Value {
        let primitives = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];
        match self.random.below(if depth == 0 { 10 } else { 15 }) {
            i @ 0..=7 => json!(primitives[i]),
            8 => json!({ "type": "enum", "name": self.name(), "symbols": ["A", "B", "C"] }),
            9 => json!({ "type": "fixed", "name": self.name(), "size": self.random.below(4) }),
            10 => self.array_schema(depth),
            11 => json!({ "type": "map", "values": self.any_schema(depth - 1) }),
            12 => json!(["null", "string", self.array_schema(depth), "double"]),
            _ => {
                let fields: Vec<Value> = (0..self.random.below(4))
                    .map(|i| json!({ "name": format!("f{i}"), "type": self.any_schema(depth - 1) }))
                    .collect();
                json!({ "type": "record", "name": self.name(), "fields": fields })
            }
        }
    }

    /// Returns the schema of an array whose items take a byte at least. Of items that take none, apache-avro would make as many as a
    /// damaged count says.
    fn array_schema(&mut self, depth: usize) -> Value {
        let fields = json!([{ "name": "pad", "type": "boolean" }, { "name": "item", "type": self.any_schema(depth - 1) }]);
        json!({ "type": "array", "items": { "type": "record", "name": self.name(), "fields": fields } })
    }

    fn text_schema(&mut self) -> Value {
        let one = self.random.pick(&[json!("string"), json!("bytes"), json!({ "type": "string", "avro.java.string": "String" })]);
        self.nullable(one)
    }

    pub fn command_schema(&mut self, use_case: UseCase) -> Value {
        let reference_fields = json!([
            { "name": "before", "type": self.any_schema(1) },
            { "name": "refId", "type": self.text_schema() },
            { "name": "externalId", "type": self.text_schema() },
        ]);
        let reference = json!({ "type": "record", "name": "EntityRef", "fields": reference_fields });
        let version = self.random.pick(&["int", "long"]);
        let mut fields = vec![
            json!({ "name": "requestId", "type": self.text_schema() }),
            // Of a creation, this field is none of ours.
            json!({ "name": "expectedVersion", "type": self.nullable(json!(version)) }),
        ];
        if let Some(entity_type) = use_case.reference_type() {
            fields.push(json!({ "name": entity_type.name(), "type": self.nullable(reference) }));
        }
        fields.extend(use_case.attributes().iter().map(|a| json!({ "name": a.name(), "type": self.text_schema() })));
        fields.extend((0..self.random.below(4)).map(|i| json!({ "name": format!("x{i}"), "type": self.any_schema(3) })));
        for i in (1..fields.len()).rev() {
            fields.swap(i, self.random.below(i + 1));
        }
        fields.truncate(1 + self.random.below(fields.len()));
        json!({ "type": "record", "name": use_case.record(), "namespace": "crm.v1", "fields": fields })
    }

    pub fn value(&mut self, schema: &Schema) -> Avro {
        let random = &mut *self.random;
        match schema {
            Schema::Null => Avro::Null,
            Schema::Boolean => Avro::Boolean(random.coin()),
            Schema::Int => Avro::Int((random.long() >> 32).try_into().unwrap()),
            Schema::Long => Avro::Long(random.long()),
            Schema::Float => Avro::Float(0.5),
            Schema::Double => Avro::Double(-0.25),
            Schema::Bytes => Avro::Bytes(random.text().into_bytes()),
            Schema::String => Avro::String(random.text()),
            Schema::Enum(e) => {
                let index = random.below(e.symbols.len());
                Avro::Enum(index.try_into().unwrap(), e.symbols[index].clone())
            }
            Schema::Fixed(f) => Avro::Fixed(f.size, vec![7; f.size]),
            Schema::Array(a) => Avro::Array((0..random.below(4)).map(|_| self.value(&a.items)).collect()),
            Schema::Map(m) => Avro::Map((0..random.below(3)).map(|i| (format!("k{i}"), self.value(&m.types))).collect()),
            Schema::Union(u) => {
                let index = random.below(u.variants().len());
                Avro::Union(index.try_into().unwrap(), Box::new(self.value(&u.variants()[index])))
            }
            Schema::Record(r) => Avro::Record(r.fields.iter().map(|f| (f.name.clone(), self.value(&f.schema))).collect()),
            other => panic!("no {other:?} was made"),
        }
    }
}

/// Returns the command that is in a record as apache-avro has read it.
pub(super) fn command_of(use_case: UseCase, record: &Avro) -> RawCommand {
    fn field<'a>(record: &'a Avro, name: &str) -> Option<&'a Avro> {
        let Avro::Record(fields) = record else { panic!("{record:?} is no record") };
        let (_, value) = fields.iter().find(|(n, _)| n == name)?;
        let value = if let Avro::Union(_, inner) = value { inner } else { value };
        Some(value).filter(|v| **v != Avro::Null)
    }
    fn text(record: &Avro, name: &str) -> Option<String> {
        match field(record, name)? {
            Avro::String(text) => Some(text.clone()),
            Avro::Bytes(bytes) => Some(String::from_utf8(bytes.clone()).unwrap()),
            other => panic!("{other:?} is no text"),
        }
    }
    RawCommand {
        use_case,
        request_id: text(record, "requestId"),
        reference: use_case
            .reference_type()
            .and_then(|entity_type| field(record, entity_type.name()))
            .map(|r| RawReference { external_id: text(r, "externalId"), ref_id: text(r, "refId") }),
        values: use_case.attributes().iter().fold(RawValues::default(), |values, a| values.with(*a, text(record, a.name()))),
        expected_version: field(record, "expectedVersion").filter(|_| !use_case.is_creation()).map(|version| match version {
            Avro::Int(i) => (*i).into(),
            Avro::Long(l) => *l,
            other => panic!("{other:?} is no version"),
        }),
    }
}

/// Bytes whose end is an error of a kind that apache-avro does not take for null.
struct Strict<'a>(&'a [u8]);

impl Read for Strict<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() && !buffer.is_empty() { Err(io::Error::other("the end")) } else { self.0.read(buffer) }
    }
}

pub(super) fn apache_decode(schema: &Schema, body: &[u8]) -> Result<Avro, String> {
    let mut reader = Strict(body);
    let value = GenericDatumReader::builder(schema).build().unwrap().read_value(&mut reader).map_err(|e| e.to_string())?;
    if reader.0.is_empty() { Ok(value) } else { Err("bytes are left over".into()) }
}

pub(super) fn damage(random: &mut Random, body: &[u8]) -> Vec<u8> {
    let mut damaged = body.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(damaged.len() + 1);
        match random.below(4) {
            0 => damaged.insert(at, random.pick(&[0, 1, 2, 0x7f, 0x80, 0xff])),
            1 if at < damaged.len() => drop(damaged.remove(at)),
            2 if at < damaged.len() => damaged[at] ^= 1 << random.below(8),
            3 if at < damaged.len() => damaged[at] = random.next().to_le_bytes()[0],
            _ => damaged.truncate(at),
        }
    }
    damaged
}

#[test]
fn what_apache_avro_writes_is_read_and_what_is_read_of_damaged_bytes_apache_avro_reads_the_same() {
    let now = || u64::from_be_bytes(uuid::Uuid::new_v4().as_bytes()[..8].try_into().unwrap());
    let seed = std::env::var("CRM_SEED").ok().map_or_else(now, |seed| seed.parse().unwrap());
    println!("CRM_SEED={seed}");
    let mut random = Random(seed);
    let (mut read, mut unreadable) = (0_u32, 0_u32);
    for _ in 0..SCHEMAS {
        let use_case = random.pick(UseCase::ALL);
        let mut made = Writer { random: &mut random, types: 0 };
        let json = made.command_schema(use_case).to_string();
        let theirs = Schema::parse_str(&json).unwrap_or_else(|e| panic!("{json}: {e}"));
        let ours = WriterSchema::parse(&json).unwrap_or_else(|e| panic!("{json}: {e}"));
        for _ in 0..BODIES {
            let value = Writer { random: &mut random, types: 0 }.value(&theirs);
            let writer = GenericDatumWriter::builder(&theirs).build().unwrap();
            let body = writer.write_value_to_vec(value.clone()).unwrap_or_else(|e| panic!("{json} {value:?}: {e}"));
            assert_eq!(ours.decode(&body), Ok(command_of(use_case, &value)), "{json} {body:?}");
            for end in 0..body.len() {
                assert_eq!(ours.decode(&body[..end]), Err(Malformed::Truncated.into()), "{json} {body:?} cut off at {end}");
            }
            for _ in 0..DAMAGES {
                let damaged = damage(&mut random, &body);
                match ours.decode(&damaged) {
                    Ok(command) => {
                        read += 1;
                        let theirs = apache_decode(&theirs, &damaged).map(|v| command_of(use_case, &v));
                        assert_eq!(theirs, Ok(command), "{json} {damaged:?}");
                    }
                    Err(Unreadable::Malformed(_)) => unreadable += 1,
                    Err(other) => panic!("{json} {damaged:?}: {other}"),
                }
            }
        }
    }
    assert!(read > 0 && unreadable > 0, "the damage is too small or too large to show anything: {read} {unreadable}");
}
