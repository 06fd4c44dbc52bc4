//! Tests traces: which spans of a command a collector gets, how the trace goes on in what the processor writes, and that nobody
//! waits for a collector.

use crate::collector::{Collector, Span};
use crate::crm::{Draft, Entity, Kind, custom_name, rename, unique};
use crate::gateway::client::Gateway;
use crate::inbox::Record;
use crate::servers;
use crate::world::World;
use serde_json::json;
use toml::{Table, Value};
use uuid::Uuid;

/// The id of the CRM's own span.
const SENDER: &str = "00f067aa0ba902b7";
/// With this delay spans are sent at the end of the process, or when there are many.
const AT_THE_END: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "3600000");

/// Returns the id of a new trace.
fn new_trace() -> String {
    Uuid::new_v4().simple().to_string()
}

/// Makes a command in a trace.
fn traced(draft: Draft, trace: &str, flags: &str) -> Draft {
    draft.header("traceparent", format!("00-{trace}-{SENDER}-{flags}")).header("tracestate", "crm=1,other=2")
}

fn collected_at(url: &str) -> impl FnOnce(&mut Table) + use<> {
    let section = Table::from_iter([("otlp_endpoint".to_owned(), Value::String(url.to_owned()))]);
    |config| _ = config.insert("telemetry".into(), Value::Table(section))
}

/// Returns the one span of this name.
fn one<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "one {name} in {spans:#?}");
    found[0]
}

/// Returns the trace, the parent and the flags that a record's header names.
fn named_in(record: &Record) -> (String, String, String) {
    assert_eq!(record.text("tracestate"), Some("crm=1,other=2"), "{record:?}");
    let header = record.text("traceparent").unwrap_or_else(|| panic!("no traceparent in {record:?}"));
    let parts: Vec<_> = header.split('-').map(str::to_owned).collect();
    let [version, trace, parent, flags] = &parts[..] else { panic!("{header}") };
    assert_eq!(version, "00");
    (trace.clone(), parent.clone(), flags.clone())
}

/// Checks that each span but the command's own has its parent among the others, and lies within it.
fn assert_nested(spans: &[Span]) {
    for span in spans.iter().filter(|span| span.name != "command") {
        let parent = spans.iter().find(|p| p.id == span.parent).unwrap_or_else(|| panic!("no parent of {span:#?}"));
        let within = parent.time.0 <= span.time.0 && span.time.0 <= span.time.1 && span.time.1 <= parent.time.1;
        assert!(within, "{} {:?} lies not in {} {:?}", span.name, span.time, parent.name, parent.time);
    }
}

