//! librdkafka properties of `kafka.consumer` and `kafka.producer`: passed through as they are, but for those that the promises
//! rest on. Names and values are checked against librdkafka itself.

use super::findings::{self, is_secret};
use super::given::{Given, scalar};
use super::reader::Section;
use super::secrets;
use super::settings::{AsToml as _, Source};
use rdkafka::ClientConfig;
use std::collections::BTreeMap;
use std::fmt;

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

/// Without the values of secrets.
impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.iter().map(|(name, value)| (name, if is_secret(name) { "***" } else { value.as_str() }));
        f.debug_map().entries(shown).finish()
    }
}

/// Properties that the processor sets itself, each with the reason. They are findings in either table: librdkafka takes a
/// consumer's properties for a producer, too, so a misplaced one would go unnoticed.
const RESERVED: &[(&[&str], &str, &str)] = &[
    (&["bootstrap.servers", "metadata.broker.list"], "all clients must talk to the same brokers", "kafka.bootstrap_servers"),
    (&["group.id"], "offsets are committed for one group, by the producer", "kafka.group_id"),
    (&["transactional.id"], "it fences the predecessor in the same slot", "kafka.instance_id"),
    (&["isolation.level"], "commands of aborted transactions must not be processed: it is read_committed", LEAVE),
    (
        &[
            "enable.auto.commit",
            "auto.commit.enable",
            "auto.commit.interval.ms",
            "enable.auto.offset.store",
            "offset.store.method",
        ],
        "offsets are committed in one transaction with the answers, else answers would be lost or doubled",
        LEAVE,
    ),
    (&["auto.offset.reset"], "a group without offsets begins with the first command, else commands would get no answer", LEAVE),
    (
        &["partition.assignment.strategy", "group.protocol", "group.remote.assignor", "group.protocol.type"],
        "what belongs to a partition is finished before it is given up, which needs the eager range assignor",
        LEAVE,
    ),
    (
        &["group.instance.id"],
        "static members keep their partitions without a sign of it, which is not covered by the promises",
        LEAVE,
    ),
    (&["enable.partition.eof"], "the end of a partition is no command", LEAVE),
    (
        &[
            "enable.idempotence",
            "enable.gapless.guarantee",
            "acks",
            "request.required.acks",
            "retries",
            "message.send.max.retries",
            "max.in.flight",
            "max.in.flight.requests.per.connection",
        ],
        "answers are written exactly once, in order, which needs an idempotent producer with its own settings",
        LEAVE,
    ),
    (&["transaction.timeout.ms"], "it goes with other time-outs: a hanging transaction keeps readers waiting for so long", LEAVE),
    (&["message.max.bytes"], "the dead letter topic takes whatever the command topic took", LEAVE),
    (&["delivery.report.only.error"], "refused records are recognised by their delivery reports", LEAVE),
];

const LEAVE: &str = "leaving it out";
const KNOWN: &str = "a property that librdkafka knows, with a value that it takes";

/// The properties of a table, checked; the environment's names with dots for underscores.
pub(super) fn properties(table: Section<'_>, path: &str, parent: &Section<'_>) -> Properties {
    let mut properties = Properties::default();
    let named = |(name, given): (String, Given)| (if given.variable.is_some() { dotted(&name) } else { name }, given);
    // The environment's come last, and replace the file's.
    for (name, given) in table.take_all().into_iter().map(named).collect::<BTreeMap<_, _>>() {
        let key = format!("{path}.{name}");
        match property(&name, &given, &parent.key(&key)) {
            Ok((value, shown)) => {
                parent.took(&key, &shown, given.source());
                properties.0.insert(name, value);
            }
            Err((reason, right)) => parent.reject(&key, Some(&given), &reason, &right),
        }
    }
    trust_the_systems_authorities(&mut properties, path, parent);
    properties
}

/// Has the token endpoint's certificate verified by the system's authorities, unless others are named. librdkafka takes those of the folder
/// for which OpenSSL was built, and our OpenSSL, which is linked statically, has an empty one; `probe` looks where systems have theirs.
fn trust_the_systems_authorities(properties: &mut Properties, path: &str, parent: &Section<'_>) {
    const LOCATION: &str = "https.ca.location";
    let names_others = [LOCATION, "https.ca.pem"].iter().any(|name| properties.get(name).is_some());
    if properties.get("sasl.oauthbearer.method") == Some("oidc") && !names_others {
        parent.took(&format!("{path}.{LOCATION}"), "\"probe\"", Source::Default);
        properties.0.insert(LOCATION.to_owned(), "probe".to_owned());
    }
}

/// Its value, and what is shown of it; or why it can't be given, and what would be right.
fn property(name: &str, given: &Given, full_key: &str) -> Result<(String, String), (String, String)> {
    if let Some((_, reason, right)) = RESERVED.iter().find(|(names, _, _)| names.contains(&name)) {
        return Err((format!("is set by the processor: {reason}"), (*right).to_owned()));
    }
    let is_secret = secrets::is_secret_property(name);
    let (value, shown) = if is_secret {
        let secret = secrets::secret(given).map_err(|reason| (reason, secrets::right(full_key)))?;
        (secret.expose().to_owned(), secrets::shown(given))
    } else {
        let value = scalar(given).map_err(|reason| (reason, KNOWN.to_owned()))?;
        let shown = findings::shown(name, &value.as_toml());
        (value, shown)
    };
    match check(name, &value) {
        Ok(()) => Ok((value, shown)),
        Err(reason) => Err((reason, KNOWN.to_owned())),
    }
}

/// `session_timeout_ms` as `session.timeout.ms`: the names of variables can't have dots. `log_level` is spelt so.
fn dotted(name: &str) -> String {
    if name == "log_level" { name.into() } else { name.replace('_', ".") }
}

/// Asks librdkafka. Its sentence is left out where it quotes the value.
fn check(name: &str, value: &str) -> Result<(), String> {
    let refused = ClientConfig::new().set(name, value).create_native_config().err();
    match refused {
        None => Ok(()),
        Some(rdkafka::error::KafkaError::ClientConfig(rdkafka::types::RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)) => {
            Err("is no property of librdkafka".into())
        }
        Some(_) => Err("has a value that librdkafka does not take".into()),
    }
}
