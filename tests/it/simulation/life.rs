//! A life: some instances, the brokers, the store and the CRM, one step of one of them at a time, by a seed. First they go wrong
//! in all ways; then everything heals, and the work that was left undone must get done. Some lives go on until outcomes that are
//! kept for a limited time have been forgotten.

use super::Defect;
use super::broker::{Broker, Slot};
use super::check::Seen;
use super::crm::{self, Crm, pick};
use super::happened::Happened;
use super::instance::{Instance, Outages, uptime};
use super::publisher::Trouble;
use super::weakened::{Held, Hold, Weakened};
use crate::polls::complete;
use crm_processor::domain::use_case::UseCase;
use crm_processor::flow::Limits;
use crm_processor::flow::stream::Timing;
use crm_processor::store::ConditionalStore;
use crm_processor::store::claims::{Claims, ClaimsOptions};
use crm_processor::store::simulated::{Faults, Random, Simulated};
use crm_processor::store::upkeep::import::Imported;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// The approximate number of records in a life.
const RECORDS: u64 = 60;
/// The most instances at a time.
const INSTANCES: usize = 4;
/// The time within which everything must be answered, counted from when all is well.
const PATIENCE: u64 = 100_000;
/// The time after which requests that nobody waits for any more have arrived.
const AFTERMATH: u64 = 3_000;
/// The number of operations after which every late write has arrived.
const LATE: usize = 100;
/// How long a revocation or a shutdown waits for the commands that are being processed.
const GRACE: u64 = 250;
/// How often a record that is held is tried.
const HELD_RETRY: u64 = 200;
/// How far the clock moves now and then, in parts of the retention, and how far it moves at most before everything has healed, so
/// that the retention outlives all work under way.
const TICK: u32 = 1_000;
const MOST_TICKS: u32 = 500;

/// The events of a life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub records: usize,
    pub happened: Happened,
    pub steps: u64,
    /// All records that were published, in order.
    pub digest: u64,
}

/// Simulates the life of `seed`.
///
/// # Panics
/// If a check fails.
pub fn live(seed: u64, defect: Option<Defect>) -> Summary {
    let mut life = Life::new(seed, defect);
    life.start_instance();
    for left in pick(&mut life.random, &[&[0][..], &[0], &[20, 0]]) {
        life.turmoil(*left);
        life.heal();
        life.settle();
        life.forget();
    }
    life.end()
}

pub struct Life {
    pub random: Random,
    /// Some commands panic.
    bug: bool,
    defect: Option<Defect>,
    pub limits: Limits,
    timing: Timing,
    pub trouble: Trouble,
    options: ClaimsOptions,
    pub broker: Broker,
    store: Arc<Simulated>,
    pub hold: Arc<Hold>,
    held_until: u64,
    /// Whether the clock has moved since everything was healed.
    ticks: u32,
    pub crm: Crm,
    pub instances: Vec<Instance>,
    next_id: Slot,
    pub seen: Seen,
    summary: Summary,
}

impl Life {
    pub fn new(seed: u64, defect: Option<Defect>) -> Self {
        let mut random = Random::new(seed);
        let store = Arc::new(Simulated::new(random.number(), Faults::default()));
        let partitions = pick(&mut random, &[1, 2, 3]);
        let limits = Limits {
            max_in_flight: pick(&mut random, &[2, 6, 16]),
            max_queued: pick(&mut random, &[5, 20, 60]),
            max_lane: pick(&mut random, &[2, 4, 16]),
            max_run: pick(&mut random, &[1, 4]),
            max_transaction_records: pick(&mut random, &[1, 4, 20]),
            max_transaction_bytes: 12,
        };
        let timing = Timing {
            linger: uptime(pick(&mut random, &[0, 5, 50])),
            revocation_grace: uptime(GRACE),
            shutdown_grace: uptime(GRACE),
            held_retry: uptime(HELD_RETRY),
        };
        let options = ClaimsOptions { cache_bytes: pick(&mut random, &[0, 1 << 20]), ..ClaimsOptions::default() };
        let importer = Claims::new(Arc::clone(&store), &options, store.clock());
        for entity in crm::entities() {
            assert_eq!(complete(importer.import(entity)).expect("no faults"), Imported::Created);
        }
        let mut broker = Broker::new(partitions);
        broker.group.takes_older = defect == Some(Defect::OlderOffsetsTaken);
        Self {
            crm: Crm::new(Random::new(random.number()), partitions, RECORDS / 2 + random.below(RECORDS)),
            broker,
            bug: random.chance(300),
            random,
            defect,
            limits,
            timing,
            trouble: Trouble::default(),
            options,
            store,
            hold: Arc::default(),
            held_until: 0,
            ticks: 0,
            instances: Vec::new(),
            next_id: 0,
            seen: Seen::default(),
            summary: Summary::default(),
        }
    }

