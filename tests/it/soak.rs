//! Runs two processors under a constant load for a long time, with a fault now and then, and shows that nothing grows: not the memory,
//! the file descriptors or the threads of the processor that no fault aims at, and over hours not the time to a reply either. In the
//! end each command has one reply, and each change one business transaction.
//!
//! Among the other tests it lasts a minute. For hours: `cargo test --test it -- --nocapture soak`, with these variables:
//!
//! | variable | what | by default |
//! |---|---|---|
//! | `CRM_SOAK_SECONDS` | how long the load lasts | 60 |
//! | `CRM_SOAK_RATE` | commands a second | 40 |
//! | `CRM_SOAK_FAULT_SECONDS` | the time from the beginning of one fault to that of the next | 15 |
//! | `CRM_SOAK_PERIODS` | how many stretches of time are compared | 4 |
//!
//! The servers' JVMs have no optimising compiler here, which suits minutes. For hours, `_JAVA_OPTIONS=-XX:TieredStopAtLevel=4` gives it back.

mod answers;
mod load;
mod report;

use crate::crm::{Entity, Kind};
use crate::inbox::Inbox;
use crate::round::{number, turn};
use crate::servers::own::OwnServer;
use crate::world::{Processor, World, consumer_properties};
use answers::Answers;
use load::Load;
use report::{Report, Sample};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

const ENTITIES: usize = 2_000;
/// How long the last answers may take when nothing fails any more.
const PATIENCE: Duration = Duration::from_secs(240);

/// What goes wrong, one after another, and from the beginning again.
#[derive(Clone, Copy, Debug)]
enum Fault {
    ProcessorKilled,
    StoreFrozen,
    KafkaRestarted,
    ProcessorFrozen,
    StoreKilled,
    KafkaKilled,
}

impl Fault {
    const ALL: [Self; 6] = [
        Self::ProcessorKilled,
        Self::StoreFrozen,
        Self::KafkaRestarted,
        Self::ProcessorFrozen,
        Self::StoreKilled,
        Self::KafkaKilled,
    ];
    /// Less than the time after which the store counts as away.
    const STORE_FROZEN: Duration = Duration::from_secs(4);
    /// More than the session time-out of 6 s, after which the others take over.
    const PROCESSOR_FROZEN: Duration = Duration::from_secs(10);
}

#[test]
fn nothing_grows_under_a_constant_load_with_faults() {
    let _turn = turn();
    let Some((kafka, cassandra)) = OwnServer::kafka().zip(OwnServer::cassandra()) else { return };
    let report = Soak::prepare(kafka, cassandra).last();
    println!("{report}");
    report.assert_flat();
}

struct Soak {
    kafka: OwnServer,
    cassandra: OwnServer,
    world: Arc<World>,
    load: Load,
    answers: Answers,
    /// No fault aims at this processor.
    witness: Processor,
    /// This processor is killed and frozen.
    victim: Processor,
    faults: usize,
}

impl Soak {
    fn prepare(kafka: OwnServer, cassandra: OwnServer) -> Self {
        let mut world = World::set_up_on(kafka.address(), cassandra.address(), "soak", |config| {
            // A soak measures the program with its own settings.
            consumer_properties(config).clear();
        });
        // An inbox keeps all records. Those of hours are too many.
        world.inbox = Inbox::open(kafka.address(), &[], &[]);
        let entities: Vec<_> = (0..ENTITIES).map(|_| Entity::new(Kind::Customer, "ACTIVE")).collect();
        world.import(&entities);
        let answers = Answers::read(&world);
        let (witness, victim) = (world.run_as("witness"), world.run_as("victim"));
        Self { kafka, cassandra, load: Load::new(entities), world: world.into(), answers, witness, victim, faults: 0 }
    }

    /// Runs until the end of the last period, and until all commands are answered.
    fn last(mut self) -> Report {
        let seconds = |name, by_default| Duration::from_secs(number(name).unwrap_or(by_default));
        let (length, between) = (seconds("CRM_SOAK_SECONDS", 60), seconds("CRM_SOAK_FAULT_SECONDS", 15));
        let rate = u32::try_from(number("CRM_SOAK_RATE").unwrap_or(40)).expect("a rate");
        let periods = u32::try_from(number("CRM_SOAK_PERIODS").unwrap_or(4)).expect("is small");
        let mut report = Report::new(length / periods, rate);
        let begun = Instant::now();
        let load = self.load.clone();
        thread::scope(|scope| {
            let sending = scope.spawn({
                let (load, world) = (&load, self.world.clone());
                move || load.flow(&world, rate, begun + length)
            });
            let mut fault_at = begun + between;
            for period in 1..=periods {
                let end = begun + length / periods * period;
                while Instant::now() < end {
                    if Instant::now() >= fault_at {
                        report.faults.push(self.make_a_fault(begun));
                        fault_at += between;
                    }
                    self.check_alive();
                    crate::pause();
                }
                report.periods.push((self.answers.take(), Sample::of(&self.witness)));
                println!("{}", report.last_period());
            }
            sending.join().expect("the load does not panic");
        });
        self.finish(&load, &mut report);
        report
    }

    /// Makes the next fault, and mends it.
    fn make_a_fault(&mut self, begun: Instant) -> Fault {
        let fault = Fault::ALL[self.faults % Fault::ALL.len()];
        self.faults += 1;
        println!("{:5} s: {fault:?}", begun.elapsed().as_secs());
        match fault {
            Fault::ProcessorKilled => {
                self.victim.kill();
                self.victim = self.world.start("victim");
            }
            Fault::StoreFrozen => {
                self.cassandra.signal("STOP");
                rest(Fault::STORE_FROZEN);
                self.cassandra.signal("CONT");
            }
            Fault::KafkaRestarted => self.kafka.restart_by("TERM"),
            Fault::ProcessorFrozen => {
                self.victim.signal("STOP");
                rest(Fault::PROCESSOR_FROZEN);
                self.victim.signal("CONT");
            }
            Fault::StoreKilled => self.cassandra.restart_by("KILL"),
            Fault::KafkaKilled => self.kafka.restart_by("KILL"),
        }
        fault
    }

    fn check_alive(&self) {
        for (name, processor) in [("the witness", &self.witness), ("the victim", &self.victim)] {
            let ended = processor.ended();
            assert!(ended.is_none(), "{name} ended by itself, {ended:?}: {}", processor.log_tail());
        }
    }

    fn finish(self, load: &Load, report: &mut Report) {
        let deadline = Instant::now() + PATIENCE;
        report.sent = load.sent();
        while self.answers.answered() < report.sent && Instant::now() < deadline {
            self.check_alive();
            crate::pause();
        }
        for (name, processor) in [("witness", &self.witness), ("victim", &self.victim)] {
            processor.signal("TERM");
            assert_eq!(processor.wait(), 0, "{name}: {}", processor.log_tail());
        }
        // All that the processors published is there now, also what would be too much.
        self.answers.read_to_the_end();
        report.mistakes = self.answers.mistakes(report.sent);
    }
}

/// Waits for the length of a fault.
fn rest(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        crate::pause();
    }
}
