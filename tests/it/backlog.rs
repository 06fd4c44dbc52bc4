//! How fast a backlog is worked off, beside the same reads and conditional writes issued bare. Prints figures, asserts none:
//! `cargo test --release --test it -- --ignored --nocapture backlog`.

#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use crate::crm::{Entity, Kind, custom_name, unique};
use crate::world::World;
use crate::{runtime, servers};
use crm_processor::domain::entity::EntityType;
use crm_processor::domain::external_id::ExternalId;
use crm_processor::store::cql::{CqlOptions, CqlStore, SerialConsistency};
use crm_processor::store::{Applied, ApplyWrite, ConditionalStore, Consistency, EntityKey, EntityStatics, IdKey, LogRow};
use futures::{StreamExt, stream};
use std::time::{Duration, Instant};

/// As many at once as the processor by default.
const CONCURRENCY: usize = 256;

#[test]
#[ignore = "takes minutes and prints figures; see the file's head"]
fn the_backlog_s_rate_beside_that_of_bare_reads_and_writes() {
    let commands: usize = std::env::var("CRM_BACKLOG").map_or(20_000, |n| n.parse().expect("CRM_BACKLOG is a number"));
    let Some(world) = World::set_up("backlog", |_| {}) else { return };
    let customers: Vec<Entity> = (0..commands).map(|_| Entity::new(Kind::Customer, "ACTIVE")).collect();
    let start = Instant::now();
    world.import(&customers);
    let imported = rate(commands, start.elapsed());
    let config: toml::Table = std::fs::read_to_string(&world.config).expect("it was written").parse().expect("it is TOML");
    let keyspace = config["store"]["keyspace"].as_str().expect("it is configured").to_owned();
    let bare_before = bare(&keyspace, &customers);
    world.send_all(
        &customers.iter().map(|c| custom_name(&unique("r"), &c.by_external_id(), "Ann").key(&c.external_id)).collect::<Vec<_>>(),
    );
    let processor = world.run();
    let start = Instant::now();
    processor.until_metric_at_least("crm_commands_total", commands as u64);
    let processed = rate(commands, start.elapsed());
    let writes = processor.metric("crm_store_conditional_writes_total") as f64;
    let transactions = processor.metric("crm_kafka_transactions_total") as f64;
    let bare_after = bare(&keyspace, &customers);
    let bare = f64::midpoint(bare_before, bare_after);
    println!("import:                     {imported:8.0} entities/s");
    println!(
        "processor, cache cold:      {processed:8.0} commands/s ({:.2} conditional writes a command, {:.0} records a transaction)",
        writes / commands as f64,
        commands as f64 / transactions
    );
    println!("bare reads and writes:      {bare:8.0} /s ({bare_before:.0} before, {bare_after:.0} after)");
    println!("processor / bare:           {:8.2}", processed / bare);
}

fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// What a name update asks of the store when nothing is cached: both partitions read, one conditional write.
fn bare(keyspace: &str, customers: &[Entity]) -> f64 {
    let options = CqlOptions {
        contact_points: vec![servers::cassandra().expect("it is there").into()],
        keyspace: keyspace.into(),
        replication: [("class", "SimpleStrategy"), ("replication_factor", "1")].map(|(k, v)| (k.into(), v.into())).into(),
        request_timeout: Duration::from_secs(15),
        serial_consistency: SerialConsistency::Serial,
        local_datacenter: None,
        user: None,
        password: None,
        tls: None,
    };
    let round = unique("bare");
    runtime().block_on(async {
        let store = CqlStore::connect(&options).await.expect("the store is there");
        let start = Instant::now();
        stream::iter(customers).for_each_concurrent(CONCURRENCY, |customer| bare_update(&store, customer, &round)).await;
        rate(customers.len(), start.elapsed())
    })
}

async fn bare_update(store: &CqlStore, customer: &Entity, round: &str) {
    let entity_type = EntityType::Customer;
    let id = IdKey { entity_type, external_id: ExternalId::parse(&customer.external_id).expect("it was imported") };
    let claim = store.read_id(&id, &[round], Consistency::Quorum).await.expect("a read").claim.expect("it was imported");
    let key = EntityKey { entity_type, ref_id: claim.owner };
    let seen = store.read_entity(key, &[round, ""], Consistency::Quorum).await.expect("a read").statics.expect("it was imported");
    let mut after = EntityStatics { ..seen.clone() };
    after.entity.version += 1;
    // About as large as an outcome.
    let row = LogRow { request_id: round.into(), changed_to: Some(after.entity.version), outcome: vec![b'x'; 600], ttl: None };
    let write = ApplyWrite { key, read: Some(seen.entity.version), after: Some(after), rows: vec![row] };
    assert_eq!(store.apply(write).await.expect("a write"), Applied::Yes);
}
