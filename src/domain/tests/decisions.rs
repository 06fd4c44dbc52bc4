//! Business validation and business logic, as far as one entity can tell: state, then version, then the value.

use super::super::answer::Answer;
use super::super::attribute::Attribute;
use super::super::change::ChangeKind;
use super::super::command::RawCommand;
use super::super::contents::Contents;
use super::super::decision;
use super::super::entity::{Entity, EntityType, State};
use super::super::rejection::Rejection;
use super::super::request::{Request, SourceRecord};
use super::super::transaction::{Change, Transaction};
use super::super::use_case::UseCase;
use super::super::values::{Actor, RequestId, StateReason};
use super::{NOW, checked, custom_name, entity, external_id, new_value, old_value, raw, rules, segment, updates};

/// An answer without what its transaction repeats of the request.
#[derive(Debug, PartialEq)]
enum Decision {
    Change { after: Entity, change: Change },
    Unchanged,
    Rejected(Rejection),
}

fn decide(entity: &Entity, contents: &Contents, now: i64) -> Decision {
    let request = request(contents);
    let check = |transaction: &Transaction| {
        let Transaction { use_case, request_id, correlation_id, occurred_at, previous_version, actor, .. } = transaction;
        assert_eq!(*actor, request.actor);
        assert_eq!((*use_case, request_id, correlation_id.as_deref()), (contents.use_case(), &request.id, Some("c-1")));
        assert_eq!((*occurred_at, *previous_version), (now, entity.version));
    };
    match decision::decide(entity, &request, now) {
        Answer::Changed(transaction) => {
            check(&transaction);
            let [change] = &transaction.changes[..] else { panic!("one change was expected: {transaction:?}") };
            Decision::Change { after: transaction.entity.clone(), change: change.clone() }
        }
        Answer::Unchanged(transaction) => {
            check(&transaction);
            assert_eq!((&transaction.entity, transaction.changes.len()), (entity, 0));
            Decision::Unchanged
        }
        Answer::Rejected(rejection) => Decision::Rejected(rejection),
    }
}

fn request(contents: &Contents) -> Request {
    let record = SourceRecord { topic: "crm.commands".into(), partition: 3, offset: 9 };
    let id = RequestId::parse("r-1").expect("a request id");
    Request {
        id,
        contents: contents.clone(),
        correlation_id: Some("c-1".into()),
        actor: Some(Actor::checked_before("Zoë")),
        record,
    }
}

fn target(use_case: UseCase) -> Entity {
    entity(use_case.entity_type())
}

fn deactivated(use_case: UseCase) -> Decision {
    Decision::Rejected(Rejection::Deactivated { field: use_case.entity_type().name().into() })
}

fn conflict(expected: i64) -> Decision {
    Decision::Rejected(Rejection::VersionConflict { expected, actual: 7 })
}

/// Returns [`entity`] after its suspension.
fn suspended(entity_type: EntityType) -> Entity {
    Entity { version: 8, state: State::Suspended, state_valid_from: Some(NOW), ..entity(entity_type) }
}

