//! The printed results: lines of JSON for tools, rows of a table for people.

use super::latency::Latency;
use super::steps::StepTimes;
use serde::Serialize;
use std::io::{self, Write as _};

/// The figures of one case, or of a part alone. A figure that makes no sense for it is null.
#[derive(Clone, Debug, Serialize)]
pub struct TableLine {
    /// `name`, …; `ceiling:name`, …, `copy`, `one-lwt`, `one-transaction` for parts alone.
    pub case: String,
    /// How many commands there were.
    pub commands: u64,
    /// How long the commands took.
    pub seconds: f64,
    /// Commands, divided by seconds.
    pub commands_per_second: f64,
    /// Commands per second of the store alone, measured before and after.
    pub ceiling_per_second: Option<f64>,
    /// Commands per second, divided by the ceiling.
    pub ratio: Option<f64>,
    /// Conditional writes that were sent per command.
    pub lwts_per_command: Option<f64>,
    /// Commands that were answered per Kafka transaction.
    pub records_per_transaction: Option<f64>,
    /// CPU time of the process, or of all instances together, per command.
    pub cpu_us_per_command: f64,
    /// The most memory of the process, or of the largest instance.
    pub peak_memory_mib: f64,
    /// The time from when a command was due to its reply. For parts alone, how long each command or transaction took there.
    pub reply_ms: Latency,
    /// Where the time until the reply went, on average. Null without a rate, and for parts alone.
    pub steps_ms: Option<StepTimes>,
}

impl TableLine {
    /// Returns the median of each figure over several runs of one case; for an even number of runs, the mean of the two in the middle.
    /// Returns `None` if there are no runs.
    pub fn median(runs: &[Self]) -> Option<Self> {
        let first = runs.first()?;
        let of = |figure: fn(&Self) -> f64| median(runs.iter().map(figure).collect());
        let of_known = |figure: fn(&Self) -> Option<f64>| {
            let known: Vec<f64> = runs.iter().filter_map(figure).collect();
            (!known.is_empty()).then(|| median(known))
        };
        let steps: Vec<_> = runs.iter().filter_map(|run| run.steps_ms).collect();
        Some(Self {
            case: first.case.clone(),
            commands: first.commands,
            seconds: of(|l| l.seconds),
            commands_per_second: of(|l| l.commands_per_second),
            ceiling_per_second: of_known(|l| l.ceiling_per_second),
            ratio: of_known(|l| l.ratio),
            lwts_per_command: of_known(|l| l.lwts_per_command),
            records_per_transaction: of_known(|l| l.records_per_transaction),
            cpu_us_per_command: of(|l| l.cpu_us_per_command),
            peak_memory_mib: of(|l| l.peak_memory_mib),
            reply_ms: Latency { p50: of(|l| l.reply_ms.p50), p99: of(|l| l.reply_ms.p99), max: of(|l| l.reply_ms.max) },
            steps_ms: (!steps.is_empty()).then(|| StepTimes::over(&steps, median)),
        })
    }

    fn rounded(&self) -> Self {
        let ms = &self.reply_ms;
        Self {
            seconds: round(self.seconds, 3),
            commands_per_second: round(self.commands_per_second, 1),
            ceiling_per_second: self.ceiling_per_second.map(|x| round(x, 1)),
            ratio: self.ratio.map(|x| round(x, 3)),
            lwts_per_command: self.lwts_per_command.map(|x| round(x, 3)),
            records_per_transaction: self.records_per_transaction.map(|x| round(x, 1)),
            cpu_us_per_command: round(self.cpu_us_per_command, 1),
            peak_memory_mib: round(self.peak_memory_mib, 1),
            reply_ms: Latency { p50: round(ms.p50, 3), p99: round(ms.p99, 3), max: round(ms.max, 3) },
            steps_ms: self.steps_ms.map(|steps| StepTimes::over(&[steps], |of| round(of[0], 3))),
            ..self.clone()
        }
    }
}

/// The printer of lines and remarks, to standard output.
pub struct Report {
    json: bool,
    headed: bool,
}

impl Report {
    /// Creates a report that prints JSON, or a table.
    pub fn new(json: bool) -> Self {
        Self { json, headed: false }
    }

