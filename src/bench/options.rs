//! The flags of `bench`: what to measure, and where.

use super::cases::Case;
use super::place::Wish;
use std::path::PathBuf;
use std::time::Duration;

/// The flags of `bench`.
#[derive(Clone, Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub struct Options {
    /// The cases [default: all]
    #[arg(value_name = "CASE")]
    pub cases: Vec<Case>,
    /// The configuration of the servers to use
    #[arg(long, value_name = "FILE", env = "CRM_CONFIG", required_unless_present = "embedded")]
    pub config: Option<PathBuf>,
    /// Use no servers: a mock of Kafka and the embedded store
    #[arg(long)]
    pub embedded: bool,
    /// Where --embedded keeps its store, for the time of the run [default: the system's folder for temporary files]
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// Commands in a case [default: 20000; with --rate as many as in 30 s, if that is fewer]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub commands: Option<u32>,
    /// Entities that the commands are about
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub entities: u32,
    /// The processor has not seen the entities before (the default)
    #[arg(long, conflicts_with = "warm")]
    pub cold: bool,
    /// The processor has seen each entity once before
    #[arg(long)]
    pub warm: bool,
    /// Send R commands a second, and measure the latency [default: send all as a backlog]
    #[arg(long, value_name = "R", value_parser = rate)]
    pub rate: Option<f64>,
    /// Commands decided at once [default: as configured]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub in_flight: Option<u32>,
    /// Delay each answer of the database by so much, such as 50ms. This is for a database of one node: a driver finds others by itself
    #[arg(long, value_name = "DURATION", value_parser = delay, conflicts_with = "embedded")]
    pub store_delay: Option<Duration>,
    /// Processors that share the work
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub instances: u16,
    /// Partitions of each topic
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    pub partitions: i32,
    /// Runs of each case, of which the median is printed
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub runs: u16,
    /// With `ceiling`: compare the store's write with a plain update of one column, for entities with so many outcomes [0,10,100]
    #[arg(long, value_name = "N,…", num_args = 0..=1, require_equals = true, default_missing_value = "0,10,100")]
    #[arg(value_delimiter = ',', value_parser = clap::value_parser!(u32).range(0..=10_000), conflicts_with = "embedded")]
    pub plain: Vec<u32>,
    /// With `--plain`: the id of the database's process on this machine, whose CPU time and files are measured
    #[arg(long, value_name = "PID", requires = "plain")]
    pub database: Option<u32>,
    /// Publish a change row for each business transaction, too
    #[arg(long)]
    pub changes: bool,
    /// Measure a gateway beside the topic instead of the cases: latency at --rate [default: 100], throughput, memory with 1,000 open
    /// requests
    #[arg(long, conflicts_with_all = ["cases", "warm", "plain"])]
    pub http: bool,
    /// Don't measure the store and Kafka alone
    #[arg(long)]
    pub no_ceiling: bool,
    /// The beginning of the names of topics, groups and the keyspace
    #[arg(long, value_name = "NAME", default_value = "crm-bench", value_parser = prefix)]
    pub prefix: String,
    /// Print a line of JSON for each case (the default if the output is no terminal)
    #[arg(long)]
    pub json: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "is no number".to_owned())?;
    if (0.1..=1e6).contains(&rate) { Ok(rate) } else { Err("must be between 0.1 and 1000000".into()) }
}

fn delay(text: &str) -> Result<Duration, String> {
    let delay = humantime::parse_duration(text).map_err(|_| "is no duration such as 50ms".to_owned())?;
    if delay <= Duration::from_secs(10) { Ok(delay) } else { Err("must be 10s at most".into()) }
}

/// Checks that a prefix fits the names of topics as it is, and those of keyspaces with `_` for `-`.
fn prefix(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.len() <= 30 && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(fits) {
        Ok(text.to_owned())
    } else {
        Err("must be up to 30 lower-case letters, digits and hyphens, a letter first".into())
    }
}

impl Options {
    /// Returns the wish for a place that fits these options.
    pub fn wish(&self) -> Wish<'_> {
        let in_flight = self.in_flight.map(|n| ("CRM__KAFKA__MAX_IN_FLIGHT".to_owned(), n.to_string()));
        Wish {
            config: self.config.as_deref().filter(|_| !self.embedded),
            folder: self.folder.as_deref(),
            prefix: &self.prefix,
            partitions: self.partitions,
            store_delay: self.store_delay,
            changes: self.changes,
            variables: in_flight.into_iter().collect(),
        }
    }

    /// Returns the cases to measure.
    pub fn cases(&self) -> Vec<Case> {
        if self.cases.is_empty() { Case::ALL.to_vec() } else { self.cases.clone() }
    }

    /// Returns how many commands a case has.
    pub fn commands(&self) -> u32 {
        const DEFAULT: u32 = 20_000;
        const SECONDS: f64 = 30.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by what it is compared to")]
        let of_rate = |rate: f64| (rate * SECONDS).min(f64::from(DEFAULT)) as u32;
        self.commands.unwrap_or_else(|| self.rate.map_or(DEFAULT, of_rate)).max(1)
    }
}
