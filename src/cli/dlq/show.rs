//! `dlq show`: shows one dead letter with all that is known about it.

use super::letter::{ERRORS, Letter, Mark, Marks};
use super::list::{sent, time};
use super::selection::{Letters, Selection};
use crate::config::Config;
use crate::flow::RecordId;
use crate::telemetry::log;
use crate::toolbox::flags::{ConfigFile, Form};
use crate::toolbox::output::remark;
use crate::toolbox::paint::Paint;
use crate::toolbox::record::{all_headers, headers, text};
use crate::toolbox::topic_scan::{self, PartitionRange};
use crate::toolbox::{FAILED, connect};
use crate::wire::frame::frame;
use crate::wire::headers::hexadecimal;
use crate::wire::json::JsonDecoder;
use crate::wire::schema_id::SchemaId;
use rdkafka::message::Message as _;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// How many bytes of a value that can't be decoded are shown to people.
const SHOWN_BYTES: usize = 2048;
const BYTES_A_LINE: usize = 16;

const HELP: &str = r#"Examples:
  crm-processor dlq show --config crm.toml 3/17
  crm-processor dlq show --config crm.toml 3/17 --json | jq -r .valueHex | xxd -r -p > value.bin

The value is shown as JSON if it can be read with the schema that the registry has for it; otherwise in hexadecimal, with the reason. As
JSON: {"partition","offset","timestamp","key","errors","headers","resent","schemaId","value","valueHex","undecodable"}; errors are Kafka
Connect's headers, named without "__connect.errors."; headers are the others. The exit code is 1 if there is no such dead letter."#;

/// Show one dead letter in full
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// The letter's place on the dead letter topic
    #[arg(value_name = "PARTITION/OFFSET")]
    id: RecordId,
    #[command(flatten)]
    form: Form,
}

/// `crm-processor dlq show`
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = args.config.load()?;
    log::start(&config.log).map_err(anyhow::Error::msg)?;
    let RecordId { partition, offset } = args.id;
    let ranges = topic_scan::ranges(&config.kafka, &config.kafka.topics.dlq).await?;
    let selection = Selection::of(vec![args.id]);
    let Some(letter) = Letters::open(&config, &ranges, &selection)?.next().await? else {
        remark(format_args!(
            "there is no dead letter at {} on {}; `crm-processor dlq list` lists them",
            args.id, config.kafka.topics.dlq
        ));
        return Ok(ExitCode::from(FAILED));
    };
    let behind =
        ranges.into_iter().filter(|range| range.partition == partition).map(|range| PartitionRange { from: offset + 1, ..range });
    let marks = Marks::read(&config, &behind.collect::<Vec<_>>()).await?;
    let shown = Shown { mark: marks.of(args.id), contents: ShownValue::of(&letter, &config).await?, letter: &letter };
    let text = if args.form.is_json() { format!("{}\n", shown.as_json()) } else { shown.as_text(Paint::for_stdout()) };
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// A value, as far as it can be read.
enum ShownValue {
    Null,
    Decoded(Value),
    /// The value can't be decoded; the text says why.
    Undecodable(String),
}

impl ShownValue {
    async fn of(letter: &Letter, config: &Config) -> anyhow::Result<Self> {
        let Some(bytes) = letter.record.payload() else { return Ok(Self::Null) };
        let mut decoder = JsonDecoder::new(connect::registry(config)?);
        Ok(match decoder.decode_record(Some(bytes), letter.own_headers()).await {
            Ok(Ok(value)) => Self::Decoded(value),
            Ok(Err(unreadable)) => Self::Undecodable(unreadable.to_string()),
            Err(fault) => Self::Undecodable(fault.to_string()),
        })
    }
}

struct Shown<'a> {
    letter: &'a Letter,
    mark: Option<&'a Mark>,
    contents: ShownValue,
}

