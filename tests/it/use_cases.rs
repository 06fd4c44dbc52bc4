//! Tests the exact replies and business transactions of each use case that changes an entity, on both stores. Creations are in `creations`.

use crate::crm::{Draft, Entity, Kind, custom_name, name, rename, segment, state, unique};
use crate::world::on_both_stores;
use crm_processor::domain::use_case::UseCase;
use serde_json::{Value as Json, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

/// A use case with the entity afterwards. `@TIME@` stands for the time of the decision.
struct Case {
    name: &'static str,
    entity: Entity,
    command: Draft,
    changes: Json,
    after: Json,
}

#[test]
fn each_use_case_answers_and_publishes_the_entity_as_it_is_afterwards() {
    for shared in on_both_stores() {
        for case in cases(|kind| shared.entity(kind, "ACTIVE")) {
            let (entity, request, correlation) = (&case.entity, case.command.request(), unique("c"));
            let reply = shared.ask(&case.command.clone().header("correlation-id", &correlation));
            let transaction = shared.transaction(entity, request);

            let occurred_at = transaction.body["occurredAt"].clone();
            let name = format!("crm:{}:{}:{request}", entity.kind.name(), entity.ref_id);
            let transaction_id = Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()).to_string();
            let mut after = case.after.clone();
            for value in after.as_object_mut().expect("an entity").values_mut().filter(|v| *v == "@TIME@") {
                *value = occurred_at.clone();
            }
            let only = |kind: Kind| if entity.kind == kind { after.clone() } else { Json::Null };
            let expected = json!({
                "transactionId": transaction_id, "useCase": case.name, "requestId": request, "correlationId": correlation,
                "occurredAt": occurred_at, "entityType": entity.kind.name().to_uppercase(), "refId": entity.ref_id,
                "version": 2, "previousVersion": 1, "changes": case.changes,
                "customer": only(Kind::Customer), "account": only(Kind::Account), "subscriber": only(Kind::Subscriber),
                "actor": null,
            });
            let mut published = transaction.body.clone();
            let record = published.as_object_mut().expect("a record").remove("record");
            assert_eq!(record, Some("crm.v1.BusinessTransaction".into()), "{transaction:?}");
            assert_eq!(published, expected, "the business transaction of {:?}", case.command);

            let expected = json!({
                "record": "crm.v1.Reply", "correlationId": correlation, "requestId": request, "statusCode": 200,
                "statusMessage": "OK", "errors": [], "replayed": false, "businessTransaction": expected,
                "processedAt": reply.body["processedAt"],
            });
            assert_eq!(reply.body, expected, "the reply to {:?}", case.command);
            assert!(reply.body["processedAt"].is_i64(), "{reply:?}");

            assert_eq!(reply.topic, shared.replies);
            assert_eq!(reply.key, case.command.key, "the reply's key is the command's");
            assert_eq!(transaction.key_text(), Some(&*entity.subject()));
            let time = transaction.text("ce_time").expect("a business transaction has ce_time");
            let time = OffsetDateTime::parse(time, &Rfc3339).unwrap_or_else(|e| panic!("ce_time {time}: {e}"));
            assert_eq!(json!(time.unix_timestamp_nanos() / 1_000_000), occurred_at, "ce_time is occurredAt");
            let mut headers: Vec<_> = transaction.headers.iter().map(|(name, _)| name.as_str()).collect();
            headers.sort_unstable();
            let expected = ["ce_id", "ce_source", "ce_specversion", "ce_subject", "ce_time", "ce_type", "content-type"];
            assert_eq!(headers, [&expected[..], &["correlation-id", "request-id"]].concat(), "{transaction:?}");
            for (header, expected) in [
                ("ce_specversion", "1.0"),
                ("ce_id", &transaction_id),
                ("ce_type", &format!("crm.v1.{}", case.name)),
                ("ce_source", "/crm-processor"),
                ("ce_subject", &entity.subject()),
                ("content-type", "application/avro"),
                ("correlation-id", &correlation),
                ("request-id", request),
            ] {
                assert_eq!(transaction.text(header), Some(expected), "{header} of {transaction:?}");
            }
        }
    }
}

