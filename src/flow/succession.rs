//! The publishers of a process, one after another, and what each has to publish.
//!
//! A publisher is a thread with two transactional producers of its own. Its calls block, and a client library can't be trusted to
//! end each of them in time. Therefore somebody else watches the calls, and *abandons* a publisher that is past a deadline, with its
//! thread and its producers. A successor takes its place. It registers under the same transactional ids, so that the brokers end the open
//! transaction and refuse whatever the abandoned publisher may still send. Then it asks which offsets are committed: these say
//! what became of the transaction that was under way.
//!
//! **Invariants**: a verdict of an abandoned publisher counts for nothing. A publication is published by one publisher only; its
//! successor only finds out what became of it.

use std::collections::VecDeque;
use std::sync::Arc;

/// The number of a publisher in its process.
pub type PublisherId = u64;

/// The present publisher, what it has to publish, and what waits for it. `P` is a publication: the records of one transaction with their
/// offsets.
#[derive(Debug)]
pub struct Succession<P> {
    present: PublisherId,
    /// The publication that the present publisher has. The publisher holds it, too; it may never give it back.
    under_way: Option<Arc<P>>,
    /// The publications that wait for their turn: at most one for each assignment that there was meanwhile.
    next: VecDeque<P>,
}

/// A publication that is over.
#[derive(Debug)]
pub struct Ended<P> {
    /// The publication.
    pub publication: Arc<P>,
    /// The next one, which the present publisher is to be given now.
    pub next: Option<Arc<P>>,
}

impl<P> Default for Succession<P> {
    fn default() -> Self {
        Self { present: 0, under_way: None, next: VecDeque::new() }
    }
}

impl<P> Succession<P> {
    /// Returns the number of the publisher whose verdicts count.
    pub fn present(&self) -> PublisherId {
        self.present
    }

    /// Returns whether the present publisher has a publication under way.
    pub fn is_busy(&self) -> bool {
        self.under_way.is_some()
    }

    /// Takes a publication. Returns it if the present publisher is to be given it now; otherwise it waits for its turn.
    pub fn publish(&mut self, publication: P) -> Option<Arc<P>> {
        self.next.push_back(publication);
        if self.under_way.is_some() { None } else { self.begin_next() }
    }

    /// Takes note that `publisher` has a verdict on its publication. Returns `None` if that publisher was abandoned: its verdict
    /// counts for nothing.
    pub fn ended(&mut self, publisher: PublisherId) -> Option<Ended<P>> {
        if publisher != self.present {
            return None;
        }
        let publication = self.under_way.take()?;
        Some(Ended { publication, next: self.begin_next() })
    }

    /// Abandons the present publisher. Returns the publication that it had under way, if it had one: its successor, whose number
    /// [`Succession::present`] returns from now on, begins by finding out what became of it.
    pub fn abandon(&mut self) -> Option<Arc<P>> {
        self.present += 1;
        self.under_way.clone()
    }

    fn begin_next(&mut self) -> Option<Arc<P>> {
        self.under_way = self.next.pop_front().map(Arc::new);
        self.under_way.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publications_are_given_one_after_another() {
        let mut succession = Succession::default();
        assert_eq!(succession.publish("first").as_deref(), Some(&"first"));
        assert_eq!(succession.publish("second"), None);
        assert!(succession.is_busy());
        let ended = succession.ended(0).expect("the present publisher's verdict counts");
        assert_eq!((*ended.publication, ended.next.as_deref()), ("first", Some(&"second")));
        let ended = succession.ended(0).expect("the present publisher's verdict counts");
        assert_eq!((*ended.publication, ended.next), ("second", None));
        assert!(succession.ended(0).is_none() && !succession.is_busy());
    }

    #[test]
    fn a_verdict_of_an_abandoned_publisher_counts_for_nothing() {
        let mut succession = Succession::default();
        succession.publish("first");
        assert_eq!(succession.publish("second"), None);
        assert_eq!(succession.abandon().as_deref(), Some(&"first"), "the successor finds out what became of it");
        assert!(succession.ended(0).is_none());
        let ended = succession.ended(succession.present()).expect("the successor's verdict counts");
        assert_eq!((*ended.publication, ended.next.as_deref()), ("first", Some(&"second")));
    }

    #[test]
    fn a_publisher_that_is_abandoned_while_it_has_nothing_leaves_nothing() {
        let mut succession = Succession::<&str>::default();
        assert_eq!(succession.abandon(), None);
        assert_eq!(succession.publish("first").as_deref(), Some(&"first"));
        assert!(succession.ended(0).is_none());
        assert!(succession.ended(1).is_some());
    }
}
