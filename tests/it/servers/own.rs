//! A server of a test's own, which it may stop, freeze, kill and start again with the data it has.

use super::{NoStart, Prepared, TRIES, prepare_cassandra, prepare_kafka, skip};
use crate::guarded::Guarded;
use std::process::Command;
use std::time::Duration;

/// How long a server may take to end when it is asked to.
const END: Duration = Duration::from_secs(60);

/// A running server.
pub struct OwnServer {
    prepared: Prepared,
    process: Guarded,
    /// Keeps the data until the test ends, however it does.
    _folder: Guarded,
}

impl OwnServer {
    /// A Kafka. None: the caller is to return, the reason has been printed.
    pub fn kafka() -> Option<Self> {
        Self::start(prepare_kafka)
    }

    /// A Cassandra that has each write on its disk before it acknowledges it: one node that is killed loses nothing then.
    pub fn cassandra() -> Option<Self> {
        Self::start(|| prepare_cassandra("commitlog_sync: batch", &[]))
    }

    pub(super) fn start(prepare: impl Fn() -> Result<Prepared, NoStart>) -> Option<Self> {
        let mut failures = Vec::new();
        for _ in 0..TRIES {
            let started = prepare().and_then(|prepared| Ok((prepared.start(None)?, prepared)));
            match started {
                Ok((process, prepared)) => {
                    let folder = keep(&prepared);
                    return Some(Self { prepared, process, _folder: folder });
                }
                Err(NoStart::Missing(what)) => {
                    skip(&what);
                    return None;
                }
                Err(NoStart::Failed(why)) => failures.push(why),
            }
        }
        panic!("it does not start. {}", failures.join("\n"));
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.prepared.address
    }

    /// Sends it a signal, such as `STOP`.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Ends it by a signal, `TERM` or `KILL`, starts it again and waits until it answers.
    pub fn restart_by(&mut self, signal: &str) {
        self.stop_by(signal);
        self.start_again();
    }

    /// Ends it by a signal, `TERM` or `KILL`.
    pub fn stop_by(&mut self, signal: &str) {
        self.process.signal(signal);
        self.process.wait(END);
    }

    /// Starts it, which was stopped, and waits until it answers.
    pub fn start_again(&mut self) {
        self.process = match self.prepared.start(None) {
            Ok(process) => process,
            Err(NoStart::Missing(why) | NoStart::Failed(why)) => panic!("it does not start again: {why}"),
        };
    }
}

/// A process that does nothing; when it ends, with the test at the latest, the server's folder is removed.
fn keep(prepared: &Prepared) -> Guarded {
    let mut nothing = Command::new("sleep");
    nothing.arg("infinity");
    Guarded::spawn(&nothing, &prepared.log, Some(&prepared.dir))
}
