//! Tests an import over a database whose answers get lost.

use crate::crm::{Entity, Kind, json_lines};
use crate::proxy::{CqlProxy, Mischief};
use crate::servers;
use crate::world::World;
use std::sync::atomic::Ordering;
use toml::Value;

const ENTITIES: usize = 60;

#[test]
fn an_import_counts_what_it_made_though_it_was_not_told() {
    let Some(cassandra) = servers::cassandra() else { return };
    let proxy = CqlProxy::before(cassandra, 5);
    let through_proxy = |config: &mut toml::Table| {
        let store = config["store"].as_table_mut().expect("is a table");
        store.insert("contact_points".into(), vec![proxy.address()].into());
        store.insert("request_timeout".into(), Value::String("1s".into()));
    };
    let Some(world) = World::set_up("import-faults", through_proxy) else { return };
    let lines: Vec<_> = (0..ENTITIES).map(|_| Entity::new(Kind::Customer, "ACTIVE").line()).collect();
    proxy.set(Mischief { lost_answers: 80, ..Mischief::default() });
    let imported = world.import_lines(&json_lines(&lines)).succeeded();
    proxy.set(Mischief::default());
    let lost = proxy.done().lost_answers.load(Ordering::Relaxed);
    assert!(lost > 3, "only {lost} answers were lost");
    assert!(imported.stdout.starts_with(&format!("{ENTITIES} created, 0 existed, 0 findings")), "{lost} lost: {imported}");
    let again = world.import_lines(&json_lines(&lines)).succeeded();
    assert!(again.stdout.starts_with(&format!("0 created, {ENTITIES} existed, 0 findings")), "{again}");
}
