//! Compares runs, by a seed, with the same commands one at a time: whatever goes wrong meanwhile, the answers, the stored
//! outcomes and the entities are the same.
//!
//! The commands create, set names and segments and rename, by external ids that change hands and by refIds, some of them unknown. Their
//! versions fit or don't. Their request ids are out of few, so that many come again, with the same contents or with others.
//! Meanwhile writes are lost, late or unacknowledged, reads fail or miss what is under way, and processes die in a run, which
//! then begins again somewhat earlier and ends elsewhere.

use super::simulation::scene::{ENTITIES, IDS, THERE, created, reference, submission};
use super::simulation::{faults, pick};
use super::world::{Process, World};
use crate::polls::{complete, polls};
use crate::seeds;
use crm_processor::domain::answer::Answer;
use crm_processor::domain::contents::Contents;
use crm_processor::domain::entity::Entity;
use crm_processor::domain::rejection::Rejection;
use crm_processor::store::claims::{Decided, MAX_RUN, Submission};
use crm_processor::store::outcome::Outcome;
use crm_processor::store::simulated::{Faults, Random, Simulated};
use crm_processor::store::{ConditionalStore, Consistency, EntityKey, IdKey, MAX_REQUESTS, OutcomeRow};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The number of seeds. One takes some milliseconds.
const SEEDS: u64 = 3_000;
/// The number of operations after which every late write has arrived.
const LATE: usize = 100;
/// The most deaths with one seed. A death takes several runs back, and the runs end at each creation, so that without a bound the work
/// might shrink more slowly than it grows.
const MOST_DEATHS: usize = 40;
/// A size of which sixteen have room in a write.
const LARGE: usize = 7 << 10;

/// The events that must happen now and then, or the comparison proves nothing.
const EVENTS: [&str; 7] = [
    "a death",
    "a fault",
    "a run of many",
    "a run that went on in a second write",
    "an answer was given again",
    "an entity was created",
    "something was changed",
];

type Happened = BTreeMap<&'static str, usize>;

/// The entities with their epochs, and the stored outcomes by request and place.
type End = (Vec<Option<(Entity, i64)>>, BTreeMap<String, Outcome>);

#[test]
fn a_run_has_the_same_outcomes_as_its_commands_one_at_a_time() {
    let mut total = Happened::new();
    let take = |happened: Happened| happened.into_iter().for_each(|(event, n)| *total.entry(event).or_default() += n);
    seeds::each(SEEDS, compare, take);
    println!("{total:#?}");
    if seeds::range(SEEDS).count() as u64 >= SEEDS {
        assert_eq!(total.into_keys().collect::<Vec<_>>(), EVENTS, "happened");
    }
}

fn compare(seed: u64) -> Happened {
    let one_at_a_time = Stage::new(seed);
    let process = one_at_a_time.world.process();
    let expected: Vec<_> = one_at_a_time.records.iter().map(|record| one(&process, record)).collect();
    let end = one_at_a_time.end();
    let mut happened = Happened::new();
    for faulty in [false, true] {
        let mut stage = Stage::new(seed);
        stage.decide_in_runs(faulty, &expected);
        assert_eq!(stage.end(), end, "in the end; faults: {faulty}");
        for (event, n) in stage.happened {
            *happened.entry(event).or_default() += n;
        }
    }
    happened
}

fn one(process: &Process<Simulated>, record: &Submission) -> Decided {
    complete(process.decide(std::slice::from_ref(record))).expect("no faults").remove(0)
}

/// A store of its own, and the records of the seed, which are the same on each stage.
struct Stage {
    store: Arc<Simulated>,
    world: World<Simulated>,
    records: Vec<Submission>,
    /// What goes wrong.
    random: Random,
    happened: Happened,
}

impl Stage {
    fn new(seed: u64) -> Self {
        let store = Arc::new(Simulated::new(seed, Faults::default()));
        let world = World::new(Arc::clone(&store), "f");
        for (entity_type, name) in THERE {
            complete(world.create(world.entity(entity_type, name)));
        }
        let mut random = Random::new(seed);
        let records = records(&world, &mut random);
        Self { store, world, records, random, happened: Happened::new() }
    }

    /// Decides the records in runs, as often as it takes. Each answer must be the expected one each time that it is given, with
    /// the exception of [`Self::is_answered_for_another_owner`].
    fn decide_in_runs(&mut self, faulty: bool, expected: &[Decided]) {
        if faulty {
            self.store.set_faults(faults(&mut self.random));
        }
        let mut process = self.world.process();
        let (mut done, mut begun, mut deaths) = (0, 0, 0);
        while done < self.records.len() {
            let most = if self.random.chance(500) { MAX_RUN } else { self.below(8) + 1 };
            let named = self.records[done].entity_named();
            let run: Vec<_> = self.records[done..].iter().take_while(|s| s.entity_named() == named).take(most).cloned().collect();
            let may_die = faulty && deaths < MOST_DEATHS;
            let dies_after = if may_die && self.random.chance(300) { self.random.below(100) } else { u64::MAX };
            let end = done + run.len();
            let (decided, [_, writes]) = complete(self.world.counted(async { polls(process.decide(&run), dies_after) }));
            match decided {
                Some(Ok(decided)) => {
                    assert_eq!(decided.len(), run.len());
                    for (at, decided) in (done..).zip(&decided) {
                        assert!(
                            *decided == expected[at] || self.is_answered_for_another_owner(at, begun, decided, expected),
                            "{decided:?} to {:#?}, not {:?}; faults: {faulty}",
                            self.records[at],
                            expected[at]
                        );
                    }
                    self.note_run(&decided, writes);
                    done = end;
                }
                Some(Err(_)) => self.note("a fault"),
                None => {
                    self.note("a death");
                    deaths += 1;
                    if self.random.chance(700) {
                        process = self.world.process();
                    }
                    done -= self.below(done.min(20) + 1);
                }
            }
            begun = begun.max(end);
        }
        self.store.set_faults(Faults::default());
        for _ in 0..LATE {
            complete(self.store.ping()).expect("no faults");
        }
    }

