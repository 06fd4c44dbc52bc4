//! Looks now and then at the topics that outputs go to. Where brokers make topics when somebody asks for them, a topic that is deleted
//! under a running process comes back by itself, with one partition and the brokers' limits. Nothing fails at first, but keys have other
//! partitions from then on; so operators are told.

use crate::config::Kafka;
use crate::kafka::partition_counts::PartitionCounts;
use crate::telemetry::concerns::Concern;
use crate::telemetry::health::Health;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::series::gauge;
use crate::telemetry::wording::counted;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// How often the topics are looked at. This takes a question for each topic, and makes a change known within seconds.
const LOOK: Duration = Duration::from_secs(10);

/// The topics, each with the most partitions that it has had since the process began; `None` if it was not there yet.
#[derive(Debug)]
struct Shapes(BTreeMap<Arc<str>, Option<i32>>);

impl Shapes {
    fn of(topics: impl IntoIterator<Item = Arc<str>>) -> Self {
        Self(topics.into_iter().map(|topic| (topic, None)).collect())
    }

    /// Takes note of how many partitions a topic has; 0 if it is not there. Returns what is wrong; `None` if nothing is.
    fn seen(&mut self, topic: &str, partitions: i32) -> Option<String> {
        let most = self.0.get_mut(topic)?;
        let counted = |partitions: i32| counted(partitions.try_into().unwrap_or_default(), "partition");
        match *most {
            Some(before) if partitions == 0 => Some(format!("{topic} is gone (it had {})", counted(before))),
            Some(before) if partitions < before => {
                let has = counted(partitions);
                Some(format!("{topic} has {has} (it had {before}): it was deleted, and made again by somebody else"))
            }
            _ => {
                *most = Some(partitions).filter(|partitions| *partitions > 0);
                None
            }
        }
    }
}

/// Returns a future that looks at the topics, and tells what has changed, until it is dropped.
pub fn keep_looking(
    kafka: &Kafka,
    partition_counts: Arc<PartitionCounts>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
) -> impl Future<Output = ()> + Send + use<> {
    let topics = &kafka.topics;
    let answers = [&topics.replies, &topics.transactions, &topics.dlq].into_iter().chain(&topics.changes);
    let names = answers.chain(&kafka.reply_topic_allow_list);
    let mut shapes = Shapes::of(names.map(|name| name.as_str().into()));
    async move {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let names: Vec<Arc<str>> = shapes.0.keys().cloned().collect();
            let counts = partition_counts.clone();
            let found = tokio::task::spawn_blocking(move || names.into_iter().map(|name| (counts.ask(&name), name)).collect());
            let Ok(found): Result<Vec<_>, _> = found.await else { continue };
            // If the cluster does not answer about all topics, the last warning stays as it is.
            if found.iter().any(|(partitions, _)| partitions.is_none()) {
                continue;
            }
            let changed: Vec<_> =
                found.iter().filter_map(|(partitions, name)| shapes.seen(name, partitions.unwrap_or_default())).collect();
            metrics.topics_changed.set(gauge(changed.len()));
            let text = format!("topics have changed: {}; `crm-processor check` says what they lack", changed.join("; "));
            health.tell(Concern::TopicsChanged, (!changed.is_empty()).then_some(text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_lost_partitions_or_is_gone_is_told_until_it_is_as_it_was() {
        let mut shapes = Shapes::of(["dlq".into()]);
        for (partitions, expected) in [
            (0, None),
            (3, None),
            (3, None),
            (6, None),
            (0, Some("dlq is gone (it had 6 partitions)")),
            (1, Some("dlq has 1 partition (it had 6): it was deleted")),
            (3, Some("dlq has 3 partitions (it had 6): it was deleted")),
            (6, None),
        ] {
            let said = shapes.seen("dlq", partitions);
            let is_so = match (&said, expected) {
                (Some(said), Some(expected)) => said.starts_with(expected),
                (None, None) => true,
                _ => false,
            };
            assert!(is_so, "{partitions}: {said:?}, not {expected:?}");
        }
        assert_eq!(shapes.seen("somebody else's", 0), None);
    }
}
