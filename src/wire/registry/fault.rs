//! The fault of a call to the registry.

use openssl::error::ErrorStack;
use reqwest::StatusCode;
use std::sync::Arc;

/// The number of OpenSSL's part for TLS, `ERR_LIB_SSL`.
const TLS: i32 = 20;
/// The number of a reason in that part, `SSL_R_CERTIFICATE_VERIFY_FAILED`.
const CERTIFICATE_VERIFY_FAILED: i32 = 134;

/// The registry could not be asked, or gave an answer from which nothing can be concluded. The call may be tried again.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{call} at the schema registry {base}: {failure}")]
pub struct RegistryFault {
    call: Arc<str>,
    pub(super) base: Arc<str>,
    pub(super) failure: Arc<str>,
    /// How an operator can mend the fault.
    pub remedy: RegistryRemedy,
}

/// How an operator can mend a fault of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistryRemedy {
    /// Change the key that the fault's text names.
    Named,
    /// Configure where the registry is.
    Address,
    /// Configure the authority that signed the registry's certificate.
    TrustAuthority,
    /// Configure credentials that the registry knows.
    Login,
    /// Grant the user a right.
    Grant,
}

impl RegistryFault {
    /// Describes a fault: the call, the registry's address, what became of the call, and how to mend it.
    pub(crate) fn new(call: &str, base: &str, failure: &str, remedy: RegistryRemedy) -> Self {
        Self { call: call.into(), base: base.into(), failure: failure.into(), remedy }
    }
}

impl RegistryRemedy {
    /// Returns how to mend what makes the registry answer with an error status.
    pub(super) fn of(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::Login,
            StatusCode::FORBIDDEN => Self::Grant,
            _ => Self::Address,
        }
    }
}

/// Returns the messages of an error and of its causes, which reqwest's own messages leave out.
pub(super) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    chain(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Returns whether a connection failed because the other side's certificate is not by an authority that we trust.
pub(super) fn is_distrusted(error: &(dyn std::error::Error + 'static)) -> bool {
    chain(error)
        .filter_map(|e| e.downcast_ref::<ErrorStack>())
        .flat_map(ErrorStack::errors)
        .any(|e| (e.library_code(), e.reason_code()) == (TLS, CERTIFICATE_VERIFY_FAILED))
}

fn chain<'a>(error: &'a (dyn std::error::Error + 'static)) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |e| e.source())
}
