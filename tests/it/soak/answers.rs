//! What came out of a soak. Replies and business transactions are counted as they come and not kept: those of hours are too many.

use super::load::{Correlation, now, number_of};
use crate::inbox::consumer;
use crate::world::World;
use crm_processor::kafka::bootstrap::Reminded;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub struct Answers {
    seen: Arc<Seen>,
    reader: Mutex<Option<JoinHandle<()>>>,
}

/// The replies of one stretch of time.
#[derive(Clone, Debug, Default)]
pub struct Stretch {
    /// The times from sending to reply.
    pub waits: Vec<Duration>,
    /// The longest time without any reply.
    pub gap: Duration,
}

#[derive(Default)]
struct Seen {
    state: Mutex<State>,
    answered: AtomicUsize,
    /// Whether the reader ends as soon as it is at the end of all partitions.
    last: AtomicBool,
}

#[derive(Default)]
struct State {
    /// How many replies each command has.
    replies: Vec<u8>,
    /// How many business transactions each command has.
    transactions: Vec<u8>,
    stretch: Stretch,
    last_reply: Option<Instant>,
    mistakes: BTreeMap<String, usize>,
}

impl Answers {
    /// Begins to read the replies and business transactions.
    pub fn read(world: &World) -> Self {
        let (consumer, partitions) = consumer(world.kafka(), &[&world.replies, &world.transactions]);
        let seen = Arc::new(Seen::default());
        let reader = std::thread::Builder::new().name("soak".into()).spawn({
            let (seen, replies) = (seen.clone(), world.replies.clone());
            move || seen.follow(&consumer, partitions, &replies)
        });
        Self { seen, reader: Mutex::new(Some(reader.expect("a thread"))) }
    }

    /// Returns how many commands have a reply.
    pub fn answered(&self) -> usize {
        self.seen.answered.load(Ordering::Acquire)
    }

    /// Takes the replies since the last call.
    pub fn take(&self) -> Stretch {
        std::mem::take(&mut self.seen.state().stretch)
    }

    /// Reads everything that is there, and no more afterwards.
    pub fn read_to_the_end(&self) {
        self.seen.last.store(true, Ordering::Release);
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take();
        reader.expect("it is called once").join().expect("the reader does not panic");
    }

    /// Returns the kinds of mistakes and how many there are, if so many commands were sent.
    pub fn mistakes(&self, sent: usize) -> BTreeMap<String, usize> {
        let state = self.seen.state();
        let mut mistakes = state.mistakes.clone();
        for (what, counts) in [("reply", &state.replies), ("business transaction", &state.transactions)] {
            let missing = (0..sent).filter(|n| counts.get(*n).is_none_or(|count| *count == 0)).count();
            let doubled = counts.iter().filter(|count| **count > 1).count();
            for (count, mistake) in [(missing, format!("without a {what}")), (doubled, format!("with more than one {what}"))] {
                if count > 0 {
                    mistakes.insert(mistake, count);
                }
            }
        }
        mistakes
    }
}

impl Seen {
    fn follow(&self, consumer: &BaseConsumer<Reminded>, partitions: usize, replies: &str) {
        let mut quiet_polls = 0;
        loop {
            consumer.context().0.remind(consumer.client());
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    quiet_polls = 0;
                    self.note(&message, message.topic() == replies);
                }
                // A partition's end is said once for each time that it is reached.
                Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(e)) => tracing::debug!("reading: {e}"),
                None if self.last.load(Ordering::Acquire) => {
                    quiet_polls += 1;
                    // Nobody writes any more, and since the last record each partition had the time of a poll to deliver the next.
                    if quiet_polls > partitions {
                        return;
                    }
                }
                None => {}
            }
        }
    }

    fn note(&self, message: &BorrowedMessage<'_>, is_reply: bool) {
        let header = |name| {
            let value = message.headers()?.iter().find(|h| h.key == name)?.value;
            std::str::from_utf8(value?).ok()
        };
        let mut state = self.state();
        if !is_reply {
            match header("request-id").and_then(number_of) {
                Some(number) => count(&mut state.transactions, number),
                None => *state.mistakes.entry("business transaction of no command".into()).or_default() += 1,
            }
            return;
        }
        let Some(Correlation { number, sent }) = header("correlation-id").and_then(Correlation::parse) else {
            *state.mistakes.entry("reply to no command".into()).or_default() += 1;
            return;
        };
        let status = header("status-code").unwrap_or("none");
        if status != "200" {
            *state.mistakes.entry(format!("with the status code {status}")).or_default() += 1;
        }
        count(&mut state.replies, number);
        let (now, seen) = (now(), Instant::now());
        state.stretch.waits.push(now.saturating_sub(sent));
        let gap = state.last_reply.replace(seen).map_or(Duration::ZERO, |last| seen - last);
        state.stretch.gap = state.stretch.gap.max(gap);
        self.answered.fetch_add(1, Ordering::Release);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(counts: &mut Vec<u8>, number: usize) {
    if counts.len() <= number {
        counts.resize(number + 1, 0);
    }
    counts[number] = counts[number].saturating_add(1);
}
