//! Tests creations on both stores: what comes into being, what each command that is refused is told (`refused`), and what stays as it was
//! decided whatever happens later.

mod refused;

use crate::crm::{Draft, Entity, Kind, create, name, rename, state, unique};
use crate::world::{World, embedded};
use refused::Imported;
use serde_json::{Value as Json, json};
use uuid::Uuid;

#[test]
fn entities_come_into_being_on_the_database() {
    let Some(world) = World::set_up("creations", |_| {}) else { return };
    all(&world);
}

#[test]
fn entities_come_into_being_on_the_embedded_store() {
    let Some(world) = World::set_up("creations-embedded", embedded) else { return };
    all(&world);
}

fn all(world: &World) {
    let imported = Imported::new();
    world.import(&imported.entities());
    let processor = world.run();
    let [customer, account, _] = come_into_being(world);
    refused::by_their_fields(world, &customer, &account);
    refused::by_what_is_there(world, &imported);
    stay_as_they_were_decided(world, &customer);
    count_with_other_requests(world, &customer);
    let lived = live_on(world);
    processor.signal("TERM");
    assert_eq!(processor.wait(), 0, "{}", processor.log_tail());
    // The embedded store lets in one process at a time, so this comes last.
    is_shown(world, &lived);
}

/// Creates two entities of each type, the second one below the first one of the type above. One gives nothing but what is mandatory, the
/// other everything. Returns the first one of each type.
fn come_into_being(world: &World) -> [Entity; 3] {
    let mut made: Vec<Entity> = Vec::new();
    for kind in Kind::ALL {
        let superior = made.last().cloned();
        let refer = |how: fn(&Entity) -> Json| superior.as_ref().map_or(Json::Null, how);
        let bare = create(kind, &unique("r"), &unique("e"), &refer(Entity::by_external_id));
        let mut full = create(kind, &unique("r"), &unique("e"), &refer(Entity::by_ref_id)).header("crm-actor", "Zo\u{eb}");
        for (field, value) in [("customName", " Ann "), ("state", "INACTIVE"), ("stateReason", "not connected yet")] {
            full.body[field] = json!(value);
        }
        if kind == Kind::Customer {
            full.body["customerSegment"] = json!("ENTERPRISE");
        }
        for command in [&bare, &full] {
            comes_into_being(world, command, superior.as_ref());
        }
        made.push(Entity::created_by(&bare));
    }
    made.try_into().expect("three")
}

/// Checks the exact reply to a creation, and its business transaction.
fn comes_into_being(world: &World, command: &Draft, superior: Option<&Entity>) {
    let (entity, request, correlation) = (Entity::created_by(command), command.request(), unique("c"));
    let (kind, given) = (entity.kind, |field: &str| command.body.get(field).cloned().unwrap_or(Json::Null));
    let reply = world.ask(&command.clone().header("correlation-id", &correlation));
    let published = world.transaction(&entity, request);

    let at = published.body["occurredAt"].clone();
    let mut image = json!({
        "refId": entity.ref_id, "externalId": entity.external_id, "state": command.body.get("state").unwrap_or(&json!("ACTIVE")),
        "customName": given("customName"), "stateReason": given("stateReason"), "stateValidFrom": at,
    });
    let mut changes: Vec<_> = ["externalId", "customName", "customerSegment", "state", "stateReason"]
        .iter()
        .filter(|field| !given(field).is_null())
        .map(|field| json!({"field": field, "old": null, "new": given(field)}))
        .collect();
    if let Some(superior) = superior {
        let field = format!("{}RefId", superior.kind.name());
        changes.push(json!({"field": field, "old": null, "new": superior.ref_id}));
        image[field] = json!(superior.ref_id);
    } else {
        image["customerSegment"] = given("customerSegment");
        image["segmentValidFrom"] = if given("customerSegment").is_null() { Json::Null } else { at.clone() };
    }
    let id = format!("crm:{}:{}:{request}", kind.name(), entity.ref_id);
    let use_case = command.record.replacen('C', "c", 1);
    let only = |of: Kind| if of == kind { image.clone() } else { Json::Null };
    let mut expected = json!({
        "transactionId": Uuid::new_v5(&Uuid::NAMESPACE_URL, id.as_bytes()).to_string(), "useCase": use_case, "requestId": request,
        "correlationId": correlation, "occurredAt": at, "entityType": kind.name().to_uppercase(), "refId": entity.ref_id,
        "version": 1, "previousVersion": 0, "changes": changes, "actor": command.headers.first().map(|_| "Zo\u{eb}"),
        "customer": only(Kind::Customer), "account": only(Kind::Account), "subscriber": only(Kind::Subscriber),
    });
    let got = &reply.body;
    assert_eq!(got["businessTransaction"], expected, "{command:?}: {reply:?}");
    assert_eq!((&got["statusCode"], &got["errors"], &got["replayed"]), (&json!(200), &json!([]), &json!(false)), "{reply:?}");
    expected["record"] = json!("crm.v1.BusinessTransaction");
    assert_eq!(published.body, expected, "{command:?}");
    assert_eq!(published.key_text(), Some(&*entity.subject()));
    assert_eq!(published.text("ce_type"), Some(&*format!("crm.v1.{use_case}")));
}

