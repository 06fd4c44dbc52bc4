//! `dlq resend`: sends dead letters again, each at most once unless told otherwise.
//!
//! The records and their marks (see `letter`) commit in one Kafka transaction. All resends of an installation share one transactional
//! id: once this resend has begun, no earlier one can commit any more, and each letter that was ever sent has a mark that can be read.
//! Only then does it decide which letters it sends.

use super::letter::{Letter, LetterCounts, Marks, RESENT, RESENT_AS, RESENT_FROM};
use super::list::{counts_as_text, sent};
use super::selection::{Filters, Letters, Selection};
use crate::config::{Config, Tool};
use crate::flow::RecordId;
use crate::telemetry::log;
use crate::telemetry::wording::counted;
use crate::toolbox::connect;
use crate::toolbox::flags::{ConfigFile, Form};
use crate::toolbox::output::{remark, say};
use crate::toolbox::paint::Paint;
use crate::toolbox::publisher::{NamedPublisher, OutgoingRecord};
use crate::toolbox::topic_scan::{self, PartitionRange};
use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use rdkafka::message::Message as _;
use serde_json::json;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;

/// How many letters one Kafka transaction may send: few enough that a letter that is refused holds up few others.
const BATCH_RECORDS: usize = 100;
/// A transaction takes no more letters once the values of its letters have this size, in bytes.
const BATCH_BYTES: usize = 8 << 20;

const HELP: &str = r#"Examples:
  crm-processor dlq resend --config crm.toml 3/17 3/18
  crm-processor dlq resend --config crm.toml --reason unknown_schema_id --since 1d
  crm-processor dlq resend --config crm.toml --all --yes --json

Each letter is written to the command topic, to the partition that it came from, with its key, value and headers. Kafka Connect's headers
(__connect.errors.*) and headers without a value are left out; crm-resent-from: <topic>/<partition>/<offset> of the dead letter is added.
There it is a new record, processed as if it had just come. Its request id makes that safe: if the CRM has sent the command again
meanwhile, with the same request id, one of the two takes effect and the other gets the stored answer. A letter that still can't be read
becomes a dead letter again. A stub (crm-stub: true) can't be sent: its original stands on the command topic.

A letter that was sent is marked on the dead letter topic, in the same Kafka transaction, by a record without key and value. From then on
it is left out; --again sends it once more. `resend` can be repeated after any interruption. Letters from another topic than
kafka.topics.commands are left out, unless they are named or --origin says so.
Lines of JSON: {"partition","offset","sentAs":{"topic","partition","offset"}}."#;

/// Send dead letters to the command topic again
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// The letters to send, by their places on the dead letter topic
    #[arg(value_name = "PARTITION/OFFSET", conflicts_with_all = ["Filters", "all"])]
    ids: Vec<RecordId>,
    #[command(flatten)]
    filters: Filters,
    /// All letters that were not sent again yet
    #[arg(long)]
    all: bool,
    /// Letters that were sent again already, too
    #[arg(long)]
    again: bool,
    /// Send without asking
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    form: Form,
}

/// `crm-processor dlq resend`
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = args.config.load()?;
    log::start(&config.log).map_err(anyhow::Error::msg)?;
    let named = !args.ids.is_empty();
    ensure!(named || args.all || !args.filters.are_empty(), "which dead letters? Name them (3/17), use filters, or give --all");
    let selection = if named {
        Selection::of(args.ids)
    } else {
        Selection::new(args.filters.or_origin(&config.kafka.topics.commands), connect::clock()())
    };
    let resend = Resend { config: &config, selection, again: args.again, form: args.form };

    let ranges = topic_scan::ranges(&config.kafka, &config.kafka.topics.dlq).await?;
    let chosen = resend.look(&ranges, named).await?;
    if chosen.letters() == 0 {
        remark("nothing to send");
        return Ok(ExitCode::SUCCESS);
    }
    if !args.yes && !confirmed(&chosen, &config.kafka.topics.commands).await? {
        remark("nothing was sent");
        return Ok(ExitCode::SUCCESS);
    }
    let sent = resend.send(&ranges).await?;
    remark(format_args!("{} sent to {}", counted(sent, "dead letter"), config.kafka.topics.commands));
    Ok(ExitCode::SUCCESS)
}

