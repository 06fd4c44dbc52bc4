//! Tests that clients who try again blindly get one answer to each request while everything dies around them: gateways, processors and
//! the broker. A load balancer gives each attempt to the next gateway, whoever had the one before.
//!
//! `CRM_HTTP_REQUESTS=n` is the number of requests. `cargo test --test it -- --nocapture whatever_dies` prints what happened.

use super::client::{Gateway, Got};
use crate::crm::{Entity, Kind, create, custom_name, rename, state, unique};
use crate::inbox::{Inbox, Record};
use crate::servers::own::OwnServer;
use crate::world::{Processor, World, quickly_missed};
use crate::{runtime, servers};
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How many requests there are, unless the environment says otherwise.
const REQUESTS: usize = 240;
const GATEWAYS: usize = 3;
const PROCESSORS: usize = 2;
/// How many requests are under way at once.
const CLIENTS: usize = 48;
/// How many entities of each sort the requests are about.
const ENTITIES: usize = 24;
/// How many answers lie between two faults, in a course of many requests and in the shortest.
const CALM: (usize, usize) = (150, 24);
/// How long a client waits for an answer before it gives up the connection.
const CLIENT_PATIENCE: Duration = Duration::from_secs(6);
/// How long a client waits before it asks again. This is the client's own haste, which the test needs for nothing.
const AGAIN: Duration = Duration::from_millis(100);

const ANY_VERSION: &[(&str, &str)] = &[];
const WRONG_VERSION: &[(&str, &str)] = &[("if-match", "\"1000000\"")];

/// A request that the clients send until it is answered.
struct Request {
    id: String,
    path: String,
    body: Value,
    headers: &'static [(&'static str, &'static str)],
    expected: Expected,
    /// The key of the business transactions of the entity that the request creates, if it creates one.
    created: Option<String>,
}

/// What a request leads to, whatever else happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// An entity that was imported has one version more.
    Changes,
    /// There is an entity more.
    Creates,
    /// The request is refused with this code.
    Refused(&'static str),
}

/// The answers that the clients got.
#[derive(Default)]
struct Seen {
    /// The answer to each request, the first that came.
    answers: Mutex<HashMap<String, Value>>,
    /// How often each status came, and 0 for no answer.
    statuses: Mutex<BTreeMap<u16, usize>>,
    /// How many requests have all their answers.
    done: AtomicUsize,
    /// How many attempts there were, which says whose turn it is.
    attempts: AtomicUsize,
}

impl Seen {
    /// Notes an answer, which must be the same as each before it.
    fn note(&self, request: &Request, got: &Got) {
        let said = json!([got.status, got.body["businessTransaction"], got.body["errors"]]);
        let first = self.answers.lock().unwrap().entry(request.id.clone()).or_insert_with(|| said.clone()).clone();
        assert_eq!(said, first, "two answers to {}", request.id);
    }
}

