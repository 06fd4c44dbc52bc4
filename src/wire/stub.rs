//! The stub of a record, which goes to the dead letter topic in the record's place if no broker takes the record as it came, or if the
//! record can't be decompressed. A stub is a JSON object that says what is known of the record and where the original stands.

use super::headers::hexadecimal;
use crate::domain::request::SourceRecord;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use std::borrow::Cow;

/// The header that tells a stub from a dead letter.
pub const STUB: &str = "crm-stub";

/// Returns the header that tells a stub from a dead letter.
pub fn stub_header() -> (Cow<'static, str>, Option<Bytes>) {
    (STUB.into(), Some(Bytes::from_static(b"true")))
}

/// The sizes of a record, with the digest and the first bytes by which its value can be recognised.
#[derive(Clone, Copy, Debug)]
pub struct StubContents<'a> {
    /// The size of the key, in bytes.
    pub key_bytes: usize,
    /// The size of the value, in bytes.
    pub value_bytes: usize,
    /// The size of the headers, names and values, in bytes.
    pub headers_bytes: usize,
    /// The SHA-256 of the value.
    pub sha256: [u8; 32],
    /// The first bytes of the value.
    pub first: &'a [u8],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    key_bytes: Option<usize>,
    value_bytes: Option<usize>,
    headers_bytes: Option<usize>,
    sha256: Option<String>,
    first: Option<String>,
}

/// Returns the stub of the record at `origin`, as JSON. Without `contents`, all its fields but topic, partition and offset are null.
pub fn stub(origin: &SourceRecord, contents: Option<StubContents<'_>>) -> String {
    let json = Json {
        topic: &origin.topic,
        partition: origin.partition,
        offset: origin.offset,
        key_bytes: contents.map(|c| c.key_bytes),
        value_bytes: contents.map(|c| c.value_bytes),
        headers_bytes: contents.map(|c| c.headers_bytes),
        sha256: contents.map(|c| hexadecimal(&c.sha256)),
        first: contents.map(|c| STANDARD.encode(c.first)),
    };
    serde_json::to_string(&json).expect("texts and numbers are always JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stub_says_what_is_known_and_where_the_original_stands() {
        let origin = SourceRecord { topic: "crm.commands".into(), partition: 3, offset: 42 };
        let contents = StubContents { key_bytes: 1, value_bytes: 2, headers_bytes: 3, sha256: [0xab; 32], first: &[0, 1] };
        let sha256 = "ab".repeat(32);
        assert_eq!(
            stub(&origin, Some(contents)),
            format!(
                r#"{{"topic":"crm.commands","partition":3,"offset":42,"keyBytes":1,"valueBytes":2,"headersBytes":3,"sha256":"{sha256}","first":"AAE="}}"#
            )
        );
        assert!(stub(&origin, None).contains(r#""valueBytes":null"#));
    }
}
