//! The rights of a client on a topic or a group, as the brokers tell them. Asking changes nothing. Brokers without an authorizer answer
//! that everything is allowed.

#![allow(unsafe_code, reason = "rdkafka has neither DescribeTopics nor DescribeConsumerGroups")]

use super::inquiry::{Inquiry, describe_topic, no_error};
use rdkafka::ClientContext;
use rdkafka::bindings::{self as sys, rd_kafka_AclOperation_t as Operation, rd_kafka_admin_op_t as Question};
use rdkafka::client::Client;
use rdkafka::error::RDKafkaErrorCode;
use std::ffi::CString;
use std::time::Duration;

/// How long the brokers may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// An operation that brokers may allow to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// To read records, or to be a member of a group and commit its offsets.
    Read,
    /// To write records.
    Write,
    /// To see that the topic or group exists.
    Describe,
    /// To see the topic's settings.
    DescribeConfigs,
}

impl Right {
    /// Returns the right's name, as `kafka-acls.sh` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "Read",
            Self::Write => "Write",
            Self::Describe => "Describe",
            Self::DescribeConfigs => "DescribeConfigs",
        }
    }
}

/// Returns what this client may do with a topic.
///
/// # Errors
/// Returns an error if the topic is missing, this client may not describe it, or no broker answers in time.
pub fn on_topic<C: ClientContext>(client: &Client<C>, topic: &str) -> Result<Vec<Right>, RDKafkaErrorCode> {
    describe_topic(client, topic, TIMEOUT, |description| {
        let mut count = 0;
        // SAFETY: the description lives during this call, and what it points to with it.
        unsafe {
            let allowed = sys::rd_kafka_TopicDescription_authorized_operations(description, &raw mut count);
            rights(allowed, count)
        }
    })
}

/// Returns what this client may do with a consumer group, whether or not the group exists.
///
/// # Errors
/// Returns an error if this client may not describe the group, or no broker answers in time.
pub fn on_group<C: ClientContext>(client: &Client<C>, group: &str) -> Result<Vec<Right>, RDKafkaErrorCode> {
    let name = CString::new(group).map_err(|_| RDKafkaErrorCode::InvalidGroupId)?;
    let inquiry = Inquiry::new(client, Question::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS, TIMEOUT);
    // SAFETY: the client and the inquiry's queue and options live until the end; librdkafka copies the name; what the answer points to
    // lives as long as the answer.
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

/// Returns the operations that this program knows of those that are allowed.
///
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
    // SAFETY: the caller guarantees that there are `count` operations.
    unsafe { std::slice::from_raw_parts(allowed, count) }.iter().filter_map(right).collect()
}
