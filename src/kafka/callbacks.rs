//! The consumer's callbacks, which librdkafka calls on the consuming thread, inside its polls: assignments and revocations, measurements,
//! complaints. They are passed on to the processor as notices.
//!
//! At an assignment the callback captures the group membership with which offsets will be committed, and asks where each partition goes on.
//! In the revoke callback the thread waits until the processor has committed or discarded everything that belongs to the revoked
//! partitions, because another process owns them after the callback.

use super::bootstrap::Bootstrap;
use super::calls::{Call, Calls};
use super::foreign;
use super::inquiry::topic_id;
use super::login::{KafkaClient, Logins};
use crate::flow::offsets::Committed;
use crate::flow::{AssignmentId, Partition, RecordId};
use crate::telemetry::gathered::Gathered;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::{self, Statistics};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc as std_mpsc};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// This process's membership of the group and the id of the topic, with which a transaction commits its offsets. Both are captured at the
/// assignment. If they were captured later, a transaction of an earlier assignment could count as valid.
#[derive(Clone)]
pub struct GroupMembership {
    /// The member and its generation, as the group's coordinator knows them.
    pub metadata: Arc<ConsumerGroupMetadata>,
    /// The topic's id; `None` if the brokers did not give one.
    pub topic_id: Option<Arc<str>>,
}

/// A message to the processor, other than records.
pub enum Notice {
    /// An assignment has begun; it holds all partitions that this process has now.
    Assigned {
        /// The id under which the stream tells this assignment from earlier ones.
        assignment: AssignmentId,
        /// The partitions to read, and the committed offset from which each goes on.
        partitions: Vec<(Partition, Committed)>,
        /// The partitions that this process does not read, because a newer release has committed their offsets in a form that this
        /// release does not understand.
        unread: Vec<Partition>,
        /// The membership that the assignment's transactions commit their offsets with.
        membership: GroupMembership,
    },
    /// The assignment ends: the process gives up all its partitions, or has lost them already.
    Revoked {
        /// `true` if another process may have the partitions already, so that this one can't commit their offsets any more.
        lost: bool,
        /// The processor sends on this channel, or drops it, when it will commit nothing more for the partitions.
        done: std_mpsc::SyncSender<()>,
    },
    /// The next record of each partition whose data librdkafka can't decode. The notice comes once a second while there are such
    /// partitions, and once more, empty, when there are none any more.
    Undecodable(Vec<RecordId>),
    /// Measurements that librdkafka makes once a second.
    Statistics {
        /// The ends of the partitions that librdkafka knows.
        ends: Vec<End>,
        /// The next offset of each assigned partition from which librdkafka should fetch: one that is not paused, and whose fetched records
        /// were all polled. Empty if a poll reported in the last 15 s that records can't be fetched, or if reading is denied.
        to_fetch: Vec<(Partition, i64)>,
        /// The number of brokers that the consumer is connected to.
        brokers: usize,
        /// Whether the brokers do not let the consumer read the topic.
        denied: bool,
    },
}

/// The end of a partition, by the brokers' last answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The partition whose end this is.
    pub partition: Partition,
    /// Whether all readable records were handed on and no transaction is open. What lies beyond these records, if anything, is markers.
    pub all_handed_on: bool,
    /// The last stable offset. Records from here on can't be read until a producer has ended its transaction.
    pub stable: i64,
    /// The high watermark: the offset after the last record or marker.
    pub high: i64,
    /// Whether the partition is paused. Then nothing is fetched, and the rest is what was known before.
    pub is_paused: bool,
}

/// How long one request for the committed offsets may take.
pub const COMMITTED_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause between two requests for the committed offsets. An earlier transaction may have to end before the coordinator gives them.
const COMMITTED_PAUSE: Duration = Duration::from_millis(50);
/// How long the revoke callback waits for the processor. The processor gives up sooner by itself; the bound is for a processor that hangs.
pub(super) const REVOKE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the request for the topic's id may take.
const TOPIC_ID_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a report of undecodable data counts. librdkafka repeats the report with each fetch, several times a second.
const UNDECODABLE_FOR: Duration = Duration::from_secs(3);
/// How long the report that records can't be fetched explains that none are.
const UNFETCHABLE_FOR: Duration = Duration::from_secs(15);

/// The consumer of the command topic. The publisher shares it, and so do the tasks that look at topics.
pub type CommandConsumer = BaseConsumer<Context>;

