//! The fault of a call to the registry.

use std::sync::Arc;

/// The registry could not be asked, or gave an answer from which nothing can be concluded. The call may be tried again.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{call} at the schema registry {base}: {failure}")]
pub struct RegistryFault {
    call: Arc<str>,
    pub(super) base: Arc<str>,
    pub(super) failure: Arc<str>,
    pub(super) status: Option<u16>,
}

impl RegistryFault {
    /// Describes a fault: the call, the registry's address, what became of the call, and the HTTP status if there was an answer.
    pub(crate) fn new(call: &str, base: &str, failure: &str, status: Option<u16>) -> Self {
        Self { call: call.into(), base: base.into(), failure: failure.into(), status }
    }

    /// Returns the HTTP status, or `None` if there was no answer.
    pub fn status(&self) -> Option<u16> {
        self.status
    }
}

/// Returns the messages of an error and of its causes, which reqwest's own messages leave out.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |e| e.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
