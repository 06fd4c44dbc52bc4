//! Lets everything go wrong on one Kafka and one Cassandra. Processors are killed at the worst places, frozen past their session and thawed, and
//! join and leave all the time; Kafka and Cassandra are restarted; Cassandra freezes; statements and their answers are lost on
//! the way or arrive late; the registry and the store are away. Meanwhile the CRM sends. In the end each command must have one
//! reply and each change one Business Transaction, and the database must hold what was published.
//!
//! Tests start in the order of their names. This one comes long after `cluster_faults`, because each waits for the other to end, and
//! would keep a test thread idle meanwhile.
//!
//! One round takes some seven minutes: `cargo test --test it -- --nocapture one_node_faults`. `CRM_FAULT_ROUNDS=n` makes n rounds, for
//! hours if need be; `CRM_SEED=n` repeats the choices of one round, but not its timing. `CRM_ONLY="Cassandra" CRM_TIMES=n` makes only
//! those faults of a round whose name begins so, n times.

mod report;

use crate::gate::Gate;
use crate::proxy::{CqlProxy, Mischief};
use crate::registry;
use crate::round::audit::Audit;
use crate::round::fleet::{Fleet, SLOTS};
use crate::round::traffic::Traffic;
use crate::round::{Fault, Round, chosen, number, only, rounds, turn};
use crate::servers::own::OwnServer;
use crate::world::{PARTITIONS, World, quickly_missed};
use crm_processor::store::simulated::Random;
use report::Report;
use std::time::{Duration, Instant};
use toml::{Table, Value};

/// The number of commands in a round.
const COMMANDS: usize = 20_000;
const KEYSPACE: &str = "faults";
/// How often something is looked for: a look goes through all replies, or asks all processors for their metrics.
const LOOK: Duration = Duration::from_millis(200);
/// How long anything may take while nothing is wrong.
const PATIENCE: Duration = Duration::from_secs(180);
const KILLS: u32 = 24;
const ZOMBIES: u32 = 5;
const STORM: u32 = 16;
const REGISTRY_AWAY: Duration = Duration::from_secs(60);
const CASSANDRA_FROZEN: Duration = Duration::from_secs(60);
const STORE_AWAY: Duration = Duration::from_secs(120);

#[test]
fn whatever_fails_each_command_is_answered_once_and_each_change_published_once() {
    let _turn = turn();
    for Round { round, seed } in rounds() {
        let Some((kafka, cassandra)) = OwnServer::kafka().zip(OwnServer::cassandra()) else { return };
        let report = Installation::prepare(kafka, cassandra, seed).go();
        println!("round {round}, CRM_SEED={seed}\n{report}");
        report.assert_clean();
    }
}

struct Installation {
    kafka: OwnServer,
    cassandra: OwnServer,
    /// Between the driver and the gate.
    proxy: CqlProxy,
    /// Between the proxy and Cassandra.
    store: Gate,
    registry: Gate,
    world: World,
    traffic: Traffic,
    seed: u64,
}

impl Installation {
    fn prepare(kafka: OwnServer, cassandra: OwnServer, seed: u64) -> Self {
        let store = Gate::before(cassandra.address());
        let proxy = CqlProxy::before(&store.address(), seed);
        let registry = Gate::before(registry::url().strip_prefix("http://").expect("is HTTP"));
        let adjust = |config: &mut Table| {
            let mut set = |section: &str, key: &str, value: Value| {
                config[section].as_table_mut().expect("is a table").insert(key.to_owned(), value);
            };
            set("store", "contact_points", vec![proxy.address()].into());
            set("store", "keyspace", KEYSPACE.into());
            set("store", "request_timeout", "1s".into());
            // As many as a Cassandra on a busy machine answers within that second.
            set("kafka", "max_in_flight", 64.into());
            set("registry", "url", format!("http://{}", registry.address()).into());
            quickly_missed(config);
        };
        let world = World::set_up_on(kafka.address(), cassandra.address(), "faults", adjust);
        let traffic = Traffic::new(seed, COMMANDS);
        world.import(&traffic.entities());
        Self { kafka, cassandra, proxy, store, registry, world, traffic, seed }
    }

    fn go(mut self) -> Report {
        let (world, traffic) = (&self.world, &self.traffic);
        let mut course = Course {
            fleet: Fleet::start(world, Random::new(self.seed)),
            begun: Instant::now(),
            kafka: &mut self.kafka,
            cassandra: &mut self.cassandra,
            proxy: &self.proxy,
            store: &self.store,
            registry: &self.registry,
            world,
            traffic,
            report: Report::default(),
        };
        traffic.flow_to(world, || course.run());
        let mut report = course.report;
        report.audit = Audit::of(world, traffic, self.cassandra.address(), KEYSPACE);
        report
    }
}

/// The faults of a round, one after another.
struct Course<'a> {
    fleet: Fleet<'a>,
    begun: Instant,
    kafka: &'a mut OwnServer,
    cassandra: &'a mut OwnServer,
    proxy: &'a CqlProxy,
    store: &'a Gate,
    registry: &'a Gate,
    world: &'a World,
    traffic: &'a Traffic,
    report: Report,
}

