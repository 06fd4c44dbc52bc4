//! The store that the configuration names: either of the two kinds, behind one type.

use super::cql::{CqlFill, CqlOptions, CqlPlain, CqlStore, TlsOptions};
use super::embedded::EmbeddedStore;
use super::erasable::{ErasableStore, Redaction};
use super::metered::Metered;
use super::scan::{Position, Scan};
use super::topology::Topology;
use super::{
    Applied, ApplyWrite, ClaimWrite, ConditionalStore, Consistency, EntityKey, EntityRead, HistoryRow, HoldWrite, IdKey, IdRead,
    RefuseWrite, StoreFault, StoreNode,
};
use crate::config::{Backend, Cql, Store};
use std::future::Future;

/// A store of one of the two kinds.
#[expect(clippy::large_enum_variant, reason = "there is one in a process")]
pub enum ConfiguredStore {
    /// `kind = "cql"`
    Cql(CqlStore),
    /// `kind = "embedded"`
    Embedded(EmbeddedStore),
}

/// The configured store with those who watch it, as the processes that serve use it.
pub type MeteredStore = Metered<ConfiguredStore>;

impl ConfiguredStore {
    /// Connects to the database, or opens the folder.
    ///
    /// # Errors
    /// Returns a fault if the database can't be reached, its keyspace or tables are missing, or the folder can't be opened.
    pub async fn connect(config: &Store) -> Result<Self, StoreFault> {
        match &config.backend {
            Backend::Cql(cql) => CqlStore::connect(&options(config, cql)).await.map(Self::Cql),
            Backend::Embedded { path } => {
                let path = path.clone();
                let opened = tokio::task::spawn_blocking(move || EmbeddedStore::open(&path)).await;
                opened.map_err(|e| StoreFault::new("open", e.to_string()))?.map(Self::Embedded)
            }
        }
    }

    /// Returns the nodes of the database. The list is empty if the store is a folder.
    pub fn nodes(&self) -> Vec<StoreNode> {
        match self {
            Self::Cql(store) => store.nodes(),
            Self::Embedded(_) => Vec::new(),
        }
    }

    /// Returns what the store's own session knows of the database's nodes and the keyspace's replication, without asking the database.
    /// Returns `None` if the store is a folder.
    pub fn seen(&self) -> Option<Topology> {
        match self {
            Self::Cql(store) => Some(store.seen()),
            Self::Embedded(_) => None,
        }
    }

    /// Asks for the database's nodes and the keyspace's replication. Returns `None` if the store is a folder.
    ///
    /// # Errors
    /// Returns a fault if the database can't be reached, or has no data centre of the configured name. The keyspace may be missing.
    pub async fn topology(config: &Store) -> Result<Option<Topology>, StoreFault> {
        match &config.backend {
            Backend::Cql(cql) => CqlStore::topology(&options(config, cql)).await.map(Some),
            Backend::Embedded { .. } => Ok(None),
        }
    }

    /// Creates the keyspace and the tables, or the folder, if they are missing.
    ///
    /// # Errors
    /// Returns a fault if the database can't be reached or does not allow it, or the folder can't be created.
    pub async fn setup(config: &Store) -> Result<(), StoreFault> {
        match &config.backend {
            Backend::Cql(cql) => CqlStore::setup(&options(config, cql)).await,
            Backend::Embedded { .. } => Self::connect(config).await.map(drop),
        }
    }

    /// Connects to a database in order to fill its new tables. Returns `None` if the store is embedded, which needs no separate way of
    /// filling.
    ///
    /// # Errors
    /// Returns a fault if the database can't be reached, or its keyspace or tables are missing.
    pub async fn fill(config: &Store) -> Result<Option<CqlFill>, StoreFault> {
        match &config.backend {
            Backend::Cql(cql) => CqlFill::connect(&options(config, cql)).await.map(Some),
            Backend::Embedded { .. } => Ok(None),
        }
    }

    /// Connects to a database in order to make plain updates beside the store's. Returns `None` if the store is embedded.
    ///
    /// # Errors
    /// Returns a fault if the database can't be reached, or its keyspace is missing.
    pub async fn plain(config: &Store) -> Result<Option<CqlPlain>, StoreFault> {
        match &config.backend {
            Backend::Cql(cql) => CqlPlain::set_up(&options(config, cql)).await.map(Some),
            Backend::Embedded { .. } => Ok(None),
        }
    }

