//! `check`: all that is wrong with a configuration, or what it comes to; then all that is wrong with the servers behind it,
//! each with the way out. Changes nothing.

mod rights;

use super::topics::{self, Cluster};
use super::{ConfigFile, FAILED, connect, setup};
use crate::config::{Backend, Config, Setting};
use crate::kafka;
use crate::wire;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, DefaultProducerContext};
use std::process::ExitCode;

const HELP: &str = "\
Example:
  crm-processor check --config crm.toml && crm-processor run --config crm.toml

First each key with its value and where that came from: the file, a variable of the environment, or the default; secrets are not
shown. Then a line for each thing that was looked at: ok, or what is wrong and the way out. Exit codes: 0 all is well, 1 something is wrong with the servers, 2 with the
configuration (then the servers are not asked).";

/// Longer settings than this don't push the others' sources to the right.
const WIDTH: usize = 80;

/// Say all that is wrong with a configuration, then with its servers
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
    check_topics(&config, &mut list).await;
    check_schemas(&config, &mut list).await;
    check_store(&config, &mut list).await;
    if list.findings == 0 {
        println!("all is well");
        return Ok(ExitCode::SUCCESS);
    }
    println!("{} of {} are not well", list.findings, list.looked_at);
    Ok(ExitCode::from(FAILED))
}

/// What the configuration comes to, as TOML with a comment in each line.
fn show(settings: &[Setting]) {
    let line = |Setting { key, value, .. }: &Setting| match value {
        Some(value) => format!("{key} = {value}"),
        None => format!("# {key} is not set"),
    };
    let lines: Vec<_> = settings.iter().map(line).collect();
    let width = lines.iter().map(|line| line.chars().count()).filter(|width| *width <= WIDTH).max().unwrap_or_default();
    for (line, Setting { value, source, .. }) in lines.iter().zip(settings) {
        if value.is_some() {
            println!("{line:width$}  # {source}");
        } else {
            println!("{line}");
        }
    }
    println!();
}

/// What was looked at.
#[derive(Default)]
struct List {
    looked_at: usize,
    findings: usize,
}

impl List {
    fn ok(&mut self, what: &str, text: &str) {
        self.looked_at += 1;
        println!("  ok  {what}: {text}");
    }

    fn finding(&mut self, what: &str, text: &str) {
        self.looked_at += 1;
        self.findings += 1;
        println!("  !!  {what}: {text}");
    }
}

/// Properties that are right one by one may not go together: only a client's making tells.
fn check_clients(config: &Config, list: &mut List) {
    let consumer = kafka::consumer_config(&config.kafka).create::<BaseConsumer>().map(drop);
    let producer = kafka::producer_config(&config.kafka).create::<BaseProducer<DefaultProducerContext>>().map(drop);
    for (key, made) in [("kafka.consumer", consumer), ("kafka.producer", producer)] {
        match made {
            Ok(()) => list.ok(key, "librdkafka takes these properties"),
            Err(error) => list.finding(key, &format!("librdkafka does not take these properties together: {error}")),
        }
    }
}

async fn check_topics(config: &Config, list: &mut List) {
    let sight = async {
        let cluster = Cluster::new(&config.kafka)?;
        cluster.look().await.map(|sight| (cluster, sight))
    };
    let (cluster, sight) = match sight.await {
        Ok(found) => found,
        Err(error) => return list.finding("kafka", &format!("{error:#}")),
    };
    list.ok("kafka", &format!("{} brokers", sight.brokers));
    let topics = topics::of(config);
    for topic in &topics {
        match sight.topics.get(&topic.name) {
            Some(partitions) => list.ok("topic", &format!("{} is there, with {partitions} partitions", topic.name)),
            // What is not allowed is told with the other rights.
            None if is_hidden(&cluster, &topic.name).await => {}
            None => list.finding("topic", &format!("{} ({}) is missing; `crm-processor setup` makes it", topic.name, topic.key)),
        }
    }
    for name in config.kafka.reply_topic_allow_list.iter().filter(|name| **name != config.kafka.topics.replies) {
        match sight.topics.get(name) {
            Some(partitions) => list.ok("reply topic", &format!("{name} is there, with {partitions} partitions")),
            None if is_hidden(&cluster, name).await => {}
            None => list.finding(
                "reply topic",
                &format!("{name} is missing: replies for it go to the default one; make it, or take it off kafka.reply_topic_allow_list"),
            ),
        }
    }
    match cluster.findings(&topics, &sight).await {
        Ok(findings) => findings.iter().for_each(|(topic, finding)| list.finding("topic", &format!("{topic}: {finding}"))),
        Err(error) => list.finding("topics", &format!("their settings can't be read: {error:#}")),
    }
    rights::check(config, &cluster, list).await;
}

/// True if the brokers don't even say whether there is such a topic.
async fn is_hidden(cluster: &Cluster, topic: &str) -> bool {
    let (admin, topic) = (cluster.admin.clone(), topic.to_owned());
    let asked = tokio::task::spawn_blocking(move || kafka::rights::on_topic(admin.inner(), &topic));
    matches!(asked.await, Ok(Err(RDKafkaErrorCode::TopicAuthorizationFailed)))
}

async fn check_schemas(config: &Config, list: &mut List) {
    let registry = match connect::registry(config) {
        Ok(registry) => registry,
        Err(error) => return list.finding("registry", &format!("{error:#}")),
    };
    let topics = &config.kafka.topics;
    for (subject, schema) in wire::subjects(&topics.commands, &topics.replies, &topics.transactions) {
        match registry.lookup(&subject, schema).await {
            Ok(Some(id)) => list.ok("schema", &format!("{subject} has id {id}")),
            Ok(None) => list.finding("schema", &format!("{subject} is not registered; `crm-processor setup` does it")),
            // The others would say the same.
            Err(fault) => return list.finding("registry", &connect::registry_trouble(&fault)),
        }
    }
}

async fn check_store(config: &Config, list: &mut List) {
    let name = match &config.store.backend {
        Backend::Cql(cql) => format!("keyspace {} is there, with its tables", cql.keyspace),
        Backend::Embedded { path } => format!("{} can be opened", path.display()),
    };
    match setup::try_store(config).await {
        Ok(()) => list.ok("store", &name),
        Err(error) => list.finding("store", &format!("{error:#}")),
    }
}
