//! Tests faults on a cluster as in production: three brokers and three database nodes, each topic and row on all three. Brokers
//! are killed and frozen, above all those that coordinate the consumer group or a processor's transactions; nodes are killed and
//! frozen, one or two at a time; all are restarted one after another. Meanwhile the CRM sends, and three processors answer.
//!
//! After each fault is mended, each processor must answer something again, or it counts as hung. In the end each command must
//! have one reply and each change one Business Transaction, and the database must hold what was published. Nothing is asserted
//! about milliseconds, because the machine may be slow and shared.
//!
//! One round takes some ten minutes, and needs 5 GiB: `cargo test --test it -- --nocapture cluster_faults`. `CRM_FAULT_ROUNDS=n`
//! makes n rounds; `CRM_SEED=n` repeats the choices of one round, but not its timing. The measurements are in `experiments`.

mod course;
mod experiments;
mod report;

use crate::round::{Fault, Round, chosen, rounds, turn};
use crate::servers::cluster::{Brokers, Layout, Nodes};
use course::{Course, Installation};
use crm_processor::store::simulated::Random;
use std::time::Duration;

/// Commands a second: as many as two cores manage beside six servers.
const RATE: usize = 20;
/// How long a killed broker or node is away: longer than the brokers wait before they give up one of them (9 s).
const AWAY: Duration = Duration::from_secs(15);
const BROKER_FROZEN: Duration = Duration::from_secs(30);
const NODE_FROZEN: Duration = Duration::from_secs(40);
/// How long the section without faults takes, with which the others are compared.
const CALM: Duration = Duration::from_secs(15);

#[test]
fn whatever_fails_in_a_cluster_no_processor_hangs_and_each_command_is_answered_once() {
    let _turn = turn();
    for Round { round, seed } in rounds() {
        // One after the other: twelve servers at once are too many for two cores.
        go(round, seed, Layout::Racks, |course| all_faults(course, Random::new(seed)));
        go(round, seed, Layout::TwoDataCentres, two_data_centres);
    }
}

fn go(round: u64, seed: u64, layout: Layout, faults: impl FnOnce(&mut Course<'_>)) {
    let Some(installation) = Installation::prepare(layout, seed) else { return };
    let report = installation.go(faults);
    println!("round {round}, {layout:?}, CRM_SEED={seed}\n{report}");
    report.assert_clean();
}

fn all_faults(course: &mut Course<'_>, mut random: Random) {
    let mut any = || usize::try_from(random.below(3)).expect("is small");
    let (node, frozen_node, away, broker, slot) = (any(), any(), any(), any(), any());
    course.traffic.flow(RATE);
    course.section("all is well", |c| c.rest(CALM));
    coordinators_killed_and_frozen(course, "");
    course.section("brokers restarted in turn", Course::brokers_restarted);
    course.section("node killed", |c| c.node_killed(node));
    course.section("node frozen", |c| c.node_frozen(frozen_node, NODE_FROZEN));
    course.section("nodes restarted in turn", Course::nodes_restarted);
    course.section("two nodes killed", |c| {
        let killed = [(away + 1) % 3, (away + 2) % 3];
        for node in killed {
            c.nodes[node].stop_by("KILL");
        }
        c.rest(AWAY);
        for node in killed {
            c.nodes[node].start_again();
        }
    });
    course.section("broker, node and processor killed", |c| {
        c.brokers[broker].stop_by("KILL");
        c.nodes[node].stop_by("KILL");
        c.kill_processor(slot);
        c.rest(AWAY);
        c.brokers[broker].start_again();
        c.nodes[node].start_again();
    });
}

/// Each kind of coordinator is killed once, and frozen once: those of these faults whose name begins with `only`.
fn coordinators_killed_and_frozen(course: &mut Course<'_>, only: &str) {
    let faults: [Fault<Course<'_>>; 4] = [
        ("group coordinator killed", |c| {
            let coordinator = c.group_coordinator();
            c.broker_killed(coordinator);
        }),
        ("transaction coordinator killed", |c| {
            let coordinator = c.transaction_coordinator();
            c.broker_killed(coordinator);
        }),
        ("group coordinator frozen", |c| {
            let coordinator = c.group_coordinator();
            c.broker_frozen(coordinator, BROKER_FROZEN);
        }),
        ("transaction coordinator frozen", |c| {
            let coordinator = c.transaction_coordinator();
            c.broker_frozen(coordinator, BROKER_FROZEN);
        }),
    ];
    for (name, fault) in chosen(&faults, only) {
        course.section(name, fault);
    }
}

/// Two replicas are in the first data centre, which the processors ask, and one in the second. Any node may be away.
fn two_data_centres(course: &mut Course<'_>) {
    course.traffic.flow(RATE);
    course.section("all is well", |c| c.rest(CALM));
    course.section("the second data centre's node killed", |c| c.node_killed(2));
    course.section("one of the first data centre's nodes killed", |c| c.node_killed(1));
}

impl Installation {
    /// Starts three of each, with topics, keyspace and entities. Returns `None` if they can't be had here; the reason has been
    /// printed, and the test returns.
    fn prepare(layout: Layout, seed: u64) -> Option<Self> {
        let nodes = std::thread::spawn(move || Nodes::start(layout));
        let brokers = Brokers::start();
        let nodes = nodes.join().expect("they start, or are skipped");
        Some(Self::on(brokers?, nodes?, layout, seed))
    }
}
