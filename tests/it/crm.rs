//! The CRM of the tests: the entities that it knows, and the commands that it sends about them.

use crate::registry;
use serde_json::{Value as Json, json};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

/// A text that nobody else in this run, or in another against the same servers, has: `prefix-<run>-<n>`.
pub fn unique(prefix: &str) -> String {
    static RUN: OnceLock<String> = OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let run = RUN.get_or_init(|| Uuid::new_v4().simple().to_string()[..8].to_owned());
    format!("{prefix}-{run}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// One JSON object a line.
pub fn json_lines<'a>(objects: impl IntoIterator<Item = &'a Json>) -> String {
    objects.into_iter().fold(String::new(), |lines, object| lines + &object.to_string() + "\n")
}

/// What an entity is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Customer,
    Account,
    Subscriber,
}

impl Kind {
    /// `customer`, …: in keys, in import lines and as the reference's field.
    pub fn name(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Account => "account",
            Self::Subscriber => "subscriber",
        }
    }
}

/// An entity as it was imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entity {
    pub kind: Kind,
    pub ref_id: String,
    pub external_id: String,
    pub state: &'static str,
}

impl Entity {
    /// One that nobody else has.
    pub fn new(kind: Kind, state: &'static str) -> Self {
        Self { kind, ref_id: Uuid::new_v4().to_string(), external_id: unique(&kind.name()[..1]), state }
    }

    /// Its line for `import`.
    pub fn line(&self) -> Json {
        json!({"type": self.kind.name(), "refId": self.ref_id, "externalId": self.external_id, "state": self.state})
    }

    /// The reference by external id.
    pub fn by_external_id(&self) -> Json {
        json!({"externalId": self.external_id})
    }

    /// The reference by refId.
    pub fn by_ref_id(&self) -> Json {
        json!({"refId": self.ref_id})
    }

    /// The key of its business transactions.
    pub fn subject(&self) -> String {
        format!("{}:{}", self.kind.name(), self.ref_id)
    }
}

/// A command that is about to be sent.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The record's name without its namespace.
    pub record: &'static str,
    pub body: Json,
    pub key: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    pub contents: Contents,
}

/// The value of a record that is about to be sent.
#[derive(Clone, Debug)]
pub enum Contents {
    /// The draft's body, with the CRM's schema.
    Body,
    /// Any bytes.
    Bytes(Vec<u8>),
    /// A tombstone.
    Null,
}

impl Draft {
    /// A command with any body; its key is unique.
    pub fn new(record: &'static str, body: Json) -> Self {
        Self { record, body, key: Some(unique("k").into_bytes()), headers: Vec::new(), contents: Contents::Body }
    }

    /// A record with any value; its key is unique.
    pub fn raw(value: Option<Vec<u8>>) -> Self {
        let contents = value.map_or(Contents::Null, Contents::Bytes);
        Self { contents, ..Self::new("UpdateCustomerCustomName", Json::Null) }
    }

    /// Another request for the same key, so in the same lane.
    pub fn key(self, key: impl AsRef<[u8]>) -> Self {
        Self { key: Some(key.as_ref().to_vec()), ..self }
    }

    pub fn without_key(self) -> Self {
        Self { key: None, ..self }
    }

    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), Some(value.as_ref().to_vec())));
        self
    }

    /// A header without a value, as Kafka allows.
    pub fn null_header(mut self, name: &str) -> Self {
        self.headers.push((name.to_owned(), None));
        self
    }

    /// The same contents, written with another schema of the record.
    pub fn written_with(self, schema: &Json) -> Self {
        let value = registry::encode(&unique("subject"), schema, &self.body);
        Self { contents: Contents::Bytes(value), ..self }
    }

    pub fn expecting(mut self, version: i64) -> Self {
        self.body["expectedVersion"] = version.into();
        self
    }

    /// The request id in the body, as text.
    pub fn request(&self) -> &str {
        self.body["requestId"].as_str().unwrap_or_else(|| panic!("{self:?} has no request id"))
    }

    /// The value's bytes. Schemas are registered under the record's name, so that no subject of the project's is touched.
    pub fn value(&self) -> Option<Vec<u8>> {
        match &self.contents {
            Contents::Body => {
                let schema = registry::command_schema(self.record);
                Some(registry::encode(&format!("crm.v1.{}", self.record), &schema, &self.body))
            }
            Contents::Bytes(bytes) => Some(bytes.clone()),
            Contents::Null => None,
        }
    }
}

/// `updateCustomerCustomName`.
pub fn custom_name(request: &str, customer: &Json, name: &str) -> Draft {
    Draft::new("UpdateCustomerCustomName", json!({"requestId": request, "customer": customer, "customName": name}))
}

/// `updateCustomerSegment`.
pub fn segment(request: &str, customer: &Json, code: &str) -> Draft {
    Draft::new("UpdateCustomerSegment", json!({"requestId": request, "customer": customer, "customerSegment": code}))
}

/// `updateAccountExternalId` or `updateSubscriberExternalId`.
pub fn rename(kind: Kind, request: &str, reference: &Json, external_id: &str) -> Draft {
    let record = match kind {
        Kind::Account => "UpdateAccountExternalId",
        Kind::Subscriber => "UpdateSubscriberExternalId",
        Kind::Customer => panic!("customers keep their external ids"),
    };
    Draft::new(record, json!({"requestId": request, kind.name(): reference, "externalId": external_id}))
}
