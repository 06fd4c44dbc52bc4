//! Tests the processor with a real schema registry, Apicurio's: what `setup` registers, how producers write, and a restart in
//! which the registry loses everything.

use crate::crm::{Draft, Entity, Kind, create, name, rename, segment, state, unique};
use crate::registry;
use crate::servers::own::OwnServer;
use crate::servers::{self, REGISTRY_PATH};
use crate::world::{Finished, Processor, World};
use crm_processor::domain::use_case::UseCase;
use serde_json::{Value as Json, json};
use std::sync::OnceLock;
use toml::{Table, Value};

/// The commands, in the order of [`one_of_each`].
const RECORDS: [&str; 13] = [
    "UpdateCustomerCustomName",
    "UpdateCustomerSegment",
    "UpdateAccountExternalId",
    "UpdateSubscriberExternalId",
    "UpdateCustomerExternalId",
    "UpdateAccountCustomName",
    "UpdateSubscriberCustomName",
    "UpdateCustomerState",
    "UpdateAccountState",
    "UpdateSubscriberState",
    "CreateCustomer",
    "CreateAccount",
    "CreateSubscriber",
];

fn set_up(name: &str, url: &str) -> Option<World> {
    World::set_up(name, |config: &mut Table| {
        config["registry"].as_table_mut().expect("is a table").insert("url".into(), Value::String(url.to_owned()));
    })
}

/// Makes an installation with a running processor, and returns it with the registry's URL; or `None` if the servers can't be had
/// here; the reason has been printed, and the test returns.
fn shared() -> Option<&'static (World, Processor, String)> {
    static SHARED: OnceLock<(World, Processor, String)> = OnceLock::new();
    let (url, _, _) = (servers::apicurio()?, servers::kafka()?, servers::cassandra()?);
    Some(SHARED.get_or_init(|| {
        let world = set_up("apicurio", &url).expect("the servers are there");
        let processor = world.run();
        (world, processor, url)
    }))
}

/// Returns a command's value under a schema's id, with bytes before its body.
pub fn with_id(id: u32, before: &[u8], draft: &Draft) -> Draft {
    let datum = registry::datum(&registry::command_schema(draft.record), &draft.body);
    let value = [&[0], &id.to_be_bytes()[..], before, &datum].concat();
    Draft { key: draft.key.clone(), headers: draft.headers.clone(), ..Draft::raw(Some(value)) }
}

/// Returns one of each command, each about an entity of its own that is new.
fn one_of_each(world: &World) -> Vec<Draft> {
    let [customers, accounts, subscribers] = Kind::ALL.map(|kind| [(); 4].map(|()| Entity::new(kind, "ACTIVE")));
    world.import(&[&customers[..], &accounts[..], &subscribers[..]].concat());
    let drafts = vec![
        name(Kind::Customer, &unique("r"), &customers[0].by_ref_id(), "Ada"),
        segment(&unique("r"), &customers[1].by_external_id(), "ENTERPRISE"),
        rename(Kind::Account, &unique("r"), &accounts[0].by_ref_id(), &unique("a")),
        rename(Kind::Subscriber, &unique("r"), &subscribers[0].by_ref_id(), &unique("s")),
        rename(Kind::Customer, &unique("r"), &customers[2].by_external_id(), &unique("c")),
        name(Kind::Account, &unique("r"), &accounts[1].by_external_id(), "Ada"),
        name(Kind::Subscriber, &unique("r"), &subscribers[1].by_ref_id(), "Ada"),
        state(Kind::Customer, &unique("r"), &customers[3].by_ref_id(), "SUSPENDED", "unpaid"),
        state(Kind::Account, &unique("r"), &accounts[2].by_external_id(), "INACTIVE", Json::Null),
        state(Kind::Subscriber, &unique("r"), &subscribers[2].by_ref_id(), "DEACTIVATED", Json::Null),
        create(Kind::Customer, &unique("r"), &unique("c"), &Json::Null),
        create(Kind::Account, &unique("r"), &unique("a"), &customers[0].by_external_id()),
        create(Kind::Subscriber, &unique("r"), &unique("s"), &accounts[1].by_ref_id()),
    ];
    assert_eq!(drafts.iter().map(|draft| draft.record).collect::<Vec<_>>(), RECORDS);
    assert_eq!(drafts.len(), UseCase::ALL.len(), "one of each");
    drafts
}

