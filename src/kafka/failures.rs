//! Tells errors of transaction calls apart by what they leave open: whether anything may have taken effect. It is pure.

use crate::flow::attempt::Failure;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// Returns what an error of a transaction call leaves open.
pub fn failure(error: &KafkaError) -> Failure {
    // Only an error that asks for an abort proves that nothing was committed.
    if !requires_abort(error) {
        return Failure::Unknown;
    }
    match error.rdkafka_error_code() {
        Some(code) if is_stale(code) => Failure::Stale,
        Some(Code::OffsetMetadataTooLarge) => Failure::OffsetsTooLarge,
        _ => Failure::Abortable,
    }
}

fn requires_abort(error: &KafkaError) -> bool {
    match error {
        KafkaError::Transaction(e) => e.txn_requires_abort(),
        // So far only outputs were sent, so nothing can have been committed.
        KafkaError::Flush(_) | KafkaError::MessageProduction(_) => true,
        _ => false,
    }
}

/// Returns whether an error means that the membership of the group with which the offsets were to be committed is over.
fn is_stale(code: Code) -> bool {
    matches!(code, Code::IllegalGeneration | Code::UnknownMemberId | Code::FencedInstanceId)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_tried_again_unless_the_error_proves_that_nothing_took_effect() {
        let cases = [
            (KafkaError::Flush(Code::OperationTimedOut), Failure::Abortable),
            (KafkaError::MessageProduction(Code::NotLeaderForPartition), Failure::Abortable),
            (KafkaError::MessageProduction(Code::UnknownMemberId), Failure::Stale),
            (KafkaError::MessageProduction(Code::OffsetMetadataTooLarge), Failure::OffsetsTooLarge),
            (KafkaError::Global(Code::OperationTimedOut), Failure::Unknown),
            (KafkaError::Global(Code::UnknownMemberId), Failure::Unknown),
            (KafkaError::Canceled, Failure::Unknown),
        ];
        for (error, expected) in cases {
            assert_eq!(failure(&error), expected, "{error}");
        }
    }
}
