//! Tests tokens instead of passwords: each client of the program logs in to a real Kafka with a token from a token endpoint. If
//! it gets no token, or not the right one, it says why.

use super::certificates::Authority;
use super::tokens::{AUDIENCE, CLIENT_ID, ISSUER, SCOPE, TokenEndpoint};
use crate::crm::{Entity, Kind, custom_name, unique};
use crate::inbox::Inbox;
use crate::servers::own::OwnServer;
use crate::world::{Finished, LARGEST_RECORD, Processor, World, consumer_properties, run_cli_with};
use crate::{servers, topics};
use std::path::Path;
use std::time::Instant;
use toml::{Table, Value};

/// The client's secret, for which the test searches everything that is printed.
const SECRET: &str = "canary-of-the-client";

/// The beginning of the environment variables for the consumer's properties.
const CONSUMER: &str = "CRM__KAFKA__CONSUMER__";

#[test]
fn clients_log_in_with_tokens_that_are_renewed_and_what_keeps_them_from_it_is_told() {
    let Some(cassandra) = servers::cassandra() else { return };
    let folder = tempfile::tempdir().expect("there is room");
    let authority = Authority::new("the authority of the token endpoint");
    let mut tokens = TokenEndpoint::start(&authority.identity(), SECRET);
    let keys = folder.path().join("keys.json");
    std::fs::write(&keys, tokens.key_set().to_string()).expect("there is room");
    let Some((kafka, listener)) = OwnServer::kafka_with_tokens(&keys, ISSUER, AUDIENCE) else { return };
    let secret = folder.path().join("secret");
    std::fs::write(&secret, format!("{SECRET}\n")).expect("there is room");
    // This runs `setup`, too.
    let world = World::set_up_on(kafka.address(), cassandra, "oidc", |config| log_in(config, &listener, &tokens, &secret));
    // `check` must find nothing wrong.
    topics::create(kafka.address(), &[(&world.missing_replies, 1)], LARGEST_RECORD);
    let customer = Entity::new(Kind::Customer, "ACTIVE");
    world.import(std::slice::from_ref(&customer));

    let processor = world.run();
    is_answered(&world, &customer);
    each_subcommand_logs_in(&world, &customer);
    check_names_what_is_wrong(&world, &tokens, &authority, folder.path());
    a_process_with_a_wrong_secret_says_so(&world);

    // The consumer and the producer have had three more tokens each, so that those of the start have long expired.
    let renewed = tokens.issued() + 6;
    until("tokens are renewed", || tokens.issued() >= renewed, &processor);
    is_answered(&world, &customer);
    processor.until_metric("crm_kafka_brokers_connected", 1);

    tokens.go_away();
    let warned = processor.until_readyz(|body| body.contains("sasl.oauthbearer.token.endpoint.url"));
    assert!(warned.contains(&tokens.url()), "{warned}");
    processor.until_ready_is(false);
    let (_, body) = processor.get("/readyz");
    assert!(body.contains("sasl.oauthbearer"), "it says why it is not ready: {body}");
    tokens.come_back();
    processor.until_ready();
    is_answered(&world, &customer);
    processor.signal("TERM");
    assert_eq!(processor.wait(), 0, "{}", processor.log_tail());
    assert!(!processor.log().contains(SECRET), "the log shows the secret");
}

/// Makes both clients of a configuration log in with tokens.
fn log_in(config: &mut Table, listener: &str, tokens: &TokenEndpoint, secret: &Path) {
    let properties = [
        ("security.protocol", "SASL_PLAINTEXT".to_owned()),
        ("sasl.mechanism", "OAUTHBEARER".to_owned()),
        ("sasl.oauthbearer.method", "oidc".to_owned()),
        ("sasl.oauthbearer.token.endpoint.url", tokens.url()),
        ("sasl.oauthbearer.client.id", CLIENT_ID.to_owned()),
        ("sasl.oauthbearer.client.secret", format!("file:{}", secret.display())),
        ("sasl.oauthbearer.scope", SCOPE.to_owned()),
        // Confluent Cloud wants these extensions; the broker here takes any.
        ("sasl.oauthbearer.extensions", "logicalCluster=lkc-1,identityPoolId=pool-1".to_owned()),
    ];
    let properties: Table = properties.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value))).collect();
    consumer_properties(config).extend(properties.clone());
    let kafka = config["kafka"].as_table_mut().expect("a table");
    kafka.insert("bootstrap_servers".into(), Value::String(listener.to_owned()));
    kafka.insert("producer".into(), Value::Table(properties));
}

