//! An installation of the processor on the real servers, run by its own binary: topics, keyspace and configuration, the processes
//! that run, the records that the test sends, and those that come out.
//!
//! Most tests share one installation with one running processor ([`shared`]) and keep apart by having entities of their own.

use crate::crm::{Draft, Entity, Kind, json_lines, unique};
use crate::guarded::Guarded;
use crate::inbox::{Inbox, Nimble, Record};
use crate::{registry, runtime, servers, topics};
use crm_processor::kafka::bootstrap::{Bootstrap, Reminded};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use toml::{Table, Value};

/// How many partitions the command topics of the tests have.
pub const PARTITIONS: i32 = 4;
/// How many partitions the topics have that `setup` makes for the tests.
pub const OUTPUT_PARTITIONS: i32 = 3;
/// The largest record that the tests' command topics take: more than `max_command_bytes`, which keeps its default.
pub const LARGEST_RECORD: usize = 4 << 20;
/// All states that an entity may have.
pub const STATES: [&str; 4] = ["ACTIVE", "INACTIVE", "SUSPENDED", "DEACTIVATED"];

/// An installation of the processor: its topics, its keyspace, its configuration, and clients of its Kafka.
pub struct World {
    pub commands: String,
    pub replies: String,
    pub transactions: String,
    pub dlq: String,
    /// A reply topic that is on the allow-list and exists.
    pub other_replies: String,
    /// A reply topic that is on the allow-list but does not exist.
    pub missing_replies: String,
    /// A reply topic that exists but is not on the allow-list.
    pub refused_replies: String,
    /// All committed records that the processor writes.
    pub inbox: Inbox,
    /// The configuration file.
    pub config: PathBuf,
    kafka: String,
    group: String,
    dir: PathBuf,
    producer: FutureProducer<Reminded>,
    /// The brokers that the producer is told of again when it has forgotten all.
    brokers: Arc<Bootstrap>,
    runs: AtomicU32,
}

/// The partition and offset of a record that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    pub partition: i32,
    pub offset: i64,
}

/// Variable and value for subcommands that do not try again what takes too long, where that is not the subject: a busy machine may
/// stand still for longer than the default of 5 s.
pub const PATIENT_STORE: (&str, &str) = ("CRM__STORE__REQUEST_TIMEOUT", "60s");

/// The output and exit code of a subcommand that has ended.
#[derive(Clone, Debug)]
pub struct Finished {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl World {
    /// Makes a new installation by `setup`; `adjust` changes its configuration. Returns `None` if the servers can't be had here;
    /// then the test returns.
    pub fn set_up(name: &str, adjust: impl FnOnce(&mut Table)) -> Option<Self> {
        Some(Self::set_up_on(servers::kafka()?, servers::cassandra()?, name, adjust))
    }

    /// Makes a new installation on other servers. Several brokers or nodes have commas between them; then each topic and row is
    /// on as many of them.
    pub fn set_up_on(kafka: &str, cassandra: &str, name: &str, adjust: impl FnOnce(&mut Table)) -> Self {
        let prefix = unique(name);
        let topic = |suffix: &str| format!("{prefix}.{suffix}");
        let dir = servers::log_dir().join(&prefix);
        std::fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("cannot make {}: {e}", dir.display()));

        let (commands, other, refused) = (topic("commands"), topic("replies.other"), topic("replies.refused"));
        topics::create(kafka, &[(&commands, PARTITIONS), (&other, 2), (&refused, 1)], LARGEST_RECORD);
        let (replies, transactions, dlq) = (topic("replies"), topic("transactions"), topic("commands.dlq"));
        let missing = topic("replies.missing");
        let mut config =
            configuration(&prefix, kafka, cassandra, &[&commands, &replies, &transactions, &dlq], &[&other, &missing]);
        adjust(&mut config);
        let path = dir.join("crm-processor.toml");
        std::fs::write(&path, config.to_string()).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
        let path_text = path.display().to_string();
        let replicas = members(kafka).len().to_string();
        // With one broker, `setup` gets no replication factor, so that its default is tested.
        let replicas: &[&str] = if replicas == "1" { &[] } else { &["--replication-factor", &replicas] };
        let setup = ["setup", "--partitions", &OUTPUT_PARTITIONS.to_string(), "--config", &path_text];
        run_cli_with(&[&setup, replicas].concat(), &[PATIENT_STORE]).succeeded();

