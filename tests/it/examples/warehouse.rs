//! Tests the data warehouse in Python: it is killed, and fed twice, in disorder and with gaps, and then compared with what was
//! published.

use super::{example, python, run};
use crate::crm::{Draft, Entity, Kind, custom_name, rename, segment, unique};
use crate::guarded::Guarded;
use crate::inbox::{Inbox, Record};
use crate::world::{Finished, World, shared};
use crate::{registry, runtime, topics};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value as Json, json};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

/// The exit code of `warehouse.py` if versions are missing.
const GAPS: i32 = 3;

/// The example, with a database of its own.
pub struct Warehouse<'a> {
    python: PathBuf,
    world: &'a World,
    registry: &'a str,
    topic: String,
    database: PathBuf,
}

impl<'a> Warehouse<'a> {
    /// Prepares the example for a topic. Returns `None` if it can't run here; the reason has been printed.
    fn of(world: &'a World, topic: &str) -> Option<Self> {
        Self::with_registry(world, topic, registry::url())
    }

    /// Prepares the example for a topic whose schemas are in another registry than that of the tests.
    pub fn with_registry(world: &'a World, topic: &str, registry: &'a str) -> Option<Self> {
        let database = world.dir().join(format!("{}.duckdb", unique("warehouse")));
        Some(Self { python: python::python()?, world, registry, topic: topic.to_owned(), database })
    }

    fn command(&self, options: &[&str]) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(example("python/warehouse.py")).args(["--bootstrap-servers", self.world.kafka()]);
        command.args(["--registry", self.registry, "--topic", &self.topic]).args(options).arg(&self.database);
        command
    }

    /// Lets the example read to the present end of the topic.
    pub fn catch_up(&self) -> Finished {
        run(&mut self.command(&["--once"]))
    }

    /// Returns the rows of a query on the database, as a list of lists. It does not use the example's code.
    fn query(&self, sql: &str) -> Json {
        const READ: &str = "import duckdb, json, sys\n\
             print(json.dumps(duckdb.connect(sys.argv[1]).execute(sys.argv[2]).fetchall(), default=str))";
        let finished = run(Command::new(&self.python).args(["-c", READ]).arg(&self.database).arg(sql)).exits(0);
        serde_json::from_str(&finished.stdout).unwrap_or_else(|e| panic!("{e}: {finished}"))
    }

    /// Returns the version of an entity, or null if the database lacks the entity.
    fn version(&self, entity: &Entity) -> Json {
        self.query(&format!("SELECT version FROM entity WHERE ref_id = '{}'", entity.ref_id))[0][0].clone()
    }

    /// Compares the tables with what `show --json` prints about each of the entities.
    pub fn agrees_with_show(&self, shown: &[(Entity, Json)]) {
        let rows = |sql: &str| match self.query(sql) {
            Json::Array(rows) => rows,
            other => panic!("no rows: {other}"),
        };
        let present = rows(
            "SELECT ref_id, version, external_id, state, custom_name, customer_segment, epoch_ms(segment_valid_from), \
             parent_ref_id FROM entity",
        );
        let history = rows("SELECT ref_id, version, use_case, request_id, epoch_ms(occurred_at) FROM history ORDER BY version");
        assert_eq!(present.len(), shown.len(), "one row for each entity");
        let of = |rows: &[Json], entity: &Entity| -> Vec<Json> {
            rows.iter().filter(|row| row[0] == entity.ref_id.as_str()).cloned().collect()
        };
        for (entity, shown) in shown {
            let mut expected = vec![json!(entity.ref_id), shown["version"].clone()];
            let columns = ["externalId", "state", "customName", "customerSegment", "segmentValidFrom"];
            expected.extend(columns.map(|column| shown["entity"][column].clone()));
            let superior = entity.kind.superior().map(|of| shown["entity"][format!("{}RefId", of.name())].clone());
            expected.push(superior.unwrap_or_default());
            assert_eq!(of(&present, entity), [json!(expected)], "{entity:?}");

            let change = |change: &Json| {
                let columns = ["version", "useCase", "requestId", "occurredAt"].map(|column| change[column].clone());
                json!([&[json!(entity.ref_id)][..], &columns[..]].concat())
            };
            let expected: Vec<_> = shown["history"].as_array().expect("a list").iter().map(change).collect();
            assert_eq!(of(&history, entity), expected, "{entity:?}");
        }
    }

    /// Compares the tables with what was published about entities.
    fn agrees_with(&self, published: &[(&Entity, Vec<Arc<Record>>)]) {
        // One query fetches everything, because each query starts a Python.
        let present = self.query("SELECT ref_id, version, external_id, state, custom_name, customer_segment FROM entity");
        let history = self.query(
            "SELECT ref_id, transaction_id, version, use_case, request_id, epoch_ms(occurred_at), changes FROM history \
             ORDER BY version",
        );
        let of = |table: &Json, entity: &Entity| -> Vec<Json> {
            let rows = table.as_array().expect("rows").iter();
            rows.filter(|row| row[0] == entity.ref_id.as_str()).cloned().collect()
        };
        let fields = |of: &Json, names: &[&str]| names.iter().map(|name| of[name].clone()).collect::<Vec<_>>();
        for (entity, published) in published {
            let mut published: Vec<_> = published.iter().map(|record| &record.body).collect();
            published.sort_by_key(|body| body["version"].as_i64());
            let last = published.last().expect("something was published");
            let image = fields(&last[entity.kind.name()], &["refId", "externalId", "state", "customName", "customerSegment"]);
            let expected = json!([image[0], last["version"], image[1], image[2], image[3], image[4]]);
            assert_eq!(of(&present, entity), [expected], "{entity:?}");

            let columns = ["refId", "transactionId", "version", "useCase", "requestId", "occurredAt", "changes"];
            let expected: Vec<_> = published.iter().map(|body| json!(fields(body, &columns))).collect();
            let mut changes = of(&history, entity);
            for row in &mut changes {
                row[6] = serde_json::from_str(row[6].as_str().expect("a text")).expect("JSON");
            }
            assert_eq!(changes, expected, "{entity:?}");
        }
    }
}

