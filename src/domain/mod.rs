//! The business rules, pure: values, checks and decisions. No I/O, no clock, no async; the present time comes in as an argument. A value
//! that was parsed into a type of this module obeys its rules and is not checked again.
//!
//! From a command as it came to what becomes of an entity:
//!
//! - [`use_case`]: the table of the use cases, each a kind of change of a type of entity
//! - [`command`]: request validation, from a raw command to a checked one; [`contents`]: what a checked command asks for
//! - [`request`]: a checked command with the record that it came in
//! - [`decision`]: business validation, and what becomes of the entity; [`change`]: the rules of each kind of change; [`answer`]: the
//!   answer to the request
//! - [`rejection`]: why a command is refused, and what the CRM is told
//! - [`entity`], [`mod@reference`], [`attribute`], [`values`]: what there is; [`transaction`]: what the data warehouse learns of a change

pub mod answer;
pub mod attribute;
pub mod change;
pub mod command;
pub mod contents;
pub mod decision;
pub mod entity;
pub mod reference;
pub mod rejection;
pub mod request;
#[cfg(test)]
mod tests;
mod text;
pub mod transaction;
pub mod use_case;
pub mod values;

/// Milliseconds since 1970-01-01T00:00:00Z, as Avro's `timestamp-millis` and CQL's `timestamp`.
pub type Timestamp = i64;
