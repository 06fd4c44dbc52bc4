//! The parts that the rounds of `faults` and `cluster_faults` share: the CRM's traffic, the processors, and the audit in the end.

pub mod audit;
pub mod fleet;
pub mod traffic;

use std::sync::{Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// One of several rounds.
pub struct Round {
    /// Its number, from 1 on.
    pub round: u64,
    /// What its choices go by.
    pub seed: u64,
}

/// The rounds that are asked for: `CRM_FAULT_ROUNDS` of them (1), with `CRM_SEED` (any).
pub fn rounds() -> impl Iterator<Item = Round> {
    let seed = || number("CRM_SEED").unwrap_or_else(|| Uuid::new_v4().as_u64_pair().0);
    (1..=number("CRM_FAULT_ROUNDS").unwrap_or(1)).map(move |round| Round { round, seed: seed() })
}

/// Held by a test whose rounds take the whole machine, or that measures. Waits until no other does: two would starve each other.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number in an environment variable. None: it is not set.
pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|n| n.parse().unwrap_or_else(|e| panic!("{name}: {e}")))
}
