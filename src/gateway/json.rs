//! JSON as it was sent: with each key of an object in its place, repeated ones included. Ordinary parsers keep the last of two equal keys,
//! so that two systems on the way of a command may read it differently.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A whole number that fits into 64 bits with a sign. JSON has one kind of numbers, so `3.0` is whole, too, up to [`LARGEST_EXACT`].
    Whole(i64),
    /// Any other number.
    Number,
    /// A text.
    Text(String),
    /// A list. No command has one, so its items are not kept.
    List,
    /// An object, with its keys in the order in which they stand.
    Object(Vec<(String, Json)>),
}

/// Up to this size, all whole numbers differ from each other when they are written with a fraction or an exponent: 2 to the power of 53.
const LARGEST_EXACT: f64 = 9_007_199_254_740_992.0;

impl Json {
    /// Reads a text that is one JSON value and nothing else.
    ///
    /// # Errors
    /// The bytes are no JSON, no UTF-8, or more than one value. The text says where, and shows no value.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }

    /// Returns what kind of value this is, in words.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "true or false",
            Self::Whole(_) | Self::Number => "a number",
            Self::Text(_) => "a text",
            Self::List => "a list",
            Self::Object(_) => "an object",
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AsItIs)
    }
}

struct AsItIs;

impl<'de> Visitor<'de> for AsItIs {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Whole(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json, E> {
        Ok(i64::try_from(value).map_or(Json::Number, Json::Whole))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json, E> {
        let is_whole = value.fract() == 0.0 && value.abs() <= LARGEST_EXACT;
        #[expect(clippy::cast_possible_truncation, reason = "it is whole, and within the bound")]
        let whole = is_whole.then_some(value as i64);
        Ok(whole.map_or(Json::Number, Json::Whole))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        while items.next_element::<Json>()?.is_some() {}
        Ok(Json::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut object = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            object.push(entry);
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_keys_are_kept_and_only_whole_numbers_are_whole() {
        let text = br#"{"a":1,"a":"x","b":[1,{"c":2}],"d":{"e":null},"f":1.5,"g":9223372036854775808,"h":true,"i":-3.0,"j":1e300,"k":1e3}"#;
        let got = Json::parse(text);
        let entry = |key: &str, value| (key.to_owned(), value);
        let expected = Json::Object(vec![
            entry("a", Json::Whole(1)),
            entry("a", Json::Text("x".into())),
            entry("b", Json::List),
            entry("d", Json::Object(vec![entry("e", Json::Null)])),
            entry("f", Json::Number),
            entry("g", Json::Number),
            entry("h", Json::Bool(true)),
            entry("i", Json::Whole(-3)),
            entry("j", Json::Number),
            entry("k", Json::Whole(1000)),
        ]);
        assert_eq!(got, Ok(expected));
    }

    #[test]
    fn what_is_not_exactly_one_value_is_refused() {
        let deep = "[".repeat(100_000);
        let cases: [&[u8]; 9] = [
            b"",
            b"{",
            b"{} {}",
            b"{}x",
            b"{\"a\":\"\xff\"}",
            b"{\"a\":\"\\ud800\"}",
            b"{'a':1}",
            b"\xef\xbb\xbf{}",
            deep.as_bytes(),
        ];
        for text in cases {
            assert!(Json::parse(text).is_err(), "{}", String::from_utf8_lossy(&text[..text.len().min(40)]));
        }
    }
}
