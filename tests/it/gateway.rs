//! Tests the HTTP gateway on the real Kafka and the real database: what a client is told, and that it is what the topics hold.

mod abuse;
pub mod access;
pub mod client;
mod clients;
mod faults;
mod guide;
mod openapi;
mod page;
mod reads;
mod schemathesis;

use crate::crm::{Entity, Kind, unique};
use crate::inbox::{self, Inbox, Record};
use crate::runtime;
use crate::servers::own::OwnServer;
use crate::world::{self, OUTPUT_PARTITIONS, PARTITIONS, World};
use client::{Gateway, Got};
use futures::future::join_all;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};
use std::time::Instant;

const NAME: &str = "/v1/updateCustomerCustomName";
const WAIT: (&str, &str) = ("prefer", "wait=30");
/// A request's wait where the processor starts or stands still meanwhile, which may take long on a busy machine.
const LONG_WAIT: (&str, &str) = ("prefer", "wait=120");
/// What a gateway needs to take a [`LONG_WAIT`].
const LONG_WAIT_ALLOWED: (&str, &str) = ("CRM__GATEWAY__MAX_WAIT", "120s");

/// Returns a command that gives a customer a name.
fn naming(request: &str, customer: &Value, name: &str) -> Value {
    json!({"requestId": request, "customer": customer, "customName": name})
}

#[test]
fn a_command_over_http_gets_its_reply_and_a_duplicate_gets_it_again() {
    let Some(shared) = world::shared() else { return };
    let (gateway, customer, request) = (Gateway::start(shared, &[]), shared.customer(), unique("r"));
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let command = naming(&request, &customer.by_external_id(), "Ann");
    let (state, forged) = (format!("crm={request}"), unique("mallory"));
    let got = gateway.ask(NAME, &[("traceparent", trace), ("tracestate", &state), ("crm-actor", &forged)], &command);
    assert_eq!((got.status, got.header("content-type"), got.header("etag")), (200, "application/json", "\"2\""), "{got:?}");
    assert_eq!((got.header("idempotent-replayed"), got.header("traceparent"), got.header("tracestate")), ("", trace, &*state));
    let written = |header: &str, value: &str| inbox::header_counts(shared.kafka(), &shared.commands, header).get(value).copied();
    assert_eq!(written("tracestate", &state), Some(1), "the command goes on with the client's trace");
    assert_eq!(written("crm-actor", &forged), None, "nobody says who he is, if nobody asks");

    let reply = shared.inbox.first("its reply", |r| r.topic == shared.replies && r.body["requestId"] == request.as_str());
    for field in ["statusCode", "statusMessage", "errors", "requestId", "correlationId", "replayed"] {
        assert_eq!(got.body[field], reply.body[field], "{field} of {got:?}");
    }
    assert_eq!((&got.body["correlationId"], &got.body["replayed"]), (&json!(request), &json!(false)));
    let (told, held) = (&got.body["businessTransaction"], &reply.body["businessTransaction"]);
    for field in ["transactionId", "version", "previousVersion", "changes", "customer", "account", "useCase", "refId"] {
        assert_eq!(told[field], held[field], "{field} of {told}");
    }
    assert!(told.as_object().unwrap().contains_key("account"), "nulls are there: {told}");
    assert!(told["occurredAt"].as_str().is_some_and(|at| at.len() == 24 && at.ends_with('Z')), "{told}");
    assert_eq!(reply.key.as_deref(), Some(customer.external_id.as_bytes()), "the key is the reference");

    let again = gateway.ask(NAME, &[("correlation-id", "c-2")], &command);
    assert_eq!((again.status, again.header("idempotent-replayed"), again.header("etag")), (200, "true", "\"2\""), "{again:?}");
    assert_eq!((&again.body["replayed"], &again.body["correlationId"]), (&json!(true), &json!("c-2")));
    assert_eq!((again.header("correlation-id"), &again.body["businessTransaction"]), ("c-2", told));
    assert_eq!(shared.transactions(&customer).len(), 1, "one effect");

    let metrics = gateway.metrics();
    let counted = "crm_gateway_requests_total{status=\"200\",use_case=\"updateCustomerCustomName\"} 2";
    assert!(metrics.lines().any(|line| line == counted), "{metrics}");
    gateway.terminate();
    assert_eq!(gateway.wait(), 0);
    let log = gateway.log();
    assert!(!log.contains(&customer.external_id) && !log.contains("Ann"), "nothing personal is logged:\n{log}");
}

