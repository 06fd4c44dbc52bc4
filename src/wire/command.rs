//! From a record's value to a [`RawCommand`], or to the reason why it can't be read.
//!
//! A command is known by the full name of its writer's schema; where that is a union, whole or by references, by the branch's. What the writer wrote is resolved onto our record by Avro's
//! rules: fields by name, in any order, unknown ones skipped, missing ones null; int is good for long, bytes for string, a
//! value for a nullable one; logical types count as what is below them. A writer's schema is usable only if *each* value that
//! it allows can be resolved; so a body fails for what its bytes are, never for what its schema is.

use super::NAMESPACE;
use super::body::Body;
use super::shape::{Record, Shape, quote};
pub use super::unreadable::{Malformed, Unreadable};
use crate::domain::command::{RawCommand, RawReference};
use crate::domain::use_case::UseCase;
use std::sync::Arc;

/// The schema that commands were written with, found to be readable.
#[derive(Debug)]
pub struct WriterSchema {
    shape: Arc<Shape>,
    /// One for a record, one for each branch of a union.
    commands: Vec<Branch>,
}

/// Which command a record is, or why it is none.
type Branch = Result<UseCase, Unreadable>;

impl WriterSchema {
    /// Checks a schema that refers to no others.
    ///
    /// # Errors
    /// It is none of our commands, or can't be resolved onto ours.
    pub fn parse(json: &str) -> Result<Self, Unreadable> {
        Self::parse_with_references(json, &[])
    }

    /// Checks a schema. `references` are the schemas that the registry says it refers to, in any order.
    ///
    /// # Errors
    /// It is none of our commands, or can't be resolved onto ours.
    pub fn parse_with_references(json: &str, references: &[String]) -> Result<Self, Unreadable> {
        let shape = Shape::parse(json, references).map_err(Unreadable::unusable)?;
        let commands: Vec<Branch> = branches(&shape).map(command_of).collect();
        match commands.as_slice() {
            [Err(reason)] => return Err(reason.clone()),
            commands if commands.iter().any(Result::is_ok) => {}
            // If one of them is a command, its reason says more than that the others are none.
            commands => {
                let unusable = commands.iter().find(|c| matches!(c, Err(Unreadable::SchemaUnusable { .. })));
                let none = || Unreadable::UnknownRecordName { name: shape.describe().into() };
                return Err(unusable.and_then(|c| c.clone().err()).unwrap_or_else(none));
            }
        }
        Ok(Self { shape, commands })
    }

    /// Returns whether the same bytes are read as the same with both.
    pub fn reads_as(&self, other: &Self) -> bool {
        self.shape == other.shape
    }

    /// Returns which commands can be written with it.
    pub fn use_cases(&self) -> impl Iterator<Item = UseCase> {
        self.commands.iter().filter_map(|command| command.as_ref().ok().copied())
    }

    /// Decodes a body. Where the schema is a union, the body begins with the branch, and that branch's record is the command.
    ///
    /// # Errors
    /// The bytes are not what the schema says, or the union's branch is no command.
    pub fn decode(&self, body: &[u8]) -> Result<RawCommand, Unreadable> {
        let mut body = Body::new(body);
        let (index, shape) = match &*self.shape {
            Shape::Union(branches) => body.indexed_branch(branches)?,
            shape => (0, shape),
        };
        let use_case = self.commands.get(index).cloned().unwrap_or(Err(Malformed::Branch.into()))?;
        let mut command = RawCommand { use_case, request_id: None, reference: None, value: None, expected_version: None };
        let Shape::Record(record) = shape else { unreachable!("only records are commands") };
        for field in &record.fields {
            match Slot::of(use_case, &field.name) {
                Some(Slot::RequestId) => command.request_id = text(&mut body, &field.shape)?,
                Some(Slot::Reference) => command.reference = reference(&mut body, &field.shape)?,
                Some(Slot::Value) => command.value = text(&mut body, &field.shape)?,
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

/// The fields of our records.
enum Slot {
    RequestId,
    Reference,
    Value,
    ExpectedVersion,
}

impl Slot {
    fn of(use_case: UseCase, field: &str) -> Option<Self> {
        match field {
            "requestId" => Some(Self::RequestId),
            "expectedVersion" => Some(Self::ExpectedVersion),
            f if f == use_case.entity_type().name() => Some(Self::Reference),
            f if f == use_case.value_field() => Some(Self::Value),
            _ => None,
        }
    }
}

/// The name of our record for references. Avro resolves a record only onto one of the same name, namespace aside.
const REFERENCE_RECORD: &str = "EntityRef";

/// The fields of a reference.
const EXTERNAL_ID: &str = "externalId";
const REF_ID: &str = "refId";

/// That each value of a writer's record can be resolved onto ours. [`WriterSchema::decode`] rests on it.
fn check_command(use_case: UseCase, record: &Record) -> Result<(), String> {
    record.fields.iter().try_for_each(|field| match Slot::of(use_case, &field.name) {
        Some(Slot::RequestId | Slot::Value) => check_text(&field.name, &field.shape),
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

/// Steps into the branch of a union, if it is one.
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