impl Shown<'_> {
    fn schema_id(&self) -> Option<SchemaId> {
        frame(self.letter.record.payload(), self.letter.own_headers()).ok().map(|(id, _)| id)
    }

    fn errors(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        all_headers(&self.letter.record).filter_map(|(name, value)| Some((name.strip_prefix(ERRORS)?, value)))
    }

    fn as_json(&self) -> Value {
        let (value, undecodable) = match &self.contents {
            ShownValue::Null => (None, None),
            ShownValue::Decoded(value) => (Some(value), None),
            ShownValue::Undecodable(why) => (None, Some(why)),
        };
        let id = self.letter.id();
        json!({
            "partition": id.partition,
            "offset": id.offset,
            "timestamp": self.letter.timestamp(),
            "key": text(self.letter.record.key()),
            "errors": headers(self.errors()),
            "headers": headers(self.letter.own_headers()),
            "resent": self.mark.map(|mark| json!({"at": mark.at, "as": mark.sent_as})),
            "schemaId": self.schema_id().map(schema_id),
            "value": value,
            "valueHex": undecodable.and(self.letter.record.payload()).map(hexadecimal),
            "undecodable": undecodable,
        })
    }

    fn as_text(&self, paint: Paint) -> String {
        let letter = self.letter;
        let mut page = format!("{}  {}\n", paint.bold(letter.id()), time(letter.timestamp()));
        if let Some(mark) = self.mark {
            let _ = writeln!(page, "{}", paint.green(sent(mark)));
        }
        let mut section = |title: &str, lines: Vec<String>| {
            let _ = writeln!(page, "{}", paint.bold(title));
            let lines = if lines.is_empty() { vec!["none".into()] } else { lines };
            for line in lines {
                let _ = writeln!(page, "  {line}");
            }
        };
        let line = |(name, value): (&str, Option<&[u8]>)| format!("{name}: {}", printable(value));
        section("why", self.errors().map(line).collect());
        section("headers", letter.own_headers().map(line).collect());
        section("key", vec![printable(letter.record.key())]);
        let bytes = letter.record.payload().unwrap_or_default();
        let schema = self.schema_id().map_or("no schema id".into(), |id| format!("schema {id}"));
        let (title, lines) = match &self.contents {
            ShownValue::Null => ("value: null".into(), vec!["null".into()]),
            ShownValue::Decoded(value) => {
                let pretty = format!("{value:#}").lines().map(str::to_owned).collect();
                (format!("value: {} bytes, {schema}", bytes.len()), pretty)
            }
            ShownValue::Undecodable(why) => (format!("value: {} bytes, {schema}; {why}", bytes.len()), dump(bytes)),
        };
        section(&title, lines);
        page
    }
}

/// Returns a schema id as JSON: a number, or the GUID as text.
fn schema_id(id: SchemaId) -> Value {
    match id {
        SchemaId::Number(id) => id.into(),
        SchemaId::Guid(guid) => guid.to_string().into(),
    }
}

/// Returns a text in quotes, so that nothing in it drives the terminal, and other bytes in hexadecimal.
fn printable(bytes: Option<&[u8]>) -> String {
    bytes.map_or("null".into(), |bytes| {
        std::str::from_utf8(bytes).map_or_else(|_| format!("0x{}", hexadecimal(bytes)), |text| format!("{text:?}"))
    })
}

/// Returns the lines of a dump as `xxd` prints it: the offset, the bytes in hexadecimal, and those that are ASCII.
fn dump(bytes: &[u8]) -> Vec<String> {
    let shown = &bytes[..bytes.len().min(SHOWN_BYTES)];
    let line = |(at, chunk): (usize, &[u8])| {
        let pairs: Vec<_> = chunk.chunks(2).map(hexadecimal).collect();
        let ascii: String = chunk.iter().map(|b| if matches!(b, b' '..=b'~') { char::from(*b) } else { '.' }).collect();
        format!("{:08x}: {:39}  {ascii}", at * BYTES_A_LINE, pairs.join(" "))
    };
    let mut lines: Vec<_> = shown.chunks(BYTES_A_LINE).enumerate().map(line).collect();
    if shown.len() < bytes.len() {
        lines.push(format!("… {} bytes more; --json has them all", bytes.len() - shown.len()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_dumped_like_xxd_and_with_a_bound() {
        assert_eq!(
            dump(b"\x00\x01no Avro at all!"),
            [
                "00000000: 0001 6e6f 2041 7672 6f20 6174 2061 6c6c  ..no Avro at all",
                "00000010: 21                                       !"
            ]
        );
        let lines = dump(&[0; SHOWN_BYTES + 3]);
        assert_eq!(lines.len(), SHOWN_BYTES / BYTES_A_LINE + 1);
        assert_eq!(lines.last().unwrap(), "… 3 bytes more; --json has them all");
    }
}
