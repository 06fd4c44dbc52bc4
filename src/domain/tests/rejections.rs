//! The error table: what each rejection tells the CRM.

use super::super::rejection::{Rejection, Status};
use super::super::text::InvalidText;
use super::super::values::CustomName;

fn table() -> Vec<(Rejection, &'static str, i32, Option<&'static str>)> {
    let field = || "customer.externalId".into();
    vec![
        (Rejection::MandatoryAttribute { field: field() }, "CASM-MANDATORY-ATTRIBUTE", 400, Some("customer.externalId")),
        (
            Rejection::InvalidAttribute { field: field(), reason: "is wrong".into() },
            "CASM-INVALID-ATTRIBUTE",
            400,
            Some("customer.externalId"),
        ),
        (
            Rejection::SegmentNotConfigured { field: "customerSegment".into() },
            "CASM-SEGMENT-NOT-CONFIGURED",
            400,
            Some("customerSegment"),
        ),
        (Rejection::RequestIdReused, "CASM-REQUEST-ID-REUSED", 400, Some("requestId")),
        (Rejection::EntityNotFound { field: field() }, "CASM-ENTITY-NOT-FOUND", 400, Some("customer.externalId")),
        (Rejection::Deactivated { field: "account".into() }, "CASM-STATE-DEACTIVATED", 400, Some("account")),
        (Rejection::VersionConflict { expected: 3, actual: 7 }, "CASM-VERSION-CONFLICT", 400, Some("expectedVersion")),
        (Rejection::ExternalIdNotUnique, "CASM-EXTERNAL-ID-NOT-UNIQUE", 400, Some("externalId")),
        (Rejection::RecordUnreadable { reason: "empty".into() }, "CASM-RECORD-UNREADABLE", 400, None),
        (Rejection::InternalError, "CASM-INTERNAL-ERROR", 500, None),
    ]
}

#[test]
fn each_rejection_has_its_code_status_and_field() {
    for (rejection, code, status, field) in table() {
        let got = (rejection.code(), rejection.status().code(), rejection.field());
        assert_eq!(got, (code, status, field), "{rejection:?}");
        assert!(!rejection.message().is_empty(), "{rejection:?} has a message");
    }
}

#[test]
fn each_status_has_its_message() {
    for (status, code, text, message) in [
        (Status::Ok, 200, "200", "OK"),
        (Status::RequestValidationFailed, 400, "400", "Request Validation failed"),
        (Status::InternalError, 500, "500", "Internal error"),
    ] {
        assert_eq!((status.code(), status.code_text(), status.message()), (code, text, message));
    }
    assert_eq!(Status::ALL.map(Status::code), [200, 400, 500]);
}

#[test]
fn a_version_conflict_tells_both_versions() {
    let message = Rejection::VersionConflict { expected: 3, actual: 7 }.message();
    assert!(message.contains('3') && message.contains('7'), "{message}");
}

#[test]
fn a_finding_says_what_would_be_right_and_never_what_was_sent() {
    let secret = "Ada\u{7}";
    for (error, message) in [
        (InvalidText::Blank, "customName is mandatory and must not be empty or blank"),
        (InvalidText::TooLong { max: 255 }, "customName must have at most 255 characters"),
        (InvalidText::OuterWhiteSpace, "customName must not begin or end with white space"),
        (CustomName::parse(secret).expect_err("a control character"), "customName must not contain the character U+0007"),
    ] {
        assert_eq!(Rejection::of_text("customName", error).message(), message);
    }
}
