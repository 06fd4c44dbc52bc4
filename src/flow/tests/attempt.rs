//! Which call of a transaction follows which.

use crate::flow::attempt::Failure::{Abortable, OffsetsTooLarge, Refused, Stale, Unknown};
use crate::flow::attempt::{Failure, Refusal, Step, Verdict, Why};

const OK: Result<(), Failure> = Ok(());
const CALLS: [Step; 4] = [Step::Produce, Step::Flush, Step::SendOffsets, Step::Commit];

fn refusals() -> Vec<Refusal> {
    vec![Refusal { record: 1, output: 0, why: Why::Missing }]
}

/// Returns the step after these results.
fn after(results: &[Result<(), Failure>]) -> Step {
    results.iter().fold(Step::FIRST, |step, result| step.then(result.clone()))
}

#[test]
fn a_transaction_ends_as_the_first_error_says() {
    let refused = || Err(Refused(refusals()));
    let table: &[(&[Result<(), Failure>], Step)] = &[
        (&[], Step::Produce),
        (&[OK], Step::Flush),
        (&[OK, OK], Step::SendOffsets),
        (&[OK, OK, OK], Step::Commit),
        (&[OK, OK, OK, OK], Step::Over(Verdict::Committed)),
        (&[refused()], Step::Abort(Verdict::Refused(refusals()))),
        (&[OK, refused()], Step::Abort(Verdict::Refused(refusals()))),
        (&[OK, refused(), OK], Step::Over(Verdict::Refused(refusals()))),
        (&[Err(Abortable)], Step::StartOver),
        (&[OK, Err(Abortable)], Step::StartOver),
        (&[OK, OK, Err(Abortable)], Step::Abort(Verdict::Aborted)),
        (&[OK, OK, Err(Abortable), OK], Step::Over(Verdict::Aborted)),
        (&[OK, OK, Err(OffsetsTooLarge), OK], Step::Over(Verdict::OffsetsTooLarge)),
        (&[OK, OK, Err(Stale)], Step::Abort(Verdict::Stale)),
        (&[OK, OK, Err(Stale), OK], Step::Over(Verdict::Stale)),
        (&[OK, OK, OK, Err(Abortable)], Step::Abort(Verdict::Aborted)),
        (&[OK, OK, OK, Err(Unknown)], Step::StartOver),
    ];
    for (results, expected) in table {
        assert_eq!(after(results), *expected, "after {results:?}");
    }
}

#[test]
fn only_an_error_that_says_that_nothing_took_effect_lets_the_producer_go_on_and_only_after_the_flush() {
    for call in CALLS {
        assert_eq!(call.clone().then(Err(Unknown)), Step::StartOver, "after {call:?}");
        let is_flushed = matches!(call, Step::SendOffsets | Step::Commit);
        let expected = if is_flushed { Step::Abort(Verdict::Aborted) } else { Step::StartOver };
        assert_eq!(call.clone().then(Err(Abortable)), expected, "after {call:?}");
    }
}

#[test]
fn an_abort_that_fails_in_whatever_way_is_no_abort() {
    for failure in [Abortable, Stale, Unknown, Refused(refusals())] {
        for verdict in [Verdict::Aborted, Verdict::Stale, Verdict::Refused(refusals())] {
            assert_eq!(Step::Abort(verdict).then(Err(failure.clone())), Step::StartOver, "after {failure:?}");
        }
    }
}
