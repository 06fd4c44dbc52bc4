//! Reading ahead: while commands wait in their lanes, what they name is read into the cache, by a few readers side by side.
//! When their turn comes it takes one write. All of it may fail or be forgotten: then the turn reads for itself.

use super::ConditionalStore;
use super::claims::{Claims, Submission};
use futures::FutureExt;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Readers for each command that may be in flight. Behind an external id there are two reads, one after the other, in the
/// time of about one write: so that they keep up with the writes.
const READERS: usize = 2;

/// See the module.
pub struct ReadAhead<S> {
    shared: Arc<Shared<S>>,
}

/// How much is read ahead.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Targets that are being read at once.
    pub readers: usize,
    /// Commands that wait to be read ahead; beyond, the oldest are forgotten: they have had their turn.
    pub waiting: usize,
}

impl Bounds {
    /// For so many commands in flight and in lanes.
    pub fn new(max_in_flight: usize, max_queued: usize) -> Self {
        Self { readers: max_in_flight.saturating_mul(READERS), waiting: max_queued }
    }
}

struct Shared<S> {
    claims: Arc<Claims<S>>,
    bounds: Bounds,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Arc<Submission>>,
    /// Each ends when nothing waits.
    readers: usize,
}

impl<S: ConditionalStore> ReadAhead<S> {
    /// Into the cache of `claims`.
    pub fn new(claims: Arc<Claims<S>>, bounds: Bounds) -> Self {
        Self { shared: Arc::new(Shared { claims, bounds, queue: Mutex::default() }) }
    }

    /// Some of these commands wait for their turn.
    pub fn take(&self, commands: Vec<Arc<Submission>>) {
        let Shared { claims, bounds, .. } = &*self.shared;
        let mut unknown = commands.into_iter().filter(|s| claims.can_read_ahead(s)).peekable();
        if unknown.peek().is_none() {
            return;
        }
        let mut queue = self.shared.queue();
        queue.waiting.extend(unknown);
        let excess = queue.waiting.len().saturating_sub(bounds.waiting);
        queue.waiting.drain(..excess);
        let more = queue.waiting.len().min(bounds.readers.saturating_sub(queue.readers));
        queue.readers += more;
        drop(queue);
        for _ in 0..more {
            tokio::spawn(read(self.shared.clone()));
        }
    }

    /// The partitions are somebody else's.
    pub fn clear(&self) {
        self.shared.queue().waiting.clear();
    }
}

impl<S> Shared<S> {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None: the reader that asks has ended.
    fn next(&self) -> Option<Arc<Submission>> {
        let mut queue = self.queue();
        let next = queue.waiting.pop_front();
        if next.is_none() {
            queue.readers -= 1;
        }
        next
    }
}

async fn read<S: ConditionalStore>(shared: Arc<Shared<S>>) {
    while let Some(submission) = shared.next() {
        // A bug shows when the command's turn comes, too; there it is counted and answered.
        let _ = AssertUnwindSafe(shared.claims.read_ahead(&submission)).catch_unwind().await;
    }
}
