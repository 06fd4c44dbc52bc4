//! A record of any topic as JSON: its bytes are shown as text if they are text, and otherwise as base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rdkafka::message::{Headers as _, Message as _, OwnedMessage};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// A record as it is shown, its parts in this order.
#[derive(Serialize)]
pub struct RecordLine<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp: Option<i64>,
    key: Value,
    headers: Map<String, Value>,
    value: Value,
}

impl<'a> RecordLine<'a> {
    /// Shows a record with its decoded value.
    pub fn of(record: &'a OwnedMessage, value: Value) -> Self {
        Self {
            topic: record.topic(),
            partition: record.partition(),
            offset: record.offset(),
            timestamp: record.timestamp().to_millis(),
            key: text(record.key()),
            headers: headers(all_headers(record)),
            value,
        }
    }
}

/// Returns a record's headers, in order.
pub fn all_headers(record: &OwnedMessage) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
    record.headers().into_iter().flat_map(|headers| headers.iter()).map(|header| (header.key, header.value))
}

/// Returns headers as JSON, by name. A name that occurs more than once has a list of values.
pub fn headers<'a>(all: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>) -> Map<String, Value> {
    let mut headers = Map::new();
    for (name, value) in all {
        let value = text(value);
        match headers.get_mut(name) {
            None => drop(headers.insert(name.into(), value)),
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = json!([first.take(), value]),
        }
    }
    headers
}

/// Returns bytes as text if they are text, otherwise as base64.
pub fn text(bytes: Option<&[u8]>) -> Value {
    bytes.map_or(Value::Null, |bytes| std::str::from_utf8(bytes).map_or_else(|_| base64(bytes), Value::from))
}

/// Returns bytes as `{"base64": "…"}`.
pub fn base64(bytes: &[u8]) -> Value {
    json!({ "base64": STANDARD.encode(bytes) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::Timestamp;
    use rdkafka::message::{Header, OwnedHeaders};

    #[test]
    fn a_record_is_a_line_with_texts_where_it_has_texts() {
        let header = |key, value: &'static [u8]| Header { key, value: Some(value) };
        let headers = OwnedHeaders::new()
            .insert(header("a", b"1"))
            .insert(header("b", b"\xff"))
            .insert(header("a", b"2"))
            .insert(header("a", b"3"))
            .insert(Header { key: "c", value: None::<&[u8]> });
        let record = OwnedMessage::new(None, Some(b"k".to_vec()), "t".into(), Timestamp::CreateTime(7), 1, 42, Some(headers));
        let expected = json!({
            "topic": "t", "partition": 1, "offset": 42, "timestamp": 7, "key": "k",
            "headers": {"a": ["1", "2", "3"], "b": {"base64": "/w=="}, "c": null},
            "value": {"x": 1},
        });
        assert_eq!(serde_json::to_value(RecordLine::of(&record, json!({"x": 1}))).unwrap(), expected);
    }
}
