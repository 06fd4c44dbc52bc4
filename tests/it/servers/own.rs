//! A server of a test's own, which the test may stop, freeze, kill and start again with the data that it has.

use super::{NoStart, Prepared, TRIES, has_brokers, prepare_apicurio, prepare_cassandra, prepare_kafka, prepare_kafka_as, skip};
use crate::guarded::Guarded;
use std::process::Command;
use std::time::Duration;

/// How long a server may take to end when it is asked to.
const END: Duration = Duration::from_secs(120);

/// A running server.
pub struct OwnServer {
    prepared: Prepared,
    process: Guarded,
    /// Keeps the data until the test ends, however it does.
    _folder: Guarded,
}

impl OwnServer {
    /// Starts a Kafka. Returns `None` if it can't be had here; the reason has been printed, and the test returns.
    pub fn kafka() -> Option<Self> {
        Self::start(prepare_kafka)
    }

    /// Starts a Kafka with settings of its own, given as lines of its properties.
    pub fn kafka_with(settings: &str) -> Option<Self> {
        // If two lines contradict each other, the last counts.
        Self::start(|| prepare_kafka_as(|usual| format!("{usual}\n{settings}\n"), &[], has_brokers))
    }

    /// Starts a Cassandra that has each write on its disk before it acknowledges it, so that one node loses nothing when it is
    /// killed.
    pub fn cassandra() -> Option<Self> {
        Self::start(|| prepare_cassandra("commitlog_sync: batch", &[]))
    }

    /// Starts a schema registry, which a restart empties.
    pub fn apicurio() -> Option<Self> {
        Self::start(prepare_apicurio)
    }

    pub(super) fn start(prepare: impl Fn() -> Result<Prepared, NoStart>) -> Option<Self> {
        Self::start_all(|| Ok(vec![prepare()?]), Start::InTurn)?.pop()
    }

    /// Starts several servers that know each other. Returns `None` if they can't be had here; the reason has been printed.
    pub(super) fn start_all(prepare: impl Fn() -> Result<Vec<Prepared>, NoStart>, start: Start) -> Option<Vec<Self>> {
        let mut failures = Vec::new();
        for _ in 0..TRIES {
            match prepare().and_then(|prepared| start.all(prepared)) {
                Ok(servers) => return Some(servers),
                Err(NoStart::Missing(what)) => {
                    skip(&what);
                    return None;
                }
                Err(NoStart::Failed(why)) => failures.push(why),
            }
        }
        panic!("it does not start. {}", failures.join("\n"));
    }

    /// Returns the server's `host:port`.
    pub fn address(&self) -> &str {
        &self.prepared.address
    }

    /// Sends the server a signal, such as `STOP`.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Ends the server by a signal, `TERM` or `KILL`, starts it again and waits until it answers.
    pub fn restart_by(&mut self, signal: &str) {
        self.stop_by(signal);
        self.start_again();
    }

    /// Ends the server by a signal, `TERM` or `KILL`.
    pub fn stop_by(&mut self, signal: &str) {
        self.process.signal(signal);
        self.process.wait(END);
    }

    /// Starts the server after it was stopped, and waits until it answers.
    pub fn start_again(&mut self) {
        self.process = self.prepared.spawn(None);
        if let Err(NoStart::Missing(why) | NoStart::Failed(why)) = self.until_up() {
            panic!("it does not start again: {why}");
        }
    }

    fn until_up(&mut self) -> Result<(), NoStart> {
        self.prepared.until_up(&mut self.process)
    }
}

/// How several servers are started.
#[derive(Clone, Copy)]
pub(super) enum Start {
    /// Each server starts when the one before it answers, because later ones ask those that are up.
    InTurn,
    /// All servers start at once, because none answers before most of them are up.
    AtOnce,
}

impl Start {
    fn all(self, prepared: Vec<Prepared>) -> Result<Vec<OwnServer>, NoStart> {
        let mut servers = Vec::new();
        for prepared in prepared {
            let (folder, process) = (keep(&prepared), prepared.spawn(None));
            servers.push(OwnServer { prepared, process, _folder: folder });
            if matches!(self, Self::InTurn) {
                servers.last_mut().expect("it was pushed").until_up()?;
            }
        }
        servers.iter_mut().try_for_each(OwnServer::until_up)?;
        Ok(servers)
    }
}

/// Starts a process that does nothing. When it ends, with the test at the latest, the server's folder is removed.
fn keep(prepared: &Prepared) -> Guarded {
    let mut nothing = Command::new("sleep");
    nothing.arg("infinity");
    Guarded::spawn(&nothing, &prepared.log, Some(&prepared.dir))
}
