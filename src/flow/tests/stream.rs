//! One assignment after another: what is under way when one ends, what becomes of a transaction's records, and what waits until when.

use super::{NOW, Record, TestReader, at};
use crate::flow::AssignmentId;
use crate::flow::attempt::{Pace, Refusal, Verdict, Why};
use crate::flow::batch::Finished;
use crate::flow::lanes::RunId;
use crate::flow::offsets::Committed;
use crate::flow::stream::{Action, Stopping, Stream, Timing};
use crate::flow::{Limits, Publication, Uptime};
use std::time::Duration;

type Tested = Stream<TestReader, usize, &'static str>;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// Nothing lingers, so that transactions come at once.
const AT_ONCE: Timing =
    Timing { linger: Duration::ZERO, revocation_grace: SECOND, shutdown_grace: SECOND.saturating_mul(9), held_retry: SECOND };

/// Outputs of which the first has no other place, and outputs that all have one.
const STUCK: usize = 1;
const MOVABLE: usize = 2;

/// Returns a stream with partition 0 assigned for the first time.
fn assigned(timing: Timing) -> Tested {
    let mut stream = Tested::new(Limits::default(), timing, TestReader::default());
    stream.handle_assigned(1, "first", &[(0, Committed::default())]);
    stream
}

fn record(offset: i64, lane: u64) -> Record {
    Record { id: at(offset), lacks: "", lane }
}

/// An action that a stream asks for, told apart as far as the tests need it.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Process(AssignmentId, RunId),
    Publish(Vec<i64>),
    AbortRuns,
    Drained { in_time: bool },
    Leave,
    Other,
}

fn asked(stream: &mut Tested, now: Uptime) -> Vec<Asked> {
    let all = std::iter::from_fn(|| stream.poll(now));
    let named = all.map(|action| match action {
        Action::Process(assignment, run) => Asked::Process(assignment, run.id),
        Action::Publish(publication) => Asked::Publish(publication.records.iter().map(|r| r.at.offset).collect()),
        Action::AbortRuns => Asked::AbortRuns,
        Action::Drained { in_time } => Asked::Drained { in_time },
        Action::Leave => Asked::Leave,
        Action::Fetch(_) | Action::ReadAhead(_) | Action::Pause(_) => Asked::Other,
    });
    named.collect()
}

/// Takes these records in and starts their runs, each in a lane of its own.
fn running(stream: &mut Tested, offsets: &[i64]) -> Vec<RunId> {
    stream.handle_records(1, offsets.iter().map(|offset| record(*offset, offset.cast_unsigned())));
    let runs = asked(stream, NOW).into_iter().map(|asked| match asked {
        Asked::Process(1, run) => run,
        other => panic!("{other:?} is no run"),
    });
    runs.collect()
}

fn finish(stream: &mut Tested, run: RunId) {
    finish_with(stream, run, STUCK);
}

fn finish_with(stream: &mut Tested, run: RunId, outputs: usize) {
    stream.handle_run_finished(1, run, vec![Finished { at: at(run.lane.cast_signed()), outputs }]);
}

/// Returns the next publication. Runs that come before it are decided at once.
fn publication(stream: &mut Tested) -> Option<Publication<usize, &'static str>> {
    publication_with(stream, STUCK)
}

fn publication_with(stream: &mut Tested, outputs: usize) -> Option<Publication<usize, &'static str>> {
    while let Some(action) = stream.poll(NOW) {
        match action {
            Action::Publish(publication) => return Some(publication),
            Action::Process(_, run) => finish_with(stream, run.id, outputs),
            _ => {}
        }
    }
    None
}

/// Returns a stream with these offsets of partition 0 in a transaction.
fn publishing(timing: Timing, offsets: &[i64]) -> (Tested, Publication<usize, &'static str>) {
    publishing_with(timing, offsets, STUCK)
}