/// Makes some changes of each entity, and sends commands that change nothing.
fn commands(entities: &[Entity]) -> Vec<Draft> {
    let about = |entity: &Entity| match entity.kind {
        Kind::Customer => vec![
            custom_name(&unique("r"), &entity.by_ref_id(), &unique("name")),
            segment(&unique("r"), &entity.by_ref_id(), "SMALL_BUSINESS"),
            segment(&unique("r"), &entity.by_ref_id(), "SMALL_BUSINESS"),
            segment(&unique("r"), &entity.by_ref_id(), "ENTERPRISE"),
        ],
        kind => (0..3).map(|_| rename(kind, &unique("r"), &entity.by_ref_id(), &unique("id"))).collect(),
    };
    entities.iter().flat_map(|entity| about(entity).into_iter().map(|draft| draft.key(&entity.ref_id))).collect()
}

#[test]
fn a_warehouse_that_is_killed_and_fed_twice_holds_what_was_published() {
    let Some(shared) = shared() else { return };
    let Some(warehouse) = Warehouse::of(shared, &shared.transactions) else { return };
    let entities: Vec<_> = (0..8).flat_map(|_| [shared.customer(), shared.account(), shared.subscriber()]).collect();
    shared.ask_all(&commands(&entities));

    // With a small batch it is in the middle of its work when it says that it has stored the first one.
    let log = shared.dir().join(format!("{}.log", unique("warehouse")));
    let mut running = Guarded::spawn(&warehouse.command(&["--batch", "5"]), &log, None);
    let deadline = Instant::now() + Inbox::PATIENCE;
    while !running.log().contains("stored") {
        assert!(running.ended().is_none() && Instant::now() < deadline, "nothing is stored; {}", running.log_tail());
        crate::pause();
    }
    running.kill();
    shared.ask_all(&commands(&entities));
    // In all there are six changes of each entity.
    let published: Vec<_> = entities
        .iter()
        .map(|entity| {
            let is_it = |r: &Arc<Record>| r.topic == shared.transactions && r.body["refId"] == entity.ref_id.as_str();
            let six = |records: &[Arc<Record>]| {
                let of_entity: Vec<_> = records.iter().filter(|r| is_it(r)).cloned().collect();
                (of_entity.len() == 6).then_some(of_entity)
            };
            (entity, shared.inbox.until(&format!("six business transactions of {entity:?}"), six))
        })
        .collect();
    warehouse.catch_up().exits(0);
    warehouse.agrees_with(&published);
    // The warehouse forgets how far it has read, and reads everything again.
    warehouse.query("DELETE FROM progress RETURNING *");
    warehouse.catch_up().exits(0);
    warehouse.agrees_with(&published);
}

