//! One typed configuration: a TOML file with the environment laid over it, checked as a whole. Every finding is reported at
//! once; what has become a [`Config`] needs no more checks.
//!
//! Everything has a default but the path of an embedded store, so an empty file is the configuration of a local set-up. Each key
//! can be overridden by a variable: `CRM__KAFKA__BOOTSTRAP_SERVERS` is `kafka.bootstrap_servers`, `CRM__SEGMENTS=A,B` is a list,
//! `CRM__KAFKA__CONSUMER__SESSION_TIMEOUT_MS` is `kafka.consumer."session.timeout.ms"`. Secrets come from the environment, or
//! from files of their own that the configuration names.

mod datacenters;
mod findings;
mod gathered;
mod properties;
mod reader;
mod secrets;
mod sections;
mod settings;
mod text;

pub use findings::{Finding, Findings};
pub use secrets::RotatingSecret;
pub use settings::{Setting, Source};

use crate::domain::values::{Rules, SegmentCode};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The configuration of a process.
#[derive(Clone, Debug)]
pub struct Config {
    /// `segments`: the codes that a customer's segment may have, compared case by case. At least one.
    pub segments: Vec<SegmentCode>,
    /// `[kafka]`
    pub kafka: Kafka,
    /// `[registry]`
    pub registry: Registry,
    /// `[store]`
    pub store: Store,
    /// `[admin]`
    pub admin: Admin,
    /// `[log]`
    pub log: Log,
    /// `[telemetry]`
    pub telemetry: Telemetry,
}

/// Where commands come from, where answers go, and how many are worked on at once.
#[derive(Clone, Debug)]
pub struct Kafka {
    /// `bootstrap_servers`: brokers to begin with, `host:port,host:port`.
    pub bootstrap_servers: String,
    /// `group_id`: the consumer group; all processes of one deployment share it.
    pub group_id: String,
    /// `instance_id`: names this process's slot and with it the transactional id. Stable per slot (a restart ends the
    /// predecessor's transaction at once), unique among running processes. Random by default.
    pub instance_id: String,
    /// `topics`
    pub topics: Topics,
    /// `reply_topic_allow_list`: topics that a command's `kafka_replyTopic` may name. Holds the default reply topic, too.
    pub reply_topic_allow_list: Vec<String>,
    /// `max_command_bytes`: the largest command that is read: key, value and headers.
    pub max_command_bytes: usize,
    /// `max_in_flight`: how many commands are executed at once; a run of them for one entity counts once.
    pub max_in_flight: usize,
    /// `max_queued`: how many commands wait for their turn before partitions are paused. Drained at a rebalance, so small.
    pub max_queued: usize,
    /// `transaction_cap`: how many commands one Kafka transaction answers at most.
    pub transaction_cap: usize,
    /// `undecodable_batches`: what becomes of records that can't be decompressed.
    pub undecodable_batches: UndecodableBatches,
    /// `shutdown_grace`: how long commands in flight may take to finish after SIGTERM.
    pub shutdown_grace: Duration,
    /// `consumer`: librdkafka properties for consumers (and administration), none that the promises rest on.
    pub consumer: Properties,
    /// `producer`: librdkafka properties for producers, none that the promises rest on.
    pub producer: Properties,
}

/// The fate of records whose batch can't be decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UndecodableBatches {
    /// `wait`: their partition stands still until an operator has decided.
    Wait,
    /// `dead_letter`: a stub goes to the dead letter topic for each, and the partition goes on.
    DeadLetter,
}

/// librdkafka properties. Their Debug shows no secrets.
#[derive(Clone, Default)]
pub struct Properties(BTreeMap<String, String>);

impl Properties {
    /// Names and values, secrets among them: for a client's making.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of one.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl Kafka {
    /// The transactional id: unique per slot and group.
    pub fn transactional_id(&self) -> String {
        format!("{}-{}", self.group_id, self.instance_id)
    }
}

/// The four topics, all different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    /// Where the CRM's commands come from.
    pub commands: String,
    /// Where answers go that name no other topic.
    pub replies: String,
    /// Where Business Transactions go.
    pub transactions: String,
    /// Where records go that can't be read.
    pub dlq: String,
}

