//! From a record to a job for a lane: what `processor::intake` does around the real [`Waiting`] and [`lane_of`].

use super::Defect;
use super::crm::{Body, Incoming};
use super::happened::Happened;
use super::lane::{Job, Task};
use super::outputs::Outputs;
use crm_processor::flow::lanes::lane_of;
use crm_processor::flow::offsets::Delivery;
use crm_processor::flow::waiting::{Unready, Waiting};
use crm_processor::flow::{Flow, Partition};
use crm_processor::store::claims::Submission;
use crm_processor::store::outcome::Coordinates;
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
pub struct Intake {
    reader: Reader,
    pub waiting: Waiting<Incoming, u32>,
    asked_for: Vec<u32>,
}

/// Makes jobs of records.
struct Reader {
    schemas: BTreeSet<u32>,
    /// The last record of each partition that was admitted under this assignment.
    admitted: BTreeMap<Partition, i64>,
    /// The commands that have joined their lanes, since it was asked last.
    queued: Vec<Submission>,
    happened: Happened,
    defect: Option<Defect>,
}

impl Intake {
    pub fn new(defect: Option<Defect>) -> Self {
        let (schemas, admitted, queued) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
        let reader = Reader { schemas, admitted, queued, happened: Happened::default(), defect };
        Self { reader, waiting: Waiting::default(), asked_for: Vec::new() }
    }

    pub fn take(&mut self, record: Incoming, flow: &mut Flow<Job, Outputs>) {
        self.waiting.take(record.at.partition, record, flow, |record, flow| self.reader.admit(record, flow));
        self.asked_for.extend(self.waiting.wanted());
    }

    pub fn resume(&mut self, flow: &mut Flow<Job, Outputs>) {
        self.waiting.resume(flow, |record, flow| self.reader.admit(record, flow));
        self.asked_for.extend(self.waiting.wanted());
    }

    /// The registry answers.
    pub fn fetch_schemas(&mut self) {
        for schema in self.asked_for.drain(..) {
            self.reader.schemas.insert(schema);
            self.waiting.fetched(&schema);
        }
    }

    /// The partitions are given up.
    pub fn clear(&mut self) {
        self.waiting.clear();
        self.reader.admitted.clear();
        self.reader.queued.clear();
    }

    /// The commands that have joined their lanes, since it was asked last.
    pub fn queued(&mut self) -> Vec<Submission> {
        std::mem::take(&mut self.reader.queued)
    }

    /// How far the records that were admitted reach from the lowest incomplete one of their partition, at most.
    pub fn span(&self, flow: &Flow<Job, Outputs>) -> i64 {
        let reach = |(partition, low)| self.reader.admitted.get(&partition).map_or(0, |highest| highest + 1 - low);
        flow.lows().map(reach).max().unwrap_or(0)
    }

    pub fn happened(&self) -> &Happened {
        &self.reader.happened
    }
}

impl Reader {
    fn admit(&mut self, record: Incoming, flow: &mut Flow<Job, Outputs>) -> Result<(), Unready<Incoming, u32>> {
        if !self.schemas.contains(&record.schema) {
            let schema = record.schema;
            return Err(Unready::Lacks(record, schema));
        }
        match flow.deliver(record.at) {
            Delivery::New => drop(self.admitted.insert(record.at.partition, record.at.offset)),
            Delivery::Known | Delivery::Backwards => return Ok(()),
            Delivery::TooFar => {
                self.happened.note("a record was too far above the lowest incomplete one");
                return Err(Unready::TooFar(record));
            }
        }
        let task = match &record.body {
            Body::Command(command) => {
                let (partition, offset) = (record.at.partition, record.at.offset);
                let coordinates = Coordinates { topic: "crm.commands".into(), partition, offset };
                let correlation_id = Some(record.correlation_id());
                Task::Decide(Submission { command: (**command).clone(), correlation_id, record: coordinates })
            }
            Body::Invalid => Task::Refuse,
            Body::Unreadable { correlated } => Task::Bury { correlated: *correlated },
        };
        let entity = if let Task::Decide(submission) = &task { Some(submission.command.entity_named()) } else { None };
        if let Task::Decide(submission) = &task {
            self.queued.push(submission.clone());
        }
        let key = record.key.as_deref().map(str::as_bytes);
        let lane = match self.defect {
            Some(Defect::LanesWithoutKeys) => lane_of(record.at, None, None::<()>),
            _ => lane_of(record.at, key, entity),
        };
        flow.admit(record.at, lane, Job { at: record.at, named: record.named, task });
        Ok(())
    }
}
