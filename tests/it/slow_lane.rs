//! Tests that a command for which the database does not answer holds its own lane and no other.

use crate::crm::{Draft, Entity, Kind, custom_name, unique};
use crate::ledger::Ledger;
use crate::proxy::{CqlProxy, Mischief};
use crate::servers;
use crate::world::World;
use std::collections::HashSet;
use toml::Value;
use uuid::Uuid;

const OTHERS: usize = 400;

/// Makes commands for names of `customers`, in turn, with their correlation ids.
fn commands(customers: &[Entity], count: usize) -> (Vec<Draft>, Vec<String>) {
    let commands = customers.iter().cycle().take(count).map(|customer| {
        let correlation = unique("c");
        let draft = custom_name(&unique("r"), &customer.by_external_id(), &unique("name")).key(&customer.ref_id);
        (draft.header("correlation-id", &correlation), correlation)
    });
    commands.unzip()
}

#[test]
fn a_command_that_is_held_harms_no_other_key_of_its_partition_and_a_kill_repeats_nothing() {
    let Some(cassandra) = servers::cassandra() else { return };
    let proxy = CqlProxy::before(cassandra, 1);
    let through_proxy = |config: &mut toml::Table| {
        let store = config["store"].as_table_mut().expect("is a table");
        store.insert("contact_points".into(), vec![proxy.address()].into());
        store.insert("request_timeout".into(), Value::String("1s".into()));
    };
    let Some(world) = World::set_up("slow-lane", through_proxy) else { return };
    let (held, others) = (Entity::new(Kind::Customer, "ACTIVE"), (0..50).map(|_| Entity::new(Kind::Customer, "ACTIVE")));
    let others: Vec<_> = others.collect();
    world.import(&others);
    world.import(std::slice::from_ref(&held));
    let first = world.run_as("slot-0");
    let (warm_up, mut correlations) = commands(std::slice::from_ref(&held), 1);
    world.ask_all(&warm_up);

    // From now on the database executes writes about this customer, but their answers are lost.
    let muted = Uuid::parse_str(&held.ref_id).expect("is a UUID").as_bytes().to_vec();
    proxy.set(Mischief { muted: Some(muted), ..Mischief::default() });
    let (of_held, held_correlations) = commands(std::slice::from_ref(&held), 3);
    let partition = world.send_all(&of_held)[0].partition;
    let answered = |asked: &[String]| {
        let asked: HashSet<_> = asked.iter().map(String::as_str).collect();
        world.inbox.all(|r| r.topic == world.replies && r.text("correlation-id").is_some_and(|c| asked.contains(c))).len()
    };
    let mut ask_others = || {
        let (drafts, asked) = commands(&others, OTHERS);
        let beside = world.send_all(&drafts).iter().filter(|sent| sent.partition == partition).count();
        assert!(beside > OTHERS / 20, "some have the partition of the one that is held: {beside} of {OTHERS}");
        world.inbox.until("replies to all others", |records| {
            let replies = records.iter().filter(|r| r.topic == world.replies);
            let replies: HashSet<_> = replies.filter_map(|r| r.text("correlation-id")).collect();
            asked.iter().all(|c| replies.contains(c.as_str())).then_some(())
        });
        correlations.extend(asked);
    };
    ask_others();
    assert_eq!(answered(&held_correlations), 0, "it is held");
    first.until_metric_at_least(&format!("crm_consumer_lag_seconds{{partition=\"{partition}\"}}"), 1);
    first.until_metric_at_least("crm_store_faults_total", 1);
    // One operation is not the store.
    first.until_metric("crm_store_up", 1);
    first.until_ready();
    first.kill();

    let second = world.run_as("slot-0");
    ask_others();
    assert_eq!(answered(&held_correlations), 0, "it is held still");

    proxy.set(Mischief::default());
    correlations.extend(held_correlations);
    let ledger = Ledger::close(&world, &correlations);
    assert_eq!(ledger.with_status(200), correlations.len());
    assert!(ledger.replies.values().all(|r| r.body["replayed"] == false), "nothing is answered from memory");
    let lost = proxy.done().lost_answers.load(std::sync::atomic::Ordering::Relaxed);
    println!("{} commands, {lost} answers of the database lost", correlations.len());
    assert!(lost >= 2, "by both processors: {lost}");
    second.signal("TERM");
    assert_eq!(second.wait(), 0, "{}", second.log_tail());
    let replies = crate::inbox::count(world.kafka(), &[&world.replies]);
    assert_eq!(replies, correlations.len(), "replies when nobody can add to them any more");
}
