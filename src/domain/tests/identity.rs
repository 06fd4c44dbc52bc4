//! Names and identities that others rely on: use cases and their schemas, transaction ids, record keys, fingerprints.

use super::super::attribute::Attribute;
use super::super::command::{Command, RawCommand, RawReference};
use super::super::contents::Contents;
use super::super::entity::{Entity, EntityType, State};
use super::super::transaction::{Change, Transaction};
use super::super::use_case::UseCase;
use super::super::values::RequestId;
use super::{NOW, REF_ID, checked, entity, new_value, raw, rules, updates};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde_json::{Value, json};
use std::collections::HashSet;
use uuid::Uuid;

fn transaction(entity: Entity, request_id: &str) -> Transaction {
    Transaction {
        use_case: UseCase::UpdateCustomerCustomName,
        request_id: RequestId::parse(request_id).expect("a request id"),
        correlation_id: None,
        occurred_at: NOW,
        previous_version: 6,
        changes: vec![Change { attribute: Attribute::CustomName, old: None, new: Some("x".into()) }],
        entity,
        actor: None,
    }
}

/// The expected ids are Python's: `uuid.uuid5(uuid.NAMESPACE_URL, "crm:customer:<refId>:<requestId>")`.
#[test]
fn a_transaction_id_follows_from_entity_and_request() {
    let greatest = Uuid::parse_str("FFFFFFFF-FFFF-4FFF-BFFF-FFFFFFFFFFFF").expect("a UUID");
    for (entity_type, ref_id, request_id, expected) in [
        (EntityType::Customer, REF_ID, "r-1", "16916ba3-ee35-5a95-ad4b-231a302a72ec"),
        (EntityType::Account, REF_ID, "r-1", "d2dce406-c5f3-5dd6-9a7d-07777fc77c11"),
        (EntityType::Subscriber, REF_ID, "r-1", "c5ea722a-eda9-5537-ae6b-89eb18855496"),
        (EntityType::Customer, REF_ID, "Žádost 1/€", "a7921174-bb74-57e5-a585-343c3f772260"),
        (EntityType::Customer, greatest, "a:b", "73210326-dae1-5625-a00f-052b3b9ed727"),
    ] {
        let of = Entity { ref_id, ..entity(entity_type) };
        let got = transaction(of, request_id).id().to_string();
        assert_eq!(got, expected, "{entity_type} {ref_id} {request_id:?}");
    }
}

#[test]
fn a_transaction_id_depends_on_nothing_else() {
    let one = transaction(entity(EntityType::Customer), "r-1");
    let other = Transaction {
        use_case: UseCase::UpdateCustomerSegment,
        correlation_id: Some("c".into()),
        occurred_at: NOW + 1,
        previous_version: 99,
        changes: Vec::new(),
        entity: Entity { version: 100, state: State::Suspended, ..one.entity.clone() },
        ..one.clone()
    };
    assert_eq!(one.id(), other.id());
}

#[test]
fn a_transaction_is_keyed_by_type_and_ref_id() {
    for (entity_type, key) in [
        (EntityType::Customer, "customer:3f8e4b1a-0000-4000-8000-000000000001"),
        (EntityType::Account, "account:3f8e4b1a-0000-4000-8000-000000000001"),
        (EntityType::Subscriber, "subscriber:3f8e4b1a-0000-4000-8000-000000000001"),
    ] {
        assert_eq!(entity(entity_type).key(), key);
    }
}

fn command(edit: impl FnOnce(&mut RawCommand)) -> Command {
    let mut command = raw(UseCase::UpdateCustomerCustomName);
    edit(&mut command);
    command.validate(&rules()).unwrap_or_else(|f| panic!("{command:?}: {f:?}"))
}

