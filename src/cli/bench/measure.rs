//! The course of a bench: each case as often as asked for, between two measurements of the store alone, and Kafka alone once.

use super::Options;
use super::bars::bar;
use super::cases::{Case, Kind, Needs, Step};
use super::fleet::Fleet;
use super::latency::Latency;
use super::load::{Batch, Crm};
use super::place::{Place, Round};
use super::processor::{Counts, Processor, Usage, until_all_ready, until_one_ends};
use super::table::{Line, Report, mib};
use anyhow::{Context as _, bail, ensure};
use indicatif::ProgressBar;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How long the processors' metrics may lag behind the replies.
const SETTLE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A bench.
pub struct Bench {
    /// Where it works; to be closed.
    pub place: Place,
    /// What to measure.
    pub(super) options: Options,
    /// What is worked on.
    pub(super) fleet: Fleet,
    /// Where the lines go.
    pub(super) report: Report,
    /// Tells the requests of one pass from those of all others.
    pub(super) pass: u32,
}

/// What the processors did of the measured commands.
struct Worked {
    seconds: f64,
    latency: Latency,
    counts: Counts,
    cpu: Duration,
    peak_kib: u64,
}

impl Bench {
    /// Measures what `options` say.
    pub fn new(place: Place, options: Options, json: bool) -> Self {
        Self { place, options, fleet: Fleet::default(), report: Report::new(json), pass: 0 }
    }

    /// Measures, and prints each line when it is known.
    pub async fn run(&mut self, only_ceiling: bool) -> anyhow::Result<()> {
        let base = self.place.set_up_store().await?;
        ensure!(
            !(self.place.is_exclusive() && self.options.instances > 1),
            "the embedded store is for one process: no --instances with it"
        );
        let mut at_rate = Vec::new();
        for case in self.options.cases() {
            let needs = case.needs(self.options.commands(), self.options.entities);
            let needs = Needs { customers: self.others(case) + 1, ..needs };
            let bar = bar(&format!("{}: importing", case.name()));
            self.fleet.complete(&base.config, needs, &bar).await?;
            bar.finish_and_clear();
            if only_ceiling {
                self.ceilings_alone(&base, case).await?;
            } else {
                at_rate.push(self.case(&base, case).await?);
            }
        }
        match self.options.rate {
            _ if self.options.no_ceiling => Ok(()),
            Some(rate) => self.parts_at(&base, rate, &at_rate).await,
            None => self.copy_loop().await,
        }
    }

    async fn case(&mut self, base: &Round, case: Case) -> anyhow::Result<Line> {
        let (mut runs, mut ceilings, mut cache) = (Vec::new(), Vec::new(), None);
        let with_ceiling = !self.options.no_ceiling && self.options.rate.is_none();
        if with_ceiling {
            // Not counted: no entity was ever written to but by the import, and the store is faster then than it will be.
            self.ceiling(base, case, 1).await?;
            ceilings.push(self.ceiling(base, case, 1).await?.per_second());
        }
        for _ in 0..self.options.runs {
            let worked = self.processed(case).await?;
            let before = ceilings.last().copied();
            if with_ceiling {
                ceilings.push(self.ceiling(base, case, 1).await?.per_second());
            }
            let ceiling = before.zip(ceilings.last()).map(|(before, after)| f64::midpoint(before, *after));
            cache = hit_rate(worked.counts);
            runs.push(self.line(case.name(), &worked, ceiling));
        }
        let line = Line::median(&runs).context("there is at least one run")?;
        self.report.line(&line)?;
        if let Some(cache) = cache {
            self.report.remark(&format!("{:16} {cache}", ""))?;
        }
        let listed = |all: &[f64]| all.iter().map(|one| format!("{one:.0}")).collect::<Vec<_>>().join(", ");
        if runs.len() > 1 {
            let all: Vec<_> = runs.iter().map(|run| run.commands_per_second).collect();
            self.report.remark(&format!("{:16} the runs, in commands/s: {}", "", listed(&all)))?;
        }
        if with_ceiling {
            let remark = format!("{:16} the store alone, before, between and after: {}", "", listed(&ceilings));
            self.report.remark(&remark)?;
        }
        Ok(line)
    }

    /// A case with the processor, in topics of its own.
    async fn processed(&mut self, case: Case) -> anyhow::Result<Worked> {
        let bar = bar(case.name());
        let round = self.place.round().await?;
        for number in 0..usize::from(self.options.instances) {
            self.place.processors.push(Processor::start(&round, number)?);
        }
        until_all_ready(&mut self.place.processors, self.options.partitions).await?;
        let mut crm = Crm::open(&round, self.options.rate.is_some()).await?;
        let worked = self.prepared_and_worked(&mut crm, case, &bar).await;
        if worked.is_err() {
            let tails: Vec<_> = self.place.processors.iter().map(Processor::log_tail).collect();
            return worked.context(format!("case {}; of the processor, {}", case.name(), tails.join("\n")));
        }
        for processor in self.place.processors.drain(..) {
            processor.stop().await?;
        }
        bar.finish_and_clear();
        worked
    }

    async fn prepared_and_worked(&mut self, crm: &mut Crm, case: Case, bar: &ProgressBar) -> anyhow::Result<Worked> {
        // Connections, metadata and the first transaction are a matter of starting: one command about an entity that is not
        // among those of the case.
        let other = Step { kind: Kind::Name, entity: self.others(case), request: 0 };
        let mut answered = self.answer(crm, &[other], bar).await?;
        if self.options.warm {
            let steps = case.touch(self.options.commands(), self.options.entities);
            bar.set_message(format!("{}: warming up", case.name()));
            answered += self.answer(crm, &steps, bar).await?;
            bar.set_message(case.name());
            bar.set_position(0);
        }
        let steps = case.steps(self.options.commands(), self.options.entities);
        self.work(crm, &steps, answered, bar).await
    }

