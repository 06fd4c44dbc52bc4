//! The figures of a part that was measured, and of what a process has used.

use super::latency::Latency;
use crate::telemetry::process::Stat;
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// The figures of a part.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Measured {
    /// How many commands the part stands for.
    pub commands: u64,
    /// How long the commands took, in seconds.
    pub seconds: f64,
    /// How many conditional writes were made.
    pub writes: u64,
    /// How many Kafka transactions were committed.
    pub transactions: u64,
    /// The latency of each command, or transaction, from its own beginning.
    pub latency: Latency,
    /// The CPU time of the process meanwhile, in seconds.
    pub cpu_seconds: f64,
    /// The most memory that the process had at once, in KiB.
    pub peak_kib: u64,
}

/// A clock that also measures what its process uses. Time and CPU time from before it was started do not count; the peak of memory counts
/// from the beginning of the process.
pub struct Stopwatch {
    start: Instant,
    used: Usage,
}

impl Stopwatch {
    /// Starts measuring, from now on.
    pub fn start() -> anyhow::Result<Self> {
        Ok(Self { used: Usage::of("self")?, start: Instant::now() })
    }

    /// Returns when the clock was started.
    pub fn began(&self) -> Instant {
        self.start
    }

    /// Returns the seconds, the CPU time and the memory until now; the other figures are zero.
    pub fn read(&self) -> anyhow::Result<Measured> {
        let seconds = self.start.elapsed().as_secs_f64();
        let Usage { cpu, peak_kib, .. } = Usage::of("self")?;
        Ok(Measured { seconds, cpu_seconds: cpu.saturating_sub(self.used.cpu).as_secs_f64(), peak_kib, ..Measured::default() })
    }
}

impl Measured {
    /// Returns the commands per second.
    pub fn per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let commands = self.commands as f64;
        commands / self.seconds.max(1e-9)
    }
}

/// The CPU time and memory that a process has used since it began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// User and system time.
    pub cpu: Duration,
    /// The most memory that the process had at once, in KiB.
    pub peak_kib: u64,
    /// The memory that the process has at present, in KiB.
    pub present_kib: u64,
}

impl Usage {
    /// Reads what a process has used. `process` is its id, or `self`.
    pub fn of(process: &str) -> anyhow::Result<Self> {
        let read = |file: &str| {
            let path = format!("/proc/{process}/{file}");
            std::fs::read_to_string(&path).with_context(|| format!("{path} can't be read"))
        };
        Self::read(&read("stat")?, &read("status")?).context("/proc looks different on this system")
    }

    fn read(stat: &str, status: &str) -> Option<Self> {
        let kib = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name))?;
            value.trim().strip_suffix(" kB")?.trim().parse().ok()
        };
        Some(Self { cpu: Stat::read(stat)?.cpu, peak_kib: kib("VmHWM:")?, present_kib: kib("VmRSS:")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_from_what_linux_says() {
        let stat = "17 (a) name) S 1 17 17 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 9 0 1000 1 1 1";
        let usage = Usage::read(stat, "Name:\tx\nVmHWM:\t   40960 kB\nVmRSS:\t 1 kB\n").unwrap();
        let ticks = rustix::param::clock_ticks_per_second();
        assert_eq!(usage.cpu, Duration::from_millis(200_000 / ticks));
        assert_eq!((usage.peak_kib, usage.present_kib), (40_960, 1));
        assert!(Usage::of("self").unwrap().peak_kib > 0);
    }
}
