//! The answer to a request.

use super::entity::Entity;
use super::rejection::Rejection;
use super::transaction::Transaction;
use std::sync::Arc;

/// The answer to a request, now and whenever the request comes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The entity is changed: its version is raised by one.
    Changed(Arc<Transaction>),
    /// The entity has the requested value already: the transaction has no changes, and `previous_version == entity.version`.
    Unchanged(Arc<Transaction>),
    /// The request is refused, "not found" and internal errors included.
    Rejected(Rejection),
}

impl Answer {
    /// Returns the entity as it is after the change, or `None` if it is not changed.
    pub fn changed(&self) -> Option<&Entity> {
        match self {
            Self::Changed(transaction) => Some(&transaction.entity),
            Self::Unchanged(_) | Self::Rejected(_) => None,
        }
    }
}
