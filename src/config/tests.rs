//! Tests which values the configuration takes, which are findings, and what the findings say.

use super::*;
use std::time::Duration;

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
        [gateway]
        listen = "0.0.0.0:8080"
        allowed_hosts = ["CRM.example.com.", "crm-gateway"]
        reply_topic = "other.replies"
        tls = { cert_file = "Cargo.toml", key_file = "Cargo.toml", client_ca_file = "Cargo.toml" }
        auth = { kind = "jwt", jwks_url = "https://idp/keys", issuer = "i", audience = "a" }
        [admin]
        listen = "0.0.0.0:1"
        "#,
        &[],
    )
    .unwrap();
    assert_eq!(config.gateway.reply_topic, "other.replies");
    assert_eq!(config.gateway.allowed_hosts, ["crm.example.com", "crm-gateway"]);
    assert!(matches!(config.gateway.auth, Auth::Jwt(Jwt { keys: JwksSource::Url(_), .. })));
    assert_eq!(config.kafka.transactional_id(), "g-pod-3");
    assert_eq!(config.kafka.second_transactional_id(), "g-pod-3+2");
    assert_eq!(config.kafka.consumer.get("session.timeout.ms"), Some("6000"));
    assert_eq!(config.kafka.producer.get("compression.type"), Some("zstd"));
    assert_eq!(config.registry.urls, ["http://127.0.0.1:8081"]);
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
    assert_eq!(config.kafka.consumer.get("session.timeout.ms"), Some("9000"));
    assert_eq!(config.kafka.consumer.get("fetch.min.bytes"), Some("2"));
    assert_eq!(config.store.request_timeout, Duration::from_secs(1));
    let Backend::Cql(cql) = config.store.backend else { panic!("cql") };
    let replication: Vec<_> = cql.replication.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(replication, [("DC1", "3"), ("class", "NetworkTopologyStrategy")]);
    let RegistryCredentials::Basic(credentials) = config.registry.credentials else { panic!("basic") };
    assert_eq!(credentials.password.expose(), "pass word");
    assert_eq!(format!("{credentials:?}"), r#"UserAndPassword { user: "me", password: *** }"#);
}

