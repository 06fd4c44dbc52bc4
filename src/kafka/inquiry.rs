//! Questions to the brokers that rdkafka has no call for. They change nothing. Each blocks until there is an answer or its time-out is
//! over.

#![allow(unsafe_code, reason = "rdkafka has neither DescribeTopics nor DescribeConsumerGroups nor ListOffsets")]

use crate::flow::Partition;
use rdkafka::ClientContext;
use rdkafka::TopicPartitionList;
use rdkafka::bindings::{self as sys, rd_kafka_admin_op_t as Question};
use rdkafka::client::Client;
use rdkafka::error::RDKafkaErrorCode;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_int};
use std::ptr;
use std::time::Duration;

/// Asks the brokers for the id of a topic and returns it. A topic that is deleted and made again has another id. Returns `None` if the
/// brokers are too old to give ids.
///
/// # Errors
/// Returns an error if the topic is missing, this client may not describe it, or no broker answers in time.
pub fn topic_id<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> Result<Option<String>, RDKafkaErrorCode> {
    /// The id of no topic.
    const NONE: &str = "AAAAAAAAAAAAAAAAAAAAAA";
    let id = describe_topic(client, topic, timeout, |description| {
        // SAFETY: the description lives during this call, and its id and the id's text with it.
        unsafe {
            let id = sys::rd_kafka_TopicDescription_topic_id(description);
            if id.is_null() {
                return None;
            }
            let text = sys::rd_kafka_Uuid_base64str(id);
            (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
        }
    })?;
    Ok(id.filter(|id| id != NONE))
}

/// Asks the leaders where partitions end. Returns for each partition the offset after the last record that can be read; records of an open
/// transaction, and all records after its beginning, can't be read. A partition whose leader gives no end is left out.
///
/// # Errors
/// Returns an error if no broker answers in time, or if the brokers refuse the question.
pub fn readable_ends<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    partitions: &[Partition],
    timeout: Duration,
) -> Result<BTreeMap<Partition, i64>, RDKafkaErrorCode> {
    let mut asked = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        let added = asked.add_partition_offset(topic, *partition, rdkafka::Offset::End);
        added.map_err(|_| RDKafkaErrorCode::InvalidArgument)?;
    }
    let inquiry = Inquiry::new(client, Question::RD_KAFKA_ADMIN_OP_LISTOFFSETS, timeout);
    let mut ends = BTreeMap::new();
    // SAFETY: the client, the list and the inquiry's queue and options live until the end; what the answer points to lives as long as the
    // answer, and has as many elements as it says. The end of a partition is asked for by the value that `Offset::End` has, too.
    unsafe {
        let committed = sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED;
        let refused = sys::rd_kafka_AdminOptions_set_isolation_level(inquiry.options, committed);
        if !refused.is_null() {
            sys::rd_kafka_error_destroy(refused);
        }
        sys::rd_kafka_ListOffsets(client.native_ptr(), asked.ptr(), inquiry.options, inquiry.queue);
        let answer = inquiry.answer()?;
        let mut count = 0;
        let found = sys::rd_kafka_ListOffsets_result_infos(sys::rd_kafka_event_ListOffsets_result(answer.0), &raw mut count);
        for n in 0..count {
            let end = &*sys::rd_kafka_ListOffsetsResultInfo_topic_partition(*found.add(n));
            if RDKafkaErrorCode::from(end.err) == RDKafkaErrorCode::NoError && end.offset >= 0 {
                ends.insert(end.partition, end.offset);
            }
        }
    }
    Ok(ends)
}

