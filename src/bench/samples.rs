//! One change as an example, in all forms that the parts alone need. With these the parts read, write and send records of
//! the same size as the processor does.

use crate::domain::answer::Answer;
use crate::domain::attribute::Attribute;
use crate::domain::contents::Contents;
use crate::domain::entity::{Entity, EntityType, State};
use crate::domain::rejection::Status;
use crate::domain::request::SourceRecord;
use crate::domain::transaction::{Change, Transaction};
use crate::domain::use_case::UseCase;
use crate::domain::values::{CustomName, ExternalId, RequestId};
use crate::store::outcome::Outcome;
use crate::wire::answer::{Encoder, Reply};
use crate::wire::headers::{self, CommandHeaders, Headers};
use uuid::Uuid;

const NAME: &str = "Ann's Flowers no. 12-12345";
const CORRELATION_ID: &str = "12345";
/// Some instant, with as many digits as any.
pub const SOME_TIME: i64 = 1_700_000_000_000;

/// A record to be sent.
pub struct Message {
    /// The value of the record.
    pub value: Vec<u8>,
    /// The headers of the record.
    pub headers: Headers,
}

/// Returns the stored outcome of a request that gave a customer a new name.
pub fn outcome() -> Vec<u8> {
    let contents = Contents::restore(UseCase::UpdateCustomerCustomName, NAME, None).expect("it is a name");
    let answer = Answer::Changed(transaction().into());
    Outcome { fingerprint: contents.fingerprint(), record: record(), at: SOME_TIME, epoch: Some(1), answer, actor: None }.encode()
}

/// Returns the reply and the business transaction of that request.
pub fn answers() -> [Message; 2] {
    let transaction = transaction();
    let id = transaction.id();
    let encoder = Encoder::new(1, 2, None);
    let value = encoder.transaction(id, &transaction);
    let headers = CommandHeaders::parse([(headers::CORRELATION_ID, Some(CORRELATION_ID.as_bytes()))]);
    let reply = Reply {
        correlation_id: Some(CORRELATION_ID),
        request_id: Some(transaction.request_id.as_str()),
        status: Status::Ok,
        errors: &[],
        replayed: false,
        transaction: Some(&value),
        processed_at: SOME_TIME,
    };
    let request_id = transaction.request_id.as_str();
    [
        Message { value: encoder.reply(&reply), headers: headers.reply(Some(request_id), Status::Ok) },
        Message { value, headers: headers.transaction(id, &transaction) },
    ]
}

/// Returns a request id.
pub fn request() -> RequestId {
    RequestId::parse("r-12-12345").expect("it is a request id")
}

/// Returns the record that the request came in.
pub fn record() -> SourceRecord {
    SourceRecord { topic: "crm-bench-01234567.12.commands".into(), partition: 10, offset: 12_345 }
}

fn transaction() -> Transaction {
    let entity = Entity {
        entity_type: EntityType::Customer,
        ref_id: Uuid::from_u128(u128::MAX),
        external_id: ExternalId::parse("c-12345").expect("it is an id"),
        version: 10,
        state: State::Active,
        custom_name: Some(name()),
        segment: None,
        segment_valid_from: None,
        superior: None,
        state_reason: None,
        state_valid_from: None,
    };
    Transaction {
        use_case: UseCase::UpdateCustomerCustomName,
        request_id: request(),
        correlation_id: Some(CORRELATION_ID.into()),
        occurred_at: SOME_TIME,
        previous_version: 9,
        changes: vec![Change { attribute: Attribute::CustomName, old: Some(NAME.into()), new: Some(NAME.into()) }],
        entity,
        actor: None,
    }
}

fn name() -> CustomName {
    CustomName::parse(NAME).expect("it is a name")
}
