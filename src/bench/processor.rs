//! The processor that is measured: `run`, in a process of its own, so that its costs can be told from those of `bench`. It can be paused
//! and continued: a backlog is written while it stands still, ready and a member of its group.

use super::measured::Usage;
use super::round::{Round, child};
use anyhow::{Context as _, bail, ensure};
use futures::future::select_all;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::Child;
use tokio::time::{Instant, interval, sleep, timeout};

/// How long a processor may take to be ready: to connect, to join its group, and to wait for the group's other members.
const START: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long a processor may take to end by itself.
const STOP: Duration = Duration::from_secs(10);
/// How many lines of its log a failure shows.
const TAIL: usize = 12;

/// A running processor.
pub struct Processor {
    child: Child,
    pid: Pid,
    admin: String,
    log: PathBuf,
    http: reqwest::Client,
}

/// The figures in a processor's `/metrics`, with all series of a metric added up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Answered commands.
    pub commands: f64,
    /// Conditional writes.
    pub writes: f64,
    /// Committed Kafka transactions.
    pub transactions: f64,
    /// Look-ups in the cache when a command's turn came.
    pub lookups: f64,
    /// Look-ups that found something.
    pub hits: f64,
    /// Entities that were read into the cache before their command's turn came.
    pub read_ahead: f64,
    /// Partitions that the processor has.
    pub partitions: f64,
}

impl Processor {
    /// Starts a processor; `number` is its slot.
    pub fn start(round: &Round, number: usize) -> anyhow::Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr()).context("no free port")?.port();
        let log = round.folder.join(format!("{}-{number}.log", round.config.kafka.group_id));
        let stderr = File::create(&log).with_context(|| format!("{} can't be written", log.display()))?;
        let child = child(round, &["run"])?
            .env("CRM__ADMIN__LISTEN", format!("127.0.0.1:{port}"))
            .env("CRM__KAFKA__INSTANCE_ID", format!("bench-{number}"))
            .env("CRM__LOG__LEVEL", "warn")
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .context("the processor can't be started")?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed())).context("the processor ended at once")?;
        let http = reqwest::Client::builder().timeout(START).build().context("an HTTP client")?;
        Ok(Self { child, pid, admin: format!("http://127.0.0.1:{port}"), log, http })
    }

    /// Waits until the processor takes commands.
    pub async fn until_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START;
        let mut looks = interval(LOOK_AGAIN);
        loop {
            looks.tick().await;
            if let Some(status) = self.child.try_wait()? {
                bail!("the processor ended with {status}; {}", self.log_tail());
            }
            let answer = self.http.get(format!("{}/readyz", self.admin)).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the processor does not get ready; {}", self.log_tail());
        }
    }

    /// Makes the processor stand still.
    pub fn pause(&self) -> anyhow::Result<()> {
        kill_process(self.pid, Signal::STOP).context("the processor can't be stopped")
    }

    /// Lets the processor go on.
    pub fn go_on(&self) -> anyhow::Result<()> {
        kill_process(self.pid, Signal::CONT).context("the processor can't be continued")
    }

    /// Returns what the processor has used.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        Usage::of(&self.pid.to_string())
    }

    /// Asks the processor for its metrics.
    pub async fn counts(&self) -> anyhow::Result<Counts> {
        let answer = self.http.get(format!("{}/metrics", self.admin)).send().await.context("the processor's metrics")?;
        Ok(Counts::read(&answer.text().await?))
    }

    /// Returns the end of the processor's log, in words if there is none.
    pub fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(TAIL)..];
        if tail.is_empty() { "it logged nothing".into() } else { format!("the end of its log:\n{}", tail.join("\n")) }
    }

    /// Ends the processor, and kills it if it does not end by itself.
    ///
    /// # Errors
    /// The processor did not end in good order, so it may still be a member of its group.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        // Errors mean that the processor has ended already.
        let _ = kill_process(self.pid, Signal::CONT);
        let _ = kill_process(self.pid, Signal::TERM);
        if let Ok(ended) = timeout(STOP, self.child.wait()).await {
            let status = ended.context("the processor's end")?;
            ensure!(status.success(), "the processor ended with {status}; {}", self.log_tail());
            return Ok(());
        }
        self.child.kill().await.context("the processor can't be killed")?;
        bail!("the processor did not end within {} s of SIGTERM; {}", STOP.as_secs(), self.log_tail())
    }
}

