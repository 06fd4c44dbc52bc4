//! Plays the functional cases of the contract over HTTP from other languages: from Python with httpx, and from Java with its own client.
//! The cases are one table, made for entities that nobody else uses: each use case, creations too, each error that a client can cause,
//! replays, versions, answers that are not waited for, and reads.

use crate::crm::{Entity, Kind, create, unique};
use crate::examples::{java, python};
use crate::servers;
use crate::world::{self, Shared};
use crm_processor::domain::use_case::UseCase;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::client::Gateway;

/// A request, and what is expected of its answer.
struct Case(Value);

impl Case {
    fn get(path: impl Into<String>, status: u16) -> Self {
        Self::of("GET", &path.into(), &Value::Null, status)
    }

    /// Sends a command. A body that is a text is sent as it is.
    fn post(use_case: &str, body: &Value, status: u16) -> Self {
        let body = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
        Self::of("POST", &format!("/v1/{use_case}"), &body.into(), status).with("content-type", "application/json")
    }

    fn of(method: &str, path: &str, body: &Value, status: u16) -> Self {
        Self(json!({
            "name": format!("{method} {path} {body}"), "method": method, "path": path, "headers": {}, "body": body, "again": false,
            "status": status, "expectedHeaders": {}, "expected": {}, "keep": {},
        }))
    }

    fn put(mut self, part: &str, name: &str, value: Value) -> Self {
        self.0[part][name] = value;
        self
    }

    fn with(self, header: &str, value: &str) -> Self {
        self.put("headers", header, value.into())
    }

    fn has(self, header: &str, value: &str) -> Self {
        self.put("expectedHeaders", header, value.into())
    }

    fn says(self, pointer: &str, value: impl Into<Value>) -> Self {
        self.put("expected", pointer, value.into())
    }

    fn keeps(self, name: &str, header: &str) -> Self {
        self.put("keep", name, header.into())
    }

    /// Is asked again until it is answered as expected.
    fn in_the_end(mut self) -> Self {
        self.0["again"] = true.into();
        self
    }

    /// Is refused with this first finding, in the form that the contract gives a refusal.
    fn refused(self, code: &str, field: &str) -> Self {
        self.has("content-type", "application/problem+json")
            .says("/type", format!("urn:crm:{code}"))
            .says("/errors/0/code", code)
            .says("/errors/0/field", field)
    }
}

/// A body of a command.
fn command(request: &str, entity: &Entity, reference: &Value, values: &Value) -> Value {
    let mut body = json!({"requestId": request, entity.kind.name(): reference});
    body.as_object_mut().unwrap().extend(values.as_object().unwrap().clone());
    body
}

/// Each use case by each kind of reference, followed by the same request again.
fn use_cases(entities: &[Entity]) -> Vec<Case> {
    let (mut cases, mut tried) = (Vec::new(), BTreeSet::new());
    for entity in entities {
        let kind = entity.kind.name();
        let name = kind[..1].to_uppercase() + &kind[1..];
        let mut changes = vec![
            ("CustomName", json!({"customName": "Ann É 😀"})),
            ("State", json!({"state": "SUSPENDED", "stateReason": "unpaid"})),
        ];
        if entity.kind == Kind::Customer {
            changes.push(("Segment", json!({"customerSegment": "ENTERPRISE"})));
        }
        // The last one, because afterwards the external id is another one.
        changes.push(("ExternalId", json!({"externalId": unique("new")})));
        for (at, (what, values)) in changes.iter().enumerate() {
            let (use_case, request) = (format!("update{name}{what}"), unique("r"));
            let reference = if at % 2 == 0 { entity.by_external_id() } else { entity.by_ref_id() };
            let body = command(&request, entity, &reference, values);
            let (version, tag) = (at + 2, format!("\"{}\"", at + 2));
            let asked = |replayed: bool| {
                let case = Case::post(&use_case, &body, 200).has("content-type", "application/json").has("etag", &tag);
                let case = case.says("/requestId", &*request).says("/correlationId", &*request).says("/replayed", replayed);
                let case =
                    case.says("/statusMessage", "OK").says("/errors", json!([])).says("/businessTransaction/useCase", &*use_case);
                let case = case.says("/businessTransaction/version", version).says("/businessTransaction/refId", &*entity.ref_id);
                values
                    .as_object()
                    .unwrap()
                    .iter()
                    .fold(case, |case, (field, value)| case.says(&format!("/businessTransaction/{kind}/{field}"), value.clone()))
            };
            cases.push(asked(false));
            cases.push(asked(true).has("idempotent-replayed", "true"));
            tried.insert(use_case);
        }
    }
    let updates = UseCase::ALL.iter().filter(|use_case| !use_case.is_creation()).map(|use_case| use_case.name().to_owned());
    assert_eq!(tried, updates.collect(), "left: the use cases that are tried, right: those that there are");
    cases
}

