//! `watch`: tails replies, Business Transactions or dead letters, as JSON lines.

use super::interrupt::interrupted;
use super::record::{Line, base64};
use super::topic_reader::{Start, TopicReader};
use super::{ConfigFile, connect};
use crate::config::Topics;
use crate::telemetry::log;
use crate::wire::json::JsonDecoder;
use clap::ValueEnum;
use rdkafka::message::Message as _;
use serde_json::Value;
use std::io::{self, Write as _};
use std::process::ExitCode;

const HELP: &str = r#"Examples:
  crm-processor watch --config crm.toml transactions
  crm-processor watch --config crm.toml transactions --from-beginning --key customer:5a34ea0a-6dce-50c7-9e46-601289060a7a
  crm-processor watch --config crm.toml replies | jq -c '.value | select(.statusCode != 200)'
  crm-processor watch --config crm.toml dlq --from-beginning --limit 1

A line: {"topic","partition","offset","timestamp","key","headers","value"}, times in milliseconds since 1970. The value is decoded
with the schema that the registry has for it. Bytes that are no text, and values that can't be decoded, are {"base64": "…"}.
Only what is committed is shown. Records of different partitions come in no order. Ctrl-C ends it, with exit code 0."#;

/// Tail replies, Business Transactions or dead letters as JSON lines
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// Which topic, by what the configuration calls it
    #[arg(value_enum, value_name = "TOPIC")]
    topic: Watched,
    /// Begin with the first record that there is, not with the next that comes
    #[arg(long)]
    from_beginning: bool,
    /// End after so many records
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Show only records with this key
    #[arg(long, value_name = "TEXT")]
    key: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Watched {
    /// The answers to the CRM
    Replies,
    /// What the data warehouse reads
    Transactions,
    /// Records that could not be read as commands
    Dlq,
}

/// `crm-processor watch`
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = args.config.load()?;
    log::start(&config.log).map_err(anyhow::Error::msg)?;
    let decoder = JsonDecoder::new(connect::registry(&config)?);
    let start = if args.from_beginning { Start::Beginning } else { Start::End };
    let reader = TopicReader::open(&config.kafka, args.topic.of(&config.kafka.topics), start).await?;
    tokio::select! {
        tailed = tail(&reader, decoder, args.limit, args.key.as_deref()) => tailed?,
        interrupted = interrupted() => interrupted?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn tail(reader: &TopicReader, mut decoder: JsonDecoder, limit: Option<u64>, key: Option<&str>) -> anyhow::Result<()> {
    let mut shown = 0;
    while limit.is_none_or(|limit| shown < limit) {
        let record = reader.next().await?;
        if key.is_some_and(|key| record.key() != Some(key.as_bytes())) {
            continue;
        }
        let value = match record.payload() {
            None => Value::Null,
            Some(bytes) => decoder.decode(Some(bytes)).await?.unwrap_or_else(|_| base64(bytes)),
        };
        writeln!(io::stdout(), "{}", serde_json::to_string(&Line::of(&record, value))?)?;
        shown += 1;
    }
    Ok(())
}

impl Watched {
    fn of(self, topics: &Topics) -> &str {
        match self {
            Self::Replies => &topics.replies,
            Self::Transactions => &topics.transactions,
            Self::Dlq => &topics.dlq,
        }
    }
}