    /// The number of a customer that the case is not about.
    fn others(&self, case: Case) -> u32 {
        case.needs(self.options.commands(), self.options.entities).customers
    }

    /// Has commands answered, outside of what is measured; how many.
    async fn answer(&mut self, crm: &mut Crm, steps: &[Step], bar: &ProgressBar) -> anyhow::Result<usize> {
        self.pass += 1;
        let mut batch = crm.prepare(&mut self.fleet, self.pass, steps);
        if self.place.is_mocked() {
            batch.fits_mocked(self.options.partitions)?;
        }
        crm.write(&mut batch).await?;
        self.replies(crm, &batch, bar).await?;
        Ok(steps.len())
    }

    /// When each reply came. A processor that ends before they are all there would be waited for in vain.
    async fn replies(&mut self, crm: &mut Crm, batch: &Batch, bar: &ProgressBar) -> anyhow::Result<Vec<Instant>> {
        tokio::select! {
            biased;
            came = crm.replies(batch, bar) => came,
            status = until_one_ends(&mut self.place.processors) => bail!("a processor ended with {}", status?),
        }
    }

    async fn work(&mut self, crm: &mut Crm, steps: &[Step], answered: usize, bar: &ProgressBar) -> anyhow::Result<Worked> {
        self.pass += 1;
        let mut batch = crm.prepare(&mut self.fleet, self.pass, steps);
        if self.place.is_mocked() {
            batch.fits_mocked(self.options.partitions)?;
        }
        let counts_before = self.settled(answered).await?;
        let (start, due, cpu_before, came);
        if let Some(rate) = self.options.rate {
            cpu_before = used(&self.place.processors)?.cpu;
            let sending = crm.write_at(&mut batch, rate);
            start = sending.start;
            due = (0..steps.len()).map(|n| Duration::from_secs_f64(as_f64(n) / rate)).collect::<Vec<_>>();
            came = self.replies(crm, &batch, bar).await?;
            sending.done().await?;
        } else {
            let processors = &self.place.processors;
            processors.iter().try_for_each(Processor::pause)?;
            crm.write(&mut batch).await?;
            cpu_before = used(processors)?.cpu;
            due = vec![Duration::ZERO; steps.len()];
            start = Instant::now();
            processors.iter().try_for_each(Processor::go_on)?;
            came = self.replies(crm, &batch, bar).await?;
        }
        let after = used(&self.place.processors)?;
        let taken: Vec<_> = came.iter().zip(due).map(|(came, due)| came.saturating_duration_since(start + due)).collect();
        let last = came.iter().max().copied().unwrap_or(start);
        Ok(Worked {
            seconds: (last - start).as_secs_f64(),
            latency: Latency::of(taken),
            counts: self.settled(answered + steps.len()).await?.since(counts_before),
            cpu: after.cpu.saturating_sub(cpu_before),
            peak_kib: after.peak_kib,
        })
    }

    /// The processors' counts, once they have counted so many commands: a little after the replies are there.
    async fn settled(&self, commands: usize) -> anyhow::Result<Counts> {
        let deadline = Instant::now() + SETTLE;
        loop {
            let mut counts = Counts::default();
            for processor in &self.place.processors {
                counts = counts.plus(processor.counts().await?);
            }
            if counts.commands >= as_f64(commands) {
                return Ok(counts);
            }
            ensure!(Instant::now() < deadline, "the processors have counted {} of {commands} commands", counts.commands);
            sleep(LOOK_AGAIN).await;
        }
    }

    fn line(&self, case: &str, worked: &Worked, ceiling: Option<f64>) -> Line {
        let commands = f64::from(self.options.commands());
        let per_second = commands / worked.seconds.max(1e-9);
        Line {
            case: case.into(),
            commands: u64::from(self.options.commands()),
            seconds: worked.seconds,
            commands_per_second: per_second,
            ceiling_per_second: ceiling,
            ratio: ceiling.map(|ceiling| per_second / ceiling),
            lwts_per_command: worked.counts.writes / commands,
            records_per_transaction: Some(commands / worked.counts.transactions.max(1.0)),
            cpu_us_per_command: worked.cpu.as_secs_f64() * 1e6 / commands,
            peak_memory_mib: mib(worked.peak_kib),
            reply_ms: worked.latency,
        }
    }
}

/// What the cache was good for, in words; None where nothing was looked up in it.
fn hit_rate(counts: Counts) -> Option<String> {
    let Counts { lookups, hits, read_ahead, .. } = counts;
    let percent = 100.0 * hits / lookups;
    let ahead = format!("{read_ahead:.0} entities were read ahead");
    (lookups > 0.0).then(|| format!("the cache, in the last run: {percent:.1} % of {lookups:.0} look-ups hit; {ahead}"))
}

/// CPU of all, memory of the largest.
fn used(processors: &[Processor]) -> anyhow::Result<Usage> {
    processors.iter().try_fold(Usage::default(), |sum, processor| {
        let usage = processor.usage()?;
        Ok(Usage { cpu: sum.cpu + usage.cpu, peak_kib: sum.peak_kib.max(usage.peak_kib) })
    })
}

#[expect(clippy::cast_precision_loss, reason = "far below where counts get imprecise")]
fn as_f64(count: usize) -> f64 {
    count as f64
}
