//! Reads the body of a record as a [`RawCommand`], or says why it can't be read.
//!
//! The full name of the writer's schema says which command it is. If the schema is a union, whole or by references, the name of the
//! branch does. The writer's record is resolved onto ours by Avro's rules: fields are matched by name, in any order, unknown fields are
//! skipped, missing ones are null; an int is good for a long, bytes for a string, a value for a nullable one; a logical type counts as the
//! type below it. A writer's schema is usable only if *each* value that it allows can be resolved. So a body is refused for its bytes, and
//! never for its schema.

use super::NAMESPACE;
use super::body::Body;
use super::shape::{Record, Shape, quote};
pub use super::unreadable::{Malformed, Unreadable};
use crate::domain::attribute::{Attribute, RawValues};
use crate::domain::command::{RawCommand, RawReference};
use crate::domain::use_case::UseCase;
use std::sync::Arc;

/// A schema that commands were written with and that can be read.
#[derive(Debug)]
pub struct WriterSchema {
    shape: Arc<Shape>,
    /// What each branch of the union is; one entry if the schema is a record.
    commands: Vec<Branch>,
}

/// The use case whose command a record is, or the reason why the record is no command.
type Branch = Result<UseCase, Unreadable>;

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
        let commands: Vec<Branch> = branches(&shape).map(command_of).collect();
        match commands.as_slice() {
            [Err(reason)] => return Err(reason.clone()),
            commands if commands.iter().any(Result::is_ok) => {}
            // If a branch is a command that can't be used, that says more than that the others are no commands.
            commands => {
                let unusable = commands.iter().find(|c| matches!(c, Err(Unreadable::SchemaUnusable { .. })));
                let none = || Unreadable::UnknownRecordName { name: shape.describe().into() };
                return Err(unusable.and_then(|c| c.clone().err()).unwrap_or_else(none));
            }
        }
        Ok(Self { shape, commands })
    }

    /// Returns whether the same bytes are read as the same command with both schemas.
    pub fn reads_as(&self, other: &Self) -> bool {
        self.shape == other.shape
    }

    /// Returns the use cases whose commands can be written with this schema.
    pub fn use_cases(&self) -> impl Iterator<Item = UseCase> {
        self.commands.iter().filter_map(|command| command.as_ref().ok().copied())
    }

    /// Decodes a body. If the schema is a union, the body begins with the number of a branch, and that branch's record is the command.
    ///
    /// # Errors
    /// The bytes do not match the schema, or the union's branch is no command.
    pub fn decode(&self, body: &[u8]) -> Result<RawCommand, Unreadable> {
        let mut body = Body::new(body);
        let (index, shape) = match &*self.shape {
            Shape::Union(branches) => body.indexed_branch(branches)?,
            shape => (0, shape),
        };
        let use_case = self.commands.get(index).cloned().unwrap_or(Err(Malformed::Branch.into()))?;
        let mut command =
            RawCommand { use_case, request_id: None, reference: None, values: RawValues::default(), expected_version: None };
        let Shape::Record(record) = shape else { unreachable!("only records are commands") };
        for field in &record.fields {
            match Slot::of(use_case, &field.name) {
                Some(Slot::RequestId) => command.request_id = text(&mut body, &field.shape)?,
                Some(Slot::Reference) => command.reference = reference(&mut body, &field.shape)?,
                Some(Slot::Value(attribute)) => command.values.set(attribute, text(&mut body, &field.shape)?),
                Some(Slot::ExpectedVersion) => command.expected_version = long(&mut body, &field.shape)?,
                None => body.skip(&field.shape)?,
            }
        }
        body.finish()?;
        Ok(command)
    }
}

fn command_of(shape: &Shape) -> Branch {
    let unknown = |name: String| Unreadable::UnknownRecordName { name: name.into() };
    let Shape::Record(record) = shape else { return Err(unknown(shape.describe())) };
    let use_case = recognise(&record.full_name).ok_or_else(|| unknown(quote(&record.full_name)))?;
    check_command(use_case, record).map_err(Unreadable::unusable)?;
    Ok(use_case)
}

fn recognise(full_name: &str) -> Option<UseCase> {
    let record = full_name.strip_prefix(NAMESPACE)?.strip_prefix('.')?;
    UseCase::ALL.iter().copied().find(|u| u.record() == record)
}

/// A field of our command records.
enum Slot {
    RequestId,
    Reference,
    Value(Attribute),
    ExpectedVersion,
}

