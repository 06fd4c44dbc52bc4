//! Publishing as the processor sees it: publications go in and verdicts come out, one at a time, whichever publisher does the work.
//!
//! A publisher whose call is past its deadline is abandoned, with its producers and its thread, because a thread can't be ended from
//! outside. A successor takes over: see [`Succession`]. An abandoned thread ends when its call returns at last. That is usually soon:
//! such a call waits until a connection of its producer changes, and idle connections are closed after
//! [`IDLE_CONNECTION_MS`](super::IDLE_CONNECTION_MS). If more than [`ABANDONED_AT_MOST`] abandoned threads are left, the process must be
//! started anew.

use super::callbacks::CommandConsumer;
use super::calls::{Calls, UnderWay};
use super::login::Logins;
use super::producers::TransactionalProducer;
use super::publisher::{Instruction, Publication, Publisher, SharedByPublishers, Told};
use super::{Outputs, StartFault};
use crate::flow::AssignmentId;
use crate::flow::attempt::{Pace, Verdict};
use crate::flow::batch::Finished;
use crate::flow::succession::{Ended, PublisherId, Succession};
use crate::telemetry::labels::TransactionStep;
use rdkafka::ClientConfig;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// The most abandoned publishers that may be left. Each costs a thread of ours, some threads of librdkafka, and a few MiB. A broker that
/// dies costs one abandoned publisher; several at once are a sign that abandoning does not help.
pub const ABANDONED_AT_MOST: usize = 4;

/// How many publishers in a row end in a panic before the process ends. A successor may escape the bug, because the same records go into
/// another transaction, together with others.
const PANICS_TO_END: usize = 5;

/// A publication that has a verdict.
pub struct Published<M> {
    /// The assignment that it belonged to.
    pub assignment: AssignmentId,
    /// The publication's records.
    pub records: Vec<Finished<Outputs<M>>>,
    /// What became of the publication.
    pub verdict: Verdict,
    /// How much of its time the last attempt took.
    pub pace: Pace,
    /// When the publication was handed to its first publisher.
    pub since: Instant,
    /// The time from then until the verdict.
    pub took: Duration,
    /// How long each step of the last attempt took, in their order. Empty if a successor only looked up what became of the publication.
    pub steps: Vec<(TransactionStep, Duration)>,
}

/// The reason why publishing can't go on in this process.
#[derive(Debug, thiserror::Error)]
pub enum PublishingFault {
    /// The calls of too many publishers did not return.
    #[error(
        "{left} calls into the Kafka client have not returned, the last one after {seconds} s in {call}; the process ends, to be \
         started anew: what it was processing will be processed again"
    )]
    Stuck {
        /// The number of publishers whose calls have not returned.
        left: usize,
        /// The call that the last of these publishers is in.
        call: &'static str,
        /// How long that call has taken, in seconds.
        seconds: u64,
    },
    /// Publishers end in a panic again and again.
    #[error(
        "the publisher ended {PANICS_TO_END} times in a row because of a bug, and no transaction was committed in between; the process \
         ends, to be started anew: what it was processing will be processed again"
    )]
    Panicking,
    /// The operating system gave no thread.
    #[error("no thread can be started for another Kafka producer: {0}")]
    Thread(#[from] std::io::Error),
    /// librdkafka could not make another producer.
    #[error("no other Kafka producer can be made: {0}")]
    Client(#[from] rdkafka::error::KafkaError),
}

/// The result of a look at the present publisher.
#[derive(Clone, Copy, Debug)]
pub enum Watched {
    /// The publisher's call is within its deadline, or it has none under way.
    OnTime,
    /// The publisher was abandoned in this call, and a successor has taken its place. `None` means that the publisher's thread ended in a
    /// panic.
    Abandoned(Option<UnderWay>),
}

/// The present publisher, its abandoned predecessors, and the publication under way. When this is dropped, the threads end as soon as
/// their calls have returned.
pub struct Publishing<M> {
    shared: Arc<SharedByPublishers>,
    succession: Succession<Publication<M>>,
    /// When the publication under way was handed to its first publisher.
    since: Instant,
    present: Handle<M>,
    abandoned: Vec<JoinHandle<()>>,
    /// How many publishers have ended in a panic since a transaction was committed last.
    panics: usize,
}

/// A publisher's thread.
struct Handle<M> {
    calls: Arc<Calls>,
    instructions: std_mpsc::Sender<Instruction<M>>,
    thread: JoinHandle<()>,
}

/// Starts the first publisher, without waiting until its producers are registered: brokers may be away. `configs` are the properties of
/// the two producers that each publisher has. The receiver yields the verdicts, which must be passed to [`Publishing::ended`].
///
/// # Errors
/// Returns a fault if librdkafka does not take the configuration, or the thread can't be started.
pub fn start<M: Clone + Send + Sync + 'static>(
    configs: [ClientConfig; 2],
    consumer: Arc<CommandConsumer>,
    topic: &str,
    logins: Arc<Logins>,
) -> Result<(Publishing<M>, mpsc::UnboundedReceiver<Told>), StartFault> {
    let (told, verdicts) = verdict_channel();
    let shared =
        Arc::new(SharedByPublishers { configs, consumer, topic: topic.into(), told, logins, outdated: AtomicU64::new(0) });
    let succession = Succession::default();
    let present = Handle::spawn(&shared, succession.present(), shared.create()?, None)?;
    Ok((Publishing { shared, succession, since: Instant::now(), present, abandoned: Vec::new(), panics: 0 }, verdicts))
}

