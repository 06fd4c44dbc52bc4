//! Tests the change rows: each business transaction and each snapshot comes with one flat row that says the same.

use crate::crm::{Entity, Kind, custom_name, rename, segment, state, unique};
use crate::inbox::{Inbox, Record};
use crate::operation::read;
use crate::warehouse::population::creation;
use crate::world::{World, run_cli};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Sets up an installation with a topic of change rows, and a keyspace of its own. Returns it with the topic's name and an inbox of it.
pub fn with_changes(name: &str) -> Option<(World, String, Inbox)> {
    with_changes_and(name, |_| {})
}

/// Sets up such an installation, whose configuration `adjust` changes.
pub fn with_changes_and(name: &str, adjust: impl FnOnce(&mut toml::Table)) -> Option<(World, String, Inbox)> {
    let topic = unique("changes");
    let mut registry = None;
    let world = World::set_up(name, |config| {
        let topics = config["kafka"].as_table_mut().expect("a table")["topics"].as_table_mut().expect("a table");
        topics.insert("changes".into(), topic.clone().into());
        let store = config["store"].as_table_mut().expect("a table");
        store.insert("keyspace".into(), unique("crm_changes").replace('-', "_").into());
        adjust(config);
        registry = config["registry"]["url"].as_str().map(ToOwned::to_owned);
    })?;
    let inbox = Inbox::open_with(world.kafka(), &[&topic], &[&topic], &registry.expect("there is one"));
    Some((world, topic, inbox))
}

/// Returns the row that a business transaction or snapshot must come with.
fn row_of(transaction: &Json) -> Json {
    let entity_type = transaction["entityType"].as_str().expect("a type");
    let entity = &transaction[entity_type.to_lowercase()];
    let changed: Vec<_> =
        transaction["changes"].as_array().expect("a list").iter().filter_map(|change| change["field"].as_str()).collect();
    let mut row = json!({ "record": "crm.v1.ChangeRow", "changedFields": changed.join(",") });
    let of_transaction = ["transactionId", "useCase", "requestId", "correlationId", "actor", "occurredAt", "entityType", "refId"];
    for column in of_transaction.iter().chain(&["version", "previousVersion"]) {
        row[column] = transaction[column].clone();
    }
    let of_entity = ["externalId", "state", "stateReason", "stateValidFrom", "customName", "customerSegment", "segmentValidFrom"];
    for column in of_entity.iter().chain(&["customerRefId", "accountRefId"]) {
        row[column] = entity[column].clone();
    }
    row
}

fn by_transaction_id(records: &[Arc<Record>]) -> BTreeMap<String, Vec<Arc<Record>>> {
    let mut all = BTreeMap::<_, Vec<_>>::new();
    for record in records {
        let id = record.body["transactionId"].as_str().unwrap_or_else(|| panic!("no transactionId: {record:?}"));
        all.entry(id.to_owned()).or_default().push(record.clone());
    }
    all
}

/// Returns the versions and transaction ids of each key and partition in the order in which they stand on a topic.
fn by_key(records: &[Arc<Record>]) -> BTreeMap<String, Vec<(i64, &str)>> {
    let mut in_order: Vec<_> = records.iter().collect();
    in_order.sort_by_key(|record| record.offset);
    let mut all = BTreeMap::<_, Vec<_>>::new();
    for record in in_order {
        let key = record.key_text().unwrap_or_else(|| panic!("no key: {record:?}"));
        let version = record.body["version"].as_i64().unwrap_or_else(|| panic!("no version: {record:?}"));
        let id = record.body["transactionId"].as_str().unwrap_or_else(|| panic!("no transactionId: {record:?}"));
        all.entry(format!("{key}, partition {}", record.partition)).or_default().push((version, id));
    }
    all
}

