//! Encoded answers, read again by apache-avro and by our own reader: every entity type, state and rejection, with and without everything
//! that may be null.

use super::*;
use crate::domain::attribute::Attribute;
use crate::domain::entity::State;
use crate::domain::use_case::UseCase;
use crate::domain::values::{ExternalId, RequestId};
use crate::wire::CHANGE_SCHEMA;
use crate::wire::frame::frame;
use crate::wire::json::GenericSchema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Avro;
use serde_json::{Value, json};
use std::hint::black_box;
use std::time::Instant;

const ENCODER: Encoder = Encoder { reply: 7, transaction: 0x0102_0304, change: Some(9) };
const REF_ID: Uuid = Uuid::from_u128(0x0a0b_0c0d_0000_4000_8000_0000_0000_0001);
const SUPERIOR: Uuid = Uuid::from_u128(0x0a0b_0c0d_0000_4000_8000_0000_0000_0002);

/// Returns an entity, `full` with everything that may be null, or without.
fn entity(entity_type: EntityType, state: State, full: bool) -> Entity {
    let is_customer = entity_type == EntityType::Customer;
    Entity {
        entity_type,
        ref_id: REF_ID,
        external_id: ExternalId::parse("é-1").unwrap(),
        version: 3,
        state,
        custom_name: full.then(|| CustomName::parse("Ärger & Söhne").unwrap()),
        segment: (full && is_customer).then(|| SegmentCode::parse("RESIDENTIAL").unwrap()),
        segment_valid_from: (full && is_customer).then_some(1_700_000_000_123),
        superior: (full && !is_customer).then_some(SUPERIOR),
        state_reason: full.then(|| StateReason::parse("unpaid").unwrap()),
        state_valid_from: full.then_some(1_700_000_000_789),
    }
}

fn transaction(entity: Entity, full: bool) -> Transaction {
    let change = |old: Option<&str>, new: Option<&str>| Change {
        attribute: Attribute::CustomName,
        old: old.map(Into::into),
        new: new.map(Into::into),
    };
    Transaction {
        use_case: UseCase::UpdateCustomerCustomName,
        request_id: RequestId::parse("r-1").unwrap(),
        correlation_id: full.then(|| "c-1".into()),
        occurred_at: 1_700_000_000_456,
        previous_version: 2,
        changes: if full { vec![change(None, Some("a")), change(Some("a"), None)] } else { vec![] },
        entity,
        actor: full.then(|| Actor::parse("Zoë").unwrap()),
    }
}

fn encoded(transaction: &Transaction) -> Vec<u8> {
    ENCODER.transaction(transaction.id(), transaction)
}

/// Decodes with apache-avro and with our own reader, which must read the same, and returns it.
fn decode(schema_json: &str, schema_id: u32, value: &[u8]) -> Value {
    let (id, body) = frame(Some(value), []).unwrap();
    assert_eq!(id, schema_id.into());
    let schema = Schema::parse_str(schema_json).unwrap();
    let mut rest = body;
    let avro = GenericDatumReader::builder(&schema).build().unwrap().read_value(&mut rest).unwrap();
    assert_eq!(rest, b"", "bytes are left over");
    let ours = GenericSchema::parse(schema_json).unwrap().decode(body).unwrap();
    assert_eq!(plain(avro), ours);
    ours
}

fn plain(value: Avro) -> Value {
    match value {
        Avro::Null => Value::Null,
        Avro::Boolean(b) => b.into(),
        Avro::Int(i) => i.into(),
        Avro::Long(l) | Avro::TimestampMillis(l) => l.into(),
        Avro::String(s) | Avro::Enum(_, s) => s.into(),
        Avro::Uuid(u) => u.to_string().into(),
        Avro::Union(_, inner) => plain(*inner),
        Avro::Array(items) => items.into_iter().map(plain).collect(),
        Avro::Record(fields) => Value::Object(fields.into_iter().map(|(name, v)| (name, plain(v))).collect()),
        other => panic!("our schemas have no {other:?}"),
    }
}

fn expected_entity(entity_type: EntityType, state: State, full: bool) -> Value {
    let or_null = |value: Value| if full { value } else { Value::Null };
    let mut image = json!({
        "refId": REF_ID.to_string(), "externalId": "é-1", "state": state.name(), "customName": or_null("Ärger & Söhne".into()),
    });
    match entity_type {
        EntityType::Customer => {
            image["customerSegment"] = or_null("RESIDENTIAL".into());
            image["segmentValidFrom"] = or_null(1_700_000_000_123_i64.into());
        }
        EntityType::Account => image["customerRefId"] = or_null(SUPERIOR.to_string().into()),
        EntityType::Subscriber => image["accountRefId"] = or_null(SUPERIOR.to_string().into()),
    }
    image["stateReason"] = or_null("unpaid".into());
    image["stateValidFrom"] = or_null(1_700_000_000_789_i64.into());
    image
}

