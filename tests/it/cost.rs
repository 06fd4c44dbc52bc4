//! What a command costs the store: its conditional writes, counted.

use crate::crm::{Draft, Entity, Kind, custom_name, rename, segment, unique};
use crate::world::{Processor, World};

const COMMANDS: u64 = 40;

#[test]
fn a_name_or_segment_costs_one_conditional_write_and_a_rename_two() {
    let Some(world) = World::set_up("cost", |_| {}) else { return };
    let customers: Vec<_> = (0..COMMANDS).map(|_| Entity::new(Kind::Customer, "ACTIVE")).collect();
    let accounts: Vec<_> = (0..COMMANDS).map(|_| Entity::new(Kind::Account, "ACTIVE")).collect();
    world.import(&[customers.clone(), accounts.clone()].concat());
    let processor = world.run();

    let of_customers = |command: fn(&Entity) -> Draft| customers.iter().map(command).collect::<Vec<_>>();
    let names = of_customers(|c| custom_name(&unique("r"), &c.by_external_id(), "Ada"));
    let segments = of_customers(|c| segment(&unique("r"), &c.by_ref_id(), "ENTERPRISE"));
    let renames: Vec<_> =
        accounts.iter().map(|a| rename(Kind::Account, &unique("r"), &a.by_external_id(), &unique("a"))).collect();
    let unknown: Vec<_> = customers
        .iter()
        .map(|_| custom_name(&unique("r"), &Entity::new(Kind::Customer, "ACTIVE").by_external_id(), "Ada"))
        .collect();
    // A duplicate costs at most the write that fails because there is an outcome already.
    for (what, drafts, least, most, status) in [
        ("a name by external id", &names, 1, 1, 200),
        ("a segment by refId", &segments, 1, 1, 200),
        ("a rename", &renames, 2, 2, 200),
        ("a duplicate of a name", &names, 0, 1, 200),
        ("a duplicate of a rename", &renames, 0, 1, 200),
        ("an unknown id", &unknown, 1, 1, 400),
    ] {
        let before = conditional_writes(&processor);
        let replies = world.ask_all(drafts);
        assert!(replies.iter().all(|r| r.body["statusCode"] == status), "{what}: {replies:#?}");
        let writes = conditional_writes(&processor) - before;
        let expected = least * COMMANDS..=most * COMMANDS;
        assert!(expected.contains(&writes), "{what}: {COMMANDS} commands made {writes} conditional writes, not {expected:?}");
    }
}

fn conditional_writes(processor: &Processor) -> u64 {
    processor.metric("crm_store_conditional_writes_total")
}
