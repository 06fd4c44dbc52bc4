//! Which records are read as commands, and which are not: wire format, names, resolution onto our schemas, bounds, damage.
//! Where the bytes of a body matter, they are written out by hand.

use super::*;
use crate::domain::attribute::RawValues;
use crate::domain::command::RawReference;
use crate::wire::frame::{frame, frame_prefix};
use crate::wire::json::encode_command;
use crate::wire::schema_id::SchemaId;
use serde_json::{Value, json};

/// Returns one of our schemas with other fields.
fn schema(use_case: UseCase, fields: &Value) -> String {
    json!({ "type": "record", "name": use_case.record(), "namespace": "crm.v1", "fields": fields }).to_string()
}

fn segment_schema(fields: &Value) -> String {
    schema(UseCase::UpdateCustomerSegment, fields)
}

/// Returns commands with all combinations of which of their values are null.
fn commands(use_case: UseCase) -> Vec<RawCommand> {
    let text = |is_set: bool, text: &str| is_set.then(|| text.to_owned());
    (0..32_u8)
        .map(|bits| {
            let bit = |i: u8| bits & (1 << i) != 0;
            let reference = RawReference { external_id: text(bit(1), "ä-1"), ref_id: text(bit(2), "no uuid") };
            RawCommand {
                use_case,
                request_id: text(bit(0), "r-1"),
                reference: (use_case.reference_type().is_some() && (bit(1) || bit(2))).then_some(reference),
                values: use_case.first_value(text(bit(3), "")),
                expected_version: (!use_case.is_creation() && bit(4)).then_some(i64::MIN),
            }
        })
        .collect()
}

