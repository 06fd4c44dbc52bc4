//! Tests the connectors of `docs/warehouse.md` in a real Kafka Connect worker: Debezium's JDBC sink writes the rows into PostgreSQL, by
//! upsert and by insert, while worker and processor are killed. The views then say what `show` says, and so does the warehouse in Python,
//! which reads the business transactions instead of the rows.

use super::population::{self, creation};
use super::postgres::Postgres;
use super::{Database, PAGE, agrees_with_show, shown, statements};
use crate::changes::with_changes_and;
use crate::crm::{Draft, Entity, Kind, name, rename, segment, state, unique};
use crate::examples::warehouse::Warehouse;
use crate::guarded::Guarded;
use crate::inbox::Inbox;
use crate::operation::read;
use crate::real_registry::{id_of, with_id};
use crate::servers::{self, REGISTRY_PATH, jars_or_skip};
use crate::world::World;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use toml::Value;

const JARS: (&str, &str) = ("connect-4.1.0", include_str!("connect.pom.xml"));
/// The database with the table into which the sink inserts, which has no key. The other one is that of the user.
const APPENDED: &str = "appended";
/// How many commands there are, unless `CRM_CONNECT_COMMANDS` says otherwise.
const COMMANDS: usize = 1_500;
/// How many entities are imported. A third of that number is created.
const ENTITIES: usize = 45;
/// A request id that looks like a number. Header converters that guess types make a number with as many digits out of it.
const LIKE_A_NUMBER: &str = "1e100000000";

/// A worker with two connectors, which can be killed and started again.
struct Worker {
    command: Command,
    process: Guarded,
    log: PathBuf,
}

impl Worker {
    fn start(command: Command, log: PathBuf) -> Self {
        Self { process: Guarded::spawn(&command, &log, None), command, log }
    }

    fn kill_and_start(&mut self) {
        self.process.kill();
        self.process = Guarded::spawn(&self.command, &self.log, None);
    }
}

