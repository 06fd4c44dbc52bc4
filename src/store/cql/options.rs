//! How to reach the database: the options, and the driver's session that is made from them.

use super::attempt::SilentLast;
use super::nodes::Nodes;
use super::statement_fault::fault_of;
use super::topology;
use crate::config::{CommitConsistency, SerialConsistency};
use crate::store::topology::unfit_datacenter;
use crate::store::{Remedy, StoreFault};
use openssl::ssl::{SslConnector, SslConnectorBuilder, SslFiletype, SslMethod, SslVerifyMode};
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;
use scylla::client::PoolSize;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::policies::retry::FallthroughRetryPolicy;
use scylla::statement;
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// `X509_V_ERR_IP_ADDRESS_MISMATCH` of OpenSSL.
const IP_ADDRESS_MISMATCH: i32 = 64;

/// How often each connection is tried. If a node vanishes and its machine does not close the connections, the driver notices that after
/// this time and `request_timeout`. Requests stop waiting for such a node sooner: see [`super::nodes`]. The time is not shorter, because
/// the driver warns of a second or less.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// How to reach the database, and where in it the tables are.
#[derive(Clone)]
pub struct CqlOptions {
    /// The `host:port` of some nodes, at least one. The driver learns the other nodes from these.
    pub contact_points: Vec<String>,
    /// The keyspace of the tables, named as [`is_keyspace_name`] demands.
    pub keyspace: String,
    /// The replication options of a keyspace that `setup` creates, with CQL's names (`class`, `replication_factor`, …).
    pub replication: BTreeMap<String, String>,
    /// How long a request may take before it counts as failed. This should be longer than the database's own time-outs, or the database
    /// can't say why the request failed.
    pub request_timeout: Duration,
    /// The replicas among which conditional writes are decided.
    pub serial_consistency: SerialConsistency,
    /// The number of replicas that must have a conditional write, once it is agreed on, before it is acknowledged. A plain read asks as
    /// many. No answer to a command depends on either.
    pub consistency: CommitConsistency,
    /// The data centre whose nodes alone are asked; `None` if any node may be asked.
    pub local_datacenter: Option<String>,
    /// Whether nodes of other data centres are asked when no node of the local one can be reached. Must be false with
    /// [`SerialConsistency::LocalSerial`], because the other data centres may not know what was decided.
    pub datacenter_failover: bool,
    /// The user to log in as; `None` if there is no login.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<String>,
    /// How connections are encrypted; `None` if they are not.
    pub tls: Option<TlsOptions>,
}

/// How connections are encrypted. All files are PEM files.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    /// The authorities to trust; `None` if the system's are trusted.
    pub ca: Option<PathBuf>,
    /// This process's certificate with its chain, for a database that asks for one.
    pub cert: Option<PathBuf>,
    /// The private key of that certificate.
    pub key: Option<PathBuf>,
    /// Whether a node's certificate must name the IP address by which the node is reached (the driver checks addresses, not names). If
    /// false, any certificate of a trusted authority is taken.
    pub verify_hostname: bool,
}

/// Leaves out the password.
impl fmt::Debug for CqlOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CqlOptions")
            .field("contact_points", &self.contact_points)
            .field("keyspace", &self.keyspace)
            .field("replication", &self.replication)
            .field("request_timeout", &self.request_timeout)
            .field("serial_consistency", &self.serial_consistency)
            .field("consistency", &self.consistency)
            .field("local_datacenter", &self.local_datacenter)
            .field("datacenter_failover", &self.datacenter_failover)
            .field("user", &self.user)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// Returns whether CQL takes a name of a keyspace without quotes and unchanged: 1 to 48 lower-case letters, digits and underscores, with
