//! The schema registry of the tests, and the tests' own Avro. Records are encoded and decoded with schemas that are written down
//! here or fetched by id, without the project's code, as other systems would do it.

use crate::inbox::Inbox;
use crate::{runtime, servers};
use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use crm_processor::wire::embedded_registry;
use serde_json::{Value as Json, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Returns the URL of the tests' registry, which is started when it is first asked for.
pub fn url() -> &'static str {
    static URL: OnceLock<String> = OnceLock::new();
    URL.get_or_init(|| {
        let address = runtime().block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("the loopback interface has a free port");
            let address = listener.local_addr().expect("it is bound");
            tokio::spawn(embedded_registry::serve(listener, std::future::pending()));
            address
        });
        format!("http://{address}")
    })
}

/// Returns the CRM's schema of a command, as a producer would have it, with the fields in the order of the contract.
pub fn command_schema(record: &str) -> Json {
    let fields: &[&str] = match record {
        "CreateCustomer" => &["externalId", "customName", "customerSegment", "state", "stateReason"],
        "CreateAccount" => &["externalId", "customer", "customName", "state", "stateReason"],
        "CreateSubscriber" => &["externalId", "account", "customName", "state", "stateReason"],
        "UpdateCustomerCustomName" => &["customer", "customName", "expectedVersion"],
        "UpdateCustomerSegment" => &["customer", "customerSegment", "expectedVersion"],
        "UpdateCustomerExternalId" => &["customer", "externalId", "expectedVersion"],
        "UpdateCustomerState" => &["customer", "state", "stateReason", "expectedVersion"],
        "UpdateAccountExternalId" => &["account", "externalId", "expectedVersion"],
        "UpdateAccountCustomName" => &["account", "customName", "expectedVersion"],
        "UpdateAccountState" => &["account", "state", "stateReason", "expectedVersion"],
        "UpdateSubscriberExternalId" => &["subscriber", "externalId", "expectedVersion"],
        "UpdateSubscriberCustomName" => &["subscriber", "customName", "expectedVersion"],
        "UpdateSubscriberState" => &["subscriber", "state", "stateReason", "expectedVersion"],
        other => panic!("no command is called {other}"),
    };
    let text = json!(["null", "string"]);
    let entity_ref = json!({"type": "record", "name": "EntityRef", "fields": [
        {"name": "externalId", "type": text, "default": null},
        {"name": "refId", "type": text, "default": null},
    ]});
    let field = |name: &str| {
        let of_type = match name {
            "customer" | "account" | "subscriber" => json!(["null", entity_ref]),
            "expectedVersion" => json!(["null", "long"]),
            _ => text.clone(),
        };
        json!({"name": name, "type": of_type, "default": null})
    };
    let fields: Vec<_> = ["requestId"].iter().chain(fields).map(|name| field(name)).collect();
    json!({"type": "record", "name": record, "namespace": "crm.v1", "fields": fields})
}

/// Registers a schema and returns its id.
pub fn register(subject: &str, schema: &Json) -> u32 {
    register_at(url(), subject, schema, &json!([]))
}

/// Registers a schema with references to other schemas at any registry, and returns its id.
pub fn register_at(url: &str, subject: &str, schema: &Json, references: &Json) -> u32 {
    let (status, answer) = offer(url, subject, schema, references);
    let id = answer["id"].as_u64().and_then(|id| id.try_into().ok());
    id.unwrap_or_else(|| panic!("{url}, {subject}: {status} {answer}"))
}

/// Offers a schema with references to other schemas to any registry, and returns the status and what the registry says.
pub fn offer(url: &str, subject: &str, schema: &Json, references: &Json) -> (u16, Json) {
    let body = json!({"schema": schema.to_string(), "references": references});
    send(reqwest::Method::POST, &format!("{url}/subjects/{subject}/versions"), &body)
}

/// Sets the compatibility level of a subject at any registry.
pub fn set_compatibility(url: &str, subject: &str, level: &str) {
    let (status, answer) = send(reqwest::Method::PUT, &format!("{url}/config/{subject}"), &json!({"compatibility": level}));
    assert_eq!(status, 200, "{url}, {subject}: {answer}");
}

/// Sends a body to a registry, and returns the status and what the registry says.
fn send(method: reqwest::Method, url: &str, body: &Json) -> (u16, Json) {
    runtime().block_on(async {
        let request = client().request(method, url);
        let request = request.header("content-type", "application/vnd.schemaregistry.v1+json").body(body.to_string());
        let response = request.send().await.unwrap_or_else(|e| panic!("{url}: {e}"));
        let status = response.status().as_u16();
        let text = response.text().await.unwrap_or_else(|e| panic!("{url}: {e}"));
        (status, serde_json::from_str(&text).unwrap_or_else(|e| panic!("{url} answered {text:?}: {e}")))
    })
}

/// Encodes a value in the Confluent wire format. Fields that `body` lacks take their defaults.
pub fn encode(subject: &str, schema: &Json, body: &Json) -> Vec<u8> {
    [&[0], &id_of(subject, schema).to_be_bytes()[..], &datum(schema, body)].concat()
}

/// Encodes a command in the Confluent wire format, with the CRM's schema of it. The schema is registered under the record's name, so that
/// no subject of the project is touched; it is registered and parsed once, since some tests send a great many commands.
pub fn encode_command(record: &'static str, body: &Json) -> Vec<u8> {
    /// The id and the schema of each record.
    type Schemas = HashMap<&'static str, (u32, Arc<Schema>)>;
    static SCHEMAS: OnceLock<Mutex<Schemas>> = OnceLock::new();
    let schemas = SCHEMAS.get_or_init(Mutex::default);
    let known = schemas.lock().expect("no holder panics").get(record).cloned();
    let (id, schema) = known.unwrap_or_else(|| {
        let schema = command_schema(record);
        let made = (register(&format!("crm.v1.{record}"), &schema), Arc::new(parsed(&schema)));
        schemas.lock().expect("no holder panics").insert(record, made.clone());
        made
    });
    [&[0], &id.to_be_bytes()[..], &written(&schema, body)].concat()
}

