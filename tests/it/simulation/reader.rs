//! Makes jobs from records, as `processor::job` does for the real [`Stream`](crm_processor::flow::stream::Stream). The simulation
//! can see which records it has read, and sets which schemas it knows.

use super::Defect;
use super::crm::{Body, Incoming};
use super::happened::Happened;
use super::lane::{AnswerJob, CommandJob};
use crm_processor::domain::entity::EntityType;
use crm_processor::domain::reference::Reference;
use crm_processor::flow::intake::{ReadRecord, Reader};
use crm_processor::flow::lanes::{Task, lane_of};
use crm_processor::flow::{Partition, RecordId};
use crm_processor::store::claims::Submission;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// The schema that nobody ever fetches, for a defect.
pub const NEVER: u32 = u32::MAX;

/// See the module.
pub struct JobReader {
    known: Rc<RefCell<Known>>,
    defect: Option<Defect>,
}

/// What a reader knows.
#[derive(Default)]
pub struct Known {
    pub schemas: BTreeSet<u32>,
    /// The last record of each partition that was read under this assignment.
    read: BTreeMap<Partition, i64>,
    /// The records that lacked no schema when the reader looked at them.
    tried: BTreeSet<RecordId>,
    /// Whether records that were tried are left alone for now; for a defect.
    pub deaf: bool,
    pub happened: Happened,
}

impl Known {
    /// Begins an assignment.
    pub fn begin(&mut self) {
        self.read.clear();
        self.tried.clear();
    }

    /// Returns how far the records that were read reach at most from the lowest incomplete one of their partition.
    pub fn span(&self, lows: impl Iterator<Item = (Partition, i64)>) -> i64 {
        let reach = |(partition, low)| self.read.get(&partition).map_or(0, |highest| highest + 1 - low);
        lows.map(reach).max().unwrap_or(0)
    }
}

impl JobReader {
    pub fn new(known: Rc<RefCell<Known>>, defect: Option<Defect>) -> Self {
        Self { known, defect }
    }
}

impl Reader for JobReader {
    type Record = Incoming;
    type Need = u32;
    type Prepared = ();
    type Command = CommandJob;
    type Answerable = AnswerJob;
    type Ahead = Submission;

    fn id(record: &Incoming) -> RecordId {
        record.at
    }

    fn lacks(&self, record: &Incoming) -> Option<u32> {
        Some(record.schema).filter(|schema| !self.known.borrow().schemas.contains(schema))
    }

    fn prepare(&mut self, record: &Incoming) -> Result<(), u32> {
        if let Some(schema) = self.lacks(record) {
            return Err(schema);
        }
        let mut known = self.known.borrow_mut();
        if known.tried.insert(record.at) {
            return Ok(());
        }
        known.happened.note("a record was too far above the lowest incomplete one");
        if known.deaf { Err(NEVER) } else { Ok(()) }
    }

    fn read(&mut self, record: Incoming, (): ()) -> ReadRecord<Self> {
        self.known.borrow_mut().read.insert(record.at.partition, record.at.offset);
        let (at, named, key) = (record.at, record.named, record.key.as_deref().map(str::as_bytes));
        let lane = |entity: Option<(EntityType, &Reference)>| match self.defect {
            Some(Defect::LanesWithoutKeys) => lane_of(at, None, None::<()>),
            _ => lane_of(at, key, entity),
        };
        match &record.body {
            Body::Command(command) => {
                let submission = record.submission(command);
                let ahead = Some(submission.clone());
                ReadRecord {
                    lane: lane(Some(submission.entity_named())),
                    task: Task::Decide(CommandJob { named, submission }),
                    ahead,
                }
            }
            Body::Invalid => ReadRecord { lane: lane(None), task: Task::Answer(AnswerJob::Invalid { named }), ahead: None },
            Body::Unreadable { correlated } => {
                let unreadable = AnswerJob::Unreadable { named, correlated: *correlated };
                ReadRecord { lane: lane(None), task: Task::Answer(unreadable), ahead: None }
            }
        }
    }
}
