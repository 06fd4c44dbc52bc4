//! Tests records that can't be read as commands: they go to the DLQ as they came, the sender gets a reply if it can be told, and
//! the next records are processed.

use crate::crm::{Draft, custom_name, unique};
use crate::inbox::Record;
use crate::registry;
use crate::world::{LARGEST_RECORD, Sent, Shared, shared};
use serde_json::{Value as Json, json};
use std::sync::Arc;

const MAX_COMMAND_BYTES: usize = 1 << 20;
const CONNECT: &str = "__connect.errors.";

/// Sends records with and without a correlation header, and checks their dead letters and replies.
fn check(shared: &Shared, values: Vec<(String, Option<Vec<u8>>)>) {
    let rows: Vec<_> = values.into_iter().map(|(what, value)| (what, Draft::raw(value), unique("c"))).collect();
    let told: Vec<_> = rows.iter().map(|(_, draft, c)| draft.clone().header("correlation-id", c)).collect();
    let untold: Vec<_> = rows.iter().map(|(_, draft, _)| draft.clone().key(unique("k")).header("other", "kept")).collect();
    let (sent_told, sent_untold) = (shared.send_all(&told), shared.send_all(&untold));
    for ((what, _, correlation), (draft, sent)) in rows.iter().zip(told.iter().zip(sent_told)) {
        assert_dead(shared, what, draft, sent);
        assert_reply(shared, what, draft, correlation);
    }
    for ((what, ..), (draft, sent)) in rows.iter().zip(untold.iter().zip(sent_untold)) {
        assert_dead(shared, what, draft, sent);
    }
    assert_no_reply(shared, &untold);
}

/// Checks that the record lies on the DLQ, byte for byte, and says where it came from.
fn assert_dead(shared: &Shared, what: &str, draft: &Draft, sent: Sent) -> Arc<Record> {
    let dead = shared.inbox.first(&format!("on the DLQ: {what}: {draft:?}"), |r| r.topic == shared.dlq && r.key == draft.key);
    assert!(dead.value == draft.value(), "{what}: the value is not as it came: {dead:?}");
    let kept: Vec<_> = dead.headers.iter().filter(|(name, _)| !name.starts_with(CONNECT)).cloned().collect();
    assert_eq!(kept, draft.headers, "{what}: {dead:?}");
    let connect = |name: &str| dead.text(&format!("{CONNECT}{name}"));
    assert_eq!(connect("topic"), Some(&*shared.commands), "{what}: {dead:?}");
    assert_eq!(connect("partition"), Some(&*sent.partition.to_string()), "{what}: {dead:?}");
    assert_eq!(connect("offset"), Some(&*sent.offset.to_string()), "{what}: {dead:?}");
    for name in ["stage", "exception.class.name", "exception.message"] {
        assert!(connect(name).is_some_and(|text| !text.is_empty()), "{what}: {name}: {dead:?}");
    }
    dead
}

fn assert_reply(shared: &Shared, what: &str, draft: &Draft, correlation: &str) {
    let reply = shared.inbox.first(&format!("a reply: {what}: {draft:?}"), |r| {
        shared.holds_replies(&r.topic) && r.header("correlation-id") == Some(correlation.as_bytes())
    });
    let got = &reply.body;
    assert_eq!(
        (&got["statusCode"], &got["statusMessage"], &got["correlationId"], &got["requestId"], &got["businessTransaction"]),
        (&json!(400), &json!("Request Validation failed"), &json!(correlation), &Json::Null, &Json::Null),
        "{what}: {reply:?}"
    );
    let errors = got["errors"].as_array().expect("an array");
    let codes: Vec<_> = errors.iter().map(|e| (&e["code"], &e["field"])).collect();
    assert_eq!(codes, [(&json!("CASM-RECORD-UNREADABLE"), &Json::Null)], "{what}: {reply:?}");
    assert_eq!(reply.key, draft.key, "{what}: {reply:?}");
}

