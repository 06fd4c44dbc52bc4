//! The subcommands that play the other systems: `demo`, `send`, `watch`.

use crate::crm::{Draft, unique};
use crate::world::{run_cli, shared};
use serde_json::{Value as Json, json};

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
        "/metrics",
    ] {
        assert!(told.stdout.contains(part), "{part} is part of the story: {told}");
    }
    assert!(!told.stdout.contains('\x1b') && !told.stdout.contains('✗'), "{told}");
    // The last line is this test's own.
    assert_eq!(told.stderr.lines().count(), 1, "nothing spoils it: {told}");
}

#[test]
fn send_prints_the_reply_and_exits_by_its_status() {
    let Some(shared) = shared() else { return };
    let customer = shared.customer();
    let request = unique("r");
    let flags = ["updateCustomerCustomName", "--external-id", &customer.external_id, "--value", "Ada", "--request-id", &request];
    let told = shared.cli("send", &flags).succeeded();
    assert!(told.stdout.contains("200 OK") && told.stdout.contains("customName: null → \"Ada\""), "{told}");
    let again = parse(&shared.cli("send", &[&flags[..], &["--json"]].concat()).succeeded().stdout);
    assert_eq!((&again[0]["statusCode"], &again[0]["replayed"]), (&json!(200), &json!(true)), "{again:?}");
    let refused = shared.cli("send", &["updateCustomerSegment", "--ref-id", &customer.ref_id]).exits(1);
    assert!(refused.stdout.contains("CASM-MANDATORY-ATTRIBUTE  customerSegment"), "{refused}");
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
}

#[test]
fn send_says_what_to_look_at_where_nobody_answers() {
    let Some(shared) = shared() else { return };
    let config = std::fs::read_to_string(&shared.config).expect("was written").parse::<toml::Table>().expect("is TOML");
    let commands = config["kafka"]["topics"]["commands"].as_str().expect("a name");
    let mut elsewhere = config.clone();
    // Its schemas are there; what is written to it is read by nobody.
    elsewhere["kafka"]["topics"]["replies"] = config["kafka"]["topics"]["dlq"].clone();
    elsewhere["kafka"]["topics"]["dlq"] = config["kafka"]["topics"]["replies"].clone();
    elsewhere["kafka"].as_table_mut().expect("a table").remove("reply_topic_allow_list");
    let path = shared.dir().join(format!("{}.toml", unique("elsewhere")));
    std::fs::write(&path, elsewhere.to_string()).expect("there is room");
    let customer = shared.customer();
    let flags = ["updateCustomerCustomName", "--external-id", &customer.external_id, "--value", "Ada", "--timeout", "1s"];
    let waited = run_cli(&[&["send", "--config", &path.display().to_string()], &flags[..]].concat()).exits(1);
    for part in ["no reply within 1s", commands, "/readyz", "crm_consumer_lag_records"] {
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
        let shown = parse(&shared.cli("watch", &[topic, "--from-beginning", "--limit", "1", "--key", key]).succeeded().stdout);
        let [line] = &shown[..] else { panic!("one line: {shown:?}") };
        assert_eq!((&line["key"], &line["value"]["requestId"]), (&json!(key), &json!(request)), "{line}");
        assert_eq!(line["headers"]["request-id"], json!(request), "{line}");
        assert!(line["partition"].is_i64() && line["offset"].is_i64() && line["timestamp"].is_i64(), "{line}");
    }
}

#[test]
fn watch_shows_a_dead_letter_as_base64() {
    let Some(shared) = shared() else { return };
    let key = unique("k");
    shared.send(&Draft::raw(Some(b"no\xffAvro".to_vec())).key(&key));
    let shown = parse(&shared.cli("watch", &["dlq", "--from-beginning", "--limit", "1", "--key", &key]).succeeded().stdout);
    assert_eq!(shown[0]["value"], json!({"base64": "bm//QXZybw=="}), "{shown:?}");
    assert_eq!(shown[0]["headers"]["__connect.errors.topic"], json!(shared.commands), "{shown:?}");
}