    /// Nothing is stored for a record that is a duplicate, or that uses a request's id for other contents. Who comes to it once
    /// more, after deaths, has begun with records after it, too, and the name in it may belong to another entity by now, about which
    /// the request's id was used as well: so it is the duplicate of another record with this id, or none. Its first answer was
    /// never published, or it would not come again.
    fn is_answered_for_another_owner(&self, at: usize, begun: usize, decided: &Decided, expected: &[Decided]) -> bool {
        const REUSED: Answer = Answer::Rejected(Rejection::RequestIdReused);
        let is_stored = !expected[at].replayed && expected[at].answer != REUSED;
        let request = |at: usize| &self.records[at].request.id;
        let mut others = (0..begun).filter(|other| *other != at && request(*other) == request(at));
        let fits = if decided.replayed {
            !decided.publishes() && others.any(|other| expected[other].answer == decided.answer)
        } else {
            decided.answer == REUSED && others.next().is_some()
        };
        at < begun && !is_stored && fits
    }

    /// Returns what is stored, without the claims: an attempt that saw an earlier state may have made a claim for nothing, which
    /// gives its successor another generation.
    fn end(&self) -> End {
        let requests: Vec<_> = self.records.iter().map(|s| s.request.id.as_str()).collect();
        let mut stored = BTreeMap::new();
        let mut entities = Vec::new();
        let mut add = |place: String, rows: Vec<OutcomeRow>| {
            for row in rows {
                let outcome = Outcome::decode(&row.request_id, &row.outcome).expect("an outcome");
                stored.insert(format!("{} {place}", row.request_id), outcome);
            }
        };
        let named = ENTITIES.map(|(entity_type, name)| (entity_type, self.world.ref_id(name)));
        let created: BTreeSet<_> = self.records.iter().filter_map(created).collect();
        for (entity_type, ref_id) in named.into_iter().chain(created) {
            let key = EntityKey { entity_type, ref_id };
            let read = |some: &[&str]| complete(self.store.read_entity(key, some, Consistency::Serial)).expect("no faults");
            requests.chunks(MAX_REQUESTS).for_each(|some| add(format!("of {entity_type} {ref_id}"), read(some).outcomes));
            entities.push(read(&[]).statics.map(|statics| (statics.entity, statics.epoch)));
        }
        for (entity_type, name) in IDS.iter().flat_map(|(entity_type, names)| names.iter().map(|name| (*entity_type, *name))) {
            let id = IdKey { entity_type, external_id: self.world.id(name) };
            let read = |some: &[&str]| complete(self.store.read_id(&id, some, Consistency::Serial)).expect("no faults");
            requests.chunks(MAX_REQUESTS).for_each(|some| add(format!("under {entity_type} id {name}"), read(some).outcomes));
        }
        (entities, stored)
    }

    fn note_run(&mut self, decided: &[Decided], writes: usize) {
        let large = decided.len() > 16 && self.records[0].request.correlation_id.as_ref().is_some_and(|c| c.len() >= LARGE);
        for (event, happened) in [
            ("a run of many", decided.len() > 16),
            ("a run that went on in a second write", large && writes > 1),
            ("an answer was given again", decided.iter().any(|d| d.replayed)),
            ("an entity was created", decided.iter().any(|d| d.publishes() && is_creation(d))),
            ("something was changed", decided.iter().any(|d| d.publishes() && !is_creation(d))),
        ] {
            if happened {
                self.note(event);
            }
        }
    }

    fn note(&mut self, event: &'static str) {
        *self.happened.entry(event).or_default() += 1;
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.below(bound as u64)).expect("few")
    }
}

fn is_creation(decided: &Decided) -> bool {
    matches!(&decided.answer, Answer::Changed(transaction) if transaction.use_case.is_creation())
}

/// Returns a lane's records: some about one entity under one reference, then some about another.
fn records(world: &World<Simulated>, random: &mut Random) -> Vec<Submission> {
    let requests: Vec<_> = (0..pick(random, &[8, 30, 200])).map(|n| format!("r{n}")).collect();
    let correlation_id = if random.chance(100) { "x".repeat(LARGE) } else { "c".into() };
    let mut records = Vec::new();
    for _ in 0..pick(random, &[1, 3, 6]) {
        let (entity_type, named) = reference(world, random);
        for _ in 0..pick(random, &[4, 8, 40]) {
            let request = pick(random, &requests);
            let mut record = submission(world, &request, entity_type, named.clone(), random);
            if record.request.contents.creation().is_none() && random.chance(200) {
                let (contents, expected_version) = (&record.request.contents, i64::try_from(random.below(12)).expect("few"));
                let again = Contents::restore(contents.use_case(), &contents.change().text(), Some(expected_version)).unwrap();
                record.request.contents = again;
            }
            record.request.correlation_id = Some(correlation_id.clone());
            records.push(record.clone());
            if random.chance(150) {
                records.push(world.again(&record));
            }
        }
    }
    records
}