/// Wrong values, each with the key of its finding and words of the reason.
const WRONG: &[(&str, &str, &str)] = &[
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
    ("[kafka]\ninstance_id = \"pod-3+2\"", "kafka.instance_id", "second producer"),
    ("[kafka]\nshutdown_grace = 20", "kafka.shutdown_grace", "unit"),
    ("[kafka]\nshutdown_grace = \"20\"", "kafka.shutdown_grace", "not a duration"),
    ("[kafka.topics]\ncommands = \"a b\"", "kafka.topics.commands", "characters"),
    ("[kafka.topics]\nreplies = \"crm.commands\"", "kafka.topics.replies", "kafka.topics.commands, too"),
    ("[kafka.topics]\ndlq = \"crm_commands\"", "kafka.topics.dlq", "kafka.topics.commands, too"),
    ("[kafka.topics]\nchanges = \"crm.transactions\"", "kafka.topics.changes", "kafka.topics.transactions, too"),
    ("[kafka.topics]\nchanges = \"\"", "kafka.topics.changes", "empty"),
    (
        "[kafka]\nreply_topic_allow_list = [\"rows\"]\n[kafka.topics]\nchanges = \"rows\"",
        "kafka.reply_topic_allow_list",
        "something else",
    ),
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
    ("[kafka]\ninstance_id = \"a+2\"", "kafka.instance_id", "second producer"),
    ("[kafka]\ninstance_id = \"a+check\"", "kafka.instance_id", "tries rights"),
    ("[kafka]\ninstance_id = \"dlq-resend\"", "kafka.instance_id", "the name of a tool"),
    ("[kafka.producer]\n\"transactional.id\" = \"x\"", "kafka.producer.transactional.id", "fences"),
    ("[kafka.producer]\n\"enable.idempotence\" = false", "kafka.producer.enable.idempotence", "exactly once"),
    ("[kafka.producer]\n\"no.such.thing\" = 1", "kafka.producer.no.such.thing", "not a property"),
    ("[kafka.producer]\n\"linger.ms\" = \"soon\"", "kafka.producer.linger.ms", "does not take"),
    ("[registry]\nurl = \"registry:8081\"", "registry.url", "http://"),
    ("[registry]\nurl = \"http://me:pw@registry:8081\"", "registry.url", "credentials"),
    ("[registry]\nurl = \"http://a,registry:8081\"", "registry.url", "http://"),
    ("[registry]\nurl = [\"http://me:pw@registry:8081\"]", "registry.url", "item 1 (\"http://***@registry:8081\")"),
    ("[registry]\nurl = []", "registry.url", "at least one"),
    ("[registry]\nodd_answer = \"1s\"", "registry.odd_answer", "between"),
    ("[registry]\nodd_answer = \"never\"", "registry.odd_answer", "not a duration"),
    ("[registry]\ntoken = \"hunter2\"", "registry.token", "secret"),
    ("[registry]\noauth = { client_id = \"c\", client_secret = \"file:Cargo.toml\" }", "registry.oauth.token_url", "missing"),
    ("[registry]\ncert_file = \"Cargo.toml\"", "registry.key_file", "missing"),
    ("[registry]\nuser = \"me\"", "registry.password", "missing"),
    ("[registry]\nca_file = \"/no/such/file\"", "registry.ca_file", "can't be read"),
    ("[store]\nkind = \"mongo\"", "store.kind", "not a kind"),
    ("[store]\nkind = \"embedded\"", "store.path", "missing"),
    ("[store]\ncontact_points = []", "store.contact_points", "at least one"),
    ("[store]\ncontact_points = [\"n:x\"]", "store.contact_points", "no port"),
    ("[store]\nkeyspace = \"Crm-1\"", "store.keyspace", "lower-case"),
    ("[store]\nserial_consistency = \"quorum\"", "store.serial_consistency", "not a serial"),
    ("[store]\nconsistency = \"one\"", "store.consistency", "not a consistency"),
    ("[store]\ndatacenter_failover = true", "store.datacenter_failover", "local_datacenter"),
    (
        "[store]\nlocal_datacenter = \"dc1\"\nserial_consistency = \"local_serial\"\ndatacenter_failover = true",
        "store.datacenter_failover",
        "may not know",
    ),
    ("[store]\nreplication = { class = \"Nope\" }", "store.replication.class", "NetworkTopologyStrategy"),
    ("[store]\nreplication = { dc1 = 0 }", "store.replication.dc1", "between 1"),
    ("[store]\nrequest_timeout = \"0s\"", "store.request_timeout", "between"),
    ("[store]\noutcome_retention = \"30 years\"", "store.outcome_retention", "between"),
    ("[store.tls]\ncert_file = \"Cargo.toml\"\nenabled = true", "store.tls.key_file", "missing"),
    ("[store.tls]\nca_file = \"Cargo.toml\"", "store.tls.enabled", "must be true"),
    ("[gateway]\nlisten = \"8080\"", "gateway.listen", "address"),
    ("[gateway]\nlisten = \"0.0.0.0:8080\"", "gateway.listen", "nothing says who"),
    ("[gateway]\nlisten = \"[::]:8080\"\n[gateway.auth]\nissuer = \"i\"", "gateway.listen", "nothing says who"),
    (
        "[gateway]\nlisten = \"0.0.0.0:1\"\ntls = { cert_file = \"Cargo.toml\", key_file = \"Cargo.toml\" }",
        "gateway.listen",
        "nothing says who",
    ),
    ("[gateway]\nallowed_hosts = [\"crm\", \"crm:8080\"]", "gateway.allowed_hosts", "item 2"),
    ("[gateway]\nallowed_hosts = [\"http://crm\"]", "gateway.allowed_hosts", "without scheme"),
    ("[gateway]\nallowed_hosts = [\"*\"]", "gateway.allowed_hosts", "characters"),
    ("[gateway]\nallowed_hosts = [\".\"]", "gateway.allowed_hosts", "empty"),
    ("[gateway]\nreply_timeout = \"31s\"", "gateway.reply_timeout", "max_wait"),
    ("[gateway]\nmax_wait = \"11m\"", "gateway.max_wait", "between"),
    ("[gateway]\nmax_open_requests = 0", "gateway.max_open_requests", "between 1"),
    ("[gateway]\nmax_open_reads = 0", "gateway.max_open_reads", "between 1"),
    ("[gateway]\nreply_topic = \"my.replies\"", "gateway.reply_topic", "reply_topic_allow_list"),
    ("[gateway.tls]\ncert_file = \"Cargo.toml\"", "gateway.tls.key_file", "missing"),
    ("[gateway.tls]\nclient_ca_file = \"Cargo.toml\"", "gateway.tls.cert_file", "missing"),
    ("[gateway.auth]\nkind = \"basic\"", "gateway.auth.kind", "not a kind"),
    ("[gateway.auth]\nkind = \"mtls\"", "gateway.auth.kind", "client_ca_file"),
    ("[gateway.auth]\nkind = \"jwt\"\nissuer = \"i\"\njwks_url = \"https://i\"", "gateway.auth.audience", "missing"),
    ("[gateway.auth]\nkind = \"jwt\"\nissuer = \"i\"\naudience = \"a\"", "gateway.auth.jwks_file", "missing"),
    ("[gateway.auth]\njwks_url = \"http://idp.example.com/keys\"", "gateway.auth.jwks_url", "must begin with https://"),
    ("[gateway.auth]\njwks_url = \"https://u:p@idp/keys\"", "gateway.auth.jwks_url", "credentials"),
    (
        "[gateway.auth]\nkind = \"jwt\"\nissuer = \"i\"\naudience = \"a\"\njwks_file = \"Cargo.toml\"\njwks_url = \"https://i\"",
        "gateway.auth.jwks_url",
        "jwks_file, too",
    ),
    ("[admin]\nlisten = \"9464\"", "admin.listen", "address"),
    ("[log]\nformat = \"xml\"", "log.format", "not a format"),
    ("[log]\nlevel = \"crm=loud\"", "log.level", "not a level"),
    ("[kafka", "line 1", "not TOML"),
    ("colour = 1", "colour", "no such key"),
];

