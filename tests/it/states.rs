//! Tests the life of an entity of each type through all states, on both stores: what each command says, publishes and leaves behind.

use crate::crm::{Draft, Entity, Kind, json_lines, name, rename, state, unique};
use crate::world::{World, embedded};
use serde_json::{Value as Json, json};

#[test]
fn a_life_through_all_states_on_the_database() {
    let Some(world) = World::set_up("states", |_| {}) else { return };
    lives(&world);
}

#[test]
fn a_life_through_all_states_on_the_embedded_store() {
    let Some(world) = World::set_up("states-embedded", embedded) else { return };
    lives(&world);
}

/// A command, and the changes and the after-image's state, reason and date that it must lead to. A date is the number of the step that
/// the state is valid from; 0 stands for none.
struct Step {
    command: Draft,
    changes: Json,
    after: (&'static str, Option<&'static str>, usize),
}

fn lives(world: &World) {
    let (entities, others) =
        (Kind::ALL.map(|kind| Entity::new(kind, "ACTIVE")), Kind::ALL.map(|kind| Entity::new(kind, "ACTIVE")));
    world.import(&[&entities[..], &others[..]].concat());
    let processor = world.run();
    for (entity, other) in entities.iter().zip(&others) {
        let steps = steps(entity);
        let mut decided_at = vec![Json::Null];
        let mut version = 1;
        for (number, Step { command, changes, after: (state, reason, since) }) in steps.iter().enumerate() {
            let reply = world.ask(command);
            let transaction = &reply.body["businessTransaction"];
            assert_eq!(reply.body["statusCode"], 200, "step {}: {command:?}: {reply:?}", number + 1);
            decided_at.push(transaction["occurredAt"].clone());
            let previous = version;
            version += i64::from(*changes != json!([]));
            let image = &transaction[entity.kind.name()];
            assert_eq!(
                (&transaction["changes"], &transaction["previousVersion"], &transaction["version"]),
                (changes, &json!(previous), &json!(version)),
                "step {}: {command:?}: {reply:?}",
                number + 1
            );
            assert_eq!(
                (&image["state"], &image["stateReason"], &image["stateValidFrom"]),
                (&json!(state), &json!(reason), &decided_at[*since]),
                "step {}: {command:?}: {reply:?}",
                number + 1
            );
            if version > previous {
                assert_eq!(world.transaction(entity, command.request()).body["changes"], *changes);
            }
        }

        let refused = world.ask(&state(entity.kind, &unique("r"), &entity.by_ref_id(), "ACTIVE", Json::Null));
        assert_eq!(refused.body["errors"][0]["code"], "CASM-STATE-DEACTIVATED", "{refused:?}");
        let held = &world.transaction(entity, steps.last().expect("there are steps").command.request()).body[entity.kind.name()];
        let external_id = held["externalId"].as_str().expect("is mandatory");
        let taken = world.ask(&rename(entity.kind, &unique("r"), &other.by_ref_id(), external_id));
        assert_eq!(taken.body["errors"][0]["code"], "CASM-EXTERNAL-ID-NOT-UNIQUE", "its id stays taken: {taken:?}");

        // A duplicate of the first change gets the stored answer, whatever the entity has become.
        let again = world.ask(&steps[1].command.clone().key(unique("k")));
        let published = world.transaction(entity, steps[1].command.request());
        assert_eq!((&again.body["statusCode"], &again.body["replayed"]), (&json!(200), &json!(true)), "{again:?}");
        assert_eq!(again.body["businessTransaction"]["changes"], published.body["changes"], "{again:?}");
        assert_eq!(again.body["businessTransaction"][entity.kind.name()], published.body[entity.kind.name()], "{again:?}");
        // The same request id with another reason is another request.
        let mut other_reason = steps[2].command.clone().key(unique("k"));
        other_reason.body["stateReason"] = json!("another");
        let reused = world.ask(&other_reason);
        assert_eq!(reused.body["errors"][0]["code"], "CASM-REQUEST-ID-REUSED", "{reused:?}");
    }
    // The last one of each was seen, so all before it were.
    let of = |entity: &Entity| {
        let subject = entity.subject();
        world.inbox.all(|record| record.topic == world.transactions && record.key_text() == Some(&*subject))
    };
    let published = entities.each_ref().map(of);
    processor.signal("TERM");
    assert_eq!(processor.wait(), 0, "{}", processor.log_tail());

    // What is stored is what was published. The embedded store lets in one process at a time, so this comes last.
    for (entity, records) in entities.iter().zip(published) {
        let last = &records.last().expect("there were changes").body;
        let shown = world.cli("show", &[entity.kind.name(), "--ref-id", &entity.ref_id, "--json"]).succeeded();
        let shown: Json = serde_json::from_str(&shown.stdout).expect("show --json prints JSON");
        assert_eq!((&shown["entity"], &shown["version"]), (&last[entity.kind.name()], &last["version"]));
        let versions: Vec<_> = records.iter().map(|record| record.body["version"].as_i64()).collect();
        assert_eq!(versions, (2..).map(Some).take(versions.len()).collect::<Vec<_>>(), "gapless");
        let history: Vec<_> = shown["history"].as_array().expect("an array").iter().map(|entry| &entry["changes"]).collect();
        let published: Vec<_> = records.iter().map(|record| &record.body["changes"]).collect();
        assert_eq!(history, published);
    }
}

