//! The result of a soak: a line for each period, and whether anything grew from the first half of them to the second.

use super::Fault;
use super::answers::Stretch;
use crate::world::Processor;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Allocators keep some memory, and caches are warm only after a while.
const MORE_MEMORY: f64 = 1.25;
const MORE_KIB: f64 = 8.0 * 1024.0;
/// Connections are made anew after faults, some at a time.
const MORE_FILES: usize = 16;
/// Of these, `ARCHITECTURE.md` allows a bounded number to be abandoned.
const MORE_THREADS: usize = 8;
/// Other work on the machine moves the median more than one would think.
const SLOWER: f64 = 2.0;
/// Periods that are shorter say nothing about the time to a reply: a fault fills them.
const LONG: Duration = Duration::from_secs(300);

pub struct Report {
    pub periods: Vec<(Stretch, Sample)>,
    pub faults: Vec<Fault>,
    pub sent: usize,
    pub mistakes: BTreeMap<String, usize>,
    /// The length of a period.
    length: Duration,
    rate: u32,
}

/// What a processor has of the machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// The resident memory in KiB.
    pub memory: u64,
    /// The number of open file descriptors.
    pub files: usize,
    pub threads: usize,
}

impl Sample {
    pub fn of(processor: &Processor) -> Self {
        let count = |folder| {
            let path = format!("/proc/{}/{folder}", processor.pid());
            std::fs::read_dir(&path).unwrap_or_else(|e| panic!("{path}: {e}")).count()
        };
        Self { memory: processor.memory_kib("VmRSS"), files: count("fd"), threads: count("task") }
    }
}

impl Report {
    /// Makes an empty report.
    pub fn new(length: Duration, rate: u32) -> Self {
        Self { periods: Vec::new(), faults: Vec::new(), sent: 0, mistakes: BTreeMap::new(), length, rate }
    }

    /// Returns the line of the last period.
    pub fn last_period(&self) -> String {
        let (stretch, Sample { memory, files, threads }) = self.periods.last().expect("there is one");
        let [p50, p99, slowest, gap] = [quantile(stretch, 50), quantile(stretch, 99), quantile(stretch, 100), stretch.gap]
            .map(|time| time.as_secs_f64() * 1e3);
        format!(
            "{:>6} s: {:>8} replies after p50 {p50:.1}, p99 {p99:.1}, slowest {slowest:.0} ms; longest gap {gap:.0} ms; \
             {:.1} MiB, {files} files, {threads} threads",
            self.length.as_secs() * self.periods.len() as u64,
            stretch.waits.len(),
            in_f64(*memory) / 1024.0,
        )
    }

    /// Returns what grew from the first half of the periods to the second.
    fn grown(&self) -> Vec<String> {
        let (first, second) = self.periods.split_at(self.periods.len() / 2);
        let most = |half: &[(Stretch, Sample)], of: fn(&Sample) -> f64| half.iter().map(|(_, s)| of(s)).fold(0.0, f64::max);
        let mut grown = Vec::new();
        let mut hold = |what: &str, before: f64, after: f64, allowed: f64| {
            if after > allowed {
                grown.push(format!("{what}: {before:.1}, then {after:.1}; at most {allowed:.1} would be flat"));
            }
        };
        let (before, after) = (most(first, |s| in_f64(s.memory)), most(second, |s| in_f64(s.memory)));
        hold("KiB of memory", before, after, before * MORE_MEMORY + MORE_KIB);
        let (before, after) = (most(first, |s| in_f64(s.files as u64)), most(second, |s| in_f64(s.files as u64)));
        hold("file descriptors", before, after, before + in_f64(MORE_FILES as u64));
        let (before, after) = (most(first, |s| in_f64(s.threads as u64)), most(second, |s| in_f64(s.threads as u64)));
        hold("threads", before, after, before + in_f64(MORE_THREADS as u64));
        if self.length >= LONG {
            let median = |half: &[(Stretch, Sample)]| {
                let mut medians: Vec<_> = half.iter().map(|(stretch, _)| quantile(stretch, 50).as_secs_f64() * 1e3).collect();
                medians.sort_by(f64::total_cmp);
                medians[medians.len() / 2]
            };
            let (before, after) = (median(first), median(second));
            hold("ms to a reply", before, after, before * SLOWER);
        }
        grown
    }

    /// Checks that nothing is lost or doubled, and that nothing grew.
    pub fn assert_flat(&self) {
        assert!(self.mistakes.is_empty(), "commands {:?}", self.mistakes);
        assert!(!self.faults.is_empty(), "no fault was made");
        let grown = self.grown();
        assert!(grown.is_empty(), "it grew: {}", grown.join("; "));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { faults, sent, mistakes, rate, .. } = self;
        write!(f, "{sent} commands at {rate} a second, {} faults; mistakes: {mistakes:?}", faults.len())
    }
}

/// Returns a quantile of the times to a reply, in hundredths: zero if there is no reply.
fn quantile(stretch: &Stretch, of_hundred: usize) -> Duration {
    let mut waits = stretch.waits.clone();
    waits.sort_unstable();
    waits.get((waits.len() * of_hundred / 100).min(waits.len().saturating_sub(1))).copied().unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "is far below 2^52")]
fn in_f64(count: u64) -> f64 {
    count as f64
}

#[test]
fn a_report_says_what_grew() {
    let sample = Sample { memory: 40 * 1024, files: 60, threads: 20 };
    let stretch = |millis| Stretch { waits: vec![Duration::from_millis(millis); 3], gap: Duration::ZERO };
    let report = |length, last: (u64, Sample)| {
        let periods = [(10, sample), (10, sample), (10, sample), last];
        let periods = periods.map(|(millis, sample)| (stretch(millis), sample)).into();
        Report { periods, ..Report::new(Duration::from_secs(length), 1) }.grown()
    };
    let flat: &[String] = &[];
    assert_eq!(report(900, (10, sample)), flat);
    assert_eq!(report(900, (20, Sample { memory: 58 * 1024, files: 76, threads: 28 })), flat, "a little is noise");
    assert_eq!(report(900, (10, Sample { memory: 60 * 1024, ..sample })).len(), 1, "memory");
    assert_eq!(report(900, (10, Sample { files: 77, ..sample })).len(), 1, "file descriptors");
    assert_eq!(report(900, (10, Sample { threads: 29, ..sample })).len(), 1, "threads");
    // The upper of two medians counts.
    assert_eq!(report(900, (21, sample)), ["ms to a reply: 10.0, then 21.0; at most 20.0 would be flat"]);
    assert_eq!(report(60, (21, sample)), flat, "a fault fills a short period");
}
