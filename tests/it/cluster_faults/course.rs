//! A course of faults, section by section. After each section, each processor must answer something.

use super::AWAY;
use super::report::{Report, SESSION, Section, Times};
use crate::round::audit::Audit;
use crate::round::fleet::Fleet;
use crate::round::traffic::Traffic;
use crate::servers::cluster::{Brokers, Layout, Nodes};
use crate::world::{Processor, World};
use crm_processor::store::simulated::Random;
use std::time::{Duration, Instant};
use toml::{Table, Value};

const KEYSPACE: &str = "cluster_faults";
/// A processor hangs if it has answered nothing for so long after everything was mended.
const HANGS: Duration = Duration::from_secs(SESSION.as_secs() + 60);
/// How long anything else may take.
const PATIENCE: Duration = Duration::from_secs(240);

/// Brokers and nodes with topics, keyspace and entities.
pub struct Installation {
    brokers: Brokers,
    nodes: Nodes,
    world: World,
    traffic: Traffic,
    seed: u64,
}

impl Installation {
    /// Sets up topics, keyspace and entities on running servers.
    pub fn on(brokers: Brokers, nodes: Nodes, layout: Layout, seed: u64) -> Self {
        let adjust = |config: &mut Table| {
            let store = config["store"].as_table_mut().expect("is a table");
            store.insert("keyspace".into(), KEYSPACE.into());
            store.insert("local_datacenter".into(), "dc1".into());
            if layout == Layout::TwoDataCentres {
                let replication: [(_, Value); 3] =
                    [("class", "NetworkTopologyStrategy".into()), ("dc1", 2.into()), ("dc2", 1.into())];
                let replication = replication.into_iter().map(|(key, value)| (key.to_owned(), value));
                store.insert("replication".into(), Value::Table(replication.collect()));
            }
        };
        let world = World::set_up_on(&brokers.addresses(), &nodes.addresses(), "cluster", adjust);
        let traffic = Traffic::new(seed, usize::MAX);
        world.import(&traffic.entities());
        Self { brokers, nodes, world, traffic, seed }
    }

    /// Returns the installation's topics, keyspace and configuration.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Goes through a course, until all commands are answered.
    pub fn go(self, course: impl FnOnce(&mut Course<'_>)) -> Report {
        self.go_and_time(course).0
    }

    /// Goes through a course, and returns the times of all commands and replies, too.
    pub fn go_and_time(mut self, course: impl FnOnce(&mut Course<'_>)) -> (Report, Times) {
        let (world, traffic) = (&self.world, &self.traffic);
        let mut all = Course {
            fleet: Fleet::start(world, Random::new(self.seed)),
            brokers: &mut self.brokers,
            nodes: &mut self.nodes,
            world,
            traffic,
            begun: Instant::now(),
            report: Report::default(),
            aims: 0,
        };
        for (_, processor) in all.fleet.processors() {
            processor.until_ready();
        }
        traffic.flow_to(world, || {
            course(&mut all);
            all.finish();
        });
        let mut report = all.report;
        let times = Times::of(world, traffic);
        report.measure(&times);
        report.audit = Audit::of(world, traffic, &self.nodes.addresses(), KEYSPACE);
        (report, times)
    }
}

/// A course that is under way.
pub struct Course<'a> {
    pub fleet: Fleet<'a>,
    pub brokers: &'a mut Brokers,
    pub nodes: &'a mut Nodes,
    pub world: &'a World,
    pub traffic: &'a Traffic,
    pub report: Report,
    begun: Instant,
    /// How often a coordinator of transactions was asked for.
    aims: usize,
}

impl Course<'_> {
    /// Makes one fault, which must be mended when `fault` returns. A processor that hangs afterwards is noted and killed, so that
    /// the course can go on.
    pub fn section(&mut self, name: &'static str, fault: impl FnOnce(&mut Self)) {
        let (from, hung) = (Instant::now(), self.report.hung.len());
        println!("{:4} s: {name}; {} sent, {} answered", self.begun.elapsed().as_secs(), self.traffic.sent(), self.answered());
        fault(self);
        self.brokers.until_in_sync();
        self.nodes.until_whole();
        let again = self.until_each_answers(&format!("all being well again after: {name}"));
        self.report.sections.push(Section { name, from, to: Instant::now(), again, hung: self.report.hung.len() - hung });
    }

