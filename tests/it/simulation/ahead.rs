//! Reads ahead as `store::read_ahead` does: a few readers side by side read the entities that waiting commands name into the
//! cache.

use super::weakened::Weakened;
use crm_processor::store::claims::{Claims, Submission};
use crm_processor::store::read_ahead::Bounds;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// See the module.
pub struct ReadAhead {
    claims: Arc<Claims<Weakened>>,
    bounds: Bounds,
    waiting: VecDeque<Submission>,
    readers: Vec<Pin<Box<dyn Future<Output = bool>>>>,
}

impl ReadAhead {
    pub fn new(claims: Arc<Claims<Weakened>>, bounds: Bounds) -> Self {
        Self { claims, bounds, waiting: VecDeque::new(), readers: Vec::new() }
    }

    /// Takes commands, of which some wait for their turn.
    pub fn take(&mut self, commands: Vec<Submission>) {
        self.waiting.extend(commands.into_iter().filter(|s| self.claims.can_read_ahead(s)));
        let excess = self.waiting.len().saturating_sub(self.bounds.waiting);
        self.waiting.drain(..excess);
        while self.readers.len() < self.bounds.readers
            && let Some(next) = self.waiting.pop_front()
        {
            let claims = Arc::clone(&self.claims);
            self.readers.push(Box::pin(async move {
                let worth = claims.can_read_ahead(&next);
                claims.read_ahead(&next).await;
                worth && !claims.can_read_ahead(&next)
            }));
        }
    }

    /// Returns how many readers are reading.
    pub fn readers(&self) -> usize {
        self.readers.len()
    }

    /// Lets a reader go on to its next await. Returns `true` if it has read something.
    pub fn work(&mut self, which: usize) -> bool {
        let polled = self.readers[which].as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(read) = polled {
            drop(self.readers.swap_remove(which));
            self.take(Vec::new());
            return read;
        }
        false
    }

    /// Forgets all work, because the partitions belong to another process.
    pub fn clear(&mut self) {
        self.waiting.clear();
    }
}