    /// Returns a stream of all entities, each as it is when the scan reads it, from a position on or from the first.
    ///
    /// # Errors
    /// Returns a fault if the scan can't begin, or the position is one of the other kind of store.
    pub async fn scan(&self, from: Option<Position>) -> Result<Scan, StoreFault> {
        match (self, from) {
            (Self::Cql(store), None) => store.scan(i64::MIN).await,
            (Self::Cql(store), Some(Position::Token(token))) => store.scan(token).await,
            (Self::Embedded(store), None) => Ok(store.scan(None)),
            (Self::Embedded(store), Some(Position::Entity(entity_type, ref_id))) => {
                Ok(store.scan(Some(EntityKey { entity_type, ref_id })))
            }
            (Self::Cql(_), Some(Position::Entity(..))) | (Self::Embedded(_), Some(Position::Token(_))) => {
                Err(Position::misplaced())
            }
        }
    }

    /// Drops the keyspace, or removes the folder, with everything in it. This is for stores that were made to be thrown away.
    ///
    /// # Errors
    /// Returns a fault if the database can't be reached or does not allow it, or the folder can't be removed.
    pub async fn tear_down(config: &Store) -> Result<(), StoreFault> {
        match &config.backend {
            Backend::Cql(cql) => CqlStore::tear_down(&options(config, cql)).await,
            Backend::Embedded { path } => match std::fs::remove_dir_all(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(StoreFault::new("tear_down", format!("{}: {error}", path.display())))
                }
                _ => Ok(()),
            },
        }
    }
}

fn options(config: &Store, cql: &Cql) -> CqlOptions {
    let tls = cql.tls.as_ref().map(|tls| TlsOptions {
        ca: tls.ca_file.clone(),
        cert: tls.identity.as_ref().map(|(cert, _)| cert.clone()),
        key: tls.identity.as_ref().map(|(_, key)| key.clone()),
        verify_hostname: tls.verify_hostname,
    });
    CqlOptions {
        contact_points: cql.contact_points.clone(),
        keyspace: cql.keyspace.clone(),
        replication: cql.replication.clone(),
        request_timeout: config.request_timeout,
        serial_consistency: cql.serial_consistency,
        consistency: cql.consistency,
        local_datacenter: cql.local_datacenter.clone(),
        datacenter_failover: cql.datacenter_failover,
        user: cql.credentials.as_ref().map(|c| c.user.clone()),
        password: cql.credentials.as_ref().map(|c| c.password.expose().to_owned()),
        tls,
    }
}

macro_rules! delegate {
    ($self:ident, $store:ident => $call:expr) => {
        match $self {
            Self::Cql($store) => futures::future::Either::Left($call),
            Self::Embedded($store) => futures::future::Either::Right($call),
        }
    };
}

impl ConditionalStore for ConfiguredStore {
    fn read_id(
        &self,
        id: &IdKey,
        requests: &[&str],
        consistency: Consistency,
    ) -> impl Future<Output = Result<IdRead, StoreFault>> + Send {
        delegate!(self, store => store.read_id(id, requests, consistency))
    }

    fn read_entity(
        &self,
        key: EntityKey,
        requests: &[&str],
        consistency: Consistency,
    ) -> impl Future<Output = Result<EntityRead, StoreFault>> + Send {
        delegate!(self, store => store.read_entity(key, requests, consistency))
    }

    fn claim(&self, write: ClaimWrite) -> impl Future<Output = Result<Applied, StoreFault>> + Send {
        delegate!(self, store => store.claim(write))
    }

    fn apply(&self, write: ApplyWrite) -> impl Future<Output = Result<Applied, StoreFault>> + Send {
        delegate!(self, store => store.apply(write))
    }

    fn refuse(&self, write: RefuseWrite) -> impl Future<Output = Result<Applied, StoreFault>> + Send {
        delegate!(self, store => store.refuse(write))
    }

    fn hold(&self, write: HoldWrite) -> impl Future<Output = Result<Applied, StoreFault>> + Send {
        delegate!(self, store => store.hold(write))
    }

    fn history(&self, key: EntityKey) -> impl Future<Output = Result<Vec<HistoryRow>, StoreFault>> + Send {
        delegate!(self, store => store.history(key))
    }

    fn ping(&self) -> impl Future<Output = Result<(), StoreFault>> + Send {
        delegate!(self, store => store.ping())
    }
}

impl ErasableStore for ConfiguredStore {
    fn log(&self, key: EntityKey) -> impl Future<Output = Result<Vec<(String, Vec<u8>)>, StoreFault>> + Send {
        delegate!(self, store => store.log(key))
    }

    fn redact(&self, redaction: Redaction) -> impl Future<Output = Result<Applied, StoreFault>> + Send {
        delegate!(self, store => store.redact(redaction))
    }
}
