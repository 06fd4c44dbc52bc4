//! `check`: reports all that is wrong with a configuration, or shows what it comes to; then reports all that is wrong with the servers
//! behind it, each with the way out. It changes nothing that anybody sees.

mod kafka;
mod list;
mod rights;
mod store;

use crate::config::{Config, Setting};
use crate::kafka::{consumer_config, producer_config};
use crate::toolbox::assessment::Assessment;
use crate::toolbox::flags::ConfigFile;
use crate::toolbox::output::say;
use crate::toolbox::{FAILED, connect};
use crate::wire;
use crate::wire::registry::RegistryClient;
use list::List;
use rdkafka::consumer::BaseConsumer;
use rdkafka::producer::{BaseProducer, DefaultProducerContext};
use std::process::ExitCode;

const HELP: &str = "\
Example:
  crm-processor check --config crm.toml && crm-processor run --config crm.toml

It first prints each key with its value, and where the value came from: the file, a variable of the environment, or the default. Secrets
are not shown. Then it prints a line for each thing that it looked at: \"ok\"; \"!!\" with what is wrong and the way out; or \"--\" with
what is legitimate and worth knowing. Exit codes: 0 all is well, 1 something is wrong with the servers, 2 something is wrong with the
configuration (then the servers are not asked). In the store it really reads and writes each table, in partitions that nobody uses; what
it writes expires.";

/// The width, in characters, of the longest line that still pushes the column of sources to the right.
const WIDTH: usize = 80;

/// Report all that is wrong with a configuration, then with its servers
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigFile,
}

/// `crm-processor check`
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (config, settings) = args.config.load_explained()?;
    show(&settings);
    let mut list = List::default();
    list.ok("configuration", "nothing wrong with it");
    check_clients(&config, &mut list);
    kafka::check(&config, &mut list).await;
    check_schemas(&config, &mut list).await;
    store::check(&config, &mut list).await;
    if list.findings == 0 {
        say("all is well");
        return Ok(ExitCode::SUCCESS);
    }
    say(format_args!("{} of {} checks failed", list.findings, list.looked_at));
    Ok(ExitCode::from(FAILED))
}

/// Prints what the configuration comes to, as TOML. A comment in each line says where the value came from.
fn show(settings: &[Setting]) {
    let line = |Setting { key, value, .. }: &Setting| match value {
        Some(value) => format!("{key} = {value}"),
        None => format!("# {key} is not set"),
    };
    let lines: Vec<_> = settings.iter().map(line).collect();
    let width = lines.iter().map(|line| line.chars().count()).filter(|width| *width <= WIDTH).max().unwrap_or_default();
    for (line, Setting { value, source, .. }) in lines.iter().zip(settings) {
        if value.is_some() {
            say(format_args!("{line:width$}  # {source}"));
        } else {
            say(format_args!("{line}"));
        }
    }
    say("");
}

/// Checks that librdkafka takes the properties together. Properties may be right one by one and still contradict each other.
/// librdkafka reports that only when a client is made.
fn check_clients(config: &Config, list: &mut List) {
    let consumer = consumer_config(&config.kafka).create::<BaseConsumer>().map(drop);
    let producer = producer_config(&config.kafka).create::<BaseProducer<DefaultProducerContext>>().map(drop);
    for (key, made) in [("kafka.consumer", consumer), ("kafka.producer", producer)] {
        match made {
            Ok(()) => list.ok(key, "librdkafka takes these properties"),
            Err(error) => list.finding(key, &format!("librdkafka does not take these properties together: {error}")),
        }
    }
}

async fn check_schemas(config: &Config, list: &mut List) {
    let registry = match connect::registry(config) {
        Ok(registry) => registry,
        Err(error) => return list.finding("registry", &format!("{error:#}")),
    };
    let topics = &config.kafka.topics;
    for (subject, schema) in wire::subjects(&topics.commands, &topics.replies, &topics.transactions, topics.changes.as_deref()) {
        match registry.lookup(&subject, schema).await {
            Ok(Some(id)) => {
                list.ok("schema", &format!("{subject} has id {id}"));
                if let Some(note) = compatibility(&registry, &subject).await {
                    list.add("schema", &Assessment::Note(note));
                }
            }
            Ok(None) => list.finding("schema", &format!("{subject} is not registered; `crm-processor setup` does it")),
            // The other subjects would meet the same fault.
            Err(fault) => return list.finding("registry", &connect::registry_trouble(&fault)),
        }
    }
}

/// Returns what there is to say about a subject's compatibility, or `None` if it is as `setup` sets it.
async fn compatibility(registry: &RegistryClient, subject: &str) -> Option<String> {
    const RIGHT: &str = wire::COMPATIBILITY;
    match registry.compatibility(subject).await {
        Ok(Some(level)) if level == RIGHT => None,
        Ok(level) => {
            let level = level.unwrap_or_else(|| "not set".into());
            Some(format!(
                "the compatibility of {subject} is {level}, so the registry would take a schema that others can't read; \
                 `crm-processor setup` sets it to {RIGHT}"
            ))
        }
        Err(fault) => Some(format!("the compatibility of {subject} should be {RIGHT}; what it is can't be said: {fault}")),
    }
}
