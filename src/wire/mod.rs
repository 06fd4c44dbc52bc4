//! Bytes into commands, and answers into bytes: Avro, headers, and the schema registry.
//!
//! - [`command`]: reads the body of a record as a [`RawCommand`](crate::domain::command::RawCommand); [`unreadable`]: why a record can't
//!   be read
//! - [`frame`]: takes a record's value apart into schema id and body; [`schema_id`]: the id of a schema
//! - [`answer`]: replies and business transactions as Avro; [`row`]: changes as flat rows
//! - [`headers`]: what a command's headers ask for, and what its answers carry
//! - [`stub`]: what stands for a record that can't be a dead letter as it came
//! - [`registry`]: the client of the schema registry; [`registry_watch`]: tells operators whether the registry is there;
//!   [`embedded_registry`]: a small registry in this process
//! - [`bounded_body`]: the body of an HTTP answer, within a bound
//! - [`json`]: any record as JSON, and commands from their fields, for the command line
//!
//! Values are in the Confluent wire format: byte 0, the schema id as 4 bytes big-endian, Avro binary.
//!
//! **We read ourselves, and apache-avro writes.** The bytes of a command come from outside, and apache-avro 0.22 takes the end
//! of its input for null, allocates for values that take no bytes (an array of a billion nulls), checks a schema's defaults in
//! time exponential to its size, and can't resolve a string with logical type uuid, or a record that is named a second time,
//! onto ours. So `shape` checks the writer's schema once, and `body` walks the bytes once, in time linear to their number, and
//! picks out the values that a command has. The tests compare this reader with apache-avro.

pub mod answer;
mod avro;
mod body;
pub mod bounded_body;
pub mod command;
pub mod embedded_registry;
pub mod frame;
pub mod headers;
pub mod json;
pub mod registry;
pub mod registry_watch;
mod resolution;
pub mod row;
pub mod schema_id;
mod shape;
pub mod stub;
pub mod unreadable;

use crate::domain::use_case::UseCase;

/// The Avro schema of `crm.v1.Reply`.
pub const REPLY_SCHEMA: &str = include_str!("../../schemas/Reply.avsc");

/// The Avro schema of `crm.v1.BusinessTransaction`. [`REPLY_SCHEMA`] repeats it.
pub const TRANSACTION_SCHEMA: &str = include_str!("../../schemas/BusinessTransaction.avsc");

/// The Avro schema of `crm.v1.ChangeRow`.
pub const CHANGE_SCHEMA: &str = include_str!("../../schemas/ChangeRow.avsc");

/// The namespace of all our records.
pub const NAMESPACE: &str = "crm.v1";

/// Returns the subject of the replies' schema: `<topic>-value`.
pub fn reply_subject(replies_topic: &str) -> String {
    format!("{replies_topic}-value")
}

/// Returns the subject of the business transactions' schema: `<topic>-value`.
pub fn transaction_subject(transactions_topic: &str) -> String {
    format!("{transactions_topic}-value")
}

/// Returns the subject of the change rows' schema: `<topic>-value`.
pub fn change_subject(changes_topic: &str) -> String {
    format!("{changes_topic}-value")
}

/// Returns the subject of a command's schema: `<topic>-crm.v1.<Record>`, as `TopicRecordNameStrategy` has it.
pub fn command_subject(commands_topic: &str, use_case: UseCase) -> String {
    format!("{commands_topic}-{NAMESPACE}.{}", use_case.record())
}

/// The compatibility level that `setup` gives our subjects: a reader with any version of a schema can read what was written with any other.
/// All that is ever done to our schemas keeps to that: see `tests/it/evolution.rs`.
pub const COMPATIBILITY: &str = "FULL_TRANSITIVE";

/// Returns all subjects that `setup` registers, each with its schema. Without a topic of change rows, theirs is left out.
pub fn subjects(
    commands_topic: &str,
    replies_topic: &str,
    transactions_topic: &str,
    changes_topic: Option<&str>,
) -> Vec<(String, &'static str)> {
    let commands = UseCase::ALL.iter().map(|u| (command_subject(commands_topic, *u), u.schema()));
    let answers = [(reply_subject(replies_topic), REPLY_SCHEMA), (transaction_subject(transactions_topic), TRANSACTION_SCHEMA)];
    let changes = changes_topic.map(|topic| (change_subject(topic), CHANGE_SCHEMA));
    commands.chain(answers).chain(changes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn the_reply_repeats_the_schema_of_the_business_transaction() {
        let reply: Value = serde_json::from_str(REPLY_SCHEMA).unwrap();
        let transaction: Value = serde_json::from_str(TRANSACTION_SCHEMA).unwrap();
        let field = reply["fields"].as_array().unwrap().iter().find(|f| f["name"] == "businessTransaction").unwrap();
        assert_eq!(field["type"][1], transaction);
    }

    #[test]
    fn subjects_are_named_by_topic_and_commands_by_record_too() {
        assert_eq!(subjects("crm.commands", "crm.replies", "crm.transactions", None).len(), UseCase::ALL.len() + 2);
        let subjects = subjects("crm.commands", "crm.replies", "crm.transactions", Some("crm.changes"));
        let names: Vec<&str> = subjects.iter().map(|(subject, _)| subject.as_str()).collect();
        assert_eq!(
            names,
            [
                "crm.commands-crm.v1.CreateCustomer",
                "crm.commands-crm.v1.CreateAccount",
                "crm.commands-crm.v1.CreateSubscriber",
                "crm.commands-crm.v1.UpdateCustomerCustomName",
                "crm.commands-crm.v1.UpdateCustomerSegment",
                "crm.commands-crm.v1.UpdateCustomerExternalId",
                "crm.commands-crm.v1.UpdateCustomerState",
                "crm.commands-crm.v1.UpdateAccountExternalId",
                "crm.commands-crm.v1.UpdateAccountCustomName",
                "crm.commands-crm.v1.UpdateAccountState",
                "crm.commands-crm.v1.UpdateSubscriberExternalId",
                "crm.commands-crm.v1.UpdateSubscriberCustomName",
                "crm.commands-crm.v1.UpdateSubscriberState",
                "crm.replies-value",
                "crm.transactions-value",
                "crm.changes-value",
            ]
        );
        for (subject, schema) in &subjects {
            assert!(apache_avro::Schema::parse_str(schema).is_ok(), "{subject}");
        }
    }
}
