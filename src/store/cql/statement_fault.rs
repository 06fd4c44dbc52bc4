//! Why a statement failed, before it is known to which operation the statement belongs.

use crate::store::{FaultKind, Remedy, StoreFault};
use scylla::errors::{DbError, ExecutionError, RequestAttemptError, WriteType};
use scylla::statement::Consistency;
use std::fmt::Display;
use std::sync::Arc;

/// The reason that the database or its driver gives, with its kind and the node that was asked last.
#[derive(Debug)]
pub(super) struct StatementFault {
    pub(super) kind: FaultKind,
    pub(super) node: Option<Arc<str>>,
    pub(super) text: String,
}

impl From<String> for StatementFault {
    fn from(text: String) -> Self {
        Self { kind: FaultKind::Other, node: None, text }
    }
}

impl From<ExecutionError> for StatementFault {
    fn from(error: ExecutionError) -> Self {
        Self { kind: kind_of(&error), node: None, text: error.to_string() }
    }
}

pub(super) fn described(error: impl Display) -> String {
    error.to_string()
}

pub(super) fn fault_of<C: Into<StatementFault>>(operation: &'static str) -> impl Fn(C) -> StoreFault {
    move |fault| {
        let StatementFault { kind, node, text } = fault.into();
        StoreFault { operation, kind, node, remedy: remedy_in(&text), cause: text }
    }
}

/// Returns the remedy that the words of the database or its driver show. The driver nests its errors differently in each kind of call, and
/// keeps the words of TLS as a text.
fn remedy_in(words: &str) -> Option<Remedy> {
    const SIGNS: [(&str, Remedy); 3] =
        [("certificate verify failed", Remedy::TrustAuthority), ("Authentication", Remedy::Login), ("permission", Remedy::Grant)];
    /// A database that can't look at its own table of users, because replicas of it are away, does not know whether a password is right.
    /// Cassandra and ScyllaDB answer with the same error as to a wrong one.
    const UNCHECKED: [&str; 5] = [
        "Unable to perform authentication",
        "Could not verify password",
        "Cannot achieve consistency level",
        "Operation timed out",
        "Operation failed",
    ];
    if UNCHECKED.into_iter().any(|sign| words.contains(sign)) {
        return None;
    }
    SIGNS.into_iter().find_map(|(sign, remedy)| words.contains(sign).then_some(remedy))
}

fn kind_of(error: &ExecutionError) -> FaultKind {
    match error {
        ExecutionError::RequestTimeout(_) => FaultKind::TimedOut,
        ExecutionError::EmptyPlan => FaultKind::Unavailable,
        ExecutionError::ConnectionPoolError(_)
        | ExecutionError::LastAttemptError(RequestAttemptError::BrokenConnectionError(_)) => FaultKind::ConnectionLost,
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, _)) => kind_of_answer(error),
        _ => FaultKind::Other,
    }
}

fn kind_of_answer(error: &DbError) -> FaultKind {
    match error {
        DbError::Unavailable { .. } => FaultKind::Unavailable,
        DbError::WriteTimeout { write_type: WriteType::Cas, .. }
        | DbError::ReadTimeout { consistency: Consistency::Serial | Consistency::LocalSerial, .. } => FaultKind::Undecided,
        DbError::WriteTimeout { .. } | DbError::ReadTimeout { .. } => FaultKind::TimedOut,
        DbError::SyntaxError
        | DbError::Invalid
        | DbError::AlreadyExists { .. }
        | DbError::AuthenticationError
        | DbError::Unauthorized
        | DbError::ConfigError => FaultKind::Refused,
        _ => FaultKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scylla::errors::ConnectionSetupRequestErrorKind;
    use std::time::Duration;

    #[test]
    fn each_error_of_the_driver_has_its_kind() {
        let answer = |error| ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, "said the node".into()));
        let write_timeout =
            |write_type| DbError::WriteTimeout { consistency: Consistency::Quorum, received: 1, required: 2, write_type };
        let read_timeout = |consistency| DbError::ReadTimeout { consistency, received: 1, required: 2, data_present: false };
        let unavailable = DbError::Unavailable { consistency: Consistency::Quorum, required: 2, alive: 1 };
        for (error, expected) in [
            (ExecutionError::RequestTimeout(Duration::from_secs(5)), FaultKind::TimedOut),
            (ExecutionError::EmptyPlan, FaultKind::Unavailable),
            (answer(unavailable), FaultKind::Unavailable),
            (answer(write_timeout(WriteType::Cas)), FaultKind::Undecided),
            (answer(write_timeout(WriteType::Simple)), FaultKind::TimedOut),
            (answer(read_timeout(Consistency::Serial)), FaultKind::Undecided),
            (answer(read_timeout(Consistency::LocalQuorum)), FaultKind::TimedOut),
            (answer(DbError::Unauthorized), FaultKind::Refused),
            (answer(DbError::Overloaded), FaultKind::Other),
        ] {
            assert_eq!(kind_of(&error), expected, "{error}");
        }
    }

    #[test]
    fn the_words_of_database_and_driver_show_the_remedy() {
        let answer =
            |error, words: &str| ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, words.into())).to_string();
        for (words, expected) in [
            (answer(DbError::AuthenticationError, "Provided username crm and/or password are incorrect"), Some(Remedy::Login)),
            (
                answer(
                    DbError::AuthenticationError,
                    "Unable to perform authentication: Cannot achieve consistency level LOCAL_ONE requires 1 alive 0",
                ),
                None,
            ),
            (answer(DbError::AuthenticationError, "Could not verify password"), None),
            (answer(DbError::AuthenticationError, "Cannot achieve consistency level for cl ONE. Requires 1, alive 0"), None),
            (
                answer(
                    DbError::AuthenticationError,
                    "Unable to perform authentication: Operation timed out - received only 0 responses.",
                ),
                None,
            ),
            (ConnectionSetupRequestErrorKind::MissingAuthentication.to_string(), Some(Remedy::Login)),
            (answer(DbError::Unauthorized, "User crm has no MODIFY permission on <table crm.entity>"), Some(Remedy::Grant)),
            (
                "error:0A000086:SSL routines:tls_post_process_server_certificate:certificate verify failed".into(),
                Some(Remedy::TrustAuthority),
            ),
            (answer(DbError::Overloaded, "too many requests"), None),
        ] {
            assert_eq!(fault_of::<String>("apply")(words.clone()).remedy, expected, "{words}");
        }
    }

    #[test]
    fn a_fault_names_the_node_that_was_asked() {
        let of_statement =
            StatementFault { node: Some("127.0.0.1:9042".into()), ..StatementFault::from(ExecutionError::EmptyPlan) };
        let fault = fault_of("apply")(of_statement);
        assert!(fault.to_string().starts_with("apply failed at 127.0.0.1:9042: "), "{fault}");
    }
}