/// Checks that rows and business transactions belong together one by one, with the same key, headers and partition, and that those of one
/// key stand in the order of their versions. The commands for an entity came under one key, or one after another.
fn assert_fit(world: &World, changes: &Inbox, expected: usize) {
    let rows = changes.until(&format!("{expected} rows"), |records| (records.len() >= expected).then(|| records.to_vec()));
    let transactions = world.inbox.until(&format!("{expected} business transactions"), |records| {
        let transactions: Vec<_> = records.iter().filter(|r| r.topic == world.transactions).cloned().collect();
        (transactions.len() >= expected).then_some(transactions)
    });
    let of_keys = by_key(&rows);
    assert_eq!(of_keys, by_key(&transactions), "the rows of a key have the order of its business transactions");
    for (key, in_order) in &of_keys {
        assert!(in_order.is_sorted_by_key(|(version, _)| *version), "{key}: {in_order:?}");
    }
    let (rows, transactions) = (by_transaction_id(&rows), by_transaction_id(&transactions));
    assert_eq!(rows.keys().collect::<Vec<_>>(), transactions.keys().collect::<Vec<_>>());
    for (id, transactions) in &transactions {
        let ([row], [transaction]) = (&rows[id][..], &transactions[..]) else {
            panic!("{id} was published {} times, its row {} times", transactions.len(), rows[id].len());
        };
        assert_eq!(row.body, row_of(&transaction.body));
        assert_eq!((&row.key, row.partition, &row.headers), (&transaction.key, transaction.partition, &transaction.headers));
    }
}

#[test]
fn each_change_and_each_snapshot_comes_with_a_row_that_says_the_same() {
    let Some((world, topic, changes)) = with_changes("changes") else { return };
    crate::writers::are_registered(&[format!("{topic}-value")]);
    let [customer, account, subscriber] =
        [Kind::Customer, Kind::Account, Kind::Subscriber].map(|kind| Entity::new(kind, "ACTIVE"));
    world.import(&[customer.clone(), account.clone(), subscriber.clone()]);
    let processor = world.run();
    let name = custom_name(&unique("r"), &customer.by_ref_id(), "Ärger, \"Söhne\" & Co");
    let there = [customer.clone(), account.clone(), subscriber.clone()];
    let [(_, of_customer), (_, of_account), (_, of_subscriber)] = Kind::ALL.map(|kind| creation(kind, &there));
    let suspend = |entity: &Entity, reason: &str| state(entity.kind, &unique("r"), &entity.by_ref_id(), "SUSPENDED", reason);
    // Each comes with the version and the changed fields that its row must have.
    let commands = [
        (
            name.clone().header("correlation-id", "c-1").header("traceparent", format!("00-{:032x}-{:016x}-01", 7, 9)),
            2,
            "customName",
        ),
        (segment(&unique("r"), &customer.by_ref_id(), "ENTERPRISE"), 3, "customerSegment"),
        (rename(Kind::Customer, &unique("r"), &customer.by_ref_id(), &unique("née '")), 4, "externalId"),
        (suspend(&customer, "unpaid, since \"March\""), 5, "state,stateReason"),
        (rename(Kind::Account, &unique("r"), &account.by_ref_id(), &unique("a,b")), 2, "externalId"),
        (rename(Kind::Subscriber, &unique("r"), &subscriber.by_ref_id(), &unique("s")), 2, "externalId"),
        (suspend(&subscriber, "unpaid"), 3, "state,stateReason"),
        (suspend(&subscriber, "stolen"), 4, "stateReason"),
        (state(Kind::Subscriber, &unique("r"), &subscriber.by_ref_id(), "ACTIVE", Json::Null), 5, "state,stateReason"),
        (of_customer, 1, "externalId,customName,customerSegment,state,stateReason"),
        (of_account, 1, "externalId,customName,state,stateReason,customerRefId"),
        (of_subscriber, 1, "externalId,customName,state,stateReason,accountRefId"),
    ];
    for (command, ..) in &commands {
        let reply = world.ask(command);
        assert_eq!(reply.body["statusCode"], 200, "{reply:?}");
    }
    // A duplicate, a no-op and a refusal publish neither a business transaction nor a row.
    for command in [
        name,
        segment(&unique("r"), &customer.by_ref_id(), "ENTERPRISE"),
        segment(&unique("r"), &customer.by_ref_id(), "nowhere"),
    ] {
        world.ask(&command);
    }
    for (kind, entity) in [("customer", &customer), ("account", &account)] {
        world.cli("snapshot", &["--ref-id", kind, &entity.ref_id]).succeeded();
    }
    assert_fit(&world, &changes, commands.len() + 2);
    for (command, version, fields) in &commands {
        let row = changes.first("its row", |row| row.body["requestId"] == command.request());
        let got = ["version", "previousVersion", "changedFields"].map(|column| row.body[column].clone());
        assert_eq!(got, [json!(version), json!(version - 1), json!(fields)], "{command:?}: {row:?}");
    }

    let watched = world.cli("watch", &["changes", "--from-beginning", "--entity", &format!("customer:{}", customer.ref_id)]);
    let lines: Vec<Json> =
        watched.succeeded().stdout.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let cases: Vec<_> = lines.iter().map(|line| (&line["topic"], &line["value"]["useCase"], &line["value"]["version"])).collect();
    let expected = [
        ("updateCustomerCustomName", 2),
        ("updateCustomerSegment", 3),
        ("updateCustomerExternalId", 4),
        ("updateCustomerState", 5),
        ("snapshot", 5),
    ];
    let expected = expected.map(|(use_case, version)| (json!(topic), json!(use_case), json!(version)));
    assert_eq!(cases, expected.each_ref().map(|(topic, use_case, version)| (topic, use_case, version)));
    // `check` has something against the installation of the tests, but nothing against this topic.
    let checked = world.cli("check", &[]);
    let about: Vec<_> = checked.stdout.lines().filter(|line| line.contains(&topic)).collect();
    assert!(
        about.len() >= 2 && about.iter().all(|line| !line.starts_with('!')),
        "the topic and its schema: {about:#?}, {checked}"
    );
    processor.signal("TERM");
    assert_eq!(processor.wait(), 0);
}

