//! Tests headers of commands in every form in which they come, and what they become in replies and business transactions.

use crate::crm::{Draft, custom_name, segment, unique};
use crate::inbox::Record;
use crate::world::{OUTPUT_PARTITIONS, Shared, shared};
use serde_json::{Value as Json, json};
use std::sync::Arc;

const OURS: &str = "correlation-id";
const SPRINGS: &str = "kafka_correlationId";

fn headers(record: &Record) -> Vec<(&str, &[u8])> {
    let mut headers: Vec<_> = record.headers.iter().map(|(n, v)| (n.as_str(), v.as_deref().unwrap_or_default())).collect();
    headers.sort_unstable();
    headers
}

/// A row of the table below.
struct Row {
    sent: Vec<(&'static str, &'static [u8])>,
    /// The correlation id in the reply, or `None` if it is the request id.
    text: Option<&'static str>,
}

fn correlations() -> Vec<Row> {
    const UUID_BYTES: &[u8] = b"\x12\x3e\x45\x67\xe8\x9b\x12\xd3\xa4\x56\x42\x66\x14\x17\x40\x00";
    const UUID: &str = "123e4567-e89b-12d3-a456-426614174000";
    let row = |sent: &[(&'static str, &'static [u8])], text| Row { sent: sent.to_vec(), text };
    vec![
        row(&[], None),
        row(&[(OURS, b"order 66")], Some("order 66")),
        row(&[(OURS, "\u{1f600}".as_bytes())], Some("\u{1f600}")),
        // Valid UTF-8 is taken as text, even if it has 16 bytes.
        row(&[(OURS, b"0123456789abcdef")], Some("0123456789abcdef")),
        row(&[(OURS, &[1; 16])], Some("\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}")),
        // Any other 16 bytes are taken as a UUID, and all other bytes become hexadecimal.
        row(&[(OURS, UUID_BYTES)], Some(UUID)),
        row(&[(OURS, b"\xff\xfe\x00")], Some("fffe00")),
        row(&[(OURS, b"\xAB")], Some("ab")),
        // Spring sends UUIDs as bytes; some of these happen to be valid UTF-8.
        row(&[(SPRINGS, UUID_BYTES)], Some(UUID)),
        row(&[(SPRINGS, &[1; 16])], Some("01010101-0101-0101-0101-010101010101")),
        row(&[(SPRINGS, b"0123456789abcde\x7f")], Some("30313233-3435-3637-3839-61626364657f")),
        row(&[(SPRINGS, b"0123456789abcdef")], Some("0123456789abcdef")),
        row(&[(SPRINGS, b"order 66")], Some("order 66")),
        row(&[(SPRINGS, b"\xff\x00\x1f")], Some("ff001f")),
        // If both headers are there, `correlation-id` counts.
        row(&[(OURS, b"ours"), (SPRINGS, UUID_BYTES)], Some("ours")),
        row(&[(SPRINGS, UUID_BYTES), (OURS, b"ours")], Some("ours")),
        // An empty header is echoed, but otherwise counts as absent.
        row(&[(OURS, b""), (SPRINGS, UUID_BYTES)], Some(UUID)),
        row(&[(OURS, b""), (SPRINGS, b"")], None),
        row(&[(SPRINGS, b"")], None),
        // The longest correlation id that is accepted.
        row(&[(OURS, &[b'x'; 1024])], Some(std::str::from_utf8(&[b'x'; 1024]).expect("is ASCII"))),
    ]
}

#[test]
fn correlation_headers_come_back_as_they_were_and_show_as_text_in_the_records() {
    let Some(shared) = shared() else { return };
    let rows = correlations();
    let customers: Vec<_> = rows.iter().map(|_| shared.customer()).collect();
    let drafts: Vec<_> = rows
        .iter()
        .zip(&customers)
        .map(|(row, customer)| {
            let draft = custom_name(&unique("r"), &customer.by_ref_id(), "Ada");
            row.sent.iter().fold(draft, |draft, (name, value)| draft.header(name, value)).header("other", "is not passed on")
        })
        .collect();
    let replies = shared.ask_by_key(&drafts);
    for (((row, customer), draft), reply) in rows.iter().zip(&customers).zip(&drafts).zip(replies) {
        let input = format!("{:?}", row.sent);
        let text = row.text.unwrap_or(draft.request());
        assert_eq!(reply.body["correlationId"], text, "input: {input}\nreply: {reply:?}");
        let mut expected = row.sent.clone();
        expected.extend([("request-id", draft.request().as_bytes()), ("status-code", b"200")]);
        expected.sort_unstable();
        assert_eq!(headers(&reply), expected, "input: {input}\nreply: {reply:?}");

        let transaction = shared.transaction(customer, draft.request());
        assert_eq!(transaction.body["correlationId"], text, "input: {input}\n{transaction:?}");
        let echoed: Vec<_> = headers(&transaction).into_iter().filter(|(n, _)| [OURS, SPRINGS].contains(n)).collect();
        let mut expected = row.sent.clone();
        expected.sort_unstable();
        assert_eq!(echoed, expected, "input: {input}\n{transaction:?}");
    }
}

