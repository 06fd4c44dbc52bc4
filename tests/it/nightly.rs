//! Sends all that a CRM has, night after night: commands that ask for what is there already. What they leave in the store expires, so that
//! the store is as large after the third night as after the first. Rows are counted in the real database, and cells in the files of the
//! embedded store.
//!
//! `CRM_NO_OPS=100000` sends so many commands a night, and keeps outcomes for a minute.

use crate::crm::{Draft, Entity, Kind, custom_name, json_lines, segment, state, unique};
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
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const NIGHTS: usize = 3;
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
    let customers = customers(&world, commands);
    let session = runtime().block_on(async {
        let node = servers::cassandra().expect("it is there");
        SessionBuilder::new().known_node(node).build().await.expect("a session")
    });
    let rows = || ["entity", "external_id"].map(|table| runtime().block_on(count(&session, &world, table)));
    let before = rows();
    // Each import has one row in either table. `setup` may have left the row by which it tried to write.
    assert!(before.iter().all(|rows| (customers.len()..=customers.len() + 1).contains(rows)), "{before:?}");
    let processor = world.run();
    for night in 1..=NIGHTS {
        send_all_again(&world, &processor, &customers, commands, night);
        let deadline = Instant::now() + retention + Inbox::PATIENCE;
        let mut after = rows();
        while after != before {
            assert!(Instant::now() < deadline, "after night {night}: {after:?} rows, and {before:?} before the first");
            crate::pause();
            after = rows();
        }
    }
    assert_nothing_changed(&world, commands);
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
    let customers = customers(&world, commands);
    let before = cells(&path);
    let mut after = Vec::new();
    for night in 1..=NIGHTS {
        // The store lets in one process at a time, and its cells are counted in between.
        let processor = world.run();
        let last = send_all_again(&world, &processor, &customers, commands, night);
        processor.signal("TERM");
        assert_eq!(processor.wait(), 0, "{}", processor.log_tail());
        after.push(cells(&path));
        until_forgotten(&path, &last, retention);
    }
    // A row and its place in the index for each command: those of the night itself, and none of an earlier one.
    assert_eq!(after, [before.map(|cells| cells + commands); NIGHTS], "cells and index, {before:?} before the first night");
    assert_nothing_changed(&world, commands);
    std::fs::remove_dir_all(&path).expect("it is there");
}

fn keep(config: &mut toml::Table, retention: Duration) {
    config["store"]
        .as_table_mut()
        .expect("a table")
        .insert("outcome_retention".into(), format!("{}s", retention.as_secs()).into());
}

/// Imports a customer for each three commands of a night.
fn customers(world: &World, commands: usize) -> Vec<Entity> {
    let customers: Vec<_> = (0..commands.div_ceil(3)).map(|_| Entity::new(Kind::Customer, "ACTIVE")).collect();
    let lines: Vec<Json> = customers
        .iter()
        .map(|customer| {
            let mut line = customer.line();
            line["customName"] = json!("Ada");
            line["customerSegment"] = json!("RESIDENTIAL");
            line
        })
        .collect();
    world.import_lines(&json_lines(&lines)).succeeded();
    customers
}

/// Asks for the values that the customers have, by requests that are new each night. Returns the last command.
fn send_all_again(world: &World, processor: &Processor, customers: &[Entity], commands: usize, night: usize) -> Draft {
    let answered = || processor.metric_so_far("crm_commands_total").unwrap_or(0);
    let (answered_before, writes_before) = (answered(), processor.metric("crm_store_conditional_writes_total"));
    let of = |customer: &Entity| {
        let (reference, key) = (customer.by_ref_id(), &customer.ref_id);
        let request = |what: &str| format!("night-{night}-{what}");
        [
            custom_name(&request("name"), &reference, "Ada").key(key),
            segment(&request("segment"), &reference, "RESIDENTIAL").key(key),
            state(Kind::Customer, &request("state"), &reference, "ACTIVE", Json::Null).key(key),
        ]
    };
    let drafts: Vec<_> = customers.iter().flat_map(of).take(commands).collect();
    for (chunk, sent) in drafts.chunks(CHUNK).zip((CHUNK..).step_by(CHUNK)) {
        world.send_all(chunk);
        processor.until_metric_at_least("crm_commands_total", answered_before + sent.min(commands) as u64);
    }
    let writes = processor.metric("crm_store_conditional_writes_total") - writes_before;
    assert!(writes >= customers.len() as u64, "the answers to night {night} are stored: {writes} writes");
    drafts.last().expect("there are some").clone()
}

/// Checks that each command was answered 200, and that nothing was published but these answers.
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
        (unchanged.len() == NIGHTS * commands).then_some(())
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

/// Waits until the outcome of a command, and so those of all commands before it, are forgotten.
fn until_forgotten(path: &Path, command: &Draft, retention: Duration) {
    let store = EmbeddedStore::open(path).expect("nobody else has it open");
    let ref_id = command.body["customer"]["refId"].as_str().expect("is given").parse().expect("a UUID");
    let key = EntityKey { entity_type: EntityType::Customer, ref_id };
    let deadline = Instant::now() + retention + Inbox::PATIENCE;
    let outcomes = || {
        let read = runtime().block_on(store.read_entity(key, &[command.request()], Consistency::Quorum));
        read.expect("the store answers").outcomes.len()
    };
    while outcomes() > 0 {
        assert!(Instant::now() < deadline, "{command:?} is still remembered");
        crate::pause();
    }
}
