//! The embedded store's encoding on disk: keys that sort the cells of a partition together, and values with a version and an expiry.
//!
//! A key has the table (1 external id, 2 entity), the entity type (1 customer, 2 account, 3 subscriber), the id (2 bytes of length, then
//! UTF-8) or the refId (16 bytes), and the kind of cell: 0 for the statics, 1 for `refused`, 2 and a request id for a row. A value has
//! the version of this encoding, the expiry (milliseconds since 1970, 0 for never) and the body. Integers have 8 bytes, big-endian. Bytes
//! that can't be decoded are an error: the database is damaged, or was written by a newer release.
//!
//! **Frozen**: each release reads what earlier releases wrote; `tests/golden/embedded` has the folder of the first. Whatever an older
//! release would misread must be written under the next version, which the older release refuses. A further attribute of an entity is not
//! misread: see [`encode_entity`].

use crate::domain::Timestamp;
use crate::domain::entity::{Entity, EntityType, State};
use crate::store::expiry::time_left;
use crate::store::values::EntityValues;
use crate::store::{Claim, EntityKey, EntityStatics, IdKey};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::time::Duration;
use uuid::Uuid;

const VERSION: u8 = 1;
const ID_TABLE: u8 = 1;
const ENTITY_TABLE: u8 = 2;
const STATICS: u8 = 0;
const REFUSED: u8 = 1;
const ROW: u8 = 2;

/// Why bytes could not be decoded.
#[derive(Debug, thiserror::Error)]
pub(super) enum Undecodable {
    #[error("a value has encoding version {0}, but this release knows only {VERSION}")]
    Version(u8),
    #[error("a value is damaged")]
    Damaged,
    #[error("an entity's values are damaged: {0}")]
    Entity(#[from] serde_json::Error),
}

/// The beginning of all keys of one partition.
#[derive(Clone)]
pub(super) struct PartitionPrefix(Vec<u8>);

impl PartitionPrefix {
    pub(super) fn of_id(id: &IdKey) -> Self {
        let text = id.external_id.as_str().as_bytes();
        let length = u16::try_from(text.len()).expect("an external id has 256 code points at most, so 1024 bytes");
        let mut key = vec![ID_TABLE, type_code(id.entity_type)];
        key.extend(length.to_be_bytes());
        key.extend(text);
        Self(key)
    }

    pub(super) fn of_entity(key: EntityKey) -> Self {
        let mut bytes = vec![ENTITY_TABLE, type_code(key.entity_type)];
        bytes.extend(key.ref_id.as_bytes());
        Self(bytes)
    }

    pub(super) fn statics(&self) -> Vec<u8> {
        self.cell(STATICS, "")
    }

    pub(super) fn refused(&self) -> Vec<u8> {
        self.cell(REFUSED, "")
    }

    pub(super) fn row(&self, request_id: &str) -> Vec<u8> {
        self.cell(ROW, request_id)
    }

    fn cell(&self, tag: u8, rest: &str) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.0.len() + 1 + rest.len());
        key.extend(&self.0);
        key.push(tag);
        key.extend(rest.as_bytes());
        key
    }
}

/// Returns the range of the keys of all entities' cells, from those of `key` on, or from the first if that is `None`.
pub(super) fn entities_from(key: Option<EntityKey>) -> std::ops::Range<Vec<u8>> {
    let from = key.map_or_else(|| vec![ENTITY_TABLE], |key| PartitionPrefix::of_entity(key).0);
    from..vec![ENTITY_TABLE + 1]
}

/// Returns whether a key of the range [`entities_from`] is that of an entity's statics.
pub(super) fn is_statics(key: &[u8]) -> bool {
    const PARTITION_BYTES: usize = 18;
    key.len() == PARTITION_BYTES + 1 && key[PARTITION_BYTES] == STATICS
}

fn type_code(entity_type: EntityType) -> u8 {
    match entity_type {
        EntityType::Customer => 1,
        EntityType::Account => 2,
        EntityType::Subscriber => 3,
    }
}

/// A value with its expiry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    /// The instant from which on the cell counts as absent; `None` if it never expires.
    pub(super) expires: Option<Timestamp>,
    pub(super) body: Vec<u8>,
}

impl Cell {
    pub(super) fn for_ever(body: Vec<u8>) -> Self {
        Self { expires: None, body }
    }

