//! The state machines of the stream: each by itself in tables, and whole lives of assignments at random.

mod attempt;
mod intake;
mod stream;

use super::attempt::Pace;
use super::attempt::Why;
use super::batch::{Batches, Finished, Publishable, Redirection};
use super::intake::{ReadRecord, Reader};
use super::lanes::{Foldable, LaneId, Lanes, Run, Task, Turn, Work, lane_of};
use super::offsets::{Committed, Delivery, MAX_SPAN, Offsets, naming};
use super::{Assignment, Fetching, Limits, RecordId, Uptime};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::rc::Rc;

/// A command, as far as the stream sees it: which entity it names.
#[derive(Clone, Debug, PartialEq)]
struct Names(u32);

impl Foldable for Names {
    fn folds_with(&self, next: &Self) -> bool {
        self == next
    }
}

/// A record that is to be answered without a decision.
#[derive(Clone, Debug, PartialEq)]
struct Answerable;

/// Returns the task of a command that names this entity.
fn names(entity: u32) -> Task<Names, Answerable> {
    Task::Decide(Names(entity))
}

/// Returns the records of a run.
fn records(run: &Run<Names, Answerable>) -> Vec<RecordId> {
    match &run.work {
        Work::Decide(commands) => commands.iter().map(|(at, _)| *at).collect(),
        Work::Answer(at, Answerable) => vec![*at],
    }
}

impl Publishable for usize {
    type Refused = (RecordId, usize);

    fn weight(&self) -> usize {
        *self
    }

    /// Each output has another place, except the first one of a record of odd weight. The record weighs more afterwards.
    fn redirect(&mut self, record: RecordId, output: usize, _: Why) -> Redirection<Self::Refused> {
        *self += 10;
        Redirection { has_other_place: output != 0 || self.is_multiple_of(2), report: (record, output) }
    }
}

/// A record of the command topic, which lacks something or nothing.
#[derive(Clone, Debug)]
struct Record {
    id: RecordId,
    lacks: &'static str,
    lane: LaneId,
}

/// Reads records that lack nothing, or whose need was fetched. What can be read ahead for a record is its id.
#[derive(Clone, Debug, Default)]
struct TestReader(Rc<RefCell<BTreeSet<&'static str>>>);

impl TestReader {
    fn fetched(&self, what: &'static str) {
        self.0.borrow_mut().insert(what);
    }
}

impl Reader for TestReader {
    type Record = Record;
    type Need = &'static str;
    type Prepared = ();
    type Command = Names;
    type Answerable = Answerable;
    type Ahead = RecordId;

    fn id(record: &Record) -> RecordId {
        record.id
    }

    fn lacks(&self, record: &Record) -> Option<&'static str> {
        let is_there = record.lacks.is_empty() || self.0.borrow().contains(record.lacks);
        (!is_there).then_some(record.lacks)
    }

    fn prepare(&mut self, record: &Record) -> Result<(), &'static str> {
        self.lacks(record).map_or(Ok(()), Err)
    }

    fn read(&mut self, record: Record, (): ()) -> ReadRecord<Self> {
        ReadRecord { lane: record.lane, task: names(0), ahead: Some(record.id) }
    }
}

/// Most tests need no time to pass.
const NOW: Uptime = Uptime::ZERO;

fn at(offset: i64) -> RecordId {
    RecordId { partition: 0, offset }
}

fn committed(offsets: &Offsets) -> Committed {
    let (offset, metadata) = offsets.to_commit();
    Committed { offset: Some(offset), metadata }
}

/// A small generator (xorshift64*), so that a seed says everything.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).expect("it is below n")
    }
}

fn seeds(count: u64) -> std::ops::Range<u64> {
    match std::env::var("CRM_SEED").ok().and_then(|s| s.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 1..count + 1,
    }
}

