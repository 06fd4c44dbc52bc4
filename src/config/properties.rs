//! The librdkafka properties of `kafka.consumer` and `kafka.producer`. They are passed through as they are, and librdkafka itself checks
//! their names and values. A property that the promises rest on is rejected with a finding.

use super::findings::{self, is_secret};
use super::given::{Given, scalar};
use super::reader::Section;
use super::secrets;
use super::settings::{AsToml as _, Source};
use rdkafka::ClientConfig;
use std::collections::BTreeMap;
use std::fmt;

/// librdkafka properties. Their `Debug` output shows no secrets.
#[derive(Clone, Default)]
pub struct Properties(BTreeMap<String, String>);

impl Properties {
    /// Returns names and values, including secrets, for making a client.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns the value of a property, or `None` if it was not given.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// Shows the values of secrets as `***`.
impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.iter().map(|(name, value)| (name, if is_secret(name) { "***" } else { value.as_str() }));
        f.debug_map().entries(shown).finish()
    }
}

/// The properties that the processor sets itself, each with the reason and with the right way to set it. They are rejected in both tables:
/// librdkafka accepts a consumer's property for a producer as well, so that a misplaced one would go unnoticed.
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
        "a static member keeps its partitions through a restart without a rebalance, which the promises do not cover",
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
    (
        &["transaction.timeout.ms"],
        "other time-outs depend on it, and a hanging transaction keeps readers waiting for this long",
        LEAVE,
    ),
    (&["message.max.bytes"], "the dead letter topic takes whatever the command topic took", LEAVE),
    (&["delivery.report.only.error"], "refused records are recognised by their delivery reports", LEAVE),
];

const LEAVE: &str = "leaving it out";
const KNOWN: &str = "a property that librdkafka knows, with a value that it takes";

/// Reads and checks the properties of a table. In names that come from variables, underscores stand for dots.
pub(super) fn properties(table: Section<'_>, path: &str, parent: &Section<'_>) -> Properties {
    let mut properties = Properties::default();
    let named = |(name, given): (String, Given)| (if given.variable.is_some() { dotted(&name) } else { name }, given);
    // Those of the environment come last, and replace those of the file.
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

/// Makes librdkafka verify the token endpoint's certificate with the system's authorities, unless others are named. By default librdkafka
/// looks in the folder that OpenSSL was built for, and that of an OpenSSL that is linked statically is empty. With `probe` it looks where
/// systems keep their authorities.
fn trust_the_systems_authorities(properties: &mut Properties, path: &str, parent: &Section<'_>) {
    const LOCATION: &str = "https.ca.location";
    let names_others = [LOCATION, "https.ca.pem"].iter().any(|name| properties.get(name).is_some());
    if properties.get("sasl.oauthbearer.method") == Some("oidc") && !names_others {
        parent.took(&format!("{path}.{LOCATION}"), "\"probe\"", Source::Default);
        properties.0.insert(LOCATION.to_owned(), "probe".to_owned());
    }
}

/// Returns the value of a property and the form in which it is shown. The error has the reason why the value can't be taken, and what
/// would be right.
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

/// Returns the property's name for a variable's: `session.timeout.ms` for `session_timeout_ms`, because the names of variables can't have
/// dots. The property `log_level` has an underscore itself.
fn dotted(name: &str) -> String {
    if name == "log_level" { name.into() } else { name.replace('_', ".") }
}

/// Asks librdkafka whether it takes a property. librdkafka's own error text is left out, because it quotes the value.
fn check(name: &str, value: &str) -> Result<(), String> {
    let refused = ClientConfig::new().set(name, value).create_native_config().err();
    match refused {
        None => Ok(()),
        Some(rdkafka::error::KafkaError::ClientConfig(rdkafka::types::RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)) => {
            Err("is not a property of librdkafka".into())
        }
        Some(_) => Err("has a value that librdkafka does not take".into()),
    }
}