/// Sends commands that all are duplicates of a creation, or use its request id for something else, while the world around it changes.
fn stay_as_they_were_decided(world: &World, customer: &Entity) {
    // Composed, the external id is the same; so is the refId in upper case.
    let (composed, decomposed) = ("Zo\u{eb}", "Zoe\u{308}");
    let suffix = unique("");
    let below = json!({"refId": customer.ref_id.to_uppercase()});
    let creation = create(Kind::Account, &unique("r"), &format!("{composed}{suffix}"), &customer.by_ref_id());
    let account = Entity::created_by(&creation);
    let first = succeeded(world, &creation);
    let again = create(Kind::Account, creation.request(), &format!("{decomposed}{suffix}"), &below);
    replayed(world, &again, &first);
    for (field, value) in [
        ("customName", json!("Ann")),
        ("state", json!("ACTIVE")),
        ("stateReason", json!("new")),
        ("customer", customer.by_external_id()),
    ] {
        let mut other = creation.clone();
        other.body[field] = value;
        assert_eq!(refusal(world, &other), ("CASM-REQUEST-ID-REUSED".into(), json!("requestId")), "{other:?}");
    }
    // The entity gives its id up, another is created with that, and the creation is still answered as it was.
    succeeded(world, &rename(Kind::Account, &unique("r"), &account.by_external_id(), &unique("e")));
    let next = create(Kind::Account, &unique("r"), &account.external_id, &customer.by_ref_id());
    assert_ne!(succeeded(world, &next)["refId"], account.ref_id.as_str());
    replayed(world, &creation, &first);

    // A refusal stays when its reason is gone.
    let taken = create(Kind::Account, &unique("r"), &account.external_id, &customer.by_ref_id());
    assert_eq!(refusal(world, &taken), ("CASM-EXTERNAL-ID-NOT-UNIQUE".into(), json!("externalId")));
    succeeded(world, &rename(Kind::Account, &unique("r"), &Entity::created_by(&next).by_ref_id(), &unique("e")));
    still_refused(world, &taken, "CASM-EXTERNAL-ID-NOT-UNIQUE");
    succeeded(world, &create(Kind::Account, &unique("r"), &account.external_id, &customer.by_ref_id()));
    let superior = create(Kind::Customer, &unique("r"), &unique("e"), &Json::Null);
    let early = create(Kind::Account, &unique("r"), &unique("e"), &Entity::created_by(&superior).by_external_id());
    assert_eq!(refusal(world, &early), ("CASM-ENTITY-NOT-FOUND".into(), json!("customer.externalId")));
    succeeded(world, &superior);
    still_refused(world, &early, "CASM-ENTITY-NOT-FOUND");

    // What becomes of a superior changes nothing below it.
    let superior = Entity::created_by(&superior);
    let below = create(Kind::Account, &unique("r"), &unique("e"), &superior.by_external_id());
    succeeded(world, &below);
    succeeded(world, &state(Kind::Customer, &unique("r"), &superior.by_ref_id(), "DEACTIVATED", Json::Null));
    let changed = succeeded(world, &name(Kind::Account, &unique("r"), &Entity::created_by(&below).by_ref_id(), "Ann"));
    assert_eq!((&changed["account"]["customerRefId"], &changed["version"]), (&json!(superior.ref_id), &json!(2)));
    let late = create(Kind::Account, &unique("r"), &unique("e"), &superior.by_ref_id());
    assert_eq!(refusal(world, &late), ("CASM-STATE-DEACTIVATED".into(), json!("customer")));
}

/// Uses the request ids of creations for updates before them.
fn count_with_other_requests(world: &World, customer: &Entity) {
    // The update by the refId that the entity would have is this request id's first use.
    let creation = create(Kind::Account, &unique("r"), &unique("e"), &customer.by_ref_id());
    let account = Entity::created_by(&creation);
    let by_ref_id = name(Kind::Account, creation.request(), &account.by_ref_id(), "Ann");
    assert_eq!(refusal(world, &by_ref_id), ("CASM-ENTITY-NOT-FOUND".into(), json!("account.refId")));
    assert_eq!(refusal(world, &creation), ("CASM-REQUEST-ID-REUSED".into(), json!("requestId")));
    let again = create(Kind::Account, &unique("r"), &account.external_id, &customer.by_ref_id());
    succeeded(world, &again);

    // An update by the external id, which nobody had, is another request. From the creation on, the holder's outcome counts.
    let creation = create(Kind::Account, &unique("r"), &unique("e"), &customer.by_ref_id());
    let by_id = name(Kind::Account, creation.request(), &Entity::created_by(&creation).by_external_id(), "Ann");
    assert_eq!(refusal(world, &by_id), ("CASM-ENTITY-NOT-FOUND".into(), json!("account.externalId")));
    succeeded(world, &creation);
    assert_eq!(refusal(world, &by_id), ("CASM-REQUEST-ID-REUSED".into(), json!("requestId")));
}