/// Has a customer, an account below it and a subscriber below that created, each followed by the same request again. Reads the subscriber,
/// before and after it is changed. Returns the subscriber, too.
fn creations() -> (Vec<Case>, Entity) {
    let (mut cases, mut superior) = (Vec::new(), Value::Null);
    let mut last = None;
    for kind in Kind::ALL {
        let mut creation = create(kind, &unique("r"), &unique("new"), &superior);
        creation.body["customName"] = "Ann É 😀".into();
        let (use_case, request) = (format!("create{}", &creation.record["Create".len()..]), creation.request());
        let created = Entity::created_by(&creation);
        for replayed in [false, true] {
            let case = Case::post(&use_case, &creation.body, 200).has("content-type", "application/json").has("etag", "\"1\"");
            let case = case.says("/requestId", request).says("/replayed", replayed).says("/errors", json!([]));
            let case = case.says("/businessTransaction/useCase", &*use_case).says("/businessTransaction/refId", &*created.ref_id);
            let case = case.says("/businessTransaction/version", 1).says("/businessTransaction/previousVersion", 0);
            let values =
                [("externalId", json!(created.external_id)), ("customName", json!("Ann É 😀")), ("state", json!("ACTIVE"))];
            let case = values
                .into_iter()
                .fold(case, |case, (field, value)| case.says(&format!("/businessTransaction/{}/{field}", kind.name()), value));
            cases.push(if replayed { case.has("idempotent-replayed", "true") } else { case });
        }
        superior = created.by_external_id();
        last = Some((created, creation));
    }
    let (subscriber, creation) = last.expect("there are three types");
    let path = format!("/v1/subscribers/{}", subscriber.ref_id);
    let named = unique("r");
    let naming = command(&named, &subscriber, &subscriber.by_external_id(), &json!({"customName": "Bob"}));
    cases.extend([
        Case::get(&path, 200).has("etag", "\"1\"").says("/version", 1).says("/entity/externalId", &*subscriber.external_id),
        Case::get(format!("{path}/history"), 200)
            .says("/history/0/useCase", "createSubscriber")
            .says("/history/0/version", 1)
            .says("/history/0/requestId", creation.request())
            .says("/history/1", Value::Null),
        Case::post("updateSubscriberCustomName", &naming, 200).has("etag", "\"2\"").says("/businessTransaction/version", 2),
        Case::get(format!("/v1/subscribers?externalId={}", subscriber.external_id), 200)
            .has("etag", "\"2\"")
            .says("/entity/refId", &*subscriber.ref_id)
            .says("/entity/customName", "Bob"),
        Case::get(format!("{path}/history?limit=1"), 200)
            .has("link", &format!("<{path}/history?before=2&limit=1>; rel=\"next\""))
            .says("/history/0/requestId", &*named)
            .says("/history/0/changes/0/old", "Ann É 😀"),
        Case::get(format!("{path}/requests/{}", creation.request()), 200)
            .has("etag", "\"1\"")
            .says("/replayed", true)
            .says("/businessTransaction/version", 1),
    ]);
    (cases, subscriber)
}