impl Slot {
    fn of(use_case: UseCase, field: &str) -> Option<Self> {
        match field {
            "requestId" => Some(Self::RequestId),
            "expectedVersion" if !use_case.is_creation() => Some(Self::ExpectedVersion),
            f if use_case.reference_type().is_some_and(|of| of.name() == f) => Some(Self::Reference),
            f => use_case.attributes().iter().find(|attribute| attribute.name() == f).map(|attribute| Self::Value(*attribute)),
        }
    }
}

/// The name of our record for references. Avro resolves a record only onto a record of the same name, whatever the namespace.
const REFERENCE_RECORD: &str = "EntityRef";

/// The names of a reference's fields.
const EXTERNAL_ID: &str = "externalId";
const REF_ID: &str = "refId";

/// Checks that each value of a writer's record can be resolved onto ours. [`WriterSchema::decode`] relies on that.
fn check_command(use_case: UseCase, record: &Record) -> Result<(), String> {
    record.fields.iter().try_for_each(|field| match Slot::of(use_case, &field.name) {
        Some(Slot::RequestId | Slot::Value(_)) => check_text(&field.name, &field.shape),
        Some(Slot::ExpectedVersion) => check_long(&field.name, &field.shape),
        Some(Slot::Reference) => check_reference(&field.name, &field.shape),
        None => Ok(()),
    })
}

fn check_text(field: &str, shape: &Shape) -> Result<(), String> {
    each_branch(field, shape, "string", |s| matches!(s, Shape::Null | Shape::String | Shape::Bytes))
}

fn check_long(field: &str, shape: &Shape) -> Result<(), String> {
    each_branch(field, shape, "long", |s| matches!(s, Shape::Null | Shape::Int | Shape::Long))
}

fn check_reference(field: &str, shape: &Shape) -> Result<(), String> {
    let is_reference = |s: &Shape| match s {
        Shape::Null => true,
        Shape::Record(record) => record.name() == REFERENCE_RECORD,
        _ => false,
    };
    each_branch(field, shape, REFERENCE_RECORD, is_reference)?;
    branches(shape).try_for_each(|branch| match branch {
        Shape::Record(record) => record
            .fields
            .iter()
            .filter(|f| matches!(&*f.name, EXTERNAL_ID | REF_ID))
            .try_for_each(|f| check_text(&format!("{field}.{}", f.name), &f.shape)),
        _ => Ok(()),
    })
}

fn each_branch(field: &str, shape: &Shape, ours: &str, is_readable: impl Fn(&Shape) -> bool) -> Result<(), String> {
    match branches(shape).find(|branch| !is_readable(branch)) {
        Some(branch) => Err(format!("{field} is {}, which can't be read as a nullable {ours}", branch.describe())),
        None => Ok(()),
    }
}

fn branches(shape: &Shape) -> impl Iterator<Item = &Shape> {
    match shape {
        Shape::Union(branches) => branches.as_slice().iter().map(AsRef::as_ref).collect::<Vec<_>>(),
        other => vec![other],
    }
    .into_iter()
}

/// Steps into the branch of a union. Returns any other shape as it is.
fn resolve<'s>(body: &mut Body<'_>, shape: &'s Shape) -> Result<&'s Shape, Malformed> {
    match shape {
        Shape::Union(branches) => body.branch(branches),
        other => Ok(other),
    }
}

fn text(body: &mut Body<'_>, shape: &Shape) -> Result<Option<String>, Malformed> {
    match resolve(body, shape)? {
        Shape::Null => Ok(None),
        Shape::String | Shape::Bytes => body.text().map(|t| Some(t.into())),
        other => unreachable!("check_text lets no {} pass", other.describe()),
    }
}

fn long(body: &mut Body<'_>, shape: &Shape) -> Result<Option<i64>, Malformed> {
    match resolve(body, shape)? {
        Shape::Null => Ok(None),
        Shape::Int => body.int().map(|i| Some(i.into())),
        Shape::Long => body.long().map(Some),
        other => unreachable!("check_long lets no {} pass", other.describe()),
    }
}

fn reference(body: &mut Body<'_>, shape: &Shape) -> Result<Option<RawReference>, Malformed> {
    let record = match resolve(body, shape)? {
        Shape::Null => return Ok(None),
        Shape::Record(record) => record,
        other => unreachable!("check_reference lets no {} pass", other.describe()),
    };
    let mut reference = RawReference::default();
    for field in &record.fields {
        match &*field.name {
            EXTERNAL_ID => reference.external_id = text(body, &field.shape)?,
            REF_ID => reference.ref_id = text(body, &field.shape)?,
            _ => body.skip(&field.shape)?,
        }
    }
    Ok(Some(reference))
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