#[test]
fn a_header_without_a_value_is_as_if_absent_and_comes_back_nowhere() {
    let Some(shared) = shared() else { return };
    let all = [OURS, SPRINGS, "kafka_replyTopic", "kafka_replyPartition", "traceparent", "tracestate", "something-else"];
    for names in [&[OURS][..], &[SPRINGS], &all] {
        let customer = shared.customer();
        let draft = custom_name(&unique("r"), &customer.by_ref_id(), "Ada");
        let draft = names.iter().fold(draft, |draft, name| draft.null_header(name));
        let reply = &shared.ask_by_key(std::slice::from_ref(&draft))[0];
        assert_eq!(reply.body["statusCode"], 200, "{reply:?}");
        assert_eq!(reply.topic, shared.replies, "{reply:?}");
        assert_eq!(reply.body["correlationId"], draft.request(), "{names:?} without a value: {reply:?}");
        assert_eq!(headers(reply), [("request-id", draft.request().as_bytes()), ("status-code", b"200")], "{names:?}: {reply:?}");
        let transaction = shared.transaction(&customer, draft.request());
        for record in [reply, &transaction] {
            assert!(record.headers.iter().all(|(_, value)| value.is_some()), "{names:?} without a value: {record:?}");
        }
        let passed_on: Vec<_> = headers(&transaction).into_iter().filter(|(name, _)| all.contains(name)).collect();
        assert_eq!(passed_on, [], "{names:?} without a value: {transaction:?}");
    }
}

#[test]
fn a_rejection_without_any_id_has_no_correlation_and_no_request_header() {
    let Some(shared) = shared() else { return };
    let draft = Draft::new("UpdateCustomerCustomName", json!({"customName": "Ada"}));
    let reply = &shared.ask_by_key(std::slice::from_ref(&draft))[0];
    assert_eq!((&reply.body["correlationId"], &reply.body["requestId"]), (&Json::Null, &Json::Null), "{reply:?}");
    assert_eq!(headers(reply), [("status-code", &b"400"[..])], "{reply:?}");
}

#[test]
fn the_trace_goes_on_in_reply_and_business_transaction() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let Some(shared) = shared() else { return };
    let customer = shared.customer();
    let draft = custom_name(&unique("r"), &customer.by_ref_id(), "Ada");
    let draft = draft.header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01")).header("tracestate", "crm=1");
    let reply = shared.ask(&draft);
    for record in [reply, shared.transaction(&customer, draft.request())] {
        // Without a collector the processor makes no span, so the trace goes on from the command's.
        assert_eq!(record.text("traceparent").unwrap_or_default(), format!("00-{TRACE}-00f067aa0ba902b7-01"), "{record:?}");
        assert_eq!(record.text("tracestate").unwrap_or_default(), "crm=1", "{record:?}");
    }
}

