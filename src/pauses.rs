//! The pauses between attempts at something that fails: each is twice as long as the one before, up to a bound.

use std::time::Duration;

/// The pauses of one series of attempts.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    next: Duration,
    longest: Duration,
}

impl Pauses {
    /// The pauses between attempts to reach a server that is away, of which nothing more is known.
    pub const WHILE_AWAY: Self = Self::new(Duration::from_millis(200), Duration::from_secs(5));

    /// Creates pauses of which the first is `first`, and none is longer than `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { next: first, longest }
    }

    /// Returns how long to wait before the next attempt.
    pub fn next_pause(&mut self) -> Duration {
        let pause = self.next.min(self.longest);
        self.next = pause * 2;
        pause
    }

    /// Waits until it is time for the next attempt.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.next_pause()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_bound() {
        let mut pauses = Pauses::WHILE_AWAY;
        let got: Vec<_> = (0..40).map(|_| pauses.next_pause().as_millis()).collect();
        assert_eq!(got[..7], [200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(got[39], 5_000);
    }
}