/// The callbacks of librdkafka. They run on the consuming thread, inside its polls.
pub struct Context {
    topic: String,
    assignment: AtomicU64,
    notices: mpsc::UnboundedSender<Notice>,
    /// The partitions that are paused, for whatever reason.
    paused: Mutex<BTreeSet<Partition>>,
    /// The call that the consuming thread has under way.
    calls: Arc<Calls>,
    /// When librdkafka's complaints were last logged, by error code.
    troubles: Gathered<Option<i32>>,
    /// When a poll last reported that records can't be fetched.
    unfetchable: Mutex<Option<Instant>>,
    /// Whether the brokers last refused to let the consumer read. librdkafka says it once, when it begins to fetch, and nothing says when
    /// it is over but the next record.
    denied: AtomicBool,
    undecodable: Mutex<Undecodable>,
    /// The complaints of clients that can't log in.
    logins: Arc<Logins>,
    bootstrap: Bootstrap,
}

/// Finds the partitions whose next records librdkafka can't decode. librdkafka says that there are some, but not which. So these are
/// taken to be the partitions that have records to fetch and do not move on.
#[derive(Default)]
struct Undecodable {
    /// When librdkafka last reported data that it can't decode.
    told: Option<Instant>,
    /// For each partition that had records to fetch at the last look: its next offset, and when that offset was first seen.
    next: BTreeMap<Partition, (i64, Instant)>,
    /// The partitions that were last found to stand still.
    found: Vec<RecordId>,
}

impl Undecodable {
    /// Returns the partitions that stand still, which may be none. Returns `None` if there were none the last time either. `open` holds
    /// the next offset of each partition that has records to fetch.
    fn look(&mut self, open: &BTreeMap<Partition, i64>, now: Instant) -> Option<Vec<RecordId>> {
        let told = self.told.filter(|told| now.duration_since(*told) < UNDECODABLE_FOR);
        let before = std::mem::take(&mut self.next);
        let since = |partition: &Partition, next: i64| match before.get(partition) {
            Some((was, since)) if *was == next => *since,
            _ => now,
        };
        self.next = open.iter().map(|(partition, next)| (*partition, (*next, since(partition, *next)))).collect();
        // A report from before the partition reached this offset is about an earlier record.
        let still = self.next.iter().filter(|(_, (_, since))| told.is_some_and(|told| told > *since));
        let found: Vec<_> = still.map(|(partition, (offset, _))| RecordId { partition: *partition, offset: *offset }).collect();
        let before = std::mem::replace(&mut self.found, found.clone());
        (!found.is_empty() || !before.is_empty()).then_some(found)
    }
}

impl ClientContext for Context {
    fn stats(&self, statistics: Statistics) {
        self.bootstrap.seen(&statistics);
        let partitions = statistics.topics.get(&self.topic).into_iter().flat_map(|topic| topic.partitions.values());
        let known = || partitions.clone().filter(|p| p.partition >= 0 && p.ls_offset >= 0);
        let paused = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        let is_open = |p: &&statistics::Partition| p.fetchq_cnt == 0 && !paused.contains(&p.partition);
        let behind = known()
            .filter(|p| p.desired && p.next_offset < p.ls_offset)
            .filter(is_open)
            .map(|p| (p.partition, p.next_offset))
            .collect();
        let undecodable = self.undecodable.lock().unwrap_or_else(PoisonError::into_inner).look(&behind, Instant::now());
        if let Some(undecodable) = undecodable {
            let _ = self.notices.send(Notice::Undecodable(undecodable));
        }
        let told = *self.unfetchable.lock().unwrap_or_else(PoisonError::into_inner);
        let denied = self.denied.load(Ordering::Relaxed);
        let is_explained = denied || told.is_some_and(|at| at.elapsed() < UNFETCHABLE_FOR);
        let to_fetch = partitions.clone().filter(|p| p.desired && p.next_offset >= 0 && !is_explained).filter(is_open);
        let to_fetch = to_fetch.map(|p| (p.partition, p.next_offset)).collect();
        let ends = known().map(|p| end_of(p, paused.contains(&p.partition))).collect();
        // A broker of the source "logical" is the group coordinator, listed a second time. In the state REAUTH the client shows its new
        // token over a connection that stays up.
        let is_up =
            |broker: &&statistics::Broker| ["UP", "REAUTH"].contains(&broker.state.as_str()) && broker.source != "logical";
        let brokers = statistics.brokers.values().filter(is_up).count();
        let _ = self.notices.send(Notice::Statistics { ends, to_fetch, brokers, denied });
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.logins.log(KafkaClient::Consumer, level, facility, message, Instant::now());
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.logins.failed(KafkaClient::Consumer, &error, reason, Instant::now());
        self.trouble(&error, reason);
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let done = if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let readable = self.assigned(consumer, partitions);
            consumer.assign(&readable)
        } else {
            if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS {
                self.revoked(consumer.assignment_lost());
            } else {
                self.trouble(&KafkaError::Rebalance(what.into()), "a rebalance failed");
            }
            consumer.unassign()
        };
        if let Err(error) = done {
            self.trouble(&error, "partitions could not be taken over or given up");
        }
    }
}

