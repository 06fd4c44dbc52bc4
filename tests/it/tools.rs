//! Tests the subcommands that play the other systems: `demo`, `send`, `watch`.

use crate::crm::{Draft, Kind, custom_name, rename, unique};
use crate::guarded::Guarded;
use crate::inbox::Inbox;
use crate::world::{PARTITIONS, World, binary, run_cli, run_cli_with, run_on_terminal, shared};
use crate::{servers, topics};
use rdkafka::Offset;
use serde_json::{Value as Json, json};
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

fn parse(lines: &str) -> Vec<Json> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

#[test]
fn the_demo_tells_its_story_and_each_answer_is_as_promised() {
    let told = run_cli(&["demo", "--once", "--metrics-port", "0"]).succeeded();
    for part in [
        "CASM-MANDATORY-ATTRIBUTE",
        "CASM-INVALID-ATTRIBUTE",
        "CASM-SEGMENT-NOT-CONFIGURED",
        "CASM-REQUEST-ID-REUSED",
        "CASM-ENTITY-NOT-FOUND",
        "CASM-STATE-DEACTIVATED",
        "CASM-VERSION-CONFLICT",
        "CASM-EXTERNAL-ID-NOT-UNIQUE",
        "CASM-RECORD-UNREADABLE",
        "replayed: the stored answer",
        "no changes",
        "crm.transactions: account a-900, version 1 → 2, externalId: \"a-100\" → \"a-900\"",
        "crm.transactions: customer c-dora created, version 1, customerSegment: \"RESIDENTIAL\"",
        "crm.transactions: subscriber s-dora created, version 1, accountRefId: ",
        "customer c-dora, version 3 → 4, state: \"ACTIVE\" → \"SUSPENDED\", stateReason: null → \"unpaid\"",
        "customer c-4711, version 6 → 7, state: \"SUSPENDED\" → \"DEACTIVATED\"",
        "/metrics",
    ] {
        assert!(told.stdout.contains(part), "{part} is part of the story: {told}");
    }
    assert!(!told.stdout.contains('\x1b') && !told.stdout.contains('✗'), "{told}");
    // The test itself adds the last line.
    assert_eq!(told.stderr.lines().count(), 1, "nothing spoils it: {told}");
}

/// Starts the demo. Returns it with the line by which it shows how to send a command by `curl`. Returns `None` if there is no `curl` here.
fn demo_with_curl() -> Option<(Guarded, String)> {
    if Command::new("curl").arg("--version").output().is_err() {
        servers::skip("curl is not installed");
        return None;
    }
    let mut demo = Command::new(binary());
    demo.args(["demo", "--metrics-port", "0"]);
    let demo = Guarded::spawn(&demo, &servers::log_dir().join(format!("{}.log", unique("demo"))), None);
    let deadline = Instant::now() + Inbox::PATIENCE;
    loop {
        let log = demo.log();
        if let Some(line) = log.lines().find(|line| line.trim().starts_with("curl -s ")) {
            return Some((demo, line.trim().to_owned()));
        }
        assert!(Instant::now() < deadline, "there is no such line in\n{log}");
        crate::pause();
    }
}

fn answer_to(line: &str) -> Json {
    let answered = Command::new("sh").args(["-c", line]).output().expect("there is a shell");
    serde_json::from_slice(&answered.stdout).unwrap_or_else(|e| panic!("{e}: {line}: {answered:?}"))
}

#[test]
fn the_demo_shows_how_to_send_a_command_by_curl() {
    let Some((_demo, line)) = demo_with_curl() else { return };
    let reply = answer_to(&line);
    assert_eq!((&reply["statusCode"], &reply["requestId"]), (&json!(200), &json!("curl-1")), "{line}: {reply}");
}

