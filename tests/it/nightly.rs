//! Sends all that a CRM has of customers, accounts and subscribers, night after night: commands that ask for what is there already. What
//! they leave in the store expires, so that the store is as large after the third night as after the first. Rows are counted in the real
//! database, and cells in the files of the embedded store.
//!
//! The outcome of a rename is kept for ever, even if the entity has the id already. So one such rename of each type goes before the first
//! night, and must outlive the last one.
//!
//! `CRM_NO_OPS=100000` sends so many commands a night, and keeps outcomes for a minute.

use crate::crm::{Draft, Entity, Kind, json_lines, name, rename, segment, state, unique};
use crate::inbox::Inbox;
use crate::runtime;
use crate::servers;
use crate::world::{Processor, World};
use crm_processor::domain::entity::EntityType;
use crm_processor::store::embedded::EmbeddedStore;
use crm_processor::store::{ConditionalStore as _, Consistency, EntityKey};
use fjall::KeyspaceCreateOptions;
use futures::TryStreamExt as _;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use serde_json::{Value as Json, json};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const NIGHTS: usize = 3;
/// The commands of a night about a customer, an account and a subscriber.
const COMMANDS_OF_THREE: usize = 7;
/// How many commands are under way at once.
const CHUNK: usize = 2_000;

/// Returns how many commands a night has, and how long their outcomes are kept.
fn size() -> (usize, Duration) {
    match std::env::var("CRM_NO_OPS") {
        Ok(count) => (count.parse().expect("CRM_NO_OPS is a number"), Duration::from_secs(60)),
        Err(_) => (150, Duration::from_secs(5)),
    }
}

#[test]
fn a_nightly_synchronisation_does_not_grow_the_database() {
    let (commands, retention) = size();
    let world = World::set_up("nightly", |config| {
        keep(config, retention);
        // Other tests write to the keyspace that installations share.
        config["store"]["keyspace"] = unique("nightly").replace('-', "_").into();
    });
    let Some(world) = world else { return };
    let entities = entities(&world, commands);
    let session = runtime().block_on(async {
        let node = servers::cassandra().expect("it is there");
        SessionBuilder::new().known_node(node).build().await.expect("a session")
    });
    let rows = || ["entity", "external_id"].map(|table| runtime().block_on(count(&session, &world, table)));
    let imported = rows();
    // Each import has one row in either table. `setup` may have left the row by which it tried to write.
    assert!(imported.iter().all(|rows| (entities.len()..=entities.len() + 1).contains(rows)), "{imported:?}");
    let processor = world.run();
    let renames = rename_to_the_same(&world, &processor, &entities);
    let before = rows();
    for night in 1..=NIGHTS {
        send_all_again(&world, &processor, &entities, commands, night);
        let deadline = Instant::now() + retention + Inbox::PATIENCE;
        let mut after = rows();
        while after != before {
            assert!(Instant::now() < deadline, "after night {night}: {after:?} rows, and {before:?} before the first");
            crate::pause();
            after = rows();
        }
    }
    for (rename, reply) in renames.iter().zip(world.ask_all(&renames)) {
        assert_eq!((&reply.body["statusCode"], &reply.body["replayed"]), (&json!(200), &json!(true)), "{rename:?}: {reply:?}");
    }
    assert_nothing_changed(&world, NIGHTS * commands + 2 * renames.len());
}

