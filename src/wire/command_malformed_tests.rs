//! Over 100,000 malformed records, by seeds: values, writers' schemas and headers, each made from one that is valid. Each of them is
//! read or refused, without a panic and without memory out of proportion. Where both can read, the verdict is never another one than
//! apache-avro's.
//!
//! A seed is one schema with its cases. `CRM_SEED=n` runs this seed, `CRM_SEEDS=n` the first n.

use super::random_tests::{Random, Writer, apache_decode, command_of, damage};
use super::*;
use crate::allocated::allocated;
use crate::wire::frame::{frame, frame_prefix};
use crate::wire::headers::{Asked, CommandHeaders};
use apache_avro::Schema;
use apache_avro::writer::datum::GenericDatumWriter;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const SEEDS: u64 = 2_000;
/// How many damaged bodies a seed makes.
const BODIES: usize = 40;
/// How many damaged schemas a seed makes.
const SCHEMAS: usize = 5;
/// How many damaged bodies are read with each damaged schema that is usable.
const BODIES_EACH: usize = 2;
/// How many damaged sets of headers a seed makes.
const HEADERS: usize = 5;
const CASES: u64 = SEEDS * (BODIES + SCHEMAS + HEADERS) as u64;

/// What decoding a body may allocate beyond the body's size. Only texts are copied out of a body, and no byte belongs to two of them.
const BODY_OVERHEAD: usize = 64;
/// What each byte of a schema may allocate. It can become a value of JSON, a shape, and a part of a message; a union of names takes the
/// most. Measured: up to 28 bytes for one.
const PER_SCHEMA_BYTE: usize = 200;
const SCHEMA_OVERHEAD: usize = 4096;
/// What each byte of the headers may allocate: names and values are copied for the answers, a correlation id as hexadecimal.
const PER_HEADER_BYTE: usize = 4;
const HEADERS_OVERHEAD: usize = 1024;

/// How many cases ended in each verdict; and, under [`LARGEST`], the most bytes that a byte of a schema took.
type Verdicts = BTreeMap<&'static str, u64>;
const LARGEST: &str = "bytes for a byte of a schema";

#[test]
fn whatever_comes_is_read_or_refused_and_takes_no_memory_out_of_proportion() {
    const { assert!(CASES >= 100_000) };
    apache_avro::util::max_allocation_bytes(1 << 20);
    let mut verdicts = Verdicts::new();
    let seeds = seeds();
    let all = seeds.end - seeds.start >= SEEDS;
    for seed in seeds {
        let reproduce = Reproduce(seed);
        run(seed, &mut verdicts);
        drop(reproduce);
    }
    println!("most {LARGEST}: {}", verdicts.remove(LARGEST).unwrap_or_default());
    println!("{} cases: {verdicts:#?}", verdicts.values().sum::<u64>());
    let expected = ["read", "truncated", "left over", "number", "length", "boolean", "utf-8", "branch", "symbol", "block"];
    let expected = expected.iter().chain(&["schema read", "schema unusable", "schema unknown", "headers"]);
    let missing: Vec<_> = expected.filter(|e| !verdicts.contains_key(*e)).collect();
    assert!(!all || missing.is_empty(), "never came: {missing:?}");
}

fn seeds() -> std::ops::Range<u64> {
    let variable = |name| std::env::var(name).ok().map(|n| n.parse::<u64>().expect("a number"));
    match variable("CRM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("CRM_SEEDS").unwrap_or(SEEDS),
    }
}

/// Says how to run a seed again, if its cases panic.
struct Reproduce(u64);

impl Drop for Reproduce {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("re-run with CRM_SEED={}", self.0);
        }
    }
}

