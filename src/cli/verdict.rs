//! What is concluded about one thing that was looked at.

/// Good, worth knowing, or wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing is wrong with it.
    Ok(String),
    /// Worth knowing, and legitimate.
    Note(String),
    /// Something is wrong, with the way out.
    Finding(String),
}

impl Verdict {
    /// The text if something is wrong.
    pub fn finding(&self) -> Option<&str> {
        match self {
            Self::Finding(text) => Some(text),
            Self::Ok(_) | Self::Note(_) => None,
        }
    }
}