#[test]
fn a_nightly_synchronisation_does_not_grow_the_embedded_store() {
    let (commands, retention) = size();
    let path = std::env::temp_dir().join(unique("crm-nightly"));
    let world = World::set_up("nightly-embedded", |config| {
        keep(config, retention);
        config["store"]["kind"] = "embedded".into();
        config["store"].as_table_mut().expect("a table").insert("path".into(), path.display().to_string().into());
    });
    let Some(world) = world else { return };
    let entities = entities(&world, commands);
    let [imported, expiring] = cells(&path);
    let processor = world.run();
    let renames = rename_to_the_same(&world, &processor, &entities);
    processor.signal("TERM");
    assert_eq!(processor.wait(), 0, "{}", processor.log_tail());
    let before = cells(&path);
    assert_eq!(before, [imported + renames.len(), expiring], "the outcome of a rename does not expire");
    let mut after = Vec::new();
    for night in 1..=NIGHTS {
        // The store lets in one process at a time, and its cells are counted in between.
        let processor = world.run();
        let last = send_all_again(&world, &processor, &entities, commands, night);
        processor.signal("TERM");
        assert_eq!(processor.wait(), 0, "{}", processor.log_tail());
        after.push(cells(&path));
        until_forgotten(&path, &last, retention);
    }
    // A row and its place in the index for each command: those of the night itself, and none of an earlier one. In a night that is longer
    // than the retention, some of its own are forgotten, too.
    let is_one_nights = |cells: &[usize; 2]| (0..2).all(|n| (before[n] + 1..=before[n] + commands).contains(&cells[n]));
    assert!(after.iter().all(is_one_nights), "cells and index: {after:?}, and {before:?} before the first night");
    assert_nothing_changed(&world, NIGHTS * commands + renames.len());
    std::fs::remove_dir_all(&path).expect("it is there");
}

fn keep(config: &mut toml::Table, retention: Duration) {
    config["store"]
        .as_table_mut()
        .expect("a table")
        .insert("outcome_retention".into(), format!("{}s", retention.as_secs()).into());
}

/// Imports as many customers, accounts and subscribers as a night's commands are about, and returns them in this order again and again.
fn entities(world: &World, commands: usize) -> Vec<Entity> {
    let of_each = commands.div_ceil(COMMANDS_OF_THREE);
    let entities: Vec<_> = (0..of_each).flat_map(|_| Kind::ALL.map(|kind| Entity::new(kind, "ACTIVE"))).collect();
    let lines: Vec<Json> = entities
        .iter()
        .map(|entity| {
            let mut line = entity.line();
            line["customName"] = json!("Ada");
            if entity.kind == Kind::Customer {
                line["customerSegment"] = json!("RESIDENTIAL");
            }
            line
        })
        .collect();
    world.import_lines(&json_lines(&lines)).succeeded();
    entities
}

/// Asks that the first entity of each type gets the external id that it has. Returns the commands when they are answered and counted.
fn rename_to_the_same(world: &World, processor: &Processor, entities: &[Entity]) -> Vec<Draft> {
    let first = entities.iter().take(Kind::ALL.len());
    let renames: Vec<_> =
        first.map(|entity| rename(entity.kind, &unique("r"), &entity.by_ref_id(), &entity.external_id)).collect();
    for (rename, reply) in renames.iter().zip(world.ask_all(&renames)) {
        assert_eq!((&reply.body["statusCode"], &reply.body["replayed"]), (&json!(200), &json!(false)), "{rename:?}: {reply:?}");
    }
    processor.until_metric_at_least("crm_commands_total", renames.len() as u64);
    renames
}

/// Returns what a night asks of an entity: the values that it has, by requests that are new each night.
fn no_ops(entity: &Entity, night: usize) -> Vec<Draft> {
    let (kind, reference, key) = (entity.kind, entity.by_ref_id(), &entity.ref_id);
    let request = |what: &str| format!("night-{night}-{what}");
    let mut no_ops = vec![
        name(kind, &request("name"), &reference, "Ada").key(key),
        state(kind, &request("state"), &reference, "ACTIVE", Json::Null).key(key),
    ];
    if kind == Kind::Customer {
        no_ops.push(segment(&request("segment"), &reference, "RESIDENTIAL").key(key));
    }
    no_ops
}

