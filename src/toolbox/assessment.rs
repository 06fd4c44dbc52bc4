//! The assessment of one thing that `check` or `setup` looked at.

/// An assessment, with its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assessment {
    /// Nothing is wrong with it.
    Ok(String),
    /// It is legitimate, and worth knowing.
    Note(String),
    /// Something is wrong with it; the text says the way out.
    Finding(String),
}

impl Assessment {
    /// Returns the same assessment, with the name of the thing that it is about in front of its text.
    pub fn about(&self, name: &str) -> Self {
        match self {
            Self::Ok(text) => Self::Ok(format!("{name}: {text}")),
            Self::Note(text) => Self::Note(format!("{name}: {text}")),
            Self::Finding(text) => Self::Finding(format!("{name}: {text}")),
        }
    }

    /// Returns the text if something is wrong. Returns `None` otherwise.
    pub fn finding(&self) -> Option<&str> {
        match self {
            Self::Finding(text) => Some(text),
            Self::Ok(_) | Self::Note(_) => None,
        }
    }
}
