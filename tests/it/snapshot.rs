//! Tests `snapshot`: the present state of entities, as the data warehouse reads it.

use crate::crm::{Entity, Kind, custom_name, rename, unique};
use crate::guarded::Guarded;
use crate::inbox::{Inbox, Record};
use crate::world::{World, shared};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

fn is_snapshot(record: &Record, world: &World) -> bool {
    record.topic == world.transactions && record.body["useCase"] == "snapshot"
}

/// Gives an installation an embedded store or a keyspace of its own, because `--all` means all entities of the store.
fn alone(config: &mut toml::Table, embedded: bool) {
    let store = config["store"].as_table_mut().expect("a table");
    if embedded {
        let path = crate::servers::log_dir().join(unique("store"));
        *store = toml::Table::from_iter([
            ("kind".to_owned(), "embedded".into()),
            ("path".to_owned(), path.display().to_string().into()),
        ]);
    } else {
        store.insert("keyspace".into(), unique("crm_snapshot").replace('-', "_").into());
    }
}

fn fleet(of_each: usize) -> Vec<Entity> {
    let kinds = [Kind::Customer, Kind::Account, Kind::Subscriber];
    kinds.into_iter().flat_map(|kind| (0..of_each).map(move |_| Entity::new(kind, "ACTIVE"))).collect()
}

/// Counts how often each entity is among the snapshots so far, by key.
fn published(world: &World) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for record in world.inbox.all(|r| is_snapshot(r, world)) {
        *counts.entry(record.key_text().expect("has a key").to_owned()).or_default() += 1;
    }
    counts
}

fn until_published(world: &World, count: usize) -> Vec<Arc<Record>> {
    world.inbox.until(&format!("{count} snapshots"), |records| {
        let snapshots: Vec<_> = records.iter().filter(|r| is_snapshot(r, world)).cloned().collect();
        (snapshots.len() >= count).then_some(snapshots)
    })
}

#[test]
fn a_snapshot_of_one_entity_is_its_present_state_without_changes() {
    let Some(shared) = shared() else { return };
    let (customer, account) = (shared.customer(), shared.account());
    shared.ask(&custom_name(&unique("r"), &customer.by_ref_id(), "Ada"));
    let id = unique("a");
    shared.ask(&rename(Kind::Account, &unique("r"), &account.by_ref_id(), &id));
    for (entity, flags, version) in [
        (&customer, vec!["customer", &customer.external_id], 2),
        (&account, vec!["account", &id], 2),
        (&account, vec!["--ref-id", "account", &account.ref_id], 2),
    ] {
        let name = entity.kind.name();
        let told = shared.cli("snapshot", &flags).succeeded();
        let at = told.stdout.trim().rsplit('/').next().and_then(|offset| offset.parse::<i64>().ok()).expect("an offset");
        let record = shared
            .inbox
            .first("the snapshot", |r| is_snapshot(r, shared) && r.body["refId"] == entity.ref_id.as_str() && r.offset == at);
        let transaction_id =
            Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("crm:snapshot:{name}:{}:{version}", entity.ref_id).as_bytes());
        let (transaction_id, request) = (transaction_id.to_string(), format!("snapshot:{version}"));
        let body = &record.body;
        assert_eq!(
            (&body["transactionId"], &body["requestId"], &body["correlationId"], &body["changes"]),
            (&json!(transaction_id), &json!(request), &Json::Null, &json!([])),
            "{record:?}"
        );
        assert_eq!((&body["version"], &body["previousVersion"]), (&json!(version), &json!(version)), "{record:?}");
        let shown = shared.cli("show", &["--ref-id", name, &entity.ref_id, "--json"]).succeeded();
        let shown: Json = serde_json::from_str(&shown.stdout).expect("is JSON");
        assert_eq!(body[name], shown["entity"], "{record:?}");
        assert_eq!(record.key_text(), Some(&*entity.subject()));
        for (header, expected) in [
            ("crm-snapshot", "true"),
            ("request-id", &request),
            ("content-type", "application/avro"),
            ("ce_id", &transaction_id),
            ("ce_type", "crm.v1.snapshot"),
            ("ce_subject", &entity.subject()),
        ] {
            assert_eq!(record.text(header), Some(expected), "{header}: {record:?}");
        }
        // A snapshot is on the partition of the entity's business transactions, so that readers see both in the order of the
        // topic.
        let change = shared.inbox.first("its change", |r| {
            r.topic == shared.transactions && r.body["refId"] == entity.ref_id.as_str() && !is_snapshot(r, shared)
        });
        assert_eq!(change.partition, record.partition);
    }
    let absent = shared.cli("snapshot", &["account", &account.external_id]).exits(1);
    assert!(absent.stderr.contains("there is no account"), "{absent}");
    shared.cli("snapshot", &[]).exits(2);
    shared.cli("snapshot", &["--all", "customer", "c-1"]).exits(2);
}

