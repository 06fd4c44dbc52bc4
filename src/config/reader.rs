//! Reads typed values out of a TOML file with the environment laid over it, and collects what is wrong on the way: a value
//! that can't be taken becomes a finding and its default goes in, so that reading goes on to the next one.
//!
//! `CRM__KAFKA__GROUP_ID=x` is `kafka.group_id = "x"`: the prefix `CRM__`, then the path with `__` for each dot. Where text is
//! wanted the variable's value is that text; elsewhere it is read as TOML (`5`, `true`, `["a", "b"]`, `{ a = 1 }`), and lists may
//! be written with commas (`a,b`).

use super::findings::{Finding, shown};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

const PREFIX: &str = "CRM__";
const SEPARATOR: &str = "__";

/// Below this likeness (Jaro-Winkler) a known key is no suggestion for an unknown one.
const ALIKE: f64 = 0.85;

/// A value and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub value: toml::Value,
    pub variable: Option<String>,
}

#[derive(Clone, Debug)]
enum Node {
    Table(BTreeMap<String, Node>),
    Leaf(Given),
}

/// What reading gathers beside the values.
#[derive(Default)]
pub(super) struct Gathered {
    findings: RefCell<Vec<Finding>>,
    known: RefCell<Vec<String>>,
    unknown: RefCell<Vec<(String, Given)>>,
}

impl Gathered {
    /// Adds a finding.
    pub fn add(&self, finding: Finding) {
        self.findings.borrow_mut().push(finding);
    }

    /// True if nothing was found about `key`: a check across keys makes sense only for those.
    pub fn is_sound(&self, key: &str) -> bool {
        self.findings.borrow().iter().all(|f| f.key != key)
    }

    /// All findings, those about unknown keys last.
    pub fn into_findings(self) -> Vec<Finding> {
        let known = self.known.into_inner();
        let unknown = self.unknown.into_inner().into_iter().map(|(key, given)| Finding {
            value: Some(shown(&key, &given.value)),
            variable: given.variable,
            reason: "there is no such key".into(),
            right: suggestion(&key, &known),
            key,
        });
        let mut findings = self.findings.into_inner();
        findings.extend(unknown);
        findings
    }
}

/// One table of the configuration, read key by key.
pub(super) struct Section<'a> {
    path: String,
    entries: BTreeMap<String, Node>,
    gathered: &'a Gathered,
}

impl<'a> Section<'a> {
    /// The whole configuration: `file` with `environment` over it.
    pub fn root(file: toml::Table, environment: impl IntoIterator<Item = (String, String)>, gathered: &'a Gathered) -> Self {
        let mut entries = nodes(file, None);
        let mut overrides: Vec<(Vec<String>, String, String)> = environment
            .into_iter()
            .filter_map(|(variable, value)| {
                let path = variable.strip_prefix(PREFIX)?.split(SEPARATOR).map(str::to_ascii_lowercase).collect();
                Some((path, variable, value))
            })
            .collect();
        // Short paths first: a variable for a key of a table goes over one for the whole table.
        overrides.sort_by(|(a, _, _), (b, _, _)| (a.len(), a).cmp(&(b.len(), b)));
        for (path, variable, value) in overrides {
            insert(&mut entries, &path, Given { value: toml::Value::String(value), variable: Some(variable) });
        }
        Self { path: String::new(), entries, gathered }
    }

