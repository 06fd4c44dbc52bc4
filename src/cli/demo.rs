//! `demo`: the whole in one process, with nothing installed. A story in a few scenes shows each answer that a CRM can get; each
//! is held against what the scene promises, so that a demo that differs fails.

mod cast;
mod promise;
mod scenes;
mod show;
mod stage;
mod traffic;

use super::FAILED;
use super::interrupt::interrupted;
use super::paint::Paint;
use crate::config::{Log, LogFormat};
use crate::telemetry::log;
use cast::Cast;
use show::{Show, say};
use stage::Stage;
use std::process::ExitCode;

const HELP: &str = "\
Examples:
  crm-processor demo            the show, then calm traffic until Ctrl-C
  crm-processor demo --once     the show alone; the exit code is 1 if an answer is not as promised
  curl -s http://127.0.0.1:9464/metrics | grep crm_commands_total

Everything runs in this process and is gone afterwards: a mock of Kafka (good for a show, no proof of exactly-once), a schema
registry, and the embedded store in a temporary folder. RUST_LOG=info shows the processor's log, on standard error.";

/// See it work: everything in one process, nothing to install
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// End after the show
    #[arg(long)]
    once: bool,
    /// Where on 127.0.0.1 /metrics, /livez and /readyz are; if the port is taken, any free one is used
    #[arg(long, value_name = "PORT", default_value_t = 9464)]
    metrics_port: u16,
}

/// `crm-processor demo`
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let level = log::start(&Log { format: LogFormat::Text, level: "error".into() }).map_err(anyhow::Error::msg)?;
    let paint = Paint::for_stdout();
    say(paint.bold("crm-processor: commands in, answers and Business Transactions out, each change exactly once"))?;
    let mut stage = Stage::build(args.metrics_port, level).await?;
    let played = tokio::select! {
        played = play(&mut stage, paint, args.once) => played,
        interrupted = interrupted() => interrupted.map(|()| true),
    };
    let closed = stage.close().await;
    let kept = played?;
    closed?;
    if kept {
        return Ok(ExitCode::SUCCESS);
    }
    say("")?;
    say(paint.red("Not all answers were as promised: see the lines with ✗."))?;
    Ok(ExitCode::from(FAILED))
}

/// The show, and what comes after it. True if all promises were kept.
async fn play(stage: &mut Stage, paint: Paint, once: bool) -> anyhow::Result<bool> {
    let cast = Cast::assemble()?;
    stage.import(&cast).await?;
    say(format!("\nIn this process: a mock of Kafka, a schema registry, a store with {}, the processor,", cast.in_words()))?;
    say("and a CRM that sends commands to crm.commands (→) and reads its replies from crm.replies (←).")?;
    say("The data warehouse reads Business Transactions from crm.transactions.")?;
    say(paint.dim("The processor joins its consumer group; Kafka takes three seconds for that …"))?;
    stage.ready().await?;
    let mut show = Show::begin(stage, paint);
    scenes::play(&mut show).await?;
    let kept = show.end().await?;
    if once || !kept {
        return Ok(kept);
    }
    say(format!("\nCalm traffic goes on: watch it at http://{}/metrics. Ctrl-C ends it.", stage.admin))?;
    traffic::go_on(&stage.crm).await?;
    Ok(true)
}
