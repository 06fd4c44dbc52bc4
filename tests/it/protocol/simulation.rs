//! Simulates many processes at once over a store that misbehaves, by a seed: commands that contend for few entities and ids,
//! duplicates, reused request ids, zombies, stalls and crashes at any await, late writes, imports, an operator who also erases
//! names, and outcomes that expire meanwhile. Afterwards the store must agree with the answers (`verdict`), and some order of
//! single decisions must explain both (`history`). [`Defect`]s prove that the checks find mistakes.
//!
//! Everything follows from the seed: see `seeds`.

mod callers;
mod crashes;
mod defects;
mod erasing;
mod history;
pub mod scene;
pub mod tasks;
mod verdict;

use super::world::{Process, World};
use crate::polls::complete;
use crate::seeds;
use crm_processor::domain::entity::{Entity, EntityType};
use crm_processor::domain::request::SourceRecord;
use crm_processor::store::claims::{ClaimsOptions, Decided, Submission};
use crm_processor::store::outcome::ImportOutcome;
use crm_processor::store::simulated::{Faults, Random, Simulated};
use crm_processor::store::{ConditionalStore, Consistency, EntityKey, FIRST_ROW};
use defects::{Defect, Defective};
use erasing::agree;
use history::{Effect, Operation};
use scene::Happened;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tasks::Task;
use uuid::Uuid;
use verdict::check;

/// The number of seeds. One takes about 1 ms.
const SEEDS: u64 = 10_000;
const PHASES: usize = 3;
/// The number of operations after which every late write has arrived.
const LATE: usize = 100;
/// The parts of the retention by which the clock moves. In a phase it moves by a quarter at most, so that the retention outlives
/// every attempt at a record and every write under way.
const TICK: u32 = 200;
const MOST_TICKS: u32 = TICK / 4;

#[test]
fn each_change_is_applied_and_published_once_whatever_happens() {
    let mut runs = 0_u64;
    let mut total = Happened::default();
    let take = |happened: Happened| {
        runs += 1;
        total.add(&happened);
    };
    seeds::each(SEEDS, |seed| simulate(seed, None), take);
    println!("{runs} seeds: {:#?}", total.0);
    if runs >= SEEDS {
        assert_eq!(total.missing(), Vec::<&str>::new(), "never happened");
    }
}

#[test]
fn a_seed_says_everything() {
    for seed in seeds::range(10).take(10) {
        assert_eq!(simulate(seed, None), simulate(seed, None), "seed {seed}");
    }
}

struct Simulation {
    world: World<Defective>,
    store: Arc<Simulated>,
    defect: Option<Defect>,
    options: ClaimsOptions,
    processes: Mutex<Vec<Arc<Process<Defective>>>>,
    /// The number of steps of all callers, through all phases.
    now: AtomicU64,
    /// The step at which each record was first worked at.
    begun: Mutex<BTreeMap<SourceRecord, u64>>,
    answers: Mutex<BTreeMap<SourceRecord, Answered>>,
    /// The request ids that were used with other contents or another reference, too, or again when the retention was over.
    several: Mutex<BTreeSet<String>>,
    /// The entities that creations are about, whether they came into being or not.
    created: Mutex<BTreeSet<(EntityType, Uuid)>>,
    /// The results of imports in this phase, and what the operator tried.
    beside: Mutex<Vec<Operation>>,
    happened: Mutex<Happened>,
}

/// The first answer to a record.
#[derive(Clone)]
struct Answered {
    submission: Submission,
    decided: Decided,
    phase: usize,
    at: u64,
}

/// Whether two records hold the same command.
fn same_command(one: &Submission, other: &Submission) -> bool {
    let command = |s: &Submission| (s.target.clone(), s.request.id.clone(), s.request.contents.clone());
    command(one) == command(other)
}

/// Runs `seed`.
///
/// # Panics
/// If a check fails.
fn simulate(seed: u64, defect: Option<Defect>) -> Happened {
    let mut random = Random::new(seed);
    let simulation = Simulation::new(&mut random, defect);
    let retention = ClaimsOptions::default().outcome_retention;
    let mut earlier = Vec::new();
    for phase in 0..PHASES {
        let before = simulation.entities();
        simulation.store.set_faults(faults(&mut random));
        simulation.phase(phase, &mut earlier, &mut random);
        simulation.store.set_faults(Faults::default());
        complete(check(&simulation));
        for _ in 0..LATE {
            complete(simulation.store.ping()).expect("no faults");
        }
        complete(check(&simulation));
        let operations = simulation.operations(phase, &before);
        history::assert_linearizable(&operations, &before, &simulation.entities());
        // Of what comes again, nothing may expire while it is worked at: it was long ago, or is to last.
        let pause = pick(&mut random, &[Duration::ZERO, retention / 2, retention * 2]);
        if pause == retention / 2 {
            earlier.clear();
        } else if pause > retention {
            simulation.happened.lock().unwrap().note("outcomes expired");
        }
        simulation.store.advance(pause);
    }
    simulation.happened.into_inner().unwrap()
}

pub fn faults(random: &mut Random) -> Faults {
    let mut rate = || pick(random, &[0, 0, 20, 150]);
    let (unread, unacknowledged, lost, late, hung) = (rate(), rate(), rate(), rate(), rate());
    Faults { yields: pick(random, &[1, 3, 8]), unread, unacknowledged, lost, late, hung, stale: pick(random, &[0, 300]) }
}

pub fn pick<T: Clone>(random: &mut Random, from: &[T]) -> T {
    from[usize::try_from(random.below(from.len() as u64)).expect("an index")].clone()
}

