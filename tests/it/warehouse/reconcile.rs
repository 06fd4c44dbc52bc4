//! Tests `reconcile`: damages the warehouse's table at random, and looks whether exactly these entities are published.
//! `CRM_RECONCILE_ENTITIES=n` is the number of entities.

use super::{Database, databases, insert_into, population, shuffled, statement};
use crate::changes::{with_changes, with_changes_and};
use crate::crm::{Draft, Entity, Kind, name, rename, segment, state, unique};
use crate::guarded::Guarded;
use crate::inbox::{Inbox, Record};
use crate::world::{Finished, World};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How many entities there are, unless `CRM_RECONCILE_ENTITIES` says otherwise.
const ENTITIES: usize = 1_200;
/// How many others change in each round of the traffic.
const TRAFFIC: usize = 100;

/// Edits of each column with a value of an entity. Each makes another value out of whatever is there, and of null.
const EDITS: [&str; 9] = [
    "externalId = externalId || ' '",
    "state = CASE WHEN state = 'SUSPENDED' THEN 'ACTIVE' ELSE 'SUSPENDED' END",
    "stateReason = coalesce(stateReason, '') || '.'",
    "stateValidFrom = coalesce(stateValidFrom, TIMESTAMP '1970-01-01 00:00:00') + INTERVAL '1 millisecond'",
    "customName = coalesce(customName, '') || ' '",
    "customerSegment = coalesce(customerSegment, '') || '.'",
    "segmentValidFrom = coalesce(segmentValidFrom, TIMESTAMP '1970-01-01 00:00:00') + INTERVAL '1 millisecond'",
    "customerRefId = CASE WHEN customerRefId IS NULL THEN refId END",
    "accountRefId = CASE WHEN accountRefId IS NULL THEN refId END",
];

/// The numbers of entities in a test.
#[derive(Clone, Copy)]
struct Size {
    /// How many entities are imported.
    entities: usize,
    /// How many entities have each kind of damage. There are as many kinds as [`EDITS`], and five more.
    of_each: usize,
    /// How many entities have changes before the warehouse is loaded.
    changed: usize,
}

impl Size {
    fn of_this_run() -> Self {
        let count = std::env::var("CRM_RECONCILE_ENTITIES");
        let entities = count.map_or(ENTITIES, |n| n.parse().expect("CRM_RECONCILE_ENTITIES is a number"));
        Self { entities, of_each: (entities / 170).min(36), changed: (entities / 12).min(600) }
    }
}

/// Makes a table of current values out of the page's view, as a warehouse that upserts has it.
const TABLE: &str = "CREATE TABLE current_value AS SELECT * FROM entity";

/// Exports the warehouse's file with the page's statement, and runs `reconcile` on it.
fn reconcile(world: &World, database: &Database, file: &Path, flags: &[&str]) -> Finished {
    export(database, file);
    world.cli("reconcile", &[&[file.to_str().expect("is text"), "--lag", "0s"], flags].concat())
}

fn export(database: &Database, file: &Path) {
    let view = statement("CREATE VIEW entity_digest AS");
    let query = view.trim_start_matches("CREATE VIEW entity_digest AS").trim_end().trim_end_matches(';');
    let rows = database.query(&query.replace("FROM entity", "FROM current_value"));
    let columns = ["entitytype", "refid", "version", "digest", "exportedat"];
    let text = |value: &Json| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    let lines = rows.iter().map(|row| columns.map(|column| text(&row[column])).join(",") + "\n");
    std::fs::write(file, columns.join(",") + "\n" + &lines.collect::<String>()).expect("a file");
}

/// Takes rows up as the page says: values of a version that is not older than that of the table's row.
fn take_up(database: &Database, rows: &[Json]) {
    let mut latest = BTreeMap::<&str, &Json>::new();
    for row in rows {
        let place = latest.entry(row["refId"].as_str().expect("has one")).or_insert(row);
        if row["version"].as_i64() >= place["version"].as_i64() {
            *place = row;
        }
    }
    let statements = latest.iter().map(|(ref_id, row)| {
        format!("DELETE FROM current_value WHERE refId = '{ref_id}';\n{}", insert_into("current_value", &[row], "", is_value))
    });
    database.run(&statements.collect::<String>());
}

/// Returns whether a column of the rows is one of the view of current values.
fn is_value(column: &str) -> bool {
    let of_a_change =
        ["transactionId", "useCase", "requestId", "correlationId", "actor", "occurredAt", "previousVersion", "changedFields"];
    !of_a_change.contains(&column)
}