#[test]
fn the_actor_is_kept_with_the_outcome_and_does_not_tell_requests_apart() {
    const ACTOR: &str = "crm-actor";
    let Some(shared) = shared() else { return };
    let customer = shared.customer();
    let actor = |reply: &Record| reply.body["businessTransaction"]["actor"].clone();
    let changing = custom_name(&unique("r"), &customer.by_ref_id(), "Ada").header(ACTOR, "old").header(ACTOR, "Zo\u{eb}");
    assert_eq!(actor(&shared.ask(&changing)), "Zo\u{eb}");
    let published = shared.transaction(&customer, changing.request());
    assert_eq!(published.body["actor"], "Zo\u{eb}", "{published:?}");
    assert!(published.header(ACTOR).is_none(), "the header itself is not passed on: {published:?}");

    let duplicate = custom_name(changing.request(), &customer.by_ref_id(), "Ada").header(ACTOR, "somebody else");
    let reply = shared.ask(&duplicate);
    assert_eq!((&reply.body["replayed"], actor(&reply)), (&json!(true), json!("Zo\u{eb}")), "{reply:?}");
    let no_op = custom_name(&unique("r"), &customer.by_ref_id(), "Ada").header(ACTOR, "nightly job");
    let reply = shared.ask(&no_op);
    assert_eq!((&reply.body["businessTransaction"]["changes"], actor(&reply)), (&json!([]), json!("nightly job")), "{reply:?}");

    let ignored = || shared.processor.metric_so_far("crm_actors_ignored_total").unwrap_or_default();
    for wrong in ["", " x", "a\u{7}"] {
        let before = ignored();
        let draft = segment(&unique("r"), &shared.customer().by_ref_id(), "ENTERPRISE").header(ACTOR, wrong);
        let reply = shared.ask(&draft);
        assert_eq!((&reply.body["statusCode"], actor(&reply)), (&json!(200), Json::Null), "{wrong:?}: {reply:?}");
        assert!(ignored() > before, "{wrong:?} is counted");
    }

    let shown = shared.cli("show", &["customer", &customer.external_id, "--json"]).succeeded();
    let shown: Json = serde_json::from_str(&shown.stdout).expect("show --json prints JSON");
    assert_eq!(shown["history"][0]["actor"], "Zo\u{eb}", "{shown}");
    let shown = shared.cli("show", &["customer", &customer.external_id]).succeeded();
    assert!(shown.stdout.contains("by Zo\u{eb}"), "{shown}");
}

#[test]
fn a_reply_has_the_commands_key_else_the_request_id_else_none() {
    let Some(shared) = shared() else { return };
    let request = unique("r");
    let nameless = Draft::new("UpdateCustomerCustomName", json!({"customName": "Ada"}));
    let known = custom_name(&request, &shared.customer().by_ref_id(), "Ada");
    for (draft, expected) in [
        (known.clone().key("a key"), Some(b"a key".to_vec())),
        (known.clone().key(b"\xff\x00\xfe"), Some(b"\xff\x00\xfe".to_vec())),
        (known.clone().key(b""), Some(Vec::new())),
        (known.without_key(), Some(request.into_bytes())),
        (nameless.clone().key("a key"), Some(b"a key".to_vec())),
        (nameless.without_key(), None),
    ] {
        let reply = shared.ask(&draft);
        assert_eq!(reply.key, expected, "input: {draft:?}\nreply: {reply:?}");
    }
}

#[test]
fn a_reply_topic_is_honoured_only_if_it_is_on_the_allow_list_and_there() {
    let Some(shared) = shared() else { return };
    for (asked, expected, refused) in [
        (shared.replies.as_bytes(), &shared.replies, 0),
        (shared.other_replies.as_bytes(), &shared.other_replies, 0),
        (shared.refused_replies.as_bytes(), &shared.replies, 1),
        (shared.missing_replies.as_bytes(), &shared.replies, 1),
        (shared.commands.as_bytes(), &shared.replies, 1),
        (b"no topic can be called so!", &shared.replies, 1),
        (b"\xff\xfe", &shared.replies, 1),
        (&[b'x'; 5_000], &shared.replies, 1),
    ] {
        let before = refused_topics(shared);
        let reply = ask_at(shared, Some(asked), None);
        let asked = asked.escape_ascii();
        assert_eq!(&reply.topic, expected, "input: {asked}\nreply: {reply:?}");
        assert_eq!(reply.body["statusCode"], 200, "it never fails the command: {reply:?}");
        // The metric counts the commands of other tests, too.
        assert!(refused_topics(shared) >= before + refused, "input: {asked}\ncounted before: {before}");
    }
}

