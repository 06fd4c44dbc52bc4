//! Whether the store is up. That is judged by its nodes and by its recent answers, never by one operation: a write to a busy partition
//! may time out while everything else is answered.
//!
//! The store is down if it has no node left to ask, or if it has answered nothing for [`UNANSWERED`] and something failed since its last
//! answer. It is up again as soon as it answers anything. The owner of a [`StoreHealth`] must see to it that the store is asked for
//! something in between, if only for a sign of life. Nothing here reads a clock: `now` is always an argument.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the store may answer nothing, while something fails, before it is down. It has then been asked twice in vain for a sign of
/// life, once every [`ASK_AFTER`]. The time equals the default of `store.request_timeout`, so that a store that stops answering is down
/// with the first time-out.
pub const UNANSWERED: Duration = Duration::from_secs(5);
/// How long the store may be without an answer before it is asked for a sign of life.
pub const ASK_AFTER: Duration = Duration::from_secs(2);

/// The store's nodes, answers and faults, by which the store is judged.
#[derive(Debug)]
pub struct StoreHealth {
    /// When the process started. `answered` and `failed` are milliseconds since then, at least 1; 0 means never.
    started: Instant,
    answered: AtomicU64,
    failed: AtomicU64,
    up: AtomicBool,
    nodes: Mutex<Nodes>,
    /// The text of the last fault.
    cause: Mutex<Option<String>>,
}

/// The nodes as they were last seen.
#[derive(Debug, Default)]
struct Nodes {
    known: usize,
    amiss: Vec<String>,
}

/// The facts that decide whether the store is down. Times tell how long ago something happened; `None` if it never did.
#[derive(Clone, Copy, Debug)]
struct Facts {
    answered: Option<Duration>,
    failed: Option<Duration>,
    nodes: usize,
    nodes_amiss: usize,
}

impl StoreHealth {
    /// Returns the health of a store that has answered nothing yet, and so is not up.
    pub fn new(now: Instant) -> Self {
        let (answered, failed) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { started: now, answered, failed, up: AtomicBool::new(false), nodes: Mutex::default(), cause: Mutex::default() }
    }

    /// Returns whether the store is up.
    pub fn is_up(&self) -> bool {
        self.up.load(Relaxed)
    }

    /// Notes that the store answered. Returns true if that brought it up.
    pub fn answered(&self, now: Instant) -> bool {
        // All lanes share these values, so they are written only if they change.
        let millis = self.millis(now);
        if self.answered.load(Relaxed) < millis {
            self.answered.store(millis, Relaxed);
        }
        !self.is_up() && !self.up.swap(true, Relaxed)
    }

    /// Notes the text of a fault, which must name no entity.
    pub fn failed_because(&self, cause: &str) {
        let mut known = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_deref() != Some(cause) {
            *known = Some(cause.to_owned());
        }
    }

    /// Notes that an operation failed. Returns true if that took the store down.
    pub fn failed(&self, now: Instant) -> bool {
        self.failed.fetch_max(self.millis(now), Relaxed);
        self.judge(now)
    }

    /// Notes how many nodes are known, and which of them don't answer: `amiss` describes each in a few words. Returns true if that took
    /// the store down.
    pub fn nodes_seen(&self, known: usize, amiss: Vec<String>, now: Instant) -> bool {
        *self.nodes.lock().unwrap_or_else(PoisonError::into_inner) = Nodes { known, amiss };
        self.judge(now)
    }

    /// Returns whether the store has been without an answer for so long that it should be asked for a sign of life.
    pub fn is_to_be_asked(&self, now: Instant) -> bool {
        self.ago(&self.answered, now).is_none_or(|ago| ago >= ASK_AFTER)
    }

    /// Returns why nothing can be done with the store, or `None` while it is up.
    pub fn obstacle(&self) -> Option<String> {
        if self.is_up() {
            return None;
        }
        let nodes = self.nodes_amiss().map(|nodes| format!(": {nodes}")).unwrap_or_default();
        let cause = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        let cause = cause.as_ref().map(|cause| format!(" (the last fault: {cause})")).unwrap_or_default();
        Some(format!("the store does not answer{nodes}{cause}"))
    }

    /// Returns which nodes don't answer although the store is up. Returns `None` if all nodes answer, or if the store is down.
    pub fn warning(&self) -> Option<String> {
        self.is_up().then(|| self.nodes_amiss())?
    }

    fn nodes_amiss(&self) -> Option<String> {
        let Nodes { known, amiss } = &*self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let verb = if amiss.len() == 1 { "does" } else { "do" };
        let said = || format!("{} of {known} nodes of the database {verb} not answer ({})", amiss.len(), amiss.join(", "));
        (!amiss.is_empty()).then(said)
    }

