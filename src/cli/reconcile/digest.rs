//! The digest by which an entity is compared: of its version and values. A warehouse can compute the same digest with functions that every
//! SQL database has. Pure.
//!
//! The digest is the MD5 of a text: the values in the order of [`text`], with the control character U+001F between them. A value that is
//! missing is U+001E. No value has either, because values have no control characters. MD5 is good enough to notice damage;
//! nobody is kept from forging a digest.

use crate::domain::Timestamp;
use crate::domain::entity::{Entity, EntityType};
use crate::domain::values::{CustomName, SegmentCode, StateReason};
use md5::{Digest as _, Md5};
use uuid::Uuid;

/// The number of buckets. An entity's bucket is made of the first three hexadecimal digits of the MD5 of its refId.
pub(super) const BUCKETS: usize = 1 << 12;

/// The MD5 of an entity's version and values.
pub(super) type EntityDigest = [u8; 16];

/// Returns the bucket of an entity, below [`BUCKETS`].
pub(super) fn bucket(ref_id: Uuid) -> usize {
    let md5: EntityDigest = Md5::digest(ref_id.to_string()).into();
    usize::from(md5[0]) << 4 | usize::from(md5[1] >> 4)
}

/// Returns the digest of an entity.
pub(super) fn digest(entity: &Entity) -> EntityDigest {
    Md5::digest(text(entity)).into()
}

fn text(entity: &Entity) -> String {
    let superior_if =
        |entity_type| entity.superior.filter(|_| entity.entity_type == entity_type).map(|superior| superior.to_string());
    let time = |time: Option<Timestamp>| time.map(|millis| millis.to_string());
    let values = [
        Some(entity.entity_type.symbol().to_owned()),
        Some(entity.ref_id.to_string()),
        Some(entity.version.to_string()),
        Some(entity.external_id.as_str().to_owned()),
        Some(entity.state.name().to_owned()),
        entity.state_reason.as_ref().map(StateReason::as_str).map(ToOwned::to_owned),
        time(entity.state_valid_from),
        entity.custom_name.as_ref().map(CustomName::as_str).map(ToOwned::to_owned),
        entity.segment.as_ref().map(SegmentCode::as_str).map(ToOwned::to_owned),
        time(entity.segment_valid_from),
        superior_if(EntityType::Account),
        superior_if(EntityType::Subscriber),
    ];
    values.map(|value| value.unwrap_or_else(|| "\u{1e}".into())).join("\u{1f}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::entity::State;
    use crate::domain::values::ExternalId;

    #[test]
    fn a_digest_tells_every_value_from_every_other() {
        let plain = Entity::new(EntityType::Customer, Uuid::from_u128(1), ExternalId::parse("c-1").unwrap());
        let name = |name: &str| Entity { custom_name: Some(CustomName::parse(name).unwrap()), ..plain.clone() };
        let superior = Some(Uuid::from_u128(9));
        let all = [
            Entity { version: 2, ..plain.clone() },
            Entity { state: State::Suspended, ..plain.clone() },
            Entity { state_reason: Some(StateReason::parse("a").unwrap()), ..plain.clone() },
            Entity { state_valid_from: Some(0), ..plain.clone() },
            name("a"),
            name("b"),
            Entity { segment: Some(SegmentCode::parse("a").unwrap()), ..plain.clone() },
            Entity { segment_valid_from: Some(0), ..plain.clone() },
            Entity { entity_type: EntityType::Account, ..plain.clone() },
            Entity { entity_type: EntityType::Account, superior, ..plain.clone() },
            Entity { entity_type: EntityType::Subscriber, superior, ..plain.clone() },
            plain,
        ];
        let digests: std::collections::BTreeSet<_> = all.iter().map(digest).collect();
        assert_eq!(digests.len(), all.len());
    }

    #[test]
    fn a_bucket_is_made_of_the_first_digits_of_the_ref_ids_digest() {
        // The MD5 of the text 00000000-0000-0000-0000-000000000000 begins with 9f89.
        assert_eq!(bucket(Uuid::nil()), 0x9f8);
    }
}
