//! The numbers by which blobs of all versions name what the domain lists. A number is given once and never changed, and a further use case,
//! type, state or attribute gets the next one of its list. A build that does not know a number reports it as [`Unknown`].

use super::form::Unknown;
use crate::domain::attribute::Attribute;
use crate::domain::entity::{EntityType, State};
use crate::domain::use_case::UseCase;

/// Returns the number of a use case.
pub(super) fn use_case_number(use_case: UseCase) -> u32 {
    match use_case {
        UseCase::UpdateCustomerCustomName => 0,
        UseCase::UpdateCustomerSegment => 1,
        UseCase::UpdateAccountExternalId => 2,
        UseCase::UpdateSubscriberExternalId => 3,
        UseCase::UpdateCustomerExternalId => 4,
        UseCase::UpdateCustomerState => 5,
        UseCase::UpdateAccountCustomName => 6,
        UseCase::UpdateAccountState => 7,
        UseCase::UpdateSubscriberCustomName => 8,
        UseCase::UpdateSubscriberState => 9,
        UseCase::CreateCustomer => 10,
        UseCase::CreateAccount => 11,
        UseCase::CreateSubscriber => 12,
    }
}

pub(super) fn use_case_of(number: u32) -> Result<UseCase, Unknown> {
    numbered(UseCase::ALL, use_case_number, number).ok_or(Unknown("use case"))
}

/// Returns the number of a type of entity.
pub(super) fn type_number(entity_type: EntityType) -> u32 {
    match entity_type {
        EntityType::Customer => 0,
        EntityType::Account => 1,
        EntityType::Subscriber => 2,
    }
}

pub(super) fn type_of(number: u32) -> Result<EntityType, Unknown> {
    numbered(&EntityType::ALL, type_number, number).ok_or(Unknown("type of entity"))
}

/// Returns the number of a state.
pub(super) fn state_number(state: State) -> u32 {
    match state {
        State::Inactive => 0,
        State::Active => 1,
        State::Suspended => 2,
        State::Deactivated => 3,
    }
}

pub(super) fn state_of(number: u32) -> Result<State, Unknown> {
    numbered(&State::ALL, state_number, number).ok_or(Unknown("state"))
}

/// Returns the number of an attribute.
pub(super) fn attribute_number(attribute: Attribute) -> u32 {
    match attribute {
        Attribute::ExternalId => 0,
        Attribute::CustomName => 1,
        Attribute::Segment => 2,
        Attribute::State => 3,
        Attribute::StateReason => 4,
        Attribute::CustomerRefId => 5,
        Attribute::AccountRefId => 6,
    }
}

pub(super) fn attribute_of(number: u32) -> Result<Attribute, Unknown> {
    numbered(&Attribute::ALL, attribute_number, number).ok_or(Unknown("attribute"))
}

/// Returns which of `all` has a number.
fn numbered<T: Copy>(all: &[T], number_of: impl Fn(T) -> u32, number: u32) -> Option<T> {
    all.iter().copied().find(|value| number_of(*value) == number)
}