/// The schema registry.
#[derive(Clone, Debug)]
pub struct Registry {
    /// `url`: its base URLs, without a slash at the end. The next one is asked where one has no proper answer.
    pub urls: Vec<String>,
    /// `user` and `password`, `token`, or `oauth`: one kind of them.
    pub credentials: RegistryCredentials,
    /// `ca_file`: a PEM file of authorities to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// `cert_file` and `key_file`: PEM files with which this process shows who it is.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// `odd_answer`: what is done about a record whose schema the registry neither gives out nor says that it has none, while it answers
    /// about others.
    pub odd_answer: OddAnswer,
}

/// How this process shows the registry who it is, beside a certificate.
#[derive(Clone, Debug, Default)]
pub enum RegistryCredentials {
    /// Not at all.
    #[default]
    None,
    /// `user` and `password`: HTTP basic authentication.
    Basic(Credentials),
    /// `token`: a bearer token.
    Token(RotatingSecret),
    /// `oauth`: a bearer token that an authorisation server gives out.
    OAuth(OAuth),
}

/// OAuth 2.0 with client credentials.
#[derive(Clone, Debug)]
pub struct OAuth {
    /// `token_url`: where the authorisation server gives tokens out.
    pub token_url: String,
    /// `client_id`
    pub client_id: String,
    /// `client_secret`
    pub client_secret: RotatingSecret,
    /// `scope`: what the token is to be good for.
    pub scope: Option<String>,
}

/// What is done about a record whose schema the registry is odd about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OddAnswer {
    /// A duration: after this time the record goes to the dead letter topic.
    DeadLetterAfter(Duration),
    /// `wait`: its partition waits until the registry gives the schema out.
    Wait,
}

impl OddAnswer {
    /// Returns whether a record that has waited for so long is not waited for any more.
    pub fn is_over(self, waited: Duration) -> bool {
        match self {
            Self::DeadLetterAfter(bound) => waited >= bound,
            Self::Wait => false,
        }
    }
}

impl Default for OddAnswer {
    /// Longer than the restart of a registry's node, or of a proxy before it, takes; short enough for those who wait behind the record.
    fn default() -> Self {
        Self::DeadLetterAfter(Duration::from_secs(60))
    }
}

/// A user and its password.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The user's name.
    pub user: String,
    /// Its password.
    pub password: Secret,
}

/// Where entities and external ids are kept.
#[derive(Clone, Debug)]
pub struct Store {
    /// `kind`, with the keys of that kind.
    pub backend: Backend,
    /// `request_timeout`: how long one read or write may take before it is tried again.
    pub request_timeout: Duration,
    /// `outcome_retention`: how long rejections and no-ops are remembered; whole seconds. Changes and the outcomes of renames
    /// are kept for ever.
    pub outcome_retention: Duration,
    /// `cache_bytes`: how much memory the cache of entities and claims may take, in bytes; some 220 an entity with its claim.
    pub cache_bytes: u64,
}

/// The kinds of store.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one in a process")]
pub enum Backend {
    /// `kind = "cql"`: ScyllaDB or Cassandra.
    Cql(Cql),
    /// `kind = "embedded"`: a folder of this machine, for one process.
    Embedded {
        /// `path`: the folder; made where it is missing.
        path: PathBuf,
    },
}

/// How to reach ScyllaDB.
#[derive(Clone, Debug)]
pub struct Cql {
    /// `contact_points`: nodes to begin with, as `host:port`.
    pub contact_points: Vec<String>,
    /// `keyspace`: letters, digits and underscores.
    pub keyspace: String,
    /// `replication`: the keyspace's replication options, `class` among them. Used by `setup`.
    pub replication: BTreeMap<String, String>,
    /// `local_datacenter`: the data centre whose nodes are asked; by default all are alike.
    pub local_datacenter: Option<String>,
    /// `datacenter_failover`: whether nodes of other data centres are asked when none of `local_datacenter` can be reached.
    /// False unless conditional writes are agreed on by all data centres.
    pub datacenter_failover: bool,
    /// `serial_consistency`: where conditional writes are agreed on.
    pub serial_consistency: SerialConsistency,
    /// `consistency`: how many replicas must have a write before it is acknowledged, and are asked by a plain read. By default
    /// a quorum of those that agree on conditional writes.
    pub consistency: CommitConsistency,
    /// `user` and `password`
    pub credentials: Option<Credentials>,
    /// `tls`: None where it is off.
    pub tls: Option<Tls>,
}

