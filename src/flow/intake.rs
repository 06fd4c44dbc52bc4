//! The way of a record from the consumer to its lane. A record may have to wait: something must be fetched before it can be read, or it
//! is too far above the lowest incomplete record of its partition. The records behind it in its partition then wait, too, because they
//! must stay in order; the other partitions go on.

use super::batch::Publishable;
use super::lanes::{Foldable, LaneId, Task};
use super::offsets::Delivery;
use super::{Assignment, Partition, RecordId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The bound on fetching ahead: while fewer things than this are being fetched, whatever a record lacks is fetched even if the record waits
/// behind another one. Otherwise the waits for things that do not exist would follow one another.
const MOST_EXPECTED: usize = 1_024;

/// Makes commands of records. A reader knows what records are made of, and nothing of the stream.
pub trait Reader {
    /// A record as it came.
    type Record;
    /// Something that must be fetched before a record can be read.
    type Need: Ord + Clone;
    /// The result of preparing a record that can be read.
    type Prepared;
    /// A command to be decided.
    type Command: Foldable;
    /// A record that can be answered without asking the store.
    type Answerable;
    /// Something that can be read ahead for a command that waits in its lane.
    type Ahead;

    /// Returns the record's id.
    fn id(record: &Self::Record) -> RecordId;

    /// Returns what must be fetched before the record can be read; `None` if nothing must be. The record is one that waits behind another
    /// of its partition.
    fn lacks(&self, record: &Self::Record) -> Option<Self::Need>;

    /// Prepares the next record of its partition for [`Reader::read`]. If the record turns out to be not wanted yet, it is prepared again
    /// later.
    ///
    /// # Errors
    /// Returns what must be fetched first.
    fn prepare(&mut self, record: &Self::Record) -> Result<Self::Prepared, Self::Need>;

    /// Reads the record, which is processed now.
    fn read(&mut self, record: Self::Record, prepared: Self::Prepared) -> ReadRecord<Self>;
}

/// A record that was read.
pub struct ReadRecord<R: Reader + ?Sized> {
    /// The lane that it joins.
    pub lane: LaneId,
    /// The record's task.
    pub task: Task<R::Command, R::Answerable>,
    /// Something that can be read ahead for the record; `None` if there is nothing.
    pub ahead: Option<R::Ahead>,
}

/// The records that wait to be admitted, and what they wait for.
pub(super) struct Intake<R: Reader> {
    reader: R,
    /// The records that wait, in the order of each partition. No queue is empty.
    waiting: BTreeMap<Partition, VecDeque<R::Record>>,
    /// Whether something may have changed for those that wait.
    stirred: bool,
    /// Everything that is wanted and not fetched yet, each thing once.
    fetching: BTreeSet<R::Need>,
    /// The things to fetch that [`Intake::next_wanted`] has not returned yet.
    wanted: VecDeque<R::Need>,
    /// The things that can be read ahead for commands that have joined their lanes since [`Intake::take_ahead`] was called last.
    ahead: Vec<R::Ahead>,
    /// The first record that showed that its partition begins anew: see [`Delivery::Backwards`].
    backwards: Option<RecordId>,
}

impl<R: Reader> Intake<R> {
    /// Creates an intake with no records.
    pub(super) fn new(reader: R) -> Self {
        let (waiting, fetching, wanted) = (BTreeMap::new(), BTreeSet::new(), VecDeque::new());
        Self { reader, waiting, stirred: false, fetching, wanted, ahead: Vec::new(), backwards: None }
    }

    /// Takes a record that has arrived: admits it to its lane, or lets it wait.
    pub(super) fn take<O: Publishable>(&mut self, record: R::Record, assignment: &mut Assignment<R::Command, R::Answerable, O>) {
        let partition = R::id(&record).partition;
        if self.waiting.contains_key(&partition) {
            if self.fetching.len() < MOST_EXPECTED
                && let Some(need) = self.reader.lacks(&record)
            {
                self.want(need);
            }
            self.waiting.entry(partition).or_default().push_back(record);
        } else if let Err(record) = self.admit(record, assignment) {
            self.waiting.entry(partition).or_default().push_back(record);
            assignment.block(partition);
        }
    }

    /// Admits the records that wait, as far as they can be admitted now.
    pub(super) fn resume<O: Publishable>(&mut self, assignment: &mut Assignment<R::Command, R::Answerable, O>) {
        if !std::mem::take(&mut self.stirred) {
            return;
        }
        for (partition, mut queue) in std::mem::take(&mut self.waiting) {
            while let Some(record) = queue.pop_front() {
                if let Err(record) = self.admit(record, assignment) {
                    queue.push_front(record);
                    break;
                }
            }
            if queue.is_empty() {
                assignment.unblock(partition);
            } else {
                self.waiting.insert(partition, queue);
            }
        }
    }

    /// Admits a record, or skips it if it is known already. Gives the record back if it can't be admitted yet.
    fn admit<O: Publishable>(
        &mut self,
        record: R::Record,
        assignment: &mut Assignment<R::Command, R::Answerable, O>,
    ) -> Result<(), R::Record> {
        let prepared = match self.reader.prepare(&record) {
            Ok(prepared) => prepared,
            Err(need) => {
                self.want(need);
                return Err(record);
            }
        };
        let id = R::id(&record);
        match assignment.deliver(id) {
            Delivery::New => {
                let ReadRecord { lane, task, ahead } = self.reader.read(record, prepared);
                self.ahead.extend(ahead);
                assignment.admit(id, lane, task);
            }
            Delivery::Known => {}
            Delivery::TooFar => return Err(record),
            Delivery::Backwards => drop(self.backwards.get_or_insert(id)),
        }
        Ok(())
    }

    fn want(&mut self, need: R::Need) {
        if self.fetching.insert(need.clone()) {
            self.wanted.push_back(need);
        }
    }

    /// Returns what is to be fetched next; `None` if nothing is. Each thing is returned once until [`Intake::fetched`] is called for it.
    pub(super) fn next_wanted(&mut self) -> Option<R::Need> {
        self.wanted.pop_front()
    }

    /// Takes note that what was wanted has been fetched.
    pub(super) fn fetched(&mut self, need: &R::Need) {
        self.fetching.remove(need);
        self.stir();
    }

    /// Takes note that something may have changed for the records that wait.
    pub(super) fn stir(&mut self) {
        self.stirred = !self.waiting.is_empty();
    }

    /// Forgets the records that wait, and what could be read ahead. Fetches that are under way go on.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.ahead.clear();
    }

    /// Takes what can be read ahead for the commands that have joined their lanes since the last call.
    pub(super) fn take_ahead(&mut self) -> Vec<R::Ahead> {
        std::mem::take(&mut self.ahead)
    }

    /// Returns whether records of the partition wait.
    pub(super) fn has_waiting(&self, partition: Partition) -> bool {
        self.waiting.contains_key(&partition)
    }

    /// Returns how many records wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }

    /// Returns whether anything is being fetched without which a record can't be admitted.
    pub(super) fn is_fetching(&self) -> bool {
        !self.fetching.is_empty()
    }

    /// Returns the first record that showed that its partition begins anew; `None` if there was none.
    pub(super) fn backwards(&self) -> Option<RecordId> {
        self.backwards
    }
}
