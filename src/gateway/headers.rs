//! What the headers of a request ask for. Each function takes the headers as they came, and says what they mean or that they mean nothing.

use crate::wire::headers::Asked;
use axum::http::header::{self, HeaderMap, HeaderName};
use std::time::Duration;

/// The header with a request id.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The header that says how long to wait, and whether to wait at all.
pub const PREFER: HeaderName = HeaderName::from_static("prefer");
/// The media type of our bodies.
pub const JSON: &str = "application/json";

/// What a client prefers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preferences {
    /// `wait=N`: how long to wait for the reply.
    pub wait: Option<Duration>,
    /// `respond-async`: whether the client wants no reply, but the place where it will be.
    pub respond_async: bool,
}

/// Returns the request id of `Idempotency-Key`, which stands in quotes or not.
pub fn idempotency_key(headers: &HeaderMap) -> Asked<String> {
    let mut all = headers.get_all(IDEMPOTENCY_KEY).iter();
    let (first, second) = (all.next(), all.next());
    let Some(first) = first else { return Asked::Absent };
    if second.is_some() {
        return Asked::Malformed;
    }
    let Ok(text) = std::str::from_utf8(first.as_bytes()) else { return Asked::Malformed };
    let key = match text.trim().strip_prefix('"') {
        None => Some(text.trim().to_owned()),
        Some(rest) => unquoted(rest),
    };
    match key {
        Some(key) if key.is_empty() => Asked::Absent,
        Some(key) => Asked::Valid(key),
        None => Asked::Malformed,
    }
}

/// Returns the text of a quoted string after its first quote, or `None` if the string does not end where it should.
fn unquoted(rest: &str) -> Option<String> {
    let mut text = String::with_capacity(rest.len());
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return chars.next().is_none().then_some(text),
            '\\' => text.push(chars.next().filter(|c| matches!(c, '"' | '\\'))?),
            c => text.push(c),
        }
    }
}

/// Returns the version that `If-Match` names: exactly one strong tag with a number.
pub fn if_match(headers: &HeaderMap) -> Asked<i64> {
    let mut all = headers.get_all(header::IF_MATCH).iter();
    let (Some(first), second) = (all.next(), all.next()) else { return Asked::Absent };
    let number = |text: &str| {
        let digits = text.trim().strip_prefix('"')?.strip_suffix('"')?;
        let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| digits.parse().ok()).flatten()
    };
    match (first.to_str().ok().and_then(number), second) {
        (Some(version), None) => Asked::Valid(version),
        _ => Asked::Malformed,
    }
}

/// Returns whether `If-None-Match` names this version, so that the client has the body already.
pub fn has_already(headers: &HeaderMap, version: i64) -> bool {
    has_tag(headers, &format!("\"{version}\""))
}

/// Returns whether `If-None-Match` has this tag, which stands in its quotes.
pub fn has_tag(headers: &HeaderMap, tag: &str) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|given| given == "*" || given.strip_prefix("W/").unwrap_or(given) == tag)
}

/// Returns what `Prefer` asks for. Preferences that are not understood are ignored, as RFC 7240 demands. If `wait` occurs several times,
/// the first occurrence with a number counts.
pub fn preferences(headers: &HeaderMap) -> Preferences {
    let mut preferences = Preferences::default();
    let values = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    for preference in values.flat_map(|value| value.split([',', ';'])) {
        let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "respond-async" => preferences.respond_async = true,
            "wait" if preferences.wait.is_none() => {
                preferences.wait = value.trim().trim_matches('"').parse().ok().map(Duration::from_secs);
            }
            _ => {}
        }
    }
    preferences
}

/// Returns whether the body is JSON in UTF-8, as it is.
pub fn brings_json(headers: &HeaderMap) -> bool {
    let Some(content_type) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let mut parts = content_type.split(';').map(str::trim);
    let is_json = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case(JSON));
    let charset = parts.find_map(|part| part.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset")));
    let is_utf8 = charset.is_none_or(|(_, charset)| charset.trim().trim_matches('"').eq_ignore_ascii_case("utf-8"));
    let encoding = headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or("identity");
    is_json && is_utf8 && headers.get_all(header::CONTENT_TYPE).iter().count() == 1 && encoding.eq_ignore_ascii_case("identity")
}

/// Returns whether the client takes JSON. Without `Accept` it takes everything.
pub fn takes_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    if values.peek().is_none() {
        return true;
    }
    // The most specific range decides, so that `application/json;q=0, */*` refuses JSON.
    let ranges = values.flat_map(|value| value.split(',')).filter_map(range_for_json);
    ranges.max_by_key(|(specificity, takes)| (*specificity, *takes)).is_some_and(|(_, takes)| takes)
}

