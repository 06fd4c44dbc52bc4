//! External ids: the names that the CRM gives to customers, accounts and subscribers. Unique per entity type.

use super::text::{self, InvalidText};
use serde::{Deserialize, Serialize};
use std::fmt;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// An external id: 1 to 256 code points after NFC normalisation, case-sensitive, no control, format, surrogate,
/// private-use or line-separator characters, no white space at either end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct ExternalId(Box<str>);

impl ExternalId {
    /// The longest external id, in code points.
    pub const MAX_CHARS: usize = 256;

    /// Normalises `text` to NFC and checks it.
    ///
    /// # Errors
    /// The first rule that `text` breaks.
    pub fn parse(text: &str) -> Result<Self, InvalidText> {
        let normalised: Box<str> = match is_nfc_quick(text.chars()) {
            IsNormalized::Yes => text.into(),
            _ => text.nfc().collect::<String>().into(),
        };
        text::check_identifier(&normalised, Self::MAX_CHARS)?;
        Ok(Self(normalised))
    }

    /// The normalised text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ExternalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ExternalId {
    type Error = InvalidText;
    fn try_from(text: String) -> Result<Self, InvalidText> {
        Self::parse(&text)
    }
}
