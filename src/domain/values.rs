//! The checked values of commands and entities. Each is built by its `parse`, which applies the rules; a value that exists
//! obeys them, so nobody checks it again. [`Rules`] holds those rules that are configuration.

use super::text::{self, InvalidText};
use std::fmt;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};
use uuid::Uuid;

/// A request id: 1 to 128 code points, none of the categories Cc, Cf, Cs, Co, Zl, Zp, no white space at either end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(Box<str>);

impl RequestId {
    /// The length of the longest request id, in code points.
    pub const MAX_CHARS: usize = 128;

    /// Checks `text`, which is kept exactly as it came.
    ///
    /// # Errors
    /// Returns the first rule that `text` breaks.
    pub fn parse(text: &str) -> Result<Self, InvalidText> {
        text::check_identifier(text, Self::MAX_CHARS)?;
        Ok(Self(text.into()))
    }

    /// Rebuilds a request id from its text without checking it again: see [`ExternalId::checked_before`].
    pub fn checked_before(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the text as it came.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An external id, the name that the CRM gives to an entity, unique within the entity's type: 1 to 256 code points after
/// NFC normalisation, case-sensitive, none of the categories Cc, Cf, Cs, Co, Zl, Zp, no white space at either end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExternalId(Box<str>);

impl ExternalId {
    /// The length of the longest external id, in code points.
    pub const MAX_CHARS: usize = 256;

    /// Normalises `text` to NFC and checks it.
    ///
    /// # Errors
    /// Returns the first rule that the normalised text breaks.
    pub fn parse(text: &str) -> Result<Self, InvalidText> {
        let normalised: Box<str> = match is_nfc_quick(text.chars()) {
            IsNormalized::Yes => text.into(),
            _ => text.nfc().collect::<String>().into(),
        };
        text::check_identifier(&normalised, Self::MAX_CHARS)?;
        Ok(Self(normalised))
    }

    /// Rebuilds an external id from its text, however long ago it was checked. The text is not checked again: the rules, or the Unicode
    /// tables that they rest on, may have changed since then, and what is stored must be readable for ever.
    pub fn checked_before(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the normalised text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ExternalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A custom name: 1 to 255 code points, kept exactly as sent, not blank, no control characters (Cc).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CustomName(Box<str>);

impl CustomName {
    /// The length of the longest custom name, in code points.
    pub const MAX_CHARS: usize = 255;

    /// Checks `text`, which is kept exactly as it came.
    ///
    /// # Errors
    /// Returns the first rule that `text` breaks.
    pub fn parse(text: &str) -> Result<Self, InvalidText> {
        text::check_name(text, Self::MAX_CHARS)?;
        Ok(Self(text.into()))
    }

    /// Rebuilds a custom name from its text without checking it again: see [`ExternalId::checked_before`].
    pub fn checked_before(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the text as it came.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The reason why an entity has its state, in the CRM's own words or codes: 1 to 128 code points, with the rules of a [`RequestId`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StateReason(Box<str>);

impl StateReason {
    /// The length of the longest reason, in code points.
    pub const MAX_CHARS: usize = 128;

    /// Checks `text`, which is kept exactly as it came.
    ///
    /// # Errors
    /// Returns the first rule that `text` breaks.
    pub fn parse(text: &str) -> Result<Self, InvalidText> {
        text::check_identifier(text, Self::MAX_CHARS)?;
        Ok(Self(text.into()))
    }

    /// Rebuilds a reason from its text without checking it again: see [`ExternalId::checked_before`].
    pub fn checked_before(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the text as it came.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StateReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who asked for a command, such as a person or a program, in the words of whoever sent it: 1 to 128 code points, with the rules of a
/// [`RequestId`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Actor(Box<str>);

impl Actor {
    /// The length of the longest actor, in code points.
    pub const MAX_CHARS: usize = 128;

    /// Checks `text`, which is kept exactly as it came.
    ///
    /// # Errors
    /// Returns the first rule that `text` breaks.
    pub fn parse(text: &str) -> Result<Self, InvalidText> {
        text::check_identifier(text, Self::MAX_CHARS)?;
        Ok(Self(text.into()))
    }

    /// Rebuilds an actor from its text without checking it again: see [`ExternalId::checked_before`].
    pub fn checked_before(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the text as it came.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The code of a segment. A command may give a customer only a code that is configured: see [`Rules::segment`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SegmentCode(Box<str>);

impl SegmentCode {
    /// The length of the longest segment code, in code points.
    pub const MAX_CHARS: usize = 64;

    /// Checks a code of the configuration: 1 to 64 code points, none of the categories Cc, Cf, Cs, Co, Zl, Zp, no white space
    /// at either end.
    ///
    /// # Errors
    /// Returns the first rule that `text` breaks.
    pub fn parse(text: &str) -> Result<Self, InvalidText> {
        text::check_identifier(text, Self::MAX_CHARS)?;
        Ok(Self(text.into()))
    }

    /// Rebuilds a segment code from its text without checking it again: see [`ExternalId::checked_before`].
    pub fn checked_before(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the code.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The part of the rules that is configuration.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The segment codes that a customer may be given.
    pub segments: Vec<SegmentCode>,
}

impl Rules {
    /// Returns the configured segment code that equals `text`, case-sensitively; `None` if there is none.
    pub fn segment(&self, text: &str) -> Option<&SegmentCode> {
        self.segments.iter().find(|code| code.as_str() == text)
    }
}

/// Parses a refId: a hyphenated UUID, in upper or lower case. Returns `None` for any other text.
pub fn parse_ref_id(text: &str) -> Option<Uuid> {
    const HYPHENATED: usize = 36;
    (text.len() == HYPHENATED).then(|| Uuid::try_parse(text).ok()).flatten()
}
