//! The embedded registry as its clients see it: over HTTP, answer by answer, and through a client that is not ours.
//! The Python client (`confluent-kafka`) works with it, too; that was tried by hand.

use super::*;
use reqwest::{Client, Method};
use schema_registry_converter::async_impl::schema_registry::{SrSettings, get_schema_by_id, get_schema_by_subject, post_schema};
use schema_registry_converter::schema_registry_common::{SchemaType, SubjectNameStrategy, SuppliedSchema};

const RECORD: &str = r#"{"type":"record","name":"R","namespace":"n","fields":[]}"#;
const OTHER: &str = r#"{"type":"record","name":"Other","namespace":"n","fields":[]}"#;

async fn start() -> EmbeddedRegistry {
    EmbeddedRegistry::start(([127, 0, 0, 1], 0).into()).await.unwrap()
}

/// Makes a call, and returns the status and the body of the answer. An empty `body` is not sent.
async fn call(registry: &EmbeddedRegistry, method: Method, path: &str, body: &str) -> (u16, Value) {
    let client = Client::builder().no_proxy().build().unwrap();
    let request = client.request(method, format!("{}{path}", registry.url()));
    let request = if body.is_empty() { request } else { request.header("content-type", CONTENT_TYPE).body(body.to_owned()) };
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    if status < 500 && status != 413 {
        assert_eq!(response.headers()["content-type"], CONTENT_TYPE, "{path}");
    }
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default())
}

fn offer(schema: &str) -> String {
    json!({ "schema": schema }).to_string()
}

