//! Checks that a keyspace that an earlier release made and wrote can be read, and written on, for ever. `tests/golden/cql` has a
//! file for each release that changed the tables or the forms of their values: how the keyspace was made, and what was in it. A
//! file is never changed.
//!
//! Other stored forms have their golden files in `tests/golden`, too; the unit tests beside their code check them.

use crate::cql;
use crm_processor::domain::entity::{Entity, EntityType, State};
use crm_processor::domain::values::{CustomName, ExternalId, SegmentCode, StateReason};
use crm_processor::store::cql::CqlStore;
use crm_processor::store::erasable::ErasableStore;
use crm_processor::store::{
    Applied, ApplyWrite, Claim, ClaimWrite, ConditionalStore, Consistency, EntityKey, EntityRead, EntityStatics, FIRST_ROW,
    HistoryRow, IdKey, LogRow, OutcomeRow, RefuseWrite,
};
use futures::StreamExt as _;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use std::collections::BTreeSet;
use std::time::Duration;
use uuid::Uuid;

#[tokio::test]
async fn a_keyspace_of_the_first_release_is_read_and_written_on() {
    let file = include_str!("../golden/cql/1.cql");
    let Some(address) = crate::servers::cassandra() else { return };
    let session = SessionBuilder::new().known_node(address).build().await.unwrap();
    for (keyspace, create) in [("golden_now", None), ("golden_1", Some(file))] {
        let fresh = format!("DROP KEYSPACE IF EXISTS {keyspace}");
        session.query_unpaged(fresh, ()).await.unwrap();
        let replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}";
        session.query_unpaged(format!("CREATE KEYSPACE {keyspace} WITH replication = {replication}"), ()).await.unwrap();
        for statement in create.unwrap_or_default().split(';').map(str::trim).filter(|statement| !statement.is_empty()) {
            let statement = statement.replace("KEYSPACE", keyspace);
            session.query_unpaged(statement.as_str(), ()).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
    }
    // Brings the tables up to date, as `setup` of this release does after an upgrade.
    let (_, now) = cql::connect_apart("golden_now").await.unwrap();
    let (_, golden) = cql::connect_apart("golden_1").await.unwrap();
    write(&now).await;
    for table in ["entity", "external_id"] {
        let [now, golden] = [rows(&session, "golden_now", table).await, rows(&session, "golden_1", table).await];
        assert_eq!(now, golden, "left: what this release writes into {table}, right: what the first one wrote");
    }
    for store in [now, golden] {
        read(&store).await;
        let key = key_of(&customer().entity);
        let apply = ApplyWrite {
            key,
            expected_version: Some(2),
            after: Some(changed().into()),
            rows: vec![row("r-2", Some(3), b"changed", None)],
        };
        assert_eq!(store.apply(apply).await.unwrap(), Applied::Yes);
        assert_eq!(store.read_entity(key, &[], Consistency::Serial).await.unwrap().statics, Some(changed()));
    }
    // What the first release has no column for is told it by a state that it does not know.
    for keyspace in ["golden_now", "golden_1"] {
        let states = |rows: BTreeSet<String>| rows.into_iter().filter(|row| row.contains("\"SUSPENDED/2\"")).count();
        assert_eq!(states(rows(&session, keyspace, "entity").await), 4, "the statics show in each of the entity's rows");
    }
}

/// Writes the contents of the file, as the claim protocol would.
async fn write(store: &CqlStore) {
    let refused = |name: &str, entity_type| RefuseWrite {
        id: IdKey { entity_type, external_id: id(name) },
        expected_generation: None,
        refused: 1_750_000_000_000,
        rows: vec![row("refused", None, b"no", Some(Duration::from_secs(3600)))],
    };
    let claim =
        ClaimWrite { id: claimed(), expected_generation: None, unrefused: false, claim: Claim { refused: None, ..claim() } };
    let import = |statics: EntityStatics| {
        let rows = vec![row(FIRST_ROW, None, b"imported", None)];
        ApplyWrite { key: key_of(&statics.entity), expected_version: None, after: Some(statics.into()), rows }
    };
    let before = EntityStatics { entity: Entity { version: 1, ..customer().entity }, ..customer() };
    let rows = vec![row("r-ü", Some(2), b"changed", None)];
    let change = ApplyWrite { key: key_of(&before.entity), expected_version: Some(1), after: Some(customer().into()), rows };
    let rows = vec![row("no-op", None, b"so already", Some(Duration::from_secs(3600)))];
    let no_op = ApplyWrite { expected_version: Some(2), after: None, rows, ..change.clone() };
    let applied = [
        store.refuse(refused("é-1", EntityType::Customer)).await,
        store.refuse(refused("nobody", EntityType::Subscriber)).await,
        store.claim(claim).await,
        store.apply(import(before)).await,
        store.apply(change).await,
        store.apply(no_op).await,
        store.apply(import(EntityStatics { entity: subscriber(), epoch: 1, generation: 1 })).await,
    ];
    assert!(applied.iter().all(|applied| matches!(applied, Ok(Applied::Yes))), "{applied:?}");
}

