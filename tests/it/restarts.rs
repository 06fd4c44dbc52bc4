//! Tests processors that stop, die, freeze and share the work in the middle of a backlog: nothing is lost, and nothing happens
//! twice.

use crate::crm::{Draft, Entity, Kind, custom_name, rename, segment, unique};
use crate::ledger::Ledger;
use crate::world::{Processor, World};
use crate::{inbox, servers};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::time::{Duration, Instant};

const BACKLOG: usize = 3_000;
/// How long Kubernetes waits between SIGTERM and SIGKILL by default.
const TERMINATION_PERIOD: Duration = Duration::from_secs(30);
/// The number of replies after which the processor is disturbed, so that it is in the middle of the backlog.
const UNDER_WAY: usize = 400;

/// An installation with entities, and commands about them in random order of keys; many hit the same entities.
struct Backlog {
    world: World,
    drafts: Vec<Draft>,
    correlations: Vec<String>,
}

impl Backlog {
    fn prepare(name: &str) -> Option<Self> {
        let world = World::set_up(name, |_| {})?;
        let entities = |kind, count| (0..count).map(|_| Entity::new(kind, "ACTIVE")).collect::<Vec<_>>();
        let (customers, accounts) = (entities(Kind::Customer, 200), entities(Kind::Account, 100));
        world.import(&[customers.clone(), accounts.clone()].concat());
        let correlations: Vec<_> = (0..BACKLOG).map(|_| unique("c")).collect();
        let mut drafts: Vec<Draft> = Vec::new();
        for (n, correlation) in correlations.iter().enumerate() {
            let (customer, account) = (&customers[n * 7 % customers.len()], &accounts[n * 11 % accounts.len()]);
            let draft = match n % 10 {
                // A duplicate of an earlier command, in its lane.
                3 => Draft { headers: Vec::new(), ..drafts[n / 2].clone() },
                4 => {
                    segment(&unique("r"), &customer.by_ref_id(), ["ENTERPRISE", "RESIDENTIAL"][n / 10 % 2]).key(&customer.ref_id)
                }
                // Some of these commands want an id that another account just gave up, or still has.
                5 => rename(Kind::Account, &unique("r"), &account.by_ref_id(), &format!("ring-{name}-{}", n % 50))
                    .key(&account.ref_id),
                6 => rename(Kind::Account, &unique("r"), &account.by_ref_id(), &unique("a")).key(&account.ref_id),
                _ => custom_name(&unique("r"), &customer.by_external_id(), &n.to_string()).key(&customer.ref_id),
            };
            drafts.push(draft.header("correlation-id", correlation));
        }
        Some(Self { world, drafts, correlations })
    }

    fn send(&self) {
        self.world.send_all(&self.drafts);
    }

    fn until_under_way(&self) {
        self.until_answered(UNDER_WAY);
    }

    fn until_answered(&self, count: usize) {
        self.world.inbox.until(&format!("{count} replies"), |records| {
            let replies = records.iter().filter(|r| r.topic == self.world.replies).count();
            (replies >= count).then_some(())
        });
    }

    /// Checks everything that came out: see [`Ledger::close`]. Then stops the remaining processors, and counts again when nobody
    /// can add anything any more.
    fn close(&self, left: &[&Processor]) {
        let ledger = Ledger::close(&self.world, &self.correlations);
        let (fine, refused) = (ledger.with_status(200), ledger.with_status(400));
        assert_eq!(fine + refused, BACKLOG, "no command ends in a 500");
        assert!(fine > BACKLOG / 2, "most commands are fine: {fine} of {BACKLOG}");
        for processor in left {
            processor.signal("TERM");
        }
        for processor in left {
            assert_eq!(processor.wait(), 0, "{}", processor.log_tail());
        }
        let kafka = servers::kafka().expect("is up");
        assert_eq!(inbox::count(kafka, &[&self.world.replies]), BACKLOG, "replies");
        let changes: usize = ledger.transactions.values().map(Vec::len).sum();
        assert_eq!(inbox::count(kafka, &[&self.world.transactions]), changes, "business transactions");
    }
}