fn publishing_with(timing: Timing, offsets: &[i64], outputs: usize) -> (Tested, Publication<usize, &'static str>) {
    let mut stream = assigned(timing);
    stream.handle_records(1, offsets.iter().map(|offset| record(*offset, offset.cast_unsigned())));
    let publication = publication_with(&mut stream, outputs).expect("something has finished");
    (stream, publication)
}

fn covering(offset: i64) -> Committed {
    Committed { offset: Some(offset), metadata: String::new() }
}

/// Returns the offsets of the next transaction's records.
fn next(stream: &mut Tested) -> Vec<i64> {
    publication(stream).map(|p| p.records.iter().map(|r| r.at.offset).collect()).unwrap_or_default()
}

fn held(stream: &Tested) -> usize {
    stream.current().expect("it is ours").assignment.held()
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
    for (verdict, movable, done, first, second) in table {
        let timing = Timing { held_retry: Duration::ZERO, ..AT_ONCE };
        let (mut stream, transaction) = publishing_with(timing, &[0, 1, 2], if *movable { MOVABLE } else { STUCK });
        let known = stream.handle_published(1, transaction.records, verdict.clone(), Pace::Usual).done;
        assert_eq!(known.iter().map(|r| r.at.offset).collect::<Vec<_>>(), *done, "committed by {verdict:?}");
        assert_eq!(stream.current().is_some(), *verdict != Verdict::Stale, "still ours after {verdict:?}");
        if let Some(assignment) = stream.current() {
            assert_eq!(assignment.assignment.open(), 3 - done.len(), "still open after {verdict:?}");
        }
        assert_eq!(next(&mut stream), *first, "tried again after {verdict:?}");
        stream.handle_published(1, Vec::new(), Verdict::Aborted, Pace::Usual);
        assert_eq!(next(&mut stream), *second, "tried after that after {verdict:?}");
    }
}

#[test]
fn only_the_refused_outputs_are_sent_elsewhere_and_a_record_with_one_that_can_t_be_is_held() {
    let (mut stream, transaction) = publishing(AT_ONCE, &[0, 1, 2]);
    let refusals = [(0, 3), (1, 0), (1, 1)].map(|(record, output)| Refusal { record, output, why: Why::Missing });
    let told = stream.handle_published(1, transaction.records, Verdict::Refused(refusals.to_vec()), Pace::Usual);
    assert_eq!((told.done.len(), told.refused), (0, vec![(at(0), 3), (at(1), 0), (at(1), 1)]));
    assert_eq!(held(&stream), 1);
    let again = publication(&mut stream).expect("two are tried again").records;
    assert_eq!(again.iter().map(|r| (r.at.offset, r.outputs)).collect::<Vec<_>>(), [(0, 11), (2, 1)]);
}

#[test]
fn what_belongs_to_an_earlier_assignment_is_dropped_wherever_it_turns_up() {
    for verdict in [Verdict::Aborted, Verdict::Stale, Verdict::Uncertain(vec![(0, covering(3))])] {
        let (mut stream, transaction) = publishing(AT_ONCE, &[0, 1, 2]);
        stream.handle_assigned(2, "second", &[(0, Committed::default())]);
        stream.handle_records(1, [record(3, 3)]);
        stream.handle_run_decided(1, RunId { lane: 7, number: 1 });
        stream.handle_run_finished(1, RunId { lane: 7, number: 1 }, vec![Finished { at: at(0), outputs: 1 }]);
        let done = stream.handle_published(1, transaction.records, verdict.clone(), Pace::Usual).done;
        assert!(done.is_empty(), "{verdict:?} is not known to be committed");
        assert_eq!(stream.current().map(|a| (a.id, a.membership)), Some((2, "second")), "{verdict:?}");
        assert_eq!(asked(&mut stream, NOW), [Asked::AbortRuns], "{verdict:?} leaves the second assignment alone");
    }
    // What was committed all the same is counted.
    let (mut stream, transaction) = publishing(AT_ONCE, &[0, 1, 2]);
    stream.handle_revoked(true, NOW);
    assert_eq!(stream.handle_published(1, transaction.records, Verdict::Committed, Pace::Usual).done.len(), 3);
}

