//! Tests `erase`: what it tells the operator, and what others still see afterwards.

use crate::crm::{Entity, Kind, custom_name, json_lines, unique};
use crate::world::{World, shared};
use serde_json::json;

fn shown(world: &World, entity: &Entity) -> String {
    world.cli("show", &["--ref-id", entity.kind.name(), &entity.ref_id, "--json"]).succeeded().stdout
}

#[test]
fn former_names_are_erased_beside_a_processor_and_a_duplicate_gets_its_answer_without_them() {
    let Some(shared) = shared() else { return };
    let customer = Entity::new(Kind::Customer, "ACTIVE");
    let names = [unique("Ada"), unique("Bea"), unique("Cleo")];
    let mut line = customer.line();
    line["customName"] = json!(names[0]);
    shared.import_lines(&json_lines(&[line])).succeeded();
    let first = custom_name(&unique("r"), &customer.by_external_id(), &names[1]);
    let reply = shared.ask(&first);
    shared.ask(&custom_name(&unique("r"), &customer.by_ref_id(), &names[2]));
    let erase = |arguments: &[&str]| {
        let told = shared.cli("erase", arguments).succeeded();
        assert!(!names.iter().any(|name| told.to_string().contains(name)), "{told}");
        told.stdout
    };
    let by_ref_id = ["--ref-id", "customer", &customer.ref_id, "--yes"];
    let assert_told =
        |told: &str, expected: &[&str]| expected.iter().for_each(|text| assert!(told.contains(text), "{text}: {told}"));

    let before = shown(shared, &customer);
    let counted = erase(&["customer", &customer.external_id]);
    assert_told(
        &counted,
        &["log: 3, 2 of them with a former", "ids: 1, 1 of them with a former", "--yes", "present custom name stays"],
    );
    assert_eq!(shown(shared, &customer), before, "it only counts");

    let done = erase(&by_ref_id);
    assert_told(&done, &["log: 3, 2 of them redacted", "ids: 1, 1 of them redacted", "updateCustomerCustomName"]);
    let after = shown(shared, &customer);
    assert_eq!(names.each_ref().map(|name| after.contains(name.as_str())), [false, false, true], "{after}");

    shared.ask(&custom_name(&unique("r"), &customer.by_ref_id(), "erased"));
    let done = erase(&by_ref_id);
    assert_told(&done, &["log: 4, 2 of them redacted", "ids: 1, 0 of them redacted", "external ids stay"]);
    assert!(!done.contains("present custom name"), "{done}");
    let after = shown(shared, &customer);
    assert!(!names.iter().any(|name| after.contains(name.as_str())), "{after}");
    assert_told(&erase(&by_ref_id), &["no former custom name is left"]);

    let again = &shared.ask(&first).body["businessTransaction"];
    let told = &reply.body["businessTransaction"];
    assert_eq!((&again["transactionId"], &again["version"]), (&told["transactionId"], &told["version"]));
    assert_eq!(again["changes"], json!([{"field": "customName", "old": "erased", "new": "erased"}]));
    assert_eq!(again["customer"]["customName"], "erased");
    assert_eq!(shared.transactions(&customer).len(), 3, "it is not applied again");
}

#[test]
fn what_is_not_erased_is_said_with_the_way_out_or_the_reason() {
    let Some(shared) = shared() else { return };
    let (account, gone) = (Entity::new(Kind::Account, "ACTIVE"), Entity::new(Kind::Customer, "DEACTIVATED"));
    let lines = [&account, &gone].map(|entity| {
        let mut line = entity.line();
        line["customName"] = json!("Ada");
        line
    });
    shared.import_lines(&json_lines(&lines)).succeeded();
    for (entity, expected) in [(&account, "updateAccountCustomName"), (&gone, "a deactivated customer takes no commands")] {
        let told = shared.cli("erase", &[entity.kind.name(), &entity.external_id, "--yes"]).succeeded();
        assert!(told.stdout.contains(expected), "{told}");
    }
    let nobody = shared.cli("erase", &["customer", &unique("nobody"), "--yes"]).exits(1);
    assert!(nobody.stderr.contains("there is no customer"), "{nobody}");
    let no_ref_id = shared.cli("erase", &["--ref-id", "customer", "no-uuid"]).exits(1);
    assert!(no_ref_id.stderr.contains("no refId"), "{no_ref_id}");
    shared.cli("erase", &["contract", "c-1"]).exits(2);
}
