//! Whether this process is alive, and whether it is ready: shared by who knows and who asks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A processor's loop that has not come round for so long is taken for stuck. Longer than each wait of its own, a drain at a
/// rebalance or shutdown included.
const STUCK_AFTER: Duration = Duration::from_secs(120);

/// What is known of a process. Each part is told by whoever finds out.
#[derive(Debug)]
pub struct Health {
    started: Instant,
    store_up: AtomicBool,
    registry_up: AtomicBool,
    group_joined: AtomicBool,
    draining: AtomicBool,
    warning: Mutex<Option<String>>,
    /// Milliseconds from `started` to the last time that the processor's loop came round; 0 before the first.
    last_beat: AtomicU64,
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// Alive, and not ready for anything.
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            store_up: AtomicBool::new(false),
            registry_up: AtomicBool::new(false),
            group_joined: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            warning: Mutex::default(),
            last_beat: AtomicU64::new(0),
        }
    }

    /// Whether the store answers.
    pub fn set_store_up(&self, up: bool) {
        self.store_up.store(up, Relaxed);
    }

    /// True while the store answers.
    pub fn is_store_up(&self) -> bool {
        self.store_up.load(Relaxed)
    }

    /// Whether the schema registry answers.
    pub fn set_registry_up(&self, up: bool) {
        self.registry_up.store(up, Relaxed);
    }

    /// Whether the consumer group has given this process an assignment (an empty one will do).
    pub fn set_group_joined(&self, joined: bool) {
        self.group_joined.store(joined, Relaxed);
    }

    /// The process is shutting down.
    pub fn set_draining(&self) {
        self.draining.store(true, Relaxed);
    }

    /// What an operator must mend though the process takes commands; None if there is nothing.
    pub fn warn(&self, warning: Option<String>) {
        *self.warning.lock().unwrap_or_else(PoisonError::into_inner) = warning;
    }

    /// What was warned of last.
    pub fn warnings(&self) -> Vec<String> {
        self.warning.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// The processor's loop came round.
    pub fn beat(&self) {
        let millis = self.started.elapsed().as_millis().max(1);
        self.last_beat.store(u64::try_from(millis).unwrap_or(u64::MAX), Relaxed);
    }

    /// False if the processor's loop has begun and is stuck: a restart is the way out.
    pub fn is_alive(&self) -> bool {
        self.is_alive_after(self.started.elapsed())
    }

    fn is_alive_after(&self, since_start: Duration) -> bool {
        match self.last_beat.load(Relaxed) {
            0 => true,
            millis => since_start.saturating_sub(Duration::from_millis(millis)) < STUCK_AFTER,
        }
    }

    /// Why the process takes no commands; empty if it does.
    pub fn obstacles(&self) -> Vec<&'static str> {
        let checks = [
            (!self.store_up.load(Relaxed), "the store does not answer"),
            (!self.registry_up.load(Relaxed), "the schema registry does not answer"),
            (!self.group_joined.load(Relaxed), "the consumer group has not been joined"),
            (self.draining.load(Relaxed), "the process is shutting down"),
        ];
        checks.into_iter().filter_map(|(obstacle, text)| obstacle.then_some(text)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_when_nothing_is_in_the_way() {
        let health = Health::new();
        assert_eq!(health.obstacles().len(), 3);
        health.set_store_up(true);
        health.set_registry_up(true);
        health.set_group_joined(true);
        assert!(health.obstacles().is_empty());
        health.set_draining();
        assert_eq!(health.obstacles(), ["the process is shutting down"]);
    }

    #[test]
    fn a_loop_that_began_and_does_not_come_round_is_not_alive() {
        let health = Health::new();
        assert!(health.is_alive_after(STUCK_AFTER * 10), "it has not begun");
        health.beat();
        assert!(health.is_alive_after(STUCK_AFTER / 2));
        assert!(!health.is_alive_after(STUCK_AFTER * 10));
    }
}