#[tokio::test]
async fn it_answers_as_confluents_does() {
    let registry = start().await;
    let spaced = RECORD.replace(',', " , ");
    let with_type = json!({ "schema": RECORD, "schemaType": "AVRO" }).to_string();
    let referring = json!({
        "schema": r#"{"type":"record","name":"Holder","namespace":"n","fields":[{"name":"r","type":"n.R"}]}"#,
        "references": [{ "name": "n.R", "subject": "a/b c", "version": 1 }],
    });
    let dangling = json!({ "schema": RECORD, "references": [{ "name": "n.X", "subject": "x", "version": 1 }] }).to_string();
    let subject_of = |subject: &str, version: u32, id: u32, schema: &str| json!({ "subject": subject, "version": version, "id": id, "schema": schema });
    let error = |code: u32, message: &str| json!({ "error_code": code, "message": message });
    let no_subject = error(40401, "Subject not found");
    let no_schema = error(40403, "Schema not found");
    let invalid = error(42201, "Invalid Avro schema");
    let get = Method::GET;
    let post = Method::POST;
    let put = Method::PUT;
    let cases: Vec<(&Method, &str, String, u16, Value)> = vec![
        (&get, "/", String::new(), 200, json!({})),
        (&get, "/subjects", String::new(), 200, json!([])),
        (&get, "/subjects/s/versions", String::new(), 404, no_subject.clone()),
        (&post, "/subjects/s", offer(RECORD), 404, no_subject.clone()),
        (&get, "/schemas/ids/1", String::new(), 404, no_schema.clone()),
        (&post, "/subjects/s/versions", offer(RECORD), 200, json!({ "id": 1 })),
        (&post, "/subjects/s/versions", with_type, 200, json!({ "id": 1 })),
        (&post, "/subjects/s/versions?normalize=true", offer(&spaced), 200, json!({ "id": 1 })),
        (&post, "/subjects/s/versions", offer(OTHER), 200, json!({ "id": 2 })),
        (&post, "/subjects/a%2Fb%20c/versions", offer(RECORD), 200, json!({ "id": 1 })),
        (&post, "/subjects/h/versions", referring.to_string(), 200, json!({ "id": 3 })),
        (&get, "/subjects", String::new(), 200, json!(["a/b c", "h", "s"])),
        (&get, "/subjects/s/versions", String::new(), 200, json!([1, 2])),
        (&get, "/subjects/s/versions/1", String::new(), 200, subject_of("s", 1, 1, RECORD)),
        (&get, "/subjects/s/versions/latest", String::new(), 200, subject_of("s", 2, 2, OTHER)),
        (&get, "/subjects/s/versions/3", String::new(), 404, error(40402, "Version not found")),
        (&get, "/subjects/s/versions/x", String::new(), 422, error(42202, "Invalid version")),
        (&get, "/subjects/s/versions/0", String::new(), 422, error(42202, "Invalid version")),
        (&post, "/subjects/a%2Fb%20c", offer(&spaced), 200, subject_of("a/b c", 1, 1, RECORD)),
        (&post, "/subjects/a%2Fb%20c", offer(OTHER), 404, no_schema.clone()),
        (&get, "/schemas/ids/1?subject=s", String::new(), 200, json!({ "schema": RECORD })),
        (&get, "/schemas/ids/3", String::new(), 200, referring),
        (&get, "/schemas/ids/0", String::new(), 404, no_schema.clone()),
        (&get, "/schemas/ids/4", String::new(), 404, no_schema.clone()),
        (
            &get,
            "/schemas/ids/1/versions",
            String::new(),
            200,
            json!([{ "subject": "a/b c", "version": 1 }, { "subject": "s", "version": 1 }]),
        ),
        (&get, "/schemas/ids/9/versions", String::new(), 404, no_schema),
        (&post, "/subjects/s/versions", offer("{"), 422, invalid.clone()),
        (&post, "/subjects/s/versions", offer(r#"{"type":"record"}"#), 422, invalid.clone()),
        (&post, "/subjects/s/versions", dangling, 422, invalid.clone()),
        (&post, "/subjects/s/versions", json!({ "schema": "{}", "schemaType": "JSON" }).to_string(), 422, invalid),
        (&post, "/subjects/s/versions", "[]".into(), 400, error(400, "The request is not the JSON that is expected")),
        (&get, "/config", String::new(), 200, json!({ "compatibilityLevel": "NONE" })),
        (&get, "/config/s", String::new(), 200, json!({ "compatibilityLevel": "NONE" })),
        (&put, "/config", r#"{"compatibility":"FULL"}"#.into(), 200, json!({ "compatibility": "FULL" })),
        (&get, "/config", String::new(), 200, json!({ "compatibilityLevel": "NONE" })),
        (&put, "/config/s", r#"{"compatibility":"FULL"}"#.into(), 200, json!({ "compatibility": "FULL" })),
        (&get, "/config/s", String::new(), 200, json!({ "compatibilityLevel": "FULL" })),
        (&get, "/config/t", String::new(), 200, json!({ "compatibilityLevel": "NONE" })),
        (&put, "/config/s", r#"{"compatibility":"SOME"}"#.into(), 422, error(42203, "Invalid compatibility level")),
        (&put, "/config/s", "{}".into(), 422, error(42203, "Invalid compatibility level")),
    ];
    for (method, path, body, status, expected) in cases {
        let got = call(&registry, method.clone(), path, &body).await;
        assert_eq!(got, (status, expected), "{method} {path} {body}");
    }
    registry.stop().await.unwrap();
}

#[tokio::test]
async fn a_request_over_the_bound_is_refused() {
    let registry = start().await;
    let body = "x".repeat(MAX_REQUEST_BYTES + 1);
    let (status, _) = call(&registry, Method::POST, "/subjects/s/versions", &body).await;
    assert_eq!(status, 413);
}

#[tokio::test]
async fn another_client_of_the_field_is_content_with_it() {
    let registry = start().await;
    let settings = SrSettings::new_builder(registry.url()).no_proxy().build().unwrap();
    let supplied = SuppliedSchema::new(Some("n.R".into()), SchemaType::Avro, RECORD.into());
    let posted = post_schema(&settings, "t-value".into(), supplied).await.unwrap();
    let strategy = SubjectNameStrategy::TopicNameStrategy("t".into(), false);
    let by_subject = get_schema_by_subject(&settings, &strategy).await.unwrap();
    let by_id = get_schema_by_id(posted.id, &settings).await.unwrap();
    for got in [&posted, &by_subject, &by_id] {
        assert_eq!((got.id, got.schema.as_str(), &got.schema_type), (1, RECORD, &SchemaType::Avro));
    }
    assert!(get_schema_by_id(2, &settings).await.is_err());
}
