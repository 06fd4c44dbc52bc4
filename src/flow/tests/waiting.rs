//! Records that wait for something to be fetched, or for the lowest incomplete record.

use super::Names;
use crate::flow::offsets::Committed;
use crate::flow::waiting::{Unready, Waiting};
use crate::flow::{Flow, Limits, Partition};
use std::collections::BTreeSet;

type Tested = Flow<Names, usize>;
/// A record: its partition, its offset, what it needs.
type Record = (Partition, i64, &'static str);

/// Takes in whatever needs nothing but what is `there`.
#[derive(Default)]
struct Intake {
    waiting: Waiting<Record, &'static str>,
    there: BTreeSet<&'static str>,
    /// Some partition's lowest record is done, so that there is room above.
    room: bool,
    admitted: Vec<(Partition, i64)>,
}

impl Intake {
    fn take(&mut self, flow: &mut Tested, record: Record) {
        let Self { waiting, there, room, admitted } = self;
        waiting.take(record.0, record, flow, |record, _| admit(record, there, *room, admitted));
    }

    fn resume(&mut self, flow: &mut Tested) {
        let Self { waiting, there, room, admitted } = self;
        waiting.resume(flow, |record, _| admit(record, there, *room, admitted));
    }
}

fn admit(
    record: Record,
    there: &BTreeSet<&'static str>,
    room: bool,
    admitted: &mut Vec<(Partition, i64)>,
) -> Result<(), Unready<Record, &'static str>> {
    match record.2 {
        "room" if !room => return Err(Unready::TooFar(record)),
        "room" | "" => {}
        need if there.contains(need) => {}
        need => return Err(Unready::Lacks(record, need)),
    }
    admitted.push((record.0, record.1));
    Ok(())
}

fn flow() -> Tested {
    Flow::new(Limits::default(), &[(0, Committed::default()), (1, Committed::default())])
}

#[test]
fn a_partition_waits_in_its_order_behind_what_can_t_be_admitted_and_the_others_go_on() {
    let (mut flow, mut intake) = (flow(), Intake::default());
    for record in [(0, 0, ""), (0, 1, "a"), (0, 2, ""), (1, 0, ""), (0, 3, "b"), (0, 4, "")] {
        intake.take(&mut flow, record);
    }
    assert_eq!(intake.admitted, [(0, 0), (1, 0)]);
    assert_eq!(intake.waiting.len(), 4);
    assert_eq!(flow.pauses(), [(0, true)]);

    intake.there.insert("a");
    intake.resume(&mut flow);
    assert_eq!(intake.admitted.len(), 2, "not looked at again before something has changed");
    intake.waiting.fetched(&"a");
    intake.resume(&mut flow);
    assert_eq!(intake.admitted[2..], [(0, 1), (0, 2)]);
    assert!(flow.pauses().is_empty(), "there is one more in the way");

    intake.there.insert("b");
    intake.waiting.fetched(&"b");
    intake.resume(&mut flow);
    assert_eq!(intake.admitted[4..], [(0, 3), (0, 4)]);
    assert!(intake.waiting.is_empty());
    assert_eq!(flow.pauses(), [(0, false)]);
}

#[test]
fn what_is_needed_is_wanted_once_until_it_is_fetched() {
    let (mut flow, mut intake) = (flow(), Intake::default());
    intake.take(&mut flow, (0, 0, "a"));
    intake.take(&mut flow, (1, 0, "a"));
    assert_eq!(intake.waiting.wanted(), ["a"]);
    assert!(intake.waiting.wanted().is_empty(), "told once");
    // The assignment is over; what is being fetched is not fetched a second time for the next.
    intake.waiting.clear();
    assert!(intake.waiting.is_empty());
    intake.take(&mut flow, (0, 0, "a"));
    assert!(intake.waiting.wanted().is_empty());
    // It came too late, or is gone again: then it is wanted again.
    intake.waiting.fetched(&"a");
    intake.resume(&mut flow);
    assert_eq!(intake.waiting.wanted(), ["a"]);
}

#[test]
fn a_record_too_far_above_the_lowest_one_wants_nothing_but_to_be_looked_at_again() {
    let (mut flow, mut intake) = (flow(), Intake::default());
    intake.take(&mut flow, (0, 0, "room"));
    assert!(intake.waiting.wanted().is_empty());
    assert_eq!(flow.pauses(), [(0, true)]);
    intake.waiting.stir();
    intake.resume(&mut flow);
    assert!(intake.admitted.is_empty(), "still too far");
    intake.room = true;
    intake.waiting.stir();
    intake.resume(&mut flow);
    assert_eq!(intake.admitted, [(0, 0)]);
    assert_eq!(flow.pauses(), [(0, false)]);
}
