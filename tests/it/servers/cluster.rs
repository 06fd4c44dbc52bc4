//! Three brokers and three database nodes of a test's own, as in production, where one of each may be away.
//!
//! Each member is an [`OwnServer`](super::own::OwnServer), which can be stopped, frozen, killed and started again alone. A broker
//! takes some 400 MiB and a node 1 GiB. All six are up after 30 s on an idle machine with two cores, and after minutes on a busy
//! one.

mod brokers;
mod nodes;

pub use brokers::Brokers;
pub use nodes::{Layout, Nodes};

use super::own::OwnServer;
use crm_processor::store::simulated::Random;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How many members a cluster has.
pub const MEMBERS: usize = 3;
/// How long the members may take to agree again. Nothing is expected to take this long.
const PATIENCE: Duration = Duration::from_secs(240);
/// The ports that Linux gives to no client by default. Any other port may go to a client while the server that had it is down: a
/// client that tries to reach the server may even be connected to itself there.
const STEADY: Range<u64> = 10_000..30_000;

/// Joins the addresses of servers with commas, as clients take them.
fn addresses(servers: &[OwnServer]) -> String {
    servers.iter().map(OwnServer::address).collect::<Vec<_>>().join(",")
}

/// Returns ports that are free on all `hosts`, and that no client gets.
fn steady_ports<const N: usize>(hosts: &[Ipv4Addr]) -> [u16; N] {
    let mut random = Random::new(Uuid::new_v4().as_u64_pair().0);
    let mut taken = Vec::new();
    [(); N].map(|()| {
        loop {
            let port = u16::try_from(STEADY.start + random.below(STEADY.end - STEADY.start)).expect("is a port");
            let bound: Result<Vec<_>, _> = hosts.iter().map(|host| TcpListener::bind((*host, port))).collect();
            if let Ok(bound) = bound
                && !taken.contains(&port)
            {
                drop(bound);
                taken.push(port);
                return port;
            }
        }
    })
}

/// Waits until `done` returns no error.
fn until<T>(what: &str, done: impl Fn() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match done() {
            Ok(done) => return done,
            Err(objection) => assert!(Instant::now() < deadline, "expected after {PATIENCE:?}: {what}\ngot: {objection}"),
        }
        crate::long_pause();
    }
}
