//! The results of reading a configuration besides the values: the findings, the settings as they took effect, and the unknown keys. An
//! unknown key is a finding, too, which suggests the key that may have been meant.

use super::findings::{Finding, shown};
use super::given::{Given, variable_of};
use super::settings::{Setting, Source};
use std::cell::RefCell;

/// The similarity (Jaro-Winkler) that a known key must exceed to be suggested for an unknown one.
const ALIKE: f64 = 0.85;

/// The findings, settings and unknown keys that were gathered so far.
#[derive(Default)]
pub(super) struct Diagnostics {
    findings: RefCell<Vec<Finding>>,
    settings: RefCell<Vec<Setting>>,
    unknown: RefCell<Vec<(String, Given)>>,
}

impl Diagnostics {
    /// Adds a finding.
    pub fn add(&self, finding: Finding) {
        self.findings.borrow_mut().push(finding);
    }

    /// Records that there is such a key, and its value as it is shown; `None` if it has none.
    pub fn took(&self, key: String, value: Option<String>, source: Source) {
        self.settings.borrow_mut().push(Setting { key, value, source });
    }

    /// Adds keys that were given, but that nobody asked for.
    pub fn unknown(&self, rest: Vec<(String, Given)>) {
        self.unknown.borrow_mut().extend(rest);
    }

    /// Returns whether there is no finding about `key`. A check that compares keys makes sense only for such keys.
    pub fn is_sound(&self, key: &str) -> bool {
        self.findings.borrow().iter().all(|f| f.key != key)
    }

    /// Returns the variable that gave the value of `key`. Returns `None` if the file gave it, or nobody did.
    pub fn variable(&self, key: &str) -> Option<String> {
        self.settings.borrow().iter().find(|setting| setting.key == key).and_then(|setting| match &setting.source {
            Source::Variable(name) => Some(name.clone()),
            Source::Default | Source::File => None,
        })
    }

    /// Returns all settings, in the order in which they were read, and all findings, with those about unknown keys last.
    pub fn into_parts(self) -> (Vec<Setting>, Vec<Finding>) {
        let settings = self.settings.into_inner();
        let unknown = self.unknown.into_inner().into_iter().map(|(key, given)| Finding {
            value: Some(shown(&key, &given.value)),
            right: suggestion(&key, &settings, given.variable.is_some()),
            variable: given.variable,
            reason: "there is no such key".into(),
            key,
        });
        let mut findings = self.findings.into_inner();
        findings.extend(unknown);
        (settings, findings)
    }
}

/// Returns advice about an unknown key. It names the known key that may have been meant: one of the same name in another table, or else
/// one that is spelt alike.
fn suggestion(key: &str, known: &[Setting], as_variable: bool) -> String {
    let name = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let known = || known.iter().map(|setting| setting.key.as_str());
    let elsewhere = known().find(|k| name(k) == name(key));
    let likeness = |k: &str| strsim::jaro_winkler(k, key);
    let alike = known().filter(|k| likeness(k) > ALIKE).max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match elsewhere.or(alike) {
        Some(meant) if as_variable => format!("{}, if that was meant", variable_of(meant)),
        Some(meant) => format!("{meant}, if that was meant"),
        None => "leaving it out".into(),
    }
}