/// Creates a customer and changes everything about it. Returns the customer and its last after-image.
fn live_on(world: &World) -> (Entity, Json) {
    let creation = create(Kind::Customer, &unique("r"), &unique("e"), &Json::Null);
    let customer = Entity::created_by(&creation);
    let (reference, key) = (customer.by_ref_id(), unique("k"));
    let external_id = unique("e");
    let life = [
        creation.key(&key),
        name(Kind::Customer, &unique("r"), &customer.by_external_id(), "Ann").key(&key),
        rename(Kind::Customer, &unique("r"), &customer.by_external_id(), &external_id).key(&key),
        state(Kind::Customer, &unique("r"), &json!({"externalId": external_id}), "SUSPENDED", "unpaid").key(&key),
        state(Kind::Customer, &unique("r"), &reference, "DEACTIVATED", Json::Null).key(&key),
    ];
    let replies = world.ask_all(&life);
    for (reply, version) in replies.iter().zip(1..) {
        let transaction = &reply.body["businessTransaction"];
        let versions = (&transaction["previousVersion"], &transaction["version"]);
        assert_eq!(versions, (&json!(version - 1), &json!(version)), "{reply:?}");
    }
    let last = &replies.last().expect("there are commands").body["businessTransaction"];
    (Entity { external_id, ..customer }, last["customer"].clone())
}

fn is_shown(world: &World, (customer, image): &(Entity, Json)) {
    let shown = world.cli("show", &["customer", &customer.external_id, "--json"]).succeeded();
    let shown: Json = serde_json::from_str(&shown.stdout).expect("show --json prints JSON");
    assert_eq!((&shown["entity"], &shown["version"]), (image, &json!(5)), "{shown}");
    let history: Vec<_> =
        shown["history"].as_array().expect("an array").iter().map(|entry| (&entry["version"], &entry["useCase"])).collect();
    let use_cases =
        ["createCustomer", "updateCustomerCustomName", "updateCustomerExternalId", "updateCustomerState", "updateCustomerState"];
    let expected: Vec<_> = use_cases.iter().zip(1..).map(|(use_case, version)| (json!(version), json!(use_case))).collect();
    assert_eq!(history, expected.iter().map(|(version, use_case)| (version, use_case)).collect::<Vec<_>>(), "{shown}");
    let text = world.cli("show", &["customer", &customer.external_id]).succeeded().stdout;
    assert!(!text.contains("imported") && text.contains("createCustomer"), "{text}");
}

/// Sends a command in a lane of its own, and returns its business transaction.
fn succeeded(world: &World, command: &Draft) -> Json {
    let reply = world.ask(&command.clone().key(unique("k")));
    assert_eq!((&reply.body["statusCode"], &reply.body["replayed"]), (&json!(200), &json!(false)), "{command:?}: {reply:?}");
    reply.body["businessTransaction"].clone()
}

/// Sends a command once more, which must be answered with the business transaction that it had.
fn replayed(world: &World, command: &Draft, first: &Json) {
    let reply = world.ask(&command.clone().key(unique("k")));
    assert_eq!((&reply.body["statusCode"], &reply.body["replayed"]), (&json!(200), &json!(true)), "{command:?}: {reply:?}");
    assert_eq!(reply.body["businessTransaction"], *first, "{command:?}: {reply:?}");
}

/// Sends a command that was refused once more, in another lane.
fn still_refused(world: &World, command: &Draft, code: &str) {
    let reply = world.ask(&command.clone().key(unique("k")));
    let got = (&reply.body["replayed"], &reply.body["errors"][0]["code"]);
    assert_eq!(got, (&json!(true), &json!(code)), "{command:?}: {reply:?}");
}

/// Sends a command in a lane of its own, and returns the code and the field of its refusal, which must be a new one.
fn refusal(world: &World, command: &Draft) -> (String, Json) {
    let reply = world.ask(&command.clone().key(unique("k")));
    let (errors, replayed) = (reply.body["errors"].as_array().expect("an array"), &reply.body["replayed"]);
    assert_eq!((errors.len(), replayed), (1, &json!(false)), "{command:?}: {reply:?}");
    (errors[0]["code"].as_str().expect("a code").to_owned(), errors[0]["field"].clone())
}
