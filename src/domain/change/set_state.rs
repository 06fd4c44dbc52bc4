//! An entity gets a state, with or without a reason. A state may become any other one, but nothing leaves `DEACTIVATED`: business
//! validation refuses every command about such an entity. The state applies at once, and the entity says since when. The reason belongs to
//! the state: if a command gives none, the old reason goes. Another reason for the same state is a change, and leaves the date alone.

use crate::domain::Timestamp;
use crate::domain::attribute::{Attribute, RawValues};
use crate::domain::entity::{Entity, State};
use crate::domain::rejection::Rejection;
use crate::domain::text;
use crate::domain::values::StateReason;
use std::borrow::Cow;

/// The attributes, and the command's fields.
pub const ATTRIBUTES: [Attribute; 2] = [Attribute::State, Attribute::StateReason];

/// The state that an entity is to have, with its reason.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StateChange {
    /// The state.
    pub state: State,
    /// The reason, or `None` if the state has none.
    pub reason: Option<StateReason>,
}

/// Separates state and reason in [`StateChange::text`]. Neither can contain it.
const SEPARATOR: char = '\n';

impl StateChange {
    /// Returns the state's name and, if there is a reason, the reason in a second line.
    pub fn text(&self) -> Cow<'static, str> {
        match &self.reason {
            None => self.state.name().into(),
            Some(reason) => format!("{}{SEPARATOR}{reason}", self.state.name()).into(),
        }
    }

    /// Rebuilds a change that was checked before from its [text](Self::text). Returns `None` if the state is unknown.
    pub fn checked_before(text: &str) -> Option<Self> {
        let (state, reason) = text.split_once(SEPARATOR).map_or((text, None), |(state, reason)| (state, Some(reason)));
        Some(Self { state: State::from_name(state)?, reason: reason.map(StateReason::checked_before) })
    }
}

/// Checks the new state and its reason.
pub fn check(values: &RawValues) -> Result<StateChange, Vec<Rejection>> {
    let reason = values.get(Attribute::StateReason).map(check_reason).transpose();
    match (check_state(values.get(Attribute::State)), reason) {
        (Ok(state), Ok(reason)) => Ok(StateChange { state, reason }),
        (state, reason) => Err(state.err().into_iter().chain(reason.err()).collect()),
    }
}

fn check_state(value: Option<&str>) -> Result<State, Rejection> {
    let field = Attribute::State.name();
    match value {
        Some(name) if !text::is_blank(name) => State::from_name(name).ok_or_else(|| Rejection::InvalidAttribute {
            field: field.into(),
            reason: State::must_be_one_of(&State::ALL).into(),
        }),
        _ => Err(Rejection::MandatoryAttribute { field: field.into() }),
    }
}

/// Checks the reason. A reason that is given and blank is malformed: to give none is to leave the field out.
pub fn check_reason(text: &str) -> Result<StateReason, Rejection> {
    StateReason::parse(text).map_err(|error| Rejection::InvalidAttribute {
        field: Attribute::StateReason.name().into(),
        reason: error.to_string().into(),
    })
}

/// Returns `entity` in the new state since `now`, or `None` if it is in this state for this reason already.
pub fn apply(change: &StateChange, entity: &Entity, now: Timestamp) -> Option<Entity> {
    let StateChange { state, reason } = change;
    let has_state = entity.state == *state;
    let is_so = has_state && entity.state_reason == *reason;
    (!is_so).then(|| Entity {
        state: *state,
        state_reason: reason.clone(),
        state_valid_from: if has_state { entity.state_valid_from } else { Some(now) },
        ..entity.clone()
    })
}
