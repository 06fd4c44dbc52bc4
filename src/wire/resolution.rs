//! A writer's record resolved onto ours: which of its fields is which of ours, and how the values of each are read. This is done once for
//! each schema. A record that can't be resolved has no resolution, so that reading a body meets nothing but bytes that don't match.

use super::body::{Body, Malformed};
use super::shape::{RecordShape, Shape};
use crate::domain::attribute::{Attribute, RawValues};
use crate::domain::command::{RawCommand, RawReference};
use crate::domain::use_case::UseCase;
use std::sync::Arc;

/// The name of our record for references. Avro resolves a record only onto a record of the same name, whatever the namespace.
const REFERENCE_RECORD: &str = "EntityRef";

/// The ways in which a value may be written: the branches of a union, or the only way if there is no union.
#[derive(Debug)]
pub(super) enum Choice<T> {
    Only(T),
    Of(Vec<T>),
}

impl<T> Choice<T> {
    /// Resolves each branch of a shape.
    pub(super) fn of<E>(shape: &Shape, resolve: impl Fn(&Shape) -> Result<T, E>) -> Result<Self, E> {
        match shape {
            Shape::Union(branches) => branches.iter().map(|branch| resolve(branch)).collect::<Result<_, _>>().map(Self::Of),
            shape => resolve(shape).map(Self::Only),
        }
    }

    /// Returns all branches.
    pub(super) fn all(&self) -> &[T] {
        match self {
            Self::Only(only) => std::slice::from_ref(only),
            Self::Of(branches) => branches,
        }
    }

    /// Reads the number of the branch, if there is a union, and returns the branch.
    ///
    /// # Errors
    /// The union has no such branch.
    pub(super) fn taken(&self, body: &mut Body<'_>) -> Result<&T, Malformed> {
        match self {
            Self::Only(only) => Ok(only),
            Self::Of(branches) => body.branch(branches),
        }
    }
}

/// A writer's record that is one of our commands.
#[derive(Debug)]
pub(super) struct CommandRecord {
    use_case: UseCase,
    fields: Vec<Field>,
}

/// A field of a command.
#[derive(Debug)]
enum Field {
    RequestId(Choice<Text>),
    Reference(Choice<ReferenceBranch>),
    Value(Attribute, Choice<Text>),
    ExpectedVersion(Choice<Number>),
    /// A field that we don't know is skipped.
    Unknown(Arc<Shape>),
}

/// A field of a reference.
#[derive(Debug)]
enum ReferenceField {
    ExternalId(Choice<Text>),
    RefId(Choice<Text>),
    Unknown(Arc<Shape>),
}

#[derive(Debug)]
enum Text {
    Null,
    /// A string, or bytes, which look the same.
    Text,
}

#[derive(Debug)]
enum Number {
    Null,
    Int,
    Long,
}

#[derive(Debug)]
enum ReferenceBranch {
    Null,
    Record(Vec<ReferenceField>),
}

impl CommandRecord {
    /// Resolves a record onto the command of a use case.
    ///
    /// # Errors
    /// Returns the reason why some value that the record allows can't be read as ours, in words.
    pub(super) fn resolve(use_case: UseCase, record: &RecordShape) -> Result<Self, String> {
        let fields = record.fields.iter().map(|field| Field::resolve(use_case, &field.name, &field.shape));
        Ok(Self { use_case, fields: fields.collect::<Result<_, _>>()? })
    }

    #[cfg(test)]
    pub(super) fn use_case(&self) -> UseCase {
        self.use_case
    }

    /// Reads the values of the record.
    ///
    /// # Errors
    /// The bytes do not match the schema.
    pub(super) fn read(&self, body: &mut Body<'_>) -> Result<RawCommand, Malformed> {
        let mut command = RawCommand {
            use_case: self.use_case,
            request_id: None,
            reference: None,
            values: RawValues::default(),
            expected_version: None,
        };
        for field in &self.fields {
            match field {
                Field::RequestId(text) => command.request_id = text.read(body)?,
                Field::Reference(reference) => command.reference = reference.read(body)?,
                Field::Value(attribute, text) => command.values.set(*attribute, text.read(body)?),
                Field::ExpectedVersion(number) => command.expected_version = number.read(body)?,
                Field::Unknown(shape) => body.skip(shape)?,
            }
        }
        Ok(command)
    }
}

