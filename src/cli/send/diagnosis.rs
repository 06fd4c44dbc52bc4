//! Looks for the reason why a command has no reply: whether a processor is ready, and how far its consumer group has got.

use crate::config::Config;
use crate::flow::offsets::Committed;
use crate::kafka::callbacks;
use crate::toolbox::patience::patiently_blocking;
use crate::toolbox::topic_reader::{blocking, consumer_config};
use anyhow::Context as _;
use rdkafka::consumer::BaseConsumer;
use rdkafka::producer::future_producer::Delivery;
use serde_json::Value;
use std::time::Duration;

/// How long the processor may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Returns what was found out, in sentences. `delivered` is where the command lies, if that is known.
pub(super) async fn of(config: &Config, delivered: Option<&Delivery>) -> Vec<String> {
    let (readiness, group) = tokio::join!(readiness(config), async {
        match delivered {
            Some(at) => Some(group(config, at.partition, at.offset).await),
            None => None,
        }
    });
    readiness.into_iter().chain(group).collect()
}

async fn readiness(config: &Config) -> Option<String> {
    // Port 0 stands for any free port: nobody knows which one to ask.
    let listen = Some(config.admin.listen).filter(|address| address.port() != 0)?;
    let url = format!("http://{listen}/readyz");
    let asked = async {
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
        client.get(&url).send().await?.json::<Value>().await
    };
    Some(match asked.await {
        Ok(answer) => {
            let list = |name: &str| {
                let texts = answer[name].as_array().into_iter().flatten().filter_map(Value::as_str);
                texts.collect::<Vec<_>>().join(", ")
            };
            let (obstacles, warnings) = (list("obstacles"), list("warnings"));
            let ready = if answer["ready"] == true { "ready".into() } else { format!("not ready: {obstacles}") };
            let warnings = if warnings.is_empty() { warnings } else { format!("; it warns: {warnings}") };
            format!("The processor at {url} says that it is {ready}{warnings}.")
        }
        Err(_) => {
            format!("Nothing answers at {url} (admin.listen): no processor runs on this machine, or it has another address.")
        }
    })
}

/// Returns a sentence about how far the consumer group has got, relative to the command.
async fn group(config: &Config, partition: i32, offset: i64) -> String {
    let kafka = config.kafka.clone();
    let (name, topic) = (kafka.group_id.clone(), kafka.topics.commands.clone());
    let committed = blocking(move || {
        let mut client = consumer_config(&kafka);
        // The client only asks about the group; it does not join it.
        let consumer: BaseConsumer = client.set("group.id", &kafka.group_id).create().context("can't make a Kafka consumer")?;
        let committed = patiently_blocking(|| callbacks::committed(&consumer, &kafka.topics.commands, [partition].into_iter()))?;
        Ok(committed.into_iter().next().map(|(_, committed)| committed).unwrap_or_default())
    });
    match committed.await {
        Ok(committed) if committed.covers(offset) => {
            format!("Group {name} has answered the command: its reply went to another topic, or its correlation id was changed.")
        }
        Ok(Committed { offset: Some(next), .. }) => {
            let before = offset - next;
            format!(
                "Group {name} has not answered the command: {before} offsets before it in {topic}, partition {partition}, are open, too."
            )
        }
        Ok(_) => format!("Group {name} has never answered anything from {topic}, partition {partition}."),
        Err(error) => format!("How far group {name} has got can't be found out: {error:#}."),
    }
}
