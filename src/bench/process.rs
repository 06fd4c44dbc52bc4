//! The processes that are measured, each apart so that its costs can be told from those of `bench`: `run`, which can be paused and
//! continued, so that a backlog is written while it stands still, ready and a member of its group; and `gateway`.

use super::measured::Usage;
use super::round::{Round, child};
use super::steps::Seconds;
use anyhow::{Context as _, bail, ensure};
use futures::future::select_all;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::Child;
use tokio::time::{Instant, interval, sleep, timeout};

/// How long a process may take to be ready: to connect, to join its group, and to wait for the group's other members.
const START: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long a process may take to end by itself.
const STOP: Duration = Duration::from_secs(10);
/// How many lines of its log a failure shows.
const TAIL: usize = 12;

/// A process that `bench` has started and measures: a processor or a gateway.
pub struct Process {
    /// The word for the process in messages, such as `processor`.
    role: &'static str,
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
    /// The stages of the commands and the calls of the Kafka transactions.
    pub times: Seconds,
}

impl Process {
    /// Starts a processor; `number` is its slot.
    pub fn processor(round: &Round, number: usize) -> anyhow::Result<Self> {
        Self::start(round, "processor", "run", &[("CRM__KAFKA__INSTANCE_ID", format!("bench-{number}"))])
    }

    /// Starts a gateway that listens at `address`, and lets `open` requests be open at once.
    pub fn gateway(round: &Round, address: SocketAddr, open: u32) -> anyhow::Result<Self> {
        let variables = [
            ("CRM__GATEWAY__LISTEN", address.to_string()),
            ("CRM__GATEWAY__MAX_OPEN_REQUESTS", open.to_string()),
            ("CRM__GATEWAY__AUTH__KIND", "none".to_owned()),
            // The embedded store is the processor's alone, and the commands that are measured read nothing. A database has no path.
            ("CRM__STORE__PATH", round.folder.join("gateway-store").display().to_string()),
        ];
        Self::start(round, "gateway", "gateway", &variables)
    }

    fn start(round: &Round, role: &'static str, subcommand: &'static str, variables: &[(&str, String)]) -> anyhow::Result<Self> {
        let admin = free_address()?;
        let log = round.folder.join(format!("{}-{role}-{}.log", round.config.kafka.group_id, admin.port()));
        let stderr = File::create(&log).with_context(|| format!("{} can't be written", log.display()))?;
        let child = child(round, &[subcommand])?
            .env("CRM__ADMIN__LISTEN", admin.to_string())
            .env("CRM__LOG__LEVEL", "warn")
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .with_context(|| format!("the {role} can't be started"))?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let pid = pid.with_context(|| format!("the {role} ended at once"))?;
        let http = reqwest::Client::builder().timeout(START).build().context("an HTTP client")?;
        Ok(Self { role, child, pid, admin: format!("http://{admin}"), log, http })
    }

    /// Waits until the process is ready for its work.
    pub async fn until_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START;
        let mut looks = interval(LOOK_AGAIN);
        loop {
            looks.tick().await;
            if let Some(status) = self.child.try_wait()? {
                bail!("the {} ended with {status}; {}", self.role, self.log_tail());
            }
            let answer = self.http.get(format!("{}/readyz", self.admin)).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the {} does not get ready; {}", self.role, self.log_tail());
        }
    }

    /// Makes the process stand still.
    pub fn pause(&self) -> anyhow::Result<()> {
        kill_process(self.pid, Signal::STOP).context("a process can't be stopped")
    }

    /// Lets the process go on.
    pub fn go_on(&self) -> anyhow::Result<()> {
        kill_process(self.pid, Signal::CONT).context("a process can't be continued")
    }

    /// Returns what the process has used.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        Usage::of(&self.pid.to_string())
    }

    /// Asks a processor for its counts.
    pub async fn counts(&self) -> anyhow::Result<Counts> {
        Ok(Counts::read(&self.metrics().await?))
    }

    /// Asks a gateway how many requests are open.
    pub async fn open_requests(&self) -> anyhow::Result<f64> {
        Ok(sum(&self.metrics().await?, "crm_gateway_open_requests"))
    }

    async fn metrics(&self) -> anyhow::Result<String> {
        let answer = self.http.get(format!("{}/metrics", self.admin)).send().await;
        answer.with_context(|| format!("the {}'s metrics", self.role))?.text().await.context("metrics")
    }

    /// Returns the end of the process's log, in words if there is none.
    pub fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(TAIL)..];
        if tail.is_empty() { "it logged nothing".into() } else { format!("the end of its log:\n{}", tail.join("\n")) }
    }

    /// Ends the process, and kills it if it does not end by itself.
    ///
    /// # Errors
    /// The process did not end in good order, so a processor may still be a member of its group.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        // Errors mean that the processor has ended already.
        let _ = kill_process(self.pid, Signal::CONT);
        let _ = kill_process(self.pid, Signal::TERM);
        if let Ok(ended) = timeout(STOP, self.child.wait()).await {
            let status = ended.context("a process's end")?;
            ensure!(status.success(), "the {} ended with {status}; {}", self.role, self.log_tail());
            return Ok(());
        }
        self.child.kill().await.context("a process can't be killed")?;
        bail!("the {} did not end within {} s of SIGTERM; {}", self.role, STOP.as_secs(), self.log_tail())
    }
}

