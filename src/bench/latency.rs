//! Quantiles of latencies, in milliseconds. They are taken from all latencies, of which a few million fit in memory easily.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The quantiles of latencies, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Latency {
    /// Returns the quantiles of `taken`, or zeros if it is empty. The quantile of a share is the smallest of
    /// the values such that at least this share of them is no larger.
    pub fn of(mut taken: Vec<Duration>) -> Self {
        taken.sort_unstable();
        let at = |percent: usize| {
            let rank = (taken.len() * percent).div_ceil(100).max(1);
            taken.get(rank - 1).copied().unwrap_or_default().as_secs_f64() * 1e3
        };
        Self { p50: at(50), p99: at(99), max: at(100) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let of = |millis: &[u64]| Latency::of(millis.iter().map(|ms| Duration::from_millis(*ms)).collect());
        let shuffled: Vec<u64> = (0..200).map(|n| n * 73 % 200 + 1).collect();
        assert_eq!(of(&shuffled), Latency { p50: 100.0, p99: 198.0, max: 200.0 });
        assert_eq!(of(&[7]), Latency { p50: 7.0, p99: 7.0, max: 7.0 });
        assert_eq!(of(&[]), Latency::default());
    }
}
