//! The demo: everything in one process, with nothing installed. A story in a few scenes shows the kinds of answers that a CRM can get. Each
//! answer is compared with what the scene promises, and the demo fails if they differ.

mod cast;
mod commands;
mod gateway;
mod life;
mod promise;
mod scenes;
mod show;
mod stage;
mod traffic;

use crate::config::{Log, LogFormat};
use crate::telemetry::log;
use crate::toolbox::interrupt::interrupted;
use crate::toolbox::paint::{Paint, say};
use cast::Cast;
use show::Show;
use stage::Stage;

/// Plays the show, with the metrics on 127.0.0.1. Afterwards, unless the show is to be played only `once`, calm traffic goes on until
/// somebody interrupts it. Returns whether all promises were kept.
pub async fn run(metrics_port: u16, once: bool) -> anyhow::Result<bool> {
    let level = log::start(&Log { format: LogFormat::Text, level: "error".into() }).map_err(anyhow::Error::msg)?;
    let paint = Paint::for_stdout();
    say(paint.bold("crm-processor: commands in, answers and Business Transactions out, each change exactly once"))?;
    let mut stage = Stage::build(metrics_port, level).await?;
    let played = tokio::select! {
        played = play(&mut stage, paint, once) => played,
        interrupted = interrupted() => interrupted.map(|()| true),
    };
    let closed = stage.close().await;
    let kept = played?;
    closed?;
    if !kept {
        say("")?;
        say(paint.red("Not all answers were as promised: see the lines with ✗."))?;
    }
    Ok(kept)
}

/// Plays the show, and what comes after it. Returns whether all promises were kept.
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
    say("Send a command yourself, over HTTP:")?;
    say(format!("  {}", stage.gateway.curl("c-ann")))?;
    say(format!("Or look around in a browser: http://{}/", stage.gateway.address))?;
    traffic::go_on(&stage.crm).await?;
    Ok(true)
}
