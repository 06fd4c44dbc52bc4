//! One assignment after another: what is under way when one ends, and what becomes of a transaction's records.

use super::{Names, at};
use crate::flow::attempt::{Pace, Refusal, Verdict, Why};
use crate::flow::batch::Finished;
use crate::flow::lanes::RunId;
use crate::flow::offsets::{Committed, Delivery};
use crate::flow::stream::Stream;
use crate::flow::{Limits, Transaction};

type Tested = Stream<Names, usize, &'static str>;

/// With partition 0 assigned for the first time, and these offsets of it in a transaction.
fn publishing(offsets: &[i64]) -> (Tested, Transaction<usize>) {
    let mut stream = Tested::new(Limits::default());
    stream.assigned(1, "first", &[(0, Committed::default())]);
    let flow = stream.flow(1).expect("it was assigned");
    for offset in offsets {
        assert_eq!(flow.deliver(at(*offset)), Delivery::New);
        flow.admit(at(*offset), u64::try_from(*offset).expect("positive"), Names(0));
        let run = flow.next_run().expect("it was admitted");
        flow.finish_run(run.id, vec![Finished { at: at(*offset), outputs: 1 }]);
    }
    let transaction = flow.next_transaction().expect("something has finished");
    (stream, transaction)
}

fn covering(offset: i64) -> Committed {
    Committed { offset: Some(offset), metadata: String::new() }
}

/// The offsets of the next transaction's records.
fn next(stream: &mut Tested) -> Vec<i64> {
    let transaction = stream.current_mut().and_then(|a| a.flow.next_transaction());
    transaction.map(|t| t.records.iter().map(|r| r.at.offset).collect()).unwrap_or_default()
}