#[test]
fn a_refusal_says_what_the_reply_says_with_the_status_that_http_has_for_it() {
    let Some(shared) = world::shared() else { return };
    let gateway = Gateway::start(shared, &[]);
    let (customer, gone) = (shared.customer(), shared.entity(Kind::Customer, "DEACTIVATED"));
    let (account, other) = (shared.account(), shared.account());
    let refused = |path: &str, headers: &[(&str, &str)], body: Value| {
        let got = gateway.ask(path, headers, &body);
        assert_eq!(got.header("content-type"), "application/problem+json", "{got:?}");
        assert_eq!((&got.body["status"], &got.body["requestId"]), (&json!(got.status), &body["requestId"]), "{got:?}");
        let first = got.findings()[0];
        assert_eq!(got.body["type"], format!("urn:crm:{}", first.0), "{got:?}");
        (got.status, first.0.to_owned(), first.1.map(str::to_owned))
    };
    let field = |field: &str| Some(field.to_owned());
    let code = |code: &str| format!("CASM-{code}");
    let named = |customer: Value| naming(&unique("r"), &customer, "Ann");
    let expecting = |version: i64| {
        let mut command = named(customer.by_ref_id());
        command["expectedVersion"] = version.into();
        command
    };
    let nobody = json!({"externalId": unique("nobody")});
    let taken = json!({"requestId": unique("r"), "account": account.by_ref_id(), "externalId": other.external_id});
    let tag = [("if-match", "\"7\"")];
    let cases = [
        (refused(NAME, &[], named(nobody)), (400, code("ENTITY-NOT-FOUND"), field("customer.externalId"))),
        (refused(NAME, &[], named(gone.by_ref_id())), (400, code("STATE-DEACTIVATED"), field("customer"))),
        (refused(NAME, &[], expecting(7)), (400, code("VERSION-CONFLICT"), field("expectedVersion"))),
        (refused(NAME, &tag, named(customer.by_ref_id())), (412, code("VERSION-CONFLICT"), field("expectedVersion"))),
        (refused("/v1/updateAccountExternalId", &[], taken), (400, code("EXTERNAL-ID-NOT-UNIQUE"), field("externalId"))),
    ];
    for (got, expected) in cases {
        assert_eq!(got, expected);
    }
    let request = unique("r");
    assert_eq!(gateway.ask(NAME, &[], &naming(&request, &customer.by_ref_id(), "Ann")).status, 200);
    let reused = gateway.ask(NAME, &[], &naming(&request, &customer.by_ref_id(), "Bob"));
    assert_eq!(reused.findings(), [("CASM-REQUEST-ID-REUSED", Some("requestId"))]);
    let matched = gateway.ask(NAME, &[("if-match", "\"2\"")], &naming(&unique("r"), &customer.by_ref_id(), "Bob"));
    assert_eq!((matched.status, matched.header("etag")), (200, "\"3\""), "{matched:?}");
    let replay = gateway.ask(NAME, &[], &naming(&request, &customer.by_ref_id(), "Ann"));
    let stored = (200, "\"2\"", "true");
    assert_eq!(
        (replay.status, replay.header("etag"), replay.header("idempotent-replayed")),
        stored,
        "the entity has gone on since"
    );
}