#[test]
fn a_revocation_waits_for_what_runs_and_a_loss_for_nothing() {
    let (mut stream, transaction) = publishing(AT_ONCE, &[0]);
    let runs = running(&mut stream, &[1]);
    stream.handle_records(1, [record(2, 1)]);
    stream.handle_revoked(false, NOW);
    assert!(!stream.has_room(), "nothing more is taken in");
    assert_eq!(asked(&mut stream, NOW), [], "a run and a transaction are under way; what waits is dropped");
    finish(&mut stream, runs[0]);
    assert_eq!(asked(&mut stream, NOW), [], "a transaction is under way");
    stream.handle_published(1, transaction.records, Verdict::Committed, Pace::Usual);
    let transaction = publication(&mut stream).expect("what ran is committed, too");
    assert_eq!(asked(&mut stream, NOW), []);
    stream.handle_published(1, transaction.records, Verdict::Committed, Pace::Usual);
    assert_eq!(asked(&mut stream, NOW), [Asked::AbortRuns, Asked::Drained { in_time: true }]);

    let (mut stream, _) = publishing(AT_ONCE, &[0]);
    stream.handle_revoked(true, NOW);
    assert!(stream.current().is_none());
    assert_eq!(asked(&mut stream, NOW), [Asked::AbortRuns, Asked::Drained { in_time: true }]);
    assert!(stream.has_room(), "what still arrives is taken in and dropped");
}

#[test]
fn an_assignment_that_comes_before_the_revocation_has_drained_is_kept() {
    let mut stream = assigned(AT_ONCE);
    running(&mut stream, &[0]);
    stream.handle_revoked(false, NOW);
    assert_eq!(asked(&mut stream, NOW), [], "a run is under way");
    stream.handle_assigned(2, "second", &[(0, Committed::default())]);
    assert_eq!(asked(&mut stream, NOW), [Asked::AbortRuns, Asked::Drained { in_time: false }]);
    assert_eq!(asked(&mut stream, SECOND * 9), [], "the grace of the first is over");
    assert_eq!(stream.current().map(|a| a.id), Some(2));
    assert_eq!(stream.poll_timeout(), None);
}

#[test]
fn whatever_still_runs_is_waited_for_no_longer_than_the_grace_lasts() {
    enum Event {
        Revoked,
        Lost,
        Shutdown,
    }
    use Event::{Lost, Revoked, Shutdown};
    // Whether a command runs; what happens, a tenth of a second apart; when all is over; whether in time, and whether the process ends.
    let table: &[(bool, &[Event], Duration, bool, bool)] = &[
        (true, &[Revoked], SECOND, false, false),
        (true, &[Shutdown], SECOND * 9, false, true),
        (true, &[Shutdown, Revoked], SECOND + MS * 100, false, true),
        (true, &[Revoked, Shutdown], SECOND, false, true),
        (true, &[Revoked, Lost], MS * 100, true, false),
        (true, &[Lost], Duration::ZERO, true, false),
        (false, &[Revoked], Duration::ZERO, true, false),
        (false, &[Shutdown], Duration::ZERO, true, true),
    ];
    for (n, (runs, events, over, in_time, leaves)) in table.iter().enumerate() {
        let mut stream = assigned(AT_ONCE);
        let under_way = if *runs { running(&mut stream, &[0]) } else { Vec::new() };
        assert_eq!(stream.current().and_then(|a| a.assignment.oldest_run()), runs.then_some(NOW), "row {n}");
        let mut got = Vec::new();
        let mut now = NOW;
        for event in *events {
            match event {
                Revoked => stream.handle_revoked(false, now),
                Lost => stream.handle_revoked(true, now),
                Shutdown => stream.handle_shutdown(now),
            }
            got = asked(&mut stream, now);
            if !got.is_empty() {
                break;
            }
            now += MS * 100;
        }
        if got.is_empty() {
            let until = stream.poll_timeout().expect("the grace ends some time");
            assert!(asked(&mut stream, until.saturating_sub(MS)).is_empty(), "row {n}: not before {until:?}");
            (got, now) = (asked(&mut stream, until), until);
        }
        let mut expected = vec![Asked::AbortRuns, Asked::Drained { in_time: *in_time }];
        expected.extend(leaves.then_some(Asked::Leave));
        assert_eq!((got, now), (expected, *over), "row {n}");
        assert_eq!(stream.stopping() == Stopping::Leaving, *leaves, "row {n}");
        assert_eq!(stream.poll_timeout(), None, "row {n}: nothing is waited for any more");
        for run in under_way {
            finish(&mut stream, run);
        }
        assert_eq!(asked(&mut stream, now), [], "row {n}: what comes too late is dropped");
    }
}

