//! What is taken, what is a finding, and what the finding says.

use super::*;

fn parse(toml: &str, environment: &[(&str, &str)]) -> Result<Config, Findings> {
    Config::parse(toml, environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
}

#[test]
fn an_empty_file_is_the_configuration_of_a_local_set_up() {
    let config = parse("", &[]).unwrap();
    assert_eq!(config.kafka.bootstrap_servers, "127.0.0.1:9092");
    assert_eq!(config.kafka.reply_topic_allow_list, ["crm.replies"]);
    assert_eq!(config.kafka.max_command_bytes, 1_048_576);
    assert_eq!(
        config.segments.iter().map(SegmentCode::as_str).collect::<Vec<_>>(),
        ["RESIDENTIAL", "SMALL_BUSINESS", "ENTERPRISE"]
    );
    assert_eq!(config.store.outcome_retention, Duration::from_secs(30 * 24 * 3600));
    let Backend::Cql(cql) = config.store.backend else { panic!("the default is cql") };
    assert_eq!(cql.contact_points, ["127.0.0.1:9042"]);
    assert_eq!(cql.replication.get("replication_factor").map(String::as_str), Some("3"));
    assert_eq!(config.admin.listen.port(), 9464);
}

#[test]
fn the_file_of_the_contract_is_taken() {
    let config = parse(
        r#"
        segments = ["A", "B"]
        [kafka]
        bootstrap_servers = "k1:9092,k2:9092"
        group_id = "g"
        max_command_bytes = 2048
        reply_topic_allow_list = ["crm.replies", "other.replies"]
        topics = { commands = "c", replies = "crm.replies", transactions = "t", dlq = "d" }
        instance_id = "pod-3"
        consumer = { "session.timeout.ms" = 6000 }
        producer = { compression.type = "zstd" }
        [registry]
        url = "http://127.0.0.1:8081/"
        [store]
        kind = "embedded"
        path = "/var/lib/crm"
        request_timeout = "250ms"
        outcome_retention = "2d"
        [admin]
        listen = "0.0.0.0:1"
        "#,
        &[],
    )
    .unwrap();
    assert_eq!(config.kafka.transactional_id(), "g-pod-3");
    assert_eq!(config.kafka.consumer.get("session.timeout.ms").map(String::as_str), Some("6000"));
    assert_eq!(config.kafka.producer.get("compression.type").map(String::as_str), Some("zstd"));
    assert_eq!(config.registry.url, "http://127.0.0.1:8081");
    assert!(matches!(config.store.backend, Backend::Embedded { path } if path == Path::new("/var/lib/crm")));
}

#[test]
fn each_key_can_be_overridden_by_a_variable() {
    let file = r#"
        segments = ["A"]
        [kafka]
        bootstrap_servers = "k:1"
        consumer = { "session.timeout.ms" = 1000, "fetch.min.bytes" = 2 }
        [store]
        replication = { class = "SimpleStrategy", replication_factor = 1 }
    "#;
    let config = parse(
        file,
        &[
            ("CRM__KAFKA__BOOTSTRAP_SERVERS", "other:2"),
            ("CRM__SEGMENTS", "X, Y"),
            ("CRM__KAFKA__REPLY_TOPIC_ALLOW_LIST", r#"["r1", "r2"]"#),
            ("CRM__KAFKA__MAX_IN_FLIGHT", "7"),
            ("CRM__KAFKA__GROUP_ID", "12"),
            ("CRM__KAFKA__TOPICS__DLQ", "dead"),
            ("CRM__KAFKA__CONSUMER__SESSION_TIMEOUT_MS", "9000"),
            ("CRM__STORE__REPLICATION", r#"{ class = "NetworkTopologyStrategy" }"#),
            ("CRM__STORE__REPLICATION__DC1", "3"),
            ("CRM__STORE__REQUEST_TIMEOUT", "1s"),
            ("CRM__REGISTRY__USER", "me"),
            ("CRM__REGISTRY__PASSWORD", "pass word"),
            ("CRM_TEST_KAFKA", "not ours"),
        ],
    )
    .unwrap();
    assert_eq!(config.kafka.bootstrap_servers, "other:2");
    assert_eq!(config.segments.iter().map(SegmentCode::as_str).collect::<Vec<_>>(), ["X", "Y"]);
    assert_eq!(config.kafka.reply_topic_allow_list, ["r1", "r2", "crm.replies"]);
    assert_eq!((config.kafka.max_in_flight, config.kafka.group_id.as_str()), (7, "12"));
    assert_eq!(config.kafka.topics.dlq, "dead");
    assert_eq!(config.kafka.consumer.get("session.timeout.ms").map(String::as_str), Some("9000"));
    assert_eq!(config.kafka.consumer.get("fetch.min.bytes").map(String::as_str), Some("2"));
    assert_eq!(config.store.request_timeout, Duration::from_secs(1));
    let Backend::Cql(cql) = config.store.backend else { panic!("cql") };
    let replication: Vec<_> = cql.replication.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(replication, [("DC1", "3"), ("class", "NetworkTopologyStrategy")]);
    let credentials = config.registry.credentials.unwrap();
    assert_eq!(credentials.password.expose(), "pass word");
    assert_eq!(format!("{credentials:?}"), r#"Credentials { user: "me", password: *** }"#);
}

#[test]
fn each_wrong_value_is_a_finding_under_its_key() {
    let cases = [
        ("segments = []", "segments", "at least one"),
        ("segments = [\"A\", \"A\"]", "segments", "more than once"),
        ("segments = [\" A\", \"\", 3]", "segments", "item 2"),
        ("segments = \"A\"", "segments", "must be a list"),
        ("kafka = 3", "kafka", "must be a table"),
        ("[kafka]\nbootstrap_servers = \"host\"", "kafka.bootstrap_servers", "no port"),
        ("[kafka]\nbootstrap_servers = \"\"", "kafka.bootstrap_servers", "empty"),
        ("[kafka]\ngroup_id = 3", "kafka.group_id", "must be text"),
        ("[kafka]\nmax_in_flight = 0", "kafka.max_in_flight", "between 1 and"),
        ("[kafka]\nmax_in_flight = \"7\"", "kafka.max_in_flight", "whole number"),
        ("[kafka]\nmax_in_flight = 64\nmax_queued = 8", "kafka.max_queued", "less than"),
        ("[kafka]\nmax_command_bytes = -1", "kafka.max_command_bytes", "negative"),
        ("[kafka]\nshutdown_grace = 20", "kafka.shutdown_grace", "unit"),
        ("[kafka]\nshutdown_grace = \"20\"", "kafka.shutdown_grace", "no duration"),
        ("[kafka.topics]\ncommands = \"a b\"", "kafka.topics.commands", "characters"),
        ("[kafka.topics]\nreplies = \"crm.commands\"", "kafka.topics.replies", "kafka.topics.commands, too"),
        ("[kafka.topics]\ndlq = \"crm_commands\"", "kafka.topics.dlq", "kafka.topics.commands, too"),
        ("[kafka]\nreply_topic_allow_list = [\"a/b\"]", "kafka.reply_topic_allow_list", "item 1"),
        ("[kafka]\nreply_topic_allow_list = [\"crm.commands\"]", "kafka.reply_topic_allow_list", "something else"),
        ("[kafka.consumer]\n\"isolation.level\" = \"read_uncommitted\"", "kafka.consumer.isolation.level", "aborted"),
        ("[kafka.consumer]\nenable.auto.commit = true", "kafka.consumer.enable.auto.commit", "transaction"),
        (
            "[kafka.consumer]\n\"partition.assignment.strategy\" = \"cooperative-sticky\"",
            "kafka.consumer.partition.assignment.strategy",
            "eager",
        ),
        ("[kafka.consumer]\n\"group.protocol\" = \"consumer\"", "kafka.consumer.group.protocol", "set by the processor"),
        ("[kafka.producer]\n\"transactional.id\" = \"x\"", "kafka.producer.transactional.id", "fences"),
        ("[kafka.producer]\n\"enable.idempotence\" = false", "kafka.producer.enable.idempotence", "exactly once"),
        ("[kafka.producer]\n\"no.such.thing\" = 1", "kafka.producer.no.such.thing", "no property"),
        ("[kafka.producer]\n\"linger.ms\" = \"soon\"", "kafka.producer.linger.ms", "does not take"),
        ("[registry]\nurl = \"registry:8081\"", "registry.url", "http://"),
        ("[registry]\nurl = \"http://me:pw@registry:8081\"", "registry.url", "credentials"),
        ("[registry]\nuser = \"me\"", "registry.password", "missing"),
        ("[registry]\nca_file = \"/no/such/file\"", "registry.ca_file", "can't be read"),
        ("[store]\nkind = \"mongo\"", "store.kind", "no kind"),
        ("[store]\nkind = \"embedded\"", "store.path", "missing"),
        ("[store]\ncontact_points = []", "store.contact_points", "at least one"),
        ("[store]\ncontact_points = [\"n:x\"]", "store.contact_points", "no port"),
        ("[store]\nkeyspace = \"Crm-1\"", "store.keyspace", "lower-case"),
        ("[store]\nserial_consistency = \"quorum\"", "store.serial_consistency", "no serial"),
        ("[store]\nreplication = { class = \"Nope\" }", "store.replication.class", "NetworkTopologyStrategy"),
        ("[store]\nreplication = { dc1 = 0 }", "store.replication.dc1", "between 1"),
        ("[store]\nrequest_timeout = \"0s\"", "store.request_timeout", "between"),
        ("[store]\noutcome_retention = \"30 years\"", "store.outcome_retention", "between"),
        ("[store.tls]\ncert_file = \"Cargo.toml\"\nenabled = true", "store.tls.key_file", "missing"),
        ("[store.tls]\nca_file = \"Cargo.toml\"", "store.tls.enabled", "must be true"),
        ("[admin]\nlisten = \"9464\"", "admin.listen", "address"),
        ("[log]\nformat = \"xml\"", "log.format", "no format"),
        ("[log]\nlevel = \"crm=loud\"", "log.level", "no level"),
        ("[kafka", "line 1", "no TOML"),
        ("colour = 1", "colour", "no such key"),
    ];
    for (toml, key, reason) in cases {
        let findings = parse(toml, &[]).expect_err(toml).0;
        assert_eq!(findings.len(), 1, "{toml}: {findings:#?}");
        assert_eq!(findings[0].key, key, "{toml}");
        assert!(findings[0].reason.contains(reason), "{toml}: {:?} should say {reason:?}", findings[0].reason);
        assert!(!findings[0].right.is_empty(), "{toml}");
    }
}

#[test]
fn all_findings_come_at_once_and_name_the_variable_that_gave_them() {
    let findings = parse(
        "[kafka]\nmax_in_flight = 0\nbootstrap_server = \"k:1\"\n[registry]\npassword = \"hunter2\"",
        &[("CRM__STORE__KIND", "mongo"), ("CRM__KAFKA__MAX_QUEUED", "many")],
    )
    .unwrap_err();
    let keys: Vec<_> = findings.0.iter().map(|f| f.key.as_str()).collect();
    assert_eq!(keys, ["kafka.max_in_flight", "kafka.max_queued", "registry.user", "store.kind", "kafka.bootstrap_server"]);
    let text = findings.to_string();
    assert!(text.contains("(from CRM__STORE__KIND)"), "{text}");
    assert!(text.contains("kafka.bootstrap_servers, if that was meant"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn an_unknown_key_is_suggested_its_place() {
    for (toml, meant) in [
        ("keyspace = \"x\"", "store.keyspace"),
        ("[kafak]\ngroup_id = \"x\"", "kafka.group_id"),
        ("[store]\ncontactpoints = [\"x\"]", "store.contact_points"),
    ] {
        let findings = parse(toml, &[]).expect_err(toml);
        assert!(findings.0[0].right.starts_with(meant), "{toml}: {}", findings.0[0].right);
    }
}