    pub(super) fn is_live(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    /// Returns how much longer the cell lives; `None` if it never expires.
    pub(super) fn time_left(&self, now: Timestamp) -> Option<Duration> {
        self.expires.map(|expires| time_left(expires, now))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(9 + self.body.len());
        bytes.push(VERSION);
        bytes.extend(self.expires.unwrap_or(0).to_be_bytes());
        bytes.extend(&self.body);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Undecodable> {
        let mut rest = Reader(bytes);
        match rest.take::<1>()? {
            [VERSION] => {}
            [other] => return Err(Undecodable::Version(other)),
        }
        let expires = Some(rest.integer()?).filter(|expires| *expires != 0);
        Ok(Self { expires, body: rest.0.to_vec() })
    }
}

/// Returns the key under which the expiry index lists the cell at `key`.
pub(super) fn expiry_key(expires: Timestamp, key: &[u8]) -> Vec<u8> {
    let mut bytes = expires.to_be_bytes().to_vec();
    bytes.extend(key);
    bytes
}

/// Returns the expiry and the key of the cell that an entry of the expiry index lists.
pub(super) fn parse_expiry_key(bytes: &[u8]) -> Result<(Timestamp, &[u8]), Undecodable> {
    let mut rest = Reader(bytes);
    Ok((rest.integer()?, rest.0))
}

/// Encodes a row: the version that a change led to (0 for none, because versions begin at 1), and the outcome.
pub(super) fn encode_row(changed_to: Option<i64>, outcome: &[u8]) -> Vec<u8> {
    let mut body = changed_to.unwrap_or(0).to_be_bytes().to_vec();
    body.extend(outcome);
    body
}

pub(super) fn decode_row(body: &[u8]) -> Result<(Option<i64>, Vec<u8>), Undecodable> {
    let mut rest = Reader(body);
    let changed_to = Some(rest.integer()?).filter(|version| *version != 0);
    Ok((changed_to, rest.0.to_vec()))
}

/// Encodes when a request was last refused under an id.
pub(super) fn encode_refused(refused: Timestamp) -> Vec<u8> {
    refused.to_be_bytes().to_vec()
}

pub(super) fn decode_refused(body: &[u8]) -> Result<Timestamp, Undecodable> {
    Reader(body).integer()
}

/// Encodes a claim: generation, owner, epoch, length and text of the claiming request, the number of previous owners and these, the blob.
/// `refused` is left out: it is a cell of its own, because it expires.
pub(super) fn encode_claim(claim: &Claim) -> Vec<u8> {
    let mut body = claim.generation.to_be_bytes().to_vec();
    body.extend(claim.owner.as_bytes());
    body.extend(claim.epoch.to_be_bytes());
    body.extend((claim.claimed_by.len() as u64).to_be_bytes());
    body.extend(claim.claimed_by.as_bytes());
    body.extend((claim.previous_owners.len() as u64).to_be_bytes());
    for (owner, left) in &claim.previous_owners {
        body.extend(owner.as_bytes());
        body.extend(left.to_be_bytes());
    }
    body.extend(&claim.blob);
    body
}

pub(super) fn decode_claim(body: &[u8], refused: Option<Timestamp>) -> Result<Claim, Undecodable> {
    let mut rest = Reader(body);
    let generation = rest.integer()?;
    let owner = rest.uuid()?;
    let epoch = rest.integer()?;
    let length = rest.length()?;
    let claimed_by = String::from_utf8(rest.slice(length)?.to_vec()).map_err(|_| Undecodable::Damaged)?;
    let previous_owners =
        (0..rest.length()?).map(|_| Ok((rest.uuid()?, rest.integer()?))).collect::<Result<Vec<_>, Undecodable>>()?;
    Ok(Claim { generation, owner, epoch, claimed_by, blob: rest.0.to_vec(), previous_owners, refused })
}

/// Encodes an entity's statics: epoch, generation, and the entity's values as JSON.
pub(super) fn encode_entity(statics: &EntityStatics) -> Vec<u8> {
    let mut body = statics.epoch.to_be_bytes().to_vec();
    body.extend(statics.generation.to_be_bytes());
    let values = Values::of(&statics.entity);
    serde_json::to_writer(&mut body, &values).expect("an entity holds texts and numbers only, and a Vec takes them");
    body
}

pub(super) fn decode_entity(body: &[u8]) -> Result<EntityStatics, Undecodable> {
    let mut rest = Reader(body);
    let epoch = rest.integer()?;
    let generation = rest.integer()?;
    Ok(EntityStatics { entity: serde_json::from_slice::<Values<'_>>(rest.0)?.into_entity(), epoch, generation })
}

/// An entity's values as JSON. An unknown field is an error, because a release that ignored it would lose it with the next write. So a
/// further attribute needs no further version: it is left out if the entity does not have it, and an older release refuses it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Values<'a> {
    entity_type: EntityType,
    ref_id: Uuid,
    external_id: Cow<'a, str>,
    version: i64,
    state: State,
    custom_name: Option<Cow<'a, str>>,
    segment: Option<Cow<'a, str>>,
    segment_valid_from: Option<Timestamp>,
    parent: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state_reason: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state_valid_from: Option<Timestamp>,
}

impl<'a> Values<'a> {
    fn of(entity: &'a Entity) -> Self {
        let EntityValues {
            external_id,
            version,
            state,
            custom_name,
            segment,
            segment_valid_from,
            superior,
            state_reason,
            state_valid_from,
        } = EntityValues::of(entity);
        Self {
            entity_type: entity.entity_type,
            ref_id: entity.ref_id,
            external_id: external_id.into(),
            version,
            state,
            custom_name: custom_name.map(Cow::from),
            segment: segment.map(Cow::from),
            segment_valid_from,
            parent: superior,
            state_reason: state_reason.map(Cow::from),
            state_valid_from,
        }
    }

    fn into_entity(self) -> Entity {
        let values = EntityValues {
            external_id: &self.external_id,
            version: self.version,
            state: self.state,
            custom_name: self.custom_name.as_deref(),
            segment: self.segment.as_deref(),
            segment_valid_from: self.segment_valid_from,
            superior: self.parent,
            state_reason: self.state_reason.as_deref(),
            state_valid_from: self.state_valid_from,
        };
        values.entity(EntityKey { entity_type: self.entity_type, ref_id: self.ref_id })
    }
}

/// The bytes that are left to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Undecodable> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(Undecodable::Damaged)?;
        self.0 = tail;
        Ok(*head)
    }

    fn slice(&mut self, length: usize) -> Result<&'a [u8], Undecodable> {
        let (head, tail) = self.0.split_at_checked(length).ok_or(Undecodable::Damaged)?;
        self.0 = tail;
        Ok(head)
    }