#[test]
fn a_process_without_partitions_leaves_at_once() {
    let mut stream = Tested::new(Limits::default(), AT_ONCE, TestReader::default());
    assert_eq!((asked(&mut stream, NOW), stream.poll_timeout()), (vec![], None));
    stream.handle_shutdown(NOW);
    stream.handle_shutdown(NOW);
    assert_eq!(asked(&mut stream, NOW), [Asked::Drained { in_time: true }, Asked::Leave]);
}

#[test]
fn a_transaction_is_put_off_while_more_is_being_processed_and_never_longer_than_it_may_linger() {
    let mut stream = assigned(Timing { linger: MS * 20, ..AT_ONCE });
    let runs = running(&mut stream, &[0, 1, 2, 3]);
    assert_eq!(stream.poll_timeout(), None, "nothing has finished");
    finish(&mut stream, runs[0]);
    assert_eq!((asked(&mut stream, MS), stream.poll_timeout()), (vec![], Some(MS * 21)));
    finish(&mut stream, runs[1]);
    assert_eq!(
        (asked(&mut stream, MS * 20), stream.poll_timeout()),
        (vec![Asked::Publish(vec![0, 1])], None),
        "half has finished"
    );

    let mut stream = assigned(Timing { linger: MS * 20, ..AT_ONCE });
    let runs = running(&mut stream, &[0, 1, 2, 3]);
    finish(&mut stream, runs[0]);
    // Whatever happens meanwhile does not put it off any longer.
    for ms in 1..21 {
        stream.handle_fetched(&"nothing that anybody waits for");
        assert_eq!((asked(&mut stream, MS * ms), stream.poll_timeout()), (vec![], Some(MS * 21)), "after {ms} ms");
    }
    assert_eq!(asked(&mut stream, MS * 21), [Asked::Publish(vec![0])]);
    assert_eq!(stream.poll_timeout(), None, "nothing is put off any more");

    let mut stream = assigned(Timing { linger: MS * 20, ..AT_ONCE });
    let runs = running(&mut stream, &[0, 1, 2, 3]);
    finish(&mut stream, runs[0]);
    assert!(asked(&mut stream, NOW).is_empty());
    stream.handle_revoked(true, NOW);
    asked(&mut stream, NOW);
    assert_eq!(stream.poll_timeout(), None, "the next assignment begins anew");
}

