//! The registry's client against a registry that gives scripted answers, and against the embedded one: what is concluded from each answer,
//! what is kept, and what is asked again.

use super::*;
use crate::config::{RegistryCredentials, Secret, UserAndPassword};
use crate::domain::use_case::UseCase;
use crate::wire::embedded_registry::EmbeddedRegistry;
use crate::wire::json::{JsonDecoder, encode_command};
use crate::wire::{command_subject, subjects};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode as AxumStatus, Uri};
use serde_json::json;
use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use tokio::net::TcpListener;

const SEGMENT: &str = include_str!("../../schemas/UpdateCustomerSegment.avsc");
const UNKNOWN: (u16, &str) = (404, r#"{"error_code":40403,"message":"Schema not found"}"#);

/// A registry that gives scripted answers, one after the other, and remembers what it was asked.
#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    answers: VecDeque<(u16, String)>,
    asked: Vec<String>,
    authorization: Option<String>,
}

impl Scripted {
    async fn start(answers: &[(u16, &str)]) -> (Self, String) {
        let scripted = Self::default();
        scripted.0.lock().unwrap().answers = answers.iter().map(|(status, body)| (*status, (*body).to_owned())).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(scripted.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (scripted, url)
    }

    fn asked(&self) -> Vec<String> {
        self.0.lock().unwrap().asked.clone()
    }
}

async fn answer(State(scripted): State<Scripted>, uri: Uri, headers: HeaderMap) -> (AxumStatus, String) {
    let mut script = scripted.0.lock().unwrap();
    script.asked.push(uri.to_string());
    script.authorization = headers.get("authorization").map(|v| v.to_str().unwrap().into());
    let (status, body) = script.answers.pop_front().unwrap_or((500, "the script is over".into()));
    (AxumStatus::from_u16(status).unwrap(), body)
}

fn client(url: &str) -> RegistryClient {
    RegistryClient::new(&RegistryOptions { urls: vec![url.into()], ..RegistryOptions::default() }).unwrap()
}

fn schema_answer(schema: &str) -> String {
    json!({ "schema": schema }).to_string()
}

impl RegistryClient {
    /// Asks once for the schema with this id, unless it is cached.
    async fn writer_schema(&self, id: SchemaId) -> Result<search::SchemaConclusion, RegistryFault> {
        if let Some(known) = self.cached(id) {
            return Ok(known);
        }
        let (known, print) = self.0.look_up(id).await?.unwrap_or((Err(Unreadable::UnknownSchemaId { id }), 0));
        self.0.keep(id, known.clone(), print);
        Ok(known)
    }
}

#[tokio::test]
async fn only_a_404_makes_a_schema_id_unknown() {
    let usable = schema_answer(SEGMENT);
    let proto = json!({ "schema": "message A {}", "schemaType": "PROTOBUF" }).to_string();
    let rule = json!({ "name": "pii", "kind": "TRANSFORM", "type": "ENCRYPT", "mode": "WRITEREAD" });
    let encrypted = json!({ "schema": SEGMENT, "ruleSet": { "domainRules": [rule] } }).to_string();
    let checked =
        json!({ "schema": SEGMENT, "ruleSet": { "domainRules": [{ "kind": "CONDITION", "type": "CEL" }] } }).to_string();
    let too_long = schema_answer(&" ".repeat(http::MAX_ANSWER_BYTES));
    // Status and body of the answer; then the class of the reason why the schema is unusable, "" if it is usable, None for a fault.
    let cases: Vec<(u16, &str, Option<&str>)> = vec![
        (200, &usable, Some("")),
        (404, UNKNOWN.1, Some("crm.UnknownSchemaId")),
        (200, r#"{"schema":"\"string\""}"#, Some("crm.UnknownRecordName")),
        (200, r#"{"schema":"{"}"#, Some("crm.SchemaUnusable")),
        (200, &proto, Some("crm.SchemaUnusable")),
        (200, &encrypted, Some("crm.SchemaUnusable")),
        (200, &checked, Some("")),
        (200, &too_long, Some("crm.SchemaUnusable")),
        (404, r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#, Some("crm.UnknownSchemaId")),
        (404, r#"{"error_code":40401,"message":"Subject not found"}"#, Some("crm.UnknownSchemaId")),
        (404, "<html>no such page</html>", Some("crm.UnknownSchemaId")),
        (404, "", Some("crm.UnknownSchemaId")),
        (404, r#"{"error_code":0,"message":"could not find resource for full path"}"#, Some("crm.UnknownSchemaId")),
        (404, r#"{"error_code":50001,"message":"?"}"#, None),
        (301, "", None),
        (307, "", None),
        (200, "<html>log in, please</html>", None),
        (200, "{}", None),
        (400, r#"{"error_code":40403,"message":"?"}"#, None),
        (401, r#"{"error_code":401,"message":"Unauthorized"}"#, None),
        (403, "", None),
        (408, "", None),
        (429, "", None),
        (500, r#"{"error_code":50001,"message":"Error in the backend data store"}"#, None),
        (500, &too_long, None),
        (502, "", None),
        (503, "", None),
        (504, "", None),
    ];
    for (status, body, expected) in cases {
        let (_, url) = Scripted::start(&[(status, body)]).await;
        let registry = client(&url);
        let got = registry.writer_schema(7.into()).await;
        let shown = format!("{status} {body:.80}: {got:?}");
        match (&got, expected) {
            (Ok(Ok(schema)), Some("")) => assert!(schema.use_cases().eq([UseCase::UpdateCustomerSegment]), "{shown}"),
            (Ok(Err(error)), Some(class)) => assert_eq!(error.class_name(), class, "{shown}"),
            (Err(fault), None) => assert_eq!(fault.remedy, way_out(status), "{shown}"),
            _ => panic!("{shown}"),
        }
        assert_eq!(registry.cached(7.into()).is_some(), expected.is_some(), "faults are not kept, all else is: {shown}");
    }
}

fn way_out(status: u16) -> RegistryRemedy {
    match status {
        301 | 307 => RegistryRemedy::Named,
        401 => RegistryRemedy::Login,
        403 => RegistryRemedy::Grant,
        _ => RegistryRemedy::Address,
    }
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_a_fault() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://user:secret@{}", listener.local_addr().unwrap());
    drop(listener);
    let fault = client(&url).writer_schema(7.into()).await.unwrap_err();
    assert_eq!(fault.remedy, RegistryRemedy::Address);
    let message = fault.to_string();
    assert!(message.starts_with("fetching the schema with id 7 at the schema registry http://127.0.0.1:"), "{message}");
    assert!(message.contains("onnect") && !message.contains("secret"), "{message}");
}

#[tokio::test]
async fn after_a_fault_the_next_try_asks_again() {
    let (scripted, url) = Scripted::start(&[(503, ""), (200, &schema_answer(SEGMENT))]).await;
    let registry = client(&url);
    assert!(registry.writer_schema(7.into()).await.is_err());
    for _ in 0..3 {
        assert!(registry.writer_schema(7.into()).await.unwrap().is_ok());
    }
    assert_eq!(scripted.asked(), ["/schemas/ids/7", "/schemas/ids/7"]);
}

#[tokio::test]
async fn an_unknown_id_is_asked_again_after_a_while_and_a_schema_never() {
    let answers = [UNKNOWN, UNKNOWN, (200, &schema_answer(SEGMENT))];
    let (scripted, url) = Scripted::start(&answers).await;
    let options = RegistryOptions { urls: vec![url], ..RegistryOptions::default() };
    let registry = RegistryClient::with_unknown_for(&options, Duration::ZERO).unwrap();
    for expected in [false, false, true, true] {
        assert_eq!(registry.writer_schema(7.into()).await.unwrap().is_ok(), expected);
    }
    assert_eq!(scripted.asked().len(), 3);

    let (scripted, url) = Scripted::start(&answers).await;
    let registry = client(&url);
    for _ in 0..3 {
        assert!(registry.writer_schema(7.into()).await.unwrap().is_err());
    }
    assert_eq!(scripted.asked().len(), 1);
}

#[tokio::test]
async fn an_id_that_no_registry_gives_is_unknown_without_asking() {
    let (scripted, url) = Scripted::start(&[]).await;
    for id in [u32::MAX, 1 << 31] {
        assert_eq!(
            client(&url).writer_schema(id.into()).await.unwrap().unwrap_err(),
            Unreadable::UnknownSchemaId { id: id.into() }
        );
    }
    assert_eq!(scripted.asked(), [""; 0]);
}

#[tokio::test]
async fn references_are_fetched_with_the_schemas_that_they_refer_to() {
    let schema = json!({
        "schema": r#"{"type":"record","name":"crm.v1.UpdateCustomerSegment","fields":[{"name":"customer","type":"EntityRef"}]}"#,
        "references": [{ "name": "crm.v1.EntityRef", "subject": "refs/é", "version": 2 }],
    });
    let reference = json!({
        "subject": "refs/é", "version": 2, "id": 1,
        "schema": r#"{"type":"record","name":"crm.v1.EntityRef","fields":[{"name":"x","type":"crm.v1.X"}]}"#,
        "references": [{ "name": "crm.v1.X", "subject": "x", "version": 1 }],
    });
    let last = json!({ "subject": "x", "version": 1, "id": 2, "schema": r#"{"type":"enum","name":"crm.v1.X","symbols":["A"]}"# });
    let (schema, reference, last) = (schema.to_string(), reference.to_string(), last.to_string());
    let (scripted, url) = Scripted::start(&[(200, &schema), (200, &reference), (200, &last)]).await;
    let known = client(&url).writer_schema(7.into()).await.unwrap().unwrap();
    assert!(known.decode(&[0]).unwrap().reference.is_some());
    assert_eq!(
        scripted.asked(),
        ["/schemas/ids/7", "/subjects/refs%2F%C3%A9/versions/2?deleted=true", "/subjects/x/versions/1?deleted=true"]
    );

    // A reference that can't be fetched is a fault, whatever the reason: the registry said that there is one.
    let (_, url) = Scripted::start(&[(200, &schema), (404, r#"{"error_code":40402,"message":"Version not found"}"#)]).await;
    assert!(client(&url).writer_schema(7.into()).await.is_err());

    // An endless chain of references is not followed for ever.
    let endless = |i: usize| {
        let next = json!([{ "name": "n", "subject": "s", "version": i }]);
        json!({ "schema": "\"string\"", "references": next }).to_string()
    };
    let answers: Vec<String> = (0..100).map(endless).collect();
    let answers: Vec<(u16, &str)> = answers.iter().map(|a| (200, a.as_str())).collect();
    let (scripted, url) = Scripted::start(&answers).await;
    let error = client(&url).writer_schema(7.into()).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("more than 64"), "{error}");
    assert_eq!(scripted.asked().len(), 1 + inner::MAX_REFERENCES);
}

#[tokio::test]
async fn credentials_are_sent_and_the_path_of_the_base_url_is_kept() {
    let (scripted, url) = Scripted::start(&[UNKNOWN, UNKNOWN]).await;
    for base in ["/registry", "/registry/"] {
        let options = RegistryOptions {
            urls: vec![format!("{url}{base}")],
            credentials: RegistryCredentials::Basic(UserAndPassword { user: "crm".into(), password: Secret::new("secret") }),
            ..RegistryOptions::default()
        };
        RegistryClient::new(&options).unwrap().writer_schema(1.into()).await.unwrap().unwrap_err();
        assert!(!format!("{options:?}").contains("secret"));
    }
    assert_eq!(scripted.asked(), ["/registry/schemas/ids/1", "/registry/schemas/ids/1"]);
    assert_eq!(scripted.0.lock().unwrap().authorization.as_deref(), Some("Basic Y3JtOnNlY3JldA=="));
}

#[test]
fn wrong_options_are_refused() {
    for url in ["", "127.0.0.1:8081", "localhost", "ftp://127.0.0.1", "http://"] {
        let options = RegistryOptions { urls: vec![url.into()], ..RegistryOptions::default() };
        assert!(matches!(RegistryClient::new(&options), Err(InvalidRegistryOptions::Url)), "{url:?}");
    }
    let ca_file = Some("/does/not/exist.pem".into());
    let options = RegistryOptions { urls: vec!["https://127.0.0.1".into()], ca_file, ..RegistryOptions::default() };
    assert!(matches!(RegistryClient::new(&options), Err(InvalidRegistryOptions::CaFile { .. })));
}

#[tokio::test]
async fn registering_is_repeatable_and_what_is_registered_is_found() {
    let server = EmbeddedRegistry::start(([127, 0, 0, 1], 0).into()).await.unwrap();
    let registry = client(&server.url());
    for (subject, schema) in subjects("crm.commands", "crm.replies/é", "crm.transactions", Some("crm.changes")) {
        assert_eq!(registry.lookup(&subject, schema).await.unwrap(), None, "{subject}");
        let id = registry.register(&subject, schema).await.unwrap();
        assert_eq!(registry.register(&subject, schema).await.unwrap(), id, "{subject}");
        assert_eq!(registry.lookup(&subject, schema).await.unwrap(), Some(id), "{subject}");
        assert_eq!(registry.schema_texts(id.into()).await.unwrap(), Ok((schema.to_owned(), Vec::new())), "{subject}");
    }
    assert_eq!(registry.lookup("crm.replies/é-value", SEGMENT).await.unwrap(), None);
    let refused = registry.register("s", "{").await.unwrap_err();
    assert!(refused.to_string().contains("registering a schema as s") && refused.to_string().contains("422"), "{refused}");
}

#[tokio::test]
async fn values_are_decoded_to_json_by_the_schemas_of_the_registry() {
    use crate::domain::attribute::RawValues;
    use crate::domain::command::RawCommand;
    let server = EmbeddedRegistry::start(([127, 0, 0, 1], 0).into()).await.unwrap();
    let registry = client(&server.url());
    let use_case = UseCase::UpdateCustomerSegment;
    let id = registry.register(&command_subject("c", use_case), use_case.schema()).await.unwrap();
    let command = RawCommand {
        use_case,
        request_id: Some("r".into()),
        reference: None,
        values: RawValues::default(),
        expected_version: None,
    };
    let value = [&crate::wire::frame::frame_prefix(id)[..], &encode_command(&command)].concat();
    let mut decoder = JsonDecoder::new(registry);
    let expected = json!({ "requestId": "r", "customer": null, "customerSegment": null, "expectedVersion": null });
    for _ in 0..2 {
        assert_eq!(decoder.decode(Some(&value)).await.unwrap(), Ok(expected.clone()));
    }
    assert_eq!(decoder.decode(None).await.unwrap(), Err(Unreadable::NullValue));
    assert_eq!(decoder.decode(Some(&[0, 0, 0, 0, 9])).await.unwrap(), Err(Unreadable::UnknownSchemaId { id: 9.into() }));
}

/// A registry that has a scripted answer for each id, and no schema under any other id.
#[derive(Clone, Default)]
struct Fickle(Arc<Mutex<HashMap<String, (u16, String)>>>);

impl Fickle {
    async fn start() -> (Self, String) {
        let fickle = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answers = fickle.clone();
        let answer = move |uri: Uri| async move {
            let known = answers.0.lock().unwrap().get(uri.path()).cloned();
            let (status, body) = known.unwrap_or((UNKNOWN.0, UNKNOWN.1.to_owned()));
            (AxumStatus::from_u16(status).unwrap(), [("location", "http://user:secret@elsewhere/x?token=secret")], body)
        };
        let router = Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, router).await });
        (fickle, url)
    }

    fn says(&self, id: u32, status: u16, body: &str) {
        self.0.lock().unwrap().insert(format!("/schemas/ids/{id}"), (status, body.into()));
    }

    fn has(&self, id: u32, schema: &str) {
        self.says(id, 200, &schema_answer(schema));
    }

    fn lost(&self, id: u32) {
        self.0.lock().unwrap().remove(&format!("/schemas/ids/{id}"));
    }
}

const NAME: &str = include_str!("../../schemas/UpdateCustomerCustomName.avsc");

/// Starts a registry with our own schema as id 1 and a writer's as id 7, which the client has cached.
async fn with_a_cached_schema() -> (Fickle, RegistryClient) {
    let (fickle, url) = Fickle::start().await;
    fickle.has(1, crate::wire::REPLY_SCHEMA);
    fickle.has(7, SEGMENT);
    let registry = client(&url);
    registry.note_ours(1, "crm.replies-value", crate::wire::REPLY_SCHEMA);
    registry.writer_schema(7.into()).await.unwrap().unwrap();
    assert!(matches!(registry.look().await, Sameness::Same));
    (fickle, registry)
}

#[tokio::test]
async fn nothing_is_known_while_our_own_ids_mean_other_schemas() {
    let (fickle, registry) = with_a_cached_schema().await;
    for (what, is_lost) in [("another schema", false), ("nothing", true)] {
        if is_lost {
            fickle.lost(1);
        } else {
            fickle.has(1, SEGMENT);
        }
        let standing = registry.look().await;
        assert!(
            matches!(&standing, Sameness::Differs(how) if how.contains("id 1 was our schema of crm.replies-value")),
            "{what}: {standing:?}"
        );
        assert!(registry.cached(7.into()).is_none(), "{what}");
        fickle.says(1, 503, "");
        assert!(matches!(registry.look().await, Sameness::Away(_)), "{what}");
        assert!(registry.cached(7.into()).is_none() && registry.differs().is_some(), "{what}: that is no reason to go on");
        fickle.has(1, crate::wire::REPLY_SCHEMA);
        assert!(matches!(registry.look().await, Sameness::Same) && registry.differs().is_none(), "{what}");
        assert!(registry.cached(7.into()).is_some(), "{what}");
    }
    // The same schema in another layout.
    let other: serde_json::Value = serde_json::from_str(crate::wire::REPLY_SCHEMA).unwrap();
    fickle.has(1, &other.to_string());
    assert!(matches!(registry.look().await, Sameness::Same));
    assert!(registry.cached(7.into()).is_some());
}

#[tokio::test]
async fn what_says_nothing_about_our_ids_means_that_the_registry_is_away_and_leaves_all_as_it_was() {
    let (fickle, registry) = with_a_cached_schema().await;
    for (status, body) in [(404, "<html>no such page</html>"), (404, ""), (500, ""), (200, "{}"), (302, ""), (401, "")] {
        fickle.says(1, status, body);
        let standing = registry.look().await;
        assert!(matches!(standing, Sameness::Away(_)), "{status} {body}: {standing:?}");
        assert!(registry.cached(7.into()).is_some(), "{status} {body}");
    }
}

#[tokio::test]
async fn a_writers_schema_that_was_kept_is_forgotten_when_the_registry_has_it_no_more() {
    let (fickle, registry) = with_a_cached_schema().await;
    fickle.says(7, 500, "");
    assert!(matches!(registry.look().await, Sameness::Same), "that is no news");
    assert!(registry.cached(7.into()).is_some());
    fickle.lost(7);
    assert!(matches!(registry.look().await, Sameness::Same));
    assert!(registry.cached(7.into()).is_none());
}

#[tokio::test]
async fn a_writers_schema_that_became_another_one_stops_all() {
    let (fickle, registry) = with_a_cached_schema().await;
    let other: serde_json::Value = serde_json::from_str(SEGMENT).unwrap();
    fickle.has(7, &other.to_string());
    assert!(matches!(registry.look().await, Sameness::Same), "only the layout is another one");
    assert!(registry.cached(7.into()).is_some());
    fickle.has(7, NAME);
    for _ in 0..2 {
        let standing = registry.look().await;
        assert!(matches!(&standing, Sameness::Differs(how) if how.contains("id 7 was the schema of commands")), "{standing:?}");
        assert!(registry.cached(7.into()).is_none());
        // That the first schema is back is no way out: records on the topic may have been written with either.
        fickle.has(7, SEGMENT);
    }
}

#[tokio::test]
async fn a_search_gives_no_schema_of_a_registry_that_has_lost_ours() {
    let (fickle, registry) = with_a_cached_schema().await;
    fickle.has(8, NAME);
    fickle.has(1, SEGMENT);
    let metrics = Metrics::new();
    let search = registry.search(8.into(), &metrics);
    let come_back = async {
        while registry.standing().is_none_or(|standing| matches!(standing, Sameness::Same)) {
            tokio::task::yield_now().await;
        }
        assert!(registry.cached(8.into()).is_none());
        fickle.has(1, crate::wire::REPLY_SCHEMA);
    };
    futures::join!(search, come_back);
    assert!(registry.cached(8.into()).unwrap().unwrap().use_cases().eq([UseCase::UpdateCustomerCustomName]));
}

#[tokio::test]
async fn a_redirection_is_a_fault_that_names_where_it_points_to_without_credentials() {
    let (fickle, url) = Fickle::start().await;
    for status in [301, 302, 303, 307, 308] {
        fickle.says(7, status, "");
        let message = client(&url).writer_schema(7.into()).await.unwrap_err().to_string();
        assert!(message.contains(&status.to_string()) && message.contains("points to http://elsewhere/x;"), "{message}");
        assert!(message.contains("registry.url") && !message.contains("secret"), "{message}");
    }
}

#[tokio::test]
async fn null_references_and_the_latest_version_are_read() {
    let (fickle, url) = Fickle::start().await;
    let null = json!({ "schema": SEGMENT, "references": null, "schemaType": null });
    fickle.says(7, 200, &null.to_string());
    assert!(client(&url).writer_schema(7.into()).await.unwrap().is_ok());
    let latest = json!({
        "schema": r#"{"type":"record","name":"crm.v1.UpdateCustomerSegment","fields":[{"name":"customer","type":"EntityRef"}]}"#,
        "references": [{ "name": "crm.v1.EntityRef", "subject": "refs", "version": -1 }],
    });
    fickle.says(8, 200, &latest.to_string());
    let reference = schema_answer(r#"{"type":"record","name":"crm.v1.EntityRef","fields":[]}"#);
    fickle.0.lock().unwrap().insert("/subjects/refs/versions/latest".into(), (200, reference));
    assert!(client(&url).writer_schema(8.into()).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_404_with_a_code_means_that_our_schema_is_not_registered_and_one_without_says_nothing() {
    let (fickle, url) = Fickle::start().await;
    for (body, expected) in [
        (r#"{"error_code":40401,"message":"?"}"#, Some(None)),
        (r#"{"error_code":40403,"message":"?"}"#, Some(None)),
        (r#"{"error_code":404,"message":"?"}"#, Some(None)),
        (r#"{"error_code":50001,"message":"?"}"#, None),
        ("<html>", None),
    ] {
        fickle.0.lock().unwrap().insert("/subjects/s".into(), (404, body.into()));
        assert_eq!(client(&url).lookup("s", SEGMENT).await.ok(), expected, "{body}");
    }
}

#[tokio::test]
async fn a_subjects_compatibility_is_set_and_told() {
    let embedded = EmbeddedRegistry::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let registry = client(&embedded.url());
    assert_eq!(registry.compatibility("a/b").await.unwrap().as_deref(), Some("NONE"));
    registry.set_compatibility("a/b", crate::wire::COMPATIBILITY).await.unwrap();
    assert_eq!(registry.compatibility("a/b").await.unwrap().as_deref(), Some("FULL_TRANSITIVE"));
    assert_eq!(registry.compatibility("a").await.unwrap().as_deref(), Some("NONE"), "another subject is left alone");
    assert!(registry.set_compatibility("a/b", "SOME").await.unwrap_err().to_string().contains("42203"));

    let none = r#"{"error_code":40408,"message":"Subject does not have subject-level compatibility configured"}"#;
    let (scripted, url) = Scripted::start(&[(404, none), (403, "{}")]).await;
    let registry = client(&url);
    assert_eq!(registry.compatibility("s").await.unwrap(), None);
    assert!(registry.compatibility("s").await.is_err());
    assert_eq!(scripted.asked(), ["/config/s?defaultToGlobal=true", "/config/s?defaultToGlobal=true"]);
}
