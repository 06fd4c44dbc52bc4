//! The stages of a command: to be fetched, to wait for its turn, to be decided, to wait for its transaction, and to be published. The
//! stages follow each other without a gap, from the record's timestamp to the commit of its answer.
//!
//! The record's timestamp is in whole milliseconds, and comes from another clock than ours. All other boundaries come from our monotonic
//! clock. So the length of the first stage is the whole time without the other stages.

use crate::telemetry::labels::CommandStage;
use std::time::{Duration, Instant};

/// The moments in the life of a command whose outcome is known.
#[derive(Clone, Copy, Debug)]
pub struct Moments {
    /// When its record was taken from the Kafka client.
    pub taken: Instant,
    /// When its turn in its lane came.
    pub started: Instant,
    /// When its outcome was known.
    pub decided: Instant,
}

impl Moments {
    /// Returns how long a command spent in each stage. The command was committed `since_record` after its record's timestamp, in a
    /// transaction that began at `began` and took `took`.
    pub fn stages(&self, began: Instant, took: Duration, since_record: Duration) -> [(CommandStage, Duration); 5] {
        let ours = (began + took).saturating_duration_since(self.taken);
        [
            (CommandStage::Fetch, since_record.saturating_sub(ours)),
            (CommandStage::Queue, self.started.saturating_duration_since(self.taken)),
            (CommandStage::Decide, self.decided.saturating_duration_since(self.started)),
            (CommandStage::Gather, began.saturating_duration_since(self.decided)),
            (CommandStage::Publish, took),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stages_add_up_to_the_time_since_the_record_s_timestamp() {
        let taken = Instant::now();
        let after = |millis| taken + Duration::from_millis(millis);
        let moments = Moments { taken, started: after(2), decided: after(7) };
        let millis = |since_record| {
            let stages = moments.stages(after(11), Duration::from_millis(20), Duration::from_millis(since_record));
            stages.map(|(stage, took)| (stage.text(), took.as_millis()))
        };
        let expected = |fetch| [("fetch", fetch), ("queue", 2), ("decide", 5), ("gather", 4), ("publish", 20)];
        assert_eq!(millis(44), expected(13));
        // The clock by which the record got its timestamp is ahead of ours.
        assert_eq!(millis(30), expected(0));
    }
}
