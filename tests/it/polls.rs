//! Polls futures by hand, for simulations: to their end, or until their process dies.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// What `work` yields; everything in it is always ready to go on.
pub fn complete<T>(work: impl Future<Output = T>) -> T {
    polls(work, u64::MAX).expect("there is no end to so many polls")
}

/// What `work` yields, unless its process dies after so many polls, at whatever await it has come to.
pub fn polls<T>(work: impl Future<Output = T>, most: u64) -> Option<T> {
    let mut work = pin!(work);
    for _ in 0..most {
        if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return Some(done);
        }
    }
    None
}

/// What `work` yields, unless it is dropped first: at the await after so many others.
pub async fn cut_short<T>(work: impl Future<Output = T>, after: u64) -> Option<T> {
    let (mut work, mut left) = (pin!(work), after);
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}