/// Asks for the values that the entities have. Returns the entity and the request of the last command.
fn send_all_again(
    world: &World,
    processor: &Processor,
    entities: &[Entity],
    commands: usize,
    night: usize,
) -> (EntityKey, String) {
    let answered = || processor.metric_so_far("crm_commands_total").unwrap_or(0);
    let (answered_before, writes_before) = (answered(), processor.metric("crm_store_conditional_writes_total"));
    let asked: Vec<_> = entities
        .iter()
        .flat_map(|entity| no_ops(entity, night).into_iter().map(move |draft| (entity, draft)))
        .take(commands)
        .collect();
    assert_eq!(asked.len(), commands);
    for (chunk, sent) in asked.chunks(CHUNK).zip((CHUNK..).step_by(CHUNK)) {
        world.send_all(&chunk.iter().map(|(_, draft)| draft.clone()).collect::<Vec<_>>());
        processor.until_metric_at_least("crm_commands_total", answered_before + sent.min(commands) as u64);
    }
    let writes = processor.metric("crm_store_conditional_writes_total") - writes_before;
    let about = asked.iter().map(|(entity, _)| &entity.ref_id).collect::<HashSet<_>>().len();
    assert!(writes >= about as u64, "the answers to night {night} are stored: {writes} writes about {about} entities");
    let (entity, last) = asked.last().expect("there are some");
    let entity_type = match entity.kind {
        Kind::Customer => EntityType::Customer,
        Kind::Account => EntityType::Account,
        Kind::Subscriber => EntityType::Subscriber,
    };
    (EntityKey { entity_type, ref_id: entity.ref_id.parse().expect("a UUID") }, last.request().to_owned())
}

/// Checks that so many commands were answered 200, and that nothing was published but these answers.
fn assert_nothing_changed(world: &World, commands: usize) {
    let is_unchanged = |body: &Json| {
        let transaction = &body["businessTransaction"];
        body["statusCode"] == 200
            && transaction["changes"] == json!([])
            && transaction["version"] == transaction["previousVersion"]
    };
    world.inbox.until("an answer to each command", |records| {
        let replies = records.iter().filter(|record| record.topic == world.replies);
        let (unchanged, others): (Vec<_>, Vec<_>) = replies.partition(|reply| is_unchanged(&reply.body));
        assert_eq!(others.first().map(|reply| &reply.body), None, "a reply that tells of a change or a refusal");
        (unchanged.len() == commands).then_some(())
    });
    assert_eq!(world.inbox.all(|record| record.topic == world.transactions).len(), 0);
}

async fn count(session: &Session, world: &World, table: &str) -> usize {
    let config = std::fs::read_to_string(&world.config).expect("was written").parse::<toml::Table>().expect("is TOML");
    let keyspace = config["store"]["keyspace"].as_str().expect("a name").to_owned();
    let rows = session.query_iter(format!("SELECT request_id FROM {keyspace}.{table}"), ()).await.expect("rows");
    let rows = rows.rows_stream::<(Option<String>,)>().expect("texts");
    rows.try_fold(0, |count, _| async move { Ok(count + 1) }).await.expect("the database answers")
}

/// Returns how many cells the embedded store has, expired or not, and how many entries its index of those that expire.
fn cells(path: &Path) -> [usize; 2] {
    let database = fjall::Database::builder(PathBuf::from(path)).open().expect("nobody else has it open");
    ["cells", "expiries"].map(|name| {
        let keyspace = database.keyspace(name, KeyspaceCreateOptions::default).expect("it is there");
        keyspace.iter().count()
    })
}

/// Waits until the outcome of a request, and so those of all requests before it, are forgotten.
fn until_forgotten(path: &Path, (key, request): &(EntityKey, String), retention: Duration) {
    let store = EmbeddedStore::open(path).expect("nobody else has it open");
    let deadline = Instant::now() + retention + Inbox::PATIENCE;
    let outcomes = || {
        let read = runtime().block_on(store.read_entity(*key, &[request.as_str()], Consistency::Quorum));
        read.expect("the store answers").outcomes.len()
    };
    while outcomes() > 0 {
        assert!(Instant::now() < deadline, "{request} of {key:?} is still remembered");
        crate::pause();
    }
}