/// Returns the page's properties: those of the worker, and those of the sink.
fn properties() -> [String; 2] {
    let page = read(PAGE);
    let blocks: Vec<_> = page.split("```properties\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let [worker, sink] = &blocks[..] else { panic!("{PAGE} has {} blocks of properties", blocks.len()) };
    [(*worker).to_owned(), (*sink).to_owned()]
}

/// Prepares a worker with the page's properties, behind which are those of this installation: the last of two lines counts.
fn command(world: &World, jars: &Path, registry: &str, topic: &str, postgres: &Postgres) -> Command {
    let [worker, sink] = properties();
    let file = |name: &str, text: String| {
        let path = world.dir().join(name);
        std::fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        path
    };
    let registry = registry.strip_suffix(REGISTRY_PATH).expect("the base URL has the API's path");
    let offsets = world.dir().join("connect.offsets");
    let worker = file(
        "worker.properties",
        format!(
            "{worker}\nbootstrap.servers={}\nvalue.converter.apicurio.registry.url={registry}/apis/registry/v2\n\
             offset.storage.file.filename={}\nlisteners=http://127.0.0.1:{}\nconsumer.session.timeout.ms=6000\n\
             consumer.heartbeat.interval.ms=1500\noffset.flush.interval.ms=1000\n",
            world.kafka(),
            offsets.display(),
            servers::free_port()
        ),
    );
    let of = |name: &str, database: &str, more: &str| {
        format!(
            "{sink}\nname={name}\ntopics={topic}\nconnection.url=jdbc:postgresql://127.0.0.1:{}/{database}\n\
             connection.username=warehouse\nconnection.password=none\n{more}\n",
            postgres.port()
        )
    };
    let (upserting, inserting) = (unique("upserting"), unique("inserting"));
    let upsert = file("upsert.properties", of(&upserting, "postgres", ""));
    let insert = file("insert.properties", of(&inserting, APPENDED, "insert.mode=insert\nprimary.key.mode=none"));
    let logging = file("connect.log4j.properties", include_str!("../servers/log4j.properties").to_owned());
    let mut java = Command::new("java");
    java.args(["-Xmx400m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    java.arg(format!("-Dlog4j.configuration=file:{}", logging.display())).arg("-cp").arg(jars.join("*"));
    java.arg("org.apache.kafka.connect.cli.ConnectStandalone").args([worker, upsert, insert]);
    java
}

/// Sets up an installation with a topic of change rows and a real registry, whose URL is the last of what is returned.
pub fn with_real_registry(name: &str) -> Option<(World, String, Inbox, String)> {
    let registry = servers::apicurio()?;
    let (world, topic, changes) = with_changes_and(name, |config| {
        config["registry"].as_table_mut().expect("a table").insert("url".into(), Value::String(registry.clone()));
        population::add_segment(config);
    })?;
    Some((world, topic, changes, registry))
}

/// Returns mixed commands, under the schemas that `setup` has registered, and all entities: those that were imported, and those that the
/// first commands create. Each command changes something. Those for one entity have one key. One has the request id [`LIKE_A_NUMBER`].
pub fn commands(world: &World, registry: &str, imported: &[Entity], count: usize) -> (Vec<Draft>, Vec<Entity>) {
    let mut ids = BTreeMap::new();
    let mut registered = |draft: &Draft| {
        let id = || id_of(registry, &format!("{}-crm.v1.{}", world.commands, draft.record));
        with_id(*ids.entry(draft.record).or_insert_with(id), &[], draft)
    };
    let created: Vec<_> = Kind::ALL.into_iter().cycle().take(imported.len() / 3).map(|kind| creation(kind, imported)).collect();
    let mut commands: Vec<_> = created.iter().map(|(_, creation)| registered(creation)).collect();
    let entities: Vec<_> = imported.iter().chain(created.iter().map(|(entity, _)| entity)).cloned().collect();
    for n in 0..count - commands.len() {
        // Each entity has one command in each round, as 7 does not divide the number of entities.
        let (entity, round) = (&entities[n * 7 % entities.len()], n / entities.len());
        let (kind, reference) = (entity.kind, entity.by_ref_id());
        let request = if n == 0 { LIKE_A_NUMBER.to_owned() } else { unique("r") };
        let command = match (kind, round % 4) {
            (Kind::Customer, 1) => segment(&request, &reference, ["ENTERPRISE", "RESIDENTIAL"][round / 4 % 2]),
            (_, 0 | 1) => name(kind, &request, &reference, &format!("Zoë \"O'Hara\" \\ {n}")),
            // A state with a reason, the same state with another reason, and another state without a reason.
            (_, 2) if round / 4 % 3 == 2 => state(kind, &request, &reference, "ACTIVE", Json::Null),
            (_, 2) => state(kind, &request, &reference, "SUSPENDED", format!("unpaid – \"{n}\"")),
            _ => rename(kind, &request, &reference, &unique("é,\"")),
        };
        commands.push(registered(&command.key(&entity.ref_id)));
    }
    (commands, entities)
}

/// Waits until so many rows have come. However many that are, there must be another one in time.
fn until_rows(changes: &Inbox, count: usize) {
    let mut there = 0;
    while there < count {
        there = changes.until(&format!("more than {there} of {count} rows"), |rows| (rows.len() > there).then_some(rows.len()));
    }
}

fn until_there(database: &Database, what: &str, expected: usize, worker: &Worker) {
    let (mut deadline, mut before) = (Instant::now() + 3 * Inbox::PATIENCE, None);
    loop {
        let there = database.query("SELECT count(DISTINCT transactionId) AS there FROM change_row")[0]["there"].as_u64();
        if there == Some(expected as u64) {
            return;
        }
        if there != before {
            (deadline, before) = (Instant::now() + 3 * Inbox::PATIENCE, there);
        }
        assert!(Instant::now() < deadline, "{what}: {there:?} of {expected} rows are there; {}", worker.process.log_tail());
        crate::pause();
    }
}

#[test]
fn a_jdbc_sink_fills_tables_that_agree_with_show_though_it_and_the_processor_are_killed() {
    let Some((world, topic, changes, registry)) = with_real_registry("connect") else { return };
    let Some(jars) = jars_or_skip(JARS.0, JARS.1) else { return };
    let Some(postgres) = Postgres::start() else { return };
    let Some(python) = Warehouse::with_registry(&world, &world.transactions, &registry) else { return };
    let [upserted, appended] = ["postgres", APPENDED].map(|name| {
        if name == APPENDED {
            postgres.psql(&format!("CREATE DATABASE {name}")).unwrap_or_else(|e| panic!("{e}"));
        }
        let database = Database::Postgres(postgres.database(name));
        for statement in statements().iter().filter(|statement| statement.starts_with("CREATE")) {
            // Where rows are inserted whether they are there or not, the table has no key.
            let keyless = statement.replace(",\n    PRIMARY KEY (transactionId, occurredAt)", "");
            assert!(&keyless != statement || !statement.starts_with("CREATE TABLE change_row"), "{statement}");
            database.run(if name == APPENDED { &keyless } else { statement });
        }
        database
    });
    let imported = population::entities(ENTITIES, &["ACTIVE", "INACTIVE"]);
    population::import(&world, &imported);
    let mut worker = Worker::start(command(&world, &jars, &registry, &topic, &postgres), world.dir().join("connect.log"));
    let count = std::env::var("CRM_CONNECT_COMMANDS").ok().and_then(|n| n.parse().ok()).unwrap_or(COMMANDS);
    let (commands, entities) = commands(&world, &registry, &imported, count);
    let mut processor = world.run_as("slot");
    let half = commands.len() / 2;
    let sent = world.begin_to_send(&commands[..half]);
    until_rows(&changes, half / 4);
    processor.kill();
    worker.kill_and_start();
    crate::runtime().block_on(async {
        for one in sent {
            one.await;
        }
    });
    processor = world.run_as("slot");
    let sent = world.begin_to_send(&commands[half..]);
    until_rows(&changes, half + half / 4);
    worker.kill_and_start();
    crate::runtime().block_on(async {
        for one in sent {
            one.await;
        }
    });
    until_rows(&changes, commands.len());
    assert_eq!(changes.all(|_| true).len(), commands.len(), "each command changes something, and is published once");
    world.cli("snapshot", &["--all"]).succeeded();
    let shown = shown(&world, &entities);
    for (what, database) in [("upserted", &upserted), ("appended", &appended)] {
        until_there(database, what, commands.len() + entities.len(), &worker);
        agrees_with_show(database, &shown);
        assert_eq!(database.query("SELECT * FROM entity_gap").len(), 0, "{what}");
        let like_a_number = format!("SELECT DISTINCT transactionId FROM change_row WHERE requestId = '{LIKE_A_NUMBER}'");
        assert_eq!(database.query(&like_a_number).len(), 1, "{what}: the worker has taken it");
    }
    python.catch_up().exits(0);
    python.agrees_with_show(&shown);
    processor.signal("TERM");
    assert_eq!(processor.wait(), 0);
}