        let encoded = [&*replies, &*transactions, &*other, &*refused];
        // A front before the registry of the tests has that registry's schemas; a real registry has its own.
        let registry_url = config["registry"]["url"].as_str().filter(|url| url.ends_with(servers::REGISTRY_PATH));
        let topics = [&*replies, &transactions, &dlq, &other, &refused];
        let inbox = Inbox::open_with(kafka, &topics, &encoded, registry_url.unwrap_or(registry::url()));
        let mut properties = ClientConfig::new();
        properties
            .set("bootstrap.servers", kafka)
            .set("message.max.bytes", (2 * LARGEST_RECORD).to_string())
            .set("linger.ms", "0")
            .set("enable.idempotence", "true")
            .nimble();
        let brokers = Arc::new(Bootstrap::of(&mut properties));
        let producer = properties.create_with_context(Reminded(brokers.clone())).expect("a producer");
        Self {
            commands,
            replies,
            transactions,
            dlq,
            other_replies: other,
            missing_replies: missing,
            refused_replies: refused,
            inbox,
            config: path,
            group: prefix,
            dir,
            producer,
            brokers,
            runs: AtomicU32::new(0),
            kafka: kafka.to_owned(),
        }
    }

    /// Starts `run` and waits until it says that it is ready.
    pub fn run(&self) -> Processor {
        self.run_as(&unique("slot"))
    }

    /// Starts `run` with this `instance_id` and waits until it is ready.
    pub fn run_as(&self, instance_id: &str) -> Processor {
        let processor = self.start(instance_id);
        processor.until_ready();
        processor
    }

    /// Starts `run` without waiting until it is ready.
    pub fn start(&self, instance_id: &str) -> Processor {
        self.start_with(instance_id, &[])
    }