/// Damages the table in each way, and returns the entities that are to be published, and those that are unknown to the store.
fn damage(database: &Database, entities: &[&Entity], size: Size) -> (BTreeSet<String>, BTreeSet<String>) {
    let mut damaged = entities.chunks_exact(size.of_each);
    let mut published = BTreeSet::new();
    let edits = EDITS.map(|edit| format!("UPDATE current_value SET {edit} WHERE refId IN (@)"));
    let others = [
        "DELETE FROM current_value WHERE refId IN (@)",
        "UPDATE current_value SET version = version - 1 WHERE refId IN (@)",
        "UPDATE current_value SET version = version + 3 WHERE refId IN (@)",
        "INSERT INTO current_value SELECT * FROM current_value WHERE refId IN (@)",
    ];
    for statement in others.map(ToOwned::to_owned).iter().chain(&edits) {
        let chosen = damaged.next().expect("there are enough");
        let list: Vec<_> = chosen.iter().map(|entity| format!("'{}'", entity.ref_id)).collect();
        database.run(&statement.replace('@', &list.join(",")));
        published.extend(chosen.iter().map(|entity| entity.ref_id.clone()));
    }
    let extra: BTreeSet<_> = (0..size.of_each).map(|_| Entity::new(Kind::Customer, "ACTIVE").ref_id).collect();
    for id in &extra {
        database.run(&format!(
            "INSERT INTO current_value (entityType, refId, version, externalId, state) VALUES ('CUSTOMER', '{id}', 1, '{id}', 'ACTIVE')"
        ));
    }
    (published, extra)
}

/// Returns a command for each of some entities. Together they set all that commands can set.
fn changes_of(entities: &[&Entity]) -> Vec<Draft> {
    let change = |(n, entity): (usize, &&Entity)| {
        let (kind, request, reference) = (entity.kind, unique("r"), entity.by_ref_id());
        let command = match (n / Kind::ALL.len() % 3, kind) {
            (0, _) => name(kind, &request, &reference, " Zoë \"O'Hara\" "),
            (1, _) if entity.state == "SUSPENDED" => state(kind, &request, &reference, "ACTIVE", Json::Null),
            (1, _) => state(kind, &request, &reference, "SUSPENDED", "née '\""),
            (_, Kind::Customer) => segment(&request, &reference, "ENTERPRISE"),
            (..) => rename(kind, &request, &reference, &unique("née '\"")),
        };
        command.key(&entity.ref_id)
    };
    entities.iter().enumerate().map(change).collect()
}

fn snapshots(changes: &Inbox) -> Vec<Arc<Record>> {
    changes.all(|record| record.body["useCase"] == "snapshot")
}

#[test]
fn what_a_warehouse_lost_or_changed_is_published_and_nothing_else() {
    let Some((world, _, changes)) = with_changes_and("reconcile", population::add_segment) else { return };
    let Some(databases) = databases(&world) else { return };
    let size = Size::of_this_run();
    let imported = population::entities(size.entities, &["ACTIVE", "INACTIVE", "SUSPENDED", "DEACTIVATED"]);
    population::import(&world, &imported);
    let processor = world.run();
    let (created, mut commands): (Vec<_>, Vec<_>) =
        Kind::ALL.into_iter().cycle().take(12).map(|kind| population::creation(kind, &imported)).unzip();
    let in_use: Vec<_> = imported.iter().filter(|entity| entity.state != "DEACTIVATED").collect();
    commands.extend(changes_of(&in_use[..size.changed]));
    let entities = [&imported[..], &created].concat();
    // Only these are changed while the comparison runs.
    let busy = &in_use[in_use.len() - TRAFFIC..];
    let quiet: Vec<_> = entities.iter().filter(|entity| !busy.contains(entity)).collect();
    let mut expected = commands.len();
    let until_there = |expected: usize| changes.until(&format!("{expected} rows"), |rows| (rows.len() >= expected).then_some(()));
    world.send_all(&commands);
    until_there(expected);
    world.cli("snapshot", &["--all"]).succeeded();
    expected += entities.len();
    until_there(expected);
    let bodies = |records: &[Arc<Record>]| records.iter().map(|record| record.body.clone()).collect::<Vec<Json>>();
    let file = world.dir().join("warehouse.csv");

    for (seed, database) in databases.iter().enumerate() {
        let loaded = bodies(&changes.all(|_| true));
        database.insert(&loaded.iter().collect::<Vec<_>>());
        database.run(TABLE);
        let untouched = reconcile(&world, database, &file, &["--json"]).succeeded();
        let told: Json = serde_json::from_str(&untouched.stdout).expect("is JSON");
        assert_eq!((&told["entitiesInStore"], &told["bucketsThatDiffer"]), (&json!(entities.len()), &json!(0)), "{untouched}");

        let before = snapshots(&changes).len();
        let chosen: Vec<&Entity> = shuffled(&quiet, seed as u64).into_iter().copied().collect();
        let (damaged, extra) = damage(database, &chosen, size);
        let dry = reconcile(&world, database, &file, &["--dry-run"]).exits(1);
        let names_an_entity = |line: &&str| Kind::ALL.iter().any(|kind| line.starts_with(&format!("{} ", kind.name())));
        assert_eq!(dry.stderr.lines().filter(names_an_entity).count(), damaged.len() + extra.len(), "{dry}");
        export(database, &file);
        // Others change meanwhile, which the file can't know.
        let stop = AtomicBool::new(false);
        let (found, rounds) = std::thread::scope(|scope| {
            let traffic = scope.spawn(|| {
                let mut rounds = 0;
                loop {
                    let renamed =
                        |entity: &&Entity| name(entity.kind, &unique("r"), &entity.by_ref_id(), &unique("n")).key(&entity.ref_id);
                    world.ask_all(&busy.iter().map(renamed).collect::<Vec<_>>());
                    rounds += 1;
                    if stop.load(Ordering::Relaxed) {
                        return rounds;
                    }
                }
            });
            let found = world.cli("reconcile", &[file.to_str().expect("is text"), "--lag", "0s", "--json"]);
            stop.store(true, Ordering::Relaxed);
            (found, traffic.join().expect("the traffic goes on"))
        });
        let told: Json = serde_json::from_str(&found.exits(1).stdout).expect("is JSON");
        let counts = ["missing", "stale", "ahead", "edited", "repeated", "unknown"].map(|name| told[name].as_u64());
        let n = Some(size.of_each as u64);
        assert_eq!(counts, [n, n, n, n.map(|n| n * EDITS.len() as u64), n, n], "{told}");
        assert_eq!(told["published"], damaged.len(), "{told}");
        expected += damaged.len() + TRAFFIC * rounds;
        until_there(expected);
        let published: Vec<_> = snapshots(&changes).split_off(before);
        let ids: BTreeSet<_> = published.iter().map(|r| r.body["refId"].as_str().expect("has one").to_owned()).collect();
        assert_eq!((ids, published.len()), (damaged.clone(), damaged.len()), "exactly these are published");

        database.run(&format!(
            "DELETE FROM current_value WHERE refId IN ({})",
            extra.iter().map(|id| format!("'{id}'")).collect::<Vec<_>>().join(",")
        ));
        take_up(database, &bodies(&changes.all(|_| true))[loaded.len()..]);
        let again = reconcile(&world, database, &file, &[]).succeeded();
        assert!(again.stdout.contains("nothing differs"), "{again}");
    }
    processor.signal("TERM");
    assert_eq!(processor.wait(), 0);
}