#[test]
fn a_change_is_the_new_value_one_version_up_and_nothing_else() {
    let table = [
        (
            UseCase::UpdateCustomerCustomName,
            "customName",
            "Old name",
            "New name",
            Entity { version: 8, custom_name: Some(custom_name("New name")), ..entity(EntityType::Customer) },
        ),
        (
            UseCase::UpdateCustomerSegment,
            "customerSegment",
            "RESIDENTIAL",
            "ENTERPRISE",
            Entity {
                version: 8,
                segment: Some(segment("ENTERPRISE")),
                segment_valid_from: Some(NOW),
                ..entity(EntityType::Customer)
            },
        ),
        (
            UseCase::UpdateCustomerExternalId,
            "externalId",
            "old-id",
            "new-id",
            Entity { version: 8, external_id: external_id("new-id"), ..entity(EntityType::Customer) },
        ),
        (UseCase::UpdateCustomerState, "state", "ACTIVE", "SUSPENDED", suspended(EntityType::Customer)),
        (
            UseCase::UpdateAccountExternalId,
            "externalId",
            "old-id",
            "new-id",
            Entity { version: 8, external_id: external_id("new-id"), ..entity(EntityType::Account) },
        ),
        (
            UseCase::UpdateAccountCustomName,
            "customName",
            "Old name",
            "New name",
            Entity { version: 8, custom_name: Some(custom_name("New name")), ..entity(EntityType::Account) },
        ),
        (UseCase::UpdateAccountState, "state", "ACTIVE", "SUSPENDED", suspended(EntityType::Account)),
        (
            UseCase::UpdateSubscriberExternalId,
            "externalId",
            "old-id",
            "new-id",
            Entity { version: 8, external_id: external_id("new-id"), ..entity(EntityType::Subscriber) },
        ),
        (
            UseCase::UpdateSubscriberCustomName,
            "customName",
            "Old name",
            "New name",
            Entity { version: 8, custom_name: Some(custom_name("New name")), ..entity(EntityType::Subscriber) },
        ),
        (UseCase::UpdateSubscriberState, "state", "ACTIVE", "SUSPENDED", suspended(EntityType::Subscriber)),
    ];
    assert!(table.iter().map(|row| &row.0).eq(updates()), "a row for each, in order");
    for (use_case, field, old, new, after) in table {
        let attribute = use_case.first_attribute();
        assert_eq!(attribute.name(), field);
        let change = Change { attribute, old: Some(old.into()), new: Some(new.into()) };
        let got = decide(&target(use_case), &checked(use_case, new, None), NOW);
        assert_eq!(got, Decision::Change { after, change }, "{}", use_case.name());
    }
}

#[test]
fn a_first_value_replaces_none() {
    let bare = Entity { custom_name: None, segment: None, segment_valid_from: None, ..entity(EntityType::Customer) };
    for use_case in [UseCase::UpdateCustomerCustomName, UseCase::UpdateCustomerSegment] {
        let got = decide(&bare, &checked(use_case, new_value(use_case), None), NOW);
        let Decision::Change { change, .. } = got else { panic!("{}: {got:?}", use_case.name()) };
        assert_eq!((change.old, change.new.as_deref()), (None, Some(new_value(use_case))), "{}", use_case.name());
    }
}

#[test]
fn only_a_deactivated_entity_refuses() {
    for use_case in updates() {
        for (state, refuses) in
            [(State::Inactive, false), (State::Active, false), (State::Suspended, false), (State::Deactivated, true)]
        {
            let target = Entity { state, ..target(*use_case) };
            let got = decide(&target, &checked(*use_case, new_value(*use_case), None), NOW);
            if refuses {
                assert_eq!(got, deactivated(*use_case), "{} on {state:?}", use_case.name());
            } else if use_case.kind() == ChangeKind::SetState {
                let is_so = state == State::Suspended;
                assert_eq!(matches!(got, Decision::Unchanged), is_so, "{} on {state:?}: {got:?}", use_case.name());
            } else {
                let Decision::Change { after, .. } = got else { panic!("{} on {state:?}: {got:?}", use_case.name()) };
                assert_eq!(after.state, state, "the state stays");
            }
        }
    }
}

#[test]
fn an_expected_version_must_be_the_version() {
    for use_case in updates() {
        for (expected, accepted) in
            [(None, true), (Some(7), true), (Some(0), false), (Some(6), false), (Some(8), false), (Some(i64::MAX), false)]
        {
            let got = decide(&target(*use_case), &checked(*use_case, new_value(*use_case), expected), NOW);
            let conflicts = expected.is_some_and(|e| got == conflict(e));
            assert_eq!(
                (matches!(got, Decision::Change { .. }), conflicts),
                (accepted, !accepted),
                "{}: {expected:?}: {got:?}",
                use_case.name()
            );
        }
    }
}

