//! Tests each rejection of the contract's table, with its code, status and field, and the order in which they are checked, on both stores.
//! Those of creations are in `creations::refused`, and bugs in `bugs`.

use crate::crm::{Draft, Entity, Kind, custom_name, name, rename, segment, state, unique};
use crate::inbox::Record;
use crate::world::{Shared, on_both_stores};
use serde_json::{Value as Json, json};

const MANDATORY: &str = "CASM-MANDATORY-ATTRIBUTE";
const INVALID: &str = "CASM-INVALID-ATTRIBUTE";
const SEGMENT: &str = "CASM-SEGMENT-NOT-CONFIGURED";
const REUSED: &str = "CASM-REQUEST-ID-REUSED";
const NOT_FOUND: &str = "CASM-ENTITY-NOT-FOUND";
const DEACTIVATED: &str = "CASM-STATE-DEACTIVATED";
const VERSION: &str = "CASM-VERSION-CONFLICT";
const NOT_UNIQUE: &str = "CASM-EXTERNAL-ID-NOT-UNIQUE";

/// A command and the findings with which it must be answered, or no findings if it is accepted.
type Row = (Draft, Vec<(&'static str, Json)>);

/// Sends all commands and compares code, field, status and the other parts of each rejection.
fn check(shared: &Shared, rows: Vec<Row>) {
    let (drafts, expected): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    for ((draft, expected), reply) in drafts.iter().zip(&expected).zip(shared.ask_all(&drafts)) {
        let got = &reply.body;
        if expected.is_empty() {
            assert_eq!((&got["statusCode"], &got["errors"]), (&json!(200), &json!([])), "{draft:?}: {reply:?}");
            continue;
        }
        let findings: Vec<_> = got["errors"].as_array().expect("an array").iter().map(|e| (&e["code"], &e["field"])).collect();
        let expected: Vec<_> = expected.iter().map(|(code, field)| (json!(code), field)).collect();
        let expected: Vec<_> = expected.iter().map(|(code, field)| (code, *field)).collect();
        assert_eq!(findings, expected, "input: {draft:?}\nreply: {reply:?}");
        assert_eq!(
            (&got["statusCode"], &got["statusMessage"], &got["replayed"], &got["businessTransaction"]),
            (&json!(400), &json!("Request Validation failed"), &json!(false), &Json::Null),
            "input: {draft:?}\nreply: {reply:?}"
        );
        assert_eq!(reply.text("status-code"), Some("400"), "{reply:?}");
        assert!(messages(&reply).all(|message| !message.is_empty()), "{reply:?}");
    }
}

fn messages(reply: &Record) -> impl Iterator<Item = &str> {
    reply.body["errors"].as_array().into_iter().flatten().map(|e| e["message"].as_str().unwrap_or_default())
}

#[test]
fn what_is_missing_empty_or_blank_is_a_mandatory_attribute() {
    for shared in on_both_stores() {
        let entity = shared.customer();
        let (customer, account) = (entity.by_ref_id(), shared.account().by_ref_id());
        let id = || unique("r");
        let mut rows = Vec::new();
        for blank in [Json::Null, json!(""), json!(" "), json!("\t\n"), json!("\u{a0}\u{2003}\u{3000}")] {
            for field in ["requestId", "customName"] {
                let mut draft = custom_name(&id(), &customer, "Ada");
                draft.body[field] = blank.clone();
                rows.push((draft, vec![(MANDATORY, json!(field))]));
            }
            let mut draft = segment(&id(), &customer, "ENTERPRISE");
            draft.body["customerSegment"] = blank.clone();
            rows.push((draft, vec![(MANDATORY, json!("customerSegment"))]));
            let mut draft = rename(Kind::Account, &id(), &account, "a");
            draft.body["externalId"] = blank.clone();
            rows.push((draft, vec![(MANDATORY, json!("externalId"))]));
            for kind in Kind::ALL {
                for (mut draft, field) in [
                    (name(kind, &id(), &customer, "Ada"), "customName"),
                    (state(kind, &id(), &customer, "ACTIVE", Json::Null), "state"),
                    (rename(kind, &id(), &customer, "a"), "externalId"),
                ] {
                    draft.body[field] = blank.clone();
                    rows.push((draft, vec![(MANDATORY, json!(field))]));
                }
            }
            if !blank.is_null() {
                for kind in [Kind::Account, Kind::Subscriber] {
                    let draft = rename(kind, &id(), &json!({"externalId": blank}), &unique("a"));
                    rows.push((draft, vec![(MANDATORY, json!(format!("{}.externalId", kind.name())))]));
                }
                rows.push((
                    custom_name(&id(), &json!({"externalId": blank}), "Ada"),
                    vec![(MANDATORY, json!("customer.externalId"))],
                ));
            }
        }
        rows.push((custom_name(&id(), &Json::Null, "Ada"), vec![(MANDATORY, json!("customer"))]));
        rows.push((segment(&id(), &Json::Null, "ENTERPRISE"), vec![(MANDATORY, json!("customer"))]));
        for kind in Kind::ALL {
            let field = || vec![(MANDATORY, json!(kind.name()))];
            rows.push((name(kind, &id(), &Json::Null, "Ada"), field()));
            rows.push((rename(kind, &id(), &Json::Null, "a"), field()));
            rows.push((state(kind, &id(), &Json::Null, "ACTIVE", Json::Null), field()));
        }
        check(shared, rows);
        assert_eq!(shared.transactions(&entity).len(), 0, "nothing of this took effect");
    }
}

#[test]
fn what_is_too_long_or_malformed_is_an_invalid_attribute() {
    for shared in on_both_stores() {
        let customer = shared.customer();
        let by_ref_id = customer.by_ref_id();
        let id = || unique("r");
        let forbidden = ["a\u{7}b", "a\u{200b}b", "a\u{e000}b", "a\u{2028}b", "a\u{2029}b", " a", "a ", "\u{3000}a", "a\u{a0}"];
        let mut rows: Vec<Row> = Vec::new();
        for text in forbidden.map(str::to_owned).into_iter().chain(["x".repeat(129), "\u{1f600}".repeat(129)]) {
            rows.push((custom_name(&text, &by_ref_id, "Ada"), vec![(INVALID, json!("requestId"))]));
        }
        for text in forbidden.map(str::to_owned).into_iter().chain(["x".repeat(257), "\u{1f600}".repeat(257)]) {
            let reference = json!({"externalId": text});
            rows.push((custom_name(&id(), &reference, "Ada"), vec![(INVALID, json!("customer.externalId"))]));
            let account = shared.account();
            rows.push((rename(Kind::Account, &id(), &account.by_ref_id(), &text), vec![(INVALID, json!("externalId"))]));
        }
        for text in ["a\u{0}b".to_owned(), "\u{85}x".to_owned(), "x".repeat(256), "\u{1f600}".repeat(256)] {
            rows.push((custom_name(&id(), &by_ref_id, &text), vec![(INVALID, json!("customName"))]));
        }
        for text in ["", " ", "no uuid", &customer.ref_id.replace('-', ""), &format!("{{{}}}", customer.ref_id)] {
            let reference = json!({"refId": text});
            rows.push((segment(&id(), &reference, "ENTERPRISE"), vec![(INVALID, json!("customer.refId"))]));
        }
        let both = json!({"externalId": customer.external_id, "refId": customer.ref_id});
        for reference in [both, json!({"externalId": null, "refId": null})] {
            rows.push((custom_name(&id(), &reference, "Ada"), vec![(INVALID, json!("customer"))]));
            rows.push((rename(Kind::Account, &id(), &reference, "a"), vec![(INVALID, json!("account"))]));
            rows.push((rename(Kind::Subscriber, &id(), &reference, "s"), vec![(INVALID, json!("subscriber"))]));
        }
        for kind in Kind::ALL {
            for wrong in ["active", "ACTIVE ", "GONE", "\u{7}"] {
                rows.push((state(kind, &id(), &by_ref_id, wrong, Json::Null), vec![(INVALID, json!("state"))]));
            }
            // A reason that is given must not be blank, either.
            for reason in ["", "\u{3000}", " unpaid", "un\u{7}paid", "un\u{e000}paid", &"x".repeat(129)] {
                rows.push((state(kind, &id(), &by_ref_id, "ACTIVE", reason), vec![(INVALID, json!("stateReason"))]));
            }
            rows.push((name(kind, &id(), &by_ref_id, &"x".repeat(256)), vec![(INVALID, json!("customName"))]));
            rows.push((rename(kind, &id(), &by_ref_id, " a"), vec![(INVALID, json!("externalId"))]));
        }
        rows.push((custom_name(&id(), &by_ref_id, "Ada").expecting(-1), vec![(INVALID, json!("expectedVersion"))]));
        rows.push((custom_name(&id(), &by_ref_id, "Ada").expecting(i64::MIN), vec![(INVALID, json!("expectedVersion"))]));
        check(shared, rows);
        assert_eq!(shared.transactions(&customer).len(), 0, "nothing of this took effect");
    }
}

#[test]
fn the_longest_and_oddest_values_that_are_allowed_are_accepted() {
    for shared in on_both_stores() {
        let (named, account, subscriber) = (shared.customer(), shared.account(), shared.subscriber());
        let long = |prefix: &str, length: usize| format!("{prefix}{}", "\u{1f600}".repeat(length - prefix.chars().count()));
        check(
            shared,
            vec![
                (custom_name(&long(&unique("r"), 128), &named.by_ref_id(), &"\u{1f600}".repeat(255)), vec![]),
                (custom_name(&unique("r"), &named.by_ref_id(), " a\u{200b}b\u{2028}\u{e000} "), vec![]),
                (rename(Kind::Account, &unique("r"), &account.by_ref_id(), &long(&unique("a"), 256)), vec![]),
                (rename(Kind::Subscriber, &unique("r"), &subscriber.by_ref_id(), &unique("in the middle \u{a0} of it")), vec![]),
                (state(Kind::Account, &unique("r"), &account.by_ref_id(), "SUSPENDED", "\u{1f600}".repeat(128)), vec![]),
                (name(Kind::Subscriber, &unique("r"), &subscriber.by_ref_id(), " a\u{200b}b\u{2028}\u{e000} "), vec![]),
                (
                    custom_name(&unique("r"), &json!({"externalId": "x".repeat(256)}), "a"),
                    vec![(NOT_FOUND, json!("customer.externalId"))],
                ),
            ],
        );
    }
}

#[test]
fn a_segment_must_be_one_of_the_configured_codes() {
    for shared in on_both_stores() {
        let customer = shared.customer().by_ref_id();
        let rows = ["GOLD", "residential", "RESIDENTIAL ", "RESIDENTIA\u{301}L"];
        check(
            shared,
            rows.map(|code| (segment(&unique("r"), &customer, code), vec![(SEGMENT, json!("customerSegment"))])).into(),
        );
    }
}

#[test]
fn all_findings_of_a_request_are_reported_in_field_order_and_one_a_field() {
    for shared in on_both_stores() {
        let customer = json!({"externalId": " ", "refId": "no uuid"});
        let rows = vec![
            (
                custom_name(" ", &Json::Null, "").expecting(-1),
                vec![
                    (MANDATORY, json!("requestId")),
                    (MANDATORY, json!("customer")),
                    (MANDATORY, json!("customName")),
                    (INVALID, json!("expectedVersion")),
                ],
            ),
            (
                segment(&"x".repeat(129), &customer, "GOLD").expecting(-1),
                vec![
                    (INVALID, json!("requestId")),
                    (INVALID, json!("customer")),
                    (MANDATORY, json!("customer.externalId")),
                    (INVALID, json!("customer.refId")),
                    (SEGMENT, json!("customerSegment")),
                    (INVALID, json!("expectedVersion")),
                ],
            ),
            (
                state(Kind::Account, "", &json!({}), "GONE", "").expecting(-1),
                vec![
                    (MANDATORY, json!("requestId")),
                    (INVALID, json!("account")),
                    (INVALID, json!("state")),
                    (INVALID, json!("stateReason")),
                    (INVALID, json!("expectedVersion")),
                ],
            ),
            (
                rename(Kind::Subscriber, "a\u{7}", &json!({"externalId": null}), " x").expecting(-1),
                vec![
                    (INVALID, json!("requestId")),
                    (INVALID, json!("subscriber")),
                    (INVALID, json!("externalId")),
                    (INVALID, json!("expectedVersion")),
                ],
            ),
        ];
        check(shared, rows);
    }
}

#[test]
fn a_request_id_with_other_contents_is_refused_whichever_update_had_it() {
    for shared in on_both_stores() {
        let mut rows: Vec<Row> = Vec::new();
        for kind in Kind::ALL {
            let (entity, nobody) = (shared.entity(kind, "ACTIVE"), Entity::new(kind, "ACTIVE"));
            let (reference, new_id, key) = (entity.by_ref_id(), unique("e"), unique("k"));
            let (named, renamed, in_state, unknown) = (unique("r"), unique("r"), unique("r"), unique("r"));
            let not_found = || vec![(NOT_FOUND, json!(format!("{}.externalId", kind.name())))];
            let reused = || vec![(REUSED, json!("requestId"))];
            // One key has one lane, so each command is decided after those before it.
            rows.extend(
                [
                    (name(kind, &named, &reference, "Ada"), vec![]),
                    (name(kind, &named, &reference, "Bob"), reused()),
                    (state(kind, &in_state, &reference, "SUSPENDED", "unpaid"), vec![]),
                    (state(kind, &in_state, &reference, "SUSPENDED", Json::Null), reused()),
                    (rename(kind, &renamed, &reference, &new_id), vec![]),
                    (rename(kind, &renamed, &reference, &entity.external_id), reused()),
                    // Another use case has other contents, even if it asks for what is there.
                    (rename(kind, &named, &reference, &new_id), reused()),
                    (state(kind, &renamed, &reference, "SUSPENDED", "unpaid"), reused()),
                    (name(kind, &in_state, &reference, "Ada"), reused()),
                    (state(kind, &unknown, &nobody.by_external_id(), "ACTIVE", Json::Null), not_found()),
                    (state(kind, &unknown, &nobody.by_external_id(), "ACTIVE", "paid"), reused()),
                ]
                .map(|(draft, findings)| (draft.key(&key), findings)),
            );
        }
        check(shared, rows);
    }
}

#[test]
fn a_reference_that_resolves_to_nothing_is_not_found() {
    for shared in on_both_stores() {
        let (customer, account) = (shared.customer(), shared.account());
        let nobody = Entity::new(Kind::Customer, "ACTIVE");
        check(
            shared,
            vec![
                (custom_name(&unique("r"), &nobody.by_external_id(), "Ada"), vec![(NOT_FOUND, json!("customer.externalId"))]),
                (segment(&unique("r"), &nobody.by_ref_id(), "ENTERPRISE"), vec![(NOT_FOUND, json!("customer.refId"))]),
                (
                    rename(Kind::Account, &unique("r"), &nobody.by_external_id(), &unique("a")),
                    vec![(NOT_FOUND, json!("account.externalId"))],
                ),
                (
                    rename(Kind::Customer, &unique("r"), &nobody.by_external_id(), &unique("c")),
                    vec![(NOT_FOUND, json!("customer.externalId"))],
                ),
                (name(Kind::Account, &unique("r"), &nobody.by_ref_id(), "Ada"), vec![(NOT_FOUND, json!("account.refId"))]),
                (
                    name(Kind::Subscriber, &unique("r"), &nobody.by_external_id(), "Ada"),
                    vec![(NOT_FOUND, json!("subscriber.externalId"))],
                ),
                (
                    state(Kind::Customer, &unique("r"), &nobody.by_external_id(), "ACTIVE", Json::Null),
                    vec![(NOT_FOUND, json!("customer.externalId"))],
                ),
                (
                    state(Kind::Account, &unique("r"), &nobody.by_ref_id(), "ACTIVE", "x"),
                    vec![(NOT_FOUND, json!("account.refId"))],
                ),
                (
                    rename(Kind::Subscriber, &unique("r"), &nobody.by_ref_id(), &unique("s")),
                    vec![(NOT_FOUND, json!("subscriber.refId"))],
                ),
                // An id of an entity of another type, and the same id in another case, name no entity.
                (custom_name(&unique("r"), &account.by_external_id(), "Ada"), vec![(NOT_FOUND, json!("customer.externalId"))]),
                (
                    custom_name(&unique("r"), &json!({"externalId": customer.external_id.to_uppercase()}), "Ada"),
                    vec![(NOT_FOUND, json!("customer.externalId"))],
                ),
            ],
        );
    }
}

#[test]
fn a_deactivated_entity_is_not_changed_by_anything() {
    for shared in on_both_stores() {
        let mut rows = Vec::new();
        for kind in Kind::ALL {
            let gone = shared.entity(kind, "DEACTIVATED");
            let refused = || vec![(DEACTIVATED, json!(kind.name()))];
            rows.push((name(kind, &unique("r"), &gone.by_external_id(), "Ada"), refused()));
            rows.push((rename(kind, &unique("r"), &gone.by_ref_id(), &unique("new")), refused()));
            // The rejection is the same if the entity has the value already.
            rows.push((rename(kind, &unique("r"), &gone.by_external_id(), &gone.external_id), refused()));
            // Nothing leaves this state, and nothing gives it a reason.
            for (to, reason) in [("ACTIVE", Json::Null), ("DEACTIVATED", Json::Null), ("DEACTIVATED", json!("closed"))] {
                rows.push((state(kind, &unique("r"), &gone.by_ref_id(), to, reason), refused()));
            }
        }
        let gone = shared.entity(Kind::Customer, "DEACTIVATED");
        rows.push((segment(&unique("r"), &gone.by_ref_id(), "ENTERPRISE"), vec![(DEACTIVATED, json!("customer"))]));
        check(shared, rows);
    }
}

#[test]
fn an_expected_version_must_be_the_entitys() {
    for shared in on_both_stores() {
        let (customer, account) = (shared.customer().by_ref_id(), shared.account());
        let key = unique("k");
        let conflict = || vec![(VERSION, json!("expectedVersion"))];
        check(
            shared,
            vec![
                (custom_name(&unique("r"), &customer, "Ada").expecting(0).key(&key), conflict()),
                (custom_name(&unique("r"), &customer, "Ada").expecting(2).key(&key), conflict()),
                (custom_name(&unique("r"), &customer, "Ada").expecting(1).key(&key), vec![]),
                (custom_name(&unique("r"), &customer, "Bob").expecting(1).key(&key), conflict()),
                // The version is checked before the value is compared.
                (custom_name(&unique("r"), &customer, "Ada").expecting(1).key(&key), conflict()),
                (custom_name(&unique("r"), &customer, "Ada").expecting(2).key(&key), vec![]),
                (rename(Kind::Account, &unique("r"), &account.by_ref_id(), &unique("a")).expecting(i64::MAX), conflict()),
                (state(Kind::Account, &unique("r"), &account.by_ref_id(), "ACTIVE", Json::Null).expecting(2), conflict()),
                (name(Kind::Account, &unique("r"), &account.by_ref_id(), "Ada").expecting(0), conflict()),
            ],
        );
    }
}

#[test]
fn an_external_id_that_another_entity_of_the_type_holds_is_not_unique_and_the_answer_does_not_say_whose() {
    for shared in on_both_stores() {
        let (account, holder, subscriber) = (shared.account(), shared.account(), shared.subscriber());
        let (customer, other) = (shared.customer(), shared.customer());
        let gone = shared.entity(Kind::Account, "DEACTIVATED");
        let taken = || vec![(NOT_UNIQUE, json!("externalId"))];
        let command = rename(Kind::Account, &unique("r"), &account.by_ref_id(), &holder.external_id);
        let reply = shared.ask(&command);
        assert!(!reply.body.to_string().contains(&holder.ref_id), "{reply:?}");
        check(
            shared,
            vec![
                (rename(Kind::Account, &unique("r"), &account.by_external_id(), &holder.external_id), taken()),
                (rename(Kind::Account, &unique("r"), &account.by_ref_id(), &gone.external_id), taken()),
                (rename(Kind::Customer, &unique("r"), &customer.by_ref_id(), &other.external_id), taken()),
                // External ids are unique per type: a subscriber may have the same id as an account, and a customer, too.
                (rename(Kind::Subscriber, &unique("r"), &subscriber.by_ref_id(), &holder.external_id), vec![]),
                (rename(Kind::Customer, &unique("r"), &customer.by_external_id(), &holder.external_id), vec![]),
            ],
        );
        assert_eq!(shared.transactions(&account).len(), 0, "nothing was renamed");
    }
}

#[test]
fn of_several_rejections_the_first_of_the_table_is_answered() {
    for shared in on_both_stores() {
        let (account, holder) = (shared.account(), shared.account());
        let gone = shared.entity(Kind::Account, "DEACTIVATED");
        let nobody = Entity::new(Kind::Account, "ACTIVE");
        let taken = &holder.external_id;
        check(
            shared,
            vec![
                (
                    rename(Kind::Account, &unique("r"), &nobody.by_ref_id(), " ").expecting(9),
                    vec![(MANDATORY, json!("externalId"))],
                ),
                (
                    rename(Kind::Account, &unique("r"), &nobody.by_ref_id(), taken).expecting(9),
                    vec![(NOT_FOUND, json!("account.refId"))],
                ),
                (
                    rename(Kind::Account, &unique("r"), &gone.by_ref_id(), taken).expecting(9),
                    vec![(DEACTIVATED, json!("account"))],
                ),
                (
                    rename(Kind::Account, &unique("r"), &account.by_ref_id(), taken).expecting(9),
                    vec![(VERSION, json!("expectedVersion"))],
                ),
                (
                    rename(Kind::Account, &unique("r"), &account.by_ref_id(), taken).expecting(1),
                    vec![(NOT_UNIQUE, json!("externalId"))],
                ),
            ],
        );
    }
}

#[test]
fn no_message_repeats_what_the_command_brought() {
    const SECRET: &str = "Lovelace";
    for shared in on_both_stores() {
        let customer = shared.customer().by_ref_id();
        let drafts = [
            custom_name(&unique("r"), &customer, &format!("{SECRET}\u{7}")),
            custom_name(&format!("{SECRET}\u{7}"), &customer, "Ada"),
            custom_name(&unique("r"), &json!({"externalId": SECRET}), "Ada"),
            custom_name(&unique("r"), &json!({"refId": SECRET}), "Ada"),
            segment(&unique("r"), &customer, SECRET),
            state(Kind::Customer, &unique("r"), &customer, SECRET, Json::Null),
            state(Kind::Customer, &unique("r"), &customer, "ACTIVE", format!("{SECRET} ")),
        ];
        for (draft, reply) in drafts.iter().zip(shared.ask_all(&drafts)) {
            assert_eq!(reply.body["statusCode"], 400, "{draft:?}: {reply:?}");
            assert!(messages(&reply).all(|message| !message.contains(SECRET)), "{draft:?}: {reply:?}");
        }
    }
}
