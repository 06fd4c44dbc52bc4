//! Tests a schema registry that answers oddly about one schema, is behind, or has lost what it had. Only the record that is
//! concerned waits, for as long as the operator chose, and operators are told which record it is.

use crate::crm::{Draft, Entity, Kind, custom_name, unique};
use crate::gateway::client::Gateway;
use crate::inbox;
use crate::real_registry::id_of;
use crate::world::{Processor, Sent, World};
use crate::{registry, runtime};
use axum::extract::Request;
use axum::http::StatusCode;
use serde_json::{Value as Json, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use toml::{Table, Value};

/// A registry in front of the tests' registry. It answers some paths as the test says, and passes all other requests on.
pub struct Fickle {
    url: String,
    told: Told,
}

/// The answers by path: status, body, and how many times more they are given, or `None` for ever.
type Told = Arc<Mutex<HashMap<String, (u16, String, Option<usize>)>>>;

impl Fickle {
    pub fn start() -> Self {
        // The tests' registry is started now, because later this code runs on the runtime that the start needs.
        let _ = registry::url();
        let told = Told::default();
        let shared = told.clone();
        let answer = move |request: Request| {
            let said = due(&shared, request.uri().path());
            async move {
                match said {
                    Some((status, body)) => (StatusCode::from_u16(status).expect("is a status"), body),
                    None => registry::forward(request).await,
                }
            }
        };
        let router = axum::Router::new().fallback(answer);
        let url = runtime().block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
            let address = listener.local_addr().expect("it is bound");
            tokio::spawn(async move { axum::serve(listener, router).await });
            format!("http://{address}")
        });
        Self { url, told }
    }

    pub fn says(&self, id: u32, status: u16, body: &str, times: Option<usize>) {
        self.told.lock().expect("no holder panics").insert(format!("/schemas/ids/{id}"), (status, body.into(), times));
    }

    pub fn forgets_what_it_says(&self) {
        self.told.lock().expect("no holder panics").clear();
    }
}

fn due(told: &Told, path: &str) -> Option<(u16, String)> {
    let mut told = told.lock().expect("no holder panics");
    let (status, body, left) = told.get_mut(path)?;
    match left {
        Some(0) => return None,
        Some(left) => *left -= 1,
        None => {}
    }
    Some((*status, body.clone()))
}

/// Configures a processor to ask this registry, and to handle odd answers in this way.
pub fn ask_through(fickle: &Fickle, odd_answer: &str, config: &mut Table) {
    let section = config["registry"].as_table_mut().expect("is a table");
    section.insert("url".into(), Value::String(fickle.url.clone()));
    section.insert("odd_answer".into(), Value::String(odd_answer.into()));
}

/// Makes an installation that asks this registry, and handles odd answers in this way.
fn set_up(name: &str, fickle: &Fickle, odd_answer: &str) -> Option<(World, Entity)> {
    let world = World::set_up(name, |config| ask_through(fickle, odd_answer, config))?;
    let customer = Entity::new(Kind::Customer, "ACTIVE");
    world.import(std::slice::from_ref(&customer));
    Some((world, customer))
}

/// Makes a command with a schema that nobody has read yet, and returns it with the schema's id.
pub fn unread(customer: &Entity) -> (Draft, u32) {
    let mut schema = registry::command_schema("UpdateCustomerCustomName");
    schema["doc"] = json!(unique("not read yet"));
    let draft = custom_name(&unique("r"), &customer.by_ref_id(), "Ada").written_with(&schema);
    let value = draft.value().expect("has a value");
    let id = u32::from_be_bytes(value[1..5].try_into().expect("four bytes"));
    (draft.header("correlation-id", unique("c")), id)
}

fn has_reply(world: &World, draft: &Draft) -> bool {
    let correlation = draft.headers[0].1.as_deref();
    !world.inbox.all(|r| world.holds_replies(&r.topic) && r.header("correlation-id") == correlation).is_empty()
}

fn reply(world: &World, draft: &Draft) -> Json {
    let correlation = draft.headers[0].1.as_deref();
    let is_reply = |r: &crate::inbox::Record| world.holds_replies(&r.topic) && r.header("correlation-id") == correlation;
    world.inbox.first(&format!("a reply to {draft:?}"), is_reply).body.clone()
}