impl Simulation {
    fn new(random: &mut Random, defect: Option<Defect>) -> Self {
        let store = Arc::new(Simulated::new(random.number(), Faults::default()));
        let world = World::with_clock(Arc::new(Defective::new(Arc::clone(&store), defect)), "s", store.clock());
        for (entity_type, name) in scene::THERE {
            let importer = World::with_clock(Arc::clone(&store), "s", store.clock());
            complete(importer.create(importer.entity(entity_type, name)));
        }
        let mut options = ClaimsOptions { cache_bytes: pick(random, &[0, 1 << 20]), ..ClaimsOptions::default() };
        if defect == Some(Defect::RetentionTooShort) {
            options.outcome_retention /= TICK * 2;
        }
        let processes = (0..3).map(|_| Arc::new(world.process_with(&options))).collect();
        Self {
            world,
            store,
            defect,
            options,
            processes: Mutex::new(processes),
            now: AtomicU64::new(0),
            begun: Mutex::default(),
            answers: Mutex::default(),
            several: Mutex::default(),
            created: Mutex::default(),
            beside: Mutex::default(),
            happened: Mutex::default(),
        }
    }

    /// Runs a phase: lanes of records, some with a zombie beside them, imports and an operator, all at once.
    fn phase(&self, phase: usize, earlier: &mut Vec<Submission>, random: &mut Random) {
        let mut tasks = Vec::new();
        let mut lanes = vec![Vec::new(); usize::try_from(2 + random.below(4)).expect("few")];
        for submission in self.submissions(phase, earlier, random) {
            for _ in 0..random.below(3) {
                tasks.push(Task::new(self.read_ahead(submission.clone(), Random::new(random.number()))));
            }
            let lane = usize::try_from(random.below(lanes.len() as u64)).expect("an index");
            lanes[lane].push(submission);
        }
        for lane in lanes {
            for _ in 0..=u64::from(random.chance(300)) {
                tasks.push(Task::new(self.lane(phase, lane.clone(), Random::new(random.number()))));
            }
        }
        for (entity_type, name, id) in scene::IMPORTS {
            if random.chance(400) {
                let entity = Entity { external_id: self.world.id(id), ..self.world.entity(entity_type, name) };
                tasks.push(Task::new(self.import(entity, Random::new(random.number()))));
            }
        }
        if random.chance(300) {
            tasks.push(Task::new(self.operate(phase, pick(random, &scene::OPERATED), pick(random, &scene::STATES))));
        }
        if random.chance(300) {
            tasks.push(Task::new(self.erase(pick(random, &self.named()))));
        }
        let mut clock = Random::new(random.number());
        let (pace, mut ticks) = (pick(random, &[0, 5, 50]), 0);
        let retention = ClaimsOptions::default().outcome_retention;
        tasks::run(tasks, random, |_| {
            self.now.fetch_add(1, Relaxed);
            if clock.chance(pace) && ticks < MOST_TICKS {
                ticks += 1;
                self.store.advance(retention / TICK);
            }
        });
    }

    /// Returns the operations that took effect in a phase.
    fn operations(&self, phase: usize, before: &[Entity]) -> Vec<Operation> {
        let mut operations = self.took_effect(phase, before);
        let (answers, begun) = (self.answers.lock().unwrap(), self.begun.lock().unwrap());
        for answered in answers.values().filter(|a| a.phase == phase && !a.decided.replayed && !a.is_reused()) {
            let Answered { submission, decided, .. } = answered;
            // Callers that got the same answer got it later.
            let several = self.several.lock().unwrap().contains(submission.request.id.as_str());
            let told = answers.values().filter(|a| {
                a.submission.request.record == submission.request.record
                    || (!several && same_command(&a.submission, submission) && agree(&a.decided.answer, &decided.answer))
            });
            let end = told.map(|a| a.at).min().expect("it was told itself");
            let (begin, answer) = (begun[&submission.request.record], &decided.answer);
            operations.extend(Operation::all_of(begin, end, submission, answer));
        }
        operations
    }

    /// Returns the operations of imports and of the operator. No answer says which attempt took effect, but the store does.
    fn took_effect(&self, phase: usize, before: &[Entity]) -> Vec<Operation> {
        let beside = std::mem::take(&mut *self.beside.lock().unwrap());
        let row = |entity_type, ref_id, request| {
            let key = EntityKey { entity_type, ref_id };
            let read = complete(self.store.read_entity(key, &[request], Consistency::Serial));
            read.expect("no faults").outcomes.pop().map(|row| row.outcome)
        };
        let is_new = |e: &Entity| !before.iter().any(|b| (b.entity_type, b.ref_id) == (e.entity_type, e.ref_id));
        let came_as = |e: &Entity| {
            let blob = row(e.entity_type, e.ref_id, FIRST_ROW).filter(|_| is_new(e))?;
            Some(ImportOutcome::decode(&blob).expect("an import's outcome").external_id)
        };
        let mut operations = Vec::new();
        for Operation { begin, end, effect } in beside {
            match &effect {
                Effect::Created(e) | Effect::Existed(e) | Effect::Contradicted(e) => {
                    let created = came_as(e).is_some_and(|id| id == e.external_id);
                    let known = if matches!(effect, Effect::Contradicted(_)) { u64::MAX } else { end };
                    if created {
                        operations.push(Operation { begin, end: known, effect: Effect::Created(e.clone()) });
                    }
                    if !matches!(effect, Effect::Created(_)) {
                        operations.push(Operation { begin, end, effect });
                    }
                }
                Effect::Operated(entity_type, ref_id, _) => {
                    if row(*entity_type, *ref_id, scene::OPERATIONS[phase]).is_some() {
                        operations.push(Operation { begin, end, effect });
                    }
                }
                Effect::LookedUp(..) | Effect::Decided(..) => unreachable!("of commands the answers are kept"),
            }
        }
        operations
    }
}