async fn confirmed(chosen: &LetterCounts, commands: &str) -> anyhow::Result<bool> {
    counts_as_text(chosen, Paint::for_stderr(), &mut io::stderr())?;
    if !io::stdin().is_terminal() {
        bail!("nobody can confirm it, because the input is no terminal: --yes sends without asking");
    }
    write!(io::stderr(), "Send {} to {commands}? [y/N] ", counted(chosen.letters(), "dead letter"))?;
    let answer = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map(|_| line)
    });
    let answer = answer.await?.context("reading your answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

struct Resend<'a> {
    config: &'a Config,
    selection: Selection,
    again: bool,
    form: Form,
}

/// The letters of one transaction, and their commands.
#[derive(Default)]
struct Batch {
    ids: Vec<RecordId>,
    commands: Vec<OutgoingRecord>,
    bytes: usize,
}

impl Resend<'_> {
    /// Counts the letters that would be sent. Says which stubs are left out and, if letters are `named`, which were sent already.
    async fn look(&self, ranges: &[PartitionRange], named: bool) -> anyhow::Result<LetterCounts> {
        let marks = Marks::read(self.config, ranges).await?;
        let mut letters = Letters::open(self.config, ranges, &self.selection)?;
        let mut chosen = LetterCounts::default();
        while let Some(letter) = letters.next().await? {
            if letter.is_stub() {
                let original = letter.origin().map_or("a place that is not known".to_owned(), |origin| origin.to_string());
                remark(format_args!("{} is left out: it is a stub, and its original stands at {original}", letter.id()));
                continue;
            }
            match marks.of(letter.id()) {
                Some(mark) if !self.again => {
                    if named {
                        remark(format_args!("{} is left out: {}; --again sends it once more", letter.id(), sent(mark)));
                    }
                }
                mark => chosen.add(&letter, mark.is_some()),
            }
        }
        Ok(chosen)
    }

    /// Sends the chosen letters of `ranges`. Returns how many it sent.
    async fn send(&self, ranges: &[PartitionRange]) -> anyhow::Result<usize> {
        let topics = &self.config.kafka.topics;
        let partitions = topic_scan::ranges(&self.config.kafka, &topics.commands).await?.len();
        let publisher = NamedPublisher::open(&self.config.kafka, &self.config.kafka.transactional_id_of(Tool::Resend)).await?;
        // Another resend may have marked letters since we looked, and its marks may stand behind a processor's open transaction.
        let marks = Marks::read(self.config, &topic_scan::complete_ranges(&self.config.kafka, &topics.dlq).await?).await?;
        let mut letters = Letters::open(self.config, ranges, &self.selection)?;
        let (mut batch, mut sent) = (Batch::default(), 0);
        while let Some(letter) = letters.next().await? {
            if !letter.is_stub() && (self.again || marks.of(letter.id()).is_none()) {
                batch.add(&letter, &topics.commands, partitions);
            }
            if batch.is_full() {
                sent += self.publish(&publisher, std::mem::take(&mut batch)).await?;
            }
        }
        Ok(sent + self.publish(&publisher, batch).await?)
    }

    async fn publish(&self, publisher: &NamedPublisher, batch: Batch) -> anyhow::Result<usize> {
        let Batch { ids, commands, .. } = batch;
        let (Some(first), Some(last)) = (ids.first(), ids.last()) else { return Ok(0) };
        let topics = &self.config.kafka.topics;
        let marks = |delivered: &[RecordId]| {
            ids.iter().zip(delivered).map(|(id, at)| mark(&topics.dlq, *id, &topics.commands, *at)).collect()
        };
        let delivered = publisher.publish(&commands, marks).await;
        let delivered = delivered.with_context(|| {
            format!("sending the dead letters from {first} to {last}; run it again when that is mended: what was sent is marked")
        })?;
        for (id, at) in ids.iter().zip(&delivered) {
            let (topic, RecordId { partition, offset }) = (&topics.commands, *at);
            if self.form.is_json() {
                let sent_as = json!({"topic": topic, "partition": partition, "offset": offset});
                say(json!({"partition": id.partition, "offset": id.offset, "sentAs": sent_as}));
            } else {
                say(format_args!("{id} sent as {topic}/{partition}/{offset}"));
            }
        }
        Ok(delivered.len())
    }
}

