//! Reads typed values from a TOML file with the environment laid over it, and collects findings. A value that can't be taken becomes a
//! finding, and its default takes its place, so that reading goes on with the next key.
//!
//! The variable `CRM__KAFKA__GROUP_ID=x` stands for `kafka.group_id = "x"`: the prefix `CRM__`, then the path with `__` for each dot.

use super::diagnostics::Diagnostics;
use super::findings::{Finding, shown};
use super::given::{Given, PREFIX, SEPARATOR, as_toml, text};
use super::secrets::{self, RotatingSecret, Secret};
use super::settings::{AsToml, Source};
use std::collections::BTreeMap;
use std::fmt::Display;

#[derive(Clone, Debug)]
enum Node {
    Table(BTreeMap<String, Node>),
    Leaf(Given),
}

/// A table of the configuration, which is read key by key. When it is dropped, the keys that were not read become findings.
pub(super) struct Section<'a> {
    path: String,
    entries: BTreeMap<String, Node>,
    diagnostics: &'a Diagnostics,
}

impl<'a> Section<'a> {
    /// Returns the table of the whole configuration: `file` with `environment` over it.
    pub fn root(
        file: toml::Table,
        environment: impl IntoIterator<Item = (String, String)>,
        diagnostics: &'a Diagnostics,
    ) -> Self {
        let mut entries = nodes(file, None);
        let mut overrides: Vec<(Vec<String>, String, String)> = environment
            .into_iter()
            .filter_map(|(variable, value)| {
                let path = variable.strip_prefix(PREFIX)?.split(SEPARATOR).map(str::to_ascii_lowercase).collect();
                Some((path, variable, value))
            })
            .collect();
        // Short paths come first, so that a variable for one key of a table overrides a variable for the whole table.
        overrides.sort_by(|(a, _, _), (b, _, _)| (a.len(), a).cmp(&(b.len(), b)));
        for (path, variable, value) in overrides {
            insert(&mut entries, &path, Given { value: toml::Value::String(value), variable: Some(variable) });
        }
        Self { path: String::new(), entries, diagnostics }
    }