/// Encodes a value without byte 0 and the schema's id.
pub fn datum(schema: &Json, body: &Json) -> Vec<u8> {
    written(&parsed(schema), body)
}

fn parsed(schema: &Json) -> Schema {
    Schema::parse_str(&schema.to_string()).unwrap_or_else(|e| panic!("{schema} is no schema: {e}"))
}

fn written(schema: &Schema, body: &Json) -> Vec<u8> {
    let value = Value::try_from(body.clone()).and_then(|v| v.resolve(schema));
    let value = value.unwrap_or_else(|e| panic!("{body} does not fit the schema: {e}"));
    let writer = GenericDatumWriter::builder(schema).build().expect("a parsed schema");
    writer.write_value_to_vec(value).unwrap_or_else(|e| panic!("cannot encode {body}: {e}"))
}

/// Decodes a value in the Confluent wire format to JSON, with the schema from the registry at `url`. A union becomes the value
/// that it holds.
pub fn decode(url: &str, bytes: &[u8]) -> Json {
    let Some((&[0, a, b, c, d], mut datum)) = bytes.split_first_chunk::<5>() else { panic!("not the wire format: {bytes:?}") };
    let schema = schema_by_id(url, u32::from_be_bytes([a, b, c, d]));
    let reader = GenericDatumReader::builder(&schema).build().expect("a parsed schema");
    let value = reader.read_value(&mut datum).unwrap_or_else(|e| panic!("cannot decode {bytes:?}: {e}"));
    assert!(datum.is_empty(), "{} bytes are left over after {value:?}", datum.len());
    let json: Json = value.try_into().expect("a record can be shown as JSON");
    match json {
        Json::Object(mut fields) => {
            let Schema::Record(record) = &*schema else { panic!("{schema:?} is no record") };
            fields.insert("record".into(), record.name.fullname(None).into());
            Json::Object(fields)
        }
        other => panic!("{other} is no record"),
    }
}

fn id_of(subject: &str, schema: &Json) -> u32 {
    static IDS: OnceLock<Mutex<HashMap<String, u32>>> = OnceLock::new();
    let ids = IDS.get_or_init(Mutex::default);
    let key = format!("{subject} {schema}");
    if let Some(id) = ids.lock().expect("no holder panics").get(&key) {
        return *id;
    }
    let id = register(subject, schema);
    ids.lock().expect("no holder panics").insert(key, id);
    id
}

/// Only schemas of registries that live as long as the tests are kept: another one may lose its schemas, and give an id again.
fn schema_by_id(url: &str, id: u32) -> Arc<Schema> {
    static SCHEMAS: OnceLock<Mutex<HashMap<String, Arc<Schema>>>> = OnceLock::new();
    let schemas = SCHEMAS.get_or_init(Mutex::default);
    let is_kept = url == self::url() || servers::is_shared_apicurio(url);
    let url = format!("{url}/schemas/ids/{id}");
    if let Some(schema) = schemas.lock().expect("no holder panics").get(&url) {
        return schema.clone();
    }
    let (status, body) = get_patiently(&url);
    let answer: Json = serde_json::from_str(&body).unwrap_or_else(|e| panic!("GET {url}: {status} {body}: {e}"));
    let text = answer["schema"].as_str().unwrap_or_else(|| panic!("GET {url} answered {answer}"));
    let schema = Arc::new(Schema::parse_str(text).unwrap_or_else(|e| panic!("{text} is no schema: {e}")));
    if is_kept {
        schemas.lock().expect("no holder panics").insert(url, schema.clone());
    }
    schema
}

/// Passes a request for another registry on to the tests' registry.
pub async fn forward(request: axum::extract::Request) -> (axum::http::StatusCode, String) {
    let url = format!("{}{}", url(), request.uri());
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.expect("is small");
    let mut forwarded = client().request(parts.method, url).body(body);
    if let Some(kind) = parts.headers.get("content-type") {
        forwarded = forwarded.header("content-type", kind);
    }
    let response = forwarded.send().await.expect("the registry is up");
    (response.status(), response.text().await.expect("the registry is up"))
}

/// Returns the client of the tests' own requests over plain HTTP. Each request opens a connection, so that it shows whether the other side
/// accepts one. All requests share the client, because making a client reads all authorities that the system trusts.
fn client() -> &'static reqwest::Client {
    const PATIENCE: Duration = Duration::from_secs(10);
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).pool_max_idle_per_host(0);
        client.build().expect("a client")
    })
}

/// Returns status and body of a GET. The status is 0 if nobody answers, for instance because the process is frozen.
pub fn get(url: &str) -> (u16, String) {
    request(reqwest::Method::GET, url)
}

/// Returns the same once somebody answers. While the machine stands still, a server that is there may not.
pub fn get_patiently(url: &str) -> (u16, String) {
    let deadline = Instant::now() + Inbox::PATIENCE;
    loop {
        let said = get(url);
        if said.0 != 0 || Instant::now() > deadline {
            return said;
        }
        crate::pause();
    }
}

/// Returns status and body of any request without a body of its own. The status is 0 if nobody answers.
pub fn request(method: reqwest::Method, url: &str) -> (u16, String) {
    runtime().block_on(async {
        match client().request(method, url).send().await {
            Ok(response) => (response.status().as_u16(), response.text().await.unwrap_or_default()),
            Err(e) => (0, e.to_string()),
        }
    })
}
