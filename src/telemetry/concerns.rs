//! What can be wrong with a process beside what it depends on, and who is told: `/readyz` for as long as it lasts, the log when it begins
//! and when it is over.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Something that can be wrong. Each has one text at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Concern {
    /// Brokers refuse outputs, and their records are held.
    RecordsHeld,
    /// Commands wait for the store, or for a schema, and none is answered.
    CommandsWait,
    /// A Kafka transaction does not end: nothing can be answered.
    TransactionStalled,
    /// An open transaction of another producer holds back commands.
    TransactionHoldsBack,
    /// A topic that outputs go to has fewer partitions than it had, or is gone.
    TopicsChanged,
    /// The consuming thread does not come round.
    ConsumerStalled,
    /// The coordinator takes little metadata with an offset.
    OffsetMetadataShort,
    /// Partitions stand still, because their next records can't be decompressed.
    Undecodable,
    /// Partitions are not read, because a newer release has committed their offsets in a form that this one can't read.
    NewerOffsets,
    /// There is no command topic.
    TopicMissing,
    /// The consumer is connected to no broker, because it can't log in.
    LoggedOut,
    /// A client can't log in any more; there are still connections.
    LoginTrouble,
    /// The keyspace wants more of the database's nodes than there are: nothing, or not everything, can be decided.
    KeyspaceUnworkable,
    /// The keyspace wants more of the database's nodes than there are, and all can be decided while they are up.
    KeyspaceUnfit,
    /// Partitions wait for schemas that the registry does not give out.
    SchemasMissing,
    /// The registry's ids mean other schemas than before.
    RegistryDiffers,
}

/// What a concern leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    /// Most is answered meanwhile.
    Warning,
    /// The same, and some is not until somebody does something.
    Stop,
    /// Nothing can be answered until it is over.
    Obstacle,
    /// The same, and it is not over before somebody does something.
    Halt,
}

impl Concern {
    /// What it leads to, and what the log says when it is over.
    fn meaning(self) -> (Weight, &'static str) {
        match self {
            Self::RecordsHeld => (Weight::Warning, "the broker takes all outputs again; no records are held any more"),
            Self::CommandsWait => (Weight::Warning, "records are answered again"),
            Self::TransactionStalled => (Weight::Obstacle, "Kafka transactions end again"),
            Self::TransactionHoldsBack => (Weight::Warning, "no open transaction holds back commands any more"),
            Self::TopicsChanged => (Weight::Warning, "the topics are as they were"),
            Self::ConsumerStalled => (Weight::Obstacle, "the Kafka consumer comes round again"),
            Self::OffsetMetadataShort => (Weight::Warning, "the coordinator takes all metadata again"),
            Self::Undecodable => (Weight::Stop, "all partitions are read again"),
            Self::NewerOffsets => (Weight::Warning, "no partition waits for this process to be upgraded any more"),
            Self::TopicMissing => (Weight::Halt, "the command topic is there again"),
            Self::LoggedOut => (Weight::Obstacle, "the consumer is connected to Kafka again"),
            Self::LoginTrouble => (Weight::Warning, "no client of Kafka has trouble with its login any more"),
            Self::KeyspaceUnworkable => (Weight::Obstacle, "the database has the nodes that the keyspace needs to decide"),
            Self::KeyspaceUnfit => (Weight::Warning, "the keyspace's replication fits the database's nodes"),
            Self::SchemasMissing => (Weight::Warning, "no partition waits for a schema any more"),
            Self::RegistryDiffers => (Weight::Halt, "the schema registry has our schemas again; commands are taken"),
        }
    }

    /// Returns whether nothing can be answered until it is over.
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

/// What is wrong at present.
#[derive(Debug, Default)]
pub struct Concerns(Mutex<BTreeMap<Concern, String>>);

impl Concerns {
    /// Sets what is to be said of a concern, or that there is nothing to say any more. Logs it if that is a change between something
    /// and nothing, and returns whether it is.
    pub fn tell(&self, concern: Concern, text: Option<String>) -> bool {
        let said = text.clone();
        let is_change = match text {
            Some(text) => self.present().insert(concern, text).is_none(),
            None => self.present().remove(&concern).is_some(),
        };
        if is_change {
            concern.log(said.as_deref());
        }
        is_change
    }

    /// Returns what keeps everything from being answered.
    pub fn obstacles(&self) -> Vec<String> {
        self.texts(true)
    }

    /// Returns the rest.
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
        assert!(concerns.tell(Concern::RecordsHeld, Some("two records are held".into())));
        assert!(concerns.tell(Concern::TransactionStalled, Some("a transaction does not end".into())));
        assert!(!concerns.tell(Concern::TransactionStalled, Some("it still does not end".into())), "no change");
        assert_eq!(
            (concerns.obstacles(), concerns.warnings()),
            (vec!["it still does not end".into()], vec!["two records are held".into()])
        );
        assert!(concerns.tell(Concern::TransactionStalled, None));
        assert!(!concerns.tell(Concern::TransactionStalled, None), "no change");
        assert!(concerns.obstacles().is_empty());
    }
}