/// Asks one gateway after another, until there is an answer.
async fn until_answered(gateways: &[Gateway], seen: &Seen, request: &Request) {
    loop {
        let gateway = &gateways[seen.attempts.fetch_add(1, Relaxed) % gateways.len()];
        let headers = [&[("prefer", "wait=2")][..], request.headers].concat();
        let tried = gateway.try_to_send(&reqwest::Method::POST, &request.path, &headers, request.body.to_string()).await;
        *seen.statuses.lock().unwrap().entry(tried.as_ref().map_or(0, |got| got.status)).or_default() += 1;
        match tried {
            Ok(got) if matches!(got.status, 200 | 400 | 412) => return seen.note(request, &got),
            Ok(got) => assert!(matches!(got.status, 503 | 504), "{}: {got:?}", request.id),
            // Nobody knows what became of it.
            Err(_) => {}
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Has a request answered: each fourth is sent twice at the same instant, and each ninth once more after its answer.
async fn served(gateways: &[Gateway], seen: &Seen, number: usize, request: &Request) {
    if number.is_multiple_of(4) {
        futures::future::join(until_answered(gateways, seen, request), until_answered(gateways, seen, request)).await;
    } else {
        until_answered(gateways, seen, request).await;
    }
    if number.is_multiple_of(9) {
        until_answered(gateways, seen, request).await;
    }
    seen.done.fetch_add(1, Relaxed);
}

/// The entities that the requests are about, so many of each.
struct Entities {
    /// Customers that keep their external ids.
    customers: Vec<Entity>,
    accounts: Vec<Entity>,
    /// Customers that are renamed.
    renamed: Vec<Entity>,
    /// Customers that nobody can change any more.
    gone: Vec<Entity>,
}

impl Entities {
    fn new() -> Self {
        let all = |kind, state| (0..ENTITIES).map(|_| Entity::new(kind, state)).collect();
        Self {
            customers: all(Kind::Customer, "ACTIVE"),
            accounts: all(Kind::Account, "ACTIVE"),
            renamed: all(Kind::Customer, "ACTIVE"),
            gone: all(Kind::Customer, "DEACTIVATED"),
        }
    }

    fn all(&self) -> Vec<Entity> {
        [&self.customers[..], &self.accounts, &self.renamed, &self.gone].concat()
    }
}

/// Makes the request of this number. How often each kind of request comes, how often it is sent twice, and which entity it is about have
/// nothing to do with each other.
fn request(number: usize, entities: &Entities) -> Request {
    use Expected::{Changes, Creates, Refused};
    let of = |entities: &[Entity]| entities[number % ENTITIES].clone();
    let (customer, account) = (of(&entities.customers), of(&entities.accounts));
    let (renamed, gone) = (of(&entities.renamed), of(&entities.gone));
    let (id, nobody, name) = (unique("r"), json!({"externalId": unique("nobody")}), format!("name {number}"));
    let named = |reference: &Value| custom_name(&id, reference, &name);
    let (draft, expected) = match number % 19 {
        0 | 8 => (rename(Kind::Account, &id, &account.by_ref_id(), &unique("a")), Changes),
        1 => (named(&nobody), Refused("CASM-ENTITY-NOT-FOUND")),
        2 => (named(&customer.by_ref_id()), Refused("CASM-VERSION-CONFLICT")),
        3 | 11 => (named(&customer.by_external_id()), Changes),
        4 => (create(Kind::Customer, &id, &unique("c"), &Value::Null), Creates),
        5 => (create(Kind::Account, &id, &unique("a"), &customer.by_external_id()), Creates),
        6 => (create(Kind::Subscriber, &id, &unique("s"), &account.by_ref_id()), Creates),
        7 => (rename(Kind::Customer, &id, &renamed.by_ref_id(), &unique("c")), Changes),
        // Each gives a reason of its own, and so none finds the entity as it wants it.
        9 => (state(Kind::Customer, &id, &customer.by_ref_id(), "SUSPENDED", &*id), Changes),
        10 => (state(Kind::Account, &id, &account.by_ref_id(), "INACTIVE", &*id), Changes),
        12 => (create(Kind::Account, &id, &unique("a"), &nobody), Refused("CASM-ENTITY-NOT-FOUND")),
        13 => (create(Kind::Customer, &id, &gone.external_id, &Value::Null), Refused("CASM-EXTERNAL-ID-NOT-UNIQUE")),
        14 => (create(Kind::Account, &id, &unique("a"), &gone.by_ref_id()), Refused("CASM-STATE-DEACTIVATED")),
        15 => (named(&gone.by_external_id()), Refused("CASM-STATE-DEACTIVATED")),
        _ => (named(&customer.by_ref_id()), Changes),
    };
    let headers = if expected == Refused("CASM-VERSION-CONFLICT") { WRONG_VERSION } else { ANY_VERSION };
    let path = format!("/v1/{}{}", draft.record[..1].to_ascii_lowercase(), &draft.record[1..]);
    let created = (expected == Creates).then(|| Entity::created_by(&draft).subject());
    Request { id, path, body: draft.body, headers, expected, created }
}

/// The servers and processes that are killed while the clients send.
struct Course<'a> {
    kafka: &'a mut OwnServer,
    world: &'a World,
    gateways: &'a [Gateway],
    processors: Vec<Processor>,
    faults: BTreeMap<&'static str, usize>,
}

impl Course<'_> {
    /// Lets the next fault happen, after so many. The order looks random, and is the same each time.
    fn fault(&mut self, number: usize) {
        const ORDER: [&str; 10] = [
            "gateway killed",
            "processor killed",
            "gateway killed",
            "broker killed",
            "gateway ended",
            "processor killed",
            "all gateways killed",
            "gateway killed",
            "processor ended",
            "all killed but the broker",
        ];
        let (what, slot) = (ORDER[number % ORDER.len()], number * 7 / 3);
        *self.faults.entry(what).or_default() += 1;
        match what {
            "gateway killed" => self.kill_gateway(slot % GATEWAYS),
            "gateway ended" => {
                let gateway = &self.gateways[slot % GATEWAYS];
                gateway.terminate();
                assert_eq!(gateway.wait(), 0, "{}", gateway.log());
                gateway.start_again();
            }
            "all gateways killed" => (0..GATEWAYS).for_each(|slot| self.kill_gateway(slot)),
            "processor killed" => self.replace_processor(slot % PROCESSORS, "KILL"),
            "processor ended" => self.replace_processor(slot % PROCESSORS, "TERM"),
            "broker killed" => self.kafka.restart_by("KILL"),
            _ => {
                (0..GATEWAYS).for_each(|slot| self.kill_gateway(slot));
                (0..PROCESSORS).for_each(|slot| self.replace_processor(slot, "KILL"));
            }
        }
    }

    fn kill_gateway(&self, slot: usize) {
        self.gateways[slot].kill();
        self.gateways[slot].start_again();
    }

    fn replace_processor(&mut self, slot: usize, signal: &str) {
        self.processors[slot].signal(signal);
        self.processors[slot].wait();
        self.processors[slot] = self.world.start(&format!("slot-{slot}"));
    }
}

#[test]
fn each_request_has_one_effect_and_one_answer_whatever_dies() {
    let count = std::env::var("CRM_HTTP_REQUESTS").map_or(REQUESTS, |n| n.parse().expect("CRM_HTTP_REQUESTS is a number"));
    let (Some(mut kafka), Some(cassandra)) = (OwnServer::kafka(), servers::cassandra()) else { return };
    let world = World::set_up_on(kafka.address(), cassandra, "gateway-faults", quickly_missed);
    let entities = Entities::new();
    world.import(&entities.all());
    let client = || reqwest::Client::builder().no_proxy().timeout(CLIENT_PATIENCE).build().unwrap();
    let gateways: Arc<[Gateway]> = (0..GATEWAYS).map(|_| Gateway::start_for("http", client(), &world, &[])).collect();
    let processors = (0..PROCESSORS).map(|slot| world.run_as(&format!("slot-{slot}"))).collect();

    let requests: Arc<[Request]> = (0..count).map(|number| request(number, &entities)).collect();
    let seen = Arc::new(Seen::default());
    let begun = Instant::now();
    let asking = runtime().spawn({
        let (gateways, requests, seen) = (gateways.clone(), requests.clone(), seen.clone());
        async move {
            let all = stream::iter(0..requests.len());
            all.for_each_concurrent(CLIENTS, |number| served(&gateways, &seen, number, &requests[number])).await;
        }
    });
    let mut course = Course { kafka: &mut kafka, world: &world, gateways: &gateways, processors, faults: BTreeMap::new() };
    let calm = (count / CALM.0).clamp(CALM.1, CALM.0);
    let (mut faults, mut last, mut deadline) = (0, 0, Instant::now() + Inbox::PATIENCE);
    while !asking.is_finished() {
        let done = seen.done.load(Relaxed);
        if done > last {
            (last, deadline) = (done, Instant::now() + Inbox::PATIENCE);
        }
        assert!(Instant::now() < deadline, "{done} of {count} requests are answered, and no more come: {:?}", seen.statuses);
        if done >= (faults + 1) * calm {
            course.fault(faults);
            faults += 1;
            deadline = Instant::now() + Inbox::PATIENCE;
        }
        crate::pause();
    }
    runtime().block_on(asking).expect("no answer was wrong");
    let statuses = seen.statuses.lock().unwrap().clone();
    println!("{count} requests in {:?}: {statuses:?} (0: no answer); {:?}", begun.elapsed(), course.faults);
    assert_eq!(seen.answers.lock().unwrap().len(), count);
    assert_effects(&world, &requests, &seen.answers.lock().unwrap());
}

/// Checks that the topics hold one business transaction for each request that was told of one and none for the others, and for each
/// request, also for one that was refused, the reply that it was told.
fn assert_effects(world: &World, requests: &[Request], answers: &HashMap<String, Value>) {
    let told: HashMap<&str, &Value> = requests.iter().map(|request| (&*request.id, &answers[&request.id])).collect();
    let effects = |request: &Request| usize::from(!matches!(request.expected, Expected::Refused(_)));
    let all: usize = requests.iter().map(effects).sum();
    let on = |records: &[Arc<Record>], topic: &str| -> Vec<Arc<Record>> {
        records.iter().filter(|record| record.topic == topic).cloned().collect()
    };
    let held = world.inbox.until("all business transactions", |records| {
        let held = on(records, &world.transactions);
        (held.len() >= all).then_some(held)
    });
    let mut by_request: HashMap<&str, usize> = HashMap::new();
    let mut versions: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for record in &held {
        let request = record.body["requestId"].as_str().expect("a request id");
        *by_request.entry(request).or_default() += 1;
        assert_eq!(record.body["transactionId"], told[request][1]["transactionId"], "what {request} was told");
        versions.entry(record.key_text().expect("a key")).or_default().push(record.body["version"].as_i64().expect("a version"));
    }
    for request in requests {
        let (id, told) = (&*request.id, told[&*request.id]);
        assert_eq!(by_request.get(id).copied().unwrap_or_default(), effects(request), "effects of {id}");
        let code = &told[2][0]["code"];
        let is_as_expected = match request.expected {
            Expected::Changes | Expected::Creates => told[0] == 200 && code.is_null(),
            Expected::Refused(expected) => told[0] != 200 && code == expected,
        };
        assert!(is_as_expected, "{id}, {:?}: {told}", request.expected);
    }
    let created: HashSet<&str> = requests.iter().filter_map(|request| request.created.as_deref()).collect();
    assert!(created.iter().all(|entity| versions.get(entity).is_some_and(|versions| *versions == [1])), "created once each");
    for (entity, mut versions) in versions {
        versions.sort_unstable();
        // What is created has its first business transaction with version 1, and what is imported, with version 2.
        let first = if created.contains(entity) { 1 } else { 2 };
        assert!(versions.iter().zip(first..).all(|(version, expected)| *version == expected), "{entity}: {versions:?}");
    }

    // No reply on the topic says anything else than what clients were told, and each of them was told what a reply says.
    let replies = world.inbox.until("a reply to each request", |records| {
        let of_replies = records.iter().filter(|record| record.topic == world.replies);
        let answered: HashSet<&str> = of_replies.filter_map(|reply| reply.body["requestId"].as_str()).collect();
        let is_whole = requests.iter().all(|request| answered.contains(&*request.id));
        is_whole.then(|| on(records, &world.replies))
    });
    for reply in replies {
        let Some(told) = reply.body["requestId"].as_str().and_then(|request| told.get(request)) else { continue };
        let status = if told[0] == 412 { 400 } else { told[0].as_i64().expect("a status") };
        assert_eq!(reply.body["statusCode"], status, "{reply:?}");
        assert_eq!(reply.body["errors"], told[2], "{reply:?}");
        assert_eq!(reply.body["businessTransaction"]["transactionId"], told[1]["transactionId"], "{reply:?}");
    }
}
