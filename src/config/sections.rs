//! Reads each section of the configuration: which keys there are, their defaults, and what is right for them.

use super::datacenters::{Datacenters, datacenters};
use super::gathered::Gathered;
use super::properties::properties;
use super::reader::{Given, Section, boolean, count, duration, list, scalar, text};
use super::secrets;
use super::settings::{AsToml, Source};
use super::text::{client_name, contact_point, http_url, keyspace, same_topic, servers, socket_address, topic};
use super::{
    Admin, Backend, Config, Cql, Credentials, Kafka, Log, LogFormat, OAuth, OddAnswer, Registry, RegistryCredentials, Store,
    Telemetry, Tls, Topics, UndecodableBatches,
};
use crate::domain::values::SegmentCode;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use tracing_subscriber::EnvFilter;
use uuid::Uuid;

const DEFAULT_SEGMENTS: [&str; 3] = ["RESIDENTIAL", "SMALL_BUSINESS", "ENTERPRISE"];
const CQL_PORT: u16 = 9042;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// CQL's own bound of a TTL is 20 years.
const MAX_RETENTION: Duration = Duration::from_secs(20 * 365 * 24 * 3600);
/// From a few questions, of which one may go astray, to what may as well be `wait`.
const ODD_ANSWER: (Duration, Duration) = (Duration::from_secs(5), DAY);
/// Commands decided at once.
const IN_FLIGHT: usize = 256;
/// The same with the embedded store. A write to it waits for its file to be synced, together with those that come meanwhile: with
/// twice as many the cores have more to do until then (an eighth more commands, 8 MiB more memory).
const IN_FLIGHT_EMBEDDED: usize = 512;

const A_PEM_FILE: &str = "the path of a PEM file";

/// About 150,000 entities with their claims: enough for the hot ones of an hour, and a third of what a process may take in all.
const DEFAULT_CACHE_BYTES: usize = 32 << 20;

/// The whole; None only if something without a default is missing.
pub(super) fn config(mut root: Section<'_>, gathered: &Gathered) -> Option<Config> {
    let segments = segments(&mut root);
    let store = store(root.section("store"));
    let is_embedded = store.as_ref().is_some_and(|s| matches!(s.backend, Backend::Embedded { .. }));
    let in_flight = if is_embedded { IN_FLIGHT_EMBEDDED } else { IN_FLIGHT };
    let kafka = kafka(root.section("kafka"), in_flight, gathered);
    let registry = registry(root.section("registry"));
    let admin = admin(root.section("admin"));
    let log = log(root.section("log"));
    let telemetry = telemetry(root.section("telemetry"));
    Some(Config { segments, kafka, registry, store: store?, admin, log, telemetry })
}

fn segments(root: &mut Section<'_>) -> Vec<SegmentCode> {
    let default = DEFAULT_SEGMENTS.iter().filter_map(|s| SegmentCode::parse(s).ok()).collect();
    let right = "a list of different codes of 1 to 64 characters, such as [\"RESIDENTIAL\", \"ENTERPRISE\"]";
    root.value("segments", default, right, |given| {
        let codes = list(SegmentCode::parse)(given)?;
        if codes.is_empty() {
            return Err("must have at least one code".to_owned());
        }
        match codes.iter().enumerate().find(|(at, code)| codes[..*at].contains(code)) {
            Some((_, twice)) => Err(format!("has {:?} more than once", twice.as_str())),
            None => Ok(codes),
        }
    })
}