#[test]
fn an_entity_is_created_over_http_on_the_embedded_store_and_the_description_says_how() {
    let Some((_demo, line)) = demo_with_curl() else { return };
    let address = line.split("/v1/").next().expect("the line has an address");
    let create = |use_case: &str, body: &Json| {
        answer_to(&format!("{address}/v1/{use_case} -H 'Content-Type: application/json' -d '{body}'"))
    };
    let customer = json!({"requestId": "h-1", "externalId": "c-http", "customerSegment": "ENTERPRISE"});
    let created = create("createCustomer", &customer);
    let transaction = &created["businessTransaction"];
    assert_eq!((&created["statusCode"], &transaction["version"]), (&json!(200), &json!(1)), "{created}");
    let again = create("createCustomer", &customer);
    assert_eq!((&again["replayed"], &again["businessTransaction"]), (&json!(true), transaction), "{again}");
    let account = json!({"requestId": "h-1", "externalId": "a-http", "customer": {"externalId": "c-http"}});
    let below = create("createAccount", &account);
    assert_eq!(below["businessTransaction"]["account"]["customerRefId"], transaction["refId"], "{below}");
    let read = answer_to(&format!("{address}/v1/customers?externalId=c-http"));
    // Times are shown otherwise in a reply than in a read, as milliseconds.
    let values = |of: &Json| ["refId", "externalId", "state", "customerSegment"].map(|name| of[name].clone());
    assert_eq!((values(&read["entity"]), &read["version"]), (values(&transaction["customer"]), &json!(1)), "{read}");
    let refused = create("createSubscriber", &json!({"requestId": "h-1", "externalId": "s-http"}));
    assert_eq!((&refused["status"], &refused["errors"][0]["field"]), (&json!(400), &json!("account")), "{refused}");

    let described = answer_to(&format!("{address}/openapi.json"));
    let paths = described["paths"].as_object().expect("there are paths");
    for use_case in ["createCustomer", "createAccount", "createSubscriber"] {
        assert!(paths[&format!("/v1/{use_case}")]["post"].is_object(), "{use_case} is among {:?}", paths.keys());
    }
}

#[test]
fn send_prints_the_reply_and_exits_by_its_status() {
    let Some(shared) = shared() else { return };
    let customer = shared.customer();
    let request = unique("r");
    let flags = ["updateCustomerCustomName", "--external-id", &customer.external_id, "--value", "Ada", "--request-id", &request];
    let told = shared.cli("send", &[&flags[..], &["--text"]].concat()).succeeded();
    assert!(told.stdout.contains("200 OK") && told.stdout.contains("customName: null → \"Ada\""), "{told}");
    let again = parse(&shared.cli("send", &flags).succeeded().stdout);
    assert_eq!((&again[0]["statusCode"], &again[0]["replayed"]), (&json!(200), &json!(true)), "{again:?}");
    let refused = shared.cli("send", &["updateCustomerSegment", "--ref-id", &customer.ref_id, "--text"]).exits(1);
    assert!(refused.stdout.contains("CASM-MANDATORY-ATTRIBUTE  customerSegment"), "{refused}");
}

#[test]
fn send_creates_a_customer_with_an_account_and_a_subscriber() {
    let Some(shared) = shared() else { return };
    let [customer, account, subscriber] = ["c", "a", "s"].map(unique);
    let send = |flags: &[&str]| shared.cli("send", flags);
    let given = ["--custom-name", "Ada", "--segment", "ENTERPRISE", "--state", "INACTIVE", "--reason", "new", "--actor", "Zoe"];
    let created = parse(&send(&[&["createCustomer", "--external-id", &customer], &given[..]].concat()).succeeded().stdout);
    let transaction = &created[0]["businessTransaction"];
    let image = &transaction["customer"];
    assert_eq!((&image["externalId"], &image["customName"]), (&json!(customer), &json!("Ada")), "{created:?}");
    assert_eq!((&image["customerSegment"], &image["state"]), (&json!("ENTERPRISE"), &json!("INACTIVE")), "{created:?}");
    assert_eq!((&image["stateReason"], &transaction["actor"]), (&json!("new"), &json!("Zoe")), "{created:?}");
    let told = send(&["createAccount", "--external-id", &account, "--superior", &customer, "--text"]).succeeded();
    let below = format!("account {account} created, version 1, customerRefId: {}", image["refId"]);
    assert!(told.stdout.contains(&below), "{told}");
    let ref_id = told.stdout.lines().find_map(|line| line.trim().strip_prefix("refId ")).expect("the new refId is printed");
    let flags = ["createSubscriber", "--external-id", &subscriber, "--superior-ref-id", ref_id];
    let created = parse(&send(&flags).succeeded().stdout);
    assert_eq!(created[0]["businessTransaction"]["subscriber"]["accountRefId"], json!(ref_id), "{created:?}");

    // What can be sent is sent, and refused by the processor.
    let refused = send(&["createAccount", "--state", "DEACTIVATED", "--text"]).exits(1);
    for part in ["CASM-MANDATORY-ATTRIBUTE  externalId", "CASM-MANDATORY-ATTRIBUTE  customer", "CASM-INVALID-ATTRIBUTE    state"]
    {
        assert!(refused.stdout.contains(part), "{part}: {refused}");
    }
    // What the record has no field for can't be sent.
    let wrong = send(&["createCustomer", "--external-id", &unique("c"), "--superior", &customer, "--value", "x"]).exits(2);
    for part in ["createCustomer takes no --superior: ", "createCustomer takes no --value: "] {
        assert!(wrong.stderr.contains(part), "{part}: {wrong}");
    }
}

