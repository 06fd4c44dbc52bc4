//! Many processes at once over a store that misbehaves, by a seed: commands that contend for few entities and ids,
//! duplicates, reused request ids, zombies, crashes at any await, late writes, imports, an operator. Afterwards the store
//! and what was answered must agree.
//!
//! `CRM_SEED=n` runs one seed, `CRM_SEEDS=n` so many.

mod verdict;

use super::world::{Process, World};
use crm_processor::domain::command::UseCaseName::{UpdateAccountExternalId, UpdateCustomerCustomName, UpdateCustomerSegment};
use crm_processor::domain::command::{RawReference, Reference};
use crm_processor::domain::entity::EntityType::{Account, Customer};
use crm_processor::domain::entity::{Entity, EntityType, State};
use crm_processor::store::claims::{ClaimsOptions, Decided, Imported, Submission};
use crm_processor::store::outcome::Coordinates;
use crm_processor::store::simulated::{Faults, Random, Simulated};
use crm_processor::store::{ApplyWrite, ConditionalStore, Consistency, EntityKey, EntityStatics, LogRow, StoreFault};
use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use verdict::check;

const SEEDS: u64 = 2_000;
/// Who is there from the beginning, under an id of the same name.
const ACCOUNTS: [&str; 2] = ["a", "b"];
const CUSTOMERS: [&str; 1] = ["d"];
/// Who is imported meanwhile, and under which ids: the second line contradicts the first.
const IMPORTS: [(EntityType, &str, &str); 3] = [(Account, "c", "c"), (Account, "c", "x"), (Customer, "e", "e")];
const ACCOUNT_IDS: [&str; 5] = ["a", "b", "c", "x", "y"];
const CUSTOMER_IDS: [&str; 3] = ["d", "e", "z"];
/// The operator's requests, which change a state out of band.
const OPERATIONS: [&str; 2] = ["operation-0", "operation-1"];

#[test]
fn each_change_is_applied_and_published_once_whatever_happens() {
    for seed in seeds(SEEDS) {
        let reproduce = Reproduce(seed);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers");
        runtime.block_on(simulate(seed));
        drop(reproduce);
    }
}

pub fn seeds(default: u64) -> impl Iterator<Item = u64> {
    let variable = |name| std::env::var(name).ok().map(|n| n.parse::<u64>().expect("a number"));
    match variable("CRM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("CRM_SEEDS").unwrap_or(default),
    }
}

/// Says how to run a seed again, if it fails.
pub struct Reproduce(pub u64);

impl Drop for Reproduce {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("re-run with CRM_SEED={}", self.0);
        }
    }
}

struct Simulation {
    world: World<Simulated>,
    store: Arc<Simulated>,
    processes: Vec<Process<Simulated>>,
    answers: Mutex<BTreeMap<Coordinates, (Submission, Decided)>>,
    /// Request ids that were used with other contents or another reference, too.
    reused: Mutex<BTreeSet<String>>,
}

async fn simulate(seed: u64) {
    let mut random = Random::new(seed);
    let store = Arc::new(Simulated::new(random.number(), Faults::default()));
    let world = World::with_clock(Arc::clone(&store), "s", store.clock());
    for (entity_type, name) in ACCOUNTS.map(|n| (Account, n)).into_iter().chain(CUSTOMERS.map(|n| (Customer, n))) {
        world.create(world.entity(entity_type, name)).await;
    }
    let options = ClaimsOptions { cache_bytes: pick(&mut random, &[0, 1 << 20]), ..ClaimsOptions::default() };
    let processes = (0..3).map(|_| world.process_with(&options)).collect();
    let simulation = Arc::new(Simulation { world, store, processes, answers: Mutex::default(), reused: Mutex::default() });

    for phase in 0..2 {
        simulation.store.set_faults(faults(&mut random));
        simulation.phase(phase, &mut random).await;
        simulation.store.set_faults(Faults::default());
        check(&simulation).await;
        // What is late is applied or given up before anything expires: the retention outlives it.
        for _ in 0..100 {
            simulation.store.ping().await.expect("no faults");
        }
        check(&simulation).await;
        simulation.store.advance(options.outcome_retention * 2);
    }
}

