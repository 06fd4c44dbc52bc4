//! Tests the statements of `docs/warehouse.md` on PostgreSQL and on DuckDB, with the rows that a processor published: late, twice and in
//! disorder. What the views say is compared with what `show` says.

mod connect;
mod flink;
pub mod population;
mod postgres;
mod reconcile;

use crate::changes::with_changes_and;
use crate::crm::{Draft, Entity, Kind, name, rename, segment, state, unique};
use crate::examples::python::python;
use crate::inbox::{Inbox, Record};
use crate::operation::read;
use crate::world::World;
use postgres::{Postgres, fed};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

const PAGE: &str = "docs/warehouse.md";
/// How many rows are inserted by one statement: DuckDB takes twenty times as long for one row in each.
const ROWS_IN_A_STATEMENT: usize = 500;

/// A database that has the page's table and views.
enum Database {
    Postgres(Postgres),
    /// Python with DuckDB, and the file.
    DuckDb(PathBuf, PathBuf),
}

impl Database {
    fn run(&self, sql: &str) -> String {
        match self {
            Self::Postgres(postgres) => postgres.psql(sql).unwrap_or_else(|e| panic!("PostgreSQL: {e}\n{sql:.1000}")),
            Self::DuckDb(python, file) => duckdb(python, file, sql),
        }
    }

    /// Returns the rows of a query as objects, with the names of the columns in lower case.
    fn query(&self, sql: &str) -> Vec<BTreeMap<String, Json>> {
        let text = match self {
            Self::Postgres(_) => self.run(&format!("SELECT coalesce(json_agg(asked), '[]') FROM ({sql}) AS asked")),
            Self::DuckDb(..) => self.run(sql),
        };
        let rows: Vec<BTreeMap<String, Json>> = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        rows.into_iter().map(|row| row.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect()).collect()
    }

    /// Inserts rows as a sink does that ignores those that are there.
    fn insert(&self, rows: &[&Json]) {
        let statements: Vec<_> = rows
            .chunks(ROWS_IN_A_STATEMENT)
            .map(|rows| insert_into("change_row", rows, " ON CONFLICT DO NOTHING", |_| true))
            .collect();
        self.run(&statements.concat());
    }
}

