//! Tests the subcommands as a person or a script calls them: what they print, and their exit codes.

use crate::crm::{Entity, Kind, custom_name, json_lines, rename, segment, unique};
use crate::world::{PATIENT_STORE, World, binary, run_cli, shared};
use serde_json::{Value as Json, json};
use std::process::{Command, Stdio};

fn show(world: &World, args: &[&str]) -> Json {
    let shown = world.cli("show", &[args, &["--json"]].concat()).succeeded();
    serde_json::from_str(&shown.stdout).unwrap_or_else(|e| panic!("{e}: {shown}"))
}

#[test]
fn import_takes_the_good_lines_and_reports_a_finding_for_each_bad_one() {
    let Some(shared) = shared() else { return };
    let good: Vec<_> = [Kind::Customer, Kind::Account, Kind::Subscriber].map(|kind| Entity::new(kind, "ACTIVE")).into();
    let first = &good[0];
    let with = |change: &dyn Fn(&mut Json)| {
        let mut line = Entity::new(Kind::Customer, "ACTIVE").line();
        change(&mut line);
        line.to_string()
    };
    let bad = [
        "no JSON at all".to_owned(),
        "[]".to_owned(),
        with(&|l| l["type"] = json!("contract")),
        with(&|l| l["refId"] = json!("no uuid")),
        with(&|l| l["refId"] = Json::Null),
        with(&|l| l["externalId"] = json!(" x")),
        with(&|l| l["externalId"] = json!("")),
        with(&|l| l["state"] = json!("GONE")),
        with(&|l| l["customName"] = json!("a\u{7}")),
        with(&|l| l["customerSegment"] = json!("GOLD")),
        // Contradictions: the id of another entity, and another id for the same entity.
        with(&|l| l["externalId"] = json!(first.external_id)),
        with(&|l| l["refId"] = json!(first.ref_id)),
    ];
    let lines: Vec<_> = good.iter().map(|e| e.line().to_string()).chain(bad.clone()).collect();
    for round in 1..=2 {
        let imported = shared.import_lines(&(lines.join("\n") + "\n")).exits(1);
        for (n, line) in lines.iter().enumerate() {
            let number = format!("line {}", n + 1);
            let said = [&*imported.stdout, &imported.stderr]
                .iter()
                .flat_map(|s| s.lines())
                .any(|l| l.to_lowercase().contains(&format!("{number}:")) || l.to_lowercase().contains(&format!("{number} ")));
            assert_eq!(said, n >= good.len(), "round {round}, a finding about {number}, {line}: {imported}");
        }
    }
    for entity in &good {
        let shown = show(shared, &[entity.kind.name(), &entity.external_id]);
        assert_eq!((&shown["entity"]["refId"], &shown["version"]), (&json!(entity.ref_id), &json!(1)), "{entity:?}: {shown}");
    }
}

#[test]
fn import_keeps_all_attributes_and_leaves_what_exists_as_it_is() {
    let Some(shared) = shared() else { return };
    let customer = Entity { state: "SUSPENDED", ..Entity::new(Kind::Customer, "SUSPENDED") };
    let (account, subscriber) = (Entity::new(Kind::Account, "INACTIVE"), Entity::new(Kind::Subscriber, "ACTIVE"));
    let mut lines = [customer.line(), account.line(), subscriber.line()];
    for line in &mut lines {
        line["customName"] = json!("Ada");
    }
    lines[0]["customerSegment"] = json!("ENTERPRISE");
    lines[1]["customerRefId"] = json!(customer.ref_id);
    lines[2]["accountRefId"] = json!(account.ref_id);
    shared.import_lines(&json_lines(&lines)).succeeded();
    let before = show(shared, &["customer", &customer.external_id]);
    assert_eq!(before["entity"]["customName"], "Ada", "{before}");
    assert_eq!((&before["entity"]["customerSegment"], &before["entity"]["state"]), (&json!("ENTERPRISE"), &json!("SUSPENDED")));
    assert_eq!(show(shared, &["account", &account.external_id])["entity"]["customerRefId"], customer.ref_id.as_str());
    assert_eq!(show(shared, &["subscriber", &subscriber.external_id])["entity"]["accountRefId"], account.ref_id.as_str());

    lines[0]["customName"] = json!("Bob");
    lines[0]["state"] = json!("ACTIVE");
    shared.import_lines(&json_lines(&lines)).succeeded();
    assert_eq!(show(shared, &["customer", &customer.external_id]), before, "an entity that exists is left as it is");

    let renamed = shared.ask(&custom_name(&unique("r"), &customer.by_ref_id(), "Eve"));
    assert_eq!(renamed.body["businessTransaction"]["changes"], json!([{"field": "customName", "old": "Ada", "new": "Eve"}]));
    shared.import_lines(&json_lines(&lines)).succeeded();
    let after = show(shared, &["customer", &customer.external_id]);
    assert_eq!((&after["entity"]["customName"], &after["version"]), (&json!("Eve"), &json!(2)), "{after}");
}