/// Compares what the store reads with the values from which the file was made.
async fn read(store: &CqlStore) {
    let refusals = BTreeSet::from([("refused".into(), b"no".into())]);
    let read = store.read_id(&claimed(), &["refused", "r-ü"], Consistency::Serial).await.unwrap();
    assert_eq!((read.claim, blobs(read.outcomes)), (Some(claim()), refusals.clone()));
    let nobody = IdKey { entity_type: EntityType::Subscriber, external_id: id("nobody") };
    let read = store.read_id(&nobody, &["refused"], Consistency::Serial).await.unwrap();
    assert_eq!((read.claim, blobs(read.outcomes)), (None, refusals));
    let key = key_of(&customer().entity);
    let rows = [(FIRST_ROW, &b"imported"[..]), ("no-op", b"so already"), ("r-ü", b"changed")];
    let rows: BTreeSet<_> = rows.iter().map(|(request, outcome)| ((*request).to_owned(), outcome.to_vec())).collect();
    let EntityRead { statics, outcomes } =
        store.read_entity(key, &[FIRST_ROW, "r-ü", "no-op", "other"], Consistency::Serial).await.unwrap();
    assert_eq!((statics, blobs(outcomes)), (Some(customer()), rows.clone()));
    assert_eq!(BTreeSet::from_iter(store.log(key).await.unwrap()), rows);
    let change = HistoryRow { request_id: "r-ü".into(), changed_to: 2, outcome: b"changed".into() };
    assert_eq!(store.history(key).await.unwrap(), [change]);
    let mut scanned: Vec<_> = store.scan(i64::MIN).await.unwrap().map(|scanned| scanned.unwrap().entity).collect().await;
    scanned.sort_by_key(|entity| entity.entity_type);
    assert_eq!(scanned, [customer().entity, subscriber()]);
}

fn blobs(outcomes: Vec<OutcomeRow>) -> BTreeSet<(String, Vec<u8>)> {
    outcomes.into_iter().map(|row| (row.request_id, row.outcome)).collect()
}

/// Returns the rows of a table, each as JSON.
async fn rows(session: &Session, keyspace: &str, table: &str) -> BTreeSet<String> {
    let rows = session.query_unpaged(format!("SELECT JSON * FROM {keyspace}.{table}"), ()).await.unwrap();
    rows.into_rows_result().unwrap().rows::<(String,)>().unwrap().map(|row| row.unwrap().0).collect()
}

fn id(text: &str) -> ExternalId {
    ExternalId::parse(text).unwrap()
}

fn claimed() -> IdKey {
    IdKey { entity_type: EntityType::Customer, external_id: id("é-1") }
}

fn claim() -> Claim {
    Claim {
        generation: 7,
        owner: Uuid::from_u128(7),
        epoch: 3,
        claimed_by: "r-ü".into(),
        blob: vec![1, 2, 255],
        previous_owners: vec![(Uuid::from_u128(2), 1_000), (Uuid::from_u128(3), 1_740_000_000_000)],
        refused: Some(1_750_000_000_000),
    }
}

/// Returns a customer that has a value in each column.
fn customer() -> EntityStatics {
    let entity = Entity {
        version: 2,
        state: State::Suspended,
        custom_name: Some(CustomName::parse("Ada \"Łovelace\"").unwrap()),
        segment: Some(SegmentCode::parse("RESIDENTIAL").unwrap()),
        segment_valid_from: Some(-1),
        superior: Some(Uuid::max()),
        ..Entity::new(EntityType::Customer, Uuid::from_u128(7), id("é-1"))
    };
    EntityStatics { entity, epoch: 3, generation: 7 }
}

fn changed() -> EntityStatics {
    let state_reason = Some(StateReason::parse("unpaid").unwrap());
    let entity = Entity { version: 3, custom_name: None, state_reason, state_valid_from: Some(-2), ..customer().entity };
    EntityStatics { entity, ..customer() }
}

/// Returns a subscriber without the values that may be absent.
fn subscriber() -> Entity {
    Entity { state: State::Inactive, ..Entity::new(EntityType::Subscriber, Uuid::from_u128(1), id("s-1")) }
}

fn key_of(entity: &Entity) -> EntityKey {
    EntityKey { entity_type: entity.entity_type, ref_id: entity.ref_id }
}

fn row(request_id: &str, changed_to: Option<i64>, outcome: &[u8], ttl: Option<Duration>) -> LogRow {
    LogRow { request_id: request_id.into(), changed_to, outcome: outcome.into(), ttl }
}
