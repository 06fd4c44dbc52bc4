//! Ports for servers that may be down for a while and come back on the same port.

use crm_processor::store::simulated::Random;
use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::{LazyLock, Mutex, PoisonError};
use uuid::Uuid;

/// The ports that Linux gives to no client by default. Any other port may go to a client while the server that had it is down: a
/// client that tries to reach the server may even be connected to itself there.
const STEADY: Range<u64> = 10_000..30_000;

/// Returns a port of the loopback interface that was free a moment ago, and that no client gets.
pub fn free_port() -> u16 {
    free_port_on(&[Ipv4Addr::LOCALHOST])
}

/// Returns a port that was free on all `hosts` a moment ago, and that no client gets.
pub(super) fn free_port_on(hosts: &[Ipv4Addr]) -> u16 {
    /// Random numbers, and the ports that were returned. One whose server has not started yet, or is down, looks free.
    static TAKEN: LazyLock<Mutex<(Random, HashSet<u16>)>> =
        LazyLock::new(|| Mutex::new((Random::new(Uuid::new_v4().as_u64_pair().0), HashSet::new())));
    let mut state = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let (random, taken) = &mut *state;
    loop {
        let port = u16::try_from(STEADY.start + random.below(STEADY.end - STEADY.start)).expect("is a port");
        if hosts.iter().all(|host| TcpListener::bind((*host, port)).is_ok()) && taken.insert(port) {
            return port;
        }
    }
}
