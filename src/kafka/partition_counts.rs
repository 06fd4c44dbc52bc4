//! How many partitions the topics have that outputs go to, and whether they exist. The cluster is asked through the consumer, because a
//! question of a consumer, unlike a producer's, never makes a broker create a missing topic.

use super::callbacks::CommandConsumer;
use crate::pauses::Pauses;
use rdkafka::consumer::Consumer;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long an answer of the cluster is used. This is short, because the CRM may ask for a partition as soon as it was added.
const FRESH: Duration = Duration::from_secs(5);
/// How long the answer that a topic is missing is used.
const FRESH_MISSING: Duration = Duration::from_secs(1);
/// How long a question to the cluster may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The partition counts of topics. The map is bounded, because only configured topics are asked about.
pub struct PartitionCounts {
    consumer: Arc<CommandConsumer>,
    known: Mutex<HashMap<Arc<str>, (i32, Instant)>>,
}

impl PartitionCounts {
    /// Makes the table of counts, which is empty at first.
    pub fn new(consumer: Arc<CommandConsumer>) -> Self {
        Self { consumer, known: Mutex::default() }
    }

    /// Returns how many partitions `topic` has; 0 if there is no such topic. While the cluster does not answer, returns its last answer,
    /// or waits if it has never answered.
    pub async fn of(self: &Arc<Self>, topic: &Arc<str>) -> i32 {
        let mut pauses = Pauses::WHILE_AWAY;
        loop {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(topic).copied();
            if let Some((count, asked)) = known
                && asked.elapsed() < if count > 0 { FRESH } else { FRESH_MISSING }
            {
                return count;
            }
            let (this, asked) = (self.clone(), topic.clone());
            let answer = tokio::task::spawn_blocking(move || this.ask(&asked)).await.ok().flatten();
            match (answer, known) {
                (Some(count), _) => {
                    self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(topic.clone(), (count, Instant::now()));
                    return count;
                }
                (None, Some((count, _))) => return count,
                (None, None) => pauses.wait().await,
            }
        }
    }

    /// Asks the cluster how many partitions `topic` has; 0 if there is no such topic. Returns `None` if the cluster does not answer.
    /// Blocks for up to 5 s.
    pub fn ask(&self, topic: &str) -> Option<i32> {
        let metadata = self.consumer.fetch_metadata(Some(topic), TIMEOUT).ok()?;
        let found = metadata.topics().iter().find(|t| t.name() == topic && t.error().is_none());
        Some(found.map_or(0, |t| i32::try_from(t.partitions().len()).unwrap_or(i32::MAX)))
    }
}