fn kafka(mut section: Section<'_>, in_flight: usize, gathered: &Gathered) -> Kafka {
    let s = &mut section;
    let named = |given: &Given| text(given).and_then(|t| client_name(&t));
    let bootstrap_servers = s.value("bootstrap_servers", "127.0.0.1:9092".into(), "host:port, or several with commas", |g| {
        text(g).and_then(|t| servers(&t))
    });
    let group_id = s.value("group_id", "crm-processor".into(), "a name such as \"crm-processor\"", named);
    let random = Uuid::new_v4().simple().to_string();
    let instance_id = s.value("instance_id", random, "a name that is stable per slot, such as the pod's name", named);
    let topics = topics(s.section("topics"), gathered);
    let reply_topic_allow_list = reply_topics(s, &topics);
    let max_command_bytes = s.value("max_command_bytes", 1 << 20, "bytes, such as 1048576", count(1 << 10..=64 << 20));
    let max_in_flight = s.value("max_in_flight", in_flight, "a number such as 256", count(1..=65_536));
    let max_queued = s.value("max_queued", 2048.max(max_in_flight), "a number such as 2048", count(1..=1 << 20));
    if max_queued < max_in_flight && gathered.is_sound("kafka.max_queued") && gathered.is_sound("kafka.max_in_flight") {
        let given = Given { value: toml::Value::Integer(i64::try_from(max_queued).unwrap_or(i64::MAX)), variable: None };
        let right = format!("{max_in_flight} or more");
        s.reject("max_queued", Some(&given), "must not be less than kafka.max_in_flight", &right);
    }
    let transaction_cap = s.value("transaction_cap", 1000, "a number such as 1000", count(1..=10_000));
    let undecodable_batches = s.value("undecodable_batches", "wait".to_owned(), "\"wait\" or \"dead_letter\"", |given| {
        let choice = text(given)?;
        if ["wait", "dead_letter"].contains(&choice.as_str()) { Ok(choice) } else { Err("is no such choice".to_owned()) }
    });
    let undecodable_batches =
        if undecodable_batches == "wait" { UndecodableBatches::Wait } else { UndecodableBatches::DeadLetter };
    let shutdown_grace =
        s.value("shutdown_grace", Duration::from_secs(20), "a duration such as \"20s\"", duration(Duration::ZERO..=DAY));
    let consumer = properties(s.section("consumer"), "consumer", s);
    let producer = properties(s.section("producer"), "producer", s);
    Kafka {
        bootstrap_servers,
        group_id,
        instance_id,
        topics,
        reply_topic_allow_list,
        max_command_bytes,
        max_in_flight,
        max_queued,
        transaction_cap,
        undecodable_batches,
        shutdown_grace,
        consumer,
        producer,
    }
}

const A_TOPIC: &str = "1 to 249 letters, digits, dots, underscores and hyphens";

fn topics(mut section: Section<'_>, gathered: &Gathered) -> Topics {
    let mut named = |key, default: &str| section.value(key, default.to_owned(), A_TOPIC, |g| text(g).and_then(|t| topic(&t)));
    let names = [
        ("commands", named("commands", "crm.commands")),
        ("replies", named("replies", "crm.replies")),
        ("transactions", named("transactions", "crm.transactions")),
        ("dlq", named("dlq", "crm.commands.dlq")),
    ];
    for (at, (key, name)) in names.iter().enumerate() {
        let sound = |key| gathered.is_sound(&section.key(key));
        if let Some((other, _)) = names[..at].iter().find(|(k, n)| same_topic(n, name) && sound(k) && sound(key)) {
            let given = Given { value: toml::Value::String(name.clone()), variable: None };
            section.reject(key, Some(&given), &format!("is the topic of kafka.topics.{other}, too"), "a topic of its own");
        }
    }
    let [(_, commands), (_, replies), (_, transactions), (_, dlq)] = names;
    Topics { commands, replies, transactions, dlq }
}

/// The allow-list; the default reply topic is allowed whether it is on it or not.
fn reply_topics(section: &mut Section<'_>, topics: &Topics) -> Vec<String> {
    let right = "a list of topics that may be written replies to, none of the processor's others";
    let mut allowed = section.value("reply_topic_allow_list", vec![topics.replies.clone()], right, |given| {
        list(|name| {
            let name = topic(name)?;
            if [&topics.commands, &topics.transactions, &topics.dlq].contains(&&name) {
                return Err("is no topic for replies: the processor uses it for something else".to_owned());
            }
            Ok(name)
        })(given)
    });
    if !allowed.contains(&topics.replies) {
        allowed.push(topics.replies.clone());
    }
    allowed
}