    /// Lets the CRM write all but `left` of its records, while everything goes wrong.
    fn turmoil(&mut self, left: u64) {
        self.trouble = Trouble {
            abortable: pick(&mut self.random, &[0, 10, 50]),
            unknown: pick(&mut self.random, &[0, 10, 50]),
            hanging: pick(&mut self.random, &[0, 0, 2, 10]),
        };
        let misfortunes = pick(&mut self.random, &[1, 3, 6]);
        while self.crm.left > left || !self.random.chance(1) {
            if self.crm.left > left && self.random.chance(20) {
                self.crm.write(&mut self.broker.topic);
            }
            if self.random.chance(misfortunes) {
                self.misfortune();
            }
            if self.random.chance(10) && self.ticks < MOST_TICKS {
                self.ticks += 1;
                self.store.advance(self.options.outcome_retention / TICK);
            }
            if self.held_until < self.broker.now() {
                self.hold.set(None);
            }
            self.step();
        }
    }

    /// Heals everything: all is well from now on.
    fn heal(&mut self) {
        self.store.set_faults(Faults { yields: 1, ..Faults::default() });
        // Some trouble remains, as in any network.
        self.trouble = Trouble { abortable: 0, unknown: pick(&mut self.random, &[0, 20]), hanging: 0 };
        self.broker.refusing.clear();
        self.hold.set(None);
        // Two processes under one transactional id would go on fencing each other.
        let mut ids = BTreeSet::new();
        self.instances.retain(|i| ids.insert(i.id));
        self.instances.iter_mut().for_each(|i| i.outages = Outages::default());
    }

    /// Goes on until everything has been answered, and nothing is under way any more.
    pub fn settle(&mut self) {
        let begin = self.broker.now();
        let patience = begin + PATIENCE;
        while !self.seen.is_complete(&self.broker.topic) {
            if self.broker.now() > patience {
                let missing: Vec<String> = self.seen.missing(&self.broker.topic).collect();
                panic!("{} records are not answered, such as: {}", missing.len(), missing[0]);
            }
            // The last process may have been asked to stop.
            if self.instances.is_empty() {
                self.start_instance();
            }
            (0..100).for_each(|_| self.step());
        }
        (0..AFTERMATH).for_each(|_| self.step());
        while !self.instances.iter().all(Instance::is_idle) {
            assert!(self.broker.now() < patience, "a command is decided for ever");
            self.step();
        }
        (0..LATE).for_each(|_| complete(self.store.ping()).expect("no faults"));
    }

    /// Lets the retention end.
    fn forget(&mut self) {
        if self.crm.left > 0 {
            self.store.advance(self.options.outcome_retention * 2);
            self.ticks = 0;
            self.crm.era += 1;
            self.broker.happened.note("outcomes expired");
        }
    }

