//! Leads from one version of the form to the version before it, and back.

use serde::{Deserialize, Serialize};

/// The form of a value in the newest version.
pub(super) trait Form<'a>: Serialize + Deserialize<'a> {
    /// The form in the version before.
    type Before: Serialize + Deserialize<'a>;

    /// Returns the same value in the version before. Returns `None` if the value holds something that has no place there.
    fn before(&self) -> Option<Self::Before>;

    /// Returns the value that was written in the version before.
    fn after(before: Self::Before) -> Result<Self, Unknown>;
}

/// Something that this build has no word for, so that a newer one must have written it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unknown(pub &'static str);
