//! Measures the parts alone, as the parent sees it: gives each part its load, and turns its figures into a line.

use super::bars::spinner;
use super::cases::Case;
use super::ceiling::CeilingLoad;
use super::copy_loop::CopyLoad;
use super::load::Crm;
use super::measured::Measured;
use super::part::Part;
use super::round::Round;
use super::table::{TableLine, mib};
use super::workbench::Bench;
use crate::toolbox::output::remark;

/// How many rows `bench ceiling hot` puts into each write, one number after another.
const HOT_ROWS: [usize; 6] = [1, 16, 64, 128, 256, 512];
/// How long the parts are measured alone at a rate.
const ALONE_SECONDS: f64 = 10.0;

impl Bench {
    /// Measures the store alone for a case, and prints a line for each number of rows in a write.
    pub(super) async fn ceilings_alone(&mut self, base: &Round, case: Case) -> anyhow::Result<()> {
        for rows in if case == Case::Hot { &HOT_ROWS[..] } else { &HOT_ROWS[..1] } {
            let mut runs = Vec::new();
            for _ in 0..self.options.runs {
                match self.ceiling(base, case, *rows).await {
                    Ok(measured) => runs.push(measured.line(&match case {
                        Case::Hot => format!("ceiling:hot:{rows}"),
                        _ => format!("ceiling:{}", case.name()),
                    })),
                    // Databases bound the size of a batch: Cassandra takes 50 KiB by default.
                    Err(error) if *rows > 1 => remark(format_args!("{rows} rows in one write: {error:#}")),
                    Err(error) => return Err(error),
                }
            }
            TableLine::median(&runs).map_or(Ok(()), |line| self.report.line(&line))?;
        }
        Ok(())
    }

    /// Measures what the store alone does of a case.
    pub(super) async fn ceiling(&mut self, base: &Round, case: Case, rows: usize) -> anyhow::Result<Measured> {
        let load = CeilingLoad { case, rows, ..self.load(base) };
        let steps = [load.touch(), case.steps(load.commands, load.entities)].concat();
        let spinner = spinner(&format!("{}: the store alone", case.name()));
        let measured = Part::Ceiling(load).run(base).await?;
        spinner.finish_and_clear();
        self.fleet.renamed(&steps);
        Ok(measured)
    }

    fn load(&mut self, base: &Round) -> CeilingLoad {
        self.pass += 1;
        let in_flight = base.config.kafka.max_in_flight * usize::from(self.options.instances);
        let (commands, entities) = (self.options.commands(), self.options.entities);
        CeilingLoad { case: Case::Name, pass: self.pass, commands, entities, cold: !self.options.warm, in_flight, rows: 1 }
    }

    /// Measures Kafka alone, with as many commands as the cases had.
    pub(super) async fn copy_loop(&mut self) -> anyhow::Result<()> {
        let spinner = spinner("copy: Kafka alone");
        let mut runs = Vec::new();
        for _ in 0..self.options.runs {
            let round = self.with_names(self.options.commands() + 1).await?;
            let load = copy_load(&round, self.options.commands());
            runs.push(Part::Copy(load).run(&round).await?.line("copy"));
        }
        spinner.finish_and_clear();
        TableLine::median(&runs).map_or(Ok(()), |line| self.report.line(&line))
    }

    /// Measures one write and one transaction at a time, at the rate of the cases, and compares the cases in `lines` with the two together.
    pub(super) async fn parts_at(&mut self, base: &Round, rate: f64, lines: &[TableLine]) -> anyhow::Result<()> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a million a second at most")]
        let commands = self.options.commands().min((rate * ALONE_SECONDS).ceil() as u32).max(1);
        let spinner = spinner("the store and Kafka alone");
        let needs = Case::Name.needs(commands, commands.min(self.options.entities));
        self.fleet.complete(&base.config, needs, &spinner).await?;
        let load = CeilingLoad { commands, entities: needs.customers, ..self.load(base) };
        let write = Part::OneWrite(load, rate).run(base).await?.line("one-lwt");
        let round = self.with_names(1).await?;
        let load = copy_load(&round, commands);
        let transaction = Part::OneTransaction(load, rate).run(&round).await?.line("one-transaction");
        spinner.finish_and_clear();
        self.report.line(&write)?;
        self.report.line(&transaction)?;
        let both = write.reply_ms.p50 + transaction.reply_ms.p50;
        lines.iter().try_for_each(|line| {
            let ratio = line.reply_ms.p50 / both;
            self.report.remark(&format!("{}: half of the replies within {ratio:.2} times one LWT and one transaction", line.case))
        })
    }

    /// Makes a round with commands of the case `name` on its command topic.
    async fn with_names(&mut self, commands: u32) -> anyhow::Result<Round> {
        let round = self.place.round().await?;
        let mut crm = Crm::open(&round, false).await?;
        let mut batch = self.prepare(&mut crm, &Case::Name.steps(commands, self.options.entities))?;
        crm.write(&mut batch).await?;
        Ok(round)
    }
}

impl Measured {
    /// Returns the figures as a line. CPU and memory are those of the process that was measured, which is no processor.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn line(&self, case: &str) -> TableLine {
        let commands = self.commands as f64;
        TableLine {
            case: case.into(),
            commands: self.commands,
            seconds: self.seconds,
            commands_per_second: self.per_second(),
            ceiling_per_second: None,
            ratio: None,
            lwts_per_command: Some(self.writes as f64 / commands),
            records_per_transaction: (self.transactions > 0).then(|| commands / self.transactions as f64),
            cpu_us_per_command: self.cpu_seconds * 1e6 / commands,
            peak_memory_mib: mib(self.peak_kib),
            reply_ms: self.latency,
            steps_ms: None,
        }
    }
}

fn copy_load(round: &Round, commands: u32) -> CopyLoad {
    CopyLoad { commands, transaction_cap: round.config.kafka.transaction_cap }
}