#[test]
fn a_record_that_is_held_is_tried_now_and_then() {
    let (mut stream, transaction) = publishing(AT_ONCE, &[0]);
    let refused = || Verdict::Refused(vec![Refusal { record: 0, output: 0, why: Why::Missing }]);
    stream.handle_published(1, transaction.records, refused(), Pace::Usual);
    for second in 1..4 {
        assert_eq!(asked(&mut stream, (SECOND * second).saturating_sub(MS)), [], "not yet");
        let due = stream.poll_timeout().expect("it is tried some time");
        let Some(Action::Publish(publication)) = stream.poll(due) else { panic!("nothing is tried at {due:?}") };
        assert_eq!(publication.records.len(), 1);
        stream.handle_published(1, publication.records, refused(), Pace::Usual);
    }
    let due = stream.poll_timeout().expect("it is tried some time");
    let Some(Action::Publish(publication)) = stream.poll(due) else { panic!("nothing is tried at {due:?}") };
    stream.handle_published(1, publication.records, Verdict::Committed, Pace::Usual);
    assert_eq!((asked(&mut stream, due), stream.poll_timeout()), (vec![], None));
}

#[test]
fn what_is_too_slow_alone_twice_is_refused_whatever_became_of_its_transaction() {
    // How many records were in it, the verdict; can the output go elsewhere; tried at once, and those held.
    type Row = (&'static [i64], Verdict, bool, &'static [i64], usize);
    let silent = Refusal { record: 0, output: 0, why: Why::Silent };
    let table: &[Row] = &[
        (&[0], Verdict::Aborted, false, &[], 1),
        (&[0], Verdict::Aborted, true, &[0], 0),
        (&[0], Verdict::Uncertain(vec![]), false, &[], 1),
        (&[0], Verdict::Uncertain(vec![]), true, &[0], 0),
        (&[0], Verdict::Uncertain(vec![(0, covering(1))]), false, &[], 0),
        (&[0, 1], Verdict::Aborted, false, &[0], 0),
        (&[0, 1], Verdict::Uncertain(vec![]), false, &[0], 0),
    ];
    for (offsets, verdict, elsewhere, again, expected) in table {
        let (mut stream, mut transaction) = publishing_with(AT_ONCE, offsets, if *elsewhere { MOVABLE } else { STUCK });
        if let [only] = offsets {
            // The first time, a broker may have failed.
            let told = stream.handle_published(1, transaction.records, Verdict::Aborted, Pace::Late(Some(silent)));
            assert_eq!((told.refused, held(&stream)), (vec![], 0), "{offsets:?}");
            let Some(Action::Publish(again)) = stream.poll(Duration::ZERO) else { panic!("{only} is not tried again") };
            transaction = again;
        }
        let told = stream.handle_published(1, transaction.records, verdict.clone(), Pace::Late(Some(silent)));
        assert!(told.refused.iter().all(|told| *told == (at(0), 0)), "{:?}", told.refused);
        assert_eq!(held(&stream), *expected, "{offsets:?} after {verdict:?}");
        assert_eq!(next(&mut stream), *again, "{offsets:?} after {verdict:?}");
    }
}

#[test]
fn a_record_that_can_t_be_decoded_is_stepped_over_if_it_is_near_enough() {
    let mut stream = assigned(AT_ONCE);
    assert!(stream.handle_undecodable(at(0), super::Answerable));
    assert!(stream.handle_undecodable(at(0), super::Answerable), "told again");
    assert!(!stream.handle_undecodable(at(1 << 40), super::Answerable), "too far above the lowest one");
    assert_eq!(stream.current().map(|a| a.assignment.open()), Some(1));
    let mut stream = Tested::new(Limits::default(), AT_ONCE, TestReader::default());
    assert!(!stream.handle_undecodable(at(0), super::Answerable), "nothing is assigned");
    let reader = TestReader::default();
    let mut stream = Tested::new(Limits::default(), AT_ONCE, reader.clone());
    stream.handle_assigned(1, "first", &[(0, Committed::default())]);
    stream.handle_records(1, [Record { lacks: "schema", ..record(0, 0) }]);
    assert!(!stream.handle_undecodable(at(1), super::Answerable), "a record before it waits");
    reader.fetched("schema");
    stream.handle_fetched(&"schema");
    asked(&mut stream, NOW);
    assert!(stream.handle_undecodable(at(1), super::Answerable));
    assert_eq!(stream.current().map(|a| a.assignment.open()), Some(2));
}