/// Asks the brokers to describe a topic, and returns what `read` takes from the answer.
///
/// # Errors
/// Returns an error if the topic is missing or has a NUL in its name, if this client may not describe it, or if no broker answers in time.
pub(super) fn describe_topic<C: ClientContext, T>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
    read: impl FnOnce(*const sys::rd_kafka_TopicDescription_t) -> T,
) -> Result<T, RDKafkaErrorCode> {
    let name = CString::new(topic).map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
    let inquiry = Inquiry::new(client, Question::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, timeout);
    // SAFETY: the client and the inquiry's queue and options live until the end; librdkafka copies the names; what the answer
    // points to lives as long as the answer.
    unsafe {
        let topics = sys::rd_kafka_TopicCollection_of_topic_names([name.as_ptr()].as_mut_ptr(), 1);
        sys::rd_kafka_DescribeTopics(client.native_ptr(), topics, inquiry.options, inquiry.queue);
        sys::rd_kafka_TopicCollection_destroy(topics);
        let answer = inquiry.answer()?;
        let mut count = 0;
        let topics =
            sys::rd_kafka_DescribeTopics_result_topics(sys::rd_kafka_event_DescribeTopics_result(answer.0), &raw mut count);
        if count == 0 {
            return Err(RDKafkaErrorCode::UnknownTopicOrPartition);
        }
        no_error(sys::rd_kafka_TopicDescription_error(*topics))?;
        Ok(read(*topics))
    }
}

/// A question to the brokers, with a queue of its own for the answer.
pub(super) struct Inquiry {
    pub(super) options: *mut sys::rd_kafka_AdminOptions_t,
    pub(super) queue: *mut sys::rd_kafka_queue_t,
    timeout_ms: c_int,
}

impl Inquiry {
    /// Makes an inquiry. `client` must outlive it.
    pub(super) fn new<C: ClientContext>(client: &Client<C>, question: Question, timeout: Duration) -> Self {
        let timeout_ms = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: the client lives; the options are ours until `drop`. An option that is refused keeps its default.
        unsafe {
            let options = sys::rd_kafka_AdminOptions_new(client.native_ptr(), question);
            sys::rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, ptr::null_mut(), 0);
            let refused = sys::rd_kafka_AdminOptions_set_include_authorized_operations(options, 1);
            if !refused.is_null() {
                sys::rd_kafka_error_destroy(refused);
            }
            Self { options, queue: sys::rd_kafka_queue_new(client.native_ptr()), timeout_ms }
        }
    }

    pub(super) fn answer(&self) -> Result<AnswerEvent, RDKafkaErrorCode> {
        // SAFETY: the queue lives; the event is ours, and destroyed with the AnswerEvent.
        unsafe {
            let event = sys::rd_kafka_queue_poll(self.queue, self.timeout_ms + 1_000);
            if event.is_null() {
                return Err(RDKafkaErrorCode::OperationTimedOut);
            }
            let answer = AnswerEvent(event);
            match RDKafkaErrorCode::from(sys::rd_kafka_event_error(event)) {
                RDKafkaErrorCode::NoError => Ok(answer),
                code => Err(code),
            }
        }
    }
}

impl Drop for Inquiry {
    fn drop(&mut self) {
        // SAFETY: both are ours, and nobody uses them any more.
        unsafe {
            sys::rd_kafka_queue_destroy(self.queue);
            sys::rd_kafka_AdminOptions_destroy(self.options);
        }
    }
}

/// An event of librdkafka, destroyed with this value.
pub(super) struct AnswerEvent(pub(super) *mut sys::rd_kafka_event_t);

impl Drop for AnswerEvent {
    fn drop(&mut self) {
        // SAFETY: the event is ours, and nobody uses it any more.
        unsafe { sys::rd_kafka_event_destroy(self.0) }
    }
}

/// Converts librdkafka's error: `Ok` if `error` is null or its code says that there is no error, otherwise that code.
///
/// # Safety
/// `error` is null or points to a live error.
pub(super) unsafe fn no_error(error: *const sys::rd_kafka_error_t) -> Result<(), RDKafkaErrorCode> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: the caller guarantees that the error lives.
    match RDKafkaErrorCode::from(unsafe { sys::rd_kafka_error_code(error) }) {
        RDKafkaErrorCode::NoError => Ok(()),
        code => Err(code),
    }
}