impl<M: Clone + Send + Sync + 'static> Publishing<M> {
    /// Publishes a publication, as soon as the one under way is over.
    pub fn publish(&mut self, publication: Publication<M>) {
        let next = self.succession.publish(publication);
        self.give(next);
    }

    /// Has both producers made anew, and published nothing before that. What the present ones know of the cluster, such as who coordinates the
    /// group, may be out of date: a producer that has nothing to send does not notice that a broker hangs.
    pub fn renew(&self) {
        self.shared.outdated.fetch_add(1, Relaxed);
        // If the thread has ended, its successor has new producers anyway.
        let _ = self.present.instructions.send(Instruction::Renew);
    }

    /// Takes in a verdict and returns the publication that is over. Returns `None` if the verdict is that of an abandoned publisher,
    /// which counts for nothing.
    pub fn ended(&mut self, told: Told) -> Option<Published<M>> {
        let since = self.since;
        let took = since.elapsed();
        let Ended { publication, next } = self.succession.ended(told.publisher)?;
        self.give(next);
        // An abandoned publisher may still hold the publication; then its records are cloned.
        let Publication { assignment, records, .. } = Arc::unwrap_or_clone(publication);
        let Told { verdict, pace, steps, .. } = told;
        if verdict == Verdict::Committed {
            self.panics = 0;
        }
        Some(Published { assignment, records, verdict, pace, since, took, steps })
    }

    /// Looks at the present publisher, and puts a successor in its place if one of its calls is past its deadline, or if it has ended.
    ///
    /// # Errors
    /// Returns a fault if too many publishers are abandoned or have ended in a panic, or no other publisher can be started.
    pub fn watch(&mut self, now: Instant) -> Result<Watched, PublishingFault> {
        self.abandoned.retain(|thread| !thread.is_finished());
        let overdue = self.present.calls.overdue(now);
        if overdue.is_none() && !self.present.thread.is_finished() {
            return Ok(Watched::OnTime);
        }
        if let Some(call) = overdue.filter(|_| self.abandoned.len() >= ABANDONED_AT_MOST) {
            let (left, seconds) = (self.abandoned.len() + 1, (now - call.since).as_secs());
            return Err(PublishingFault::Stuck { left, call: call.call.text(), seconds });
        }
        if overdue.is_none() {
            self.panics += 1;
            if self.panics >= PANICS_TO_END {
                return Err(PublishingFault::Panicking);
            }
        }
        self.present.calls.abandon();
        let left = self.succession.abandon();
        let producers = self.shared.create()?;
        let successor = Handle::spawn(&self.shared, self.succession.present(), producers, left)?;
        self.abandoned.push(std::mem::replace(&mut self.present, successor).thread);
        Ok(Watched::Abandoned(overdue))
    }

    /// Gives the present publisher's call as much more time as it `lost`, because the process did not run meanwhile.
    pub fn excuse(&self, lost: Duration, now: Instant) {
        self.present.calls.excuse(lost, now);
    }

    /// Returns the call that the present publisher has under way, if there is one.
    pub fn call(&self) -> Option<UnderWay> {
        self.present.calls.under_way()
    }

    /// Returns since when a publication has been under way, or `None` if there is none.
    pub fn open_since(&self) -> Option<Instant> {
        self.succession.is_busy().then_some(self.since)
    }

    /// Returns how many publishers were abandoned and had not ended at the last [`watch`](Self::watch).
    pub fn abandoned(&self) -> usize {
        self.abandoned.len()
    }

    fn give(&mut self, publication: Option<Arc<Publication<M>>>) {
        if let Some(publication) = publication {
            self.since = Instant::now();
            // If the thread has ended, `watch` notices that and gives the publication to a successor.
            let _ = self.present.instructions.send(Instruction::Publish(publication));
        }
    }
}

impl<M: Clone + Send + Sync + 'static> Handle<M> {
    fn spawn(
        shared: &Arc<SharedByPublishers>,
        id: PublisherId,
        producers: [TransactionalProducer; 2],
        left: Option<Arc<Publication<M>>>,
    ) -> std::io::Result<Self> {
        let calls = Arc::<Calls>::default();
        let (instructions, inbox) = instruction_channel();
        let publisher = Publisher::new(id, shared.clone(), calls.clone(), producers, inbox);
        let thread = std::thread::Builder::new().name("publisher".into()).spawn(move || publisher.run(left))?;
        Ok(Self { calls, instructions, thread })
    }
}

#[expect(clippy::disallowed_methods, reason = "the processor sends one publication at a time, and must not wait for this thread")]
fn instruction_channel<I>() -> (std_mpsc::Sender<I>, std_mpsc::Receiver<I>) {
    std_mpsc::channel()
}

#[expect(clippy::disallowed_methods, reason = "one verdict for each publication, and these come one at a time")]
fn verdict_channel() -> (mpsc::UnboundedSender<Told>, mpsc::UnboundedReceiver<Told>) {
    mpsc::unbounded_channel()
}
