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
use std::time::{Duration, Instant};

/// How many members a cluster has.
pub const MEMBERS: usize = 3;
/// How long the members may take to agree again. Nothing is expected to take this long.
const PATIENCE: Duration = Duration::from_secs(240);
/// Joins the addresses of servers with commas, as clients take them.
fn addresses(servers: &[OwnServer]) -> String {
    servers.iter().map(OwnServer::address).collect::<Vec<_>>().join(",")
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