/// Returns how specific a range of media types is that contains JSON, and whether its weight is more than 0. Returns `None` for other
/// ranges.
fn range_for_json(range: &str) -> Option<(u8, bool)> {
    let mut parts = range.split(';').map(str::trim);
    let specificity = match parts.next()?.to_ascii_lowercase().as_str() {
        "*/*" => 0,
        "application/*" => 1,
        JSON => 2,
        _ => return None,
    };
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    Some((specificity, weight.is_none_or(|q| q.trim().parse::<f32>().is_ok_and(|q| q > 0.0))))
}

/// Returns whether the client wants the store's latest word (`Cache-Control: no-cache`).
pub fn wants_latest(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|directive| directive.trim().eq_ignore_ascii_case("no-cache"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn with(name: &HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_bytes(value.as_bytes()).unwrap())).collect()
    }

    #[test]
    fn a_key_stands_in_quotes_or_not_and_once() {
        let valid = |key: &str| Asked::Valid(key.to_owned());
        let cases: [(&[&str], Asked<String>); 11] = [
            (&[], Asked::Absent),
            (&[""], Asked::Absent),
            (&["\"\""], Asked::Absent),
            (&["r-1"], valid("r-1")),
            (&["\"r-1\""], valid("r-1")),
            (&["\"a\\\"b\\\\\""], valid("a\"b\\")),
            (&["é"], valid("é")),
            (&["\"r-1"], Asked::Malformed),
            (&["\"a\"b"], Asked::Malformed),
            (&["\"a\\n\""], Asked::Malformed),
            (&["r-1", "r-1"], Asked::Malformed),
        ];
        for (values, expected) in cases {
            assert_eq!(idempotency_key(&with(&IDEMPOTENCY_KEY, values)), expected, "{values:?}");
        }
    }

    #[test]
    fn if_match_is_exactly_one_strong_tag_with_a_number() {
        let cases: [(&[&str], Asked<i64>); 11] = [
            (&[], Asked::Absent),
            (&["\"7\""], Asked::Valid(7)),
            (&["\"007\""], Asked::Valid(7)),
            (&["W/\"7\""], Asked::Malformed),
            (&["7"], Asked::Malformed),
            (&["*"], Asked::Malformed),
            (&["\"-7\""], Asked::Malformed),
            (&["\"\""], Asked::Malformed),
            (&["\"7\", \"8\""], Asked::Malformed),
            (&["\"7\"", "\"7\""], Asked::Malformed),
            (&["\"99999999999999999999\""], Asked::Malformed),
        ];
        for (values, expected) in cases {
            assert_eq!(if_match(&with(&header::IF_MATCH, values)), expected, "{values:?}");
        }
    }

    #[test]
    fn a_version_is_known_by_either_kind_of_tag() {
        for (value, expected) in
            [("\"7\"", true), ("W/\"7\"", true), ("\"6\", \"7\"", true), ("*", true), ("\"8\"", false), ("7", false)]
        {
            assert_eq!(has_already(&with(&header::IF_NONE_MATCH, &[value]), 7), expected, "{value}");
        }
    }

    #[test]
    fn preferences_are_read_and_others_ignored() {
        let seconds = |s| Some(Duration::from_secs(s));
        let cases: [(&[&str], Option<Duration>, bool); 7] = [
            (&[], None, false),
            (&["wait=5"], seconds(5), false),
            (&["respond-async, wait=5"], seconds(5), true),
            (&["Respond-Async", "WAIT = 7"], seconds(7), true),
            (&["wait=soon"], None, false),
            (&["wait=-1"], None, false),
            (&["return=minimal"], None, false),
        ];
        for (values, wait, respond_async) in cases {
            assert_eq!(preferences(&with(&PREFER, values)), Preferences { wait, respond_async }, "{values:?}");
        }
    }

    #[test]
    fn media_types_are_json_or_not() {
        for (value, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=UTF-8", true),
            ("application/json; charset=latin1", false),
            ("application/problem+json", false),
            ("text/plain", false),
        ] {
            assert_eq!(brings_json(&with(&header::CONTENT_TYPE, &[value])), expected, "{value}");
        }
        assert!(!brings_json(&HeaderMap::new()));
        let mut zipped = with(&header::CONTENT_TYPE, &[JSON]);
        zipped.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert!(!brings_json(&zipped));
        for (value, expected) in [
            ("*/*", true),
            ("text/html, application/*;q=0.1", true),
            ("application/json", true),
            ("application/json;q=0, */*", false),
            ("application/problem+json", false),
            ("text/html", false),
            ("*/*;q=0.0", false),
        ] {
            assert_eq!(takes_json(&with(&header::ACCEPT, &[value])), expected, "{value}");
        }
        assert!(takes_json(&HeaderMap::new()));
        assert!(wants_latest(&with(&header::CACHE_CONTROL, &["max-age=0, No-Cache"])));
    }
}