#[test]
fn without_a_processor_only_request_validation_answers_and_everything_else_says_where_to_look() {
    let Some(world) = World::set_up("gateway-alone", |_| {}) else { return };
    let customer = Entity::new(Kind::Customer, "ACTIVE");
    world.import(std::slice::from_ref(&customer));
    let gateway = Gateway::start(&world, &[("CRM__GATEWAY__MAX_OPEN_REQUESTS", "2"), LONG_WAIT_ALLOWED]);
    let by_id = customer.by_external_id();

    // What needs no entity is answered at once.
    let got = gateway.ask(NAME, &[("correlation-id", "c")], &json!({"customer": {"externalId": "x", "refId": "y"}}));
    let expected = [
        ("CASM-MANDATORY-ATTRIBUTE", Some("requestId")),
        ("CASM-INVALID-ATTRIBUTE", Some("customer")),
        ("CASM-INVALID-ATTRIBUTE", Some("customer.refId")),
        ("CASM-MANDATORY-ATTRIBUTE", Some("customName")),
    ];
    assert_eq!((got.status, got.findings(), &got.body["correlationId"]), (400, expected.to_vec(), &json!("c")));
    let raw = |body: &'static [u8]| runtime().block_on(gateway.send(&reqwest::Method::POST, NAME, &[], body));
    for body in [&b"{"[..], b"{} {}", b"{\"customName\":\"\xff\"}", b"{\"requestId\":1}", b"{\"a\":1}", b"[]"] {
        let got = raw(body);
        assert_eq!((got.status, got.findings()[0].0), (400, "CASM-RECORD-UNREADABLE"), "{got:?}");
    }
    let long = format!("{{\"customName\":\"{}\"}}", "x".repeat(64 << 10));
    let post = reqwest::Method::POST;
    assert_eq!(runtime().block_on(gateway.send(&post, NAME, &[], long)).status, 413);
    let typed = |name: &'static str, value: &'static str| runtime().block_on(gateway.send(&post, NAME, &[(name, value)], "{}"));
    assert_eq!(typed("content-type", "text/plain").status, 415);
    assert_eq!(typed("accept", "text/html").status, 406);
    let get = gateway.get(NAME, &[]);
    assert_eq!((get.status, get.header("allow")), (405, "POST"));
    assert_eq!(gateway.ask("/v1/updateEverything", &[], &json!({})).status, 404);

    // Two requests are open, one of them twice: the third is refused, and nothing of it is written.
    let (slow, other) = (unique("r"), unique("r"));
    let command = naming(&slow, &by_id, "Ann");
    let open =
        [gateway.post(NAME, &[LONG_WAIT], &command), gateway.post(NAME, &[LONG_WAIT, ("correlation-id", "mine")], &command)];
    let open = runtime().spawn(join_all(open));
    gateway.until_metric("crm_gateway_open_requests 2");
    let refused = gateway.ask(NAME, &[], &naming(&other, &by_id, "Bob"));
    assert_eq!((refused.status, refused.header("retry-after")), (503, "1"), "{refused:?}");

    let processor = world.run();
    let both = runtime().block_on(open).unwrap();
    assert_eq!(both.iter().map(|got| got.status).collect::<Vec<_>>(), [200, 200], "{both:?}");
    assert_eq!(both[0].body["businessTransaction"], both[1].body["businessTransaction"]);
    assert_eq!(both.iter().map(|got| got.body["correlationId"].clone()).collect::<Vec<_>>(), [json!(slow), json!("mine")]);
    let replies = |request: &str| world.inbox.all(|r| r.topic == world.replies && r.body["requestId"] == request).len();
    assert_eq!((replies(&slow), replies(&other)), (1, 0), "the second one joined the first, and the third was not written");
    processor.signal("TERM");
    assert_eq!(processor.wait(), 0);
}