#[test]
fn a_fingerprint_tells_contents_apart() {
    let of = |use_case: UseCase, value: &str, expected_version| {
        let raw = RawCommand { values: use_case.first_value(Some(value.into())), expected_version, ..raw(use_case) };
        raw.validate(&rules()).unwrap_or_else(|f| panic!("{raw:?}: {f:?}")).contents.fingerprint()
    };
    let state = |reason: Option<&str>| {
        let mut raw = raw(UseCase::UpdateCustomerState);
        raw.values.set(Attribute::StateReason, reason.map(Into::into));
        raw.validate(&rules()).expect("no findings").contents.fingerprint()
    };
    let all = [
        of(UseCase::UpdateCustomerCustomName, "ENTERPRISE", None),
        of(UseCase::UpdateCustomerSegment, "ENTERPRISE", None),
        of(UseCase::UpdateAccountExternalId, "ENTERPRISE", None),
        of(UseCase::UpdateSubscriberExternalId, "ENTERPRISE", None),
        of(UseCase::UpdateCustomerExternalId, "ENTERPRISE", None),
        of(UseCase::UpdateCustomerState, "ACTIVE", None),
        of(UseCase::UpdateCustomerState, "SUSPENDED", None),
        state(Some("paid")),
        state(Some("Paid")),
        of(UseCase::UpdateCustomerCustomName, "ENTERPRISE ", None),
        of(UseCase::UpdateCustomerCustomName, "Enterprise", None),
        of(UseCase::UpdateCustomerCustomName, "7", None),
        of(UseCase::UpdateCustomerCustomName, "ENTERPRISE", Some(0)),
        of(UseCase::UpdateCustomerCustomName, "ENTERPRISE", Some(7)),
    ];
    let different: HashSet<_> = all.iter().collect();
    assert_eq!(different.len(), all.len(), "{all:?}");
}

#[test]
fn a_fingerprint_does_not_depend_on_reference_or_request_id() {
    let plain = command(|_| ());
    let by_ref_id = RawReference { external_id: None, ref_id: Some(REF_ID.to_string()) };
    let others = [
        command(|c| c.reference = Some(by_ref_id)),
        command(|c| c.reference = Some(RawReference { external_id: Some("another".into()), ref_id: None })),
        command(|c| c.request_id = Some("r-2".into())),
    ];
    for other in others {
        assert_eq!(other.contents.fingerprint(), plain.contents.fingerprint(), "{other:?}");
    }
    let rename = |value| checked(UseCase::UpdateAccountExternalId, value, None);
    assert_eq!(rename("e\u{301}"), rename("é"), "the same external id, so the same contents");
}

/// A fingerprint is stored, so it must never change. Python: `uuid.uuid5(uuid.NAMESPACE_OID, "updateCustomerCustomName\n7\nAda")`.
#[test]
fn fingerprints_are_the_same_in_every_version_of_this_program() {
    for (expected_version, fingerprint) in
        [(None, "7958bd3d-3466-5962-b4d6-a3a25d044865"), (Some(7), "f044b51f-ed51-5acc-b441-dbca0a81d77a")]
    {
        let got = command(|c| {
            c.values = c.use_case.first_value(Some("Ada".into()));
            c.expected_version = expected_version;
        })
        .contents
        .fingerprint();
        assert_eq!(got.to_string(), fingerprint, "expectedVersion {expected_version:?}");
    }
}

#[test]
fn each_use_case_has_its_names() {
    let table = [
        (UseCase::CreateCustomer, "createCustomer", "CreateCustomer", EntityType::Customer, "externalId"),
        (UseCase::CreateAccount, "createAccount", "CreateAccount", EntityType::Account, "externalId"),
        (UseCase::CreateSubscriber, "createSubscriber", "CreateSubscriber", EntityType::Subscriber, "externalId"),
        (
            UseCase::UpdateCustomerCustomName,
            "updateCustomerCustomName",
            "UpdateCustomerCustomName",
            EntityType::Customer,
            "customName",
        ),
        (
            UseCase::UpdateCustomerSegment,
            "updateCustomerSegment",
            "UpdateCustomerSegment",
            EntityType::Customer,
            "customerSegment",
        ),
        (
            UseCase::UpdateCustomerExternalId,
            "updateCustomerExternalId",
            "UpdateCustomerExternalId",
            EntityType::Customer,
            "externalId",
        ),
        (UseCase::UpdateCustomerState, "updateCustomerState", "UpdateCustomerState", EntityType::Customer, "state"),
        (
            UseCase::UpdateAccountExternalId,
            "updateAccountExternalId",
            "UpdateAccountExternalId",
            EntityType::Account,
            "externalId",
        ),
        (
            UseCase::UpdateAccountCustomName,
            "updateAccountCustomName",
            "UpdateAccountCustomName",
            EntityType::Account,
            "customName",
        ),
        (UseCase::UpdateAccountState, "updateAccountState", "UpdateAccountState", EntityType::Account, "state"),
        (
            UseCase::UpdateSubscriberExternalId,
            "updateSubscriberExternalId",
            "UpdateSubscriberExternalId",
            EntityType::Subscriber,
            "externalId",
        ),
        (
            UseCase::UpdateSubscriberCustomName,
            "updateSubscriberCustomName",
            "UpdateSubscriberCustomName",
            EntityType::Subscriber,
            "customName",
        ),
        (UseCase::UpdateSubscriberState, "updateSubscriberState", "UpdateSubscriberState", EntityType::Subscriber, "state"),
    ];
    assert_eq!(table.map(|row| row.0), UseCase::ALL, "a row for each, in order");
    for (use_case, name, record, entity_type, value_field) in table {
        let got = (use_case.name(), use_case.record(), use_case.entity_type(), use_case.first_attribute().name());
        assert_eq!(got, (name, record, entity_type, value_field));
        assert_eq!(UseCase::from_name(name), Some(use_case));
    }
    assert_eq!(UseCase::from_name("UpdateCustomerSegment"), None, "the record's name is not the use case's");
}

