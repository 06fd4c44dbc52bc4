//! What is particular to the store over CQL: connecting, and setting up.

use crate::conformance::{any_entity, creation};
use crate::servers;
use crm_processor::store::cql::{CqlOptions, CqlStore, SerialConsistency};
use crm_processor::store::{Applied, ConditionalStore};
use std::time::Duration;
use tokio::sync::OnceCell;

/// Options for keyspace `keyspace` of the tests' Cassandra.
pub fn options(keyspace: &str) -> CqlOptions {
    CqlOptions {
        contact_points: vec![servers::cassandra()],
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

/// A session of its own with a keyspace that all checks share.
pub async fn connect() -> CqlStore {
    static SET_UP: OnceCell<()> = OnceCell::const_new();
    let options = options("conformance");
    SET_UP.get_or_init(async || CqlStore::setup(&options).await.unwrap()).await;
    CqlStore::connect(&options).await.unwrap()
}

#[tokio::test]
async fn setup_is_safe_to_repeat() {
    let options = options("set_up_twice");
    CqlStore::setup(&options).await.unwrap();
    let key = any_entity();
    let store = CqlStore::connect(&options).await.unwrap();
    assert_eq!(store.apply(creation(key)).await.unwrap(), Applied::Yes);
    CqlStore::setup(&options).await.unwrap();
    assert_eq!(store.apply(creation(key)).await.unwrap(), Applied::No);
}

#[tokio::test]
async fn conditional_writes_work_within_the_local_data_centre() {
    connect().await;
    let options = CqlOptions {
        serial_consistency: SerialConsistency::LocalSerial,
        local_datacenter: Some("datacenter1".into()),
        ..options("conformance")
    };
    let store = CqlStore::connect(&options).await.unwrap();
    let key = any_entity();
    assert_eq!(store.apply(creation(key)).await.unwrap(), Applied::Yes);
    let read = store.read_entity(key, &[], crm_processor::store::Consistency::Serial).await.unwrap();
    assert_eq!(read.statics, creation(key).after);
}

#[tokio::test]
async fn a_missing_keyspace_is_named_with_what_to_do() {
    let error = CqlStore::connect(&options("never_set_up")).await.map(drop).unwrap_err().to_string();
    assert!(error.contains("never_set_up") && error.contains("crm-processor setup"), "{error}");
}

#[tokio::test]
async fn an_unreachable_contact_point_is_named() {
    // Port 1 of the loopback: nobody listens there.
    let options = CqlOptions { contact_points: vec!["127.0.0.1:1".into()], ..options("conformance") };
    let error = CqlStore::connect(&options).await.map(drop).unwrap_err().to_string();
    assert!(error.contains("127.0.0.1:1"), "{error}");
}

#[tokio::test]
async fn a_keyspace_name_that_needs_quotes_is_refused() {
    for name in ["", "Crm", "1crm", "crm-x", "crm; DROP KEYSPACE crm", &"x".repeat(49)] {
        let error = CqlStore::setup(&options(name)).await.unwrap_err().to_string();
        assert!(error.contains("no keyspace name"), "{name:?}: {error}");
    }
}
