//! What measures, in production's shape, so that two programs can be compared: not among the usual tests, for it takes minutes to
//! hours. `CRM_TEST_BINARY=PROGRAM cargo test --test it -- --ignored --nocapture --exact NAME` tries another program.
//!
//! | test | what | variables |
//! |---|---|---|
//! | `cluster_faults::experiments::scale` | `bench` on three brokers and three database nodes, with one, two and three processors | `CRM_BENCH_COMMANDS=n`: commands in a run (20,000) |
//! | `cluster_faults::experiments::coordinators_killed_and_frozen` | the coordinators of the group and of a processor's transactions are killed, and frozen for 30 s | `CRM_TIMES=n`: how often each (20); `CRM_ONLY="group coordinator frozen"`: those whose name begins so; `CRM_RATE=n`: commands a second (20) |
//! | `cluster_faults::experiments::a_frozen_node` | one of three database nodes is frozen for 40 s, at a constant load | `CRM_RATE=n`: commands a second (100) |

use super::course::{Course, Installation};
use super::report::{Figures, Times};
use super::{CALM, NODE_FROZEN, RATE};
use crate::registry;
use crate::round::{Round, number, only, rounds, turn};
use crate::servers::cluster::Layout;
use crate::world::Processor;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long the constant load lasts before the node freezes.
const BEFORE: Duration = Duration::from_secs(40);
/// How long the constant load lasts after the node has thawed.
const AFTER: Duration = Duration::from_secs(20);

#[test]
#[ignore = "takes an hour; see the module"]
fn coordinators_killed_and_frozen() {
    let _turn = turn();
    let times = number("CRM_TIMES").unwrap_or(20);
    let only = only();
    let rate = rate(RATE);
    let Some(Round { seed, .. }) = rounds().next() else { return };
    let Some(installation) = Installation::prepare(Layout::Racks, seed) else { return };
    let report = installation.go(|course| {
        course.traffic.flow(rate);
        // Servers that have just started are so slow on two cores that the first fault would be longer than the others.
        course.section("warming up", |c| c.rest(CALM));
        for _ in 0..times {
            super::coordinators_killed_and_frozen(course, &only);
        }
    });
    println!("CRM_SEED={seed}, {rate} commands a second\n{report}");
    report.assert_clean();
}

#[test]
#[ignore = "it measures; see the module"]
fn a_frozen_node() {
    let _turn = turn();
    let rate = rate(100);
    let Some(Round { seed, .. }) = rounds().next() else { return };
    let Some(installation) = Installation::prepare(Layout::Racks, seed) else { return };
    let node = usize::try_from(seed % 3).expect("is small");
    let (mut before, mut during) = (None, None);
    let (report, times) = installation.go_and_time(|course| {
        course.traffic.flow_plainly(rate);
        // At first, connections and caches are new.
        course.section("warming up", |c| c.rest(BEFORE / 2));
        course.section("all is well", |c| before = Some(Stretch::of(c, |c| c.rest(BEFORE))));
        course.section("node frozen", |c| during = Some(Stretch::of(c, |c| c.node_frozen(node, NODE_FROZEN))));
        course.section("all is well again", |c| c.rest(AFTER));
    });
    println!("CRM_SEED={seed}, {rate} commands a second, node {} of 3 frozen for {NODE_FROZEN:?}\n{report}", node + 1);
    for (name, stretch) in [("before", before), ("frozen", during)] {
        println!("{}", stretch.expect("it was gone through").describe(name, &times));
    }
    report.assert_clean();
}

#[test]
#[ignore = "it measures; see the module"]
fn scale() {
    let _turn = turn();
    let commands = number("CRM_BENCH_COMMANDS").unwrap_or(20_000).to_string();
    let Some(installation) = Installation::prepare(Layout::Racks, 0) else { return };
    for instances in ["1", "2", "3"] {
        let run = ["--warm", "--runs", "3", "--commands", &commands, "--instances", instances, "name"];
        let told = installation.world().cli("bench", &run).succeeded();
        println!("{instances} processors: {}", told.stdout.trim());
    }
}

/// Returns how many commands a second are sent: `CRM_RATE`, or `otherwise`.
fn rate(otherwise: usize) -> usize {
    number("CRM_RATE").map_or(otherwise, |rate| usize::try_from(rate).expect("a rate"))
}

/// The processors' counters and states during a stretch of time.
struct Stretch {
    from: Instant,
    to: Instant,
    faults: u64,
    warnings: usize,
    processors: usize,
    /// How often the status of `/readyz` changed.
    flips: usize,
    /// The share of the time in which a processor was ready.
    ready: f64,
}

impl Stretch {
    fn of(course: &mut Course<'_>, work: impl FnOnce(&mut Course<'_>)) -> Self {
        let processors = course.fleet.processors().count();
        let sum = |course: &Course<'_>, of: fn(&Processor) -> u64| course.fleet.processors().map(|(_, p)| of(p)).sum::<u64>();
        let faults = |p: &Processor| p.metric_so_far("crm_store_faults_total").unwrap_or(0);
        let warnings = |p: &Processor| p.log().lines().filter(|line| line.contains(" WARN ")).count() as u64;
        let before = (sum(course, faults), sum(course, warnings));
        let from = Instant::now();
        let admins: Vec<_> = course.fleet.processors().map(|(_, p)| p.admin().to_owned()).collect();
        let seen = watch(&admins, || work(course));
        let to = Instant::now();
        let flips = seen.iter().map(|said| said.windows(2).filter(|pair| pair[0] != pair[1]).count()).sum();
        let (ready, all) = (seen.iter().flatten().filter(|ready| **ready).count(), seen.iter().flatten().count());
        #[expect(clippy::cast_precision_loss, reason = "there are few")]
        let ready = ready as f64 / all.max(1) as f64;
        let (faults, warnings) = (sum(course, faults) - before.0, sum(course, warnings) - before.1);
        Self { from, to, faults, warnings: usize::try_from(warnings).expect("is small"), processors, flips, ready }
    }

    fn describe(&self, name: &str, times: &Times) -> String {
        let Figures { sent, answered, gap, p50, p99, slowest } = times.between(self.from, self.to);
        let seconds = (self.to - self.from).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "there are few")]
        let a_second = |count: usize| count as f64 / seconds;
        format!(
            "{name}: {seconds:.0} s, {:.1} sent a second, {:.1} answered; p50 {:.3} s, p99 {:.3} s, slowest {:.3} s; longest gap {:.3} s; \
             {} store faults; {:.2} warnings a second and processor; /readyz changed {} times, ready {:.0} % of the time",
            a_second(sent),
            a_second(answered),
            p50.as_secs_f64(),
            p99.as_secs_f64(),
            slowest.as_secs_f64(),
            gap.as_secs_f64(),
            self.faults,
            a_second(self.warnings) / f64::from(u32::try_from(self.processors).expect("is small")),
            self.flips,
            100.0 * self.ready,
        )
    }
}

/// Asks each processor whether it is ready while `work` goes on. Returns all answers of each, in order.
fn watch(admins: &[String], work: impl FnOnce()) -> Vec<Vec<bool>> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let ask = |admin: &String| {
            let (done, url) = (&done, format!("{admin}/readyz"));
            scope.spawn(move || {
                let mut said = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    said.push(registry::get(&url).0 == 200);
                    crate::long_pause();
                }
                said
            })
        };
        let watching: Vec<_> = admins.iter().map(ask).collect();
        let ended = catch_unwind(AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        let seen = watching.into_iter().map(|watch| watch.join().expect("it does not panic")).collect();
        ended.unwrap_or_else(|panic| resume_unwind(panic));
        seen
    })
}