/// Lets a command's schema name the `EntityRef` that another schema defines. Returns whether the command has one.
fn refer_to_entity_ref(schema: &mut Json) -> bool {
    let fields = schema["fields"].as_array_mut().expect("has fields");
    let references: Vec<_> = fields.iter_mut().map(|field| &mut field["type"][1]).filter(|of_type| of_type.is_object()).collect();
    let has_one = !references.is_empty();
    for reference in references {
        *reference = "crm.v1.EntityRef".into();
    }
    has_one
}

fn assert_applied(world: &World, what: &str, drafts: &[Draft]) {
    for (draft, reply) in drafts.iter().zip(world.ask_all(drafts)) {
        assert_eq!(reply.body["statusCode"], 200, "{what}: {draft:?}: {reply:?}");
    }
}

/// Returns the id of a subject's latest version.
pub fn id_of(url: &str, subject: &str) -> u32 {
    let (status, body) = registry::get(&format!("{url}/subjects/{subject}/versions/latest"));
    let answer: Json = serde_json::from_str(&body).unwrap_or_else(|e| panic!("{subject}: {status} {body}: {e}"));
    answer["id"].as_u64().and_then(|id| id.try_into().ok()).unwrap_or_else(|| panic!("{subject}: {status} {answer}"))
}

#[test]
fn all_commands_are_read_with_the_schemas_that_setup_registered() {
    let Some((world, _, url)) = shared() else { return };
    let drafts: Vec<_> = one_of_each(world)
        .iter()
        .map(|draft| with_id(id_of(url, &format!("{}-crm.v1.{}", world.commands, draft.record)), &[], draft))
        .collect();
    assert_applied(world, "registered by setup", &drafts);
    // This registry does check what it is offered.
    let mut wrong: Json = serde_json::from_str(&crate::operation::read("schemas/BusinessTransaction.avsc")).expect("is JSON");
    wrong["fields"].as_array_mut().expect("has fields").push(json!({"name": "mandatory", "type": "string"}));
    let (status, said) = registry::offer(url, &format!("{}-value", world.transactions), &wrong, &json!([]));
    assert_eq!(status, 409, "{said}");
}

#[test]
fn check_says_when_the_compatibility_of_a_subject_is_another_and_setup_mends_it() {
    let Some((world, _, url)) = shared() else { return };
    let subject = format!("{}-value", world.replies);
    let notes = |checked: &Finished| {
        let notes = checked.stdout.lines().filter(|line| line.contains("the compatibility of"));
        notes.map(str::to_owned).collect::<Vec<_>>()
    };
    let level = || registry::get(&format!("{url}/config/{subject}")).1;
    let as_set_up = world.cli("check", &[]);
    assert!(as_set_up.stdout.contains(&format!("{subject} has id")), "{as_set_up}");
    assert_eq!(notes(&as_set_up), [""; 0], "{as_set_up}");
    assert!(level().contains("FULL_TRANSITIVE"), "{}", level());

    registry::set_compatibility(url, &subject, "NONE");
    let checked = world.cli("check", &[]);
    let noted = notes(&checked);
    let says = |note: &String| {
        note.contains(&format!("the compatibility of {subject} is "))
            && note.ends_with("`crm-processor setup` sets it to FULL_TRANSITIVE")
    };
    assert!(noted.len() == 1 && noted.iter().all(says), "of this subject, and the way out: {checked}");
    assert_eq!(checked.code, as_set_up.code, "a note is no finding: {checked}");

    let mended = world.cli("setup", &[]).succeeded();
    assert!(mended.stdout.contains(&format!("{subject}: compatibility set to FULL_TRANSITIVE")), "{mended}");
    assert!(level().contains("FULL_TRANSITIVE"), "{}", level());
    let checked = world.cli("check", &[]);
    assert_eq!(notes(&checked), [""; 0], "{checked}");
}

