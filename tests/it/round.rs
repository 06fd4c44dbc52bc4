//! The parts that the rounds of `one_node_faults` and `cluster_faults` share: the CRM's traffic, the processors, and the audit in the end.

pub mod audit;
pub mod fleet;
pub mod traffic;

use std::sync::{Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// One of several rounds.
pub struct Round {
    /// The number of the round, from 1 on.
    pub round: u64,
    /// The seed of the round's choices.
    pub seed: u64,
}

/// Returns the rounds to run: `CRM_FAULT_ROUNDS` of them (1 by default), with the seed `CRM_SEED` (random by default).
pub fn rounds() -> impl Iterator<Item = Round> {
    let seed = || number("CRM_SEED").unwrap_or_else(|| Uuid::new_v4().as_u64_pair().0);
    (1..=number("CRM_FAULT_ROUNDS").unwrap_or(1)).map(move |round| Round { round, seed: seed() })
}

/// Takes the lock of the tests whose rounds need the whole machine, or that measure, because two of them would starve each other.
/// Waits until no other test holds it.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A fault with its name. `C` is the course that it befalls.
pub type Fault<C> = (&'static str, fn(&mut C));

/// Returns those of the faults whose name begins with `only`.
pub fn chosen<'a, C>(faults: &'a [Fault<C>], only: &str) -> Vec<&'a Fault<C>> {
    let chosen: Vec<_> = faults.iter().filter(|(name, _)| name.starts_with(only)).collect();
    let names = || faults.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    assert!(!chosen.is_empty(), "{only:?} begins none of {:?}", names());
    chosen
}

/// Returns the value of `CRM_ONLY`, the beginning of the names of the faults that are wanted. Returns an empty text, with which all
/// names begin, if the variable is not set.
pub fn only() -> String {
    std::env::var("CRM_ONLY").unwrap_or_default()
}

/// Returns the number in an environment variable, or `None` if the variable is not set.
pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|n| n.parse().unwrap_or_else(|e| panic!("{name}: {e}")))
}
