//! Counts what went wrong in a life, because lives in which nothing ever goes wrong prove nothing.

use std::collections::BTreeMap;

/// All events that must happen now and then.
pub const EVENTS: [&str; 32] = [
    "a commit came late",
    "a command was read ahead",
    "a customer was created",
    "a customer was renamed",
    "a lane was held",
    "a record was too far above the lowest incomplete one",
    "a subscriber was created",
    "a transaction had refused outputs",
    "a transaction that was uncertain turned out committed",
    "a transaction timed out",
    "a transaction was aborted",
    "a transaction was committed",
    "a transaction was fenced",
    "a transaction was put off",
    "a transaction was stale",
    "a transaction was uncertain",
    "a publisher was abandoned",
    "an abandoned publisher had a verdict",
    "an account was created",
    "an assignment was lost",
    "an assignment was revoked",
    "an instance crashed",
    "an instance was shut down",
    "batches came after their assignment",
    "an abandoned publisher went on",
    "offsets came after newer ones",
    "offsets were written while those before them were pending",
    "not everything was drained in time",
    "outcomes expired",
    "records were held",
    "results came after their assignment",
    "results came before those of the run before",
];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Happened(pub BTreeMap<&'static str, usize>);

impl Happened {
    pub fn note(&mut self, event: &'static str) {
        assert!(EVENTS.contains(&event), "{event} is not listed");
        *self.0.entry(event).or_default() += 1;
    }

    pub fn add(&mut self, others: &Self) {
        for (event, count) in &others.0 {
            *self.0.entry(event).or_default() += count;
        }
    }
}
