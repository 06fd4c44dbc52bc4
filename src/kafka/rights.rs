//! What a client may do with a topic or a group, by the brokers' own word. Changes nothing. Brokers without an authorizer say
//! that everything is allowed.

#![allow(unsafe_code, reason = "rdkafka has neither DescribeTopics nor DescribeConsumerGroups")]

use rdkafka::ClientContext;
use rdkafka::bindings::{self as sys, rd_kafka_AclOperation_t as Operation, rd_kafka_admin_op_t as Question};
use rdkafka::client::Client;
use rdkafka::error::RDKafkaErrorCode;
use std::ffi::{CString, c_int};
use std::ptr;

/// How long the brokers may take.
const TIMEOUT_MS: c_int = 10_000;

/// Something that may be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// To read records, or to be a member of a group and commit its offsets.
    Read,
    /// To write records.
    Write,
    /// To see that it is there.
    Describe,
    /// To see its settings.
    DescribeConfigs,
}

/// What this client may do with a topic.
///
/// # Errors
/// What the broker says: the topic is missing, or we may not even know of it.
pub fn on_topic<C: ClientContext>(client: &Client<C>, topic: &str) -> Result<Vec<Right>, RDKafkaErrorCode> {
    let name = CString::new(topic).map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
    let inquiry = Inquiry::new(client, Question::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
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
        let allowed = sys::rd_kafka_TopicDescription_authorized_operations(*topics, &raw mut count);
        Ok(rights(allowed, count))
    }
}

/// What this client may do with a consumer group, be there such a group or not.
///
/// # Errors
/// What the broker says: we may not even know of it.
pub fn on_group<C: ClientContext>(client: &Client<C>, group: &str) -> Result<Vec<Right>, RDKafkaErrorCode> {
    let name = CString::new(group).map_err(|_| RDKafkaErrorCode::InvalidGroupId)?;
    let inquiry = Inquiry::new(client, Question::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS);
    // SAFETY: as above.
    unsafe {
        sys::rd_kafka_DescribeConsumerGroups(
            client.native_ptr(),
            [name.as_ptr()].as_mut_ptr(),
            1,
            inquiry.options,
            inquiry.queue,
        );
        let answer = inquiry.answer()?;
        let mut count = 0;
        let result = sys::rd_kafka_event_DescribeConsumerGroups_result(answer.0);
        let groups = sys::rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count);
        if count == 0 {
            return Err(RDKafkaErrorCode::GroupIdNotFound);
        }
        no_error(sys::rd_kafka_ConsumerGroupDescription_error(*groups))?;
        let allowed = sys::rd_kafka_ConsumerGroupDescription_authorized_operations(*groups, &raw mut count);
        Ok(rights(allowed, count))
    }
}

/// A question to the brokers, with a queue of its own for the answer.
struct Inquiry {
    options: *mut sys::rd_kafka_AdminOptions_t,
    queue: *mut sys::rd_kafka_queue_t,
}

impl Inquiry {
    /// The client must live longer.
    fn new<C: ClientContext>(client: &Client<C>, question: Question) -> Self {
        // SAFETY: the client lives; the options are ours until `drop`. An option that is refused keeps its default.
        unsafe {
            let options = sys::rd_kafka_AdminOptions_new(client.native_ptr(), question);
            sys::rd_kafka_AdminOptions_set_request_timeout(options, TIMEOUT_MS, ptr::null_mut(), 0);
            let refused = sys::rd_kafka_AdminOptions_set_include_authorized_operations(options, 1);
            if !refused.is_null() {
                sys::rd_kafka_error_destroy(refused);
            }
            Self { options, queue: sys::rd_kafka_queue_new(client.native_ptr()) }
        }
    }

    fn answer(&self) -> Result<Answer, RDKafkaErrorCode> {
        // SAFETY: the queue lives; the event is ours, and destroyed with the Answer.
        unsafe {
            let event = sys::rd_kafka_queue_poll(self.queue, TIMEOUT_MS + 1_000);
            if event.is_null() {
                return Err(RDKafkaErrorCode::OperationTimedOut);
            }
            let answer = Answer(event);
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

/// An event that belongs to us.
struct Answer(*mut sys::rd_kafka_event_t);

impl Drop for Answer {
    fn drop(&mut self) {
        // SAFETY: it is ours, and nobody uses it any more.
        unsafe { sys::rd_kafka_event_destroy(self.0) }
    }
}

/// # Safety
/// `error` is null or points to a live error.
unsafe fn no_error(error: *const sys::rd_kafka_error_t) -> Result<(), RDKafkaErrorCode> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: it lives, says the caller.
    match RDKafkaErrorCode::from(unsafe { sys::rd_kafka_error_code(error) }) {
        RDKafkaErrorCode::NoError => Ok(()),
        code => Err(code),
    }
}

/// # Safety
/// `allowed` is null or points to `count` operations.
unsafe fn rights(allowed: *const Operation, count: usize) -> Vec<Right> {
    let right = |operation: &Operation| match operation {
        Operation::RD_KAFKA_ACL_OPERATION_READ => Some(Right::Read),
        Operation::RD_KAFKA_ACL_OPERATION_WRITE => Some(Right::Write),
        Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE => Some(Right::Describe),
        Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS => Some(Right::DescribeConfigs),
        _ => None,
    };
    if allowed.is_null() {
        return Vec::new();
    }
    // SAFETY: it has so many, says the caller.
    unsafe { std::slice::from_raw_parts(allowed, count) }.iter().filter_map(right).collect()
}
