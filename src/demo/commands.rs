//! The commands that the CRM of the demo sends.

use crate::domain::attribute::Attribute;
use crate::domain::command::{RawCommand, RawReference};
use crate::domain::use_case::UseCase;

/// Returns a command that asks for a new name of a customer.
pub fn name(request: &str, customer: &str, value: &str) -> RawCommand {
    command(UseCase::UpdateCustomerCustomName, request, customer, value)
}

/// Returns a command that asks for a new segment of a customer.
pub fn segment(request: &str, customer: &str, value: &str) -> RawCommand {
    command(UseCase::UpdateCustomerSegment, request, customer, value)
}

/// Returns a command that asks for a new external id of an account.
pub fn rename(request: &str, account: &str, value: &str) -> RawCommand {
    command(UseCase::UpdateAccountExternalId, request, account, value)
}

/// Returns a command that asks for a state of a customer, for a reason.
pub fn state(request: &str, customer: &str, value: &str, reason: &str) -> RawCommand {
    let command = command(UseCase::UpdateCustomerState, request, customer, value);
    RawCommand { values: command.values.clone().with(Attribute::StateReason, Some(reason.into())), ..command }
}

/// Returns a creation, which refers to `superior` if there is one.
pub fn creation(use_case: UseCase, request: &str, superior: Option<RawReference>, external_id: &str) -> RawCommand {
    RawCommand { reference: superior, ..command(use_case, request, "", external_id) }
}

/// Returns a reference by an external id.
pub fn by_external_id(external_id: &str) -> RawReference {
    RawReference { external_id: Some(external_id.into()), ref_id: None }
}

/// Returns a command of a use case, which brings `value` and refers to `external_id`.
pub fn command(use_case: UseCase, request: &str, external_id: &str, value: &str) -> RawCommand {
    RawCommand {
        use_case,
        request_id: Some(request.into()),
        reference: Some(by_external_id(external_id)),
        values: use_case.first_value(Some(value.into())),
        expected_version: None,
    }
}
