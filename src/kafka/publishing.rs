//! Publishing as the processor sees it: publications go in, verdicts come out, one at a time, whichever publisher has them.
//!
//! A publisher whose call is past its deadline is abandoned with its producer and its thread, for a thread can't be ended from
//! outside. Its successor takes over: see [`Succession`]. An abandoned thread ends when its call returns at last, and that is
//! usually soon: what keeps the call waiting is that no connection of its producer changes, and idle ones are closed after
//! [`IDLE_CONNECTION_MS`](super::IDLE_CONNECTION_MS). If more of them are left than [`ABANDONED_AT_MOST`], the process must be started anew.

use super::calls::{Calls, UnderWay};
use super::consumer::CommandConsumer;
use super::login::Logins;
use super::publisher::{Publication, Publisher, Setting, Told, TransactionalProducer, create};
use super::{Outputs, StartFault};
use crate::flow::attempt::{Pace, Verdict};
use crate::flow::batch::Finished;
use crate::flow::stream::AssignmentId;
use crate::flow::succession::{Ended, Succession};
use rdkafka::ClientConfig;
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How many abandoned publishers may be left. Each has a thread of its own, some of librdkafka's, and a few MiB. One at a time is what
/// a broker that dies costs; more of them at once are a sign that abandoning does not help.
pub const ABANDONED_AT_MOST: usize = 4;

/// A publication that is over.
pub struct Published<M> {
    /// The assignment that it belonged to.
    pub assignment: AssignmentId,
    /// Its records.
    pub records: Vec<Finished<Outputs<M>>>,
    /// What became of them.
    pub verdict: Verdict,
    /// How much of its time the last attempt took.
    pub pace: Pace,
    /// The time from when a publisher was given it to the verdict.
    pub took: Duration,
}

/// Too many publishers were abandoned, or none can be started: only a new process will help.
#[derive(Debug, thiserror::Error)]
pub enum PublishingFault {
    /// The calls of too many publishers did not return.
    #[error(
        "{left} calls into the Kafka client have not returned, the last one after {seconds} s in {call}; the process ends, to be \
         started anew: what it was processing will be processed again"
    )]
    Stuck {
        /// How many abandoned publishers are left.
        left: usize,
        /// The call that the last of them was in.
        call: &'static str,
        /// How long that call has taken, in seconds.
        seconds: u64,
    },
    /// The operating system gave no thread.
    #[error("no thread can be started for another Kafka producer: {0}")]
    Thread(#[from] std::io::Error),
    /// librdkafka could not make another producer.
    #[error("no other Kafka producer can be made: {0}")]
    Client(#[from] rdkafka::error::KafkaError),
}

/// What came of looking at the present publisher.
#[derive(Clone, Copy, Debug)]
pub enum Watched {
    /// Its calls are within their deadlines.
    Well,
    /// It was abandoned in this call, or it ended in a panic (`None`), and a successor has taken its place.
    Abandoned(Option<UnderWay>),
}

/// See the module. Its threads end when it is dropped, as soon as their calls have returned.
pub struct Publishing<M> {
    setting: Arc<Setting>,
    succession: Succession<Publication<M>>,
    /// When the publication under way was given to its first publisher.
    since: Instant,
    present: Handle<M>,
    abandoned: Vec<JoinHandle<()>>,
}

/// A publisher's thread.
struct Handle<M> {
    calls: Arc<Calls>,
    publications: std_mpsc::Sender<Arc<Publication<M>>>,
    thread: JoinHandle<()>,
}

/// Starts the first publisher. Its producer registers by and by: a broker that is away is waited for. Its verdicts come out of the
/// receiver, for [`Publishing::ended`].
///
/// # Errors
/// librdkafka does not take the configuration, or the thread can't be started.
pub fn start<M: Clone + Send + Sync + 'static>(
    config: ClientConfig,
    consumer: Arc<CommandConsumer>,
    topic: &str,
    logins: Arc<Logins>,
) -> Result<(Publishing<M>, mpsc::UnboundedReceiver<Told>), StartFault> {
    let (told, verdicts) = verdict_channel();
    let setting = Arc::new(Setting { config, consumer, topic: topic.into(), told, logins });
    let succession = Succession::default();
    let present = Handle::spawn(&setting, succession.present(), create(&setting.config, setting.logins.clone())?, None)?;
    Ok((Publishing { setting, succession, since: Instant::now(), present, abandoned: Vec::new() }, verdicts))
}