#[test]
fn a_value_that_is_already_so_changes_nothing() {
    for use_case in updates() {
        for expected in [None, Some(7)] {
            let got = decide(&target(*use_case), &checked(*use_case, old_value(*use_case), expected), NOW);
            assert_eq!(got, Decision::Unchanged, "{}", use_case.name());
        }
    }
}

#[test]
fn the_first_reason_in_the_order_of_the_table_is_answered() {
    for use_case in updates() {
        let (old, new) = (old_value(*use_case), new_value(*use_case));
        for (state, expected, value, answer) in [
            (State::Deactivated, Some(3), old, deactivated(*use_case)),
            (State::Deactivated, Some(3), new, deactivated(*use_case)),
            (State::Deactivated, Some(7), old, deactivated(*use_case)),
            (State::Deactivated, None, old, deactivated(*use_case)),
            (State::Active, Some(3), old, conflict(3)),
            (State::Active, Some(3), new, conflict(3)),
            (State::Active, Some(7), old, Decision::Unchanged),
            (State::Active, None, old, Decision::Unchanged),
        ] {
            let target = Entity { state, ..target(*use_case) };
            let got = decide(&target, &checked(*use_case, value, expected), NOW);
            assert_eq!(got, answer, "{} to {value:?}: {state:?}, expectedVersion {expected:?}", use_case.name());
        }
    }
}

#[test]
fn values_are_compared_exactly() {
    let accented = Entity { custom_name: Some(custom_name("é")), ..entity(EntityType::Customer) };
    for (name, is_changed) in [("é", false), ("e\u{301}", true), ("É", true), ("é ", true)] {
        let got = decide(&accented, &checked(UseCase::UpdateCustomerCustomName, name, None), NOW);
        assert_eq!(matches!(got, Decision::Change { .. }), is_changed, "custom name {name:?}: {got:?}");
    }
    let accented = Entity { external_id: external_id("é"), ..entity(EntityType::Account) };
    for (id, is_changed) in [("é", false), ("e\u{301}", false), ("É", true)] {
        let got = decide(&accented, &checked(UseCase::UpdateAccountExternalId, id, None), NOW);
        assert_eq!(matches!(got, Decision::Change { .. }), is_changed, "external id {id:?}: {got:?}");
    }
    let lower = Entity { segment: Some(segment("Enterprise")), ..entity(EntityType::Customer) };
    for (code, is_changed) in [("Enterprise", false), ("ENTERPRISE", true)] {
        let got = decide(&lower, &checked(UseCase::UpdateCustomerSegment, code, None), NOW);
        assert_eq!(matches!(got, Decision::Change { .. }), is_changed, "segment {code:?}: {got:?}");
    }
}

#[test]
fn a_segment_is_valid_from_the_moment_of_its_change() {
    let before = entity(EntityType::Customer);
    let to = |entity: &Entity, code| decide(entity, &checked(UseCase::UpdateCustomerSegment, code, None), NOW);
    let Decision::Change { after, .. } = to(&before, "ENTERPRISE") else { panic!("a change was expected") };
    assert_eq!((before.segment_valid_from, after.segment_valid_from), (Some(1_000), Some(NOW)));
    assert_eq!(to(&before, "RESIDENTIAL"), Decision::Unchanged, "the same segment again keeps its date");
    let imported = Entity { segment_valid_from: None, ..before };
    assert_eq!(to(&imported, "RESIDENTIAL"), Decision::Unchanged, "an import without a date does, too");
    let renamed = checked(UseCase::UpdateCustomerCustomName, "New name", None);
    let Decision::Change { after, .. } = decide(&after, &renamed, NOW + 5) else { panic!("a change was expected") };
    assert_eq!(after.segment_valid_from, Some(NOW), "another attribute leaves it alone");
}