#[test]
fn send_takes_a_file_and_answers_in_its_order() {
    let Some(shared) = shared() else { return };
    let (account, subscriber) = (shared.account(), shared.subscriber());
    let (first, second, ids) = (unique("r"), unique("r"), [unique("id"), unique("id")]);
    let lines = [
        json!({"useCase": "updateAccountExternalId", "requestId": first, "account": {"externalId": account.external_id},
            "externalId": ids[0], "key": "k"})
        .to_string(),
        "{".into(),
        json!({"useCase": "updateAccountExternalId", "requestId": second, "account": {"externalId": ids[0]},
            "externalId": ids[1], "expectedVersion": 2, "key": "k"})
        .to_string(),
        json!({"useCase": "updateSubscriberExternalId", "requestId": null, "subscriber": {"refId": subscriber.ref_id}})
            .to_string(),
    ];
    let file = shared.dir().join(format!("{}.jsonl", unique("commands")));
    let path = file.display().to_string();
    std::fs::write(&file, lines.join("\n")).expect("there is room");
    let sent = shared.cli("send", &["--file", &path]).exits(1);
    let replies = parse(&sent.stdout);
    let got: Vec<_> = replies.iter().map(|r| (&r["requestId"], &r["statusCode"])).collect();
    let expected = [(&json!(first), &json!(200)), (&json!(second), &json!(200)), (&Json::Null, &json!(400))];
    assert_eq!(got, expected, "{sent}");
    assert!(sent.stderr.contains("line 2: is no JSON"), "{sent}");

    std::fs::write(&file, format!("{}\n", lines[0])).expect("there is room");
    let again = parse(&shared.cli("send", &["--file", &path]).succeeded().stdout);
    assert_eq!((again.len(), &again[0]["replayed"]), (1, &json!(true)), "{again:?}");
    let told = shared.cli("send", &["--file", &path, "--text"]).succeeded();
    assert!(told.stdout.starts_with("line 1: 200 OK, replayed: the stored answer\n  account "), "{told}");
}

#[test]
fn send_says_what_to_look_at_where_nobody_answers() {
    let Some(shared) = shared() else { return };
    let config = std::fs::read_to_string(&shared.config).expect("was written").parse::<toml::Table>().expect("is TOML");
    let commands = config["kafka"]["topics"]["commands"].as_str().expect("a name");
    let mut elsewhere = config.clone();
    // The schemas of this topic exist, but nobody reads its records.
    elsewhere["kafka"]["topics"]["replies"] = config["kafka"]["topics"]["dlq"].clone();
    elsewhere["kafka"]["topics"]["dlq"] = config["kafka"]["topics"]["replies"].clone();
    elsewhere["kafka"].as_table_mut().expect("a table").remove("reply_topic_allow_list");
    let admin = shared.processor.admin();
    let listen = admin.strip_prefix("http://").expect("it is HTTP");
    elsewhere.insert("admin".into(), toml::Table::from_iter([("listen".to_owned(), listen.into())]).into());
    let path = shared.dir().join(format!("{}.toml", unique("elsewhere")));
    std::fs::write(&path, elsewhere.to_string()).expect("there is room");
    let customer = shared.customer();
    let flags = ["updateCustomerCustomName", "--external-id", &customer.external_id, "--value", "Ada", "--timeout", "1s"];
    let waited = run_cli(&[&["send", "--config", &path.display().to_string()], &flags[..]].concat()).exits(1);
    let ready = format!("{admin}/readyz says that it is ready");
    let answered = "has answered the command: its reply went to another topic";
    for part in ["no reply within 1s", commands, "/readyz", "crm_consumer_lag_records", &ready, answered] {
        assert!(waited.stderr.contains(part), "{part}: {waited}");
    }

    // Only the metadata of the committed offset says that the command is done: bits for the 24,000 records above it.
    let group = unique("group");
    let all_done = format!("1:{}", "/".repeat(4_000));
    for partition in 0..PARTITIONS {
        topics::commit(shared.kafka(), &group, (commands, partition), Offset::Offset(0), &all_done);
    }
    elsewhere["kafka"]["group_id"] = group.into();
    std::fs::write(&path, elsewhere.to_string()).expect("there is room");
    let waited = run_cli(&[&["send", "--config", &path.display().to_string()], &flags[..]].concat()).exits(1);
    assert!(waited.stderr.contains(answered), "{waited}");

    // The group has no members, and nobody listens at the address.
    elsewhere["kafka"]["group_id"] = unique("group").into();
    elsewhere["admin"]["listen"] = format!("127.0.0.1:{}", crate::servers::free_port()).into();
    std::fs::write(&path, elsewhere.to_string()).expect("there is room");
    let waited = run_cli(&[&["send", "--config", &path.display().to_string()], &flags[..]].concat()).exits(1);
    for part in ["Nothing answers at http://127.0.0.1:", "has never answered anything from"] {
        assert!(waited.stderr.contains(part), "{part}: {waited}");
    }
}

