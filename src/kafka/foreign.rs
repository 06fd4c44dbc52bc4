//! Texts that any client may have written: the names of headers, and the metadata of committed offsets. rdkafka panics if such a text is
//! not UTF-8, so one record could end every reader of its topic. Here such a header is left out, and such metadata counts as none.

#![allow(unsafe_code, reason = "rdkafka gives these texts only as UTF-8")]

use rdkafka::TopicPartitionList;
use rdkafka::bindings as sys;
use rdkafka::message::{BorrowedMessage, Header, Message as _, OwnedHeaders, OwnedMessage};
use rdkafka::types::{RDKafkaHeaders, RDKafkaTopicPartition};
use std::ffi::CStr;
use std::ptr;
use std::slice;

/// Returns a record's headers, in order, without those whose names are not UTF-8.
pub fn headers<'m>(message: &'m BorrowedMessage<'_>) -> Vec<(&'m str, Option<&'m [u8]>)> {
    let mut headers = ptr::null_mut();
    // SAFETY: the message lives, and librdkafka writes the address of its headers, which are the message's.
    let found = unsafe { sys::rd_kafka_message_headers(message.ptr(), &raw mut headers) };
    if found != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Vec::new();
    }
    // SAFETY: the headers are those of the message, which is borrowed for as long as the result.
    let all = (0..).map_while(|n| unsafe { header(headers, n) });
    all.filter_map(|(name, value)| Some((name.to_str().ok()?, value))).collect()
}

/// Returns the name and the value of one of the headers, or `None` if there are not as many.
///
/// # Safety
/// The headers live for as long as `'m`, and do not change.
unsafe fn header<'m>(headers: *const RDKafkaHeaders, n: usize) -> Option<(&'m CStr, Option<&'m [u8]>)> {
    let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
    // SAFETY: the caller vouches for the headers; librdkafka writes addresses of what is in them.
    let found = unsafe { sys::rd_kafka_header_get_all(headers, n, &raw mut name, &raw mut value, &raw mut size) };
    (found == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| {
        // SAFETY: a name ends with a null byte, a value has so many bytes, and both are in the headers.
        unsafe { (CStr::from_ptr(name), (!value.is_null()).then(|| slice::from_raw_parts(value.cast(), size))) }
    })
}

/// Returns a copy of a record, without the headers whose names are not UTF-8.
pub fn detached(message: &BorrowedMessage<'_>) -> OwnedMessage {
    let headers = headers(message);
    let kept = headers
        .iter()
        .fold(OwnedHeaders::new_with_capacity(headers.len()), |kept, (key, value)| kept.insert(Header { key, value: *value }));
    OwnedMessage::new(
        message.payload().map(<[u8]>::to_vec),
        message.key().map(<[u8]>::to_vec),
        message.topic().to_owned(),
        message.timestamp(),
        message.partition(),
        message.offset(),
        (!headers.is_empty()).then_some(kept),
    )
}

/// Returns the metadata of each element of a list, in its order; an empty text if there is none, or if it is not UTF-8.
pub fn metadata(list: &TopicPartitionList) -> Vec<String> {
    // SAFETY: the list lives, and has `cnt` elements, one after another.
    let elements: &[RDKafkaTopicPartition] = unsafe {
        let list = &*list.ptr();
        let count = usize::try_from(list.cnt).unwrap_or_default();
        if count == 0 { &[] } else { slice::from_raw_parts(list.elems, count) }
    };
    let text = |element: &RDKafkaTopicPartition| {
        if element.metadata.is_null() {
            return String::new();
        }
        // SAFETY: the metadata is the element's, and has so many bytes.
        let bytes = unsafe { slice::from_raw_parts(element.metadata.cast::<u8>(), element.metadata_size) };
        String::from_utf8(bytes.to_vec()).unwrap_or_default()
    };
    elements.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::Offset;

    #[test]
    fn metadata_that_is_no_text_counts_as_none() {
        let mut list = TopicPartitionList::new();
        for partition in 0..3 {
            list.add_partition_offset("t", partition, Offset::Offset(7)).unwrap();
        }
        list.find_partition("t", 0).unwrap().set_metadata("ours 1");
        list.find_partition("t", 1).unwrap().set_metadata("ours 2");
        // SAFETY: the list has three elements, and the second one's metadata has six bytes.
        unsafe { *(*(*list.ptr()).elems.add(1)).metadata.cast::<u8>() = 0xff };
        assert_eq!(metadata(&list), ["ours 1", "", ""]);
        assert_eq!(metadata(&TopicPartitionList::new()), [""; 0]);
    }
}
