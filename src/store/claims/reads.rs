//! The reads into the cache that are under way, so that nothing is read twice at once.

use super::data::Target;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The targets that are being read into the cache. There are at most as many as commands that are being decided or read ahead.
#[derive(Default)]
pub(super) struct Reads {
    /// The targets, each with a channel that is closed when the read is over.
    under_way: Mutex<HashMap<Target, watch::Receiver<()>>>,
}

/// A target that is being read, until this is dropped.
pub(super) struct Reading<'a> {
    reads: &'a Reads,
    target: Target,
    _over: watch::Sender<()>,
}

impl Reads {
    /// Begins to read a target. Returns `None` if somebody else is reading it.
    pub fn begin(&self, target: &Target) -> Option<Reading<'_>> {
        self.begin_or_else(target).ok()
    }

    /// Begins to read a target. If somebody else is reading it, waits for the end of that read and returns `None`.
    pub async fn begin_or_wait(&self, target: &Target) -> Option<Reading<'_>> {
        match self.begin_or_else(target) {
            Ok(reading) => Some(reading),
            Err(mut under_way) => {
                // Nothing is ever sent: the end of the channel is the end of the wait.
                let _ = under_way.changed().await;
                None
            }
        }
    }

    fn begin_or_else(&self, target: &Target) -> Result<Reading<'_>, watch::Receiver<()>> {
        let mut under_way = self.under_way();
        if let Some(theirs) = under_way.get(target) {
            return Err(theirs.clone());
        }
        let (over, receiver) = watch::channel(());
        under_way.insert(target.clone(), receiver);
        Ok(Reading { reads: self, target: target.clone(), _over: over })
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<Target, watch::Receiver<()>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.reads.under_way().remove(&self.target);
    }
}
