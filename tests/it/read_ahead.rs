//! Tests reading ahead: it keeps to its bounds while the store is away, and saves time with a slow database.

use crate::cql;
use crate::proxy::{CqlProxy, Mischief};
use crate::servers;
use crm_processor::domain::answer::Answer;
use crm_processor::domain::command::{RawCommand, RawReference};
use crm_processor::domain::entity::{Entity, EntityType};
use crm_processor::domain::request::SourceRecord;
use crm_processor::domain::use_case::UseCase;
use crm_processor::domain::values::{ExternalId, Rules};
use crm_processor::store::claims::{Claims, ClaimsOptions, Submission};
use crm_processor::store::cql::CqlStore;
use crm_processor::store::metered::Metered;
use crm_processor::store::read_ahead::{Bounds, ReadAhead};
use crm_processor::store::{
    Applied, ApplyWrite, ClaimWrite, ConditionalStore, Consistency, EntityKey, EntityRead, HistoryRow, HoldWrite, IdKey, IdRead,
    RefuseWrite, StoreFault,
};
use crm_processor::telemetry::health::Health;
use crm_processor::telemetry::labels::{CacheLookup, Operation, ReferenceKind};
use crm_processor::telemetry::metrics::Metrics;
use futures::{StreamExt, TryStreamExt, stream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use uuid::Uuid;

const COMMANDS: usize = 2_048;
const IN_FLIGHT: usize = 256;
/// The time that a database a few hundred kilometres away adds to each statement.
const DELAY: Duration = Duration::from_millis(20);

/// A store that is away: each read waits until it is let go, and fails.
struct Away {
    gate: Semaphore,
    reading: AtomicUsize,
    most: AtomicUsize,
    tried: AtomicUsize,
}

impl Away {
    async fn fail<T>(&self) -> Result<T, StoreFault> {
        let reading = self.reading.fetch_add(1, SeqCst) + 1;
        self.most.fetch_max(reading, SeqCst);
        let _ = self.gate.acquire().await.expect("it is never closed");
        self.reading.fetch_sub(1, SeqCst);
        self.tried.fetch_add(1, SeqCst);
        Err(StoreFault::new("read_id", "away"))
    }
}

impl ConditionalStore for Away {
    async fn read_id(&self, _: &IdKey, _: &[&str], _: Consistency) -> Result<IdRead, StoreFault> {
        self.fail().await
    }

    async fn read_entity(&self, _: EntityKey, _: &[&str], _: Consistency) -> Result<EntityRead, StoreFault> {
        self.fail().await
    }

    async fn claim(&self, _: ClaimWrite) -> Result<Applied, StoreFault> {
        self.fail().await
    }

    async fn apply(&self, _: ApplyWrite) -> Result<Applied, StoreFault> {
        self.fail().await
    }

    async fn refuse(&self, _: RefuseWrite) -> Result<Applied, StoreFault> {
        self.fail().await
    }

    async fn hold(&self, _: HoldWrite) -> Result<Applied, StoreFault> {
        self.fail().await
    }

    async fn history(&self, _: EntityKey) -> Result<Vec<HistoryRow>, StoreFault> {
        self.fail().await
    }

    async fn ping(&self) -> Result<(), StoreFault> {
        self.fail().await
    }
}

#[tokio::test]
async fn while_the_store_is_away_each_command_is_tried_once_and_few_at_a_time() {
    let [reading, most, tried] = [0; 3].map(AtomicUsize::new);
    let store = Arc::new(Away { gate: Semaphore::new(0), reading, most, tried });
    let claims = Arc::new(Claims::new(store.clone(), &ClaimsOptions::default(), Arc::new(|| 0)));
    let ahead = ReadAhead::new(claims, Bounds { readers: 4, waiting: 10 });
    let commands: Vec<_> = (0..14).map(|n| name(&format!("away-{n}"), n)).collect();
    ahead.take(commands);
    // The oldest four of 14 are forgotten.
    until(|| store.reading.load(SeqCst) == 4).await;
    store.gate.add_permits(Semaphore::MAX_PERMITS);
    until(|| store.tried.load(SeqCst) == 10 && store.reading.load(SeqCst) == 0).await;
    assert_eq!(store.most.load(SeqCst), 4);
    // The readers have ended, and new ones begin.
    ahead.take(vec![name("away-0", 20)]);
    until(|| store.tried.load(SeqCst) == 11).await;
}

async fn until(holds: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if holds() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it never comes to that");
}

#[test]
fn with_a_slow_database_a_cold_cache_costs_two_reads_a_command_whether_they_are_ahead_of_its_turn_or_in_it() {
    let Some(cassandra) = servers::cassandra() else { return };
    let proxy = CqlProxy::before(cassandra, 1);
    crate::runtime().block_on(async {
        let direct = cql::connect().await.expect("there is a database");
        let prefix = Uuid::new_v4().simple().to_string();
        let importer = Claims::new(Arc::new(direct), &ClaimsOptions::default(), Arc::new(|| 0));
        let imported = stream::iter(0..COMMANDS).map(|n| importer.import(customer(&id(&prefix, n))));
        imported.buffer_unordered(64).try_collect::<Vec<_>>().await.expect("the database answers");
        proxy.set(Mischief { delay: DELAY, ..Mischief::default() });
        for ahead in [false, true] {
            let store = cql::connect_to(&proxy.address()).await;
            slowly(store, &prefix, ahead).await;
        }
    });
}

/// Decides as many commands as there are customers, in order, so many at a time.
async fn slowly(store: CqlStore, prefix: &str, read_ahead: bool) {
    let metrics = Arc::new(Metrics::new());
    let store = Arc::new(Metered::new(store, metrics.clone(), Arc::new(Health::new())));
    let claims = Claims::new(store, &ClaimsOptions::default(), Arc::new(|| 0));
    let claims = Arc::new(claims.counting_in(metrics.clone()));
    let ahead = ReadAhead::new(claims.clone(), Bounds::new(IN_FLIGHT, COMMANDS));
    let first = if read_ahead { COMMANDS } else { 0 };
    let commands: Vec<_> = (0..COMMANDS).map(|n| name(&id(prefix, n), first + n)).collect();
    let begin = Instant::now();
    if read_ahead {
        ahead.take(commands[IN_FLIGHT..].to_vec());
    }
    let decided = stream::iter(commands).map(|command| {
        let claims = claims.clone();
        let turn = tokio::spawn(async move { claims.decide_until_done(std::slice::from_ref(&*command), |_, _| ()).await });
        async move { turn.await.expect("no bug").remove(0) }
    });
    let decided: Vec<_> = decided.buffered(IN_FLIGHT).collect().await;
    let seconds = begin.elapsed().as_secs_f64();

    let count = |operation| metrics.store_operation_duration.of(operation).get_sample_count();
    let hits = metrics.cache_lookups.of((ReferenceKind::ExternalId, CacheLookup::Hit)).get();
    println!(
        "{} reading ahead: {:.0} commands/s with {IN_FLIGHT} in flight and {DELAY:?} a statement; {} reads of ids, {} of entities, \
         {} writes; {} read ahead, {hits} were there at their turn",
        if read_ahead { "with" } else { "without" },
        f64::from(u32::try_from(COMMANDS).expect("few")) / seconds,
        count(Operation::ReadId),
        count(Operation::ReadEntity),
        count(Operation::Apply),
        metrics.cache_read_aheads.get(),
    );
    assert!(decided.iter().all(|d| matches!(d.answer, Answer::Changed(_)) && d.publishes()));
    let counts = [Operation::ReadId, Operation::ReadEntity, Operation::Apply].map(count);
    assert_eq!(counts, [COMMANDS as u64; 3], "reads of ids, of entities, conditional writes");
    assert_eq!(metrics.cache_read_aheads.get() > 0, read_ahead);
}

fn id(prefix: &str, n: usize) -> String {
    format!("{prefix}-{n}")
}

fn customer(id: &str) -> Entity {
    Entity::new(EntityType::Customer, Uuid::new_v5(&Uuid::NAMESPACE_OID, id.as_bytes()), ExternalId::parse(id).expect("a fit id"))
}

/// Makes a command for a customer's name, in the record at `offset`.
fn name(customer: &str, offset: usize) -> Arc<Submission> {
    let raw = RawCommand {
        use_case: UseCase::UpdateCustomerCustomName,
        request_id: Some(format!("r-{offset}")),
        reference: Some(RawReference { external_id: Some(customer.into()), ref_id: None }),
        values: UseCase::UpdateCustomerCustomName.first_value(Some(format!("name {offset}"))),
        expected_version: None,
    };
    let command = raw.validate(&Rules { segments: Vec::new() }).expect("a valid command");
    let offset = i64::try_from(offset).expect("few");
    let record = SourceRecord { topic: "crm.commands".into(), partition: 0, offset };
    Arc::new(Submission::new(command, None, None, record))
}
