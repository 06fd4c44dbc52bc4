//! Checks the brokers and the topics on them: those of the configuration, and the two internal topics on which exactly-once rests.

use super::list::List;
use super::rights;
use crate::config::Config;
use crate::kafka;
use crate::toolbox::assessment::Assessment;
use crate::toolbox::cluster::{AUTO_CREATE, Cluster, ClusterView};
use crate::toolbox::replication::{Placement, Safety, risks};
use crate::toolbox::topics::{self, UNCLEAN_ELECTION};
use rdkafka::types::RDKafkaErrorCode;
use std::collections::BTreeMap;

/// A topic of the brokers' own.
struct Internal {
    name: &'static str,
    /// The broker's setting for how many replicas the topic gets.
    replicas: &'static str,
    /// The broker's setting for the topic's `min.insync.replicas`.
    min_in_sync: &'static str,
}

const INTERNAL: [Internal; 2] = [
    // It holds the offsets that consumer groups have committed.
    Internal { name: "__consumer_offsets", replicas: "offsets.topic.replication.factor", min_in_sync: "min.insync.replicas" },
    // It holds what became of each transaction.
    Internal {
        name: "__transaction_state",
        replicas: "transaction.state.log.replication.factor",
        min_in_sync: "transaction.state.log.min.isr",
    },
];

/// The broker's setting for how many bytes of metadata may go with a committed offset.
const OFFSET_METADATA: &str = "offset.metadata.max.bytes";
/// The broker's default for [`OFFSET_METADATA`]. The processor uses up to this many bytes.
const ENOUGH_METADATA: u64 = 4096;

pub(super) async fn check(config: &Config, list: &mut List) {
    let view = async {
        let cluster = Cluster::new(&config.kafka)?;
        cluster.look().await.map(|view| (cluster, view))
    };
    let (cluster, view) = match view.await {
        Ok(found) => found,
        Err(error) => return list.finding("kafka", &format!("{error:#}")),
    };
    list.add("kafka", &view.brokers.assessment());
    view.brokers.limits().iter().for_each(|limits| list.add("kafka", limits));
    let topics = topics::of(config);
    let there: Vec<_> = topics.iter().map(|t| t.name.as_str()).filter(|name| view.topics.contains_key(*name)).collect();
    let safety = match cluster.safety(&there).await {
        Ok(safety) => safety,
        Err(error) => {
            list.finding("topics", &format!("their settings can't be read: {error:#}"));
            BTreeMap::new()
        }
    };
    for topic in &topics {
        match view.topics.get(&topic.name) {
            Some(placement) => tell(&topic.name, placement, safety.get(&topic.name), &view, list),
            // A topic that we may not see is reported with the other missing rights.
            None if is_hidden(&cluster, &topic.name).await => {}
            None => list.finding("topic", &format!("{} ({}) is missing; `crm-processor setup` makes it", topic.name, topic.key)),
        }
    }
    for name in config.kafka.reply_topic_allow_list.iter().filter(|name| **name != config.kafka.topics.replies) {
        match view.topics.get(name) {
            Some(placement) => list.ok("reply topic", &format!("{name} is there, with {}", placement.shown(Safety::default()))),
            None if is_hidden(&cluster, name).await => {}
            None => list.finding(
                "reply topic",
                &format!("{name} is missing: replies for it go to the default one; make it, or take it off kafka.reply_topic_allow_list"),
            ),
        }
    }
    // If the settings could not be read, a finding above says so.
    if !safety.is_empty() || there.is_empty() {
        match cluster.findings(&topics, &view).await {
            Ok(assessments) => assessments.iter().for_each(|(topic, assessment)| list.add("topic", &assessment.about(topic))),
            Err(error) => list.finding("topics", &format!("their settings can't be read: {error:#}")),
        }
    }
    check_brokers(&cluster, &view, list).await;
    for internal in &INTERNAL {
        check_internal(internal, &cluster, &view, list).await;
    }
    rights::check(config, &cluster, list).await;
}

/// Reports the brokers' own settings that the processor rests on.
async fn check_brokers(cluster: &Cluster, view: &ClusterView, list: &mut List) {
    // A finding that several brokers share is told once, with all their ids.
    let mut amiss = Vec::<(Assessment, Vec<String>)>::new();
    for broker in &view.brokers.up {
        match cluster.broker_settings(*broker, &[OFFSET_METADATA, AUTO_CREATE]).await {
            Ok(settings) => {
                for assessment in broker_assessments(&settings) {
                    match amiss.iter_mut().find(|(said, _)| *said == assessment) {
                        Some((_, brokers)) => brokers.push(broker.to_string()),
                        None => amiss.push((assessment, vec![broker.to_string()])),
                    }
                }
            }
            Err(reason) => {
                return list.add("broker", &Assessment::Note(format!("its settings can't be read: {reason}")));
            }
        }
    }
    for (assessment, brokers) in &amiss {
        list.add("broker", &assessment.about(&brokers.join(", ")));
    }
    if amiss.is_empty() {
        let good = format!("{OFFSET_METADATA} is large enough, and they make no topics by themselves");
        list.ok("broker", &good);
    }
}

