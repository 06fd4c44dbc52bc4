//! Three brokers, each a controller, too. Every topic is on all three, the internal ones included, and takes a record when two of
//! them have it.

use super::super::own::{OwnServer, Start};
use super::super::{free_port, has_brokers, prepare_kafka_at};
use super::{MEMBERS, addresses, until};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::metadata::{Metadata, MetadataPartition, MetadataTopic};
use std::fmt::Write as _;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// The settings of a single broker that three brokers must not have.
const ALONE: [&str; 8] = [
    "node.id=",
    "controller.quorum.voters=",
    "default.replication.factor=",
    "min.insync.replicas=",
    "offsets.topic.replication.factor=",
    "transaction.state.log.replication.factor=",
    "transaction.state.log.min.isr=",
    "unclean.leader.election.enable=",
];
const THREE: &str = "default.replication.factor=3\nmin.insync.replicas=2\nunclean.leader.election.enable=false\n\
                     offsets.topic.replication.factor=3\ntransaction.state.log.replication.factor=3\n\
                     transaction.state.log.min.isr=2\n";
const GROUPS: &str = "__consumer_offsets";
const TRANSACTIONS: &str = "__transaction_state";

/// See the module. Broker n has the id n + 1.
pub struct Brokers(Vec<OwnServer>);

impl Brokers {
    /// Starts all three and waits until they are in sync. Returns `None` if they can't be had here; the reason has been printed,
    /// and the test returns.
    pub fn start() -> Option<Self> {
        let brokers = Self(OwnServer::start_all(
            || {
                let ports = [(); 2 * MEMBERS].map(|()| free_port());
                let (ports, controllers) = ports.split_at(MEMBERS);
                let voters: Vec<_> = controllers.iter().zip(1..).map(|(port, id)| format!("{id}@127.0.0.1:{port}")).collect();
                let voters = voters.join(",");
                let prepare = |n: usize| {
                    let adjust = |template: &str| {
                        let kept = template.lines().filter(|line| !ALONE.iter().any(|start| line.starts_with(start)));
                        let mut properties = kept.fold(String::new(), |text, line| text + line + "\n");
                        let _ = write!(properties, "node.id={}\ncontroller.quorum.voters={voters}\n{THREE}", n + 1);
                        properties
                    };
                    prepare_kafka_at((ports[n], controllers[n]), "-Xmx400m", adjust, &[], has_brokers)
                };
                (0..MEMBERS).map(prepare).collect()
            },
            Start::AtOnce,
        )?);
        brokers.until_in_sync();
        Some(brokers)
    }

    /// Returns all bootstrap servers.
    pub fn addresses(&self) -> String {
        addresses(self)
    }

    /// Returns which broker coordinates a consumer group. Must not be called while a broker is frozen.
    pub fn coordinator_of_group(&self, group: &str) -> usize {
        self.leader_for(GROUPS, group)
    }

    /// Returns which broker coordinates the transactions of a transactional id. Must not be called while a broker is frozen.
    pub fn coordinator_of_transactions(&self, transactional_id: &str) -> usize {
        self.leader_for(TRANSACTIONS, transactional_id)
    }

    /// Waits until all three are up, and all replicas of all partitions are in sync.
    pub fn until_in_sync(&self) {
        until("all replicas of all partitions are in sync", || {
            let metadata = self.metadata(None)?;
            if metadata.brokers().len() < MEMBERS {
                return Err(format!("{} brokers", metadata.brokers().len()));
            }
            let partitions = metadata.topics().iter().flat_map(|t| t.partitions().iter().map(move |p| (t.name(), p)));
            let mut behind = partitions.filter(|(_, p)| p.leader() < 0 || p.isr().len() < p.replicas().len());
            behind.next().map_or(Ok(()), |(topic, p)| {
                Err(format!("{topic}[{}]: leader {}, {:?} of {:?} in sync", p.id(), p.leader(), p.isr(), p.replicas()))
            })
        });
    }

    /// Returns the leader of the internal partition that keeps a group or a transactional id: it is the coordinator.
    fn leader_for(&self, topic: &str, name: &str) -> usize {
        until(&format!("{topic} has a leader for {name}"), || {
            let metadata = self.metadata(Some(topic))?;
            let partitions = metadata.topics().first().map(MetadataTopic::partitions).unwrap_or_default();
            let keeps = (java_hash(name) & i32::MAX).checked_rem(i32::try_from(partitions.len()).expect("there are few"));
            let leader = partitions.iter().find(|p| Some(p.id()) == keeps).map_or(0, MetadataPartition::leader);
            usize::try_from(leader - 1).map_err(|_| format!("none for partition {keeps:?}"))
        })
    }

    fn metadata(&self, topic: Option<&str>) -> Result<Metadata, String> {
        const PATIENCE: Duration = Duration::from_secs(10);
        let mut config = ClientConfig::new();
        // The client would print on standard error that a broker is away.
        config.set("bootstrap.servers", self.addresses()).set_log_level(RDKafkaLogLevel::Emerg);
        let client: BaseConsumer = config.create().expect("a client");
        client.fetch_metadata(topic, PATIENCE).map_err(|e| e.to_string())
    }
}

impl Deref for Brokers {
    type Target = [OwnServer];
    fn deref(&self) -> &[OwnServer] {
        &self.0
    }
}

impl DerefMut for Brokers {
    fn deref_mut(&mut self) -> &mut [OwnServer] {
        &mut self.0
    }
}

/// Computes Java's `String.hashCode`.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0, |hash: i32, unit| hash.wrapping_mul(31).wrapping_add(unit.into()))
}

#[test]
fn a_name_is_hashed_as_java_does() {
    assert_eq!(java_hash(""), 0);
    assert_eq!(java_hash("crm-processor"), -1_093_700_765);
}