#[test]
fn what_is_not_answered_in_time_is_answered_when_it_is_asked_again() {
    let Some(world) = World::set_up("gateway-late", |_| {}) else { return };
    let customers: Vec<_> = (0..2).map(|_| Entity::new(Kind::Customer, "ACTIVE")).collect();
    world.import(&customers);
    let gateway = Gateway::start(&world, &[]);
    let (late, asynchronous) = (unique("r"), unique("r"));
    let late_command = naming(&late, &customers[0].by_external_id(), "Ann");
    let got = gateway.ask(NAME, &[("prefer", "wait=1")], &late_command);
    assert_eq!((got.status, got.header("retry-after")), (504, "1"), "{got:?}");
    assert_eq!((&got.body["type"], &got.body["requestId"]), (&json!("urn:crm:in-progress"), &json!(late)));
    let location = got.header("location").to_owned();
    let later = gateway.ask(
        NAME,
        &[("prefer", "respond-async"), ("idempotency-key", &format!("\"{asynchronous}\""))],
        &json!({"customer": customers[1].by_ref_id(), "customName": "Bob"}),
    );
    assert_eq!((later.status, &later.body), (202, &json!({"requestId": asynchronous})), "{later:?}");
    let place = later.header("location").to_owned();
    for place in [&location, &place] {
        let none = gateway.get(place, &[]);
        assert_eq!((none.status, none.header("retry-after")), (404, "1"), "{none:?}");
    }

    // The gateway has nothing to lose.
    gateway.kill();
    let gateway = Gateway::start(&world, &[]);
    let processor = world.start_with(&unique("slot"), &[("FAILPOINTS", "deciding=return(early)")]);
    processor.until_ready();
    let again = gateway.ask(NAME, &[WAIT], &late_command);
    assert_eq!((again.status, again.header("idempotent-replayed"), again.header("etag")), (200, "true", "\"2\""), "{again:?}");
    world.inbox.first("the reply", |r| r.topic == world.replies && r.body["requestId"] == asynchronous.as_str());
    for (place, request) in [(&location, &late), (&place, &asynchronous)] {
        let found = gateway.get(place, &[]);
        assert_eq!((found.status, found.header("etag")), (200, "\"2\""), "{found:?}");
        assert_eq!((&found.body["requestId"], &found.body["replayed"]), (&json!(request), &json!(true)));
        assert_eq!(gateway.get(place, &[("if-none-match", "\"2\"")]).status, 304);
    }
    assert_eq!(world.transactions(&customers[0]).len(), 1);

    // Another request under the same id has another place.
    let other = gateway.ask(NAME, &[], &naming(&late, &customers[0].by_external_id(), "Carl"));
    assert_eq!(other.findings(), [("CASM-REQUEST-ID-REUSED", Some("requestId"))]);
    let contents = location.rsplit_once("contents=").unwrap().0;
    let reused = gateway.get(&format!("{contents}contents=00000000-0000-0000-0000-000000000000"), &[]);
    assert_eq!((reused.status, reused.findings()), (200, vec![("CASM-REQUEST-ID-REUSED", Some("requestId"))]), "{reused:?}");
    assert_eq!(reused.body["replayed"], false, "{reused:?}");

    // A bug is answered 500, for the first time and again.
    let panics = naming(&unique("early"), &customers[1].by_ref_id(), "Dora");
    for replayed in ["", "true"] {
        let got = gateway.ask(NAME, &[WAIT], &panics);
        assert_eq!((got.status, got.header("content-type")), (500, "application/problem+json"), "{got:?}");
        assert_eq!(
            (got.findings(), got.header("idempotent-replayed")),
            (vec![("CASM-INTERNAL-ERROR", None)], replayed),
            "{got:?}"
        );
        assert_eq!((&got.body["requestId"], &got.body["title"]), (&panics["requestId"], &json!("Internal error")), "{got:?}");
    }
}

