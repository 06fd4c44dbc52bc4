//! How to reach the database: what the configuration says, and the driver's session made from it.

use super::attempt::SilentLast;
use super::nodes::Nodes;
use super::topology;
use crate::store::StoreFault;
use crate::store::topology::unfit_datacenter;
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

/// How often each connection is tried. A node that can't be reached without its machine having said so is
/// known to be gone this long, and `request_timeout`, after it went. Requests are rid of it sooner: see [`super::nodes`]. Not shorter,
/// because the driver warns of a second or less.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// How to reach the database, and where in it the tables are.
#[derive(Clone)]
pub struct CqlOptions {
    /// `host:port` of some nodes; the driver learns of the others. At least one.
    pub contact_points: Vec<String>,
    /// Where the tables are: see [`is_keyspace_name`].
    pub keyspace: String,
    /// The keyspace's replication as CQL has it (`class`, `replication_factor`, …). For a keyspace that `setup` creates.
    pub replication: BTreeMap<String, String>,
    /// How long a request may take before it counts as failed. Above the database's own time-outs, or it says nothing
    /// of why.
    pub request_timeout: Duration,
    /// Among which replicas conditional writes are decided.
    pub serial_consistency: SerialConsistency,
    /// How many replicas must have a conditional write, once it is agreed on, before it is acknowledged; as many are asked by
    /// a plain read. No answer rests on either.
    pub consistency: CommitConsistency,
    /// Ask nodes of this data centre alone; None: any node.
    pub local_datacenter: Option<String>,
    /// Ask nodes of other data centres when none of the local one can be reached. Not with
    /// [`SerialConsistency::LocalSerial`]: they may not know what was decided.
    pub datacenter_failover: bool,
    /// Whom to log in as; None: nobody.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<String>,
    /// None: no encryption.
    pub tls: Option<TlsOptions>,
}

/// Among which replicas conditional writes are decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SerialConsistency {
    /// A quorum of all replicas.
    #[default]
    Serial,
    /// A quorum of the replicas in the local data centre. Faster with several data centres, but conditions that are
    /// decided in two of them at once don't see each other: uniqueness is given up, unless all writers are in one.
    LocalSerial,
}

/// How many replicas must have a conditional write before it is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CommitConsistency {
    /// A quorum of all replicas: what suffices to agree on a conditional write with [`SerialConsistency::Serial`], suffices
    /// to commit it.
    #[default]
    Quorum,
    /// A quorum of the replicas in the data centre of the node that is asked. Saves a way between data centres.
    LocalQuorum,
}

/// How connections are encrypted. Files are PEM.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    /// The authorities to trust; None: those of the system.
    pub ca: Option<PathBuf>,
    /// Our certificate with its chain, where the database asks for one.
    pub cert: Option<PathBuf>,
    /// Our private key.
    pub key: Option<PathBuf>,
    /// A node's certificate must name the IP address by which it is reached (the driver checks addresses, not names).
    /// False: any certificate of a trusted authority will do.
    pub verify_hostname: bool,
}

/// Without the password.
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

/// 1 to 48 lower-case letters, digits and underscores, a letter first: what CQL takes without quotes and leaves as it is.
pub fn is_keyspace_name(name: &str) -> bool {
    name.len() <= 48
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

impl CqlOptions {
    /// A session whose statements are decided once: no retries (the claim protocol goes round instead), no speculative
    /// execution.
    /// It keeps the records of `nodes`, which somebody must [watch](super::watch).
    pub(super) async fn open_session(&self, operation: &'static str, nodes: &Arc<Nodes>) -> Result<Session, StoreFault> {
        let fault = |cause: &dyn Display| StoreFault::new(operation, cause.to_string());
        if !is_keyspace_name(&self.keyspace) {
            return Err(fault(&format!("{:?} is no keyspace name (lower-case letters, digits and underscores)", self.keyspace)));
        }
        let mut builder = SessionBuilder::new()
            .known_nodes(&self.contact_points)
            .connection_timeout(self.request_timeout)
            .keepalive_interval(KEEP_ALIVE)
            // Whatever else is under way on a connection is given up after as long: nothing is lost with it that was not lost already.
            .keepalive_timeout(self.request_timeout)
            // One connection multiplexes 32,768 requests; more of them per shard (Cassandra counts as one) add nothing.
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
        // Without this each statement would fail because there is nobody to ask, and none would say why.
        match unfit_datacenter(&topology::nodes(&session), self.local_datacenter.as_deref(), is_local_serial) {
            Some(unfit) => Err(fault(&unfit)),
            None => Ok(session),
        }
    }

    /// A session for a few statements about the schema: no node is stepped around.
    pub(super) async fn open_unwatched(&self, operation: &'static str) -> Result<Session, StoreFault> {
        self.open_session(operation, &Arc::new(Nodes::new(Instant::now()))).await
    }

    fn profile(&self, known: &Arc<Nodes>) -> ExecutionProfile {
        let mut nodes = DefaultPolicy::builder();
        if let Some(datacenter) = &self.local_datacenter {
            // Despite the name no others are asked, unless that is permitted.
            nodes = nodes.prefer_datacenter(datacenter.clone()).permit_dc_failover(self.datacenter_failover);
        }
        ExecutionProfile::builder()
            .request_timeout(Some(self.request_timeout))
            // Of commits and plain reads; Paxos has its own quorum.
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
            // Where our own OpenSSL looks there is nothing: it is linked statically, and was configured elsewhere.
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
