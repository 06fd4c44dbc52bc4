//! The operating system's figures about this process, under the names that Prometheus' own clients use. They are read from `/proc`, for
//! each scrape. Only the start time and the limit of file descriptors are read once. Without `/proc` nothing is reported.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, IntGauge, Registry, Result};
use rustix::process::{Resource, getrlimit};
use std::fs;
use std::time::Duration;

/// The metrics of the process; see the module's documentation.
#[derive(Debug)]
pub struct ProcessCollector {
    cpu: Counter,
    resident: IntGauge,
    open_fds: IntGauge,
    max_fds: IntGauge,
    threads: IntGauge,
    started: IntGauge,
}

/// The figures that are read for one scrape.
struct Reading {
    cpu: Duration,
    threads: i64,
    resident_bytes: i64,
    open_fds: i64,
}

impl ProcessCollector {
    /// Adds this process to a registry.
    ///
    /// # Errors
    /// The registry has metrics of these names already.
    pub fn register(registry: &Registry) -> Result<()> {
        let gauge = |name: &str, help: &str| IntGauge::new(name, help);
        let collector = Self {
            cpu: Counter::new("process_cpu_seconds_total", "User and system CPU time of the process, in seconds.")?,
            resident: gauge("process_resident_memory_bytes", "Memory of the process that is in RAM, in bytes.")?,
            open_fds: gauge("process_open_fds", "Open file descriptors: files and connections.")?,
            max_fds: gauge("process_max_fds", "The most file descriptors that may be open.")?,
            threads: gauge("process_threads", "Threads of the process.")?,
            started: gauge("process_start_time_seconds", "When the process began, in seconds since the epoch.")?,
        };
        let max_fds = getrlimit(Resource::Nofile).current.and_then(|most| i64::try_from(most).ok());
        collector.max_fds.set(max_fds.unwrap_or(0));
        collector.started.set(start_time().unwrap_or(0));
        registry.register(Box::new(collector))
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        let gauges = [&self.resident, &self.open_fds, &self.max_fds, &self.threads, &self.started];
        self.cpu.desc().into_iter().chain(gauges.into_iter().flat_map(Collector::desc)).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(now) = Reading::take() else { return Vec::new() };
        // Of two scrapes at once, one may read the time first and add it last. The difference is negative then, and a counter must not go
        // back.
        self.cpu.inc_by((now.cpu.as_secs_f64() - self.cpu.get()).max(0.0));
        self.resident.set(now.resident_bytes);
        self.open_fds.set(now.open_fds);
        self.threads.set(now.threads);
        let gauges = [&self.resident, &self.open_fds, &self.max_fds, &self.threads, &self.started];
        self.cpu.collect().into_iter().chain(gauges.into_iter().flat_map(Collector::collect)).collect()
    }
}

impl Reading {
    fn take() -> Option<Self> {
        let line = fs::read_to_string("/proc/self/stat").ok()?;
        let Stat { cpu, threads, .. } = Stat::read(&line)?;
        let pages: i64 = fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse().ok()?;
        Some(Self {
            cpu,
            threads: threads.try_into().ok()?,
            resident_bytes: pages * i64::try_from(rustix::param::page_size()).ok()?,
            open_fds: fs::read_dir("/proc/self/fd").ok()?.count().try_into().ok()?,
        })
    }
}

/// A process or a thread, as the line of its `stat` in `/proc` describes it.
pub struct Stat<'a> {
    /// The name, of which Linux keeps 15 characters.
    pub name: &'a str,
    /// The letter of its state: `R` for a thread that computes or could, `S` and `D` for one that waits.
    pub state: &'a str,
    /// The user and system time that it has used.
    pub cpu: Duration,
    /// How many threads the process has.
    threads: u64,
    /// How long after the boot it began, in seconds.
    started: u64,
}

impl<'a> Stat<'a> {
    /// Reads the line. Returns `None` if it looks different from what Linux writes.
    pub fn read(line: &'a str) -> Option<Self> {
        // The name stands in parentheses, and may have spaces and parentheses itself. So the fields are counted from the one after it.
        let (before, after) = line.rsplit_once(')')?;
        let fields: Vec<&str> = after.split_whitespace().collect();
        let number = |field: usize| fields.get(field)?.parse::<u64>().ok();
        let ticks = rustix::param::clock_ticks_per_second();
        Some(Self {
            name: before.split_once('(')?.1,
            state: fields.first().copied()?,
            cpu: Duration::from_millis((number(11)? + number(12)?) * 1000 / ticks),
            threads: number(17)?,
            started: number(19)? / ticks,
        })
    }
}

/// Returns when the process began, in seconds since the Unix epoch: the time of the boot, plus how long after the boot the process began.
fn start_time() -> Option<i64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let boot: u64 = text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    let line = fs::read_to_string("/proc/self/stat").ok()?;
    i64::try_from(boot + Stat::read(&line)?.started).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn it_tells_of_the_process_that_runs() {
        let registry = Registry::new();
        ProcessCollector::register(&registry).unwrap();
        let families = registry.gather();
        let value = |name: &str| {
            let family = families.iter().find(|f| f.name() == name).unwrap_or_else(|| panic!("no {name} in {families:?}"));
            let metric = &family.get_metric()[0];
            if name.ends_with("_total") { metric.get_counter().get_value() } else { metric.get_gauge().get_value() }
        };
        assert!(value("process_resident_memory_bytes") > 100_000.0, "{families:?}");
        assert!(value("process_open_fds") >= 3.0 && value("process_open_fds") <= value("process_max_fds"), "{families:?}");
        assert!(value("process_threads") >= 1.0, "{families:?}");
        let new_file = tempfile::tempfile().unwrap().metadata().unwrap().modified().unwrap();
        let now = new_file.duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - value("process_start_time_seconds");
        assert!((-2.0..86_400.0).contains(&age), "it began {age} s ago");
        assert!(value("process_cpu_seconds_total") >= 0.0);
    }

    #[test]
    fn a_thread_has_a_name_and_a_state_and_a_time() {
        let line = "17 (GC (1) x) S 1 17 17 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 9 0 1000 1 1 1";
        let Stat { name, state, cpu, threads, started } = Stat::read(line).unwrap();
        let ticks = rustix::param::clock_ticks_per_second();
        assert_eq!((name, state, cpu), ("GC (1) x", "S", Duration::from_millis(200_000 / ticks)));
        assert_eq!((threads, started), (9, 1000 / ticks));
    }
}
