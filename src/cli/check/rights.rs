//! Checks whether the brokers let `run` do what it does. Rights are asked about, not tried, with one exception: nobody can ask about a
//! transactional id, so a producer registers with the brokers under an id that no process uses.

use super::list::List;
use crate::config::{Config, Kafka, Properties};
use crate::kafka::rights::{self, Right};
use crate::toolbox::cluster::Cluster;
use crate::toolbox::patience::patiently_blocking;
use crate::toolbox::reach::{Probe, TIMEOUT, client_config};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::Producer as _;

/// A right that `run` needs, and what it needs the right on: the kind, as error texts name it, and the name.
struct Need {
    right: Right,
    on: &'static str,
    name: String,
}

/// Reports which of the rights that `run` needs of Kafka are missing.
pub(super) async fn check(config: &Config, cluster: &Cluster, list: &mut List) {
    let kafka = config.kafka.clone();
    let admin = cluster.admin.clone();
    let found = tokio::task::spawn_blocking(move || {
        let (unwritable, as_producer) = producer(&kafka).map_or_else(
            |error| (Vec::new(), vec![format!("{error:#}")]),
            |producer| {
                let ask = |need: &Need| rights::on_topic(producer.producer().client(), &need.name);
                let (unwritable, mut findings) = missing(producer_needs(&kafka), &kafka.producer, ask);
                findings.extend(transactional_id(&kafka, patiently_blocking(|| producer.producer().init_transactions(TIMEOUT))));
                (unwritable, findings)
            },
        );
        let ask = |need: &Need| match need.on {
            "group" => patiently_blocking(|| rights::on_group(admin.inner(), &need.name)),
            _ => rights::on_topic(admin.inner(), &need.name),
        };
        let (_, as_consumer) = missing(consumer_needs(&kafka, &unwritable), &kafka.consumer, ask);
        [as_consumer, as_producer]
    });
    let found = found.await.unwrap_or_else(|bug| [vec![bug.to_string()], Vec::new()]);
    let good = [
        "Read on the command topic and the group, Describe on the reply topics",
        "Write on the other topics and the transactional id",
    ];
    for (findings, good) in found.iter().zip(good) {
        for finding in findings {
            list.finding("rights", finding);
        }
        if findings.is_empty() {
            list.ok("rights", good);
        }
    }
}

/// Returns what the consumer needs. The topics in `unwritable` have a finding already, and who may write to a topic may describe it.
fn consumer_needs(kafka: &Kafka, unwritable: &[String]) -> Vec<Need> {
    let mut needs = vec![
        Need { right: Right::Read, on: "topic", name: kafka.topics.commands.clone() },
        Need { right: Right::Read, on: "group", name: kafka.group_id.clone() },
    ];
    // The consumer asks how many partitions they have. A topic that it may not see counts as missing.
    let replies = kafka.reply_topic_allow_list.iter().filter(|name| !unwritable.contains(name));
    needs.extend(replies.map(|name| Need { right: Right::Describe, on: "topic", name: name.clone() }));
    needs
}

fn producer_needs(kafka: &Kafka) -> Vec<Need> {
    let topics = [&kafka.topics.transactions, &kafka.topics.dlq]
        .into_iter()
        .chain(&kafka.topics.changes)
        .chain(&kafka.reply_topic_allow_list);
    topics.map(|name| Need { right: Right::Write, on: "topic", name: name.clone() }).collect()
}

/// Returns the names of what a right is missing on, and a finding for each. Topics that do not exist are reported elsewhere.
fn missing(
    needs: Vec<Need>,
    properties: &Properties,
    ask: impl Fn(&Need) -> Result<Vec<Right>, RDKafkaErrorCode>,
) -> (Vec<String>, Vec<String>) {
    use RDKafkaErrorCode::{GroupAuthorizationFailed, TopicAuthorizationFailed, UnknownTopic, UnknownTopicOrPartition};
    let finding = |need: &Need| match ask(need) {
        Ok(rights) if rights.contains(&need.right) => None,
        Ok(_) | Err(TopicAuthorizationFailed | GroupAuthorizationFailed) => {
            Some(not_allowed(need.right.name(), need.on, &need.name, properties))
        }
        Err(UnknownTopic | UnknownTopicOrPartition) => None,
        Err(code) => Some(format!("{} {}: the rights on it can't be asked for: {code}", need.on, need.name)),
    };
    needs.into_iter().filter_map(|need| finding(&need).map(|finding| (need.name, finding))).unzip()
}

fn not_allowed(right: &str, on: &str, name: &str, properties: &Properties) -> String {
    let user = properties.get("sasl.username").unwrap_or("NAME");
    format!(
        "no right to {right} {on} {name}; an administrator grants it: kafka-acls.sh --add --allow-principal User:{user} \
         --operation {right} --{} {name} (docs/security.md has all that is needed)",
        on.replace(' ', "-")
    )
}

/// Returns a producer that has found its brokers. Its transactional id is one that no process uses, so it fences nobody.
fn producer(kafka: &Kafka) -> anyhow::Result<Probe> {
    let mut config = client_config(kafka, &kafka.producer);
    config.set("transactional.id", kafka.transactional_id_to_check());
    let probe = Probe::new(config)?;
    probe.reach(kafka, "kafka.producer")?;
    Ok(probe)
}

fn transactional_id(kafka: &Kafka, said: KafkaResult<()>) -> Option<String> {
    match said {
        Ok(()) => None,
        Err(KafkaError::Transaction(e)) if e.code() == RDKafkaErrorCode::TransactionalIdAuthorizationFailed => {
            let prefix = format!("{}- --resource-pattern-type prefixed", kafka.group_id);
            Some(not_allowed(Right::Write.name(), "transactional id", &prefix, &kafka.producer))
        }
        Err(error) => Some(format!("transactional id {}: {error}", kafka.transactional_id_to_check())),
    }
}