/// a letter first.
pub fn is_keyspace_name(name: &str) -> bool {
    name.len() <= 48
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

impl CqlOptions {
    /// Opens a session that sends each statement once, without retries (the claim protocol reads and decides again instead) and without
    /// speculative execution. Its requests write the records of `nodes`, which the caller must [watch](super::watch).
    pub(super) async fn open_session(&self, operation: &'static str, nodes: &Arc<Nodes>) -> Result<Session, StoreFault> {
        let fault = |cause: &dyn Display| fault_of(operation)(cause.to_string());
        if !is_keyspace_name(&self.keyspace) {
            return Err(fault(&format!(
                "{:?} is not a keyspace name (lower-case letters, digits and underscores)",
                self.keyspace
            )));
        }
        let mut builder = SessionBuilder::new()
            .known_nodes(&self.contact_points)
            .connection_timeout(self.request_timeout)
            .keepalive_interval(KEEP_ALIVE)
            // After this time everything that was under way on the connection has timed out anyway, so closing it loses nothing more.
            .keepalive_timeout(self.request_timeout)
            // One connection multiplexes 32,768 requests, so more connections for each shard (a node of Cassandra counts as one) would
            // add nothing.
            .pool_size(PoolSize::PerShard(NonZeroUsize::MIN))
            .keyspaces_to_fetch([&self.keyspace])
            .default_execution_profile_handle(self.profile(nodes).into_handle());
        if let Some(user) = &self.user {
            builder = builder.user(user, self.password.as_deref().unwrap_or_default());
        }
        if let Some(tls) = &self.tls {
            builder = builder.tls_context(Some(tls.connector().map_err(|cause| fault(&format!("TLS: {cause}")))?));
        }
        let session = builder.build().await;
        let session = session.map_err(|cause| fault(&format!("no session with {}: {cause}", self.contact_points.join(", "))))?;
        let is_local_serial = self.serial_consistency == SerialConsistency::LocalSerial;
        // Without this check each statement would fail because there is no node to ask, and would not say why.
        match unfit_datacenter(&topology::nodes(&session), self.local_datacenter.as_deref(), is_local_serial) {
            Some(unfit) => Err(fault(&unfit).with(Remedy::NameDatacenter)),
            None => Ok(session),
        }
    }

    /// Opens a session for a few statements, in which no node is ever judged silent.
    pub(super) async fn open_unwatched(&self, operation: &'static str) -> Result<Session, StoreFault> {
        self.open_session(operation, &Arc::new(Nodes::new(Instant::now()))).await
    }

    fn profile(&self, known: &Arc<Nodes>) -> ExecutionProfile {
        let mut nodes = DefaultPolicy::builder();
        if let Some(datacenter) = &self.local_datacenter {
            // Despite the method's name, nodes of other data centres are not asked at all unless failover is permitted.
            nodes = nodes.prefer_datacenter(datacenter.clone()).permit_dc_failover(self.datacenter_failover);
        }
        ExecutionProfile::builder()
            .request_timeout(Some(self.request_timeout))
            // This is the consistency of commits and plain reads; Paxos has its own.
            .consistency(match self.consistency {
                CommitConsistency::Quorum => statement::Consistency::Quorum,
                CommitConsistency::LocalQuorum => statement::Consistency::LocalQuorum,
            })
            .serial_consistency(Some(match self.serial_consistency {
                SerialConsistency::Serial => statement::SerialConsistency::Serial,
                SerialConsistency::LocalSerial => statement::SerialConsistency::LocalSerial,
            }))
            .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
            .speculative_execution_policy(None)
            .load_balancing_policy(Arc::new(SilentLast::new(nodes.build(), known.clone())))
            .build()
    }
}

impl SerialConsistency {
    pub(super) fn of_reads(self) -> statement::Consistency {
        match self {
            Self::Serial => statement::Consistency::Serial,
            Self::LocalSerial => statement::Consistency::LocalSerial,
        }
    }
}

impl TlsOptions {
    fn connector(&self) -> Result<SslConnectorBuilder, String> {
        let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(|e| e.to_string())?;
        if let Some(path) = &self.ca {
            let at_path = |e: &dyn Display| format!("{}: {e}", path.display());
            let pem = std::fs::read(path).map_err(|e| at_path(&e))?;
            let mut trusted = X509StoreBuilder::new().map_err(|e| at_path(&e))?;
            for certificate in X509::stack_from_pem(&pem).map_err(|e| at_path(&e))? {
                trusted.add_cert(certificate).map_err(|e| at_path(&e))?;
            }
            builder.set_cert_store(trusted.build());
        } else {
            // An OpenSSL that is linked statically would look in a folder that is empty: it was configured for another machine.
            let system = openssl_probe::probe();
            if let Some(file) = &system.cert_file {
                builder.set_ca_file(file).map_err(|e| format!("{}: {e}", file.display()))?;
            }
            for folder in &system.cert_dir {
                builder.load_verify_locations(None, Some(folder)).map_err(|e| format!("{}: {e}", folder.display()))?;
            }
        }
        if let Some(path) = &self.cert {
            builder.set_certificate_chain_file(path).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        if let Some(path) = &self.key {
            builder.set_private_key_file(path, SslFiletype::PEM).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        if !self.verify_hostname {
            builder.set_verify_callback(SslVerifyMode::PEER, |trusted, context| {
                trusted || context.error().as_raw() == IP_ADDRESS_MISMATCH
            });
        }
        Ok(builder)
    }
}
