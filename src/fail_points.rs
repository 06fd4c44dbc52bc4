//! Places at which a test build can be told to die, to panic or to hang: `FAILPOINTS="applied=0.1%return;deciding=return(boom)"` or
//! `sending-offsets=1*sleep(60000)`, in the syntax of the `fail` package. Tests kill processors at these places, which a kill from
//! outside would hit once in a million times.
//!
//! The feature `fail-points` compiles them in. Only the tests of this package turn it on; other builds have nothing of this in the
//! binary.

/// A place at which the process can be told to die, to panic or to hang.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailPoint {
    /// The processor's loop begins a round in which it looks after what may hang.
    ComingRound,
    /// The consuming thread is about to poll, in the call that polls.
    Polling,
    /// The consuming thread is about to poll. The action `return` pauses all its partitions behind the processor's back, as a client would
    /// that has stopped fetching.
    Fetching,
    /// A command is about to be decided.
    Deciding,
    /// A command was decided; its outcome is stored.
    Decided,
    /// A claim on an external id was written and acknowledged; it is not completed yet.
    Claimed,
    /// A decision was applied to an entity and acknowledged; nothing of it is published yet.
    Applied,
    /// A producer is about to register with the transaction coordinator, in the call that registers it.
    Registering,
    /// A transaction was begun; its outputs are about to be handed to librdkafka, in the call that hands them over.
    Producing,
    /// The outputs of a transaction were delivered; its offsets are not sent yet.
    OutputsSent,
    /// The offsets of a transaction are about to be sent, in the call that sends them.
    SendingOffsets,
    /// The offsets of a transaction were sent; it is not committed yet.
    OffsetsSent,
    /// A transaction was committed; only this thread knows it yet.
    Committed,
}

impl FailPoint {
    /// Returns the name that the place has in `FAILPOINTS`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ComingRound => "coming-round",
            Self::Polling => "polling",
            Self::Fetching => "fetching",
            Self::Deciding => "deciding",
            Self::Decided => "decided",
            Self::Claimed => "claimed",
            Self::Applied => "applied",
            Self::Registering => "registering",
            Self::Producing => "producing",
            Self::OutputsSent => "outputs-sent",
            Self::SendingOffsets => "sending-offsets",
            Self::OffsetsSent => "offsets-sent",
            Self::Committed => "committed",
        }
    }

    /// Passes the place. The action `return` kills the process, as a SIGKILL from outside would.
    #[inline]
    pub fn reach(self) {
        #[cfg(feature = "fail-points")]
        fail::fail_point!(self.name(), |_| die());
    }

    /// Passes the place. Returns whether the action is `return`.
    #[inline]
    pub fn is_reached(self) -> bool {
        #[cfg(feature = "fail-points")]
        fail::fail_point!(self.name(), |_| true);
        false
    }

    /// Passes the place with `subject`, such as a request id. The action `return(text)` panics if `subject` contains the text.
    #[inline]
    #[cfg_attr(not(feature = "fail-points"), expect(unused_variables))]
    pub fn reach_with(self, subject: &str) {
        #[cfg(feature = "fail-points")]
        fail::fail_point!(self.name(), |text| {
            let text: Option<String> = text;
            assert!(!text.is_some_and(|text| subject.contains(&text)), "the fail point {} was reached", self.name());
        });
    }
}

/// Reads `FAILPOINTS`. The actions are in force until the result is dropped.
#[cfg(feature = "fail-points")]
pub fn set_up() -> impl Drop {
    fail::FailScenario::setup()
}

#[cfg(feature = "fail-points")]
fn die() {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    unreachable!("a process does not survive its SIGKILL");
}
