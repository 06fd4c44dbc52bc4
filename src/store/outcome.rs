//! What the protocol stores as blobs: the outcome of a request (a log row) and what a claim was made for.
//!
//! Both are JSON, so that `cqlsh` and `blobAsText` show them, under a version number. A field may be added with a serde
//! default; whatever an older build would misread needs the next version, which that build reports as a [`StoreFault`]:
//! it waits to be upgraded instead of guessing.

use super::StoreFault;
use crate::domain::Timestamp;
use crate::domain::command::{RequestId, UseCase};
use crate::domain::entity::Entity;
use crate::domain::external_id::ExternalId;
use crate::domain::rejection::Rejection;
use crate::domain::transaction::Transaction;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// The version that this build writes, and the only one that it reads.
const VERSION: u32 = 1;

/// Where a record stands: names it for ever.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Coordinates {
    /// The topic.
    #[serde(serialize_with = "write_topic", deserialize_with = "read_topic")]
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// What a request is answered, now and whenever it comes again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// The entity was changed.
    Changed(Transaction),
    /// The value was the requested one already: no changes, and `previous_version == entity.version`.
    Unchanged(Transaction),
    /// The command was refused, "not found" and internal errors included.
    Rejected(Rejection),
}

/// The outcome of a request, as its log row holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Of the command's contents: see [`crate::domain::command::fingerprint`].
    pub fingerprint: Uuid,
    /// The record that caused it. That record alone publishes the business transaction, at whichever delivery.
    pub record: Coordinates,
    /// When it was decided.
    pub at: Timestamp,
    /// The epoch that the entity had when it was decided; None where there was no entity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
    /// What was decided.
    pub answer: Answer,
}

/// A claim's blob: what it was made for, and what the next claims must know of those before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredClaim {
    /// What it was made for.
    #[serde(flatten)]
    pub cause: ClaimBlob,
    /// The last epoch during which each of the previous owners held the id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub held: BTreeMap<Uuid, i64>,
}

/// What anybody needs to complete a claim as the claimant would.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ClaimBlob {
    /// A rename claims the id that it wants.
    Command(ClaimingCommand),
    /// An import claims the id that the entity comes with.
    Import(Entity),
}

/// The command that claims an external id, with the record that it came in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimingCommand {
    /// See [`crate::domain::command::Command::request_id`].
    pub request_id: RequestId,
    /// What is asked for.
    #[serde(flatten)]
    pub use_case: UseCase,
    /// If given, the entity must have this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_version: Option<i64>,
    /// The correlation id of the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The record, which will publish the business transaction.
    pub record: Coordinates,
}

/// The log row of an import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportOutcome {
    /// When the entity was imported.
    #[serde(rename = "importedAt")]
    pub at: Timestamp,
    /// The id that it came with.
    pub external_id: ExternalId,
}

impl Answer {
    /// The entity as it was changed; None if it was not.
    pub fn changed(&self) -> Option<&Entity> {
        match self {
            Self::Changed(transaction) => Some(&transaction.entity),
            Self::Unchanged(_) | Self::Rejected(_) => None,
        }
    }
}

impl Outcome {
    /// As a log row's blob.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// # Errors
    /// A fault if `blob` is no outcome, or was written by a newer build.
    pub fn decode(blob: &[u8]) -> Result<Self, StoreFault> {
        decode("decode outcome", blob)
    }
}

impl StoredClaim {
    /// As a claim's blob.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// # Errors
    /// A fault if `blob` is no claim, or was written by a newer build.
    pub fn decode(blob: &[u8]) -> Result<Self, StoreFault> {
        decode("decode claim", blob)
    }
}

impl ImportOutcome {
    /// As a log row's blob.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// # Errors
    /// A fault if `blob` is no import's outcome, or was written by a newer build.
    pub fn decode(blob: &[u8]) -> Result<Self, StoreFault> {
        decode("decode import", blob)
    }
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    v: u32,
    #[serde(flatten)]
    body: T,
}

#[derive(Deserialize)]
struct VersionOnly {
    v: u32,
}

fn encode<T: Serialize>(body: T) -> Vec<u8> {
    serde_json::to_vec(&Versioned { v: VERSION, body }).expect("strings, numbers and lists of them are always JSON")
}

fn decode<T: DeserializeOwned>(operation: &'static str, blob: &[u8]) -> Result<T, StoreFault> {
    // serde's own words may quote what they stumbled over, and a fault holds no values of entities.
    let fault =
        |e: serde_json::Error| StoreFault { operation, cause: format!("{:?} error at byte {}", e.classify(), e.column()) };
    let VersionOnly { v } = serde_json::from_slice(blob).map_err(fault)?;
    if v != VERSION {
        let cause = format!("written in version {v} of the format, this build knows {VERSION}: a newer build must read it");
        return Err(StoreFault { operation, cause });
    }
    Ok(serde_json::from_slice::<Versioned<T>>(blob).map_err(fault)?.body)
}