/// Waits until all processors are ready and have all partitions between them.
pub async fn until_all_ready(processors: &mut [Processor], partitions: i32) -> anyhow::Result<()> {
    let deadline = Instant::now() + START;
    loop {
        let mut assigned = 0.0;
        for processor in &mut *processors {
            processor.until_ready().await?;
            assigned += processor.counts().await?.partitions;
        }
        if assigned >= f64::from(partitions) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{assigned} of {partitions} partitions are assigned");
        sleep(LOOK_AGAIN).await;
    }
}

/// Waits until one of the processors ends, and returns how it ended. There must be one at least.
pub async fn until_one_ends(processors: &mut [Processor]) -> anyhow::Result<ExitStatus> {
    let ends = processors.iter_mut().map(|processor| Box::pin(processor.child.wait()));
    select_all(ends).await.0.context("a processor's end")
}

impl Counts {
    fn read(exposition: &str) -> Self {
        let sum = |name: &str| -> f64 {
            let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
            let values = exposition.lines().filter(of_name).filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
            values.sum()
        };
        Self {
            commands: sum("crm_commands_total"),
            writes: sum("crm_store_conditional_writes_total"),
            transactions: sum("crm_kafka_transactions_total{result=\"committed\"}"),
            lookups: sum("crm_cache_lookups_total"),
            hits: ["external_id", "ref_id"]
                .map(|by| sum(&format!("crm_cache_lookups_total{{by=\"{by}\",result=\"hit\"}}")))
                .iter()
                .sum(),
            read_ahead: sum("crm_cache_read_aheads_total"),
            partitions: sum("crm_partitions_assigned"),
        }
    }

    /// Returns what was counted since `before`. The number of partitions stays what it is.
    pub fn since(self, before: Self) -> Self {
        Self {
            commands: self.commands - before.commands,
            writes: self.writes - before.writes,
            transactions: self.transactions - before.transactions,
            lookups: self.lookups - before.lookups,
            hits: self.hits - before.hits,
            read_ahead: self.read_ahead - before.read_ahead,
            partitions: self.partitions,
        }
    }

    /// Returns the sums of both.
    pub fn plus(self, other: Self) -> Self {
        Self {
            commands: self.commands + other.commands,
            writes: self.writes + other.writes,
            transactions: self.transactions + other.transactions,
            lookups: self.lookups + other.lookups,
            hits: self.hits + other.hits,
            read_ahead: self.read_ahead + other.read_ahead,
            partitions: self.partitions + other.partitions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::labels::{CacheLookup, ConditionalWrite, Reference, TransactionResult};
    use crate::telemetry::metrics::Metrics;

    #[test]
    fn counts_are_read_from_the_processor_s_own_metrics() {
        let metrics = Metrics::new();
        metrics.store_conditional_writes.of(ConditionalWrite::Claim).inc_by(2);
        metrics.store_conditional_writes.of(ConditionalWrite::Apply).inc_by(3);
        metrics.kafka_transaction_ended(TransactionResult::Committed, 40, Duration::from_millis(3));
        metrics.kafka_transaction_ended(TransactionResult::Aborted, 40, Duration::from_millis(3));
        metrics.partitions_assigned.set(12);
        metrics.cache_lookups.of((Reference::ExternalId, CacheLookup::Hit)).inc_by(5);
        metrics.cache_lookups.of((Reference::RefId, CacheLookup::Hit)).inc_by(2);
        metrics.cache_lookups.of((Reference::RefId, CacheLookup::Miss)).inc_by(3);
        metrics.cache_read_aheads.inc_by(4);
        let counts = Counts::read(&metrics.exposition());
        assert_eq!((counts.lookups, counts.hits, counts.read_ahead), (10.0, 7.0, 4.0));
        assert_eq!((counts.writes, counts.transactions, counts.partitions), (5.0, 1.0, 12.0));
    }
}