    /// Prints a line.
    pub fn line(&mut self, line: &TableLine) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            writeln!(out, "{}", serde_json::to_string(&line.rounded())?)?;
        } else {
            if !std::mem::replace(&mut self.headed, true) {
                writeln!(out, "{}", heading())?;
            }
            writeln!(out, "{}", row(line))?;
        }
        Ok(out.flush()?)
    }

    /// Prints figures that are not those of a case: `row` for people, or `line` as JSON.
    pub fn other(&self, line: &impl Serialize, row: &str) -> anyhow::Result<()> {
        let json = serde_json::to_string(line)?;
        Ok(writeln!(io::stdout(), "{}", if self.json { &json } else { row })?)
    }

    /// Prints a remark for people. With JSON there are no remarks.
    pub fn remark(&self, text: &str) -> anyhow::Result<()> {
        if !self.json {
            writeln!(io::stdout(), "{text}")?;
        }
        Ok(())
    }
}

fn heading() -> String {
    let above = format!(
        "{:16} {:>9} {:>8} {:>10} {:>9} {:>5} {:>5} {:>7} {:>6} {:>6} {:>28}",
        "", "", "", "", "the store", "", "LWTs/", "records", "CPU µs", "peak", "reply after ms"
    );
    let below = format!(
        "{:16} {:>9} {:>8} {:>10} {:>9} {:>5} {:>5} {:>7} {:>6} {:>6} {:>8} {:>9} {:>9}",
        "case", "commands", "seconds", "commands/s", "alone", "ratio", "cmd", "/trans.", "/cmd", "MiB", "p50", "p99", "max"
    );
    format!("{}\n{below}", above.trim_end())
}

fn row(line: &TableLine) -> String {
    let known = |value: Option<f64>, digits: usize| value.map_or("-".into(), |value| format!("{value:.digits$}"));
    let Latency { p50, p99, max } = line.reply_ms;
    format!(
        "{:16} {:>9} {:>8.2} {:>10.0} {:>9} {:>5} {:>5} {:>7} {:>6.0} {:>6.1} {p50:>8.1} {p99:>9.1} {max:>9.1}",
        line.case,
        line.commands,
        line.seconds,
        line.commands_per_second,
        known(line.ceiling_per_second, 0),
        known(line.ratio, 2),
        known(line.lwts_per_command, 2),
        known(line.records_per_transaction, 1),
        line.cpu_us_per_command,
        line.peak_memory_mib,
    )
}

/// Converts KiB to MiB.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
pub fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// Returns the median; for an even number of values, the mean of the two in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// Rounds a figure to so many digits behind the point.
pub fn round(value: f64, digits: i32) -> f64 {
    let factor = 10_f64.powi(digits);
    (value * factor).round() / factor
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(per_second: f64, ratio: Option<f64>) -> TableLine {
        TableLine {
            case: "name".into(),
            commands: 20_000,
            seconds: 3.0,
            commands_per_second: per_second,
            ceiling_per_second: None,
            ratio,
            lwts_per_command: Some(1.0),
            records_per_transaction: Some(61.34),
            cpu_us_per_command: 59.96,
            peak_memory_mib: 31.0,
            reply_ms: Latency { p50: 1500.0, p99: 2990.0, max: 3000.0 },
            steps_ms: None,
        }
    }

    #[test]
    fn runs_are_summed_up_by_the_median_of_each_figure() {
        let runs = [line(6000.0, Some(0.9)), line(9000.0, None), line(6500.0, Some(0.8))];
        let median = TableLine::median(&runs).unwrap();
        assert_eq!((median.commands_per_second, median.ceiling_per_second), (6500.0, None));
        assert!((median.ratio.unwrap() - 0.85).abs() < 1e-9);
    }

    #[test]
    fn a_line_of_json_has_the_same_keys_always() {
        let json = serde_json::to_string(&line(6666.66, None).rounded()).unwrap();
        assert_eq!(
            json,
            r#"{"case":"name","commands":20000,"seconds":3.0,"commands_per_second":6666.7,"ceiling_per_second":null,"ratio":null,"#
                .to_owned()
                + r#""lwts_per_command":1.0,"records_per_transaction":61.3,"cpu_us_per_command":60.0,"peak_memory_mib":31.0,"#
                + r#""reply_ms":{"p50":1500.0,"p99":2990.0,"max":3000.0},"steps_ms":null}"#
        );
    }

    #[test]
    fn the_columns_of_the_table_stand_below_their_headings() {
        let width = |text: &str| text.chars().count();
        let heading = heading();
        assert!(heading.lines().all(|l| width(l) == width(&row(&line(6666.6, Some(0.91))))), "{heading}");
    }
}
