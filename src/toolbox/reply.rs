//! A reply as the command line sees it: the decoded record, and the parts of it that people and checks look at. The gateway tells of
//! findings in the same form.

use super::paint::Paint;
use crate::domain::rejection::Rejection;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A `crm.v1.Reply`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecodedReply {
    /// The status: 200, 400 or 500.
    pub status_code: i32,
    /// The status in words, such as `OK`.
    pub status_message: String,
    /// All findings about the command.
    pub errors: Vec<ErrorEntry>,
    /// True if this is the stored answer to a duplicate.
    pub replayed: bool,
    /// What was done, or was found to be so already; `None` if the command was refused.
    pub business_transaction: Option<BusinessTransaction>,
    /// The whole record, as JSON.
    #[serde(skip)]
    pub json: Value,
}

/// One entry of a reply's `errors`: a finding about the command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorEntry {
    /// The error code, `CASM-…`.
    pub code: String,
    /// The field of the command, such as `customer.externalId`; `None` if the finding is about no field.
    pub field: Option<String>,
    /// What is wrong, in words.
    pub message: String,
}

/// A `crm.v1.BusinessTransaction`, as far as it is shown.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BusinessTransaction {
    /// The entity's refId, which never changes.
    pub ref_id: String,
    /// The entity's version afterwards.
    pub version: i64,
    /// The entity's version before.
    pub previous_version: i64,
    /// The attributes that changed, or in a creation those that were given. Empty if the entity had the requested values already.
    pub changes: Vec<DecodedChange>,
    customer: Option<AfterImage>,
    account: Option<AfterImage>,
    subscriber: Option<AfterImage>,
}

/// A `crm.v1.ChangeRow`, as far as it is shown.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeRow {
    /// The use case, or `snapshot`.
    pub use_case: String,
    entity_type: String,
    external_id: String,
    version: i64,
    previous_version: i64,
    changed_fields: String,
}

impl ChangeRow {
    /// Returns the change in words: `customer c-1, version 1 → 2, changed: customName`.
    pub fn summary(&self) -> String {
        let entity = format!("{} {}", self.entity_type.to_lowercase(), self.external_id);
        if self.changed_fields.is_empty() {
            return format!("{entity}, version {}", self.version);
        }
        format!("{entity}, version {} → {}, changed: {}", self.previous_version, self.version, self.changed_fields)
    }
}

/// A `crm.v1.Change`.
#[derive(Clone, Debug, Deserialize)]
pub struct DecodedChange {
    /// The attribute, such as `customName`.
    pub field: String,
    /// The old value, or `None` if there was none.
    pub old: Option<String>,
    /// The new value, or `None` if there is none any more.
    pub new: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AfterImage {
    external_id: String,
}

impl DecodedReply {
    /// Reads a decoded `crm.v1.Reply`.
    ///
    /// # Errors
    /// The JSON is that of another record.
    pub fn read(json: Value) -> serde_json::Result<Self> {
        let reply = Self::deserialize(&json)?;
        Ok(Self { json, ..reply })
    }

    /// Returns whether the command took effect, or had nothing to do.
    pub fn is_ok(&self) -> bool {
        self.status_code == 200
    }

    /// Returns the status in its colour: `200 OK`.
    pub fn headline(&self, paint: Paint) -> String {
        let status = format!("{} {}", self.status_code, self.status_message);
        let status = if self.is_ok() { paint.green(status) } else { paint.yellow(status) };
        if self.replayed { format!("{status}, replayed: the stored answer") } else { status }
    }

    /// Returns the lines below the headline: findings, or what was done, and the refId of an entity that was created.
    pub fn details(&self, paint: Paint) -> impl Iterator<Item = String> {
        let transaction = self.business_transaction.as_ref();
        let created = transaction.filter(|t| t.creates()).map(|t| format!("refId {}", t.ref_id));
        self.findings(paint).chain(transaction.map(BusinessTransaction::summary)).chain(created)
    }

