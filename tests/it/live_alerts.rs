//! Tests the alerts live: a real Prometheus with the rules of `deploy/` watches two processors on servers of their own, while
//! five things go wrong in turn. Each must raise its alert. Each is then mended as the runbook says, and the alert must end. The
//! CRM sends all the time, and in the end each of its commands must have one reply.
//!
//! The test takes minutes, so it is not among the usual ones: `cargo test --test it -- --ignored --nocapture live_alerts`. All
//! durations of the rules are divided by ten, or by `CRM_HASTE`; 1 is as in production, and takes an hour and a half.
//! `CRM_PICTURE=FILE.png` draws what was seen, by `deploy/grafana/picture.py`.

use crate::crm::{Contents, Draft, Entity, Kind, custom_name, unique};
use crate::gate::Gate;
use crate::ledger::Ledger;
use crate::operation::{path, rules};
use crate::prometheus::server::{Prometheus, installed};
use crate::servers::own::OwnServer;
use crate::world::{Processor, World};
use crate::{inbox, python, registry, servers};
use serde_json::json;
use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use toml::{Table, Value};

const HASTE: u32 = 10;
/// How long anything may take in addition to the time that the rules wait.
const PATIENCE: Duration = Duration::from_secs(120);
/// The longest time that one of these rules waits: until its window has passed, or before it fires.
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);
const CUSTOMERS: usize = 50;
/// The pause between two commands of the CRM.
const PACE: Duration = Duration::from_millis(50);
/// How long nothing is wrong before, between and after the faults, for the picture.
const CALM: Duration = Duration::from_secs(10);

#[test]
#[ignore = "takes minutes; see the module"]
fn five_faults_raise_their_alerts_and_are_mended_by_the_runbook_and_nothing_is_lost() {
    if installed("prometheus").is_none() {
        return;
    }
    let Some((mut kafka, mut cassandra)) = OwnServer::kafka().zip(OwnServer::cassandra()) else { return };
    let gate = Gate::before(registry::url().strip_prefix("http://").expect("is HTTP"));
    let haste = std::env::var("CRM_HASTE").map_or(HASTE, |haste| haste.parse().expect("a number"));
    let watch = Watch::begin(kafka.address(), cassandra.address(), &gate, haste);
    let crm = Crm::default();
    let seen = thread::scope(|scope| {
        let sending = scope.spawn(|| crm.send_to(&watch));
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut seen = Vec::new();
            watch.calm();
            seen.push(watch.fault(
                "database stopped",
                "CrmStoreDown",
                &mut cassandra,
                |cassandra| cassandra.stop_by("TERM"),
                OwnServer::start_again,
            ));
            seen.push(watch.fault(
                "Kafka stopped",
                "CrmKafkaUnreachable",
                &mut kafka,
                |kafka| kafka.stop_by("TERM"),
                OwnServer::start_again,
            ));
            seen.push(watch.fault(
                "registry stopped",
                "CrmRegistryDown",
                &mut (),
                |()| {
                    gate.shut();
                    // Commands with known schemas are answered, so one with an unknown schema must come.
                    crm.send(&watch.world, watch.with_a_schema_not_seen_before());
                },
                |()| gate.open(),
            ));
            seen.push(watch.fault(
                "poison record",
                "CrmDeadLetters",
                &mut None,
                |poison| *poison = Some(watch.poison()),
                |poison| {
                    let request = poison.take().expect("it was sent");
                    watch.look_at_the_dead_letters();
                    // The mended producer sends the command again.
                    let customer = &watch.customers[0];
                    crm.send(&watch.world, custom_name(&request, &customer.by_ref_id(), "mended").key(&customer.ref_id));
                },
            ));
            seen.push(watch.fault(
                "instance killed",
                "CrmInstanceDown",
                &mut (),
                |()| watch.processors()[1].kill(),
                |()| watch.start_second_again(),
            ));
            watch.calm();
            seen
        }));
        crm.stopped.store(true, Ordering::Relaxed);
        sending.join().expect("the CRM does not panic");
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    watch.draw(&seen);
    for seen in &seen {
        println!("{}", seen.told(haste));
    }
    watch.nothing_is_lost(&crm);
}

