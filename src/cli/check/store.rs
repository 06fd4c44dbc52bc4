//! Checks the database: its nodes, what the keyspace asks of them, and real reads and writes at the consistencies of `run`.

use super::list::List;
use crate::config::{Backend, CommitConsistency, Config, Cql, SerialConsistency};
use crate::store::configured::ConfiguredStore;
use crate::toolbox::{connect, database, trial};

pub(super) async fn check(config: &Config, list: &mut List) {
    let topology = match ConfiguredStore::topology(&config.store).await {
        Ok(topology) => topology,
        Err(fault) => return list.finding("store", &format!("{:#}", connect::store_trouble(&fault))),
    };
    let before = list.findings;
    if let (Some(topology), Backend::Cql(cql)) = (&topology, &config.store.backend) {
        for (what, assessment) in database::judge(topology, cql) {
            list.add(what, &assessment);
        }
        if topology.keyspace.is_none() {
            return;
        }
    }
    let because = (list.findings > before).then_some("of what stands above");
    match trial::try_configured(&config.store).await {
        Ok(()) => list.ok("store", &good(&config.store.backend)),
        Err(fault) => list.finding("store", &fault.explained(because)),
    }
}

fn good(backend: &Backend) -> String {
    match backend {
        Backend::Cql(Cql { keyspace, serial_consistency, consistency, .. }) => {
            let serial = match serial_consistency {
                SerialConsistency::Serial => "SERIAL",
                SerialConsistency::LocalSerial => "LOCAL_SERIAL",
            };
            let commit = match consistency {
                CommitConsistency::Quorum => "QUORUM",
                CommitConsistency::LocalQuorum => "LOCAL_QUORUM",
            };
            format!("both tables of {keyspace} were read and written, agreed on at {serial}, committed at {commit}")
        }
        Backend::Embedded { path } => format!("{} was opened, read and written", path.display()),
    }
}
