//! `dlq list`: lists the letters on the dead letter topic, and counts them by reason.

use super::letter::{Letter, LetterCounts, Mark, Marks};
use super::selection::{Filters, Letters, Selection};
use crate::domain::Timestamp;
use crate::telemetry::log;
use crate::telemetry::wording::counted;
use crate::toolbox::flags::{ConfigFile, Form};
use crate::toolbox::paint::Paint;
use crate::toolbox::{connect, record, topic_scan};
use crate::wire::headers::rfc3339;
use rdkafka::message::Message as _;
use serde_json::{Value, json};
use std::io::{self, Write as _};
use std::process::ExitCode;

const HELP: &str = r#"Examples:
  crm-processor dlq list --config crm.toml --since 1d --pending
  crm-processor dlq list --config crm.toml --counts
  crm-processor dlq list --config crm.toml --reason unknown_schema_id --partition 3 --offsets 17-20 --json

A line of JSON: {"partition","offset","timestamp","reason","message","origin":{"topic","partition","offset"},"key","bytes","resent"}; resent is
null, or {"at","as"} of the last time that `dlq resend` sent the letter; times are milliseconds since 1970. With --counts:
{"reason","letters","resent","first","last"}. Letters come partition after partition, in the order of their offsets."#;

/// List dead letters, and count them
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    filters: Filters,
    /// Only letters that were not sent again
    #[arg(long)]
    pending: bool,
    /// Print only how many letters there are for each reason
    #[arg(long)]
    counts: bool,
    #[command(flatten)]
    form: Form,
}

/// `crm-processor dlq list`
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = args.config.load()?;
    log::start(&config.log).map_err(anyhow::Error::msg)?;
    let (paint, json) = (Paint::for_stdout(), args.form.is_json());
    let selection = Selection::new(args.filters, connect::clock()());
    let ranges = topic_scan::ranges(&config.kafka, &config.kafka.topics.dlq).await?;
    let marks = Marks::read(&config, &ranges).await?;
    let mut letters = Letters::open(&config, &ranges, &selection)?;
    let mut counts = LetterCounts::default();
    let mut out = io::stdout().lock();
    while let Some(letter) = letters.next().await? {
        let mark = marks.of(letter.id());
        if args.pending && mark.is_some() {
            continue;
        }
        counts.add(&letter, mark.is_some());
        if args.counts {
            continue;
        }
        if json {
            writeln!(out, "{}", as_json(&letter, mark))?;
        } else {
            writeln!(out, "{}", as_text(&letter, mark, paint))?;
        }
    }
    match (json, args.counts) {
        (true, true) => counts_as_json(&counts, &mut out)?,
        (true, false) => {}
        (false, _) => counts_as_text(&counts, paint, &mut out)?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn as_json(letter: &Letter, mark: Option<&Mark>) -> Value {
    let id = letter.id();
    json!({
        "partition": id.partition,
        "offset": id.offset,
        "timestamp": letter.timestamp(),
        "reason": letter.reason(),
        "message": letter.error("exception.message"),
        "origin": letter.origin().map(|o| json!({"topic": &*o.topic, "partition": o.partition, "offset": o.offset})),
        "key": record::text(letter.record.key()),
        "bytes": letter.record.payload().map_or(0, <[u8]>::len),
        "resent": mark.map(|mark| json!({"at": mark.at, "as": mark.sent_as})),
    })
}

pub(super) fn as_text(letter: &Letter, mark: Option<&Mark>, paint: Paint) -> String {
    let key = letter.record.key().map_or("no key".into(), |key| format!("key {:?}", String::from_utf8_lossy(key)));
    let origin = letter.origin().map_or("from an unknown topic".into(), |origin| format!("from {origin}"));
    let bytes = letter.record.payload().map_or("a null value".into(), |value| format!("{} bytes", value.len()));
    let message = letter.error("exception.message").unwrap_or("no message");
    let (id, at) = (paint.bold(letter.id()), paint.dim(time(letter.timestamp())));
    let resent = mark.map(|mark| format!("\n      {}", paint.green(sent(mark)))).unwrap_or_default();
    let reason = paint.yellow(letter.reason());
    format!("{id}  {at}  {reason}  {origin}, {key}, {bytes}\n      {message}{resent}")
}

/// Says that a letter was sent again, as which command and when.
pub(super) fn sent(mark: &Mark) -> String {
    format!("sent again as {} at {}", mark.sent_as, time(mark.at))
}

pub(super) fn time(at: Option<Timestamp>) -> String {
    at.map_or("no time".into(), rfc3339)
}

fn counts_as_json(counts: &LetterCounts, out: &mut impl io::Write) -> io::Result<()> {
    for (reason, count) in &counts.0 {
        let line = json!({
            "reason": reason, "letters": count.letters, "resent": count.resent, "first": count.first, "last": count.last,
        });
        writeln!(out, "{line}")?;
    }
    Ok(())
}

pub(super) fn counts_as_text(counts: &LetterCounts, paint: Paint, out: &mut impl io::Write) -> io::Result<()> {
    let width = counts.0.keys().map(String::len).max().unwrap_or_default();
    let letters = counted(counts.letters(), "dead letter");
    writeln!(out, "{}", paint.bold(format!("{letters}, {} of them sent again", counts.resent())))?;
    for (reason, count) in &counts.0 {
        let (first, last) = (time(count.first), time(count.last));
        writeln!(out, "  {reason:width$}  {:>6}, {} of them sent again, {first} to {last}", count.letters, count.resent)?;
    }
    Ok(())
}
