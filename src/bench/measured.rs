//! What is measured of a part, and what a process has used.

use super::latency::Latency;
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// What was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Measured {
    /// How many commands this stands for.
    pub commands: u64,
    /// How long they took.
    pub seconds: f64,
    /// Conditional writes.
    pub writes: u64,
    /// Kafka transactions.
    pub transactions: u64,
    /// Of each command, or transaction, from its own beginning.
    pub latency: Latency,
    /// CPU time of the process meanwhile, in seconds.
    pub cpu_seconds: f64,
    /// The most memory that the process had.
    pub peak_kib: u64,
}

/// The clock of a part, and of what its process uses meanwhile. What is prepared before it runs costs nothing.
pub struct Stopwatch {
    start: Instant,
    used: Usage,
}

impl Stopwatch {
    /// Begins now.
    pub fn start() -> anyhow::Result<Self> {
        Ok(Self { used: Usage::of("self")?, start: Instant::now() })
    }

    /// When it began.
    pub fn began(&self) -> Instant {
        self.start
    }

    /// What it took until now: seconds, CPU and memory of a measurement.
    pub fn read(&self) -> anyhow::Result<Measured> {
        let seconds = self.start.elapsed().as_secs_f64();
        let Usage { cpu, peak_kib } = Usage::of("self")?;
        Ok(Measured { seconds, cpu_seconds: cpu.saturating_sub(self.used.cpu).as_secs_f64(), peak_kib, ..Measured::default() })
    }
}

impl Measured {
    /// Commands a second.
    pub fn per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let commands = self.commands as f64;
        commands / self.seconds.max(1e-9)
    }
}

/// What a process has used since it began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// User and system time.
    pub cpu: Duration,
    /// The most memory that it had at once, in KiB.
    pub peak_kib: u64,
}

impl Usage {
    /// Of a process by its id, or of this one (`self`).
    pub fn of(process: &str) -> anyhow::Result<Self> {
        let read = |file: &str| {
            let path = format!("/proc/{process}/{file}");
            std::fs::read_to_string(&path).with_context(|| format!("{path} can't be read"))
        };
        Self::read(&read("stat")?, &read("status")?).context("/proc looks different on this system")
    }

    fn read(stat: &str, status: &str) -> Option<Self> {
        // The second field, a name in parentheses, may hold anything; what follows it begins with the third.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let (user, system): (u64, u64) = (fields.get(11)?.parse().ok()?, fields.get(12)?.parse().ok()?);
        let millis = (user + system) * 1000 / rustix::param::clock_ticks_per_second();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let peak_kib = peak.trim().strip_suffix(" kB")?.trim().parse().ok()?;
        Some(Self { cpu: Duration::from_millis(millis), peak_kib })
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
        assert_eq!((usage.cpu, usage.peak_kib), (Duration::from_millis(200_000 / ticks), 40_960));
        assert!(Usage::of("self").unwrap().peak_kib > 0);
    }
}
