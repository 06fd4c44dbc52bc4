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
    /// A Kafka. None: the caller is to return, the reason has been printed.
    pub fn kafka() -> Option<Self> {
        Self::start(prepare_kafka)
    }

    /// A Kafka with settings of its own, lines of its properties.
    pub fn kafka_with(settings: &str) -> Option<Self> {
        // Of two that say different things the last counts.
        Self::start(|| prepare_kafka_as(|usual| format!("{usual}\n{settings}\n"), &[], has_brokers))
    }

    /// A Cassandra that has each write on its disk before it acknowledges it: one node that is killed loses nothing then.
    pub fn cassandra() -> Option<Self> {
        Self::start(|| prepare_cassandra("commitlog_sync: batch", &[]))
    }

    /// A schema registry, which a restart empties.
    pub fn apicurio() -> Option<Self> {
        Self::start(prepare_apicurio)
    }

    pub(super) fn start(prepare: impl Fn() -> Result<Prepared, NoStart>) -> Option<Self> {
        Self::start_all(|| Ok(vec![prepare()?]), Start::InTurn)?.pop()
    }

    /// Some that know each other. None: as above.
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
    /// Each when the one before it answers: who comes later asks those who are there.
    InTurn,
    /// None answers before most of them are there.
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

/// A process that does nothing; when it ends, with the test at the latest, the server's folder is removed.
fn keep(prepared: &Prepared) -> Guarded {
    let mut nothing = Command::new("sleep");
    nothing.arg("infinity");
    Guarded::spawn(&nothing, &prepared.log, Some(&prepared.dir))
}
