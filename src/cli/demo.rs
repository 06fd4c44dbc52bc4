//! `demo`: the flags of `crate::demo`.

use crate::demo;
use crate::toolbox::FAILED;
use std::process::ExitCode;

const HELP: &str = "\
Examples:
  crm-processor demo            the show, then calm traffic until Ctrl-C
  crm-processor demo --once     the show alone; the exit code is 1 if an answer is not as promised
  curl -s http://127.0.0.1:9464/metrics | grep crm_commands_total
  curl -s http://127.0.0.1:8080/v1/customers?externalId=c-ann

Everything runs in this process and is gone afterwards: a mock of Kafka (good for a show, no proof of exactly-once), a schema
registry, the HTTP gateway, and the embedded store in a temporary folder. RUST_LOG=info shows the processor's log, on standard error.";

/// See it work: everything in one process, nothing to install
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// End after the show
    #[arg(long)]
    once: bool,
    /// The port of /metrics, /livez and /readyz on 127.0.0.1; if it is taken, any free one is used
    #[arg(long, value_name = "PORT", default_value_t = 9464)]
    metrics_port: u16,
}

/// `crm-processor demo`
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let kept = demo::run(args.metrics_port, args.once).await?;
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}