/// Checks that later commands in the same lanes were answered, but these records were not.
fn assert_no_reply(shared: &Shared, drafts: &[Draft]) {
    let customer = shared.customer().by_ref_id();
    let later: Vec<_> = drafts
        .iter()
        .map(|draft| custom_name(&unique("r"), &customer, "Ada").key(draft.key.as_deref().expect("each has a key")))
        .collect();
    for (draft, later) in drafts.iter().zip(shared.ask_all(&later)) {
        let replies = shared.inbox.all(|r| shared.holds_replies(&r.topic) && r.key == draft.key);
        assert_eq!(replies.len(), 1, "only the later command is answered, {later:?}: {replies:?}");
    }
}

/// Returns the value of a valid command.
fn good() -> Vec<u8> {
    let customer = json!({"externalId": "nobody"});
    custom_name("r", &customer, "Ada").expecting(7).value().expect("has a value")
}

fn with_id(id: u32, datum: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], datum].concat()
}

#[test]
fn what_is_not_the_wire_format_is_unreadable() {
    let Some(shared) = shared() else { return };
    let good = good();
    let row = |what: &str, value: Option<&[u8]>| (what.to_owned(), value.map(<[u8]>::to_vec));
    check(
        shared,
        vec![
            row("a null value", None),
            row("an empty value", Some(b"")),
            row("JSON", Some(br#"{"requestId":"r","customName":"Ada"}"#)),
            row("another magic byte", Some(&[&[1], &good[1..]].concat())),
            row("no whole schema id", Some(&good[..3])),
            row("random bytes", Some(b"\x00\xff\xff\xff\xff\xff\xff\xff")),
        ],
    );
}

#[test]
fn a_schema_that_is_unknown_or_no_commands_is_unreadable() {
    let Some(shared) = shared() else { return };
    let good = &good()[5..];
    let renamed = |name: &str, namespace: &str| {
        let mut schema = registry::command_schema("UpdateCustomerCustomName");
        (schema["name"], schema["namespace"]) = (name.into(), namespace.into());
        with_id(registry::register(&unique("subject"), &schema), good)
    };
    let odd = |schema: &Json, datum: &[u8]| with_id(registry::register(&unique("subject"), schema), datum);
    let mut number_as_name = registry::command_schema("UpdateCustomerCustomName");
    number_as_name["fields"][2]["type"] = json!(["null", "long"]);
    let recursive = json!({"type": "record", "name": "UpdateCustomerCustomName", "namespace": "crm.v1", "fields": [
        {"name": "requestId", "type": ["null", "string"], "default": null},
        {"name": "more", "type": ["null", "UpdateCustomerCustomName"], "default": null},
    ]});
    check(
        shared,
        vec![
            ("an unknown schema id".into(), Some(with_id(999_999_999, good))),
            ("schema id 0".into(), Some(with_id(0, good))),
            ("another record".into(), Some(renamed("UpdateCustomerFavouriteColour", "crm.v1"))),
            ("another namespace".into(), Some(renamed("UpdateCustomerCustomName", "crm.v2"))),
            ("one of our own replies' names".into(), Some(renamed("Reply", "crm.v1"))),
            ("a string".into(), Some(odd(&json!("string"), b"\x06Ada"))),
            // A name that is a number can't become text.
            ("a field of another type".into(), Some(odd(&number_as_name, b"\x02\x02r\x00\x02\x08\x00"))),
            ("a recursive schema".into(), Some(odd(&recursive, &b"\x02\x02r\x02".repeat(100_000)))),
        ],
    );
}

#[test]
fn every_truncation_of_a_command_is_unreadable() {
    let Some(shared) = shared() else { return };
    let good = good();
    check(shared, (5..good.len()).map(|n| (format!("the first {n} bytes"), Some(good[..n].to_vec()))).collect());
}

#[test]
fn trailing_bytes_and_wrong_avro_are_unreadable() {
    let Some(shared) = shared() else { return };
    let good = good();
    let datum = |bytes: &[u8]| Some([&good[..5], bytes].concat());
    check(
        shared,
        vec![
            ("one byte more".into(), Some([&good[..], &[0]].concat())),
            ("twice the command".into(), Some([&good[..], &good[5..]].concat())),
            ("a branch that the union does not have".into(), datum(b"\x04")),
            ("a negative branch".into(), datum(b"\x01")),
            ("a text of negative length".into(), datum(b"\x02\x01")),
            ("a text longer than memory".into(), datum(b"\x02\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01")),
            ("a text of 1 GiB".into(), datum(b"\x02\x80\x80\x80\x80\x08")),
            ("a length that never ends".into(), datum(&[&[2][..], &[0xff; 40]].concat())),
            ("a text that is not UTF-8".into(), datum(b"\x02\x04\xff\xfe\x00\x00\x00")),
        ],
    );
}

#[test]
fn what_is_larger_than_a_command_may_be_is_unreadable_and_fits_the_dlq_all_the_same() {
    /// The largest size of the record's framing, its key and its headers together.
    const FRAME: usize = 1024;
    let Some(shared) = shared() else { return };
    let long = |bytes: usize| custom_name("r", &json!({"externalId": "nobody"}), &"x".repeat(bytes)).value();
    check(
        shared,
        vec![
            ("a value that is just too large".into(), long(MAX_COMMAND_BYTES)),
            ("2 MiB".into(), long(2 << 20)),
            ("as large as the topic takes".into(), long(LARGEST_RECORD - FRAME)),
            ("2 MiB of nothing".into(), Some(vec![0; 2 << 20])),
        ],
    );
}

#[test]
fn key_and_headers_count_as_part_of_the_command() {
    let Some(shared) = shared() else { return };
    let customer = shared.customer();
    let correlation = unique("c");
    let draft = custom_name(&unique("r"), &customer.by_ref_id(), "Ada").header("correlation-id", &correlation);
    let draft = draft.header("ballast", vec![b'x'; MAX_COMMAND_BYTES]);
    let sent = shared.send(&draft);
    assert_dead(shared, "a header of 1 MiB", &draft, sent);
    assert_reply(shared, "a header of 1 MiB", &draft, &correlation);

    let mut long_key = unique("k").into_bytes();
    long_key.resize(MAX_COMMAND_BYTES, b'x');
    let draft = custom_name(&unique("r"), &customer.by_ref_id(), "Ada").key(&long_key);
    let sent = shared.send(&draft);
    assert_dead(shared, "a key of 1 MiB", &draft, sent);

    let almost = custom_name(&unique("r"), &customer.by_ref_id(), "Ada").header("ballast", vec![b'x'; MAX_COMMAND_BYTES / 2]);
    assert_eq!(shared.ask(&almost).body["statusCode"], 200, "half of it is fine");
    assert_eq!(shared.transactions(&customer).len(), 1, "only that took effect");
}

#[test]
fn a_correlation_header_over_1_kib_makes_a_record_unreadable_without_a_reply() {
    let Some(shared) = shared() else { return };
    let customer = shared.customer();
    let drafts: Vec<_> = ["correlation-id", "kafka_correlationId"]
        .iter()
        .map(|name| custom_name(&unique("r"), &customer.by_ref_id(), "Ada").header(name, [b'x'; 1025]))
        .collect();
    for (draft, sent) in drafts.iter().zip(shared.send_all(&drafts)) {
        assert_dead(shared, "1,025 bytes", draft, sent);
    }
    assert_no_reply(shared, &drafts);
    assert_eq!(shared.transactions(&customer).len(), 0);
}

#[test]
fn an_empty_correlation_header_asks_for_no_reply() {
    let Some(shared) = shared() else { return };
    let draft = Draft::raw(None).header("correlation-id", b"");
    let sent = shared.send(&draft);
    assert_dead(shared, "an empty correlation header", &draft, sent);
    assert_no_reply(shared, &[draft]);
}

#[test]
fn an_unreadable_record_without_a_key_keeps_none() {
    let Some(shared) = shared() else { return };
    let marker = unique("marker");
    let draft = Draft::raw(Some(b"x".to_vec())).without_key().header("marker", &marker).header("correlation-id", &marker);
    shared.send(&draft);
    let dead = shared.inbox.first("on the DLQ", |r| r.topic == shared.dlq && r.header("marker") == Some(marker.as_bytes()));
    assert_eq!(dead.key, None, "{dead:?}");
    let reply = shared
        .inbox
        .first("a reply", |r| shared.holds_replies(&r.topic) && r.header("correlation-id") == Some(marker.as_bytes()));
    assert_eq!((&reply.key, reply.has("request-id")), (&None, false), "{reply:?}");
}