#[test]
fn a_snapshot_of_all_is_taken_up_where_it_was_interrupted() {
    let Some(world) = World::set_up("snapshot", |config| alone(config, false)) else { return };
    let fleet = fleet(20);
    world.import(&fleet);
    // A request about an entity that does not exist leaves a partition without an entity.
    let processor = world.run();
    world.ask(&custom_name(&unique("r"), &Entity::new(Kind::Customer, "ACTIVE").by_ref_id(), "Eve"));
    world.ask(&custom_name(&unique("r"), &fleet[0].by_ref_id(), "Ada"));

    let state = world.dir().join("state.json").display().to_string();
    let mut slow = Command::new(env!("CARGO_BIN_EXE_crm-processor"));
    slow.args(["snapshot", "--all", "--rate", "1", "--state", &state, "--config"]).arg(&world.config);
    let mut slow = Guarded::spawn(&slow, &world.dir().join("snapshot.log"), None);
    until_published(&world, 3);
    slow.signal("INT");
    assert_eq!(slow.wait(Inbox::PATIENCE).code(), Some(1), "{}", slow.log());
    assert!(slow.log().contains("the same command goes on from here"), "{}", slow.log());

    let other = world.cli("snapshot", &["--all", "--type", "account", "--state", &state]).exits(1);
    assert!(other.stderr.contains("state of another snapshot"), "{other}");
    world.cli("snapshot", &["--all", "--rate", "100000", "--state", &state]).succeeded();
    let deadline = Instant::now() + Inbox::PATIENCE;
    while published(&world).len() < fleet.len() {
        assert!(Instant::now() < deadline, "not each of them: {:?}", published(&world));
        crate::pause();
    }
    let counts = published(&world);
    assert_eq!(counts.len(), fleet.len(), "no others: {counts:?}");
    // The entity at which `snapshot` goes on comes again.
    assert!(counts.values().sum::<usize>() <= fleet.len() + 1, "{counts:?}");
    let changed = world.inbox.first("the changed one", |r| is_snapshot(r, &world) && r.body["refId"] == fleet[0].ref_id.as_str());
    assert_eq!((&changed.body["version"], &changed.body["customer"]["customName"]), (&json!(2), &json!("Ada")));

    let again = world.cli("snapshot", &["--all", "--state", &state]).exits(1);
    assert!(again.stderr.contains("take another file to begin anew"), "{again}");
    processor.signal("TERM");
    assert_eq!(processor.wait(), 0);
}

#[test]
fn a_snapshot_of_the_embedded_store_keeps_to_types_and_rate() {
    const EACH: usize = 30;
    let Some(world) = World::set_up("snapshot-embedded", |config| alone(config, true)) else { return };
    let fleet = fleet(EACH);
    world.import(&fleet);
    let start = Instant::now();
    world.cli("snapshot", &["--all", "--type", "account,subscriber", "--rate", "40"]).succeeded();
    // There are batches of ten. The last one begins after the time of fifty.
    assert!(start.elapsed() >= Duration::from_millis(1250), "60 entities took {:?}", start.elapsed());
    until_published(&world, 2 * EACH);
    let counts = published(&world);
    let expected: BTreeMap<_, _> = fleet[EACH..].iter().map(|entity| (entity.subject(), 1)).collect();
    assert_eq!(counts, expected);

    let processor = world.run();
    let locked = world.cli("snapshot", &["--all"]).exits(1);
    assert!(locked.stderr.contains("in use by another process"), "{locked}");
    processor.signal("TERM");
    assert_eq!(processor.wait(), 0);
}
