//! Commands, from their fields as they came to a checked [`Command`]: request validation.

use super::attribute::RawValues;
use super::contents::Contents;
use super::entity::EntityType;
use super::reference::{Reference, external_id_field, ref_id_field};
use super::rejection::{Rejection, keep};
use super::use_case::UseCase;
use super::values::{ExternalId, RequestId, Rules, parse_ref_id};

/// A command as it came: decoded, nothing checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawCommand {
    /// The use case, told by the record's name.
    pub use_case: UseCase,
    /// `requestId`, `None` for null.
    pub request_id: Option<String>,
    /// The field `customer`, `account` or `subscriber`, which refers to the entity that is to change or, in a creation, to the superior of
    /// the new entity. `None` for null, and in the creation of a customer, which has no superior.
    pub reference: Option<RawReference>,
    /// The new values of the use case's [`attributes`](UseCase::attributes).
    pub values: RawValues,
    /// `expectedVersion`, `None` for null. A creation has none.
    pub expected_version: Option<i64>,
}

/// The reference of a command as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawReference {
    /// `externalId`, `None` for null.
    pub external_id: Option<String>,
    /// `refId`, `None` for null.
    pub ref_id: Option<String>,
}

/// A command that passed request validation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The id that makes the request recognisable when it comes again; scoped to the entity.
    pub request_id: RequestId,
    /// The entity that the command is about. In a creation this is the refId that the new entity will have.
    pub target: Reference,
    /// The use case, the new values and the version that the command expects.
    pub contents: Contents,
}

impl RawCommand {
    /// Checks all fields, and returns the command that they make.
    ///
    /// # Errors
    /// Returns all findings in the order of the fields, at most one for each field.
    pub fn validate(&self, rules: &Rules) -> Result<Command, Vec<Rejection>> {
        let mut findings = Vec::new();
        let request_id = keep(&mut findings, check_request_id(self.request_id.as_deref()));
        let (mut of_reference, entity_type) = (Vec::new(), self.use_case.entity_type());
        let refers_to = self.use_case.reference_type();
        let reference = refers_to.and_then(|of| check_reference(self.reference.as_ref(), of, &mut of_reference));
        // The reference of a creation is one of its values, and names the superior.
        let (named, superior) = if self.use_case.is_creation() {
            (None, if of_reference.is_empty() { Ok(reference) } else { Err(of_reference) })
        } else {
            findings.append(&mut of_reference);
            (reference, Ok(None))
        };
        let change = self.use_case.kind().check(&self.values, superior, rules).map_err(|found| findings.extend(found)).ok();
        if self.expected_version.is_some_and(|version| version < 0) {
            findings.push(Rejection::InvalidAttribute { field: "expectedVersion".into(), reason: "must not be negative".into() });
        }
        let (Some(request_id), Some(change), []) = (request_id, change, &findings[..]) else { return Err(findings) };
        let contents = Contents::new(self.use_case, change, self.expected_version);
        let created = || Some(Reference::RefId(contents.creation()?.ref_id(entity_type, &request_id)));
        match named.or_else(created) {
            Some(target) => Ok(Command { request_id, target, contents }),
            None => Err(findings),
        }
    }
}

impl Command {
    /// Returns the type of the entity that the command is about.
    pub fn entity_type(&self) -> EntityType {
        self.contents.use_case().entity_type()
    }
}

fn check_request_id(text: Option<&str>) -> Result<RequestId, Rejection> {
    RequestId::parse(text.unwrap_or_default()).map_err(|error| Rejection::of_text("requestId", error))
}

/// Checks the reference. Its findings come in the order of its fields: the whole, then `externalId`, then `refId`.
fn check_reference(raw: Option<&RawReference>, entity_type: EntityType, findings: &mut Vec<Rejection>) -> Option<Reference> {
    let field = entity_type.name();
    let Some(raw) = raw else {
        findings.push(Rejection::MandatoryAttribute { field: field.into() });
        return None;
    };
    if raw.external_id.is_some() == raw.ref_id.is_some() {
        findings.push(Rejection::InvalidAttribute {
            field: field.into(),
            reason: "must have exactly one of externalId and refId".into(),
        });
    }
    let external_id = raw
        .external_id
        .as_deref()
        .map(|text| ExternalId::parse(text).map_err(|error| Rejection::of_text(external_id_field(entity_type), error)));
    let external_id = external_id.and_then(|checked| keep(findings, checked));
    let ref_id = raw.ref_id.as_deref().map(|text| {
        parse_ref_id(text).ok_or_else(|| Rejection::InvalidAttribute {
            field: ref_id_field(entity_type),
            reason: "must be a hyphenated UUID".into(),
        })
    });
    let ref_id = ref_id.and_then(|checked| keep(findings, checked));
    external_id.map(Reference::ExternalId).or(ref_id.map(Reference::RefId))
}
