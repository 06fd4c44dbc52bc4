//! What the protocol stores as blobs: the outcome of a request (a log row) and what a claim was made for.
//!
//! A blob is a version number and what it holds by `postcard`: values one after another, without names. So any change of these
//! types or of those of the domain in them is a new version of the format, but for new variants at the end of an enum. An older
//! build reports a version that it does not know as a [`StoreFault`]: it waits to be upgraded instead of guessing. People
//! are shown what is stored by `crm-processor show`.
//!
//! There is one for each command, for ever, and each write takes it several times through the database's Paxos: so an outcome
//! leaves out what the rest of it or its row's key tells. It takes 150 to 250 bytes, a quarter of what it takes as JSON.

use super::StoreFault;
use crate::domain::Timestamp;
use crate::domain::contents::Contents;
use crate::domain::entity::Entity;
use crate::domain::rejection::Rejection;
use crate::domain::transaction::{Change, Transaction};
use crate::domain::use_case::UseCase;
use crate::domain::values::{ExternalId, RequestId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// The version that this build writes, and the only one that it reads. Stands in the first byte.
const VERSION: u8 = 2;

/// Where a record stands: names it for ever.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Coordinates {
    /// The topic.
    #[serde(with = "shared")]
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// What a request is answered, now and whenever it comes again. Shared by the run that decides it and its outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The entity was changed.
    Changed(Arc<Transaction>),
    /// The value was the requested one already: no changes, and `previous_version == entity.version`.
    Unchanged(Arc<Transaction>),
    /// The command was refused, "not found" and internal errors included.
    Rejected(Rejection),
}

/// The outcome of a request. What its transaction says of the request's id and of when it was decided, its row's key and `at` say,
/// too; what it says changed is the attribute of its use case, to what its entity has there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Of the command's contents: see [`Contents::fingerprint`].
    pub fingerprint: Uuid,
    /// The record that caused it. That record alone publishes the business transaction, at whichever delivery.
    pub record: Coordinates,
    /// When it was decided.
    pub at: Timestamp,
    /// The epoch that the entity had when it was decided; None where there was no entity.
    pub epoch: Option<i64>,
    /// What was decided.
    pub answer: Answer,
}

/// A claim's blob: what it was made for, and what the next claims must know of those before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredClaim {
    /// What it was made for.
    pub cause: ClaimBlob,
    /// The last epoch during which each of the previous owners held the id.
    pub held: BTreeMap<Uuid, i64>,
}

/// What anybody needs to complete a claim as the claimant would.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClaimBlob {
    /// A rename claims the id that it wants.
    Command(ClaimingCommand),
    /// An import claims the id that the entity comes with.
    Import(Entity),
}

/// The command that claims an external id, with the record that it came in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimingCommand {
    /// See [`crate::domain::command::Command::request_id`].
    pub request_id: RequestId,
    /// What is asked for.
    pub contents: Contents,
    /// The correlation id of the record.
    pub correlation_id: Option<String>,
    /// The record, which will publish the business transaction.
    pub record: Coordinates,
}