    /// Returns the full path of a key of this table.
    pub fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.into() } else { format!("{}.{key}", self.path) }
    }

    /// Returns the table under `key`, which is empty if there is none.
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
        Section { path, entries, diagnostics: self.diagnostics }
    }

    /// Returns the value of `key`, parsed by `parse`. Returns `None` if the value is missing, or if it is wrong and has become a finding.
    /// `right` describes the right values for the finding.
    pub fn optional<T: AsToml, E: Display>(
        &mut self,
        key: &str,
        right: &str,
        parse: impl FnOnce(&Given) -> Result<T, E>,
    ) -> Option<T> {
        let taken = self.take(key, right, parse);
        if taken.is_none() {
            self.diagnostics.took(self.key(key), None, Source::Default);
        }
        taken
    }

    /// Returns the value of `key` like [`Section::optional`], or `default` instead of `None`.
    pub fn value<T: AsToml, E: Display>(
        &mut self,
        key: &str,
        default: T,
        right: &str,
        parse: impl FnOnce(&Given) -> Result<T, E>,
    ) -> T {
        self.take(key, right, parse).unwrap_or_else(|| {
            self.diagnostics.took(self.key(key), Some(default.as_toml().to_string()), Source::Default);
            default
        })
    }

    /// Returns the value of `key`, which is one of a few that have names, or `default`. `wrong` is the reason of the finding for any
    /// other name.
    pub fn choice<T: Copy + PartialEq>(&mut self, key: &str, default: T, named: &[(&str, T)], wrong: &str) -> T {
        let right = named.iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(" or ");
        let default = named.iter().find(|(_, choice)| *choice == default).map_or("", |(name, _)| *name);
        let name = self.value(key, default.to_owned(), &right, |given| {
            let given = text(given)?;
            if named.iter().any(|(name, _)| *name == given) { Ok(given) } else { Err(wrong.to_owned()) }
        });
        named.iter().find(|(known, _)| *known == name).expect("it is one of these").1
    }

    /// Returns the secret under `key`, or `None` like [`Section::optional`].
    pub fn secret(&mut self, key: &str) -> Option<Secret> {
        let right = secrets::right(&self.key(key));
        let given = self.given(key);
        let secret = given.as_ref().and_then(|given| {
            let parsed = secrets::secret(given);
            parsed.map_err(|reason| self.reject(key, Some(given), &reason, &right)).ok()
        });
        let shown = given.filter(|_| secret.is_some()).map(|given| (secrets::shown(&given), given.source()));
        let (value, source) = shown.map_or((None, Source::Default), |(value, source)| (Some(value), source));
        self.diagnostics.took(self.key(key), value, source);
        secret
    }

    /// Returns the secret under `key` like [`Section::secret`]. If the secret is in a file, the file is read again whenever the secret is
    /// needed.
    pub fn rotating_secret(&mut self, key: &str) -> Option<RotatingSecret> {
        let given = match self.entries.get(key) {
            Some(Node::Leaf(given)) => Some(given.clone()),
            _ => None,
        };
        self.secret(key).map(|read| RotatingSecret::new(given.as_ref(), read))
    }

    /// Returns the value of `key` if it was given and `parse` takes it, and `None` otherwise.
    fn take<T: AsToml, E: Display>(&mut self, key: &str, right: &str, parse: impl FnOnce(&Given) -> Result<T, E>) -> Option<T> {
        let given = self.given(key)?;
        match parse(&given) {
            Ok(value) => {
                self.diagnostics.took(self.key(key), Some(value.as_toml().to_string()), given.source());
                Some(value)
            }
            Err(reason) => {
                self.reject(key, Some(&given), &reason.to_string(), right);
                None
            }
        }
    }

    fn given(&mut self, key: &str) -> Option<Given> {
        Some(match self.entries.remove(key)? {
            Node::Leaf(given) => given,
            table @ Node::Table(_) => Given { value: value_of(table), variable: None },
        })
    }

    /// Returns whether `key` was given and has not been read yet.
    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Returns whether there is no finding about `key`.
    pub fn is_sound(&self, key: &str) -> bool {
        self.diagnostics.is_sound(&self.key(key))
    }

    /// Records the value of a key in an open table (one whose keys are not ours) in the form in which it is shown.
    pub fn took(&self, key: &str, shown: &str, source: Source) {
        self.diagnostics.took(self.key(key), Some(shown.to_owned()), source);
    }

    /// Returns all keys and values of an open table (one whose keys are not ours). A key in a nested table has its path with dots. The
    /// values that variables gave come last.
    pub fn take_all(mut self) -> Vec<(String, Given)> {
        let mut all = Vec::new();
        flatten(String::new(), Node::Table(std::mem::take(&mut self.entries)), &mut all);
        all.sort_by_key(|(_, given)| given.variable.is_some());
        all
    }

    /// Adds a finding about `key`.
    pub fn reject(&self, key: &str, given: Option<&Given>, reason: &str, right: &str) {
        let key = self.key(key);
        self.diagnostics.add(Finding {
            value: given.map(|g| shown(&key, &g.value)),
            variable: given.and_then(|g| g.variable.clone()),
            reason: reason.into(),
            right: right.into(),
            key,
        });
    }

    /// Adds a finding about the value of `key`, which was read and does not go with the values of other keys.
    pub fn reject_read(&self, key: &str, value: &impl AsToml, reason: &str, right: &str) {
        let given = Given { value: value.as_toml(), variable: self.diagnostics.variable(&self.key(key)) };
        self.reject(key, Some(&given), reason, right);
    }
}

impl Drop for Section<'_> {
    /// Reports the keys that were not read as unknown.
    fn drop(&mut self) {
        let mut rest = Vec::new();
        for (key, node) in std::mem::take(&mut self.entries) {
            flatten(self.key(&key), node, &mut rest);
        }
        self.diagnostics.unknown(rest);
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
