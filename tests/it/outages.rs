//! Tests outages of the store and of the registry: no command is answered or fails meanwhile, and all are answered afterwards.

use crate::crm::{Draft, Entity, Kind, custom_name, rename, unique};
use crate::gate::Gate;
use crate::ledger::Ledger;
use crate::world::World;
use crate::{registry, servers};
use serde_json::json;
use toml::{Table, Value};

fn set(config: &mut Table, section: &str, key: &str, value: impl Into<Value>) {
    let section = config[section].as_table_mut().expect("is a table");
    section.insert(key.to_owned(), value.into());
}

/// Makes commands for all kinds of lanes, with their correlation ids.
fn commands(entities: &[Entity], count: usize) -> (Vec<Draft>, Vec<String>) {
    let commands = (0..count).map(|n| {
        let (entity, correlation) = (&entities[n % entities.len()], unique("c"));
        let draft = match entity.kind {
            Kind::Customer => custom_name(&unique("r"), &entity.by_external_id(), &n.to_string()),
            kind => rename(kind, &unique("r"), &entity.by_ref_id(), &unique("a")),
        };
        (draft.key(&entity.ref_id).header("correlation-id", &correlation), correlation)
    });
    commands.unzip()
}

fn entities() -> Vec<Entity> {
    [Kind::Customer, Kind::Account].iter().flat_map(|kind| (0..20).map(|_| Entity::new(*kind, "ACTIVE"))).collect()
}

#[test]
fn while_the_store_is_away_nothing_is_answered_and_readiness_says_so() {
    const COMMANDS: usize = 80;
    /// The most warnings: those about each kind of fault and node come once in some seconds, however many lanes wait.
    const WARNINGS_AT_MOST: usize = 20;
    let Some(cassandra) = servers::cassandra() else { return };
    let gate = Gate::before(cassandra);
    let through_gate = |config: &mut Table| {
        set(config, "store", "contact_points", vec![gate.address()]);
        set(config, "store", "request_timeout", "1s");
    };
    let Some(world) = World::set_up("store-away", through_gate) else { return };
    let entities = entities();
    world.import(&entities);
    let processor = world.run();
    let (drafts, correlations) = commands(&entities, COMMANDS);
    world.ask_all(&drafts[..entities.len()]);

    gate.shut();
    world.send_all(&drafts[entities.len()..]);
    processor.until_metric("crm_store_up", 0);
    processor.until_ready_is(false);
    let live = processor.get("/livez");
    assert_eq!(live.0, 200, "it lives: {live:?}");
    // As many tries as there are lanes that wait have failed by then. Their lines are gathered.
    processor.until_metric_at_least("crm_store_faults_total", entities.len() as u64);
    let log = processor.log();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains(" WARN ")).collect();
    assert!((1..=WARNINGS_AT_MOST).contains(&warnings.len()), "{}", warnings.join("\n"));
    let port = gate.address().rsplit_once(':').expect("has a port").1.to_owned();
    assert!(warnings.iter().any(|line| line.contains(&port)), "none names the node: {}", warnings.join("\n"));
    let answered = |r: &crate::inbox::Record| r.topic == world.replies;
    assert_eq!(world.inbox.all(answered).len(), entities.len(), "only what came before is answered");

    gate.open();
    processor.until_ready_is(true);
    let ledger = Ledger::close(&world, &correlations);
    assert_eq!(ledger.with_status(200), COMMANDS, "all are applied, each once");
    assert!(ledger.replies.values().all(|r| r.body["replayed"] == false), "a new try is no duplicate");
}

#[test]
fn writes_whose_answer_was_lost_are_resolved_and_not_repeated() {
    const COMMANDS: usize = 2_000;
    const CUTS: usize = 8;
    let Some(cassandra) = servers::cassandra() else { return };
    let gate = Gate::before(cassandra);
    let through_gate = |config: &mut Table| {
        set(config, "store", "contact_points", vec![gate.address()]);
        set(config, "store", "request_timeout", "2s");
    };
    let Some(world) = World::set_up("cuts", through_gate) else { return };
    let entities = entities();
    world.import(&entities);
    let processor = world.run();
    let (drafts, correlations) = commands(&entities, COMMANDS);
    for (n, part) in drafts.chunks(COMMANDS / CUTS).enumerate() {
        world.send_all(part);
        // In the middle of each part all connections break, some of them with writes under way.
        let enough = n * COMMANDS / CUTS + COMMANDS / CUTS / 4;
        world.inbox.until(&format!("{enough} replies"), |records| {
            (records.iter().filter(|r| r.topic == world.replies).count() >= enough).then_some(())
        });
        gate.shut();
        gate.open();
    }
    processor.until_metric_at_least("crm_store_faults_total", 1);
    let ledger = Ledger::close(&world, &correlations);
    assert_eq!(ledger.with_status(200), COMMANDS);
    assert!(ledger.replies.values().all(|r| r.body["replayed"] == false), "a new try is no duplicate");
}