/// The observations of a fault.
struct Seen {
    what: &'static str,
    alert: &'static str,
    /// When the fault began, in seconds since 1970.
    begun: f64,
    mended: f64,
    until_firing: Duration,
    until_over: Duration,
    /// The other alerts that fired meanwhile, and did not before.
    beside: BTreeSet<String>,
}

impl Seen {
    fn told(&self, haste: u32) -> String {
        let rule = rules().into_iter().find(|rule| rule.name == self.alert).expect("there is one of each");
        let wait = rule.text.lines().find_map(|line| line.trim().strip_prefix("for: ")).unwrap_or("0s").to_owned();
        format!(
            "{}: {} fires after {:.1} s (for: {wait} / {haste}), is over {:.1} s after the repair; beside it {:?}",
            self.what,
            self.alert,
            self.until_firing.as_secs_f64(),
            self.until_over.as_secs_f64(),
            self.beside
        )
    }
}

/// Two processors, and the Prometheus that watches them.
struct Watch {
    world: World,
    customers: Vec<Entity>,
    processors: Mutex<[Processor; 2]>,
    ports: [u16; 2],
    prometheus: Prometheus,
    haste: u32,
    begun: f64,
}

impl Watch {
    fn begin(kafka: &str, cassandra: &str, registry: &Gate, haste: u32) -> Self {
        let adjust = |config: &mut Table| {
            let mut set = |section: &str, key: &str, value: Value| {
                config[section].as_table_mut().expect("is a table").insert(key.to_owned(), value);
            };
            set("store", "keyspace", "live_alerts".into());
            set("registry", "url", format!("http://{}", registry.address()).into());
        };
        let world = World::set_up_on(kafka, cassandra, "live-alerts", adjust);
        let customers: Vec<_> = (0..CUSTOMERS).map(|_| Entity::new(Kind::Customer, "ACTIVE")).collect();
        world.import(&customers);
        let ports = [servers::free_port(), servers::free_port()];
        let processors = [0, 1].map(|n| world.start_at(ports[n], &format!("slot-{n}"), &[]));
        processors.iter().for_each(Processor::until_ready);
        let prometheus = Prometheus::scraping(&[processors[0].admin(), processors[1].admin()], haste);
        prometheus.until("all rules are evaluated", Prometheus::rules_are_healthy);
        Self { world, customers, processors: Mutex::new(processors), ports, prometheus, haste, begun: now() }
    }

    fn processors(&self) -> std::sync::MutexGuard<'_, [Processor; 2]> {
        self.processors.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn start_second_again(&self) {
        let processor = self.world.start_at(self.ports[1], "slot-1", &[]);
        processor.until_ready();
        self.processors()[1] = processor;
    }

    /// Makes something go wrong until its alert fires, and then mends it and waits until the alert has ended.
    fn fault<T>(
        &self,
        what: &'static str,
        alert: &'static str,
        with: &mut T,
        go_wrong: impl FnOnce(&mut T),
        mend: impl FnOnce(&mut T),
    ) -> Seen {
        let before = self.prometheus.firing();
        assert!(!before.contains(alert), "{alert} fires before: {what}");
        let (begun, at) = (now(), Instant::now());
        go_wrong(with);
        let mut beside = BTreeSet::new();
        let patience = PATIENCE + LONGEST_WAIT / self.haste;
        self.prometheus.until_within(patience, &format!("{what}: {alert} fires"), |p| {
            beside.append(&mut p.firing());
            p.fires(alert)
        });
        let (until_firing, mended) = (at.elapsed(), now());
        mend(with);
        let at = Instant::now();
        self.prometheus.until_within(patience, &format!("{what}: {alert} is over"), |p| {
            beside.append(&mut p.firing());
            p.keeps_quiet(alert)
        });
        let until_over = at.elapsed();
        beside.retain(|other| other != alert && !before.contains(other));
        let seen = Seen { what, alert, begun, mended, until_firing, until_over, beside };
        println!("{}", seen.told(self.haste));
        self.calm();
        seen
    }