fn duckdb(python: &Path, file: &Path, sql: &str) -> String {
    const RUN: &str = "import duckdb, json, sys\n\
         made = duckdb.connect(sys.argv[1]).execute(sys.stdin.read())\n\
         names = [column[0] for column in made.description or []]\n\
         print(json.dumps([dict(zip(names, row)) for row in made.fetchall()], default=str))";
    let output = fed(Command::new(python).args(["-c", RUN]).arg(file), sql).expect("Python runs");
    assert!(output.status.success(), "DuckDB: {}\n{sql:.1000}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("is text")
}

/// Returns the page's SQL, block by block.
fn statements() -> Vec<String> {
    let page = read(PAGE);
    let blocks: Vec<_> =
        page.split("```sql\n").skip(1).map(|rest| rest.split("```").next().expect("ends").trim().to_owned()).collect();
    assert!(blocks.len() >= 10, "{PAGE} has {} statements", blocks.len());
    blocks
}

/// Returns the databases that can be had here, each with the table and the views.
fn databases(world: &World) -> Option<Vec<Database>> {
    let file = world.dir().join("warehouse.duckdb");
    let databases = vec![Database::DuckDb(python()?, file), Database::Postgres(Postgres::start()?)];
    for database in &databases {
        for statement in statements().iter().filter(|statement| statement.starts_with("CREATE")) {
            database.run(statement);
        }
    }
    Some(databases)
}

/// Returns the statement that inserts those columns of the rows that are wanted.
fn insert_into(table: &str, rows: &[&Json], then: &str, is_wanted: impl Fn(&str) -> bool) -> String {
    const COLUMNS: [&str; 20] = [
        "transactionId",
        "useCase",
        "requestId",
        "correlationId",
        "actor",
        "occurredAt",
        "entityType",
        "refId",
        "version",
        "previousVersion",
        "externalId",
        "state",
        "stateReason",
        "stateValidFrom",
        "customName",
        "customerSegment",
        "segmentValidFrom",
        "customerRefId",
        "accountRefId",
        "changedFields",
    ];
    let columns: Vec<_> = COLUMNS.into_iter().filter(|column| is_wanted(column)).collect();
    let value = |row: &Json, column: &str| match &row[column] {
        Json::Null => "NULL".to_owned(),
        Json::Number(millis) if column.ends_with("At") || column.ends_with("From") => {
            format!("TIMESTAMP '{}'", instant(millis.as_i64().expect("milliseconds")))
        }
        Json::Number(number) => number.to_string(),
        text => format!("'{}'", text.as_str().expect("a text").replace('\'', "''")),
    };
    let values = |row: &&Json| {
        let values: Vec<_> = columns.iter().map(|column| value(row, column)).collect();
        format!("({})", values.join(", "))
    };
    let rows: Vec<_> = rows.iter().map(values).collect();
    format!("INSERT INTO {table} ({}) VALUES {}{then};\n", columns.join(", "), rows.join(",\n"))
}

fn instant(millis: i64) -> String {
    let rfc3339 = crm_processor::wire::headers::rfc3339(millis);
    rfc3339.trim_end_matches('Z').replace('T', " ")
}

/// Returns a time, as either database prints it, without a `T` and without zeros at the end of its fraction.
fn plain(time: &Json) -> Option<String> {
    let time = time.as_str()?.replace('T', " ");
    let (seconds, fraction) = time.split_once('.').unwrap_or((&time, ""));
    let fraction = fraction.trim_end_matches('0');
    Some(if fraction.is_empty() { seconds.to_owned() } else { format!("{seconds}.{fraction}") })
}

/// Returns milliseconds since 1970 as [`plain`] returns a database's time.
fn plain_of(millis: &Json) -> Option<String> {
    plain(&instant(millis.as_i64()?).into())
}

/// Makes an order out of a seed: a linear congruential generator is enough to disturb one.
fn shuffled<T>(items: &[T], mut seed: u64) -> Vec<&T> {
    let mut keyed: Vec<(u64, &T)> = Vec::new();
    for item in items {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        keyed.push((seed >> 33, item));
    }
    keyed.sort_by_key(|(key, _)| *key);
    keyed.into_iter().map(|(_, item)| item).collect()
}

/// Returns entities with what `show` says of each.
fn shown(world: &World, entities: &[Entity]) -> Vec<(Entity, Json)> {
    let shown = |entity: &Entity| {
        let shown = world.cli("show", &["--ref-id", entity.kind.name(), &entity.ref_id, "--json"]).succeeded();
        (entity.clone(), serde_json::from_str(&shown.stdout).expect("is JSON"))
    };
    entities.iter().map(shown).collect()
}

/// Compares the views with what `show` says of each entity.
fn agrees_with_show(database: &Database, shown: &[(Entity, Json)]) {
    let current = database.query("SELECT * FROM entity");
    let history = database.query("SELECT * FROM entity_history ORDER BY version");
    assert_eq!(current.len(), shown.len(), "one row for each entity");
    for (entity, shown) in shown {
        let row = current.iter().find(|row| row["refid"] == entity.ref_id.as_str()).unwrap_or_else(|| panic!("no {entity:?}"));
        assert_eq!(row["version"], shown["version"], "{entity:?}");
        for column in ["externalId", "state", "stateReason", "customName", "customerSegment", "customerRefId", "accountRefId"] {
            assert_eq!(row[&column.to_lowercase()], shown["entity"][column], "{column} of {entity:?}");
        }
        for column in ["stateValidFrom", "segmentValidFrom"] {
            assert_eq!(plain(&row[&column.to_lowercase()]), plain_of(&shown["entity"][column]), "{column} of {entity:?}");
        }
        let changes: Vec<_> =
            history.iter().filter(|row| row["refid"] == entity.ref_id.as_str() && !row["validfrom"].is_null()).collect();
        let expected = shown["history"].as_array().expect("a list");
        assert_eq!(changes.len(), expected.len(), "{entity:?}");
        for (n, (change, shown)) in changes.iter().zip(expected).enumerate() {
            assert_eq!((&change["version"], &change["usecase"]), (&shown["version"], &shown["useCase"]), "{entity:?}");
            let fields: Vec<_> =
                shown["changes"].as_array().expect("a list").iter().filter_map(|change| change["field"].as_str()).collect();
            assert_eq!(change["changedfields"], fields.join(","), "{change:?}");
            assert_eq!(plain(&change["validfrom"]), plain_of(&shown["occurredAt"]), "{change:?}");
            let next = changes.get(n + 1).map(|next| &next["validfrom"]);
            assert_eq!(plain(&change["validto"]), next.and_then(plain), "{change:?}");
            assert_eq!(change["iscurrent"], json!(next.is_none()), "{change:?}");
        }
    }
}

/// Returns the page's statement that begins so.
fn statement(beginning: &str) -> String {
    statements().into_iter().find(|s| s.starts_with(beginning)).unwrap_or_else(|| panic!("{PAGE} has no {beginning}"))
}

/// Runs the page's query of what all entities were at a time.
fn as_of(database: &Database, time: &str) -> Vec<BTreeMap<String, Json>> {
    database.query(&statement("SELECT * FROM entity_history").replace("2026-03-31 22:00:00", time))
}

/// Checks what the warehouse says of an entity shortly before and at the instant of each of its changes, and with a gap.
fn at_any_time(database: &Database, rows: &[&Json], entity: &Entity) {
    let is_change = |row: &&&Json| row["refId"] == entity.ref_id.as_str() && row["previousVersion"] != row["version"];
    let mut changes: Vec<_> = rows.iter().filter(is_change).collect();
    changes.sort_by_key(|row| row["version"].as_i64());
    let versions_at = |millis: i64| {
        let all = as_of(database, &instant(millis));
        all.iter().filter(|row| row["refid"] == entity.ref_id.as_str()).map(|row| row["version"].clone()).collect::<Vec<_>>()
    };
    let began = |row: &Json| row["occurredAt"].as_i64().expect("milliseconds");
    // Changes that are decided together may have the same time. Then the last of them counts from there on.
    let expected_at = |millis: i64| {
        let before = changes.iter().rev().find(|row| began(row) <= millis);
        before.map(|row| row["version"].clone()).into_iter().collect::<Vec<_>>()
    };
    for millis in changes.iter().skip(1).flat_map(|row| [began(row) - 1, began(row)]) {
        assert_eq!(versions_at(millis), expected_at(millis), "at {millis}: {changes:?}");
    }
    let (last, lost) = (changes[changes.len() - 1], changes[changes.len() - 2]);
    let now = began(last);
    let transaction = lost["transactionId"].as_str().expect("has one");
    database.run(&format!("DELETE FROM change_row WHERE transactionId = '{transaction}'"));
    assert_eq!(versions_at(now), [last["version"].clone()], "not the one before the gap as well");
    database.insert(&[*lost]);
}

/// Changes the rows of an entity behind the back of the sink, and has a snapshot published, which is a row beside them.
fn a_snapshot_mends_what_was_damaged(world: &World, changes: &Inbox, database: &Database, entity: &Entity) {
    let (ref_id, name) = (&entity.ref_id, entity.kind.name());
    database.run(&format!("UPDATE change_row SET state = 'SUSPENDED' WHERE refId = '{ref_id}'"));
    let state = format!("SELECT state FROM entity WHERE refId = '{ref_id}'");
    assert_eq!(database.query(&state)[0]["state"], "SUSPENDED");
    let is_snapshot = |record: &Record| record.body["refId"] == ref_id.as_str() && record.body["useCase"] == "snapshot";
    let before = changes.all(is_snapshot).len();
    world.cli("snapshot", &["--ref-id", name, ref_id]).succeeded();
    let snapshots = changes.until("another snapshot", |records| {
        let snapshots: Vec<_> = records.iter().filter(|r| is_snapshot(r)).cloned().collect();
        (snapshots.len() > before).then_some(snapshots)
    });
    database.insert(&snapshots.iter().map(|record| &record.body).collect::<Vec<_>>());
    assert_eq!(database.query(&state)[0]["state"], "ACTIVE", "the last snapshot counts");
    database.run(&format!("UPDATE change_row SET state = 'ACTIVE' WHERE refId = '{ref_id}'"));
}

/// Erases the former names of an entity as the page says, and has a sink bring one of them again.
fn what_is_erased_does_not_come_again(database: &Database, entity: &Entity) {
    let ref_id = &entity.ref_id;
    let names = || {
        let names = format!("SELECT DISTINCT customName FROM change_row WHERE refId = '{ref_id}' AND customName IS NOT NULL");
        database.query(&names).into_iter().map(|row| row["customname"].clone()).collect::<Vec<_>>()
    };
    assert!(names().len() > 1);
    let current = database.query(&format!("SELECT customName, version FROM entity WHERE refId = '{ref_id}'")).remove(0);
    // The version that overwrote the name is the latest that changed it.
    let changed = format!("SELECT max(version) AS at FROM change_row WHERE refId = '{ref_id}' AND changedFields = 'customName'");
    let at = database.query(&changed)[0]["at"].clone();
    let listed = statement("INSERT INTO erased").replace("00000000-0000-0000-0000-000000000000", ref_id);
    database.run(&listed.replace(", 2)", &format!(", {at})")));
    let erase = statement("UPDATE");
    database.run(&erase);
    assert_eq!(names(), [current["customname"].clone()], "only the current name is left");
    database.run(&format!("UPDATE change_row SET customName = 'Ann' WHERE refId = '{ref_id}' AND version < {at}"));
    assert_eq!(names().len(), 2, "a sink that upserts has brought it again");
    database.run(&erase);
    assert_eq!(names(), [current["customname"].clone()], "the next run erases it");
}

fn count(database: &Database, view: &str) -> usize {
    database.query(&format!("SELECT * FROM {view}")).len()
}

/// Returns the commands that change an entity, the `n`th one: three to five, of which the first three leave its state alone.
fn changes_of(n: usize, entity: &Entity) -> Vec<Draft> {
    let (kind, reference) = (entity.kind, entity.by_ref_id());
    let called = |text: &str| name(kind, &unique("r"), &reference, text);
    let reason = if n.is_multiple_of(2) { json!("unpaid – Zoë's \"bill\"") } else { Json::Null };
    let mut commands = vec![
        called("O'Hara \\ 0"),
        match kind {
            Kind::Customer => segment(&unique("r"), &reference, "ENTERPRISE"),
            _ => rename(kind, &unique("r"), &reference, &unique("é")),
        },
        called("O'Hara \\ 2"),
        state(kind, &unique("r"), &reference, "SUSPENDED", reason),
        rename(kind, &unique("r"), &reference, &unique("é")),
    ];
    commands.truncate(3 + n % 3);
    commands.into_iter().map(|command| command.key(&entity.ref_id)).collect()
}

/// Sends commands in the order given, each of which must change something.
fn all_succeed(world: &World, commands: &[Draft]) {
    for (command, reply) in commands.iter().zip(world.ask_all(commands)) {
        let transaction = &reply.body["businessTransaction"];
        assert_eq!(reply.body["statusCode"], 200, "{command:?}: {reply:?}");
        assert_ne!(transaction["version"], transaction["previousVersion"], "{command:?}: {reply:?}");
    }
}

#[test]
fn the_views_are_right_whatever_the_order_in_which_rows_come() {
    let Some((world, _, changes)) = with_changes_and("warehouse", population::add_segment) else { return };
    let Some(databases) = databases(&world) else { return };
    let imported: Vec<_> = [Kind::Customer, Kind::Account, Kind::Subscriber]
        .into_iter()
        .flat_map(|kind| (0..4).map(move |_| Entity::new(kind, "ACTIVE")))
        .collect();
    population::import(&world, &imported);
    let processor = world.run();
    let (created, creations): (Vec<_>, Vec<_>) = Kind::ALL.into_iter().map(|kind| population::creation(kind, &imported)).unzip();
    let (mut first, mut later) = (creations, Vec::new());
    for (n, entity) in imported.iter().enumerate() {
        let mut commands = changes_of(n, entity);
        later.extend(commands.split_off(1));
        first.extend(commands);
    }
    later.extend(created.iter().enumerate().flat_map(|(n, entity)| changes_of(n, entity)));
    let entities = [imported, created].concat();
    // The snapshots halfway are of the version 2, those of entities that were created of the version 1.
    all_succeed(&world, &first);
    world.cli("snapshot", &["--all"]).succeeded();
    all_succeed(&world, &later);
    world.cli("snapshot", &["--all"]).succeeded();
    let expected = first.len() + later.len() + 2 * entities.len();
    let rows: Vec<Arc<Record>> =
        changes.until(&format!("{expected} rows"), |records| (records.len() >= expected).then(|| records.to_vec()));
    let rows: Vec<Json> = rows.iter().map(|record| record.body.clone()).collect();
    let shown = shown(&world, &entities);
    let is_snapshot = |row: &&&Json| row["useCase"] == "snapshot";
    for (seed, database) in databases.iter().enumerate() {
        let rows = shuffled(&rows, seed as u64);
        // Two rows in the middle of a history are late.
        let late: Vec<&Json> =
            rows.iter().copied().filter(|row| row["version"] == 3 && row["previousVersion"] == 2).take(2).collect();
        let in_time: Vec<&Json> = rows.iter().copied().filter(|row| !late.contains(row)).collect();
        database.insert(&in_time);
        let gaps = database.query("SELECT * FROM entity_gap");
        let mut missing: Vec<_> = gaps.iter().map(|gap| (&gap["refid"], &gap["firstmissing"], &gap["lastmissing"])).collect();
        missing.sort_by_key(|(ref_id, ..)| ref_id.to_string());
        let three = json!(3);
        let mut expected: Vec<_> = late.iter().map(|row| (&row["refId"], &three, &three)).collect();
        expected.sort_by_key(|(ref_id, ..)| ref_id.to_string());
        assert_eq!(missing, expected);
        let before_gap = database.query("SELECT * FROM entity_history WHERE validTo IS NULL AND NOT isCurrent");
        assert_eq!(before_gap.len(), late.len(), "the end of the version before a gap is not known: {before_gap:?}");

        database.insert(&late);
        database.insert(&shuffled(&rows.iter().map(|row| (*row).clone()).collect::<Vec<_>>(), 99));
        assert_eq!(count(database, "change_row"), rows.len(), "a row that comes again is one row");
        assert_eq!((count(database, "entity_gap"), count(database, "entity_without_beginning")), (0, 0));
        agrees_with_show(database, &shown);

        // A warehouse that was loaded by snapshots alone has the same current values, and does not claim to know when they began.
        database.run("DELETE FROM change_row");
        database.insert(&rows.iter().filter(is_snapshot).copied().collect::<Vec<_>>());
        assert_eq!(count(database, "entity_without_beginning"), 0, "nothing is missing that was to come");
        assert_eq!(as_of(database, "2000-01-01 00:00:00").len(), entities.len(), "they have been so for nobody knows how long");
        let unknown = database.query("SELECT * FROM entity_history WHERE validFrom IS NULL AND isCurrent");
        assert_eq!((unknown.len(), count(database, "entity")), (entities.len(), entities.len()));
        database.insert(&rows);
        agrees_with_show(database, &shown);

        at_any_time(database, &rows, &entities[0]);
        a_snapshot_mends_what_was_damaged(&world, &changes, database, &entities[3]);
        agrees_with_show(database, &shown);
        what_is_erased_does_not_come_again(database, &entities[0]);
        agrees_with_show(database, &shown);

        // The first row of an entity that lost its beginning is a change. One that was created and lost its version 1 looks imported.
        let (lost, created) = (&entities[2].ref_id, &entities[entities.len() - 1].ref_id);
        database.run(&format!("DELETE FROM change_row WHERE refId = '{created}' AND version = 1"));
        database.run(&format!("DELETE FROM change_row WHERE refId = '{lost}' AND (version < 3 OR useCase = 'snapshot')"));
        let found = database.query("SELECT * FROM entity_without_beginning");
        assert_eq!(found.iter().map(|row| (&row["refid"], &row["firstversion"])).collect::<Vec<_>>(), [(&json!(lost), &three)]);
    }
    processor.signal("TERM");
    assert_eq!(processor.wait(), 0);
}