    fn integer(&mut self) -> Result<i64, Undecodable> {
        self.take().map(i64::from_be_bytes)
    }

    fn length(&mut self) -> Result<usize, Undecodable> {
        usize::try_from(self.integer()?).map_err(|_| Undecodable::Damaged)
    }

    fn uuid(&mut self) -> Result<Uuid, Undecodable> {
        self.take().map(Uuid::from_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::values::{ExternalId, StateReason};

    fn claim() -> Claim {
        Claim {
            generation: 7,
            owner: Uuid::from_u128(1),
            epoch: 2,
            claimed_by: "r-ü".into(),
            blob: vec![0, 255],
            previous_owners: vec![(Uuid::from_u128(2), 1_000), (Uuid::from_u128(3), -1)],
            refused: Some(5),
        }
    }

    #[test]
    fn a_claim_survives_encoding() {
        assert_eq!(decode_claim(&encode_claim(&claim()), Some(5)).unwrap(), claim());
    }

    #[test]
    fn no_truncation_of_a_claim_goes_unnoticed() {
        let whole = encode_claim(&claim());
        for length in 0..whole.len() - claim().blob.len() {
            assert!(decode_claim(&whole[..length], None).is_err(), "{length} of {} bytes were taken for a claim", whole.len());
        }
    }

    #[test]
    fn an_entity_with_a_value_that_only_a_newer_release_knows_is_refused() {
        let entity = Entity::new(EntityType::Customer, Uuid::nil(), ExternalId::parse("x").unwrap());
        let known = encode_entity(&EntityStatics { entity, epoch: 1, generation: 1 });
        assert!(decode_entity(&known).is_ok());
        let newer = [&known[..known.len() - 1], br#","colour":"red"}"#].concat();
        let error = decode_entity(&newer).unwrap_err().to_string();
        assert!(error.contains("colour"), "{error}");
    }

    /// The first release refuses fields that it does not know. So it reads all entities but those that have what came later.
    #[test]
    fn a_field_that_came_later_is_left_out_where_there_is_nothing() {
        let entity = Entity::new(EntityType::Customer, Uuid::nil(), ExternalId::parse("x").unwrap());
        let written = |entity: Entity| {
            let statics = EntityStatics { entity, epoch: 1, generation: 2 };
            let bytes = encode_entity(&statics);
            assert_eq!(decode_entity(&bytes).unwrap(), statics);
            String::from_utf8(bytes[16..].to_vec()).unwrap()
        };
        let first = r#"{"entityType":"customer","refId":"00000000-0000-0000-0000-000000000000","externalId":"x","version":1,"state":"ACTIVE","customName":null,"segment":null,"segmentValidFrom":null,"parent":null"#;
        assert_eq!(written(entity.clone()), format!("{first}}}"));
        let dated = Entity { state_valid_from: Some(-2), ..entity };
        assert_eq!(written(dated.clone()), format!("{first},\"stateValidFrom\":-2}}"));
        let state_reason = Some(StateReason::parse("ü").unwrap());
        let both = format!("{first},\"stateReason\":\"ü\",\"stateValidFrom\":-2}}");
        assert_eq!(written(Entity { state_reason, ..dated }), both);
    }

    #[test]
    fn a_newer_encoding_is_refused() {
        let mut bytes = Cell::for_ever(vec![1]).encode();
        bytes[0] = VERSION + 1;
        assert!(matches!(Cell::decode(&bytes), Err(Undecodable::Version(2))));
    }
}