fn write_topic<S: Serializer>(topic: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(topic)
}

fn read_topic<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    String::deserialize(deserializer).map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::command::UseCaseName;
    use crate::domain::entity::{EntityType, State};
    use crate::domain::transaction::Change;
    use crate::domain::update_account_external_id::UpdateAccountExternalId;

    fn record() -> Coordinates {
        Coordinates { topic: "crm.commands".into(), partition: 3, offset: 1 << 40 }
    }

    fn entity() -> Entity {
        Entity {
            entity_type: EntityType::Account,
            ref_id: Uuid::from_u128(7),
            external_id: ExternalId::parse("a-2").unwrap(),
            version: 2,
            state: State::Active,
            custom_name: None,
            segment: None,
            segment_valid_from: None,
            parent: Some(Uuid::from_u128(8)),
        }
    }

    fn transaction() -> Transaction {
        Transaction {
            use_case: UseCaseName::UpdateAccountExternalId,
            request_id: RequestId::parse("r-1").unwrap(),
            correlation_id: Some("c-1".into()),
            occurred_at: 1_700_000_000_000,
            previous_version: 1,
            changes: vec![Change { field: "externalId".into(), old: Some("a-1".into()), new: Some("a-2".into()) }],
            entity: entity(),
        }
    }

    #[test]
    fn every_answer_comes_back_as_it_was_stored() {
        let rejections = [
            Rejection::EntityNotFound { field: "account.externalId".into() },
            Rejection::VersionConflict { expected: 1, actual: 2 },
            Rejection::ExternalIdNotUnique,
            Rejection::InternalError,
        ];
        let answers = [Answer::Changed(transaction()), Answer::Unchanged(transaction())];
        for answer in answers.into_iter().chain(rejections.map(Answer::Rejected)) {
            let outcome = Outcome { fingerprint: Uuid::from_u128(1), record: record(), at: 5, epoch: Some(2), answer };
            let blob = outcome.encode();
            assert_eq!(Outcome::decode(&blob).unwrap(), outcome, "{}", String::from_utf8_lossy(&blob));
        }
    }

    #[test]
    fn every_claim_comes_back_as_it_was_stored() {
        let command = ClaimingCommand {
            request_id: RequestId::parse("r-1").unwrap(),
            use_case: UseCase::UpdateAccountExternalId(UpdateAccountExternalId(ExternalId::parse("a-2").unwrap())),
            expected_version: Some(1),
            correlation_id: None,
            record: record(),
        };
        let held = BTreeMap::from([(Uuid::from_u128(9), 3)]);
        let rename = StoredClaim { cause: ClaimBlob::Command(command), held };
        for claim in [rename, StoredClaim { cause: ClaimBlob::Import(entity()), held: BTreeMap::new() }] {
            let blob = claim.encode();
            assert_eq!(StoredClaim::decode(&blob).unwrap(), claim, "{}", String::from_utf8_lossy(&blob));
        }
    }

    #[test]
    fn a_blob_is_text_that_a_person_can_read() {
        let outcome = Outcome {
            fingerprint: Uuid::nil(),
            record: Coordinates { offset: 9, ..record() },
            at: 5,
            epoch: None,
            answer: Answer::Rejected(Rejection::Deactivated { field: "account".into() }),
        };
        let expected = r#"{"v":1,"fingerprint":"00000000-0000-0000-0000-000000000000","record":{"topic":"crm.commands","partition":3,"offset":9},"at":5,"answer":{"rejected":{"code":"deactivated","field":"account"}}}"#;
        assert_eq!(String::from_utf8(outcome.encode()).unwrap(), expected);
    }

    #[test]
    fn a_field_of_a_later_build_is_passed_over_and_a_later_version_is_a_fault() {
        let outcome = Outcome {
            fingerprint: Uuid::nil(),
            record: record(),
            at: 5,
            epoch: Some(2),
            answer: Answer::Rejected(Rejection::InternalError),
        };
        let text = String::from_utf8(outcome.encode()).unwrap();
        let with_more = text.replace(r#""at":5"#, r#""at":5,"new":{"x":1}"#);
        assert_eq!(Outcome::decode(with_more.as_bytes()).unwrap(), outcome);
        let later = text.replace(r#""v":1"#, r#""v":2"#);
        let fault = Outcome::decode(later.as_bytes()).unwrap_err();
        assert!(fault.cause.contains("version 2"), "{fault}");
    }

    #[test]
    fn a_fault_does_not_quote_what_it_could_not_read() {
        let fault = Outcome::decode(br#"{"v":1,"fingerprint":"secret"}"#).unwrap_err();
        assert!(!fault.to_string().contains("secret"), "{fault}");
    }
}
