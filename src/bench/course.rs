//! The course of a bench: each case as often as asked for, between two measurements of the store alone, and Kafka alone once.

use super::bars::bar;
use super::cases::{Case, Needs};
use super::measure::Worked;
use super::process::Counts;
use super::round::Round;
use super::steps::StepTimes;
use super::table::{TableLine, mib};
use super::workbench::Bench;
use anyhow::{Context as _, ensure};

/// Measures the cases, and prints each line as soon as it is known.
pub async fn run(bench: &mut Bench, only_ceiling: bool) -> anyhow::Result<()> {
    let base = bench.place.set_up_store().await?;
    ensure!(
        !(bench.place.is_exclusive() && bench.options.instances > 1),
        "the embedded store is for one process: --instances must be 1"
    );
    if only_ceiling && !bench.options.plain.is_empty() {
        let ages = bench.options.plain.clone();
        return Box::pin(bench.compare_with_plain(&base, &ages)).await;
    }
    if bench.options.http {
        return Box::pin(bench.over_http(&base)).await;
    }
    let mut at_rate = Vec::new();
    for case in bench.options.cases() {
        let needs = case.needs(bench.options.commands(), bench.options.entities);
        let needs = Needs { customers: bench.other_customer(case) + 1, ..needs };
        let bar = bar(&format!("{}: importing", case.name()));
        bench.fleet.complete(&base.config, needs, &bar).await?;
        bar.finish_and_clear();
        if only_ceiling {
            bench.ceilings_alone(&base, case).await?;
        } else {
            at_rate.push(measure_case(bench, &base, case).await?);
        }
    }
    match bench.options.rate {
        _ if bench.options.no_ceiling => Ok(()),
        Some(rate) => bench.parts_at(&base, rate, &at_rate).await,
        None => bench.copy_loop().await,
    }
}

async fn measure_case(bench: &mut Bench, base: &Round, case: Case) -> anyhow::Result<TableLine> {
    let (mut runs, mut ceilings, mut cache) = (Vec::new(), Vec::new(), None);
    let with_ceiling = !bench.options.no_ceiling && bench.options.rate.is_none();
    if with_ceiling {
        // The first run does not count: so far only the import has written to the entities, and the store is faster now than it will be.
        bench.ceiling(base, case, 1).await?;
        ceilings.push(bench.ceiling(base, case, 1).await?.per_second());
    }
    for _ in 0..bench.options.runs {
        let worked = bench.processed(case).await?;
        let before = ceilings.last().copied();
        if with_ceiling {
            ceilings.push(bench.ceiling(base, case, 1).await?.per_second());
        }
        let ceiling = before.zip(ceilings.last()).map(|(before, after)| f64::midpoint(before, *after));
        cache = hit_rate(worked.counts);
        runs.push(line(bench.options.commands(), case.name(), &worked, ceiling));
    }
    let line = TableLine::median(&runs).context("there is at least one run")?;
    bench.report.line(&line)?;
    for step in line.steps_ms.iter().flat_map(StepTimes::lines) {
        bench.report.remark(&format!("{:16} {step}", ""))?;
    }
    if let Some(cache) = cache {
        bench.report.remark(&format!("{:16} {cache}", ""))?;
    }
    let listed = |all: &[f64]| all.iter().map(|one| format!("{one:.0}")).collect::<Vec<_>>().join(", ");
    if runs.len() > 1 {
        let all: Vec<_> = runs.iter().map(|run| run.commands_per_second).collect();
        bench.report.remark(&format!("{:16} the runs, in commands/s: {}", "", listed(&all)))?;
    }
    if with_ceiling {
        let remark = format!("{:16} the store alone, before, between and after: {}", "", listed(&ceilings));
        bench.report.remark(&remark)?;
    }
    Ok(line)
}

fn line(commands: u32, case: &str, worked: &Worked, ceiling: Option<f64>) -> TableLine {
    let count = f64::from(commands);
    let per_second = count / worked.seconds.max(1e-9);
    TableLine {
        case: case.into(),
        commands: commands.into(),
        seconds: worked.seconds,
        commands_per_second: per_second,
        ceiling_per_second: ceiling,
        ratio: ceiling.map(|ceiling| per_second / ceiling),
        lwts_per_command: Some(worked.counts.writes / count),
        records_per_transaction: Some(count / worked.counts.transactions.max(1.0)),
        cpu_us_per_command: worked.used.cpu.as_secs_f64() * 1e6 / count,
        peak_memory_mib: mib(worked.used.peak_kib),
        reply_ms: worked.latency,
        steps_ms: worked.steps,
    }
}

/// Returns in words how good the cache was. Returns `None` if nothing was looked up in it.
fn hit_rate(counts: Counts) -> Option<String> {
    let Counts { lookups, hits, read_ahead, .. } = counts;
    let percent = 100.0 * hits / lookups;
    let ahead = format!("{read_ahead:.0} entities were read ahead");
    (lookups > 0.0).then(|| format!("the cache, in the last run: {percent:.1} % of {lookups:.0} look-ups hit; {ahead}"))
}
