//! Tests the parts that only the embedded store has: it survives its process, and lets in one process at a time.

use crate::conformance::{any_entity, change, creation, values};
use crm_processor::domain::entity::EntityType;
use crm_processor::store::embedded::EmbeddedStore;
use crm_processor::store::{Applied, ConditionalStore, Consistency, EntityKey};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use tokio::task::JoinSet;
use uuid::Uuid;

/// The variable that says where the child of `what_was_acknowledged_survives_kill_9` keeps its store.
const CHILDS_FOLDER: &str = "CRM_TEST_EMBEDDED_FOLDER";
/// How many entities the child changes at once.
const WRITERS: u128 = 8;

pub fn open(folder: &Path) -> EmbeddedStore {
    EmbeddedStore::open(folder).unwrap()
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/on/the/way");
    let key = any_entity();
    for generation in 0..3 {
        let store = open(&path);
        let write = if generation == 0 { creation(key) } else { change(key, generation, &format!("r{generation}")) };
        assert_eq!(store.apply(write).await.unwrap(), Applied::Yes);
    }
    let store = open(&path);
    let read = store.read_entity(key, &["r1", "r2"], Consistency::Serial).await.unwrap();
    assert_eq!((read.statics, read.outcomes.len()), (values(&change(key, 2, "r2")), 2));
}

#[test]
fn a_folder_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _first = open(folder.path());
    let error = EmbeddedStore::open(folder.path()).map(drop).unwrap_err().to_string();
    assert!(error.contains("in use") && error.contains(&folder.path().display().to_string()), "{error}");
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<(u128, i64)> = Vec::new();
    for round in 1..=3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "embedded::writes_until_it_is_killed", "--ignored", "--nocapture"])
            .env(CHILDS_FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let wanted = acknowledged.len() + 200;
        while acknowledged.len() < wanted {
            acknowledged.extend(parse_acknowledgement(&lines.next().expect("the child writes until it is killed")));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // The lines that the child had printed until then.
        acknowledged.extend(lines.filter_map(|line| parse_acknowledgement(&line)));

        let store = open(folder.path());
        for (entity, version) in &acknowledged {
            let request = version.to_string();
            let read = store.read_entity(child_entity(*entity), &[&request], Consistency::Serial).await.unwrap();
            assert_eq!(read.outcomes.len(), 1, "round {round}: entity {entity} lost its acknowledged version {version}");
            assert!(read.statics.unwrap().entity.version >= *version, "round {round}: entity {entity} went back");
        }
        for entity in 0..WRITERS {
            let read = store.read_entity(child_entity(entity), &[], Consistency::Serial).await.unwrap();
            let version = read.statics.map_or(1, |statics| statics.entity.version);
            let changes = store.history(child_entity(entity)).await.unwrap();
            let expected: Vec<_> = (2..=version).collect();
            let got: Vec<_> = changes.iter().map(|change| change.changed_to).collect();
            assert_eq!(got, expected, "round {round}: statics and rows of entity {entity} were torn apart");
        }
    }
}

/// Not a test, but the child of `what_was_acknowledged_survives_kill_9`.
#[tokio::test]
#[ignore = "runs until it is killed"]
async fn writes_until_it_is_killed() {
    let store = Arc::new(open(Path::new(&std::env::var_os(CHILDS_FOLDER).expect("started by its parent"))));
    let mut writers = JoinSet::new();
    for entity in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let key = child_entity(entity);
            let read = store.read_entity(key, &[], Consistency::Serial).await.unwrap();
            let mut version = read.statics.map_or(0, |statics| statics.entity.version);
            loop {
                let write = if version == 0 { creation(key) } else { change(key, version, &(version + 1).to_string()) };
                assert_eq!(store.apply(write).await.unwrap(), Applied::Yes);
                version += 1;
                if version > 1 {
                    println!("applied {entity} {version} .");
                    std::io::stdout().flush().unwrap();
                }
            }
        });
    }
    // These loops end only by a failure.
    writers.join_next().await.unwrap().unwrap();
}

/// Reads a line of the child. Lines end with a full stop, because the last one may be cut off.
fn parse_acknowledgement(line: &str) -> Option<(u128, i64)> {
    let words: Vec<_> = line.split(' ').collect();
    match words[..] {
        ["applied", entity, version, "."] => Some((entity.parse().unwrap(), version.parse().unwrap())),
        _ => None,
    }
}

fn child_entity(entity: u128) -> EntityKey {
    EntityKey { entity_type: EntityType::Subscriber, ref_id: Uuid::from_u128(entity) }
}
