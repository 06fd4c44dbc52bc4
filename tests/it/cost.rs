//! Counts the conditional writes that a command costs.

use crate::crm::{Draft, Entity, Kind, create, custom_name, rename, segment, state, unique};
use crate::inbox::Record;
use crate::world::{PATIENT_STORE, Processor, World};
use serde_json::{Value as Json, json};

const COMMANDS: u64 = 40;
const HOT_COMMANDS: usize = 600;

#[test]
fn a_name_segment_or_state_costs_one_conditional_write_and_a_rename_or_creation_two() {
    let Some(world) = World::set_up("cost", |_| {}) else { return };
    let customers: Vec<_> = (0..COMMANDS).map(|_| Entity::new(Kind::Customer, "ACTIVE")).collect();
    let accounts: Vec<_> = (0..COMMANDS).map(|_| Entity::new(Kind::Account, "ACTIVE")).collect();
    world.import(&[customers.clone(), accounts.clone()].concat());
    // A write that took too long would be tried again, and counted again.
    let processor = world.start_with("patient", &[PATIENT_STORE]);
    processor.until_ready();

    let of_customers = |command: fn(&Entity) -> Draft| customers.iter().map(command).collect::<Vec<_>>();
    let names = of_customers(|c| custom_name(&unique("r"), &c.by_external_id(), "Ada"));
    let segments = of_customers(|c| segment(&unique("r"), &c.by_ref_id(), "ENTERPRISE"));
    let states = of_customers(|c| state(Kind::Customer, &unique("r"), &c.by_ref_id(), "SUSPENDED", "unpaid"));
    let creations = of_customers(|c| create(Kind::Account, &unique("r"), &unique("e"), &c.by_external_id()));
    let orphans = of_customers(|_| {
        let nobody = Entity::new(Kind::Customer, "ACTIVE");
        create(Kind::Account, &unique("r"), &unique("e"), &nobody.by_external_id())
    });
    let renames: Vec<_> =
        accounts.iter().map(|a| rename(Kind::Account, &unique("r"), &a.by_external_id(), &unique("a"))).collect();
    let customer_renames = of_customers(|c| rename(Kind::Customer, &unique("r"), &c.by_ref_id(), &unique("c")));
    let unknown: Vec<_> = customers
        .iter()
        .map(|_| custom_name(&unique("r"), &Entity::new(Kind::Customer, "ACTIVE").by_external_id(), "Ada"))
        .collect();
    // A duplicate costs at most the write that fails because there is an outcome already.
    for (what, drafts, least, most, status) in [
        ("a name by external id", &names, 1, 1, 200),
        ("a segment by refId", &segments, 1, 1, 200),
        ("a state", &states, 1, 1, 200),
        ("a rename", &renames, 2, 2, 200),
        ("a creation", &creations, 2, 2, 200),
        ("a duplicate of a name", &names, 0, 1, 200),
        ("a duplicate of a rename", &renames, 0, 1, 200),
        ("a duplicate of a creation", &creations, 0, 1, 200),
        ("an unknown id", &unknown, 1, 1, 400),
        ("a creation below nobody", &orphans, 1, 1, 400),
        // Last, because the commands above name the customers by their external ids.
        ("a customer's rename", &customer_renames, 2, 2, 200),
    ] {
        let before = conditional_writes(&processor);
        let replies = world.ask_all(drafts);
        assert!(replies.iter().all(|r| r.body["statusCode"] == status), "{what}: {replies:#?}");
        let writes = conditional_writes(&processor) - before;
        let expected = least * COMMANDS..=most * COMMANDS;
        assert!(expected.contains(&writes), "{what}: {COMMANDS} commands made {writes} conditional writes, not {expected:?}");
    }
}

/// All commands are on the topic before the processor begins, so that its lane has runs to fold.
#[test]
fn commands_for_one_customer_share_conditional_writes() {
    let Some(world) = World::set_up("hot", |_| {}) else { return };
    let customer = Entity::new(Kind::Customer, "ACTIVE");
    world.import(std::slice::from_ref(&customer));
    let (drafts, expected): (Vec<_>, Vec<_>) = hot_commands(&customer).into_iter().unzip();
    world.send_all(&drafts);
    let processor = world.run();
    let mut replies = Vec::new();
    for draft in &drafts {
        let correlation = &draft.headers[0].1;
        let is_reply = |r: &Record| r.header("correlation-id") == correlation.as_deref() && world.holds_replies(&r.topic);
        replies.push(world.inbox.first(&format!("a reply to {draft:?}"), is_reply));
    }
    for ((reply, draft), expected) in replies.iter().zip(&drafts).zip(&expected) {
        let body = &reply.body;
        let answered = (body["statusCode"].clone(), body["replayed"].clone(), body["businessTransaction"]["version"].clone());
        let codes = (answered, body["errors"][0]["code"].clone());
        assert_eq!(codes, *expected, "to {:?}", draft.body);
    }
    let offsets: Vec<_> = replies.iter().map(|r| r.offset).collect();
    assert!(offsets.is_sorted(), "replies in the order of the commands: {offsets:?}");
    let writes = conditional_writes(&processor);
    println!("{} commands for one customer: {writes} conditional writes", drafts.len());
    assert!(writes <= drafts.len() as u64 / 10, "{} commands made {writes} conditional writes", drafts.len());
}

/// The expected status, `replayed`, version, and code of the error.
type Expected = ((Json, Json, Json), Json);

/// Returns commands with one key, and the answer to each if they are decided one after another.
fn hot_commands(customer: &Entity) -> Vec<(Draft, Expected)> {
    let (key, reference) = (unique("k"), customer.by_external_id());
    let mut commands: Vec<(Draft, Expected)> = Vec::new();
    let (mut version, mut name) = (1, String::new());
    let refused = |draft: Draft, code: &str| (draft, ((json!(400), json!(false), Json::Null), json!(code)));
    for n in 0..HOT_COMMANDS {
        let request = unique("r");
        let fresh = format!("name {n}");
        let named = |request: &str, name: &str| custom_name(request, &reference, name);
        let done = |draft, version: i64| (draft, ((json!(200), json!(false), json!(version)), Json::Null));
        let command = match n % 10 {
            4 => {
                version += 1;
                done(segment(&request, &reference, if n % 20 < 10 { "ENTERPRISE" } else { "RESIDENTIAL" }), version)
            }
            5 => done(named(&request, &name), version),
            6 => {
                // The request with the name of five commands before comes again.
                let (draft, ((status, _, version), code)) = commands[n - 5].clone();
                (Draft { headers: Vec::new(), ..draft }, ((status, json!(true), version), code))
            }
            7 => refused(named(commands[n - 6].0.request(), &fresh), "CASM-REQUEST-ID-REUSED"),
            8 => refused(named(&request, &fresh).expecting(version - 1), "CASM-VERSION-CONFLICT"),
            9 => {
                let draft = named(&request, &fresh).expecting(version);
                (version, name) = (version + 1, fresh);
                done(draft, version)
            }
            _ => {
                let draft = named(&request, &fresh);
                (version, name) = (version + 1, fresh);
                done(draft, version)
            }
        };
        let (draft, expected) = command;
        commands.push((draft.key(&key).header("correlation-id", unique("c")), expected));
    }
    commands
}

fn conditional_writes(processor: &Processor) -> u64 {
    processor.metric("crm_store_conditional_writes_total")
}