impl<M: Clone + Send + Sync + 'static> Publishing<M> {
    /// Publishes, as soon as what is under way is over.
    pub fn publish(&mut self, publication: Publication<M>) {
        let next = self.succession.publish(publication);
        self.give(next);
    }

    /// Returns what became of a publication, unless a publisher that was abandoned told.
    pub fn ended(&mut self, told: Told) -> Option<Published<M>> {
        let took = self.since.elapsed();
        let Ended { publication, next } = self.succession.ended(told.publisher)?;
        self.give(next);
        // An abandoned publisher may still hold it.
        let Publication { assignment, records, .. } = Arc::unwrap_or_clone(publication);
        Some(Published { assignment, records, verdict: told.verdict, pace: told.pace, took })
    }

    /// Looks at the present publisher, and puts a successor in its place if one of its calls is past its deadline.
    ///
    /// # Errors
    /// Too many were abandoned, or no other publisher can be started.
    pub fn watch(&mut self, now: Instant) -> Result<Watched, PublishingFault> {
        self.abandoned.retain(|thread| !thread.is_finished());
        let overdue = self.present.calls.overdue(now);
        if overdue.is_none() && !self.present.thread.is_finished() {
            return Ok(Watched::Well);
        }
        if let Some(call) = overdue.filter(|_| self.abandoned.len() >= ABANDONED_AT_MOST) {
            let (left, seconds) = (self.abandoned.len() + 1, (now - call.since).as_secs());
            return Err(PublishingFault::Stuck { left, call: call.call.text(), seconds });
        }
        self.present.calls.abandon();
        let left = self.succession.abandon();
        let producer = create(&self.setting.config, self.setting.logins.clone())?;
        let successor = Handle::spawn(&self.setting, self.succession.present(), producer, left)?;
        self.abandoned.push(std::mem::replace(&mut self.present, successor).thread);
        Ok(Watched::Abandoned(overdue))
    }

    /// Returns the call that the present publisher has under way, if there is one.
    pub fn call(&self) -> Option<UnderWay> {
        self.present.calls.under_way()
    }

    /// Returns since when there is a publication under way, if there is one.
    pub fn open_since(&self) -> Option<Instant> {
        self.succession.is_busy().then_some(self.since)
    }

    /// Returns how many abandoned publishers have a call that has not returned.
    pub fn abandoned(&self) -> usize {
        self.abandoned.len()
    }

    fn give(&mut self, publication: Option<Arc<Publication<M>>>) {
        if let Some(publication) = publication {
            self.since = Instant::now();
            // A thread that is not there any more is noticed by whoever watches, and its successor is given the publication.
            let _ = self.present.publications.send(publication);
        }
    }
}

impl<M: Clone + Send + Sync + 'static> Handle<M> {
    fn spawn(
        setting: &Arc<Setting>,
        id: u64,
        producer: TransactionalProducer,
        left: Option<Arc<Publication<M>>>,
    ) -> std::io::Result<Self> {
        let calls = Arc::<Calls>::default();
        let (publications, inbox) = publication_channel();
        let publisher = Publisher::new(id, setting.clone(), calls.clone(), producer, inbox);
        let thread = std::thread::Builder::new().name("publisher".into()).spawn(move || publisher.run(left))?;
        Ok(Self { calls, publications, thread })
    }
}

#[expect(clippy::disallowed_methods, reason = "the processor sends one publication at a time, and must not wait for this thread")]
fn publication_channel<P>() -> (std_mpsc::Sender<P>, std_mpsc::Receiver<P>) {
    std_mpsc::channel()
}

#[expect(clippy::disallowed_methods, reason = "one verdict for each publication, and these come one at a time")]
fn verdict_channel() -> (mpsc::UnboundedSender<Told>, mpsc::UnboundedReceiver<Told>) {
    mpsc::unbounded_channel()
}
