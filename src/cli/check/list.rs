//! The lines that `check` prints, counted.

use crate::toolbox::assessment::Assessment;
use crate::toolbox::output::say;

/// How many things were looked at, and how many of them are findings.
#[derive(Default)]
pub(super) struct List {
    pub looked_at: usize,
    pub findings: usize,
}

impl List {
    /// Says that nothing is wrong with something.
    pub fn ok(&mut self, subject: &str, text: &str) {
        self.looked_at += 1;
        say(format_args!("  ok  {subject}: {text}"));
    }

    /// Says what was concluded about something.
    pub fn add(&mut self, subject: &str, assessment: &Assessment) {
        match assessment {
            Assessment::Ok(text) => self.ok(subject, text),
            // A note is no check that could fail, so it does not count.
            Assessment::Note(text) => say(format_args!("  --  {subject}: {text}")),
            Assessment::Finding(text) => self.finding(subject, text),
        }
    }

    /// Says what is wrong with something.
    pub fn finding(&mut self, subject: &str, text: &str) {
        self.looked_at += 1;
        self.findings += 1;
        say(format_args!("  !!  {subject}: {text}"));
    }
}