#[test]
fn the_verdict_on_a_transaction_says_what_is_done_and_what_is_tried_again() {
    // The verdict on offsets 0, 1 and 2; can refused outputs go elsewhere; known to be committed; tried next; after that.
    type Row = (Verdict, bool, &'static [i64], &'static [i64], &'static [i64]);
    let refused = |record| Verdict::Refused(vec![Refusal { record, output: 0, why: Why::Missing }]);
    let table: &[Row] = &[
        (Verdict::Committed, false, &[0, 1, 2], &[], &[]),
        (Verdict::Aborted, false, &[], &[0, 1, 2], &[]),
        (refused(1), true, &[], &[0, 1, 2], &[]),
        (refused(1), false, &[], &[1], &[0, 2]),
        (Verdict::Uncertain(vec![(0, covering(3))]), false, &[0, 1, 2], &[], &[]),
        (Verdict::Uncertain(vec![(0, Committed::default())]), false, &[], &[0, 1, 2], &[]),
        (Verdict::Uncertain(vec![(0, covering(2))]), false, &[0, 1], &[2], &[]),
        (Verdict::Uncertain(vec![]), false, &[], &[0, 1, 2], &[]),
        (Verdict::Stale, false, &[], &[], &[]),
    ];
    for (verdict, redirected, done, first, second) in table {
        let (mut stream, transaction) = publishing(&[0, 1, 2]);
        let known = stream.published(1, transaction.records, verdict.clone(), Pace::Usual, |_, _| *redirected);
        assert_eq!(known.iter().map(|r| r.at.offset).collect::<Vec<_>>(), *done, "committed by {verdict:?}");
        assert_eq!(stream.current().is_some(), *verdict != Verdict::Stale, "still ours after {verdict:?}");
        if let Some(assignment) = stream.current_mut() {
            assert_eq!(assignment.flow.open(), 3 - done.len(), "still open after {verdict:?}");
            assignment.flow.try_held();
        }
        assert_eq!(next(&mut stream), *first, "tried again after {verdict:?}");
        if let Some(assignment) = stream.current_mut() {
            assignment.flow.aborted(Vec::new(), Vec::new());
        }
        assert_eq!(next(&mut stream), *second, "tried after that after {verdict:?}");
    }
}

#[test]
fn only_the_refused_outputs_are_sent_elsewhere_and_a_record_with_one_that_can_t_be_is_held() {
    let (mut stream, transaction) = publishing(&[0, 1, 2]);
    let refusals = [(0, 3), (1, 0), (1, 1)].map(|(record, output)| Refusal { record, output, why: Why::Missing });
    let mut asked = Vec::new();
    stream.published(1, transaction.records, Verdict::Refused(refusals.to_vec()), Pace::Usual, |record, refusal| {
        record.outputs += 10;
        asked.push(refusal.output);
        refusal.output != 0
    });
    assert_eq!(asked, [3, 0, 1]);
    let flow = stream.flow(1).expect("still ours");
    assert_eq!(flow.held(), 1);
    let again = flow.next_transaction().expect("two are tried again").records;
    assert_eq!(again.iter().map(|r| (r.at.offset, r.outputs)).collect::<Vec<_>>(), [(0, 11), (2, 1)]);
}

#[test]
fn what_belongs_to_an_earlier_assignment_is_dropped_wherever_it_turns_up() {
    for verdict in [Verdict::Aborted, Verdict::Stale, Verdict::Uncertain(vec![(0, covering(3))])] {
        let (mut stream, transaction) = publishing(&[0, 1, 2]);
        stream.assigned(2, "second", &[(0, Committed::default())]);
        assert!(stream.flow(1).is_none());
        stream.run_finished(1, RunId { lane: 7, number: 1 }, vec![Finished { at: at(0), outputs: 1 }]);
        let done = stream.published(1, transaction.records, verdict.clone(), Pace::Usual, |_, _| false);
        assert!(done.is_empty(), "{verdict:?} is not known to be committed");
        assert_eq!(stream.current().map(|a| (a.epoch, a.generation)), Some((2, "second")), "{verdict:?}");
        assert!(next(&mut stream).is_empty(), "{verdict:?} leaves the second assignment alone");
    }
    // What was committed all the same is counted.
    let (mut stream, transaction) = publishing(&[0, 1, 2]);
    stream.give_up();
    assert_eq!(stream.published(1, transaction.records, Verdict::Committed, Pace::Usual, |_, _| false).len(), 3);
}

#[test]
fn a_revocation_waits_for_what_runs_and_a_loss_for_nothing() {
    let (mut stream, transaction) = publishing(&[0]);
    let flow = stream.flow(1).expect("it was assigned");
    for offset in [1, 2] {
        assert_eq!(flow.deliver(at(offset)), Delivery::New);
        flow.admit(at(offset), 9, Names(0));
    }
    stream.revoked(false);
    assert!(!stream.has_room(), "nothing more is taken in");
    assert!(!stream.is_drained(), "a transaction is under way");
    assert!(stream.flow(1).expect("still ours").next_run().is_none(), "what waits is dropped");
    stream.published(1, transaction.records, Verdict::Committed, Pace::Usual, |_, _| false);
    assert!(stream.is_drained());

    let (mut stream, _) = publishing(&[0]);
    stream.revoked(true);
    assert!(stream.current().is_none() && stream.is_drained());
    assert!(stream.has_room(), "what still arrives is taken in and dropped");
}

#[test]
fn what_is_too_slow_even_alone_is_refused_whatever_became_of_its_transaction() {
    // How many records were in it, the verdict; can the output go elsewhere; tried at once, and those held.
    type Row = (&'static [i64], Verdict, bool, &'static [i64], usize);
    let silent = Refusal { record: 0, output: 1, why: Why::Silent };
    let table: &[Row] = &[
        (&[0], Verdict::Aborted, false, &[], 1),
        (&[0], Verdict::Aborted, true, &[0], 0),
        (&[0], Verdict::Uncertain(vec![]), false, &[], 1),
        (&[0], Verdict::Uncertain(vec![]), true, &[0], 0),
        (&[0], Verdict::Uncertain(vec![(0, covering(1))]), false, &[], 0),
        (&[0, 1], Verdict::Aborted, false, &[0], 0),
        (&[0, 1], Verdict::Uncertain(vec![]), false, &[0], 0),
    ];
    for (offsets, verdict, elsewhere, again, held) in table {
        let (mut stream, transaction) = publishing(offsets);
        let late = Pace::Late(Some(silent));
        stream.published(1, transaction.records, verdict.clone(), late, |_, refusal| {
            assert_eq!(refusal, silent);
            *elsewhere
        });
        let flow = stream.flow(1).expect("it is ours");
        assert_eq!(flow.held(), *held, "{offsets:?} after {verdict:?}");
        assert_eq!(next(&mut stream), *again, "{offsets:?} after {verdict:?}");
    }
}
