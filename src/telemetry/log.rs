//! The log, which goes to standard error, as text for people or as JSON for machines. At level info and above it holds no personal data.
//! Its level can be changed for a limited time while the process runs.

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

/// The longest time for which the level may be changed. Below info the log holds names and ids, so a change that somebody forgets must
/// end by itself.
pub const MAX_CHANGE: Duration = Duration::from_secs(60 * 60);
/// The longest filter that is read, in bytes.
const MAX_FILTER_BYTES: usize = 1024;

/// Starts logging, once for the process. The variable `RUST_LOG` overrides the configured level.
///
/// # Errors
/// Logging was started before, or the level can't be read. (That of a checked configuration can.)
pub fn start(log: &Log) -> Result<LogLevel, String> {
    start_with(log, None)
}

/// Starts logging like [`start`], and also sends the spans to a collector, if there is one.
///
/// # Errors
/// Those of [`start`].
pub fn start_with(log: &Log, collector: Option<&Collector>) -> Result<LogLevel, String> {
    let (source, directives) = match std::env::var("RUST_LOG") {
        Ok(directives) if !directives.is_empty() => ("RUST_LOG", directives),
        _ => ("log.level", log.level.clone()),
    };
    let (filter, level) = LogLevel::new(directives).map_err(|e| format!("{source}: {e}"))?;
    // The log shows a span when it ends, if the level lets it show at all.
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

/// Returns false for the database's own warnings, which the driver passes on. They quote statements with keys in them, and are in the
/// database's log, too.
fn is_no_quotation(metadata: &Metadata<'_>) -> bool {
    !(metadata.target().starts_with("scylla") && metadata.fields().field("warning").is_some())
}

/// The level of the log, which can be changed: a level, or a list of directives in the syntax of `RUST_LOG`.
#[derive(Clone, Debug)]
pub struct LogLevel(Arc<Changeable>);

#[derive(Debug)]
struct Changeable {
    configured: String,
    filter: reload::Handle<EnvFilter, Registry>,
    change: Mutex<Option<TemporaryLevel>>,
}

/// A change of the level for a limited time.
#[derive(Debug)]
struct TemporaryLevel {
    directives: String,
    until: Instant,
    /// The task that ends the change.
    timer: AbortHandle,
}

/// The present filter of the log, and the configured one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The filter that is in force now.
    pub filter: String,
    /// The configured filter, which is in force again when the change is over.
    pub configured: String,
    /// The time that is left of a change; `None` if the configured filter is in force.
    pub left: Option<Duration>,
}

/// The reason why the level was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidChange {
    /// The filter can't be read.
    #[error("{directives:?} is neither a level nor a list of directives: {reason}")]
    Filter {
        /// The filter that was asked for.
        directives: String,
        /// What is wrong with the filter.
        reason: String,
    },
    /// The filter is longer than anybody can have meant.
    #[error("a filter may have {MAX_FILTER_BYTES} bytes at most")]
    TooLong,
    /// The change would last too short or too long a time.
    #[error("a change lasts between 1s and {}", humantime::format_duration(MAX_CHANGE))]
    Duration,
}

impl LogLevel {
    /// Makes a filter that can be changed, and the handle that changes it.
    pub(super) fn new(configured: String) -> Result<(reload::Layer<EnvFilter, Registry>, Self), InvalidChange> {
        let (filter, handle) = reload::Layer::new(parse(&configured)?);
        Ok((filter, Self(Arc::new(Changeable { configured, filter: handle, change: Mutex::new(None) }))))
    }

    /// Logs by these directives for the time `lasting`, and then as configured again. Replaces an earlier change.
    ///
    /// # Errors
    /// The directives can't be read, or the time is shorter than 1 s or longer than [`MAX_CHANGE`].
    pub fn change(&self, directives: &str, lasting: Duration) -> Result<(), InvalidChange> {
        if !(Duration::from_secs(1)..=MAX_CHANGE).contains(&lasting) {
            return Err(InvalidChange::Duration);
        }
        let filter = parse(directives)?;
        let lasts = humantime::format_duration(lasting);
        // Logged before the change, so that the line is written even if the new filter would leave it out.
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
        *change = Some(TemporaryLevel { directives: directives.into(), until, timer: timer.abort_handle() });
        Ok(())
    }

    /// Ends a change, so that the configured filter is in force again.
    pub fn revert(&self) {
        let mut change = self.0.change.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(TemporaryLevel { timer, .. }) = change.take() else { return };
        self.apply(parse(&self.0.configured).expect("it was in force before"));
        tracing::warn!(filter = self.0.configured, "the log level is as configured again");
        timer.abort();
    }

    /// Returns the filter that is in force now, and the configured one.
    pub fn show(&self) -> Shown {
        let change = self.0.change.lock().unwrap_or_else(PoisonError::into_inner);
        let configured = self.0.configured.clone();
        match &*change {
            Some(TemporaryLevel { directives, until, .. }) => {
                Shown { filter: directives.clone(), configured, left: Some(until.saturating_duration_since(Instant::now())) }
            }
            None => Shown { filter: configured.clone(), configured, left: None },
        }
    }

    fn apply(&self, filter: EnvFilter) {
        // An error means that logging has ended, because the process ends.
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
