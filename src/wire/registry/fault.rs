//! What keeps an answer of the registry from us.

use std::sync::Arc;

/// The registry could not be asked, or gave no answer that anything can be concluded from. Worth another try later.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{call} at the schema registry {base}: {failure}")]
pub struct RegistryFault {
    call: Arc<str>,
    pub(super) base: Arc<str>,
    pub(super) failure: Arc<str>,
    pub(super) status: Option<u16>,
}

impl RegistryFault {
    /// What was asked for, where, what became of it, and the HTTP status if there was an answer.
    pub(crate) fn new(call: &str, base: &str, failure: &str, status: Option<u16>) -> Self {
        Self { call: call.into(), base: base.into(), failure: failure.into(), status }
    }

    /// The HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        self.status
    }
}

/// An error with what caused it: reqwest's own messages leave that out.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |e| e.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
