//! The log: to standard error, as text for people or as JSON for machines. At info and above it holds no personal data. Its level
//! can be changed for a limited time while the process runs.

use super::otlp::Collector;
use crate::config::{Log, LogFormat};
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::Metadata;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

/// The longest time for which the level may be changed: what is forgotten ends by itself, and below info lie names and ids.
pub const MAX_CHANGE: Duration = Duration::from_secs(60 * 60);
/// The longest filter that is read.
const MAX_FILTER_BYTES: usize = 1024;

/// Starts logging, once for the process. The variable `RUST_LOG` goes over the configured level.
///
/// # Errors
/// Logging was started before, or the level can't be read (a checked configuration's can).
pub fn start(log: &Log) -> Result<LogLevel, String> {
    start_with(log, None)
}

/// The same; if there is a collector, it gets the spans.
///
/// # Errors
/// As above.
pub fn start_with(log: &Log, collector: Option<&Collector>) -> Result<LogLevel, String> {
    let (source, directives) = match std::env::var("RUST_LOG") {
        Ok(directives) if !directives.is_empty() => ("RUST_LOG", directives),
        _ => ("log.level", log.level.clone()),
    };
    let (filter, level) = LogLevel::new(directives).map_err(|e| format!("{source}: {e}"))?;
    // Spans show when they end, if they show at all.
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_span_events(FmtSpan::CLOSE);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match log.format {
        LogFormat::Text => Box::new(lines.with_ansi(std::io::stderr().is_terminal()).with_target(false)),
        LogFormat::Json => Box::new(lines.json().flatten_event(true)),
    };
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(filter.and(filter_fn(is_no_quotation))));
    let started = match collector {
        Some(collector) => tracing::subscriber::set_global_default(subscriber.with(collector.layer())),
        None => tracing::subscriber::set_global_default(subscriber),
    };
    started.map(|()| level).map_err(|_| "logging was started before".into())
}

/// False for the database's own warnings, which the driver passes on: they quote statements with the keys in them. They are in
/// the database's log, too.
fn is_no_quotation(metadata: &Metadata<'_>) -> bool {
    !(metadata.target().starts_with("scylla") && metadata.fields().field("warning").is_some())
}

/// What is logged: a level, or a list of directives, as `RUST_LOG` has them.
#[derive(Clone, Debug)]
pub struct LogLevel(Arc<Changeable>);

#[derive(Debug)]
struct Changeable {
    configured: String,
    filter: reload::Handle<EnvFilter, Registry>,
    change: Mutex<Option<Change>>,
}

/// A change for a time.
#[derive(Debug)]
struct Change {
    directives: String,
    until: Instant,
    /// Ends it.
    timer: AbortHandle,
}

/// What is logged now, and what was configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// What is logged now.
    pub filter: String,
    /// What will be logged again when the time is over.
    pub configured: String,
    /// How long the change lasts yet; None: there is none.
    pub left: Option<Duration>,
}

/// Why the level stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidChange {
    /// It can't be read.
    #[error("{directives:?} is no level and no list of directives: {reason}")]
    Filter {
        /// What was asked for.
        directives: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Too long to be meant.
    #[error("a filter may have {MAX_FILTER_BYTES} bytes at most")]
    TooLong,
    /// No time, or too much of it.
    #[error("a change lasts between 1s and {}", humantime::format_duration(MAX_CHANGE))]
    Duration,
}

impl LogLevel {
    /// A filter that can be changed, and what changes it.
    pub(super) fn new(configured: String) -> Result<(reload::Layer<EnvFilter, Registry>, Self), InvalidChange> {
        let (filter, handle) = reload::Layer::new(parse(&configured)?);
        Ok((filter, Self(Arc::new(Changeable { configured, filter: handle, change: Mutex::new(None) }))))
    }