fn faults(random: &mut Random) -> Faults {
    let mut rate = || pick(random, &[0, 0, 20, 150]);
    let (unread, unacknowledged, lost, late) = (rate(), rate(), rate(), rate());
    Faults { yields: pick(random, &[1, 3, 8]), unread, unacknowledged, lost, late, stale: pick(random, &[0, 300]) }
}

pub fn pick<T: Copy>(random: &mut Random, from: &[T]) -> T {
    from[usize::try_from(random.below(from.len() as u64)).expect("an index")]
}

impl Simulation {
    /// Lanes of records, some with a zombie beside them, imports and an operator, all at once.
    async fn phase(self: &Arc<Self>, phase: usize, random: &mut Random) {
        let mut lanes = vec![Vec::new(); usize::try_from(2 + random.below(4)).expect("few")];
        for submission in self.submissions(phase, random) {
            let lane = usize::try_from(random.below(lanes.len() as u64)).expect("an index");
            lanes[lane].push(submission);
        }
        let mut tasks = Vec::new();
        for lane in lanes {
            for _ in 0..=u64::from(random.chance(300)) {
                tasks.push(tokio::spawn(Arc::clone(self).lane(lane.clone(), Random::new(random.number()))));
            }
        }
        for (entity_type, name, id) in IMPORTS {
            if random.chance(500) {
                let entity = Entity { external_id: self.world.id(id), ..self.world.entity(entity_type, name) };
                tasks.push(tokio::spawn(Arc::clone(self).import(entity, Random::new(random.number()))));
            }
        }
        if random.chance(300) {
            let state = pick(random, &[State::Deactivated, State::Active]);
            let name = pick(random, &ACCOUNTS);
            tasks.push(tokio::spawn(Arc::clone(self).operate(name, OPERATIONS[phase], state)));
        }
        for task in tasks {
            if let Err(error) = task.await {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }

    fn submissions(&self, phase: usize, random: &mut Random) -> Vec<Submission> {
        let mut submissions: Vec<Submission> = Vec::new();
        for n in 0..4 + random.below(8) {
            let mut request = format!("r{phase}-{n}");
            if random.chance(150) && n > 0 {
                request = format!("r{phase}-{}", random.below(n));
                self.reused.lock().unwrap().insert(request.clone());
            }
            let first = submission(&self.world, &request, random);
            for _ in 0..pick(random, &[0, 0, 1, 1, 2]) {
                submissions.push(self.world.again(&first));
            }
            submissions.push(first);
        }
        for n in (1..submissions.len()).rev() {
            let other = random.below(n as u64 + 1);
            submissions.swap(n, usize::try_from(other).expect("an index"));
        }
        submissions
    }

    /// One process after another works at the records, in order, in runs; a crash or a fault takes some of them back.
    async fn lane(self: Arc<Self>, records: Vec<Submission>, mut random: Random) {
        let mut done = 0;
        while done < records.len() {
            let process = &self.processes[usize::try_from(random.below(3)).expect("an index")];
            let target = &records[done].command;
            let same = |s: &&Submission| (&s.command.target, s.command.entity_type()) == (&target.target, target.entity_type());
            let most = usize::try_from(1 + random.below(5)).expect("few");
            let run: Vec<_> = records[done..].iter().take_while(same).take(most).cloned().collect();
            let decided = if random.chance(20) {
                perhaps(&mut random, async { Ok(vec![process.give_up(&run[0]).await?]) }).await
            } else {
                perhaps(&mut random, process.decide(&run)).await
            };
            match decided {
                Some(Ok(decided)) => {
                    done += decided.len();
                    for (submission, decided) in run.into_iter().zip(decided) {
                        self.commit(submission, decided);
                    }
                }
                Some(Err(_)) => {}
                None => done -= usize::try_from(random.below(done as u64 + 1)).expect("an index"),
            }
        }
    }

    /// The first output of a record counts; those after it are fenced, but must be the same.
    fn commit(&self, submission: Submission, decided: Decided) {
        let request = submission.command.request_id.as_str().to_owned();
        let mut answers = self.answers.lock().unwrap();
        let Some((_, first)) = answers.get(&submission.record) else {
            answers.insert(submission.record.clone(), (submission, decided));
            return;
        };
        // Who holds the reference may have used a reused request id meanwhile: then it is that one's by now.
        if first.publish || decided.publish || !self.reused.lock().unwrap().contains(&request) {
            assert_eq!(&decided, first, "the same record {submission:?}");
        }
    }

    async fn import(self: Arc<Self>, entity: Entity, mut random: Random) {
        loop {
            let process = &self.processes[usize::try_from(random.below(3)).expect("an index")];
            if let Some(Ok(imported)) = perhaps(&mut random, process.import(entity.clone())).await {
                let reference = Reference::RefId(entity.ref_id);
                let there = loop {
                    if let Ok(shown) = process.show(entity.entity_type, &reference).await {
                        break shown.is_some();
                    }
                };
                assert!(there || matches!(imported, Imported::Contradicts(_)), "{imported:?}");
                return;
            }
        }
    }

    /// Changes a state behind the processor's back, as far as the conditions allow.
    async fn operate(self: Arc<Self>, name: &'static str, operation: &'static str, state: State) {
        let key = EntityKey { entity_type: Account, ref_id: self.world.ref_id(name) };
        for _ in 0..5 {
            let Ok(read) = self.store.read_entity(key, &[], Consistency::Serial).await else { continue };
            let statics = read.statics.expect("it is there from the beginning");
            let entity = Entity { state, version: statics.entity.version + 1, ..statics.entity };
            let row = LogRow { request_id: operation.into(), changed_to: None, outcome: Vec::new(), ttl: None };
            let read = Some(entity.version - 1);
            let _ = self
                .store
                .apply(ApplyWrite { key, read, after: Some(EntityStatics { entity, ..statics }), rows: vec![row] })
                .await;
        }
    }
}

/// A command in a record of its own.
pub fn submission<S: ConditionalStore>(w: &World<S>, request: &str, random: &mut Random) -> Submission {
    let account = random.chance(700);
    let (ids, entities) = if account { (&ACCOUNT_IDS[..], &["a", "b", "c"][..]) } else { (&CUSTOMER_IDS[..], &["d", "e"][..]) };
    let reference: RawReference = if random.chance(700) { w.by_id(pick(random, ids)) } else { w.by_ref(pick(random, entities)) };
    let expected_version = random.chance(200).then(|| pick(random, &[1, 2, 3]));
    let wanted = w.id(pick(random, &ACCOUNT_IDS));
    let (use_case, value) = match (account, random.chance(700)) {
        (true, _) => (UpdateAccountExternalId, wanted.as_str()),
        (false, true) => (UpdateCustomerCustomName, pick(random, &["Ada", "Bea"])),
        (false, false) => (UpdateCustomerSegment, "RESIDENTIAL"),
    };
    w.submit(use_case, request, reference, value, expected_version)
}

/// What `work` yields, unless its process crashes: dropped at some await.
async fn perhaps<T>(random: &mut Random, work: impl Future<Output = Result<T, StoreFault>>) -> Option<Result<T, StoreFault>> {
    let mut polls = if random.chance(300) { random.below(40) } else { u64::MAX };
    let mut work = pin!(work);
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if polls == 0 => Poll::Ready(None),
        Poll::Pending => {
            polls -= 1;
            Poll::Pending
        }
    })
    .await
}