/// Returns a case for each use case, each about an entity of its own that `make` makes.
fn cases(make: impl Fn(Kind) -> Entity) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut case = |name, entity: Entity, command, changes, after: Json| {
        // What an entity has of its own, and what it does not have.
        let mut image = json!({
            "refId": entity.ref_id, "externalId": entity.external_id, "state": "ACTIVE", "customName": null,
            "stateReason": null, "stateValidFrom": null,
        });
        let own: &[&str] = match entity.kind {
            Kind::Customer => &["customerSegment", "segmentValidFrom"],
            Kind::Account => &["customerRefId"],
            Kind::Subscriber => &["accountRefId"],
        };
        for field in own {
            image[field] = Json::Null;
        }
        for (field, value) in after.as_object().expect("fields") {
            image[field] = value.clone();
        }
        cases.push(Case { name, entity, command, changes, after: image });
    };
    for (kind, [named, renamed, in_state]) in [
        (Kind::Customer, ["updateCustomerCustomName", "updateCustomerExternalId", "updateCustomerState"]),
        (Kind::Account, ["updateAccountCustomName", "updateAccountExternalId", "updateAccountState"]),
        (Kind::Subscriber, ["updateSubscriberCustomName", "updateSubscriberExternalId", "updateSubscriberState"]),
    ] {
        let entity = make(kind);
        let command = name(kind, &unique("r"), &entity.by_external_id(), "Ada");
        let changes = json!([{"field": "customName", "old": null, "new": "Ada"}]);
        case(named, entity, command, changes, json!({"customName": "Ada"}));

        let (entity, id) = (make(kind), unique("new"));
        let command = rename(kind, &unique("r"), &entity.by_ref_id(), &id);
        let changes = json!([{"field": "externalId", "old": entity.external_id, "new": id}]);
        case(renamed, entity, command, changes, json!({"externalId": id}));

        let entity = make(kind);
        let command = state(kind, &unique("r"), &entity.by_external_id(), "SUSPENDED", "unpaid");
        let changes = json!([
            {"field": "state", "old": "ACTIVE", "new": "SUSPENDED"},
            {"field": "stateReason", "old": null, "new": "unpaid"},
        ]);
        let after = json!({"state": "SUSPENDED", "stateReason": "unpaid", "stateValidFrom": "@TIME@"});
        case(in_state, entity, command, changes, after);
    }
    let entity = make(Kind::Customer);
    let command = segment(&unique("r"), &entity.by_ref_id(), "ENTERPRISE");
    let changes = json!([{"field": "customerSegment", "old": null, "new": "ENTERPRISE"}]);
    case(
        "updateCustomerSegment",
        entity,
        command,
        changes,
        json!({"customerSegment": "ENTERPRISE", "segmentValidFrom": "@TIME@"}),
    );
    let untried = UseCase::ALL.iter().filter(|u| !u.is_creation() && cases.iter().all(|case| case.name != u.name()));
    assert_eq!(untried.collect::<Vec<_>>(), [&UseCase::CreateCustomer; 0], "use cases without a case");
    cases
}

#[test]
fn a_value_that_is_so_already_is_answered_without_a_business_transaction_or_a_version() {
    for shared in on_both_stores() {
        for kind in Kind::ALL {
            let (untouched, changed) = (shared.entity(kind, "ACTIVE"), shared.entity(kind, "ACTIVE"));
            let changes = values(&changed, &changed.by_ref_id());
            for (draft, reply) in changes.iter().zip(shared.ask_all(&changes)) {
                assert_eq!(reply.body["statusCode"], 200, "{draft:?}: {reply:?}");
            }
            let version = 1 + changes.len();
            let mut no_ops = vec![
                (&untouched, 1, rename(kind, &unique("r"), &untouched.by_ref_id(), &untouched.external_id)),
                (&untouched, 1, state(kind, &unique("r"), &untouched.by_ref_id(), "ACTIVE", Json::Null)),
                (&changed, version, rename(kind, &unique("r"), &changed.by_ref_id(), &changed.external_id)),
            ];
            no_ops.extend(values(&changed, &changed.by_external_id()).into_iter().map(|draft| (&changed, version, draft)));
            let drafts: Vec<_> = no_ops.iter().map(|(.., draft)| draft.clone()).collect();
            for ((entity, version, command), reply) in no_ops.iter().zip(shared.ask_all(&drafts)) {
                let got = &reply.body;
                assert_eq!((&got["statusCode"], &got["replayed"]), (&json!(200), &json!(false)), "{command:?}: {reply:?}");
                let shown = &got["businessTransaction"];
                assert_eq!(
                    (&shown["version"], &shown["previousVersion"], &shown["changes"]),
                    (&json!(version), &json!(version), &json!([])),
                    "{command:?}: {reply:?}"
                );
                assert_eq!(shown[kind.name()]["externalId"], entity.external_id.as_str(), "shows the entity: {reply:?}");
            }
            assert_eq!(shared.transactions(&untouched).len(), 0, "of no change: {untouched:?}");
            assert_eq!(shared.transactions(&changed).len(), changes.len(), "of each change: {changed:?}");
        }
    }
}

