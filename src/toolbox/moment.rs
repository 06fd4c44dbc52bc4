//! Points in time as people write them: an instant, or how long ago.

use crate::domain::Timestamp;
use std::time::{Duration, UNIX_EPOCH};

/// A point in time, as a flag such as `--since` gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// An instant.
    At(Timestamp),
    /// A time so long before now.
    Ago(Duration),
}

impl Moment {
    /// Reads `2026-01-31T12:00:00Z`, `2026-01-31 12:00:00` (UTC, too), or `90m`.
    ///
    /// # Errors
    /// The text is neither an instant nor a duration.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(duration) = humantime::parse_duration(text) {
            return Ok(Self::Ago(duration));
        }
        let wrong = |_| format!("{text:?} is neither a time (2026-01-31T12:00:00Z) nor how long ago (90m, 2h, 7d)");
        let instant = humantime::parse_rfc3339_weak(text).map_err(wrong)?;
        let since_epoch = instant.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self::At(Timestamp::try_from(since_epoch.as_millis()).unwrap_or(Timestamp::MAX)))
    }

    /// Returns the moment in milliseconds since 1970.
    pub fn timestamp(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(duration) => now.saturating_sub(Timestamp::try_from(duration.as_millis()).unwrap_or(Timestamp::MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_an_instant_or_how_long_ago() {
        for (text, expected) in [
            ("1970-01-01T00:00:01Z", Some(1_000)),
            ("1970-01-01 00:00:01.5", Some(1_500)),
            ("2h 5s", Some(100_000_000 - 7_205_000)),
            ("0s", Some(100_000_000)),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(Moment::parse(text).ok().map(|moment| moment.timestamp(100_000_000)), expected, "{text}");
        }
    }
}
