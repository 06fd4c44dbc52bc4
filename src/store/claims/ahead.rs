//! Reading ahead: what a queued command names is read into the cache before its turn, which then takes one write and no
//! read. Whoever reads something for the cache is known to the others, so that nothing is read twice meanwhile.
//!
//! Nothing is concluded from what is read ahead but what is concluded from the cache, and it may be dropped at any await.

use super::{Claims, Submission, Target};
use crate::domain::command::Command;
use crate::store::ConditionalStore;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The targets that are being read into the cache: as many as commands are being decided or read ahead, at most.
#[derive(Default)]
pub(super) struct Reads {
    /// Each with a channel that is closed when the read is over.
    under_way: Mutex<HashMap<Target, watch::Receiver<()>>>,
}

/// A target that is being read, until this is dropped.
pub(super) struct Reading<'a> {
    reads: &'a Reads,
    target: Target,
    _over: watch::Sender<()>,
}

impl Reads {
    /// None: somebody else is reading it.
    pub fn begin(&self, target: &Target) -> Option<Reading<'_>> {
        self.begin_or_else(target).ok()
    }

    /// None: somebody else was reading it, until now.
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

impl<S: ConditionalStore> Claims<S> {
    /// Whether [`Claims::read_ahead`] would read anything for the command.
    pub fn can_read_ahead(&self, command: &Command) -> bool {
        !self.cache.is_off() && !self.cache.has(&Target::of(command))
    }

    /// Reads what the command names into the cache, with plain reads, unless it is there or somebody is at it. A command that
    /// has an outcome already leaves nothing there: its turn finds the outcome with plain reads, too, and saves its write.
    pub async fn read_ahead(&self, submission: &Submission) {
        let target = Target::of(&submission.command);
        let Some(_reading) = self.reads.begin(&target) else { return };
        if !self.can_read_ahead(&submission.command) {
            return;
        }
        // If it fails, its turn will find out by itself, and has more to say about it.
        if let Ok(Some(_)) = self.glance(&target, &[submission.command.request_id.as_str()]).await {
            self.meter.read_ahead();
        }
    }
}