#[test]
fn show_agrees_with_the_last_business_transaction_and_lists_the_history() {
    let Some(shared) = shared() else { return };
    let (customer, account) = (shared.customer(), shared.account());
    let key = unique("k");
    let id = unique("a");
    shared.ask_all(&[
        custom_name(&unique("r"), &customer.by_ref_id(), "Ada").key(&key),
        segment(&unique("r"), &customer.by_ref_id(), "ENTERPRISE").key(&key),
        custom_name(&unique("r"), &customer.by_ref_id(), "Ada").key(&key),
        custom_name(&unique("r"), &customer.by_ref_id(), "\u{7}").key(&key),
        rename(Kind::Account, &unique("r"), &account.by_ref_id(), &id).key(&key),
    ]);
    let shown = [
        show(shared, &["customer", &customer.external_id]),
        show(shared, &["customer", "--ref-id", &customer.ref_id]),
        show(shared, &["account", &id]),
    ];
    assert_eq!(shown[0], shown[1], "by external id and by refId");
    for (entity, shown) in [(&customer, &shown[0]), (&account, &shown[2])] {
        let published = shared.transactions(entity);
        let last = &published.last().expect("was changed").body;
        assert_eq!((&shown["entity"], &shown["version"]), (&last[entity.kind.name()], &last["version"]), "{shown}");
        let expected: Vec<_> = published
            .iter()
            .map(|r| {
                let t = &r.body;
                json!({
                    "version": t["version"], "occurredAt": t["occurredAt"], "useCase": t["useCase"],
                    "requestId": t["requestId"], "changes": t["changes"],
                })
            })
            .collect();
        assert_eq!(shown["history"], json!(expected), "oldest first");
    }
    let gone = shared.cli("show", &["account", &account.external_id]).exits(1);
    assert!(!gone.stderr.is_empty(), "says why: {gone}");
    shared.cli("show", &["customer", &unique("nobody")]).exits(1);
    shared.cli("show", &["customer", "--ref-id", &Entity::new(Kind::Customer, "ACTIVE").ref_id]).exits(1);
    let for_people = shared.cli("show", &["customer", &customer.external_id]).succeeded();
    assert!(for_people.stdout.contains("ENTERPRISE"), "{for_people}");
}

#[test]
fn a_subcommand_does_its_work_though_nobody_reads_what_it_says() {
    let Some(shared) = shared() else { return };
    let config = shared.config.display().to_string();
    for subcommand in ["setup", "check"] {
        let mut command = Command::new(binary());
        command.args([subcommand, "--config", &config]).envs([
            PATIENT_STORE,
            // The tests' configuration allows a reply topic that does not exist.
            ("CRM__KAFKA__REPLY_TOPIC_ALLOW_LIST", &*shared.replies),
        ]);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary was built");
        drop(process.stdout.take());
        let ended = process.wait_with_output().expect("it was started");
        assert_eq!(ended.status.code(), Some(0), "{subcommand}: {}", String::from_utf8_lossy(&ended.stderr));
    }
}