fn run(seed: u64, verdicts: &mut Verdicts) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let use_case = random.pick(UseCase::ALL);
    let json: Value = if random.coin() {
        serde_json::from_str(use_case.schema()).unwrap()
    } else {
        Writer { random: &mut random, types: 0 }.command_schema(use_case)
    };
    let text = json.to_string();
    let theirs = Schema::parse_str(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
    let ours = WriterSchema::parse(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
    let value = Writer { random: &mut random, types: 0 }.value(&theirs);
    let body = GenericDatumWriter::builder(&theirs).build().unwrap().write_value_to_vec(value).unwrap();
    for _ in 0..BODIES {
        let damaged = damaged_body(&mut random, &body);
        check_frame(&mut random, &damaged);
        let decoded = decode(&ours, &damaged, &text);
        check_verdict(use_case, &theirs, &damaged, &decoded, &text);
        *verdicts.entry(verdict(&decoded)).or_default() += 1;
    }
    for n in 0..SCHEMAS {
        let schema = if n == 0 { hostile_schema(&mut random, use_case) } else { damaged_schema(&mut random, json.clone()) };
        let (parsed, bytes) = allocated(|| WriterSchema::parse(&schema));
        let bound = PER_SCHEMA_BYTE * schema.len() + SCHEMA_OVERHEAD;
        assert!(bytes <= bound, "{bytes} bytes for {} of {schema}", schema.len());
        let largest = verdicts.entry(LARGEST).or_default();
        *largest = (*largest).max((bytes.saturating_sub(SCHEMA_OVERHEAD) / schema.len().max(1)) as u64);
        *verdicts.entry(schema_verdict(&parsed, &schema)).or_default() += 1;
        let Ok(parsed) = parsed else { continue };
        for _ in 0..BODIES_EACH {
            let damaged = damaged_body(&mut random, &body);
            *verdicts.entry(verdict(&decode(&parsed, &damaged, &schema))).or_default() += 1;
        }
    }
    for _ in 0..HEADERS {
        check_headers(&mut random);
        *verdicts.entry("headers").or_default() += 1;
    }
}

fn decode(schema: &WriterSchema, body: &[u8], text: &str) -> Result<RawCommand, Malformed> {
    let (decoded, bytes) = allocated(|| schema.decode(body));
    assert!(bytes <= body.len() + BODY_OVERHEAD, "{bytes} bytes for {} of {body:?}, written with {text}", body.len());
    decoded.map_err(|e| match e {
        Unreadable::Malformed(malformed) => malformed,
        other => panic!("{body:?}, written with {text}: {other}"),
    })
}

/// Checks that apache-avro reads whatever we read, and reads the same. If only apache-avro reads a body, we must be stricter for a known
/// reason.
fn check_verdict(use_case: UseCase, theirs: &Schema, body: &[u8], ours: &Result<RawCommand, Malformed>, text: &str) {
    let theirs = apache_decode(theirs, body);
    match ours {
        Ok(command) => {
            let theirs = theirs.map(|value| command_of(use_case, &value));
            assert_eq!(theirs.as_ref(), Ok(command), "{body:?}, written with {text}");
        }
        // We are stricter about a block's size that is not true, bytes that are to be a text and are none, a number of more than 64 bits.
        Err(Malformed::Block | Malformed::Utf8 | Malformed::Number) => (),
        Err(why) => assert!(theirs.is_err(), "{why}, but apache-avro reads {theirs:?} in {body:?}, written with {text}"),
    }
}

fn check_frame(random: &mut Random, body: &[u8]) {
    let id = u32::try_from(random.next() >> 32).unwrap();
    let mut value = [&frame_prefix(id)[..], body].concat();
    assert_eq!(frame(Some(&value), []), Ok((id.into(), body)));
    value[0] = 1 + random.next().to_le_bytes()[0] % 255;
    assert_eq!(frame(Some(&value), []), Err(Unreadable::NotWireFormat));
    value[0] = 0;
    value.truncate(random.below(5));
    assert_eq!(frame(Some(&value), []), Err(Unreadable::NotWireFormat));
}

/// Damages a body: by bit flips, cuts and insertions, by numbers that are too long, too large or negative, by copies of its own parts in
/// other places.
fn damaged_body(random: &mut Random, body: &[u8]) -> Vec<u8> {
    const NUMBERS: [&[u8]; 8] = [
        b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
        &[0xff; 20],
        b"\x80\x80\x80\x80\x10",
        b"\xff\xff\xff\xff\x1f",
        b"\x80\x80\x00",
        b"\x01",
    ];
    let mut damaged = if random.coin() { damage(random, body) } else { body.to_vec() };
    let place = random.below(damaged.len() + 1);
    match random.below(6) {
        0 => drop(damaged.splice(place..place, random.pick(&NUMBERS).iter().copied())),
        1 if place < damaged.len() => drop(damaged.splice(place..=place, random.pick(&NUMBERS).iter().copied())),
        2 => {
            let from = random.below(body.len() + 1);
            let to = from + random.below(body.len() + 1 - from);
            damaged.splice(place..place, body[from..to].iter().copied());
        }
        3 => damaged.truncate(place),
        _ => (),
    }
    damaged
}

/// Returns a schema that means harm: it is recursive, deep or exponential, defines a name twice, is oddly named or means something else.
fn hostile_schema(random: &mut Random, use_case: UseCase) -> String {
    let record = |fields: Value| json!({ "type": "record", "name": use_case.record(), "namespace": "crm.v1", "fields": fields });
    let count = 1 + random.below(60);
    let many = |n: usize| {
        let parts = [json!([{ "name": "a", "type": "int" }]), json!([])];
        json!({ "name": format!("f{n}"), "type": { "type": "record", "name": format!("R{n}"), "fields": parts[n % 2] } })
    };
    let json = match random.below(10) {
        0 => record(json!([{ "name": "requestId", "type": ["null", use_case.record()] }])),
        1 => {
            let step = |inner, n: usize| {
                if n.is_multiple_of(2) {
                    json!({ "type": "array", "items": inner })
                } else {
                    json!({ "type": "map", "values": inner })
                }
            };
            record(json!([{ "name": "x", "type": (0..count).fold(json!("null"), step) }]))
        }
        2 => {
            let double = |inner: Value, n: usize| {
                let again = if n == 0 { json!("null") } else { json!(format!("crm.v1.D{}", n - 1)) };
                let fields = json!([{ "name": "a", "type": inner }, { "name": "b", "type": again }]);
                json!({ "type": "record", "name": format!("D{n}"), "fields": fields })
            };
            record(json!([{ "name": "x", "type": (0..count / 2).fold(json!("null"), double) }]))
        }
        3 => record(json!([{ "name": "requestId", "type": "string" }, { "name": "requestId", "type": "string" }])),
        4 => {
            let twice = json!({ "type": "fixed", "name": "F", "size": u64::MAX });
            record(json!([{ "name": "a", "type": twice }, { "name": "b", "type": twice }]))
        }
        5 => {
            let mut odd = record(json!([]));
            let names = ["", ".", "crm.v1.", ".crm.v1", "crm..v1", "crm.v1.crm.v1", "\u{0}", "crm.v1.UpdateCustomerSegment"];
            odd[random.pick(&["name", "namespace"])] = random.pick(&names).into();
            odd
        }
        6 => {
            let logical = random.pick(&["uuid", "date", "decimal", "duration", "timestamp-millis", "none"]);
            let kind = random.pick(&["string", "bytes", "int", "long", "float"]);
            let odd = json!({ "type": kind, "logicalType": logical, "precision": -1, "scale": i64::MAX });
            record(json!([{ "name": "requestId", "type": odd }, { "name": "expectedVersion", "type": odd }]))
        }
        7 => record((0..count).map(many).collect()),
        8 => {
            let symbols: Vec<_> = (0..count).map(|n| format!("S{n}")).collect();
            record(json!([{ "name": "x", "type": { "type": "enum", "name": "E", "symbols": symbols, "default": 7 } }]))
        }
        _ => return format!("{}{}", "[".repeat(count * 50), "{\"type\":".repeat(count)),
    };
    json.to_string()
}

/// Damages a schema: replaces a part of it, or damages its text.
fn damaged_schema(random: &mut Random, mut json: Value) -> String {
    for _ in 0..=random.below(3) {
        replace(random, &mut json);
    }
    let text = json.to_string();
    if random.below(4) > 0 { text } else { String::from_utf8_lossy(&damage(random, text.as_bytes())).into_owned() }
}

fn replace(random: &mut Random, json: &mut Value) {
    let inner = match json {
        Value::Array(items) if !items.is_empty() => {
            let n = random.below(items.len());
            Some(&mut items[n])
        }
        Value::Object(object) if !object.is_empty() => {
            let n = random.below(object.len());
            object.values_mut().nth(n)
        }
        _ => None,
    };
    match inner {
        Some(inner) if random.below(6) > 0 => replace(random, inner),
        _ => {
            let others = [
                json!(null),
                json!(0),
                json!(u64::MAX),
                json!("string"),
                json!("bytes"),
                json!("EntityRef"),
                json!("crm.v1.EntityRef"),
                json!("record"),
                json!([]),
                json!({}),
                json!(["null", "null"]),
                json!([["null"]]),
                json!({ "type": { "type": "string" } }),
                json!({ "type": "fixed", "name": "EntityRef", "size": 0 }),
            ];
            *json = random.pick(&others);
        }
    }
}

fn check_headers(random: &mut Random) {
    let names = ["correlation-id", "kafka_correlationId", "kafka_replyTopic", "kafka_replyPartition", "traceparent", "other"];
    let headers: Vec<(&str, Option<Vec<u8>>)> = (0..random.below(12))
        .map(|_| {
            let value = match random.below(6) {
                0 => None,
                1 => Some(vec![b'x'; random.below(3_000)]),
                2 => Some(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_vec()),
                3 => Some(random.long().to_be_bytes()[random.below(9)..].to_vec()),
                4 => Some(b"crm.replies".to_vec()),
                _ => Some((0..random.below(40)).map(|_| random.next().to_le_bytes()[0]).collect()),
            };
            let value = value.map(|value| if random.coin() { damage(random, &value) } else { value });
            (random.pick(&names), value)
        })
        .collect();
    let (parsed, bytes) = allocated(|| CommandHeaders::parse(headers.iter().map(|(name, value)| (*name, value.as_deref()))));
    let size: usize = headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len)).sum();
    assert!(bytes <= PER_HEADER_BYTE * size + HEADERS_OVERHEAD, "{bytes} bytes for {size} of {headers:?}");
    assert!(parsed.echo.len() <= 2, "{parsed:?} of {headers:?}");
    let longest = crate::wire::unreadable::MAX_CORRELATION_BYTES;
    assert!(parsed.echo.iter().flat_map(|(_, value)| value).all(|v| v.len() <= longest), "{parsed:?} of {headers:?}");
    assert!(!matches!(parsed.reply_partition, Asked::Valid(n) if n < 0), "{parsed:?} of {headers:?}");
    let legal = |topic: &str| !topic.is_empty() && topic.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    assert!(!matches!(&parsed.reply_topic, Asked::Valid(topic) if !legal(topic)), "{parsed:?} of {headers:?}");
}

fn verdict(decoded: &Result<RawCommand, Malformed>) -> &'static str {
    match decoded {
        Ok(_) => "read",
        Err(Malformed::Truncated) => "truncated",
        Err(Malformed::LeftOver) => "left over",
        Err(Malformed::Number) => "number",
        Err(Malformed::Length) => "length",
        Err(Malformed::Boolean) => "boolean",
        Err(Malformed::Utf8) => "utf-8",
        Err(Malformed::Branch) => "branch",
        Err(Malformed::Symbol) => "symbol",
        Err(Malformed::Block) => "block",
        Err(Malformed::TooMany) => panic!("never said of commands"),
    }
}

fn schema_verdict(parsed: &Result<WriterSchema, Unreadable>, schema: &str) -> &'static str {
    match parsed {
        Ok(_) => "schema read",
        Err(Unreadable::UnknownRecordName { .. }) => "schema unknown",
        Err(Unreadable::SchemaUnusable { .. }) => "schema unusable",
        Err(other) => panic!("{other} is nothing to say of a schema: {schema}"),
    }
}