/// Returns commands that ask for a name, a state and, for a customer, a segment: always the same ones.
fn values(entity: &Entity, reference: &Json) -> Vec<Draft> {
    let mut commands = vec![
        name(entity.kind, &unique("r"), reference, "Ada"),
        state(entity.kind, &unique("r"), reference, "SUSPENDED", "unpaid"),
    ];
    if entity.kind == Kind::Customer {
        commands.push(segment(&unique("r"), reference, "RESIDENTIAL"));
    }
    commands
}

#[test]
fn inactive_and_suspended_entities_can_be_changed() {
    for shared in on_both_stores() {
        for state in ["INACTIVE", "SUSPENDED"] {
            let customer = shared.entity(Kind::Customer, state);
            let reply = shared.ask(&custom_name(&unique("r"), &customer.by_external_id(), "Ada"));
            let got = (&reply.body["statusCode"], &reply.body["businessTransaction"]["customer"]["state"]);
            assert_eq!(got, (&json!(200), &json!(state)), "{reply:?}");
        }
    }
}

#[test]
fn names_are_kept_as_sent_and_external_ids_as_nfc() {
    const DECOMPOSED: &str = " Zoe\u{308} ";
    const COMPOSED: &str = "Zo\u{eb}";
    for shared in on_both_stores() {
        let (customer, account, other) = (shared.customer(), shared.account(), shared.account());
        let reply = shared.ask(&custom_name(&unique("r"), &customer.by_ref_id(), DECOMPOSED));
        assert_eq!(reply.body["businessTransaction"]["customer"]["customName"], DECOMPOSED, "{reply:?}");

        let suffix = unique("");
        let reply = shared.ask(&rename(Kind::Account, &unique("r"), &account.by_ref_id(), &format!("Zoe\u{308}{suffix}")));
        let composed = format!("{COMPOSED}{suffix}");
        assert_eq!(reply.body["businessTransaction"]["account"]["externalId"], composed, "{reply:?}");
        let taken = shared.ask(&rename(Kind::Account, &unique("r"), &other.by_ref_id(), &composed));
        assert_eq!(taken.body["errors"][0]["code"], "CASM-EXTERNAL-ID-NOT-UNIQUE", "{taken:?}");
        let reference = json!({"externalId": format!("Zoe\u{308}{suffix}")});
        let found = shared.ask(&rename(Kind::Account, &unique("r"), &reference, &unique("a")));
        assert_eq!(found.body["statusCode"], 200, "the reference is normalised, too: {found:?}");
    }
}

#[test]
fn a_ref_id_is_read_in_any_case_and_written_in_lower_case() {
    for shared in on_both_stores() {
        let customer = shared.customer();
        let reference = json!({"refId": customer.ref_id.to_uppercase()});
        let reply = shared.ask(&custom_name(&unique("r"), &reference, "Ada"));
        assert_eq!(reply.body["statusCode"], 200, "{reply:?}");
        assert_eq!(reply.body["businessTransaction"]["refId"], customer.ref_id.as_str(), "{reply:?}");
    }
}

#[test]
fn an_old_external_id_no_longer_resolves_and_is_free_at_once() {
    for shared in on_both_stores() {
        let (first, second) = (shared.account(), shared.account());
        let key = unique("k");
        let replies = shared.ask_all(&[
            rename(Kind::Account, &unique("r"), &first.by_external_id(), &unique("a")).key(&key),
            rename(Kind::Account, &unique("r"), &first.by_external_id(), &unique("a")).key(&key),
            rename(Kind::Account, &unique("r"), &second.by_external_id(), &first.external_id).key(&key),
            rename(Kind::Account, &unique("r"), &first.by_external_id(), &unique("a")).key(&key),
        ]);
        let got: Vec<_> = replies.iter().map(|r| (&r.body["statusCode"], &r.body["businessTransaction"]["refId"])).collect();
        let (ok, refused) = (json!(200), json!(400));
        let (first_ref, second_ref) = (json!(first.ref_id), json!(second.ref_id));
        assert_eq!(got, [(&ok, &first_ref), (&refused, &Json::Null), (&ok, &second_ref), (&ok, &second_ref)], "{replies:#?}");
        assert_eq!(replies[1].body["errors"][0]["code"], "CASM-ENTITY-NOT-FOUND");
    }
}