    /// Starts `run` and waits until it is ready. A file that grows beyond its limit is an error for the process, and does not end
    /// it.
    pub fn run_with_files_bounded(&self) -> Processor {
        let log = self.dir.join(format!("run-{}.log", self.runs.fetch_add(1, Ordering::Relaxed)));
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]).arg(binary());
        let processor = Processor::start_by(shell, &self.config, &log, servers::free_port(), &unique("slot"), &[]);
        processor.until_ready();
        processor
    }

    /// Starts `run` with environment variables, such as `FAILPOINTS`.
    pub fn start_with(&self, instance_id: &str, environment: &[(&str, &str)]) -> Processor {
        self.start_at(servers::free_port(), instance_id, environment)
    }

    /// Starts `run` with environment variables and with this port of the admin address.
    pub fn start_at(&self, port: u16, instance_id: &str, environment: &[(&str, &str)]) -> Processor {
        let log = self.dir.join(format!("run-{}.log", self.runs.fetch_add(1, Ordering::Relaxed)));
        Processor::start(&self.config, &log, port, instance_id, environment)
    }

    /// Runs a subcommand of the binary to its end, with `--config` of this installation.
    pub fn cli(&self, subcommand: &str, args: &[&str]) -> Finished {
        let config = self.config.display().to_string();
        run_cli_with(&[&[subcommand, "--config", &config], args].concat(), &[PATIENT_STORE])
    }

    /// Imports entities, and fails if `import` rejects one.
    pub fn import(&self, entities: &[Entity]) {
        let lines: Vec<_> = entities.iter().map(Entity::line).collect();
        self.import_lines(&json_lines(&lines)).succeeded();
    }

    /// Imports the lines of a file.
    pub fn import_lines(&self, lines: &str) -> Finished {
        let file = self.dir.join(format!("{}.jsonl", unique("import")));
        std::fs::write(&file, lines).unwrap_or_else(|e| panic!("cannot write {}: {e}", file.display()));
        run_cli(&["import", "--config", &self.config.display().to_string(), &file.display().to_string()])
    }

    /// The bootstrap servers of its Kafka.
    pub fn kafka(&self) -> &str {
        &self.kafka
    }

    /// The consumer group of its processors.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// A folder for files of the test.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Waits until the producer knows the command topic that was made again, and has forgotten the one before.
    pub fn until_commands_are_known(&self, partitions: usize) {
        let deadline = Instant::now() + Inbox::PATIENCE;
        let known = || {
            let metadata =
                self.producer.client().fetch_metadata(Some(&self.commands), Inbox::PATIENCE).expect("the broker answers");
            metadata.topics().iter().any(|topic| topic.partitions().iter().filter(|p| p.leader() >= 0).count() == partitions)
        };
        while !known() {
            assert!(Instant::now() < deadline, "{} has not {partitions} partitions with a leader", self.commands);
            crate::pause();
        }
    }

    /// Sends a record as it is.
    pub fn send(&self, draft: &Draft) -> Sent {
        runtime().block_on(self.deliver(&self.commands, draft))
    }

    /// Sends records one after another in the order given, without waiting for each.
    pub fn send_all(&self, drafts: &[Draft]) -> Vec<Sent> {
        self.send_all_to(&self.commands, drafts)
    }

    /// Sends records to another topic, one after another in the order given.
    pub fn send_all_to(&self, topic: &str, drafts: &[Draft]) -> Vec<Sent> {
        // rdkafka queues a record when the future is made, so the order is that of the drafts.
        let deliveries: Vec<_> = drafts.iter().map(|draft| self.deliver(topic, draft)).collect();
        runtime().block_on(futures::future::join_all(deliveries))
    }

    /// Sends records without waiting. Each of the futures ends when the brokers have its record.
    pub fn begin_to_send(&self, drafts: &[Draft]) -> Vec<impl Future<Output = Sent> + use<>> {
        drafts.iter().map(|draft| self.deliver(&self.commands, draft)).collect()
    }

    fn deliver(&self, topic: &str, draft: &Draft) -> impl Future<Output = Sent> + use<> {
        self.brokers.remind(self.producer.client());
        let (value, headers) = (draft.value(), draft.headers.iter());
        let headers = headers
            .fold(OwnedHeaders::new(), |headers, (name, value)| headers.insert(Header { key: name, value: value.as_ref() }));
        let mut record = FutureRecord::<Vec<u8>, Vec<u8>>::to(topic).headers(headers);
        record.key = draft.key.as_ref();
        record.payload = value.as_ref();
        let queued = self.producer.send_result(record).map_err(|(e, _)| e);
        async move {
            let delivery = queued.expect("there is room in the queue").await.expect("the producer is alive");
            let delivery = delivery.unwrap_or_else(|(e, _)| panic!("the broker refused a command: {e}"));
            Sent { partition: delivery.partition, offset: delivery.offset }
        }
    }

    /// Sends a command, with a correlation id unless it has one, and waits for the reply.
    pub fn ask(&self, draft: &Draft) -> Arc<Record> {
        self.ask_all(std::slice::from_ref(draft)).remove(0)
    }

    /// Sends commands in the order given, each with a correlation id unless it has one, and waits for all replies.
    pub fn ask_all(&self, drafts: &[Draft]) -> Vec<Arc<Record>> {
        const NAME: &str = "correlation-id";
        let drafts: Vec<_> = drafts
            .iter()
            .map(|draft| {
                if let Some((_, value)) = draft.headers.iter().find(|(name, _)| name == NAME) {
                    return (draft.clone(), value.clone());
                }
                let correlation = unique("c");
                (draft.clone().header(NAME, &correlation), Some(correlation.into_bytes()))
            })
            .collect();
        self.send_all(&drafts.iter().map(|(draft, _)| draft.clone()).collect::<Vec<_>>());
        let reply = |(draft, correlation): &(Draft, Option<Vec<u8>>)| {
            let is_reply = |r: &Record| r.header(NAME) == correlation.as_deref() && self.holds_replies(&r.topic);
            self.inbox.first(&format!("a reply to {draft:?}"), is_reply)
        };
        drafts.iter().map(reply).collect()
    }

    /// Returns whether a topic is one of the reply topics.
    pub fn holds_replies(&self, topic: &str) -> bool {
        [&self.replies, &self.other_replies, &self.refused_replies].iter().any(|&t| t == topic)
    }

    /// Sends records as they are, each with a key that no other has, and waits for the replies with these keys.
    pub fn ask_by_key(&self, drafts: &[Draft]) -> Vec<Arc<Record>> {
        self.send_all(drafts);
        let reply = |draft: &Draft| {
            let is_reply = |r: &Record| r.key == draft.key && self.holds_replies(&r.topic);
            self.inbox.first(&format!("a reply with the key of {draft:?}"), is_reply)
        };
        drafts.iter().map(reply).collect()
    }

    /// Returns the business transaction of a request about an entity.
    pub fn transaction(&self, entity: &Entity, request: &str) -> Arc<Record> {
        let what = format!("a business transaction of {request} about {entity:?}");
        self.inbox.first(&what, |r| self.is_transaction_of(r, entity) && r.body["requestId"] == request)
    }

    /// Returns all business transactions of an entity. It makes one more change, which it leaves out, to know that the reader has
    /// seen them all.
    pub fn transactions(&self, entity: &Entity) -> Vec<Arc<Record>> {
        let request = unique("last");
        let last = match entity.kind {
            Kind::Customer => crate::crm::custom_name(&request, &entity.by_ref_id(), &request),
            kind => crate::crm::rename(kind, &request, &entity.by_ref_id(), &request),
        };
        let reply = self.ask(&last);
        assert_eq!(reply.body["statusCode"], 200, "the last change of {entity:?}: {reply:?}");
        let last = self.transaction(entity, &request);
        self.inbox.all(|r| self.is_transaction_of(r, entity) && r.offset < last.offset)
    }

    fn is_transaction_of(&self, record: &Record, entity: &Entity) -> bool {
        record.topic == self.transactions && record.body["refId"] == entity.ref_id.as_str()
    }
}