#[test]
fn each_wrong_value_is_a_finding_under_its_key() {
    for (toml, key, reason) in WRONG {
        let findings = parse(toml, &[]).expect_err(toml).0;
        assert_eq!(findings.len(), 1, "{toml}: {findings:#?}");
        assert_eq!(findings[0].key, *key, "{toml}");
        assert!(findings[0].reason.contains(reason), "{toml}: {:?} should say {reason:?}", findings[0].reason);
        assert!(!findings[0].right.is_empty(), "{toml}");
    }
}

#[test]
fn another_address_than_loopback_says_who_may_use_it() {
    let authenticated = [
        "auth = { kind = \"none\" }",
        "tls = { cert_file = \"Cargo.toml\", key_file = \"Cargo.toml\", client_ca_file = \"Cargo.toml\" }",
        "auth = { kind = \"jwt\", jwks_file = \"Cargo.toml\", issuer = \"i\", audience = \"a\" }",
    ];
    for said in authenticated {
        let config = parse(&format!("[gateway]\nlisten = \"0.0.0.0:8080\"\n{said}"), &[]);
        assert_eq!(config.expect(said).gateway.listen.port(), 8080, "{said}");
    }
    let outright = parse("", &[("CRM__GATEWAY__LISTEN", "0.0.0.0:8080"), ("CRM__GATEWAY__AUTH__KIND", "none")]);
    assert_eq!(outright.unwrap().gateway.auth, Auth::None);
}

