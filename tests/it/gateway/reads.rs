//! Tests what is read over HTTP: the values and the history that `show` tells, in pages, and only what the client does not have yet.

use super::client::Gateway;
use super::{NAME, WAIT, naming};
use crate::crm::{Entity, Kind, create, unique};
use crate::inbox::Inbox;
use crate::world::World;
use crate::{runtime, world};
use futures::future::{join, join_all};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Instant;

#[test]
fn an_entity_is_read_as_show_tells_it() {
    let Some(shared) = world::shared() else { return };
    let (gateway, customer) = (Gateway::start(shared, &[]), shared.customer());
    assert_eq!(gateway.ask(NAME, &[], &naming(&unique("r"), &customer.by_ref_id(), "Ann")).status, 200);
    let shown = shared.cli("show", &["--json", "customer", &customer.external_id]).succeeded();
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    let by_ref_id = format!("/v1/customers/{}", customer.ref_id);
    let by_external_id = format!("/v1/customers?externalId={}", customer.external_id);
    for path in [&by_ref_id, &by_external_id] {
        for headers in [&[][..], &[("cache-control", "no-cache")]] {
            let got = gateway.get(path, headers);
            assert_eq!((got.status, got.header("etag")), (200, "\"2\""), "{got:?}");
            assert_eq!(got.body, json!({"entity": shown["entity"], "version": 2}), "{path}");
        }
        let known = gateway.get(path, &[("if-none-match", "W/\"2\"")]);
        assert_eq!((known.status, known.header("etag"), &known.body), (304, "\"2\"", &Value::Null));
        assert_eq!(gateway.get(path, &[("if-none-match", "\"1\"")]).status, 200);
    }
    let missing = ["/v1/customers?externalId=nobody", "/v1/accounts/00000000-0000-4000-8000-000000000000"];
    for path in missing {
        assert_eq!(gateway.get(path, &[]).status, 404, "{path}");
    }
    let wrong = gateway.get("/v1/customers/c-1", &[]);
    assert_eq!((wrong.status, wrong.findings()), (400, vec![("CASM-RECORD-UNREADABLE", Some("refId"))]));
}