#[test]
fn older_and_newer_versions_are_read() {
    let Some((world, _, url)) = shared() else { return };
    let subject = unique("versions");
    for (what, change) in [
        ("a field more", json!({"name": "channel", "type": ["null", "string"], "default": null})),
        ("another field", json!({"name": "tags", "type": {"type": "array", "items": "string"}, "default": []})),
    ] {
        let draft = one_of_each(world).remove(0);
        let mut schema = registry::command_schema(draft.record);
        schema["fields"].as_array_mut().expect("has fields").push(change);
        let id = registry::register_at(url, &subject, &schema, &json!([]));
        let value = [&[0], &id.to_be_bytes()[..], &registry::datum(&schema, &draft.body)].concat();
        assert_applied(world, what, &[Draft { headers: draft.headers, ..Draft::raw(Some(value)) }]);
    }
}

#[test]
fn references_and_unions_of_them_are_read() {
    let Some((world, _, url)) = shared() else { return };
    let reference = |name: &str, subject: &str| json!({"name": name, "subject": subject, "version": 1});
    let entity_ref = registry::command_schema(RECORDS[0])["fields"][1]["type"][1].clone();
    let mut qualified = entity_ref;
    qualified["namespace"] = "crm.v1".into();
    let refs = unique("EntityRef");
    registry::register_at(url, &refs, &qualified, &json!([]));

    let mut references = Vec::new();
    let mut drafts = Vec::new();
    for draft in one_of_each(world) {
        let mut schema = registry::command_schema(draft.record);
        let refers_to: Vec<_> =
            refer_to_entity_ref(&mut schema).then(|| reference("crm.v1.EntityRef", &refs)).into_iter().collect();
        let subject = unique(draft.record);
        let id = registry::register_at(url, &subject, &schema, &json!(refers_to));
        references.push(reference(&format!("crm.v1.{}", draft.record), &subject));
        drafts.push(with_id(id, &[], &draft));
    }
    assert_applied(world, "with a reference", &drafts);

    let names: Vec<_> = RECORDS.iter().map(|record| format!("crm.v1.{record}")).collect();
    let by_references = registry::register_at(url, &unique("union"), &json!(names), &json!(references));
    // The record is defined once, and named where it comes again.
    let mut branches: Vec<_> = RECORDS.map(registry::command_schema).into();
    for branch in &mut branches[1..] {
        refer_to_entity_ref(branch);
    }
    let whole = registry::register_at(url, &unique("union"), &json!(branches), &json!([]));
    for (what, id) in [("a union of references", by_references), ("a whole union", whole)] {
        let drafts: Vec<_> =
            (0..).step_by(2).zip(one_of_each(world)).map(|(branch, draft): (u8, _)| with_id(id, &[branch], &draft)).collect();
        assert_applied(world, what, &drafts);
    }
}