fn steps(entity: &Entity) -> Vec<Step> {
    let (kind, reference) = (entity.kind, entity.by_ref_id());
    let key = unique("k");
    let to = |to: &str, reason: Json| state(kind, &unique("r"), &reference, to, reason).key(&key);
    let of_state = |old: &str, new: &str| json!({"field": "state", "old": old, "new": new});
    let of_reason = |old: Json, new: Json| json!({"field": "stateReason", "old": old, "new": new});
    let new_id = unique("renamed");
    let step = |command, changes, after| Step { command, changes, after };
    let null = || Json::Null;
    vec![
        // An imported entity without a date has none until its state changes.
        step(to("ACTIVE", null()), json!([]), ("ACTIVE", None, 0)),
        step(to("SUSPENDED", null()), json!([of_state("ACTIVE", "SUSPENDED")]), ("SUSPENDED", None, 2)),
        // Another reason for the same state leaves the date alone.
        step(to("SUSPENDED", json!("unpaid")), json!([of_reason(null(), json!("unpaid"))]), ("SUSPENDED", Some("unpaid"), 2)),
        step(to("SUSPENDED", json!("unpaid")), json!([]), ("SUSPENDED", Some("unpaid"), 2)),
        // A reason that is not given is none.
        step(to("SUSPENDED", null()), json!([of_reason(json!("unpaid"), null())]), ("SUSPENDED", None, 2)),
        step(
            to("ACTIVE", json!("paid")),
            json!([of_state("SUSPENDED", "ACTIVE"), of_reason(null(), json!("paid"))]),
            ("ACTIVE", Some("paid"), 6),
        ),
        // Other changes keep state, reason and date.
        step(
            name(kind, &unique("r"), &reference, "Ada").key(&key),
            json!([{"field": "customName", "old": null, "new": "Ada"}]),
            ("ACTIVE", Some("paid"), 6),
        ),
        step(
            rename(kind, &unique("r"), &reference, &new_id).key(&key),
            json!([{"field": "externalId", "old": entity.external_id, "new": new_id}]),
            ("ACTIVE", Some("paid"), 6),
        ),
        step(
            to("INACTIVE", null()),
            json!([of_state("ACTIVE", "INACTIVE"), of_reason(json!("paid"), null())]),
            ("INACTIVE", None, 9),
        ),
        step(
            to("DEACTIVATED", json!("closed")),
            json!([of_state("INACTIVE", "DEACTIVATED"), of_reason(null(), json!("closed"))]),
            ("DEACTIVATED", Some("closed"), 10),
        ),
    ]
}

#[test]
fn an_import_takes_up_reason_and_date_and_says_what_is_wrong_with_them() {
    let Some(world) = World::set_up("states-embedded", embedded) else { return };
    let (with_number, with_text) = (Entity::new(Kind::Account, "SUSPENDED"), Entity::new(Kind::Customer, "ACTIVE"));
    let line = |entity: &Entity, reason: Json, from: Json| {
        let mut line = entity.line();
        line["stateReason"] = reason;
        line["stateValidFrom"] = from;
        line
    };
    let stranger = || Entity::new(Kind::Subscriber, "ACTIVE");
    let lines = [
        line(&with_number, json!("unpaid"), json!(1_700_000_000_123_i64)),
        line(&with_text, Json::Null, json!("2026-01-31T12:00:00.5+01:00")),
        line(&stranger(), json!("a\u{7}"), json!(1)),
        line(&stranger(), json!(7), json!(1)),
        line(&stranger(), json!("fine"), json!("yesterday")),
        line(&stranger(), json!("fine"), json!(1.5)),
        line(&stranger(), json!(""), Json::Null),
    ];
    let file = world.dir().join("states.jsonl");
    std::fs::write(&file, json_lines(&lines)).expect("there is room");
    let file = file.display().to_string();
    let refused = world.cli("import", &["--actor", " x", &file]).exits(2);
    assert!(refused.stderr.contains("--actor"), "{refused}");
    let imported = world.cli("import", &["--actor", "migration of March", &file]).exits(1);
    assert!(imported.stdout.contains("2 created, 0 existed, 5 findings"), "{imported}");
    for (number, field) in
        [(3, "stateReason"), (4, "stateReason"), (5, "stateValidFrom"), (6, "stateValidFrom"), (7, "stateReason")]
    {
        let found = imported.stderr.lines().any(|line| line.contains(&format!("line {number}: ")) && line.contains(field));
        assert!(found, "line {number}, {field}: {imported}");
    }
    for (entity, reason, from) in
        [(&with_number, json!("unpaid"), json!(1_700_000_000_123_i64)), (&with_text, Json::Null, json!(1_769_857_200_500_i64))]
    {
        let shown = world.cli("show", &[entity.kind.name(), &entity.external_id, "--json"]).succeeded();
        let shown: Json = serde_json::from_str(&shown.stdout).expect("show --json prints JSON");
        let text = world.cli("show", &[entity.kind.name(), &entity.external_id]).succeeded().stdout;
        let said = text.lines().any(|line| line.starts_with("imported as ") && line.ends_with(" by migration of March"));
        assert!(said, "{text}");
        assert_eq!((&shown["entity"]["stateReason"], &shown["entity"]["stateValidFrom"]), (&reason, &from), "{shown}");
    }
}
