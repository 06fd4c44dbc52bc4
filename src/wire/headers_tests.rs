//! Headers of commands by what is read from them, and headers of answers name by name.
//! Values are written as bytes where text would hide the rule.

use super::*;
use crate::domain::entity::{Entity, EntityType, State};
use crate::domain::use_case::UseCase;
use crate::domain::values::{ExternalId, RequestId};

type Given<'a> = (&'a str, Option<&'a [u8]>);

const UUID_BYTES: &[u8] = &[0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const UUID_TEXT: &str = "ff010203-0405-0607-0809-0a0b0c0d0e0f";
/// 16 bytes that are UTF-8, but not printable.
const LOW_BYTES: &[u8] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const LOW_TEXT: &str = "00010203-0405-0607-0809-0a0b0c0d0e0f";
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn parse(headers: &[Given<'_>]) -> CommandHeaders {
    CommandHeaders::parse(headers.iter().copied())
}

fn shown(headers: &Headers) -> Vec<(String, Option<String>)> {
    let text = |value: &Option<Bytes>| value.as_ref().map(|v| String::from_utf8_lossy(v).into_owned());
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

#[test]
fn the_correlation_id_is_the_first_header_given_as_text() {
    let low = std::str::from_utf8(LOW_BYTES).unwrap();
    let cases: &[(&[Given<'_>], Option<&str>)] = &[
        (&[], None),
        (&[("correlation-id", Some(b"a")), ("kafka_correlationId", Some(b"b"))], Some("a")),
        (&[("kafka_correlationId", Some(b"b")), ("correlation-id", Some(b"a"))], Some("a")),
        (&[("kafka_correlationId", Some(b"b"))], Some("b")),
        (&[("correlation-id", Some(b"")), ("kafka_correlationId", Some(b"b"))], Some("b")),
        (&[("correlation-id", None), ("kafka_correlationId", Some(b"b"))], Some("b")),
        (&[("correlation-id", Some(b""))], None),
        (&[("Correlation-Id", Some(b"a"))], None),
        // Text is taken as it is, be it blank, long or not ASCII.
        (&[("correlation-id", Some(b" "))], Some(" ")),
        (&[("correlation-id", Some("\u{e9}\u{20ac}".as_bytes()))], Some("\u{e9}\u{20ac}")),
        (&[("correlation-id", Some(b"0123456789abcdef"))], Some("0123456789abcdef")),
        (&[("kafka_correlationId", Some(b"0123456789 ~cdef"))], Some("0123456789 ~cdef")),
        // 16 bytes that are no text are a UUID; in Spring's header also those that are text by accident.
        (&[("correlation-id", Some(UUID_BYTES))], Some(UUID_TEXT)),
        (&[("kafka_correlationId", Some(UUID_BYTES))], Some(UUID_TEXT)),
        (&[("correlation-id", Some(LOW_BYTES))], Some(low)),
        (&[("kafka_correlationId", Some(LOW_BYTES))], Some(LOW_TEXT)),
        (&[("kafka_correlationId", Some("\u{e9}23456789abcdef".as_bytes()))], Some("c3a93233-3435-3637-3839-616263646566")),
        // Anything else is hexadecimal.
        (&[("correlation-id", Some(&[0xff]))], Some("ff")),
        (&[("kafka_correlationId", Some(&[0xff, 0x0a, 0x80]))], Some("ff0a80")),
        (&[("kafka_correlationId", Some(&[0, 1]))], Some("\0\u{1}")),
        // The last occurrence counts.
        (&[("correlation-id", Some(b"a")), ("correlation-id", Some(b"b"))], Some("b")),
        (&[("correlation-id", Some(b"a")), ("correlation-id", Some(b""))], None),
        // A header without a value counts as absent.
        (&[("correlation-id", None)], None),
        (&[("correlation-id", Some(b"a")), ("correlation-id", None)], Some("a")),
        (&[("kafka_correlationId", None), ("kafka_correlationId", Some(b"b"))], Some("b")),
    ];
    for (headers, expected) in cases {
        assert_eq!(parse(headers).correlation_id.as_deref(), *expected, "{headers:?}");
    }
}

#[test]
fn the_actor_is_the_last_one_given_if_it_obeys_the_rules() {
    let valid = |text: &str| Asked::Valid(Actor::parse(text).unwrap());
    let (longest, too_long) = ("\u{1f600}".repeat(128), "\u{1f600}".repeat(129));
    let cases: &[(&[Given<'_>], Asked<Actor>)] = &[
        (&[], Asked::Absent),
        (&[("crm-actor", None)], Asked::Absent),
        (&[("Crm-Actor", Some(b"a"))], Asked::Absent),
        (&[("crm-actor", Some(b"a"))], valid("a")),
        (&[("crm-actor", Some("Zo\u{eb} (call centre)".as_bytes()))], valid("Zo\u{eb} (call centre)")),
        (&[("crm-actor", Some(longest.as_bytes()))], valid(&longest)),
        (&[("crm-actor", Some(too_long.as_bytes()))], Asked::Malformed),
        (&[("crm-actor", Some(b""))], Asked::Malformed),
        (&[("crm-actor", Some(b" "))], Asked::Malformed),
        (&[("crm-actor", Some(b" a"))], Asked::Malformed),
        (&[("crm-actor", Some(b"a\n"))], Asked::Malformed),
        (&[("crm-actor", Some("a\u{e000}".as_bytes()))], Asked::Malformed),
        (&[("crm-actor", Some(&[b'a', 0xff]))], Asked::Malformed),
        (&[("crm-actor", Some(b"a")), ("crm-actor", Some(b"b"))], valid("b")),
        (&[("crm-actor", Some(b"a")), ("crm-actor", None)], valid("a")),
        // One that is ignored does not bring back the one before it.
        (&[("crm-actor", Some(b"a")), ("crm-actor", Some(b""))], Asked::Malformed),
        (&[("crm-actor", Some(b"")), ("crm-actor", Some(b"a"))], valid("a")),
    ];
    for (headers, expected) in cases {
        assert_eq!(parse(headers).actor, *expected, "{headers:?}");
    }
}

#[test]
fn correlation_headers_are_echoed_byte_by_byte_and_empty_ones_too() {
    let headers: &[Given<'_>] = &[
        ("x", Some(b"y")),
        ("kafka_correlationId", Some(UUID_BYTES)),
        ("correlation-id", Some(b"old")),
        ("correlation-id", Some(b"")),
    ];
    let expected: Headers =
        vec![("correlation-id".into(), Some(Bytes::new())), ("kafka_correlationId".into(), Some(Bytes::from_static(UUID_BYTES)))];
    assert_eq!(parse(headers).echo, expected);
    assert_eq!(parse(&[("correlation-id", Some(b"a")), ("correlation-id", None)]).echo, some("correlation-id", b"a"));
    assert_eq!(parse(&[("x", Some(b"y"))]).echo, []);
}

fn some(name: &'static str, value: &'static [u8]) -> Headers {
    vec![(name.into(), Some(Bytes::from_static(value)))]
}

#[test]
fn a_header_without_a_value_is_as_if_absent_whichever_it_is() {
    let names =
        ["correlation-id", "kafka_correlationId", "kafka_replyTopic", "kafka_replyPartition", "traceparent", "tracestate", "x"];
    let nulls: Vec<Given<'_>> = names.iter().map(|name| (*name, None)).collect();
    assert_eq!(parse(&nulls), CommandHeaders::default());
    let given: &[Given<'_>] = &[
        ("correlation-id", Some(b"a")),
        ("kafka_correlationId", Some(b"b")),
        ("kafka_replyTopic", Some(b"t")),
        ("kafka_replyPartition", Some(&[0, 0, 0, 7])),
        ("traceparent", Some(TRACE.as_bytes())),
        ("tracestate", Some(b"a=1")),
    ];
    let without = parse(given);
    assert_eq!(parse(&[given, &nulls[..]].concat()), without);
    assert_eq!(parse(&[&nulls[..], given].concat()), without);
    let reply = parse(&[given, &nulls[..]].concat()).reply(Some("r"), Status::Ok);
    assert_eq!(reply.len(), 6, "{reply:?}");
    assert!(reply.iter().all(|(_, value)| value.is_some()), "{reply:?}");
}

#[test]
fn a_correlation_header_over_the_bound_is_told_and_not_kept() {
    let (longest, longer) = (vec![b'a'; MAX_CORRELATION_BYTES], vec![b'a'; MAX_CORRELATION_BYTES + 1]);
    for name in ["correlation-id", "kafka_correlationId"] {
        let fits = parse(&[(name, Some(&longest))]);
        assert!(!fits.oversized_correlation && fits.correlation_id.is_some(), "{name}");
        let does_not = parse(&[(name, Some(&longer))]);
        assert!(does_not.oversized_correlation && does_not.echo.is_empty() && !does_not.has_correlation(), "{name}");
        let was_replaced = parse(&[(name, Some(&longer)), (name, Some(b"a"))]);
        assert!(was_replaced.oversized_correlation, "{name}");
    }
    assert!(!parse(&[("x", Some(&longer))]).oversized_correlation);
}

#[test]
fn a_reply_topic_must_have_a_legal_name() {
    let (longest, longer) = ("t".repeat(249), "t".repeat(250));
    let cases: &[(Option<&[u8]>, Asked<&str>)] = &[
        (None, Asked::Absent),
        (Some(b"crm.replies_2-A"), Asked::Valid("crm.replies_2-A")),
        (Some(longest.as_bytes()), Asked::Valid(&longest)),
        (Some(longer.as_bytes()), Asked::Malformed),
        (Some(b""), Asked::Malformed),
        (Some(b"."), Asked::Malformed),
        (Some(b".."), Asked::Malformed),
        (Some(b"a b"), Asked::Malformed),
        (Some("r\u{e9}plies".as_bytes()), Asked::Malformed),
        (Some(&[0xff]), Asked::Malformed),
    ];
    for (value, expected) in cases {
        let got = parse(&[("kafka_replyTopic", *value)]).reply_topic;
        let expected = match expected {
            Asked::Absent => Asked::Absent,
            Asked::Valid(topic) => Asked::Valid((*topic).to_owned()),
            Asked::Malformed => Asked::Malformed,
        };
        assert_eq!(got, expected, "{value:?}");
    }
}

#[test]
fn a_reply_partition_is_four_bytes_big_endian_and_not_negative() {
    let cases: &[(Option<&[u8]>, Asked<i32>)] = &[
        (None, Asked::Absent),
        (Some(&[0, 0, 0, 0]), Asked::Valid(0)),
        (Some(&[0, 0, 1, 2]), Asked::Valid(258)),
        (Some(&[0x7f, 0xff, 0xff, 0xff]), Asked::Valid(i32::MAX)),
        (Some(&[0xff, 0xff, 0xff, 0xff]), Asked::Malformed),
        (Some(&[0, 0, 1]), Asked::Malformed),
        (Some(&[0, 0, 0, 0, 1]), Asked::Malformed),
        (Some(b""), Asked::Malformed),
    ];
    for (value, expected) in cases {
        assert_eq!(parse(&[("kafka_replyPartition", *value)]).reply_partition, *expected, "{value:?}");
    }
}

#[test]
fn only_a_well_formed_traceparent_is_passed_on_and_tracestate_only_with_it() {
    let passed_on = |headers: &[Given<'_>]| {
        let reply = shown(&parse(headers).reply(None, Status::Ok));
        reply.into_iter().filter(|(name, _)| name.starts_with("trace")).collect::<Vec<_>>()
    };
    let some = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
    let (parent, state) = (("traceparent", Some(TRACE.as_bytes())), ("tracestate", Some(&b"a=1,b=2"[..])));
    assert_eq!(passed_on(&[state, parent]), [some("traceparent", TRACE), some("tracestate", "a=1,b=2")]);
    assert_eq!(passed_on(&[parent, ("tracestate", None)]), [some("traceparent", TRACE)]);
    for malformed in [&TRACE.as_bytes()[..54], b"", &TRACE.to_uppercase().into_bytes()] {
        assert_eq!(passed_on(&[("traceparent", Some(malformed)), state]), [], "{malformed:?}");
        // The last one counts.
        assert_eq!(passed_on(&[parent, ("traceparent", Some(malformed))]), [], "{malformed:?}");
    }
    assert_eq!(passed_on(&[state]), []);
}

#[test]
fn a_reply_carries_request_id_status_correlation_and_trace() {
    let headers = parse(&[("correlation-id", Some(b"c-1")), ("traceparent", Some(TRACE.as_bytes())), ("x", Some(b"y"))]);
    let some = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
    assert_eq!(
        shown(&headers.reply(Some("r-1"), Status::RequestValidationFailed)),
        [some("request-id", "r-1"), some("status-code", "400"), some("correlation-id", "c-1"), some("traceparent", TRACE)]
    );
    assert_eq!(shown(&CommandHeaders::default().reply(None, Status::Ok)), [some("status-code", "200")]);
}

#[test]
fn a_business_transaction_carries_cloud_events_headers() {
    let transaction = Transaction {
        use_case: UseCase::UpdateCustomerSegment,
        request_id: RequestId::parse("r-1").unwrap(),
        correlation_id: None,
        occurred_at: 1_700_000_000_007,
        previous_version: 1,
        changes: vec![],
        entity: Entity {
            entity_type: EntityType::Customer,
            ref_id: Uuid::nil(),
            external_id: ExternalId::parse("c-1").unwrap(),
            version: 2,
            state: State::Active,
            custom_name: None,
            segment: None,
            segment_valid_from: None,
            superior: None,
            state_reason: None,
            state_valid_from: None,
        },
        actor: None,
    };
    let headers = parse(&[("kafka_correlationId", Some(b"k")), ("traceparent", Some(TRACE.as_bytes()))]);
    let expected = [
        ("request-id", "r-1"),
        ("content-type", "application/avro"),
        ("ce_specversion", "1.0"),
        ("ce_id", &transaction.id().to_string()),
        ("ce_type", "crm.v1.updateCustomerSegment"),
        ("ce_source", "/crm-processor"),
        ("ce_subject", "customer:00000000-0000-0000-0000-000000000000"),
        ("ce_time", "2023-11-14T22:13:20.007Z"),
        ("kafka_correlationId", "k"),
        ("traceparent", TRACE),
    ];
    let expected: Vec<_> = expected.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect();
    assert_eq!(shown(&headers.transaction(transaction.id(), &transaction)), expected);
}

#[test]
fn a_dead_letter_keeps_its_headers_in_order_and_gains_those_of_kafka_connect() {
    let original: &[Given<'_>] = &[("b", Some(&[0xff, 0])), ("a", None), ("b", Some(b""))];
    let origin = SourceRecord { topic: "crm.commands".into(), partition: 3, offset: 42 };
    let headers = dead_letter(original.iter().copied(), &origin, &Unreadable::UnknownSchemaId { id: 9.into() });
    let kept: Vec<Given<'_>> = headers[..3].iter().map(|(name, value)| (&**name, value.as_deref())).collect();
    assert_eq!(kept, original);
    let added = [
        ("__connect.errors.topic", "crm.commands"),
        ("__connect.errors.partition", "3"),
        ("__connect.errors.offset", "42"),
        ("__connect.errors.stage", "VALUE_CONVERTER"),
        ("__connect.errors.exception.class.name", "crm.UnknownSchemaId"),
        ("__connect.errors.exception.message", "the registry has no schema with id 9"),
    ];
    let added: Vec<_> = added.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect();
    assert_eq!(shown(&headers)[3..], added);
}

#[test]
fn instants_are_written_in_rfc_3339_with_milliseconds_in_utc() {
    let cases = [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (951_782_400_001, "2000-02-29T00:00:00.001Z"),
        (i64::MIN, "0000-01-01T00:00:00.000Z"),
        (i64::MAX, "9999-12-31T23:59:59.999Z"),
    ];
    for (at, expected) in cases {
        assert_eq!(rfc3339(at), expected, "{at}");
    }
}