impl Context {
    /// Creates the callbacks of a consumer of `topic`. `calls` are told what the consuming thread waits for.
    pub(super) fn new(
        topic: String,
        notices: mpsc::UnboundedSender<Notice>,
        calls: Arc<Calls>,
        logins: Arc<Logins>,
        bootstrap: Bootstrap,
    ) -> Self {
        Self {
            topic,
            assignment: AtomicU64::new(0),
            notices,
            paused: Mutex::default(),
            calls,
            troubles: Gathered::default(),
            unfetchable: Mutex::default(),
            denied: AtomicBool::new(false),
            undecodable: Mutex::default(),
            logins,
            bootstrap,
        }
    }

    /// Tells the consumer of its first brokers again, if it has forgotten all: see [`super::bootstrap`].
    pub(super) fn remind(&self, consumer: &BaseConsumer<Self>) {
        self.bootstrap.remind(consumer.client());
    }

    /// Returns the number of the present assignment. A revocation takes a number, too.
    pub(super) fn assignment(&self) -> AssignmentId {
        self.assignment.load(Ordering::SeqCst)
    }

    /// Takes note that these partitions are to be paused, or resumed.
    pub(super) fn pausing(&self, partitions: &[Partition], paused: bool) {
        let mut told = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|partition| !partitions.contains(partition));
        told.extend(partitions.iter().filter(|_| paused));
    }

    /// Takes note that librdkafka reports data that it can't decode.
    pub(super) fn met_undecodable(&self) {
        self.undecodable.lock().unwrap_or_else(PoisonError::into_inner).told = Some(Instant::now());
    }

    /// Takes note that a poll reports that records can't be fetched.
    pub(super) fn met_unfetchable(&self) {
        *self.unfetchable.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Takes note of whether the brokers let the consumer read the topic.
    pub(super) fn reading(&self, is_denied: bool) {
        self.denied.store(is_denied, Ordering::Relaxed);
    }

    /// Logs that something failed. librdkafka tries again and repeats its complaint, so the lines are gathered by error code.
    pub(super) fn trouble(&self, error: &KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().map(|code| code as i32);
        if let Some(left_out) = self.troubles.due(code, Instant::now()) {
            tracing::warn!(%error, reason, left_out, "the Kafka consumer has trouble, and goes on trying");
        }
    }

    /// Asks where each partition goes on, tells the processor, and returns the partitions to read. A partition whose offset was committed
    /// for an earlier topic of the same name begins anew. A partition whose offset only a newer release understands is not returned.
    ///
    /// If the assignment is lost before all this is known, the processor is not told of it, and all partitions are returned: their records
    /// have a number that no assignment of the processor has, so it drops them, and librdkafka revokes the partitions next.
    fn assigned(&self, consumer: &BaseConsumer<Self>, partitions: &mut TopicPartitionList) -> TopicPartitionList {
        let assignment = self.assignment.fetch_add(1, Ordering::SeqCst) + 1;
        let Some(metadata) = consumer.group_metadata() else { return partitions.clone() };
        let ask = || topic_id(consumer.client(), &self.topic, TOPIC_ID_TIMEOUT);
        let topic_id = self.calls.during(Call::Metadata, Instant::now() + TOPIC_ID_TIMEOUT, ask);
        let topic_id: Option<Arc<str>> = topic_id.ok().flatten().map(Into::into);
        // Nothing may be read before the committed offsets are known: a record that was answered already could be answered again.
        while !consumer.assignment_lost() {
            let elements = partitions.elements();
            let numbers = elements.iter().map(rdkafka::topic_partition_list::TopicPartitionListElem::partition);
            let until = Instant::now() + COMMITTED_TIMEOUT;
            match self.calls.during(Call::CommittedOffsets, until, || committed(consumer, &self.topic, numbers)) {
                Ok(committed) => {
                    let (unread, mut committed): (Vec<_>, Vec<_>) =
                        committed.into_iter().partition(|(_, committed)| committed.is_of_a_newer_release());
                    let unread: Vec<_> = unread.into_iter().map(|(partition, _)| partition).collect();
                    for (partition, committed) in &mut committed {
                        let of_another = committed.topic_id().is_some_and(|id| topic_id.as_deref().is_some_and(|now| id != now));
                        if of_another {
                            tracing::warn!(
                                partition,
                                "the command topic was deleted and made again: its partition is read from the beginning"
                            );
                            *committed = Committed::default();
                            if let Err(error) = partitions.set_partition_offset(&self.topic, *partition, Offset::Beginning) {
                                self.trouble(&error, "a partition can't be read from its beginning");
                            }
                        }
                    }
                    let membership = GroupMembership { metadata: Arc::new(metadata), topic_id };
                    let readable = if unread.is_empty() { partitions.clone() } else { without(&unread, partitions) };
                    let _ = self.notices.send(Notice::Assigned { assignment, partitions: committed, unread, membership });
                    return readable;
                }
                Err(error) => self.trouble(&error, "the committed offsets can't be learnt"),
            }
            pause(COMMITTED_PAUSE);
        }
        partitions.clone()
    }

    fn revoked(&self, lost: bool) {
        self.assignment.fetch_add(1, Ordering::SeqCst);
        // A later assignment may begin at the same offset, which does not mean that the partition stood still.
        self.undecodable.lock().unwrap_or_else(PoisonError::into_inner).next.clear();
        let (done, wait) = std_mpsc::sync_channel(1);
        if self.notices.send(Notice::Revoked { lost, done }).is_ok() {
            let until = Instant::now() + REVOKE_TIMEOUT;
            let _ = self.calls.during(Call::Drain, until, || wait.recv_timeout(REVOKE_TIMEOUT));
        }
    }
}