#[test]
fn a_collector_sees_each_sampled_command_from_decoding_to_publishing() {
    let collector = Collector::start();
    let Some(world) = World::set_up("traces", collected_at(&collector.url)) else { return };
    // Each change has an entity of its own, because two changes of one entity might conflict and need more steps.
    let [customer, second, third] = [(); 3].map(|()| Entity::new(Kind::Customer, "ACTIVE"));
    let account = Entity::new(Kind::Account, "ACTIVE");
    world.import(&[customer.clone(), second.clone(), third.clone(), account.clone()]);
    let processor = world.start_with("slot-7", &[AT_THE_END]);
    processor.until_ready();

    let traces: Vec<_> = (0..5).map(|_| new_trace()).collect();
    let [named, renamed, refused, unreadable, unsampled] = &traces[..] else { unreachable!("there are five") };
    let drafts = [
        traced(custom_name(&unique("r"), &customer.by_external_id(), "Ada"), named, "01"),
        traced(rename(Kind::Account, &unique("r"), &account.by_ref_id(), &unique("a")), renamed, "01"),
        traced(custom_name(&unique("r"), &customer.by_ref_id(), " "), refused, "03"),
        traced(Draft::raw(Some(b"nonsense".to_vec())), unreadable, "01"),
        traced(custom_name(&unique("r"), &second.by_ref_id(), "Eve"), unsampled, "00"),
        custom_name(&unique("r"), &third.by_ref_id(), "Bob").header("traceparent", "00-nonsense"),
    ];
    let replies = world.ask_all(&drafts);
    let transaction = world.transaction(&customer, drafts[0].request());
    processor.signal("TERM");
    assert_eq!(processor.wait(), 0, "{}", processor.log_tail());

    let spans = collector.of_trace(named);
    assert_nested(&spans);
    let command = one(&spans, "command");
    assert_eq!((&*command.parent, command.kind, command.is_error), (SENDER, 5, false), "{command:#?}");
    for (attribute, expected) in [
        ("request_id", drafts[0].request()),
        ("use_case", "updateCustomerCustomName"),
        ("status", "200"),
        ("messaging.system", "kafka"),
        ("messaging.destination.name", &world.commands),
    ] {
        assert_eq!(command.attribute(attribute), expected, "{command:#?}");
    }
    assert_eq!(command.resource["service.name"], "crm-processor");
    assert_eq!(command.resource["service.instance.id"], "slot-7");
    for step in ["decode", "decide", "publish"] {
        assert_eq!(one(&spans, step).parent, command.id, "{step}");
    }
    let (publish, apply) = (one(&spans, "publish"), one(&spans, "apply"));
    assert_eq!((publish.kind, publish.attribute("result")), (4, "committed"));
    assert_eq!((apply.kind, apply.attribute("applied")), (3, "true"));
    assert_eq!(apply.parent, one(&spans, "decide").id);
    // CRM and data warehouse go on from our span.
    let ours = (named.clone(), command.id.clone(), "01".to_owned());
    assert_eq!((named_in(&replies[0]), named_in(&transaction)), (ours.clone(), ours));

    let spans = collector.of_trace(renamed);
    assert_nested(&spans);
    for write in ["claim", "apply"] {
        assert_eq!(one(&spans, write).attribute("applied"), "true");
    }
    for (trace, status, decided) in [(refused, "400", false), (unreadable, "400", false)] {
        let spans = collector.of_trace(trace);
        assert_nested(&spans);
        assert_eq!(one(&spans, "command").attribute("status"), status);
        assert_eq!(spans.iter().any(|span| span.name == "decide"), decided, "{spans:#?}");
        one(&spans, "publish");
    }

    assert_eq!(named_in(&replies[4]), (unsampled.clone(), SENDER.to_owned(), "00".to_owned()), "passed on as it came");
    assert_eq!(replies[5].text("traceparent"), None, "{:?}", replies[5]);
    let others: Vec<_> = collector.spans().into_iter().filter(|span| !traces[..4].contains(&span.trace)).collect();
    assert!(others.is_empty(), "spans of commands that are not sampled: {others:#?}");
}

/// All commands are on the topic before the processor begins, so that its lane has runs to fold.
#[test]
fn commands_that_are_decided_together_are_linked_to_the_one_with_the_steps_of_the_store() {
    let collector = Collector::start();
    let Some(world) = World::set_up("linked", collected_at(&collector.url)) else { return };
    let customer = Entity::new(Kind::Customer, "ACTIVE");
    world.import(std::slice::from_ref(&customer));
    let traces: Vec<_> = (0..20).map(|_| new_trace()).collect();
    let name =
        |trace: &String| traced(custom_name(&unique("r"), &customer.by_ref_id(), &unique("n")).key("one lane"), trace, "01");
    let drafts: Vec<_> = traces.iter().map(name).collect();
    world.send_all(&drafts);
    let processor = world.start_with("slot-8", &[AT_THE_END]);
    for draft in &drafts {
        world.transaction(&customer, draft.request());
    }
    processor.signal("TERM");
    assert_eq!(processor.wait(), 0, "{}", processor.log_tail());

    let mut linked = 0;
    for trace in &traces {
        let spans = collector.of_trace(trace);
        assert_nested(&spans);
        let decide = one(&spans, "decide");
        if let [leader] = &decide.links[..] {
            let steps: Vec<_> = collector.spans().into_iter().filter(|span| span.parent == *leader).collect();
            assert!(steps.iter().any(|step| step.name == "apply"), "of {leader}: {steps:#?}");
            linked += 1;
        } else {
            assert!(spans.iter().any(|span| span.name == "apply"), "neither linked nor with steps of its own: {spans:#?}");
        }
    }
    assert!(linked > 0, "none were decided together");
}