#[test]
fn while_the_registry_is_away_an_unread_schema_waits_and_is_never_a_400() {
    let Some(_) = servers::kafka() else { return };
    let registry = registry::url().strip_prefix("http://").expect("is HTTP");
    let gate = Gate::before(registry);
    let through_gate = |config: &mut Table| set(config, "registry", "url", format!("http://{}", gate.address()));
    let Some(world) = World::set_up("registry-away", through_gate) else { return };
    let entities = entities();
    world.import(&entities);
    let processor = world.run();
    let customer = &entities[0];
    world.ask(&custom_name(&unique("r"), &customer.by_ref_id(), "known"));

    gate.shut();
    // The registry goes away before anybody needs it.
    processor.until_metric("crm_registry_up", 0);
    let mut schema = registry::command_schema("UpdateCustomerCustomName");
    schema["doc"] = json!(unique("a version that the processor has not read"));
    let unread = custom_name(&unique("r"), &customer.by_ref_id(), "unread").written_with(&schema);
    let unread = unread.header("correlation-id", unique("c"));
    world.send(&unread);
    processor.until_metric("crm_ready", 0);

    // Commands with known schemas are answered, on other partitions.
    let known: Vec<_> = (0..20).map(|n| custom_name(&unique("r"), &customer.by_ref_id(), &n.to_string())).collect();
    let correlations: Vec<_> = known.iter().map(|_| unique("c")).collect();
    let known: Vec<_> = known.into_iter().zip(&correlations).map(|(draft, c)| draft.header("correlation-id", c)).collect();
    world.send_all(&known);
    world.inbox.first("a reply while the registry is away", |r| {
        correlations.iter().any(|c| r.header("correlation-id") == Some(c.as_bytes()))
    });
    let correlation = unread.headers[0].1.as_deref();
    assert!(world.inbox.all(|r| r.header("correlation-id") == correlation).is_empty(), "the unread one waits");

    gate.open();
    let reply = world
        .inbox
        .first("the reply to the one that waited", |r| r.topic == world.replies && r.header("correlation-id") == correlation);
    assert_eq!(reply.body["statusCode"], 200, "{reply:?}");
    for correlation in &correlations {
        let reply = world.inbox.first(&format!("a reply to {correlation}"), |r| {
            r.topic == world.replies && r.header("correlation-id") == Some(correlation.as_bytes())
        });
        assert_eq!(reply.body["statusCode"], 200, "{reply:?}");
    }
    assert!(world.inbox.all(|r| r.topic == world.dlq).is_empty(), "nothing was taken for unreadable");
}

/// A registry of the test's own. It answers some requests with errors before it answers them properly.
#[test]
fn an_error_of_the_registry_is_tried_again_and_never_a_400() {
    let Some(_) = servers::kafka() else { return };
    let moody = Moody::start();
    let Some(world) = World::set_up("registry-moody", |config| set(config, "registry", "url", moody.url.clone())) else { return };
    let customer = Entity::new(Kind::Customer, "ACTIVE");
    world.import(std::slice::from_ref(&customer));
    let _processor = world.run();
    for status in [500, 503, 401, 403, 429, 404] {
        moody.fail_next_with(status);
        let mut schema = registry::command_schema("UpdateCustomerCustomName");
        schema["doc"] = json!(unique("not read yet"));
        let draft = custom_name(&unique("r"), &customer.by_ref_id(), &status.to_string()).written_with(&schema);
        let reply = world.ask(&draft);
        // A 404 that is not the registry's own 40403 comes from a server in between.
        assert_eq!(reply.body["statusCode"], 200, "after a {status} of the registry: {reply:?}");
    }
    assert!(world.inbox.all(|r| r.topic == world.dlq).is_empty(), "nothing was taken for unreadable");
}

/// Passes requests on, but for the failures that are due.
struct Moody {
    url: String,
    due: std::sync::Arc<std::sync::Mutex<Vec<u16>>>,
}

impl Moody {
    fn start() -> Self {
        use axum::extract::Request;
        use axum::http::StatusCode;
        let due = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let shared = due.clone();
        let answer = move |request: Request| {
            let due = shared.clone();
            async move {
                let failure = due.lock().expect("no holder panics").pop();
                if let Some(status) = failure {
                    return (StatusCode::from_u16(status).expect("is a status"), "not now".to_owned());
                }
                registry::forward(request).await
            }
        };
        let router = axum::Router::new().fallback(answer);
        let url = crate::runtime().block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
            let address = listener.local_addr().expect("it is bound");
            tokio::spawn(async move { axum::serve(listener, router).await });
            format!("http://{address}")
        });
        Self { url, due }
    }

    /// Makes the next three requests fail.
    fn fail_next_with(&self, status: u16) {
        self.due.lock().expect("no holder panics").extend([status; 3]);
    }
}
