//! `[store]`: the database of entities and external ids, and how to reach it.

use super::access::{A_PEM_FILE, UserAndPassword, credentials, identity, readable_file};
use super::datacenters::{CommitConsistency, Datacenters, SerialConsistency, datacenters};
use super::given::{DAY, boolean, count, duration, list, of_text, scalar, text};
use super::reader::Section;
use super::settings::{AsToml as _, Source};
use super::text::{contact_point, keyspace};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

const CQL_PORT: u16 = 9042;
/// The longest TTL that CQL takes: 20 years.
const MAX_RETENTION: Duration = Duration::from_secs(20 * 365 * 24 * 3600);
/// Room for about 150,000 entities with their claims. That is enough for the busy entities of an hour, and a third of the memory that a
/// process may take.
const DEFAULT_CACHE_BYTES: usize = 32 << 20;

/// The database of entities and external ids.
#[derive(Clone, Debug)]
pub struct Store {
    /// `kind`, with the keys of that kind.
    pub backend: Backend,
    /// `request_timeout`: how long one read or write may take before it is tried again.
    pub request_timeout: Duration,
    /// `outcome_retention`: how long the store remembers rejections and no-ops other than those of renames and creations, and refusals
    /// under unknown external ids. It counts in whole seconds. All other outcomes never expire.
    pub outcome_retention: Duration,
    /// `cache_bytes`: how much memory the cache of entities and claims may take, in bytes. An entity with its claim takes some 220 bytes.
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
        /// `path`: the folder, which is created if it is missing.
        path: PathBuf,
    },
}

/// How to reach ScyllaDB or Cassandra.
#[derive(Clone, Debug)]
pub struct Cql {
    /// `contact_points`: the nodes to ask first, as `host:port`.
    pub contact_points: Vec<String>,
    /// `keyspace`: the keyspace's name, of lower-case letters, digits and underscores.
    pub keyspace: String,
    /// `replication`: the keyspace's replication options, including `class`. `setup` uses them.
    pub replication: BTreeMap<String, String>,
    /// `local_datacenter`: the data centre whose nodes are asked. `None` if the nodes of all data centres are asked alike.
    pub local_datacenter: Option<String>,
    /// `datacenter_failover`: whether nodes of other data centres are asked when no node of `local_datacenter` can be reached. Always
    /// false unless all data centres agree on conditional writes.
    pub datacenter_failover: bool,
    /// `serial_consistency`: which data centres agree on a conditional write.
    pub serial_consistency: SerialConsistency,
    /// `consistency`: how many replicas must have a write before it is acknowledged, and how many a plain read asks. The default is a
    /// quorum of the replicas that agree on conditional writes.
    pub consistency: CommitConsistency,
    /// `user` and `password`
    pub credentials: Option<UserAndPassword>,
    /// `tls`: `None` if TLS is off.
    pub tls: Option<Tls>,
}

/// TLS to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// `ca_file`: a PEM file of the authorities to trust. `None` if the system's are trusted.
    pub ca_file: Option<PathBuf>,
    /// `cert_file` and `key_file`: PEM files of the certificate and the key with which this process shows who it is.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// `verify_hostname`: whether a node's certificate must name the IP address by which the node is reached (the driver knows no host
    /// names). If false, any certificate of a trusted authority is taken. True by default.
    pub verify_hostname: bool,
}

/// Reads the section. Returns `None` only if `path` is missing and the store is embedded.
pub(super) fn store(mut section: Section<'_>) -> Option<Store> {
    let s = &mut section;
    let is_embedded = s.choice("kind", false, &[("cql", false), ("embedded", true)], "is not a kind of store");
    // The keys of both kinds are read, so that a file can hold both and no key is reported as unknown.
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
    let backend = match path {
        _ if !is_embedded => Backend::Cql(cql),
        Some(path) => Backend::Embedded { path: path.into() },
        None => {
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
    let keyspace = s.value("keyspace", "crm".into(), "a name such as \"crm\"", of_text(keyspace));
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
        // Names of data centres keep their case. A variable's path is read in lower case, so the name is taken from the variable itself.
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

fn tls(mut section: Section<'_>) -> Option<Tls> {
    let s = &mut section;
    let enabled = s.value("enabled", false, "true or false", boolean);
    let ca_file = s.optional("ca_file", A_PEM_FILE, readable_file);
    let has_identity = s.has("cert_file") || s.has("key_file");
    let identity = identity(s);
    let verify_hostname = s.value("verify_hostname", true, "true or false", boolean);
    if (ca_file.is_some() || has_identity) && !enabled {
        s.reject_read("enabled", &enabled, "must be true where store.tls has files", "enabled = true, or no files");
    }
    enabled.then_some(Tls { ca_file, identity, verify_hostname })
}
