//! The parts alone: the store without Kafka (`ceiling`), Kafka without the store (`copy_loop`). Each runs in a child process, which is this
//! program once more, so that cores are pinned and costs counted for a part as they are for the processor. The child gets its work as
//! JSON on its command line, and prints its figures as JSON.

use super::ceiling::{self, CeilingLoad};
use super::copy_loop::{self, CopyLoad};
use super::measured::Measured;
use super::round::{Round, child};
use crate::config::Config;
use crate::toolbox::output::say;
use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use std::process::Stdio;

/// A part, and the work to be measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The writes of a case.
    Ceiling(CeilingLoad),
    /// Single writes of a case, so many a second.
    OneWrite(CeilingLoad, f64),
    /// Transactions in which records are consumed, and twice as many produced.
    Copy(CopyLoad),
    /// Single transactions, so many a second.
    OneTransaction(CopyLoad, f64),
}

/// Measures, in the child, the `part` that is given as JSON, and prints the figures as JSON.
pub async fn measure_part(config: &Config, part: &str) -> anyhow::Result<()> {
    let part: Part = serde_json::from_str(part).context("the part can't be read")?;
    let measured = Box::pin(part.measure(config)).await?;
    say(serde_json::to_string(&measured)?);
    Ok(())
}

impl Part {
    /// Starts, in the parent, a child that measures the part, and waits for its figures.
    pub async fn run(&self, round: &Round) -> anyhow::Result<Measured> {
        let part = serde_json::to_string(self)?;
        let mut command = child(round, &["bench", "part", &part])?;
        // If the child is killed, its group should be empty soon. Unlike a processor, it never stands still, so a short time-out will do.
        command.env("CRM__KAFKA__CONSUMER__SESSION_TIMEOUT_MS", "6000");
        let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?.wait_with_output().await?;
        if !output.status.success() {
            bail!("{} ended with {}: {}", self.name(), output.status, String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout).with_context(|| format!("the figures of {} can't be read", self.name()))
    }

    async fn measure(self, config: &Config) -> anyhow::Result<Measured> {
        match self {
            Self::Ceiling(load) => Box::pin(ceiling::measure(config, load)).await,
            Self::OneWrite(load, per_second) => Box::pin(ceiling::measure_one(config, load, per_second)).await,
            Self::Copy(load) => blocking(config, move |config| copy_loop::measure(config, &load)).await,
            Self::OneTransaction(load, per_second) => {
                blocking(config, move |config| copy_loop::measure_one(config, &load, per_second)).await
            }
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Ceiling(_) => "the ceiling",
            Self::OneWrite(..) => "the store alone",
            Self::Copy(_) => "the copy loop",
            Self::OneTransaction(..) => "Kafka alone",
        }
    }
}

async fn blocking(
    config: &Config,
    work: impl FnOnce(&Config) -> anyhow::Result<Measured> + Send + 'static,
) -> anyhow::Result<Measured> {
    let config = config.clone();
    tokio::task::spawn_blocking(move || work(&config)).await?
}
