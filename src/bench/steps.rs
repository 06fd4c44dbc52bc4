//! Measures where the time of a reply goes: how long a command spends on average in each step, from the moment at which it is due until
//! the CRM has its reply.
//!
//! The processor's metrics tell the stages of the commands, and the calls of the Kafka transactions. All are means: the buckets of the
//! histograms are too coarse for quantiles. A command's last stage is its transaction. It is divided in the same proportions as the average
//! transaction of the run. The metrics don't tell the time from the commit to the reply, which is the mean latency less all other steps.

use crate::telemetry::labels::{CommandStage, TransactionStep};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::array;

/// The steps in their order, and what each is.
const STEPS: [(&str, &str); 10] = [
    ("fetch", "from when a command was due until the processor had it"),
    ("queue", "until its turn came"),
    ("decide", "until its outcome was known"),
    ("gather", "until its transaction began"),
    ("produce", "until its outputs were handed to the Kafka client"),
    ("flush", "until the brokers had acknowledged them"),
    ("offsets", "until the offsets were added"),
    ("commit", "until the commit returned"),
    ("hand_over", "of the transaction outside of these four calls: to and from the publisher's thread"),
    ("markers", "until a reader of committed records had the reply"),
];

/// The seconds that a processor's metrics tell, each summed up over all commands or transactions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seconds {
    /// How many commands went through the stages.
    commands: f64,
    /// Each stage of the commands.
    stages: [f64; 5],
    /// All Kafka transactions, each from its beginning to its end.
    transactions: f64,
    /// Those calls within the transactions that are steps.
    calls: [f64; 4],
}

/// The mean time of each step, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepTimes {
    steps: [f64; STEPS.len()],
    /// The time from the moment at which a command is due to its reply.
    reply: f64,
}

impl Seconds {
    /// Reads the seconds from a processor's metrics. `value` returns the value of a series.
    pub fn read(value: impl Fn(&str) -> f64) -> Self {
        use CommandStage::{Decide, Fetch, Gather, Publish, Queue};
        use TransactionStep::{Commit, Flush, Produce, SendOffsets};
        let stage = |stage: CommandStage, what: &str| {
            value(&format!("crm_command_stage_duration_seconds_{what}{{stage=\"{}\"}}", stage.text()))
        };
        let call = |call: TransactionStep| {
            value(&format!("crm_kafka_transaction_step_duration_seconds_sum{{step=\"{}\"}}", call.text()))
        };
        Self {
            commands: stage(Publish, "count"),
            stages: [Fetch, Queue, Decide, Gather, Publish].map(|of| stage(of, "sum")),
            transactions: value("crm_kafka_transaction_duration_seconds_sum"),
            calls: [Produce, Flush, SendOffsets, Commit].map(call),
        }
    }

    /// Combines each figure with that of `other`.
    #[must_use]
    pub fn with(self, other: Self, combine: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            commands: combine(self.commands, other.commands),
            stages: array::from_fn(|n| combine(self.stages[n], other.stages[n])),
            transactions: combine(self.transactions, other.transactions),
            calls: array::from_fn(|n| combine(self.calls[n], other.calls[n])),
        }
    }
}

impl StepTimes {
    /// Returns the steps of commands whose replies came after `reply` milliseconds on average.
    pub fn new(seconds: Seconds, reply: f64) -> Self {
        let stages = seconds.stages.map(|stage| 1e3 * stage / seconds.commands.max(1.0));
        let [fetch, queue, decide, gather, publish] = stages;
        let calls = seconds.calls.map(|call| publish * call / seconds.transactions.max(1e-9));
        let [produce, flush, offsets, commit] = calls;
        let hand_over = publish - calls.iter().sum::<f64>();
        let markers = reply - stages.iter().sum::<f64>();
        Self { steps: [fetch, queue, decide, gather, produce, flush, offsets, commit, hand_over, markers], reply }
    }

    /// Returns what `of` makes of each figure of several runs.
    pub fn over(runs: &[Self], of: impl Fn(Vec<f64>) -> f64) -> Self {
        Self {
            steps: array::from_fn(|n| of(runs.iter().map(|run| run.steps[n]).collect())),
            reply: of(runs.iter().map(|run| run.reply).collect()),
        }
    }

    /// Returns the lines that tell the steps to people.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("on average a reply came after {:.2} ms, of which", self.reply)];
        let share = |ms: f64| 100.0 * ms / self.reply.max(1e-9);
        let named = STEPS.iter().zip(self.steps);
        lines.extend(named.map(|((name, what), ms)| format!("{name:9} {ms:>8.2} ms {:>3.0} %  {what}", share(ms))));
        lines
    }
}

impl Serialize for StepTimes {
    /// Writes an object with each step by its name, and the mean latency of the replies as `reply`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(STEPS.len() + 1))?;
        for ((name, _), ms) in STEPS.iter().zip(&self.steps) {
            map.serialize_entry(name, ms)?;
        }
        map.serialize_entry("reply", &self.reply)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two commands in one transaction of 12 ms. It began 10 ms after they were due, and their replies came 5 ms after its commit.
    fn steps() -> StepTimes {
        let seconds = Seconds {
            commands: 2.0,
            stages: [0.006, 0.002, 0.008, 0.004, 0.024],
            transactions: 0.012,
            calls: [0.001, 0.003, 0.002, 0.005],
        };
        StepTimes::new(seconds, 27.0)
    }

    #[test]
    fn the_steps_add_up_to_the_mean_latency() {
        let steps = StepTimes::over(&[steps()], |of| (of[0] * 1e6).round() / 1e6);
        let json = serde_json::to_string(&steps).unwrap();
        let expected =
            r#"{"fetch":3.0,"queue":1.0,"decide":4.0,"gather":2.0,"produce":1.0,"flush":3.0,"offsets":2.0,"commit":5.0,"#
                .to_owned()
                + r#""hand_over":1.0,"markers":5.0,"reply":27.0}"#;
        assert_eq!(json, expected);
        assert_eq!(steps.lines()[8], "commit        5.00 ms  19 %  until the commit returned");
    }

    #[test]
    fn what_was_before_the_measurement_does_not_count() {
        let now = Seconds { commands: 3.0, stages: [9.0; 5], transactions: 8.0, calls: [7.0; 4] };
        let before = Seconds { commands: 1.0, stages: [8.0; 5], transactions: 4.0, calls: [5.0; 4] };
        let since = now.with(before, |now, before| now - before);
        assert_eq!((since.commands, since.stages, since.transactions, since.calls), (2.0, [1.0; 5], 4.0, [2.0; 4]));
    }
}
