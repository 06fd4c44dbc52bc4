//! An entity comes into being, at version 1. Its refId follows from its type, its external id and the request id, so that the same request
//! always means the same entity. The domain knows neither whether the external id is free nor what the superior is: `store::claims` finds
//! that out, and claims the id before the entity is created.

use super::set_state::check_reason;
use crate::domain::Timestamp;
use crate::domain::attribute::{Attribute, RawValues};
use crate::domain::entity::{Entity, EntityType, State};
use crate::domain::reference::Reference;
use crate::domain::rejection::{Rejection, keep};
use crate::domain::text::{self, InvalidText};
use crate::domain::values::{CustomName, ExternalId, RequestId, Rules, SegmentCode, StateReason, parse_ref_id};
use uuid::Uuid;

/// The attributes of a customer that can be given, which are the command's fields.
pub const OF_CUSTOMERS: [Attribute; 5] =
    [Attribute::ExternalId, Attribute::CustomName, Attribute::Segment, Attribute::State, Attribute::StateReason];

/// The attributes of an account or a subscriber that can be given, which are the command's fields beside the reference to the superior.
pub const OF_OTHERS: [Attribute; 4] = [Attribute::ExternalId, Attribute::CustomName, Attribute::State, Attribute::StateReason];

/// An entity that is to come into being, as the command describes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Creation {
    /// The external id.
    pub external_id: ExternalId,
    /// The customer of an account or the account of a subscriber, as the command refers to it. Customers have none.
    pub superior: Option<Reference>,
    /// The name, or `None` if none is given.
    pub custom_name: Option<CustomName>,
    /// The segment of a customer, or `None` if none is given.
    pub segment: Option<SegmentCode>,
    /// The state, or `None` if none is given: then the entity is active.
    pub state: Option<State>,
    /// The reason for the state, or `None` if none is given.
    pub state_reason: Option<StateReason>,
}

/// Separates the values in [`Creation::text`]. None of them can contain it.
const SEPARATOR: &str = "\n";
/// Stands before a value that is given, so that it differs from one that is not.
const GIVEN: char = '=';
/// Stands before a superior's external id, and before its refId.
const BY_EXTERNAL_ID: char = '=';
const BY_REF_ID: char = '#';

impl Creation {
    /// Checks the values. The findings about `superior` come after those about the external id. All values but the external id are
    /// optional; a value that is given but blank is malformed. `with_segment` says whether entities of the type have segments.
    ///
    /// # Errors
    /// Returns all findings in the order of the fields, at most one for each field.
    pub fn check(
        values: &RawValues,
        superior: Result<Option<Reference>, Vec<Rejection>>,
        with_segment: bool,
        rules: &Rules,
    ) -> Result<Self, Vec<Rejection>> {
        let mut findings = Vec::new();
        let external_id = keep(&mut findings, check_external_id(values.get(Attribute::ExternalId)));
        let superior = superior.map_err(|found| findings.extend(found)).ok();
        let custom_name = optional(&mut findings, values, Attribute::CustomName, check_name);
        let code = |code: &str| check_segment(code, rules);
        let segment = if with_segment { optional(&mut findings, values, Attribute::Segment, code) } else { None };
        let state = optional(&mut findings, values, Attribute::State, check_state);
        let state_reason = optional(&mut findings, values, Attribute::StateReason, check_reason);
        match (external_id, superior) {
            (Some(external_id), Some(superior)) if findings.is_empty() => {
                Ok(Self { external_id, superior, custom_name, segment, state, state_reason })
            }
            _ => Err(findings),
        }
    }

