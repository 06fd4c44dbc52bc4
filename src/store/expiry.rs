//! The times at which stored values expire.

use crate::domain::Timestamp;
use std::time::Duration;

/// Returns a duration in milliseconds, or the most that there can be if it is longer.
pub(super) fn millis(duration: Duration) -> Timestamp {
    Timestamp::try_from(duration.as_millis()).unwrap_or(Timestamp::MAX)
}

/// Returns the time at which something expires that is written now and kept for `ttl`.
pub(super) fn until(now: Timestamp, ttl: Duration) -> Timestamp {
    now.saturating_add(millis(ttl))
}

/// Returns how much longer something lives that expires at `until`; zero if it has expired.
pub(super) fn time_left(until: Timestamp, now: Timestamp) -> Duration {
    Duration::from_millis(until.saturating_sub(now).try_into().unwrap_or(0))
}
