//! Tests that a database of the first release can be read, and written on, for ever. `tests/golden/embedded` has a file for each version
//! of the encoding: the folder as the release that introduced the version left it. The file has a line for each file of the folder, with
//! its path, its length and its bytes as hexadecimal digits without the zeros at the end, and a line for each folder in it. The file is
//! never changed. (The rows in it that expire do so in some 8,700 years.)

use super::*;
use crate::domain::entity::{Entity, EntityType, State};
use crate::domain::values::{CustomName, ExternalId, SegmentCode};
use crate::store::{Claim, EntityStatics, FIRST_ROW, LogRow, OutcomeRow};
use std::fs;
use uuid::Uuid;

#[tokio::test]
async fn a_database_of_the_first_release_is_read_and_written_on() {
    let folder = tempfile::tempdir().unwrap();
    unpack(include_str!("../../../tests/golden/embedded/1.txt"), folder.path());
    for round in 0..2 {
        let store = EmbeddedStore::open(folder.path()).unwrap();
        let id = store.read_id(&id(), &["refused"], Consistency::Serial).await.unwrap();
        assert_eq!((id.claim, blobs(&id.outcomes)), (Some(claim()), vec![("refused", &b"no"[..])]), "round {round}");
        let read = store.read_entity(key(), &[FIRST_ROW, "r-ü", "refused", "no-op"], Consistency::Serial).await.unwrap();
        let rows = [(FIRST_ROW, &b"imported"[..]), ("r-ü", b"changed"), ("no-op", b"so already")];
        assert_eq!((&read.statics, blobs(&read.outcomes)), (&Some(statics()), rows.to_vec()), "round {round}");
        let expire: Vec<_> = read.outcomes.iter().map(|row| row.time_left.is_some()).collect();
        assert_eq!(expire, [false, false, true], "round {round}");
        let log = store.log(key()).await.unwrap();
        assert_eq!(log.len(), rows.len() + round, "round {round}");
        let history = store.history(key()).await.unwrap();
        let change = HistoryRow { request_id: "r-ü".into(), changed_to: 2, outcome: b"changed".into() };
        assert_eq!(history, [change], "round {round}");
        let scanned: Vec<_> = store.scan(None).map(|scanned| scanned.unwrap().entity).collect().await;
        assert_eq!(scanned, [statics().entity, least()], "round {round}");
        let write = ApplyWrite { key: key(), expected_version: Some(2), after: None, rows: vec![row(&round.to_string())] };
        assert_eq!(store.apply(write).await.unwrap(), Applied::Yes, "round {round}");
    }
}

fn blobs(outcomes: &[OutcomeRow]) -> Vec<(&str, &[u8])> {
    outcomes.iter().map(|row| (row.request_id.as_str(), row.outcome.as_slice())).collect()
}

fn unpack(golden: &str, into: &Path) {
    for line in golden.lines() {
        let mut columns = line.split(' ');
        let path = into.join(columns.next().unwrap());
        let Some(length) = columns.next() else {
            fs::create_dir_all(&path).unwrap();
            continue;
        };
        let digits = columns.next().unwrap_or_default();
        let bytes: Vec<_> = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect();
        fs::write(&path, bytes).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_len(length.parse().unwrap()).unwrap();
    }
}

fn id() -> IdKey {
    IdKey { entity_type: EntityType::Customer, external_id: statics().entity.external_id }
}

fn claim() -> Claim {
    Claim {
        generation: 7,
        owner: key().ref_id,
        epoch: 3,
        claimed_by: "r-ü".into(),
        blob: b"claimed".into(),
        previous_owners: vec![(Uuid::from_u128(2), 1_000), (Uuid::from_u128(3), 1_740_000_000_000)],
        refused: Some(1_750_000_000_000),
    }
}

fn key() -> EntityKey {
    key_of(&statics().entity)
}

fn key_of(entity: &Entity) -> EntityKey {
    EntityKey { entity_type: entity.entity_type, ref_id: entity.ref_id }
}

/// Returns the statics of a customer that has all optional values.
fn statics() -> EntityStatics {
    let entity = Entity {
        version: 2,
        state: State::Suspended,
        custom_name: Some(CustomName::parse("Ada \"Łovelace\"").unwrap()),
        segment: Some(SegmentCode::parse("RESIDENTIAL").unwrap()),
        segment_valid_from: Some(-1),
        superior: Some(Uuid::max()),
        ..Entity::new(EntityType::Customer, Uuid::from_u128(7), ExternalId::parse("é-1").unwrap())
    };
    EntityStatics { entity, epoch: 3, generation: 7 }
}

/// Returns an entity that has no optional values.
fn least() -> Entity {
    Entity {
        state: State::Inactive,
        ..Entity::new(EntityType::Subscriber, Uuid::from_u128(1), ExternalId::parse("s-1").unwrap())
    }
}

/// Returns a row that is written besides those of the file.
fn row(request_id: &str) -> LogRow {
    LogRow { request_id: request_id.into(), changed_to: None, outcome: Vec::new(), ttl: None }
}