#[test]
fn a_history_comes_in_pages_with_the_newest_change_first() {
    let Some(shared) = world::shared() else { return };
    let (gateway, account) = (Gateway::start(shared, &[]), shared.account());
    let path = format!("/v1/accounts/{}/history", account.ref_id);
    assert_eq!(gateway.get(&path, &[]).body, json!({"history": []}), "an import is no change");
    let names: Vec<String> = (0..5).map(|_| unique("a")).collect();
    for name in &names {
        let command = json!({"requestId": unique("r"), "account": account.by_ref_id(), "externalId": name});
        assert_eq!(gateway.ask("/v1/updateAccountExternalId", &[], &command).status, 200);
    }
    let shown = shared.cli("show", &["--json", "--ref-id", "account", &account.ref_id]).succeeded();
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    let newest_first: Vec<Value> = shown["history"].as_array().unwrap().iter().rev().cloned().collect();
    assert_eq!(gateway.get(&path, &[]).body["history"], json!(newest_first));

    for (tag, status) in [("\"6\"", 304), ("\"5\"", 200)] {
        let got = gateway.get(&format!("{path}?limit=2"), &[("if-none-match", tag)]);
        assert_eq!((got.status, got.header("etag"), got.body.is_null()), (status, "\"6\"", status == 304), "{tag}: {got:?}");
    }

    let (mut next, mut read) = (Some(format!("{path}?limit=2")), Vec::new());
    while let Some(page) = next {
        let got = gateway.get(&page, &[]);
        assert_eq!((got.status, got.header("etag")), (200, "\"6\""), "{got:?}");
        read.push(got.body["history"].as_array().unwrap().clone());
        next = got.header("link").strip_suffix(">; rel=\"next\"").map(|link| link.trim_start_matches('<').to_owned());
    }
    assert_eq!(read.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(read.concat(), newest_first);
    let given_up = gateway.get(&format!("/v1/accounts?externalId={}", names[0]), &[]);
    assert_eq!(given_up.status, 404, "an old external id does not resolve");
}

#[test]
fn an_entity_that_is_created_over_http_is_read_and_its_creation_is_found() {
    const PATH: &str = "/v1/createAccount";
    let Some(shared) = world::shared() else { return };
    let (gateway, customer) = (Gateway::start(shared, &[]), shared.customer());
    let creation = create(Kind::Account, &unique("r"), &unique("e"), &customer.by_external_id());
    let (account, request) = (Entity::created_by(&creation), creation.request());
    let versioned = gateway.ask(PATH, &[("if-match", "\"1\"")], &creation.body);
    assert_eq!((versioned.status, versioned.findings()), (400, vec![("CASM-INVALID-ATTRIBUTE", Some("expectedVersion"))]));

    let created = gateway.ask(PATH, &[], &creation.body);
    assert_eq!((created.status, created.header("etag")), (200, "\"1\""), "{created:?}");
    let reply = shared.inbox.first("its reply", |r| r.topic == shared.replies && r.body["requestId"] == request);
    assert_eq!(reply.key.as_deref(), Some(account.external_id.as_bytes()), "the key is the external id that it gives");
    let read = gateway.get(&format!("/v1/accounts?externalId={}", account.external_id), &[]);
    assert_eq!((read.status, &read.body["entity"]["customerRefId"]), (200, &json!(customer.ref_id)), "{read:?}");
    let history = gateway.get(&format!("/v1/accounts/{}/history", account.ref_id), &[]);
    let first = &history.body["history"][0];
    assert_eq!((&first["version"], &first["useCase"]), (&json!(1), &json!("createAccount")), "{history:?}");

    let accepted = gateway.ask(PATH, &[("prefer", "respond-async")], &creation.body);
    assert_eq!(accepted.status, 202, "{accepted:?}");
    for place in [accepted.header("location").to_owned(), format!("/v1/accounts/{}/requests/{request}", account.ref_id)] {
        let found = gateway.get(&place, &[]);
        assert_eq!((found.status, &found.body["replayed"]), (200, &json!(true)), "{place}: {found:?}");
        assert_eq!(found.body["businessTransaction"], created.body["businessTransaction"], "{place}");
    }
}

#[test]
fn a_refusal_is_found_as_the_reply_that_it_was() {
    let Some(shared) = world::shared() else { return };
    let (gateway, request) = (Gateway::start(shared, &[]), unique("r"));
    let nobody = Entity::new(Kind::Subscriber, "ACTIVE");
    for (reference, place) in [
        (nobody.by_external_id(), format!("/v1/subscribers/requests/{request}?externalId={}", nobody.external_id)),
        (nobody.by_ref_id(), format!("/v1/subscribers/{}/requests/{request}", nobody.ref_id)),
    ] {
        assert_eq!(gateway.get(&place, &[]).status, 404, "{place}");
        let command = json!({"requestId": request, "subscriber": reference, "externalId": unique("s")});
        let refused = gateway.ask("/v1/updateSubscriberExternalId", &[], &command);
        assert_eq!((refused.status, refused.findings()[0].0), (400, "CASM-ENTITY-NOT-FOUND"), "{refused:?}");
        let found = gateway.get(&place, &[]);
        assert_eq!((found.status, &found.body["statusCode"]), (200, &json!(400)), "{found:?}");
        assert_eq!((&found.body["errors"], &found.body["replayed"]), (&refused.body["errors"], &json!(true)));
        assert_eq!(found.header("etag"), "", "it is about no entity");
    }
}

#[test]
fn a_refusal_that_needs_no_entity_is_stored_nowhere_and_so_not_found() {
    let Some(shared) = world::shared() else { return };
    // The gateway knows a segment that the processor does not know.
    let gateway = Gateway::start(shared, &[("CRM__SEGMENTS", "RESIDENTIAL,UNKNOWN")]);
    let (customer, request) = (shared.customer(), unique("r"));
    let command = json!({"requestId": request, "customer": customer.by_ref_id(), "customerSegment": "UNKNOWN"});
    let accepted = gateway.ask("/v1/updateCustomerSegment", &[("prefer", "respond-async")], &command);
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let reply = shared.inbox.first("its reply", |r| r.topic == shared.replies && r.body["requestId"] == request.as_str());
    assert_eq!(reply.body["errors"][0]["code"], "CASM-SEGMENT-NOT-CONFIGURED", "{reply:?}");
    let found = gateway.get(accepted.header("location"), &[("cache-control", "no-cache")]);
    assert_eq!((found.status, found.header("retry-after")), (404, "1"), "{found:?}");
    let told = gateway.ask("/v1/updateCustomerSegment", &[WAIT], &command);
    assert_eq!((told.status, told.findings()), (400, vec![("CASM-SEGMENT-NOT-CONFIGURED", Some("customerSegment"))]), "{told:?}");
}

#[test]
fn of_too_many_reads_at_once_those_within_the_bound_are_answered_and_no_command_is_refused_for_them() {
    const READERS: usize = 32;
    let Some(shared) = world::shared() else { return };
    let (gateway, customer) = (Gateway::start(shared, &[("CRM__GATEWAY__MAX_OPEN_READS", "1")]), shared.customer());
    let path = format!("/v1/customers/{}/history", customer.ref_id);
    let deadline = Instant::now() + Inbox::PATIENCE;
    let mut refused = 0;
    // One of the readers may be done before the next one comes.
    while refused == 0 {
        assert!(Instant::now() < deadline, "no read was refused");
        let reads = (0..READERS).map(|_| gateway.send(&Method::GET, &path, &[("cache-control", "no-cache")], String::new()));
        let command = gateway.post(NAME, &[WAIT], &naming(&unique("r"), &customer.by_ref_id(), &unique("name")));
        let (reads, command) = runtime().block_on(join(join_all(reads.collect::<Vec<_>>()), command));
        assert_eq!(command.status, 200, "{command:?}");
        for got in reads.iter().filter(|got| got.status != 200) {
            assert_eq!((got.status, got.header("retry-after")), (503, "1"), "{got:?}");
            assert_eq!(got.body["type"], "urn:crm:unavailable", "{got:?}");
            refused += 1;
        }
        assert!(refused < READERS, "of those who came at once one was answered: {reads:?}");
    }
    assert_eq!(gateway.get(&path, &[]).status, 200, "there is room again");
    gateway.until_metric("crm_gateway_open_reads 0");
    gateway.until_metric("crm_gateway_open_reads_limit 1");
}

#[test]
fn a_gateway_leaves_an_embedded_store_to_its_processor() {
    let Some(world) = World::set_up("gateway-embedded", world::embedded) else { return };
    let customer = Entity::new(Kind::Customer, "ACTIVE");
    world.import(std::slice::from_ref(&customer));
    // The store is not in use yet, so the gateway could open it.
    let gateway = Gateway::start(&world, &[]);
    let _processor = world.run();
    assert_eq!(gateway.ask(NAME, &[], &naming(&unique("r"), &customer.by_ref_id(), "Ann")).status, 200);
    let read = gateway.get(&format!("/v1/customers/{}", customer.ref_id), &[]);
    assert_eq!((read.status, read.header("retry-after").is_empty()), (503, false), "{read:?}");
}