fn registry(mut section: Section<'_>) -> Registry {
    let s = &mut section;
    let right =
        "a URL such as \"http://registry:8081\", or several with commas; registry.user and registry.password are for credentials";
    let Urls(urls) = s.value("url", Urls(vec!["http://127.0.0.1:8081".into()]), right, registry_urls);
    let credentials = registry_credentials(s);
    let ca_file = s.optional("ca_file", A_PEM_FILE, readable_file);
    let identity = identity(s);
    let right = "a duration such as \"60s\", or \"wait\"";
    let odd_answer = s.value("odd_answer", OddAnswer::default(), right, |given| {
        if text(given).is_ok_and(|text| text == "wait") {
            return Ok(OddAnswer::Wait);
        }
        duration(ODD_ANSWER.0..=ODD_ANSWER.1)(given).map(OddAnswer::DeadLetterAfter)
    });
    Registry { urls, credentials, ca_file, identity, odd_answer }
}

/// Base URLs; as text with commas between them.
struct Urls(Vec<String>);

impl AsToml for Urls {
    fn as_toml(&self) -> toml::Value {
        self.0.join(",").into()
    }
}

fn registry_urls(given: &Given) -> Result<Urls, String> {
    let urls = match &given.value {
        toml::Value::String(text) if !text.starts_with('[') => {
            text.split(',').map(|url| http_url(url.trim())).collect::<Result<Vec<_>, _>>()?
        }
        _ => list(http_url)(given)?,
    };
    if urls.is_empty() { Err("must have at least one URL".into()) } else { Ok(Urls(urls)) }
}

/// The one kind of credentials that is given.
fn registry_credentials(s: &mut Section<'_>) -> RegistryCredentials {
    let basic = credentials(s);
    let token = s.rotating_secret("token");
    let oauth = oauth(s.section("oauth"));
    for (key, is_one_too_many) in
        [("token", token.is_some() && basic.is_some()), ("oauth", oauth.is_some() && (basic.is_some() || token.is_some()))]
    {
        if is_one_too_many {
            let right = "one of user with password, token, and oauth";
            s.reject(key, None, "is given, and so are other credentials for the registry", right);
        }
    }
    match (basic, token, oauth) {
        (Some(basic), ..) => RegistryCredentials::Basic(basic),
        (None, Some(token), _) => RegistryCredentials::Token(token),
        (None, None, Some(oauth)) => RegistryCredentials::OAuth(oauth),
        (None, None, None) => RegistryCredentials::None,
    }
}

fn oauth(mut section: Section<'_>) -> Option<OAuth> {
    const ID: &str = "the id that the authorisation server knows this client by";
    const URL: &str =
        "the URL where the authorisation server gives tokens out, such as \"https://login.example.com/oauth2/token\"";
    let s = &mut section;
    let token_url = s.optional("token_url", URL, |g| text(g).and_then(|t| http_url(&t)));
    let client_id = s.optional("client_id", ID, text);
    let client_secret = s.rotating_secret("client_secret");
    let scope = s.optional("scope", "a scope, or several with blanks", text);
    if token_url.is_none() && client_id.is_none() && client_secret.is_none() && scope.is_none() {
        return None;
    }
    // If one was given, its own finding says what is wrong with it.
    let missing = "is missing, and registry.oauth has other keys";
    let given = [("token_url", token_url.is_some(), URL.to_owned()), ("client_id", client_id.is_some(), ID.to_owned())];
    let secret = ("client_secret", client_secret.is_some(), secrets::right(&s.key("client_secret")));
    for (key, is_given, right) in given.into_iter().chain([secret]) {
        if !is_given && s.is_sound(key) {
            s.reject(key, None, missing, &right);
        }
    }
    Some(OAuth { token_url: token_url?, client_id: client_id?, client_secret: client_secret?, scope })
}

