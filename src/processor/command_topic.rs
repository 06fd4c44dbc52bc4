//! Watches the command topic itself: whether it is there, and whether it is still the one that it was. If a topic is deleted and made
//! again under its name, offsets begin anew, and nothing that was committed for the old topic holds for the new one. Consumers are not
//! told.

use crate::kafka::callbacks::CommandConsumer;
use crate::kafka::inquiry::topic_id;
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often the brokers are asked.
const EVERY: Duration = Duration::from_secs(5);
/// How long the brokers may take. The runtime waits for the question when the process ends; nobody else does.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What the brokers said last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Seen {
    /// They did not answer, or they give no ids.
    #[default]
    Unknown,
    /// The topic is there, and this is its id.
    There(String),
    /// There is no topic of the name.
    Missing,
}

/// Looks at the topic again and again, and tells what was seen, until it is dropped.
pub async fn keep_looking(consumer: Arc<CommandConsumer>, topic: String, seen: watch::Sender<Seen>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let (consumer, topic) = (consumer.clone(), topic.clone());
        let answer = tokio::task::spawn_blocking(move || topic_id(consumer.client(), &topic, TIMEOUT)).await;
        seen.send_replace(match answer {
            Ok(Ok(Some(id))) => Seen::There(id),
            Ok(Err(RDKafkaErrorCode::UnknownTopicOrPartition)) => Seen::Missing,
            Ok(Ok(None) | Err(_)) | Err(_) => Seen::Unknown,
        });
    }
}