    fn calm(&self) {
        rest(CALM);
        self.processors().iter().for_each(Processor::until_ready);
    }

    fn with_a_schema_not_seen_before(&self) -> Draft {
        let mut schema = registry::command_schema("UpdateCustomerCustomName");
        schema["doc"] = json!(unique("a version that nobody has read"));
        custom_name(&unique("r"), &self.customers[0].by_ref_id(), "unread").key(&self.customers[0].ref_id).written_with(&schema)
    }

    /// Sends a command without the five bytes of the wire format, and returns its request id.
    fn poison(&self) -> String {
        let request = unique("r");
        let value = custom_name(&request, &self.customers[0].by_ref_id(), "mended").value().expect("has one");
        let spoilt = Draft { contents: Contents::Bytes(value[5..].to_vec()), ..Draft::raw(None) };
        self.world.send(&spoilt.key(&self.customers[0].ref_id));
        request
    }

    /// Does what the runbook says.
    fn look_at_the_dead_letters(&self) {
        let watched = self.world.cli("watch", &["dlq", "--from-beginning", "--limit", "1"]).succeeded();
        assert!(watched.stdout.contains("__connect.errors.exception.message"), "{watched}");
    }

    /// Draws the run, if `CRM_PICTURE` asks for a picture.
    fn draw(&self, seen: &[Seen]) {
        let Some(picture) = std::env::var_os("CRM_PICTURE") else { return };
        let Some(programs) = python::with(&path("tests/it/live_alerts/requirements.txt")) else { return };
        let mut draw = Command::new(programs.join("python"));
        draw.arg(path("deploy/grafana/picture.py")).args(["--prometheus", self.prometheus.url()]);
        draw.args(["--from", &self.begun.to_string(), "--to", &now().to_string()]);
        for seen in seen {
            draw.args(["--mark", &format!("{}:{}:{}", seen.begun, seen.mended, seen.what)]);
        }
        servers::finish(draw.arg(picture)).unwrap_or_else(|e| panic!("{e}"));
    }

    fn nothing_is_lost(&self, crm: &Crm) {
        let correlations = crm.correlations.lock().expect("the CRM does not panic").clone();
        let ledger = Ledger::close(&self.world, &correlations);
        assert_eq!(ledger.with_status(200), correlations.len(), "what waited was answered as if nothing had been");
        for processor in &*self.processors() {
            processor.signal("TERM");
            assert_eq!(processor.wait(), 0, "{}", processor.log_tail());
        }
        // The test counts again when nobody adds anything any more.
        let replies = inbox::count(self.world.kafka(), &[&self.world.replies]);
        let changes = inbox::count(self.world.kafka(), &[&self.world.transactions]);
        assert_eq!((replies, changes), (correlations.len(), correlations.len()), "one of each for each command");
        println!("{replies} commands, {replies} replies, {changes} business transactions, one dead letter");
    }
}

/// The CRM, which sends all the time.
#[derive(Default)]
struct Crm {
    /// The correlation ids of all commands that were sent.
    correlations: Mutex<Vec<String>>,
    stopped: AtomicBool,
}

impl Crm {
    fn send_to(&self, watch: &Watch) {
        for customer in watch.customers.iter().cycle() {
            if self.stopped.load(Ordering::Relaxed) {
                return;
            }
            self.send(&watch.world, custom_name(&unique("r"), &customer.by_ref_id(), &unique("name")).key(&customer.ref_id));
            rest(PACE);
        }
    }

    /// Waits while Kafka is away.
    fn send(&self, world: &World, draft: Draft) {
        let correlation = unique("c");
        world.send(&draft.header("correlation-id", &correlation));
        self.correlations.lock().expect("nobody panics with it").push(correlation);
    }
}

/// Returns the present time in seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "an edge: Prometheus is asked about these times")]
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_secs_f64()
}

#[expect(clippy::disallowed_methods, reason = "the pace of the CRM, and of the story")]
fn rest(time: Duration) {
    thread::sleep(time);
}
