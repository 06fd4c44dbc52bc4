//! The parts alone: the store without Kafka (`ceiling`), Kafka without the store (`copy_loop`). Each runs in a process of its
//! own, this program once more, so that pinning to cores and what a process costs treat it as they treat the processor. What to
//! do goes to it as JSON on its command line, what it measured comes back as JSON on its output.

use super::measured::Measured;
use super::round::{Round, child};
use super::{ceiling, copy_loop};
use crate::config::Config;
use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use std::process::Stdio;

/// What to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The writes of a case.
    Ceiling(ceiling::Load),
    /// Single writes, so many a second.
    OneWrite(ceiling::Load, f64),
    /// Records consumed, twice as many produced, in transactions.
    Copy(copy_loop::Load),
    /// Single transactions, so many a second.
    OneTransaction(copy_loop::Load, f64),
}

/// In the child: does what `part` says, as JSON, and prints what was measured, as JSON.
pub async fn measure_part(config: &Config, part: &str) -> anyhow::Result<()> {
    let part: Part = serde_json::from_str(part).context("what to do")?;
    let measured = Box::pin(part.measure(config)).await?;
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

impl Part {
    /// In the parent: starts a child for it and waits.
    pub async fn run(&self, round: &Round) -> anyhow::Result<Measured> {
        let part = serde_json::to_string(self)?;
        let mut command = child(round, &["bench", "part", &part])?;
        // If it is killed, its group is to be empty soon, and it never stands still.
        command.env("CRM__KAFKA__CONSUMER__SESSION_TIMEOUT_MS", "6000");
        let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?.wait_with_output().await?;
        if !output.status.success() {
            bail!("{} ended with {}: {}", self.name(), output.status, String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout).with_context(|| format!("what {} says", self.name()))
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
