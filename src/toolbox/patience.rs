//! Administrative calls while the brokers are still finding out who of them answers: right after they were started, when the first
//! group or transaction has its internal topic made, and after a coordinator or the controller was lost. Brokers refuse such calls for
//! some seconds and then take them, so a refusal of this kind is no answer.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::time::{Duration, Instant};

/// How long a call is made again: longer than brokers take to load an internal topic that is not large.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause between two calls.
const PAUSE: Duration = Duration::from_millis(100);

/// An error that may come from brokers which have not found out yet who answers.
pub trait BrokerError {
    /// Returns the brokers' code, if there is one.
    fn code(&self) -> Option<RDKafkaErrorCode>;
}

impl BrokerError for RDKafkaErrorCode {
    fn code(&self) -> Option<RDKafkaErrorCode> {
        Some(*self)
    }
}

impl BrokerError for KafkaError {
    fn code(&self) -> Option<RDKafkaErrorCode> {
        match self {
            Self::AdminOp(code) => Some(*code),
            Self::Transaction(error) => Some(error.code()),
            error => error.rdkafka_error_code(),
        }
    }
}

/// A call about several things may be refused for one of them, whose name comes with the error.
impl BrokerError for (String, KafkaError) {
    fn code(&self) -> Option<RDKafkaErrorCode> {
        self.1.code()
    }
}

/// Makes a call until the brokers have found out who answers it, or [`PATIENCE`] is over. Returns the last result.
pub async fn patiently<T, E: BrokerError>(mut call: impl AsyncFnMut() -> Result<T, E>) -> Result<T, E> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match call().await {
            Err(error) if is_passing(&error) && Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
            said => return said,
        }
    }
}

/// Does the same as [`patiently`] for a call that blocks.
pub fn patiently_blocking<T, E: BrokerError>(mut call: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match call() {
            Err(error) if is_passing(&error) && Instant::now() < deadline => pause(),
            said => return said,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "on a thread for blocking calls, and nothing could wake it")]
fn pause() {
    std::thread::sleep(PAUSE);
}

/// Returns whether an error says that the call was made too early, or of the wrong broker.
fn is_passing(error: &impl BrokerError) -> bool {
    use RDKafkaErrorCode::{
        CoordinatorLoadInProgress, CoordinatorNotAvailable, LeaderNotAvailable, NotController, NotCoordinator,
    };
    error.code().is_some_and(|code| {
        matches!(code, CoordinatorLoadInProgress | CoordinatorNotAvailable | NotCoordinator | NotController | LeaderNotAvailable)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_coordinator_that_is_only_just_being_chosen_is_asked_again() {
        for code in [
            RDKafkaErrorCode::NotCoordinator,
            RDKafkaErrorCode::CoordinatorLoadInProgress,
            RDKafkaErrorCode::CoordinatorNotAvailable,
            RDKafkaErrorCode::NotController,
        ] {
            let mut calls = 0;
            let result = patiently(async || {
                calls += 1;
                if calls < 5 { Err(KafkaError::AdminOp(code)) } else { Ok(calls) }
            });
            assert_eq!(result.await.ok(), Some(5), "{code}");
            let mut calls = 0;
            let result = patiently_blocking(|| {
                calls += 1;
                if calls < 3 { Err(code) } else { Ok(calls) }
            });
            assert_eq!(result, Ok(3), "{code}");
        }
    }

    #[tokio::test]
    async fn what_does_not_pass_is_said_at_once() {
        for code in [RDKafkaErrorCode::GroupAuthorizationFailed, RDKafkaErrorCode::NonEmptyGroup] {
            let mut calls = 0;
            let result = patiently(async || {
                calls += 1;
                Err::<(), _>(("group".to_owned(), KafkaError::AdminOp(code)))
            });
            assert_eq!(result.await, Err(("group".to_owned(), KafkaError::AdminOp(code))));
            assert_eq!(calls, 1, "{code}");
        }
    }
}