/// Serde numbers the variants, so that one which the list lacks is found.
#[test]
fn the_list_of_all_use_cases_lacks_none_and_has_their_order() {
    let by_number = |n: usize| -> Result<UseCase, serde::de::value::Error> {
        UseCase::deserialize(u32::try_from(n).expect("there are few").into_deserializer())
    };
    for (n, use_case) in UseCase::ALL.iter().enumerate() {
        assert_eq!(by_number(n).as_ref(), Ok(use_case), "number {n}");
    }
    assert!(by_number(UseCase::ALL.len()).is_err(), "a use case is missing in the list");
}

#[test]
fn a_type_of_entity_has_each_kind_of_change_at_most_once() {
    let different: HashSet<_> = UseCase::ALL.iter().map(|u| (u.entity_type(), u.kind())).collect();
    assert_eq!(different.len(), UseCase::ALL.len());
}

/// The order of the fields is the order of findings. All fields are nullable, because a command that lacks one must get a readable
/// answer.
#[test]
fn each_use_case_has_a_schema_with_its_fields_in_order() {
    for use_case in UseCase::ALL {
        let schema: Value = serde_json::from_str(use_case.schema()).expect("a schema is JSON");
        assert_eq!((&schema["namespace"], &schema["name"]), (&json!("crm.v1"), &json!(use_case.record())));
        let fields = schema["fields"].as_array().expect("a record has fields");
        let names: Vec<_> = fields.iter().map(|f| f["name"].as_str().expect("a field has a name")).collect();
        assert_eq!(names, use_case.fields());
        for field in fields {
            let nullable = (&field["type"][0], &field["default"]);
            assert_eq!(nullable, (&json!("null"), &Value::Null), "{}.{}", use_case.record(), field["name"]);
        }
    }
}

#[test]
fn the_fields_of_a_record_have_their_order() {
    for (use_case, fields) in [
        (UseCase::CreateCustomer, "requestId externalId customName customerSegment state stateReason"),
        (UseCase::CreateAccount, "requestId externalId customer customName state stateReason"),
        (UseCase::CreateSubscriber, "requestId externalId account customName state stateReason"),
        (UseCase::UpdateCustomerSegment, "requestId customer customerSegment expectedVersion"),
        (UseCase::UpdateAccountState, "requestId account state stateReason expectedVersion"),
    ] {
        assert_eq!(use_case.fields().join(" "), fields);
    }
}

#[test]
fn contents_are_rebuilt_from_their_value_as_they_were() {
    for use_case in updates() {
        for expected_version in [None, Some(7)] {
            let checked = checked(*use_case, new_value(*use_case), expected_version);
            assert_eq!(Contents::restore(*use_case, &checked.change().text(), expected_version), Some(checked));
        }
    }
}

#[test]
fn types_and_states_have_their_names() {
    assert_eq!(EntityType::ALL.map(EntityType::name), ["customer", "account", "subscriber"]);
    assert_eq!(State::ALL.map(State::name), ["INACTIVE", "ACTIVE", "SUSPENDED", "DEACTIVATED"]);
    for t in EntityType::ALL {
        assert_eq!(EntityType::from_name(t.name()), Some(t));
        assert_eq!(EntityType::from_name(t.symbol()), None);
        assert_eq!(t.symbol(), t.name().to_uppercase());
    }
    for s in State::ALL {
        assert_eq!(State::from_name(s.name()), Some(s));
        assert_eq!(State::from_name(&s.name().to_lowercase()), None);
    }
}
