//! Deciding the commands of a run although a bug may panic: which try follows which. The lane makes the tries.
//!
//! The commands of a run are decided together. If that panics, each is decided alone, which finds the one that panics. That one is given up:
//! it gets its stored outcome, if the bug struck after it was stored, or else a stored 500. All others get their usual outcome.

/// The next try of a run. Numbers count its commands from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Try {
    /// Decide all commands together.
    Together,
    /// Decide this command alone.
    Alone(usize),
    /// Give this command up, however long that takes.
    GiveUp(usize),
    /// All commands have an outcome.
    Over,
}

impl Try {
    /// Returns the try that follows, for a run of so many commands. `is_decided` is false if this try ended in a panic.
    #[must_use]
    pub fn then(self, is_decided: bool, commands: usize) -> Self {
        let alone = |next| if next < commands { Self::Alone(next) } else { Self::Over };
        match self {
            Self::Together if is_decided => Self::Over,
            Self::Together => alone(0),
            Self::Alone(command) if !is_decided => Self::GiveUp(command),
            Self::Alone(command) | Self::GiveUp(command) => alone(command + 1),
            Self::Over => Self::Over,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Try::{self, Alone, GiveUp, Over, Together};

    #[test]
    fn after_a_panic_each_command_is_decided_alone_and_one_that_panics_again_is_given_up() {
        // The commands that panic, of a run of so many, and the tries.
        let cases: [(&[usize], usize, &[Try]); 5] = [
            (&[], 3, &[Together, Over]),
            (&[1], 3, &[Together, Alone(0), Alone(1), GiveUp(1), Alone(2), Over]),
            (&[0], 1, &[Together, Alone(0), GiveUp(0), Over]),
            (&[0, 1], 2, &[Together, Alone(0), GiveUp(0), Alone(1), GiveUp(1), Over]),
            (&[2], 3, &[Together, Alone(0), Alone(1), Alone(2), GiveUp(2), Over]),
        ];
        for (panicking, commands, expected) in cases {
            let mut tries = vec![Together];
            while tries.last() != Some(&Over) {
                let last = *tries.last().unwrap();
                let is_decided = match last {
                    Together => panicking.is_empty(),
                    Alone(command) => !panicking.contains(&command),
                    GiveUp(_) | Over => true,
                };
                tries.push(last.then(is_decided, commands));
            }
            assert_eq!(tries, expected, "{panicking:?} of {commands}");
        }
        assert_eq!(Together.then(false, 2), Alone(0), "whatever panicked when they were decided together may not panic again");
    }
}