/// Returns the class of the reason why a record is on the DLQ.
fn buried(world: &World, draft: &Draft) -> String {
    let dead = world.inbox.first(&format!("on the DLQ: {draft:?}"), |r| r.topic == world.dlq && r.key == draft.key);
    dead.text("__connect.errors.exception.class.name").expect("each has one").to_owned()
}

/// Waits until `/readyz` has this status and says all of this.
fn until_readyz_says(processor: &Processor, status: u16, wanted: &[String]) {
    processor.until_readyz_is(|now, body| now == status && wanted.iter().all(|part| body.contains(part.as_str())));
}

/// Checks that commands in all partitions but this one are answered.
fn others_go_on(world: &World, customer: &Entity, sent: Sent) {
    let drafts: Vec<_> = (0..40)
        .map(|n| custom_name(&unique("r"), &customer.by_ref_id(), &n.to_string()).header("correlation-id", unique("c")))
        .collect();
    for (draft, other) in drafts.iter().zip(world.send_all(&drafts)) {
        if other.partition != sent.partition {
            assert_eq!(reply(world, draft)["statusCode"], 200);
        }
    }
}

#[test]
fn a_schema_that_the_registry_is_odd_about_is_dead_lettered_after_the_configured_time() {
    let fickle = Fickle::start();
    let Some((world, customer)) = set_up("registry-odd", &fickle, "6s") else { return };
    let processor = world.run();
    let odd = [
        (403, r#"{"error_code":40301,"message":"User cannot access the resource."}"#),
        (500, r#"{"error_code":50001,"message":"Error in the backend data store"}"#),
        (200, "{}"),
        (302, ""),
    ];
    let drafts: Vec<_> = odd
        .map(|(status, body)| {
            let (draft, id) = unread(&customer);
            fickle.says(id, status, body, None);
            (draft, id, status)
        })
        .into();
    for (draft, id, status) in &drafts {
        let sent = world.send(draft);
        let wanted = [format!("{}[{}] has waited at offset {}", world.commands, sent.partition, sent.offset), format!("id {id}")];
        // One schema is no reason to take nothing.
        until_readyz_says(&processor, 200, &wanted);
        processor.until_metric("crm_partitions_without_schema", 1);
        others_go_on(&world, &customer, sent);
        assert_eq!(buried(&world, draft), "crm.OddRegistryAnswer", "{status}");
        let reply = reply(&world, draft);
        assert_eq!(
            (&reply["statusCode"], &reply["errors"][0]["code"]),
            (&json!(400), &json!("CASM-RECORD-UNREADABLE")),
            "{reply}"
        );
    }
    processor.until_metric("crm_partitions_without_schema", 0);
    processor.until_metric("crm_registry_up", 1);
}

#[test]
fn each_404_about_one_id_makes_it_unknown_if_it_lasts_and_nothing_if_it_does_not() {
    let fickle = Fickle::start();
    let Some((world, customer)) = set_up("registry-404", &fickle, "60s") else { return };
    let _processor = world.run();
    let bodies = [
        r#"{"error_code":40403,"message":"Schema not found"}"#,
        r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#,
        r#"{"error_code":40401,"message":"Subject not found"}"#,
        r#"{"error_code":40402,"message":"Version not found"}"#,
        "<html>no such page</html>",
        "",
    ];
    // A node that is behind does not know the schema for a while. Nobody may get a 400 for that.
    let behind = bodies.map(|body| {
        let (draft, id) = unread(&customer);
        fickle.says(id, 404, body, Some(3));
        draft
    });
    world.send_all(&behind);
    for (draft, body) in behind.iter().zip(bodies) {
        assert_eq!(reply(&world, draft)["statusCode"], 200, "{body}");
    }
    let unknown = bodies.map(|body| {
        let (draft, id) = unread(&customer);
        fickle.says(id, 404, body, None);
        draft
    });
    world.send_all(&unknown);
    for (draft, body) in unknown.iter().zip(bodies) {
        assert_eq!(buried(&world, draft), "crm.UnknownSchemaId", "{body}");
        assert_eq!(reply(&world, draft)["statusCode"], 400, "{body}");
    }
}

#[test]
fn ids_that_nobody_gave_are_waited_for_together() {
    const COUNT: u32 = 400;
    let fickle = Fickle::start();
    let Some((world, customer)) = set_up("registry-flood", &fickle, "60s") else { return };
    let _processor = world.run();
    // All records are on one partition. If the processor waited for one id after another, it would take more than half an hour.
    let key = unique("k");
    let garbage: Vec<_> =
        (0..COUNT).map(|n| Draft::raw(Some([&[0], &(1_000_000 + n).to_be_bytes()[..]].concat())).key(&key)).collect();
    world.send_all(&garbage);
    let last = custom_name(&unique("r"), &customer.by_ref_id(), "Ada").key(&key);
    assert_eq!(world.ask(&last).body["statusCode"], 200);
    let dead = world.inbox.until(&format!("{COUNT} dead letters"), |records| {
        let dead: Vec<_> = records.iter().filter(|r| r.topic == world.dlq).cloned().collect();
        (dead.len() == COUNT as usize).then_some(dead)
    });
    assert!(dead.iter().all(|r| r.text("__connect.errors.exception.class.name") == Some("crm.UnknownSchemaId")));
}

#[test]
fn an_operator_may_have_a_schema_waited_for_as_long_as_that_takes() {
    let fickle = Fickle::start();
    let Some((world, customer)) = set_up("registry-wait", &fickle, "wait") else { return };
    let processor = world.run();
    let (draft, id) = unread(&customer);
    fickle.says(id, 403, "", None);
    let sent = world.send(&draft);
    let wanted = ["it is waited for as long as that takes".to_owned(), format!("[{}]", sent.partition), format!("id {id}")];
    until_readyz_says(&processor, 200, &wanted);
    others_go_on(&world, &customer, sent);
    assert!(!has_reply(&world, &draft));
    fickle.forgets_what_it_says();
    assert_eq!(reply(&world, &draft)["statusCode"], 200);
    assert!(world.inbox.all(|r| r.topic == world.dlq).is_empty());
}

/// Returns a registry's answer with a schema that our own ids don't mean.
fn foreign() -> String {
    json!({"schema": registry::command_schema("UpdateCustomerSegment").to_string()}).to_string()
}

#[test]
fn while_the_ids_of_commands_mean_other_schemas_a_gateway_writes_none() {
    let fickle = Fickle::start();
    let Some((world, customer)) = set_up("registry-gateway", &fickle, "60s") else { return };
    let (_processor, gateway) = (world.run(), Gateway::start(&world, &[]));
    let name = json!({"requestId": unique("r"), "customer": customer.by_ref_id(), "customName": "Ann"});
    let ask = || gateway.ask("/v1/updateCustomerCustomName", &[], &name);
    let ours = id_of(registry::url(), &format!("{}-crm.v1.UpdateCustomerCustomName", world.commands));
    fickle.says(ours, 200, &foreign(), None);
    gateway.until_not_ready();
    let refused = ask();
    assert_eq!((refused.status, refused.header("retry-after").is_empty()), (503, false), "{refused:?}");
    assert_eq!(inbox::count(world.kafka(), &[&world.commands]), 0);
    fickle.forgets_what_it_says();
    gateway.until_ready();
    assert_eq!(ask().status, 200);
}

#[test]
fn while_our_own_ids_mean_other_schemas_nothing_is_taken_and_operators_are_told() {
    let fickle = Fickle::start();
    let Some((world, customer)) = set_up("registry-emptied", &fickle, "60s") else { return };
    let processor = world.run();
    world.ask(&custom_name(&unique("r"), &customer.by_ref_id(), "before"));
    let ours = id_of(registry::url(), &format!("{}-value", world.replies));
    for (status, body) in [(200, foreign()), (404, r#"{"error_code":40403,"message":"Schema not found"}"#.to_owned())] {
        fickle.says(ours, status, &body, None);
        processor.until_metric("crm_registry_differs", 1);
        let wanted = ["other schemas than before".to_owned(), format!("id {ours}"), "crm-processor setup".to_owned()];
        until_readyz_says(&processor, 503, &wanted);
        processor.until_metric("crm_registry_up", 1);
        // The processor must not use the schemas that it knows any more.
        let draft = custom_name(&unique("r"), &customer.by_ref_id(), "meanwhile").header("correlation-id", unique("c"));
        let sent = world.send(&draft);
        let waits = format!("{}[{}] has waited at offset {}", world.commands, sent.partition, sent.offset);
        until_readyz_says(&processor, 503, &[waits]);
        assert!(!has_reply(&world, &draft), "{body}");
        fickle.forgets_what_it_says();
        assert_eq!(reply(&world, &draft)["statusCode"], 200, "{body}");
        processor.until_ready();
    }
    assert!(world.inbox.all(|r| r.topic == world.dlq).is_empty(), "nothing was taken for unreadable");
}

#[test]
fn a_proxy_that_answers_404_to_everything_makes_nothing_unknown() {
    let fickle = Fickle::start();
    let Some((world, customer)) = set_up("registry-proxy", &fickle, "60s") else { return };
    let processor = world.run();
    world.ask(&custom_name(&unique("r"), &customer.by_ref_id(), "before"));
    let (draft, _) = unread(&customer);
    for id in 0..2_000 {
        fickle.says(id, 404, "<html>no such page</html>", None);
    }
    processor.until_metric("crm_registry_up", 0);
    world.send(&draft);
    processor.until_ready_is(false);
    // This is longer than the time after which an id counts as unknown.
    let deadline = Instant::now() + std::time::Duration::from_secs(8);
    while Instant::now() < deadline {
        assert!(!has_reply(&world, &draft));
        crate::pause();
    }
    fickle.forgets_what_it_says();
    assert_eq!(reply(&world, &draft)["statusCode"], 200);
    assert!(world.inbox.all(|r| r.topic == world.dlq).is_empty());
}

#[test]
fn a_schema_whose_guid_stands_in_a_header_is_read_by_it_whatever_the_body_begins_with() {
    let fickle = Fickle::start();
    let Some((world, customer)) = set_up("registry-guids", &fickle, "60s") else { return };
    let _processor = world.run();
    let schema = registry::command_schema("UpdateCustomerCustomName");
    // The value is the body alone. The body of the swapped schema begins with byte 0, but the bytes behind it are not an id.
    let mut swapped = schema.clone();
    swapped["fields"][0]["type"] = json!(["string", "null"]);
    for (schema, first) in [(schema, 2), (swapped, 0)] {
        let guid = uuid::Uuid::new_v4();
        let answer = json!({"schema": schema.to_string(), "schemaType": "AVRO"}).to_string();
        fickle.told.lock().expect("no holder panics").insert(format!("/schemas/guids/{guid}"), (200, answer, None));
        let draft = custom_name(&unique("r"), &customer.by_ref_id(), "Ada");
        let value = registry::datum(&schema, &draft.body);
        assert_eq!(value[0], first);
        let header = [&[1][..], guid.as_bytes()].concat();
        let draft = Draft { headers: draft.headers, ..Draft::raw(Some(value)) }.header("__value_schema_id", header);
        let reply = world.ask(&draft);
        assert_eq!(reply.body["statusCode"], 200, "{reply:?}");
        // A value in the wire format is not read by its id either, if a header names another schema.
        let other = custom_name(&unique("r"), &customer.by_ref_id(), "Eve").header("__value_schema_id", [0, 0, 0, 0, 0]);
        assert_eq!(world.ask(&other).body["errors"][0]["code"], "CASM-RECORD-UNREADABLE");
    }
}

#[test]
fn a_redirection_is_named_by_setup_and_check() {
    let fickle = Fickle::start();
    let Some((world, _)) = set_up("registry-redirects", &fickle, "60s") else { return };
    let subject = format!("/subjects/{}-crm.v1.UpdateCustomerCustomName", world.commands);
    fickle.told.lock().expect("no holder panics").insert(subject, (301, String::new(), None));
    for subcommand in ["check", "setup"] {
        let finished = world.cli(subcommand, &[]).exits(1);
        let said = format!("{}{}", finished.stdout, finished.stderr);
        assert!(said.contains("301 Moved Permanently") && said.contains("redirections are not followed"), "{finished}");
    }
}