    /// Returns the refId of the entity: the UUIDv5 in the URL namespace of `crm:create:<type>:<externalId>:<requestId>`.
    pub fn ref_id(&self, entity_type: EntityType, request_id: &RequestId) -> Uuid {
        let name = ["crm:create:", entity_type.name(), ":", self.external_id.as_str(), ":", request_id.as_str()].concat();
        Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes())
    }

    /// Returns the entity as it comes into being at the time `now`.
    pub fn entity(&self, entity_type: EntityType, ref_id: Uuid, superior: Option<Uuid>, now: Timestamp) -> Entity {
        Entity {
            state: self.state.unwrap_or(State::Active),
            custom_name: self.custom_name.clone(),
            segment: self.segment.clone(),
            segment_valid_from: self.segment.as_ref().map(|_| now),
            superior,
            state_reason: self.state_reason.clone(),
            state_valid_from: Some(now),
            ..Entity::new(entity_type, ref_id, self.external_id.clone())
        }
    }

    /// Returns whether the command gives a value for `attribute`. An entity that is created has a state also if none is given.
    pub fn gives(&self, attribute: Attribute) -> bool {
        match attribute {
            Attribute::ExternalId => true,
            Attribute::CustomName => self.custom_name.is_some(),
            Attribute::Segment => self.segment.is_some(),
            Attribute::State => self.state.is_some(),
            Attribute::StateReason => self.state_reason.is_some(),
            Attribute::CustomerRefId | Attribute::AccountRefId => self.superior.is_some(),
        }
    }

    /// Returns all values, each in a line of its own, as one text.
    pub fn text(&self) -> String {
        let superior = match &self.superior {
            None => String::new(),
            Some(Reference::ExternalId(external_id)) => format!("{BY_EXTERNAL_ID}{external_id}"),
            Some(Reference::RefId(ref_id)) => format!("{BY_REF_ID}{ref_id}"),
        };
        let line = |value: Option<&str>| value.map_or(String::new(), |value| format!("{GIVEN}{value}"));
        [
            self.external_id.as_str().to_owned(),
            superior,
            line(self.custom_name.as_ref().map(CustomName::as_str)),
            line(self.segment.as_ref().map(SegmentCode::as_str)),
            line(self.state.map(State::name)),
            line(self.state_reason.as_ref().map(StateReason::as_str)),
        ]
        .join(SEPARATOR)
    }

    /// Rebuilds a creation that was checked before from its [text](Self::text). Returns `None` if `text` does not have that form.
    pub fn checked_before(text: &str) -> Option<Self> {
        let lines: Vec<&str> = text.split(SEPARATOR).collect();
        let [external_id, superior, custom_name, segment, state, state_reason] = lines[..] else { return None };
        let superior = if superior.is_empty() {
            None
        } else if let Some(ref_id) = superior.strip_prefix(BY_REF_ID) {
            Some(Reference::RefId(parse_ref_id(ref_id)?))
        } else {
            Some(Reference::ExternalId(ExternalId::checked_before(superior.strip_prefix(BY_EXTERNAL_ID)?)))
        };
        let state = match state.strip_prefix(GIVEN) {
            Some(name) => Some(State::from_name(name)?),
            None => None,
        };
        Some(Self {
            external_id: ExternalId::checked_before(external_id),
            superior,
            custom_name: custom_name.strip_prefix(GIVEN).map(CustomName::checked_before),
            segment: segment.strip_prefix(GIVEN).map(SegmentCode::checked_before),
            state,
            state_reason: state_reason.strip_prefix(GIVEN).map(StateReason::checked_before),
        })
    }
}

/// Checks a value that need not be given. Returns `None` if it is not given, or adds what is wrong with it to `findings`.
fn optional<T>(
    findings: &mut Vec<Rejection>,
    values: &RawValues,
    attribute: Attribute,
    check: impl FnOnce(&str) -> Result<T, Rejection>,
) -> Option<T> {
    values.get(attribute).and_then(|text| keep(findings, check(text)))
}

fn check_external_id(text: Option<&str>) -> Result<ExternalId, Rejection> {
    ExternalId::parse(text.unwrap_or_default()).map_err(|error| Rejection::of_text(Attribute::ExternalId.name(), error))
}

fn check_name(text: &str) -> Result<CustomName, Rejection> {
    CustomName::parse(text).map_err(|error| malformed(Attribute::CustomName, &error))
}

fn check_segment(code: &str, rules: &Rules) -> Result<SegmentCode, Rejection> {
    if text::is_blank(code) {
        return Err(malformed(Attribute::Segment, &InvalidText::Blank));
    }
    let unknown = || Rejection::SegmentNotConfigured { field: Attribute::Segment.name().into() };
    rules.segment(code).cloned().ok_or_else(unknown)
}

/// Checks the state. An entity can't come into being deactivated.
fn check_state(name: &str) -> Result<State, Rejection> {
    let state = State::from_name(name).filter(|state| *state != State::Deactivated);
    state.ok_or_else(|| malformed(Attribute::State, &State::must_be_one_of(&[State::Inactive, State::Active, State::Suspended])))
}

/// Returns the finding about a value that need not be given: one that is blank is malformed, and not missing.
fn malformed(attribute: Attribute, reason: &impl ToString) -> Rejection {
    Rejection::InvalidAttribute { field: attribute.name().into(), reason: reason.to_string().into() }
}