#[test]
fn a_warehouse_sees_what_is_missing_and_takes_records_in_any_order_and_snapshots() {
    let Some(shared) = shared() else { return };
    let topic = unique("transactions.with-holes");
    topics::create(shared.kafka(), &[(&topic, 1)], 1 << 20);
    let Some(warehouse) = Warehouse::of(shared, &topic) else { return };
    let customer = shared.customer();
    for n in 0..6 {
        shared.ask(&custom_name(&unique("r"), &customer.by_ref_id(), &format!("name {n}")));
    }
    // The changes have the versions 2 to 7.
    let published = shared.transactions(&customer);
    let [two, three, four, five, six, seven] = &published[..] else { panic!("{published:?}") };
    let publish = |records: &[&Record]| send(shared.kafka(), &topic, records);
    let missing = |versions: &[i64]| {
        let gaps = warehouse.query("SELECT version FROM gap ORDER BY version");
        assert_eq!(gaps, json!(versions.iter().map(|v| [v]).collect::<Vec<_>>()));
    };

    publish(&[two, five, three]);
    let finished = warehouse.catch_up().exits(GAPS);
    assert!(finished.stderr.contains(&format!("missing: CUSTOMER {} version 4\n", customer.ref_id)), "{finished}");
    missing(&[4]);
    assert_eq!(warehouse.version(&customer), 5, "an older version replaced a newer one");

    // The record comes late. The history is then whole, and present values stay.
    publish(&[four]);
    warehouse.catch_up().exits(0);
    warehouse.agrees_with(&[(&customer, published[..4].to_vec())]);

    // Version 6 never comes, and an older snapshot changes nothing. A snapshot of version 7 or later closes the gap.
    publish(&[seven, &snapshot(five)]);
    warehouse.catch_up().exits(GAPS);
    missing(&[6]);
    assert_eq!(warehouse.version(&customer), 7);
    publish(&[&snapshot(seven)]);
    warehouse.catch_up().exits(0);
    assert_eq!(warehouse.query("SELECT count(*) FROM history"), json!([[5]]), "a snapshot is no change");

    // A warehouse that knows an entity only by its snapshot has its present values, and waits for the versions that follow.
    let fresh = Warehouse { database: shared.dir().join(format!("{}.duckdb", unique("fresh"))), ..warehouse };
    let later = unique("transactions.later");
    topics::create(shared.kafka(), &[(&later, 1)], 1 << 20);
    send(shared.kafka(), &later, &[&snapshot(five), six, seven]);
    let fresh = Warehouse { topic: later, ..fresh };
    fresh.catch_up().exits(0);
    assert_eq!(fresh.query("SELECT version, custom_name FROM entity"), json!([[7, "name 5"]]));
}

/// Writes records as they are to a topic, one after another.
fn send(kafka: &str, topic: &str, records: &[&Record]) {
    let mut config = ClientConfig::new();
    let producer: FutureProducer =
        config.set("bootstrap.servers", kafka).set("enable.idempotence", "true").create().expect("a producer");
    for record in records {
        let headers = record
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (name, value)| headers.insert(Header { key: name, value: value.as_ref() }));
        let (key, value) = (record.key.as_ref().expect("has a key"), record.value.as_ref().expect("has a value"));
        let record = FutureRecord::to(topic).key(key).payload(value).headers(headers);
        runtime().block_on(producer.send(record, Inbox::PATIENCE)).unwrap_or_else(|(e, _)| panic!("{topic}: {e}"));
    }
}

/// Returns the snapshot that `crm-processor snapshot` would publish of the entity as it was after a business transaction.
fn snapshot(of: &Record) -> Record {
    let mut body = of.body.clone();
    body["useCase"] = json!("snapshot");
    body["requestId"] = json!(format!("snapshot:{}", body["version"]));
    body["transactionId"] = json!(uuid::Uuid::new_v4());
    body["correlationId"] = Json::Null;
    body["previousVersion"] = body["version"].clone();
    body["changes"] = json!([]);
    body.as_object_mut().expect("a record").remove("record");
    let schema = crate::operation::read("schemas/BusinessTransaction.avsc");
    let schema = serde_json::from_str(&schema).expect("is JSON");
    let value = registry::encode("crm.v1.BusinessTransaction", &schema, &body);
    let headers = vec![("crm-snapshot".to_owned(), Some(b"true".to_vec()))];
    Record { value: Some(value), headers, body, ..of.clone() }
}
