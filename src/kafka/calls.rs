//! The blocking call that a thread has under way, made visible to the processor, which watches the thread.
//!
//! librdkafka's calls take time-outs, and most of them keep to these. `rd_kafka_send_offsets_to_transaction` does not, and on a cluster
//! that loses a broker it was seen never to return. A blocked thread can't watch itself. So each thread states here which call it makes
//! and until when that call must be over. If a publisher's call is overdue, `Publishing::watch` decides what to do; if the consumer's is,
//! `processor::watch` does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How much longer than its own time-out a call may take, because on a busy machine its thread may have to wait for a CPU. A call that
/// takes still longer is taken for one that never returns.
pub const SLACK: Duration = Duration::from_secs(2);

/// A call that blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// A transaction begins and its outputs are handed to the client.
    Produce,
    /// The outputs of a transaction are delivered.
    Flush,
    /// The offsets are added to their transaction.
    SendOffsets,
    /// A transaction is committed.
    Commit,
    /// A transaction is aborted.
    Abort,
    /// A producer registers with the transaction coordinator.
    InitTransactions,
    /// The group coordinator is asked which offsets are committed.
    CommittedOffsets,
    /// The brokers are asked about a topic.
    Metadata,
    /// A producer is closed.
    CloseProducer,
    /// The consumer asks for records; its rebalance callbacks run meanwhile.
    Poll,
    /// A call that the consumer answers without a request: to pause or resume partitions, to go on from another offset, or to list its
    /// partitions.
    Local,
    /// The revoke callback waits until the processor has finished.
    Drain,
    /// The consumer leaves its group.
    Leave,
}

impl Call {
    /// Returns the call's name for operators. For most calls it is the name in librdkafka's documentation.
    pub fn text(self) -> &'static str {
        match self {
            Self::Produce => "produce",
            Self::Flush => "flush",
            Self::SendOffsets => "send_offsets_to_transaction",
            Self::Commit => "commit_transaction",
            Self::Abort => "abort_transaction",
            Self::InitTransactions => "init_transactions",
            Self::CommittedOffsets => "committed",
            Self::Metadata => "metadata",
            Self::CloseProducer => "close of the producer",
            Self::Poll => "poll",
            Self::Local => "pause, resume or seek",
            Self::Drain => "wait for the processor in a revocation",
            Self::Leave => "close of the consumer",
        }
    }
}

/// A call that has not returned.
#[derive(Clone, Copy, Debug)]
pub struct UnderWay {
    /// The call that was made.
    pub call: Call,
    /// When the call was made.
    pub since: Instant,
    /// The moment from which on the call is taken for one that never returns.
    pub deadline: Instant,
}

/// The call that one thread has under way, and whether the thread was abandoned.
#[derive(Debug, Default)]
pub struct Calls {
    under_way: Mutex<Option<UnderWay>>,
    abandoned: AtomicBool,
}

impl Calls {
    /// Runs `act` and announces it meanwhile as `call`, whose own time-out ends at `until`. A call that begins later than that must return at
    /// once. Calls may nest: when the inner one is over, the outer one is announced again, with a deadline that is later by the time that
    /// the inner one took.
    pub fn during<T>(&self, call: Call, until: Instant, act: impl FnOnce() -> T) -> T {
        let since = Instant::now();
        let made = UnderWay { call, since, deadline: until.max(since) + SLACK };
        // One call may make another: a poll runs the rebalance callbacks.
        let outer = self.set(Some(made));
        let _ended =
            OnDrop(|| _ = self.set(outer.map(|outer| UnderWay { deadline: outer.deadline + made.since.elapsed(), ..outer })));
        act()
    }

    /// Returns the call that is under way, if there is one.
    pub fn under_way(&self) -> Option<UnderWay> {
        *self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the call that is past its deadline, if there is one.
    pub fn overdue(&self, now: Instant) -> Option<UnderWay> {
        self.under_way().filter(|call| now >= call.deadline)
    }

    /// Gives the call that is under way as much more time as it `lost`, because the process did not run meanwhile. No call has lost more time
    /// than it has taken until `now`.
    pub fn excuse(&self, lost: Duration, now: Instant) {
        if let Some(call) = &mut *self.under_way.lock().unwrap_or_else(PoisonError::into_inner) {
            let lost = lost.min(now.saturating_duration_since(call.since));
            call.since += lost;
            call.deadline += lost;
        }
    }

    /// Tells the thread that another has taken its place. The thread sees that when its call returns, and ends.
    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::SeqCst);
    }

    /// Returns whether another thread has taken the place of this one.
    pub fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::SeqCst)
    }

    fn set(&self, call: Option<UnderWay>) -> Option<UnderWay> {
        std::mem::replace(&mut *self.under_way.lock().unwrap_or_else(PoisonError::into_inner), call)
    }
}

/// Runs its closure when it is dropped, even if a panic drops it.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_overdue_when_its_time_out_and_the_slack_are_over() {
        let calls = Calls::default();
        let now = Instant::now();
        let until = now + Duration::from_secs(9);
        calls.during(Call::SendOffsets, until, || {
            assert!(calls.overdue(until).is_none());
            assert_eq!(calls.overdue(until + SLACK).map(|c| c.call), Some(Call::SendOffsets));
        });
        assert!(calls.overdue(until + SLACK).is_none(), "it has returned");
    }

    #[test]
    fn a_call_that_begins_after_its_time_out_is_overdue_when_the_slack_is_over() {
        let calls = Calls::default();
        let now = Instant::now();
        calls.during(Call::SendOffsets, now.checked_sub(Duration::from_secs(60)).unwrap(), || {
            assert!(calls.overdue(now).is_none());
            assert!(calls.overdue(now + 2 * SLACK).is_some());
        });
    }

    #[test]
    fn a_call_is_excused_for_the_time_in_which_the_process_did_not_run() {
        let calls = Calls::default();
        let now = Instant::now();
        let second = Duration::from_secs(1);
        // The seconds at which the process was frozen and thawed, and then for how long the call is still on time. It begins at second 0,
        // and its time-out ends at second 9.
        for (frozen, thawed, left) in [(1, 101, 10), (8, 108, 3), (0, 5, 11)] {
            calls.during(Call::Flush, now + 9 * second, || {
                let thawed_at = now + thawed * second;
                calls.excuse((thawed - frozen) * second, thawed_at);
                let at_least = thawed_at + (left - 1) * second;
                assert!(calls.overdue(at_least).is_none(), "{frozen} to {thawed}");
                assert!(calls.overdue(at_least + 2 * second).is_some(), "{frozen} to {thawed}");
            });
        }
        calls.during(Call::Flush, now + 9 * second, || {
            calls.excuse(3600 * second, Instant::now());
            assert!(calls.overdue(now + 13 * second).is_some(), "it began after the thaw");
        });
    }

    #[test]
    fn a_call_within_a_call_is_the_one_that_is_watched_until_it_returns() {
        let calls = Calls::default();
        let soon = Instant::now();
        let late = soon + Duration::from_secs(60);
        calls.during(Call::Poll, soon, || {
            calls.during(Call::Drain, late, || {
                assert_eq!(calls.under_way().map(|c| c.call), Some(Call::Drain));
                assert!(calls.overdue(soon + SLACK).is_none());
            });
            assert_eq!(calls.overdue(soon + SLACK * 2).map(|c| c.call), Some(Call::Poll));
        });
    }

    #[test]
    fn a_call_that_panics_is_over() {
        let calls = Calls::default();
        let call = || calls.during(Call::Poll, Instant::now(), || panic!("on purpose"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).is_err());
        assert!(calls.under_way().is_none());
    }
}