fn expected_transaction(entity_type: EntityType, state: State, full: bool) -> Value {
    let changes = json!([{ "field": "customName", "old": null, "new": "a" }, { "field": "customName", "old": "a", "new": null }]);
    let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("crm:{entity_type}:{REF_ID}:r-1").as_bytes());
    let mut expected = json!({
        "transactionId": id.to_string(), "useCase": "updateCustomerCustomName", "requestId": "r-1",
        "correlationId": if full { json!("c-1") } else { Value::Null }, "occurredAt": 1_700_000_000_456_i64,
        "entityType": entity_type.name().to_uppercase(), "refId": REF_ID.to_string(), "version": 3, "previousVersion": 2,
        "changes": if full { changes } else { json!([]) }, "customer": null, "account": null, "subscriber": null,
        "actor": if full { json!("Zoë") } else { Value::Null },
    });
    expected[entity_type.name()] = expected_entity(entity_type, state, full);
    expected
}

#[test]
fn business_transactions_of_every_type_and_state_round_trip() {
    for entity_type in EntityType::ALL {
        for state in State::ALL {
            for full in [false, true] {
                let value = encoded(&transaction(entity(entity_type, state, full), full));
                let decoded = decode(TRANSACTION_SCHEMA, ENCODER.transaction, &value);
                assert_eq!(decoded, expected_transaction(entity_type, state, full), "{entity_type} {state:?} full={full}");
            }
        }
    }
}

#[test]
fn whatever_a_use_case_sets_is_in_the_image_of_its_entity_and_in_the_row() {
    let schema = |text| serde_json::from_str::<Value>(text).unwrap();
    let names = |record: &Value| -> Vec<String> {
        record["fields"].as_array().unwrap().iter().map(|field| field["name"].as_str().unwrap().to_owned()).collect()
    };
    let transaction = schema(TRANSACTION_SCHEMA);
    for use_case in UseCase::ALL {
        let entity_type = use_case.entity_type().name();
        let field = transaction["fields"].as_array().unwrap().iter().find(|field| field["name"] == entity_type).unwrap();
        let (image, row) = (names(&field["type"][1]), names(&schema(CHANGE_SCHEMA)));
        for attribute in use_case.attributes() {
            for (what, names) in [("image", &image), ("row", &row)] {
                assert!(names.iter().any(|name| name == attribute.name()), "{}: {what} without {attribute:?}", use_case.name());
            }
        }
    }
}

#[test]
fn rows_of_every_type_and_state_say_what_business_transactions_say() {
    for entity_type in EntityType::ALL {
        for state in State::ALL {
            for full in [false, true] {
                let transaction = transaction(entity(entity_type, state, full), full);
                let value = ENCODER.change(transaction.id(), &transaction).expect("there are rows");
                let decoded = decode(CHANGE_SCHEMA, 9, &value);
                let (expected, image) =
                    (expected_transaction(entity_type, state, full), expected_entity(entity_type, state, full));
                let columns = decoded.as_object().unwrap();
                assert_eq!(columns.len(), 20);
                for (column, value) in columns {
                    let expected = match column.as_str() {
                        "changedFields" if full => &json!("customName,customName"),
                        "changedFields" => &json!(""),
                        // A column that the entity's type does not have is null.
                        name => expected.get(name).or(image.get(name)).unwrap_or(&Value::Null),
                    };
                    assert_eq!(value, expected, "{column} of {entity_type} {state:?} full={full}");
                }
            }
        }
    }
}

#[test]
fn a_row_has_primitive_columns_only_in_the_order_of_the_contract() {
    let schema: Value = serde_json::from_str(CHANGE_SCHEMA).unwrap();
    let is_plain = |plain: &Value| {
        plain == "string" || plain == "long" || *plain == json!({"type": "long", "logicalType": "timestamp-millis"})
    };
    let columns = schema["fields"].as_array().unwrap().iter().map(|field| {
        let name = field["name"].as_str().unwrap();
        match &field["type"] {
            Value::Array(branches) => {
                assert!(branches.len() == 2 && branches[0] == "null" && is_plain(&branches[1]), "{field}");
                assert_eq!(field["default"], Value::Null, "{field}");
                format!("{name}?")
            }
            plain => {
                assert!(is_plain(plain), "{field}");
                name.to_owned()
            }
        }
    });
    assert_eq!(
        columns.collect::<Vec<_>>().join(" "),
        "transactionId useCase requestId correlationId? actor? occurredAt entityType refId version previousVersion externalId state \
         stateReason? stateValidFrom? customName? customerSegment? segmentValidFrom? customerRefId? accountRefId? changedFields"
    );
}