#[test]
fn the_wire_format_is_byte_0_the_schema_id_and_the_body() {
    type Case<'a> = (Option<&'a [u8]>, Result<(SchemaId, &'a [u8]), Unreadable>);
    let cases: &[Case<'_>] = &[
        (None, Err(Unreadable::NullValue)),
        (Some(b""), Err(Unreadable::NotWireFormat)),
        (Some(&[0, 0, 0, 1]), Err(Unreadable::NotWireFormat)),
        (Some(&[1, 0, 0, 0, 1, 2]), Err(Unreadable::NotWireFormat)),
        (Some(b"{\"requestId\":1}"), Err(Unreadable::NotWireFormat)),
        (Some(&[0, 0, 0, 0, 1]), Ok((1.into(), b""))),
        (Some(&[0, 1, 2, 3, 4, 5, 6]), Ok((0x0102_0304.into(), &[5, 6]))),
        (Some(&[0, 0xff, 0xff, 0xff, 0xff]), Ok((u32::MAX.into(), b""))),
    ];
    for (value, expected) in cases {
        assert_eq!(frame(*value, []), *expected, "{value:?}");
    }
    assert_eq!(frame(Some(&frame_prefix(0x0102_0304)), []), Ok((0x0102_0304.into(), &[][..])));
}

#[test]
fn our_own_commands_are_read_whatever_is_null_in_them() {
    for use_case in UseCase::ALL {
        let schema = WriterSchema::parse(use_case.schema()).unwrap();
        assert_eq!(schema.use_cases().collect::<Vec<_>>(), [*use_case]);
        for command in commands(*use_case) {
            assert_eq!(schema.decode(&encode_command(&command)), Ok(command));
        }
    }
}

#[test]
fn our_schemas_have_the_fields_of_their_use_cases() {
    for use_case in UseCase::ALL {
        let schema: Value = serde_json::from_str(use_case.schema()).unwrap();
        let names: Vec<&str> = schema["fields"].as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect();
        assert_eq!(names, use_case.fields(), "{use_case:?}");
    }
}

#[test]
fn what_bytes_end_too_early_or_too_late_is_unreadable() {
    for use_case in UseCase::ALL {
        let schema = WriterSchema::parse(use_case.schema()).unwrap();
        for command in commands(*use_case) {
            let body = encode_command(&command);
            for end in 0..body.len() {
                assert_eq!(schema.decode(&body[..end]), Err(Malformed::Truncated.into()), "{command:?} cut off at {end}");
            }
            let longer = [&body[..], &[0]].concat();
            assert_eq!(schema.decode(&longer), Err(Malformed::LeftOver.into()), "{command:?}");
        }
    }
}

#[test]
fn commands_are_known_by_their_full_name() {
    let named = |name: Value| json!({ "type": "record", "name": name, "fields": [] });
    let cases = [
        (named(json!("crm.v1.UpdateCustomerSegment")), true),
        (json!({ "type": named(json!("crm.v1.UpdateCustomerSegment")) }), true),
        (json!({ "type": "record", "name": "crm.v1.UpdateCustomerSegment", "namespace": "x", "fields": [] }), true),
        (json!({ "type": "error", "name": "UpdateCustomerSegment", "namespace": "crm.v1", "fields": [] }), true),
        (named(json!("UpdateCustomerSegment")), false),
        (named(json!("crm.v2.UpdateCustomerSegment")), false),
        (named(json!("crm.v1.x.UpdateCustomerSegment")), false),
        (named(json!("crm.v1.updateCustomerSegment")), false),
        (named(json!("crm.v1.Reply")), false),
        (json!("string"), false),
        (json!([named(json!("crm.v1.UpdateCustomerSegment"))]), true),
        (json!({ "type": "enum", "name": "crm.v1.UpdateCustomerSegment", "symbols": [] }), false),
    ];
    for (schema, is_known) in cases {
        match WriterSchema::parse(&schema.to_string()) {
            Ok(known) => assert!(is_known && known.use_cases().eq([UseCase::UpdateCustomerSegment]), "{schema}"),
            Err(error) => assert!(!is_known && matches!(error, Unreadable::UnknownRecordName { .. }), "{schema}: {error}"),
        }
    }
}

/// Returns the union `["null", {…}]`.
#[allow(clippy::needless_pass_by_value, reason = "what it is given is made on the spot")]
fn nullable(schema: Value) -> Value {
    json!(["null", schema])
}

fn reference_schema(fields: &Value) -> Value {
    json!({ "type": "record", "name": "EntityRef", "fields": fields })
}

#[test]
fn other_writers_schemas_are_resolved_onto_ours() {
    let reference = |external_id: Option<&str>, ref_id: Option<&str>| {
        Some(RawReference { external_id: external_id.map(Into::into), ref_id: ref_id.map(Into::into) })
    };
    let empty = RawCommand {
        use_case: UseCase::UpdateCustomerSegment,
        request_id: None,
        reference: None,
        values: RawValues::default(),
        expected_version: None,
    };
    let request = |id: &str| RawCommand { request_id: Some(id.into()), ..empty.clone() };
    let version = |version| RawCommand { expected_version: Some(version), ..empty.clone() };
    let about = |reference| RawCommand { reference, ..empty.clone() };
    let uuid = json!({ "type": "string", "logicalType": "uuid" });
    let java = json!({ "type": "string", "avro.java.string": "String" });
    let cases: Vec<(&str, Value, Vec<u8>, RawCommand)> = vec![
        ("no fields at all", json!([]), vec![], empty.clone()),
        ("not nullable", json!([{ "name": "requestId", "type": "string" }]), vec![2, b'a'], request("a")),
        ("always null", json!([{ "name": "requestId", "type": "null" }]), vec![], empty.clone()),
        (
            "nullable the other way round",
            json!([{ "name": "requestId", "type": ["string", "null"] }]),
            vec![0, 2, b'a'],
            request("a"),
        ),
        ("a union of one", json!([{ "name": "requestId", "type": ["string"] }]), vec![0, 2, b'a'], request("a")),
        ("bytes", json!([{ "name": "requestId", "type": ["null", "bytes"] }]), vec![2, 4, 0xc3, 0xa4], request("ä")),
        ("a string of Java", json!([{ "name": "requestId", "type": nullable(java) }]), vec![2, 2, b'a'], request("a")),
        ("a string that should be a UUID", json!([{ "name": "requestId", "type": uuid }]), vec![2, b'a'], request("a")),
        ("int", json!([{ "name": "expectedVersion", "type": "int" }]), vec![3], version(-2)),
        ("nullable int", json!([{ "name": "expectedVersion", "type": nullable(json!("int")) }]), vec![2, 4], version(2)),
        (
            "a date, if somebody must",
            json!([{ "name": "expectedVersion", "type": { "type": "int", "logicalType": "date" } }]),
            vec![4],
            version(2),
        ),
        ("int or long", json!([{ "name": "expectedVersion", "type": ["int", "long", "null"] }]), vec![2, 4], version(2)),
        (
            "another order, and fields of its own",
            json!([
                { "name": "tags", "type": { "type": "map", "values": { "type": "array", "items": "double" } } },
                { "name": "expectedVersion", "type": "long", "default": 7 },
                { "name": "channel", "type": { "type": "enum", "name": "Channel", "symbols": ["WEB", "SHOP"] } },
                { "name": "requestId", "type": "string", "aliases": ["id"] },
                { "name": "hash", "type": { "type": "fixed", "name": "Hash", "size": 2 } },
            ]),
            // One tag with one number, in a block that says its size; SHOP.
            [&[1, 24, 2, b't', 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &[18, 2, 2, b'a', 9, 9]].concat(),
            RawCommand { expected_version: Some(9), ..request("a") },
        ),
        (
            "a field by an alias of the writer is another field",
            json!([{ "name": "id", "aliases": ["requestId"], "type": "string" }]),
            vec![2, b'a'],
            empty.clone(),
        ),
        (
            "a reference with a logical type and a field of its own",
            json!([{ "name": "customer", "type": reference_schema(&json!([
                { "name": "note", "type": "string" },
                { "name": "refId", "type": { "type": "string", "logicalType": "uuid" } },
            ])) }]),
            vec![2, b'n', 2, b'x'],
            about(reference(None, Some("x"))),
        ),
        (
            "a reference that was defined elsewhere in the schema",
            json!([
                { "name": "parent", "type": nullable(reference_schema(&json!([{ "name": "externalId", "type": "string" }]))) },
                { "name": "customer", "type": nullable(json!("EntityRef")) },
            ]),
            vec![2, 2, b'p', 2, 2, b'c'],
            about(reference(Some("c"), None)),
        ),
        (
            "a reference of another namespace",
            json!([{ "name": "customer", "type": { "type": "record", "name": "com.example.EntityRef", "fields": [] } }]),
            vec![],
            about(reference(None, None)),
        ),
        (
            "another use case's fields",
            json!([{ "name": "customName", "type": "string" }, { "name": "account", "type": "null" }]),
            vec![2, b'a'],
            empty.clone(),
        ),
    ];
    for (what, fields, body, expected) in cases {
        let schema = WriterSchema::parse(&segment_schema(&fields)).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(schema.decode(&body), Ok(expected), "{what}");
        for end in 0..body.len() {
            assert_eq!(schema.decode(&body[..end]), Err(Malformed::Truncated.into()), "{what}, cut off at {end}");
        }
    }
}

#[test]
fn a_schema_is_unusable_if_some_value_of_it_can_not_be_resolved_onto_ours() {
    let field = |name: &str, schema: Value| segment_schema(&json!([{ "name": name, "type": schema }]));
    let record = |name: &str, fields: Value| json!({ "type": "record", "name": name, "fields": fields });
    let cases = [
        (field("requestId", json!("int")), "requestId is int, which can't be read as a nullable string"),
        (field("requestId", json!(["null", "string", "int"])), "requestId is int"),
        (field("requestId", json!({ "type": "array", "items": "string" })), "requestId is array"),
        (field("requestId", json!({ "type": "enum", "name": "E", "symbols": ["A"] })), "requestId is enum"),
        (field("requestId", json!({ "type": "fixed", "name": "F", "size": 16 })), "requestId is fixed"),
        (field("customerSegment", json!("boolean")), "customerSegment is boolean"),
        (field("expectedVersion", json!("string")), "expectedVersion is string, which can't be read as a nullable long"),
        (field("expectedVersion", json!(["null", "double"])), "expectedVersion is double"),
        (field("customer", json!("string")), "customer is string, which can't be read as a nullable EntityRef"),
        (field("customer", json!({ "type": "map", "values": "string" })), "customer is map"),
        (field("customer", record("CustomerRef", json!([]))), "customer is record \"CustomerRef\""),
        (
            field("customer", reference_schema(&json!([{ "name": "refId", "type": "long" }]))),
            "customer.refId is long, which can't be read as a nullable string",
        ),
        (field("next", json!(["null", "UpdateCustomerSegment"])), "recursive: \"crm.v1.UpdateCustomerSegment\" holds itself"),
        (
            field("tree", record("Tree", json!([{ "name": "children", "type": { "type": "array", "items": "crm.v1.Tree" } }]))),
            "recursive: \"crm.v1.Tree\" holds itself",
        ),
        (field("x", json!("Missing")), "names \"crm.v1.Missing\", which is not defined"),
        (field("x", json!([["null"], "string"])), "a union holds a union"),
        (field("x", json!(7)), "neither a name, an object nor an array"),
        (field("x", json!({ "items": "string" })), "has no type"),
        (field("x", json!({ "type": "array" })), "has no items"),
        (field("x", json!({ "type": "fixed", "name": "F", "size": -1 })), "a fixed has no size"),
        (field("x", json!({ "type": "enum", "name": "E", "symbols": [1] })), "an enum has no list of symbols"),
        (field("x", json!({ "type": "record", "fields": [] })), "a named schema has no name"),
        (segment_schema(&json!([{ "name": "a", "type": "int" }, { "name": "a", "type": "int" }])), "two fields \"a\""),
        (
            segment_schema(
                &json!([{ "name": "a", "type": record("R", json!([])) }, { "name": "b", "type": record("R", json!([])) }]),
            ),
            "defines \"crm.v1.R\" twice",
        ),
        ("syntax = \"proto3\";".into(), "not JSON"),
        (String::new(), "not JSON"),
    ];
    for (schema, expected) in cases {
        let error = WriterSchema::parse(&schema).expect_err(&schema);
        assert!(matches!(error, Unreadable::SchemaUnusable { .. }), "{schema}: {error}");
        assert!(error.to_string().contains(expected), "{schema}\nexpected: {expected}\ngot: {error}");
    }
}

#[test]
fn messages_stay_short_whatever_a_schema_calls_things() {
    let long = "x".repeat(1_000_000);
    let schema = segment_schema(&json!([{ "name": "a", "type": long }]));
    for schema in [schema, json!({ "type": "record", "name": long, "fields": [] }).to_string()] {
        let message = WriterSchema::parse(&schema).unwrap_err().to_string();
        assert!(message.len() < 300, "{} bytes: {message:.100}…", message.len());
    }
}

/// Returns one of our schemas with a field that holds `levels` records, arrays and maps in one another. It is made as text, because a
/// `Value` of this depth would overflow the test's own stack.
fn nested(levels: usize) -> String {
    let (mut before, mut after) = (String::new(), String::new());
    for level in 0..levels {
        let (open, close) = match level % 3 {
            0 => (r#"{"type":"array","items":"#.to_owned(), "}"),
            1 => (r#"{"type":"map","values":["null","#.to_owned(), "]}"),
            _ => (format!(r#"{{"type":"record","name":"R{level}","fields":[{{"name":"f","type":"#), "}]}"),
        };
        before.push_str(&open);
        after.insert_str(0, close);
    }
    let field = format!(r#"{{"name":"deep","type":{before}"int"{after}}}"#);
    format!(r#"{{"type":"record","name":"crm.v1.UpdateCustomerSegment","fields":[{field}]}}"#)
}

#[test]
fn schemas_may_be_nested_32_deep_but_no_deeper() {
    use crate::wire::shape::MAX_DEPTH;
    assert_eq!(MAX_DEPTH, 32);
    assert!(WriterSchema::parse(&nested(MAX_DEPTH - 1)).is_ok());
    for levels in [MAX_DEPTH, 40, 50_000] {
        let error = WriterSchema::parse(&nested(levels)).expect_err("nested too deep");
        assert!(matches!(error, Unreadable::SchemaUnusable { .. }), "{levels}: {error}");
    }
    // These records are not nested in the text, but by name: each holds the one before.
    let mut fields = vec![json!({ "name": "f0", "type": { "type": "record", "name": "R0", "fields": [] } })];
    for i in 1..=MAX_DEPTH {
        let field = json!({ "name": "f", "type": format!("R{}", i - 1) });
        fields.push(json!({ "name": format!("f{i}"), "type": { "type": "record", "name": format!("R{i}"), "fields": [field] } }));
    }
    assert!(WriterSchema::parse(&segment_schema(&json!(fields[..MAX_DEPTH - 1]))).is_ok());
    let error = WriterSchema::parse(&segment_schema(&json!(fields))).unwrap_err();
    assert!(error.to_string().contains("nested deeper than 32"), "{error}");
}

#[test]
fn records_that_hold_each_other_twice_over_cost_no_more_than_their_text_and_bytes() {
    // Written out, the last record has 2^30 fields. In the first case none of them takes a byte; in the second the bytes soon end.
    for (leaf, body_is_fine) in [(json!([]), true), (json!([{ "name": "i", "type": "int" }]), false)] {
        let mut fields = vec![json!({ "name": "f0", "type": { "type": "record", "name": "R0", "fields": leaf } })];
        for i in 1..=29 {
            let twice =
                [json!({ "name": "a", "type": format!("R{}", i - 1) }), json!({ "name": "b", "type": format!("R{}", i - 1) })];
            fields
                .push(json!({ "name": format!("f{i}"), "type": { "type": "record", "name": format!("R{i}"), "fields": twice } }));
        }
        let schema = WriterSchema::parse(&segment_schema(&json!(fields))).unwrap();
        assert_eq!(schema.decode(&[]).is_ok(), body_is_fine);
    }
}

#[test]
fn an_array_of_nothing_costs_nothing_however_long_it_is() {
    let array = |items: Value| {
        let schema = segment_schema(&json!([{ "name": "x", "type": { "type": "array", "items": items } }]));
        WriterSchema::parse(&schema).unwrap()
    };
    // i64::MAX items, then the end of the array.
    let body = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0];
    let nothing = json!({ "type": "record", "name": "Nothing", "fields": [{ "name": "n", "type": "null" }] });
    for items in [json!("null"), nothing, json!({ "type": "fixed", "name": "F", "size": 0 })] {
        assert!(array(items.clone()).decode(&body).is_ok(), "{items}");
    }
    for items in ["boolean", "int", "string", "double"] {
        assert!(array(json!(items)).decode(&body).is_err(), "{items}");
    }
}

#[test]
fn what_is_not_the_avro_of_the_schema_is_malformed() {
    let one = |schema: Value| segment_schema(&json!([{ "name": "x", "type": schema }]));
    let array = one(json!({ "type": "array", "items": "int" }));
    let too_long = [0xff; 11];
    let cases: Vec<(String, &[u8], Malformed)> = vec![
        (one(json!("boolean")), &[2], Malformed::Boolean),
        (one(json!("string")), &[1], Malformed::Length),
        (one(json!("string")), &[2, 0xff], Malformed::Utf8),
        (one(json!("bytes")), &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], Malformed::Truncated),
        (one(json!("int")), &[0x80, 0x80, 0x80, 0x80, 0x10], Malformed::Number),
        (one(json!("long")), &too_long, Malformed::Number),
        (one(json!("long")), &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], Malformed::Number),
        (one(json!(["null", "int"])), &[4], Malformed::Branch),
        (one(json!(["null", "int"])), &[1], Malformed::Branch),
        (one(json!([])), &[0], Malformed::Branch),
        (one(json!({ "type": "enum", "name": "E", "symbols": ["A"] })), &[2], Malformed::Symbol),
        (array.clone(), &[1, 4, 2, 0], Malformed::Block),
        (array.clone(), &[1, 1, 2, 0], Malformed::Block),
        (array, &[2, 2], Malformed::Truncated),
        (one(json!({ "type": "fixed", "name": "F", "size": u64::MAX })), &[0], Malformed::Truncated),
        (segment_schema(&json!([{ "name": "requestId", "type": "bytes" }])), &[2, 0xff], Malformed::Utf8),
        (segment_schema(&json!([])), &[0], Malformed::LeftOver),
    ];
    for (schema, body, expected) in cases {
        let got = WriterSchema::parse(&schema).unwrap_or_else(|e| panic!("{schema}: {e}")).decode(body);
        assert_eq!(got, Err(expected.into()), "{schema} {body:?}");
    }
}

#[test]
fn what_a_schema_refers_to_is_found_among_its_references() {
    let reference = json!({
        "type": "record", "name": "EntityRef", "namespace": "crm.v1",
        "fields": [{ "name": "refId", "type": "crm.v1.Id" }],
    });
    let id = json!({ "type": "record", "name": "crm.v1.Id", "fields": [] });
    let schema = segment_schema(&json!([{ "name": "customer", "type": "EntityRef" }]));
    let error = |references: &[Value]| {
        let references: Vec<String> = references.iter().map(ToString::to_string).collect();
        WriterSchema::parse_with_references(&schema, &references).unwrap_err().to_string()
    };
    assert!(error(&[]).contains("names \"crm.v1.EntityRef\", which is not defined"));
    assert!(error(std::slice::from_ref(&reference)).contains("names \"crm.v1.Id\", which is not defined"));
    // The reference is found, and is no string.
    assert!(error(&[id, reference]).contains("customer.refId is record \"Id\""));
    let plain =
        reference_schema(&json!([{ "name": "refId", "type": "string" }])).to_string().replace("EntityRef", "crm.v1.EntityRef");
    let schema = WriterSchema::parse_with_references(&schema, &[plain]).unwrap();
    let got = schema.decode(&[2, b'x']).unwrap().reference;
    assert_eq!(got, Some(RawReference { external_id: None, ref_id: Some("x".into()) }));
}

/// Returns the schemas of all commands, with no more than a request id and a reference, and the schema of the reference. Besides, the names
/// by which a union refers to the commands.
fn branches_by_reference() -> (Vec<String>, Vec<&'static str>) {
    let names =
        vec!["UpdateCustomerCustomName", "UpdateCustomerSegment", "UpdateAccountExternalId", "UpdateSubscriberExternalId"];
    let record = |name: &&str| {
        let entity = ["customer", "account", "subscriber"].into_iter().find(|e| name.to_lowercase().contains(e)).unwrap();
        let fields = json!([{ "name": "requestId", "type": "string" }, { "name": entity, "type": "crm.v1.EntityRef" }]);
        json!({ "type": "record", "name": name, "namespace": "crm.v1", "fields": fields }).to_string()
    };
    let mut references: Vec<String> = names.iter().map(record).collect();
    references.push(
        json!({ "type": "record", "name": "EntityRef", "namespace": "crm.v1", "fields": [{ "name": "refId", "type": "string" }] })
            .to_string(),
    );
    (references, names)
}

#[test]
fn a_union_of_references_is_read_by_its_branch() {
    let (references, names) = branches_by_reference();
    let union = json!(names.iter().map(|name| format!("crm.v1.{name}")).collect::<Vec<_>>()).to_string();
    let schema = WriterSchema::parse_with_references(&union, &references).unwrap();
    assert_eq!(schema.use_cases().map(UseCase::record).collect::<Vec<_>>(), names);
    for (index, name) in (0_u8..).zip(&names) {
        let command = schema.decode(&[2 * index, 2, b'r', 2, b'x']).unwrap();
        assert_eq!((command.use_case.record(), command.request_id.as_deref()), (*name, Some("r")));
        assert_eq!(command.reference, Some(RawReference { external_id: None, ref_id: Some("x".into()) }));
    }
    for (body, expected) in [
        (&[8, 2, b'r', 2, b'x'][..], Malformed::Branch),
        (&[1, 2, b'r', 2, b'x'], Malformed::Branch),
        (&[2, b'r'], Malformed::Truncated),
        (&[0, 2, b'r', 2, b'x', 0], Malformed::LeftOver),
        (&[], Malformed::Truncated),
    ] {
        assert_eq!(schema.decode(body), Err(Unreadable::Malformed(expected)), "{body:?}");
    }
}

#[test]
fn a_whole_union_is_read_by_its_branch_and_a_branch_that_is_no_command_is_named() {
    let other = json!({ "type": "record", "name": "crm.v1.Other", "fields": [] });
    let segment = json!({ "type": "record", "name": "crm.v1.UpdateCustomerSegment", "fields": [
        { "name": "requestId", "type": "string" }] });
    let broken = json!({ "type": "record", "name": "crm.v1.UpdateCustomerCustomName", "fields": [
        { "name": "requestId", "type": "double" }] });
    let schema = WriterSchema::parse(&json!(["null", other, segment, broken]).to_string()).unwrap();
    assert_eq!(schema.decode(&[4, 2, b'r']).unwrap().request_id.as_deref(), Some("r"));
    for (branch, class) in
        [(0, "crm.UnknownRecordName"), (2, "crm.UnknownRecordName"), (6, "crm.SchemaUnusable"), (8, "crm.Malformed")]
    {
        assert_eq!(schema.decode(&[branch, 2, b'r']).unwrap_err().class_name(), class, "{branch}");
    }
    for (union, class) in [
        (json!(["null", "string", other]), "crm.UnknownRecordName"),
        (json!([]), "crm.UnknownRecordName"),
        (json!(["null", broken]), "crm.SchemaUnusable"),
    ] {
        assert_eq!(WriterSchema::parse(&union.to_string()).unwrap_err().class_name(), class, "{union}");
    }
}

#[test]
fn what_a_schema_names_may_be_defined_inside_of_another_reference() {
    let schema = json!({ "type": "record", "name": "crm.v1.UpdateCustomerSegment", "fields": [
        { "name": "customer", "type": "EntityRef" }, { "name": "x", "type": "other.X" }] });
    let inner = json!({ "type": "record", "name": "crm.v1.EntityRef", "fields": [{ "name": "refId", "type": "string" }] });
    let outer = json!({ "type": "record", "name": "crm.v1.Outer", "fields": [{ "name": "inner", "type": inner }] });
    let x = json!({ "type": "enum", "name": "other.X", "symbols": ["A"] });
    for references in [vec![&outer, &x], vec![&x, &outer]] {
        let references: Vec<_> = references.into_iter().map(ToString::to_string).collect();
        let schema = WriterSchema::parse_with_references(&schema.to_string(), &references).unwrap();
        assert_eq!(schema.decode(&[2, b'x', 0]).unwrap().reference.unwrap().ref_id.as_deref(), Some("x"));
    }
    let error = WriterSchema::parse_with_references(&schema.to_string(), &[outer.to_string()]).unwrap_err();
    assert!(error.to_string().contains("\"other.X\", which is not defined"), "{error}");
}

#[test]
fn each_reason_has_its_class_stage_and_message() {
    let cases = [
        (Unreadable::NullValue, "crm.NullValue", "VALUE_CONVERTER"),
        (Unreadable::NotWireFormat, "crm.NotWireFormat", "VALUE_CONVERTER"),
        (Unreadable::UnknownSchemaId { id: 1.into() }, "crm.UnknownSchemaId", "VALUE_CONVERTER"),
        (Unreadable::SchemaHeader { header: "h", reason: "which is odd" }, "crm.SchemaHeader", "HEADER_CONVERTER"),
        (
            Unreadable::OddRegistryAnswer { id: 1.into(), reason: "it answered 403".into() },
            "crm.OddRegistryAnswer",
            "VALUE_CONVERTER",
        ),
        (Unreadable::UnknownRecordName { name: "\"x\"".into() }, "crm.UnknownRecordName", "VALUE_CONVERTER"),
        (Unreadable::SchemaUnusable { reason: "it is".into() }, "crm.SchemaUnusable", "VALUE_CONVERTER"),
        (Unreadable::Malformed(Malformed::Utf8), "crm.Malformed", "VALUE_CONVERTER"),
        (Unreadable::TooLarge { size: 2, max: 1 }, "crm.TooLarge", "KAFKA_CONSUME"),
        (Unreadable::CorrelationHeaderTooLong, "crm.CorrelationHeaderTooLong", "HEADER_CONVERTER"),
    ];
    for (error, class_name, stage) in cases {
        assert_eq!((error.class_name(), error.stage()), (class_name, stage), "{error}");
        assert_eq!(error.has_reply(), class_name != "crm.CorrelationHeaderTooLong", "{error}");
        assert_eq!(error.rejection().code(), "CASM-RECORD-UNREADABLE");
        assert!(error.rejection().message().ends_with(&error.to_string()));
    }
}