/// A process of the processor, started by `run`.
pub struct Processor {
    process: Mutex<Guarded>,
    admin: String,
}

impl Processor {
    /// Starts `run` with a configuration, an `instance_id` and environment variables, without waiting until it is ready.
    pub fn start(config: &Path, log: &Path, port: u16, instance_id: &str, environment: &[(&str, &str)]) -> Self {
        Self::start_by(Command::new(binary()), config, log, port, instance_id, environment)
    }

    /// Starts `run` by a command that runs the program.
    fn start_by(mut run: Command, config: &Path, log: &Path, port: u16, instance_id: &str, environment: &[(&str, &str)]) -> Self {
        run.args(["run", "--config"]).arg(config);
        run.env("CRM__ADMIN__LISTEN", format!("127.0.0.1:{port}")).env("CRM__KAFKA__INSTANCE_ID", instance_id);
        run.envs(environment.iter().copied());
        Self { process: Mutex::new(Guarded::spawn(&run, log, None)), admin: format!("http://127.0.0.1:{port}") }
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        self.process().signal(name);
    }

    /// Waits for the end of the process, and returns its exit code.
    pub fn wait(&self) -> i32 {
        self.wait_for(Inbox::PATIENCE)
    }

    /// Waits at most so long until the process ends, and returns its exit code, or -1 if a signal ended it.
    pub fn wait_for(&self, at_most: Duration) -> i32 {
        self.process().wait(at_most).code().unwrap_or(-1)
    }

    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.process().pid()
    }

    /// Returns how the process ended, or `None` if it still runs.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.process().ended()
    }

    /// Kills the process by SIGKILL.
    pub fn kill(&self) {
        self.process().kill();
    }

    /// Returns the size of the process's memory in KiB, as `/proc/<pid>/status` has it: `VmRSS` is the present size, `VmHWM` the
    /// peak.
    pub fn memory_kib(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.process().pid());
        let status = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}; {}", self.log_tail()));
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok());
        kib.unwrap_or_else(|| panic!("no {name} in {status}"))
    }

    /// Waits until `/readyz` answers 200.
    pub fn until_ready(&self) {
        self.until_ready_is(true);
    }

    /// Waits until `/readyz` answers 200, or, with `false`, 503.
    pub fn until_ready_is(&self, ready: bool) {
        let (deadline, expected) = (Instant::now() + Inbox::PATIENCE, if ready { 200 } else { 503 });
        loop {
            let (status, body) = self.get("/readyz");
            if status == expected {
                return;
            }
            let ended = self.process().ended();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "expected ready: {ready}; it ended: {ended:?}; /readyz: {status} {body}; {}",
                self.log_tail()
            );
            crate::pause();
        }
    }

    /// Waits until the body of `/readyz` fulfils a condition, whatever its status, and returns the body.
    pub fn until_readyz(&self, says: impl Fn(&str) -> bool) -> String {
        self.until_readyz_is(|_, body| says(body))
    }

    /// Waits until the status and the body of `/readyz` fulfil a condition, and returns the body.
    pub fn until_readyz_is(&self, fulfil: impl Fn(u16, &str) -> bool) -> String {
        let deadline = Instant::now() + Inbox::PATIENCE;
        loop {
            let (status, body) = self.get("/readyz");
            if fulfil(status, &body) {
                return body;
            }
            assert!(Instant::now() < deadline, "/readyz: {status} {body}; {}", self.log_tail());
            crate::pause();
        }
    }

    /// Returns the process's admin address as `http://host:port`.
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// Returns status and body of a path of the admin address.
    pub fn get(&self, path: &str) -> (u16, String) {
        registry::get(&format!("{}{path}", self.admin))
    }

    /// Returns what a processor that hangs says about itself: its probes, the metrics that tell where it stands, and the end of its log.
    pub fn diagnosis(&self) -> String {
        const TELLING: [&str; 9] = [
            "crm_commands_in_flight",
            "crm_commands_queued",
            "crm_consumer_lag_records",
            "crm_kafka_brokers_connected",
            "crm_kafka_transaction_age_seconds",
            "crm_kafka_transactions_total",
            "crm_oldest_call_age_seconds",
            "crm_partitions_assigned",
            "crm_records_open",
        ];
        let [ready, live, (_, metrics)] = ["/readyz", "/livez", "/metrics"].map(|path| self.get(path));
        let told: Vec<_> = metrics.lines().filter(|line| TELLING.iter().any(|name| is_series_of(line, name))).collect();
        format!("/readyz: {ready:?}\n/livez: {live:?}\n{}\n{}", told.join("\n"), self.log_tail())
    }

    /// Returns the sum of all series of a counter or gauge, rounded down; or the value of one series if `name` includes its
    /// labels. Waits until there is one: what is set once a second is not there from the start.
    pub fn metric(&self, name: &str) -> u64 {
        self.until_metric_is(name, "a number", |_| true)
    }

    /// Returns the same sum, or `None` if there is no such metric, or the process does not answer.
    pub fn metric_so_far(&self, name: &str) -> Option<u64> {
        let (status, text) = self.get("/metrics");
        if status != 200 {
            return None;
        }
        let values: Vec<f64> = text
            .lines()
            .filter(|line| is_series_of(line, name))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse().ok())
            .collect();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small, and nothing is below 0")]
        (!values.is_empty()).then(|| values.iter().sum::<f64>() as u64)
    }

    /// Waits until the sum of a metric's series is `value`.
    pub fn until_metric(&self, name: &str, value: u64) {
        self.until_metric_is(name, &format!("{value}"), |now| now == value);
    }

    /// Waits until the sum of a metric's series is `value` or more.
    pub fn until_metric_at_least(&self, name: &str, value: u64) {
        self.until_metric_is(name, &format!("{value} or more"), |now| now >= value);
    }

    /// Returns the value that was reached.
    fn until_metric_is(&self, name: &str, what: &str, reached: impl Fn(u64) -> bool) -> u64 {
        let deadline = Instant::now() + Inbox::PATIENCE;
        loop {
            let now = self.metric_so_far(name);
            if let Some(value) = now.filter(|value| reached(*value)) {
                return value;
            }
            assert!(Instant::now() < deadline, "expected: {name} becomes {what}\ngot: {now:?}; {}", self.log_tail());
            crate::pause();
        }
    }

    /// Returns the whole log.
    pub fn log(&self) -> String {
        self.process().log()
    }

    /// Returns the end of the process's log.
    pub fn log_tail(&self) -> String {
        self.process().log_tail()
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Guarded> {
        self.process.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Returns whether a line of `/metrics` is a series of a metric, or the series that `name` with its labels names.
fn is_series_of(line: &str, name: &str) -> bool {
    line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
}

/// The installation that most tests share, with its running processor.
pub struct Shared {
    pub world: World,
    pub processor: Processor,
    pool: Mutex<HashMap<(Kind, &'static str), Vec<Entity>>>,
}

/// Returns the shared installation, or `None` if the servers can't be had here; then the test returns.
pub fn shared() -> Option<&'static Shared> {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    // Each test asks for the servers, so that each says why it is skipped.
    let _ = (servers::kafka()?, servers::cassandra()?);
    Some(SHARED.get_or_init(|| {
        let world = World::set_up("shared", |_| {}).expect("the servers are there");
        let processor = world.run();
        Shared { world, processor, pool: Mutex::default() }
    }))
}

/// Returns two installations with a running processor each: the shared one on the database, and one on the embedded store. Returns none if
/// the servers can't be had here.
pub fn on_both_stores() -> Vec<&'static Shared> {
    static EMBEDDED: OnceLock<Shared> = OnceLock::new();
    let Some(on_database) = shared() else { return Vec::new() };
    let on_embedded = EMBEDDED.get_or_init(|| {
        let world = World::set_up("shared-embedded", embedded).expect("the servers are there");
        let mut pool: HashMap<_, Vec<_>> = HashMap::new();
        for (kind, state) in Kind::ALL.into_iter().flat_map(|kind| STATES.map(|state| (kind, state))) {
            pool.insert((kind, state), batch(kind, state).collect());
        }
        world.import(&pool.values().flatten().cloned().collect::<Vec<_>>());
        let processor = world.run();
        Shared { world, processor, pool: Mutex::new(pool) }
    });
    vec![on_database, on_embedded]
}

/// Gives an installation an embedded store in a folder of its own.
pub fn embedded(config: &mut Table) {
    let path = std::env::temp_dir().join(unique("crm-embedded")).display().to_string();
    config["store"] = Table::from_iter([("kind".to_owned(), "embedded".into()), ("path".to_owned(), path.into())]).into();
}

/// Makes entities for the pool of a shared installation.
fn batch(kind: Kind, state: &'static str) -> impl Iterator<Item = Entity> {
    let count = if state == "ACTIVE" { 60 } else { 5 };
    (0..count).map(move |_| Entity::new(kind, state))
}

impl Shared {
    /// Imports an entity for this test alone, and returns it. On the embedded store, which lets in one process at a time, all entities were
    /// imported before the processor started; if the test fails here because the store is in use, [`batch`] must make more of them.
    pub fn entity(&self, kind: Kind, state: &'static str) -> Entity {
        let mut pool = self.pool.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let free = pool.entry((kind, state)).or_default();
        if free.is_empty() {
            free.extend(batch(kind, state));
            self.world.import(free);
        }
        free.pop().expect("was filled")
    }

    /// Imports an ACTIVE customer, and returns it.
    pub fn customer(&self) -> Entity {
        self.entity(Kind::Customer, "ACTIVE")
    }

    /// Imports an ACTIVE account, and returns it.
    pub fn account(&self) -> Entity {
        self.entity(Kind::Account, "ACTIVE")
    }

    /// Imports an ACTIVE subscriber, and returns it.
    pub fn subscriber(&self) -> Entity {
        self.entity(Kind::Subscriber, "ACTIVE")
    }
}

impl std::ops::Deref for Shared {
    type Target = World;
    fn deref(&self) -> &World {
        &self.world
    }
}

impl Finished {
    /// Fails the test unless the exit code is 0.
    pub fn succeeded(self) -> Self {
        self.exits(0)
    }

    /// Fails the test unless the exit code is `code`.
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code of {self}");
        self
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a subcommand with the output\n{}and on standard error\n{}", self.stdout, self.stderr)
    }
}

