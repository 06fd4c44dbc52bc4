//! `watch`: shows the replies, Business Transactions, change rows or dead letters that are there, that come, or both.

mod entity;
mod text;

use crate::config::{Kafka, Topics};
use crate::domain::Timestamp;
use crate::telemetry::log;
use crate::toolbox::connect;
use crate::toolbox::flags::{ConfigFile, Form};
use crate::toolbox::interrupt::interrupted;
use crate::toolbox::moment::Moment;
use crate::toolbox::paint::Paint;
use crate::toolbox::record::{RecordLine, all_headers, base64};
use crate::toolbox::topic_reader::{Start, TopicReader};
use crate::toolbox::topic_scan::{self, TopicScan};
use crate::wire::json::JsonDecoder;
use anyhow::bail;
use clap::ValueEnum;
use entity::EntityFilter;
use rdkafka::message::{Message as _, OwnedMessage};
use serde_json::Value;
use std::io::{self, Write as _};
use std::process::ExitCode;

const HELP: &str = r#"Examples:
  crm-processor watch --config crm.toml transactions                          those that come from now on
  crm-processor watch --config crm.toml transactions --since 1h --follow      those of the last hour, and those that come
  crm-processor watch --config crm.toml transactions --from-beginning --entity customer:c-1
  crm-processor watch --config crm.toml replies | jq -c '.value | select(.statusCode != 200)'
  crm-processor watch --config crm.toml dlq --from-beginning --limit 1

Without --from-beginning and --since it shows the records that come, until Ctrl-C. With one of them it shows the records that are there,
partition after partition, and ends; with --follow it goes on with those that come.

--entity shows the records about an entity, given its refId, or an external id that the record names as the present one or as the one that
the change gave up. A reply that refuses a command names no entity; it is shown if its key is the id.

A line of JSON: {"topic","partition","offset","timestamp","key","headers","value"}, times in milliseconds since 1970. The value is decoded
with the schema that the registry has for it. Bytes that are no text, and values that can't be decoded, are {"base64": "…"}.
Only committed records are shown. Those that come are in order within each partition only. Ctrl-C ends it, with exit code 0."#;

/// Show the replies, Business Transactions, change rows or dead letters that come, or that are there
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// The topic, as the configuration calls it
    #[arg(value_enum, value_name = "TOPIC")]
    topic: Watched,
    /// Begin with the first record on the topic, not with the next that comes
    #[arg(long)]
    from_beginning: bool,
    /// Begin with the first record of this time: 2026-01-31T12:00:00Z, or 2h for "two hours ago"
    #[arg(long, value_name = "TIME", value_parser = Moment::parse, conflicts_with = "from_beginning")]
    since: Option<Moment>,
    /// After the records that are there, go on with those that come
    #[arg(long, short)]
    follow: bool,
    /// End after N records
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Show only records with this key
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    key: Option<String>,
    /// Show only records about this entity
    #[arg(long, value_name = "TYPE:ID")]
    entity: Option<EntityFilter>,
    #[command(flatten)]
    form: Form,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Watched {
    /// The answers to the CRM
    Replies,
    /// The changes, for the data warehouse
    Transactions,
    /// The same changes as flat rows, for its sinks
    Changes,
    /// Records that could not be read as commands
    Dlq,
}

/// `crm-processor watch`
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = args.config.load()?;
    log::start(&config.log).map_err(anyhow::Error::msg)?;
    let Some(topic) = args.topic.of(&config.kafka.topics).map(ToOwned::to_owned) else {
        bail!("there are no change rows: kafka.topics.changes names no topic; name one, and run `crm-processor setup`");
    };
    let (past, follow) = (args.from_beginning || args.since.is_some(), args.follow);
    let show = Show {
        watched: args.topic,
        since: args.since.map(|since| since.timestamp(connect::clock()())),
        limit: args.limit,
        key: args.key,
        entity: args.entity,
        text: (!args.form.is_json()).then(Paint::for_stdout),
    };
    let source = Source::open(&config.kafka, &topic, past, follow).await?;
    tokio::select! {
        shown = show.all(source, JsonDecoder::new(connect::registry(&config)?)) => shown?,
        interrupted = interrupted() => interrupted?,
    }
    Ok(ExitCode::SUCCESS)
}

impl Watched {
    /// Returns the topic's name; `None` if there is no such topic.
    fn of(self, topics: &Topics) -> Option<&str> {
        match self {
            Self::Replies => Some(&topics.replies),
            Self::Transactions => Some(&topics.transactions),
            Self::Changes => topics.changes.as_deref(),
            Self::Dlq => Some(&topics.dlq),
        }
    }
}

/// Where the records come from.
enum Source {
    /// The records that are there.
    Scan(TopicScan),
    /// The records that come, after those that are there if these are wanted, too.
    Reader(TopicReader),
}

impl Source {
    async fn open(kafka: &Kafka, topic: &str, past: bool, follow: bool) -> anyhow::Result<Self> {
        Ok(match (past, follow) {
            (true, false) => Self::Scan(TopicScan::open(kafka, topic, topic_scan::ranges(kafka, topic).await?)?),
            (true, true) => Self::Reader(TopicReader::open(kafka, topic, Start::Beginning).await?),
            (false, _) => Self::Reader(TopicReader::open(kafka, topic, Start::End).await?),
        })
    }

    /// Waits for the next record. Returns `None` at the end of those that are there, if no others are wanted.
    async fn next(&mut self) -> anyhow::Result<Option<OwnedMessage>> {
        match self {
            Self::Scan(scan) => scan.next().await,
            Self::Reader(reader) => reader.next().await.map(Some),
        }
    }
}

/// Which records are shown, and how.
struct Show {
    watched: Watched,
    since: Option<Timestamp>,
    limit: Option<u64>,
    key: Option<String>,
    entity: Option<EntityFilter>,
    /// How lines for people are coloured; `None` if JSON is printed.
    text: Option<Paint>,
}

impl Show {
    async fn all(&self, mut source: Source, mut decoder: JsonDecoder) -> anyhow::Result<()> {
        let mut shown = 0;
        while self.limit.is_none_or(|limit| shown < limit) {
            let Some(record) = source.next().await? else { break };
            if !self.is_wanted(&record) {
                continue;
            }
            let decoded = match record.payload() {
                None => Ok(Value::Null),
                Some(bytes) => {
                    decoder.decode_record(Some(bytes), all_headers(&record)).await?.map_err(|unreadable| unreadable.to_string())
                }
            };
            if self.entity.as_ref().is_some_and(|entity| !entity.matches(record.key(), decoded.as_ref().ok())) {
                continue;
            }
            writeln!(io::stdout(), "{}", self.line(record, decoded)?)?;
            shown += 1;
        }
        Ok(())
    }

    fn is_wanted(&self, record: &OwnedMessage) -> bool {
        let at = record.timestamp().to_millis().unwrap_or_default();
        self.since.is_none_or(|since| since <= at) && self.key.as_ref().is_none_or(|key| record.key() == Some(key.as_bytes()))
    }

    fn line(&self, record: OwnedMessage, decoded: Result<Value, String>) -> serde_json::Result<String> {
        match (self.text, self.watched) {
            (Some(paint), Watched::Dlq) => Ok(super::dlq::as_text(record, paint)),
            (Some(paint), Watched::Replies | Watched::Transactions | Watched::Changes) => Ok(text::line(&record, decoded, paint)),
            (None, _) => {
                let value = decoded.unwrap_or_else(|_| base64(record.payload().unwrap_or_default()));
                serde_json::to_string(&RecordLine::of(&record, value))
            }
        }
    }
}
