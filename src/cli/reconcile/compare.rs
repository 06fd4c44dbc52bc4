//! Compares two sides: bucket by bucket, and then entity by entity in the buckets that differ. Pure.

use super::digest::{BUCKETS, EntityDigest, bucket};
use super::export::ExportLine;
use crate::domain::entity::EntityType;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use uuid::Uuid;

/// The entities of one side, added up by bucket. Their order does not matter.
pub(super) struct Sums(Vec<Sum>);

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    entities: u64,
    /// The sum of the digests, modulo 2 to the power of 128.
    digests: u128,
}

impl Sums {
    pub fn new() -> Self {
        Self(vec![Sum::default(); BUCKETS])
    }

    pub fn add(&mut self, ref_id: Uuid, digest: EntityDigest) {
        let sum = &mut self.0[bucket(ref_id)];
        sum.entities += 1;
        sum.digests = sum.digests.wrapping_add(u128::from_be_bytes(digest));
    }

    /// Returns how many entities there are in all buckets.
    pub fn entities(&self) -> u64 {
        self.0.iter().map(|sum| sum.entities).sum()
    }

    /// Returns the buckets that differ, in groups of at most `most` entities on either side. A bucket with more is a group by itself.
    pub fn differing(&self, other: &Self, most: u64) -> Vec<Vec<usize>> {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut size = 0;
        for (at, (one, another)) in self.0.iter().zip(&other.0).enumerate().filter(|(_, (one, another))| one != another) {
            let entities = one.entities.max(another.entities);
            match groups.last_mut() {
                Some(group) if size + entities <= most => {
                    size += entities;
                    group.push(at);
                }
                _ => {
                    size = entities;
                    groups.push(vec![at]);
                }
            }
        }
        groups
    }
}

/// How the warehouse's entity differs from ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Difference {
    /// The warehouse does not have it.
    Missing,
    /// The warehouse has an earlier version.
    Stale,
    /// The warehouse has a later version than there is.
    Ahead,
    /// The warehouse has other values in the same version.
    Edited,
    /// The warehouse has it several times.
    Repeated,
    /// The warehouse has an entity that is not in the store.
    Unknown,
}

/// The warehouse's entities in some buckets.
#[derive(Default)]
pub(super) struct Theirs(HashMap<(EntityType, Uuid), One>);

/// The version and digest of an entity in the warehouse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct One {
    pub version: i64,
    pub digest: EntityDigest,
    /// How many lines of the file are about the entity.
    pub times: u32,
}

impl Theirs {
    pub fn add(&mut self, line: &ExportLine) {
        let one = One { version: line.version, digest: line.digest, times: 0 };
        self.0.entry((line.entity_type, line.ref_id)).or_insert(one).times += 1;
    }

    /// Takes an entity out.
    pub fn take(&mut self, entity_type: EntityType, ref_id: Uuid) -> Option<One> {
        self.0.remove(&(entity_type, ref_id))
    }

    /// Returns those that were not taken out.
    pub fn rest(self) -> impl Iterator<Item = ((EntityType, Uuid), One)> {
        self.0.into_iter()
    }
}

/// Compares an entity, as version and digest, with what the warehouse has. Returns `None` if they agree.
pub(super) fn difference(ours: Option<(i64, EntityDigest)>, theirs: Option<One>) -> Option<Difference> {
    match (ours, theirs) {
        (None, None) => None,
        (None, Some(_)) => Some(Difference::Unknown),
        (Some(_), None) => Some(Difference::Missing),
        (Some(_), Some(One { times: 2.., .. })) => Some(Difference::Repeated),
        (Some((version, _)), Some(one)) if one.version < version => Some(Difference::Stale),
        (Some((version, _)), Some(one)) if one.version > version => Some(Difference::Ahead),
        (Some((_, digest)), Some(one)) => (digest != one.digest).then_some(Difference::Edited),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u8) -> EntityDigest {
        [n; 16]
    }

    #[test]
    fn sums_agree_in_any_order_and_differ_by_one_entity() {
        let ids: Vec<Uuid> = (0..100).map(Uuid::from_u128).collect();
        let (mut one, mut another) = (Sums::new(), Sums::new());
        for id in &ids {
            one.add(*id, digest(200));
        }
        for id in ids.iter().rev() {
            another.add(*id, digest(200));
        }
        assert!(one.differing(&another, 10).is_empty());
        assert_eq!((one.entities(), another.entities()), (100, 100));
        another.add(ids[7], digest(1));
        assert_eq!(one.differing(&another, 10), [vec![bucket(ids[7])]]);
        let groups = Sums::new().differing(&one, 10);
        assert!(groups.len() > 1, "{groups:?}");
        assert!(groups.iter().flatten().is_sorted(), "each bucket once: {groups:?}");
    }

    #[test]
    fn every_difference_has_its_name() {
        let one = |version, n, times| Some(One { version, digest: digest(n), times });
        for (ours, theirs, expected) in [
            (Some((2, digest(1))), one(2, 1, 1), None),
            (None, None, None),
            (Some((2, digest(1))), None, Some(Difference::Missing)),
            (Some((2, digest(1))), one(1, 1, 1), Some(Difference::Stale)),
            (Some((2, digest(1))), one(3, 1, 1), Some(Difference::Ahead)),
            (Some((2, digest(1))), one(2, 9, 1), Some(Difference::Edited)),
            (Some((2, digest(1))), one(2, 1, 2), Some(Difference::Repeated)),
            (None, one(2, 1, 1), Some(Difference::Unknown)),
        ] {
            assert_eq!(difference(ours, theirs), expected, "{ours:?} {theirs:?}");
        }
    }
}