/// Each error of the contract's table that a client can cause.
fn errors(customer: &Entity, other: &Entity, gone: &Entity) -> Vec<Case> {
    const NAME: &str = "updateCustomerCustomName";
    let named =
        |request: &str, reference: &Value, name: &str| command(request, customer, reference, &json!({"customName": name}));
    let new = |reference: &Value| named(&unique("r"), reference, "Ann");
    let (used, renamed) = (unique("r"), json!({"externalId": other.external_id}));
    let to_nobody = new(&json!({"externalId": unique("nobody")}));
    let expecting = |version: i64| {
        command(&unique("r"), customer, &customer.by_ref_id(), &json!({"customName": "x", "expectedVersion": version}))
    };
    vec![
        Case::post(NAME, &json!({"customer": customer.by_ref_id(), "customName": "Ann"}), 400)
            .refused("CASM-MANDATORY-ATTRIBUTE", "requestId"),
        Case::post(NAME, &new(&json!({"externalId": "c", "refId": "x"})), 400).refused("CASM-INVALID-ATTRIBUTE", "customer"),
        Case::post(NAME, &new(&json!({"refId": "x"})), 400).refused("CASM-INVALID-ATTRIBUTE", "customer.refId"),
        Case::post(
            "updateCustomerSegment",
            &command(&unique("r"), customer, &customer.by_ref_id(), &json!({"customerSegment": "NONE"})),
            400,
        )
        .refused("CASM-SEGMENT-NOT-CONFIGURED", "customerSegment"),
        Case::post(
            "updateCustomerState",
            &command(&unique("r"), customer, &customer.by_ref_id(), &json!({"state": "SOLD"})),
            400,
        )
        .refused("CASM-INVALID-ATTRIBUTE", "state"),
        Case::post(NAME, &named(&used, &customer.by_ref_id(), "Ann"), 200).has("etag", "\"2\""),
        Case::post(NAME, &named(&used, &customer.by_ref_id(), "Bob"), 400).refused("CASM-REQUEST-ID-REUSED", "requestId"),
        Case::post(NAME, &to_nobody, 400).refused("CASM-ENTITY-NOT-FOUND", "customer.externalId").says("/replayed", false),
        Case::post(NAME, &to_nobody, 400)
            .refused("CASM-ENTITY-NOT-FOUND", "customer.externalId")
            .says("/replayed", true)
            .has("idempotent-replayed", "true"),
        Case::post(NAME, &new(&gone.by_external_id()), 400).refused("CASM-STATE-DEACTIVATED", "customer"),
        Case::post(NAME, &expecting(7), 400).refused("CASM-VERSION-CONFLICT", "expectedVersion"),
        Case::post(NAME, &new(&customer.by_ref_id()), 412)
            .with("if-match", "\"7\"")
            .refused("CASM-VERSION-CONFLICT", "expectedVersion"),
        Case::post(NAME, &new(&customer.by_ref_id()), 400)
            .with("if-match", "7")
            .refused("CASM-INVALID-ATTRIBUTE", "expectedVersion"),
        Case::post("updateCustomerExternalId", &command(&unique("r"), customer, &customer.by_ref_id(), &renamed), 400)
            .refused("CASM-EXTERNAL-ID-NOT-UNIQUE", "externalId"),
        Case::post(NAME, &json!("{\"customName\": 7}"), 400).refused("CASM-RECORD-UNREADABLE", "customName"),
        Case::post(NAME, &json!("{\"colour\": \"red\"}"), 400).refused("CASM-RECORD-UNREADABLE", "colour"),
        Case::post(NAME, &json!("{\"requestId\": \"a\", \"requestId\": \"a\"}"), 400)
            .refused("CASM-RECORD-UNREADABLE", "requestId"),
        Case::post(NAME, &json!("{} {}"), 400)
            .says("/type", "urn:crm:CASM-RECORD-UNREADABLE")
            .says("/errors/0/field", Value::Null),
        Case::post(NAME, &json!("x".repeat((64 << 10) + 1)), 413).says("/status", 413),
        Case::post(NAME, &json!({}), 415).with("content-type", "text/plain").says("/status", 415),
        Case::post(NAME, &json!({}), 406).with("accept", "text/html").says("/status", 406),
        Case::get(format!("/v1/{NAME}"), 405).has("allow", "POST"),
        Case::post("updateEverything", &json!({}), 404).says("/errors", json!([])),
    ]
}

