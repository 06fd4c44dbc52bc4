//! A value as the file or a variable gave it, and the functions that turn it into the type that is wanted. If text is wanted, a
//! variable's value is that text. Otherwise it is read as TOML (`5`, `true`, `["a", "b"]`, `{ a = 1 }`), and a list may be written with
//! commas (`a,b`).

use super::findings::without_credentials;
use super::settings::Source;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The prefix of a variable that overrides a key.
pub(super) const PREFIX: &str = "CRM__";
/// The text that stands in a variable's name for a dot of the path.
pub(super) const SEPARATOR: &str = "__";

/// A day, for durations in the configuration.
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

/// A value and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Given {
    /// The value as TOML. The value of a variable is always a TOML string.
    pub value: toml::Value,
    /// The variable that gave the value; `None` if the file did.
    pub variable: Option<String>,
}

impl Given {
    /// Returns where the value came from.
    pub fn source(&self) -> Source {
        self.variable.clone().map_or(Source::File, Source::Variable)
    }
}

/// Returns the name of the variable that overrides `key`, a full path.
pub(super) fn variable_of(key: &str) -> String {
    // Properties of librdkafka have dots in their names, which a variable writes as single underscores.
    let open = ["kafka.consumer.", "kafka.producer."].into_iter().find(|table| key.starts_with(table)).unwrap_or_default();
    let path = open.replace('.', SEPARATOR) + &key[open.len()..].replace('.', if open.is_empty() { SEPARATOR } else { "_" });
    format!("{PREFIX}{}", path.to_uppercase())
}

/// Returns the text as it was given.
pub(super) fn text(given: &Given) -> Result<String, String> {
    match &given.value {
        toml::Value::String(text) if text.trim().is_empty() => Err("must not be empty".into()),
        toml::Value::String(text) => Ok(text.clone()),
        other => Err(format!("must be text, but is {}", kind(other))),
    }
}

/// Returns a function that parses text with `parse`.
pub(super) fn of_text<T, E: Display>(parse: impl FnOnce(&str) -> Result<T, E>) -> impl FnOnce(&Given) -> Result<T, String> {
    |given| parse(&text(given)?).map_err(|reason| reason.to_string())
}

/// Reads `true` or `false`.
pub(super) fn boolean(given: &Given) -> Result<bool, String> {
    let value = as_toml(given);
    value.as_ref().and_then(toml::Value::as_bool).ok_or_else(|| "must be true or false".into())
}

/// Returns a function that reads a whole number within `range`.
pub(super) fn count(range: RangeInclusive<usize>) -> impl FnOnce(&Given) -> Result<usize, String> {
    move |given| {
        let number = as_toml(given).as_ref().and_then(toml::Value::as_integer).ok_or("must be a whole number")?;
        let number = usize::try_from(number).map_err(|_| "must not be negative")?;
        if range.contains(&number) { Ok(number) } else { Err(format!("must be between {} and {}", range.start(), range.end())) }
    }
}

/// Returns a function that reads a duration such as `5s`, `250ms` or `30d`, within `range`.
pub(super) fn duration(range: RangeInclusive<Duration>) -> impl FnOnce(&Given) -> Result<Duration, String> {
    move |given| {
        let text = text(given).map_err(|reason| format!("{reason}; a duration is text with a unit"))?;
        let duration = humantime::parse_duration(&text).map_err(|e| format!("is not a duration: {e}"))?;
        if range.contains(&duration) {
            Ok(duration)
        } else {
            let (from, to) = (humantime::format_duration(*range.start()), humantime::format_duration(*range.end()));
            Err(format!("must be between {from} and {to}"))
        }
    }
}

/// Returns a function that reads a list of texts and parses each with `parse`. A variable may write the list with commas.
pub(super) fn list<T, E: Display>(parse: impl Fn(&str) -> Result<T, E>) -> impl FnOnce(&Given) -> Result<Vec<T>, String> {
    move |given| {
        let array = match (as_toml(given), &given.value) {
            (Some(toml::Value::Array(array)), _) => array,
            (_, toml::Value::String(text)) if given.variable.is_some() => {
                text.split(',').map(|item| toml::Value::String(item.trim().into())).collect()
            }
            (_, other) => return Err(format!("must be a list, but is {}", kind(other))),
        };
        let items = array.iter().enumerate().map(|(at, item)| {
            let text = item.as_str().ok_or_else(|| format!("item {} must be text, but is {}", at + 1, kind(item)))?;
            parse(text).map_err(|reason| format!("item {} ({:?}) {reason}", at + 1, without_credentials(text)))
        });
        // The error names every bad item, not just the first.
        let (good, bad): (Vec<_>, Vec<_>) = items.partition(Result::is_ok);
        if bad.is_empty() {
            Ok(good.into_iter().filter_map(Result::ok).collect())
        } else {
            Err(bad.into_iter().filter_map(Result::err).collect::<Vec<_>>().join("; "))
        }
    }
}

/// Returns a scalar (`6000`, `true`, `"gzip"`) as text, for tables that are passed through.
pub(super) fn scalar(given: &Given) -> Result<String, String> {
    match &given.value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Float(number) => Ok(number.to_string()),
        toml::Value::Boolean(flag) => Ok(flag.to_string()),
        other => Err(format!("must be text, a number, true or false, but is {}", kind(other))),
    }
}

/// Returns the value for a key that wants something other than text, so that a variable's text is read as TOML. Returns `None` if that
/// text is not TOML.
pub(super) fn as_toml(given: &Given) -> Option<toml::Value> {
    match (&given.value, &given.variable) {
        (toml::Value::String(text), Some(_)) => toml::from_str::<toml::Table>(&format!("v = {text}")).ok()?.remove("v"),
        (value, _) => Some(value.clone()),
    }
}

fn kind(value: &toml::Value) -> &'static str {
    match value {
        toml::Value::String(_) => "text",
        toml::Value::Integer(_) => "a whole number",
        toml::Value::Float(_) => "a number",
        toml::Value::Boolean(_) => "true or false",
        toml::Value::Datetime(_) => "a date",
        toml::Value::Array(_) => "a list",
        toml::Value::Table(_) => "a table",
    }
}
