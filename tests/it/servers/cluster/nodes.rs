//! Three nodes of Cassandra. Each has a write on its disk before it acknowledges it, so that a node that is killed forgets
//! nothing.

use super::super::own::{OwnServer, Start};
use super::super::ports::free_port_on;
use super::super::{Place, prepare_cassandra_at};
use super::{MEMBERS, addresses, until};
use crate::runtime;
use crm_processor::store::simulated::Random;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session_builder::SessionBuilder;
use scylla::policies::host_filter::AllowListHostFilter;
use scylla::statement::Consistency;
use std::net::Ipv4Addr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Time-outs that are so long that a busy machine alone does not exceed them.
const SETTINGS: &str = "auto_bootstrap: false\ncommitlog_sync: batch\ncas_contention_timeout: 4000ms\n\
                        write_request_timeout: 4000ms\nread_request_timeout: 4000ms";
const OPTIONS: [&str; 6] = [
    "-Xms512m",
    "-Xmx512m",
    "-Xmn128m",
    "-XX:TieredStopAtLevel=1",
    "-Dcassandra.ring_delay_ms=3000",
    "-Dcassandra.consistent.rangemovement=false",
];

/// The data centres and racks of the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// All in the data centre `dc1`, each in a rack of its own.
    Racks,
    /// The first two in `dc1`, the last in `dc2`.
    TwoDataCentres,
}

impl Layout {
    fn data_centre(self, node: usize) -> &'static str {
        if self == Self::TwoDataCentres && node == MEMBERS - 1 { "dc2" } else { "dc1" }
    }
}

/// See the module.
pub struct Nodes(Vec<OwnServer>);

impl Nodes {
    /// Starts all three and waits until they know each other. Returns `None` if they can't be had here; the reason has been
    /// printed, and the test returns.
    pub fn start(layout: Layout) -> Option<Self> {
        let nodes = Self(OwnServer::start_all(
            || {
                let hosts = hosts();
                let [port, storage_port] = [free_port_on(&hosts), free_port_on(&hosts)];
                let prepare = |(n, rack): (usize, &'static str)| {
                    let rack = Some((layout.data_centre(n), rack));
                    let place = Place { address: hosts[n], port, storage_port, seeds: &hosts[..1], rack };
                    prepare_cassandra_at(&place, SETTINGS, &OPTIONS)
                };
                ["rack1", "rack2", "rack3"].into_iter().enumerate().map(prepare).collect()
            },
            Start::InTurn,
        )?);
        nodes.until_whole();
        Some(nodes)
    }

    /// Returns all contact points.
    pub fn addresses(&self) -> String {
        addresses(self)
    }

    /// Waits until each node reaches all three.
    pub fn until_whole(&self) {
        for node in self.iter() {
            until(&format!("{} reaches all nodes", node.address()), || runtime().block_on(reaches_all(node.address())));
        }
    }
}

impl Deref for Nodes {
    type Target = [OwnServer];
    fn deref(&self) -> &[OwnServer] {
        &self.0
    }
}

impl DerefMut for Nodes {
    fn deref_mut(&mut self) -> &mut [OwnServer] {
        &mut self.0
    }
}

/// Returns loopback addresses that most likely nobody else has taken. Each node needs one, because the nodes of a cluster must
/// all have the same port.
fn hosts() -> [Ipv4Addr; MEMBERS] {
    let mut random = Random::new(Uuid::new_v4().as_u64_pair().0);
    let [a, b] = [(); 2].map(|()| u8::try_from(1 + random.below(254)).expect("is a byte"));
    [1, 2, 3].map(|n| Ipv4Addr::new(127, a, b, n))
}

/// Reads through this node a table that is on all three nodes, from all of them.
async fn reaches_all(address: &str) -> Result<(), String> {
    const PATIENCE: Duration = Duration::from_secs(10);
    const READ: &str = "SELECT * FROM system_distributed.view_build_status WHERE keyspace_name = 'x' AND view_name = 'x'";
    let profile = ExecutionProfile::builder().consistency(Consistency::All).request_timeout(Some(PATIENCE)).build();
    let this_only = AllowListHostFilter::new([address]).expect("it is an address");
    let session = SessionBuilder::new()
        .known_node(address)
        .host_filter(Arc::new(this_only))
        .default_execution_profile_handle(profile.into_handle())
        .connection_timeout(PATIENCE)
        .build()
        .await
        .map_err(|e| e.to_string())?;
    session.query_unpaged(READ, ()).await.map_err(|e| e.to_string())?;
    Ok(())
}