#[test]
fn watch_shows_what_is_committed_as_json_lines() {
    let Some(shared) = shared() else { return };
    let customer = shared.customer();
    let request = unique("r");
    let flags = ["updateCustomerCustomName", "--external-id", &customer.external_id, "--value", "Ada", "--request-id", &request];
    shared.cli("send", &flags).succeeded();
    let key = format!("customer:{}", customer.ref_id);
    for (topic, key) in [("transactions", &key), ("replies", &customer.external_id)] {
        let shown = parse(&shared.cli("watch", &[topic, "--from-beginning", "--key", key]).succeeded().stdout);
        let [line] = &shown[..] else { panic!("one line: {shown:?}") };
        assert_eq!((&line["key"], &line["value"]["requestId"]), (&json!(key), &json!(request)), "{line}");
        assert_eq!(line["headers"]["request-id"], json!(request), "{line}");
        assert!(line["partition"].is_i64() && line["offset"].is_i64() && line["timestamp"].is_i64(), "{line}");
    }
}

#[test]
fn watch_ends_with_what_is_there_and_chooses_by_entity_and_time() {
    let Some(shared) = shared() else { return };
    let (account, other) = (shared.account(), shared.account());
    let ids = [unique("a"), unique("a")];
    let name = |id: &str| json!({"externalId": id});
    shared.ask_all(&[
        rename(Kind::Account, &unique("r"), &name(&account.external_id), &ids[0]).key(&account.external_id),
        rename(Kind::Account, &unique("r"), &name(&ids[0]), &ids[1]).key(&account.external_id),
        // The command is refused, because the id is no longer the entity's own.
        rename(Kind::Account, &unique("r"), &name(&account.external_id), &ids[1]).key(&account.external_id),
        rename(Kind::Account, &unique("r"), &name(&other.external_id), &unique("a")).key(&other.external_id),
    ]);
    let entity = |id: &str| format!("account:{id}");
    let watch = |topic: &str, flags: &[&str]| {
        parse(&shared.cli("watch", &[&[topic, "--since", "1h"], flags].concat()).succeeded().stdout)
    };
    for (topic, id, expected) in [
        ("transactions", &account.ref_id, 2),
        ("transactions", &account.external_id, 1),
        ("transactions", &ids[0], 2),
        ("transactions", &ids[1], 1),
        ("replies", &ids[1], 1),
        ("replies", &account.external_id, 2),
    ] {
        let shown = watch(topic, &["--entity", &entity(id)]);
        assert_eq!(shown.len(), expected, "{topic} about {id}: {shown:?}");
    }
    assert_eq!(watch("transactions", &["--entity", &entity(&ids[0]), "--limit", "1"]).len(), 1);
    let later = shared.cli("watch", &["transactions", "--since", "0s", "--entity", &entity(&ids[0])]).succeeded();
    assert!(later.stdout.is_empty(), "{later}");
    let text = shared.cli("watch", &["transactions", "--since", "1h", "--entity", &entity(&ids[1]), "--text"]).succeeded();
    let expected = format!("account {}, version 2 → 3, externalId: {:?} → {:?}", ids[1], ids[0], ids[1]);
    assert!(text.stdout.contains(&expected) && !text.stdout.contains('\x1b'), "{expected}: {text}");
    let text =
        shared.cli("watch", &["replies", "--since", "1h", "--entity", &entity(&account.external_id), "--text"]).succeeded();
    assert!(text.stdout.contains("\n  CASM-ENTITY-NOT-FOUND  account.externalId"), "{text}");
}