/// Returns the path of the program: the one that was built with the tests, or `CRM_TEST_BINARY`.
pub fn binary() -> PathBuf {
    let other = std::env::var_os("CRM_TEST_BINARY").filter(|path| !path.is_empty());
    other.map_or_else(|| env!("CARGO_BIN_EXE_crm-processor").into(), PathBuf::from)
}

/// Runs the binary to its end.
pub fn run_cli(args: &[&str]) -> Finished {
    run_cli_with(args, &[])
}

/// Runs the binary to its end with environment variables.
pub fn run_cli_with(args: &[&str], environment: &[(&str, &str)]) -> Finished {
    let mut command = Command::new(binary());
    let output = command.args(args).envs(environment.iter().copied()).output().expect("the binary was built");
    let mut stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let _ = writeln!(stderr, "(crm-processor {})", args.join(" "));
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    Finished { code: output.status.code().unwrap_or(-1), stdout, stderr }
}

/// Runs the binary at a terminal of its own, on which `typed` is typed; all that it prints is standard output. Returns `None` if
/// that can't be done here; the reason has been printed, and the test returns.
pub fn run_on_terminal(args: &[&str], typed: &str, environment: &[(&str, &str)]) -> Option<Finished> {
    const PTY: &str = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    let mut python = Command::new("python3");
    python.args(["-c", PTY, env!("CARGO_BIN_EXE_crm-processor")]).args(args).envs(environment.iter().copied());
    let spawned = python.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut process) = spawned else {
        servers::skip("python3 is not installed");
        return None;
    };
    process.stdin.take().expect("is piped").write_all(typed.as_bytes()).expect("there is room");
    let output = process.wait_with_output().expect("it was started");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(Finished { code: output.status.code().unwrap_or(-1), stdout: text(&output.stdout), stderr: text(&output.stderr) })
}

