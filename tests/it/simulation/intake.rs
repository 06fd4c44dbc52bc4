//! From a record to a job for a lane, as `processor::intake` has it: a record whose writer's schema is not there yet makes its
//! partition wait, and so does one that is too far above the lowest incomplete one.

use super::Defect;
use super::crm::{Body, Incoming};
use super::happened::Happened;
use super::lane::{Job, Task, lane_of};
use super::outputs::Outputs;
use crm_processor::flow::Flow;
use crm_processor::flow::offsets::Delivery;
use crm_processor::flow::waiting::Waiting;
use crm_processor::store::claims::Submission;
use crm_processor::store::outcome::Coordinates;
use std::collections::BTreeSet;

/// See the module.
pub struct Intake {
    pub waiting: Waiting<Incoming>,
    schemas: BTreeSet<u32>,
    asked_for: BTreeSet<u32>,
    pub happened: Happened,
    defect: Option<Defect>,
}

impl Intake {
    pub fn new(defect: Option<Defect>) -> Self {
        let (schemas, asked_for) = (BTreeSet::new(), BTreeSet::new());
        Self { waiting: Waiting::default(), schemas, asked_for, happened: Happened::default(), defect }
    }

    pub fn take(&mut self, record: Incoming, flow: &mut Flow<Job, Outputs>) {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.take(record.at.partition, record, flow, |record, flow| self.admit(record, flow));
        self.waiting = waiting;
    }

    pub fn resume(&mut self, flow: &mut Flow<Job, Outputs>) {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.resume(flow, |record, flow| self.admit(record, flow));
        self.waiting = waiting;
    }

    /// The registry answers.
    pub fn fetch_schemas(&mut self) {
        if !self.asked_for.is_empty() {
            self.schemas.append(&mut self.asked_for);
            self.waiting.stir();
        }
    }

    fn admit(&mut self, record: Incoming, flow: &mut Flow<Job, Outputs>) -> Result<(), Incoming> {
        if !self.schemas.contains(&record.schema) {
            self.asked_for.insert(record.schema);
            return Err(record);
        }
        match flow.deliver(record.at) {
            Delivery::New => {}
            Delivery::Known => return Ok(()),
            Delivery::TooFar => {
                self.happened.note("a record was too far above the lowest incomplete one");
                return Err(record);
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
        let lane = lane_of(record.at, record.key.as_deref(), &task, self.defect);
        flow.admit(record.at, lane, Job { at: record.at, named: record.named, task });
        Ok(())
    }
}
