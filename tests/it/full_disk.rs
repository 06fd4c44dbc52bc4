//! Tests the embedded store on a full disk. A limit on the size of the process's files (`RLIMIT_FSIZE`) takes the place of the
//! disk: a write beyond it fails as on a full disk, and the limit can be lifted while the process runs.

use crate::crm::{Entity, Kind, custom_name, unique};
use crate::ledger::Ledger;
use crate::servers;
use crate::world::World;
use std::process::Command;
use toml::{Table, Value};

/// The size at which the disk is full for a file that is being written. New files of the store are larger at once, so the process
/// has to be up before.
const FULL: &str = "--fsize=49152:";
const ROOM: &str = "--fsize=unlimited:";
const COMMANDS: usize = 400;

fn prlimit(pid: u32, limit: &str) -> bool {
    Command::new("prlimit").args(["--pid", &pid.to_string(), limit]).status().is_ok_and(|status| status.success())
}

#[test]
fn the_embedded_store_waits_on_a_full_disk_says_so_and_goes_on_when_there_is_room() {
    if !prlimit(std::process::id(), ROOM) {
        return servers::skip("prlimit (of util-linux) can't bound a process's files here, which stands for a full disk");
    }
    let mut path = String::new();
    let Some(world) = World::set_up("full-disk", |config| {
        path = servers::log_dir().join(unique("store")).display().to_string();
        let store = [("kind", "embedded"), ("path", &*path)].map(|(key, value)| (key.to_owned(), Value::String(value.into())));
        config.insert("store".into(), Value::Table(Table::from_iter(store)));
    }) else {
        return;
    };
    let customer = Entity::new(Kind::Customer, "ACTIVE");
    world.import(std::slice::from_ref(&customer));
    let processor = world.run_with_files_bounded();
    let command = |correlation: &str| {
        let draft = custom_name(&unique("r"), &customer.by_ref_id(), &unique("name")).key(&customer.ref_id);
        draft.header("correlation-id", correlation)
    };
    let correlations: Vec<_> = (0..COMMANDS).map(|_| unique("c")).collect();
    let drafts: Vec<_> = correlations.iter().map(|correlation| command(correlation)).collect();
    world.ask(&drafts[0]);
    assert!(prlimit(processor.pid(), FULL));
    world.send_all(&drafts[1..]);
    let said = processor.until_readyz(|body| body.contains("the store does not answer") && body.contains("\"ready\":false"));
    // The system's text for a file that is too large; for a full disk it is "No space left on device".
    assert!(said.contains("File too large") || said.contains("Poisoned"), "the reason is said: {said}");
    processor.until_metric("crm_store_up", 0);
    assert_eq!(processor.get("/livez").0, 200, "it helps itself");

    assert!(prlimit(processor.pid(), ROOM));
    processor.until_ready();
    Ledger::close(&world, &correlations);
    assert!(processor.log().contains("the embedded store takes writes again"), "{}", processor.log_tail());
    assert!(!processor.log().contains("restart the process"), "{}", processor.log_tail());
}
