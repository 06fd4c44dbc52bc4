//! The reasons to reject a command, and what the CRM is told about each.

use super::text::InvalidText;
use std::borrow::Cow;

/// The path of a field, such as `customer.externalId`.
pub type FieldPath = Cow<'static, str>;

/// The reason why a command was rejected. Variants stand in the order in which they are checked; the first that holds is answered.
/// (The first three are found by request validation, which reports one finding for each field.)
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// A field is missing, empty or blank: the request id, the reference, a given external id or the new value.
    MandatoryAttribute {
        /// The field that is missing.
        field: FieldPath,
    },
    /// A field is too long, is malformed or has forbidden characters; both or neither of externalId and refId are given; a refId
    /// is no UUID; an expectedVersion is negative.
    InvalidAttribute {
        /// The field that is wrong.
        field: FieldPath,
        /// The rule that the field breaks, as the end of a sentence that begins with the field.
        reason: Cow<'static, str>,
    },
    /// The segment code is not in the configured list (case-sensitive).
    SegmentNotConfigured {
        /// The segment's field.
        field: FieldPath,
    },
    /// The entity has seen this request id with other contents.
    RequestIdReused,
    /// The reference resolves to nothing. An old external id does not resolve.
    EntityNotFound {
        /// The reference as given.
        field: FieldPath,
    },
    /// The entity is DEACTIVATED.
    Deactivated {
        /// The entity's field.
        field: FieldPath,
    },
    /// `expectedVersion` was given and differs.
    VersionConflict {
        /// The version that the command expected.
        expected: i64,
        /// The version that the entity has.
        actual: i64,
    },
    /// Another entity of the same type holds the external id, in whatever state.
    ExternalIdNotUnique,
    /// The record could not be read as a command.
    RecordUnreadable {
        /// Why it could not be read.
        reason: Cow<'static, str>,
    },
    /// A bug was caught while the command was decided.
    InternalError,
}

impl Rejection {
    /// One of each variant, for tests that must not miss one.
    #[cfg(test)]
    pub fn one_of_each() -> [Self; 10] {
        let field = || "account.externalId".into();
        [
            Self::MandatoryAttribute { field: field() },
            Self::InvalidAttribute { field: field(), reason: "is too long".into() },
            Self::SegmentNotConfigured { field: field() },
            Self::RequestIdReused,
            Self::EntityNotFound { field: field() },
            Self::Deactivated { field: field() },
            Self::VersionConflict { expected: 1, actual: 2 },
            Self::ExternalIdNotUnique,
            Self::RecordUnreadable { reason: "is cut short".into() },
            Self::InternalError,
        ]
    }

    /// Returns the finding about `field` whose text breaks a rule.
    pub fn of_text(field: impl Into<FieldPath>, error: InvalidText) -> Self {
        match error {
            InvalidText::Blank => Self::MandatoryAttribute { field: field.into() },
            _ => Self::InvalidAttribute { field: field.into(), reason: error.to_string().into() },
        }
    }

    /// Returns the code that the reply has.
    pub fn code(&self) -> &'static str {
        match self {
            Self::MandatoryAttribute { .. } => "CASM-MANDATORY-ATTRIBUTE",
            Self::InvalidAttribute { .. } => "CASM-INVALID-ATTRIBUTE",
            Self::SegmentNotConfigured { .. } => "CASM-SEGMENT-NOT-CONFIGURED",
            Self::RequestIdReused => "CASM-REQUEST-ID-REUSED",
            Self::EntityNotFound { .. } => "CASM-ENTITY-NOT-FOUND",
            Self::Deactivated { .. } => "CASM-STATE-DEACTIVATED",
            Self::VersionConflict { .. } => "CASM-VERSION-CONFLICT",
            Self::ExternalIdNotUnique => "CASM-EXTERNAL-ID-NOT-UNIQUE",
            Self::RecordUnreadable { .. } => "CASM-RECORD-UNREADABLE",
            Self::InternalError => "CASM-INTERNAL-ERROR",
        }
    }

    /// Returns 400 for what the CRM can mend, and 500 for a bug of ours.
    pub fn status(&self) -> Status {
        match self {
            Self::InternalError => Status::InternalError,
            _ => Status::RequestValidationFailed,
        }
    }

    /// Returns the field that the reply names, or `None` if no field is to blame.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::MandatoryAttribute { field }
            | Self::InvalidAttribute { field, .. }
            | Self::SegmentNotConfigured { field }
            | Self::EntityNotFound { field }
            | Self::Deactivated { field } => Some(field),
            Self::RequestIdReused => Some("requestId"),
            Self::VersionConflict { .. } => Some("expectedVersion"),
            Self::ExternalIdNotUnique => Some("externalId"),
            Self::RecordUnreadable { .. } | Self::InternalError => None,
        }
    }

    /// Returns a sentence for the CRM's developers. Apart from numbers, it never holds a value that the command brought.
    pub fn message(&self) -> String {
        match self {
            Self::MandatoryAttribute { field } => format!("{field} is mandatory and must not be empty or blank"),
            Self::InvalidAttribute { field, reason } => format!("{field} {reason}"),
            Self::SegmentNotConfigured { field } => {
                format!("{field} is not one of the configured segments (codes are case-sensitive)")
            }
            Self::RequestIdReused => {
                "this requestId was used before with other contents; a new request needs a new requestId".into()
            }
            Self::EntityNotFound { field } => {
                format!("{field} resolves to no entity (an external id that was given up does not resolve)")
            }
            Self::Deactivated { field } => format!("the {field} is DEACTIVATED and can't be changed"),
            Self::VersionConflict { expected, actual } => format!("expectedVersion is {expected}, the version is {actual}"),
            Self::ExternalIdNotUnique => "externalId is held by another entity of the same type".into(),
            Self::RecordUnreadable { reason } => format!("the record can't be read: {reason}"),
            Self::InternalError => {
                "the command could not be decided because of an internal error; a new try needs a new requestId".into()
            }
        }
    }
}

/// The status of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// 200: the change was applied, or the entity had the value already.
    Ok,
    /// 400: the command was refused.
    RequestValidationFailed,
    /// 500: a bug was caught.
    InternalError,
}

impl Status {
    /// Every status that a reply can have.
    pub const ALL: [Self; 3] = [Self::Ok, Self::RequestValidationFailed, Self::InternalError];

    /// Returns 200, 400 or 500.
    pub fn code(self) -> i32 {
        match self {
            Self::Ok => 200,
            Self::RequestValidationFailed => 400,
            Self::InternalError => 500,
        }
    }

    /// Returns the code as text, as the `status-code` header carries it.
    pub fn code_text(self) -> &'static str {
        match self {
            Self::Ok => "200",
            Self::RequestValidationFailed => "400",
            Self::InternalError => "500",
        }
    }

    /// Returns the reply's `statusMessage`.
    pub fn message(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::RequestValidationFailed => "Request Validation failed",
            Self::InternalError => "Internal error",
        }
    }
}

/// Returns a checked value, or moves what is wrong with it to `findings`.
pub(super) fn keep<T>(findings: &mut Vec<Rejection>, checked: Result<T, Rejection>) -> Option<T> {
    checked.map_err(|finding| findings.push(finding)).ok()
}