    /// Waits until each processor has answered something, from now on, or hangs. Returns how long it took.
    pub fn until_each_answers(&mut self, after: &str) -> Duration {
        let begun = Instant::now();
        let mut before: Vec<_> = self.fleet.processors().map(|(_, p)| replies(p)).collect();
        let mut silent: Vec<usize> = (0..before.len()).collect();
        while !silent.is_empty() && begun.elapsed() < HANGS {
            self.tend();
            let now: Vec<_> = self.fleet.processors().map(|(_, p)| replies(p)).collect();
            silent.retain(|n| now[*n] <= before[*n]);
            // A processor that was started anew counts from 0.
            before.iter_mut().zip(now).for_each(|(before, now)| *before = now.min(*before));
            crate::long_pause();
        }
        for n in silent {
            let (name_of_slot, processor) = self.fleet.processors().nth(n).expect("it is there");
            let shown = processor.diagnosis();
            self.report.hung.push(format!("{name_of_slot} has answered nothing for {HANGS:?}, {after}\n{shown}"));
            println!("        {name_of_slot} hangs");
            self.kill_processor(n);
        }
        begun.elapsed()
    }

    pub fn rest(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.tend();
            crate::pause();
        }
    }

    /// Kills a processor, and starts it again at once.
    pub fn kill_processor(&mut self, slot: usize) {
        self.fleet.kill(slot);
        self.tend();
    }

    /// Returns the broker that coordinates the processors' consumer group.
    pub fn group_coordinator(&self) -> usize {
        self.brokers.coordinator_of_group(self.world.group())
    }

    /// Returns a broker that coordinates the transactions of one of the processors; if possible, one that does not coordinate the
    /// group. A processor has two transactional ids, and they are aimed at in turn.
    pub fn transaction_coordinator(&mut self) -> usize {
        let suffix = ["", "+2"][self.aims % 2];
        self.aims += 1;
        let coordinator =
            |name: &str| self.brokers.coordinator_of_transactions(&format!("{}-{name}{suffix}", self.world.group()));
        let of_group = self.group_coordinator();
        let coordinators: Vec<_> = self.fleet.processors().map(|(name, _)| coordinator(name)).collect();
        coordinators.iter().copied().find(|n| *n != of_group).unwrap_or(coordinators[0])
    }

    /// SIGKILL. The other two are enough.
    pub fn broker_killed(&mut self, broker: usize) {
        self.brokers[broker].stop_by("KILL");
        self.rest(AWAY);
        self.until_each_answers("two of three brokers being there");
        self.brokers[broker].start_again();
    }

    /// SIGSTOP, for so long.
    pub fn broker_frozen(&mut self, broker: usize, time: Duration) {
        self.brokers[broker].signal("STOP");
        self.rest(time);
        self.brokers[broker].signal("CONT");
    }

    /// Each in turn, when the others have all that it has.
    pub fn brokers_restarted(&mut self) {
        for n in 0..self.brokers.len() {
            self.brokers[n].restart_by("TERM");
            self.brokers.until_in_sync();
        }
    }

    /// SIGKILL. The other two are enough, and an operator sees that there are two.
    pub fn node_killed(&mut self, node: usize) {
        self.nodes[node].stop_by("KILL");
        self.rest(AWAY);
        self.until_each_answers("two of three nodes being there");
        for (_, processor) in self.fleet.processors() {
            processor.until_metric("crm_store_nodes", 3);
            processor.until_metric("crm_store_nodes_connected", 2);
        }
        self.nodes[node].start_again();
    }

    /// SIGSTOP, for so long.
    pub fn node_frozen(&mut self, node: usize, time: Duration) {
        self.nodes[node].signal("STOP");
        self.rest(time);
        self.nodes[node].signal("CONT");
    }

    /// Each in turn, when the others are there.
    pub fn nodes_restarted(&mut self) {
        for n in 0..self.nodes.len() {
            self.nodes[n].restart_by("TERM");
            self.nodes.until_whole();
        }
    }

    /// Returns how many replies there are.
    pub fn answered(&self) -> usize {
        self.world.inbox.all(|r| r.topic == self.world.replies).len()
    }

    fn tend(&mut self) {
        let ended = self.fleet.tend();
        self.report.ended.extend(ended);
    }

    /// Stops sending, waits until all commands are answered, and ends the processors.
    fn finish(&mut self) {
        self.traffic.halt();
        let deadline = Instant::now() + PATIENCE;
        while self.answered() < self.traffic.sent() {
            let state = || format!("{} sent, {} answered, {:?}", self.traffic.sent(), self.answered(), self.fleet);
            assert!(Instant::now() < deadline, "expected: all is answered\ngot: {}; {}", state(), self.report);
            self.tend();
            crate::long_pause();
        }
        self.fleet.end();
        self.report.took = self.begun.elapsed();
    }
}

/// Returns the number of a processor's replies: 0 while it is starting, or does not answer.
fn replies(processor: &Processor) -> u64 {
    processor.metric_so_far("crm_replies_total").unwrap_or(0)
}
