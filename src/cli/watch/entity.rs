//! Tells which records are about an entity, for `watch --entity`.

use crate::domain::entity::EntityType;
use serde_json::Value;
use std::str::FromStr;

/// An entity's type, and its external id or refId: `customer:c-1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EntityFilter {
    entity_type: EntityType,
    id: String,
}

impl FromStr for EntityFilter {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let (entity_type, id) = text.split_once(':')?;
            (!id.is_empty()).then_some(Self { entity_type: EntityType::from_name(entity_type)?, id: id.to_owned() })
        };
        read().ok_or("must be TYPE:ID, such as customer:c-1, with the type customer, account or subscriber")
    }
}

impl EntityFilter {
    /// Returns whether a reply, a business transaction, a change row or a command is about the entity. A record that names no entity is
    /// about it if its key names it.
    pub fn matches(&self, key: Option<&[u8]>, value: Option<&Value>) -> bool {
        let name = self.entity_type.name();
        let is_id = |text: &Value| text.as_str() == Some(&self.id);
        if let Some((row, entity_type)) = value.and_then(|value| Some((value, value.get("entityType")?)))
            && row.get("changedFields").is_some()
        {
            return entity_type == self.entity_type.symbol() && (is_id(&row["externalId"]) || is_id(&row["refId"]));
        }
        let named = value.and_then(|value| {
            let transaction = value.get("businessTransaction").unwrap_or(value);
            transaction.get(name).filter(|entity| entity.is_object()).map(|entity| (transaction, entity))
        });
        let Some((transaction, entity)) = named else {
            let other =
                value.is_some_and(|value| EntityType::ALL.iter().any(|t| value.get(t.name()).is_some_and(Value::is_object)));
            return !other && key == Some(self.id.as_bytes());
        };
        let changes = transaction["changes"].as_array();
        let given_up = changes.into_iter().flatten().any(|change| change["field"] == "externalId" && is_id(&change["old"]));
        given_up || is_id(&entity["externalId"]) || is_id(&entity["refId"])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_entity_is_known_by_its_ids_and_by_one_that_it_gives_up() {
        let filter: EntityFilter = "account:a-1".parse().unwrap();
        let renamed = |old: &str, new: &str| {
            json!({"changes": [{"field": "externalId", "old": old, "new": new}],
                "customer": null, "account": {"refId": "r", "externalId": new}, "subscriber": null})
        };
        for (value, key, expected) in [
            (renamed("a-1", "a-2"), "account:r", true),
            (renamed("a-0", "a-1"), "account:r", true),
            (renamed("a-0", "a-2"), "a-1", false),
            (json!({"businessTransaction": renamed("a-1", "a-2")}), "k", true),
            // A refusal names no entity: only its key tells.
            (json!({"businessTransaction": null}), "a-1", true),
            (json!({"businessTransaction": null}), "a-2", false),
            // The same id of another type is another entity's.
            (json!({"customer": {"refId": "r", "externalId": "a-1"}}), "a-1", false),
            // A change row names its entity in its own columns.
            (json!({"entityType": "ACCOUNT", "refId": "r", "externalId": "a-1", "changedFields": ""}), "account:r", true),
            (json!({"entityType": "ACCOUNT", "refId": "r", "externalId": "a-2", "changedFields": ""}), "a-1", false),
            (json!({"entityType": "CUSTOMER", "refId": "r", "externalId": "a-1", "changedFields": ""}), "a-1", false),
            // A command, as a dead letter may hold it.
            (json!({"requestId": "r", "account": {"externalId": "a-1", "refId": null}}), "k", true),
        ] {
            assert_eq!(filter.matches(Some(key.as_bytes()), Some(&value)), expected, "{key}: {value}");
        }
        assert!("account:r".parse::<EntityFilter>().unwrap().matches(None, Some(&renamed("x", "y"))), "by refId");
        assert!(filter.matches(Some(b"a-1"), None) && !filter.matches(None, None), "what can't be decoded");
    }

    #[test]
    fn an_id_may_have_colons_and_a_type_must_be_one() {
        assert_eq!("customer:a:b".parse::<EntityFilter>().unwrap().id, "a:b");
        for wrong in ["c-1", "contract:c-1", "customer:", ""] {
            assert!(wrong.parse::<EntityFilter>().is_err(), "{wrong}");
        }
    }
}
