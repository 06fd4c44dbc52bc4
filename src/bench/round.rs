//! One measurement: topics and a group of its own, and the processes that are started for it.

use crate::config::Config;
use anyhow::Context as _;
use std::path::PathBuf;
use std::process::Stdio;
use tokio::process::Command;

/// Topics and a group for one measurement.
#[derive(Clone)]
pub struct Round {
    /// The configuration of the processes of this round.
    pub config: Config,
    /// The file of this configuration that the processes read.
    pub file: PathBuf,
    /// The variables of the environment that override the file.
    pub variables: Vec<(String, String)>,
    /// The folder for the processes' logs.
    pub folder: PathBuf,
}

/// Returns the command that starts this program as a child for a round. The child is killed when its handle is dropped.
pub fn child(round: &Round, subcommand: &[&str]) -> anyhow::Result<Command> {
    let program = std::env::current_exe().context("can't tell where this program is")?;
    let mut command = Command::new(program);
    command.args(subcommand).arg("--config").arg(&round.file);
    command.envs(round.variables.iter().map(|(k, v)| (k, v))).stdin(Stdio::null()).kill_on_drop(true);
    // Ctrl-C at the terminal is for the parent, which ends its children in good order.
    command.process_group(0);
    Ok(command)
}