/// The log row of an import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportOutcome {
    /// When the entity was imported.
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
        encode(&Stored::of(self))
    }

    /// Of the row of this request.
    ///
    /// # Errors
    /// A fault if `blob` is no outcome, or was written by a newer build.
    pub fn decode(request_id: &str, blob: &[u8]) -> Result<Self, StoreFault> {
        let operation = "decode outcome";
        let request_id =
            RequestId::parse(request_id).map_err(|error| StoreFault::new(operation, format!("its row's request id {error}")))?;
        Ok(decode::<Stored<'_>>(operation, blob)?.into_outcome(&request_id))
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

fn encode<T: Serialize>(body: &T) -> Vec<u8> {
    // Most outcomes fit.
    let mut blob = Vec::with_capacity(384);
    blob.push(VERSION);
    postcard::to_extend(body, blob).expect("strings, numbers and lists of them can be written to memory")
}

fn decode<T: DeserializeOwned>(operation: &'static str, blob: &[u8]) -> Result<T, StoreFault> {
    let fault = |cause: String| StoreFault::new(operation, cause);
    let Some((version, body)) = blob.split_first() else { return Err(fault("it is empty".into())) };
    if *version != VERSION {
        let cause = format!("written in version {version} of the format, this build knows {VERSION}: a newer build must read it");
        return Err(fault(cause));
    }
    match postcard::take_from_bytes(body) {
        Ok((decoded, [])) => Ok(decoded),
        Ok((_, rest)) => Err(fault(format!("it has {} bytes too many", rest.len()))),
        Err(error) => Err(fault(error.to_string())),
    }
}

/// An [`Outcome`] as a blob holds it.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    fingerprint: Uuid,
    record: Cow<'a, Coordinates>,
    at: Timestamp,
    epoch: Option<i64>,
    answer: StoredAnswer<'a>,
}

#[derive(Serialize, Deserialize)]
enum StoredAnswer<'a> {
    Changed(StoredTransaction<'a>),
    Unchanged(StoredTransaction<'a>),
    Rejected(Cow<'a, Rejection>),
}

#[derive(Serialize, Deserialize)]
struct StoredTransaction<'a> {
    use_case: UseCase,
    correlation_id: Option<Cow<'a, str>>,
    previous_version: i64,
    /// The old values. A use case changes one attribute, always the same.
    changes: Vec<Option<Cow<'a, str>>>,
    entity: Cow<'a, Entity>,
}

impl<'a> Stored<'a> {
    fn of(outcome: &'a Outcome) -> Self {
        let answer = match &outcome.answer {
            Answer::Changed(transaction) => StoredAnswer::Changed(StoredTransaction::of(transaction)),
            Answer::Unchanged(transaction) => StoredAnswer::Unchanged(StoredTransaction::of(transaction)),
            Answer::Rejected(rejection) => StoredAnswer::Rejected(Cow::Borrowed(rejection)),
        };
        let Outcome { fingerprint, at, epoch, .. } = *outcome;
        Self { fingerprint, record: Cow::Borrowed(&outcome.record), at, epoch, answer }
    }

    fn into_outcome(self, request_id: &RequestId) -> Outcome {
        let Self { fingerprint, record, at, epoch, answer } = self;
        let transaction = |stored: StoredTransaction<'_>| Arc::new(stored.into_transaction(request_id.clone(), at));
        let answer = match answer {
            StoredAnswer::Changed(stored) => Answer::Changed(transaction(stored)),
            StoredAnswer::Unchanged(stored) => Answer::Unchanged(transaction(stored)),
            StoredAnswer::Rejected(rejection) => Answer::Rejected(rejection.into_owned()),
        };
        Outcome { fingerprint, record: record.into_owned(), at, epoch, answer }
    }
}

impl<'a> StoredTransaction<'a> {
    fn of(transaction: &'a Transaction) -> Self {
        let Transaction { use_case, previous_version, .. } = *transaction;
        let old = |change: &'a Change| change.old.as_deref().map(Cow::Borrowed);
        Self {
            use_case,
            correlation_id: transaction.correlation_id.as_deref().map(Cow::Borrowed),
            previous_version,
            changes: transaction.changes.iter().map(old).collect(),
            entity: Cow::Borrowed(&transaction.entity),
        }
    }

    fn into_transaction(self, request_id: RequestId, occurred_at: Timestamp) -> Transaction {
        let Self { use_case, correlation_id, previous_version, changes, entity } = self;
        let entity = entity.into_owned();
        let new = use_case.attribute(&entity);
        let change = |old: Option<Cow<'_, str>>| Change {
            field: use_case.value_field().into(),
            old: old.map(Cow::into_owned),
            new: new.map(str::to_owned),
        };
        let changes = changes.into_iter().map(change).collect();
        let correlation_id = correlation_id.map(Cow::into_owned);
        Transaction { use_case, request_id, correlation_id, occurred_at, previous_version, changes, entity }
    }
}

/// A text that is shared in memory is stored as it is.
mod shared {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::sync::Arc;

    pub fn serialize<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(text)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
        Box::<str>::deserialize(deserializer).map(Arc::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::entity::{EntityType, State};
    use crate::domain::values::{CustomName, SegmentCode};

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
            use_case: UseCase::UpdateAccountExternalId,
            request_id: RequestId::parse("r-1").unwrap(),
            correlation_id: Some("c-1".into()),
            occurred_at: 5,
            previous_version: 1,
            changes: vec![Change { field: "externalId".into(), old: Some("a-1".into()), new: Some("a-2".into()) }],
            entity: entity(),
        }
    }

    fn command() -> ClaimingCommand {
        ClaimingCommand {
            request_id: RequestId::parse("r-1").unwrap(),
            contents: Contents::restore(UseCase::UpdateAccountExternalId, "a-2", Some(1)).unwrap(),
            correlation_id: None,
            record: record(),
        }
    }

    #[test]
    fn every_answer_comes_back_as_it_was_stored() {
        let field = || "account.externalId".into();
        let rejections = [
            Rejection::MandatoryAttribute { field: field() },
            Rejection::InvalidAttribute { field: field(), reason: "is too long".into() },
            Rejection::SegmentNotConfigured { field: field() },
            Rejection::RequestIdReused,
            Rejection::EntityNotFound { field: field() },
            Rejection::Deactivated { field: field() },
            Rejection::VersionConflict { expected: 1, actual: 2 },
            Rejection::ExternalIdNotUnique,
            Rejection::RecordUnreadable { reason: "is cut short".into() },
            Rejection::InternalError,
        ];
        let answers = [Answer::Changed(transaction().into()), Answer::Unchanged(transaction().into())];
        for answer in answers.into_iter().chain(rejections.map(Answer::Rejected)) {
            let outcome = Outcome { fingerprint: Uuid::from_u128(1), record: record(), at: 5, epoch: Some(2), answer };
            let blob = outcome.encode();
            assert_eq!(Outcome::decode("r-1", &blob).unwrap(), outcome);
        }
    }

    #[test]
    fn a_change_by_each_use_case_comes_back_as_it_was_stored() {
        for (use_case, field, new) in [
            (UseCase::UpdateAccountExternalId, "externalId", "a-2"),
            (UseCase::UpdateSubscriberExternalId, "externalId", "a-2"),
            (UseCase::UpdateCustomerCustomName, "customName", "Ann"),
            (UseCase::UpdateCustomerSegment, "customerSegment", "GOLD"),
        ] {
            for old in [None, Some("before".to_owned())] {
                let custom_name = Some(CustomName::parse("Ann").unwrap());
                let segment = Some(SegmentCode::parse("GOLD").unwrap());
                let entity = Entity { entity_type: use_case.entity_type(), custom_name, segment, ..entity() };
                let changes = vec![Change { field: field.into(), old, new: Some(new.into()) }];
                let answer = Answer::Changed(Transaction { use_case, changes, entity, ..transaction() }.into());
                let outcome = Outcome { fingerprint: Uuid::nil(), record: record(), at: 5, epoch: Some(2), answer };
                assert_eq!(Outcome::decode("r-1", &outcome.encode()).unwrap(), outcome);
            }
        }
    }

    #[test]
    fn every_claim_comes_back_as_it_was_stored() {
        let held = BTreeMap::from([(Uuid::from_u128(9), 3)]);
        let rename = StoredClaim { cause: ClaimBlob::Command(command()), held };
        for claim in [rename, StoredClaim { cause: ClaimBlob::Import(entity()), held: BTreeMap::new() }] {
            let blob = claim.encode();
            assert_eq!(StoredClaim::decode(&blob).unwrap(), claim);
        }
    }

    #[test]
    fn the_format_is_what_stores_hold_already() {
        let outcome = |answer| Outcome { fingerprint: Uuid::from_u128(1), record: record(), at: 5, epoch: Some(2), answer };
        let hex = |blob: Vec<u8>| blob.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        assert_eq!(
            hex(outcome(Answer::Changed(transaction().into())).encode()),
            "0210000000000000000000000000000000010c63726d2e636f6d6d616e6473068080808080400a010400020103632d3102010103612d3101100000000000000000000000000000000703612d320401000000011000000000000000000000000000000008"
        );
        assert_eq!(
            hex(outcome(Answer::Rejected(Rejection::InternalError)).encode()),
            "0210000000000000000000000000000000010c63726d2e636f6d6d616e6473068080808080400a01040209"
        );
        let claim = StoredClaim { cause: ClaimBlob::Command(command()), held: BTreeMap::from([(Uuid::from_u128(9), 3)]) };
        assert_eq!(
            hex(claim.encode()),
            "020003722d310203612d320102000c63726d2e636f6d6d616e64730680808080804001100000000000000000000000000000000906"
        );
        assert_eq!(
            hex(StoredClaim { cause: ClaimBlob::Import(entity()), held: BTreeMap::new() }.encode()),
            "020101100000000000000000000000000000000703612d32040100000001100000000000000000000000000000000800"
        );
        assert_eq!(hex(ImportOutcome { at: 5, external_id: ExternalId::parse("a-2").unwrap() }.encode()), "020a03612d32");
    }

    #[test]
    fn a_later_version_or_damage_is_a_fault() {
        let answer = Answer::Rejected(Rejection::InternalError);
        let blob = Outcome { fingerprint: Uuid::nil(), record: record(), at: 5, epoch: Some(2), answer }.encode();
        let later = [&[VERSION + 1], &blob[1..]].concat();
        let fault = Outcome::decode("r-1", &later).unwrap_err();
        assert!(fault.cause.contains("version 3"), "{fault}");
        for length in 0..blob.len() {
            assert!(
                Outcome::decode("r-1", &blob[..length]).is_err(),
                "{length} of {} bytes were taken for an outcome",
                blob.len()
            );
        }
        let fault = Outcome::decode("r-1", &[&blob[..], b"x"].concat()).unwrap_err();
        assert!(fault.cause.contains("1 bytes too many"), "{fault}");
    }

    #[test]
    fn a_fault_does_not_quote_what_it_could_not_read() {
        let mut blob = StoredClaim { cause: ClaimBlob::Import(entity()), held: BTreeMap::new() }.encode();
        let at = blob.windows(3).position(|window| window == b"a-2").unwrap();
        // No external id has a control character.
        blob[at + 1] = 7;
        let fault = StoredClaim::decode(&blob).unwrap_err();
        assert!(!fault.to_string().contains("a\u{7}2"), "{fault}");
    }
}
