//! A value as it was given, by the file or by a variable, and reading it as what is wanted. Where text is wanted a variable's value
//! is that text; elsewhere it is read as TOML (`5`, `true`, `["a", "b"]`, `{ a = 1 }`), and lists may be written with commas (`a,b`).

use super::settings::Source;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

/// How a variable begins that overrides a key.
pub(super) const PREFIX: &str = "CRM__";
/// What stands in a variable for a dot of the path.
pub(super) const SEPARATOR: &str = "__";

/// A value and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Given {
    /// As TOML; of a variable, its text.
    pub value: toml::Value,
    /// The variable that gave it; `None` for the file.
    pub variable: Option<String>,
}

impl Given {
    /// Returns where it came from.
    pub fn source(&self) -> Source {
        self.variable.clone().map_or(Source::File, Source::Variable)
    }
}

/// The variable that overrides a key with its full path.
pub(super) fn variable_of(key: &str) -> String {
    // Properties of librdkafka have dots of their own, which a variable writes as single underscores.
    let open = ["kafka.consumer.", "kafka.producer."].into_iter().find(|table| key.starts_with(table)).unwrap_or_default();
    let path = open.replace('.', SEPARATOR) + &key[open.len()..].replace('.', if open.is_empty() { SEPARATOR } else { "_" });
    format!("{PREFIX}{}", path.to_uppercase())
}

/// Text as it is.
pub(super) fn text(given: &Given) -> Result<String, String> {
    match &given.value {
        toml::Value::String(text) if text.trim().is_empty() => Err("must not be empty".into()),
        toml::Value::String(text) => Ok(text.clone()),
        other => Err(format!("must be text, is {}", kind(other))),
    }
}

/// Text as `parse` takes it.
pub(super) fn of_text<T, E: Display>(parse: impl FnOnce(&str) -> Result<T, E>) -> impl FnOnce(&Given) -> Result<T, String> {
    |given| parse(&text(given)?).map_err(|reason| reason.to_string())
}

/// `true` or `false`.
pub(super) fn boolean(given: &Given) -> Result<bool, String> {
    let value = as_toml(given);
    value.as_ref().and_then(toml::Value::as_bool).ok_or_else(|| "must be true or false".into())
}

/// A whole number within `range`.
pub(super) fn count(range: RangeInclusive<usize>) -> impl FnOnce(&Given) -> Result<usize, String> {
    move |given| {
        let number = as_toml(given).as_ref().and_then(toml::Value::as_integer).ok_or("must be a whole number")?;
        let number = usize::try_from(number).map_err(|_| "must not be negative")?;
        if range.contains(&number) { Ok(number) } else { Err(format!("must be between {} and {}", range.start(), range.end())) }
    }
}

/// A duration such as `5s`, `250ms`, `30d`, within `range`.
pub(super) fn duration(range: RangeInclusive<Duration>) -> impl FnOnce(&Given) -> Result<Duration, String> {
    move |given| {
        let text = text(given).map_err(|reason| format!("{reason}; durations are texts with a unit"))?;
        let duration = humantime::parse_duration(&text).map_err(|e| format!("is no duration: {e}"))?;
        if range.contains(&duration) {
            Ok(duration)
        } else {
            let (from, to) = (humantime::format_duration(*range.start()), humantime::format_duration(*range.end()));
            Err(format!("must be between {from} and {to}"))
        }
    }
}

/// A list of texts, each as `parse` takes it; a variable may write it with commas.
pub(super) fn list<T, E: Display>(parse: impl Fn(&str) -> Result<T, E>) -> impl FnOnce(&Given) -> Result<Vec<T>, String> {
    move |given| {
        let array = match (as_toml(given), &given.value) {
            (Some(toml::Value::Array(array)), _) => array,
            (_, toml::Value::String(text)) if given.variable.is_some() => {
                text.split(',').map(|item| toml::Value::String(item.trim().into())).collect()
            }
            (_, other) => return Err(format!("must be a list, is {}", kind(other))),
        };
        let items = array.iter().enumerate().map(|(at, item)| {
            let text = item.as_str().ok_or_else(|| format!("item {} must be text, is {}", at + 1, kind(item)))?;
            parse(text).map_err(|reason| format!("item {} ({text:?}) {reason}", at + 1))
        });
        // Every bad item, not just the first.
        let (good, bad): (Vec<_>, Vec<_>) = items.partition(Result::is_ok);
        if bad.is_empty() {
            Ok(good.into_iter().filter_map(Result::ok).collect())
        } else {
            Err(bad.into_iter().filter_map(Result::err).collect::<Vec<_>>().join("; "))
        }
    }
}

/// A scalar as text, for tables that are passed through: `6000`, `true`, `"gzip"`.
pub(super) fn scalar(given: &Given) -> Result<String, String> {
    match &given.value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Float(number) => Ok(number.to_string()),
        toml::Value::Boolean(flag) => Ok(flag.to_string()),
        other => Err(format!("must be text, a number, true or false, is {}", kind(other))),
    }
}

/// The value where something other than text is wanted: a variable's text is read as TOML.
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
