//! Tests the parts that only the store over CQL has: connecting, and setting up keyspace and tables.

use crate::conformance::{any_entity, blob, creation, row, statics, values};
use crate::servers;
use crm_processor::config::{CommitConsistency, SerialConsistency};
use crm_processor::store::cql::{CqlOptions, CqlStore};
use crm_processor::store::erasable::{ErasableStore, Redaction};
use crm_processor::store::{Applied, ApplyWrite, ConditionalStore, Consistency};
use scylla::client::session_builder::SessionBuilder;
use std::time::Duration;
use tokio::sync::OnceCell;

/// Returns options for keyspace `keyspace` of the node at `address`.
fn options(address: &str, keyspace: &str) -> CqlOptions {
    CqlOptions {
        contact_points: vec![address.into()],
        keyspace: keyspace.into(),
        replication: [("class", "SimpleStrategy"), ("replication_factor", "1")].map(|(k, v)| (k.into(), v.into())).into(),
        request_timeout: Duration::from_secs(15),
        serial_consistency: SerialConsistency::Serial,
        consistency: CommitConsistency::Quorum,
        local_datacenter: None,
        datacenter_failover: false,
        user: None,
        password: None,
        tls: None,
    }
}

/// Returns a new session with a keyspace that all checks share, or `None` if there is no database.
pub async fn connect() -> Option<CqlStore> {
    let options = options(servers::cassandra()?, "conformance");
    set_up_once(&options).await;
    Some(CqlStore::connect(&options).await.unwrap())
}

/// Returns the address of the node and a session with a new keyspace, or `None` if there is no database.
pub async fn connect_apart(keyspace: &str) -> Option<(&'static str, CqlStore)> {
    let address = servers::cassandra()?;
    let options = options(address, keyspace);
    CqlStore::setup(&options).await.unwrap();
    Some((address, CqlStore::connect(&options).await.unwrap()))
}

/// Connects to the same keyspace in another way.
pub async fn connect_to(address: &str) -> CqlStore {
    CqlStore::connect(&options(address, "conformance")).await.unwrap()
}

async fn set_up_once(options: &CqlOptions) {
    static SET_UP: OnceCell<()> = OnceCell::const_new();
    SET_UP.get_or_init(async || CqlStore::setup(options).await.unwrap()).await;
}

#[tokio::test]
async fn setup_is_safe_to_repeat() {
    let Some(address) = servers::cassandra() else { return };
    let options = options(address, "set_up_twice");
    CqlStore::setup(&options).await.unwrap();
    let key = any_entity();
    let store = CqlStore::connect(&options).await.unwrap();
    assert_eq!(store.apply(creation(key)).await.unwrap(), Applied::Yes);
    CqlStore::setup(&options).await.unwrap();
    assert_eq!(store.apply(creation(key)).await.unwrap(), Applied::No);
}

#[tokio::test]
async fn conditional_writes_work_within_the_local_data_centre() {
    let Some(address) = servers::cassandra() else { return };
    let options = CqlOptions {
        serial_consistency: SerialConsistency::LocalSerial,
        consistency: CommitConsistency::LocalQuorum,
        local_datacenter: Some("datacenter1".into()),
        ..options(address, "conformance")
    };
    set_up_once(&options).await;
    let store = CqlStore::connect(&options).await.unwrap();
    let key = any_entity();
    assert_eq!(store.apply(creation(key)).await.unwrap(), Applied::Yes);
    let read = store.read_entity(key, &[], Consistency::Serial).await.unwrap();
    assert_eq!(read.statics, values(&creation(key)));
}

/// The check reads both columns, because one column without a TTL would keep the row that is to expire.
#[tokio::test]
async fn a_redacted_row_keeps_the_time_of_each_of_its_columns() {
    const HOUR: i32 = 3600;
    let (Some(address), Some(store)) = (servers::cassandra(), connect().await) else { return };
    let key = any_entity();
    assert_eq!(store.apply(creation(key)).await.unwrap(), Applied::Yes);
    let hour = Some(Duration::from_secs(HOUR.unsigned_abs().into()));
    let rows = vec![row("for ever", Some(2), None), row("no-op", None, hour), row("change", Some(3), hour)];
    let write = ApplyWrite { key, expected_version: Some(1), after: Some(statics(key, 3).into()), rows };
    assert_eq!(store.apply(write).await.unwrap(), Applied::Yes);

    let session = SessionBuilder::new().known_node(address).build().await.unwrap();
    let times = async |request: &str| {
        let select = "SELECT TTL(outcome), TTL(changed_to), changed_to FROM conformance.entity \
                      WHERE entity_type = 'customer' AND ref_id = ? AND request_id = ?";
        let rows = session.query_unpaged(select, (key.ref_id, request)).await.unwrap().into_rows_result().unwrap();
        rows.single_row::<(Option<i32>, Option<i32>, Option<i64>)>().unwrap()
    };
    for request in ["for ever", "no-op", "change"] {
        let before = times(request).await;
        let redaction = Redaction { key, request_id: request.into(), expected_outcome: blob(request), outcome: b"new".to_vec() };
        assert_eq!(store.redact(redaction).await.unwrap(), Applied::Yes);
        let after = times(request).await;
        assert_eq!((before.0.is_some(), before.1.is_some(), before.2), (after.0.is_some(), after.1.is_some(), after.2));
        for (before, after) in [(before.0, after.0), (before.1, after.1)] {
            assert!(before.is_none() || before >= after && after > Some(HOUR / 2), "{request}: {before:?}, {after:?}");
        }
    }
    assert_eq!([times("for ever").await.0, times("for ever").await.1], [None; 2]);
    assert!(times("no-op").await.0.is_some());
}

#[tokio::test]
async fn a_missing_keyspace_is_named_with_what_to_do() {
    let Some(address) = servers::cassandra() else { return };
    let error = CqlStore::connect(&options(address, "never_set_up")).await.map(drop).unwrap_err().to_string();
    assert!(error.contains("never_set_up") && error.contains("crm-processor setup"), "{error}");
}

#[tokio::test]
async fn an_unreachable_contact_point_is_named() {
    // Port 1 of the loopback: nobody listens there.
    let error = CqlStore::connect(&options("127.0.0.1:1", "conformance")).await.map(drop).unwrap_err().to_string();
    assert!(error.contains("127.0.0.1:1"), "{error}");
}

#[tokio::test]
async fn a_keyspace_name_that_needs_quotes_is_refused() {
    for name in ["", "Crm", "1crm", "crm-x", "crm; DROP KEYSPACE crm", &"x".repeat(49)] {
        let error = CqlStore::setup(&options("127.0.0.1:1", name)).await.unwrap_err().to_string();
        assert!(error.contains("not a keyspace name"), "{name:?}: {error}");
    }
}