    /// Checks the whole in the end.
    pub fn end(mut self) -> Summary {
        complete(self.seen.check(&self.broker.topic, &self.store, self.bug));
        for (use_case, event) in [
            (UseCase::CreateAccount, "an account was created"),
            (UseCase::CreateCustomer, "a customer was created"),
            (UseCase::CreateSubscriber, "a subscriber was created"),
            (UseCase::UpdateCustomerExternalId, "a customer was renamed"),
        ] {
            if self.seen.shows(use_case) {
                self.broker.happened.note(event);
            }
        }
        self.summary.records = self.broker.topic.iter().map(Vec::len).sum();
        self.summary.steps = self.broker.now();
        while !self.instances.is_empty() {
            self.end_instance(0);
        }
        self.summary.happened.add(&self.broker.happened);
        let mut hasher = DefaultHasher::new();
        format!("{:?}", self.broker.view).hash(&mut hasher);
        self.summary.digest = hasher.finish();
        self.summary
    }

    pub fn step(&mut self) {
        self.broker.step(&mut self.random);
        if let Some(which) = self.one_of() {
            self.instances[which].step(&mut self.broker, self.trouble, &mut self.random);
            if self.instances[which].has_left() {
                self.end_instance(which);
            }
        }
        self.seen.read(&self.broker.view);
        if let Some(broken) = &self.broker.broken {
            panic!("{broken}");
        }
    }

    fn misfortune(&mut self) {
        let now = self.broker.now();
        let Some(which) = self.one_of() else { return self.start_instance() };
        let until = now + 50 + self.random.below(1_500);
        match self.random.below(14) {
            0 | 1 => {
                self.end_instance(which);
                self.broker.happened.note("an instance crashed");
            }
            2 => {
                self.instances[which].shut_down();
                self.broker.happened.note("an instance was shut down");
            }
            3..6 if self.instances.len() < INSTANCES => self.start_instance(),
            6 => self.instances[which].outages.whole = until,
            7 => self.instances[which].outages.heartbeats = until,
            8 => self.instances[which].outages.publisher = until,
            9 => self.instances[which].outages.lanes = until,
            10 => self.refuse(),
            11 => self.hold(until),
            _ => self.store.set_faults(store_faults(&mut self.random)),
        }
    }

    /// Lets the broker refuse the outputs of some of the latest records for a while.
    fn refuse(&mut self) {
        self.broker.refusing.clear();
        for partition in &self.broker.topic {
            let some = partition.iter().rev().take(6).map(|r| r.at).filter(|_| self.random.chance(500));
            self.broker.refusing.extend(some);
        }
    }

    /// Lets the store answer no write about one entity until then.
    fn hold(&mut self, until: u64) {
        let entity = crm::ref_id(pick(&mut self.random, &["c0", "c1", "a0", "a1"]));
        self.hold.set(Some(Held { entity, happens: self.random.chance(500) }));
        self.held_until = until;
        self.broker.happened.note("a lane was held");
    }

    /// Starts a process in the slot of one that was there before, or still is, or in a slot of its own.
    pub fn start_instance(&mut self) {
        let id = if self.random.chance(500) { self.random.below(self.next_id as u64 + 1) } else { self.next_id as u64 };
        let id = usize::try_from(id).expect("few");
        self.next_id = self.next_id.max(id + 1);
        let store = Arc::new(Weakened { store: Arc::clone(&self.store), hold: Arc::clone(&self.hold), defect: self.defect });
        let claims = Claims::new(store, &self.options, self.store.clock());
        self.instances.push(Instance::new(id, self.limits, self.timing, claims, self.bug, self.defect));
    }

    pub fn end_instance(&mut self, which: usize) {
        let instance = self.instances.swap_remove(which);
        self.summary.happened.add(&instance.happened());
    }

    fn one_of(&mut self) -> Option<usize> {
        let count = self.instances.len();
        (count > 0).then(|| usize::try_from(self.random.below(count as u64)).expect("an index"))
    }
}

fn store_faults(random: &mut Random) -> Faults {
    let away = random.chance(100);
    let mut rate = || if away { 1_000 } else { pick(random, &[0, 0, 20, 150]) };
    let (unread, unacknowledged, lost, late, hung) = (rate(), rate(), rate(), rate(), rate());
    Faults { yields: pick(random, &[0, 2, 6, 20]), unread, unacknowledged, lost, late, hung, stale: pick(random, &[0, 300]) }
}
