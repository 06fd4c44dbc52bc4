//! Polls futures by hand, for simulations: to their end, or until their process dies.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Returns the result of `work`, whose parts must always be ready to go on.
pub fn complete<T>(work: impl Future<Output = T>) -> T {
    polls(work, u64::MAX).expect("there is no end to so many polls")
}

/// Returns the result of `work`, or `None` if its process dies before: after `most` polls, at whatever await it has reached.
pub fn polls<T>(work: impl Future<Output = T>, most: u64) -> Option<T> {
    let mut work = pin!(work);
    for _ in 0..most {
        if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return Some(done);
        }
    }
    None
}

/// Returns the result of `work`, or `None` if `work` is dropped before: at the await that comes after `after` others.
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
