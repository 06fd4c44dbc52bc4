//! Ctrl-C and SIGTERM, for subcommands that go on until somebody has seen enough.

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

/// Resolves with the first of SIGINT and SIGTERM.
///
/// # Errors
/// The system does not let us listen.
pub async fn interrupted() -> anyhow::Result<()> {
    let listen = |kind| signal(kind).context("signals can't be listened to");
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