fn is_answered(world: &World, customer: &Entity) {
    let request = unique("r");
    let reply = world.ask(&custom_name(&request, &customer.by_ref_id(), &request));
    assert_eq!(reply.body["statusCode"], 200, "{reply:?}");
}

/// Tests a client that administrates, one that reads, one that writes, and one that writes in transactions.
fn each_subcommand_logs_in(world: &World, customer: &Entity) {
    let all: [(&str, &[&str]); 5] = [
        ("check", &[]),
        ("send", &["updateCustomerCustomName", "--ref-id", &customer.ref_id, "--value", "Ada", "--json"]),
        ("watch", &["transactions", "--from-beginning"]),
        ("dlq", &["list"]),
        ("snapshot", &["customer", &customer.external_id]),
    ];
    for (subcommand, args) in all {
        let config = world.config.display().to_string();
        // `dlq` has subcommands of its own, which take the options.
        let (own, rest) = args.split_at(usize::from(subcommand == "dlq"));
        let finished = run_cli_with(&[&[subcommand], own, &["--config", &config], rest].concat(), &[]).succeeded();
        assert!(!finished.to_string().contains(SECRET), "shows the secret: {finished}");
    }
}

/// Checks that each finding names the property that is to be mended.
fn check_names_what_is_wrong(world: &World, tokens: &TokenEndpoint, authority: &Authority, folder: &Path) {
    let property = |name: &str| format!("{CONSUMER}{}", name.replace('.', "_").to_uppercase());
    let endpoint = property("sasl.oauthbearer.token.endpoint.url");
    let secret = property("sasl.oauthbearer.client.secret");
    let nobody = format!("http://127.0.0.1:{}/token", servers::free_port());
    let cases: [(&str, &str, &[&str]); 8] = [
        (&secret, "canary-that-is-wrong", &["401", "sasl.oauthbearer.client.secret"]),
        (&property("sasl.oauthbearer.scope"), "another", &["400", "sasl.oauthbearer.scope"]),
        (&endpoint, &nobody, &[&nobody, "sasl.oauthbearer.token.endpoint.url"]),
        (&endpoint, &tokens.url_of("page"), &["JSON", "sasl.oauthbearer.token.endpoint.url"]),
        (&endpoint, &tokens.url_of("opaque"), &["JWT", "exp and sub"]),
        (&endpoint, &tokens.url_of("other-audience"), &["invalid_token", "audience"]),
        (&endpoint, &tokens.secure_url(), &["certificate", "https.ca.location"]),
        (&property("sasl.mechanism"), "GSSAPI", &["GSSAPI", "Kerberos", "docs/security.md"]),
    ];
    for (variable, value, expected) in cases {
        let checked = check(world, &[(variable, value)]).exits(1);
        let is_it = |line: &str| line.starts_with("  !!  ") && expected.iter().all(|part| line.contains(part));
        assert!(checked.stdout.lines().any(is_it), "no finding with all of {expected:?} by {variable}={value}: {checked}");
    }
    let file = folder.join("authorities.pem");
    std::fs::write(&file, authority.pem()).expect("there is room");
    let trusted = file.display().to_string();
    check(world, &[(&endpoint, &tokens.secure_url()), (&property("https.ca.location"), &trusted)]).succeeded();
}

fn check(world: &World, environment: &[(&str, &str)]) -> Finished {
    let finished = run_cli_with(&["check", "--config", &world.config.display().to_string()], environment);
    assert!(!finished.to_string().contains("canary"), "shows a secret: {finished}");
    finished
}

fn a_process_with_a_wrong_secret_says_so(world: &World) {
    let wrong = [(&*format!("{CONSUMER}SASL_OAUTHBEARER_CLIENT_SECRET"), "canary-that-is-wrong")];
    let processor = world.start_with(&unique("slot"), &wrong);
    let said = processor.until_readyz(|body| body.contains("sasl.oauthbearer.client.secret"));
    assert!(said.contains("(401)") && said.contains("kafka.consumer"), "{said}");
    assert!(!format!("{said}{}", processor.log()).contains("canary"), "shows a secret: {said}");
    processor.until_ready_is(false);
}

fn until(what: &str, is_so: impl Fn() -> bool, processor: &Processor) {
    let deadline = Instant::now() + Inbox::PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}; {}", processor.log_tail());
        crate::pause();
    }
}