#[test]
fn watch_goes_on_with_what_comes_if_it_is_to_follow() {
    let Some(shared) = shared() else { return };
    let customer = shared.customer();
    let entity = format!("customer:{}", customer.ref_id);
    let name = |name: &str| shared.ask(&custom_name(&unique("r"), &customer.by_ref_id(), name));
    name("Ada");
    let config = shared.config.display().to_string();
    let mut watch = Command::new(env!("CARGO_BIN_EXE_crm-processor"));
    watch.args(["watch", "transactions", "--from-beginning", "--follow", "--limit", "2", "--entity", &entity]);
    let mut watch = watch.args(["--config", &config]).stdout(Stdio::piped()).spawn().expect("the binary was built");
    let mut lines = BufReader::new(watch.stdout.take().expect("is piped")).lines();
    let mut next =
        || parse(&lines.next().expect("a line").expect("is text")).remove(0)["value"]["customer"]["customName"].clone();
    assert_eq!(next(), "Ada", "what is there");
    name("Bob");
    assert_eq!(next(), "Bob", "what comes");
    assert!(watch.wait().expect("it was started").success());
}

#[test]
fn colours_are_for_terminals_only() {
    let Some(shared) = shared() else { return };
    let customer = shared.customer();
    let config = shared.config.display().to_string();
    let send =
        ["send", "updateCustomerCustomName", "--external-id", &customer.external_id, "--value", "Ada", "--config", &config];
    let on_terminal = |colours: &str| run_on_terminal(&send, "", &[("NO_COLOR", colours), ("TERM", "xterm")]);
    let Some(coloured) = on_terminal("") else { return };
    let text = &coloured.stdout;
    assert!(text.contains("\x1b[32m200 OK\x1b[0m") && text.contains("customName: null → \"Ada\""), "{text}");
    let plain = on_terminal("1").expect("python3 is there");
    let text = &plain.stdout;
    assert!(text.contains("200 OK") && !text.contains('\x1b'), "{text}");
    let piped = shared.cli("send", &send[1..6]).succeeded();
    assert_eq!(parse(&piped.stdout).len(), 1, "JSON: {piped}");
}

#[test]
fn watch_shows_a_dead_letter_as_base64() {
    let Some(shared) = shared() else { return };
    let key = unique("k");
    shared.send(&Draft::raw(Some(b"no\xffAvro".to_vec())).key(&key));
    let shown =
        parse(&shared.cli("watch", &["dlq", "--from-beginning", "--follow", "--limit", "1", "--key", &key]).succeeded().stdout);
    assert_eq!(shown[0]["value"], json!({"base64": "bm//QXZybw=="}), "{shown:?}");
    assert_eq!(shown[0]["headers"]["__connect.errors.topic"], json!(shared.commands), "{shown:?}");
}

#[test]
fn send_says_soon_what_it_waits_for_where_nobody_answers() {
    let Some(world) = World::set_up("silent-send", |_| {}) else { return };
    let words = ["updateCustomerSegment", "--external-id", "c-1", "--value", "ENTERPRISE", "--timeout", "6s"];
    let port = crate::servers::free_port().to_string();
    let config = world.config.display().to_string();
    let listen = [("CRM__ADMIN__LISTEN", &*format!("127.0.0.1:{port}"))];
    let file = world.dir().join("commands.jsonl");
    std::fs::write(&file, r#"{"useCase":"updateCustomerSegment","customer":{"externalId":"c-1"}}"#).expect("there is room");
    let of_file = ["--file", &file.display().to_string(), "--timeout", "6s"];
    for words in [&words[..], &of_file] {
        let sent = run_cli_with(&[&["send", "--config", &config], words].concat(), &listen).exits(1);
        let first = sent.stderr.lines().next().unwrap_or_default();
        assert!(first.starts_with("No reply for 4s; waiting for up to 6s."), "{sent}");
        assert!(first.contains(&port) && first.contains("no processor runs on this machine"), "{sent}");
    }
}
