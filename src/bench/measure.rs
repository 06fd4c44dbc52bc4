//! Measures the processor at work on one case: starts it, prepares it, and times it from its first command to its last reply.

use super::bars::bar;
use super::cases::{Case, CaseStep, Kind};
use super::latency::Latency;
use super::load::{CommandBatch, Crm};
use super::measured::Usage;
use super::process::{Counts, Process, until_all_ready, until_one_ends};
use super::steps::StepTimes;
use super::workbench::Bench;
use anyhow::{Context as _, bail, ensure};
use indicatif::ProgressBar;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How long the processors' metrics may lag behind the replies.
const SETTLE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The figures of the processors' work on the measured commands.
pub struct Worked {
    /// How long the commands took, in seconds.
    pub seconds: f64,
    /// The latency of the commands, from when each was due.
    pub latency: Latency,
    /// Where the time of the replies went. `None` without a rate: commands of a backlog spend their time waiting for each other.
    pub steps: Option<StepTimes>,
    /// The counts of the processors' metrics.
    pub counts: Counts,
    /// The CPU time and the memory that the processors used.
    pub used: Usage,
}

impl Bench {
    /// Measures a case with the processor, on topics of their own.
    pub(super) async fn processed(&mut self, case: Case) -> anyhow::Result<Worked> {
        let bar = bar(case.name());
        let round = self.place.round().await?;
        for number in 0..usize::from(self.options.instances) {
            self.place.processors.push(Process::processor(&round, number)?);
        }
        until_all_ready(&mut self.place.processors, self.options.partitions).await?;
        let mut crm = Crm::open(&round, self.options.rate.is_some()).await?;
        let worked = self.prepared_and_worked(&mut crm, case, &bar).await;
        if worked.is_err() {
            let tails: Vec<_> = self.place.processors.iter().map(Process::log_tail).collect();
            return worked.context(format!("case {}; of the processor, {}", case.name(), tails.join("\n")));
        }
        for processor in self.place.processors.drain(..) {
            processor.stop().await?;
        }
        bar.finish_and_clear();
        worked
    }

    async fn prepared_and_worked(&mut self, crm: &mut Crm, case: Case, bar: &ProgressBar) -> anyhow::Result<Worked> {
        // Connections, metadata and the first transaction are a matter of starting. One command has them made; its entity is not among
        // those of the case.
        let other = CaseStep { kind: Kind::Name, entity: self.other_customer(case), request: 0 };
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

    /// Returns the number of a customer that the case is not about.
    pub(super) fn other_customer(&self, case: Case) -> u32 {
        case.needs(self.options.commands(), self.options.entities).customers
    }

    /// Has commands answered before the measurement. Returns how many.
    async fn answer(&mut self, crm: &mut Crm, steps: &[CaseStep], bar: &ProgressBar) -> anyhow::Result<usize> {
        let mut batch = self.prepare(crm, steps)?;
        crm.write(&mut batch).await?;
        self.replies(crm, &batch, bar).await?;
        Ok(steps.len())
    }

    /// Returns when each reply came. If a processor ends before all replies are there, that is an error, because the wait would be in vain.
    pub(super) async fn replies(
        &mut self,
        crm: &mut Crm,
        batch: &CommandBatch,
        bar: &ProgressBar,
    ) -> anyhow::Result<Vec<Instant>> {
        tokio::select! {
            biased;
            came = crm.replies(batch, bar) => came,
            status = until_one_ends(&mut self.place.processors) => bail!("a processor ended with {}", status?),
        }
    }

    async fn work(&mut self, crm: &mut Crm, steps: &[CaseStep], answered: usize, bar: &ProgressBar) -> anyhow::Result<Worked> {
        let mut batch = self.prepare(crm, steps)?;
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
            processors.iter().try_for_each(Process::pause)?;
            crm.write(&mut batch).await?;
            cpu_before = used(processors)?.cpu;
            due = vec![Duration::ZERO; steps.len()];
            start = Instant::now();
            processors.iter().try_for_each(Process::go_on)?;
            came = self.replies(crm, &batch, bar).await?;
        }
        let after = used(&self.place.processors)?;
        let taken: Vec<_> = came.iter().zip(due).map(|(came, due)| came.saturating_duration_since(start + due)).collect();
        let last = came.iter().max().copied().unwrap_or(start);
        let mean = 1e3 * taken.iter().sum::<Duration>().as_secs_f64() / as_f64(taken.len().max(1));
        let counts = self.settled(answered + steps.len()).await?.since(counts_before);
        Ok(Worked {
            seconds: (last - start).as_secs_f64(),
            latency: Latency::of(taken),
            steps: self.options.rate.map(|_| StepTimes::new(counts.times, mean)),
            counts,
            used: Usage { cpu: after.cpu.saturating_sub(cpu_before), ..after },
        })
    }

    /// Returns the processors' counts as soon as they have counted so many commands, which is a little after the replies are there.
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
}

/// Returns the CPU time of all processors together, and the memory of the largest.
pub fn used(processors: &[Process]) -> anyhow::Result<Usage> {
    processors.iter().try_fold(Usage::default(), |sum, processor| {
        let usage = processor.usage()?;
        Ok(Usage {
            cpu: sum.cpu + usage.cpu,
            peak_kib: sum.peak_kib.max(usage.peak_kib),
            present_kib: sum.present_kib.max(usage.present_kib),
        })
    })
}

#[expect(clippy::cast_precision_loss, reason = "far below where counts get imprecise")]
fn as_f64(count: usize) -> f64 {
    count as f64
}
