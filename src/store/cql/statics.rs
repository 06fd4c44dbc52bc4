//! The static columns of the two tables, from which the tables are created and the statements are made. Their values are bound in the
//! order that they have here.

/// Static columns, with their types.
pub(super) struct Statics<const N: usize>(pub [(&'static str, &'static str); N]);

/// The columns of `external_id` that a claim sets. The table has one more, `refused`.
pub(super) const CLAIM: Statics<6> = Statics([
    ("generation", "bigint"),
    ("owner", "uuid"),
    ("epoch", "bigint"),
    ("claimed_by", "text"),
    ("claim", "blob"),
    ("previous_owners", "map<uuid, timestamp>"),
]);

/// The columns of `entity`.
pub(super) const ENTITY: Statics<11> = Statics([
    ("external_id", "text"),
    ("epoch", "bigint"),
    ("generation", "bigint"),
    ("version", "bigint"),
    ("state", "text"),
    ("custom_name", "text"),
    ("segment", "text"),
    ("segment_valid_from", "timestamp"),
    ("parent", "uuid"),
    // The first release did not have the following columns.
    ("state_reason", "text"),
    ("state_valid_from", "timestamp"),
]);

impl<const N: usize> Statics<N> {
    /// Returns the columns' names as a list.
    pub fn names(&self) -> String {
        self.0.map(|(name, _)| name).join(", ")
    }

    /// Returns a list that sets each column to a value that is bound.
    pub fn set(&self) -> String {
        self.0.map(|(name, _)| format!("{name} = ?")).join(", ")
    }

    /// Returns the columns' definitions as a list.
    pub fn definitions(&self) -> String {
        self.0.map(|(name, kind)| format!("{name} {kind} static")).join(", ")
    }

    /// Returns a list of question marks, one for each column.
    pub fn marks(&self) -> String {
        self.0.map(|_| "?").join(", ")
    }
}
