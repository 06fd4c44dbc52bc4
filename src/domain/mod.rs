//! The business rules, pure: values, checks and decisions. No I/O, no clock, no async; what time it is comes in as an
//! argument. What was parsed into a type of this module obeys its rules and is not checked again.
//!
//! A use case is one file here (its request validation and its decision), one `.avsc` in `schemas/`, and one line in
//! [`command`].

pub mod command;
pub mod entity;
pub mod rejection;
#[cfg(test)]
mod tests;
mod text;
pub mod transaction;
pub mod update_account_external_id;
pub mod update_customer_custom_name;
pub mod update_customer_segment;
pub mod update_subscriber_external_id;
pub mod values;

/// Milliseconds since 1970-01-01T00:00:00Z, as Avro's `timestamp-millis` and CQL's `timestamp`.
pub type Timestamp = i64;
