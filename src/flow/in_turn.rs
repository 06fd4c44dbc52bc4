//! Two producers in turn, each with a transactional id of its own.
//!
//! A transaction that begins while the coordinator still writes the markers of the last one is turned away, and librdkafka tries again
//! 20 ms later. Therefore a publisher has two producers and uses them in turn. So the markers of a transaction may be written while the
//! next one goes on.
//!
//! **Invariants**: at most one transaction of a publisher is undecided. A producer's turn comes when the attempt of the other producer is
//! over, so the other's commit or abort has returned by then. Before a publisher does anything else, it registers both producers: its
//! predecessor may have left either of them with an open transaction.

/// The producers of a publisher. One of them has its turn, and is the one that is used. `P` is a producer.
#[derive(Debug)]
pub struct InTurn<P> {
    producers: [P; 2],
    turn: usize,
}

impl<P> InTurn<P> {
    /// Gives the turn to the first producer.
    pub fn new(producers: [P; 2]) -> Self {
        Self { producers, turn: 0 }
    }

    /// Returns the producer that has its turn.
    pub fn present(&self) -> &P {
        &self.producers[self.turn]
    }

    /// Returns the number of the producer that has its turn: 0 or 1.
    pub fn turn(&self) -> usize {
        self.turn
    }

    /// Puts another producer in the place of the one that has its turn, and returns the latter.
    pub fn replace(&mut self, producer: P) -> P {
        std::mem::replace(&mut self.producers[self.turn], producer)
    }

    /// Gives the turn to the other producer.
    pub fn give_turn(&mut self) {
        self.turn = 1 - self.turn;
    }

    /// Returns both producers.
    pub fn into_inner(self) -> [P; 2] {
        self.producers
    }
}

#[cfg(test)]
mod tests {
    use super::InTurn;

    #[test]
    fn producers_take_turns_and_the_one_that_is_replaced_is_the_present_one() {
        let mut producers = InTurn::new(["a", "b"]);
        assert_eq!((*producers.present(), producers.turn()), ("a", 0));
        producers.give_turn();
        assert_eq!((*producers.present(), producers.turn()), ("b", 1));
        assert_eq!(producers.replace("b anew"), "b");
        assert_eq!(*producers.present(), "b anew");
        producers.give_turn();
        assert_eq!(*producers.present(), "a");
        assert_eq!(producers.into_inner(), ["a", "b anew"]);
    }
}
