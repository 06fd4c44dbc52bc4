//! The concerns of a process: things that can be wrong and that no other module judges. (`store_health` judges the store.) `/readyz` shows
//! a concern for as long as it lasts. The log tells when it begins and when it is over.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Something that can be wrong. It has one text at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Concern {
    /// Brokers refuse outputs, and their records are held.
    RecordsHeld,
    /// Commands wait, for the store or a schema for example, and none is answered.
    CommandsWait,
    /// A Kafka transaction does not end, so nothing can be answered.
    TransactionStalled,
    /// An open transaction of another producer holds back commands.
    TransactionHoldsBack,
    /// A topic that outputs go to has fewer partitions than it had, or is gone.
    TopicsChanged,
    /// Brokers have records that the client does not fetch.
    RecordsUnfetched,
    /// A call of the consuming thread does not return.
    ConsumerStalled,
    /// The coordinator takes less metadata with an offset than a partition may need.
    OffsetMetadataShort,
    /// Partitions stand still, because their next records can't be decoded.
    Undecodable,
    /// Partitions are not read, because a newer release has committed their offsets in a form that this release does not understand.
    NewerOffsets,
    /// There is no command topic.
    TopicMissing,
    /// The consumer is connected to no broker, because it can't log in.
    LoggedOut,
    /// A client can't log in any more, or may not read the command topic, but there are still connections.
    LoginTrouble,
    /// The keyspace asks for more nodes than the database has, and nothing, or not everything, can be decided.
    KeyspaceUnworkable,
    /// The keyspace asks for more nodes than the database has, but everything can be decided while all nodes are up.
    KeyspaceUnfit,
    /// Partitions wait for schemas that the registry does not give out.
    SchemasMissing,
    /// The ids that the registry gave to our schemas mean other schemas now.
    RegistryDiffers,
    /// The gateway can't reach Kafka, so that commands can't be written or replies can't be read.
    GatewayWithoutKafka,
}

/// The effect of a concern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    /// The process takes commands, and answers those that it can.
    Warning,
    /// Some commands are not answered before an operator acts; most are.
    Stop,
    /// Nothing can be answered until the concern is over.
    Obstacle,
    /// Nothing can be answered before an operator acts.
    Halt,
}

impl Concern {
    /// Returns the concern's effect, and the line that is logged when it is over.
    fn meaning(self) -> (Weight, &'static str) {
        match self {
            Self::RecordsHeld => (Weight::Warning, "the broker takes all outputs again; no records are held any more"),
            Self::CommandsWait => (Weight::Warning, "records are answered again"),
            Self::TransactionStalled => (Weight::Obstacle, "Kafka transactions end again"),
            Self::TransactionHoldsBack => (Weight::Warning, "no open transaction holds back commands any more"),
            Self::TopicsChanged => (Weight::Warning, "the output topics have all their partitions again"),
            Self::RecordsUnfetched => (Weight::Warning, "the Kafka client fetches all partitions again"),
            Self::ConsumerStalled => (Weight::Obstacle, "the calls of the Kafka consumer return again"),
            Self::OffsetMetadataShort => (Weight::Warning, "the coordinator takes all metadata again"),
            Self::Undecodable => (Weight::Stop, "all partitions are read again"),
            Self::NewerOffsets => (Weight::Warning, "no partition waits for this process to be upgraded any more"),
            Self::TopicMissing => (Weight::Halt, "the command topic is there again"),
            Self::LoggedOut => (Weight::Obstacle, "the consumer is connected to Kafka again"),
            Self::LoginTrouble => (Weight::Warning, "no Kafka client reports trouble with logging in or with reading any more"),
            Self::KeyspaceUnworkable => (Weight::Obstacle, "the database has the nodes that the keyspace needs to decide"),
            Self::KeyspaceUnfit => (Weight::Warning, "the keyspace's replication fits the database's nodes"),
            Self::SchemasMissing => (Weight::Warning, "no partition waits for a schema any more"),
            Self::RegistryDiffers => (Weight::Halt, "the schema registry has our schemas again; commands are taken"),
            Self::GatewayWithoutKafka => (Weight::Obstacle, "the gateway reaches Kafka again"),
        }
    }

    /// Returns whether nothing can be answered until the concern is over.
    fn is_obstacle(self) -> bool {
        matches!(self.meaning().0, Weight::Obstacle | Weight::Halt)
    }

    fn log(self, text: Option<&str>) {
        let (weight, over) = self.meaning();
        match (text, weight) {
            (Some(text), Weight::Warning | Weight::Obstacle) => tracing::warn!("{text}"),
            (Some(text), Weight::Stop | Weight::Halt) => tracing::error!("{text}"),
            (None, _) => tracing::info!("{over}"),
        }
    }
}

/// The present concerns, with their texts.
#[derive(Debug, Default)]
pub struct Concerns(Mutex<BTreeMap<Concern, String>>);

impl Concerns {
    /// Sets the text of a concern; `None` if the concern is over. If the concern thereby begins or ends, that is logged. A changed text
    /// alone is not logged.
    pub fn tell(&self, concern: Concern, text: Option<String>) {
        let said = text.clone();
        let is_change = match text {
            Some(text) => self.present().insert(concern, text).is_none(),
            None => self.present().remove(&concern).is_some(),
        };
        if is_change {
            concern.log(said.as_deref());
        }
    }

    /// Returns the texts of the concerns because of which nothing can be answered.
    pub fn obstacles(&self) -> Vec<String> {
        self.texts(true)
    }

    /// Returns the texts of all other concerns.
    pub fn warnings(&self) -> Vec<String> {
        self.texts(false)
    }

    fn texts(&self, are_obstacles: bool) -> Vec<String> {
        let present = self.present();
        let wanted = present.iter().filter(|(concern, _)| concern.is_obstacle() == are_obstacles);
        wanted.map(|(_, text)| text.clone()).collect()
    }

    fn present(&self) -> MutexGuard<'_, BTreeMap<Concern, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_all_from_being_answered_is_an_obstacle_and_everything_else_a_warning() {
        let concerns = Concerns::default();
        concerns.tell(Concern::RecordsHeld, Some("two records are held".into()));
        concerns.tell(Concern::TransactionStalled, Some("a transaction does not end".into()));
        concerns.tell(Concern::TransactionStalled, Some("it still does not end".into()));
        assert_eq!(
            (concerns.obstacles(), concerns.warnings()),
            (vec!["it still does not end".into()], vec!["two records are held".into()])
        );
        concerns.tell(Concern::TransactionStalled, None);
        assert!(concerns.obstacles().is_empty());
    }
}