#[test]
fn a_reconciliation_is_taken_up_where_it_was_interrupted() {
    const LOST: usize = 40;
    let Some((world, _, changes)) = with_changes("reconcile-resumed") else { return };
    let entities: Vec<_> = (0..=LOST).map(|_| Entity::new(Kind::Customer, "ACTIVE")).collect();
    world.import(&entities);
    let (file, state) = (world.dir().join("warehouse.csv"), world.dir().join("work.json"));
    // The warehouse has one entity, and that one with other values.
    let line = format!("CUSTOMER,{},1,{:032x},{}", entities[0].ref_id, 7, i64::MAX);
    std::fs::write(&file, format!("entityType,refId,version,digest,exportedAt\n{line}\n")).expect("a file");
    let flags = [file.to_str().expect("is text"), "--rate", "8", "--state", state.to_str().expect("is text")];
    let mut slow = Command::new(env!("CARGO_BIN_EXE_crm-processor"));
    slow.arg("reconcile").args(flags).arg("--config").arg(&world.config);
    let mut slow = Guarded::spawn(&slow, &world.dir().join("reconcile.log"), None);
    changes.until("the first snapshots", |records| (records.len() >= 4).then_some(()));
    slow.kill();
    let other = world.cli("reconcile", &["other.csv", "--state", state.to_str().expect("is text")]).exits(1);
    assert!(other.stderr.contains("is about"), "{other}");
    let flags = [&flags[..2], &["10000"], &flags[3..]].concat();
    world.cli("reconcile", &flags).exits(1);
    let published = changes.until("all snapshots", |records| {
        let ids: BTreeSet<_> = records.iter().map(|r| r.body["refId"].as_str().expect("has one").to_owned()).collect();
        (ids.len() > LOST).then_some(records.len())
    });
    // Those of the batch during which it was killed may come again: a quarter of a second's.
    assert!(published <= LOST + 1 + 2, "{published}");
    let finished = world.cli("reconcile", &flags).exits(1);
    assert!(finished.stderr.contains("take another file to compare anew"), "{finished}");
}

#[test]
fn a_file_that_is_no_export_is_refused_with_the_way_out() {
    let Some((world, ..)) = with_changes("reconcile-refused") else { return };
    let file = world.dir().join("warehouse.csv");
    for (text, expected) in [
        ("id,name\n1,2\n", "docs/warehouse.md"),
        ("entityType,refId,version,digest,exportedAt\n", "snapshot --all"),
        ("entityType,refId,version,digest,exportedAt\nCUSTOMER,1,2,3,4\n", "line 2: refid is no UUID"),
    ] {
        std::fs::write(&file, text).expect("a file");
        let refused = world.cli("reconcile", &[file.to_str().expect("is text")]).exits(1);
        assert!(refused.stderr.contains(expected), "{refused}");
    }
    let missing = world.cli("reconcile", &["/nowhere.csv"]).exits(1);
    assert!(missing.stderr.contains("/nowhere.csv can't be opened"), "{missing}");
}