/// Where conditional writes are agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SerialConsistency {
    /// `serial`: by all data centres. External ids are unique everywhere.
    Serial,
    /// `local_serial`: by one data centre. With two that take commands, uniqueness is given up.
    LocalSerial,
}

/// How many replicas must have a conditional write, once it is agreed on, before it is acknowledged; as many are asked by a
/// plain read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitConsistency {
    /// `quorum`: most of all replicas.
    Quorum,
    /// `local_quorum`: most of the replicas in the data centre of the node that is asked.
    LocalQuorum,
}

/// TLS to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// `ca_file`: a PEM file of the authorities to trust; the system's by default.
    pub ca_file: Option<PathBuf>,
    /// `cert_file` and `key_file`: PEM files with which this process shows who it is.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// `verify_hostname`: a node's certificate must name the IP address by which it is reached (the driver knows no names).
    /// False: any certificate of a trusted authority will do. True by default.
    pub verify_hostname: bool,
}

/// Where metrics and health are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// `listen`: address and port of `/metrics`, `/livez` and `/readyz`.
    pub listen: std::net::SocketAddr,
}

/// How the process logs, to standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// `format`
    pub format: LogFormat,
    /// `level`: a level or a list of directives as `RUST_LOG` has them; `RUST_LOG` goes over it.
    pub level: String,
}

/// Where traces go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Telemetry {
    /// `otlp_endpoint`: the base URL of a collector that takes OTLP over HTTP. None: no spans are made.
    pub otlp_endpoint: Option<String>,
}

/// What a line of the log looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `text`: for people.
    Text,
    /// `json`: an object a line.
    Json,
}

/// A text that is never shown: its Debug is `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` from being shown.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one who must present it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Config {
    /// Reads the file at `path` with this process's environment over it.
    ///
    /// # Errors
    /// All findings; a file that can't be read is one, too.
    pub fn load(path: &Path) -> Result<Self, Findings> {
        Self::load_explained(path).map(|(config, _)| config)
    }

    /// The same, with each key's value and where it came from.
    ///
    /// # Errors
    /// As for [`Config::load`].
    pub fn load_explained(path: &Path) -> Result<(Self, Vec<Setting>), Findings> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            Findings(vec![Finding {
                key: "--config".into(),
                value: Some(path.display().to_string()),
                variable: None,
                reason: format!("the file can't be read: {e}"),
                right: "the path of a TOML file; an empty file will do for a local set-up".into(),
            }])
        })?;
        // Variables that are not Unicode can't be ours: `vars` would panic on them.
        let environment = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Self::parse_explained(&text, environment)
    }

    /// Reads TOML with `environment` over it.
    ///
    /// # Errors
    /// All findings.
    pub fn parse(toml: &str, environment: impl IntoIterator<Item = (String, String)>) -> Result<Self, Findings> {
        Self::parse_explained(toml, environment).map(|(config, _)| config)
    }

    /// The same, with each key's value and where it came from.
    ///
    /// # Errors
    /// All findings.
    pub fn parse_explained(
        toml: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(Self, Vec<Setting>), Findings> {
        let file: toml::Table = toml::from_str(toml).map_err(|e| Findings(vec![not_toml(toml, &e)]))?;
        let gathered = gathered::Gathered::default();
        let config = sections::config(reader::Section::root(file, environment, &gathered), &gathered);
        match (config, gathered.into_parts()) {
            (Some(config), (settings, findings)) if findings.is_empty() => Ok((config, settings)),
            (_, (_, findings)) => Err(Findings(findings)),
        }
    }

    /// What request validation needs to know.
    pub fn rules(&self) -> Rules {
        Rules { segments: self.segments.clone() }
    }
}

/// Where the file is no TOML. The line itself is not shown: it may hold a secret.
fn not_toml(text: &str, error: &toml::de::Error) -> Finding {
    let at = error.span().map_or(0, |span| span.start);
    let line = text.get(..at).unwrap_or_default().matches('\n').count() + 1;
    Finding {
        key: format!("line {line}"),
        value: None,
        variable: None,
        reason: format!("is no TOML: {}", error.message().replace('\n', " ")),
        right: "key = value lines below [section] headers".into(),
    }
}

#[cfg(test)]
mod tests;
