//! Tests creations on both stores: a customer with an account and a subscriber comes into being, and what is refused stays so.

use crate::crm::{Draft, Entity, Kind, rename, state, unique};
use crate::world::World;
use serde_json::{Value as Json, json};
use uuid::Uuid;

#[test]
fn entities_come_into_being_on_the_database() {
    let Some(world) = World::set_up("creations", |_| {}) else { return };
    created(&world);
}

#[test]
fn entities_come_into_being_on_the_embedded_store() {
    let world = World::set_up("creations-embedded", |config| {
        let path = std::env::temp_dir().join(unique("crm-creations")).display().to_string();
        config["store"] =
            toml::Table::from_iter([("kind".to_owned(), "embedded".into()), ("path".to_owned(), path.into())]).into();
    });
    let Some(world) = world else { return };
    created(&world);
}

/// A creation, and the entity that it makes.
struct Created {
    command: Draft,
    entity: Entity,
}

impl Created {
    fn new(kind: Kind, mut body: Json) -> Self {
        let request = body["requestId"].as_str().expect("is given").to_owned();
        let external_id = unique("e");
        body["externalId"] = json!(external_id);
        let name = format!("crm:create:{}:{external_id}:{request}", kind.name());
        let ref_id = Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()).to_string();
        let record = match kind {
            Kind::Customer => "CreateCustomer",
            Kind::Account => "CreateAccount",
            Kind::Subscriber => "CreateSubscriber",
        };
        Self { command: Draft::new(record, body), entity: Entity { kind, ref_id, external_id, state: "ACTIVE" } }
    }
}

fn created(world: &World) {
    let processor = world.run();
    let customer = Created::new(
        Kind::Customer,
        json!({"requestId": unique("r"), "customName": "Ann", "customerSegment": "RESIDENTIAL", "state": "INACTIVE", "stateReason": "new"}),
    );
    let by_id = |entity: &Entity| json!({"externalId": entity.external_id});
    let account = Created::new(Kind::Account, json!({"requestId": unique("r"), "customer": by_id(&customer.entity)}));
    let subscriber = Created::new(Kind::Subscriber, json!({"requestId": unique("r"), "account": account.entity.by_ref_id()}));
    let change = |field: &str, new: &str| json!({"field": field, "old": null, "new": new});
    for (Created { command, entity }, rest) in [
        (
            &customer,
            vec![
                change("customName", "Ann"),
                change("customerSegment", "RESIDENTIAL"),
                change("state", "INACTIVE"),
                change("stateReason", "new"),
            ],
        ),
        (&account, vec![change("customerRefId", &customer.entity.ref_id)]),
        (&subscriber, vec![change("accountRefId", &account.entity.ref_id)]),
    ] {
        let reply = world.ask(command);
        assert_eq!(reply.body["statusCode"], 200, "{command:?}: {reply:?}");
        let published = world.transaction(entity, command.request()).body.clone();
        let changes: Vec<_> = [change("externalId", &entity.external_id)].into_iter().chain(rest).collect();
        assert_eq!((&published["changes"], &published["version"]), (&json!(changes), &json!(1)), "{published}");
        assert_eq!((&published["previousVersion"], &published["refId"]), (&json!(0), &json!(entity.ref_id)), "{published}");
        assert_eq!(published[entity.kind.name()]["stateValidFrom"], published["occurredAt"], "{published}");
        let again = world.ask(&command.clone().key(unique("k")));
        assert_eq!((&again.body["replayed"], &again.body["statusCode"]), (&json!(true), &json!(200)), "{again:?}");
        let mut other = command.clone().key(unique("k"));
        other.body["customName"] = json!("Another");
        assert_eq!(code(world, &other), "CASM-REQUEST-ID-REUSED");
    }

    // A refusal stays when its reason is gone.
    let mut taken = Created::new(Kind::Account, json!({"requestId": unique("r"), "customer": by_id(&customer.entity)})).command;
    taken.body["externalId"] = json!(account.entity.external_id);
    assert_eq!(code(world, &taken), "CASM-EXTERNAL-ID-NOT-UNIQUE");
    let renamed = world.ask(&rename(Kind::Account, &unique("r"), &account.entity.by_ref_id(), &unique("e")));
    assert_eq!(renamed.body["statusCode"], 200, "{renamed:?}");
    let again = world.ask(&taken.clone().key(unique("k")));
    assert_eq!((&again.body["replayed"], &again.body["errors"][0]["field"]), (&json!(true), &json!("externalId")), "{again:?}");
    taken.body["requestId"] = json!(unique("r"));
    assert_eq!(world.ask(&taken).body["statusCode"], 200, "its id is free");

    let below = |superior: Json| Created::new(Kind::Subscriber, json!({"requestId": unique("r"), "account": superior})).command;
    let nobody = world.ask(&below(json!({"externalId": unique("e")})));
    assert_eq!(nobody.body["errors"][0]["code"], "CASM-ENTITY-NOT-FOUND", "{nobody:?}");
    assert_eq!(nobody.body["errors"][0]["field"], "account.externalId", "{nobody:?}");
    world.ask(&state(Kind::Account, &unique("r"), &account.entity.by_ref_id(), "DEACTIVATED", Json::Null));
    let deactivated = world.ask(&below(account.entity.by_ref_id()));
    assert_eq!(deactivated.body["errors"][0]["code"], "CASM-STATE-DEACTIVATED", "{deactivated:?}");
    assert_eq!(deactivated.body["errors"][0]["field"], "account", "{deactivated:?}");

    processor.signal("TERM");
    assert_eq!(processor.wait(), 0, "{}", processor.log_tail());
    let shown = world.cli("show", &["customer", &customer.entity.external_id, "--json"]).succeeded();
    let shown: Json = serde_json::from_str(&shown.stdout).expect("show --json prints JSON");
    assert_eq!(shown["entity"]["refId"], customer.entity.ref_id, "{shown}");
    assert_eq!(
        (&shown["history"][0]["version"], &shown["history"][0]["useCase"]),
        (&json!(1), &json!("createCustomer")),
        "{shown}"
    );
    let text = world.cli("show", &["customer", &customer.entity.external_id]).succeeded().stdout;
    assert!(!text.contains("imported"), "{text}");
}

/// Returns the code of the refusal of a command.
fn code(world: &World, command: &Draft) -> String {
    let reply = world.ask(command);
    reply.body["errors"][0]["code"].as_str().unwrap_or_else(|| panic!("{command:?}: {reply:?}")).to_owned()
}