#[test]
fn a_missing_reply_topic_does_not_hold_up_the_commands_beside_it() {
    let Some(shared) = shared() else { return };
    let drafts: Vec<_> = (0..40)
        .map(|n| {
            let draft = custom_name(&unique("r"), &shared.customer().by_ref_id(), "Ada");
            if n % 4 == 0 { draft.header("kafka_replyTopic", &shared.missing_replies) } else { draft }
        })
        .collect();
    for (draft, reply) in drafts.iter().zip(shared.ask_all(&drafts)) {
        let got = (&reply.topic, &reply.body["statusCode"], &reply.body["replayed"]);
        assert_eq!(got, (&shared.replies, &json!(200), &json!(false)), "input: {draft:?}\nreply: {reply:?}");
    }
}

#[test]
fn a_reply_partition_is_honoured_if_it_is_well_formed_and_there() {
    let Some(shared) = shared() else { return };
    let (replies, other) = (&shared.replies, &shared.other_replies);
    for (topic, partition) in [(replies, 0), (other, 0), (other, 1)] {
        let reply = ask_at(shared, Some(topic.as_bytes()), Some(&i32::to_be_bytes(partition)));
        assert_eq!((&reply.topic, reply.partition), (topic, partition), "{reply:?}");
    }
    // If the named topic is refused, the reply goes to the named partition of the default topic.
    let reply = ask_at(shared, Some(shared.refused_replies.as_bytes()), Some(&[0; 4]));
    assert_eq!((&reply.topic, reply.partition), (replies, 0), "{reply:?}");

    let malformed: [&[u8]; 7] = [b"", b"\0", b"\0\0\0", b"\0\0\0\0\0", b"0000", &i32::to_be_bytes(9999), &i32::to_be_bytes(-1)];
    for bytes in malformed {
        for topic in [replies, other] {
            let reply = ask_at(shared, Some(topic.as_bytes()), Some(bytes));
            let got = (&reply.topic, &reply.body["statusCode"]);
            assert_eq!(got, (topic, &json!(200)), "input: {bytes:?}\nreply: {reply:?}");
        }
    }
}

fn ask_at(shared: &Shared, topic: Option<&[u8]>, partition: Option<&[u8]>) -> Arc<Record> {
    let mut draft = segment(&unique("r"), &shared.customer().by_ref_id(), "ENTERPRISE");
    for (name, value) in [("kafka_replyTopic", topic), ("kafka_replyPartition", partition)] {
        if let Some(value) = value {
            draft = draft.header(name, value);
        }
    }
    shared.ask(&draft)
}

fn refused_topics(shared: &Shared) -> u64 {
    shared.processor.metric("crm_reply_topics_refused_total")
}

#[test]
fn a_key_goes_to_the_partition_that_javas_clients_choose() {
    // The values are those of Kafka's own test of its hash.
    for (key, hash) in [("21", -973_932_308), ("foobar", -790_332_482), ("a-little-bit-long-string", -985_981_536)] {
        assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
    }
    let Some(shared) = shared() else { return };
    let world = &shared.world;
    let chosen: Vec<_> = (0..12)
        .map(|_| {
            let (customer, request) = (shared.customer(), unique("r"));
            let reply = world.ask(&custom_name(&request, &customer.by_ref_id(), "Ada").key(&customer.external_id));
            let transaction = world.transaction(&customer, &request);
            for record in [&reply, &transaction] {
                let key = record.key_text().expect("has a key");
                assert_eq!(
                    record.partition,
                    (murmur2(key.as_bytes()) & i32::MAX) % OUTPUT_PARTITIONS,
                    "{key} on {}",
                    record.topic
                );
            }
            transaction.partition
        })
        .collect();
    assert!(chosen.iter().any(|partition| *partition != chosen[0]), "all in one partition: {chosen:?}");
}

/// The hash by which Java's clients choose a partition: Kafka's variant of `MurmurHash2`, 32 bits.
fn murmur2(bytes: &[u8]) -> i32 {
    const M: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    let length = u32::try_from(bytes.len()).expect("keys are short");
    let chunks = bytes.chunks_exact(4);
    let rest = chunks.remainder();
    let mut hash = chunks.fold(SEED ^ length, |hash, chunk| {
        let word = u32::from_le_bytes(chunk.try_into().expect("four bytes")).wrapping_mul(M);
        hash.wrapping_mul(M) ^ (word ^ (word >> 24)).wrapping_mul(M)
    });
    if !rest.is_empty() {
        let tail = rest.iter().rev().fold(0, |tail, byte| (tail << 8) | u32::from(*byte));
        hash = (hash ^ tail).wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    (hash ^ (hash >> 15)).cast_signed()
}