#[test]
fn a_state_goes_with_its_reason_and_has_a_date_of_its_own() {
    type Values<'a> = (State, Option<&'a str>);
    type Expected<'a> = Option<(&'a [Attribute], Option<i64>)>;
    let valid_from = Some(500);
    for use_case in [UseCase::UpdateCustomerState, UseCase::UpdateAccountState, UseCase::UpdateSubscriberState] {
        let table: &[(Values<'_>, Values<'_>, Expected<'_>)] = &[
            ((State::Active, None), (State::Active, None), None),
            ((State::Active, Some("a")), (State::Active, Some("a")), None),
            ((State::Active, None), (State::Suspended, None), Some((&[Attribute::State], Some(NOW)))),
            ((State::Active, Some("a")), (State::Suspended, Some("a")), Some((&[Attribute::State], Some(NOW)))),
            ((State::Active, None), (State::Active, Some("a")), Some((&[Attribute::StateReason], valid_from))),
            ((State::Active, Some("a")), (State::Active, Some("b")), Some((&[Attribute::StateReason], valid_from))),
            ((State::Active, Some("a")), (State::Active, None), Some((&[Attribute::StateReason], valid_from))),
            (
                (State::Suspended, Some("a")),
                (State::Inactive, Some("b")),
                Some((&[Attribute::State, Attribute::StateReason], Some(NOW))),
            ),
            (
                (State::Inactive, Some("a")),
                (State::Deactivated, None),
                Some((&[Attribute::State, Attribute::StateReason], Some(NOW))),
            ),
        ];
        for ((state, reason), (new_state, new_reason), expected) in table {
            let reason_of = |text: Option<&str>| text.map(|text| StateReason::parse(text).expect("a reason"));
            let before =
                Entity { state: *state, state_reason: reason_of(*reason), state_valid_from: valid_from, ..target(use_case) };
            let values =
                use_case.first_value(Some(new_state.name().into())).with(Attribute::StateReason, new_reason.map(Into::into));
            let contents = RawCommand { values, ..raw(use_case) }.validate(&rules()).expect("no findings").contents;
            let case = format!("{}: {state:?} {reason:?} to {new_state:?} {new_reason:?}", use_case.name());
            match (decision::decide(&before, &request(&contents), NOW), expected) {
                (Answer::Unchanged(_), None) => {}
                (Answer::Changed(transaction), Some((changed, date))) => {
                    let names: Vec<_> = transaction.changes.iter().map(|change| change.attribute).collect();
                    assert_eq!(names, *changed, "{case}");
                    for Change { attribute, old, new } in &transaction.changes {
                        let values = (old.as_deref(), new.as_deref());
                        assert_eq!(
                            values,
                            (attribute.of(&before).as_deref(), attribute.of(&transaction.entity).as_deref()),
                            "{case}"
                        );
                    }
                    let after = Entity {
                        version: before.version + 1,
                        state: *new_state,
                        state_reason: reason_of(*new_reason),
                        state_valid_from: *date,
                        ..before.clone()
                    };
                    assert_eq!(transaction.entity, after, "{case}");
                }
                (got, _) => panic!("{case}: {got:?}"),
            }
        }
    }
}

#[test]
fn only_a_rename_wants_an_external_id() {
    for (use_case, wanted) in [
        (UseCase::UpdateCustomerCustomName, None),
        (UseCase::UpdateCustomerSegment, None),
        (UseCase::UpdateCustomerExternalId, Some(external_id("new-id"))),
        (UseCase::UpdateCustomerState, None),
        (UseCase::UpdateAccountExternalId, Some(external_id("new-id"))),
        (UseCase::UpdateSubscriberExternalId, Some(external_id("new-id"))),
    ] {
        assert_eq!(checked(use_case, new_value(use_case), None).change().wanted(), wanted.as_ref(), "{}", use_case.name());
    }
}