impl Course<'_> {
    fn run(&mut self) {
        let faults: [Fault<Self>; 7] = [
            ("killed at fail points and at random", Self::kills),
            ("frozen and thawed", Self::zombies),
            ("joining and leaving", Self::storm),
            ("requests and answers lost, and the registry away", Self::losses),
            ("Cassandra restarted", Self::cassandra_restarts),
            ("Cassandra frozen, Kafka restarted meanwhile", Self::frozen_cassandra),
            ("the store away", Self::store_away),
        ];
        let chosen = chosen(&faults, &only());
        for _ in 0..number("CRM_TIMES").unwrap_or(1) {
            for (name, fault) in &chosen {
                self.say(name);
                fault(self);
            }
        }
        self.say("all well again");
        self.traffic.allow(COMMANDS, 2_000);
        self.until("all commands sent and answered", |c| c.traffic.sent() == COMMANDS && c.answered() >= COMMANDS);
        self.report.kills = self.fleet.kills().clone();
        self.fleet.end();
        let done = self.proxy.done();
        self.report.lost_requests = done.lost_requests.load(std::sync::atomic::Ordering::Relaxed);
        self.report.lost_answers = done.lost_answers.load(std::sync::atomic::Ordering::Relaxed);
        self.report.late = done.late.load(std::sync::atomic::Ordering::Relaxed);
        self.report.took = self.begun.elapsed();
    }

    fn kills(&mut self) {
        self.traffic.allow(7_000, 70);
        self.fleet.doom_all();
        self.until("enough kills", |c| c.fleet.was_killed_everywhere(KILLS));
        self.fleet.spare_all();
    }

    fn zombies(&mut self) {
        self.traffic.allow(3_000, 70);
        for zombie in 0..ZOMBIES {
            let slot = usize::try_from(zombie).expect("is small") % SLOTS;
            self.until("the partitions are shared", |c| c.fleet.all_share(PARTITIONS));
            self.until_answered_more(20);
            self.fleet.signal(slot, "STOP");
            self.until("the others have taken over", |c| c.fleet.others_have_all(slot, PARTITIONS));
            self.until_answered_more(20);
            self.fleet.signal(slot, "CONT");
            self.report.zombies += 1;
        }
        self.until("the partitions are shared", |c| c.fleet.all_share(PARTITIONS));
    }

    /// Each second a process joins, or leaves by SIGTERM or SIGKILL.
    fn storm(&mut self) {
        self.traffic.allow(1_500, 70);
        for n in 0..STORM {
            if n % 2 == 0 {
                self.fleet.join();
            } else {
                self.fleet.leave(if n % 4 == 1 { "TERM" } else { "KILL" });
            }
            self.report.joins_and_leaves += 1;
            self.rest(Duration::from_secs(1));
        }
    }

    fn losses(&mut self) {
        self.traffic.allow(3_500, 60);
        self.registry.shut();
        self.proxy.set(Mischief {
            lost_requests: 30,
            lost_answers: 30,
            late: 30,
            lateness: Duration::from_secs(3),
            ..Mischief::default()
        });
        self.rest(REGISTRY_AWAY);
        self.proxy.set(Mischief::default());
        self.registry.open();
        self.report.registry_away = REGISTRY_AWAY;
        self.until_answered_more(100);
    }

    fn cassandra_restarts(&mut self) {
        self.traffic.allow(1_500, 40);
        for signal in ["KILL", "TERM", "KILL"] {
            self.cassandra.restart_by(signal);
            self.report.cassandra_restarts += 1;
            self.until_answered_more(50);
        }
    }

    fn frozen_cassandra(&mut self) {
        self.traffic.allow(500, 20);
        let begun = Instant::now();
        self.cassandra.signal("STOP");
        self.restart_kafka("KILL");
        self.rest(CASSANDRA_FROZEN.saturating_sub(begun.elapsed()));
        self.cassandra.signal("CONT");
        self.report.cassandra_frozen = begun.elapsed();
        self.restart_kafka("TERM");
        self.until_answered_more(50);
    }

    fn store_away(&mut self) {
        let begun = Instant::now();
        self.store.shut();
        let first = self.traffic.only_what_needs_the_store(3_000, 100);
        self.rest(Duration::from_secs(20));
        self.restart_kafka("KILL");
        for slot in 0..2 {
            self.fleet.kill(slot);
        }
        self.rest(STORE_AWAY.saturating_sub(begun.elapsed()));
        let unanswered = self.traffic.correlations_from(first);
        assert!(unanswered.len() >= 1_000, "a backlog: {}", unanswered.len());
        self.report.answered_while_away =
            self.world.inbox.all(|r| r.text("correlation-id").is_some_and(|c| unanswered.contains(c))).len();
        self.report.backlog = unanswered.len();
        self.store.open();
        self.report.store_away = begun.elapsed();
    }

    fn restart_kafka(&mut self, signal: &str) {
        self.kafka.restart_by(signal);
        self.report.kafka_restarts += 1;
    }

    fn answered(&self) -> usize {
        self.world.inbox.all(|r| r.topic == self.world.replies).len()
    }

    fn until_answered_more(&mut self, more: usize) {
        let enough = self.answered() + more;
        // The CRM may have sent all its commands by now.
        self.until("more replies", |c| c.answered() >= enough.min(c.traffic.allowed()));
    }

    /// Checks that no process has ended by itself.
    fn tend(&mut self) {
        let ended = self.fleet.tend();
        assert!(ended.is_empty(), "{}", ended.join("\n"));
    }

    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            let state = || format!("{} sent, {} answered, {:?}", self.traffic.sent(), self.answered(), self.fleet);
            // The expectation comes last, because the state is long and CI may keep only the end.
            assert!(Instant::now() < deadline, "got: {}\nexpected: {what}", state());
            self.rest(LOOK);
        }
    }

    fn rest(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.tend();
            crate::pause();
        }
    }

    fn say(&self, what: &str) {
        println!(
            "{:4} s: {what}; {} sent, {} answered, {} killed",
            self.begun.elapsed().as_secs(),
            self.traffic.sent(),
            self.answered(),
            self.fleet.kills().values().sum::<u32>()
        );
    }
}
