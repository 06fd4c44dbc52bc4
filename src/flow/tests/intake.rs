//! Records that wait for something to be fetched, or for the lowest incomplete record.

use super::{Answerable, NOW, Names, Record, TestReader, at};
use crate::flow::batch::Finished;
use crate::flow::intake::Intake;
use crate::flow::offsets::{Committed, MAX_SPAN};
use crate::flow::{Assignment, Fetching, Limits, Partition, RecordId};

type Tested = (Intake<TestReader>, Assignment<Names, Answerable, usize>, TestReader);

fn nothing_waits() -> Tested {
    let (assignment, reader) =
        (Assignment::new(Limits::default(), &[(0, Committed::default()), (1, Committed::default())]), TestReader::default());
    (Intake::new(reader.clone()), assignment, reader)
}

fn lacking(partition: Partition, offset: i64, lacks: &'static str) -> Record {
    Record { id: RecordId { partition, offset }, lacks, lane: offset.cast_unsigned() }
}

/// Returns the records that were read since the last call.
fn read(intake: &mut Intake<TestReader>) -> Vec<(Partition, i64)> {
    intake.take_ahead().into_iter().map(|id| (id.partition, id.offset)).collect()
}

#[test]
fn a_partition_waits_in_its_order_behind_what_can_t_be_admitted_and_the_others_go_on() {
    let (mut intake, mut assignment, reader) = nothing_waits();
    for record in [(0, 0, ""), (0, 1, "a"), (0, 2, ""), (1, 0, ""), (0, 3, "b"), (0, 4, "")] {
        intake.take(lacking(record.0, record.1, record.2), &mut assignment);
    }
    assert_eq!(read(&mut intake), [(0, 0), (1, 0)]);
    assert_eq!(intake.waiting(), 4);
    assert_eq!(assignment.pauses(), [(0, Fetching::Paused)]);

    reader.fetched("a");
    intake.resume(&mut assignment);
    assert!(read(&mut intake).is_empty(), "not looked at again before something has changed");
    intake.fetched(&"a");
    intake.resume(&mut assignment);
    assert_eq!(read(&mut intake), [(0, 1), (0, 2)]);
    assert!(assignment.pauses().is_empty(), "there is one more in the way");

    reader.fetched("b");
    intake.fetched(&"b");
    intake.resume(&mut assignment);
    assert_eq!(read(&mut intake), [(0, 3), (0, 4)]);
    assert_eq!(intake.waiting(), 0);
    assert_eq!(assignment.pauses(), [(0, Fetching::Resumed)]);
}

#[test]
fn what_is_needed_is_wanted_once_until_it_is_fetched() {
    let (mut intake, mut assignment, _) = nothing_waits();
    intake.take(lacking(0, 0, "a"), &mut assignment);
    intake.take(lacking(1, 0, "a"), &mut assignment);
    assert_eq!(intake.next_wanted(), Some("a"));
    assert_eq!(intake.next_wanted(), None, "told once");
    // The assignment is over; what is being fetched is not fetched a second time for the next.
    intake.clear();
    assert_eq!(intake.waiting(), 0);
    intake.take(lacking(0, 0, "a"), &mut assignment);
    assert_eq!(intake.next_wanted(), None);
    // It was fetched too late, or is gone again: then it is wanted again.
    intake.fetched(&"a");
    intake.resume(&mut assignment);
    assert_eq!(intake.next_wanted(), Some("a"));
}

#[test]
fn what_the_records_behind_one_that_waits_lack_is_fetched_meanwhile() {
    let (mut intake, mut assignment, _) = nothing_waits();
    for (offset, lacks) in (0..).zip(["a", "", "b", "a", "c"]) {
        intake.take(lacking(0, offset, lacks), &mut assignment);
    }
    let wanted: Vec<_> = std::iter::from_fn(|| intake.next_wanted()).collect();
    assert_eq!(wanted, ["a", "b", "c"]);
}

#[test]
fn a_record_too_far_above_the_lowest_one_wants_nothing_but_to_be_looked_at_again() {
    let far = i64::try_from(MAX_SPAN).expect("it is small");
    let (mut intake, mut assignment, _) = nothing_waits();
    intake.take(lacking(0, 0, ""), &mut assignment);
    intake.take(lacking(0, far, ""), &mut assignment);
    assert_eq!((read(&mut intake), intake.next_wanted()), (vec![(0, 0)], None));
    assert_eq!(assignment.pauses(), [(0, Fetching::Paused)]);
    intake.stir();
    intake.resume(&mut assignment);
    assert!(read(&mut intake).is_empty(), "still too far");

    let run = assignment.next_run(NOW).expect("the lowest record was admitted");
    assignment.finish_run(run.id, vec![Finished { at: at(0), outputs: 1 }]);
    let transaction = assignment.next_transaction().expect("it has finished");
    assignment.committed(transaction.records.len());
    intake.stir();
    intake.resume(&mut assignment);
    assert_eq!(read(&mut intake), [(0, far)]);
    assert_eq!(assignment.pauses(), [(0, Fetching::Resumed)]);
}