#[test]
fn what_the_registry_does_not_know_is_unreadable() {
    let Some((world, _, _)) = shared() else { return };
    let draft = one_of_each(world).remove(0);
    let by_guid = [&[1][..], uuid::Uuid::new_v4().as_bytes()].concat();
    let rows = [
        (with_id(1_000_000, &[], &draft), "crm.UnknownSchemaId"),
        // This registry has no such path; newer registries have.
        (with_id(1, &[], &draft).header("__value_schema_id", by_guid), "crm.UnknownSchemaId"),
        (with_id(1, &[], &draft).header("apicurio.value.globalId", [0, 0, 0, 0, 0, 0, 0, 1]), "crm.SchemaHeader"),
    ];
    let drafts: Vec<_> = rows.iter().map(|(draft, _)| draft.clone().key(unique("k"))).collect();
    for reply in world.ask_all(&drafts) {
        assert_eq!(
            (&reply.body["statusCode"], &reply.body["errors"][0]["code"]),
            (&json!(400), &json!("CASM-RECORD-UNREADABLE"))
        );
    }
    for (draft, (_, class)) in drafts.iter().zip(rows) {
        let dead = world.inbox.first(&format!("on the DLQ: {draft:?}"), |r| r.topic == world.dlq && r.key == draft.key);
        assert_eq!(dead.text("__connect.errors.exception.class.name"), Some(class), "{dead:?}");
    }
}

#[test]
fn a_restart_that_loses_everything_makes_no_command_another_one() {
    let Some(_) = servers::kafka().and(servers::cassandra()) else { return };
    let Some(mut apicurio) = OwnServer::apicurio() else { return };
    let url = format!("http://{}{REGISTRY_PATH}", apicurio.address());
    let Some(world) = set_up("apicurio-emptied", &url) else { return };
    let processor = world.run();
    let drafts = one_of_each(&world);
    let id = id_of(&url, &format!("{}-crm.v1.{}", world.commands, RECORDS[0]));
    assert_applied(&world, "before", &[with_id(id, &[], &drafts[0])]);
    // All records so far are read with the registry's schemas before it loses them.
    world.inbox.first("its business transaction", |r| r.topic == world.transactions);

    apicurio.restart_by("TERM");
    processor.until_metric("crm_registry_differs", 1);
    processor.until_ready_is(false);
    let (_, readyz) = processor.get("/readyz");
    assert!(readyz.contains("other schemas than before") && readyz.contains("crm-processor setup"), "{readyz}");

    let checked = world.cli("check", &[]).exits(1);
    let missing: Vec<_> = checked.stdout.lines().filter(|line| line.starts_with("  !!  schema")).collect();
    assert_eq!(missing.len(), UseCase::ALL.len() + 2, "of each command, of replies and of transactions: {checked}");
    assert!(missing.iter().all(|line| line.contains("setup")), "{missing:?}");

    // After the restart, the former id of names is given to segments.
    for lower in 1..id {
        let filler = json!({"type": "record", "name": format!("Filler{lower}"), "fields": []});
        assert_eq!(registry::register_at(&url, &unique("filler"), &filler, &json!([])), lower, "Apicurio counts from 1 again");
    }
    let given = registry::register_at(&url, &unique("given"), &registry::command_schema(RECORDS[1]), &json!([]));
    assert_eq!(given, id);
    world.cli("setup", &[]).succeeded();
    let segments = with_id(id, &[], &drafts[1]).header("correlation-id", unique("c"));
    world.send(&segments);
    let correlation = segments.headers[0].1.clone();
    let waits = "waited at offset";
    let deadline = std::time::Instant::now() + crate::inbox::Inbox::PATIENCE;
    while !processor.get("/readyz").1.contains(waits) {
        assert!(std::time::Instant::now() < deadline, "{}", processor.log_tail());
        crate::pause();
    }
    let is_reply = |r: &crate::inbox::Record| r.topic == world.replies && r.header("correlation-id") == correlation.as_deref();
    assert!(world.inbox.all(is_reply).is_empty(), "nothing is answered");
    assert!(processor.get("/readyz").1.contains("other schemas than before"));

    processor.signal("TERM");
    assert_eq!(processor.wait(), 0);
    let _again = world.run();
    let reply = world.inbox.first("a reply to the segment", is_reply);
    let got = (&reply.body["statusCode"], &reply.body["businessTransaction"]["useCase"]);
    assert_eq!(got, (&json!(200), &json!("updateCustomerSegment")), "{reply:?}");
}