/// Splits the addresses of a cluster.
pub fn members(addresses: &str) -> Vec<&str> {
    addresses.split(',').collect()
}

/// Returns the properties of the processors' consumer in a test's configuration, to which the test adds its own.
pub fn consumer_properties(config: &mut Table) -> &mut Table {
    config["kafka"]["consumer"].as_table_mut().expect("is a table")
}

/// Lets the group give up a processor that is silent for three seconds.
pub fn quickly_missed(config: &mut Table) {
    let session = [("session.timeout.ms", 3000), ("heartbeat.interval.ms", 500)];
    consumer_properties(config).extend(session.map(|(name, value)| (name.to_owned(), Value::Integer(value))));
}

/// Most installations share the run's keyspace, because making one takes seconds.
fn configuration(group: &str, kafka: &str, cassandra: &str, topics: &[&str; 4], allowed: &[&str]) -> Table {
    static KEYSPACE: OnceLock<String> = OnceLock::new();
    let keyspace = KEYSPACE.get_or_init(|| unique("crm_tests").replace('-', "_"));
    let text = |s: &str| Value::String(s.to_owned());
    let table =
        |entries: &[(&str, Value)]| Value::Table(entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect());
    let [commands, replies, transactions, dlq] = *topics;
    let nodes = members(cassandra);
    let names = table(&[
        ("commands", text(commands)),
        ("replies", text(replies)),
        ("transactions", text(transactions)),
        ("dlq", text(dlq)),
    ]);
    let allow_list = std::iter::once(&replies).chain(allowed).map(|t| text(t)).collect();
    let replication = table(&[
        ("class", text("NetworkTopologyStrategy")),
        ("replication_factor", Value::Integer(nodes.len().try_into().expect("there are few"))),
    ]);
    Table::from_iter([
        ("segments".to_owned(), Value::Array(vec![text("RESIDENTIAL"), text("SMALL_BUSINESS"), text("ENTERPRISE")])),
        (
            "kafka".to_owned(),
            table(&[
                ("bootstrap_servers", text(kafka)),
                ("group_id", text(group)),
                ("reply_topic_allow_list", Value::Array(allow_list)),
                ("topics", names),
                // Nearly all that the tests' processors do is to wait for commands, several of them at once. With the program's own 10 ms
                // the broker would take much of the CPU for that.
                ("consumer", table(&[("fetch.wait.max.ms", Value::Integer(100))])),
            ]),
        ),
        ("registry".to_owned(), table(&[("url", text(registry::url()))])),
        (
            "store".to_owned(),
            table(&[
                ("kind", text("cql")),
                ("contact_points", Value::Array(nodes.into_iter().map(text).collect())),
                ("keyspace", text(keyspace)),
                ("replication", replication),
            ]),
        ),
    ])
}
