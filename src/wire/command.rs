//! Reads the body of a record as a [`RawCommand`], or says why it can't be read.
//!
//! The full name of the writer's schema says which command the record is. If the schema is a union, or refers to one, the full name of the
//! branch says so. The writer's record is resolved onto ours by Avro's rules: fields are matched by name in any order, unknown fields are
//! skipped, and missing fields are null. An int is read as a long, bytes as a string, and any value where ours is nullable; a logical type
//! counts as the type below it. A writer's schema is usable only if *each* value that it allows can be resolved. So a body is refused
//! because of its bytes, and never because of its schema.

use super::NAMESPACE;
use super::body::Body;
use super::resolution::{Choice, CommandRecord};
use super::shape::{Shape, quote};
pub use super::unreadable::{Malformed, Unreadable};
use crate::domain::command::RawCommand;
use crate::domain::use_case::UseCase;
use std::convert::Infallible;
use std::sync::Arc;

/// A schema that commands were written with and that can be read.
#[derive(Debug)]
pub struct WriterSchema {
    shape: Arc<Shape>,
    /// The result for each branch of the union, or for the only record.
    commands: Choice<Branch>,
}

/// The command that a record is, or the reason why the record is no command.
type Branch = Result<CommandRecord, Unreadable>;

impl WriterSchema {
    /// Checks a schema that refers to no others.
    ///
    /// # Errors
    /// The schema is none of our commands, or can't be resolved onto ours.
    pub fn parse(json: &str) -> Result<Self, Unreadable> {
        Self::parse_with_references(json, &[])
    }

    /// Checks a schema. `references` are the schemas to which it refers according to the registry, in any order.
    ///
    /// # Errors
    /// The schema is none of our commands, or can't be resolved onto ours.
    pub fn parse_with_references(json: &str, references: &[String]) -> Result<Self, Unreadable> {
        let shape = Shape::parse(json, references).map_err(Unreadable::unusable)?;
        let Ok(commands) = Choice::of(&shape, |branch| Ok::<Branch, Infallible>(command_of(branch)));
        match commands.all() {
            [Err(reason)] => return Err(reason.clone()),
            branches if branches.iter().any(Result::is_ok) => {}
            // If a branch is a command that can't be used, the error says why: that helps more than to name the branches that are no
            // commands.
            branches => {
                let unusable =
                    branches.iter().find_map(|c| c.as_ref().err().filter(|e| matches!(e, Unreadable::SchemaUnusable { .. })));
                let none = || Unreadable::UnknownRecordName { name: shape.describe().into() };
                return Err(unusable.cloned().unwrap_or_else(none));
            }
        }
        Ok(Self { shape, commands })
    }

    /// Returns whether the same bytes are read as the same command with both schemas.
    pub fn reads_as(&self, other: &Self) -> bool {
        self.shape == other.shape
    }

    /// Returns the use cases whose commands can be written with this schema.
    #[cfg(test)]
    pub fn use_cases(&self) -> impl Iterator<Item = UseCase> {
        self.commands.all().iter().filter_map(|command| command.as_ref().ok().map(CommandRecord::use_case))
    }

    /// Decodes a body. If the schema is a union, the body begins with the number of a branch, and that branch's record is the command.
    ///
    /// # Errors
    /// The bytes do not match the schema, or the union's branch is no command.
    pub fn decode(&self, body: &[u8]) -> Result<RawCommand, Unreadable> {
        let mut body = Body::new(body);
        let command = self.commands.taken(&mut body)?.as_ref().map_err(Clone::clone)?;
        let command = command.read(&mut body)?;
        body.finish()?;
        Ok(command)
    }
}

fn command_of(shape: &Shape) -> Branch {
    let unknown = |name: String| Unreadable::UnknownRecordName { name: name.into() };
    let Shape::Record(record) = shape else { return Err(unknown(shape.describe())) };
    let use_case = recognise(&record.full_name).ok_or_else(|| unknown(quote(&record.full_name)))?;
    CommandRecord::resolve(use_case, record).map_err(Unreadable::unusable)
}

fn recognise(full_name: &str) -> Option<UseCase> {
    let record = full_name.strip_prefix(NAMESPACE)?.strip_prefix('.')?;
    UseCase::ALL.iter().copied().find(|u| u.record() == record)
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "command_random_tests.rs"]
mod random_tests;

#[cfg(test)]
#[path = "command_malformed_tests.rs"]
mod malformed_tests;