fn store(mut section: Section<'_>) -> Option<Store> {
    let s = &mut section;
    let kind = s.value("kind", "cql".to_owned(), "\"cql\" or \"embedded\"", |given| {
        let kind = text(given)?;
        if ["cql", "embedded"].contains(&kind.as_str()) { Ok(kind) } else { Err("is no kind of store".to_owned()) }
    });
    // Both kinds' keys are read, so that a file can hold both and none of them is unknown.
    let path = s.optional("path", "the path of a folder", text);
    let cql = cql(s);
    let request_timeout = s.value(
        "request_timeout",
        Duration::from_secs(5),
        "a duration such as \"5s\"",
        duration(Duration::from_millis(10)..=Duration::from_secs(600)),
    );
    let outcome_retention =
        s.value("outcome_retention", 30 * DAY, "a duration such as \"30d\"", duration(Duration::from_secs(1)..=MAX_RETENTION));
    let cache_bytes = s.value("cache_bytes", DEFAULT_CACHE_BYTES, "bytes, such as 33554432", count(0..=1 << 40));
    let backend = match (kind.as_str(), path) {
        ("cql", _) => Backend::Cql(cql),
        (_, Some(path)) => Backend::Embedded { path: path.into() },
        (_, None) => {
            s.reject("path", None, "is missing, and kind = \"embedded\" needs it", "the path of a folder");
            return None;
        }
    };
    Some(Store {
        backend,
        request_timeout,
        outcome_retention: Duration::from_secs(outcome_retention.as_secs()),
        cache_bytes: cache_bytes as u64,
    })
}

fn cql(s: &mut Section<'_>) -> Cql {
    let contact_points = s.value(
        "contact_points",
        vec![format!("127.0.0.1:{CQL_PORT}")],
        "a list of nodes such as [\"127.0.0.1:9042\"]",
        |given| match list(|point| contact_point(point, CQL_PORT))(given)? {
            points if points.is_empty() => Err("must have at least one node".to_owned()),
            points => Ok(points),
        },
    );
    let keyspace = s.value("keyspace", "crm".into(), "a name such as \"crm\"", |g| text(g).and_then(|t| keyspace(&t)));
    let datacenters = datacenters(s);
    let replication = replication(s);
    let credentials = credentials(s);
    let tls = tls(s.section("tls"));
    let Datacenters { local_datacenter, datacenter_failover, serial_consistency, consistency } = datacenters;
    Cql {
        contact_points,
        keyspace,
        replication,
        local_datacenter,
        datacenter_failover,
        serial_consistency,
        consistency,
        credentials,
        tls,
    }
}

fn replication(store: &mut Section<'_>) -> BTreeMap<String, String> {
    const RIGHT: &str = "{ class = \"NetworkTopologyStrategy\", replication_factor = 3 }, or a number for each data centre";
    let mut options = BTreeMap::new();
    for (name, given) in store.section("replication").take_all() {
        // Names of data centres keep their case, which variables are free to have.
        let own_case = given.variable.as_deref().and_then(|v| v.rsplit("__").next()).filter(|v| v.eq_ignore_ascii_case(&name));
        let name = match own_case {
            Some(own) if !["class", "replication_factor"].contains(&name.as_str()) => own.to_owned(),
            _ => name,
        };
        let value = scalar(&given).and_then(|value| match name.as_str() {
            "class" if ["NetworkTopologyStrategy", "SimpleStrategy"].contains(&value.as_str()) => Ok(value),
            "class" => Err("must be NetworkTopologyStrategy or SimpleStrategy".into()),
            _ if name.contains(['\'', '"', '\\']) => Err("has a name that no data centre can have".into()),
            _ if value.parse::<u8>().is_ok_and(|n| n > 0) => Ok(value),
            _ => Err("must be a number of replicas between 1 and 255".into()),
        });
        match value {
            Ok(value) => {
                store.took(&format!("replication.{name}"), &value.as_toml().to_string(), given.source());
                options.insert(name, value);
            }
            Err(reason) => store.reject(&format!("replication.{name}"), Some(&given), &reason, RIGHT),
        }
    }
    let class = (!options.contains_key("class")).then_some(("class", "NetworkTopologyStrategy"));
    let factor = options.keys().all(|name| name == "class").then_some(("replication_factor", "3"));
    for (name, value) in class.into_iter().chain(factor) {
        let value = value.to_owned();
        store.took(&format!("replication.{name}"), &value.as_toml().to_string(), Source::Default);
        options.insert(name.to_owned(), value);
    }
    options
}