/// Versions, keys, answers that are not waited for, and reads.
fn rest(customer: &Entity) -> Vec<Case> {
    const NAME: &str = "updateCustomerCustomName";
    let body = json!({"customer": customer.by_external_id(), "customName": "Ann"});
    let (by_key, asynchronous, last) = (unique("r"), unique("r"), unique("r"));
    let path = format!("/v1/customers/{}", customer.ref_id);
    let second = command(&asynchronous, customer, &customer.by_ref_id(), &json!({"customName": "Bob"}));
    let third = command(&last, customer, &customer.by_ref_id(), &json!({"customName": "Carl"}));
    vec![
        Case::get(&path, 200).has("etag", "\"1\"").says("/version", 1).says("/entity/externalId", &*customer.external_id),
        Case::get(format!("{path}/history"), 200).says("/history", json!([])),
        Case::post(NAME, &body, 200)
            .with("idempotency-key", &format!("\"{by_key}\""))
            .with("correlation-id", "c-1")
            .has("correlation-id", "c-1")
            .says("/requestId", &*by_key)
            .says("/correlationId", "c-1")
            .says("/businessTransaction/changes/0/new", "Ann"),
        Case::post(NAME, &second, 202)
            .with("prefer", "respond-async")
            .says("/requestId", &*asynchronous)
            .keeps("place", "location"),
        Case::get("{place}", 200)
            .in_the_end()
            .says("/statusCode", 200)
            .says("/replayed", true)
            .says("/businessTransaction/version", 3),
        Case::get("{place}", 304).with("if-none-match", "\"3\""),
        Case::post(NAME, &third, 200)
            .with("if-match", "\"3\"")
            .with("prefer", "wait=20")
            .has("etag", "\"4\"")
            .has("preference-applied", "wait=20"),
        Case::get(&path, 200).has("etag", "\"4\"").says("/entity/customName", "Carl").says("/entity/state", "ACTIVE"),
        Case::get(&path, 304).with("if-none-match", "\"4\""),
        Case::get(format!("/v1/customers?externalId={}", customer.external_id), 200)
            .with("cache-control", "no-cache")
            .says("/entity/refId", &*customer.ref_id),
        Case::get(format!("{path}/history?limit=2"), 200)
            .has("link", &format!("<{path}/history?before=3&limit=2>; rel=\"next\""))
            .says("/history/0/requestId", &*last)
            .says("/history/1/requestId", &*asynchronous)
            .says("/history/0/changes/0/old", "Bob"),
        Case::get(format!("{path}/history?before=3&limit=2"), 200)
            .says("/history/0/requestId", &*by_key)
            .says("/history/1", Value::Null),
        Case::get(format!("{path}/requests/{last}"), 200).says("/requestId", &*last).says("/replayed", true),
        Case::get(format!("{path}/requests/never"), 404).has("retry-after", "1"),
        Case::get("/v1/customers?externalId=nobody", 404),
        Case::get("/v1/customers/nobody", 400).refused("CASM-RECORD-UNREADABLE", "refId"),
        Case::get("/openapi.json", 200).says("/openapi", "3.1.0"),
    ]
}

fn source(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/gateway/clients").join(file)
}

/// Makes the cases for new entities, and has a client play them.
fn play(shared: &Shared, client: &mut Command) {
    let gateway = Gateway::start(shared, &[]);
    let [one, two, three, four] = [(); 4].map(|()| shared.customer());
    let gone = shared.entity(Kind::Customer, "DEACTIVATED");
    let mut cases = use_cases(&[one, shared.account(), shared.subscriber()]);
    let (creations, created) = creations();
    cases.extend(creations);
    cases.extend(errors(&two, &three, &gone));
    cases.extend(rest(&four));
    assert_eq!(cases.len(), 20 + 12 + 23 + 17);
    let table: Vec<_> = cases.into_iter().map(|case| case.0).collect();
    let mut playing = client.arg(gateway.base()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it is installed");
    playing.stdin.take().unwrap().write_all(json!(table).to_string().as_bytes()).unwrap();
    let output = playing.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert_eq!(said.trim(), table.len().to_string());
    // What was sent as one request has one effect, and what was refused has none.
    assert_eq!([&four, &two, &created].map(|entity| shared.transactions(entity).len()), [3, 1, 2]);
}

#[test]
fn python_gets_what_the_contract_says() {
    let Some(shared) = world::shared() else { return };
    let Some(python) = python::python() else { return };
    play(shared, Command::new(python).arg(source("cases.py")));
}

#[test]
fn java_gets_what_the_contract_says() {
    let Some(shared) = world::shared() else { return };
    let Some(libraries) = java::libraries() else { return };
    let classes = servers::log_dir().join("java-cases");
    let mut compiler = Command::new("javac");
    compiler.arg("-cp").arg(&libraries).arg("-d").arg(&classes).args(["-Xlint:all", "-Werror"]).arg(source("Cases.java"));
    servers::finish(&mut compiler).unwrap_or_else(|e| panic!("{e}"));
    let path = format!("{}:{}", classes.display(), libraries.display());
    play(shared, Command::new("java").args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", &path, "Cases"]));
}