#[test]
fn rows_are_published_once_beside_their_transactions_when_processes_are_killed() {
    const ENTITIES: usize = 40;
    const CHANGES: usize = 12;
    let Some((world, _, changes)) = with_changes("changes-killed") else { return };
    let customers: Vec<_> = (0..ENTITIES).map(|_| Entity::new(Kind::Customer, "ACTIVE")).collect();
    world.import(&customers);
    let first = world.run_as("slot");
    let names = |from: usize| {
        (from..from + CHANGES / 2)
            .flat_map(|n| customers.iter().map(move |c| custom_name(&unique("r"), &c.by_ref_id(), &n.to_string()).key(&c.ref_id)))
            .collect::<Vec<_>>()
    };
    world.send_all(&names(0));
    changes.first("a first row", |_| true);
    first.kill();
    let second = world.run_as("slot");
    world.send_all(&names(CHANGES / 2));
    assert_fit(&world, &changes, ENTITIES * CHANGES);
    second.signal("TERM");
    assert_eq!(second.wait(), 0);
}

#[test]
fn the_example_of_a_row_is_that_of_the_example_of_a_business_transaction() {
    let example =
        |name: &str| -> Json { serde_json::from_str(&read(&format!("schemas/examples/{name}.json"))).expect("is JSON") };
    let mut row = example("ChangeRow");
    row["record"] = "crm.v1.ChangeRow".into();
    assert_eq!(row, row_of(&example("BusinessTransaction")));
}

#[test]
fn without_a_topic_of_rows_watch_says_how_to_get_one() {
    let Some(shared) = crate::world::shared() else { return };
    let told = run_cli(&["watch", "--config", &shared.config.display().to_string(), "changes"]).exits(1);
    assert!(told.stderr.contains("kafka.topics.changes"), "{told}");
}