#[test]
fn a_request_over_http_and_its_command_are_one_trace() {
    let collector = Collector::start();
    let Some(world) = World::set_up("http-traces", collected_at(&collector.url)) else { return };
    let customer = Entity::new(Kind::Customer, "ACTIVE");
    world.import(std::slice::from_ref(&customer));
    let processor = world.start_with("slot-9", &[AT_THE_END]);
    processor.until_ready();
    let gateway = Gateway::start(&world, &[AT_THE_END]);
    let [named, refused, read, unsampled] = [(); 4].map(|()| new_trace());
    let header = |trace: &str, flags: &str| format!("00-{trace}-{SENDER}-{flags}");
    let request = unique("r");
    let ask = |request: &str, name: &str, trace: &str, flags: &str| {
        let command = json!({"requestId": request, "customer": customer.by_ref_id(), "customName": name});
        gateway.ask("/v1/updateCustomerCustomName", &[("traceparent", &header(trace, flags))], &command)
    };
    let got = ask(&request, "Ada", &named, "01");
    assert_eq!((got.status, got.header("traceparent")), (200, &*header(&named, "01")), "{got:?}");
    assert_eq!(ask(&unique("r"), " ", &refused, "01").status, 400);
    assert_eq!(ask(&unique("r"), "Bob", &unsampled, "00").status, 200);
    let path = format!("/v1/customers/{}", customer.ref_id);
    assert_eq!(gateway.get(&path, &[("traceparent", &header(&read, "01"))]).status, 200);
    let transaction = world.transaction(&customer, &request);
    gateway.terminate();
    processor.signal("TERM");
    assert_eq!((gateway.wait(), processor.wait()), (0, 0), "{}\n{}", gateway.log(), processor.log_tail());

    let spans = collector.of_trace(&named);
    let (server, produce, command) = (one(&spans, "request"), one(&spans, "produce"), one(&spans, "command"));
    assert_eq!((&*server.parent, server.kind, server.is_error), (SENDER, 2, false), "{server:#?}");
    let expected = [("kind", "updateCustomerCustomName"), ("request_id", &*request), ("http.response.status_code", "200")];
    for (attribute, expected) in expected {
        assert_eq!(server.attribute(attribute), expected, "{server:#?}");
    }
    assert_eq!((&produce.parent, produce.kind, produce.attribute("result")), (&server.id, 4, "written"));
    assert_eq!((&command.parent, &one(&spans, "publish").parent), (&produce.id, &command.id));
    assert_eq!(one(&spans, "reply").parent, server.id);
    let goes_on = transaction.text("traceparent").expect("the transaction is in the trace");
    assert_eq!(goes_on, format!("00-{named}-{}-01", command.id));

    let spans = collector.of_trace(&refused);
    assert_eq!((spans.len(), one(&spans, "request").attribute("http.response.status_code")), (1, "400"), "{spans:#?}");
    let spans = collector.of_trace(&read);
    let server = one(&spans, "request");
    assert_eq!((server.attribute("kind"), server.attribute("http.response.status_code")), ("entity", "200"));
    assert!(spans.iter().any(|span| span.parent == server.id && span.kind == 3), "the store's steps: {spans:#?}");
    assert!(collector.of_trace(&unsampled).is_empty());
}

#[test]
fn a_collector_that_is_away_costs_spans_and_nothing_else() {
    let nobody = format!("http://127.0.0.1:{}", servers::free_port());
    let Some(world) = World::set_up("no-collector", collected_at(&nobody)) else { return };
    let customer = Entity::new(Kind::Customer, "ACTIVE");
    world.import(std::slice::from_ref(&customer));
    let processor = world.start_with(&unique("slot"), &[("OTEL_BSP_SCHEDULE_DELAY", "50")]);
    processor.until_ready();
    for _ in 0..3 {
        let name = traced(custom_name(&unique("r"), &customer.by_ref_id(), "Ada"), &new_trace(), "01");
        assert_eq!(world.ask(&name).body["statusCode"], 200);
    }
    processor.signal("TERM");
    assert_eq!(processor.wait(), 0, "{}", processor.log_tail());
    let log = processor.log();
    assert!(log.contains("BatchSpanProcessor.ExportError"), "it says so: {log}");
}
