//! What is particular to the store over CQL: connecting, and setting up.

use crate::conformance::{any_entity, creation};
use crate::servers;
use crm_processor::store::cql::{CqlOptions, CqlStore, SerialConsistency};
use crm_processor::store::{Applied, ConditionalStore, Consistency};
use std::time::Duration;
use tokio::sync::OnceCell;

/// Options for keyspace `keyspace` of the node at `address`.
fn options(address: &str, keyspace: &str) -> CqlOptions {
    CqlOptions {
        contact_points: vec![address.into()],
        keyspace: keyspace.into(),
        replication: [("class", "SimpleStrategy"), ("replication_factor", "1")].map(|(k, v)| (k.into(), v.into())).into(),
        request_timeout: Duration::from_secs(15),
        serial_consistency: SerialConsistency::Serial,
        local_datacenter: None,
        user: None,
        password: None,
        tls: None,
    }
}

/// A session of its own with a keyspace that all checks share. None: there is no database.
pub async fn connect() -> Option<CqlStore> {
    let options = options(servers::cassandra()?, "conformance");
    set_up_once(&options).await;
    Some(CqlStore::connect(&options).await.unwrap())
}

/// The same keyspace, by another way.
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
        local_datacenter: Some("datacenter1".into()),
        ..options(address, "conformance")
    };
    set_up_once(&options).await;
    let store = CqlStore::connect(&options).await.unwrap();
    let key = any_entity();
    assert_eq!(store.apply(creation(key)).await.unwrap(), Applied::Yes);
    let read = store.read_entity(key, &[], Consistency::Serial).await.unwrap();
    assert_eq!(read.statics, creation(key).after);
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
        assert!(error.contains("no keyspace name"), "{name:?}: {error}");
    }
}