    /// Logs by these directives for a time, then as configured again. Another change takes the place of an earlier one.
    ///
    /// # Errors
    /// They can't be read, or the time is too long.
    pub fn change(&self, directives: &str, lasting: Duration) -> Result<(), InvalidChange> {
        if !(Duration::from_secs(1)..=MAX_CHANGE).contains(&lasting) {
            return Err(InvalidChange::Duration);
        }
        let filter = parse(directives)?;
        let lasts = humantime::format_duration(lasting);
        // Before it, so that the line is there whatever comes.
        tracing::warn!(filter = directives, configured = self.0.configured, %lasts, "the log level is changed for a time");
        let mut change = self.0.change.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(earlier) = change.take() {
            earlier.timer.abort();
        }
        self.apply(filter);
        let until = Instant::now() + lasting;
        let this = self.clone();
        let timer = tokio::spawn(async move {
            tokio::time::sleep_until(until).await;
            this.revert();
        });
        *change = Some(Change { directives: directives.into(), until, timer: timer.abort_handle() });
        Ok(())
    }

    /// Logs as configured again.
    pub fn revert(&self) {
        let mut change = self.0.change.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Change { timer, .. }) = change.take() else { return };
        self.apply(parse(&self.0.configured).expect("it was in force before"));
        tracing::warn!(filter = self.0.configured, "the log level is as configured again");
        timer.abort();
    }

    /// What is logged now.
    pub fn show(&self) -> Shown {
        let change = self.0.change.lock().unwrap_or_else(PoisonError::into_inner);
        let configured = self.0.configured.clone();
        match &*change {
            Some(Change { directives, until, .. }) => {
                Shown { filter: directives.clone(), configured, left: Some(until.saturating_duration_since(Instant::now())) }
            }
            None => Shown { filter: configured.clone(), configured, left: None },
        }
    }

    fn apply(&self, filter: EnvFilter) {
        // An error means that logging has come to its end, with the process.
        let _ = self.0.filter.reload(filter);
    }
}

fn parse(directives: &str) -> Result<EnvFilter, InvalidChange> {
    if directives.len() > MAX_FILTER_BYTES {
        return Err(InvalidChange::TooLong);
    }
    let filter = if directives.trim().is_empty() { Err("it is empty".into()) } else { Ok(directives) };
    filter
        .and_then(|directives| EnvFilter::try_new(directives).map_err(|e| e.to_string()))
        .map_err(|reason| InvalidChange::Filter { directives: directives.into(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_later_change_takes_the_place_of_an_earlier_one_until_it_is_taken_back() {
        let (_filter, level) = LogLevel::new("info".into()).unwrap();
        let unchanged = Shown { filter: "info".into(), configured: "info".into(), left: None };
        assert_eq!(level.show(), unchanged);
        for (directives, lasting) in [("debug", MAX_CHANGE), ("info,crm_processor::kafka=trace", Duration::from_secs(60))] {
            level.change(directives, lasting).unwrap();
            let Shown { filter, configured, left } = level.show();
            assert_eq!((&*filter, &*configured), (directives, "info"));
            assert!(left.is_some_and(|left| left <= lasting), "{left:?}");
        }
        level.revert();
        assert_eq!(level.show(), unchanged);
    }

    #[tokio::test]
    async fn what_cannot_be_meant_changes_nothing() {
        let (_filter, level) = LogLevel::new("info".into()).unwrap();
        let minute = Duration::from_secs(60);
        for directives in ["", " ", "crm=loud", "info,=,"] {
            let refused = level.change(directives, minute);
            assert!(matches!(refused, Err(InvalidChange::Filter { .. })), "{directives:?}: {refused:?}");
        }
        assert_eq!(level.change(&"a=info,".repeat(1000), minute), Err(InvalidChange::TooLong));
        for lasting in [Duration::ZERO, MAX_CHANGE + Duration::from_millis(1)] {
            assert_eq!(level.change("debug", lasting), Err(InvalidChange::Duration));
        }
        assert_eq!(level.show().left, None);
    }
}
