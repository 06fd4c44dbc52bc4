//! Whether this process is alive, and whether it is ready to answer commands. Other parts of the process set what they know; `/livez` and
//! `/readyz` ask.

use super::concerns::{Concern, Concerns};
use super::store_health::StoreHealth;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long one round of the process's main loop may take before the loop counts as stuck. In a gateway the main loop is that of the reader
/// of replies. This time is longer than each of the loop's waits, including a drain at a rebalance or at shutdown.
pub const STUCK_AFTER: Duration = Duration::from_secs(120);

/// What the process is for, which decides what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// It processes commands.
    Processor,
    /// It takes commands over HTTP. It needs the store for reads alone, and belongs to no consumer group.
    Gateway,
}

/// The health of the process.
#[derive(Debug)]
pub struct Health {
    role: Role,
    started: Instant,
    store: StoreHealth,
    registry_up: AtomicBool,
    group_joined: AtomicBool,
    draining: AtomicBool,
    concerns: Concerns,
    /// Whether there is work, none of it is done, and no known reason explains that.
    stuck: AtomicBool,
    /// Milliseconds from `started` to the last beat of the process's main loop; 0 before the first beat.
    last_beat: AtomicU64,
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// Returns the health of a processor that has just started: alive, and not ready.
    pub fn new() -> Self {
        Self::of(Role::Processor)
    }

    /// Returns the health of a gateway that has just started. Without the store it is ready all the same, because commands need no store.
    pub fn of_gateway() -> Self {
        Self::of(Role::Gateway)
    }

    fn of(role: Role) -> Self {
        let now = Instant::now();
        Self {
            role,
            started: now,
            store: StoreHealth::new(now),
            registry_up: AtomicBool::new(false),
            group_joined: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            concerns: Concerns::default(),
            stuck: AtomicBool::new(false),
            last_beat: AtomicU64::new(0),
        }
    }

    /// Returns the health of the store.
    pub fn store(&self) -> &StoreHealth {
        &self.store
    }

    /// Sets whether the schema registry answers, or is not needed.
    pub fn set_registry_up(&self, up: bool) {
        self.registry_up.store(up, Relaxed);
    }

    /// Sets whether the consumer group has given this process an assignment, which may be empty.
    pub fn set_group_joined(&self, joined: bool) {
        self.group_joined.store(joined, Relaxed);
    }

    /// Notes that the process is shutting down.
    pub fn set_draining(&self) {
        self.draining.store(true, Relaxed);
    }

    /// Sets the text of a concern, or `None` if the concern is over; see [`Concerns::tell`].
    pub fn tell(&self, concern: Concern, text: Option<String>) {
        self.concerns.tell(concern, text);
    }

    /// Returns what an operator should know, although it does not keep the process from taking commands.
    pub fn warnings(&self) -> Vec<String> {
        let store = match self.role {
            Role::Processor => self.store.warning(),
            Role::Gateway => self.store.obstacle().or_else(|| self.store.warning()),
        };
        self.concerns.warnings().into_iter().chain(store).collect()
    }

    /// Sets whether work has waited for a long time, none of it was done, and no known reason explains that.
    pub fn set_stuck(&self, stuck: bool) {
        self.stuck.store(stuck, Relaxed);
    }

    /// Notes that the process's main loop begins another round.
    pub fn beat(&self) {
        let millis = self.started.elapsed().as_millis().max(1);
        self.last_beat.store(u64::try_from(millis).unwrap_or(u64::MAX), Relaxed);
    }

    /// Returns false if only a restart can help: the process's main loop is stuck, or it runs and none of the work gets done. Returns true
    /// before the loop has begun.
    pub fn is_alive(&self) -> bool {
        !self.stuck.load(Relaxed) && self.is_alive_after(self.started.elapsed())
    }

    /// Returns how long ago the process's main loop began its last round; `None` if it has not begun.
    pub fn since_beat(&self) -> Option<Duration> {
        self.since_beat_at(self.started.elapsed())
    }

    fn since_beat_at(&self, since_start: Duration) -> Option<Duration> {
        match self.last_beat.load(Relaxed) {
            0 => None,
            millis => Some(since_start.saturating_sub(Duration::from_millis(millis))),
        }
    }

    fn is_alive_after(&self, since_start: Duration) -> bool {
        self.since_beat_at(since_start).is_none_or(|since| since < STUCK_AFTER)
    }

    /// Returns why the process takes or answers no commands. The list is empty if it does.
    pub fn obstacles(&self) -> Vec<String> {
        let is_processor = self.role == Role::Processor;
        let checks = [
            (!self.registry_up.load(Relaxed), "the schema registry does not answer"),
            (is_processor && !self.group_joined.load(Relaxed), "the consumer group has not been joined"),
            (self.draining.load(Relaxed), "the process is shutting down"),
        ];
        let checked = checks.into_iter().filter(|(is_obstacle, _)| *is_obstacle).map(|(_, text)| text.to_owned());
        let store = self.store.obstacle().filter(|_| is_processor);
        store.into_iter().chain(checked).chain(self.concerns.obstacles()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_when_nothing_is_in_the_way() {
        let health = Health::new();
        assert_eq!(health.obstacles().len(), 3);
        health.store().answered(Instant::now());
        health.set_registry_up(true);
        health.set_group_joined(true);
        assert!(health.obstacles().is_empty());
        health.set_draining();
        assert_eq!(health.obstacles(), ["the process is shutting down"]);
    }

    #[test]
    fn a_gateway_is_ready_without_a_store_and_without_a_group() {
        let health = Health::of_gateway();
        assert_eq!(health.obstacles(), ["the schema registry does not answer"]);
        health.set_registry_up(true);
        assert!(health.obstacles().is_empty());
        assert_eq!(health.warnings(), ["the store does not answer"]);
        health.store().answered(Instant::now());
        assert!(health.warnings().is_empty());
    }

    #[test]
    fn a_process_that_is_stuck_is_not_alive_until_it_goes_on() {
        let health = Health::new();
        health.set_stuck(true);
        assert!(!health.is_alive());
        health.set_stuck(false);
        assert!(health.is_alive());
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