    /// Takes the store down if the facts say so. Returns whether it was up before. Nothing but an answer brings it up again.
    fn judge(&self, now: Instant) -> bool {
        let (nodes, nodes_amiss) = {
            let Nodes { known, amiss } = &*self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
            (*known, amiss.len())
        };
        let (answered, failed) = (self.ago(&self.answered, now), self.ago(&self.failed, now));
        is_down(Facts { answered, failed, nodes, nodes_amiss }) && self.up.swap(false, Relaxed)
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX).max(1)
    }

    fn ago(&self, at: &AtomicU64, now: Instant) -> Option<Duration> {
        let at = at.load(Relaxed);
        (at > 0).then(|| Duration::from_millis(self.millis(now).saturating_sub(at)))
    }
}

fn is_down(facts: Facts) -> bool {
    let Facts { answered, failed, nodes, nodes_amiss } = facts;
    let nobody_left = nodes > 0 && nodes_amiss == nodes;
    let failed_since = match (answered, failed) {
        (Some(answered), Some(failed)) => failed < answered,
        (None, failed) => failed.is_some(),
        (Some(_), None) => false,
    };
    nobody_left || failed_since && answered.is_none_or(|answered| answered >= UNANSWERED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_down_when_no_node_is_left_or_nothing_was_answered_for_long_and_something_failed() {
        let seconds = |seconds: Option<u64>| seconds.map(Duration::from_secs);
        for (what, answered, failed, nodes, nodes_amiss, expected) in [
            ("nothing has happened", Some(0), None, 3, 0, false),
            ("one operation failed, others are answered", Some(0), Some(0), 3, 0, false),
            ("one operation failed, the last answer was to a sign of life", Some(4), Some(0), 3, 0, false),
            ("nothing was asked for", Some(3600), None, 3, 0, false),
            ("nothing was asked for since an answer after a failure", Some(3600), Some(3601), 3, 0, false),
            ("nothing was answered for long and something failed", Some(5), Some(0), 3, 0, true),
            ("the same, of a store without nodes", Some(5), Some(0), 0, 0, true),
            ("two of three nodes are gone, the third answers", Some(0), Some(0), 3, 2, false),
            ("all nodes are gone", Some(0), None, 3, 3, true),
            ("a store without nodes", Some(0), None, 0, 0, false),
            ("nothing was ever answered, and something failed", None, Some(0), 3, 0, true),
        ] {
            let facts = Facts { answered: seconds(answered), failed: seconds(failed), nodes, nodes_amiss };
            assert_eq!(is_down(facts), expected, "{what}: {facts:?}");
        }
    }

    /// One step is a second.
    #[test]
    fn a_store_goes_down_and_comes_back_once_in_an_outage() {
        let start = Instant::now();
        let health = StoreHealth::new(start);
        let at = |second| start + Duration::from_secs(second);
        assert!(!health.is_up() && health.is_to_be_asked(at(0)));
        assert!(health.answered(at(1)), "it is up by that");
        assert!(!health.answered(at(2)) && !health.is_to_be_asked(at(3)) && health.is_to_be_asked(at(4)));
        let mut changes = 0;
        for second in 3..60 {
            changes += u32::from(health.failed(at(second)));
            assert_eq!(health.is_up(), second < 7, "after {second} s");
        }
        assert!(health.answered(at(60)), "the first answer brings it back");
        // An operation that began before, and is given up only now.
        changes += u32::from(health.failed(at(61)));
        assert_eq!((changes, health.is_up()), (1, true));
    }

    #[test]
    fn one_partition_that_nothing_is_decided_in_does_not_take_the_store_down() {
        let start = Instant::now();
        let health = StoreHealth::new(start);
        health.answered(start);
        for second in 1..600 {
            let now = start + Duration::from_secs(second);
            assert!(!health.failed(now), "after {second} s");
            if health.is_to_be_asked(now) {
                health.answered(now);
            }
        }
    }

    #[test]
    fn obstacle_and_warning_name_the_nodes_that_do_not_answer() {
        let now = Instant::now();
        let health = StoreHealth::new(now);
        assert_eq!(health.obstacle().as_deref(), Some("the store does not answer"));
        health.answered(now);
        assert_eq!((health.obstacle(), health.warning()), (None, None));
        assert!(!health.nodes_seen(3, vec!["b:9042 is silent".into()], now));
        assert_eq!(health.obstacle(), None);
        assert_eq!(health.warning().as_deref(), Some("1 of 3 nodes of the database does not answer (b:9042 is silent)"));
        assert!(health.nodes_seen(2, vec!["a:9042 is not connected".into(), "b:9042 is not connected".into()], now));
        let expected = "the store does not answer: 2 of 2 nodes of the database do not answer (a:9042 is not connected, b:9042 is \
                        not connected)";
        assert_eq!(health.obstacle().as_deref(), Some(expected));
        assert_eq!(health.warning(), None);
        health.failed_because("read_id failed: no space left");
        assert_eq!(health.obstacle(), Some(format!("{expected} (the last fault: read_id failed: no space left)")));
        health.answered(now);
        assert_eq!(health.obstacle(), None);
    }
}