#[test]
fn all_findings_come_at_once_and_name_the_variable_that_gave_them() {
    let findings = parse(
        "[kafka]\nmax_in_flight = 0\nbootstrap_server = \"k:1\"\n[registry]\nurl = \"http://me:hunter2@r\"",
        &[("CRM__STORE__KIND", "mongo"), ("CRM__KAFKA__MAX_QUEUED", "many")],
    )
    .unwrap_err();
    let keys: Vec<_> = findings.0.iter().map(|f| f.key.as_str()).collect();
    assert_eq!(keys, ["store.kind", "kafka.max_in_flight", "kafka.max_queued", "registry.url", "kafka.bootstrap_server"]);
    let text = findings.to_string();
    assert!(text.contains("(from CRM__STORE__KIND)"), "{text}");
    assert!(text.contains("kafka.bootstrap_servers, if that was meant"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn a_value_of_a_variable_that_does_not_go_with_other_keys_is_a_finding_with_its_source() {
    for (toml, variable, value, expected) in [
        ("", "CRM__GATEWAY__REPLY_TIMEOUT", "31s", "gateway.reply_timeout = \"31s\""),
        ("", "CRM__GATEWAY__LISTEN", "0.0.0.0:8080", "gateway.listen = \"0.0.0.0:8080\""),
        ("", "CRM__KAFKA__MAX_QUEUED", "8", "kafka.max_queued = 8"),
        ("", "CRM__KAFKA__TOPICS__DLQ", "crm_commands", "kafka.topics.dlq = \"crm_commands\""),
        ("[store.tls]\nca_file = \"Cargo.toml\"", "CRM__STORE__TLS__ENABLED", "false", "store.tls.enabled = false"),
    ] {
        let findings = parse(toml, &[(variable, value)]).expect_err(variable);
        assert_eq!(findings.0.len(), 1, "{findings}");
        let text = findings.0[0].to_string();
        assert!(text.starts_with(&format!("{expected} (from {variable}): ")), "{text}");
    }
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

#[test]
fn a_variable_for_no_key_is_a_finding_with_a_suggestion() {
    for (variable, meant) in [
        ("CRM__KAFKA__GRUOP_ID", "CRM__KAFKA__GROUP_ID"),
        ("CRM__STORE__PASSWD", "CRM__STORE__PASSWORD"),
        ("CRM__KEYSPACE", "CRM__STORE__KEYSPACE"),
        ("CRM__STORE__TLS_ENABLED", "CRM__STORE__TLS__ENABLED"),
    ] {
        let findings = parse("", &[(variable, "hunter2")]).expect_err(variable);
        assert_eq!(findings.0.len(), 1, "{findings}");
        assert_eq!(findings.0[0].variable.as_deref(), Some(variable));
        assert!(findings.0[0].right.starts_with(meant), "{variable}: {}", findings.0[0].right);
    }
}

/// Each key that is a secret: its section, the key, and the lines that must stand beside it.
const SECRETS: [(&str, &str, &str); 9] = [
    ("registry", "password", "user = \"u\"\n"),
    ("registry", "token", ""),
    ("registry.oauth", "client_secret", "token_url = \"https://login/token\"\nclient_id = \"c\"\n"),
    ("store", "password", "user = \"u\"\n"),
    ("kafka.consumer", "\"sasl.password\"", ""),
    ("kafka.producer", "\"sasl.password\"", ""),
    ("kafka.producer", "\"ssl.key.password\"", ""),
    ("kafka.consumer", "\"sasl.oauthbearer.client.secret\"", ""),
    ("kafka.producer", "\"sasl.oauthbearer.client.credentials.client.secret\"", ""),
];

fn variable_for(section: &str, key: &str) -> String {
    format!("CRM__{}__{}", section.replace('.', "__"), key.trim_matches('"').replace('.', "_")).to_uppercase()
}

/// Returns the text that was read for a secret.
fn exposed(config: &Config, section: &str, key: &str) -> String {
    let password = |credentials: &Option<UserAndPassword>| credentials.as_ref().map(|c| c.password.expose().to_owned());
    let property = |properties: &Properties| properties.get(key.trim_matches('"')).map(ToOwned::to_owned);
    let found = match (section, &config.store.backend) {
        ("registry" | "registry.oauth", _) => match &config.registry.credentials {
            RegistryCredentials::None => None,
            RegistryCredentials::Basic(basic) => Some(basic.password.expose().to_owned()),
            RegistryCredentials::Token(token) => token.current().ok().map(|t| t.expose().to_owned()),
            RegistryCredentials::OAuth(oauth) => oauth.client_secret.current().ok().map(|s| s.expose().to_owned()),
        },
        ("kafka.consumer", _) => property(&config.kafka.consumer),
        ("kafka.producer", _) => property(&config.kafka.producer),
        (_, Backend::Cql(cql)) => password(&cql.credentials),
        (_, Backend::Embedded { .. }) => None,
    };
    found.unwrap_or_else(|| panic!("there is no {section}.{key}"))
}

#[test]
fn a_secret_in_the_file_is_refused_and_the_way_out_is_named() {
    for (section, key, beside) in SECRETS {
        let findings = parse(&format!("[{section}]\n{beside}{key} = \"hunter2\""), &[]).expect_err(section);
        let text = findings.to_string();
        assert_eq!(findings.0.len(), 1, "{text}");
        assert!(text.contains("must not stand in this file") && text.contains("file:PATH"), "{text}");
        assert!(text.contains(&variable_for(section, key)), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_secret_comes_from_the_environment_or_from_a_file_and_is_shown_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, "hunter2\n").unwrap();
    let path = path.display();
    for (section, key, beside) in SECRETS {
        let (variable, user) = (variable_for(section, key), format!("[{section}]\n{beside}"));
        for (toml, value) in [
            (format!("{user}{key} = \"file:{path}\""), None),
            (user.clone(), Some("hunter2".to_owned())),
            (user.clone(), Some(format!("file:{path}"))),
            (format!("{user}{key} = \"file:/no/such/file\""), Some("hunter2".to_owned())),
        ] {
            let environment = value.clone().map(|value| (variable.clone(), value));
            let (config, settings) = Config::parse_explained(&toml, environment).unwrap_or_else(|e| panic!("{toml}: {e}"));
            assert_eq!(exposed(&config, section, key), "hunter2", "{toml}, {value:?}");
            let shown = format!("{config:?} {settings:?}");
            assert!(!shown.contains("hunter2") && shown.contains("***"), "{toml}: {shown}");
        }
    }
}

#[test]
fn a_file_that_holds_no_secret_is_a_finding() {
    let folder = tempfile::tempdir().unwrap();
    let large = "x".repeat((64 << 10) + 1);
    for (name, contents, reason) in [
        ("empty", Some("\n".as_bytes()), "is empty"),
        ("bytes", Some(&[0xff, 0xfe][..]), "not UTF-8"),
        ("large", Some(large.as_bytes()), "more than 65536"),
        ("missing", None, "can't be read"),
    ] {
        let path = folder.path().join(name);
        if let Some(contents) = contents {
            std::fs::write(&path, contents).unwrap();
        }
        let findings = parse(&format!("[store]\nuser = \"u\"\npassword = \"file:{}\"", path.display()), &[]).expect_err(name);
        let text = findings.to_string();
        assert!(findings.0.len() == 1 && text.contains(reason) && text.contains(&path.display().to_string()), "{name}: {text}");
    }
}

#[test]
fn a_token_endpoint_is_trusted_by_the_systems_authorities_unless_others_are_named() {
    let oidc = "[kafka.consumer]\n\"sasl.oauthbearer.method\" = \"oidc\"\n";
    for (toml, expected) in [
        ("", None),
        ("[kafka.consumer]\n\"sasl.mechanism\" = \"OAUTHBEARER\"", None),
        (oidc, Some("probe")),
        (&format!("{oidc}\"https.ca.location\" = \"/etc/crm/authorities.pem\""), Some("/etc/crm/authorities.pem")),
        (&format!("{oidc}\"https.ca.pem\" = \"-----BEGIN CERTIFICATE-----\""), None),
    ] {
        let config = parse(toml, &[]).unwrap_or_else(|e| panic!("{toml}: {e}"));
        assert_eq!(config.kafka.consumer.get("https.ca.location"), expected, "{toml}");
        assert_eq!(config.kafka.producer.get("https.ca.location"), None, "{toml}");
    }
}

#[test]
fn each_value_is_shown_with_its_source() {
    let toml = "segments = [\"A\"]\n[kafka.consumer]\n\"session.timeout.ms\" = 9000\n[store]\noutcome_retention = \"2d\"";
    let environment = [("CRM__KAFKA__GROUP_ID", "g"), ("CRM__REGISTRY__USER", "u"), ("CRM__REGISTRY__PASSWORD", "hunter2")];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let (_, settings) = Config::parse_explained(toml, environment).unwrap();
    let variable = |name: &str| Source::Variable(name.into());
    for (key, value, source) in [
        ("segments", Some("[\"A\"]"), Source::File),
        ("kafka.group_id", Some("\"g\""), variable("CRM__KAFKA__GROUP_ID")),
        ("kafka.max_in_flight", Some("256"), Source::Default),
        ("kafka.topics.dlq", Some("\"crm.commands.dlq\""), Source::Default),
        ("kafka.consumer.session.timeout.ms", Some("\"9000\""), Source::File),
        ("registry.password", Some("***"), variable("CRM__REGISTRY__PASSWORD")),
        ("registry.ca_file", None, Source::Default),
        ("registry.odd_answer", Some("\"1m\""), Source::Default),
        ("registry.url", Some("\"http://127.0.0.1:8081\""), Source::Default),
        ("store.outcome_retention", Some("\"2days\""), Source::File),
        ("kafka.reply_topic_allow_list", Some("[\"crm.replies\"]"), Source::Default),
        ("store.replication.replication_factor", Some("\"3\""), Source::Default),
        ("store.tls.verify_hostname", Some("true"), Source::Default),
        ("admin.listen", Some("\"127.0.0.1:9464\""), Source::Default),
    ] {
        let setting = settings.iter().find(|setting| setting.key == key).unwrap_or_else(|| panic!("{key} in {settings:#?}"));
        assert_eq!((setting.value.as_deref(), &setting.source), (value, &source), "{key}");
    }
}

#[test]
fn the_consistency_of_commits_follows_the_serial_one_unless_it_is_given() {
    use CommitConsistency::{LocalQuorum, Quorum};
    for (toml, expected) in [
        ("", Quorum),
        ("serial_consistency = \"serial\"", Quorum),
        ("serial_consistency = \"local_serial\"", LocalQuorum),
        ("serial_consistency = \"serial\"\nconsistency = \"local_quorum\"", LocalQuorum),
        ("serial_consistency = \"local_serial\"\nconsistency = \"quorum\"", Quorum),
    ] {
        let config = parse(&format!("[store]\n{toml}"), &[]).unwrap();
        let Backend::Cql(cql) = config.store.backend else { panic!("cql") };
        assert_eq!(cql.consistency, expected, "{toml}");
    }
}

#[test]
fn more_commands_are_in_flight_with_the_embedded_store() {
    let in_flight = |toml| parse(toml, &[]).unwrap().kafka.max_in_flight;
    let embedded = "[store]\nkind = \"embedded\"\npath = \"/var/lib/crm\"";
    assert_eq!([in_flight(""), in_flight(embedded)], [256, 512]);
    assert_eq!(in_flight(&format!("{embedded}\n[kafka]\nmax_in_flight = 7")), 7);
}

#[test]
fn the_registry_takes_several_urls_and_one_kind_of_credentials() {
    for (toml, expected) in [
        ("url = \"http://a:1/x/, https://b\"", vec!["http://a:1/x", "https://b"]),
        ("url = [\"http://a\", \"http://b\"]", vec!["http://a", "http://b"]),
    ] {
        assert_eq!(parse(&format!("[registry]\n{toml}"), &[]).unwrap().registry.urls, expected, "{toml}");
    }
    let by_variable = parse("", &[("CRM__REGISTRY__URL", "http://a,http://b")]).unwrap();
    assert_eq!(by_variable.registry.urls, ["http://a", "http://b"]);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "first\n").unwrap();
    let token = format!("token = \"file:{}\"\n", file.display());
    let config = parse(&format!("[registry]\n{token}"), &[]).unwrap();
    let RegistryCredentials::Token(rotating) = &config.registry.credentials else { panic!("{:?}", config.registry) };
    assert_eq!(rotating.current().unwrap().expose(), "first");
    std::fs::write(&file, "second").unwrap();
    assert_eq!(rotating.current().unwrap().expose(), "second");
    std::fs::remove_file(&file).unwrap();
    assert!(rotating.current().unwrap_err().contains("token can't be read"));
    std::fs::write(&file, "third").unwrap();

    let oauth =
        format!("oauth = {{ token_url = \"https://l/t\", client_id = \"c\", client_secret = \"file:{}\" }}\n", file.display());
    let basic = format!("user = \"u\"\npassword = \"file:{}\"\n", file.display());
    for (toml, key) in [
        (format!("{basic}{token}"), "registry.token"),
        (format!("{basic}{oauth}"), "registry.oauth"),
        (format!("{token}{oauth}"), "registry.oauth"),
    ] {
        let findings = parse(&format!("[registry]\n{toml}"), &[]).expect_err(&toml);
        assert_eq!(findings.0.iter().map(|f| f.key.as_str()).collect::<Vec<_>>(), [key], "{findings}");
    }
}