#[test]
fn the_lowest_incomplete_offset_is_committed_with_a_bitmap_of_those_done_above() {
    // Columns: what was committed before, what is delivered, what is done; then what is committed, and which offsets that covers.
    type Row = (Option<i64>, &'static [i64], &'static [i64], i64, &'static [i64]);
    let table: &[Row] = &[
        (None, &[], &[], 0, &[]),
        (None, &[0, 1, 2], &[0, 1, 2], 3, &[0, 1, 2]),
        (None, &[0, 1, 2], &[1], 0, &[1]),
        (None, &[0, 1, 2, 3], &[0, 2, 3], 1, &[0, 2, 3]),
        (Some(10), &[10, 11, 12], &[11], 10, &[9, 11]),
        // 11 is a transaction marker: no record, so nothing waits for it.
        (Some(10), &[10, 12], &[10, 12], 13, &[10, 12]),
        (Some(10), &[10, 12], &[10], 12, &[10]),
        // The log begins at 1,000,000,000.
        (None, &[1_000_000_000, 1_000_000_001], &[1_000_000_001], 1_000_000_000, &[1_000_000_001]),
    ];
    for (before, delivered, done, expected, covered) in table {
        let mut offsets = Offsets::resume(&Committed { offset: *before, metadata: String::new() });
        for offset in *delivered {
            assert_eq!(offsets.deliver(*offset), Delivery::New, "{offset} of {delivered:?}");
        }
        for offset in *done {
            offsets.committing(*offset);
        }
        let now = committed(&offsets);
        assert_eq!(now.offset, Some(*expected), "committed before: {before:?}, delivered: {delivered:?}, done: {done:?}");
        for offset in delivered.iter().chain(*covered) {
            assert_eq!(now.covers(*offset), covered.contains(offset), "is {offset} covered by {now:?}?");
        }
    }
}

#[test]
fn what_was_done_before_the_assignment_is_skipped() {
    let mut before = Offsets::resume(&Committed::default());
    (0..100).for_each(|o| assert_eq!(before.deliver(o), Delivery::New));
    let done = [0, 1, 2, 5, 7, 8, 9, 64, 99];
    for offset in done {
        before.committing(offset);
    }
    let now = committed(&before);
    assert_eq!(now.offset, Some(3));
    let mut after = Offsets::resume(&now);
    for offset in 3..120 {
        let expected = if done.contains(&offset) { Delivery::Known } else { Delivery::New };
        assert_eq!(after.deliver(offset), expected, "offset {offset}");
    }
    assert_eq!(after.deliver(119), Delivery::Known, "delivered a second time");
}

#[test]
fn an_aborted_transaction_completes_nothing() {
    let mut offsets = Offsets::resume(&Committed::default());
    (0..3).for_each(|o| assert_eq!(offsets.deliver(o), Delivery::New));
    offsets.committing(0);
    offsets.committing(2);
    offsets.abort();
    assert_eq!(offsets.to_commit(), (0, String::new()));
    offsets.committing(0);
    offsets.commit();
    assert_eq!(offsets.low(), 1);
}

#[test]
fn a_record_that_is_skipped_is_told_to_the_coordinator_by_a_transaction_that_begins_after_it() {
    let mut before = Offsets::resume(&Committed::default());
    (0..2).for_each(|offset| assert_eq!(before.deliver(offset), Delivery::New));
    before.committing(1);
    let mut assignment: Assignment<Names, Answerable, usize> = Assignment::new(Limits::default(), &[(0, committed(&before))]);
    assert_eq!(assignment.deliver(at(0)), Delivery::New);
    assignment.admit(at(0), 0, names(0));
    let run = assignment.next_run(NOW).expect("a lane is ready");
    assignment.finish_run(run.id, vec![Finished { at: at(0), outputs: 1 }]);
    let offset = |assignment: &mut Assignment<Names, Answerable, usize>| {
        assignment.next_transaction().map(|transaction| (transaction.offsets[0].offset, transaction.records.len()))
    };
    assert_eq!(offset(&mut assignment), Some((1, 1)));
    assert_eq!(assignment.deliver(at(1)), Delivery::Known);
    assignment.committed(1);
    let now = |offset| [(0, Committed { offset: Some(offset), metadata: String::new() })];
    assert_eq!(offset(&mut assignment), Some((2, 0)));
    assignment.aborted(Vec::new(), Vec::new());
    for found in [1, 2] {
        assert_eq!(offset(&mut assignment), Some((2, 0)), "before the coordinator is found to have {found}");
        drop(assignment.told_apart(Vec::new(), &now(found)));
        assignment.settled(0, Vec::new(), Vec::new());
    }
    assert_eq!(offset(&mut assignment), None);
}

#[test]
fn an_offset_above_where_the_partition_begins_anew_proves_nothing_of_the_records_that_are_there_now() {
    let of_another_log = Committed { offset: Some(1_000), metadata: String::new() };
    let mut assignment: Assignment<Names, Answerable, usize> = Assignment::new(Limits::default(), &[(0, of_another_log.clone())]);
    assert_eq!(assignment.deliver(at(0)), Delivery::New);
    assignment.admit(at(0), 0, names(0));
    let run = assignment.next_run(NOW).expect("a lane is ready");
    assignment.finish_run(run.id, vec![Finished { at: at(0), outputs: 1 }]);
    // Nobody knows what became of the transaction, and the coordinator has the old offset: nothing was committed.
    let records = assignment.next_transaction().expect("one has finished").records;
    let (done, again) = assignment.told_apart(records, &[(0, of_another_log)]);
    assert_eq!((done.len(), again.len()), (0, 1));
    assignment.settled(0, again, Vec::new());
    let records = assignment.next_transaction().expect("it is tried again").records;
    let (done, again) = assignment.told_apart(records, &[(0, Committed { offset: Some(1), metadata: String::new() })]);
    assert_eq!((done.len(), again.len()), (1, 0));
    assignment.settled(1, again, Vec::new());
    // From now on any offset is the new log's, the old one's number included.
    assert_eq!(assignment.deliver(at(999)), Delivery::New);
    assignment.admit(at(999), 0, names(0));
    let run = assignment.next_run(NOW).expect("a lane is ready");
    assignment.finish_run(run.id, vec![Finished { at: at(999), outputs: 1 }]);
    let records = assignment.next_transaction().expect("one has finished").records;
    let (done, _) = assignment.told_apart(records, &[(0, Committed { offset: Some(1_000), metadata: String::new() })]);
    assert_eq!(done.len(), 1);
}

#[test]
fn what_is_held_behind_a_refused_record_counts_for_the_length_of_its_lane() {
    let limits = Limits { max_lane: 8, max_run: 1, ..Limits::default() };
    let mut assignment: Assignment<Names, Answerable, usize> = Assignment::new(limits, &[(0, Committed::default())]);
    let mut offset = 0;
    let mut finish_one = |assignment: &mut Assignment<Names, Answerable, usize>| {
        assert_eq!(assignment.deliver(at(offset)), Delivery::New);
        assignment.admit(at(offset), 0, names(0));
        let run = assignment.next_run(NOW).expect("a lane is ready");
        assignment.finish_run(run.id, vec![Finished { at: at(offset), outputs: 1 }]);
        offset += 1;
    };
    finish_one(&mut assignment);
    let refused = assignment.next_transaction().expect("one has finished").records;
    assignment.aborted(Vec::new(), refused);
    while assignment.pauses().is_empty() {
        assert!(assignment.held() <= 8, "{} records are held", assignment.held());
        finish_one(&mut assignment);
    }
    assert_eq!(assignment.held(), 8);
    assignment.try_held();
    let records = assignment.next_transaction().expect("it is tried").records;
    assignment.committed(records.len());
    assert_eq!((assignment.held(), assignment.pauses()), (0, vec![(0, Fetching::Resumed)]));
}

/// What each release has written is in `tests/golden/offsets`, a file for each form: the offset, its metadata, and what it says.
#[test]
fn offsets_that_earlier_releases_committed_are_read() {
    let columns = |line: &'static str| <[&str; 3]>::try_from(line.split(' ').collect::<Vec<_>>()).expect("three columns");
    let golden = |offset: &str, metadata: &str| {
        let committed = Committed { offset: Some(offset.parse().unwrap()), metadata: metadata.into() };
        assert!(!committed.is_of_a_newer_release(), "{committed:?}");
        committed
    };
    for [offset, metadata, done] in include_str!("../../tests/golden/offsets/1.txt").lines().map(columns) {
        let committed = golden(offset, metadata);
        let done: Vec<i64> = done.split(',').map(|offset| offset.parse().unwrap()).collect();
        let low = committed.offset.unwrap();
        let covered: Vec<_> = (low..low + 1_000).filter(|offset| committed.covers(*offset)).collect();
        assert_eq!(covered, done, "{committed:?}");
        // A form that an older release can't read may be written only when none of those runs any more.
        let mut offsets = Offsets::resume(&Committed { metadata: String::new(), ..committed.clone() });
        for offset in low..=*done.last().unwrap() {
            assert_eq!(offsets.deliver(offset), Delivery::New);
        }
        for offset in &done {
            offsets.committing(*offset);
        }
        assert_eq!(offsets.to_commit(), (low, metadata.to_owned()));
    }
    for [offset, metadata, topic_id] in include_str!("../../tests/golden/offsets/2.txt").lines().map(columns) {
        let committed = golden(offset, metadata);
        assert_eq!((committed.topic_id(), naming(topic_id).as_str()), (Some(topic_id), metadata));
    }
}

#[test]
fn a_text_of_a_later_form_is_told_from_one_that_is_not_ours() {
    for (metadata, is_newer) in [
        ("3:BQ", true),
        ("9:x:y", true),
        ("4:", true),
        ("", false),
        ("1:BQ", false),
        ("2:k9X_-a:", false),
        ("0:BQ", false),
        ("3", false),
        ("33:BQ", false),
        ("at 3:15 by hand", false),
    ] {
        let committed = Committed { offset: Some(7), metadata: metadata.into() };
        assert_eq!(committed.is_of_a_newer_release(), is_newer, "{metadata:?}");
    }
}

#[test]
fn text_that_is_not_ours_counts_as_absent() {
    for metadata in ["", "1", "1:", "1:?", "2:AAAA", "some other framework's text", "1:\u{fc}"] {
        let mut offsets = Offsets::resume(&Committed { offset: Some(7), metadata: metadata.into() });
        for offset in 7..40 {
            assert_eq!(offsets.deliver(offset), Delivery::New, "offset {offset} after metadata {metadata:?}");
        }
    }
}

#[test]
fn an_offset_may_say_which_topic_it_belongs_to() {
    // Metadata, the topic's id, and the offsets covered from 7 on.
    let table = [
        (naming("k9X_-a"), Some("k9X_-a"), vec![]),
        ("2:k9X_-a:BQ".into(), Some("k9X_-a"), vec![7, 9]),
        ("1:BQ".into(), None, vec![7, 9]),
        ("2:k9X_-a".into(), None, vec![]),
        (String::new(), None, vec![]),
    ];
    for (metadata, topic_id, covered) in table {
        let committed = Committed { offset: Some(7), metadata };
        assert_eq!(committed.topic_id(), topic_id, "{committed:?}");
        assert_eq!((7..20).filter(|o| committed.covers(*o)).collect::<Vec<_>>(), covered, "{committed:?}");
    }
}

#[test]
fn a_partition_that_begins_anew_is_noticed_and_taken_from_its_beginning_at_the_next_assignment() {
    let mut offsets = Offsets::resume(&Committed { offset: Some(7), metadata: String::new() });
    assert_eq!((offsets.deliver(7), offsets.deliver(8)), (Delivery::New, Delivery::New));
    assert_eq!(offsets.deliver(7), Delivery::Known, "not done, and delivered once more");
    assert_eq!(offsets.deliver(6), Delivery::Backwards);
    let mut offsets = Offsets::resume(&Committed { offset: Some(7), metadata: "1:BQ".into() });
    for offset in 0..10 {
        assert_eq!(offsets.deliver(offset), Delivery::New, "offset {offset}");
    }
    assert_eq!(offsets.low(), 0);
}

#[test]
fn the_bitmap_always_fits_the_offset_s_metadata() {
    let mut offsets = Offsets::resume(&Committed::default());
    let reachable = i64::try_from(MAX_SPAN).expect("it is small");
    for offset in 0..reachable {
        assert_eq!(offsets.deliver(offset), Delivery::New);
    }
    assert_eq!(offsets.deliver(reachable), Delivery::TooFar, "one further than the bitmap reaches");
    for offset in 1..reachable {
        offsets.committing(offset);
    }
    let (offset, metadata) = offsets.to_commit();
    assert_eq!(offset, 0);
    assert!(metadata.len() <= 4_096, "{} characters", metadata.len());
    offsets.commit();
    offsets.committing(0);
    offsets.commit();
    assert_eq!(offsets.deliver(reachable), Delivery::New, "after the lowest one was done");
}

#[test]
fn what_was_done_far_above_before_the_assignment_does_not_keep_the_lowest_record_from_being_fetched() {
    let mut before = Offsets::resume(&Committed::default());
    let highest = i64::try_from(MAX_SPAN).expect("it is small") - 1;
    for offset in [0, highest] {
        assert_eq!(before.deliver(offset), Delivery::New);
    }
    before.committing(highest);
    let mut assignment: Assignment<Names, Answerable, usize> = Assignment::new(Limits::default(), &[(0, committed(&before))]);
    assert!(assignment.pauses().is_empty(), "its lowest record was not delivered yet");
    assert_eq!(assignment.deliver(at(0)), Delivery::New);
    assert_eq!(assignment.deliver(at(highest)), Delivery::Known);
    assert_eq!(assignment.pauses(), [(0, Fetching::Paused)], "until the lowest one is done");
}

#[test]
fn a_lane_is_that_of_the_key_or_of_the_entity_or_nobody_else_s() {
    let record = |partition, offset| RecordId { partition, offset };
    let (a, b) = (Some(&b"a"[..]), Some(&b"b"[..]));
    // Two records: partition and offset, key, entity; do they share a lane?
    let table = [
        ((record(0, 1), a, Some(7)), (record(0, 2), a, Some(8)), true),
        ((record(0, 1), a, None), (record(0, 2), a, Some(8)), true),
        ((record(0, 1), a, Some(7)), (record(1, 1), a, Some(7)), false),
        ((record(0, 1), a, Some(7)), (record(0, 2), b, Some(7)), false),
        ((record(0, 1), None, Some(7)), (record(0, 2), None, Some(7)), true),
        ((record(0, 1), None, Some(7)), (record(0, 2), None, Some(8)), false),
        ((record(0, 1), None, None), (record(0, 2), None, None), false),
    ];
    for (one, other, shared) in table {
        let lane = |(at, key, entity): (RecordId, Option<&[u8]>, Option<i32>)| lane_of(at, key, entity);
        assert_eq!(lane(one) == lane(other), shared, "{one:?} and {other:?}");
    }
}

#[test]
fn lanes_keep_their_order_and_do_not_wait_for_each_other() {
    let mut lanes = Lanes::new(10, 1);
    for (lane, offset) in [(1, 0), (1, 1), (2, 2), (1, 3), (3, 4)] {
        lanes.push(lane, at(offset), names(0));
    }
    let mut runs = HashMap::new();
    let mut started = |lanes: &mut Lanes<Names, Answerable>| {
        let all: Vec<_> = std::iter::from_fn(|| lanes.start(NOW)).collect();
        runs.extend(all.iter().map(|run| (run.id.lane, run.id)));
        (all.iter().map(|run| (run.id.lane, records(run)[0].offset)).collect::<Vec<_>>(), runs.clone())
    };
    let (first, runs) = started(&mut lanes);
    assert_eq!(first, [(1, 0), (2, 2), (3, 4)]);
    assert_eq!(lanes.finish(runs[&1]), Turn::Its);
    let (second, runs) = started(&mut lanes);
    assert_eq!(second, [(1, 1)]);
    assert_eq!(lanes.finish(runs[&2]), Turn::Its);
    assert!(started(&mut lanes).0.is_empty());
    assert_eq!(lanes.finish(runs[&1]), Turn::Its);
    assert_eq!(started(&mut lanes).0, [(1, 3)]);
}

#[test]
fn while_a_run_is_answered_the_next_one_of_its_lane_is_decided_and_finished_in_its_turn() {
    let mut lanes = Lanes::new(10, 1);
    for offset in 0..4 {
        lanes.push(1, at(offset), names(0));
    }
    let first = lanes.start(NOW).expect("the lane has tasks");
    assert!(first.awaited && lanes.start(NOW).is_none());
    lanes.decided(first.id);
    let second = lanes.start(NOW).expect("the first is decided");
    lanes.decided(second.id);
    assert!(lanes.start(NOW).is_none(), "two are under way");
    assert_eq!(lanes.finish(second.id), Turn::NotYet);
    assert!(lanes.start(NOW).is_none(), "two are under way");
    assert_eq!((lanes.running(), lanes.finish(first.id), lanes.running()), (2, Turn::ItsAndTheNext, 0));
    let third = lanes.start(NOW).expect("none is under way");
    lanes.decided(third.id);
    let fourth = lanes.start(NOW).expect("the third is decided");
    assert!(!fourth.awaited);
    assert_eq!((lanes.finish(third.id), lanes.active()), (Turn::Its, 1));
    assert_eq!((lanes.finish(fourth.id), lanes.active()), (Turn::Its, 0));
}

#[test]
fn runs_that_are_only_answered_leave_room_for_others() {
    let mut lanes = Lanes::new(1, 1);
    for lane in 0..3 {
        lanes.push(lane, at(0), names(0));
    }
    let run = lanes.start(NOW).expect("there is room for one");
    assert!(lanes.start(NOW).is_none());
    lanes.decided(run.id);
    let next = lanes.start(NOW).expect("the first is decided");
    lanes.finish(run.id);
    assert!(lanes.start(NOW).is_none(), "the second is not");
    lanes.finish(next.id);
    assert!(lanes.start(NOW).is_some());
}

#[test]
fn a_run_takes_what_names_the_same_entity_and_overtakes_nothing() {
    let mut lanes = Lanes::new(100, 3);
    for (offset, entity) in (0..).zip([7, 7, 8, 7, 7, 7, 7]) {
        lanes.push(1, at(offset), names(entity));
    }
    let mut runs = Vec::new();
    while let Some(run) = lanes.start(NOW) {
        assert!(lanes.start(NOW).is_none(), "one run of a lane is decided at a time");
        runs.push(records(&run).iter().map(|at| at.offset).collect::<Vec<_>>());
        lanes.finish(run.id);
    }
    assert_eq!(runs, [vec![0, 1], vec![2], vec![3, 4, 5], vec![6]]);
}

#[test]
fn no_more_runs_are_under_way_than_the_bound_says_however_long_they_are() {
    let mut lanes = Lanes::new(2, 3);
    for lane in 0..4 {
        for offset in 0..4 {
            lanes.push(lane, at(offset), names(0));
        }
    }
    let sizes: Vec<usize> = std::iter::from_fn(|| lanes.start(NOW)).map(|run| records(&run).len()).collect();
    assert_eq!((sizes, lanes.running(), lanes.queued()), (vec![3, 3], 6, 10));
}

#[test]
fn a_transaction_carries_what_has_finished_up_to_its_bounds() {
    // Records and bytes allowed; the sizes that wait; how many go together.
    let table: &[(usize, usize, &[usize], &[usize])] = &[
        (3, 100, &[1, 1, 1, 1], &[3, 1]),
        (9, 10, &[4, 4, 4], &[2, 1]),
        (9, 10, &[50, 1, 50], &[1, 1, 1]),
        (9, 10, &[5, 5, 1], &[2, 1]),
        // What is heavy goes alone.
        (9, 8 << 20, &[1, (1 << 20) + 1, 1, 1], &[1, 1, 2]),
        (9, 8 << 20, &[(1 << 20) + 1, 1], &[1, 1]),
    ];
    for (records, bytes, sizes, expected) in table {
        let mut batches = Batches::new(*records, *bytes);
        for (n, size) in (0..).zip(*sizes) {
            batches.push(0, Finished { at: at(n), outputs: *size });
        }
        let got: Vec<usize> = std::iter::from_fn(|| Some(batches.take(|_| true).len()).filter(|n| *n > 0)).collect();
        assert_eq!(got, *expected, "at most {records} records and {bytes} bytes of {sizes:?}");
    }
}

/// A record of lane 0 to 9 for each of 0 to 9, 10 to 19, …
fn finish(batches: &mut Batches<usize>, offsets: impl IntoIterator<Item = i64>) {
    for n in offsets {
        batches.push(n.unsigned_abs() % 10, Finished { at: at(n), outputs: 1 });
    }
}

/// Takes a transaction and returns its offsets. Those that are `refused` are refused by the broker; then nothing of the transaction takes
/// effect.
fn transact(batches: &mut Batches<usize>, refused: &[i64]) -> Vec<i64> {
    let records = batches.take(|_| true);
    let offsets = records.iter().map(|r| r.at.offset).collect();
    let (refused, others): (Vec<_>, Vec<_>) = records.into_iter().partition(|r| refused.contains(&r.at.offset));
    let again = if refused.is_empty() { Vec::new() } else { others };
    batches.ended(again, refused);
    offsets
}

#[test]
fn a_refused_record_is_tried_alone_and_only_when_its_time_has_come() {
    let mut batches = Batches::new(100, 100);
    finish(&mut batches, [1, 2, 3]);
    assert_eq!(transact(&mut batches, &[2]), [1, 2, 3]);
    assert_eq!(transact(&mut batches, &[]), [1, 3]);
    assert_eq!((transact(&mut batches, &[]), batches.held()), (vec![], 1));
    finish(&mut batches, [4]);
    batches.try_held();
    assert_eq!(transact(&mut batches, &[2]), [2]);
    assert_eq!((transact(&mut batches, &[]), batches.held()), (vec![4], 1));
    batches.try_held();
    assert_eq!((transact(&mut batches, &[]), batches.held()), (vec![2], 0));
}

#[test]
fn what_follows_a_refused_record_in_its_lane_waits_behind_it_and_the_other_lanes_go_on() {
    let mut batches = Batches::new(4, 100);
    // In the same transaction (11), behind it (21), and finished later (31).
    finish(&mut batches, [2, 1, 11, 12, 21, 22]);
    assert_eq!(transact(&mut batches, &[1]), [2, 1, 11, 12]);
    finish(&mut batches, [31, 32]);
    assert_eq!((transact(&mut batches, &[]), batches.held()), (vec![2, 12, 22, 32], 4));
    batches.try_held();
    assert_eq!(transact(&mut batches, &[1]), [1]);
    batches.try_held();
    assert_eq!(transact(&mut batches, &[]), [1]);
    assert_eq!(transact(&mut batches, &[]), [11, 21, 31], "as soon as the first went through");
}

#[test]
fn those_held_are_tried_in_turn_and_one_after_another_as_soon_as_one_goes_through() {
    let mut batches = Batches::new(100, 100);
    finish(&mut batches, [3, 1, 2]);
    transact(&mut batches, &[1, 2, 3]);
    let mut tried = Vec::new();
    for _ in 0..4 {
        batches.try_held();
        tried.extend(transact(&mut batches, &[1, 2, 3]));
    }
    assert_eq!((tried, transact(&mut batches, &[])), (vec![3, 1, 2, 3], vec![]));
    // A transaction that fails for another reason is no refusal.
    batches.try_held();
    let tried = batches.take(|_| true);
    assert_eq!(tried[0].at.offset, 1);
    batches.ended(tried, Vec::new());
    assert_eq!(transact(&mut batches, &[1]), [1], "again, and at once");
    batches.try_held();
    let published: Vec<_> = std::iter::from_fn(|| transact(&mut batches, &[]).first().copied()).collect();
    assert_eq!(published, [2, 3, 1]);
}

/// Takes a transaction that is too slow, so that nothing of it takes effect. If its only record is to blame, that record is refused.
fn transact_late(batches: &mut Batches<usize>) -> Vec<i64> {
    let records = batches.take(|_| true);
    let offsets = records.iter().map(|r| r.at.offset).collect();
    if batches.too_slow(true) {
        batches.ended(Vec::new(), records);
    } else {
        batches.ended(records, Vec::new());
    }
    offsets
}

#[test]
fn a_transaction_that_was_too_slow_is_tried_with_half_the_records_and_a_swift_one_lets_the_next_carry_twice_as_many() {
    let mut batches = Batches::new(8, 100);
    finish(&mut batches, 0..40);
    let sizes: Vec<_> = (0..3).map(|_| transact_late(&mut batches).len()).collect();
    assert_eq!(sizes, [8, 4, 2]);
    assert_eq!(transact(&mut batches, &[]), [0], "down to one, and nothing was lost or overtaken");
    let mut swift = || {
        let records = batches.take(|_| true);
        batches.swift();
        batches.ended(Vec::new(), Vec::new());
        records.iter().map(|r| r.at.offset).collect::<Vec<_>>()
    };
    assert_eq!((swift(), swift(), swift()), (vec![1], vec![2, 3], vec![4, 5, 6, 7]));
    assert_eq!((swift().len(), swift().len()), (8, 8), "and no more than the bound");
}

#[test]
fn a_record_that_is_too_slow_alone_twice_is_held_and_tried_more_and_more_rarely() {
    let mut batches = Batches::new(8, 100);
    finish(&mut batches, [1]);
    assert_eq!((transact_late(&mut batches), batches.held()), (vec![1], 0), "a broker may have failed");
    assert_eq!((transact_late(&mut batches), batches.held()), (vec![1], 1), "it is tried again at once, and is to blame");
    assert_eq!((transact(&mut batches, &[]), batches.held()), (vec![], 1));
    let mut tried = Vec::new();
    for tick in 1..=60 {
        batches.try_held();
        tried.extend((!transact_late(&mut batches).is_empty()).then_some(tick));
    }
    assert_eq!(tried, [1, 3, 7, 15, 27, 39, 51], "at most a minute apart, for a tick is five seconds");
    finish(&mut batches, [2]);
    assert_eq!(transact(&mut batches, &[2]), [2], "the others go on; this one is refused");
    batches.try_held();
    assert_eq!(transact(&mut batches, &[]), [2], "and is tried as soon as any that is refused");
    assert_eq!(transact(&mut batches, &[]), [1], "and when that has gone through the slow one is tried, too");
}

#[test]
fn a_record_is_not_to_blame_for_the_time_that_offsets_or_commit_take() {
    let mut batches = Batches::new(8, 100);
    finish(&mut batches, [1]);
    for sending in [false, true, false] {
        let records = batches.take(|_| true);
        assert_eq!((records.len(), batches.too_slow(sending)), (1, false));
        batches.ended(records, Vec::new());
    }
    assert_eq!((transact_late(&mut batches), batches.held()), (vec![1], 1), "sending it took too long twice");
}

#[test]
fn a_coordinator_that_takes_little_metadata_is_given_no_more_and_the_partition_pauses_earlier() {
    let mut assignment: Assignment<Names, Answerable, usize> = Assignment::new(Limits::default(), &[(0, Committed::default())]);
    let mut runs = Vec::new();
    for offset in 0..100 {
        assert_eq!(assignment.deliver(at(offset)), Delivery::New);
        assignment.admit(at(offset), offset.cast_unsigned(), names(0));
        runs.extend(assignment.next_run(NOW).map(|run| run.id));
    }
    let first = runs.remove(0);
    for run in runs {
        assignment.finish_run(run, vec![Finished { at: at(run.lane.cast_signed()), outputs: 1 }]);
    }
    let longest = |assignment: &mut Assignment<Names, Answerable, usize>| {
        let transaction = assignment.next_transaction()?;
        Some((transaction.offsets[0].metadata.len(), transaction.records))
    };
    // The lowest is not done: a bitmap of all the others is needed.
    let (length, records) = longest(&mut assignment).expect("99 have finished");
    assert!(length > 14, "{length} characters");
    assignment.offsets_too_large(records);
    assert!(assignment.short_span().is_some());
    assert_eq!(assignment.pauses(), [(0, Fetching::Paused)]);
    let (length, records) = longest(&mut assignment).expect("some may be committed all the same");
    assert!(length <= 14 && !records.is_empty(), "{length} characters, {} records", records.len());
    assignment.committed(records.len());
    assert!(longest(&mut assignment).is_none(), "the others wait for the lowest one");
    assignment.finish_run(first, vec![Finished { at: at(0), outputs: 1 }]);
    while let Some((length, records)) = longest(&mut assignment) {
        assert!(length <= 14, "{length} characters");
        assignment.committed(records.len());
    }
    assert_eq!(assignment.open(), 0, "all are committed in the end");
}

#[test]
fn a_transaction_is_filling_while_less_has_finished_than_is_being_processed() {
    let limits = Limits { max_transaction_records: 3, ..Limits::default() };
    let mut assignment: Assignment<Names, Answerable, usize> = Assignment::new(limits, &[(0, Committed::default())]);
    let mut runs = Vec::new();
    for offset in 0..8 {
        assert_eq!(assignment.deliver(at(offset)), Delivery::New);
        assignment.admit(at(offset), offset.cast_unsigned(), names(0));
        runs.extend(assignment.next_run(NOW).map(|run| run.id));
    }
    let mut finish = |assignment: &mut Assignment<Names, Answerable, usize>| {
        let run = runs.remove(0);
        assignment.finish_run(run, vec![Finished { at: at(run.lane.cast_signed()), outputs: 1 }]);
    };
    assert!(!assignment.is_filling(), "nothing has finished");
    for waiting in 1..=2 {
        finish(&mut assignment);
        assert!(assignment.is_filling(), "{waiting} have finished, more are being processed");
    }
    finish(&mut assignment);
    assert!(!assignment.is_filling(), "it is full");
    let transaction = assignment.next_transaction().expect("three have finished");
    finish(&mut assignment);
    assert!(!assignment.is_filling(), "one is under way");
    assignment.committed(transaction.records.len());
    assert!(assignment.is_filling(), "one has finished, four are being processed");
    while assignment.running() > 1 {
        finish(&mut assignment);
    }
    assert!(!assignment.is_filling(), "more have finished than are being processed");
    assignment.drain(false);
    finish(&mut assignment);
    assert!(!assignment.is_filling(), "nobody is to wait any more");
}

#[test]
fn a_transaction_is_filling_while_more_waits_for_its_lane_up_to_a_quarter_of_what_may_be_open() {
    let limits = Limits { max_queued: 16, max_run: 1, ..Limits::default() };
    let mut assignment: Assignment<Names, Answerable, usize> = Assignment::new(limits, &[(0, Committed::default())]);
    for offset in 0..12 {
        assert_eq!(assignment.deliver(at(offset)), Delivery::New);
        assignment.admit(at(offset), 7, names(0));
    }
    for finished in 0..4 {
        let run = assignment.next_run(NOW).expect("the lane has tasks");
        assert_eq!(assignment.is_filling(), finished > 0, "{finished} have finished, {} run or wait", 12 - finished);
        assignment.finish_run(run.id, vec![Finished { at: records(&run)[0], outputs: 1 }]);
    }
    assert!(!assignment.is_filling(), "a quarter has finished");
}

#[test]
fn a_lane_that_is_too_long_pauses_its_partition_until_it_is_shorter() {
    let limits = Limits { max_lane: 4, max_in_flight: 1, max_run: 1, ..Limits::default() };
    let mut assignment: Assignment<Names, Answerable, usize> =
        Assignment::new(limits, &[(0, Committed::default()), (1, Committed::default())]);
    for offset in 0..4 {
        assert_eq!(assignment.deliver(at(offset)), Delivery::New);
        assignment.admit(at(offset), 1, names(0));
    }
    assert_eq!(assignment.pauses(), [(0, Fetching::Paused)]);
    assert!(assignment.pauses().is_empty(), "told once");
    for _ in 0..3 {
        let run = assignment.next_run(NOW).expect("something waits");
        assignment.finish_run(run.id, Vec::new());
    }
    assert_eq!(assignment.pauses(), [(0, Fetching::Resumed)]);
}

#[test]
fn no_more_is_taken_in_than_could_start_soon_unless_it_joins_lanes_that_wait() {
    let limits = Limits { max_in_flight: 2, ..Limits::default() };
    let mut assignment: Assignment<Names, Answerable, usize> = Assignment::new(limits, &[(0, Committed::default())]);
    let admit = |assignment: &mut Assignment<Names, Answerable, usize>, offset: i64, lane| {
        assert_eq!(assignment.deliver(at(offset)), Delivery::New);
        assignment.admit(at(offset), lane, names(0));
    };
    for offset in 0..100 {
        admit(&mut assignment, offset, 0);
        assert!(assignment.has_room(), "one lane waits, however long it is");
    }
    for (offset, lane) in [(100, 1), (101, 2), (102, 3)] {
        assert!(assignment.has_room(), "{lane} lanes wait");
        admit(&mut assignment, offset, lane);
    }
    assert!(!assignment.has_room(), "four lanes wait, two could start");
    assignment.next_run(NOW).expect("nothing runs yet");
    assert!(assignment.has_room(), "three lanes wait");
}

/// Lives of one partition: commands finish in any order, transactions are committed, aborted, or leave it open which;
/// instances come and go. Each record is answered exactly once, and nothing is left.
#[test]
fn whatever_happens_each_record_is_committed_exactly_once() {
    for seed in seeds(2_000) {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        // Some offsets hold no record.
        let log: Vec<i64> = (0..200).filter(|_| random.below(10) > 0).collect();
        let mut coordinator = Committed::default();
        let mut answered: BTreeMap<i64, usize> = BTreeMap::new();
        let mut lives = 0;
        while answered.len() < log.len() {
            lives += 1;
            assert!(lives < 1_000, "seed {seed}: no progress");
            live(&mut random, &log, &mut coordinator, &mut answered, seed);
        }
        assert!(answered.values().all(|n| *n == 1), "seed {seed}: answered more than once: {answered:?}");
    }
}

fn live(random: &mut Random, log: &[i64], coordinator: &mut Committed, answered: &mut BTreeMap<i64, usize>, seed: u64) {
    let limits = Limits { max_in_flight: 8, max_queued: 20, max_run: 3, max_transaction_records: 5, ..Limits::default() };
    let mut assignment: Assignment<Names, Answerable, usize> = Assignment::new(limits, &[(0, coordinator.clone())]);
    let mut unread: VecDeque<i64> = log.iter().copied().filter(|o| coordinator.offset.is_none_or(|c| *o >= c)).collect();
    let mut running = Vec::new();
    let mut in_lane: BTreeMap<u64, i64> = BTreeMap::new();
    let (mut lanes, mut published): (BTreeMap<i64, u64>, BTreeMap<u64, i64>) = Default::default();
    for _ in 0..random.below(400) {
        match random.below(7) {
            0 | 1 if assignment.has_room() => {
                let Some(offset) = unread.pop_front() else { continue };
                if assignment.deliver(at(offset)) == Delivery::New {
                    assert!(!answered.contains_key(&offset), "seed {seed}: {offset} is processed though it was answered");
                    let lane = random.next() % 6;
                    lanes.insert(offset, lane);
                    assignment.admit(at(offset), lane, names((random.next() % 2) as u32));
                }
            }
            2 | 3 => {
                let run = assignment.next_run(NOW);
                for (id, at) in run.iter().flat_map(|run| records(run).into_iter().map(|at| (run.id, at))) {
                    let before = in_lane.insert(id.lane, at.offset);
                    assert!(before.is_none_or(|b| b < at.offset), "seed {seed}: {} after {before:?} in its lane", at.offset);
                }
                running.extend(run);
            }
            4 if !running.is_empty() => {
                let run = running.swap_remove(random.below(running.len()));
                assignment.finish_run(run.id, records(&run).into_iter().map(|at| Finished { at, outputs: 1 }).collect());
            }
            6 if !running.is_empty() => assignment.run_decided(running[random.below(running.len())].id),
            5 => {
                for offset in publish(random, &mut assignment, coordinator) {
                    *answered.entry(offset).or_default() += 1;
                    let before = published.insert(lanes[&offset], offset);
                    assert!(before.is_none_or(|b| b < offset), "seed {seed}: {offset} is published after {before:?} of its lane");
                }
            }
            _ => assignment.try_held(),
        }
    }
}

/// The longest metadata that the coordinator of these lives takes, in characters: a version and the bits of 16 records.
const TAKES: usize = 5;

/// The offsets of what was committed.
fn publish(random: &mut Random, assignment: &mut Assignment<Names, Answerable, usize>, coordinator: &mut Committed) -> Vec<i64> {
    let Some(transaction) = assignment.next_transaction() else { return Vec::new() };
    if transaction.offsets[0].metadata.len() > TAKES {
        assignment.offsets_too_large(transaction.records);
        return Vec::new();
    }
    let commit = random.below(4) > 0;
    let mut committed = Vec::new();
    if commit {
        let offset = &transaction.offsets[0];
        *coordinator = Committed { offset: Some(offset.offset), metadata: offset.metadata.clone() };
        committed.extend(transaction.records.iter().map(|r| r.at.offset));
    }
    assignment.paced([Pace::Swift, Pace::Usual, Pace::Late(None)][random.below(3)]);
    match (commit, random.below(3)) {
        (_, 0) => {
            let (done, mut again) = assignment.told_apart(transaction.records, &[(0, coordinator.clone())]);
            let refused = again.split_off(again.len() - random.below(2).min(again.len()));
            assignment.settled(done.len(), again, refused);
        }
        (true, _) => assignment.committed(transaction.records.len()),
        (false, 1) => assignment.aborted(transaction.records, Vec::new()),
        (false, _) => {
            let mut records = transaction.records;
            let refused = if records.is_empty() { Vec::new() } else { vec![records.swap_remove(random.below(records.len()))] };
            assignment.aborted(records, refused);
        }
    }
    committed
}
