//! Reading ahead. While commands wait in their lanes, a bounded number of readers read the entities that they name into the cache, so
//! that a command's turn takes one write and no read. Reading ahead may fail, or be forgotten: then the command reads in its turn.

use super::ConditionalStore;
use super::claims::{Claims, Submission};
use futures::FutureExt;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The number of readers for each command that may be in flight. An external id takes two reads, one after the other, in about the time
/// of one write. With two readers they keep up with the writes.
const READERS: usize = 2;

/// The readers and the queue of commands that they read for.
pub struct ReadAhead<S> {
    shared: Arc<SharedByReaders<S>>,
}

/// The bounds of reading ahead.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The most commands for which entities are read at once.
    pub readers: usize,
    /// The most commands that wait for a reader. If there are more, the oldest are forgotten, because their turn has come by then.
    pub waiting: usize,
}

impl Bounds {
    /// Returns the bounds for the most commands that may be in flight and in lanes.
    pub fn new(max_in_flight: usize, max_queued: usize) -> Self {
        Self { readers: max_in_flight.saturating_mul(READERS), waiting: max_queued }
    }
}

struct SharedByReaders<S> {
    claims: Arc<Claims<S>>,
    bounds: Bounds,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Arc<Submission>>,
    /// The number of readers that run. A reader ends when nothing waits.
    readers: usize,
}

impl<S: ConditionalStore> ReadAhead<S> {
    /// Makes readers that read into the cache of `claims`. None runs yet.
    pub fn new(claims: Arc<Claims<S>>, bounds: Bounds) -> Self {
        Self { shared: Arc::new(SharedByReaders { claims, bounds, queue: Mutex::default() }) }
    }

    /// Takes commands that wait for their turn, and reads ahead for those that need it.
    pub fn take(&self, commands: Vec<Arc<Submission>>) {
        let SharedByReaders { claims, bounds, .. } = &*self.shared;
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

    /// Forgets all waiting commands, because their partitions were revoked.
    pub fn clear(&self) {
        self.shared.queue().waiting.clear();
    }
}

impl<S> SharedByReaders<S> {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the next command. Returns `None` if none waits; then the reader that asks must end, and is no longer counted.
    fn next(&self) -> Option<Arc<Submission>> {
        let mut queue = self.queue();
        let next = queue.waiting.pop_front();
        if next.is_none() {
            queue.readers -= 1;
        }
        next
    }
}

async fn read<S: ConditionalStore>(shared: Arc<SharedByReaders<S>>) {
    while let Some(submission) = shared.next() {
        // A panic is ignored here: the same bug shows when the command's turn comes, and is counted and answered there.
        let _ = AssertUnwindSafe(shared.claims.read_ahead(&submission)).catch_unwind().await;
    }
}