impl Batch {
    fn add(&mut self, letter: &Letter, commands: &str, partitions: usize) {
        let command = command(letter, commands, partitions);
        self.bytes += command.value.as_ref().map_or(0, Vec::len);
        self.commands.push(command);
        self.ids.push(letter.id());
    }

    fn is_full(&self) -> bool {
        self.commands.len() >= BATCH_RECORDS || self.bytes >= BATCH_BYTES
    }
}

/// Returns the letter's command as it came. It goes to the partition that it came from, so that it stays in order with the other
/// commands of its key.
fn command(letter: &Letter, commands: &str, partitions: usize) -> OutgoingRecord {
    let origin = letter.origin().filter(|origin| *origin.topic == *commands).map(|origin| origin.partition);
    let own = letter.own_headers().filter(|(name, _)| *name != RESENT_FROM);
    // A header without a value means nothing to the processor, and other readers of the topic may throw on it.
    let own = own.filter_map(|(name, value)| Some((name.to_owned().into(), Some(Bytes::copy_from_slice(value?)))));
    let from = format!("{}/{}", letter.record.topic(), letter.id());
    OutgoingRecord {
        topic: commands.to_owned(),
        partition: origin.filter(|partition| usize::try_from(*partition).is_ok_and(|partition| partition < partitions)),
        key: letter.record.key().map(<[u8]>::to_vec),
        value: letter.record.payload().map(<[u8]>::to_vec),
        headers: own.chain([(RESENT_FROM.into(), Some(from.into()))]).collect(),
    }
}

fn mark(dlq: &str, id: RecordId, commands: &str, at: RecordId) -> OutgoingRecord {
    let header = |name: &'static str, value: String| (name.into(), Some(Bytes::from(value)));
    let sent_as = format!("{commands}/{}/{}", at.partition, at.offset);
    OutgoingRecord {
        topic: dlq.to_owned(),
        partition: Some(id.partition),
        key: None,
        value: None,
        headers: vec![header(RESENT, id.to_string()), header(RESENT_AS, sent_as)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::message::{Header, OwnedHeaders, OwnedMessage};

    fn letter(topic: &str) -> Letter {
        let named = [
            ("a", "1"),
            ("crm-resent-from", "old"),
            ("a", "2"),
            ("__connect.errors.topic", topic),
            ("__connect.errors.partition", "5"),
            ("__connect.errors.offset", "42"),
        ];
        let headers = named.iter().fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(*value) }));
        let headers = headers.insert(Header { key: "null", value: None::<&str> });
        let timestamp = rdkafka::Timestamp::CreateTime(7);
        Letter { record: OwnedMessage::new(Some(b"v".to_vec()), None, "dlq".into(), timestamp, 3, 17, Some(headers)) }
    }

    #[test]
    fn a_letter_goes_back_as_it_came_but_for_headers_without_a_value() {
        let sent = command(&letter("c"), "c", 6);
        assert_eq!((&*sent.topic, sent.partition, sent.key, sent.value), ("c", Some(5), None, Some(b"v".to_vec())));
        let headers: Vec<_> = sent.headers.iter().map(|(name, value)| (&**name, value.as_deref().unwrap_or_default())).collect();
        assert_eq!(headers, [("a", &b"1"[..]), ("a", b"2"), ("crm-resent-from", b"dlq/3/17")]);
    }

    #[test]
    fn a_partition_that_is_not_there_or_of_another_topic_is_left_to_the_key() {
        assert_eq!(command(&letter("c"), "c", 5).partition, None);
        assert_eq!(command(&letter("old"), "c", 6).partition, None);
    }
}