    /// The full path of a key in this table.
    pub fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.into() } else { format!("{}.{key}", self.path) }
    }

    /// The table under `key`; empty where there is none.
    pub fn section(&mut self, key: &str) -> Section<'a> {
        let path = self.key(key);
        let entries = match self.entries.remove(key) {
            None => BTreeMap::new(),
            Some(Node::Table(entries)) => entries,
            Some(Node::Leaf(given)) => {
                if let Some(toml::Value::Table(table)) = as_toml(&given) {
                    nodes(table, given.variable.as_deref())
                } else {
                    self.reject(key, Some(&given), "must be a table", &format!("[{path}] with its keys below"));
                    BTreeMap::new()
                }
            }
        };
        Section { path, entries, gathered: self.gathered }
    }

    /// The value of `key` as `parse` takes it; None where it is missing, or wrong and now a finding.
    pub fn optional<T, E: Display>(&mut self, key: &str, right: &str, parse: impl FnOnce(&Given) -> Result<T, E>) -> Option<T> {
        self.gathered.known.borrow_mut().push(self.key(key));
        let given = match self.entries.remove(key)? {
            Node::Leaf(given) => given,
            table @ Node::Table(_) => Given { value: value_of(table), variable: None },
        };
        match parse(&given) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.reject(key, Some(&given), &reason.to_string(), right);
                None
            }
        }
    }

    /// The value of `key`, or `default`.
    pub fn value<T, E: Display>(&mut self, key: &str, default: T, right: &str, parse: impl FnOnce(&Given) -> Result<T, E>) -> T {
        self.optional(key, right, parse).unwrap_or(default)
    }

    /// All that is in a table whose keys are not ours, nested tables with their dots, the environment's last. A variable's
    /// name is given as its last part, in its own case.
    pub fn take_all(mut self) -> Vec<(String, Given)> {
        let mut all = Vec::new();
        flatten(String::new(), Node::Table(std::mem::take(&mut self.entries)), &mut all);
        all.sort_by_key(|(_, given)| given.variable.is_some());
        all
    }

    /// A finding about `key`.
    pub fn reject(&self, key: &str, given: Option<&Given>, reason: &str, right: &str) {
        let key = self.key(key);
        self.gathered.add(Finding {
            value: given.map(|g| shown(&key, &g.value)),
            variable: given.and_then(|g| g.variable.clone()),
            reason: reason.into(),
            right: right.into(),
            key,
        });
    }
}

impl Drop for Section<'_> {
    /// What was not read is unknown.
    fn drop(&mut self) {
        let mut rest = Vec::new();
        for (key, node) in std::mem::take(&mut self.entries) {
            flatten(self.key(&key), node, &mut rest);
        }
        self.gathered.unknown.borrow_mut().extend(rest);
    }
}

/// Text as it is.
pub(super) fn text(given: &Given) -> Result<String, String> {
    match &given.value {
        toml::Value::String(text) if text.trim().is_empty() => Err("must not be empty".into()),
        toml::Value::String(text) => Ok(text.clone()),
        other => Err(format!("must be text, is {}", kind(other))),
    }
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
fn as_toml(given: &Given) -> Option<toml::Value> {
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

fn nodes(table: toml::Table, variable: Option<&str>) -> BTreeMap<String, Node> {
    let node = |value| match value {
        toml::Value::Table(table) => Node::Table(nodes(table, variable)),
        value => Node::Leaf(Given { value, variable: variable.map(Into::into) }),
    };
    table.into_iter().map(|(key, value)| (key, node(value))).collect()
}

fn insert(entries: &mut BTreeMap<String, Node>, path: &[String], given: Given) {
    match path {
        [] => {}
        [key] => {
            entries.insert(key.clone(), Node::Leaf(given));
        }
        [key, rest @ ..] => {
            let node = entries.entry(key.clone()).or_insert_with(|| Node::Table(BTreeMap::new()));
            if let Node::Leaf(leaf) = node {
                *node = match as_toml(leaf) {
                    Some(toml::Value::Table(table)) => Node::Table(nodes(table, leaf.variable.as_deref())),
                    _ => Node::Table(BTreeMap::new()),
                };
            }
            if let Node::Table(table) = node {
                insert(table, rest, given);
            }
        }
    }
}

fn flatten(path: String, node: Node, out: &mut Vec<(String, Given)>) {
    match node {
        Node::Leaf(given) => out.push((path, given)),
        Node::Table(entries) => {
            for (key, node) in entries {
                let path = if path.is_empty() { key } else { format!("{path}.{key}") };
                flatten(path, node, out);
            }
        }
    }
}

fn value_of(node: Node) -> toml::Value {
    match node {
        Node::Leaf(given) => given.value,
        Node::Table(entries) => toml::Value::Table(entries.into_iter().map(|(key, node)| (key, value_of(node))).collect()),
    }
}

/// The known key that `key` may have been meant to be: spelt alike, or of the same name in another table.
fn suggestion(key: &str, known: &[String]) -> String {
    let name = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let elsewhere = known.iter().find(|k| name(k) == name(key));
    let likeness = |k: &&String| strsim::jaro_winkler(k, key);
    let alike = known.iter().filter(|k| likeness(k) > ALIKE).max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match elsewhere.or(alike) {
        Some(meant) => format!("{meant}, if that was meant"),
        None => "leaving it out".into(),
    }
}
