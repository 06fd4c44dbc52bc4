//! Measures whether the process makes progress: pure, with `now` as an argument.
//!
//! A loop that still turns proves little: everything that it waits for may hang. So progress is measured by the answers: while there are
//! records to be answered, some must be answered. The time in which none was is a *stall*. It may have a reason that a restart would keep:
//! the store, Kafka or the registry is away. Each sign of such a reason, a failed attempt for instance, *explains* the stall at that
//! moment. A restart is for a stall that nothing has explained for long.

use std::time::{Duration, Instant};

/// The last signs of work, of an answer, and of a reason for a stall.
#[derive(Debug, Default)]
pub struct Progress {
    /// Since when there has been something to answer.
    working: Option<Instant>,
    /// When a record was answered last.
    answered: Option<Instant>,
    /// When a reason for a stall was seen last.
    explained: Option<Instant>,
}

impl Progress {
    /// Takes note whether there are records to be answered.
    pub fn working(&mut self, is_working: bool, now: Instant) {
        self.working = if is_working { self.working.or(Some(now)) } else { None };
    }

    /// Takes note that records were answered.
    pub fn answered(&mut self, now: Instant) {
        self.answered = Some(now);
    }

    /// Takes note of a reason why no record is answered.
    pub fn explained(&mut self, now: Instant) {
        self.explained = Some(now);
    }

    /// Returns for how long there were records to answer and none was answered; zero if there is nothing to answer.
    pub fn stalled(&self, now: Instant) -> Duration {
        self.begin().map_or(Duration::ZERO, |begin| now.saturating_duration_since(begin))
    }

    /// Returns how long the stall has lasted since a reason for it was last seen; zero if there is no stall.
    pub fn unexplained(&self, now: Instant) -> Duration {
        let since = self.begin().map(|begin| self.explained.map_or(begin, |explained| begin.max(explained)));
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    fn begin(&self) -> Option<Instant> {
        let working = self.working?;
        Some(self.answered.map_or(working, |answered| working.max(answered)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_lasts_from_the_last_answer_while_there_is_something_to_answer() {
        enum Event {
            Work,
            Rest,
            Answer,
            Reason,
        }
        type Events = &'static [(u64, Event)];
        use Event::{Answer, Reason, Rest, Work};
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        // Events, each with its second; then at second 100 the stall, and how much of it is unexplained.
        let cases: [(Events, u64, u64); 8] = [
            (&[], 0, 0),
            (&[(10, Work)], 90, 90),
            (&[(10, Work), (60, Work)], 90, 90),
            (&[(10, Work), (70, Answer)], 30, 30),
            (&[(10, Work), (70, Answer), (80, Rest)], 0, 0),
            (&[(10, Answer), (50, Work)], 50, 50),
            (&[(10, Work), (95, Reason)], 90, 5),
            (&[(5, Reason), (10, Work)], 90, 90),
        ];
        for (n, (events, stalled, unexplained)) in cases.into_iter().enumerate() {
            let mut progress = Progress::default();
            for (second, event) in events {
                match event {
                    Work => progress.working(true, at(*second)),
                    Rest => progress.working(false, at(*second)),
                    Answer => progress.answered(at(*second)),
                    Reason => progress.explained(at(*second)),
                }
            }
            let got = (progress.stalled(at(100)).as_secs(), progress.unexplained(at(100)).as_secs());
            assert_eq!(got, (stalled, unexplained), "case {n}");
        }
    }
}
