//! The log: to standard error, as text for people or as JSON for machines. At info and above it holds no personal data.

use crate::config::{Log, LogFormat};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::SubscriberBuilder;

/// Starts logging, once for the process. The variable `RUST_LOG` goes over the configured level.
///
/// # Errors
/// Logging was started before, or the level can't be read (a checked configuration's can).
pub fn start(log: &Log) -> Result<(), String> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(directives) if !directives.is_empty() => {
            EnvFilter::try_new(&directives).map_err(|e| format!("RUST_LOG = {directives:?}: {e}"))?
        }
        _ => EnvFilter::try_new(&log.level).map_err(|e| format!("log.level = {:?}: {e}", log.level))?,
    };
    let builder = SubscriberBuilder::default().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Text => {
            let builder = builder.with_ansi(std::io::stderr().is_terminal()).with_target(false);
            tracing::subscriber::set_global_default(builder.finish())
        }
        LogFormat::Json => tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish()),
    };
    started.map_err(|_| "logging was started before".into())
}
