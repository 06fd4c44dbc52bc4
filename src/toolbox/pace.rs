//! The pace of a tool that goes through many entities: at most so many a second, and a bar that shows people how far it has come.

use crate::store::scan::Position;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::{Duration, Instant};

/// Keeps a tool to a rate from its start on.
pub struct Throttle {
    start: Instant,
    /// The most entities in a second.
    rate: u32,
}

impl Throttle {
    /// Begins to count the time.
    pub fn start(rate: u32) -> Self {
        Self { start: Instant::now(), rate }
    }

    /// Waits until more than `done` entities may be done.
    pub async fn wait(&self, done: u64) {
        #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact to the nanosecond")]
        let due = self.start + Duration::from_secs_f64(done as f64 / f64::from(self.rate));
        tokio::time::sleep_until(due.into()).await;
    }

    /// Returns what [`measured`] says of the time since the start.
    pub fn measured(&self, done: u64) -> (f64, f64) {
        measured(self.start, done)
    }
}

/// Returns for how many seconds a tool has been running that began at `start`, and how many entities it has done in a second.
pub fn measured(start: Instant, done: u64) -> (f64, f64) {
    let seconds = start.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "shown without decimals")]
    let rate = done as f64 / seconds.max(0.001);
    (seconds, rate)
}

/// A bar on standard error that shows how far a tool has come through the entities of a store.
pub struct Bar(ProgressBar);

impl Bar {
    const LENGTH: u32 = 10_000;

    /// Shows the bar of a tool that begins at a position, or with the first entity.
    pub fn begin(position: Option<Position>, message: String) -> Self {
        let bar = ProgressBar::with_draw_target(Some(Self::LENGTH.into()), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{bar:40} {percent} %  {msg}  {elapsed} (left: {eta})");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let bar = Self(bar);
        bar.advance(position, message);
        bar.0.reset_eta();
        bar
    }

    /// Shows that the tool has come to a position.
    pub fn advance(&self, position: Option<Position>, message: String) {
        let fraction = position.map_or(0.0, Position::fraction);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the length")]
        self.0.set_position((fraction * f64::from(Self::LENGTH)) as u64);
        self.0.set_message(message);
    }

    /// Removes the bar.
    pub fn remove(&self) {
        self.0.finish_and_clear();
    }
}
