//! What is known of the topics that replies may go to: whether they exist, and how many partitions they have. Asked of the
//! cluster through the consumer, which, unlike a producer, does not have a missing topic created by asking.

use super::consumer::CommandConsumer;
use rdkafka::consumer::Consumer;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long an answer of the cluster is good for: a partition that was added may be asked for at once. A missing topic is looked for again
/// sooner.
const FRESH: Duration = Duration::from_secs(5);
const FRESH_MISSING: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(5);

/// Partition counts by topic. Bounded: only configured topics are asked about.
pub struct ReplyTopics {
    consumer: Arc<CommandConsumer>,
    known: Mutex<HashMap<Arc<str>, (i32, Instant)>>,
}

impl ReplyTopics {
    /// Nothing is known yet.
    pub fn new(consumer: Arc<CommandConsumer>) -> Self {
        Self { consumer, known: Mutex::default() }
    }

    /// How many partitions `topic` has; 0 if there is no such topic. While the cluster does not answer, what it said
    /// last; if it never said anything, waits.
    pub async fn partitions(self: &Arc<Self>, topic: &Arc<str>) -> i32 {
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
                (None, None) => (),
            }
        }
    }

    /// How many partitions `topic` has by the cluster's present word; 0 if there is no such topic. `None` if the cluster does not answer.
    /// Blocks.
    pub fn ask(&self, topic: &str) -> Option<i32> {
        let metadata = self.consumer.fetch_metadata(Some(topic), TIMEOUT).ok()?;
        let found = metadata.topics().iter().find(|t| t.name() == topic && t.error().is_none());
        Some(found.map_or(0, |t| i32::try_from(t.partitions().len()).unwrap_or(i32::MAX)))
    }
}