#[test]
fn one_request_at_two_gateways_has_one_effect_and_one_answer() {
    const CLIENTS: usize = 20;
    let Some(shared) = world::shared() else { return };
    let gateways = [Gateway::start(shared, &[]), Gateway::start(shared, &[])];
    for round in 0..3 {
        let (customer, request) = (shared.customer(), unique("r"));
        let command = naming(&request, &customer.by_external_id(), &format!("name {round}"));
        let asked = (0..CLIENTS).map(|client| gateways[client % 2].post(NAME, &[WAIT], &command));
        let all: Vec<Got> = runtime().block_on(join_all(asked.collect::<Vec<_>>()));
        for got in &all {
            assert_eq!((got.status, got.header("etag")), (200, "\"2\""), "{got:?}");
            assert_eq!(got.body["businessTransaction"], all[0].body["businessTransaction"]);
        }
        assert_eq!(shared.transactions(&customer).len(), 1, "one effect");
    }
}

#[test]
fn a_gateway_can_have_a_reply_topic_of_its_own() {
    let Some(shared) = world::shared() else { return };
    let environment = [("CRM__GATEWAY__REPLY_TOPIC", &*shared.other_replies), ("CRM__GATEWAY__MAX_WAIT", "20s")];
    let gateway = Gateway::start(shared, &environment);
    let (customer, request) = (shared.customer(), unique("r"));
    let command = naming(&request, &customer.by_ref_id(), "Ann");
    for replayed in [false, true] {
        let got = gateway.ask(NAME, &[WAIT], &command);
        assert_eq!((got.status, &got.body["replayed"]), (200, &json!(replayed)), "{got:?}");
        assert_eq!(got.header("preference-applied"), "wait=20", "nobody waits for longer than max_wait");
    }
    let replies = shared.inbox.until("both replies", |records| {
        let ours = |r: &&std::sync::Arc<Record>| r.body["requestId"] == request.as_str() && r.topic != shared.transactions;
        let topics: Vec<_> = records.iter().filter(ours).map(|r| r.topic.clone()).collect();
        (topics.len() >= 2).then_some(topics)
    });
    assert_eq!(replies, [&*shared.other_replies; 2]);
    // Another gateway does not wait for them.
    let other = Gateway::start(shared, &[]);
    assert_eq!(other.ask(NAME, &[WAIT], &command).status, 200);
}

#[test]
fn open_requests_are_finished_before_the_process_ends() {
    let Some(world) = World::set_up("gateway-ends", |_| {}) else { return };
    let customer = Entity::new(Kind::Customer, "ACTIVE");
    world.import(std::slice::from_ref(&customer));
    let gateway = Gateway::start(&world, &[LONG_WAIT_ALLOWED]);
    let open = runtime().spawn(gateway.post(NAME, &[LONG_WAIT], &naming(&unique("r"), &customer.by_ref_id(), "Ann")));
    gateway.until_metric("crm_gateway_open_requests 1");
    gateway.terminate();
    let _processor = world.run();
    let got = runtime().block_on(open).unwrap();
    assert_eq!(got.status, 200, "{got:?}");
    assert_eq!(gateway.wait(), 0);
}

#[test]
fn a_header_whose_name_is_no_text_ends_no_reader() {
    let Some(mut world) = World::set_up("odd-header", |_| {}) else { return };
    // The tests' own inbox would panic at such a header.
    world.inbox = Inbox::open(world.kafka(), &[], &[]);
    let customer = Entity::new(Kind::Customer, "ACTIVE");
    world.import(std::slice::from_ref(&customer));
    let (processor, gateway) = (world.run(), Gateway::start(&world, &[]));
    let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", world.kafka()).create().expect("a producer");
    for (topic, partitions) in [(&world.replies, OUTPUT_PARTITIONS), (&world.commands, PARTITIONS)] {
        for partition in 0..partitions {
            let headers = OwnedHeaders::new().insert(Header { key: no_text(), value: Some("x") });
            let record = FutureRecord::<[u8], _>::to(topic).partition(partition).payload("foreign").headers(headers);
            runtime().block_on(producer.send(record, Inbox::PATIENCE)).expect("the broker takes it");
        }
    }
    let got = gateway.ask(NAME, &[WAIT], &naming(&unique("r"), &customer.by_ref_id(), "Ann"));
    assert_eq!(got.status, 200, "{got:?}");
    processor.until_metric("crm_dlq_records_total", u64::from(PARTITIONS.unsigned_abs()));
    for (what, least) in [("dlq", PARTITIONS), ("replies", OUTPUT_PARTITIONS + 1)] {
        let shown = world.cli("watch", &[what, "--from-beginning"]).succeeded();
        assert!(shown.stdout.lines().count() >= least.unsigned_abs() as usize, "{what}: {shown}");
    }
    for log in [gateway.log(), processor.log()] {
        assert!(!log.contains("a panic"), "{log}");
    }
}