/// Returns `partitions` without those in `unread`.
fn without(unread: &[Partition], partitions: &TopicPartitionList) -> TopicPartitionList {
    let mut others = TopicPartitionList::with_capacity(partitions.count());
    for element in partitions.elements().iter().filter(|element| !unread.contains(&element.partition())) {
        let added = others.add_partition_offset(element.topic(), element.partition(), element.offset());
        added.expect("the offset is one that librdkafka has given out itself");
    }
    others
}

/// Returns where a partition ends. If all readable records were handed on and no transaction is open, no record lies beyond them, even
/// where the high watermark does: the last offset may be the marker that ends one of the CRM's transactions. For a paused partition this
/// can't be said, because librdkafka drops what it had fetched when a partition is paused, and fetches it again later.
fn end_of(partition: &statistics::Partition, paused: bool) -> End {
    let (stable, high) = (partition.ls_offset, partition.hi_offset.max(partition.ls_offset));
    let all_handed_on = partition.next_offset >= stable && partition.fetchq_cnt == 0 && !paused && stable >= high;
    End { partition: partition.partition, all_handed_on, stable, high, is_paused: paused }
}

/// Returns what the group coordinator has committed for some partitions of `topic`. Waits for transactions that are being committed.
///
/// # Errors
/// Returns an error if the coordinator can't be reached, or answers with an error for one of the partitions.
pub fn committed<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partitions: impl Iterator<Item = Partition>,
) -> KafkaResult<Vec<(Partition, Committed)>> {
    let mut asked = TopicPartitionList::new();
    for partition in partitions {
        asked.add_partition(topic, partition);
    }
    let answer = consumer.committed_offsets(asked, COMMITTED_TIMEOUT)?;
    let metadata = foreign::metadata(&answer);
    let each = answer.elements().into_iter().zip(metadata).map(|(p, metadata)| {
        p.error()?;
        let offset = if let Offset::Offset(offset) = p.offset() { Some(offset) } else { None };
        Ok((p.partition(), Committed { offset, metadata }))
    });
    each.collect()
}

#[expect(clippy::disallowed_methods, reason = "for milliseconds, in a callback of librdkafka that has nothing to wait on")]
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_undecodable_if_that_is_told_while_it_stands_still() {
        // Each look: when, in milliseconds; when it was last told; what is open; what is found, and `None` if nothing need be said.
        type Look<'a> = (u64, u64, &'a [(Partition, i64)], Option<&'a [(Partition, i64)]>);
        let begin = Instant::now();
        let looks: [Look; 9] = [
            (1_000, 900, &[(0, 20)], None),
            (2_000, 1_900, &[(0, 20), (1, 7)], Some(&[(0, 20)])),
            (3_000, 2_900, &[(0, 20), (1, 7)], Some(&[(0, 20), (1, 7)])),
            // It was stepped over, and what was told was about the record before.
            (4_000, 3_900, &[(0, 21), (1, 8)], Some(&[])),
            (5_000, 3_900, &[(0, 21)], None),
            (6_000, 5_900, &[(0, 21)], Some(&[(0, 21)])),
            (8_800, 5_900, &[(0, 21)], Some(&[(0, 21)])),
            (9_000, 5_900, &[(0, 21)], Some(&[])),
            (9_900, 5_900, &[(0, 21)], None),
        ];
        let mut undecodable = Undecodable::default();
        for (ms, told, open, expected) in looks {
            undecodable.told = Some(begin + Duration::from_millis(told));
            let found = undecodable.look(&open.iter().copied().collect(), begin + Duration::from_millis(ms));
            let expected =
                expected.map(|all| all.iter().map(|(partition, offset)| RecordId { partition: *partition, offset: *offset }));
            assert_eq!(found, expected.map(Iterator::collect), "after {ms} ms");
        }
    }
}