    /// Returns a line for each finding: code, field and message, in columns.
    pub fn findings(&self, paint: Paint) -> impl Iterator<Item = String> {
        let width = |text: fn(&ErrorEntry) -> &str| self.errors.iter().map(|e| text(e).chars().count()).max().unwrap_or_default();
        let (codes, fields) = (width(|e| &e.code), width(ErrorEntry::place));
        self.errors.iter().map(move |error| {
            let code = paint.yellow(format!("{:codes$}", error.code));
            format!("{code}  {:fields$}  {}", error.place(), error.message)
        })
    }
}

impl From<&Rejection> for ErrorEntry {
    fn from(rejection: &Rejection) -> Self {
        Self { code: rejection.code().to_owned(), field: rejection.field().map(str::to_owned), message: rejection.message() }
    }
}

impl ErrorEntry {
    fn place(&self) -> &str {
        self.field.as_deref().unwrap_or("-")
    }
}

impl BusinessTransaction {
    /// Returns the change in words: `customer c-1, version 1 → 2, customName: "Ann" → "Bob"`. Of a creation returns what was given
    /// beside the external id: `customer c-1 created, version 1, customName: "Ann"`.
    pub fn summary(&self) -> String {
        if self.changes.is_empty() {
            return format!("{}, no changes", self.state());
        }
        if self.creates() {
            let given = self.changes.iter().filter(|change| change.field != "externalId");
            let given = given.map(|change| format!("{}: {}", change.field, value(change.new.as_ref())));
            let created = [format!("{} created", self.entity()), format!("version {}", self.version)];
            return created.into_iter().chain(given).collect::<Vec<_>>().join(", ");
        }
        let changes: Vec<String> = self.changes.iter().map(change).collect();
        format!("{}, version {} → {}, {}", self.entity(), self.previous_version, self.version, changes.join(", "))
    }

    /// Returns the entity and its version in words: `customer c-1, version 2`.
    pub fn state(&self) -> String {
        format!("{}, version {}", self.entity(), self.version)
    }

    /// Returns whether the entity came into being.
    fn creates(&self) -> bool {
        self.previous_version == 0
    }

    fn entity(&self) -> String {
        let (entity_type, after) = [("customer", &self.customer), ("account", &self.account), ("subscriber", &self.subscriber)]
            .into_iter()
            .find_map(|(name, after)| Some((name, after.as_ref()?)))
            .map_or(("entity", self.ref_id.as_str()), |(name, after)| (name, after.external_id.as_str()));
        format!("{entity_type} {after}")
    }
}

fn change(change: &DecodedChange) -> String {
    format!("{}: {} → {}", change.field, value(change.old.as_ref()), value(change.new.as_ref()))
}

fn value(value: Option<&String>) -> String {
    value.map_or_else(|| "null".into(), |text| format!("{text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_change_reads_as_old_and_new_with_the_versions() {
        let json = json!({
            "requestId": "r-1", "statusCode": 200, "statusMessage": "OK", "errors": [], "replayed": true,
            "businessTransaction": {
                "refId": "e", "version": 2, "previousVersion": 1,
                "changes": [{"field": "customName", "old": null, "new": "Ann"}],
                "customer": {"externalId": "c-1"}, "account": null, "subscriber": null,
            },
            "processedAt": 0,
        });
        let reply = DecodedReply::read(json.clone()).unwrap();
        assert_eq!(reply.json, json);
        assert_eq!(reply.headline(Paint::plain()), "200 OK, replayed: the stored answer");
        let transaction = reply.business_transaction.unwrap();
        assert_eq!(transaction.summary(), r#"customer c-1, version 1 → 2, customName: null → "Ann""#);
    }

    #[test]
    fn a_creation_reads_as_what_was_given_and_has_the_ref_id() {
        let given = |field: &str, new: &str| json!({"field": field, "old": null, "new": new});
        let json = json!({
            "requestId": "r-1", "statusCode": 200, "statusMessage": "OK", "errors": [], "replayed": false,
            "businessTransaction": {
                "refId": "e", "version": 1, "previousVersion": 0,
                "changes": [given("externalId", "a-1"), given("customName", "Ann"), given("customerRefId", "c")],
                "customer": null, "account": {"externalId": "a-1"}, "subscriber": null,
            },
            "processedAt": 0,
        });
        let details: Vec<String> = DecodedReply::read(json).unwrap().details(Paint::plain()).collect();
        assert_eq!(details, ["account a-1 created, version 1, customName: \"Ann\", customerRefId: \"c\"", "refId e"]);
    }

    #[test]
    fn findings_stand_in_columns() {
        let json = json!({
            "requestId": null, "statusCode": 400, "statusMessage": "Request Validation failed", "replayed": false,
            "errors": [
                {"code": "CASM-A", "field": "requestId", "message": "is mandatory"},
                {"code": "CASM-LONGER", "field": null, "message": "is wrong"},
            ],
            "businessTransaction": null,
        });
        let findings: Vec<String> = DecodedReply::read(json).unwrap().findings(Paint::plain()).collect();
        assert_eq!(findings, ["CASM-A       requestId  is mandatory", "CASM-LONGER  -          is wrong"]);
    }
}