impl Field {
    fn resolve(use_case: UseCase, name: &str, shape: &Arc<Shape>) -> Result<Self, String> {
        match name {
            "requestId" => Choice::of_text(name, shape).map(Self::RequestId),
            "expectedVersion" if !use_case.is_creation() => Choice::of_number(name, shape).map(Self::ExpectedVersion),
            name if use_case.reference_type().is_some_and(|of| of.name() == name) => {
                // An error about a branch itself is reported before an error about a field within a branch.
                Choice::of(shape, |branch| ReferenceBranch::record(name, branch).map(drop))?;
                Choice::of(shape, |branch| ReferenceBranch::resolve(name, branch)).map(Self::Reference)
            }
            name => match use_case.attributes().iter().find(|attribute| attribute.name() == name) {
                Some(attribute) => Choice::of_text(name, shape).map(|text| Self::Value(*attribute, text)),
                None => Ok(Self::Unknown(shape.clone())),
            },
        }
    }
}

impl ReferenceBranch {
    /// Returns the record of a branch, or `None` for null.
    fn record<'s>(field: &str, branch: &'s Shape) -> Result<Option<&'s RecordShape>, String> {
        match branch {
            Shape::Null => Ok(None),
            Shape::Record(record) if record.name() == REFERENCE_RECORD => Ok(Some(record)),
            other => Err(unreadable(field, other, REFERENCE_RECORD)),
        }
    }

    fn resolve(field: &str, branch: &Shape) -> Result<Self, String> {
        let Some(record) = Self::record(field, branch)? else { return Ok(Self::Null) };
        let fields = record.fields.iter().map(|inner| {
            let name = || format!("{field}.{}", inner.name);
            match &*inner.name {
                "externalId" => Choice::of_text(&name(), &inner.shape).map(ReferenceField::ExternalId),
                "refId" => Choice::of_text(&name(), &inner.shape).map(ReferenceField::RefId),
                _ => Ok(ReferenceField::Unknown(inner.shape.clone())),
            }
        });
        fields.collect::<Result<_, _>>().map(Self::Record)
    }
}

impl Choice<Text> {
    fn of_text(field: &str, shape: &Shape) -> Result<Self, String> {
        Self::of(shape, |branch| match branch {
            Shape::Null => Ok(Text::Null),
            Shape::String | Shape::Bytes => Ok(Text::Text),
            other => Err(unreadable(field, other, "string")),
        })
    }

    fn read(&self, body: &mut Body<'_>) -> Result<Option<String>, Malformed> {
        match self.taken(body)? {
            Text::Null => Ok(None),
            Text::Text => body.text().map(|text| Some(text.into())),
        }
    }
}

impl Choice<Number> {
    fn of_number(field: &str, shape: &Shape) -> Result<Self, String> {
        Self::of(shape, |branch| match branch {
            Shape::Null => Ok(Number::Null),
            Shape::Int => Ok(Number::Int),
            Shape::Long => Ok(Number::Long),
            other => Err(unreadable(field, other, "long")),
        })
    }

    fn read(&self, body: &mut Body<'_>) -> Result<Option<i64>, Malformed> {
        match self.taken(body)? {
            Number::Null => Ok(None),
            Number::Int => body.int().map(|int| Some(int.into())),
            Number::Long => body.long().map(Some),
        }
    }
}

impl Choice<ReferenceBranch> {
    fn read(&self, body: &mut Body<'_>) -> Result<Option<RawReference>, Malformed> {
        let ReferenceBranch::Record(fields) = self.taken(body)? else { return Ok(None) };
        let mut reference = RawReference::default();
        for field in fields {
            match field {
                ReferenceField::ExternalId(text) => reference.external_id = text.read(body)?,
                ReferenceField::RefId(text) => reference.ref_id = text.read(body)?,
                ReferenceField::Unknown(shape) => body.skip(shape)?,
            }
        }
        Ok(Some(reference))
    }
}

/// Returns why a branch of a field can't be resolved.
fn unreadable(field: &str, branch: &Shape, ours: &str) -> String {
    format!("{field} is {}, which can't be read as a nullable {ours}", branch.describe())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_of_our_schemas_is_known() {
        for use_case in UseCase::ALL {
            let shape = Shape::parse(use_case.schema(), &[]).unwrap();
            let Shape::Record(record) = &*shape else { panic!("{use_case:?} is {}", shape.describe()) };
            let resolved = CommandRecord::resolve(*use_case, record).unwrap();
            assert_eq!(resolved.fields.len(), use_case.fields().len());
            for (field, name) in resolved.fields.iter().zip(use_case.fields()) {
                assert!(!matches!(field, Field::Unknown(_)), "{use_case:?} has a field {name} that nobody reads");
                if let Field::Reference(reference) = field {
                    let fields = reference
                        .all()
                        .iter()
                        .filter_map(|r| if let ReferenceBranch::Record(fields) = r { Some(fields) } else { None });
                    assert!(!fields.flatten().any(|f| matches!(f, ReferenceField::Unknown(_))), "{use_case:?}.{name}");
                }
            }
        }
    }
}
