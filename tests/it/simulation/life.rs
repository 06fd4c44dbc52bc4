//! A life: some instances, the brokers, the store and the CRM, one step of one of them at a time, by a seed. First they go
//! wrong in all ways; then everything heals, and what was left undone must get done.

use super::Defect;
use super::broker::{Broker, TransactionalId};
use super::check::Seen;
use super::crm::{self, Crm, pick};
use super::happened::Happened;
use super::instance::{Instance, Outages};
use super::publisher::Trouble;
use super::weakened::Weakened;
use crm_processor::flow::Limits;
use crm_processor::store::claims::{Claims, ClaimsOptions, Imported};
use crm_processor::store::simulated::{Faults, Random, Simulated};
use std::collections::BTreeSet;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Records in a life, about.
const RECORDS: u64 = 60;
/// The most instances at a time.
const INSTANCES: usize = 4;
/// By then everything must have been answered, counted from when all is well.
const PATIENCE: u64 = 100_000;
/// What nobody waits for any more has arrived by then.
const AFTERMATH: u64 = 3_000;

/// What happened in a life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub records: usize,
    pub happened: Happened,
    pub steps: u64,
    /// Of all that was published, in order.
    pub digest: u64,
}

/// Lives through `seed`.
///
/// # Panics
/// Something is not as it must be.
pub fn live(seed: u64, defect: Option<Defect>) -> Summary {
    let mut life = Life::new(seed, defect);
    life.turmoil();
    life.heal();
    life.finish();
    life.summary
}

/// Polls until it is ready. Nothing here waits for anything else.
fn complete<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return done;
        }
    }
}

struct Life {
    random: Random,
    /// Some commands panic.
    bug: bool,
    defect: Option<Defect>,
    limits: Limits,
    trouble: Trouble,
    options: ClaimsOptions,
    broker: Broker,
    store: Arc<Simulated>,
    crm: Crm,
    instances: Vec<Instance>,
    next_id: TransactionalId,
    /// Some outputs were refused at some time.
    refusals: bool,
    seen: Seen,
    summary: Summary,
}

impl Life {
    fn new(seed: u64, defect: Option<Defect>) -> Self {
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
        let trouble = Trouble { abortable: pick(&mut random, &[0, 10, 50]), unknown: pick(&mut random, &[0, 10, 50]) };
        let options = ClaimsOptions { cache_bytes: pick(&mut random, &[0, 1 << 20]), ..ClaimsOptions::default() };
        let importer = Claims::new(Arc::clone(&store), &options, store.clock());
        for entity in crm::entities() {
            assert_eq!(complete(importer.import(entity)).expect("no faults"), Imported::Created);
        }
        let mut life = Self {
            crm: Crm::new(Random::new(random.number()), partitions, RECORDS / 2 + random.below(RECORDS)),
            broker: Broker::new(partitions),
            bug: random.chance(300),
            random,
            defect,
            limits,
            trouble,
            options,
            store,
            instances: Vec::new(),
            next_id: 0,
            refusals: false,
            seen: Seen::default(),
            summary: Summary::default(),
        };
        life.start_instance();
        life
    }

    /// The CRM writes, and everything goes wrong.
    fn turmoil(&mut self) {
        let misfortunes = pick(&mut self.random, &[1, 3, 6]);
        while self.crm.left > 0 || !self.random.chance(1) {
            if self.crm.left > 0 && self.random.chance(20) {
                self.crm.write(&mut self.broker.topic);
            }
            if self.random.chance(misfortunes) {
                self.misfortune();
            }
            self.step();
        }
    }

    /// All is well from now on.
    fn heal(&mut self) {
        self.store.set_faults(Faults { yields: 1, ..Faults::default() });
        // Save for what is to be expected of any network.
        self.trouble = Trouble { abortable: 0, unknown: pick(&mut self.random, &[0, 20]) };
        self.broker.refusing.clear();
        // Two under one transactional id would go on fencing each other.
        let mut ids = BTreeSet::new();
        self.instances.retain(|i| ids.insert(i.id));
        self.instances.iter_mut().for_each(|i| i.outages = Outages::default());
    }

    fn finish(&mut self) {
        let begin = self.broker.now();
        while !self.seen.is_complete(&self.broker.topic) {
            if self.broker.now() > begin + PATIENCE {
                let missing: Vec<String> = self.seen.missing(&self.broker.topic).collect();
                panic!("{} records are not answered, such as: {}", missing.len(), missing[0]);
            }
            // The last one may have been asked to stop.
            if self.instances.is_empty() {
                self.start_instance();
            }
            (0..100).for_each(|_| self.step());
        }
        (0..AFTERMATH).for_each(|_| self.step());
        complete(self.seen.check(&self.broker.topic, &self.store, self.refusals, self.bug));
        self.summary.records = self.broker.topic.iter().map(Vec::len).sum();
        self.summary.steps = self.broker.now();
        while !self.instances.is_empty() {
            self.end_instance(0);
        }
        self.summary.happened.add(&self.broker.happened);
        let mut hasher = DefaultHasher::new();
        format!("{:?}", self.broker.view).hash(&mut hasher);
        self.summary.digest = hasher.finish();
    }

    fn step(&mut self) {
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
        match self.random.below(12) {
            0 | 1 => {
                self.end_instance(which);
                self.broker.happened.note("an instance crashed");
            }
            2 => {
                self.instances[which].shut_down(now);
                self.broker.happened.note("an instance was shut down");
            }
            3..6 if self.instances.len() < INSTANCES => self.start_instance(),
            6 => self.instances[which].outages.whole = until,
            7 => self.instances[which].outages.heartbeats = until,
            8 => self.instances[which].outages.publisher = until,
            9 => self.refuse(),
            _ => self.store.set_faults(store_faults(&mut self.random)),
        }
    }

    /// The outputs of some of the latest records are refused, until another time.
    fn refuse(&mut self) {
        self.broker.refusing.clear();
        self.refusals = true;
        for partition in &self.broker.topic {
            let some = partition.iter().rev().take(6).map(|r| r.at).filter(|_| self.random.chance(500));
            self.broker.refusing.extend(some);
        }
    }

    /// A process in the place of one that was there before, or still is; or at a place of its own.
    fn start_instance(&mut self) {
        let id = if self.random.chance(500) { self.random.below(self.next_id as u64 + 1) } else { self.next_id as u64 };
        let id = usize::try_from(id).expect("few");
        self.next_id = self.next_id.max(id + 1);
        let store = Arc::new(Weakened { store: Arc::clone(&self.store), defect: self.defect });
        let claims = Claims::new(store, &self.options, self.store.clock());
        self.instances.push(Instance::new(id, self.limits, claims, self.bug, self.defect));
    }

    fn end_instance(&mut self, which: usize) {
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
    let (unread, unacknowledged, lost, late) = (rate(), rate(), rate(), rate());
    Faults { yields: pick(random, &[0, 2, 6, 20]), unread, unacknowledged, lost, late, stale: pick(random, &[0, 300]) }
}