/// Returns one rejection of each kind. When a kind is added, `covers` does not compile, which reminds of adding it here.
fn rejections() -> Vec<Rejection> {
    fn covers(rejection: &Rejection) {
        match rejection {
            Rejection::MandatoryAttribute { .. }
            | Rejection::InvalidAttribute { .. }
            | Rejection::SegmentNotConfigured { .. }
            | Rejection::RequestIdReused
            | Rejection::EntityNotFound { .. }
            | Rejection::Deactivated { .. }
            | Rejection::VersionConflict { .. }
            | Rejection::ExternalIdNotUnique
            | Rejection::RecordUnreadable { .. }
            | Rejection::InternalError => {}
        }
    }
    let all = vec![
        Rejection::MandatoryAttribute { field: "requestId".into() },
        Rejection::InvalidAttribute { field: "customer.externalId".into(), reason: "must not be é".into() },
        Rejection::SegmentNotConfigured { field: "customerSegment".into() },
        Rejection::RequestIdReused,
        Rejection::EntityNotFound { field: "customer.refId".into() },
        Rejection::Deactivated { field: "customer".into() },
        Rejection::VersionConflict { expected: 1, actual: 2 },
        Rejection::ExternalIdNotUnique,
        Rejection::RecordUnreadable { reason: "it is truncated".into() },
        Rejection::InternalError,
    ];
    all.iter().for_each(covers);
    all
}

#[test]
fn replies_with_and_without_all_that_may_be_null_round_trip() {
    let transaction = encoded(&transaction(entity(EntityType::Account, State::Suspended, true), true));
    let times = [-1, 0, 63, 64, -64, -65, 1_795_257_346_001, Timestamp::MAX, Timestamp::MIN];
    for (status, processed_at) in Status::ALL.into_iter().flat_map(|s| times.map(|at| (s, at))) {
        for (full, replayed) in [(false, true), (true, false)] {
            let errors = if full { rejections() } else { vec![] };
            let reply = Reply {
                correlation_id: full.then_some("c-1"),
                request_id: full.then_some("r-1"),
                status,
                errors: &errors,
                replayed,
                transaction: full.then_some(&transaction),
                processed_at,
            };
            let decoded = decode(REPLY_SCHEMA, ENCODER.reply, &ENCODER.reply(&reply));
            let error = |r: &Rejection| json!({ "code": r.code(), "field": r.field(), "message": r.message() });
            let expected = json!({
                "correlationId": reply.correlation_id, "requestId": reply.request_id, "statusCode": status.code(),
                "statusMessage": status.message(), "errors": errors.iter().map(error).collect::<Value>(), "replayed": replayed,
                "businessTransaction":
                    if full { expected_transaction(EntityType::Account, State::Suspended, true) } else { Value::Null },
                "processedAt": processed_at,
            });
            assert_eq!(decoded, expected, "{status:?} full={full}");
        }
    }
}

#[test]
fn the_business_transaction_in_a_reply_has_the_bytes_of_the_one_on_the_topic() {
    let transaction = encoded(&transaction(entity(EntityType::Customer, State::Active, true), true));
    let reply = Reply {
        correlation_id: None,
        request_id: None,
        status: Status::Ok,
        errors: &[],
        replayed: false,
        transaction: Some(&transaction),
        processed_at: 0,
    };
    let reply = ENCODER.reply(&reply);
    let body = &transaction[5..];
    assert!(reply.windows(body.len()).any(|window| window == body));
}

/// Prints how long a reply takes into which the bytes of its transaction are copied, and how long the transaction takes, which would be
/// encoded a second time otherwise. Run it with `cargo test --release --lib -- --ignored --nocapture what_copying_saves`.
#[test]
#[ignore = "it measures"]
fn what_copying_saves() {
    const TIMES: u32 = 20_000;
    let transaction = transaction(entity(EntityType::Customer, State::Active, true), true);
    let bytes = encoded(&transaction);
    let reply = Reply {
        correlation_id: Some("c-1"),
        request_id: Some("r-1"),
        status: Status::Ok,
        errors: &[],
        replayed: false,
        transaction: Some(&bytes),
        processed_at: 1_700_000_000_456,
    };
    let shortest = |encode: &dyn Fn() -> Vec<u8>| {
        let round = |_| {
            let begun = Instant::now();
            (0..TIMES).for_each(|_| _ = black_box(encode()));
            begun.elapsed() / TIMES
        };
        (0..20).map(round).min().unwrap()
    };
    let (whole, saved) = (shortest(&|| ENCODER.reply(&reply)), shortest(&|| encoded(&transaction)));
    println!("a reply with the bytes of its transaction takes {whole:?}, the transaction {saved:?}");
}
