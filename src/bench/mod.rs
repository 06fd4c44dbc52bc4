//! Measures how fast the processor is and, in the same run, what the store and Kafka can do by themselves.
//!
//! The processor is a process of its own. A backlog is written while the processor stands still (SIGSTOP), ready and with its partitions:
//! starting, joining the group and writing the commands are not measured. The clock runs from when the processor goes on to the last
//! reply. With a rate, each command has a time when it is due, and its latency counts from then.

mod alone;
mod bars;
mod cases;
mod ceiling;
mod copy_loop;
mod course;
mod database;
mod fleet;
mod http;
mod http_clients;
mod latency;
mod load;
mod measure;
mod measured;
mod options;
mod part;
mod place;
mod plain;
mod process;
mod round;
mod samples;
mod slow_store;
mod steps;
mod table;
mod workbench;
mod writes;

pub use options::Options;
pub use part::measure_part;

use crate::config::{Log, LogFormat};
use crate::telemetry::log;
use crate::toolbox::interrupt::interrupted;
use crate::toolbox::output::remark;
use crate::toolbox::{FAILED, WRONG_CONFIGURATION};
use place::Place;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use workbench::Bench;

/// Measures what the options say and prints it. If `only_ceiling`, measures the store and Kafka alone.
pub async fn run(options: Options, only_ceiling: bool) -> anyhow::Result<ExitCode> {
    log::start(&Log { format: LogFormat::Text, level: "error".into() }).map_err(anyhow::Error::msg)?;
    if options.embedded && options.instances > 1 {
        remark("crm-processor: the embedded store is for one process: --instances must be 1 with --embedded");
        return Ok(ExitCode::from(WRONG_CONFIGURATION));
    }
    let place = Place::open(options.wish()).await?;
    let json = options.json || !std::io::stdout().is_terminal();
    let mut bench = Bench::new(place, options, json);
    let measured = tokio::select! {
        measured = course::run(&mut bench, only_ceiling) => measured.map(|()| ExitCode::SUCCESS),
        interrupted = interrupted() => interrupted.map(|()| {
            remark("crm-processor: interrupted, removing what was made");
            ExitCode::from(FAILED)
        }),
    };
    let closed = bench.place.close().await;
    if let (Err(_), Err(left)) = (&measured, &closed) {
        // This function returns the other error.
        remark(format_args!("crm-processor: {left:#}"));
    }
    let code = measured?;
    closed?;
    Ok(code)
}