/// Returns a name of a header that no client should use.
#[allow(unsafe_code, reason = "rdkafka takes only texts as names")]
fn no_text() -> &'static str {
    // SAFETY: rdkafka copies the bytes, and reads no text from them.
    unsafe { std::str::from_utf8_unchecked(vec![0xff, 0xfe].leak()) }
}

#[test]
fn while_kafka_is_away_a_client_learns_whether_certainly_nothing_was_written() {
    let (Some(mut kafka), Some(cassandra)) = (OwnServer::kafka(), crate::servers::cassandra()) else { return };
    let world = World::set_up_on(kafka.address(), cassandra, "gateway-away", |_| {});
    let customer = Entity::new(Kind::Customer, "ACTIVE");
    world.import(std::slice::from_ref(&customer));
    let gateway = Gateway::start(&world, &[]);
    let _processor = world.run();
    let ask = |request: &str| gateway.ask(NAME, &[WAIT], &naming(request, &customer.by_ref_id(), request));
    let [before, frozen, meanwhile, after] = [(); 4].map(|()| unique("r"));
    assert_eq!(ask(&before).status, 200);

    // The broker's connection is there and takes the record, but nobody knows whether the broker will.
    kafka.signal("STOP");
    let unknown = ask(&frozen);
    assert_eq!((unknown.status, unknown.header("retry-after")), (504, "1"), "{unknown:?}");
    assert_eq!(unknown.body["type"], "urn:crm:in-progress", "{unknown:?}");
    kafka.signal("CONT");
    let deadline = Instant::now() + Inbox::PATIENCE;
    let in_the_end = loop {
        let got = ask(&frozen);
        if !matches!(got.status, 503 | 504) {
            break got;
        }
        assert!(Instant::now() < deadline, "it is never answered: {got:?}");
        crate::pause();
    };
    assert_eq!(in_the_end.status, 200, "{in_the_end:?}");
    let found = gateway.get(unknown.header("location"), &[]);
    assert_eq!((found.status, &found.body["businessTransaction"]), (200, &in_the_end.body["businessTransaction"]), "{found:?}");

    kafka.stop_by("KILL");
    let refused = ask(&meanwhile);
    assert_eq!((refused.status, refused.header("retry-after")), (503, "1"), "{refused:?}");
    gateway.until_not_ready();
    kafka.start_again();
    gateway.until_ready();
    let answered = ask(&after);
    assert_eq!(answered.status, 200, "{answered:?}");
    let is_effect = |r: &Record, request: &str| r.topic == world.transactions && r.body["requestId"] == request;
    // Effects of one entity come in their order.
    world.inbox.first("the last effect", |r| is_effect(r, &after));
    let effects = [&before, &frozen, &after].map(|request| world.inbox.all(|r| is_effect(r, request)).len());
    assert_eq!(effects, [1, 1, 1], "each took effect once");
    let held = world.inbox.all(|r| r.body["requestId"] == meanwhile.as_str());
    assert!(held.is_empty(), "nothing of it was written: {held:?}");
}