/// Waits until all processors are ready and have all partitions between them.
pub async fn until_all_ready(processors: &mut [Process], partitions: i32) -> anyhow::Result<()> {
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
pub async fn until_one_ends(processors: &mut [Process]) -> anyhow::Result<ExitStatus> {
    let ends = processors.iter_mut().map(|processor| Box::pin(processor.child.wait()));
    select_all(ends).await.0.context("a processor's end")
}

/// Returns an address on this machine that is free now.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr()).context("no free port")
}

/// Returns the sum of all series of a metric.
fn sum(exposition: &str, name: &str) -> f64 {
    let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    exposition.lines().filter(of_name).filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

impl Counts {
    fn read(exposition: &str) -> Self {
        let sum = |name: &str| sum(exposition, name);
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
            times: Seconds::read(sum),
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
            times: self.times.with(before.times, |now, before| now - before),
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
            times: self.times.with(other.times, |one, other| one + other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::steps::StepTimes;
    use crate::domain::rejection::Status;
    use crate::domain::use_case::UseCase;
    use crate::telemetry::labels::{
        CacheLookup, CommandStage, ConditionalWrite, ReferenceKind, TransactionResult, TransactionStep,
    };
    use crate::telemetry::metrics::Metrics;

    #[test]
    fn counts_are_read_from_the_processor_s_own_metrics() {
        let metrics = Metrics::new();
        metrics.store_conditional_writes.of(ConditionalWrite::Claim).inc_by(2);
        metrics.store_conditional_writes.of(ConditionalWrite::Apply).inc_by(3);
        let steps = [(TransactionStep::Flush, Duration::from_millis(10)), (TransactionStep::Commit, Duration::from_millis(20))];
        metrics.kafka_transaction_ended(TransactionResult::Committed, 40, Duration::from_millis(40), steps);
        metrics.kafka_transaction_ended(TransactionResult::Aborted, 40, Duration::from_millis(10), []);
        let stages = [(CommandStage::Decide, Duration::from_millis(30)), (CommandStage::Publish, Duration::from_millis(50))];
        let (use_case, status) = (UseCase::UpdateCustomerCustomName, Status::Ok);
        metrics.command_answered(use_case, status, Duration::from_millis(80), stages);
        metrics.partitions_assigned.set(12);
        metrics.cache_lookups.of((ReferenceKind::ExternalId, CacheLookup::Hit)).inc_by(5);
        metrics.cache_lookups.of((ReferenceKind::RefId, CacheLookup::Hit)).inc_by(2);
        metrics.cache_lookups.of((ReferenceKind::RefId, CacheLookup::Miss)).inc_by(3);
        metrics.cache_read_aheads.inc_by(4);
        let counts = Counts::read(&metrics.exposition());
        assert_eq!((counts.lookups, counts.hits, counts.read_ahead), (10.0, 7.0, 4.0));
        assert_eq!((counts.writes, counts.transactions, counts.partitions), (5.0, 1.0, 12.0));
        let steps = StepTimes::over(&[StepTimes::new(counts.times, 100.0)], |of| of[0].round());
        let told = serde_json::to_value(steps).unwrap();
        for (step, ms) in
            [("queue", 0.0), ("decide", 30.0), ("flush", 10.0), ("commit", 20.0), ("hand_over", 20.0), ("markers", 20.0)]
        {
            assert_eq!(told[step], ms, "{step}: {told}");
        }
    }
}