fn credentials(section: &mut Section<'_>) -> Option<Credentials> {
    let user = section.optional("user", "the user's name", text);
    let password = section.secret("password");
    match (user, password) {
        (Some(user), Some(password)) => Some(Credentials { user, password }),
        (Some(_), None) => {
            // If it was given, its own finding says what is wrong with it.
            if section.is_sound("password") {
                let right = secrets::right(&section.key("password"));
                section.reject("password", None, "is missing, and there is a user", &right);
            }
            None
        }
        (None, Some(_)) => {
            section.reject("user", None, "is missing, and there is a password", "the user's name");
            None
        }
        (None, None) => None,
    }
}

fn tls(mut section: Section<'_>) -> Option<Tls> {
    let s = &mut section;
    let enabled = s.value("enabled", false, "true or false", boolean);
    let ca_file = s.optional("ca_file", A_PEM_FILE, readable_file);
    let has_identity = s.has("cert_file") || s.has("key_file");
    let identity = identity(s);
    let verify_hostname = s.value("verify_hostname", true, "true or false", boolean);
    if (ca_file.is_some() || has_identity) && !enabled {
        let given = Given { value: toml::Value::Boolean(false), variable: None };
        s.reject("enabled", Some(&given), "must be true where store.tls has files", "enabled = true, or no files");
    }
    enabled.then_some(Tls { ca_file, identity, verify_hostname })
}

/// `cert_file` and `key_file`: both or neither.
fn identity(s: &mut Section<'_>) -> Option<(PathBuf, PathBuf)> {
    let cert_file = s.optional("cert_file", A_PEM_FILE, readable_file);
    let key_file = s.optional("key_file", A_PEM_FILE, readable_file);
    match (cert_file, key_file) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (Some(_), None) => {
            s.reject("key_file", None, "is missing, and there is a cert_file", A_PEM_FILE);
            None
        }
        (None, Some(_)) => {
            s.reject("cert_file", None, "is missing, and there is a key_file", A_PEM_FILE);
            None
        }
        (None, None) => None,
    }
}

fn admin(mut section: Section<'_>) -> Admin {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 9464));
    let listen = section.value("listen", default, "an address such as \"127.0.0.1:9464\" or \"0.0.0.0:9464\"", |g| {
        text(g).and_then(|t| socket_address(&t))
    });
    Admin { listen }
}

fn log(mut section: Section<'_>) -> Log {
    let format = section.value("format", LogFormat::Text, "\"text\" or \"json\"", |given| match text(given)?.as_str() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("is no format".to_owned()),
    });
    let right = "error, warn, info, debug or trace, or directives such as \"info,crm_processor=debug\"";
    let level = section.value("level", "info".to_owned(), right, |given| {
        let level = text(given)?;
        EnvFilter::try_new(&level).map(|_| level).map_err(|e| format!("is no level: {e}"))
    });
    Log { format, level }
}

fn telemetry(mut section: Section<'_>) -> Telemetry {
    let right = "the base URL of a collector, such as \"http://127.0.0.1:4318\"";
    Telemetry { otlp_endpoint: section.optional("otlp_endpoint", right, |g| text(g).and_then(|t| http_url(&t))) }
}

fn readable_file(given: &Given) -> Result<PathBuf, String> {
    let path = PathBuf::from(text(given)?);
    std::fs::File::open(&path).map(|_| path).map_err(|e| format!("can't be read: {e}"))
}
