//! The result of a round: what was done to the processors, and what they did wrong. The latter must be zero.

use crate::round::audit::Audit;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

#[derive(Default)]
pub struct Report {
    pub kills: BTreeMap<&'static str, u32>,
    pub zombies: u32,
    pub joins_and_leaves: u32,
    pub kafka_restarts: u32,
    pub cassandra_restarts: u32,
    pub cassandra_frozen: Duration,
    pub registry_away: Duration,
    pub store_away: Duration,
    /// The number of commands that waited while the store was away.
    pub backlog: usize,
    pub lost_requests: u64,
    pub lost_answers: u64,
    pub late: u64,
    pub took: Duration,
    pub answered_while_away: usize,
    pub audit: Audit,
}

impl Report {
    pub fn assert_clean(&self) {
        self.audit.assert_clean();
        assert_eq!(self.answered_while_away, 0, "commands answered while the store was away");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, kills) = (|time: Duration| time.as_secs(), self.kills.values().sum::<u32>());
        writeln!(f, "{} s; {kills} processors killed: {:?}", seconds(self.took), self.kills)?;
        writeln!(f, "{} zombies, {} joins and leaves", self.zombies, self.joins_and_leaves)?;
        writeln!(
            f,
            "restarts: Kafka {}, Cassandra {}; Cassandra frozen for {} s",
            self.kafka_restarts,
            self.cassandra_restarts,
            seconds(self.cassandra_frozen)
        )?;
        writeln!(
            f,
            "registry away for {} s, store for {} s with {} commands waiting",
            seconds(self.registry_away),
            seconds(self.store_away),
            self.backlog
        )?;
        writeln!(f, "statements lost {}, answers lost {}, statements late {}", self.lost_requests, self.lost_answers, self.late)?;
        writeln!(f, "{:>6}  answered while the store was away", self.answered_while_away)?;
        write!(f, "{}", self.audit)
    }
}
