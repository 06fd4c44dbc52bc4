//! The result of a course: figures for each section, the processors that hung, and the audit.

use crate::round::audit::Audit;
use crate::round::traffic::Traffic;
use crate::world::World;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::{Duration, Instant};

/// The default of `session.timeout.ms`: the time after which a silent processor is replaced.
pub const SESSION: Duration = Duration::from_secs(6);
/// How long nothing may be answered because of a broker, on an idle machine.
const BOUND: Duration = Duration::from_secs(SESSION.as_secs() + 15);

#[derive(Default)]
pub struct Report {
    pub sections: Vec<Section>,
    /// The processors that hung, with what they said about themselves.
    pub hung: Vec<String>,
    /// The processors that ended though nobody had killed them.
    pub ended: Vec<String>,
    pub took: Duration,
    pub audit: Audit,
    figures: Vec<Figures>,
}

/// One fault, from its beginning until each processor has answered again.
pub struct Section {
    pub name: &'static str,
    pub from: Instant,
    pub to: Instant,
    /// How long it took, after the mending, until each processor had answered something.
    pub again: Duration,
    /// How many processors did not answer.
    pub hung: usize,
}

/// The answers in a stretch of time.
#[derive(Clone, Debug)]
pub struct Figures {
    pub sent: usize,
    pub answered: usize,
    /// The longest time without any reply, as far as it lies in the stretch.
    pub gap: Duration,
    /// The median time from a command's arrival on the topic, in the stretch, to its reply.
    pub p50: Duration,
    /// The 99th percentile of this time.
    pub p99: Duration,
    /// The longest such time.
    pub slowest: Duration,
}

/// When the brokers had each command, and when its reply was read.
pub struct Times {
    /// When the brokers had each command, and when its reply was read, or `None` if it was not answered.
    commands: Vec<(Instant, Option<Instant>)>,
    /// The moments of all replies, in order.
    replies: Vec<Instant>,
}

impl Times {
    pub fn of(world: &World, traffic: &Traffic) -> Self {
        let replies = world.inbox.all(|r| r.topic == world.replies);
        let by_correlation: HashMap<_, _> = replies.iter().filter_map(|r| Some((r.text("correlation-id")?, r.seen))).collect();
        let taken = traffic.taken();
        let commands = taken.iter().map(|(correlation, taken)| (*taken, by_correlation.get(&**correlation).copied())).collect();
        let mut replies: Vec<_> = replies.iter().map(|r| r.seen).collect();
        replies.sort_unstable();
        Self { commands, replies }
    }

    /// Returns the figures of the time between two moments.
    pub fn between(&self, from: Instant, to: Instant) -> Figures {
        let within = |moment: &Instant| (from..to).contains(moment);
        let answered: Vec<_> = self.replies.iter().copied().filter(within).collect();
        let marks: Vec<_> = std::iter::once(from).chain(answered.iter().copied()).chain([to]).collect();
        let sent: Vec<_> = self.commands.iter().filter(|(sent, _)| within(sent)).collect();
        let mut waits: Vec<_> =
            sent.iter().filter_map(|(sent, answered)| Some(answered.as_ref()?.saturating_duration_since(*sent))).collect();
        waits.sort_unstable();
        let quantile = |of_hundred: usize| waits.get(waits.len() * of_hundred / 100).copied().unwrap_or_default();
        Figures {
            sent: sent.len(),
            answered: answered.len(),
            gap: marks.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default(),
            p50: quantile(50),
            p99: quantile(99),
            slowest: waits.last().copied().unwrap_or_default(),
        }
    }
}

impl Report {
    /// Computes the figures of all sections, when all commands are answered.
    pub fn measure(&mut self, times: &Times) {
        self.figures = self.sections.iter().map(|s| times.between(s.from, s.to)).collect();
    }

    /// Writes what the sections with one name have in common, if a fault came several times.
    fn write_worst(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut by_name: BTreeMap<&str, Vec<(&Section, &Figures)>> = BTreeMap::new();
        for both in self.sections.iter().zip(&self.figures) {
            by_name.entry(both.0.name).or_default().push(both);
        }
        for (name, all) in by_name.iter().filter(|(_, all)| all.len() > 1) {
            let mut gaps: Vec<_> = all.iter().map(|(_, figures)| figures.gap).collect();
            gaps.sort_unstable();
            let [median, longest] = [gaps[gaps.len() / 2], gaps[gaps.len() - 1]].map(|gap| gap.as_secs_f64());
            let above = gaps.iter().filter(|gap| **gap > BOUND).count();
            let slowest = all.iter().map(|(_, figures)| figures.slowest).max().unwrap_or_default().as_secs_f64();
            let hung: usize = all.iter().map(|(section, _)| section.hung).sum();
            writeln!(
                f,
                "{name}, {} times: gap {median:.2} (median), {longest:.2} (longest), {above} above {} s; slowest {slowest:.2}, {hung} hung",
                all.len(),
                BOUND.as_secs()
            )?;
        }
        Ok(())
    }

    /// Checks that nothing hung, nothing ended by itself, and nothing is lost or doubled.
    pub fn assert_clean(&self) {
        assert!(self.hung.is_empty(), "{} times a processor hung:\n{}", self.hung.len(), self.hung.join("\n"));
        assert!(self.ended.is_empty(), "processors ended by themselves:\n{}", self.ended.join("\n"));
        self.audit.assert_clean();
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} s; times in seconds; `again`: from the mending until each processor had answered", self.took.as_secs())?;
        let name = "section";
        writeln!(f, "{name:<45}    took  sent  answered     gap     p50     p99  slowest   again  hung")?;
        for (section, figures) in self.sections.iter().zip(&self.figures) {
            let Figures { sent, answered, gap, p50, p99, slowest } = figures;
            let [took, gap, p50, p99, slowest, again] =
                [section.to - section.from, *gap, *p50, *p99, *slowest, section.again].map(|time| time.as_secs_f64());
            writeln!(
                f,
                "{:<45}  {took:6.1}  {sent:4}  {answered:8}  {gap:6.2}  {p50:6.2}  {p99:6.2}  {slowest:7.2}  {again:6.2}  {:4}",
                section.name, section.hung
            )?;
        }
        self.write_worst(f)?;
        writeln!(f, "{:>6}  processors hung\n{:>6}  processors ended by themselves", self.hung.len(), self.ended.len())?;
        write!(f, "{}", self.audit)
    }
}