/// A process that ends without leaving the group keeps its partitions until its session times out.
#[test]
fn a_processor_that_is_told_to_stop_has_left_its_group_when_it_ends() {
    const TIMES: usize = 6;
    let Some(world) = World::set_up("leaving", |_| {}) else { return };
    let client: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", servers::kafka().expect("is up")).create().expect("a client");
    for time in 1..=TIMES {
        let processor = world.run();
        processor.signal("TERM");
        assert_eq!(processor.wait(), 0, "{}", processor.log_tail());
        let groups = client.fetch_group_list(Some(world.group()), Duration::from_secs(10)).expect("the broker answers");
        let members: usize = groups.groups().iter().map(|group| group.members().len()).sum();
        assert_eq!(members, 0, "after {time} of {TIMES} stops; {}", processor.log_tail());
    }
}

#[test]
fn a_processor_that_is_told_to_stop_ends_well_and_the_next_goes_on() {
    let Some(backlog) = Backlog::prepare("sigterm") else { return };
    let first = backlog.world.run();
    backlog.send();
    backlog.until_under_way();
    let told = Instant::now();
    first.signal("TERM");
    assert_eq!(first.wait(), 0, "{}", first.log_tail());
    let took = told.elapsed();
    let answered = backlog.world.inbox.all(|r| r.topic == backlog.world.replies).len();
    println!("told to stop after {UNDER_WAY} replies, it ended after {took:?}, with {answered} of {BACKLOG} commands answered");
    assert!(took < TERMINATION_PERIOD, "it ended after {took:?}, when an orchestrator had killed it; {}", first.log_tail());
    let second = backlog.world.run();
    backlog.close(&[&second]);
}

#[test]
fn a_processor_that_is_killed_again_and_again_loses_and_doubles_nothing() {
    let Some(backlog) = Backlog::prepare("sigkill") else { return };
    backlog.send();
    for kills in 1..=3 {
        let processor = backlog.world.start("slot-0");
        backlog.until_answered(kills * UNDER_WAY);
        processor.kill();
    }
    let last = backlog.world.start("slot-0");
    backlog.close(&[&last]);
}

#[test]
fn two_processors_share_the_partitions_and_one_takes_over_when_the_other_is_killed() {
    let Some(backlog) = Backlog::prepare("two") else { return };
    let (first, second) = (backlog.world.run(), backlog.world.run());
    for processor in [&first, &second] {
        processor.until_metric("crm_partitions_assigned", 2);
    }
    backlog.send();
    backlog.until_under_way();
    for processor in [&first, &second] {
        processor.until_metric_at_least("crm_commands_total", 1);
    }
    first.kill();
    second.until_metric("crm_partitions_assigned", 4);
    backlog.close(&[&second]);
}

#[test]
fn a_processor_that_was_frozen_while_another_took_over_does_no_harm() {
    let Some(backlog) = Backlog::prepare("frozen") else { return };
    let (first, second) = (backlog.world.run(), backlog.world.run());
    for processor in [&first, &second] {
        processor.until_metric("crm_partitions_assigned", 2);
    }
    backlog.send();
    backlog.until_under_way();
    first.signal("STOP");
    second.until_metric("crm_partitions_assigned", 4);
    backlog.until_answered(BACKLOG);
    first.signal("CONT");
    first.until_metric("crm_partitions_assigned", 2);
    let deadline = Instant::now() + inbox::Inbox::PATIENCE;
    while !first.log().contains("a producer is made anew") {
        assert!(Instant::now() < deadline, "{}", first.log_tail());
        crate::pause();
    }
    backlog.close(&[&first, &second]);
    let log = first.log();
    assert!(log.contains("the processor did not come round for some time"), "{log}");
    assert!(!log.contains("does not return"), "no call hung: {log}");
}
