//! The CRM of the tests: the entities that it knows, and the commands that it sends about them.

use crate::registry;
use serde_json::{Value as Json, json};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

/// Returns a text that is unique in this run and among all runs against the same servers: `prefix-<run>-<n>`.
pub fn unique(prefix: &str) -> String {
    static RUN: OnceLock<String> = OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let run = RUN.get_or_init(|| Uuid::new_v4().simple().to_string()[..8].to_owned());
    format!("{prefix}-{run}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Writes JSON objects, one to a line.
pub fn json_lines<'a>(objects: impl IntoIterator<Item = &'a Json>) -> String {
    objects.into_iter().fold(String::new(), |lines, object| lines + &object.to_string() + "\n")
}

/// The type of an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Customer,
    Account,
    Subscriber,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Customer, Self::Account, Self::Subscriber];

    /// Returns `customer`, `account` or `subscriber`: the name in keys, in import lines and of the reference's field.
    pub fn name(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Account => "account",
            Self::Subscriber => "subscriber",
        }
    }

    /// Returns the type of the entity to which one of this type belongs; `None` for customers.
    pub fn superior(self) -> Option<Self> {
        match self {
            Self::Customer => None,
            Self::Account => Some(Self::Customer),
            Self::Subscriber => Some(Self::Account),
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
    /// Makes an entity with ids that are unique.
    pub fn new(kind: Kind, state: &'static str) -> Self {
        Self { kind, ref_id: Uuid::new_v4().to_string(), external_id: unique(&kind.name()[..1]), state }
    }

    /// Returns the entity that a creation makes.
    pub fn created_by(creation: &Draft) -> Self {
        let kind = match creation.record {
            "CreateCustomer" => Kind::Customer,
            "CreateAccount" => Kind::Account,
            "CreateSubscriber" => Kind::Subscriber,
            other => panic!("{other} creates nothing"),
        };
        let external_id = creation.body["externalId"].as_str().expect("is given").to_owned();
        let name = format!("crm:create:{}:{external_id}:{}", kind.name(), creation.request());
        let ref_id = Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()).to_string();
        Self { kind, ref_id, external_id, state: "ACTIVE" }
    }

    /// Returns the entity's line for `import`.
    pub fn line(&self) -> Json {
        json!({"type": self.kind.name(), "refId": self.ref_id, "externalId": self.external_id, "state": self.state})
    }

    /// Returns a reference to the entity by external id.
    pub fn by_external_id(&self) -> Json {
        json!({"externalId": self.external_id})
    }

    /// Returns a reference to the entity by refId.
    pub fn by_ref_id(&self) -> Json {
        json!({"refId": self.ref_id})
    }

    /// Returns the key of the entity's business transactions.
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
    /// Bytes as they are.
    Bytes(Vec<u8>),
    /// A tombstone.
    Null,
}

impl Draft {
    /// Makes a command with any body and a unique key.
    pub fn new(record: &'static str, body: Json) -> Self {
        Self { record, body, key: Some(unique("k").into_bytes()), headers: Vec::new(), contents: Contents::Body }
    }

    /// Makes a record with any value and a unique key.
    pub fn raw(value: Option<Vec<u8>>) -> Self {
        let contents = value.map_or(Contents::Null, Contents::Bytes);
        Self { contents, ..Self::new("UpdateCustomerCustomName", Json::Null) }
    }

    /// Gives the command this key. Commands with the same key are in the same lane.
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

    /// Adds a header without a value, which Kafka allows.
    pub fn null_header(mut self, name: &str) -> Self {
        self.headers.push((name.to_owned(), None));
        self
    }

    /// Writes the same contents with another schema of the record.
    pub fn written_with(self, schema: &Json) -> Self {
        let value = registry::encode(&unique("subject"), schema, &self.body);
        Self { contents: Contents::Bytes(value), ..self }
    }

    pub fn expecting(mut self, version: i64) -> Self {
        self.body["expectedVersion"] = version.into();
        self
    }

    /// Returns the request id in the body.
    pub fn request(&self) -> &str {
        self.body["requestId"].as_str().unwrap_or_else(|| panic!("{self:?} has no request id"))
    }

    /// Returns the value's bytes.
    pub fn value(&self) -> Option<Vec<u8>> {
        match &self.contents {
            Contents::Body => Some(registry::encode_command(self.record, &self.body)),
            Contents::Bytes(bytes) => Some(bytes.clone()),
            Contents::Null => None,
        }
    }
}

/// Makes an `updateCustomerCustomName`.
pub fn custom_name(request: &str, customer: &Json, name: &str) -> Draft {
    Draft::new("UpdateCustomerCustomName", json!({"requestId": request, "customer": customer, "customName": name}))
}

/// Makes an `updateCustomerCustomName`, an `updateAccountCustomName` or an `updateSubscriberCustomName`.
pub fn name(kind: Kind, request: &str, reference: &Json, name: &str) -> Draft {
    let record = match kind {
        Kind::Customer => "UpdateCustomerCustomName",
        Kind::Account => "UpdateAccountCustomName",
        Kind::Subscriber => "UpdateSubscriberCustomName",
    };
    Draft::new(record, json!({"requestId": request, kind.name(): reference, "customName": name}))
}

/// Makes an `updateCustomerState`, an `updateAccountState` or an `updateSubscriberState`. A reason that is null is not given.
pub fn state(kind: Kind, request: &str, reference: &Json, state: &str, reason: impl Into<Json>) -> Draft {
    let record = match kind {
        Kind::Customer => "UpdateCustomerState",
        Kind::Account => "UpdateAccountState",
        Kind::Subscriber => "UpdateSubscriberState",
    };
    Draft::new(record, json!({"requestId": request, kind.name(): reference, "state": state, "stateReason": reason.into()}))
}

/// Makes an `updateCustomerSegment`.
pub fn segment(request: &str, customer: &Json, code: &str) -> Draft {
    Draft::new("UpdateCustomerSegment", json!({"requestId": request, "customer": customer, "customerSegment": code}))
}

/// Makes an `updateCustomerExternalId`, an `updateAccountExternalId` or an `updateSubscriberExternalId`.
pub fn rename(kind: Kind, request: &str, reference: &Json, external_id: &str) -> Draft {
    let record = match kind {
        Kind::Account => "UpdateAccountExternalId",
        Kind::Subscriber => "UpdateSubscriberExternalId",
        Kind::Customer => "UpdateCustomerExternalId",
    };
    Draft::new(record, json!({"requestId": request, kind.name(): reference, "externalId": external_id}))
}

/// Makes a `createCustomer`, a `createAccount` or a `createSubscriber` that gives nothing but what is mandatory. A customer's `superior` is
/// left out.
pub fn create(kind: Kind, request: &str, external_id: &str, superior: &Json) -> Draft {
    let record = match kind {
        Kind::Customer => "CreateCustomer",
        Kind::Account => "CreateAccount",
        Kind::Subscriber => "CreateSubscriber",
    };
    let mut body = json!({"requestId": request, "externalId": external_id});
    if let Some(of) = kind.superior() {
        body[of.name()] = superior.clone();
    }
    Draft::new(record, body)
}