#[test]
fn setup_and_check_can_be_repeated_on_an_installation_that_works() {
    let Some(shared) = shared() else { return };
    shared.cli("setup", &[]).succeeded();
    // The tests' configuration allows a reply topic that does not exist. Without that topic, `check` finds nothing.
    let checked = shared.cli("check", &[]).exits(1);
    assert!(checked.stdout.contains(&shared.missing_replies), "names the topic that is missing: {checked}");
    let mut config = configuration(shared);
    config["kafka"]["reply_topic_allow_list"] = vec![shared.replies.clone()].into();
    run_cli(&["check", "--config", &write(shared, &config)]).succeeded();
}

/// Returns the configuration, to be changed.
fn configuration(world: &World) -> toml::Table {
    std::fs::read_to_string(&world.config).expect("was written").parse().expect("is TOML")
}

/// Writes the configuration to a new file.
fn write(world: &World, config: &toml::Table) -> String {
    let path = world.dir().join(format!("{}.toml", unique("config")));
    std::fs::write(&path, config.to_string()).expect("there is room");
    path.display().to_string()
}

#[test]
fn check_lists_all_that_is_wrong_with_a_configuration() {
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().join("broken.toml");
    let text = r#"
        segments = []
        colour = "red"
        [kafka]
        bootstrap_servers = ""
        max_command_bytes = -1
        topics = { commands = "a b", replies = "same", transactions = "same", dlq = "d" }
        consumer = { "isolation.level" = "read_uncommitted", "enable.auto.commit" = "true" }
        producer = { "transactional.id" = "mine" }
        [registry]
        url = "not a url"
        [store]
        kind = "cql"
        contact_points = []
        keyspace = "no keyspace"
        request_timeout = "soon"
        [admin]
        listen = "nowhere"
    "#;
    std::fs::write(&path, text).expect("there is room");
    let path = path.display().to_string();
    for subcommand in ["check", "run", "setup"] {
        let checked = run_cli(&[subcommand, "--config", &path]).exits(2);
        for wanted in [
            "segments",
            "colour",
            "bootstrap_servers",
            "max_command_bytes",
            "topics.commands",
            "isolation.level",
            "enable.auto.commit",
            "transactional.id",
            "registry.url",
            "contact_points",
            "keyspace",
            "request_timeout",
            "admin.listen",
        ] {
            assert!(checked.stderr.contains(wanted) || checked.stdout.contains(wanted), "{wanted} is wrong, too: {checked}");
        }
    }
}

#[test]
fn check_finds_servers_that_are_not_there() {
    let Some(shared) = shared() else { return };
    let config = configuration(shared);
    let port = crate::servers::free_port();
    for (section, key, value) in [
        ("kafka", "bootstrap_servers", json!(format!("127.0.0.1:{port}"))),
        ("registry", "url", json!(format!("http://127.0.0.1:{port}"))),
        ("store", "contact_points", json!([format!("127.0.0.1:{port}")])),
    ] {
        let mut config = config.clone();
        config[section][key] = toml::Value::try_from(&value).expect("fits TOML");
        let checked = run_cli(&["check", "--config", &write(shared, &config)]).exits(1);
        let said = format!("{}{}", checked.stdout, checked.stderr);
        assert!(said.contains(&port.to_string()), "names the address of {section}: {checked}");
    }
}

#[test]
fn wrong_usage_exits_with_2_and_help_with_0() {
    run_cli(&["no-such-subcommand"]).exits(2);
    run_cli(&["show", "--no-such-flag"]).exits(2);
    run_cli(&["check", "--config", "no/such/file.toml"]).exits(2);
    let subcommands = [
        "run",
        "gateway",
        "demo",
        "setup",
        "import",
        "check",
        "show",
        "send",
        "watch",
        "dlq",
        "snapshot",
        "reconcile",
        "erase",
        "bench",
    ];
    let all = run_cli(&["--help"]).succeeded();
    let listed = all.stdout.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let listed: Vec<_> = listed.filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(listed, [&subcommands[..], &["help"]].concat(), "{all}");
    for subcommand in subcommands {
        let help = run_cli(&[subcommand, "--help"]).succeeded();
        assert!(help.stdout.contains("Usage"), "{subcommand}: {help}");
    }
}