/// Returns what an operator should know of a broker's settings. Returns nothing if they are as they should be.
fn broker_assessments(settings: &BTreeMap<String, String>) -> Vec<Assessment> {
    let mut assessments = Vec::new();
    if let Some(bytes) = settings.get(OFFSET_METADATA).and_then(|value| value.parse::<u64>().ok())
        && bytes < ENOUGH_METADATA
    {
        assessments.push(Assessment::Finding(format!(
            "{OFFSET_METADATA} is {bytes}: the processor keeps there, in up to {ENOUGH_METADATA} bytes, what is done beyond the first open \
             command; with fewer bytes, one command that is held makes its partition pause early; set \
             {OFFSET_METADATA}={ENOUGH_METADATA} or more in the brokers' properties"
        )));
    }
    if settings.get(AUTO_CREATE).is_some_and(|on| on == "true") {
        assessments.push(Assessment::Note(format!(
            "{AUTO_CREATE} is true: as soon as some client asks for a topic that was deleted or is misnamed, the brokers make it, with \
             their own limits and number of partitions (crm-processor's clients don't have it made); set {AUTO_CREATE}=false in the \
             brokers' properties"
        )));
    }
    assessments
}

/// Reports what a topic is like, and how well its records are kept.
fn tell(name: &str, placement: &Placement, safety: Option<&Safety>, view: &ClusterView, list: &mut List) {
    let safety = safety.copied().unwrap_or_default();
    let findings = placement.findings(name, safety, &view.brokers);
    let shown = format!("{name} is there, with {}", placement.shown(safety));
    if findings.is_empty() {
        list.ok("topic", &shown);
    }
    for finding in &findings {
        list.finding("topic", &format!("{shown}: {finding}"));
    }
}

/// Reports one of the brokers' own topics. The processor needs no right to see it, so a topic that can't be seen is no finding.
async fn check_internal(internal: &Internal, cluster: &Cluster, view: &ClusterView, list: &mut List) {
    let name = internal.name;
    if let Some(placement) = view.topics.get(name) {
        match cluster.safety(&[name]).await {
            Ok(safety) => tell(name, placement, safety.get(name), view, list),
            Err(error) => {
                tell(name, placement, None, view, list);
                list.add("topic", &Assessment::Note(format!("{name}: its settings can't be read: {error:#}")));
            }
        }
    } else if is_hidden(cluster, name).await {
        list.add(
            "topic",
            &Assessment::Note(format!("{name} can't be seen: that takes the rights to Describe and DescribeConfigs on it")),
        );
    } else {
        check_to_be_made(internal, cluster, view, list).await;
    }
}

/// Says what a topic of the brokers' own will be like on a fresh cluster: the brokers make it when it is first needed.
async fn check_to_be_made(internal: &Internal, cluster: &Cluster, view: &ClusterView, list: &mut List) {
    let Internal { name, replicas, min_in_sync } = internal;
    let Some(broker) = view.brokers.up.first() else { return };
    let settings = match cluster.broker_settings(*broker, &[replicas, min_in_sync, UNCLEAN_ELECTION]).await {
        Ok(settings) => settings,
        Err(reason) => {
            return list.add(
                "topic",
                &Assessment::Note(format!("{name} is not there yet; the broker's settings for it can't be read: {reason}")),
            );
        }
    };
    let number = |name: &str| settings.get(name).and_then(|value| value.parse::<u32>().ok());
    let safety = Safety {
        min_in_sync: number(min_in_sync),
        unclean_election: settings.get(UNCLEAN_ELECTION).and_then(|value| value.parse().ok()),
    };
    let shown: Vec<_> = settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
    list.add("topic", &Assessment::Note(format!("{name} is not there yet; the brokers will make it by {}", shown.join(", "))));
    let Some(factor) = number(replicas) else { return };
    let set = |setting: &str| format!("set {} in the brokers' properties", setting.replace("min.insync.replicas", min_in_sync));
    let give = format!("set {replicas} to 3 in the brokers' properties before the first start");
    for risk in risks(factor as usize, safety, &view.brokers, &give, &set) {
        list.finding("topic", &format!("{name}, which the brokers will make: {risk}"));
    }
}

/// Returns whether we lack the right even to learn if there is such a topic.
async fn is_hidden(cluster: &Cluster, topic: &str) -> bool {
    let (admin, topic) = (cluster.admin.clone(), topic.to_owned());
    let asked = tokio::task::spawn_blocking(move || kafka::rights::on_topic(admin.inner(), &topic));
    matches!(asked.await, Ok(Err(RDKafkaErrorCode::TopicAuthorizationFailed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_with_little_offset_metadata_is_a_finding_and_one_that_makes_topics_is_noted() {
        for (metadata, auto_create, findings, notes) in
            [("4096", "false", 0, 0), ("4095", "false", 1, 0), ("65536", "true", 0, 1), ("64", "true", 1, 1), ("?", "?", 0, 0)]
        {
            let settings = [(OFFSET_METADATA, metadata), (AUTO_CREATE, auto_create)];
            let assessments = broker_assessments(&settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
            let found = assessments.iter().filter(|assessment| assessment.finding().is_some()).count();
            assert_eq!((found, assessments.len() - found), (findings, notes), "{settings:?}: {assessments:?}");
        }
        assert_eq!(broker_assessments(&BTreeMap::new()), []);
    }
}
